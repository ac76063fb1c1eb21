//! The filter of what is for the router itself, under real clients: who may speak to the router does, nobody else
//! does, all of it is counted, and transit does not notice.

mod common;

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use common::traffic::{load, probe, send_all, sink, wait_reachable};
use common::{DEADLINE, Daemon, Options, PortMode, resolved_topology, text};
use linecard_lab::{
    FrameSocket, Namespace, RouterOptions, RouterTopology, RoutingDaemon, wait_for,
};
use linecard_observe::trace::to_hex;
use linecard_observe::{ExplainQuery, Fate, FilterReport, RuleReport};
use linecard_packet::DropReason;
use linecard_wire::builder::{Ipv4, PacketBuilder, Udp};

const PACKETS: u64 = 2_000;
/// What the router serves.
const SERVICE: u16 = 2222;
/// How long somebody waits who is to get no answer.
const IN_VAIN: Duration = Duration::from_millis(200);
const NEIGHBOURS: &str =
    "{ name = \"nd\", match = \"icmpv6 icmp-type 133-137\", action = \"accept\" }";

/// The filter `own` at the router; who matches no rule has no access.
fn own(rules: &str) -> String {
    format!(
        "[router]\nfilter = \"own\"\n[[filter]]\nname = \"own\"\ndefault = \"drop\"\n\
         rules = [\n{NEIGHBOURS},\n{rules}\n]\n"
    )
}

fn options(topology: &RouterTopology, mode: PortMode, rules: &str) -> Options {
    Options::of_router(topology, mode).tables(&own(rules))
}

fn filter(daemon: &Daemon) -> FilterReport {
    let filters = daemon.client().filters().expect("the daemon answers").filters;
    filters.into_iter().find(|filter| filter.name == "own").expect("it is configured")
}

fn rule(daemon: &Daemon, name: &str) -> RuleReport {
    let rules = filter(daemon).rules;
    let found = rules.iter().find(|rule| rule.name == name);
    found.unwrap_or_else(|| panic!("no rule {name} in {rules:?}")).clone()
}

/// The router's address at the client's link.
fn router(topology: &RouterTopology) -> Ipv4Addr {
    topology.client_link.far.ipv4.addr()
}

/// Takes connections at a port of the router, as long as the test lasts.
fn serve(topology: &RouterTopology) {
    let listener =
        topology.router.run(|| TcpListener::bind(("0.0.0.0", SERVICE)).expect("nobody has it"));
    std::thread::spawn(move || listener.incoming().flatten().for_each(drop));
}

/// A connection from one of the client's addresses; an error when nobody answers within the time.
fn connect(topology: &RouterTopology, from: IpAddr, patience: Duration) -> std::io::Result<()> {
    let to = SocketAddr::from((router(topology), SERVICE));
    topology.client.run(|| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        socket.connect_timeout(&to.into(), patience).map(|()| drop(TcpStream::from(socket)))
    })
}

fn answers_pings(topology: &RouterTopology, patience: Duration) -> bool {
    probe(topology, router(topology).into(), patience).is_reply()
}

/// UDP from the client to a port of the router that nobody serves.
fn datagram(topology: &RouterTopology, port: u16) -> Vec<u8> {
    let link = &topology.client_link;
    PacketBuilder::new()
        .ethernet(link.far.mac.into(), link.near.mac.into())
        .ipv4(Ipv4::new(link.near.ipv4.addr(), router(topology)))
        .udp(Udp::new(4000, port))
        .payload(b"eighteen bytes of.")
        .build()
}

/// What the rules that drop have counted, the default included.
fn dropped_by_rules(daemon: &Daemon) -> u64 {
    let rules = filter(daemon).rules;
    rules.iter().filter(|rule| rule.action == "drop").map(|rule| rule.packets).sum()
}

