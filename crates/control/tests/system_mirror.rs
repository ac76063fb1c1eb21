//! The mirror beside the kernel: each change is made with `ip`, and afterwards the tables that the
//! base has told of must answer as `ip route get fibmatch` does. The kernel is the reference.
//!
//! Each test has network namespaces of its own and needs root. `va` and `vb` are served, `vc` is
//! not.

mod tables;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use linecard_control::mirror::{self, Mirror};
use linecard_control::rib::{LocalUpdate, Rib};
use linecard_lab::{Namespace, VethOptions, create_veth};
use linecard_packet::PortId;
use linecard_services::route::Special;
use serde_json::Value;
use tables::{Answer, Tables, Way};

const DEADLINE: Duration = Duration::from_secs(10);
const PORTS: [&str; 3] = ["va", "vb", "vc"];
const SERVED: usize = 2;
const DESTINATIONS: [&str; 17] = [
    "10.1.0.1",
    "10.1.0.77",
    "10.1.0.255",
    "10.2.0.77",
    "10.3.0.77",
    "10.9.0.1",
    "10.9.1.1",
    "10.9.2.1",
    "10.9.2.200",
    "10.77.1.2",
    "198.51.100.1",
    "2001:db8:1::77",
    "2001:db8:1::1",
    "2001:db8:9::1",
    "2001:db8:9:1::1",
    "2001:db8:77::1",
    "2001:db8:5::5",
];

struct Fixture {
    router: Namespace,
    peer: Namespace,
    mirror: Mirror,
    rib: Rib,
    tables: Tables,
    local: Vec<IpAddr>,
}

impl Fixture {
    fn new(receive_buffer_bytes: usize) -> Self {
        let router = Namespace::new("mirror-router").expect("root makes namespaces");
        let peer = Namespace::new("mirror-peer").expect("root makes namespaces");
        for (number, name) in PORTS.iter().enumerate() {
            let other = name.replace('v', "q");
            create_veth((&router, name), (&peer, &other), &VethOptions::default()).unwrap();
            peer.set_up(&other).unwrap();
            router.set_up(name).unwrap();
            let number = number + 1;
            let addresses = [format!("10.{number}.0.1/24"), format!("2001:db8:{number}::1/64")];
            for address in addresses {
                router.add_address(name, address.parse().unwrap()).unwrap();
            }
            router.wait_running(name, DEADLINE).unwrap();
        }
        let mirror = router.run(|| Mirror::open_with_buffer(receive_buffer_bytes)).unwrap();
        let mut this = Self {
            router,
            peer,
            mirror,
            rib: Rib::new(),
            tables: Tables::default(),
            local: Vec::new(),
        };
        this.serve();
        this.sync();
        this.agree("at the start");
        this
    }

    /// Tells the base which links are ports.
    fn serve(&mut self) {
        for (number, name) in PORTS[..SERVED].iter().enumerate() {
            let ifindex = self.router.interface(name).unwrap().index;
            self.rib.serve(ifindex, PortId(u16::try_from(number).unwrap()));
        }
    }

    fn sync(&mut self) -> usize {
        self.mirror.sync(&mut self.rib).expect("a dump");
        self.drain()
    }

    fn drain(&mut self) -> usize {
        let (mut updates, mut local) = (Vec::new(), Vec::new());
        self.rib.drain(&mut updates);
        self.rib.drain_local(&mut local);
        let count = updates.len();
        for update in updates {
            self.tables.apply(update);
        }
        for update in local {
            match update {
                LocalUpdate::Set(address) => {
                    assert!(!self.local.contains(&address), "{address} is set twice");
                    self.local.push(address);
                }
                LocalUpdate::Remove(address) => {
                    let at = self.local.iter().position(|held| *held == address);
                    self.local.remove(at.expect("an address that is removed was set"));
                }
            }
        }
        count
    }

    fn receive(&mut self) -> mirror::Received {
        let received = self.mirror.receive(&mut self.rib).expect("news");
        self.drain();
        received
    }

