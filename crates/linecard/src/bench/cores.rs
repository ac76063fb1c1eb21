//! How many cores of this machine carry a given rate: an answer on paper, with what it assumes.

use std::fmt;
use std::str::FromStr;

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

/// Cores for `rate` each way, from the IMIX cases that were measured.
pub(super) fn answer(rate: BitRate, figures: &[Figures]) -> String {
    let imix: Vec<&Figures> =
        figures.iter().filter(|of| of.imix_measured && of.workers == 1).collect();
    if imix.is_empty() {
        return format!("Cores for {rate}: no IMIX case was measured.");
    }
    let scaling = figures
        .iter()
        .filter(|of| of.imix_measured)
        .find_map(|of| Some((of, of.speedup_over_one_worker?)));
    // More than linear is luck.
    let efficiency = scaling.map_or(1.0, |(of, speedup)| (speedup / of.workers as f64).min(1.0));
    let mut lines = vec![format!("Cores of this machine for {rate} each way of IMIX:")];
    for of in imix {
        let cores = |gbps: f64| (rate.0 / (gbps * 1e9 * efficiency)).ceil();
        lines.push(format!(
            "  {:<20} {:>4} cores ({} if the rate does not count preamble and gap): {:.1} Mpps, \
             {:.1} Gbit/s a core",
            of.case,
            cores(of.gbps_l1),
            cores(of.gbps_l2),
            of.mpps_per_core,
            of.gbps_l1
        ));
    }
    lines.push("Assumed:".to_owned());
    lines.extend(assumptions(scaling, figures).into_iter().map(|text| format!("  - {text}")));
    lines.join("\n")
}

fn assumptions(scaling: Option<(&Figures, f64)>, figures: &[Figures]) -> Vec<String> {
    let linear = match scaling {
        Some((of, speedup)) => format!(
            "throughput grows with cores as {} workers over one here: ×{speedup:.2}, carried on \
             to any number of cores",
            of.workers
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
