//! Cuts: some neighbouring bits of one word of the key, by whose value a node goes on; and which of
//! them is the best for a set of entries.

use super::Entry;
use super::entry::{WORDS, ports_word};
use crate::lpm::Address;

/// The largest number of bits of a cut.
pub(super) const CUT_BITS_MAX: u32 = 12;
/// Entries that the choice of a cut looks at, evenly drawn from all.
const SAMPLE_MAX: usize = 512;
/// A cut leaves at most this share of the entries behind each other, or is not worth its step.
const WORTH: f32 = 0.9;
/// Copies of an entry that a cut may make, on average.
const COPIES_MAX: f32 = 6.0;
/// Ways with fewer entries than this share of a leaf are as good as empty: they will share one.
const LEAF_SHARE: f32 = 0.25;
/// How much copies count: 0 for not at all, 1 for as much as what is left to compare.
const COPIES_WEIGHT: f32 = 0.45;

/// `bits` bits of a word, the lowest of them number `shift`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) word: u8,
    pub(super) shift: u8,
    pub(super) bits: u8,
}

/// Which of the ways out of a node an entry belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    /// Those whose bits under `mask` are `value`.
    Masked { value: u32, mask: u32 },
    /// `count` ways from `first` on, starting again at 0 after the last.
    Cyclic { first: u32, count: u32 },
}

impl Cut {
    /// Ways out.
    pub(super) fn ways(self) -> usize {
        1 << self.bits
    }

    /// The bits of the word.
    pub(super) fn mask(self) -> u32 {
        (self.ways() as u32 - 1) << self.shift
    }

    /// The ways of an entry.
    pub(super) fn spread<A: Address>(self, entry: &Entry<A>) -> Spread {
        if usize::from(self.word) == ports_word::<A>() {
            let (ports, shift) = match self.shift {
                shift @ 16.. => (entry.source_ports, shift - 16),
                shift => (entry.destination_ports, shift),
            };
            self.spread_range(u32::from(ports.first) >> shift, u32::from(ports.last) >> shift)
        } else {
            self.spread_masked(entry.word(usize::from(self.word)))
        }
    }

    fn spread_range(self, first: u32, last: u32) -> Spread {
        let ways = self.ways() as u32;
        let count = (last - first + 1).min(ways);
        Spread::Cyclic { first: if count == ways { 0 } else { first & (ways - 1) }, count }
    }

    fn spread_masked(self, (value, mask): (u32, u32)) -> Spread {
        let low = self.ways() as u32 - 1;
        Spread::Masked { value: value >> self.shift & low, mask: mask >> self.shift & low }
    }

    /// Calls `each` with every way of a spread.
    #[inline]
    pub(super) fn for_each_way(self, spread: Spread, mut each: impl FnMut(usize)) {
        let low = self.ways() as u32 - 1;
        match spread {
            Spread::Cyclic { first, count } => {
                (first..first + count).for_each(|way| each((way & low) as usize));
            }
            Spread::Masked { value, mask } => {
                let free = low & !mask;
                let mut part = 0;
                loop {
                    each((value | part) as usize);
                    part = part.wrapping_sub(free) & free;
                    if part == 0 {
                        break;
                    }
                }
            }
        }
    }

    /// Ways of a spread.
    fn count(self, spread: Spread) -> usize {
        match spread {
            Spread::Cyclic { count, .. } => count as usize,
            Spread::Masked { mask, .. } => 1 << (u32::from(self.bits) - mask.count_ones()),
        }
    }
}

/// What of an entry decides about cuts.
struct Sample {
    words: [(u32, u32); WORDS],
    ports: [(u32, u32); 2],
}

/// The entries of a node, or some of them.
struct Set {
    samples: Vec<Sample>,
    of_total: usize,
    leaf_entries: usize,
    ports_word: usize,
}

