//! Random packets, rules, routes, policers and checks, out of few values each, so that they meet.

use linecard_packet::PortId;
use linecard_services::filter::{
    Action, Anchor, BytesMatch, FRAGMENT_FIRST, FRAGMENT_LATER, FRAGMENT_NONE, Masked, Match,
    PAYLOAD_BYTES_MAX, Prefixes, Rule, States,
};
use linecard_services::police::{ColourAction, Policer, SourcePrefixes};
use linecard_services::route::{Member, NextHopGroupId, NextHopId, RouteUpdate};
use linecard_services::source::{MartianFilter, PortCheck, ReversePath};
use linecard_tables::lpm::Prefix;
use linecard_tables::meter::{ColourMode, Marker, ProfileOptions, Unit};
use linecard_wire::MacAddress;
use linecard_wire::builder::{Extension, Icmpv4, Icmpv6, Ipv4, Ipv6, PacketBuilder, Tcp, Udp};
use linecard_wire::ethernet::EtherType;
use linecard_wire::tcp::Flags;
use linecard_wire::vlan::Tag;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::case::{ipv4, ipv6, tag};
use crate::common::{neighbour_mac, router_mac};
use crate::rig::{Setup, input, output, rule};

/// Hosts of both sides come often, so that there are answers; of the others each has a route of another kind.
const ADDRESSES_IPV4: &[&str] = &[
    "20.9.0.1",
    "20.9.0.1",
    "20.9.0.1",
    "20.0.0.1",
    "20.0.0.1",
    "20.0.0.1",
    "20.1.0.1",
    "20.2.0.1",
    "20.4.0.1",
    "20.5.0.1",
    "20.6.0.1",
    "20.7.0.1",
    "20.8.0.1",
    "10.0.0.2",
    "10.1.0.1",
    "10.1.0.3",
    "10.1.0.77",
    "10.2.0.9",
    "10.4.0.9",
    "99.0.0.1",
    "192.0.2.1",
    "224.0.0.5",
    "127.0.0.1",
    "169.254.1.1",
    "240.0.0.1",
];
const ADDRESSES_IPV6: &[&str] = &[
    "2001:db8::2",
    "2001:db8::2",
    "2001:db8:20::1",
    "2001:db8:20::1",
    "2001:db8:1::1",
    "2001:db8:1::2",
    "2001:db8:1::77",
    "2001:db8:25::1",
    "2001:db8:99::1",
    "fe80::1",
    "ff0e::5",
    "::1",
    "fc00::1",
];

/// What is behind the network-layer header.
#[derive(Debug, Clone, Copy)]
enum Upper {
    Udp(u16, u16),
    Tcp(u16, u16, u8),
    Echo(bool),
    Error,
    Other,
}

fn upper() -> impl Strategy<Value = Upper> {
    let port = || select(vec![53u16, 80, 4000]);
    prop_oneof![
        3 => (port(), port()).prop_map(|(source, destination)| Upper::Udp(source, destination)),
        3 => (port(), port(), select(vec![0x02, 0x12, 0x10, 0x11, 0x04]))
            .prop_map(|(source, destination, flags)| Upper::Tcp(source, destination, flags)),
        1 => any::<bool>().prop_map(Upper::Echo),
        1 => Just(Upper::Error),
        1 => Just(Upper::Other),
    ]
}

fn behind(packet: PacketBuilder, upper: Upper, is_ipv4: bool, payload: usize) -> PacketBuilder {
    let packet = match (upper, is_ipv4) {
        (Upper::Udp(source, destination), _) => packet.udp(Udp::new(source, destination)),
        (Upper::Tcp(source, destination, flags), _) => {
            packet.tcp(Tcp { flags: Flags(flags), ..Tcp::new(source, destination) })
        }
        (Upper::Echo(true), true) => packet.icmpv4(Icmpv4::echo_request(1, 2)),
        (Upper::Echo(false), true) => packet.icmpv4(Icmpv4::echo_reply(1, 2)),
        (Upper::Echo(true), false) => packet.icmpv6(Icmpv6::echo_request(1, 2)),
        (Upper::Echo(false), false) => packet.icmpv6(Icmpv6::echo_reply(1, 2)),
        (Upper::Error, true) => {
            let about = ipv4("20.9.0.1", "20.0.0.1");
            let about = PacketBuilder::new().ipv4(about).udp(Udp::new(4000, 53)).build();
            packet.icmpv4(Icmpv4::new(3, 3)).payload(&about)
        }
        (Upper::Error, false) => {
            let about = ipv6("2001:db8::2", "2001:db8:20::1");
            let about = PacketBuilder::new().ipv6(about).udp(Udp::new(4000, 53)).build();
            packet.icmpv6(Icmpv6::new(1, 4)).payload(&about)
        }
        (Upper::Other, _) => packet,
    };
    packet.payload(&b"GET / of some text "[..].repeat(80)[..payload])
}

