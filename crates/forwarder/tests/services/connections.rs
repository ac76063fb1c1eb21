//! Stateful filters: a client behind port 0 may talk to servers behind port 1, and they may answer.

use linecard_packet::{DropReason, PuntReason};
use linecard_services::filter::{Action, Filter, Hook, Match, Rule, States};
use linecard_services::police::{ColourAction, Policer};
use linecard_tables::meter::{Marker, ProfileOptions, Unit};
use linecard_wire::builder::{Icmpv4, Icmpv6, Ipv4, PacketBuilder, Tcp, Udp};
use linecard_wire::ip::Protocol;
use linecard_wire::tcp::Flags;

use crate::case::*;
use crate::common::{neighbour_mac, router_mac, to_router};
use crate::rig::*;

const CLIENT: &str = "20.9.0.5";
const SERVER: &str = "20.0.0.1";

/// A layer above IPv4.
type Upper<'a> = &'a dyn Fn(PacketBuilder) -> PacketBuilder;

/// What the client sends, as it comes in on port 0 and leaves by port 1.
fn request(upper: Upper<'_>) -> (PacketBuilder, Outcome) {
    let header = ipv4(CLIENT, SERVER);
    let sent = Ipv4 { ttl: 63, ..header.clone() };
    (upper(to_router().ipv4(header)), Sent(1, upper(leaving(0).ipv4(sent)).build()))
}

/// What the server sends, as it comes in on port 1 and leaves by port 0.
fn answer(upper: Upper<'_>) -> (PacketBuilder, Outcome) {
    let header = ipv4(SERVER, CLIENT);
    let sent = Ipv4 { ttl: 63, ..header.clone() };
    let received = PacketBuilder::new().ethernet(router_mac(1), neighbour_mac(0));
    let leaving = PacketBuilder::new().ethernet(neighbour_mac(6), router_mac(0));
    (upper(received.ipv4(header)), Sent(0, upper(leaving.ipv4(sent)).build()))
}

fn passes(description: &'static str, port: usize, packet: (PacketBuilder, Outcome)) -> Line {
    Line(0, port, case(description, packet.0, packet.1))
}

fn refused(
    description: &'static str,
    port: usize,
    packet: (PacketBuilder, Outcome),
    reason: DropReason,
) -> Line {
    Line(0, port, case(description, packet.0, Dropped(reason)))
}

fn filtered(description: &'static str, packet: (PacketBuilder, Outcome)) -> Line {
    refused(description, 1, packet, DropReason::Filtered)
}

fn query(packet: PacketBuilder) -> PacketBuilder {
    packet.udp(Udp::new(4000, 53)).payload(b"query")
}

fn response(packet: PacketBuilder) -> PacketBuilder {
    packet.udp(Udp::new(53, 4000)).payload(b"response")
}

fn of(states: States) -> Match {
    Match { states, ..Match::default() }
}

/// On port 1: what belongs to known connections comes in, and nothing else.
fn answers_only() -> (Hook, Filter) {
    let known = States { established: true, related: true, ..States::default() };
    let rules = vec![
        rule("known", of(known), Action::Accept),
        rule("invalid", of(States { invalid: true, ..States::default() }), Action::Drop),
        rule("new", of(States { new: true, ..States::default() }), Action::Drop),
    ];
    input(1, rules)
}

fn setup() -> Setup {
    Setup { filters: vec![answers_only()], ..Setup::default() }
}

#[test]
fn udp_answers_come_in_and_nothing_else() {
    let elsewhere = |packet: PacketBuilder| packet.udp(Udp::new(54, 4000)).payload(b"response");
    let quoted = query(PacketBuilder::new().ipv4(ipv4(CLIENT, SERVER))).build();
    let unreachable = |packet: PacketBuilder| packet.icmpv4(Icmpv4::new(3, 3)).payload(&quoted);
    let foreign = query(PacketBuilder::new().ipv4(ipv4(CLIENT, "20.0.0.7"))).build();
    let unasked = |packet: PacketBuilder| packet.icmpv4(Icmpv4::new(3, 3)).payload(&foreign);
    let lines = [
        filtered("before it was asked", answer(&response)),
        passes("the query", 0, request(&query)),
        passes("the response", 1, answer(&response)),
        filtered("from another port", answer(&elsewhere)),
        passes("an error about the query", 1, answer(&unreachable)),
        filtered("an error about something else", answer(&unasked)),
    ];
    let rules = &[("in/known", 2), ("in/new", 2), ("in/invalid", 1)];
    story("UDP", &setup(), &lines, (rules, &[]));
}

