//! An imagined packet: what the classifier would do with it, and then the workers' own pipeline.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use linecard_control::rib::Rib;
use linecard_forwarder::clock_nanoseconds;
use linecard_io::Outcome;
use linecard_observe::trace::from_hex;
use linecard_observe::{ExplainQuery, Fate, PacketReport, StepReport, VerdictReport, packet_text};
use linecard_packet::DropReason;
use linecard_wire::ethernet::EtherType;
use linecard_wire::vlan::Tags;

use super::router::Judgement;
use super::source::{Shared, route_report};
use super::taps::{port, port_names};
use super::words::Words;

/// Says what would happen to a packet.
///
/// # Errors
/// What is wrong with the query.
pub(super) fn explain(shared: &Shared, query: &ExplainQuery) -> Result<PacketReport, String> {
    let mut frame = from_hex(&query.frame).ok_or("the frame is no string of hexadecimal digits")?;
    let in_port = port(shared, &query.port)?;
    let (mac_address, link, takes_options) = {
        let ports = shared.ports();
        let port = ports.iter().find(|port| port.id == in_port).ok_or("the port is gone")?;
        (port.interface.mac_address, port.interface.index, port.takes_options)
    };
    if let Some(destination) = frame.first_chunk_mut::<6>()
        && *destination == [0; 6]
    {
        *destination = mac_address;
    }
    // Before the classifier is asked: what the kernel says of the port may be newer than the tables.
    let explained = shared.explainer().explain(in_port, &frame, clock_nanoseconds());
    let (services, router, rib) = (shared.services(), shared.router(), shared.rib());
    let ports: Vec<&str> = port_names(shared).collect();
    let words = Words { services: &services, rib: &rib, ports: &ports };
    if rib.link(link).is_none() {
        return Err(format!("port {} is gone", query.port));
    }
    let classifier = Classifier { mac_address, rib: &rib, takes_options };
    let outcome = match explained {
        Some(_) => classifier.classify(&frame),
        None => Outcome::Oversized,
    };
    let Some(explained) = explained else {
        return Ok(left(&frame, &query.port, outcome, None));
    };
    if outcome == Outcome::Taken {
        let mut report = words.imagined(&explained, &frame);
        report.steps.insert(0, step("classifier", "taken: on its way to a worker", None));
        return Ok(report);
    }
    let judgement = classifier.is_for_router(&frame, outcome);
    let judgement = judgement.then(|| router.judge(&frame, &explained.metadata)).flatten();
    Ok(left(&frame, &query.port, outcome, judgement))
}

fn step(stage: &str, text: &str, verdict: Option<VerdictReport>) -> StepReport {
    StepReport { stage: stage.to_owned(), text: text.to_owned(), verdict, ..StepReport::default() }
}

/// A packet that the classifier leaves to the kernel, or drops as the router's filter says.
fn left(
    frame: &[u8],
    in_port: &str,
    outcome: Outcome,
    judgement: Option<Judgement>,
) -> PacketReport {
    let Some(judgement) = judgement else {
        let mut report = passed(frame, in_port, outcome);
        let verdict = Some(report.verdict.clone());
        report.steps.push(step("classifier", outcome.description(), verdict));
        return report;
    };
    let Judgement { filter, rule, is_dropped } = judgement;
    let of_rule = format!("rule {rule} of filter {filter}");
    let mut report = passed(frame, in_port, outcome);
    if is_dropped {
        let reason = DropReason::RouterFiltered;
        report.verdict.fate = Fate::Dropped;
        report.verdict.reason = Some(reason.label().to_owned());
        report.verdict.description = Some(reason.description().to_owned());
        report.summary = format!("dropped by {of_rule} of [router]: {}", reason.label());
    }
    let what = if is_dropped { "drops" } else { "accepts" };
    let verdict = Some(report.verdict.clone());
    report.steps.push(step("classifier", outcome.description(), None));
    report.steps.push(step("router", &format!("{of_rule} {what} it"), verdict));
    report
}

/// A packet that is left to the kernel; how that came, the steps will say.
fn passed(frame: &[u8], in_port: &str, outcome: Outcome) -> PacketReport {
    let verdict = VerdictReport {
        fate: Fate::Passed,
        reason: Some(outcome.label().to_owned()),
        description: Some(outcome.description().to_owned()),
        out_port: None,
    };
    PacketReport {
        time_unix_nanoseconds: None,
        in_port: in_port.to_owned(),
        packet: packet_text(frame),
        frame_bytes: frame.len() as u32,
        summary: format!("passed to the kernel by the classifier: {}", outcome.label()),
        verdict,
        steps: Vec::new(),
        bytes: linecard_observe::trace::to_hex(frame),
    }
}

