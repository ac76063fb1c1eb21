//! The class of a frame: which protocol it is, and whether it came from where that protocol comes from.
//!
//! What cannot be told, such as a fragment or what is cut short, is the rest.

use std::os::fd::BorrowedFd;

use super::OUTCOME;
use crate::bpf::assembler::{Alu, If, Label, Register::*, Width};
use crate::bpf::classifier::{Generator, on_wire};
use crate::bpf::outcome::Outcome;
use crate::bpf::uapi::{MAP_LOOKUP, XDP_DATA, XDP_DATA_END};
use crate::protection::ProtectionClass as Class;

// Helper numbers: enum bpf_func_id, linux/bpf.h.
const SK_RELEASE: i32 = 86;
const SKC_LOOKUP_TCP: i32 = 99;
/// `BPF_F_CURRENT_NETNS`: the network namespace of the interface.
const CURRENT_NETNS: i32 = -1;

/// `state` of `struct bpf_sock`, linux/bpf.h.
const SOCK_STATE: i16 = 72;
/// States (net/tcp_states.h) of what is not a connection: SYN_RECV, TIME_WAIT, CLOSE, LISTEN, NEW_SYN_RECV.
const NOT_CONNECTED: [i32; 5] = [3, 6, 7, 10, 12];

// The stack, from the frame pointer, below the parent's.
const TTL: i16 = -80;
/// Whether the destination is an address of the link alone: link-local or such a group.
const ON_LINK: i16 = -88;
/// Whether it is a group beyond the link.
const GROUP: i16 = -96;
const PROTOCOL: i16 = -104;
/// `struct bpf_sock_tuple`: addresses and ports, 12 or 36 bytes.
const TUPLE: i16 = -144;

// Protocol numbers (IANA) by class.
const ICMP: i32 = 1;
const TCP: i32 = 6;
const UDP: i32 = 17;
const ICMPV6: i32 = 58;
const OSPF: i32 = 89;
/// IGMP, RSVP, EIGRP, PIM, VRRP.
const CONTROL_PROTOCOLS: [i32; 5] = [2, 46, 88, 103, 112];
/// IPv4 and IPv6 in IP, GRE, ESP, AH, EtherIP, L2TP.
const TUNNEL_PROTOCOLS: [i32; 7] = [4, 41, 47, 50, 51, 97, 115];
// EtherTypes (IEEE 802 numbers) by class.
/// LLDP, slow protocols (LACP), 802.1X, PTP, PPPoE discovery, CFM.
const CONTROL_TYPES: [u16; 6] = [0x88cc, 0x8809, 0x888e, 0x88f7, 0x8863, 0x8902];
/// MPLS, unicast and multicast, and PPPoE sessions.
const TUNNEL_TYPES: [u16; 3] = [0x8847, 0x8848, 0x8864];
// UDP ports by class.
/// PTP, RIP, RIPng, LDP, HSRP.
const CONTROL_PORTS: [u16; 6] = [319, 320, 520, 521, 646, 1985];
/// IKE and IPsec in UDP, L2TP, GTP-U, VXLAN, Geneve, WireGuard.
const TUNNEL_PORTS: [u16; 7] = [500, 4500, 1701, 2152, 4789, 6081, 51820];
/// Single-hop BFD and BFD on the members of a link aggregate: from the link, with the largest TTL.
const BFD_PORTS: [u16; 2] = [3784, 6784];
/// BFD's echo comes back from a neighbour that has forwarded it.
const BFD_ECHO_PORT: u16 = 3785;
const BFD_MULTIHOP_PORT: u16 = 4784;

/// Where the classes' code begins, and where to go on unlimited.
pub(super) struct Classes {
    pub(super) labels: [Label; Class::ALL.len()],
    pub(super) unlimited: Label,
}

impl Classes {
    pub(super) fn to(&self, class: Class) -> Label {
        self.labels[class as usize]
    }
}

#[derive(Clone, Copy)]
enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    /// Bytes of the addresses and ports of a TCP connection.
    fn tuple_bytes(self) -> i32 {
        match self {
            Self::Ipv4 => 12,
            Self::Ipv6 => 36,
        }
    }
}

