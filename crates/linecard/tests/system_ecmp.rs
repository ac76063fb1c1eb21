//! Several paths to one prefix: flows are spread over them by their weights, and each stays on one.

mod common;

use common::traffic::{send_all, send_probes};
use common::{Daemon, PortMode, for_each_port_mode, resolved_topology};
use ipnet::IpNet;
use linecard_lab::{Link, NextHop, Route, RouterTopology};

for_each_port_mode!(
    flows_are_spread_over_both_paths,
    weights_are_respected,
    nexthop_objects_and_groups_are_followed,
);

/// With so many flows, a share strays from its mean by 2 % (one standard deviation).
const FLOWS: u16 = 512;
const PACKETS: u64 = 4 * FLOWS as u64;

/// Packets that left by each path so far.
fn by_path(topology: &RouterTopology, daemon: &Daemon) -> [u64; 2] {
    [&topology.path_a, &topology.path_b]
        .map(|path| daemon.port(path.near.interface).totals.sent_packets)
}

/// The percentage of the packets of a load that leaves by path a; no packet of it is lost.
fn share_of_a(topology: &RouterTopology, daemon: &Daemon, ipv6: bool) -> u64 {
    let before = by_path(topology, daemon);
    let came = send_all(topology, ipv6, FLOWS, PACKETS);
    assert_eq!(came.reordered, 0, "each flow stays on its path: {came:?}");
    let goal = before.iter().sum::<u64>() + PACKETS;
    daemon.assert_count("by both paths", goal, |it| by_path(topology, it).iter().sum());
    daemon.assert_books_balance();
    let after = by_path(topology, daemon);
    let [a, b] = [after[0] - before[0], after[1] - before[1]];
    assert!(a % 4 == 0 && b % 4 == 0, "whole flows of four packets: {a} and {b}");
    100 * a / PACKETS
}

fn gateway(path: &Link, ipv6: bool) -> NextHop {
    let address = if ipv6 { path.far.ipv6.addr().into() } else { path.far.ipv4.addr().into() };
    NextHop::via(address).interface(path.near.interface)
}

fn service(topology: &RouterTopology, ipv6: bool) -> IpNet {
    if ipv6 { topology.service_ipv6.into() } else { topology.service_ipv4.into() }
}

fn flows_are_spread_over_both_paths(mode: PortMode) {
    let topology = resolved_topology();
    let daemon = Daemon::on_router(&topology, mode);
    for ipv6 in [false, true] {
        let share = share_of_a(&topology, &daemon, ipv6);
        assert!((40..=60).contains(&share), "{share} % on path a");

        let before = by_path(&topology, &daemon);
        send_all(&topology, ipv6, 1, 200);
        let goal = before.iter().sum::<u64>() + 200;
        daemon.assert_count("by either path", goal, |it| by_path(&topology, it).iter().sum());
        let after = by_path(&topology, &daemon);
        let mut one_flow = [after[0] - before[0], after[1] - before[1]];
        one_flow.sort_unstable();
        assert_eq!(one_flow, [0, 200], "one flow, one path");
    }
}

fn weights_are_respected(mode: PortMode) {
    let topology = resolved_topology();
    for ipv6 in [false, true] {
        let hops = vec![
            gateway(&topology.path_a, ipv6).weight(3),
            gateway(&topology.path_b, ipv6).weight(1),
        ];
        let prefix = service(&topology, ipv6);
        topology.router.replace_route(&Route::multipath(prefix, hops)).expect("a route");
    }
    let daemon = Daemon::on_router(&topology, mode);
    for ipv6 in [false, true] {
        let share = share_of_a(&topology, &daemon, ipv6);
        assert!((67..=83).contains(&share), "{share} % on path a, at weights of 3 and 1");
    }
}

/// Routes by nexthop objects, as FRR makes them: the group changes, and the route is not touched.
fn nexthop_objects_and_groups_are_followed(mode: PortMode) {
    let topology = resolved_topology();
    let daemon = Daemon::on_router(&topology, mode);
    for ipv6 in [false, true] {
        let router = &topology.router;
        let [a, b, group] = if ipv6 { [61, 62, 60] } else { [41, 42, 40] };
        let prefix = match service(&topology, ipv6) {
            IpNet::V4(net) => IpNet::new(net.addr().into(), 25),
            IpNet::V6(net) => IpNet::new(net.addr().into(), 65),
        }
        .expect("half of the service prefix");
        router.replace_nexthop(a, &gateway(&topology.path_a, ipv6)).expect("an object");
        router.replace_nexthop(b, &gateway(&topology.path_b, ipv6)).expect("an object");
        router.replace_nexthop_group(group, &[(a, 1)]).expect("a group");
        router.add_route(&Route::nexthop_object(prefix, group)).expect("a route");
        wait_paths(&topology, &daemon, ipv6, [true, false]);
        assert_eq!(share_of_a(&topology, &daemon, ipv6), 100, "a group of path a alone");

        router.replace_nexthop_group(group, &[(b, 1)]).expect("a group");
        wait_paths(&topology, &daemon, ipv6, [false, true]);
        assert_eq!(share_of_a(&topology, &daemon, ipv6), 0, "a group of path b alone");

        router.replace_nexthop_group(group, &[(a, 1), (b, 3)]).expect("a group");
        wait_paths(&topology, &daemon, ipv6, [true, true]);
        let share = share_of_a(&topology, &daemon, ipv6);
        assert!((17..=33).contains(&share), "{share} % on path a, at weights of 1 and 3");

        router.replace_nexthop(b, &gateway(&topology.path_a, ipv6)).expect("an object");
        wait_paths(&topology, &daemon, ipv6, [true, false]);
        assert_eq!(share_of_a(&topology, &daemon, ipv6), 100, "both objects lead over path a");
    }
}

/// Waits until flows take these paths, a and b, and no other.
fn wait_paths(topology: &RouterTopology, daemon: &Daemon, ipv6: bool, expected: [bool; 2]) {
    daemon.wait_for(&format!("flows on the paths {expected:?}"), |daemon| {
        let before = by_path(topology, daemon);
        send_probes(topology, ipv6, 32);
        let after = by_path(topology, daemon);
        [after[0] > before[0], after[1] > before[1]] == expected
    });
}