#[test]
fn tcp_connections_begin_at_the_client() {
    let segment = |source, destination, flags, sequence_number, acknowledgment_number| {
        move |packet: PacketBuilder| {
            packet.tcp(Tcp {
                flags,
                sequence_number,
                acknowledgment_number,
                ..Tcp::new(source, destination)
            })
        }
    };
    let syn_ack = Flags(0x12);
    let lines = [
        filtered("a SYN from outside", answer(&segment(80, 4000, Flags::SYN, 1, 0))),
        filtered("an ACK of nothing", answer(&segment(80, 4000, Flags::ACK, 1, 1))),
        passes("the client's SYN", 0, request(&segment(4000, 80, Flags::SYN, 1000, 0))),
        filtered("an answer to what was not sent", answer(&segment(80, 4000, syn_ack, 7, 5000))),
        passes("the answer", 1, answer(&segment(80, 4000, syn_ack, 7, 1001))),
        passes("the client's ACK", 0, request(&segment(4000, 80, Flags::ACK, 1001, 8))),
        passes("an ACK", 1, answer(&segment(80, 4000, Flags::ACK, 8, 1001))),
        filtered("outside of the window", answer(&segment(80, 4000, Flags::ACK, 1 << 30, 1001))),
    ];
    let rules = &[("in/known", 2), ("in/new", 1), ("in/invalid", 3)];
    story("TCP", &setup(), &lines, (rules, &[]));
}

#[test]
fn echoes_come_back() {
    let asked = |packet: PacketBuilder| packet.icmpv4(Icmpv4::echo_request(7, 1));
    let echo = |packet: PacketBuilder| packet.icmpv4(Icmpv4::echo_reply(7, 1));
    let other = |packet: PacketBuilder| packet.icmpv4(Icmpv4::echo_reply(8, 1));
    let lines = [
        filtered("a reply to nothing", answer(&echo)),
        passes("a request", 0, request(&asked)),
        passes("its reply", 1, answer(&echo)),
        filtered("another's reply", answer(&other)),
    ];
    story("ICMP", &setup(), &lines, (&[("in/known", 1), ("in/invalid", 2)], &[]));
}

#[test]
fn refused_packets_begin_no_connection() {
    let dns = || Match { destination_ports: vec![53..=53], ..Match::default() };
    let unanswered = |setup: &Setup, reason, counts| {
        let lines = [
            refused("the query", 0, request(&query), reason),
            filtered("the response", answer(&response)),
        ];
        story("a query that does not get through", setup, &lines, counts);
    };
    let stop = |hook| {
        let rules = vec![rule("stop", dns(), Action::Drop)];
        let filters = vec![answers_only(), (hook, filter("other", rules))];
        Setup { filters, ..Setup::default() }
    };
    let counts: Counts<'_> = (&[("in/new", 1), ("other/stop", 1)], &[]);
    let [first, second] = [0, 1].map(linecard_packet::PortId);
    unanswered(&stop(Hook::Input(first)), DropReason::Filtered, counts);
    unanswered(&stop(Hook::Output(second)), DropReason::Filtered, counts);

    let nothing = Policer {
        marker: Marker::SingleRate { committed_rate: 1, committed_burst: 8, excess_burst: 0 },
        options: ProfileOptions { unit: Unit::Bits, ..ProfileOptions::default() },
        actions: [ColourAction::Pass, ColourAction::Pass, ColourAction::Drop],
        sources: None,
    };
    let policed = Rule { policer: Some(0), ..rule("stop", dns(), Action::Accept) };
    for hook in [Hook::Input(first), Hook::Output(second)] {
        let filters = vec![answers_only(), (hook, filter("other", vec![policed.clone()]))];
        let setup = Setup { filters, policers: vec![("a", nothing)], ..Setup::default() };
        let counts: Counts<'_> = (&[("in/new", 1), ("other/stop", 1)], &[("a", [0, 0, 1])]);
        unanswered(&setup, DropReason::Policed, counts);
    }
}

