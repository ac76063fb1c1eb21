//! Transmission by live frames on veth pairs. Needs root and iproute2.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{in_namespace, ip};
use linecard_io::xdp::live_transmitter::{
    LIVE_FRAME_BYTES_MAX, LIVE_FRAMES_MAX, LiveLosses, LiveTransmitter,
};
use linecard_io::xdp::{Armed, QueueOptions, SharedUmem, XdpQueue, ZeroCopy};
use linecard_io::{
    AttachMode, DeadManSwitch, Frame, Interface, LocalAddresses, MemoryConfig, PacketMemory,
    PortQueue, XdpPort,
};
use linecard_wire::MacAddress;
use linecard_wire::builder::{Ipv4, PacketBuilder, Udp};

const DEADLINE: Duration = Duration::from_secs(10);
const NEAR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 3];
const FAR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 4];
/// The port's number.
const PORT: u16 = 5;

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

fn queue(memory: &mut PacketMemory, umem: &mut SharedUmem, interface: &str) -> XdpQueue {
    let options = QueueOptions {
        interface_index: index(interface),
        queue: 0,
        transmit_queues: 1,
        ring_entries: 1024,
        zero_copy: ZeroCopy::Off,
    };
    XdpQueue::open(memory, umem, options).expect("a socket")
}

/// A wire with one queue each way, from `this` to `that`, whose far end gives all to a socket.
struct Wire {
    transmitter: Arc<LiveTransmitter>,
    near_memory: PacketMemory,
    far_memory: PacketMemory,
    far: XdpQueue,
    /// Packets that were made.
    sent: usize,
    /// Packets that have arrived.
    arrived: usize,
    _port: XdpPort,
    _armed: Armed,
}

impl Wire {
    fn new() -> Self {
        ip(
            "link add this address 02:00:00:00:00:03 type veth peer name that address 02:00:00:00:00:04",
        );
        ip("link add anchor type veth peer name chain");
        for end in ["this", "that"] {
            ip(&format!("link set {end} addrgenmode none"));
            ip(&format!("link set {end} up"));
        }
        let local = LocalAddresses::new().expect("maps");
        let switch = DeadManSwitch::new(1).expect("a mapped array");
        let mut port =
            XdpPort::new(index("that"), FAR_MAC, 1, 1792, &local, &switch).expect("programs");
        let mut far_memory = memory();
        let far = queue(&mut far_memory, &mut SharedUmem::default(), "that");
        port.register(0, &far).expect("registered");
        port.attach(AttachMode::Native).expect("attached");
        let _armed = switch.arm(0).expect("arm");
        let transmitter = LiveTransmitter::new(index("anchor")).expect("anchored");
        transmitter.set_port(PORT, index("this")).expect("a port");
        transmitter.open_port(PORT, true);
        let (near_memory, (sent, arrived)) = (memory(), (0, 0));
        Self { transmitter, near_memory, far_memory, far, sent, arrived, _port: port, _armed }
    }

    /// The next packet, in a frame.
    fn frame(&mut self) -> Frame {
        let mut frame = self.near_memory.allocate().expect("a free frame");
        assert!(self.near_memory.set_packet(&mut frame, &packet(self.sent)));
        self.sent += 1;
        frame
    }

    /// The same, pushed.
    fn push(&mut self) {
        let frame = self.frame();
        assert!(self.transmitter.push(&self.near_memory, &frame, PORT), "there is room");
        self.near_memory.free(frame);
    }

    /// Waits for all that was sent, which must come whole and in order.
    fn expect_all(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        let mut frames = Vec::with_capacity(LIVE_FRAMES_MAX);
        while self.arrived < self.sent {
            assert!(Instant::now() < deadline, "{} of {} packets", self.arrived, self.sent);
            self.far.receive(&mut self.far_memory, &mut frames, LIVE_FRAMES_MAX);
            for frame in frames.drain(..) {
                let number = self.arrived;
                assert_eq!(self.far_memory.packet(&frame), packet(number), "packet {number}");
                self.far_memory.free(frame);
                self.arrived += 1;
            }
        }
    }

    fn losses(&self) -> LiveLosses {
        self.transmitter.losses().expect("a map")[usize::from(PORT)]
    }
}

#[test]
fn frames_arrive_whole_and_in_their_order() {
    in_namespace(|| {
        let mut wire = Wire::new();
        // The second and the third batch come upon a program that has counted before.
        for batch in [3, LIVE_FRAMES_MAX, 1] {
            (0..batch).for_each(|_| wire.push());
            assert_eq!(wire.transmitter.pending(), batch);
            wire.transmitter.flush();
            wire.expect_all();
        }
        wire.transmitter.flush();
        assert_eq!(wire.transmitter.frames(), wire.sent as u64);
        assert_eq!(wire.losses(), LiveLosses::default());
    });
}