    fn ip(&self, arguments: &str) {
        let output = self.run_ip(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip {arguments}: {error}");
    }

    fn run_ip(&self, arguments: &str) -> std::process::Output {
        let words = arguments.split_whitespace();
        self.router
            .run(|| Command::new("ip").args(words).output())
            .expect("ip(8) of iproute2 is installed")
    }

    /// Makes a change and waits until news alone have brought the base in step.
    fn step(&mut self, commands: &str) {
        for command in commands.split(';') {
            self.ip(command);
        }
        self.agree(commands);
        // What the base was not sure of must not change its mind.
        if self.rib.resync_wanted() {
            self.sync();
            self.agree(&format!("{commands} (after a resync)"));
        }
    }

    /// Makes a change of which the kernel does not tell all: a resync may be needed.
    fn step_with_resync(&mut self, commands: &str) {
        for command in commands.split(';') {
            self.ip(command);
        }
        let deadline = Instant::now() + DEADLINE;
        while !self.receive().resync_wanted {
            assert!(Instant::now() < deadline, "{commands}: no resync is asked for");
            std::thread::yield_now();
        }
        self.sync();
        self.agree(commands);
    }

    /// Waits until the tables answer as the kernel does, for every destination.
    fn agree(&mut self, after: &str) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            self.receive();
            let different: Vec<String> = DESTINATIONS
                .iter()
                .filter_map(|destination| self.difference(destination))
                .collect();
            if different.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "after {after}:\n{}", different.join("\n"));
        }
    }

    fn difference(&self, destination: &str) -> Option<String> {
        let (kernel, held) = (self.kernel(destination), self.answer(destination));
        (kernel != held).then(|| format!("{destination}: kernel {kernel:?}, base {held:?}"))
    }

    fn answer(&self, destination: &str) -> Answer {
        self.tables.lookup(destination.parse().unwrap())
    }

    /// What the kernel does with a packet to the destination.
    fn kernel(&self, destination: &str) -> Answer {
        let output = self.run_ip(&format!("-j route get fibmatch {destination}"));
        let json: Option<Value> = serde_json::from_slice(&output.stdout).ok();
        let route = json.as_ref().and_then(|json| json.get(0));
        let Some(route) = route else {
            let error = String::from_utf8_lossy(&output.stderr);
            let special = if error.contains("Invalid argument") {
                Special::Blackhole
            } else if error.contains("No route to host") || error.contains("Permission denied") {
                Special::Reject
            } else {
                assert!(error.contains("Network is unreachable"), "{destination}: {error}");
                return None;
            };
            // The kernel does not say which prefix it was.
            return self
                .answer(destination)
                .map(|(prefix, _)| (prefix, BTreeMap::from([(Way::special(special), 1)])));
        };
        Some((prefix_of(route, destination), self.ways_of(route)))
    }

    fn ways_of(&self, route: &Value) -> BTreeMap<Way, u32> {
        let special = match route["type"].as_str() {
            None | Some("unicast") => None,
            Some("local" | "broadcast" | "anycast") => Some(Special::Local),
            Some("blackhole") => Some(Special::Blackhole),
            Some("unreachable" | "prohibit" | "throw") => Some(Special::Reject),
            Some(other) => panic!("route type {other}"),
        };
        if let Some(special) = special {
            return BTreeMap::from([(Way::special(special), 1)]);
        }
        let mut ways = BTreeMap::new();
        let single = std::slice::from_ref(route);
        for path in route["nexthops"].as_array().map_or(single, Vec::as_slice) {
            let flags = path["flags"].as_array().cloned().unwrap_or_default();
            if flags.iter().any(|flag| flag == "dead") {
                continue;
            }
            let via = path["gateway"].as_str().or(path["via"]["host"].as_str());
            let via = via.map(|address| address.parse().unwrap());
            let way = match self.interface(path["dev"].as_str().unwrap()) {
                Some(interface) => Way::Out { interface, via },
                None => Way::special(Special::NotServed),
            };
            let weight = path["weight"].as_u64().unwrap_or(1);
            *ways.entry(way).or_insert(0) += u32::try_from(weight).unwrap();
        }
        ways
    }

    /// The number of a link as an interface of the packet path.
    fn interface(&self, name: &str) -> Option<u16> {
        let ifindex = self.rib.links().find(|link| link.name == name)?.ifindex;
        let mut interfaces = self.rib.interfaces();
        interfaces.find(|(held, _, _)| *held == ifindex).map(|(_, id, _)| id.0)
    }

    /// Waits until `condition` holds of what the news say.
    fn wait(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            self.receive();
            if condition(self) {
                return;
            }
            assert!(Instant::now() < deadline, "waited in vain: {what}");
            std::thread::yield_now();
        }
    }

    fn is_not_served(&self, destination: &str) -> bool {
        let way = Way::special(Special::NotServed);
        matches!(self.answer(destination), Some((_, ways)) if ways.keys().eq([&way]))
    }
}

