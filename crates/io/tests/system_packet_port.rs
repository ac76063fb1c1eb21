//! The packet port on a veth pair, against the kernel's own packet sockets and UDP sockets.
//!
//! Each test makes a network namespace for its thread, with a veth pair `near` (the port) and
//! `far` (the other end of its wire). Needs root and iproute2.
#![allow(
    unsafe_code,
    reason = "raw sockets and a filter program, which no safe wrapper here opens"
)]

mod common;

use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use common::{in_namespace, ip};
use rustix::event::{PollFd, PollFlags, Timespec};

use linecard_io::{
    DeadManSwitch, Frame, Interface, LocalAddresses, MemoryConfig, Outcome, PacketGate,
    PacketMemory, PacketPort, PacketPortError, PacketPortOptions, PortQueue,
};

const DEADLINE: Duration = Duration::from_secs(10);
const NEAR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const FAR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// The kernel's own packet socket on `far`.
struct Far(OwnedFd);

impl Far {
    fn open() -> Self {
        // SAFETY: a plain system call; the descriptor is new and owned from here on.
        let socket = unsafe {
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, 0);
            assert!(fd >= 0, "{}", std::io::Error::last_os_error());
            OwnedFd::from_raw_fd(fd)
        };
        let index = rustix::net::netdevice::name_to_index(&socket, "far").expect("far");
        // SAFETY: `address` is a plain struct of integers; the kernel reads its size.
        let bound = unsafe {
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
            address.sll_ifindex = index.cast_signed();
            let length = std::mem::size_of_val(&address) as u32;
            libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length)
        };
        assert_eq!(bound, 0, "{}", std::io::Error::last_os_error());
        Self(socket)
    }

    fn send(&self, packet: &[u8]) {
        let sent = rustix::net::send(&self.0, packet, rustix::net::SendFlags::empty());
        assert_eq!(sent, Ok(packet.len()));
    }

    /// The next packet that was sent from `near`, without what this end sent itself.
    fn receive(&self) -> Vec<u8> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            wait(self.0.as_fd(), deadline);
            let mut buffer = vec![0; 4096];
            let (length, _) =
                rustix::net::recv(&self.0, &mut buffer[..], rustix::net::RecvFlags::empty())
                    .expect("a packet waits");
            buffer.truncate(length);
            if buffer[6..12] != FAR_MAC {
                return buffer;
            }
        }
    }
}

/// Waits until `socket` is readable.
fn wait(socket: BorrowedFd<'_>, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    let mut poll = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
    let timeout = left.try_into().expect("short");
    let ready = rustix::event::poll(&mut poll, Some(&timeout)).expect("poll");
    assert_eq!(ready, 1, "nothing came within {DEADLINE:?}");
}

fn memory(chunk_bytes: u32) -> PacketMemory {
    PacketMemory::new(MemoryConfig { frames: 512, chunk_bytes }).expect("memory")
}

fn open(interface: &str) -> PacketPort {
    PacketPort::open(&PacketPortOptions::new(interface)).expect("a port")
}

/// Receives until `count` packets have come; gives the frames back.
fn receive(port: &mut PacketPort, memory: &mut PacketMemory, count: usize) -> Vec<Vec<u8>> {
    let deadline = Instant::now() + DEADLINE;
    let mut frames = Vec::with_capacity(256);
    let mut packets = Vec::new();
    while packets.len() < count {
        wait(port.readable().expect("a socket"), deadline);
        port.receive(memory, &mut frames, 256);
        for frame in frames.drain(..) {
            packets.push(memory.packet(&frame).to_vec());
            memory.free(frame);
        }
    }
    assert_eq!(packets.len(), count);
    packets
}

fn frame(memory: &mut PacketMemory, packet: &[u8]) -> Frame {
    let mut frame = memory.allocate().expect("a free frame");
    assert!(memory.set_packet(&mut frame, packet));
    frame
}

/// An Ethernet frame of `length` bytes from `far` to `near`, behind whose addresses `head` stands.
fn packet(head: &[u8], length: usize) -> Vec<u8> {
    let mut packet = [&NEAR_MAC[..], &FAR_MAC, head].concat();
    let start = packet.len();
    packet.extend((start..length).map(|index| index as u8));
    packet
}