/// Register use: R6 context, R7 header, R8 end of the packet (XDP), R9 offset of the header (skb).
impl Generator<'_> {
    /// Goes to the class of the frame.
    pub(super) fn classify(&mut self, classes: &Classes) {
        let rest = classes.to(Class::Rest);
        if self.is_xdp() {
            self.asm.load(Width::U32, R7, R6, XDP_DATA);
            self.asm.load(Width::U32, R8, R6, XDP_DATA_END);
        } else {
            self.asm.alu_immediate(Alu::Move, R9, 0);
        }
        self.need_or(14, rest);
        self.tags(rest);
        let (ipv4, ipv6) = (self.asm.label(), self.asm.label());
        self.asm.jump_if_immediate(R3, If::Equal, on_wire(0x0800), ipv4);
        self.asm.jump_if_immediate(R3, If::Equal, on_wire(0x86dd), ipv6);
        self.asm.jump_if_immediate(R3, If::Equal, on_wire(0x0806), classes.to(Class::ArpNd));
        for ether_type in CONTROL_TYPES {
            let to = classes.to(Class::Control);
            self.asm.jump_if_immediate(R3, If::Equal, on_wire(ether_type), to);
        }
        for ether_type in TUNNEL_TYPES {
            let to = classes.to(Class::Tunnel);
            self.asm.jump_if_immediate(R3, If::Equal, on_wire(ether_type), to);
        }
        // IEEE 802.3 3.2.6: a length, and behind it LLC: IS-IS, spanning tree.
        self.asm.from_network_order_u16(R3);
        self.asm.jump_if_immediate(R3, If::Less, 0x600, classes.to(Class::Control));
        self.asm.jump(rest);
        self.asm.place(ipv4);
        self.class_ipv4(classes);
        self.asm.place(ipv6);
        self.class_ipv6(classes);
    }

    /// RFC 791 offsets.
    fn class_ipv4(&mut self, classes: &Classes) {
        let (for_us, all, group) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.need_or(20, classes.to(Class::Rest));
        self.flags(0, 0);
        for (at, to) in [(12, TUPLE), (16, TUPLE + 4)] {
            self.asm.load(Width::U32, R1, R7, at);
            self.asm.store(Width::U32, R10, to, R1);
        }
        self.asm.load(Width::U8, R1, R7, 8);
        self.asm.store(Width::U64, R10, TTL, R1);
        self.asm.load(Width::U8, R1, R7, 9);
        self.asm.store(Width::U64, R10, PROTOCOL, R1);
        self.asm.load(Width::U8, R1, R7, 16);
        self.asm.jump_if_immediate(R1, If::GreaterOrEqual, 224, all);
        self.ours(16, self.from.maps.local_ipv4(), for_us, classes);
        self.asm.place(all);
        // RFC 5771 4: 224.0.0.0/24 is the link's; class E is nobody's, and the limited broadcast.
        self.asm.jump_if_immediate(R1, If::GreaterOrEqual, 240, for_us);
        self.asm.load(Width::U16, R2, R7, 16);
        self.asm.jump_if_immediate(R2, If::NotEqual, on_wire(0xe000), group);
        self.asm.load(Width::U8, R2, R7, 18);
        self.asm.jump_if_immediate(R2, If::NotEqual, 0, group);
        self.flags(1, 0);
        self.asm.jump(for_us);
        self.asm.place(group);
        self.flags(0, 1);
        self.asm.place(for_us);
        self.protocol(Family::Ipv4, classes);
        // What is left is TCP or UDP: an ordinary header is asked for, and no fragment.
        self.asm.load(Width::U16, R1, R7, 6);
        self.asm.alu_immediate(Alu::And, R1, on_wire(0x3fff));
        self.asm.jump_if_immediate(R1, If::NotEqual, 0, classes.to(Class::Rest));
        self.asm.load(Width::U8, R1, R7, 0);
        self.asm.jump_if_immediate(R1, If::NotEqual, 0x45, classes.to(Class::Exception));
        self.advance(20);
        self.transport(Family::Ipv4, classes);
    }

    /// RFC 8200 offsets.
    fn class_ipv6(&mut self, classes: &Classes) {
        let (for_us, upper) = (self.asm.label(), self.asm.label());
        self.need_or(40, classes.to(Class::Rest));
        self.flags(0, 0);
        for word in 0..4 {
            self.asm.load(Width::U64, R1, R7, 8 + 8 * word);
            self.asm.store(Width::U64, R10, TUPLE + 8 * word, R1);
        }
        self.asm.load(Width::U8, R1, R7, 7);
        self.asm.store(Width::U64, R10, TTL, R1);
        self.asm.load(Width::U8, R1, R7, 6);
        self.asm.store(Width::U64, R10, PROTOCOL, R1);
        self.scope_ipv6(for_us, classes);
        self.asm.place(for_us);
        self.asm.load(Width::U64, R1, R10, PROTOCOL);
        self.advance(40);
        self.asm.jump_if_immediate(R1, If::NotEqual, 0, upper);
        // A hop-by-hop header as MLD has it (RFC 2711): eight bytes with the router alert.
        self.need_or(8, classes.to(Class::Rest));
        self.asm.load(Width::U8, R1, R7, 1);
        self.asm.jump_if_immediate(R1, If::NotEqual, 0, classes.to(Class::Exception));
        self.asm.load(Width::U8, R1, R7, 0);
        self.asm.store(Width::U64, R10, PROTOCOL, R1);
        self.advance(8);
        self.asm.place(upper);
        self.protocol(Family::Ipv6, classes);
        self.transport(Family::Ipv6, classes);
    }

    /// Whose the destination of the IPv6 packet is; goes to `for_us` if it is the router's, or everybody's.
    fn scope_ipv6(&mut self, for_us: Label, classes: &Classes) {
        let (group, global, on_link, beyond) =
            (self.asm.label(), self.asm.label(), self.asm.label(), self.asm.label());
        self.asm.load(Width::U8, R1, R7, 24);
        self.asm.jump_if_immediate(R1, If::Equal, 0xff, group);
        self.asm.jump_if_immediate(R1, If::NotEqual, 0xfe, global);
        self.asm.load(Width::U8, R1, R7, 25);
        self.asm.alu_immediate(Alu::And, R1, 0xc0);
        self.asm.jump_if_immediate(R1, If::Equal, 0x80, on_link);
        self.asm.place(global);
        self.ours(24, self.from.maps.local_ipv6(), for_us, classes);
        self.asm.place(group);
        // RFC 4291 2.7: the scope; 1 and 2 are the interface's and the link's.
        self.asm.load(Width::U8, R1, R7, 25);
        self.asm.alu_immediate(Alu::And, R1, 0x0f);
        self.asm.jump_if_immediate(R1, If::Greater, 2, beyond);
        self.asm.place(on_link);
        self.flags(1, 0);
        self.asm.jump(for_us);
        self.asm.place(beyond);
        self.flags(0, 1);
        self.asm.jump(for_us);
    }

    /// Goes to `for_us` if the destination at `offset` is the router's own. What is transit and too large for
    /// Linecard is the kernel's to forward, and has no limit.
    fn ours(&mut self, offset: i32, addresses: BorrowedFd<'_>, for_us: Label, classes: &Classes) {
        self.asm.alu(Alu::Move, R2, R7);
        self.asm.alu_immediate(Alu::Add, R2, offset);
        self.asm.load_map(R1, addresses);
        self.asm.call(MAP_LOOKUP);
        self.asm.jump_if_immediate(R0, If::NotEqual, 0, for_us);
        self.asm.load(Width::U64, R1, R10, OUTCOME);
        let oversized = Outcome::Oversized as i32;
        self.asm.jump_if_immediate(R1, If::Equal, oversized, classes.unlimited);
        self.asm.jump(classes.to(Class::Exception));
    }

    /// Says what the destination is.
    fn flags(&mut self, on_link: i32, group: i32) {
        for (at, value) in [(ON_LINK, on_link), (GROUP, group)] {
            self.asm.alu_immediate(Alu::Move, R2, value);
            self.asm.store(Width::U64, R10, at, R2);
        }
    }

    /// What the protocol alone decides; goes on for TCP and UDP, the header at R7 being as it was.
    fn protocol(&mut self, family: Family, classes: &Classes) {
        let (ospf, icmp, go_on) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.asm.load(Width::U64, R1, R10, PROTOCOL);
        match family {
            Family::Ipv4 => {
                self.asm.jump_if_immediate(R1, If::Equal, ICMP, classes.to(Class::Icmp));
            }
            Family::Ipv6 => self.asm.jump_if_immediate(R1, If::Equal, ICMPV6, icmp),
        }
        self.asm.jump_if_immediate(R1, If::Equal, OSPF, ospf);
        for protocol in CONTROL_PROTOCOLS {
            self.asm.jump_if_immediate(R1, If::Equal, protocol, classes.to(Class::Control));
        }
        self.asm.load(Width::U64, R2, R10, GROUP);
        self.asm.jump_if_immediate(R2, If::NotEqual, 0, classes.to(Class::Multicast));
        self.asm.jump_if_immediate(R1, If::Equal, TCP, go_on);
        self.asm.jump_if_immediate(R1, If::Equal, UDP, go_on);
        for protocol in TUNNEL_PROTOCOLS {
            self.asm.jump_if_immediate(R1, If::Equal, protocol, classes.to(Class::Tunnel));
        }
        self.asm.jump(classes.to(Class::Rest));
        self.asm.place(ospf);
        // RFC 2328 A.1, RFC 5340 A.1: sent with a TTL of 1, or to the link's addresses; 255 where RFC 5082 is used.
        self.asm.load(Width::U64, R1, R10, ON_LINK);
        self.asm.jump_if_immediate(R1, If::NotEqual, 0, classes.to(Class::Ospf));
        self.asm.load(Width::U64, R1, R10, TTL);
        for ttl in [1, 255] {
            self.asm.jump_if_immediate(R1, If::Equal, ttl, classes.to(Class::Ospf));
        }
        self.asm.jump(classes.to(Class::Rest));
        if let Family::Ipv6 = family {
            self.asm.place(icmp);
            self.icmpv6(classes);
        }
        self.asm.place(go_on);
    }

    /// RFC 4443, RFC 4861, RFC 2710, RFC 3810.
    fn icmpv6(&mut self, classes: &Classes) {
        let (discovery, icmp) = (self.asm.label(), classes.to(Class::Icmp));
        self.need_or(4, icmp);
        self.asm.load(Width::U8, R1, R7, 0);
        for listener in [130, 131, 132, 143] {
            self.asm.jump_if_immediate(R1, If::Equal, listener, classes.to(Class::Control));
        }
        for kind in 133..=137 {
            self.asm.jump_if_immediate(R1, If::Equal, kind, discovery);
        }
        self.asm.jump(icmp);
        self.asm.place(discovery);
        // RFC 4861 7.1: what came from further away is no neighbour's, and the kernel drops it.
        self.asm.load(Width::U64, R1, R10, TTL);
        self.asm.jump_if_immediate(R1, If::Equal, 255, classes.to(Class::ArpNd));
        self.asm.jump(icmp);
    }

    /// TCP or UDP at R7.
    fn transport(&mut self, family: Family, classes: &Classes) {
        let (tcp, single_hop) = (self.asm.label(), self.asm.label());
        let (bfd, control, tunnel, rest) = [Class::Bfd, Class::Control, Class::Tunnel, Class::Rest]
            .map(|it| classes.to(it))
            .into();
        self.asm.load(Width::U64, R1, R10, PROTOCOL);
        self.asm.jump_if_immediate(R1, If::Equal, TCP, tcp);
        self.need_or(8, rest);
        self.asm.load(Width::U16, R1, R7, 2);
        self.asm.load(Width::U64, R2, R10, TTL);
        for port in BFD_PORTS {
            self.asm.jump_if_immediate(R1, If::Equal, on_wire(port), single_hop);
        }
        self.asm.jump_if_immediate(R1, If::Equal, on_wire(BFD_MULTIHOP_PORT), bfd);
        for port in CONTROL_PORTS {
            self.asm.jump_if_immediate(R1, If::Equal, on_wire(port), control);
        }
        for port in TUNNEL_PORTS {
            self.asm.jump_if_immediate(R1, If::Equal, on_wire(port), tunnel);
        }
        self.asm.jump_if_immediate(R1, If::NotEqual, on_wire(BFD_ECHO_PORT), rest);
        self.asm.jump_if_immediate(R2, If::Equal, 254, bfd);
        self.asm.place(single_hop);
        self.asm.jump_if_immediate(R2, If::Equal, 255, bfd);
        self.asm.jump(rest);
        self.asm.place(tcp);
        self.tcp(family, classes);
    }

    /// TCP at R7: part of a connection, or by its port.
    fn tcp(&mut self, family: Family, classes: &Classes) {
        let by_port = self.asm.label();
        self.need_or(20, classes.to(Class::Rest));
        // SYN without ACK asks for a connection: nothing that it says makes it part of one.
        self.asm.load(Width::U8, R1, R7, 13);
        self.asm.alu_immediate(Alu::And, R1, 0x12);
        self.asm.jump_if_immediate(R1, If::Equal, 0x02, by_port);
        let size = family.tuple_bytes();
        self.asm.load(Width::U32, R1, R7, 0);
        self.asm.store(Width::U32, R10, TUPLE + size as i16 - 4, R1);
        self.asm.alu(Alu::Move, R1, R6);
        self.asm.alu(Alu::Move, R2, R10);
        self.asm.alu_immediate(Alu::Add, R2, i32::from(TUPLE));
        self.asm.alu_immediate(Alu::Move, R3, size);
        self.asm.alu_immediate(Alu::Move, R4, CURRENT_NETNS);
        self.asm.alu_immediate(Alu::Move, R5, 0);
        self.asm.call(SKC_LOOKUP_TCP);
        self.asm.jump_if_immediate(R0, If::Equal, 0, by_port);
        self.asm.load(Width::U32, R8, R0, SOCK_STATE);
        self.asm.alu(Alu::Move, R1, R0);
        self.asm.call(SK_RELEASE);
        for state in NOT_CONNECTED {
            self.asm.jump_if_immediate(R8, If::Equal, state, by_port);
        }
        self.asm.jump(classes.to(Class::Established));
        self.asm.place(by_port);
        self.asm.load(Width::U16, R1, R7, 2);
        for (port, class) in [(179, Class::Bgp), (22, Class::Ssh), (646, Class::Control)] {
            self.asm.jump_if_immediate(R1, If::Equal, on_wire(port), classes.to(class));
        }
        self.asm.jump(classes.to(Class::Rest));
    }
}