fn prefix_of(route: &Value, destination: &str) -> IpNet {
    let any = if destination.contains(':') { "::/0" } else { "0.0.0.0/0" };
    match route["dst"].as_str().unwrap() {
        "default" => any.parse().unwrap(),
        text if text.contains('/') => text.parse().unwrap(),
        text => IpNet::from(text.parse::<IpAddr>().unwrap()),
    }
}

fn fixture() -> Fixture {
    Fixture::new(mirror::RECEIVE_BUFFER_BYTES)
}

#[test]
fn follows_ipv4_routes() {
    let mut f = fixture();
    f.step("route add 10.9.0.0/16 via 10.1.0.2");
    f.step("route add 10.9.0.0/24 via 10.2.0.2");
    f.step("route replace 10.9.0.0/24 via 10.1.0.3");
    f.step("route add 10.9.0.0/24 via 10.2.0.9 metric 5");
    f.step("route del 10.9.0.0/24 via 10.1.0.3");
    f.step("route add 10.9.0.0/24 via 10.2.0.8 metric 3");
    f.step("route del 10.9.0.0/24 metric 3; route del 10.9.0.0/24 metric 5");
    f.step("route add 10.9.1.0/24 nexthop via 10.1.0.2 nexthop via 10.2.0.2 weight 3");
    f.step("route replace 10.9.1.0/24 nexthop via 10.1.0.4 nexthop via 10.3.0.2 weight 2");
    f.step("route change 10.9.1.0/24 via 10.1.0.5");
    // Several of one metric: the kernel takes the first.
    f.step("route prepend 10.9.1.0/24 via 10.1.0.6");
    f.step("route append 10.9.1.0/24 via 10.1.0.7");
    f.step("route replace 10.9.1.0/24 via 10.1.0.8");
    f.step("route del 10.9.1.0/24 via 10.1.0.8");
    f.step("route del 10.9.1.0/24 via 10.1.0.5");
    f.step("route del 10.9.1.0/24");
    f.step("route add 10.9.2.0/24 dev va; route add 10.9.2.128/25 dev vc");
    f.step("route add default via 10.2.0.254");
    f.step("route add 198.51.100.0/24 via inet6 fe80::1 dev va");
    f.step("route del default; route del 198.51.100.0/24");
    assert_eq!(f.sync(), 0, "a resync of what is known says nothing");
}

#[test]
fn follows_routes_that_are_no_way_out() {
    let mut f = fixture();
    f.step("route add default via 10.1.0.2");
    f.step("route add blackhole 10.9.0.0/24");
    f.step("route add unreachable 10.9.1.0/24; route add prohibit 10.9.2.0/24");
    f.step("-6 route add default via 2001:db8:1::2");
    f.step("-6 route add blackhole 2001:db8:9::/64; -6 route add unreachable 2001:db8:9:1::/64");
    f.step("route del blackhole 10.9.0.0/24; -6 route del blackhole 2001:db8:9::/64");
    f.step("route add local 10.77.0.0/16 dev lo; -6 route add local 2001:db8:77::/48 dev lo");
    // In IPv6 the table `local` is asked first, so that it hides what is longer in `main`.
    f.step("-6 route add 2001:db8:77::/64 via 2001:db8:1::2");
    f.step("-6 route del local 2001:db8:77::/48 dev lo");
    f.step("route del local 10.77.0.0/16 dev lo");
    f.step("route add throw 10.9.0.0/24 metric 9; route del throw 10.9.0.0/24 metric 9");
    assert_eq!(f.sync(), 0);
}