fn only_who_may_speaks_to_the_router(mode: PortMode) {
    const FRAMES: u64 = 100;
    let topology = resolved_topology();
    serve(&topology);
    let near = &topology.client_link.near;
    let manager = near.ipv4.addr();
    // Another host of the same link.
    let other = near.ipv4.hosts().nth(100).expect("a large network");
    topology
        .client
        .add_address(near.interface, ipnet::IpNet::new(other.into(), 24).expect("24"))
        .expect("a free address");
    let rules = format!(
        "{{ name = \"manager\", match = \"tcp source {manager} destination-port {SERVICE}\", action = \"accept\" }},\n\
         {{ name = \"all-udp\", match = \"udp\", action = \"continue\" }},\n\
         {{ name = \"junk\", match = \"udp destination-port 9\", action = \"drop\" }},\n\
         {{ name = \"ping\", match = \"icmp icmp-type echo-request\", action = \"drop\" }},"
    );
    let daemon = Daemon::start(&topology.router, &options(&topology, mode, &rules));
    assert!(filter(&daemon).at_router);
    let shown = text(&daemon.show(&["filters"]).stdout);
    assert!(shown.contains("filter own, what is for the router:"), "{shown}");

    wait_for("the manager's connection", DEADLINE, || {
        Ok(connect(&topology, manager.into(), DEADLINE).is_ok())
    })
    .expect("it may");
    assert!(rule(&daemon, "manager").packets >= 2, "{:?}", filter(&daemon));
    let error = connect(&topology, other.into(), IN_VAIN).expect_err("it may not");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(!answers_pings(&topology, IN_VAIN));
    daemon.assert_count("pings", 1, |it| rule(it, "ping").packets);

    let frame = datagram(&topology, 9);
    let socket = FrameSocket::open(&topology.client, near.interface).expect("a packet socket");
    for _ in 0..FRAMES {
        socket.send(&frame).expect("sent");
    }
    daemon.assert_count("junk", FRAMES, |it| rule(it, "junk").packets);
    let junk = rule(&daemon, "junk");
    assert_eq!(junk.bytes, FRAMES * frame.len() as u64);
    assert!(rule(&daemon, "all-udp").packets >= FRAMES);

    // Transit goes its way.
    wait_reachable(&topology, &daemon, false);
    send_all(&topology, false, 4, PACKETS);
    send_all(&topology, true, 4, PACKETS);
    wait_for("the same counts", DEADLINE, || {
        let by_rules = dropped_by_rules(&daemon);
        Ok(daemon.dropped(DropReason::RouterFiltered) == by_rules
            && dropped_by_rules(&daemon) == by_rules)
    })
    .expect("what rules drop is what is dropped");
    let shown = text(&daemon.show(&["drops"]).stdout);
    assert!(shown.contains("router_filtered"), "{shown}");
    daemon.assert_books_balance();
}

#[test]
fn only_who_may_speaks_to_the_router_native() {
    only_who_may_speaks_to_the_router(PortMode::Native);
}

#[test]
fn only_who_may_speaks_to_the_router_generic() {
    only_who_may_speaks_to_the_router(PortMode::Generic);
}

#[test]
fn only_who_may_speaks_to_the_router_packet() {
    only_who_may_speaks_to_the_router(PortMode::Packet);
}

#[test]
fn only_who_may_speaks_to_the_router_beside_the_route_cache() {
    only_who_may_speaks_to_the_router(PortMode::Redirected);
}

/// What FRR says of its only neighbour.
fn bgp(frr: &RoutingDaemon, peer: &str) -> (String, u64) {
    let said = frr.ask("bgpd", "show bgp neighbors json").expect("FRR answers");
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let state = said[peer]["bgpState"].as_str().unwrap_or_default().to_owned();
    let keepalives = said[peer]["messageStats"]["keepalivesRecv"].as_u64().unwrap_or_default();
    (state, keepalives)
}

/// With rules for one session and no other, the session comes up and stays. Who kills Linecard gets the kernel as it
/// was.
#[test]
fn a_session_of_frr_lives_where_all_else_is_dropped() {
    let topology = resolved_topology();
    let (own, peer) = (router(&topology), topology.client_link.near.ipv4.addr());
    let rules = format!(
        "{{ name = \"bgp-in\", match = \"tcp source {peer} destination-port 179 ttl 1-255\", action = \"accept\" }},\n\
         {{ name = \"bgp-back\", match = \"tcp source {peer} source-port 179 tcp-flags ack\", action = \"accept\" }},"
    );
    let mut daemon = Daemon::start(&topology.router, &options(&topology, PortMode::Native, &rules));
    let of = |number: u32, own: Ipv4Addr, peer: Ipv4Addr, remote: u32| {
        format!(
            "router bgp {number}\n bgp router-id {own}\n no bgp ebgp-requires-policy\n \
             timers bgp 1 3\n neighbor {peer} remote-as {remote}\n neighbor {peer} timers connect 1\n"
        )
    };
    let frr = |namespace: &Namespace, text: String| {
        RoutingDaemon::frr(namespace, &text).expect("FRR starts")
    };
    let inside = frr(&topology.router, of(65_001, own, peer, 65_002));
    let _outside = frr(&topology.client, of(65_002, peer, own, 65_001));
    let peer = peer.to_string();
    wait_for("four hold times of the session", 8 * DEADLINE, || {
        let (state, keepalives) = bgp(&inside, &peer);
        Ok(state == "Established" && keepalives >= 12)
    })
    .unwrap_or_else(|error| panic!("{error}: {:?}, {:?}", bgp(&inside, &peer), filter(&daemon)));
    assert!(!answers_pings(&topology, IN_VAIN));
    daemon.assert_books_balance();

    daemon.kill();
    wait_for("an answer of the kernel", DEADLINE, || Ok(answers_pings(&topology, IN_VAIN)))
        .expect("without Linecard nothing is filtered");
}