/// The same frame from `near` to `far`.
fn reply(head: &[u8], length: usize) -> Vec<u8> {
    let mut packet = packet(head, length);
    packet[..6].copy_from_slice(&FAR_MAC);
    packet[6..12].copy_from_slice(&NEAR_MAC);
    packet
}

const IPV4: [u8; 2] = [0x08, 0x00];

#[test]
fn frames_cross_in_both_directions_byte_for_byte() {
    in_namespace(|| {
        let (mut memory, mut port, far) = (memory(2048), open("near"), Far::open());
        let lengths = [60, 61, 64, 500, 1513, 1514];
        for length in lengths {
            far.send(&packet(&IPV4, length));
        }
        let expected: Vec<_> = lengths.map(|length| packet(&IPV4, length)).into();
        assert_eq!(receive(&mut port, &mut memory, lengths.len()), expected);

        let replies = lengths.map(|length| reply(&IPV4, length));
        let mut frames: Vec<_> = replies.iter().map(|reply| frame(&mut memory, reply)).collect();
        assert_eq!(port.transmit(&mut memory, &mut frames), lengths.len());
        assert_eq!((port.queued(), port.sent()), (lengths.len(), 0));
        port.flush(&mut memory);
        assert_eq!((port.queued(), port.sent()), (0, lengths.len() as u64));
        for reply in &replies {
            assert_eq!(far.receive(), *reply);
        }
        let mut own = Vec::with_capacity(1);
        assert_eq!(port.receive(&mut memory, &mut own, 1), 0, "the port does not hear itself");
        assert_eq!(memory.free_frames(), memory.frames());
    });
}

#[test]
fn a_vlan_tag_survives_both_ways() {
    in_namespace(|| {
        let (mut memory, mut port, far) = (memory(2048), open("near"), Far::open());
        let heads: [&[u8]; 3] = [
            &[0x81, 0, 0x60, 5, 8, 0],
            &[0x88, 0xa8, 0x20, 7, 8, 0],
            &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 9, 0x86, 0xdd],
        ];
        for head in heads {
            // An 802.1Q tag comes on top of the MTU; for others a packet socket has no such rule.
            let length = if head[0] == 0x81 { 1518 } else { 1514 };
            far.send(&packet(head, length));
            assert_eq!(receive(&mut port, &mut memory, 1), [packet(head, length)]);
        }
        let tagged = reply(heads[0], 1518);
        let mut frames = vec![frame(&mut memory, &tagged)];
        port.transmit(&mut memory, &mut frames);
        port.flush(&mut memory);
        assert_eq!(port.sent(), 1);
        // `far` strips the tag in its turn, so what a plain socket reads lacks it.
        assert_eq!(far.receive(), [&tagged[..12], &tagged[16..]].concat());
    });
}

/// Gives `far` an address and the way to a neighbour behind `near`, and opens a socket there.
fn udp() -> UdpSocket {
    ip("address add 192.0.2.1/24 dev far");
    ip("neighbour add 192.0.2.2 lladdr 02:00:00:00:00:01 dev far");
    let socket = UdpSocket::bind("192.0.2.1:4000").expect("bind");
    socket.connect("192.0.2.2:53").expect("connect");
    socket
}

/// Sends three datagrams as one packet (`UDP_SEGMENT`), short enough for a frame.
fn send_merged(socket: &UdpSocket) {
    let bytes = 500i32;
    // SAFETY: the kernel reads the four bytes of `bytes`.
    let set = unsafe {
        let value = (&raw const bytes).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, value, 4)
    };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    assert_eq!(socket.send(&[7; 1500]).expect("send"), 1500);
}

#[test]
fn a_checksum_that_the_sender_left_open_is_completed() {
    in_namespace(|| {
        let (mut memory, mut port, socket) = (memory(2048), open("near"), udp());
        for payload in [&b"even"[..], b"odd length", b"odd", &[0xff; 1472]] {
            assert_eq!(socket.send(payload).expect("send"), payload.len());
            let packets = receive(&mut port, &mut memory, 1);
            let segment = &packets[0][34..];
            assert_eq!(&segment[8..], payload);
            let mut pseudo_header = packets[0][26..34].to_vec();
            pseudo_header.extend([0, 17]);
            pseudo_header.extend((segment.len() as u16).to_be_bytes());
            let bytes = [&pseudo_header, segment].concat();
            assert!(linecard_wire::checksum::verify(&bytes), "{} bytes", payload.len());
        }
    });
}

