//! Capture files, pcap and pcapng: any bytes are read to their end or to an error, and packets are
//! whole and fit their frames.

#![no_main]

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use linecard_io::{CaptureError, MemoryConfig, PacketMemory, PcapPort, PortQueue};
use rustix::fs::{MemfdFlags, memfd_create};

/// Fewer than some inputs have packets, so that frames are used again.
const FRAMES: u32 = 8;
/// The shortest packet: a pcap record is a header of 16 bytes, a simple packet block has 16.
const RECORD_BYTES_MIN: usize = 16;

thread_local! {
    static MEMORY: std::cell::RefCell<PacketMemory> = PacketMemory::new(
        MemoryConfig { frames: FRAMES, chunk_bytes: 2048 },
    ).expect("16 KiB of memory").into();
}

/// A file that has `bytes`, and its path.
fn file(bytes: &[u8]) -> (File, PathBuf) {
    let memory: OwnedFd = memfd_create("capture", MemfdFlags::CLOEXEC).expect("a file in memory");
    let mut file = File::from(memory);
    file.write_all(bytes).expect("room");
    file.rewind().expect("a file can be rewound");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    (file, path.into())
}

fn check_error(error: &CaptureError, read: usize, bytes: &[u8]) {
    assert!(!error.to_string().is_empty());
    if let CaptureError::Malformed { packets, offset, .. } = error {
        assert_eq!(*packets, read as u64);
        assert!(*offset <= bytes.len() as u64, "byte {offset} of {}", bytes.len());
    }
}

fn read(port: &mut PcapPort, memory: &mut PacketMemory, bytes: &[u8]) {
    let (mut frames, mut packets, mut octets) = (Vec::new(), 0, 0);
    while !port.finished() {
        let time = port.next_timestamp_nanoseconds();
        assert!(time.is_some());
        let received = port.receive(memory, &mut frames, FRAMES as usize);
        assert_eq!(received, frames.len());
        // Only what is invalid may be passed over, and then the file is at its end.
        assert!(received > 0 || port.finished());
        packets += received;
        for frame in frames.drain(..) {
            let packet = memory.packet(&frame);
            assert!(!packet.is_empty() && packet.len() <= memory.packet_bytes_max());
            octets += packet.len();
            memory.free(frame);
        }
        assert_eq!(memory.free_frames(), memory.frames());
    }
    let invalid = port.kernel_counters().rx_invalid as usize;
    assert!(octets + (packets + invalid) * RECORD_BYTES_MIN <= bytes.len());
    match port.error() {
        Some(error) => check_error(error, packets + invalid, bytes),
        None => assert!(port.finish().is_ok()),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let (_file, path) = file(bytes);
    match PcapPort::open(Some(&path), None) {
        Ok(mut port) => MEMORY.with_borrow_mut(|memory| read(&mut port, memory, bytes)),
        Err(error) => check_error(&error, 0, bytes),
    }
});
