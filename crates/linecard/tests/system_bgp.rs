//! A full-size table learned by BGP while traffic flows: FRR or BIRD in the router, BIRD as the peers.
//!
//! The sessions run across veths that Linecard serves, to the router's own addresses there. Nothing
//! here is scripted for Linecard: it sees what the daemon gives to the kernel, as it will in the
//! field. After each step the kernel's FIB and Linecard's are compared as sets.
//!
//! `cargo test -p linecard --test system_bgp -- --nocapture` prints how long each step took.

mod bgp;
#[allow(unused_macros, reason = "the ports are native in all of these tests")]
mod common;

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bgp::convergence::{Baseline, assert_followed_without_loss, health};
use bgp::daemons::{Path, Policy, RouterKind, start_peer, start_router};
use bgp::fib::{self, Fib};
use bgp::prefixes::Prefixes;
use bgp::traffic::{self, Flow};
use common::{Daemon, PortMode};
use linecard_lab::{RouterOptions, RouterTopology, wait_for};

const SEED: u64 = 0x4c43;
const ROUTES_IPV4: usize = 100_000;
const ROUTES_IPV6: usize = 20_000;
/// How long a daemon may take to bring another path into the kernel for all routes.
const MOVED_WITHIN: Duration = Duration::from_secs(120);
/// Ten times what a kill may cost in the median of several: this is one, on a busy machine.
const OUTAGE_MAX: Duration = Duration::from_millis(50);

/// Two of these at once would measure, and starve, each other.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn topology() -> RouterTopology {
    let options = RouterOptions { permanent_neighbours: true, ..RouterOptions::default() };
    RouterTopology::new(&options).expect("a topology")
}

/// Some hundred destinations among `prefixes`, which the server takes for its own.
fn sample(topology: &RouterTopology, prefixes: &Prefixes) -> Vec<IpAddr> {
    let mut sample = prefixes.addresses(false, SEED + 1, 300);
    sample.extend(prefixes.addresses(true, SEED + 2, 100));
    traffic::own(topology, &sample);
    sample
}

/// Waits until all routes of `prefixes` have in the kernel's FIB the next hops of just these paths,
/// and then until Linecard has them, too.
fn wait_via(
    topology: &RouterTopology,
    daemon: &Daemon,
    prefixes: &Prefixes,
    paths: &[Path],
) -> Fib {
    let mut wanted: Vec<_> = paths.iter().map(|it| it.link(topology).near.interface).collect();
    wanted.sort_unstable();
    let all_via = |fib: &Fib| {
        prefixes.nets().all(|net| {
            fib.get(&net).is_some_and(|hops| {
                hops.iter().map(|hop| hop.interface.as_str()).eq(wanted.iter().copied())
            })
        })
    };
    let start = Instant::now();
    wait_for("all routes via the paths wanted", MOVED_WITHIN, || {
        Ok(all_via(&fib::of_kernel(&topology.router)))
    })
    .expect("the daemon moves the routes");
    println!("all via {wanted:?} in the kernel after {:.2} s", start.elapsed().as_secs_f64());
    let fib = fib::wait_until_equal(daemon, &topology.router);
    assert!(all_via(&fib), "and they stay there");
    fib
}

/// The kernel's routes are the daemon's, and of the kind that it is here for: FRR's refer to
/// nexthop objects, BIRD's do not.
fn assert_made_by(topology: &RouterTopology, kind: RouterKind, count: [usize; 2]) {
    // `RTPROT_BGP` and `RTPROT_BIRD` of the kernel's rtnetlink.h.
    let (protocol, objects) = match kind {
        RouterKind::Frr => (186, true),
        RouterKind::Bird => (12, false),
    };
    for (ipv6, count) in [false, true].into_iter().zip(count) {
        let routes = topology.router.routes(ipv6).expect("the kernel tells its routes");
        let made = routes.iter().filter(|route| {
            (route.protocol, route.nexthop_object.is_some()) == (protocol, objects)
        });
        assert_eq!(made.count(), count, "{kind:?}, IPv6 {ipv6}");
    }
}

