//! Policers, brought to by rules and by ports.

use linecard_packet::{DropReason, PuntReason};
use linecard_services::filter::{Action, Match, Rule};
use linecard_services::police::{ColourAction, Policer};
use linecard_tables::meter::{Marker, ProfileOptions, Unit};
use linecard_wire::builder::Ipv4;

use crate::case::*;
use crate::rig::*;

/// Bytes of the IP packets of these cases.
const PACKET_BYTES: u64 = 53;

/// One packet a second, two at once; red ones are dropped.
fn one_a_second() -> Policer {
    Policer {
        marker: Marker::SingleRate { committed_rate: 1, committed_burst: 2, excess_burst: 0 },
        options: ProfileOptions { unit: Unit::Packets, ..ProfileOptions::default() },
        actions: [ColourAction::Pass, ColourAction::Pass, ColourAction::Drop],
        sources: None,
    }
}

/// Brings UDP to the first policer.
fn policed(action: Action) -> Rule {
    let udp = Match { protocols: vec![17], ..Match::default() };
    Rule { policer: Some(0), ..rule("udp", udp, action) }
}

fn passes(wait_seconds: u64) -> Line {
    Line(wait_seconds, 0, case("within the rate", in4(transit()), out4(transit())))
}

fn red() -> Line {
    Line(0, 0, case("above the rate", in4(transit()), Dropped(DropReason::Policed)))
}

#[test]
fn what_is_above_the_rate_is_dropped_and_counted_by_colour() {
    let policers = vec![("a", one_a_second())];
    let lines = [passes(0), passes(0), red(), passes(1), red(), passes(5), passes(0), red()];
    let colours: &[(&str, [u64; 3])] = &[("a", [5, 0, 3])];
    let filters = vec![input(0, vec![policed(Action::Accept)])];
    let by_rule = Setup { filters, policers: policers.clone(), ..Setup::default() };
    story("by a rule of the input", &by_rule, &lines, (&[("in/udp", 8)], colours));
    let filters = vec![output(1, vec![policed(Action::Accept)])];
    let by_rule = Setup { filters, policers: policers.clone(), ..Setup::default() };
    story("by a rule of the output", &by_rule, &lines, (&[("out/udp", 8)], colours));
    let by_port = Setup { policers, police_ports: vec![(0, "a")], ..Setup::default() };
    story("by the port", &by_port, &lines, (&[], colours));
}

#[test]
fn bits_are_those_of_the_ip_packet() {
    let bits = PACKET_BYTES * 8;
    let marker =
        Marker::SingleRate { committed_rate: bits, committed_burst: 2 * bits, excess_burst: 0 };
    let policer = Policer { marker, options: ProfileOptions::default(), ..one_a_second() };
    let setup =
        Setup { policers: vec![("a", policer)], police_ports: vec![(0, "a")], ..Setup::default() };
    let lines = [passes(0), passes(0), red(), passes(1), red()];
    story("one packet a second", &setup, &lines, (&[], &[("a", [3, 0, 2])]));
}

#[test]
fn colours_mark_packets() {
    let marker = Marker::SingleRate { committed_rate: 1, committed_burst: 1, excess_burst: 1 };
    let actions = [ColourAction::Mark(10), ColourAction::Mark(12), ColourAction::Drop];
    let setup = Setup {
        filters: vec![input(0, vec![policed(Action::Accept)])],
        policers: vec![("a", Policer { marker, actions, ..one_a_second() })],
        ..Setup::default()
    };
    let marked = |dscp| out4(Ipv4 { dscp, ..transit() });
    let lines = [
        Line(0, 0, case("green", in4(transit()), marked(10))),
        Line(0, 0, case("yellow", in4(transit()), marked(12))),
        red(),
    ];
    story("by colour", &setup, &lines, (&[("in/udp", 3)], &[("a", [1, 1, 1])]));
}

#[test]
fn only_what_goes_on_is_metered() {
    let setup = |rules| Setup {
        filters: vec![input(0, rules)],
        policers: vec![("a", one_a_second())],
        ..Setup::default()
    };
    let drop = || rule("rest", Match::default(), Action::Drop);
    let dropped = || {
        let dropped = Dropped(DropReason::Filtered);
        [Line(0, 0, case("the rule drops it", in4(transit()), dropped))]
    };
    let counts: Counts<'_> = (&[("in/udp", 1)], &[]);
    story("a rule that drops", &setup(vec![policed(Action::Drop)]), &dropped(), counts);
    let counts: Counts<'_> = (&[("in/udp", 1), ("in/rest", 1)], &[]);
    let rules = setup(vec![policed(Action::Continue), drop()]);
    story("a later rule drops", &rules, &dropped(), counts);

    let expiring = in4(Ipv4 { ttl: 1, ..transit() });
    let lines = [Line(0, 0, case("TTL 1", expiring, Punted(PuntReason::TtlExpired)))];
    let counts: Counts<'_> = (&[("in/udp", 1)], &[]);
    story("what parse has punted", &setup(vec![policed(Action::Accept)]), &lines, counts);

    let own = || in4(ipv4("10.0.0.2", "10.1.0.1"));
    let lines = [
        Line(0, 0, case("to the router", own(), Punted(PuntReason::Local))),
        Line(0, 0, case("to the router", own(), Punted(PuntReason::Local))),
        Line(0, 0, case("to the router", own(), Dropped(DropReason::Policed))),
    ];
    let counts: Counts<'_> = (&[("in/udp", 3)], &[("a", [2, 0, 1])]);
    story("the router's own", &setup(vec![policed(Action::Accept)]), &lines, counts);
}

#[test]
fn a_packet_may_pass_several_policers() {
    let wide = Marker::SingleRate { committed_rate: 1, committed_burst: 4, excess_burst: 0 };
    let setup = Setup {
        filters: vec![
            input(0, vec![policed(Action::Continue)]),
            output(1, vec![Rule { policer: Some(1), ..policed(Action::Accept) }]),
        ],
        policers: vec![("a", Policer { marker: wide, ..one_a_second() }), ("b", one_a_second())],
        ..Setup::default()
    };
    let lines = [passes(0), passes(0), red(), red(), red()];
    let rules = &[("in/udp", 5), ("in/default", 5), ("out/udp", 4)];
    story("in and out", &setup, &lines, (rules, &[("a", [4, 0, 1]), ("b", [2, 0, 2])]));
}
