//! Which two words of its entries' IPv6 addresses a leaf compares.
//!
//! An entry that a key matches in these two and not in the others costs a lookup by itself, entry by entry. So
//! what is chosen has the fewest of these expected, over keys that are within another entry of the leaf and keys
//! that are within none.

use super::Entry;
use super::entry::{SOURCE_WORD, destination_word};
use crate::lpm::Address;

/// Words of both addresses, which are the first of a key.
const WORDS: usize = 8;
/// Entries that are looked at: those of one block.
const ENTRIES_MAX: usize = super::tree::LANES;

/// Value and mask of each word that an entry asks for.
type Asked = [(u32, u32); WORDS];

/// The words that tell these entries apart best; those of IPv4 are given.
pub(super) fn words<'a, A: Address>(entries: impl Iterator<Item = &'a Entry<A>>) -> [usize; 2] {
    if A::BITS == 32 {
        return [SOURCE_WORD, destination_word::<A>()];
    }
    let mut asked = [Asked::default(); ENTRIES_MAX];
    let mut count = 0;
    for (asked, entry) in asked.iter_mut().zip(entries) {
        *asked = std::array::from_fn(|word| entry.word(SOURCE_WORD + word));
        count += 1;
    }
    let asked = &asked[..count];
    let anywhere = [(0, 0); WORDS];
    let keys = asked.iter().map(|key| (key, 1.0)).chain([(&anywhere, count as f32)]);
    // By pairs of words, how many entries match keys as far as these two go.
    let mut matches = [[0.0; WORDS]; WORDS];
    for (key, weight) in keys {
        for entry in asked {
            let chance: [f32; WORDS] = std::array::from_fn(|word| chance(entry[word], key[word]));
            for (matches, first) in matches.iter_mut().zip(chance) {
                for (matches, second) in matches.iter_mut().zip(chance) {
                    *matches += weight * first * second;
                }
            }
        }
    }
    let pairs = (0..WORDS).flat_map(|first| (first + 1..WORDS).map(move |second| [first, second]));
    pairs
        .min_by(|one, other| matches[one[0]][one[1]].total_cmp(&matches[other[0]][other[1]]))
        .expect("there are pairs of eight words")
}

/// How likely it is that a word matches of which some bits are known, the others being random.
fn chance((value, mask): (u32, u32), (known, known_mask): (u32, u32)) -> f32 {
    match (value ^ known) & mask & known_mask {
        0 => 1.0 / (1u64 << (mask & !known_mask).count_ones()) as f32,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lpm::Prefix;

    fn entry(source: (u128, u8), destination: (u128, u8)) -> Entry<u128> {
        let prefix =
            |(bits, length): (u128, u8)| Prefix::new(bits, length).expect("an IPv6 prefix");
        let (source, destination) = (prefix(source), prefix(destination));
        Entry { source, destination, ..Entry::any(0, 0) }
    }

    #[test]
    fn an_entry_that_asks_nothing_of_one_word_is_compared_in_another() {
        let network = |number: u128| number << 96;
        let sources: Vec<Entry<u128>> = (0..8u128)
            .map(|i| entry((network(1) | i << 70, 60), (0, 0)))
            .chain([entry((network(4), 30), (0, 0))])
            .collect();
        // Most are told apart by the second word, and only the last needs the first.
        assert_eq!(words(sources.iter()), [2, 3]);
    }

    #[test]
    fn both_ends_are_compared_where_neither_tells_all_entries_apart() {
        let pairs: Vec<Entry<u128>> =
            (0..9u128).map(|i| entry((1 + i % 3, 128), ((1 + i / 3) << 32, 96))).collect();
        assert_eq!(words(pairs.iter()), [0, 5]);
        let ipv4 = [Entry::<u32>::any(0, 0)];
        assert_eq!(words(ipv4.iter()), [0, 1]);
    }
}
