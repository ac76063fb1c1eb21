//! Random filters, and packets of every kind that their rules can ask for.

use linecard_packet::PortId;
use linecard_services::filter::{
    Action, Anchor, BytesMatch, FRAGMENT_FIRST, FRAGMENT_LATER, FRAGMENT_NONE, Filter, Masked,
    Match, PAYLOAD_BYTES_MAX, Prefixes, Rule, States,
};
use linecard_tables::lpm::Prefix;
use linecard_wire::MacAddress;
use linecard_wire::builder::{Extension, Icmpv4, Ipv4, Ipv6, PacketBuilder, Tcp, Udp};
use linecard_wire::vlan::{Tag, Tci};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

pub(crate) const STATION: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);

fn link() -> PacketBuilder {
    PacketBuilder::new().ethernet(STATION, MacAddress::new([2, 0, 0, 0, 0, 2]))
}

/// Packets of every kind that a rule can ask for, between a few addresses and ports.
pub(crate) fn packets() -> Vec<Vec<u8>> {
    let ipv4 = |last: u8| Ipv4::new([192, 0, 2, last].into(), [198, 51, 100, last].into());
    let ipv6 = |last: u16| {
        let source = [0x2001, 0xdb8, 0, 0, 0, 0, 0, last];
        Ipv6::new(source.into(), [0x2001, 0xdb8, last, 0, 0, 0, 0, 1].into())
    };
    let tag = Tag { tpid: linecard_wire::ethernet::EtherType::VLAN, tci: Tci(100) };
    let mut packets = Vec::new();
    for last in [1, 2, 130] {
        let syn = Tcp::new(1000 + u16::from(last), 80);
        let fragment = Ipv4 { more_fragments: true, ..ipv4(last) };
        let later = Ipv4 { fragment_offset: 64, ..ipv4(last) };
        packets.extend([
            link().ipv4(ipv4(last)).udp(Udp::new(53, 1000)).payload(b"GET / of text").pad_to(64),
            link().ipv4(ipv4(last)).tcp(syn.clone()).payload(b"GET /"),
            link().ipv4(Ipv4 { ttl: 1, ..ipv4(last) }).tcp(Tcp::new(80, 443)),
            link().ipv4(fragment).udp(Udp::new(53, 80)).payload(&[7; 32]),
            link().ipv4(later).payload(&[0; 40]),
            link().ipv4(ipv4(last)).icmpv4(Icmpv4::echo_request(1, 2)).payload(b"ping"),
            link().vlan(tag).ipv4(ipv4(last)).udp(Udp::new(80, 53)),
        ]);
        let last = u16::from(last);
        packets.extend([
            link().ipv6(ipv6(last)).udp(Udp::new(53, 80)).payload(b"GET"),
            link().ipv6(Ipv6 { flow_label: 0x12345, ..ipv6(last) }).tcp(syn),
            link()
                .ipv6(ipv6(last))
                .extension(Extension::fragment(0, true, 9))
                .udp(Udp::new(53, 80))
                .payload(&[1; 16]),
            link().ipv6(ipv6(last)).extension(Extension::fragment(64, false, 9)).payload(&[0; 40]),
        ]);
    }
    packets.iter().map(PacketBuilder::build).collect()
}

fn prefixes() -> impl Strategy<Value = Prefixes> {
    let ipv4 = [([192, 0, 2, 0], 24), ([192, 0, 2, 1], 32), ([192, 0, 2, 128], 25), ([0; 4], 0)];
    let ipv4 = ipv4.map(|(octets, length)| {
        Prefix::new(u32::from_be_bytes(octets), length).expect("a length of IPv4")
    });
    let ipv6 =
        ["2001:db8::", "2001:db8::1", "2001:db8:2::", "::"].into_iter().zip([32, 128, 48, 0]);
    let ipv6: Vec<_> = ipv6
        .map(|(address, length)| {
            let bits = address.parse::<std::net::Ipv6Addr>().expect("an address").to_bits();
            Prefix::new(bits, length).expect("a length of IPv6")
        })
        .collect();
    let some = (subsequence(ipv4.to_vec(), 0..3), subsequence(ipv6, 0..3));
    let some = some.prop_map(|(ipv4, ipv6)| Prefixes { ipv4, ipv6 });
    prop_oneof![3 => Just(Prefixes::default()), 2 => some]
}

