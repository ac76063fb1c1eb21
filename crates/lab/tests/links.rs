//! Namespaces, links, addresses, routes and neighbours, against the kernel. Needs root.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use linecard_lab::{
    Namespace, NeighbourState, NextHop, Route, RouterOptions, RouterTopology, VethOptions,
    command_that_dies_with_us, create_veth, wait_until, was_killed,
};

const TIMEOUT: Duration = Duration::from_secs(5);

fn pair(queues: u32) -> (Namespace, Namespace) {
    let left = Namespace::new("left").unwrap();
    let right = Namespace::new("right").unwrap();
    let options = VethOptions { queues, ..VethOptions::default() };
    create_veth((&left, "eth0"), (&right, "eth0"), &options).unwrap();
    for (namespace, host) in [(&left, 1), (&right, 2)] {
        namespace.set_up("eth0").unwrap();
        namespace.add_address("eth0", format!("192.0.2.{host}/24").parse().unwrap()).unwrap();
        namespace.add_address("eth0", format!("2001:db8::{host}/64").parse().unwrap()).unwrap();
    }
    left.wait_running("eth0", TIMEOUT).unwrap();
    (left, right)
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn datagrams_cross_a_veth_pair_between_namespaces() {
    let (left, right) = pair(1);
    for (from, to) in [("192.0.2.1:0", "192.0.2.2:9"), ("[2001:db8::1]:0", "[2001:db8::2]:9")] {
        let receiver = right.run(|| UdpSocket::bind(to)).unwrap();
        receiver.set_read_timeout(Some(TIMEOUT)).unwrap();
        let sender = left.run(|| UdpSocket::bind(from)).unwrap();
        sender.send_to(b"across", to).unwrap();
        let mut buffer = [0; 16];
        let (length, source) = receiver.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"across");
        assert_eq!(source.ip(), sender.local_addr().unwrap().ip());
    }
}

#[test]
fn a_namespace_sees_its_own_interfaces_only() {
    let (left, right) = pair(4);
    let names = |namespace: &Namespace| -> Vec<String> {
        namespace.interfaces().unwrap().into_iter().map(|it| it.name).collect()
    };
    for namespace in [&left, &right] {
        let names = names(namespace);
        assert!(
            names.contains(&"eth0".to_owned()) && names.contains(&"lo".to_owned()),
            "{names:?}"
        );
    }
    left.delete_link("eth0").unwrap();
    assert!(!names(&left).contains(&"eth0".to_owned()));
    assert!(!names(&right).contains(&"eth0".to_owned()), "the peer goes with its end");
}

#[test]
fn mtu_mac_and_state_are_set_and_read_back() {
    let (left, _right) = pair(1);
    left.set_mtu("eth0", 1400).unwrap();
    left.set_mac("eth0", [2, 0, 0, 0, 0, 7]).unwrap();
    let interface = left.interface("eth0").unwrap();
    assert_eq!((interface.mtu_bytes, interface.mac), (1400, [2, 0, 0, 0, 0, 7]));
    assert!(interface.is_up && interface.is_running);
    left.set_down("eth0").unwrap();
    assert!(!left.interface("eth0").unwrap().is_up);
}

#[test]
fn addresses_come_and_go() {
    let (left, _right) = pair(1);
    let extra = "198.51.100.7/25".parse().unwrap();
    left.add_address("eth0", extra).unwrap();
    let error = left.add_address("eth0", extra).unwrap_err();
    assert!(error.to_string().contains("198.51.100.7/25 on eth0 in left"), "{error}");
    left.replace_address("eth0", extra).unwrap();
    assert!(left.addresses("eth0").unwrap().contains(&extra));
    left.delete_address("eth0", extra).unwrap();
    assert!(!left.addresses("eth0").unwrap().contains(&extra));
}

#[test]
fn neighbours_are_added_deleted_and_flushed() {
    let (left, _right) = pair(1);
    let (v4, v6) = (address("192.0.2.77"), address("2001:db8::77"));
    for it in [v4, v6] {
        left.add_neighbour("eth0", it, [2, 0, 0, 0, 0, 77]).unwrap();
        let neighbours = left.neighbours("eth0").unwrap();
        let entry = neighbours.iter().find(|entry| entry.address == it).unwrap();
        assert_eq!(entry.mac, Some([2, 0, 0, 0, 0, 77]));
        assert_eq!(entry.state, NeighbourState::Permanent);
    }
    left.delete_neighbour("eth0", v4).unwrap();
    assert!(left.delete_neighbour("eth0", v4).is_err());
    left.flush_neighbours("eth0").unwrap();
    assert_eq!(left.neighbours("eth0").unwrap(), []);
}