#[test]
fn hands_what_it_does_not_do_to_the_kernel() {
    let mut f = fixture();
    f.ip("route add 10.9.0.0/24 via 10.1.0.2 mtu 1400");
    f.ip("route add 10.9.1.0/24 via 10.1.0.2");
    f.ip("route add 10.9.1.0/24 tos 0x10 via 10.2.0.2");
    f.ip("-6 route add 2001:db8:9::/64 encap seg6 mode encap segs 2001:db8:2::9 dev va");
    f.ip("-6 route add 2001:db8:9:1::/64 from 2001:db8:5::/64 via 2001:db8:1::2");
    f.ip("-6 route add 2001:db8:77::/64 dev va metric 7");
    f.ip("-6 route append 2001:db8:77::/64 dev vb metric 7");
    let handed = ["10.9.0.1", "10.9.1.1", "2001:db8:9::1", "2001:db8:9:1::1", "2001:db8:77::1"];
    f.wait("five prefixes are the kernel's", |f| handed.iter().all(|to| f.is_not_served(to)));
    f.ip("route del 10.9.0.0/24");
    f.ip("route del 10.9.1.0/24 tos 0x10");
    f.ip("-6 route del 2001:db8:9::/64 dev va");
    f.ip("-6 route del 2001:db8:9:1::/64 from 2001:db8:5::/64");
    f.ip("-6 route del 2001:db8:77::/64 dev va metric 7");
    f.agree("the routes that only the kernel can do are gone");
    assert_eq!(f.sync(), 0);
}

#[test]
fn follows_ipv6_multipath() {
    let mut f = fixture();
    f.step("-6 route add 2001:db8:9::/48 via 2001:db8:1::2 metric 5");
    f.step("-6 route append 2001:db8:9::/48 via 2001:db8:2::2 metric 5");
    f.step("-6 route append 2001:db8:9::/48 via 2001:db8:3::2 metric 5");
    f.step("-6 route del 2001:db8:9::/48 via 2001:db8:1::2 metric 5");
    f.step("-6 route replace 2001:db8:9::/48 via 2001:db8:1::3 metric 5");
    f.step(
        "-6 route replace 2001:db8:9::/48 metric 5 nexthop via 2001:db8:1::2 weight 4 \
         nexthop via 2001:db8:2::2",
    );
    f.step("-6 route add 2001:db8:9::/48 metric 3 nexthop via 2001:db8:3::2");
    f.step("-6 route del 2001:db8:9::/48 metric 3");
    f.step("-6 route del 2001:db8:9::/48 metric 5");
    f.step("-6 route add 2001:db8:9:1::/64 nexthop via 2001:db8:1::2 nexthop via fe80::9 dev vb");
    f.step("link set va down");
    f.step("link set va up");
    f.step("-6 route add default via fe80::1 dev vb");
    assert_eq!(f.sync(), 0);
}

#[test]
fn follows_links_that_fail_in_silence() {
    let mut f = fixture();
    f.step("route add 10.9.0.0/24 via 10.1.0.2");
    f.step("route add 10.9.1.0/24 nexthop via 10.1.0.2 nexthop via 10.2.0.2 weight 3");
    f.step("route add 10.9.2.0/24 nexthop via 10.1.0.2 nexthop via 10.3.0.2");
    f.step("route add 10.9.0.0/16 via 10.2.0.2");
    f.step("link set va down");
    f.step("link set vc down");
    f.step("link set va up");
    f.step("link set vc up");
    // Down and up again before anybody looks: the routes are gone all the same.
    f.step("route add 10.9.0.0/24 via 10.1.0.2; link set va down; link set va up");
    f.step(
        "route add 10.9.0.0/24 via 10.1.0.2; link set va down; link set va up; \
            route add 10.9.0.0/24 via 10.1.0.2",
    );
    f.peer.set_down("qa").unwrap();
    f.wait("no carrier", |f| f.rib.links().any(|link| link.name == "va" && !link.carrier));
    f.agree("carrier is lost: routes stay");
    f.router.sysctl("net.ipv4.conf.va.ignore_routes_with_linkdown", "1").unwrap();
    f.agree("routes without carrier are ignored");
    f.router.sysctl("net.ipv6.conf.va.ignore_routes_with_linkdown", "1").unwrap();
    f.agree("routes without carrier are ignored in IPv6, too");
    f.peer.set_up("qa").unwrap();
    f.agree("carrier is back");
    assert_eq!(f.sync(), 0);
    f.step("link del va");
    assert_eq!(f.tables.interfaces.len(), 1);
    assert!(
        f.tables
            .adjacencies
            .values()
            .all(|held| f.tables.interfaces.contains_key(&held.interface.0))
    );
}

