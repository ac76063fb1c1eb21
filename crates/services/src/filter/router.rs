//! Rules for the router itself: what the classifier's program is made of ([`linecard_io::router_filter`]).
//!
//! The router's own packets never reach a worker, so its filter is asked in the driver. A rule matches there what it
//! matches at a port. What a worker would have to do with a packet cannot be had there, and is refused.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use linecard_io::router_filter::{
    Anchor as RouterAnchor, BytesTest, Condition, Field, FieldTest, RouterFilter, RouterRule,
    RouterVerdict,
};
use linecard_packet::PortId;
use linecard_wire::ip::Protocol;

use super::rule::{Action, Anchor, BytesMatch, Masked, Match, Prefixes, Rule};

/// What a rule asks for that the router's filter does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotForRouter {
    /// States of connections: of the router's own no worker sees both directions.
    State,
    /// An ICMP error: Linecard makes none in the driver.
    Reject,
    /// Another next hop: the packet has arrived.
    Redirect,
    /// A policer: what reaches the router is limited by class.
    Police,
    /// A DSCP: of packets that go on.
    Dscp,
    /// A class: of packets that go on.
    Class,
    /// A copy to a port, which only a worker makes.
    Mirror,
    /// A sample, which only a worker takes.
    Sample,
    /// A line in the log, of what a worker has seen.
    Log,
}

impl fmt::Display for NotForRouter {
    /// Goes on behind "the router has no".
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::State => "`state`: connections of its own are not tracked",
            Self::Reject => "`reject`: what is for it is dropped in the driver, and nobody is told",
            Self::Redirect => "`redirect`: the packet is where it was going",
            Self::Police => "`police`: what is for it is limited by its class",
            Self::Dscp => "`dscp`: the packet goes no further",
            Self::Class => "`class`: the packet goes no further",
            Self::Mirror => "`mirror`: no worker sees the packet",
            Self::Sample => "`sample`: no worker sees the packet",
            Self::Log => "`log`: no worker sees the packet",
        })
    }
}

impl NotForRouter {
    /// What to do instead.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::State => {
                "`tcp tcp-flags ack` lets answers in; sessions that stand have a class of their own in [protection]"
            }
            Self::Reject => "\"drop\"",
            Self::Redirect => "action = \"accept\", \"drop\" or \"continue\"",
            Self::Police => "leave it out: [protection] has limits for each class",
            Self::Dscp | Self::Class => "leave it out",
            Self::Mirror => "leave it out: tcpdump shows what the router lets in",
            Self::Sample | Self::Log => {
                "leave it out: `linecard show filters` counts each rule's packets"
            }
        }
    }

    /// What there is of it in a rule.
    #[must_use]
    pub fn in_rule(rule: &Rule) -> Option<Self> {
        let Rule { condition, action, policer, set_dscp, set_class, mirror_to, .. } = rule;
        let found = [
            (!condition.states.is_any(), Self::State),
            (*action == Action::Reject, Self::Reject),
            (matches!(action, Action::Redirect(_)), Self::Redirect),
            (policer.is_some(), Self::Police),
            (set_dscp.is_some(), Self::Dscp),
            (set_class.is_some(), Self::Class),
            (mirror_to.is_some(), Self::Mirror),
            (rule.sample_one_in > 0, Self::Sample),
            (rule.log, Self::Log),
        ];
        found.into_iter().find(|(is_asked, _)| *is_asked).map(|(_, what)| what)
    }
}

/// A rule as the router's filter takes it, counting in `counter`: one for each family where they differ.
/// `interface_of` knows the index of a port's interface; a port without one has no packets.
///
/// # Errors
/// What the router's filter does not do.
fn rules_for_router(
    rule: &Rule,
    counter: u32,
    interface_of: impl Fn(PortId) -> Option<u32>,
) -> Result<Vec<RouterRule>, NotForRouter> {
    if let Some(what) = NotForRouter::in_rule(rule) {
        return Err(what);
    }
    let verdict = verdict(rule.action);
    let condition = &rule.condition;
    let families = [
        (condition.ipv4 || !condition.ipv6) && condition.flow_labels.is_empty(),
        condition.ipv6 || !condition.ipv4,
    ];
    let asks_icmp = !(condition.icmp_types.is_empty() && condition.icmp_codes.is_empty());
    let common = conditions(condition, interface_of);
    if asks_icmp && condition.protocols.is_empty() {
        let of = [(families[0], Protocol::ICMPV4), (families[1], Protocol::ICMPV6)];
        let rules = of.into_iter().enumerate().filter(|(_, (is_meant, _))| *is_meant);
        return Ok(rules
            .map(|(family, (_, protocol))| {
                let protocol = Condition::Field(Field::Protocol, vec![exactly(protocol.0.into())]);
                let conditions = [vec![protocol], common.clone()].concat();
                RouterRule { ipv4: family == 0, ipv6: family == 1, conditions, verdict, counter }
            })
            .collect());
    }
    let [ipv4, ipv6] = families;
    Ok(vec![RouterRule { ipv4, ipv6, conditions: common, verdict, counter }])
}