/// The tags in front of a packet; most have none.
fn tags() -> impl Strategy<Value = Vec<Tag>> {
    let vlan = |id| tag(EtherType::VLAN, 3, id);
    prop_oneof![
        6 => Just(Vec::new()),
        2 => select(vec![0, 50, 100, 300]).prop_map(move |id| vec![vlan(id)]),
        1 => Just(vec![tag(EtherType::SERVICE_VLAN, 0, 200), vlan(300)]),
    ]
}

fn link() -> impl Strategy<Value = (usize, PacketBuilder)> {
    let router = |port| (Just(port), Just(router_mac(port as u8)));
    let others = [[2, 0, 0, 0, 0x99, 1], [3, 0, 0, 0, 0, 1], [0xff; 6]].map(MacAddress::new);
    let receivers = prop_oneof![
        8 => prop_oneof![3 => router(0), 3 => router(1), 1 => router(2)],
        1 => (0..3usize, select(others.to_vec())),
    ];
    (receivers, tags()).prop_map(|((port, receiver), tags)| {
        let link = PacketBuilder::new().ethernet(receiver, neighbour_mac(6));
        (port, tags.into_iter().fold(link, PacketBuilder::vlan))
    })
}

prop_compose! {
    /// DSCP, TTL, and fragment: offset, and whether more follow.
    fn marks()(
        dscp in select(vec![0u8, 10, 12, 46]),
        ttl in prop_oneof![6 => Just(64u8), 1 => 0..4u8],
        fragment in prop_oneof![
            6 => Just((0u16, false)), 1 => select(vec![(0, true), (64, false), (64, true)]),
        ],
    ) -> (u8, u8, (u16, bool)) {
        (dscp, ttl, fragment)
    }
}

prop_compose! {
    fn over_ipv4()(
        (port, link) in link(),
        (source, destination) in (select(ADDRESSES_IPV4), select(ADDRESSES_IPV4)),
        (dscp, ttl, (fragment_offset, more_fragments)) in marks(),
        upper in upper(),
        options in prop_oneof![5 => Just(vec![]), 1 => select(vec![vec![1; 4], vec![148, 4, 0, 0]])],
        payload in select(vec![0, 20, 300, 1480]),
    ) -> (usize, Vec<u8>) {
        let header = Ipv4 {
            dscp, ttl, options, fragment_offset, more_fragments, dont_fragment: false,
            ..ipv4(source, destination)
        };
        (port, behind(link.ipv4(header), upper, true, payload).build())
    }
}

prop_compose! {
    fn over_ipv6()(
        (port, link) in link(),
        (source, destination) in (select(ADDRESSES_IPV6), select(ADDRESSES_IPV6)),
        (dscp, hop_limit, (offset, more)) in marks(),
        upper in upper(),
        extensions in prop_oneof![
            5 => Just(vec![]),
            1 => Just(vec![Extension::hop_by_hop(&[5, 2, 0, 0])]),
            1 => Just(vec![Extension::destination_options(&[1, 2, 0, 0])]),
        ],
        payload in select(vec![0, 20, 300, 1480]),
    ) -> (usize, Vec<u8>) {
        let header = Ipv6 { dscp, hop_limit, ..ipv6(source, destination) };
        let is_fragment = offset > 0 || more;
        let fragment = is_fragment.then(|| Extension::fragment(offset, more, 9));
        let packet = extensions.into_iter().chain(fragment).fold(link.ipv6(header), PacketBuilder::extension);
        (port, behind(packet, upper, false, payload).build())
    }
}

/// Milliseconds since the one before, the port it comes in by, and its bytes: of most as a sender makes them, of
/// others cut short, padded or with a byte exchanged.
pub(crate) fn packet() -> impl Strategy<Value = (u64, usize, Vec<u8>)> {
    let not_ip = link().prop_map(|(port, link)| (port, link.payload(&[0x5a; 46]).build()));
    let whole = prop_oneof![8 => over_ipv4(), 6 => over_ipv6(), 1 => not_ip];
    let broken = prop_oneof![
        8 => Just((0, None, 0)),
        1 => (1..60usize).prop_map(|cut| (cut, None, 0)),
        1 => (0..80usize, any::<u8>()).prop_map(|change| (0, Some(change), 0)),
        1 => Just((0, None, 9)),
    ];
    (select(vec![0u64, 1, 400, 2000, 40_000]), whole, broken).prop_map(
        |(wait, (port, mut bytes), (cut, change, padding))| {
            bytes.truncate(bytes.len().saturating_sub(cut).max(1));
            if let Some((at, byte)) = change
                && let Some(place) = bytes.get_mut(at)
            {
                *place = byte;
            }
            bytes.extend(vec![0; padding]);
            (wait, port, bytes)
        },
    )
}