#[test]
fn packets_that_no_frame_holds_are_counted() {
    in_namespace(|| {
        let (mut memory, mut port, socket, far) = (memory(2048), open("near"), udp(), Far::open());
        send_merged(&socket);
        for end in ["near", "far"] {
            ip(&format!("link set {end} mtu 9000"));
        }
        far.send(&packet(&IPV4, 1793));
        far.send(&packet(&IPV4, 1792));
        assert_eq!(receive(&mut port, &mut memory, 1), [packet(&IPV4, 1792)]);
        assert_eq!(port.kernel_counters().rx_invalid, 2);
        assert_eq!(memory.free_frames(), memory.frames());
    });
}

#[test]
fn what_the_socket_drops_is_counted_once() {
    in_namespace(|| {
        let options =
            PacketPortOptions { receive_packets_max: 1, ..PacketPortOptions::new("near") };
        let mut port = PacketPort::open(&options).expect("a port");
        let (mut memory, far) = (memory(2048), Far::open());
        for _ in 0..200 {
            far.send(&packet(&IPV4, 60));
        }
        let deadline = Instant::now() + DEADLINE;
        let (mut received, mut frames) = (0, Vec::with_capacity(256));
        while received + port.kernel_counters().rx_ring_full < 200 {
            received += port.receive(&mut memory, &mut frames, 256) as u64;
            assert!(Instant::now() < deadline, "{received} received, {:?}", port.kernel_counters());
        }
        let dropped = port.kernel_counters().rx_ring_full;
        assert!(dropped > 0, "the ring has room for one block");
        assert_eq!((received + dropped, port.kernel_counters().rx_ring_full), (200, dropped));
        for frame in frames {
            memory.free(frame);
        }
    });
}

#[test]
fn the_filter_decides_what_comes_in() {
    in_namespace(|| {
        // Accepts what is not merged (gso_size, 176 bytes into __sk_buff, is 0) and IPv4:
        // r6 = r1; r0 = gso_size; compare; r0 = ntohs(*(u16 *)(frame + 12)); compare.
        let program: [u64; 9] = [
            0x0000_0000_0000_16bf,
            0x0000_0000_00b0_6061,
            0x0000_0000_0004_0055,
            0x0000_000c_0000_0028,
            0x0000_0800_0002_0055,
            0xffff_ffff_0000_00b7,
            0x0000_0000_0000_0095,
            0x0000_0000_0000_00b7,
            0x0000_0000_0000_0095,
        ];
        let filter = load_filter(&program);
        let filter = Some(filter.as_fd());
        let options = PacketPortOptions { filter, ..PacketPortOptions::new("near") };
        let mut port = PacketPort::open(&options).expect("a port");
        let (mut memory, socket, far) = (memory(2048), udp(), Far::open());
        far.send(&packet(&[0x86, 0xdd], 60));
        send_merged(&socket);
        far.send(&packet(&IPV4, 61));
        far.send(&packet(&[0x08, 0x06], 62));
        far.send(&packet(&IPV4, 63));
        let expected = [packet(&IPV4, 61), packet(&IPV4, 63)];
        assert_eq!(receive(&mut port, &mut memory, 2), expected);
        assert_eq!(port.kernel_counters().rx_invalid, 0);
    });
}

#[test]
fn the_gate_stands_in_front_of_the_programs_that_were_there() {
    in_namespace(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("any socket");
        let near = rustix::net::netdevice::name_to_index(&socket, "near").expect("near");
        let local = LocalAddresses::new().expect("maps");
        let switch = DeadManSwitch::new(1).expect("a mapped array");
        let _armed = switch.arm(0).expect("arm");
        let gate = || PacketGate::new(near, NEAR_MAC, 1792, &local, &switch, None).expect("a gate");
        let (mut first, mut second) = (gate(), gate());
        first.attach().expect("attached");
        second.attach().expect("attached");
        let taken = |gate: &PacketGate| {
            let outcomes = gate.outcomes().expect("maps");
            outcomes[Outcome::Taken as usize].packets
        };
        let far = Far::open();
        let deadline = Instant::now() + DEADLINE;
        while taken(&first) + taken(&second) == 0 {
            far.send(&flow_packet(1));
            assert!(Instant::now() < deadline, "no gate saw a packet");
        }
        assert_eq!(taken(&first), 0, "what the second gate drops does not come to the first");
    });
}

