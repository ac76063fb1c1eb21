//! Filters on a port's input and output.

use linecard_packet::{DropReason, PuntReason};
use linecard_services::filter::{Action, Match, Rule};
use linecard_wire::builder::{Arp, Extension, Ipv4, Ipv6, PacketBuilder, Udp};
use linecard_wire::ip::Ecn;

use crate::case::*;
use crate::common::{neighbour_mac, router_mac, to_router};
use crate::rig::*;

fn to_port(port: u16) -> Match {
    Match { destination_ports: vec![port..=port], ..Match::default() }
}

/// All cases are packets to UDP port 53 that come in on port 0.
fn one(case: Case) -> Vec<Line> {
    vec![Line(0, 0, case)]
}

#[test]
fn rules_of_an_input_decide() {
    let filters = |action| Setup {
        filters: vec![input(0, vec![rule("dns", to_port(53), action)])],
        ..Setup::default()
    };
    let dns: Counts<'_> = (&[("in/dns", 1)], &[]);
    let accepted = case("accepted", in4(transit()), out4(transit()));
    story("accept", &filters(Action::Accept), &one(accepted), dns);
    let dropped = case("dropped", in4(transit()), Dropped(DropReason::Filtered));
    story("drop", &filters(Action::Drop), &one(dropped), dns);
    let dropped = case("dropped IPv6", in6(transit6()), Dropped(DropReason::Filtered));
    story("drop", &filters(Action::Drop), &one(dropped), dns);
    let goes_on = case("it goes on", in4(transit()), out4(transit()));
    let counts: Counts<'_> = (&[("in/dns", 1), ("in/default", 1)], &[]);
    story("continue", &filters(Action::Continue), &one(goes_on), counts);
}

#[test]
fn an_input_has_a_say_on_the_routers_own_packets_and_none_on_what_is_not_ip() {
    let filters = || Setup {
        filters: vec![input(0, vec![rule("all", Match::default(), Action::Drop)])],
        ..Setup::default()
    };
    let own = || in4(ipv4("10.0.0.2", "10.1.0.1"));
    let expiring = || in4(Ipv4 { ttl: 1, ..transit() });
    let lines = [
        Line(0, 0, case("to the router", own(), Dropped(DropReason::Filtered))),
        Line(0, 0, case("TTL 1", expiring(), Dropped(DropReason::Filtered))),
    ];
    story("IP", &filters(), &lines, (&[("in/all", 2)], &[]));
    let unspecified = std::net::Ipv4Addr::UNSPECIFIED;
    let arp = Arp::request(neighbour_mac(6), unspecified, unspecified);
    let lines = [
        Line(0, 0, case("ARP", to_router().arp(arp), Punted(PuntReason::NotIp))),
        Line(0, 1, {
            let back = PacketBuilder::new().ethernet(router_mac(1), neighbour_mac(0));
            let own = udp(back.ipv4(ipv4("20.0.0.1", "10.1.0.1")));
            case("on another port", own, Punted(PuntReason::Local))
        }),
    ];
    story("not asked", &filters(), &lines, (&[], &[]));
}

#[test]
fn rules_of_an_output_decide_on_what_leaves_there() {
    let filters = |port, action| Setup {
        filters: vec![output(port, vec![rule("dns", to_port(53), action)])],
        ..Setup::default()
    };
    let dns: Counts<'_> = (&[("out/dns", 1)], &[]);
    let dropped = case("dropped", in4(transit()), Dropped(DropReason::Filtered));
    story("drop", &filters(1, Action::Drop), &one(dropped), dns);
    let dropped = case("dropped IPv6", in6(transit6()), Dropped(DropReason::Filtered));
    story("drop", &filters(1, Action::Drop), &one(dropped), dns);
    let elsewhere = case("by another port", in4(transit()), out4(transit()));
    story("the filter of port 0", &filters(0, Action::Drop), &one(elsewhere), (&[], &[]));
    let own = in4(ipv4("10.0.0.2", "10.1.0.1"));
    let own = case("it does not leave", own, Punted(PuntReason::Local));
    story("to the router", &filters(1, Action::Drop), &one(own), (&[], &[]));
}

#[test]
fn rules_mark_packets() {
    let mark = || {
        let rule = rule("dns", to_port(53), Action::Accept);
        vec![Rule { set_dscp: Some(46), ..rule }]
    };
    for (filter, count) in [(input(0, mark()), "in/dns"), (output(1, mark()), "out/dns")] {
        let setup = Setup { filters: vec![filter], ..Setup::default() };
        let lines = [
            Line(0, 0, {
                let marked = Ipv4 { dscp: 46, ecn: Ecn::Ect1, ..transit() };
                case("IPv4", in4(Ipv4 { dscp: 10, ecn: Ecn::Ect1, ..transit() }), out4(marked))
            }),
            Line(0, 0, {
                let marked = Ipv6 { dscp: 46, ecn: Ecn::Ect0, ..transit6() };
                case("IPv6", in6(Ipv6 { ecn: Ecn::Ect0, ..transit6() }), out6(marked))
            }),
        ];
        story("marked", &setup, &lines, (&[(count, 2)], &[]));
    }
}