#[test]
fn every_kind_of_route_is_taken_and_deleted() {
    let (left, _right) = pair(1);
    left.add_address("eth0", "198.51.100.1/24".parse().unwrap()).unwrap();
    let hops = vec![
        NextHop::via(address("192.0.2.2")).interface("eth0").weight(3),
        NextHop::via(address("198.51.100.2")),
    ];
    let hops_v6 = vec![
        NextHop::via(address("2001:db8::2")).interface("eth0"),
        NextHop::via(address("2001:db8::3")).interface("eth0").weight(256),
    ];
    let net = |text: &str| text.parse().unwrap();
    let routes = [
        Route::via(net("203.0.113.0/28"), address("192.0.2.2")).metric(7).mtu_bytes(1280),
        Route::multipath(net("203.0.113.16/28"), hops),
        Route::blackhole(net("203.0.113.32/28")),
        Route::unreachable(net("203.0.113.48/28")),
        Route::prohibit(net("203.0.113.64/28")),
        Route::unicast(net("203.0.113.80/28"), NextHop::on("eth0")),
        Route::unicast(
            net("203.0.113.96/28"),
            NextHop::via(address("100.64.0.1")).interface("eth0").onlink(),
        ),
        Route::via(net("203.0.113.112/28"), address("2001:db8::2")),
        Route::via(net("2001:db8:1::/64"), address("2001:db8::2")),
        Route::multipath(net("2001:db8:2::/64"), hops_v6),
        Route::blackhole(net("2001:db8:3::/64")),
        Route::unreachable(net("2001:db8:4::/64")),
        Route::prohibit(net("2001:db8:5::/64")),
    ];
    for route in &routes {
        left.add_route(route).unwrap();
        assert!(left.add_route(route).is_err(), "it is there already: {route:?}");
        left.replace_route(route).unwrap();
    }
    for route in &routes {
        left.delete_route(route).unwrap();
        assert!(left.delete_route(route).is_err(), "it has gone: {route:?}");
    }
}

#[test]
fn nexthop_objects_and_groups_carry_routes() {
    let (left, _right) = pair(1);
    let hop = |text: &str| NextHop::via(address(text)).interface("eth0");
    left.replace_nexthop(1, &hop("192.0.2.2")).unwrap();
    left.replace_nexthop(2, &hop("192.0.2.3")).unwrap();
    left.replace_nexthop_group(10, &[(1, 1), (2, 200)]).unwrap();
    left.add_route(&Route::nexthop_object("203.0.113.0/24".parse().unwrap(), 10)).unwrap();
    let before = left.route_count(false).unwrap();
    left.delete_nexthop(10).unwrap();
    assert_eq!(left.route_count(false).unwrap(), before - 1, "its routes go with the group");
    let error = left.replace_nexthop_group(11, &[(99, 1)]).unwrap_err();
    assert!(error.to_string().contains("replace nexthop group 11 in left"), "{error}");
}

#[test]
fn thousands_of_routes_go_in_by_batches_and_a_bad_one_is_named() {
    let (left, _right) = pair(1);
    let before = left.route_count(false).unwrap();
    let net = |i: u32| format!("10.{}.{}.0/24", i / 256, i % 256).parse().unwrap();
    let routes: Vec<_> = (0..5_000).map(|i| Route::via(net(i), address("192.0.2.2"))).collect();
    assert_eq!(left.replace_routes(&routes).unwrap(), 5_000);
    assert_eq!(left.route_count(false).unwrap(), before + 5_000);
    assert_eq!(left.delete_routes(&routes).unwrap(), 5_000);
    assert_eq!(left.route_count(false).unwrap(), before);
    let bad = [Route::via(net(0), address("203.0.113.9"))];
    assert!(left.replace_routes(&bad).is_err());
    // The socket is still in step after a refusal.
    assert_eq!(left.route_count(false).unwrap(), before);
}

#[test]
fn bridge_and_macvlan_are_made() {
    let (left, _right) = pair(1);
    left.create_bridge("br0").unwrap();
    left.create_macvlan("mv0", "eth0").unwrap();
    left.delete_link("mv0").unwrap();
    left.set_bridge("eth0", Some("br0")).unwrap();
    left.set_bridge("eth0", None).unwrap();
}

