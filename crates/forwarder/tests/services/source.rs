//! Where packets come from: reverse paths and special-purpose addresses.

use linecard_packet::{DropReason, PuntReason};
use linecard_services::filter::{Action, Match};
use linecard_services::source::{MartianFilter, PortCheck, ReversePath};

use crate::case::*;
use crate::rig::*;

/// A packet on port 0 from this source; a reason not to let it pass.
type Offer<'a> = (&'a str, &'a str, Option<DropReason>);

fn check(description: &str, check: PortCheck, offers: &[Offer<'_>]) {
    // A filter that would see what the check lets through.
    let all = rule("all", Match::default(), Action::Accept);
    let setup =
        Setup { filters: vec![input(0, vec![all])], checks: vec![(0, check)], ..Setup::default() };
    let lines: Vec<_> = offers
        .iter()
        .map(|&(source, destination, reason)| {
            let packet = ipv4(source, destination);
            let outcome = reason.map_or_else(|| out4(packet.clone()), Dropped);
            Line(0, 0, case("by its source", in4(packet), outcome))
        })
        .collect();
    let passed = offers.iter().filter(|(_, _, reason)| reason.is_none()).count() as u64;
    story(description, &setup, &lines, (&[("in/all", passed)], &[]));
}

#[test]
fn reverse_paths_are_checked() {
    let refused = Some(DropReason::ReversePath);
    let own = Some(DropReason::MartianSource);
    let to = "20.0.0.1";
    let mode = |reverse_path| PortCheck { reverse_path, ..PortCheck::default() };
    check(
        "strict",
        mode(ReversePath::Strict),
        &[
            ("20.9.0.1", to, None),
            ("20.0.0.9", to, refused),
            ("99.0.0.1", to, refused),
            ("20.5.0.1", to, refused),
            ("10.1.0.1", to, own),
        ],
    );
    check(
        "loose",
        mode(ReversePath::Loose),
        &[
            ("20.9.0.1", to, None),
            ("20.0.0.9", to, None),
            ("99.0.0.1", to, refused),
            ("20.5.0.1", to, refused),
            ("10.1.0.1", to, own),
        ],
    );
    check(
        "off",
        mode(ReversePath::Off),
        &[("20.0.0.9", to, None), ("99.0.0.1", to, None), ("20.5.0.1", to, None)],
    );
}

#[test]
fn martians_are_dropped() {
    let source = Some(DropReason::MartianSource);
    let destination = Some(DropReason::MartianDestination);
    let mode = |martians| PortCheck { martians, ..PortCheck::default() };
    check(
        "special",
        mode(MartianFilter::Special),
        &[
            ("192.0.2.1", "20.0.0.1", source),
            ("8.8.8.8", "240.0.0.1", destination),
            ("10.0.0.2", "20.0.0.1", None),
            ("8.8.8.8", "20.0.0.1", None),
        ],
    );
    check(
        "not global",
        mode(MartianFilter::NotGlobal),
        &[
            ("10.0.0.2", "20.0.0.1", source),
            ("8.8.8.8", "10.1.0.2", destination),
            ("8.8.8.8", "20.0.0.1", None),
        ],
    );
    check("off", mode(MartianFilter::Off), &[("192.0.2.1", "240.0.0.1", None)]);
}

#[test]
fn what_parse_has_punted_is_not_checked() {
    let strict = PortCheck { reverse_path: ReversePath::Strict, ..PortCheck::default() };
    let setup = Setup { checks: vec![(0, strict)], ..Setup::default() };
    let multicast = in4(ipv4("10.0.0.2", "239.1.1.1"));
    let lines = [Line(0, 0, case("multicast", multicast, Punted(PuntReason::Multicast)))];
    story("strict", &setup, &lines, (&[], &[]));
}