/// Mostly nothing, sometimes a few of these.
fn few<T: Clone + std::fmt::Debug + 'static>(of: Vec<T>) -> impl Strategy<Value = Vec<T>> {
    prop_oneof![4 => Just(Vec::new()), 1 => subsequence(of, 1..3)]
}

fn bytes() -> impl Strategy<Value = BytesMatch> {
    let anchor = select(vec![Anchor::Layer3, Anchor::Layer4, Anchor::Payload]);
    let text = select(vec![(&b"GET"[..], [0xff; 3]), (b"get", [0xdf; 3]), (&[0; 3], [0; 3])]);
    (anchor, select(vec![0u16, 1, 8, 20, 60]), text).prop_map(|(anchor, offset, (text, asked))| {
        let (mut value, mut mask) = ([0; PAYLOAD_BYTES_MAX], [0; PAYLOAD_BYTES_MAX]);
        mask[..3].copy_from_slice(&asked);
        value.iter_mut().zip(text).zip(mask).for_each(|((to, of), mask)| *to = of & mask);
        BytesMatch { anchor, offset, length: 3, value, mask }
    })
}

prop_compose! {
    fn upper_layer()(
        protocols in few(vec![6, 17, 1, 58, 44]),
        source_ports in few(vec![53..=53, 0..=1023, 1001..=1001, 80..=1130]),
        destination_ports in few(vec![80..=80, 0..=0, 53..=443]),
        icmp_types in few(vec![8..=8, 0..=255]),
        icmp_codes in few(vec![0..=0, 1..=9]),
        tcp_flags in few(vec![Masked { value: 2, mask: 2 }, Masked { value: 0, mask: 0x12 }]),
    ) -> Match {
        Match {
            protocols, source_ports, destination_ports, icmp_types, icmp_codes, tcp_flags,
            ..Match::default()
        }
    }
}

prop_compose! {
    fn states()([new, established, related, invalid] in any::<[bool; 4]>()) -> States {
        States { new, established, related, invalid }
    }
}

prop_compose! {
    pub(crate) fn condition()(
        upper_layer in upper_layer(),
        (ipv4, ipv6) in select(vec![(false, false), (false, false), (true, false), (false, true)]),
        (source, destination) in (prefixes(), prefixes()),
        dscps in few(vec![0, 46]),
        fragments in select(vec![
            0, 0, 0, FRAGMENT_NONE, FRAGMENT_FIRST, FRAGMENT_LATER, FRAGMENT_FIRST | FRAGMENT_LATER,
            FRAGMENT_NONE | FRAGMENT_LATER, FRAGMENT_NONE | FRAGMENT_FIRST, 7,
        ]),
        lengths in few(vec![0..=40, 41..=60, 28..=28]),
        ttls in few(vec![0..=1, 2..=64]),
        in_ports in few(vec![PortId(3), PortId(4)]),
        vlans in few(vec![0..=0, 100..=200]),
        flow_labels in few(vec![
            Masked { value: 0x12345, mask: 0xf_ffff }, Masked { value: 0, mask: 0xff },
        ]),
        bytes in prop_oneof![6 => Just(Vec::new()), 1 => prop::collection::vec(bytes(), 1..3)],
        states in prop_oneof![2 => Just(States::default()), 1 => states()],
    ) -> Match {
        Match {
            ipv4, ipv6, source, destination, dscps, fragments, lengths, ttls, in_ports, vlans,
            flow_labels, bytes, states, ..upper_layer
        }
    }
}

pub(crate) fn filter() -> impl Strategy<Value = Filter> {
    let terminal = || select(vec![Action::Accept, Action::Drop, Action::Reject]);
    let action = prop_oneof![6 => terminal(), 1 => Just(Action::Continue)];
    let rules = prop::collection::vec((condition(), action), 0..24);
    (rules, terminal()).prop_map(|(rules, default)| {
        let rules = rules.into_iter().enumerate();
        let rules = rules.map(|(number, (condition, action))| rule(number, condition, action));
        Filter { name: "filter".to_owned(), rules: rules.collect(), default }
    })
}

pub(crate) fn rule(number: usize, condition: Match, action: Action) -> Rule {
    Rule {
        name: format!("rule-{number}"),
        condition,
        action,
        policer: None,
        set_dscp: None,
        set_class: None,
        mirror_to: None,
        sample_one_in: 0,
        log: false,
    }
}
