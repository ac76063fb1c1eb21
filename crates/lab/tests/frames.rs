//! Frames injected and captured byte for byte, VLAN tags and all. Needs root.

use std::time::{Duration, Instant};

use linecard_lab::{Direction, FrameSocket, Namespace, VethOptions, create_veth};

const TIMEOUT: Duration = Duration::from_secs(5);
/// An EtherType for local experiments (IEEE 802), which no protocol of the kernel answers.
const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];

fn wire() -> (Namespace, FrameSocket, Namespace, FrameSocket) {
    let left = Namespace::new("left").unwrap();
    let right = Namespace::new("right").unwrap();
    create_veth((&left, "eth0"), (&right, "eth0"), &VethOptions::default()).unwrap();
    for namespace in [&left, &right] {
        namespace.set_up("eth0").unwrap();
    }
    left.wait_running("eth0", TIMEOUT).unwrap();
    let open = |namespace: &Namespace| FrameSocket::open(namespace, "eth0").unwrap();
    let (near, far) = (open(&left), open(&right));
    (left, near, right, far)
}

fn frame(tags: &[[u8; 4]], payload_bytes: usize, number: u8) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1];
    bytes.extend(tags.concat());
    bytes.extend(EXPERIMENTAL);
    bytes.extend(vec![number; payload_bytes]);
    bytes
}

#[test]
fn frames_arrive_as_they_were_sent_with_their_tags() {
    let (_left, near, _right, far) = wire();
    let q = [0x81, 0x00, 0x60, 0x2a];
    let ad = [0x88, 0xa8, 0x01, 0x00];
    for tags in [&[][..], &[q], &[ad, q], &[ad, q, q]] {
        for payload_bytes in [46, 1480] {
            let sent = frame(tags, payload_bytes, 7);
            near.send(&sent).unwrap();
            let seen = far.receive_first(TIMEOUT, |it| it.bytes[..12] == sent[..12]).unwrap();
            assert_eq!(seen.bytes, sent, "{} tags", tags.len());
            assert_eq!(seen.direction, Direction::Received);
        }
    }
}

#[test]
fn a_batch_keeps_its_order_and_a_second_socket_sees_what_is_sent() {
    let (left, near, _right, far) = wire();
    let watcher = FrameSocket::open(&left, "eth0").unwrap();
    let frames: Vec<_> = (0..200).map(|number| frame(&[], 60, number)).collect();
    assert_eq!(near.send_all(&frames).unwrap(), 200);
    let ours = |bytes: &[u8]| bytes[12..14] == EXPERIMENTAL;
    let received = far.collect(200, TIMEOUT, |it| ours(&it.bytes)).unwrap();
    assert!(received.iter().map(|it| &it.bytes).eq(&frames));
    let sent = watcher.collect(200, TIMEOUT, |it| ours(&it.bytes)).unwrap();
    assert!(sent.iter().map(|it| &it.bytes).eq(&frames));
    assert!(sent.iter().all(|it| it.direction == Direction::Sent));
}

#[test]
fn a_capture_ends_at_its_deadline() {
    let (_left, near, _right, far) = wire();
    near.send(&frame(&[], 60, 1)).unwrap();
    let start = Instant::now();
    let error = far.receive_first(Duration::from_millis(50), |_| false).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert!(near.send(&frame(&[], 1501, 1)).is_err(), "above the MTU");
}
