//! How many cores of this machine carry a given rate: an answer on paper, with what it assumes.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::cases::{CASES, Case};
use super::measure::Figures;

/// The cases that answer: IMIX over the Internet's tables, and how two workers scale.
const IMIX: [&str; 2] = ["ipv4-internet-imix", "ipv6-internet-imix"];
const SCALING: &str = "ipv4-internet-imix-x2";

/// A rate in bits per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct BitRate(f64);

impl FromStr for BitRate {
    type Err = String;

    /// Reads `1.2Tbps`, `400 Gbit/s`, `100G`, `1e12bps`.
    fn from_str(text: &str) -> Result<Self, String> {
        let example = || format!("`{text}` is no rate: write it as 1.2Tbps, 400Gbps or 1000000bps");
        let lower = text.trim().to_ascii_lowercase();
        let bare =
            ["bit/s", "bits/s", "bps", "b/s"].iter().find_map(|unit| lower.strip_suffix(unit));
        let has_unit = bare.is_some();
        let number = bare.unwrap_or(&lower).trim_end();
        let scales = [('k', 1e3), ('m', 1e6), ('g', 1e9), ('t', 1e12), ('p', 1e15)];
        let scaled = scales
            .iter()
            .find_map(|&(letter, scale)| Some((number.strip_suffix(letter)?.trim_end(), scale)));
        // A bare number may be meant in any unit.
        let (number, scale) = match scaled {
            Some(scaled) => scaled,
            None if has_unit => (number, 1.0),
            None => return Err(example()),
        };
        match number.parse::<f64>() {
            Ok(number) if number.is_finite() && number > 0.0 => Ok(Self(number * scale)),
            _ => Err(example()),
        }
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scale, unit) = match self.0 {
            rate if rate >= 1e12 => (1e12, "Tbit/s"),
            rate if rate >= 1e9 => (1e9, "Gbit/s"),
            rate if rate >= 1e6 => (1e6, "Mbit/s"),
            _ => (1.0, "bit/s"),
        };
        write!(f, "{} {unit}", (self.0 / scale * 1000.0).round() / 1000.0)
    }
}

/// Adds the cases that the answer needs; they are all of them when none was asked for.
pub(super) fn complete(cases: &mut Vec<&'static Case>, none_asked: bool) {
    let needed = |name: &str| IMIX.contains(&name) || name == SCALING;
    let asked: Vec<&str> = cases.iter().map(|case| case.name).collect();
    let measures_imix = asked.iter().any(|name| name.contains("imix"));
    *cases = CASES
        .iter()
        .filter(|case| match none_asked || !measures_imix {
            true => needed(case.name) || (!none_asked && asked.contains(&case.name)),
            false => asked.contains(&case.name),
        })
        .collect();
}

/// The answer, to be shown as text or as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    rate_bits_per_second: f64,
    /// One for each IMIX case that was measured; none if none was.
    cases: Vec<Cores>,
    /// What a core of several carries of what one alone does; at most 1.
    efficiency: f64,
    assumptions: Vec<String>,
}

/// Cores that the figures of one case ask for.
#[derive(Debug, Serialize)]
struct Cores {
    case: &'static str,
    /// With 20 bytes of preamble and gap counted for each packet.
    cores_l1: f64,
    /// Without.
    cores_l2: f64,
    mpps_per_core: f64,
    gbps_l1: f64,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = BitRate(self.rate_bits_per_second);
        if self.cases.is_empty() {
            return write!(f, "Cores for {rate}: no IMIX case was measured.");
        }
        write!(f, "Cores of this machine for {rate} each way of IMIX:")?;
        for of in &self.cases {
            write!(
                f,
                "\n  {:<20} {:>4} cores ({} if the rate does not count preamble and gap): {:.1} Mpps, \
                 {:.1} Gbit/s a core",
                of.case, of.cores_l1, of.cores_l2, of.mpps_per_core, of.gbps_l1
            )?;
        }
        write!(f, "\nAssumed:")?;
        self.assumptions.iter().try_for_each(|text| write!(f, "\n  - {text}"))
    }
}

/// Cores for `rate` each way, from the IMIX cases that were measured.
pub(super) fn answer(rate: BitRate, figures: &[Figures]) -> Answer {
    let scaling = figures
        .iter()
        .filter(|of| of.imix_measured)
        .find_map(|of| Some((of, of.speedup_over_one_worker?)));
    // More than linear is luck.
    let efficiency = scaling.map_or(1.0, |(of, speedup)| (speedup / of.workers as f64).min(1.0));
    let cores = |gbps: f64| (rate.0 / (gbps * 1e9 * efficiency)).ceil();
    let imix = figures.iter().filter(|of| of.imix_measured && of.workers == 1);
    let cases = imix.map(|of| Cores {
        case: of.case,
        cores_l1: cores(of.gbps_l1),
        cores_l2: cores(of.gbps_l2),
        mpps_per_core: of.mpps_per_core,
        gbps_l1: of.gbps_l1,
    });
    Answer {
        rate_bits_per_second: rate.0,
        cases: cases.collect(),
        efficiency,
        assumptions: assumptions(scaling, figures),
    }
}

fn assumptions(scaling: Option<(&Figures, f64)>, figures: &[Figures]) -> Vec<String> {
    let linear = match scaling {
        Some((of, speedup)) => format!(
            "throughput grows with cores as {workers} workers over one here, ×{speedup:.2} (counted as \
             ×{:.2}: more than linear is luck), carried on to any number of cores, for IPv6 too",
            speedup.min(of.workers as f64),
            workers = of.workers
        ),
        None => "throughput grows in proportion to cores; not measured".to_owned(),
    };
    let quick = figures.iter().any(|of| of.quick);
    let mut texts = vec![
        "each way: so much comes in and so much goes out at the same time; a packet is received \
         once and sent once"
            .to_owned(),
        "IMIX is 7:4:1 of 64, 594 and 1,518 bytes on the wire (IPv6: 66), 361.8 in the mean; the \
         rate counts 20 bytes of preamble and gap for each packet"
            .to_owned(),
        linear,
        "packets start and end in memory: no cost of NIC, driver, PCIe or kernel is in it, and \
         memory bandwidth suffices"
            .to_owned(),
        "traffic spreads evenly over workers; forwarding alone, no other service".to_owned(),
    ];
    if quick {
        texts.push("figures of --quick, which are no figures: run it without".to_owned());
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_in_the_ways_they_are_written() {
        for (text, rate) in [
            ("1.2Tbps", 1.2e12),
            ("1.2 Tb/s", 1.2e12),
            ("1.2tbit/s", 1.2e12),
            ("400Gbps", 4e11),
            ("100G", 1e11),
            ("2.5 Mbps", 2.5e6),
            ("1000bps", 1e3),
            ("1e12bps", 1e12),
        ] {
            assert_eq!(text.parse(), Ok(BitRate(rate)), "{text}");
        }
        for text in ["", "Tbps", "-1Gbps", "0bps", "12", "12GB", "infbps", "1.2 Tacos"] {
            assert!(text.parse::<BitRate>().is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_shown_in_the_unit_that_suits() {
        let shown = |text: &str| text.parse::<BitRate>().expect("a rate").to_string();
        assert_eq!(shown("1.2Tbps"), "1.2 Tbit/s");
        assert_eq!(shown("400Gbps"), "400 Gbit/s");
        assert_eq!(shown("999bps"), "999 bit/s");
    }
}
