//! Transmission by live frames on a veth pair. Needs root and iproute2.

mod common;

use std::time::{Duration, Instant};

use common::{in_namespace, ip};
use linecard_io::xdp::live_transmitter::{LIVE_FRAME_BYTES_MAX, LIVE_FRAMES_MAX, LiveTransmitter};
use linecard_io::xdp::{QueueOptions, SharedUmem, XdpQueue, ZeroCopy};
use linecard_io::{
    AttachMode, DeadManSwitch, Interface, LocalAddresses, MemoryConfig, PacketMemory, PortQueue,
    XdpPort,
};
use linecard_wire::MacAddress;
use linecard_wire::builder::{Ipv4, PacketBuilder, Udp};

const DEADLINE: Duration = Duration::from_secs(10);
const NEAR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const FAR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn index(name: &str) -> u32 {
    Interface::by_name(name).expect("an interface").index
}

fn memory() -> PacketMemory {
    PacketMemory::new(MemoryConfig { frames: 2048, chunk_bytes: 2048 }).expect("memory")
}

/// A packet that says its number, of a length that follows from it.
fn packet(number: usize) -> Vec<u8> {
    PacketBuilder::new()
        .ethernet(MacAddress::new(FAR_MAC), MacAddress::new(NEAR_MAC))
        .ipv4(Ipv4::new([192, 0, 2, 9].into(), [198, 51, 100, 1].into()))
        .udp(Udp::new(4000, number as u16))
        .payload(&vec![number as u8; number * 7 % 1400])
        .build()
}

#[test]
fn frames_arrive_whole_and_in_their_order() {
    in_namespace(|| {
        ip("link add anchor type veth peer name chain");
        let local = LocalAddresses::new().expect("maps");
        let switch = DeadManSwitch::new(1).expect("a mapped array");
        let far = index("far");
        let mut port = XdpPort::new(far, FAR_MAC, 2, 1792, &local, &switch).expect("programs");
        let mut far_memory = memory();
        let mut umem = SharedUmem::default();
        let mut queues = [0, 1].map(|queue| {
            let options = QueueOptions {
                interface_index: far,
                queue,
                transmit_queues: 2,
                ring_entries: 512,
                zero_copy: ZeroCopy::Off,
            };
            let socket = XdpQueue::open(&mut far_memory, &mut umem, options).expect("a socket");
            port.register(queue, &socket).expect("registered");
            socket
        });
        port.attach(AttachMode::Native).expect("attached");
        let _armed = switch.arm(0).expect("arm");

        let targets = [index("chain"), index("near")];
        let mut transmitter = LiveTransmitter::new(&targets, index("anchor")).expect("anchored");
        let mut near_memory = memory();
        let mut number = 0;
        // The second and the third batch come upon a program that has counted before.
        for batch in [3, LIVE_FRAMES_MAX, 1] {
            let first = number;
            for _ in 0..batch {
                let mut frame = near_memory.allocate().expect("a free frame");
                assert!(near_memory.set_packet(&mut frame, &packet(number)));
                assert!(transmitter.push(&near_memory, &frame, 1), "there is room");
                near_memory.free(frame);
                number += 1;
            }
            assert_eq!(transmitter.flush().expect("sent"), batch);
            let deadline = Instant::now() + DEADLINE;
            let mut arrived = Vec::with_capacity(LIVE_FRAMES_MAX);
            while arrived.len() < batch {
                assert!(Instant::now() < deadline, "{} of {batch} frames", arrived.len());
                // veth chooses the queue by the core that sends.
                for queue in &mut queues {
                    queue.receive(&mut far_memory, &mut arrived, LIVE_FRAMES_MAX);
                }
            }
            for (number, frame) in (first..).zip(arrived) {
                assert_eq!(far_memory.packet(&frame), packet(number), "packet {number}");
                far_memory.free(frame);
            }
        }
        assert_eq!(transmitter.flush().expect("nothing to send"), 0);
    });
}

#[test]
fn what_does_not_fit_is_refused() {
    in_namespace(|| {
        ip("link add anchor type veth peer name chain");
        let mut transmitter =
            LiveTransmitter::new(&[index("near")], index("anchor")).expect("anchored");
        let error = LiveTransmitter::new(&[index("near")], index("anchor")).map(drop);
        assert_eq!(error.expect_err("taken").raw_os_error(), Some(libc::EBUSY));
        let config = MemoryConfig { frames: 1, chunk_bytes: 4096 };
        let mut memory = PacketMemory::new(config).expect("memory");
        let mut frame = memory.allocate().expect("a frame");
        assert!(memory.set_packet(&mut frame, &vec![0; LIVE_FRAME_BYTES_MAX + 1]));
        assert!(!transmitter.push(&memory, &frame, 0), "too large");
        memory.truncate(&mut frame, LIVE_FRAME_BYTES_MAX);
        for _ in 0..LIVE_FRAMES_MAX {
            assert!(transmitter.push(&memory, &frame, 0));
        }
        assert!(!transmitter.push(&memory, &frame, 0), "full");
        memory.free(frame);
    });
}
