//! A meter for each source prefix: a hash table of meters that needs no upkeep.
//!
//! A set of four places takes three cache lines: who has them, and their meters. A source that has no place
//! takes one that is empty, or one whose meter is full again: such a meter has nothing to say that a new
//! one would not, so its source loses nothing by being forgotten. There is no clock hand, no list, no timeout.
//! A source occupies a place for as long as it owes anything: after a packet of 100 bytes at 1 Mb/s that is
//! 0.8 ms, so 65,536 places take 80 million such new sources a second.
//!
//! When all four places of a set are owed for, packets of further sources are metered together by one more
//! meter of the policer, and counted (`sources_refused`): a flood of sources gets the rate of one, and does not
//! drive out those that are there.
//!
//! Workers share nothing they write, so each has a table of its own, and the policer's rates divided by
//! the number of workers: sources whose flows are spread over all workers get the whole rate, a source with
//! a single flow gets one worker's part of it, and none gets more.

use linecard_packet::Layer3;
use linecard_tables::hash::{FlowHash, FlowIpv4};
use linecard_tables::memory::prefetch_read;
use linecard_tables::meter::{Meter, Profile};

/// Places in a set.
const WAYS: usize = 4;
/// Of an owner: IPv6 rather than IPv4.
const IPV6: u32 = 1 << 31;
/// Of a place: nobody's.
const NOBODY: u32 = 0;

/// A policer and a prefix of sources, and where its meter is if it has one.
#[derive(Debug, Clone, Copy)]
pub(super) struct SourceKey {
    prefix: u64,
    /// The policer's slot + 1, and [`IPV6`].
    owner: u32,
    set: u32,
}

impl SourceKey {
    #[inline]
    pub(super) fn policer(&self) -> u32 {
        slot(self.owner)
    }
}

#[inline]
fn slot(owner: u32) -> u32 {
    (owner & !IPV6).wrapping_sub(1)
}

#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Set {
    prefixes: [u64; WAYS],
    owners: [u32; WAYS],
    meters: [Meter; WAYS],
}

const _: () = assert!(size_of::<Set>() == 192);

/// The meters of all sources, for one worker.
#[derive(Debug)]
pub(super) struct SourceMeters {
    sets: Box<[Set]>,
    hash: FlowHash,
    /// Places that have an owner, whether it owes anything or not.
    taken: u32,
}

impl SourceMeters {
    pub(super) fn new(sources_max: u32, seed: u64) -> Self {
        let sets = (sources_max as usize).div_ceil(WAYS).next_power_of_two();
        Self { sets: vec![Set::default(); sets].into(), hash: FlowHash::new(seed), taken: 0 }
    }

    /// Places that some source has, or had last.
    #[inline]
    pub(super) fn taken(&self) -> u32 {
        self.taken
    }

    /// The key of a prefix of a policer's sources.
    #[inline]
    pub(super) fn key(&self, policer: u32, layer3: Layer3, prefix: u64) -> SourceKey {
        let family = if layer3 == Layer3::Ipv6 { IPV6 } else { 0 };
        let owner = ((policer + 1) & !IPV6) | family;
        // Both words of the hash are mixed with a secret; it matters not what they stand for.
        let hash = self.hash.ipv4(&FlowIpv4 {
            source: (prefix >> 32) as u32,
            destination: prefix as u32,
            source_port: owner as u16,
            destination_port: (owner >> 16) as u16,
            ..FlowIpv4::default()
        });
        SourceKey { prefix, owner, set: hash & (self.sets.len() as u32 - 1) }
    }

    #[inline]
    pub(super) fn prefetch(&self, key: &SourceKey) {
        let set = &self.sets[key.set as usize];
        prefetch_read(&set.prefixes);
        prefetch_read(&set.meters[0]);
        prefetch_read(&set.meters[2]);
    }

    /// The meter of a source, or `None` if there is neither one nor room for one.
    #[inline]
    pub(super) fn find<'a>(
        &mut self,
        key: &SourceKey,
        now_nanoseconds: u64,
        profile: impl Fn(u32) -> Option<&'a Profile>,
    ) -> Option<&mut Meter> {
        let set = &mut self.sets[key.set as usize];
        let is_own =
            |way: usize| (set.prefixes[way] == key.prefix) & (set.owners[way] == key.owner);
        let way = match (0..WAYS).find(|way| is_own(*way)) {
            Some(way) => way,
            None => {
                let (way, is_first) = set.make_room(key, now_nanoseconds, profile)?;
                self.taken += u32::from(is_first);
                way
            }
        };
        Some(&mut set.meters[way])
    }
}

impl Set {
    /// A place for a source that has none, and whether it is the first one there.
    #[inline(never)]
    fn make_room<'a>(
        &mut self,
        key: &SourceKey,
        now_nanoseconds: u64,
        profile: impl Fn(u32) -> Option<&'a Profile>,
    ) -> Option<(usize, bool)> {
        let owes_nothing = |way: usize| {
            let (owner, meter) = (self.owners[way], &self.meters[way]);
            // A policer that is gone is owed nothing.
            owner == NOBODY
                || profile(slot(owner))
                    .is_none_or(|profile| meter.is_full(profile, now_nanoseconds))
        };
        let way = (0..WAYS).find(|way| owes_nothing(*way))?;
        let is_first = self.owners[way] == NOBODY;
        (self.prefixes[way], self.owners[way]) = (key.prefix, key.owner);
        self.meters[way] = Meter::default();
        Some((way, is_first))
    }
}