fn of_network(address: [u8; 4], length: u8) -> Prefixes {
    let prefix = Prefix::new(u32::from_be_bytes(address), length).expect("a length of IPv4");
    Prefixes { ipv4: vec![prefix], ..Prefixes::default() }
}

/// The DSCP as bytes of the packet: what a rule before has marked it with must not matter.
fn dscp_bytes(dscp: u8) -> BytesMatch {
    let (mut value, mut mask) = ([0; PAYLOAD_BYTES_MAX], [0; PAYLOAD_BYTES_MAX]);
    (value[0], mask[0]) = (dscp << 2, 0xfc);
    BytesMatch { anchor: Anchor::Layer3, offset: 1, length: 1, value, mask }
}

fn text_bytes() -> BytesMatch {
    let (mut value, mut mask) = ([0; PAYLOAD_BYTES_MAX], [0; PAYLOAD_BYTES_MAX]);
    value[..3].copy_from_slice(b"GET");
    mask[..3].fill(0xff);
    BytesMatch { anchor: Anchor::Payload, offset: 0, length: 3, value, mask }
}

fn conditions() -> Vec<Match> {
    let any = Match::default;
    let known = States { established: true, related: true, ..States::default() };
    let [new, invalid] =
        [States { new: true, ..States::default() }, States { invalid: true, ..States::default() }];
    vec![
        any(),
        Match { ipv4: true, ..any() },
        Match { ipv6: true, ..any() },
        Match { protocols: vec![17], ..any() },
        Match { protocols: vec![6], tcp_flags: vec![Masked { value: 2, mask: 0x12 }], ..any() },
        Match { protocols: vec![1, 58], icmp_types: vec![8..=8, 128..=128], ..any() },
        Match { destination_ports: vec![53..=80], ..any() },
        Match { source_ports: vec![80..=80, 4000..=5000], ..any() },
        Match { source: of_network([20, 0, 0, 0], 8), ..any() },
        Match { destination: of_network([20, 0, 0, 0], 16), ..any() },
        Match { dscps: vec![46], ..any() },
        Match { bytes: vec![dscp_bytes(46)], ..any() },
        Match { bytes: vec![dscp_bytes(0)], ..any() },
        Match { ipv4: true, bytes: vec![text_bytes()], ..any() },
        Match { fragments: FRAGMENT_FIRST | FRAGMENT_LATER, ..any() },
        Match { fragments: FRAGMENT_NONE, lengths: vec![0..=60], ..any() },
        Match { ttls: vec![0..=1], ..any() },
        Match { in_ports: vec![PortId(0)], ..any() },
        Match { vlans: vec![1..=200], ..any() },
        Match { states: known, ..any() },
        Match { states: new, ..any() },
        Match { states: invalid, ..any() },
    ]
}

/// Places where redirected packets are sent: each leads elsewhere, some nowhere.
fn redirect() -> impl Strategy<Value = Action> {
    let to = [
        "20.9.0.1",
        "20.5.0.1",
        "20.8.0.1",
        "10.1.0.77",
        "20.1.0.1",
        "2001:db8:1::2",
        "2001:db8:25::1",
    ];
    select(to.map(|to| Action::Redirect(to.parse().expect("an address"))).to_vec())
}

prop_compose! {
    fn some_rule()(
        condition in select(conditions()),
        action in prop_oneof![
            4 => Just(Action::Continue),
            2 => Just(Action::Accept),
            1 => Just(Action::Drop),
            1 => Just(Action::Reject),
            1 => redirect(),
        ],
        policer in prop_oneof![3 => Just(None), 1 => (0..2u32).prop_map(Some)],
        set_dscp in prop_oneof![3 => Just(None), 1 => select(vec![0u8, 10, 46]).prop_map(Some)],
        set_class in prop_oneof![3 => Just(None), 1 => (0..8u8).prop_map(Some)],
        mirror_to in prop_oneof![5 => Just(None), 1 => select(vec![PortId(0), PortId(1), PortId(2), PortId(9)]).prop_map(Some)],
        (sample_one_in, log) in (select(vec![0, 0, 1, 3]), any::<bool>()),
    ) -> Rule {
        Rule { policer, set_dscp, set_class, mirror_to, sample_one_in, log, ..rule("", condition, action) }
    }
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    prop::collection::vec(some_rule(), 0..4).prop_map(|mut rules| {
        rules.iter_mut().enumerate().for_each(|(number, rule)| rule.name = format!("{number}"));
        rules
    })
}