#[test]
fn what_does_not_fit_is_refused() {
    in_namespace(|| {
        let wire = Wire::new();
        let error = LiveTransmitter::new(index("anchor")).map(drop);
        assert_eq!(error.expect_err("taken").raw_os_error(), Some(libc::EBUSY));
        let config = MemoryConfig { frames: 1, chunk_bytes: 4096 };
        let mut memory = PacketMemory::new(config).expect("memory");
        let mut frame = memory.allocate().expect("a frame");
        assert!(memory.set_packet(&mut frame, &vec![0; LIVE_FRAME_BYTES_MAX + 1]));
        assert!(!wire.transmitter.push(&memory, &frame, PORT), "too large");
        memory.truncate(&mut frame, LIVE_FRAME_BYTES_MAX);
        for _ in 0..LIVE_FRAMES_MAX {
            assert!(wire.transmitter.push(&memory, &frame, PORT));
        }
        assert!(!wire.transmitter.push(&memory, &frame, PORT), "full");
        memory.free(frame);
    });
}

#[test]
fn whatever_is_lost_is_counted() {
    in_namespace(|| {
        let mut wire = Wire::new();
        let mut refused = 0;
        let mut lose = |wire: &mut Wire, what: &str| {
            (0..20).for_each(|_| wire.push());
            wire.transmitter.flush();
            refused += 20;
            assert_eq!(wire.losses(), LiveLosses { full: 0, refused }, "{what}");
        };
        ip("link set that down");
        lose(&mut wire, "nobody takes it");
        ip("link set this down");
        lose(&mut wire, "the port is down");
        wire.transmitter.set_port(PORT, index("chain")).expect("a port");
        ip("link set chain up");
        lose(&mut wire, "a peer that takes no redirected frames");
        wire.transmitter.set_port(PORT, index("this")).expect("a port");
        ip("link del this");
        lose(&mut wire, "the port is gone");
    });
}

/// Sends a batch, as a worker does in a round.
fn round(wire: &mut Wire, queue: &mut XdpQueue, packets: usize) {
    let mut frames: Vec<Frame> = (0..packets).map(|_| wire.frame()).collect();
    assert_eq!(queue.transmit(&mut wire.near_memory, &mut frames), packets);
    queue.flush(&mut wire.near_memory);
}

#[test]
fn a_queue_changes_its_way_and_keeps_the_order() {
    in_namespace(|| {
        let mut wire = Wire::new();
        let mut near = queue(&mut wire.near_memory, &mut SharedUmem::default(), "this");
        near.send_live(&wire.near_memory, Arc::clone(&wire.transmitter), PORT);
        let free = wire.near_memory.free_frames();
        let deadline = Instant::now() + DEADLINE;
        let mut live = 0;
        for _ in 0..20 {
            round(&mut wire, &mut near, 5);
            assert_eq!(wire.transmitter.frames(), live, "few leave by the socket");
            while near.queued() > 0 {
                assert!(Instant::now() < deadline, "{} frames left", near.queued());
                near.flush(&mut wire.near_memory);
            }
            round(&mut wire, &mut near, LIVE_FRAMES_MAX + 44);
            assert_eq!(near.queued(), 0, "nothing waits");
            for _ in 0..64 {
                round(&mut wire, &mut near, 1);
            }
            live += LIVE_FRAMES_MAX as u64 + 44 + 64;
            assert_eq!(wire.transmitter.frames(), live);
            wire.expect_all();
        }
        // A port that is closed is left at once.
        round(&mut wire, &mut near, 40);
        wire.transmitter.open_port(PORT, false);
        round(&mut wire, &mut near, 40);
        assert_eq!(wire.transmitter.frames(), live + 40);
        wire.expect_all();
        while near.queued() > 0 {
            assert!(Instant::now() < deadline, "{} frames left", near.queued());
            near.flush(&mut wire.near_memory);
        }
        assert_eq!(near.sent(), wire.sent as u64);
        assert_eq!(near.kernel_counters().tx_invalid, 0);
        assert_eq!(wire.near_memory.free_frames(), free, "no frame is lost");
        ip("link set that down");
        wire.transmitter.open_port(PORT, true);
        round(&mut wire, &mut near, 40);
        assert_eq!(near.kernel_counters().tx_invalid, 40, "lost, and counted");
    });
}