/// The plain twin of the classifier (`linecard_io::bpf`): what it counts a frame as while a worker lives.
struct Classifier<'a> {
    mac_address: [u8; 6],
    rib: &'a Rib,
    /// Packets with IPv4 options and hop-by-hop headers go to a worker.
    takes_options: bool,
}

impl Classifier<'_> {
    fn classify(&self, frame: &[u8]) -> Outcome {
        // Too short for anything: the pipeline says what is wrong with it.
        let Some(destination) = frame.first_chunk::<6>().filter(|_| frame.len() >= 14) else {
            return Outcome::Taken;
        };
        if *destination != self.mac_address {
            let is_group = destination[0] & 1 != 0;
            return if is_group { Outcome::Multicast } else { Outcome::OtherHost };
        }
        let Ok(tags) = Tags::new(frame) else { return Outcome::Taken };
        match tags.ethertype() {
            EtherType::IPV4 => self.ipv4(tags.payload()),
            EtherType::IPV6 => self.ipv6(tags.payload()),
            _ => Outcome::NotIp,
        }
    }

    fn ipv4(&self, packet: &[u8]) -> Outcome {
        let Some(header) = packet.first_chunk::<20>() else { return Outcome::Taken };
        let destination: [u8; 4] = std::array::from_fn(|at| header[16 + at]);
        let local_or = |other| self.local_or(destination.into(), other);
        match header[0] {
            0x46..0x50 if !self.takes_options => local_or(Outcome::Ipv4Options),
            0x45..0x50 if header[8] < 2 => local_or(Outcome::TtlExpired),
            0x45..0x50 if header[16] >= 224 => Outcome::Multicast,
            0x45..0x50 if header[12..20] == [0; 8] => Outcome::Local,
            0x45..0x50 => local_or(Outcome::Taken),
            _ => Outcome::Taken,
        }
    }

    fn ipv6(&self, packet: &[u8]) -> Outcome {
        let Some(header) = packet.first_chunk::<40>() else { return Outcome::Taken };
        let destination: [u8; 16] = std::array::from_fn(|at| header[24 + at]);
        let local_or = |other| self.local_or(destination.into(), other);
        let is_link_local = header[24] == 0xfe && header[25] & 0xc0 == 0x80;
        match (header[7], header[6]) {
            _ if header[0] >> 4 != 6 => Outcome::Taken,
            (0 | 1, _) => local_or(Outcome::TtlExpired),
            (_, 0) if !self.takes_options => local_or(Outcome::Ipv6HopByHop),
            _ if header[24] == 0xff || is_link_local => Outcome::Multicast,
            _ => local_or(Outcome::Taken),
        }
    }

    /// Whether the router's filter judges a frame: the twin of what `linecard_io::bpf` asks in front of the rules.
    fn is_for_router(&self, frame: &[u8], outcome: Outcome) -> bool {
        let has_class = match outcome {
            Outcome::Taken
            | Outcome::Standby
            | Outcome::OtherHost
            | Outcome::Punted
            | Outcome::Limited
            | Outcome::Filtered => false,
            Outcome::Multicast
            | Outcome::NotIp
            | Outcome::TtlExpired
            | Outcome::Ipv4Options
            | Outcome::Ipv6HopByHop
            | Outcome::Local
            | Outcome::Oversized => true,
        };
        let Some(tags) = Tags::new(frame).ok().filter(|_| has_class) else { return false };
        match (tags.ethertype(), tags.payload()) {
            (EtherType::IPV4, packet) => packet.get(16..20).is_some_and(|destination| {
                let destination = Ipv4Addr::from_octets(std::array::from_fn(|at| destination[at]));
                let octets = destination.octets();
                octets[0] >= 240
                    || octets[..3] == [224, 0, 0]
                    || destination.is_unspecified()
                    || self.is_own(destination.into())
            }),
            (EtherType::IPV6, packet) => packet.get(24..40).is_some_and(|destination| {
                let destination = Ipv6Addr::from_octets(std::array::from_fn(|at| destination[at]));
                let octets = destination.octets();
                match octets[0] {
                    0xff => octets[1] & 0x0f <= 2,
                    _ => destination.is_unicast_link_local() || self.is_own(destination.into()),
                }
            }),
            _ => false,
        }
    }

    fn is_own(&self, destination: IpAddr) -> bool {
        is_local(self.rib, destination)
    }

    fn local_or(&self, destination: IpAddr, other: Outcome) -> Outcome {
        if is_local(self.rib, destination) { Outcome::Local } else { other }
    }
}

/// Whether the classifiers know an address as the router's own.
fn is_local(rib: &Rib, address: IpAddr) -> bool {
    let mut routes = rib.routes_of(IpNet::from(address)).filter(|route| route.selected);
    routes.any(|route| route_report(rib, &route).kind == linecard_observe::RouteKind::Local)
}