#[test]
fn a_reload_puts_a_filter_in_force_changes_it_and_takes_it_away() {
    let topology = resolved_topology();
    let mut daemon = Daemon::on_router(&topology, PortMode::Native);
    wait_reachable(&topology, &daemon, false);
    assert!(answers_pings(&topology, DEADLINE));
    let with = |rules: &str| options(&topology, PortMode::Native, rules);
    let ping = "{ name = \"ping\", match = \"icmp icmp-type echo-request\", action = \"drop\" },";

    daemon.configure(&with(ping));
    let report = daemon.client().reload().expect("it is right");
    assert_eq!(
        (report.changed_sections, report.changed_filters),
        (vec!["[router]".to_owned()], vec!["own".to_owned()])
    );
    assert!(!answers_pings(&topology, IN_VAIN));
    daemon.assert_count("pings", 1, |it| rule(it, "ping").packets);
    assert_eq!(daemon.client().reload().expect("it is right").changes().count(), 0);

    // A rule in front of it: the count goes on.
    let trusted = format!(
        "{{ match = \"icmp source {}\", action = \"accept\" }},{ping}",
        topology.client_address(false)
    );
    daemon.configure(&with(&trusted));
    let report = daemon.client().reload().expect("it is right");
    assert_eq!(report.changed_sections, ["[router]"]);
    assert!(answers_pings(&topology, DEADLINE));
    assert_eq!(rule(&daemon, "ping").packets, 1);

    // What the router cannot have is refused, with its place, and changes nothing.
    daemon.configure(&with(
        "{ name = \"bad\", match = \"tcp state established\", action = \"accept\" },",
    ));
    let error = daemon.client().reload().expect_err("no states here").to_string();
    assert!(error.contains("linecard.toml:") && error.contains("no `state`"), "{error}");
    assert!(answers_pings(&topology, DEADLINE));
    assert_eq!(rule(&daemon, "ping").packets, 1);

    // Without its place at the router it goes on being counted, and does nothing.
    daemon.configure(&with(ping).clone().tables(""));
    let apart = own(ping).replace("[router]\nfilter = \"own\"\n", "");
    daemon.configure(&Options::of_router(&topology, PortMode::Native).tables(&apart));
    let report = daemon.client().reload().expect("it is right");
    assert_eq!(report.changed_sections, ["[router]"]);
    assert!(answers_pings(&topology, DEADLINE));
    assert!(!filter(&daemon).at_router);
    assert_eq!(rule(&daemon, "ping").packets, 1);
    daemon.assert_books_balance();
}

/// Frames of queues that nobody serves are the kernel's, whatever a filter says: so there is none.
#[test]
fn a_port_with_queues_of_the_kernels_has_no_filter() {
    let topology = RouterTopology::new(&RouterOptions { queues: 2, ..RouterOptions::default() });
    let topology = topology.expect("a topology");
    let port = topology.client_link.far.interface;
    let without =
        Options::of_router(&topology, PortMode::Native).port_keys(port, "queues_max = 1\n");
    let mut daemon = Daemon::start(&topology.router, &without);
    daemon.configure(&without.clone().tables(&own("")));
    let error = daemon.client().reload().expect_err("packets would go by it").to_string();
    assert!(error.contains(port) && error.contains("queues_max"), "{error}");
    assert!(daemon.client().filters().expect("it answers").filters.is_empty());
}

/// Twenty changes of the filter while transit goes through, and not one packet of that is lost.
#[test]
fn transit_does_not_notice_a_change() {
    let topology = resolved_topology();
    let rules =
        |port: u16| format!("{{ match = \"udp destination-port {port}\", action = \"accept\" }},");
    let mut daemon =
        Daemon::start(&topology.router, &options(&topology, PortMode::Native, &rules(1)));
    wait_reachable(&topology, &daemon, false);
    let sink = sink(&topology, false);
    let load = load(&topology, false, 4, 2 * PACKETS).start(&topology.client).expect("a load");
    for port in 2..22 {
        daemon.configure(&options(&topology, PortMode::Native, &rules(port)));
        let report = daemon.client().reload().expect("it is right");
        assert_eq!(report.changed_sections, ["[router]"]);
    }
    let sent = load.join();
    wait_for("all packets", DEADLINE, || Ok(sink.packets() >= sent.packets)).expect("none is lost");
    assert_eq!((sent.packets, sent.failures, sink.stop().packets), (2 * PACKETS, 0, 2 * PACKETS));
    daemon.assert_books_balance();
}

