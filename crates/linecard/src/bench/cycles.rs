//! From the rounds of a case to its cycles a packet.

use super::lane::{Laps, Round};
use super::meter::Spread;

/// Cycles and instructions a packet.
pub(super) struct Cycles {
    /// Of a worker; of several, as if all were as fast, which gives the rate they have together.
    pub(super) net: Spread,
    pub(super) gross: f64,
    /// How much faster all workers are together than one is alone.
    pub(super) speedup: Option<f64>,
    pub(super) overhead: f64,
    pub(super) instructions: Option<f64>,
}

impl Cycles {
    /// Of the rounds of all workers, whose rates add up.
    pub(super) fn of(laps: &[Laps]) -> Self {
        let rounds = laps.iter().map(|laps| laps.rounds.len()).min().unwrap_or(0);
        let by_packet = |cycles: u64, packets: u64| cycles as f64 / packets.max(1) as f64;
        let all = || laps.iter().flat_map(|laps| &laps.rounds);
        let empty: Vec<f64> = all().map(|lap| by_packet(lap.empty_cycles, lap.packets)).collect();
        let overhead = Spread::of(&empty).median;
        let instructions: Option<Vec<f64>> =
            all().map(|lap| Some(by_packet(lap.instructions?, lap.packets))).collect();
        let lap_net = |lap: &Round| by_packet(lap.cycles, lap.packets) - overhead;
        let together = |round: usize| {
            let rates = laps.iter().map(|laps| 1.0 / lap_net(&laps.rounds[round]));
            laps.len() as f64 / rates.sum::<f64>()
        };
        let net = Spread::of(&(0..rounds).map(together).collect::<Vec<_>>());
        let alone: Vec<f64> = laps.iter().flat_map(|laps| &laps.alone).map(lap_net).collect();
        let speedup = |alone: &[f64]| Spread::of(alone).median * laps.len() as f64 / net.median;
        Self {
            net,
            gross: net.median + overhead,
            speedup: (!alone.is_empty()).then(|| speedup(&alone)),
            overhead,
            instructions: instructions.map(|counts| Spread::of(&counts).median),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(cycles: &[u64]) -> Vec<Round> {
        let round = |&cycles: &u64| Round {
            packets: 10,
            cycles,
            empty_cycles: 50,
            instructions: Some(400),
        };
        cycles.iter().map(round).collect()
    }

    #[test]
    fn queues_are_left_out() {
        let rounds = rounds(&[650, 750, 950]);
        let cycles = Cycles::of(&[Laps { rounds, alone: Vec::new(), looked_up: 0 }]);
        assert_eq!((cycles.gross, cycles.overhead), (75.0, 5.0));
        assert_eq!((cycles.net.min, cycles.net.median, cycles.net.max), (60.0, 70.0, 90.0));
        assert_eq!((cycles.instructions, cycles.speedup), (Some(40.0), None));
    }

    #[test]
    fn the_rates_of_workers_add_up() {
        let laps = |together, alone| Laps {
            rounds: rounds(&[together]),
            alone: rounds(&[alone]),
            looked_up: 0,
        };
        // 1/60 and 1/90 packets a cycle are as much as twice 1/72.
        let cycles = Cycles::of(&[laps(650, 590), laps(950, 590)]);
        assert!((cycles.net.median - 72.0).abs() < 1e-9, "{}", cycles.net.median);
        assert!(cycles.speedup.is_some_and(|speedup| (speedup - 1.5).abs() < 1e-9));
    }
}
