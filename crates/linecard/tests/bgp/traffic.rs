//! Traffic that must not notice: a load on a route that stays, and flows to what was learned.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use linecard_lab::{
    IcmpError, PingOptions, Route, RouterTopology, UdpGenerator, UdpLoad, UdpSink, UdpSinkReport,
    ping, wait_for,
};

use crate::common::{DEADLINE, Daemon};

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3600);
/// A receive ring of 2,048 frames then holds what comes in 400 ms.
const STABLE_PACKETS_PER_SECOND: u64 = 5_000;
const SAMPLE_PACKETS_PER_SECOND: u64 = 5_000;
/// Datagrams to each sampled destination.
const SAMPLE_PACKETS: u64 = 4;

/// Pings of each family before a sample: enough that with two next hops both are asked.
const SCOUTS: usize = 16;

/// A load with its sink.
pub struct Flow {
    generator: UdpGenerator,
    sink: UdpSink,
}

impl Flow {
    /// IPv4 and IPv6 flows from the client to the server's service prefixes, which the router
    /// reaches by static routes.
    pub fn to_service(topology: &RouterTopology) -> Self {
        let addresses = [false, true].map(|ipv6| SocketAddr::new(topology.server_address(ipv6), 0));
        Self::start(topology, &addresses, |sink| sink.addresses().to_vec(), 16)
    }

    /// One flow to each of `destinations`, which must be the server's (see [`own`]).
    pub fn to_each(topology: &RouterTopology, destinations: &[IpAddr]) -> Self {
        let flows = u16::try_from(destinations.len()).expect("a few hundred");
        Self::start(topology, &[any()], |sink| with_port(sink, destinations), flows)
    }

    fn start(
        topology: &RouterTopology,
        listen: &[SocketAddr],
        destinations: impl Fn(&UdpSink) -> Vec<SocketAddr>,
        flows: u16,
    ) -> Self {
        let sink = UdpSink::start(&topology.server, listen).expect("a sink");
        let load = UdpLoad {
            destinations: destinations(&sink),
            flows,
            packets_per_second: Some(STABLE_PACKETS_PER_SECOND),
            duration_max: FOR_EVER,
            ..UdpLoad::to(sink.addresses()[0])
        };
        let generator = load.start(&topology.client).expect("a load");
        assert!(sink.wait_packets(u64::from(flows), DEADLINE), "the load arrives");
        Self { generator, sink }
    }

    /// Datagrams that have arrived so far.
    pub fn arrived(&self) -> u64 {
        self.sink.packets()
    }

    /// Waits until so many more datagrams have arrived.
    pub fn wait_more(&self, packets: u64) {
        let wanted = self.arrived() + packets;
        assert!(self.sink.wait_packets(wanted, DEADLINE), "datagrams still arrive");
    }

    /// Stops the load, waits for what is on its way, and returns what came and what is missing.
    pub fn stop(self) -> (UdpSinkReport, u64) {
        let sent = self.generator.stop();
        assert_eq!(sent.failures, 0, "the client could send: {sent:?}");
        // What does not come within the deadline is lost.
        self.sink.wait_packets(sent.packets, Duration::from_secs(2));
        let report = self.sink.stop();
        assert_eq!(report.overflowed, 0, "the sink kept up");
        let missing = sent.packets - report.packets;
        (report, missing)
    }

    /// Stops the load; not one datagram may be missing.
    pub fn stop_without_loss(self, what: &str) {
        let (report, missing) = self.stop();
        println!("{what}: {} datagrams, {missing} missing", report.packets);
        assert_eq!((missing, report.duplicates), (0, 0), "{what}: {report:?}");
    }
}

/// Makes addresses the server's own, so that what is sent there arrives.
pub fn own(topology: &RouterTopology, addresses: &[IpAddr]) {
    for address in addresses {
        let route = Route::local(IpNet::from(*address), "lo");
        topology.server.replace_route(&route).expect("a host route");
    }
}