/// The best cut of these entries in bits that are not `known`; none if it is best to compare them all.
pub(super) fn best<'a, A: Address>(
    entries: impl ExactSizeIterator<Item = &'a Entry<A>>,
    leaf_entries: usize,
    known: &[u32; WORDS],
) -> Option<Cut> {
    let total = entries.len();
    let step = total.div_ceil(SAMPLE_MAX);
    let samples: Vec<Sample> = entries.step_by(step).map(sample).collect();
    let set = Set { samples, of_total: total, leaf_entries, ports_word: ports_word::<A>() };
    let leaves = (total / leaf_entries).max(1) as u32;
    // Four ways a leaf: of those that nobody asks for some are shared, and others stay empty.
    let bits_most = (leaves.ilog2() + 3).clamp(2, CUT_BITS_MAX);
    let mut best = (WORTH, None);
    let mut counts = vec![0u16; 1 << bits_most];
    for bits in [bits_most, bits_most.saturating_sub(2), bits_most.saturating_sub(4)] {
        if bits >= 1 {
            for (word, known) in known.iter().enumerate() {
                best_in_word(&set, word, bits, *known, &mut counts, &mut best);
            }
        }
    }
    best.1
}

fn sample<A: Address>(entry: &Entry<A>) -> Sample {
    let range = |ports: super::Ports| (u32::from(ports.first), u32::from(ports.last));
    Sample {
        words: std::array::from_fn(|word| entry.word(word)),
        ports: [range(entry.destination_ports), range(entry.source_ports)],
    }
}

fn best_in_word(
    set: &Set,
    word: usize,
    bits: u32,
    known: u32,
    counts: &mut [u16],
    best: &mut (f32, Option<Cut>),
) {
    let is_ports = word == set.ports_word;
    let asked = match is_ports {
        true => u32::MAX,
        false => set.samples.iter().fold(0, |asked, sample| asked | sample.words[word].1),
    };
    for shift in 0..=32 - bits {
        let cut = Cut { word: word as u8, shift: shift as u8, bits: bits as u8 };
        let straddles = is_ports && shift < 16 && shift + bits > 16;
        if cut.mask() & known != 0 || cut.mask() & asked == 0 || straddles {
            continue;
        }
        let score = score(set, cut, &mut counts[..cut.ways()], best.0);
        if score < best.0 {
            *best = (score, Some(cut));
        }
    }
}

/// The share of the entries that are left to compare after a cut, for a key of one of them, times
/// what the copies cost. Infinite if they are too many. Gives up when it must exceed `limit`.
fn score(set: &Set, cut: Cut, counts: &mut [u16], limit: f32) -> f32 {
    let &Set { ref samples, of_total, leaf_entries, ports_word } = set;
    counts.fill(0);
    let total = samples.len() as f32;
    let mut everywhere = 0usize;
    for sample in samples {
        let spread = match usize::from(cut.word) {
            word if word == ports_word => {
                let (first, last) = sample.ports[usize::from(cut.shift >= 16)];
                let shift = cut.shift & 15;
                cut.spread_range(first >> shift, last >> shift)
            }
            word => cut.spread_masked(sample.words[word]),
        };
        let ways = cut.count(spread);
        if ways == cut.ways() {
            everywhere += 1;
            if everywhere as f32 > limit * total {
                return f32::INFINITY;
            }
        } else {
            cut.for_each_way(spread, |way| counts[way] += 1);
        }
    }
    // Counted in entries of the whole set. Ways that nobody asks for share one leaf.
    let scale = of_total as f32 / total;
    let least = leaf_entries as f32 * LEAF_SHARE;
    let everywhere = everywhere as f32 * scale;
    let (mut left, mut sum) = (0.0, 0.0);
    let mut add = |specific: f32| {
        let all = specific + everywhere;
        left += all * all.max(least);
        sum += all;
    };
    let asked = counts.iter().filter(|count| **count > 0);
    asked.clone().for_each(|count| add(f32::from(*count) * scale));
    if asked.count() < counts.len() {
        add(0.0);
    }
    let copies = sum / of_total as f32;
    if copies > COPIES_MAX {
        return f32::INFINITY;
    }
    left / sum / of_total as f32 * copies.powf(COPIES_WEIGHT)
}
