//! Policers, and what stands at a port besides filters.

use super::*;

#[test]
fn policers_take_what_their_algorithm_takes() {
    let policer = |keys: &str| {
        let text = format!("[[port]]\nname = \"eth0\"\n[[police]]\nname = \"p\"\n{keys}\n");
        parse(&text).map(|config| config.policers[0].clone())
    };
    let one = policer("rate_bits_per_second = 64000\nburst_bytes = 1500").expect("right");
    let marker =
        Marker::SingleRate { committed_rate: 64_000, committed_burst: 1500, excess_burst: 0 };
    assert_eq!((one.marker, one.unit, one.per), (marker, PoliceUnit::Bits, PolicePer::Rule));
    let two = policer(
        "algorithm = \"trtcm\"\nrate_packets_per_second = 10\nburst_packets = 5\n\
         peak_rate_packets_per_second = 20\npeak_burst_packets = 6\ncolour_aware = true\n\
         per = \"source-prefix/24/64\"\nyellow_dscp = \"af12\"",
    )
    .expect("right");
    let marker =
        Marker::TwoRate { committed_rate: 10, committed_burst: 5, peak_rate: 20, peak_burst: 6 };
    assert_eq!((two.marker, two.unit, two.colour_aware), (marker, PoliceUnit::Packets, true));
    let per = PolicePer::SourcePrefix { ipv4_length: 24, ipv6_length: 64 };
    assert_eq!((two.per, two.yellow_dscp), (per, Some(12)));

    for (keys, refusal) in [
        ("", "4:8 `\"p\"` policer p has no rate"),
        ("rate_bits_per_second = 8", "4:8 `\"p\"` policer p needs `burst_bytes`"),
        (
            "rate_bits_per_second = 8\nburst_packets = 9\nburst_bytes = 64",
            "6:17 `9` `burst_packets` beside a rate in another unit",
        ),
        (
            "rate_bits_per_second = 8\nrate_packets_per_second = 9\nburst_bytes = 64",
            "6:27 `9` a second committed rate",
        ),
        (
            "rate_bits_per_second = 7\nburst_bytes = 64",
            "5:24 `7` rate_bits_per_second is out of range: 7",
        ),
        (
            "rate_bits_per_second = 8\nburst_bytes = 64\npeak_burst_bytes = 64",
            "7:20 `64` srtcm takes no `peak_burst_bytes`",
        ),
        (
            "algorithm = \"trtcm\"\nrate_bits_per_second = 9\nburst_bytes = 64\n\
             peak_rate_bits_per_second = 8\npeak_burst_bytes = 64",
            "8:29 `8` the peak rate is below the committed rate, which it includes",
        ),
        (
            "rate_bits_per_second = 8\nburst_bytes = 64\nper = \"source-prefix/33\"",
            "7:7 `\"source-prefix/33\"` `source-prefix/33` is nothing to have a meter each",
        ),
    ] {
        let errors = policer(keys).map(|_| ()).expect_err(keys);
        let found: Vec<String> =
            errors.errors.iter().map(|e| told(e.place.as_ref(), &e.message)).collect();
        assert!(found.contains(&refusal.to_owned()), "{keys}: {found:#?}");
    }
}

/// What stands at a port besides filters: policers and checks of sources.
#[test]
fn ports_name_policers_and_lists_of_sources() {
    let text = "[[set]]\nname = \"customers\"\nprefixes = [\"2001:db8::/32\", \"10.0.0.0/8\"]\n\
         [[set]]\nname = \"web\"\nports = [80]\n\
         [[police]]\nname = \"p\"\nrate_packets_per_second = 1\nburst_packets = 1\n\
         [[police]]\nname = \"q\"\nrate_packets_per_second = 1\nburst_packets = 1\nper = \"port\"\n";
    let port = |keys: &str| parse(&format!("{text}[[port]]\nname = \"eth0\"\n{keys}"));
    let keys = "police_in = \"q\"\nreverse_path = \"feasible\"\nfeasible_sources = \"customers\"\n\
         martians = \"not-global\"\n";
    let config = port(keys).expect("right");
    let services = config.ports[0].services;
    assert_eq!((services.police_in, services.feasible_sources), (Some(1), Some(0)));
    assert_eq!(services.reverse_path, ReversePath::Feasible);
    assert_eq!(services.martians, MartianFilter::NotGlobal);
    assert_eq!(config.filters.feasible_sources(), ["customers"]);
    let prefixes = config.filters.prefixes_of("customers").expect("it has prefixes");
    let prefixes: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
    assert_eq!(prefixes, ["10.0.0.0/8", "2001:db8::/32"]);
    assert!(config.has_services());
    assert!(!port("").expect("right").has_services());

    let refusals = [
        ("police_in = \"r\"", "there is no policer r", "one of: p, q"),
        ("reverse_path = \"feasible\"", "feasible without a list", "feasible_sources = "),
        ("feasible_sources = \"customers\"", "without a check", "reverse_path = \"feasible\""),
        (
            "reverse_path = \"feasible\"\nfeasible_sources = \"web\"",
            "the set web has ports",
            "the name of a [[set]] of prefixes",
        ),
        ("reverse_path = \"feasible\"\nfeasible_sources = \"x\"", "there is no set x", "[[set]]"),
    ];
    for (keys, message, help) in refusals {
        let errors = port(keys).expect_err(keys).errors;
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].message.contains(message), "{:?}", errors[0]);
        assert!(errors[0].help.as_deref().unwrap_or_default().contains(help), "{:?}", errors[0]);
    }
}