/// A filter as the router takes it: each rule and the default with the counter that it counts in. Rules that can
/// match nothing, since a set of theirs is empty, are to be left out: without the set they would match what they were
/// not meant to.
///
/// # Errors
/// What the router's filter does not do.
pub fn filter_for_router<'a>(
    rules: impl IntoIterator<Item = (&'a Rule, u32)>,
    (default, default_counter): (Action, u32),
    interface_of: impl Fn(PortId) -> Option<u32>,
) -> Result<RouterFilter, NotForRouter> {
    let mut made = Vec::new();
    for (rule, counter) in rules {
        made.extend(rules_for_router(rule, counter, &interface_of)?);
    }
    let default = match default {
        Action::Drop => RouterVerdict::Drop,
        Action::Accept | Action::Continue => RouterVerdict::Accept,
        Action::Reject => return Err(NotForRouter::Reject),
        Action::Redirect(_) => return Err(NotForRouter::Redirect),
    };
    Ok(RouterFilter { rules: made, default, default_counter })
}

/// What becomes of packets; `None`: the next rule is asked. Of actions that the router's filter has.
const fn verdict(action: Action) -> Option<RouterVerdict> {
    match action {
        Action::Drop | Action::Reject => Some(RouterVerdict::Drop),
        Action::Accept | Action::Redirect(_) => Some(RouterVerdict::Accept),
        Action::Continue => None,
    }
}

/// The parts of a condition, those first that most packets fail and that cost the least.
fn conditions(condition: &Match, interface_of: impl Fn(PortId) -> Option<u32>) -> Vec<Condition> {
    // All parts by name: whoever adds one has to say what becomes of it here.
    let Match {
        ipv4: _,
        ipv6: _,
        source,
        destination,
        protocols,
        source_ports,
        destination_ports,
        icmp_types,
        icmp_codes,
        tcp_flags,
        dscps,
        fragments,
        lengths,
        ttls,
        in_ports,
        vlans,
        flow_labels,
        bytes,
        states: _,
    } = condition;
    let fragments = [1, 2, 4].into_iter().filter(|kind| fragments & kind != 0);
    // No interface has the index 0.
    let interfaces = in_ports.iter().map(|port| exactly(interface_of(*port).unwrap_or(0)));
    let numbers = |values: &[u8]| values.iter().map(|value| exactly(u32::from(*value))).collect();
    let fields: [(Field, Vec<FieldTest>); 13] = [
        (Field::Protocol, numbers(protocols)),
        (Field::DestinationPort, ranges(destination_ports)),
        (Field::SourcePort, ranges(source_ports)),
        (Field::IcmpType, ranges(icmp_types)),
        (Field::IcmpCode, ranges(icmp_codes)),
        (Field::TcpFlags, masked(tcp_flags)),
        (Field::InInterface, interfaces.collect()),
        (Field::Vlan, ranges(vlans)),
        (Field::Fragment, fragments.map(|kind| exactly(u32::from(kind))).collect()),
        (Field::Ttl, ranges(ttls)),
        (Field::Length, ranges(lengths)),
        (Field::Dscp, numbers(dscps)),
        (Field::FlowLabel, masked(flow_labels)),
    ];
    let fields = fields.into_iter().filter(|(_, tests)| !tests.is_empty());
    let mut conditions: Vec<Condition> =
        fields.map(|(field, tests)| Condition::Field(field, tests)).collect();
    if !source.is_any() {
        conditions.push(Condition::Source(prefixes(source)));
    }
    if !destination.is_any() {
        conditions.push(Condition::Destination(prefixes(destination)));
    }
    conditions.extend(bytes.iter().map(bytes_test));
    conditions
}

fn exactly(value: u32) -> FieldTest {
    FieldTest { mask: u32::MAX, first: value, last: value }
}

fn ranges<T: Copy + Into<u32>>(ranges: &[RangeInclusive<T>]) -> Vec<FieldTest> {
    let test = |range: &RangeInclusive<T>| FieldTest {
        mask: u32::MAX,
        first: (*range.start()).into(),
        last: (*range.end()).into(),
    };
    ranges.iter().map(test).collect()
}

fn masked<T: Copy + Into<u32>>(values: &[Masked<T>]) -> Vec<FieldTest> {
    let test = |&Masked { value, mask }: &Masked<T>| FieldTest {
        mask: mask.into(),
        first: value.into(),
        last: value.into(),
    };
    values.iter().map(test).collect()
}

fn prefixes(prefixes: &Prefixes) -> Vec<(IpAddr, u8)> {
    let ipv4 = prefixes.ipv4.iter().map(|it| (IpAddr::V4(it.bits().into()), it.length()));
    let ipv6 = prefixes.ipv6.iter().map(|it| (IpAddr::V6(it.bits().into()), it.length()));
    ipv4.chain(ipv6).collect()
}

fn bytes_test(of: &BytesMatch) -> Condition {
    let anchor = match of.anchor {
        Anchor::Layer3 => RouterAnchor::Layer3,
        Anchor::Layer4 => RouterAnchor::Layer4,
        Anchor::Payload => RouterAnchor::Payload,
    };
    let bytes = of.value.iter().copied().zip(of.mask).take(usize::from(of.length)).collect();
    Condition::Bytes(BytesTest { anchor, offset: of.offset, bytes })
}
