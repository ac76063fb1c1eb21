//! The test bed: a router with three links, alike down to its addresses each time it is built.
//!
//! ```text
//!  west ── 192.0.2.0/30, 2001:db8:1::/126 ────┐
//!                                           router ── 203.0.113.0/30, 2001:db8:c::/126 ── south
//!  east ── 198.51.100.0/30, 2001:db8:a::/126 ─┘
//! ```
//!
//! Behind the links are no hosts, only packet sockets, so that nothing is on the wire but what a
//! test sent and what the router makes of it. The host parts are so few that each has a permanent
//! neighbour entry: no address that a mutation hits upon makes the kernel ask for it and repeat
//! itself later. Linecard serves west and east, and leaves south to the kernel.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use linecard_lab::{
    CapturedFrame, Direction, FrameSocket, Namespace, Route, VethOptions, create_veth,
};
use linecard_wire::MacAddress;

use super::sentinel::Sentinel;
use crate::common::DEADLINE;

/// A link of the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Side {
    /// Where most frames come in; MTU 1,500.
    West,
    /// Where most frames go out; MTU 1,400.
    East,
    /// Not served by Linecard; MTU 1,500.
    South,
}

impl Side {
    pub(crate) const ALL: [Self; 3] = [Self::West, Self::East, Self::South];

    /// The router's interface.
    pub(crate) fn interface(self) -> &'static str {
        match self {
            Self::West => "west",
            Self::East => "east",
            Self::South => "south",
        }
    }

    /// The other end of its link.
    fn host_interface(self) -> &'static str {
        match self {
            Self::West => "host-west",
            Self::East => "host-east",
            Self::South => "host-south",
        }
    }

    fn mtu_bytes(self) -> u32 {
        match self {
            Self::East => 1400,
            Self::West | Self::South => 1500,
        }
    }

    fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The router's MAC address here.
    pub(crate) fn router_mac(self) -> MacAddress {
        MacAddress::new([2, 0, 0, 0, self.number(), 1])
    }

    /// The MAC address of the host here, which is also the gateway to what lies behind.
    pub(crate) fn host_mac(self) -> MacAddress {
        MacAddress::new([2, 0, 0, 0, self.number(), 2])
    }

    /// The first three parts of the addresses of this link: IPv4 net, IPv6 subnet.
    fn nets(self) -> (&'static str, &'static str) {
        match self {
            Self::West => ("192.0.2", "2001:db8:1:"),
            Self::East => ("198.51.100", "2001:db8:a:"),
            Self::South => ("203.0.113", "2001:db8:c:"),
        }
    }

    fn address(self, host: u8, ipv6: bool) -> IpAddr {
        let (net4, net6) = self.nets();
        let text = if ipv6 { format!("{net6}:{host}") } else { format!("{net4}.{host}") };
        text.parse().expect("an address")
    }
}

/// Link-local addresses that the neighbour tables of all links know, though nobody has them.
pub(crate) const LINK_LOCAL_NEIGHBOURS: [&str; 2] = ["fe80::98", "fe80::99"];

/// Each route: prefix, and the side whose host is the gateway. 64.0.0.0/2 and 4000::/3 are left out,
/// so that there is something to which no route leads.
const ROUTES: [(&str, Side); 12] = [
    ("0.0.0.0/2", Side::East),
    ("128.0.0.0/1", Side::East),
    ("172.16.0.0/12", Side::West),
    ("10.9.0.0/16", Side::South),
    ("::/2", Side::East),
    ("6000::/3", Side::East),
    ("8000::/1", Side::East),
    ("2001:db8:99::/48", Side::West),
    ("2001:db8:9::/48", Side::South),
    ("fc00::/7", Side::East),
    ("fec0::/10", Side::East),
    ("::ffff:0:0/96", Side::East),
];

/// Sysctls that take clocks, chance and limits out of what the kernel answers.
const SYSCTLS: [(&str, &str); 14] = [
    ("net.ipv4.ip_forward", "1"),
    ("net.ipv6.conf.all.forwarding", "1"),
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    // Linecard sends no redirects (RFC 1812 5.2.7.2: a router may).
    ("net.ipv4.conf.all.send_redirects", "0"),
    ("net.ipv4.conf.default.send_redirects", "0"),
    ("net.ipv4.icmp_ratemask", "0"),
    ("net.ipv4.icmp_msgs_per_sec", "1000000"),
    ("net.ipv4.icmp_msgs_burst", "1000000"),
    // By the mask: a limit of zero would use up the tokens that redirects share. There is no type 0.
    ("net.ipv6.icmp.ratemask", "0"),
    ("net.ipv6.auto_flowlabels", "0"),
    // No reassembly gives up, and says so, while a test runs.
    ("net.ipv4.ipfrag_time", "3600"),
    ("net.ipv6.ip6frag_time", "3600"),
    ("net.ipv6.conf.default.mldv2_unsolicited_report_interval", "1"),
];

/// A router between three packet sockets.
pub(crate) struct Bed {
    pub(crate) router: Namespace,
    hosts: Namespace,
    sockets: [FrameSocket; 3],
}

/// What came out of the router, by side.
pub(crate) type Output = [Vec<Vec<u8>>; 3];