#[test]
fn follows_addresses_that_go() {
    let mut f = fixture();
    assert!(f.local.contains(&"10.1.0.1".parse().unwrap()));
    assert!(f.local.contains(&"10.1.0.255".parse().unwrap()), "broadcast is the router's own");
    f.step("address add 10.77.1.1/24 dev va");
    f.step("route add 10.9.0.0/24 via 10.2.0.2 src 10.77.1.1");
    f.step("route add 10.9.1.0/24 nexthop via 10.1.0.2 nexthop via 10.2.0.2");
    // The route that prefers the address as its source goes with it, without a word.
    f.step_with_resync("address del 10.77.1.1/24 dev va");
    // The last one of a link: all IPv4 routes of the link go, and its paths are dead.
    f.step_with_resync("address del 10.1.0.1/24 dev va");
    assert!(!f.local.contains(&"10.1.0.1".parse().unwrap()));
    f.step_with_resync("address add 10.1.0.1/24 dev va");
    f.step("-6 address del 2001:db8:1::1/64 dev va");
    assert_eq!(f.sync(), 0);
}

#[test]
fn follows_nexthop_objects() {
    let mut f = fixture();
    f.step("nexthop add id 1 via 10.1.0.2 dev va; nexthop add id 2 via 10.2.0.2 dev vb");
    f.step("nexthop add id 3 group 1/2,10; route add 10.9.0.0/24 nhid 3");
    f.step("route add 10.9.1.0/24 nhid 1; route add 10.9.0.0/16 via 10.2.0.77");
    let groups_before = f.rib.groups();
    f.step("nexthop replace id 1 via 10.1.0.3 dev va");
    assert_eq!(f.rib.groups(), groups_before, "the object changes its group in place");
    f.step("nexthop replace id 3 group 2");
    f.step("nexthop add id 5 group 1,5/2,7 type resilient buckets 16");
    f.step("route add 10.9.2.0/24 nhid 5; nexthop replace id 5 group 2 type resilient");
    f.step("nexthop add id 6 via 2001:db8:1::2 dev va; -6 route add 2001:db8:9::/64 nhid 6");
    f.step("nexthop add id 7 blackhole; route add 10.77.0.0/16 nhid 7");
    f.step("nexthop del id 1");
    f.step("nexthop add id 1 via 10.1.0.9 dev va; route add 10.9.1.0/24 nhid 1");
    f.step("link set va down");
    f.step("link set va up");
    f.step("nexthop add id 1 via 10.1.0.9 dev va; route add 10.9.1.0/24 nhid 1");
    f.peer.set_down("qa").unwrap();
    f.wait("no carrier", |f| f.rib.links().any(|link| link.name == "va" && !link.carrier));
    f.agree("without carrier nexthop objects go, and their routes");
    f.step("nexthop flush");
    assert_eq!(f.sync(), 0);
}

#[test]
fn follows_neighbours() {
    let mut f = fixture();
    f.step("route add 10.9.0.0/24 via 10.1.0.2");
    let (gateway, other) = ("10.1.0.2".parse().unwrap(), "10.1.0.3".parse().unwrap());
    let va = f.interface("va").unwrap();
    assert_eq!(f.tables.neighbour(va, gateway), Some(None), "a gateway that is not resolved");
    f.ip("neighbour add 10.1.0.2 lladdr 02:00:00:00:00:02 dev va nud permanent");
    f.ip("neighbour add 10.1.0.3 lladdr 02:00:00:00:00:03 dev va nud stale");
    let mac = |last| Some(Some([2, 0, 0, 0, 0, last].into()));
    f.wait("both are there", |f| {
        f.tables.neighbour(va, gateway) == mac(2) && f.tables.neighbour(va, other) == mac(3)
    });
    f.ip("neighbour replace 10.1.0.2 lladdr 02:00:00:00:00:22 dev va nud reachable");
    f.wait("the new MAC address", |f| f.tables.neighbour(va, gateway) == mac(0x22));
    f.ip("neighbour change 10.1.0.2 dev va nud failed");
    f.ip("neighbour del 10.1.0.3 dev va");
    f.wait("neither can be reached", |f| {
        f.tables.neighbour(va, gateway) == Some(None) && f.tables.neighbour(va, other).is_none()
    });
    // The kernel asks for the neighbour when told that it is used; a veth peer answers.
    f.peer.add_address("qa", "10.1.0.2/24".parse().unwrap()).unwrap();
    let ifindex = f.router.interface("va").unwrap().index;
    f.mirror.refresh_neighbour(ifindex, gateway).unwrap();
    f.wait("the kernel resolves it", |f| matches!(f.tables.neighbour(va, gateway), Some(Some(_))));
    f.ip("neighbour add 2001:db8:1::5 lladdr 02:00:00:00:00:05 dev va");
    f.wait("IPv6", |f| f.tables.neighbour(va, "2001:db8:1::5".parse().unwrap()) == mac(5));
}