fn policer() -> impl Strategy<Value = Policer> {
    let marker = select(vec![
        Marker::SingleRate { committed_rate: 1, committed_burst: 2, excess_burst: 1 },
        Marker::TwoRate { committed_rate: 1, committed_burst: 1, peak_rate: 2, peak_burst: 3 },
        Marker::TwoRateExcess {
            committed_rate: 1,
            committed_burst: 2,
            excess_rate: 1,
            excess_burst: 0,
        },
    ]);
    let mode = select(vec![ColourMode::Blind, ColourMode::Aware]);
    let mark = select(vec![ColourAction::Pass, ColourAction::Mark(12)]);
    let sources = prop::option::of(Just(SourcePrefixes { ipv4_length: 24, ipv6_length: 56 }));
    (marker, mode, mark, sources).prop_map(|(marker, colour_mode, yellow, sources)| Policer {
        marker,
        options: ProfileOptions { unit: Unit::Packets, colour_mode, ..ProfileOptions::default() },
        actions: [ColourAction::Pass, yellow, ColourAction::Drop],
        sources,
    })
}

fn checks() -> impl Strategy<Value = Vec<(u16, PortCheck)>> {
    let reverse_path = select(vec![ReversePath::Off, ReversePath::Strict, ReversePath::Loose]);
    let martians =
        select(vec![MartianFilter::Off, MartianFilter::Special, MartianFilter::NotGlobal]);
    let check = (reverse_path, martians).prop_map(|(reverse_path, martians)| PortCheck {
        reverse_path,
        feasible: None,
        martians,
    });
    prop_oneof![3 => Just(Vec::new()), 1 => (0..2u16, check).prop_map(|check| vec![check])]
}

prop_compose! {
    /// Filters at inputs and outputs, two policers, and checks of sources.
    pub(crate) fn setup()(
        inputs in [rules(), rules()],
        outputs in [rules(), rules()],
        is_on in any::<[bool; 4]>(),
        policers in [policer(), policer()],
        police_port in prop::option::of((0..2u16, select(vec!["a", "b"]))),
        checks in checks(),
        without_connections in prop::bool::weighted(0.3),
        connections_per_source_max in select(vec![0, 0, 1]),
    ) -> Setup {
        let filters = inputs.into_iter().zip(0..).map(|(rules, port)| input(port, rules));
        let filters = filters.chain(outputs.into_iter().zip(0..).map(|(rules, port)| output(port, rules)));
        let filters = filters.zip(is_on).filter(|(_, is_on)| *is_on).map(|(filter, _)| filter);
        Setup {
            filters: filters.collect(),
            policers: ["a", "b"].into_iter().zip(policers).collect(),
            police_ports: police_port.into_iter().collect(),
            checks,
            without_connections,
            connections_per_source_max,
        }
    }
}

/// Next hops of the rig's own routes, by number.
const NEXT_HOPS: u32 = 20;

/// A prefix, and its next hops with their weights.
type SomeRoute = (&'static str, (Vec<u32>, Vec<u32>));

/// Routes besides those of the rig, or in their place: one or several next hops each.
pub(crate) fn routes() -> impl Strategy<Value = Vec<RouteUpdate>> {
    let ipv4 =
        ["0.0.0.0/0", "20.0.0.0/8", "20.0.0.0/16", "20.0.0.1/32", "20.9.0.0/24", "99.0.0.0/8"];
    let ipv6 = ["::/0", "2001:db8:20::/48", "2001:db8:20::1/128", "2001:db8::/64", "fc00::/7"];
    // Gateways are of a route's own family: numbers up to 15 and those behind.
    let group = |next_hops: std::ops::Range<u32>| {
        let members = subsequence(next_hops.collect::<Vec<u32>>(), 1..4);
        (members, prop::collection::vec(1..4u32, 3))
    };
    let route =
        |prefixes: &[&'static str], next_hops| (select(prefixes.to_vec()), group(next_hops));
    let route = prop_oneof![route(&ipv4, 0..16), route(&ipv6, 16..NEXT_HOPS)];
    prop::collection::vec(route, 0..4).prop_map(|routes| {
        let of = |((prefix, (members, weights)), id): (SomeRoute, u32)| {
            let members = members.into_iter().zip(weights);
            let members =
                members.map(|(hop, weight)| Member { next_hop: NextHopId(hop), weight }).collect();
            let group = NextHopGroupId(id);
            let route = RouteUpdate::SetRoute(prefix.parse().expect("a prefix"), group);
            [RouteUpdate::SetGroup(group, members), route]
        };
        routes.into_iter().zip(NEXT_HOPS + 1..).flat_map(of).collect()
    })
}