/// A set of nobody lets nobody in; as soon as it has a member, the member may.
#[test]
fn a_set_is_read_again_alone_and_an_empty_one_lets_nobody_in() {
    let topology = resolved_topology();
    let directory = tempfile::tempdir().expect("a directory of our own");
    let managers = directory.path().join("managers.prefixes");
    std::fs::write(&managers, "# nobody yet\n").expect("a file of our own");
    let set = format!("[[set]]\nname = \"managers\"\nfile = \"{}\"\n", managers.display());
    let rules = "{ name = \"managers\", match = \"icmp source @managers\", action = \"accept\" },";
    let options = options(&topology, PortMode::Native, rules).tables(&set);
    let daemon = Daemon::start(&topology.router, &options);
    assert!(!answers_pings(&topology, IN_VAIN));
    assert_eq!(rule(&daemon, "managers").packets, 0);
    assert!(rule(&daemon, "default").packets >= 1);

    std::fs::write(&managers, format!("{}/32\n", topology.client_address(false))).expect("ours");
    let report = daemon.client().reload_set("managers").expect("it is right");
    assert_eq!(report.changed_sections, ["[router]"]);
    assert!(answers_pings(&topology, DEADLINE));
    assert_eq!(rule(&daemon, "managers").packets, 1);
}

/// Where a packet port is served the kernel has taken the outer tag off before.
fn rules_see_vlans(mode: PortMode) {
    let topology = resolved_topology();
    let rules = "{ name = \"five\", match = \"udp vlan 5\", action = \"drop\" },\n\
                 { name = \"six\", match = \"udp vlan 6\", action = \"accept\" },\n\
                 { name = \"none\", match = \"udp vlan none\", action = \"drop\" },";
    let daemon = Daemon::start(&topology.router, &options(&topology, mode, rules));
    let near = topology.client_link.near.interface;
    let socket = FrameSocket::open(&topology.client, near).expect("a packet socket");
    let plain = datagram(&topology, 9);
    let tag = |vlan: u8| [0x81, 0x00, 0x00, vlan];
    let tagged = |tags: &[u8]| [&plain[..12], tags, &plain[12..]].concat();
    let inner_six = [tag(5), tag(6)].concat();
    for (name, frames) in [
        ("five", vec![tagged(&tag(5)), tagged(&inner_six)]),
        ("six", vec![tagged(&tag(6))]),
        ("none", vec![plain.clone()]),
        ("default", vec![tagged(&tag(7))]),
    ] {
        let before = rule(&daemon, name);
        frames.iter().for_each(|frame| socket.send(frame).expect("sent"));
        let wanted = before.packets + frames.len() as u64;
        daemon.wait_for("the frames", |daemon| rule(daemon, name).packets >= wanted);
        if name != "default" {
            // The kernel counts the tag that it has taken off no more.
            let taken_off = if mode == PortMode::Packet && name != "none" { 4 } else { 0 };
            let bytes = frames.iter().map(|frame| frame.len() as u64 - taken_off).sum::<u64>();
            let rule = rule(&daemon, name);
            assert_eq!((rule.packets, rule.bytes - before.bytes), (wanted, bytes), "{name}");
        }
    }
    daemon.assert_books_balance();
}

#[test]
fn rules_see_vlans_native() {
    rules_see_vlans(PortMode::Native);
}

#[test]
fn rules_see_vlans_packet() {
    rules_see_vlans(PortMode::Packet);
}

#[test]
fn an_imagined_packet_meets_the_filter() {
    let topology = resolved_topology();
    let rules = "{ name = \"junk\", match = \"udp destination-port 9\", action = \"drop\" },\n\
                 { name = \"echo\", match = \"udp destination-port 7\", action = \"accept\" },";
    let daemon = Daemon::start(&topology.router, &options(&topology, PortMode::Native, rules));
    let explained = |frame: &[u8]| {
        let port = topology.client_link.far.interface.to_owned();
        let query = ExplainQuery { port, frame: to_hex(frame) };
        daemon.client().explain(&query).expect("the daemon answers")
    };
    let dropped = explained(&datagram(&topology, 9));
    assert_eq!(dropped.verdict.fate, Fate::Dropped);
    assert_eq!(dropped.verdict.reason.as_deref(), Some("router_filtered"));
    assert!(dropped.steps[1].text.contains("rule junk of filter own drops it"), "{dropped:?}");
    let accepted = explained(&datagram(&topology, 7));
    assert_eq!(accepted.verdict.fate, Fate::Passed);
    assert!(accepted.steps[1].text.contains("rule echo of filter own accepts it"), "{accepted:?}");
    let by_default = explained(&datagram(&topology, 8));
    assert!(by_default.steps[1].text.contains("rule default of filter own drops it"));
    assert_eq!(rule(&daemon, "junk").packets, 0, "nothing is counted");
}
