//! `[[police]]`: an algorithm, and the rates and bursts that it takes, all in one unit.

use std::ops::RangeInclusive;

use toml::Spanned;

use super::checker::Checker;
use super::sets::check_names;
use crate::config::limits;
use crate::config::resolved::{Marker, PolicePer, PoliceUnit, Policer};
use crate::config::text::services::{Algorithm, Police};
use crate::filter;

/// Resolves all policers: as many as the file has, in its order.
pub(super) fn policers(checker: &mut Checker<'_>, texts: &[Spanned<Police>]) -> Vec<Policer> {
    check_names(checker, "police", texts.iter().map(|text| &text.get_ref().name));
    texts.iter().map(|text| policer(checker, text.get_ref())).collect()
}

fn policer(checker: &mut Checker<'_>, text: &Police) -> Policer {
    let unit = match (&text.rate_bits_per_second, &text.rate_packets_per_second) {
        (Some(_), Some(place)) => {
            let help = "one of rate_bits_per_second and rate_packets_per_second";
            checker.refuse(place, "a second committed rate", help);
            PoliceUnit::Bits
        }
        (Some(_), None) => PoliceUnit::Bits,
        (None, Some(_)) => PoliceUnit::Packets,
        (None, None) => {
            let message = format!("policer {} has no rate", text.name.get_ref());
            let help = "rate_bits_per_second = … or rate_packets_per_second = …";
            checker.refuse(&text.name, message, help);
            PoliceUnit::Bits
        }
    };
    let mut keys = Keys { checker, text, unit };
    let marker = keys.marker();
    keys.refuse_others();
    let dscp = |place: &Spanned<String>| {
        let refuse = |(message, help): (String, String)| checker.refuse(place, message, help);
        filter::parse_dscp(place.get_ref()).map_err(refuse).ok()
    };
    let yellow_dscp = text.yellow_dscp.as_ref().and_then(dscp);
    let overhead =
        checker.number(&text.overhead_bytes, "overhead_bytes", limits::OVERHEAD_BYTES, 0);
    Policer {
        name: text.name.get_ref().clone(),
        marker,
        unit,
        colour_aware: text.colour_aware,
        yellow_dscp,
        overhead_bytes: overhead,
        per: text.per.as_ref().map_or(PolicePer::Rule, |place| per(checker, place)),
    }
}

/// A key in both units.
struct Key<'a> {
    name: &'static str,
    bits: &'a Option<Spanned<i64>>,
    packets: &'a Option<Spanned<i64>>,
    is_rate: bool,
}

impl Key<'_> {
    fn names(&self) -> [String; 2] {
        let ends = match self.is_rate {
            true => ["bits_per_second", "packets_per_second"],
            false => ["bytes", "packets"],
        };
        ends.map(|end| format!("{}_{end}", self.name))
    }
}

struct Keys<'c, 'a, 't> {
    checker: &'c mut Checker<'a>,
    text: &'t Police,
    unit: PoliceUnit,
}

impl<'t> Keys<'_, '_, 't> {
    fn all(&self) -> [Key<'t>; 6] {
        let text = self.text;
        let key = |name, bits, packets, is_rate| Key { name, bits, packets, is_rate };
        let (rate, packets) = (&text.rate_bits_per_second, &text.rate_packets_per_second);
        [
            key("rate", rate, packets, true),
            key("burst", &text.burst_bytes, &text.burst_packets, false),
            key(
                "peak_rate",
                &text.peak_rate_bits_per_second,
                &text.peak_rate_packets_per_second,
                true,
            ),
            key("peak_burst", &text.peak_burst_bytes, &text.peak_burst_packets, false),
            key(
                "excess_rate",
                &text.excess_rate_bits_per_second,
                &text.excess_rate_packets_per_second,
                true,
            ),
            key("excess_burst", &text.excess_burst_bytes, &text.excess_burst_packets, false),
        ]
    }