impl Bed {
    /// Builds it and waits until its links are up.
    pub(crate) fn new(name: &str) -> Self {
        let router = Namespace::new(&format!("{name}-router")).expect("root makes namespaces");
        let hosts = Namespace::new(&format!("{name}-hosts")).expect("root makes namespaces");
        for (key, value) in SYSCTLS {
            router.sysctl(key, value).expect("the kernel knows the key");
        }
        for scope in ["all", "default"] {
            let key = format!("net.ipv6.conf.{scope}.disable_ipv6");
            hosts.sysctl(&key, "1").expect("the kernel knows the key");
        }
        for side in Side::ALL {
            link(&router, &hosts, side);
        }
        for (prefix, side) in ROUTES {
            let ipv6 = prefix.contains(':');
            let prefix = prefix.parse().expect("a prefix");
            router.add_route(&Route::via(prefix, side.address(2, ipv6))).expect("a route");
        }
        for (prefix, make) in [
            ("20.1.0.0/16", Route::blackhole as fn(_) -> _),
            ("20.2.0.0/16", Route::unreachable),
            ("20.3.0.0/16", Route::prohibit),
            ("2001:db8:b1::/48", Route::blackhole),
            ("2001:db8:b2::/48", Route::unreachable),
            ("2001:db8:b3::/48", Route::prohibit),
        ] {
            router.add_route(&make(prefix.parse().expect("a prefix"))).expect("a route");
        }
        let sockets = Side::ALL.map(|side| {
            FrameSocket::open(&hosts, side.host_interface()).expect("root opens packet sockets")
        });
        Self { router, hosts, sockets }
    }

    /// Lets the host on a side take frames that XDP redirects to it, in one queue with what the
    /// router's kernel sends: veth has one for both only for senders without any segmentation offload
    /// (`veth_skb_is_eligible_for_gro`), and sentinels must not overtake.
    pub(crate) fn take_redirects(&self, side: Side) {
        let set = |namespace: &Namespace, interface: &str, features: &[(&str, bool)]| {
            namespace.set_features(interface, features).expect("a feature of veth");
        };
        set(&self.hosts, side.host_interface(), &[("rx-gro", true)]);
        let segmentation = ["tx-tcp-ecn-segmentation", "tx-tcp-mangleid-segmentation"];
        set(&self.router, side.interface(), &segmentation.map(|name| (name, false)));
    }

    /// Sends a frame into the router, from the host of `side`.
    pub(crate) fn send(&self, side: Side, frame: &[u8]) {
        self.sockets[side as usize].send(frame).expect("the link takes the frame");
    }

    /// Sends the sentinels and collects what comes out until all of them have.
    pub(crate) fn collect(&self, round: u64) -> Output {
        let sentinels = Sentinel::of_round(round);
        for sentinel in &sentinels {
            self.send(sentinel.from, &sentinel.frame);
        }
        Side::ALL.map(|side| {
            let mut missing: Vec<_> = sentinels.iter().filter(|it| it.to == side).collect();
            let deadline = Instant::now() + DEADLINE;
            let mut frames = Vec::new();
            while !missing.is_empty() {
                let frame = self.receive(side, deadline).unwrap_or_else(|| {
                    let names: Vec<_> = missing.iter().map(|it| it.description).collect();
                    panic!(
                        "{}, {side:?}, round {round}: {names:?} did not come, but {frames:02x?}",
                        self.router
                    )
                });
                match missing.iter().position(|sentinel| sentinel.is_in(&frame)) {
                    Some(at) => drop(missing.swap_remove(at)),
                    None if Sentinel::is_any(&frame) => {
                        panic!("a sentinel came out of {side:?} twice or late: {frame:02x?}")
                    }
                    None => frames.push(frame),
                }
            }
            frames
        })
    }

    /// The next frame that the router sends on `side`, but for its multicast listener reports,
    /// which come when they will.
    fn receive(&self, side: Side, deadline: Instant) -> Option<Vec<u8>> {
        loop {
            let captured =
                self.sockets[side as usize].receive(deadline).expect("the link is there");
            let CapturedFrame { bytes, direction } = captured?;
            let report = bytes.starts_with(&[0x33, 0x33, 0, 0, 0, 0x16]);
            if direction == Direction::Received && !report {
                return Some(bytes);
            }
        }
    }
}

/// Builds one link: MAC addresses before it is up, so that link-local addresses follow from them.
fn link(router: &Namespace, hosts: &Namespace, side: Side) {
    let options = VethOptions { mtu_bytes: side.mtu_bytes(), ..VethOptions::default() };
    let (near, far) = (side.interface(), side.host_interface());
    create_veth((router, near), (hosts, far), &options).expect("a link");
    router.set_mac(near, side.router_mac().octets()).expect("an address");
    hosts.set_mac(far, side.host_mac().octets()).expect("an address");
    for (namespace, interface) in [(router, near), (hosts, far)] {
        namespace.disable_tx_offloads(interface).expect("veth has offloads");
        namespace.set_up(interface).expect("a link of ours");
    }
    for ipv6 in [false, true] {
        let length = if ipv6 { 126 } else { 30 };
        let prefix = ipnet::IpNet::new(side.address(1, ipv6), length).expect("a length");
        router.add_address(near, prefix).expect("an address");
    }
    router.wait_running(near, Duration::from_secs(10)).expect("the link comes up");
    hosts.wait_running(far, Duration::from_secs(10)).expect("the link comes up");
    let neighbours = [(0, false), (2, false), (2, true), (3, true)];
    let addresses = neighbours.map(|(host, ipv6)| side.address(host, ipv6));
    let link_local = LINK_LOCAL_NEIGHBOURS.map(|text| text.parse().expect("an address"));
    for address in addresses.into_iter().chain(link_local) {
        let mac = side.host_mac().octets();
        router.add_neighbour(near, address, mac).expect("a neighbour");
    }
}