/// Loads a program of type `BPF_PROG_TYPE_SOCKET_FILTER` (1) by `BPF_PROG_LOAD` (5).
fn load_filter(program: &[u64]) -> OwnedFd {
    #[repr(C)]
    struct Load(u32, u32, u64, u64, [u64; 16]);
    let license = c"Apache-2.0";
    let (instructions, license) = (program.as_ptr() as u64, license.as_ptr() as u64);
    let load = Load(1, program.len() as u32, instructions, license, [0; 16]);
    // SAFETY: the kernel reads `load`, and the program and text it points to, which live through
    // the call; the descriptor is new and owned from here on.
    unsafe {
        let fd = libc::syscall(libc::SYS_bpf, 5, &raw const load, std::mem::size_of_val(&load));
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(i32::try_from(fd).expect("a descriptor"))
    }
}

#[test]
fn queues_of_a_group_share_the_flows() {
    const FLOWS: u16 = 256;
    in_namespace(|| {
        let options = PacketPortOptions { fanout_group: Some(7), ..PacketPortOptions::new("near") };
        let open = || PacketPort::open(&options).expect("a port");
        let (mut queues, far) = ([open(), open()], Far::open());
        let mut memory = memory(2048);
        for flow in 0..FLOWS {
            far.send(&flow_packet(flow));
            far.send(&flow_packet(flow));
        }
        let deadline = Instant::now() + DEADLINE;
        let mut queue_of = vec![Vec::new(); usize::from(FLOWS)];
        while queue_of.iter().map(Vec::len).sum::<usize>() < 2 * usize::from(FLOWS) {
            assert!(Instant::now() < deadline, "{queue_of:?}");
            for (index, queue) in queues.iter_mut().enumerate() {
                let mut frames = Vec::with_capacity(64);
                queue.receive(&mut memory, &mut frames, 64);
                for frame in frames {
                    let port = &memory.packet(&frame)[34..36];
                    queue_of[usize::from(u16::from_be_bytes([port[0], port[1]]))].push(index);
                    memory.free(frame);
                }
            }
        }
        assert!(queue_of.iter().all(|of| of.len() == 2 && of[0] == of[1]), "{queue_of:?}");
        let first = queue_of.iter().filter(|of| of[0] == 0).count();
        assert!((64..192).contains(&first), "{first} of {FLOWS} flows in the first queue");

        let taken = PacketPort::open(&PacketPortOptions { interface: "far", ..options });
        assert!(matches!(taken, Err(PacketPortError::FanoutGroup { group: 7, .. })), "{taken:?}");
    });
}

/// A UDP packet whose source port is the number of its flow.
fn flow_packet(flow: u16) -> Vec<u8> {
    let mut packet = packet(&IPV4, 60);
    packet[14..34].copy_from_slice(&[
        0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1,
    ]);
    packet[34..36].copy_from_slice(&flow.to_be_bytes());
    packet
}

#[test]
fn frames_that_cannot_leave_are_counted_and_the_port_recovers() {
    in_namespace(|| {
        let (mut memory, mut port, far) = (memory(2048), open("near"), Far::open());
        let mut send = |port: &mut PacketPort, lengths: &[usize]| {
            let packets = lengths.iter().map(|&length| reply(&IPV4, length));
            let mut frames: Vec<_> = packets.map(|reply| frame(&mut memory, &reply)).collect();
            port.transmit(&mut memory, &mut frames);
            port.flush(&mut memory);
            assert!(frames.is_empty() && memory.free_frames() == memory.frames());
            (port.sent(), port.kernel_counters().tx_invalid)
        };
        assert_eq!(send(&mut port, &[60, 1515, 61]), (2, 1), "one is longer than the MTU allows");
        ip("link set near down");
        assert_eq!(send(&mut port, &[60, 61]), (2, 3));
        ip("link set near up");
        assert_eq!(send(&mut port, &[62]), (3, 3));
        let lengths = [far.receive(), far.receive(), far.receive()].map(|packet| packet.len());
        assert_eq!(lengths, [60, 61, 62]);
        far.send(&packet(&IPV4, 60));
        let mut memory = self::memory(2048);
        assert_eq!(receive(&mut port, &mut memory, 1), [packet(&IPV4, 60)]);
    });
}

