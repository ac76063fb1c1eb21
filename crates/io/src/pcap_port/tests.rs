use std::io::Cursor;

use super::reader::{ByteOrder, Record};
use super::*;
use crate::MemoryConfig;

fn memory(frames: u32) -> PacketMemory {
    PacketMemory::new(MemoryConfig { frames, chunk_bytes: 2048 }).expect("memory")
}

/// Writes the fields of a made-up capture in one byte order.
struct Fields(ByteOrder, Vec<u8>);

impl Fields {
    fn u16(mut self, value: u16) -> Self {
        let bytes = match self.0 {
            ByteOrder::Little => value.to_le_bytes(),
            ByteOrder::Big => value.to_be_bytes(),
        };
        self.1.extend(bytes);
        self
    }

    fn u32(mut self, value: u32) -> Self {
        let bytes = match self.0 {
            ByteOrder::Little => value.to_le_bytes(),
            ByteOrder::Big => value.to_be_bytes(),
        };
        self.1.extend(bytes);
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.1.extend_from_slice(bytes);
        self
    }

    fn pcap(order: ByteOrder, magic: u32, link_type: u32) -> Self {
        let this = Self(order, Vec::new()).u32(magic).u16(2).u16(4).u32(0).u32(0);
        this.u32(65_535).u32(link_type)
    }

    fn record(self, seconds: u32, fraction: u32, packet: &[u8], original: usize) -> Self {
        let this = self.u32(seconds).u32(fraction).u32(packet.len() as u32).u32(original as u32);
        this.bytes(packet)
    }

    fn block(self, kind: u32, body: &[u8]) -> Self {
        let length = body.len().next_multiple_of(4) + 12;
        let this = self.u32(kind).u32(length as u32).bytes(body);
        let padding = body.len().next_multiple_of(4) - body.len();
        this.bytes(&[0; 3][..padding]).u32(length as u32)
    }

    fn section(self) -> Self {
        let body = Self(self.0, Vec::new()).u32(0x1a2b_3c4d).u16(1).u16(0).bytes(&[0xff; 8]).1;
        self.block(0x0a0d_0d0a, &body)
    }

    fn interface(self, link_type: u16, options: &[u8]) -> Self {
        let body = Self(self.0, Vec::new()).u16(link_type).u16(0).u32(0).bytes(options).1;
        self.block(1, &body)
    }

    fn enhanced_packet(self, interface: u32, units: u64, packet: &[u8], original: usize) -> Self {
        let body = Self(self.0, Vec::new()).u32(interface).u32((units >> 32) as u32);
        let body = body.u32(units as u32).u32(packet.len() as u32).u32(original as u32);
        let body = body.bytes(packet).1;
        self.block(6, &body)
    }

    /// An option of one byte, padded.
    fn timestamp_resolution(order: ByteOrder, value: u8) -> Vec<u8> {
        Self(order, Vec::new()).u16(9).u16(1).bytes(&[value, 0, 0, 0]).1
    }
}

/// Packets with their timestamps, and the error after them.
type Contents = (Vec<(u64, Vec<u8>)>, Option<String>);

/// All that is in a capture.
fn read(capture: &[u8]) -> Result<Contents, CaptureError> {
    let mut reader = Reader::new(Path::new("in.pcap"), Box::new(Cursor::new(capture.to_vec())))?;
    let mut packets = Vec::new();
    while let Some(Record { timestamp_nanoseconds, .. }) = reader.next() {
        packets.push((timestamp_nanoseconds, reader.bytes().to_vec()));
        if let Err(error) = reader.advance() {
            return Ok((packets, Some(error.to_string())));
        }
    }
    Ok((packets, None))
}

#[test]
fn pcap_of_each_byte_order_and_resolution_is_read() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        for (magic, nanoseconds) in [(0xa1b2_c3d4, 7_000_123_000), (0xa1b2_3c4d, 7_000_000_123)] {
            let file = Fields::pcap(order, magic, 1).record(7, 123, &[1; 60], 60);
            let (packets, error) = read(&file.record(8, 0, &[2; 61], 61).1).expect("a capture");
            assert_eq!(packets, [(nanoseconds, vec![1; 60]), (8_000_000_000, vec![2; 61])]);
            assert_eq!(error, None);
        }
    }
}

