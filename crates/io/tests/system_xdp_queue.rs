//! The AF_XDP queue on a veth pair of two queues. Needs root and iproute2.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use common::{in_namespace, ip};
use linecard_io::xdp::{QueueOptions, SharedUmem, XdpQueue, ZeroCopy};
use linecard_io::{
    AttachMode, DeadManSwitch, Interface, LocalAddresses, MemoryConfig, Outcome, PacketMemory,
    PortQueue, XdpPort,
};
use linecard_wire::MacAddress;
use linecard_wire::builder::{Ipv4, PacketBuilder, Udp};

const DEADLINE: Duration = Duration::from_secs(10);
const NEAR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const FAR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn memory() -> PacketMemory {
    PacketMemory::new(MemoryConfig { frames: 512, chunk_bytes: 2048 }).expect("memory")
}

fn open(name: &str, queue: u32, memory: &mut PacketMemory) -> XdpQueue {
    let interface = Interface::by_name(name).expect("an interface");
    let options = QueueOptions {
        interface_index: interface.index,
        queue,
        transmit_queues: interface.transmit_queues,
        ring_entries: 64,
        zero_copy: ZeroCopy::Off,
    };
    XdpQueue::open(memory, &mut SharedUmem::default(), options).expect("a socket")
}

/// Queues `count` transit packets from `far` to `near`.
fn queue_transit(queue: &mut XdpQueue, memory: &mut PacketMemory, count: usize) {
    let packet = PacketBuilder::new()
        .ethernet(MacAddress::new(NEAR_MAC), MacAddress::new(FAR_MAC))
        .ipv4(Ipv4::new([192, 0, 2, 9].into(), [198, 51, 100, 1].into()))
        .udp(Udp::new(4000, 4001))
        .payload(&[0; 18])
        .build();
    let mut frames: Vec<_> = (0..count)
        .map(|_| {
            let mut frame = memory.allocate().expect("a free frame");
            assert!(memory.set_packet(&mut frame, &packet));
            frame
        })
        .collect();
    assert_eq!(queue.transmit(memory, &mut frames), count);
}

#[test]
fn a_queue_that_nobody_serves_is_the_kernel_s() {
    in_namespace(|| {
        let near = Interface::by_name("near").expect("near");
        assert_eq!((near.receive_queues, near.transmit_queues), (2, 2));
        let local = LocalAddresses::new().expect("maps");
        let switch = DeadManSwitch::new(1).expect("a mapped array");
        let mut port =
            XdpPort::new(near.index, NEAR_MAC, 1, 1792, &local, &switch).expect("programs");
        let mut near_memory = memory();
        let socket = open("near", 0, &mut near_memory);
        port.register(0, &socket).expect("registered");
        port.attach(AttachMode::Native).expect("attached");
        let _armed = switch.arm(0).expect("arm");
        let count = |outcome: Outcome| port.outcomes().expect("maps")[outcome as usize].packets;
        for (number, outcome) in [(0, Outcome::Taken), (1, Outcome::Standby)] {
            let mut far_memory = memory();
            let mut far = open("far", number, &mut far_memory);
            queue_transit(&mut far, &mut far_memory, 5);
            let deadline = Instant::now() + DEADLINE;
            while count(outcome) < 5 {
                far.flush(&mut far_memory);
                assert!(Instant::now() < deadline, "queue {number}: {:?}", port.outcomes());
            }
        }
        assert_eq!((count(Outcome::Taken), count(Outcome::Standby)), (5, 5));
    });
}

#[test]
fn what_an_interface_that_is_gone_held_is_lost() {
    in_namespace(|| {
        let mut memory = memory();
        let mut queue = open("far", 1, &mut memory);
        let free = memory.free_frames();
        ip("link set far down");
        queue_transit(&mut queue, &mut memory, 7);
        queue.flush(&mut memory);
        assert_eq!((queue.queued(), queue.kernel_counters().tx_invalid), (7, 0), "it may come up");
        ip("link delete far");
        for lost in [7, 10] {
            queue.flush(&mut memory);
            assert_eq!((queue.queued(), queue.kernel_counters().tx_invalid), (0, lost));
            assert_eq!((queue.sent(), memory.free_frames()), (0, free));
            queue_transit(&mut queue, &mut memory, 3);
        }
    });
}

#[test]
fn another_packet_memory_is_refused() {
    in_namespace(|| {
        let (mut own, mut other) = (memory(), memory());
        let mut queue = open("near", 0, &mut own);
        queue.receive(&mut own, &mut Vec::new(), 64);
        let mut refused = |call: &mut dyn FnMut(&mut XdpQueue, &mut PacketMemory)| {
            let call = AssertUnwindSafe(|| call(&mut queue, &mut other));
            let panic = catch_unwind(call).expect_err("a panic");
            let text = panic.downcast_ref::<&str>().copied();
            assert_eq!(text, Some("an AF_XDP queue of another packet memory"));
        };
        refused(&mut |queue, other| {
            queue.receive(other, &mut Vec::new(), 64);
        });
        refused(&mut |queue, other| {
            queue.transmit(other, &mut Vec::new());
        });
        refused(&mut |queue, other| queue.flush(other));
    });
}