#[test]
fn transmit_offloads_are_turned_off() {
    let (left, _right) = pair(1);
    assert!(left.has_feature("eth0", "tx-checksum-ip-generic").unwrap());
    left.disable_tx_offloads("eth0").unwrap();
    for feature in ["tx-checksum-ip-generic", "tx-tcp-segmentation", "tx-tcp6-segmentation"] {
        assert!(!left.has_feature("eth0", feature).unwrap(), "{feature}");
    }
    left.set_features("eth0", &[("rx-gro", false)]).unwrap();
    assert!(!left.has_feature("eth0", "rx-gro").unwrap());
}

#[test]
fn a_child_runs_inside_and_dies_with_its_handle() {
    let (left, _right) = pair(1);
    let link = left.run(|| std::fs::read_link("/proc/thread-self/ns/net")).unwrap();
    // A child that ignores SIGTERM, and says when it does.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' TERM; echo ready; exec sleep 600"]).stdout(Stdio::piped());
    let mut process = left.spawn(command).unwrap();
    let mut line = String::new();
    BufReader::new(process.child_mut().stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let child_link = |id: u32| std::fs::read_link(format!("/proc/{id}/ns/net"));
    assert_eq!(child_link(process.id()).unwrap(), link);
    assert!(was_killed(process.terminate(Duration::from_millis(1)).unwrap()));
    assert!(child_link(process.id()).is_err(), "it is reaped");

    let mut command = Command::new("sleep");
    command.arg("600");
    let id = left.spawn(command).unwrap().id();
    assert!(child_link(id).is_err(), "dropping the handle killed and reaped it");
}

#[test]
fn a_child_tied_to_its_parent_dies_with_the_thread_that_started_it() {
    let starter = std::thread::spawn(|| {
        let mut command = command_that_dies_with_us("sh");
        command.args(["-c", "echo ready; exec sleep 600"]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        child
    });
    let mut child = starter.join().unwrap();
    let mut status = None;
    let ended = wait_until(TIMEOUT, || {
        status = child.try_wait().unwrap();
        Ok(status.is_some())
    });
    let _ = child.kill();
    assert!(ended.unwrap() && was_killed(status.unwrap()), "setpriv of util-linux is needed");
}

#[test]
fn the_path_of_a_namespace_leads_into_it() {
    let left = Namespace::new("left").unwrap();
    let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
    let inside = left.run(|| inode(Path::new("/proc/thread-self/ns/net")));
    assert_eq!(inode(&left.path()), inside);
    assert_ne!(inode(Path::new("/proc/thread-self/ns/net")), inside);
    let thread = left.spawn_thread("in-left", move || inode(Path::new("/proc/thread-self/ns/net")));
    assert_eq!(thread.unwrap().join().unwrap(), inside);
}

#[test]
fn errors_name_the_request() {
    let left = Namespace::new("left").unwrap();
    let error = left.set_up("eth9").unwrap_err().to_string();
    assert!(
        error.contains("interface eth9 in left") && error.contains("check the name"),
        "{error}"
    );
    let error = left.sysctl("net.ipv4.no_such_key", "1").unwrap_err().to_string();
    assert!(error.contains("net.ipv4.no_such_key=1 in left"), "{error}");
    let mut missing = Command::new("no-such-program-of-linecard");
    missing.arg("x");
    let error = left.spawn(missing).unwrap_err().to_string();
    assert!(error.contains("start no-such-program-of-linecard in left"), "{error}");
}

#[test]
fn the_kernel_forwards_through_the_router_topology() {
    for permanent_neighbours in [false, true] {
        let options = RouterOptions { permanent_neighbours, queues: 2, ..RouterOptions::default() };
        let topology = RouterTopology::new(&options).unwrap();
        for ipv6 in [false, true] {
            let server = topology.server_address(ipv6);
            let listener = topology.server.run(|| TcpListener::bind((server, 0))).unwrap();
            let target = listener.local_addr().unwrap();
            let stream =
                topology.client.run(|| std::net::TcpStream::connect_timeout(&target, TIMEOUT));
            stream.unwrap();
            let (_accepted, peer) = listener.accept().unwrap();
            assert_eq!(peer.ip(), topology.client_address(ipv6));
        }
    }
}