#[test]
fn follows_forwarding_and_mtu() {
    let mut f = fixture();
    let va = f.interface("va").unwrap();
    let forwards = |f: &Fixture| {
        let interface = &f.tables.interfaces[&va];
        (interface.forwarding_ipv4, interface.forwarding_ipv6)
    };
    assert_eq!(forwards(&f), (false, false));
    f.router.sysctl("net.ipv4.conf.va.forwarding", "1").unwrap();
    f.wait("IPv4 on va", |f| forwards(f) == (true, false));
    f.router.sysctl("net.ipv6.conf.all.forwarding", "1").unwrap();
    f.wait("IPv6", |f| forwards(f) == (true, true));
    f.router.sysctl("net.ipv4.ip_forward", "1").unwrap();
    f.router.sysctl("net.ipv4.ip_forward", "0").unwrap();
    f.router.sysctl("net.ipv6.conf.all.forwarding", "0").unwrap();
    f.wait("none", |f| forwards(f) == (false, false));
    f.ip("link set va mtu 1400 address 02:00:00:00:0a:0a");
    f.wait("MTU and MAC address", |f| {
        let interface = &f.tables.interfaces[&va];
        interface.mtu_bytes == 1400 && interface.mac_address == [2, 0, 0, 0, 10, 10].into()
    });
}

#[test]
fn a_lost_message_is_noticed_and_made_up_for() {
    let mut f = Fixture::new(4096);
    let mut batch = String::new();
    for number in 0..2000 {
        let (high, low) = (number / 250, number % 250);
        batch += &format!("route add 10.{}.{low}.0/24 via 10.1.0.2\n", 100 + high);
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), batch).unwrap();
    f.ip(&format!("-batch {}", file.path().display()));
    let received = f.receive();
    assert!(received.resync_wanted && f.mirror.counters().overruns > 0);
    f.sync();
    f.agree("a resync");
    let held = f.tables.routes.keys().filter(|prefix| prefix.to_string().starts_with("10.10"));
    assert_eq!(held.count(), 2000);
    assert_eq!(f.sync(), 0);
    assert_eq!(f.mirror.counters().malformed, 0);
}

#[test]
fn a_dump_under_churn_loses_nothing() {
    let mut f = fixture();
    let mut batch = String::new();
    for round in 0..20 {
        for number in 0..200 {
            let verb = if (round + number) % 3 == 0 { "del" } else { "replace" };
            batch += &format!("route {verb} 10.100.{number}.0/24 via 10.1.0.{}\n", 2 + round);
        }
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), batch).unwrap();
    let mut churn = Command::new("ip");
    churn.args(["-force", "-batch"]).arg(file.path());
    churn.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut churn = f.router.spawn(churn).expect("ip(8) of iproute2 is installed");
    while churn.exit_status().unwrap().is_none() {
        f.sync();
        f.receive();
    }
    f.ip("route replace 10.9.0.0/24 via 10.2.0.99");
    f.agree("the churn");
    let known = f.tables.routes.len();
    assert_eq!(f.sync(), 0, "news and dumps together have left nothing out of {known}");
}

#[test]
fn counts_policy_rules_that_it_does_not_follow() {
    let mut f = fixture();
    assert_eq!(f.mirror.counters().policy_rules, 0);
    f.ip("rule add from 10.5.0.0/16 lookup 100");
    f.step_with_resync("-6 rule add from 2001:db8:5::/64 lookup 100");
    assert_eq!(f.mirror.counters().policy_rules, 2);
}