#[test]
fn pcapng_timestamps_follow_the_interface_of_each_packet() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let offset = Fields(order, Vec::new()).u16(14).u16(8);
        let offset = match order {
            ByteOrder::Little => offset.u32(10).u32(0).1,
            ByteOrder::Big => offset.u32(0).u32(10).1,
        };
        let capture = Fields(order, Vec::new())
            .section()
            .interface(1, &[])
            .interface(1, &Fields::timestamp_resolution(order, 9))
            .interface(1, &Fields::timestamp_resolution(order, 0x80 | 10))
            .interface(1, &offset)
            .block(5, b"statistics, of no interest")
            .enhanced_packet(0, 5_000_001, &[1; 60], 60)
            .enhanced_packet(1, 5_000_001, &[2; 61], 61)
            .enhanced_packet(2, 1024 + 512, &[3; 62], 62)
            .enhanced_packet(3, 1_000_000, &[4; 63], 63)
            .block(3, &Fields(order, Vec::new()).u32(60).bytes(&[5; 60]).1);
        let (packets, error) = read(&capture.1).expect("a capture");
        let timestamps: Vec<_> = packets.iter().map(|(timestamp, _)| *timestamp).collect();
        assert_eq!(
            timestamps,
            [5_000_001_000, 5_000_001, 1_500_000_000, 11_000_000_000, 11_000_000_000],
            "{order:?}; a simple packet has the time of the one before"
        );
        assert_eq!(packets[2].1, [3; 62]);
        assert_eq!(packets[4].1, [5; 60]);
        assert_eq!(error, None);
    }
}

#[test]
fn sections_of_different_byte_order_follow_each_other() {
    let first = Fields(ByteOrder::Big, Vec::new()).section().interface(1, &[]);
    let first = first.enhanced_packet(0, 1, &[1; 60], 60).1;
    let second = Fields(ByteOrder::Little, first).section().interface(1, &[]);
    let (packets, error) = read(&second.enhanced_packet(0, 2, &[2; 60], 60).1).expect("a capture");
    assert_eq!(packets, [(1000, vec![1; 60]), (2000, vec![2; 60])]);
    assert_eq!(error, None);
}

#[test]
fn other_link_types_and_other_files_are_refused_by_name() {
    let message = |capture: &[u8]| read(capture).expect_err("refused").to_string();
    let raw_ip = Fields::pcap(ByteOrder::Little, 0xa1b2_c3d4, 101).1;
    assert_eq!(message(&raw_ip), "in.pcap: link type 101; only Ethernet (link type 1) can be read");
    let ng = Fields(ByteOrder::Little, Vec::new()).section().interface(113, &[]);
    assert!(message(&ng.enhanced_packet(0, 0, &[0; 60], 60).1).contains("link type 113"));
    assert!(message(b"\x1f\x8bcompressed").contains("neither pcap nor pcapng"));
    assert!(message(b"").contains("neither pcap nor pcapng"));
}

/// Captures that hold two packets of 60 bytes, with blocks of other kinds around them.
fn captures() -> [Vec<u8>; 2] {
    let pcap = Fields::pcap(ByteOrder::Big, 0xa1b2_3c4d, 1).record(1, 2, &[1; 60], 60);
    let ng = Fields(ByteOrder::Little, Vec::new())
        .section()
        .interface(1, &Fields::timestamp_resolution(ByteOrder::Little, 9))
        .enhanced_packet(0, 1, &[1; 60], 60)
        .block(4, b"names")
        .enhanced_packet(0, 2, &[1; 60], 60);
    [pcap.record(1, 3, &[1; 60], 60).1, ng.1]
}

#[test]
fn a_file_cut_at_any_byte_gives_the_packets_before_and_an_error() {
    for capture in captures() {
        let mut whole = Vec::new();
        for length in 0..=capture.len() {
            match read(&capture[..length]) {
                Ok((packets, error)) => {
                    assert!(packets.iter().all(|(_, packet)| *packet == [1; 60]));
                    if error.is_none() {
                        whole.push(packets.len());
                    }
                }
                Err(CaptureError::Malformed { packets, .. }) => assert_eq!(packets, 0),
                Err(CaptureError::NotACapture { .. }) => assert!(length < 12),
                Err(other) => panic!("{other}"),
            }
        }
        let ends = whole.iter().filter(|&&packets| packets == 2).count();
        assert_eq!(ends, 1, "only the whole file ends well behind both packets");
    }
    let [pcap, _] = captures();
    let (packets, error) = read(&pcap[..pcap.len() - 1]).expect("a capture");
    assert_eq!(packets.len(), 1);
    assert_eq!(
        error.as_deref(),
        Some("in.pcap: after 1 packets, at byte 100: the file ends inside a packet")
    );
}

#[test]
fn any_byte_may_be_wrong() {
    for capture in captures() {
        for index in 0..capture.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut broken = capture.clone();
                broken[index] = value;
                // Whatever comes out: it ends, and does not panic.
                let packets = read(&broken).map_or(0, |(packets, _)| packets.len());
                assert!(packets <= 2);
            }
        }
    }
}