/// Some datagrams to each destination: all arrive, and it was Linecard that forwarded them.
pub fn assert_forwarded(topology: &RouterTopology, daemon: &Daemon, destinations: &[IpAddr]) {
    // They make the kernel look for each next hop, if nobody has yet.
    for ipv6 in [false, true] {
        let scouts = destinations.iter().filter(|it| it.is_ipv6() == ipv6).take(SCOUTS);
        for destination in scouts {
            let one = PingOptions { count: 1, timeout: DEADLINE, ..PingOptions::default() };
            let report = ping(&topology.client, *destination, &one).expect("ping");
            assert!(report.is_complete(), "{destination} answers: {report:?}");
        }
    }
    let before = daemon.port(topology.client_link.far.interface).totals;
    let sink = UdpSink::start(&topology.server, &[any()]).expect("a sink");
    let flows = u16::try_from(destinations.len()).expect("a few hundred");
    let packets = SAMPLE_PACKETS * u64::from(flows);
    let load = UdpLoad {
        destinations: with_port(&sink, destinations),
        flows,
        packets_per_second: Some(SAMPLE_PACKETS_PER_SECOND),
        packets_max: packets,
        duration_max: FOR_EVER,
        ..UdpLoad::to(sink.addresses()[0])
    };
    let sent = load.start(&topology.client).expect("a load").join();
    assert_eq!((sent.packets, sent.failures), (packets, 0), "{sent:?}");
    sink.wait_packets(packets, DEADLINE);
    let report = sink.stop();
    let silent: Vec<_> = destinations
        .iter()
        .enumerate()
        .filter(|(flow, _)| report.flows.get(*flow).is_none_or(|it| it.packets < SAMPLE_PACKETS))
        .map(|(_, destination)| destination)
        .collect();
    assert!(silent.is_empty(), "not all arrived at {silent:?}");
    daemon.wait_for("the sample in the books", |daemon| {
        let after = daemon.port(topology.client_link.far.interface).totals;
        after.forwarded_packets - before.forwarded_packets >= packets
    });
    let after = daemon.port(topology.client_link.far.interface).totals;
    assert_eq!(after.punted_packets, before.punted_packets, "the kernel forwarded none of them");
}

/// Nobody routes to these destinations: the client hears so from the router, and nothing arrives.
pub fn assert_unreachable(topology: &RouterTopology, destinations: &[IpAddr]) {
    for destination in destinations {
        let one = PingOptions { count: 1, ..PingOptions::default() };
        let mut errors: Vec<IcmpError> = Vec::new();
        // The kernel tells one host of no more than five in a row and one a second (`ip_error`).
        wait_for(&format!("an ICMP error for {destination}"), DEADLINE, || {
            let report = ping(&topology.client, *destination, &one)?;
            assert_eq!(report.replies(), 0, "{destination} answers");
            errors.extend(report.errors());
            Ok(!errors.is_empty())
        })
        .expect("the router says that there is no route");
        let error = errors[0];
        let far = &topology.client_link.far;
        // "Net unreachable" (RFC 792), "no route to destination" (RFC 4443 §3.1).
        let expected: (IpAddr, u8, u8) = if destination.is_ipv6() {
            (far.ipv6.addr().into(), 1, 0)
        } else {
            (far.ipv4.addr().into(), 3, 0)
        };
        assert_eq!((error.from, error.kind, error.code), expected, "{destination}");
    }
}

/// Packets that the server's end of each path has received.
pub fn received_by_path(topology: &RouterTopology) -> [u64; 2] {
    [&topology.path_a, &topology.path_b].map(|link| {
        let interface = topology.server.interface(link.far.interface).expect("it is there");
        interface.counters.rx_packets
    })
}

/// Takes datagrams to any address of the server, of both families.
fn any() -> SocketAddr {
    SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), 0)
}

fn with_port(sink: &UdpSink, destinations: &[IpAddr]) -> Vec<SocketAddr> {
    let port = sink.addresses()[0].port();
    destinations.iter().map(|it| SocketAddr::new(*it, port)).collect()
}
