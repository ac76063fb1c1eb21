//! Packets through the router: the client and the server talk as if the kernel forwarded.

mod common;

use common::{Daemon, PortMode};
use linecard_lab::{PingOptions, RouterOptions, RouterTopology, ping};

/// Echo requests and replies pass through Linecard, all of them but those whose neighbour had to be
/// found first, and the books say so.
fn ping_passes(mode: PortMode) {
    let topology = RouterTopology::new(&RouterOptions {
        permanent_neighbours: true,
        ..RouterOptions::default()
    })
    .expect("a topology");
    let daemon = Daemon::on_router(&topology, mode);
    for ipv6 in [false, true] {
        let before = daemon.total();
        let options = PingOptions { count: 20, ..PingOptions::default() };
        let report = ping(&topology.client, topology.server_address(ipv6), &options).expect("ping");
        assert!(report.is_complete(), "{mode:?}, IPv6 {ipv6}: {report:?}");
        let after = daemon.total();
        assert_eq!(after.forwarded_packets - before.forwarded_packets, 40, "both ways");
        daemon.assert_books_balance();
    }
    let shown = daemon.port(topology.client_link.far.interface);
    assert_eq!((shown.kind.as_str(), shown.mode.as_str()), mode.shown());
    assert_eq!(shown.totals.forwarded_packets, 40);
}

#[test]
fn ping_passes_native() {
    ping_passes(PortMode::Native);
}

#[test]
fn ping_passes_generic() {
    ping_passes(PortMode::Generic);
}

#[test]
fn ping_passes_packet() {
    ping_passes(PortMode::Packet);
}