#[test]
fn what_is_received_is_transmitted_with_its_timestamps() {
    let directory = tempfile::tempdir().expect("a directory");
    let [pcap, ng] = captures();
    for (name, capture) in [("in.pcap", pcap), ("in.pcapng", ng)] {
        let input = directory.path().join(name);
        std::fs::write(&input, &capture).expect("write the input");
        for output in ["out.pcap", "out.pcapng"] {
            let output = directory.path().join(output);
            let replay = || {
                let mut memory = memory(4);
                let mut from = PcapPort::open(Some(&input), None).expect("input");
                let mut to = PcapPort::open(None, Some(&output)).expect("output");
                let mut frames = Vec::with_capacity(4);
                assert!(from.next_timestamp_nanoseconds().is_some());
                assert_eq!(from.receive(&mut memory, &mut frames, 4), 2);
                assert!(from.finished() && from.next_timestamp_nanoseconds().is_none());
                assert_eq!(to.transmit(&mut memory, &mut frames), 2);
                to.flush(&mut memory);
                assert_eq!((to.queued(), to.sent()), (2, 0), "waits for more");
                to.flush(&mut memory);
                assert_eq!((to.queued(), to.sent()), (0, 2), "nothing more came");
                to.finish().expect("written");
                assert_eq!(memory.free_frames(), 4);
                std::fs::read(&output).expect("the output")
            };
            let written = replay();
            assert_eq!(read(&written).expect("a capture"), read(&capture).expect("a capture"));
            assert_eq!(written, replay(), "the same input gives the same output");
        }
    }
}

#[test]
fn cut_and_oversized_packets_are_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let input = directory.path().join("in.pcap");
    let capture = Fields::pcap(ByteOrder::Little, 0xa1b2_c3d4, 1)
        .record(1, 0, &[1; 60], 1500)
        .record(2, 0, &[2; 9000], 9000)
        .record(3, 0, &[], 0)
        .record(4, 0, &[4; 60], 60);
    std::fs::write(&input, capture.1).expect("write the input");
    let mut memory = memory(1);
    let mut port = PcapPort::open(Some(&input), None).expect("input");
    let mut frames = Vec::with_capacity(4);
    assert_eq!(port.receive(&mut memory, &mut frames, 4), 1);
    assert_eq!(memory.packet(&frames[0]), [4; 60]);
    assert_eq!(port.kernel_counters().rx_invalid, 3);
    assert!(port.finished() && port.error().is_none());
}

#[test]
fn a_broken_input_ends_the_port_with_its_reason() {
    let directory = tempfile::tempdir().expect("a directory");
    let input = directory.path().join("in.pcapng");
    let [_, ng] = captures();
    std::fs::write(&input, &ng[..ng.len() - 4]).expect("write the input");
    let mut memory = memory(4);
    let mut port = PcapPort::open(Some(&input), None).expect("input");
    let mut frames = Vec::with_capacity(4);
    assert_eq!(port.receive(&mut memory, &mut frames, 4), 1);
    assert!(port.finished());
    let message = port.error().expect("the file is cut").to_string();
    assert!(message.contains("in.pcapng: after 1 packets, at byte "), "{message}");
    assert_eq!(port.finish().expect_err("reported").to_string(), message);
}

#[test]
fn a_full_disk_is_reported_and_counted() {
    // The kernel's own full disk; a link gives it a name that says the format.
    let directory = tempfile::tempdir().expect("a directory");
    let output = directory.path().join("out.pcap");
    std::os::unix::fs::symlink("/dev/full", &output).expect("link");
    let mut memory = memory(1);
    let mut port = PcapPort::open(None, Some(&output)).expect("output");
    let mut frames = vec![memory.allocate().expect("a frame")];
    assert!(memory.set_packet(&mut frames[0], &[1; 60]));
    assert_eq!(port.transmit(&mut memory, &mut frames), 1);
    let message = port.finish().expect_err("the disk is full").to_string();
    assert!(message.contains("out.pcap: cannot write: No space left"), "{message}");
    assert_eq!((port.queued(), port.sent(), port.kernel_counters().tx_invalid), (0, 0, 1));
    frames.push(memory.allocate().expect("came back"));
    assert_eq!(port.transmit(&mut memory, &mut frames), 0, "nothing more is taken");
}

#[test]
fn outputs_that_would_do_harm_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("a.pcap");
    std::fs::write(&file, &captures()[0]).expect("write the input");
    assert!(matches!(PcapPort::open(Some(&file), Some(&file)), Err(CaptureError::SameFile { .. })));
    assert_eq!(std::fs::read(&file).expect("read"), captures()[0], "and left alone");
    let text = directory.path().join("a.txt");
    assert!(matches!(PcapPort::open(None, Some(&text)), Err(CaptureError::Extension { .. })));
    assert!(!text.exists());
}
