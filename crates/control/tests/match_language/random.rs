//! Whatever is written, and what is printed of it.

use super::*;

fn ranges<T>(max: T) -> impl Strategy<Value = Vec<RangeInclusive<T>>>
where
    T: Copy + Ord + std::fmt::Debug + Arbitrary + 'static,
{
    let pair = (any::<T>(), any::<T>()).prop_map(move |(a, b)| {
        let (a, b) = (a.min(max), b.min(max));
        a.min(b)..=a.max(b)
    });
    proptest::collection::vec(pair, 1..4)
}

fn list<T: std::fmt::Display>(keyword: &str, values: &[T]) -> String {
    let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
    format!("{keyword} {{{}}}", texts.join(", "))
}

fn range_list<T: std::fmt::Display>(keyword: &str, ranges: &[RangeInclusive<T>]) -> String {
    let text = |range: &RangeInclusive<T>| format!("{}-{}", range.start(), range.end());
    list(keyword, &ranges.iter().map(text).collect::<Vec<_>>())
}

fn network() -> impl Strategy<Value = IpNet> {
    let ipv4 = (any::<u32>(), 0u8..=32).prop_map(|(bits, length)| {
        IpNet::new(std::net::Ipv4Addr::from_bits(bits).into(), length).expect("a length").trunc()
    });
    let ipv6 = (any::<u128>(), 0u8..=128).prop_map(|(bits, length)| {
        IpNet::new(std::net::Ipv6Addr::from_bits(bits).into(), length).expect("a length").trunc()
    });
    prop_oneof![ipv4, ipv6]
}

fn term() -> impl Strategy<Value = String> {
    let networks = || proptest::collection::vec(network(), 1..5);
    let flags = proptest::sample::subsequence(
        vec!["fin", "!syn", "rst", "!psh", "ack", "urg", "!ece", "cwr"],
        1..8,
    );
    prop_oneof![
        proptest::sample::select(MEANINGS).prop_map(|(text, _)| text.to_owned()),
        networks().prop_map(|list| self::list("source", &list)),
        networks().prop_map(|list| self::list("destination", &list)),
        ranges(u16::MAX).prop_map(|ranges| range_list("source-port", &ranges)),
        ranges(u16::MAX).prop_map(|ranges| range_list("destination-port", &ranges)),
        ranges(u16::MAX).prop_map(|ranges| range_list("length", &ranges)),
        ranges(u8::MAX).prop_map(|ranges| range_list("ttl", &ranges)),
        ranges(4095u16).prop_map(|ranges| range_list("vlan", &ranges)),
        proptest::collection::vec(any::<u8>(), 1..5).prop_map(|list| self::list("protocol", &list)),
        proptest::collection::vec(0u8..64, 1..5).prop_map(|list| self::list("dscp", &list)),
        flags.prop_map(|flags| format!("tcp tcp-flags {{{}, !syn}}", flags.join("+"))),
        ranges(u8::MAX).prop_map(|ranges| format!("icmp {}", range_list("icmp-type", &ranges))),
        ranges(u8::MAX).prop_map(|ranges| format!("icmpv6 {}", range_list("icmp-code", &ranges))),
        (any::<u32>(), 1u32..0x10_0000)
            .prop_map(|(value, mask)| { format!("flow-label {:#x}/{mask:#x}", value & mask) }),
        (0u16..2000, proptest::collection::vec((any::<u8>(), 1u8..), 1..16)).prop_map(
            |(offset, bytes)| {
                let value: String =
                    bytes.iter().map(|(value, mask)| format!("{:02x}", value & mask)).collect();
                let mask: String = bytes.iter().map(|(_, mask)| format!("{mask:02x}")).collect();
                format!("bytes layer3 +{offset} 0x{value}/0x{mask}")
            }
        ),
    ]
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        drop(parse(&text));
    }

    #[test]
    fn no_line_of_known_words_panics(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "source", "destination", "tcp", "protocol", "tcp-flags", "bytes", "layer4", "+1",
                "0x00", "{", "}", ",", "@customers", "@empty", "80", "1-0", "icmp-type", "ttl",
                "192.0.2.0/24", "2001:db8::/32", "syn", "!ack", "é", "input", "eth0", "state",
            ]),
            0..12,
        )
    ) {
        drop(parse(&words.join(" ")));
        drop(parse(&words.concat()));
    }

    /// Whatever line is right, its match has a text that means the same.
    #[test]
    fn what_is_printed_means_the_same(terms in proptest::collection::vec(term(), 1..5)) {
        if let Ok((condition, None)) = parse(&terms.join(" ")) {
            let printed = print(&condition);
            prop_assert_eq!(parse(&printed), Ok((condition.clone(), None)), "{}", printed);
            prop_assert_eq!(print(&parse(&printed).expect("right").0), printed);
        }
    }

    /// Alone most terms are right, so that the property above is not empty.
    #[test]
    fn a_term_alone_means_the_same(term in term()) {
        let (condition, idle) = parse(&term).unwrap_or_else(|errors| panic!("{term}: {errors:?}"));
        prop_assert_eq!(parse(&print(&condition)), Ok((condition, idle)));
    }
}