/// What poll says of the port without waiting.
fn events(port: &PacketPort) -> PollFlags {
    let mut set = [PollFd::from_borrowed_fd(port.readable().expect("a socket"), PollFlags::IN)];
    rustix::event::poll(&mut set, Some(&Timespec::default())).expect("poll");
    set[0].revents()
}

#[test]
fn a_port_that_went_down_can_be_waited_for_again() {
    in_namespace(|| {
        let (mut memory, mut port, far) = (memory(2048), open("near"), Far::open());
        for _ in 0..2 {
            assert!(!events(&port).contains(PollFlags::ERR));
            ip("link set near down");
            assert!(events(&port).contains(PollFlags::ERR), "the kernel reports ENETDOWN");
            port.clear_error();
            assert!(!events(&port).contains(PollFlags::ERR));
            ip("link set near up");
            // `far` drops what it is given until it has noticed that its carrier is back.
            let deadline = Instant::now() + DEADLINE;
            while events(&port) != PollFlags::IN {
                far.send(&packet(&IPV4, 60));
                assert!(Instant::now() < deadline, "{:?}", events(&port));
            }
            let mut frames = Vec::with_capacity(256);
            while port.receive(&mut memory, &mut frames, 256) > 0 {
                frames.drain(..).for_each(|frame| memory.free(frame));
            }
        }
    });
}

#[test]
fn a_frame_that_the_other_end_refuses_does_not_hold_the_others() {
    in_namespace(|| {
        ip("link set far mtu 1000");
        let (mut memory, mut port, far) = (memory(2048), open("near"), Far::open());
        let lengths = [60, 1400, 1500, 61];
        let packets = lengths.map(|length| reply(&IPV4, length));
        let mut frames: Vec<_> = packets.iter().map(|packet| frame(&mut memory, packet)).collect();
        port.transmit(&mut memory, &mut frames);
        for _ in 0..100 {
            port.flush(&mut memory);
        }
        assert_eq!((port.queued(), port.sent(), port.kernel_counters().tx_invalid), (0, 2, 2));
        assert_eq!([far.receive().len(), far.receive().len()], [60, 61]);
        assert_eq!(memory.free_frames(), memory.frames());
    });
}

#[test]
fn tag_stripping_is_turned_off_and_on_again() {
    in_namespace(|| {
        let near = Interface::by_name("near").expect("near");
        assert!(near.keep_vlan_tags().expect("a veth can be told"), "a veth strips at first");
        assert!(!near.keep_vlan_tags().expect("asked"), "it no longer does");
        near.strip_vlan_tags().expect("a veth can be told");
        assert!(near.keep_vlan_tags().expect("asked"), "it does again");
    });
}

#[test]
fn a_full_transmit_queue_refuses() {
    in_namespace(|| {
        let options =
            PacketPortOptions { transmit_frames_max: 2, ..PacketPortOptions::new("near") };
        let mut port = PacketPort::open(&options).expect("a port");
        let mut memory = memory(2048);
        let mut frames: Vec<_> = (0..3).map(|_| frame(&mut memory, &reply(&IPV4, 60))).collect();
        assert_eq!(port.transmit(&mut memory, &mut frames), 2);
        assert_eq!((frames.len(), port.queued()), (1, 2));
        port.flush(&mut memory);
        assert_eq!(port.transmit(&mut memory, &mut frames), 1);
        port.flush(&mut memory);
        assert_eq!((port.sent(), port.queued()), (3, 0));
    });
}

#[test]
fn what_is_missing_is_named() {
    in_namespace(|| {
        let message = |interface| {
            let port = PacketPort::open(&PacketPortOptions::new(interface));
            port.expect_err("refused").to_string()
        };
        assert!(message("nowhere").starts_with("nowhere: no such interface"));
        assert_eq!(
            message("lo"),
            "lo: not an Ethernet interface (ARP hardware type 772); only Ethernet can be a port"
        );
        let mut sets = rustix::thread::capabilities(None).expect("capabilities");
        sets.effective.remove(rustix::thread::CapabilitySet::NET_RAW);
        rustix::thread::set_capabilities(None, sets).expect("give up a capability");
        assert!(message("near").contains("near: packet sockets need the capability CAP_NET_RAW"));
    });
}