    fn taken(&self) -> &'static [&'static str] {
        match self.text.algorithm {
            Algorithm::SingleRate => &["rate", "burst", "excess_burst"],
            Algorithm::TwoRate => &["rate", "burst", "peak_rate", "peak_burst"],
            Algorithm::TwoRateExcess => &["rate", "burst", "excess_rate", "excess_burst"],
        }
    }

    /// The value of a key in the policer's unit, which must stand there unless there is a default.
    fn value(&mut self, name: &str, default: Option<u64>) -> u64 {
        let key = self.all().into_iter().find(|key| key.name == name).expect("one of the six");
        let [bits, packets] = key.names();
        let (place, key_name, range): (_, _, RangeInclusive<u64>) = match (self.unit, key.is_rate) {
            (PoliceUnit::Bits, true) => (key.bits, bits, limits::RATE_BITS_PER_SECOND),
            (PoliceUnit::Bits, false) => (key.bits, bits, limits::BURST_BYTES),
            (PoliceUnit::Packets, true) => (key.packets, packets, limits::RATE_PACKETS_PER_SECOND),
            (PoliceUnit::Packets, false) => (key.packets, packets, limits::BURST_PACKETS),
        };
        match (place, default) {
            (Some(place), _) => self.checker.required_number(place, &key_name, range),
            (None, Some(default)) => default,
            // The committed rate was missed already.
            (None, None) if name == "rate" => *range.start(),
            (None, None) => {
                let name = self.text.name.get_ref();
                let message = format!("policer {name} needs `{key_name}`");
                let help = format!("{key_name} = {} to {}", range.start(), range.end());
                self.checker.refuse(&self.text.name, message, help);
                *range.start()
            }
        }
    }

    fn marker(&mut self) -> Marker {
        let (committed_rate, committed_burst) =
            (self.value("rate", None), self.value("burst", None));
        match self.text.algorithm {
            Algorithm::SingleRate => {
                let excess_burst = self.value("excess_burst", Some(0));
                Marker::SingleRate { committed_rate, committed_burst, excess_burst }
            }
            Algorithm::TwoRate => {
                let peak_rate = self.value("peak_rate", None);
                let peak_burst = self.value("peak_burst", None);
                let text = self.text;
                let places = [&text.peak_rate_bits_per_second, &text.peak_rate_packets_per_second];
                if let Some(place) = places.into_iter().flatten().next()
                    && peak_rate < committed_rate
                {
                    let message = "the peak rate is below the committed rate, which it includes";
                    let help = format!("{committed_rate} or more (RFC 2698 2)");
                    self.checker.refuse(place, message, help);
                }
                Marker::TwoRate { committed_rate, committed_burst, peak_rate, peak_burst }
            }
            Algorithm::TwoRateExcess => Marker::TwoRateExcess {
                committed_rate,
                committed_burst,
                excess_rate: self.value("excess_rate", None),
                excess_burst: self.value("excess_burst", None),
            },
        }
    }

    /// Refuses keys of another algorithm and of the other unit.
    fn refuse_others(&mut self) {
        let algorithm = self.text.algorithm.label();
        for key in self.all() {
            let taken = self.taken().contains(&key.name);
            let [bits, packets] = key.names();
            for (place, name, unit) in
                [(key.bits, bits, PoliceUnit::Bits), (key.packets, packets, PoliceUnit::Packets)]
            {
                let Some(place) = place else { continue };
                if !taken {
                    let message = format!("{algorithm} takes no `{name}`");
                    let help = format!("it takes: {}", self.taken().join(", "));
                    self.checker.refuse(place, message, help);
                } else if unit != self.unit && key.name != "rate" {
                    let message = format!("`{name}` beside a rate in another unit");
                    let help = "bytes go with bits per second, packets with packets per second";
                    self.checker.refuse(place, message, help);
                }
            }
        }
    }
}

fn per(checker: &mut Checker<'_>, place: &Spanned<String>) -> PolicePer {
    let text = place.get_ref().as_str();
    match text {
        "rule" => return PolicePer::Rule,
        "port" => return PolicePer::Port,
        _ => {}
    }
    let lengths =
        text.strip_prefix("source-prefix/").map(|lengths| match lengths.split_once('/') {
            Some((ipv4, ipv6)) => (ipv4.parse::<u8>().ok(), ipv6.parse::<u8>().ok()),
            None => (lengths.parse::<u8>().ok(), Some(limits::SOURCE_PREFIX_IPV6_DEFAULT)),
        });
    match lengths {
        Some((Some(ipv4_length @ 1..=32), Some(ipv6_length)))
            if (1..=limits::SOURCE_PREFIX_IPV6_MAX).contains(&ipv6_length) =>
        {
            PolicePer::SourcePrefix { ipv4_length, ipv6_length }
        }
        _ => {
            let help = "\"rule\", \"port\", or \"source-prefix/24/56\": the lengths of an IPv4 (1 to \
                 32) and an IPv6 prefix (1 to 64; 56 where it is left out)";
            checker.refuse(place, format!("`{text}` is nothing to have a meter each"), help);
            PolicePer::Rule
        }
    }
}