/// The life of a table: learned, half of it withdrawn and announced again, moved to a better
/// peer, moved back when that dies, gone with the last peer. A load on a static route loses nothing.
fn a_table_comes_and_goes(kind: RouterKind) {
    let _alone = alone();
    let topology = topology();
    let prefixes = Prefixes::draw(SEED, ROUTES_IPV4, ROUTES_IPV6);
    let sample = sample(&topology, &prefixes);
    let all = [false, true].map(|ipv6| prefixes.count(ipv6));
    let half = [false, true].map(|ipv6| prefixes.first_half(ipv6));
    let mut daemon = Daemon::on_router(&topology, PortMode::Native);
    let load = Flow::to_service(&topology);
    let before = fib::wait_until_equal(&daemon, &topology.router);
    traffic::assert_unreachable(&topology, &sample[..2]);
    let baseline = Baseline::new(&topology, &daemon);

    let peer_a = start_peer(&topology, Path::A, &prefixes);
    let router = start_router(&topology, kind, Policy::PreferB);
    baseline.wait(&topology, &mut daemon, all, &format!("{kind:?} learns"));
    let learned = fib::wait_until_equal(&daemon, &topology.router);
    assert_eq!(learned.len(), before.len() + all[0] + all[1]);
    assert!(prefixes.nets().all(|net| learned.contains_key(&net)));
    assert_made_by(&topology, kind, all);
    traffic::assert_forwarded(&topology, &daemon, &sample);

    for family in ["ipv4", "ipv6"] {
        peer_a.command(&format!("disable half_1_{family}")).expect("BIRD obeys");
    }
    baseline.wait(&topology, &mut daemon, half, &format!("{kind:?} withdraws half"));
    let withdrawn = fib::wait_until_equal(&daemon, &topology.router);
    assert_eq!(withdrawn.len(), before.len() + half[0] + half[1]);
    for family in ["ipv4", "ipv6"] {
        peer_a.command(&format!("enable half_1_{family}")).expect("BIRD obeys");
    }
    baseline.wait(&topology, &mut daemon, all, &format!("{kind:?} learns half again"));
    assert_eq!(fib::wait_until_equal(&daemon, &topology.router), learned);

    let peer_b = start_peer(&topology, Path::B, &prefixes);
    wait_via(&topology, &daemon, &prefixes, &[Path::B]);
    let [a, b] = traffic::received_by_path(&topology);
    traffic::assert_forwarded(&topology, &daemon, &sample);
    let [a_after, b_after] = traffic::received_by_path(&topology);
    assert!(b_after - b >= sample.len() as u64, "they came by path b: {a} → {a_after}");

    peer_b.kill().expect("it may be killed");
    assert_eq!(wait_via(&topology, &daemon, &prefixes, &[Path::A]), learned);
    traffic::assert_forwarded(&topology, &daemon, &sample);

    peer_a.kill().expect("it may be killed");
    baseline.wait(&topology, &mut daemon, [0, 0], &format!("{kind:?} loses its last peer"));
    assert_eq!(fib::wait_until_equal(&daemon, &topology.router), before);
    traffic::assert_unreachable(&topology, &[&sample[..3], &sample[397..]].concat());

    load.stop_without_loss("the load on a static route, over all that");
    assert_followed_without_loss(&daemon);
    daemon.assert_books_balance();
    drop(router);
}

#[test]
fn a_table_comes_and_goes_with_frr() {
    a_table_comes_and_goes(RouterKind::Frr);
}

#[test]
fn a_table_comes_and_goes_with_bird() {
    a_table_comes_and_goes(RouterKind::Bird);
}