#[test]
fn outputs_know_states_too() {
    let new = of(States { new: true, ..States::default() });
    let rules = vec![rule("new", new, Action::Drop)];
    let setup = Setup { filters: vec![output(0, rules)], ..Setup::default() };
    let lines = [
        filtered("before it was asked", answer(&response)),
        passes("the query", 0, request(&query)),
        passes("the response", 1, answer(&response)),
    ];
    story("output", &setup, &lines, (&[("out/new", 1), ("out/default", 1)], &[]));
}

/// What the kernel gets has a state as any other packet, and becomes a connection if the kernel forwards it.
#[test]
fn punted_packets_are_judged_like_others() {
    let punted = |description, port, header: Ipv4, reason, upper: Upper<'_>| {
        let received = if port == 0 {
            to_router()
        } else {
            PacketBuilder::new().ethernet(router_mac(1), neighbour_mac(0))
        };
        Line(0, port, case(description, upper(received.ipv4(header)), reason))
    };
    let there = || ipv4(CLIENT, SERVER);
    let back = || ipv4(SERVER, CLIENT);
    let expired = || Punted(PuntReason::TtlExpired);
    let options = |header| Ipv4 { options: vec![148, 4, 0, 0], ..header };
    let hello = |packet: PacketBuilder| packet.payload(&[2; 44]);
    let group = Ipv4 { protocol: Some(Protocol(89)), ..ipv4("20.0.0.1", "224.0.0.5") };
    let rst = |packet: PacketBuilder| packet.tcp(Tcp { flags: Flags::RST, ..Tcp::new(80, 4000) });
    let lines = [
        punted("a query that ends here", 0, Ipv4 { ttl: 1, ..there() }, expired(), &query),
        filtered("which nobody has got", answer(&response)),
        passes("the query", 0, request(&query)),
        punted("an answer that ends here", 1, Ipv4 { ttl: 1, ..back() }, expired(), &response),
        punted(
            "what is of nothing",
            1,
            Ipv4 { ttl: 1, ..back() },
            Dropped(DropReason::Filtered),
            &rst,
        ),
        punted("to a group", 1, group, Dropped(DropReason::Filtered), &hello),
        passes("the answer", 1, answer(&response)),
    ];
    let rules = &[("in/known", 2), ("in/new", 2), ("in/invalid", 1)];
    story("punted", &setup(), &lines, (rules, &[]));

    let lines = [
        punted("by options", 0, options(there()), Punted(PuntReason::Ipv4Options), &query),
        passes("the answer", 1, answer(&response)),
    ];
    story("the kernel forwards it", &setup(), &lines, (&[("in/known", 1)], &[]));
}

/// Neighbour discovery of a link-local address is new, as all that stays on its link; what is not IP is not asked.
#[test]
fn what_stays_on_its_link_is_new() {
    let new = of(States { new: true, ..States::default() });
    let filters = vec![input(0, vec![rule("new", new, Action::Accept)])];
    let link = |packet: PacketBuilder| packet.icmpv6(Icmpv6::new(135, 0)).payload(&[0; 20]);
    let lines = [Line(
        0,
        0,
        case(
            "a solicitation",
            link(to_router().ipv6(ipv6("fe80::1", "fe80::2"))),
            Punted(PuntReason::LinkLocal),
        ),
    )];
    let setup = Setup { filters, ..Setup::default() };
    story("link-local", &setup, &lines, (&[("in/new", 1)], &[]));
}

#[test]
fn without_the_service_no_rule_on_states_matches() {
    let setup = Setup { without_connections: true, ..setup() };
    let lines =
        [passes("the query", 0, request(&query)), passes("the response", 1, answer(&response))];
    story("off", &setup, &lines, (&[("in/default", 1)], &[]));
}
