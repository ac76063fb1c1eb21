//! The packets of `linecard explain`: any words are understood or refused, and what is understood is a frame that
//! the packet path takes for what was said; frames in hexadecimal digits come out as they went in.

#![no_main]

use libfuzzer_sys::fuzz_target;
use linecard_io::{MemoryConfig, PacketMemory};
use linecard_observe::trace::{from_hex, to_hex};
use linecard_packet::{Batch, DropReason, InterfaceId, PortId, Station, Verdict, parse};
use linecard_wire::MacAddress;

#[path = "../../crates/linecard/src/commands/explain/imagine.rs"]
mod imagine;

use imagine::Imagined;

/// Headers are as they should be; the words may still name addresses from which nothing is forwarded.
fn check_frame(frame: &[u8]) {
    let config = MemoryConfig { frames: 1, chunk_bytes: 2048 };
    let mut memory = PacketMemory::new(config).expect("memory for one frame");
    let mut taken = memory.allocate().expect("there is one");
    if !memory.set_packet(&mut taken, frame) {
        memory.free(taken);
        return;
    }
    let mut batch = Batch::new();
    batch.frames.push(taken);
    batch.end_segment(PortId(0), 0);
    let station = Station::new(InterfaceId(0), MacAddress::new([0; 6]), true, true);
    parse(&mut batch, &memory, |_| station);
    if let Verdict::Drop(reason) = batch.verdicts[0] {
        let martian = [DropReason::MartianSource, DropReason::MartianDestination];
        assert!(martian.contains(&reason), "{reason:?}: {frame:02x?}");
    }
    batch.drain().for_each(|frame| memory.free(frame));
}

fn check(text: &str) {
    if let Some(frame) = from_hex(text) {
        assert_eq!(from_hex(&to_hex(&frame)), Some(frame));
    }
    let words: Vec<String> = text.split('\n').map(str::to_owned).collect();
    match Imagined::of(&words) {
        Ok(packet) => {
            assert_ne!(packet.port.as_deref(), Some(""));
            if let Ok(frame) = packet.frame() {
                check_frame(&frame);
            }
        }
        Err(error) => assert!(!format!("{error:#}").is_empty()),
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        check(text);
    }
});