#[test]
fn rules_redirect_packets() {
    let filters = |to: &str| {
        let action = Action::Redirect(to.parse().expect("an address"));
        let filters = vec![input(0, vec![rule("dns", to_port(53), action)])];
        Setup { filters, ..Setup::default() }
    };
    let dns: Counts<'_> = (&[("in/dns", 1)], &[]);
    let back = PacketBuilder::new().ethernet(neighbour_mac(6), router_mac(0));
    let sent = Sent(0, udp(back.ipv4(Ipv4 { ttl: 63, ..transit() })).build());
    let elsewhere = case("to where 20.9.0.1 is", in4(transit()), sent);
    story("redirect", &filters("20.9.0.1"), &one(elsewhere), dns);
    let nowhere = case("to a blackhole", in4(transit()), Dropped(DropReason::Blackhole));
    story("redirect", &filters("20.5.0.1"), &one(nowhere), dns);
    let accepted = case("of the other family", in6(transit6()), out6(transit6()));
    story("redirect", &filters("20.9.0.1"), &one(accepted), dns);
}

/// What the kernel gets and may forward by port 1, and why it gets it.
fn for_the_kernel() -> Vec<(&'static str, PacketBuilder, PuntReason)> {
    use PuntReason as P;
    let to = |destination| in4(ipv4("10.0.0.2", destination));
    let hop_by_hop = Extension::hop_by_hop(&[5, 2, 0, 0]);
    let long = |packet: PacketBuilder| packet.udp(Udp::new(4000, 53)).payload(&[0; 1473]);
    vec![
        ("options", in4(Ipv4 { options: vec![1; 4], ..transit() }), P::Ipv4Options),
        ("hop-by-hop", udp(to_router().ipv6(transit6()).extension(hop_by_hop)), P::Ipv6HopByHop),
        ("an unresolved gateway", to("20.8.0.1"), P::NeighbourUnresolved),
        ("an unresolved neighbour", to("10.1.0.3"), P::NeighbourUnresolved),
        ("a neighbour that nobody knows", to("10.1.0.77"), P::NeighbourUnresolved),
        ("too big", long(to_router().ipv4(transit())), P::TooBig),
        ("too big for IPv6", long(to_router().ipv6(transit6())), P::TooBig),
    ]
}

#[test]
fn what_the_kernel_forwards_passes_filters_as_well() {
    let packets = for_the_kernel().len() as u64;
    let ask = |filter, outcome: &dyn Fn(PuntReason) -> Outcome, counts: Counts<'_>| {
        let setup = Setup { filters: vec![filter], ..Setup::default() };
        let line = |(what, packet, reason)| Line(0, 0, case(what, packet, outcome(reason)));
        let lines: Vec<_> = for_the_kernel().into_iter().map(line).collect();
        story("for the kernel", &setup, &lines, counts);
    };
    let dropped = |_| Dropped(DropReason::Filtered);
    let dns = |action| vec![rule("dns", to_port(53), action)];
    ask(input(0, dns(Action::Drop)), &dropped, (&[("in/dns", packets)], &[]));
    ask(output(1, dns(Action::Drop)), &dropped, (&[("out/dns", packets)], &[]));
    ask(output(1, dns(Action::Accept)), &Punted, (&[("out/dns", packets)], &[]));
    ask(output(0, dns(Action::Drop)), &Punted, (&[], &[]));
}

#[test]
fn what_the_kernel_does_not_forward_leaves_by_no_port() {
    let all = || vec![rule("all", Match::default(), Action::Drop)];
    let to = |destination| in4(ipv4("10.0.0.2", destination));
    let line = |what, packet, reason| Line(0, 0, case(what, packet, Punted(reason)));
    let lines = [
        line("no route", to("99.0.0.1"), PuntReason::NoRoute),
        line("a reject route", to("20.6.0.1"), PuntReason::RouteRejects),
        line("by what is no port", to("20.7.0.1"), PuntReason::NotServed),
        line("TTL 1", in4(Ipv4 { ttl: 1, ..transit() }), PuntReason::TtlExpired),
    ];
    for port in 0..2 {
        let setup = Setup { filters: vec![output(port, all())], ..Setup::default() };
        story("stays", &setup, &lines, (&[], &[]));
    }
}
