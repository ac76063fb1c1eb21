//! Which routes packets take: how often each destination prefix is drawn.

use linecard_tables::generator::Random;

/// How destinations are drawn. Bits behind the prefix are random always.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Spread {
    /// Each prefix as often as any other.
    Uniform,
    /// The prefix of rank k with a weight of k^−s; ranks have nothing to do with addresses.
    Zipf(f64),
}

/// Draws prefixes of a table by rank.
#[derive(Debug)]
pub(super) struct Ranks {
    /// Sum of the weights up to and with each rank, scaled to 64 bits; empty for equal weights.
    cumulative: Vec<u64>,
    ranks: usize,
}

impl Ranks {
    pub(super) fn new(spread: Spread, ranks: usize) -> Self {
        let cumulative = match spread {
            Spread::Uniform => Vec::new(),
            Spread::Zipf(s) => {
                let mut sum = 0.0;
                let sums: Vec<f64> = (1..=ranks)
                    .map(|rank| {
                        sum += (rank as f64).powf(-s);
                        sum
                    })
                    .collect();
                sums.iter().map(|at| (at / sum * u64::MAX as f64) as u64).collect()
            }
        };
        Self { cumulative, ranks }
    }

    /// A rank from 0.
    pub(super) fn draw(&self, random: &mut Random) -> usize {
        if self.cumulative.is_empty() {
            return random.below(self.ranks);
        }
        let at = random.next_u64();
        self.cumulative.partition_point(|&sum| sum < at).min(self.ranks - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipf_ranks_fall_off_as_one_over_the_rank() {
        let ranks = Ranks::new(Spread::Zipf(1.0), 10_000);
        let mut random = Random::new(1);
        let mut drawn = vec![0u32; 10_000];
        for _ in 0..1_000_000 {
            drawn[ranks.draw(&mut random)] += 1;
        }
        // The harmonic number of 10,000 is 9.7876: the first rank gets 102,170 of a million.
        for (rank, expected) in [(1, 102_170.0), (2, 51_085.0), (10, 10_217.0), (100, 1_021.7)] {
            let error = (f64::from(drawn[rank - 1]) - expected).abs() / expected;
            assert!(error < 0.1, "rank {rank}: {} instead of {expected}", drawn[rank - 1]);
        }
        let tail: u32 = drawn[1_000..].iter().sum();
        assert!((220_000..250_000).contains(&tail), "{tail} of 1,000,000; 235,300 are right");
    }
}
