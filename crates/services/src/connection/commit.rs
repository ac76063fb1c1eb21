//! The second half of the connection stage: what packets say about their connections is written down.
//!
//! What may happen to a packet here:
//!
//! * drop `connection_limit`: it would begin a connection, and its source has begun too many;
//! * drop `connection_table_full`: it would, and there is no room (only with [`WhenFull::Drop`](super::WhenFull::Drop));
//! * nothing: what it says about its connection is written down, if the filter has not dropped it.

use std::sync::atomic::Ordering;

use linecard_packet::{BATCH_PACKETS_MAX, Batch, DropReason, PuntReason, Verdict};
use linecard_tables::connections::{ConnectionTable, Handle, Insertion, Lifetime, Tick, VALUES};

use super::identity::{Subject, What};
use super::list::revolution;
use super::stage::{Column, ConnectionScratch, News};
use super::table::{lifetime, source};
use super::tcp::{self, Direction, SEEN, Step};
use super::{ConnectionCount, ConnectionState, ConnectionStats, ConnectionTables};

/// Buckets that the clock hand passes a batch, in the table of each family. The whole of a default table is
/// passed in 6,144 batches: in a second or two where the limits matter, under load.
const SWEEP_BUCKETS: usize = 8;

/// How often an update is tried that another worker has come before.
const TRIES: usize = 3;

/// Writes down what the packets said that [`classify`](super::classify) was asked about before, and that go on: no stage has dropped
/// them, and the kernel forwards them if it gets them. Drops what would begin a connection and may not.
///
/// Cost: an exchange of a word for each that changes, on lines that the lookup has fetched; and the clock
/// hand's share, 16 cache lines.
pub fn commit(
    batch: &mut Batch,
    tables: &ConnectionTables,
    scratch: &mut ConnectionScratch,
    stats: &mut ConnectionStats,
    now_nanoseconds: u64,
) {
    let now = Tick::from_nanoseconds(now_nanoseconds);
    let states = &scratch.states;
    let mut ipv4 = Commit { table: &tables.ipv4, tables, stats, now };
    ipv4.column(&scratch.ipv4, states, &mut batch.verdicts);
    ipv4.sweep(scratch.hand);
    let mut ipv6 = Commit { table: &tables.ipv6, tables, stats, now };
    ipv6.column(&scratch.ipv6, states, &mut batch.verdicts);
    ipv6.sweep(scratch.hand);
    scratch.hand = scratch.hand.wrapping_add(SWEEP_BUCKETS);
}

/// Whether a packet goes through the router, so that its answer can come back: what the kernel gets does if the
/// kernel forwards it. What ends here, and what is for the router, its link or a group, begins no connection.
fn goes_through(verdict: Verdict) -> bool {
    use PuntReason::{Ipv4Options, Ipv6HopByHop, NeighbourUnresolved, NotServed, TooBig};
    match verdict {
        Verdict::Drop(_) => false,
        Verdict::Punt(reason) => {
            matches!(reason, Ipv4Options | Ipv6HopByHop | NeighbourUnresolved | NotServed | TooBig)
        }
        _ => true,
    }
}

/// What the steps of a commit to one table have in common.
struct Commit<'a, const K: usize> {
    table: &'a ConnectionTable<K>,
    tables: &'a ConnectionTables,
    stats: &'a mut ConnectionStats,
    now: Tick,
}