/// Two peers announce the same; packets are shared among both. One takes its leave and comes
/// back: the flows through what was learned move and lose nothing, as the kernel replaces the routes.
fn two_peers_share(kind: RouterKind) {
    let _alone = alone();
    let topology = topology();
    let prefixes = Prefixes::draw(SEED, 5_000, 1_000);
    let sample = sample(&topology, &prefixes);
    let daemon = Daemon::on_router(&topology, PortMode::Native);
    let peers = [Path::A, Path::B].map(|path| (path, start_peer(&topology, path, &prefixes)));
    let _router = start_router(&topology, kind, Policy::Multipath);
    let shared = wait_via(&topology, &daemon, &prefixes, &[Path::A, Path::B]);

    let before = traffic::received_by_path(&topology);
    traffic::assert_forwarded(&topology, &daemon, &sample);
    let after = traffic::received_by_path(&topology);
    let [a, b] = [after[0] - before[0], after[1] - before[1]];
    println!("{kind:?}: {a} packets by path a, {b} by path b");
    assert!(a.min(b) * 3 > a.max(b), "about even: {a} and {b}");

    // BIRD changes an IPv6 route by deleting it first, which the kernel's own forwarding shows as well.
    let ipv4_only = kind == RouterKind::Bird;
    let steady: Vec<_> = sample.iter().filter(|it| it.is_ipv4() || !ipv4_only).copied().collect();
    let flows = Flow::to_each(&topology, &steady);
    let (_, peer_b) = &peers[1];
    for (verb, paths) in [("disable", &[Path::A][..]), ("enable", &[Path::A, Path::B])] {
        for family in ["ipv4", "ipv6"] {
            peer_b.command(&format!("{verb} to_server_b_{family}")).expect("BIRD obeys");
        }
        let fib = wait_via(&topology, &daemon, &prefixes, paths);
        assert_eq!(fib == shared, verb == "enable");
        flows.wait_more(steady.len() as u64);
    }
    flows.stop_without_loss("the flows to what two peers announce");
    assert_followed_without_loss(&daemon);
    daemon.assert_books_balance();
}

#[test]
fn two_peers_share_with_frr() {
    two_peers_share(RouterKind::Frr);
}

#[test]
fn two_peers_share_with_bird() {
    two_peers_share(RouterKind::Bird);
}

/// Linecard dies with a full-size table: the kernel forwards on. It starts again beside running
/// traffic: it has every route before it takes over, and takes over without a loss.
#[test]
fn the_table_survives_linecard() {
    let _alone = alone();
    let topology = topology();
    let prefixes = Prefixes::draw(SEED, ROUTES_IPV4, ROUTES_IPV6);
    let sample = sample(&topology, &prefixes);
    let all = [false, true].map(|ipv6| prefixes.count(ipv6));
    let mut daemon = Daemon::on_router(&topology, PortMode::Native);
    let baseline = Baseline::new(&topology, &daemon);
    let _peer = start_peer(&topology, Path::A, &prefixes);
    let _router = start_router(&topology, RouterKind::Bird, Policy::PreferB);
    baseline.wait(&topology, &mut daemon, all, "BIRD learns");
    let learned = fib::wait_until_equal(&daemon, &topology.router);
    traffic::assert_forwarded(&topology, &daemon, &sample);
    let routes = health(&daemon).routes;

    let flows = Flow::to_each(&topology, &sample);
    daemon.kill();
    flows.wait_more(5_000);
    let (report, missing) = flows.stop();
    println!(
        "killed: {missing} of {} datagrams missing, longest outage {:?}",
        report.packets, report.outage_longest
    );
    let outage = if missing == 0 { Duration::ZERO } else { report.outage_longest };
    assert!(outage < OUTAGE_MAX, "a large table makes no difference: {report:?}");
    assert_eq!(fib::of_kernel(&topology.router), learned, "the kernel kept every route");

    let flows = Flow::to_each(&topology, &sample);
    let start = Instant::now();
    daemon.start_again();
    println!("started again and forwarding after {:.2} s", start.elapsed().as_secs_f64());
    daemon.wait_for("all routes again", |daemon| health(daemon).routes == routes);
    assert_eq!(fib::of_linecard(&daemon), learned, "no route is missing");
    flows.wait_more(5_000);
    flows.stop_without_loss("the flows over the restart");
    traffic::assert_forwarded(&topology, &daemon, &sample);
    assert_followed_without_loss(&daemon);
    daemon.assert_books_balance();
}