impl<const K: usize> Commit<'_, K> {
    fn column(
        &mut self,
        column: &Column<K>,
        states: &[ConnectionState; BATCH_PACKETS_MAX],
        verdicts: &mut [Verdict],
    ) {
        let entries = column.keys.iter().zip(&column.subjects).zip(&column.handles);
        let entries = entries.zip(&column.news);
        for (&place, (((key, subject), &handle), news)) in column.places.iter().zip(entries) {
            let at = usize::from(place);
            let Some(verdict) = verdicts.get_mut(at) else { continue };
            let counts = matches!(states[at], ConnectionState::New | ConnectionState::Established);
            if !counts || !goes_through(*verdict) {
                continue;
            }
            if *news == News::Seen {
                self.table.refresh(handle, self.now);
                continue;
            }
            let drop = match self.table.values(handle) {
                Some(_) => self.update(key, subject, handle),
                None if states[at] == ConnectionState::New => self.begin(key, subject),
                // Gone since: the next packet is judged without it.
                None => None,
            };
            if let Some(reason) = drop {
                *verdict = Verdict::Drop(reason);
            }
        }
    }

    /// A new connection, as far as it may be. Why its packet must be dropped, if it must.
    fn begin(&mut self, key: &[u64; K], subject: &Subject) -> Option<DropReason> {
        let values = initial(subject, self.tables.is_tcp_loose.load(Ordering::Relaxed))?;
        let lifetime = settled(subject, &values);
        let source = source(key, subject.side);
        if let Some(sources) = &self.tables.sources {
            // Not of this batch's own: a connection that an earlier packet has begun counts once.
            let exists = self.table.lookup(key, self.now).is_some();
            if !exists && !sources.allows(source) {
                self.stats.add(ConnectionCount::LimitedBySource, 1);
                return Some(DropReason::ConnectionLimit);
            }
        }
        let forget = |key: &[u64; K], values: &[u64; VALUES]| self.tables.forget(key, values);
        let insertion = self.table.insert(key, &values, lifetime, self.now, forget);
        match insertion {
            Insertion::Exists(handle) => return self.update(key, subject, handle),
            Insertion::Refused => {
                self.stats.add(ConnectionCount::Untracked, 1);
                let drops = self.tables.drops_when_full.load(Ordering::Relaxed);
                return drops.then_some(DropReason::ConnectionTableFull);
            }
            Insertion::Inserted(_) => {}
            Insertion::Evicted(_) => self.stats.add(ConnectionCount::Evicted, 1),
        }
        self.stats.add(ConnectionCount::Inserted, 1);
        if let Some(sources) = &self.tables.sources {
            sources.add(source);
        }
        None
    }

    /// One more packet of a connection. Earlier packets of the batch, or another worker's, may have changed it
    /// since it was classified.
    fn update(&mut self, key: &[u64; K], subject: &Subject, handle: Handle) -> Option<DropReason> {
        for _ in 0..TRIES {
            let values = self.table.values(handle)?;
            let directions = [0, 1].map(|side| Direction::of_values(&values, side));
            let before = directions[subject.side];
            let next = match &subject.what {
                What::Tcp(segment) => match tcp::step(&directions, subject.side, segment) {
                    Step::Unanswered(next) | Step::Established(next) => next,
                    Step::Restart => return self.restart(key, subject, handle),
                    Step::Invalid => return None,
                },
                What::Error { .. } => return None,
                _ if before.has(SEEN) => before,
                _ => Direction::seen(false),
            };
            if !self.exchange(handle, subject.side, &values, &next) {
                continue;
            }
            if next.flags_differ(&before) {
                self.table.settle(handle, self.now, |values| settled(subject, values));
            } else {
                self.table.refresh(handle, self.now);
            }
            return None;
        }
        None
    }

    /// Writes a direction; false if another worker has come before.
    fn exchange(&self, handle: Handle, side: usize, old: &[u64; VALUES], next: &Direction) -> bool {
        next.values().into_iter().zip(2 * side..).all(|(value, index)| {
            value == old[index] || self.table.exchange(handle, index, old[index], value)
        })
    }

    /// The ports of an ended connection are used again.
    fn restart(&mut self, key: &[u64; K], subject: &Subject, handle: Handle) -> Option<DropReason> {
        let values = initial(subject, false)?;
        let forget = |key: &[u64; K], values: &[u64; VALUES]| self.tables.forget(key, values);
        let lifetime = settled(subject, &values);
        if self.table.restart(handle, &values, lifetime, self.now, forget).is_some() {
            self.stats.add(ConnectionCount::Inserted, 1);
            self.stats.add(ConnectionCount::Restarted, 1);
            if let Some(sources) = &self.tables.sources {
                sources.add(source(key, subject.side));
            }
        }
        None
    }

    /// Lets the clock hand pass a few buckets.
    fn sweep(&mut self, hand: usize) {
        for buckets in revolution(hand, SWEEP_BUCKETS, self.table.buckets()) {
            let forget = |key: &[u64; K], values: &[u64; VALUES]| self.tables.forget(key, values);
            let gone = self.table.sweep(buckets, self.now, forget);
            self.stats.add(ConnectionCount::Expired, gone as u64);
        }
    }
}

/// The values of a connection that begins with this packet.
fn initial(subject: &Subject, is_loose: bool) -> Option<[u64; VALUES]> {
    let directions = match &subject.what {
        What::Tcp(segment) => tcp::begin(segment, subject.side, is_loose)?,
        What::Error { .. } | What::Query { is_request: false } => return None,
        What::Datagram | What::Query { .. } => {
            let mut directions = [Direction::default(); 2];
            directions[subject.side] = Direction::seen(true);
            directions
        }
    };
    let [[a, b], [c, d]] = directions.map(|direction| direction.values());
    Some([a, b, c, d])
}

/// How long a connection with these values is kept.
fn settled(subject: &Subject, values: &[u64; VALUES]) -> Lifetime {
    let directions = [0, 1].map(|side| Direction::of_values(values, side));
    match subject.what {
        What::Tcp(_) => tcp::lifetime(tcp::state(&directions)),
        _ => lifetime(subject.protocol, directions.iter().all(|direction| direction.has(SEEN))),
    }
}
