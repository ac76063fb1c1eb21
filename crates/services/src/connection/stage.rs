//! The two halves of the connection stage.
//!
//! What may happen to a packet in [`classify`]: it gets a [`ConnectionState`]. In [`commit`]:
//!
//! * drop `connection_limit`: it would begin a connection, and its source has begun too many;
//! * drop `connection_table_full`: it would, and there is no room (only with [`WhenFull::Drop`](super::WhenFull::Drop));
//! * nothing: what it says about its connection is written down, if the filter has not dropped it.

use std::hint::select_unpredictable;
use std::sync::atomic::Ordering;

use linecard_io::PacketMemory;
use linecard_packet::{BATCH_PACKETS_MAX, Batch, DropReason, Layer3, PuntReason, Verdict};
use linecard_tables::connections::{ConnectionTable, Handle, Insertion, Tick, VALUES};
use linecard_tables::hash::FlowHash;

use super::fragments::Fragments;
use super::identity::{Identity, Key, Subject, What, identify, identify_plain};
use super::list::revolution;
use super::table::{lifetime, source};
use super::tcp::{self, Direction, INITIATOR, SEEN, Step};
use super::{ConnectionCount, ConnectionState, ConnectionStats, ConnectionTables};

/// Buckets that the clock hand passes a batch, in the table of each family. The whole of a default table is
/// passed in 6,144 batches: in a second or two where the limits matter, under load.
const SWEEP_BUCKETS: usize = 8;

/// How often an update is tried that another worker has come before.
const TRIES: usize = 3;

/// What a worker keeps between the halves, and from batch to batch. All memory is taken by [`Self::new`].
#[derive(Debug)]
pub struct ConnectionScratch {
    states: Box<[ConnectionState; BATCH_PACKETS_MAX]>,
    ipv4: Column<2>,
    ipv6: Column<5>,
    /// Places and datagrams of first and later fragments in the batch.
    first_fragments: Vec<(u8, u64)>,
    later_fragments: Vec<(u8, u64)>,
    fragments: Fragments,
    hash: FlowHash,
    /// The next bucket of the clock hand, counted over both tables' lengths.
    hand: usize,
}

/// The packets of one family: place in the batch, key, part in the connection, entry.
#[derive(Debug)]
struct Column<const K: usize> {
    places: Vec<u8>,
    keys: Vec<[u64; K]>,
    subjects: Vec<Subject>,
    handles: Vec<Handle>,
    /// What there is to write down of a packet that goes on.
    news: Vec<News>,
}

/// What a packet says of its connection that was not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// Only that it was seen.
    Seen,
    /// Perhaps more.
    More,
}

impl<const K: usize> Column<K> {
    fn new() -> Self {
        Self {
            places: Vec::with_capacity(BATCH_PACKETS_MAX),
            keys: Vec::with_capacity(BATCH_PACKETS_MAX),
            subjects: Vec::with_capacity(BATCH_PACKETS_MAX),
            handles: Vec::with_capacity(BATCH_PACKETS_MAX),
            news: Vec::with_capacity(BATCH_PACKETS_MAX),
        }
    }

    fn clear(&mut self) {
        self.places.clear();
        self.keys.clear();
        self.subjects.clear();
        self.news.clear();
    }

    fn push(&mut self, place: u8, key: [u64; K], subject: Subject) {
        self.places.push(place);
        self.keys.push(key);
        self.subjects.push(subject);
    }
}

impl ConnectionScratch {
    /// Scratch of worker number `worker`. `seed` is random and secret.
    #[must_use]
    pub fn new(worker: usize, seed: u64) -> Self {
        Self {
            states: Box::new([ConnectionState::Invalid; BATCH_PACKETS_MAX]),
            ipv4: Column::new(),
            ipv6: Column::new(),
            first_fragments: Vec::with_capacity(BATCH_PACKETS_MAX),
            later_fragments: Vec::with_capacity(BATCH_PACKETS_MAX),
            fragments: Fragments::new(),
            hash: FlowHash::new(seed),
            // Workers begin far from each other.
            hand: worker.wrapping_mul(0x9e37_79b9),
        }
    }

    /// The state of each packet of the batch, by place. What was dropped before and what is not IP is invalid.
    #[inline]
    #[must_use]
    pub fn states(&self) -> &[ConnectionState; BATCH_PACKETS_MAX] {
        &self.states
    }
}

/// Finds the state of every IP packet that was not dropped: also of those that parse has punted, since the filter is
/// asked about them. Changes no connection.
///
/// Cost: the headers once more, and a bulk lookup for each family.
pub fn classify(
    batch: &Batch,
    memory: &PacketMemory,
    tables: &ConnectionTables,
    scratch: &mut ConnectionScratch,
    stats: &mut ConnectionStats,
    now_nanoseconds: u64,
) {
    let now = Tick::from_nanoseconds(now_nanoseconds);
    scratch.states.fill(ConnectionState::Invalid);
    scratch.ipv4.clear();
    scratch.ipv6.clear();
    scratch.first_fragments.clear();
    scratch.later_fragments.clear();
    gather(batch, memory, scratch);
    let ConnectionScratch { states, ipv4, ipv6, .. } = scratch;
    let is_loose = tables.is_tcp_loose.load(Ordering::Relaxed);
    look_up(&tables.ipv4, ipv4, is_loose, states, now);
    look_up(&tables.ipv6, ipv6, is_loose, states, now);
    for &(place, datagram) in &scratch.first_fragments {
        let state = scratch.states[usize::from(place)];
        scratch.fragments.remember(datagram, state, now_nanoseconds);
    }
    for &(place, datagram) in &scratch.later_fragments {
        scratch.states[usize::from(place)] = scratch.fragments.recall(datagram, now_nanoseconds);
    }
    count(batch, &scratch.states, stats);
}

/// Sorts the packets by family.
fn gather(batch: &Batch, memory: &PacketMemory, scratch: &mut ConnectionScratch) {
    let packets = batch.frames.iter().zip(&batch.metadata).zip(&batch.verdicts);
    for (place, ((frame, metadata), verdict)) in packets.enumerate().take(BATCH_PACKETS_MAX) {
        if !is_classified(*verdict, metadata.layer3) {
            continue;
        }
        let packet = memory.packet(frame);
        if let Some((key, subject)) = identify_plain(packet, metadata) {
            scratch.ipv4.push(place as u8, key, subject);
            continue;
        }
        match identify(packet, metadata, &scratch.hash) {
            Identity::Flow(key, subject, datagram) => {
                match key {
                    Key::Ipv4(key) => scratch.ipv4.push(place as u8, key, subject),
                    Key::Ipv6(key) => scratch.ipv6.push(place as u8, key, subject),
                }
                if let Some(datagram) = datagram {
                    scratch.first_fragments.push((place as u8, datagram));
                }
            }
            Identity::LaterFragment(datagram) => {
                scratch.later_fragments.push((place as u8, datagram));
            }
            Identity::Untracked => scratch.states[place] = ConnectionState::New,
            Identity::Invalid => {}
        }
    }
}

/// Whether anybody asks for the packet's state.
fn is_classified(verdict: Verdict, layer3: Layer3) -> bool {
    !matches!(verdict, Verdict::Drop(_)) && layer3 != Layer3::Other
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

/// From keys to states, for the packets of one family.
fn look_up<const K: usize>(
    table: &ConnectionTable<K>,
    column: &mut Column<K>,
    is_loose: bool,
    states: &mut [ConnectionState; BATCH_PACKETS_MAX],
    now: Tick,
) {
    column.handles.resize(column.keys.len(), Handle::NONE);
    table.lookup_bulk(&column.keys, now, &mut column.handles);
    let found = column.places.iter().zip(&column.subjects).zip(&column.handles);
    for ((&place, subject), &handle) in found {
        let (state, news) = match (table.values(handle), &subject.what) {
            (Some(values), What::Datagram | What::Query { .. }) => {
                judge_datagram(&values, subject.side)
            }
            (values, _) => (judge(values, subject, is_loose), News::More),
        };
        states[usize::from(place)] = state;
        column.news.push(news);
    }
}

/// The state of a packet of a connection without states, whose sides only say whether they were seen and who
/// began. Without a branch, since nobody can predict which side a packet is of.
#[inline]
fn judge_datagram(values: &[u64; VALUES], side: usize) -> (ConnectionState, News) {
    let flags = [0, 1].map(|side| Direction::flags_of(values, side));
    let (mine, others) = (flags[side], flags[1 - side]);
    let is_unanswered = (mine & INITIATOR != 0) & (others & SEEN == 0);
    let is_known = (mine & SEEN != 0) & !is_unanswered;
    (
        select_unpredictable(is_unanswered, ConnectionState::New, ConnectionState::Established),
        select_unpredictable(is_known, News::Seen, News::More),
    )
}

/// The state of a packet whose connection has these values.
fn judge(values: Option<[u64; VALUES]>, subject: &Subject, is_loose: bool) -> ConnectionState {
    let Some(values) = values else {
        let begins = match &subject.what {
            What::Tcp(segment) => tcp::begin(segment, subject.side, is_loose).is_some(),
            What::Datagram => true,
            What::Query { is_request } => *is_request,
            What::Error { .. } => false,
        };
        return if begins { ConnectionState::New } else { ConnectionState::Invalid };
    };
    let directions = [0, 1].map(|side| Direction::of_values(&values, side));
    match &subject.what {
        What::Tcp(segment) => match tcp::step(&directions, subject.side, segment) {
            Step::Unanswered(_) | Step::Restart => ConnectionState::New,
            Step::Established(_) => ConnectionState::Established,
            Step::Invalid => ConnectionState::Invalid,
        },
        What::Error { sequence } => {
            let is_blind =
                sequence.is_some_and(|n| !tcp::is_quotable(&directions, subject.side, n));
            if is_blind { ConnectionState::Invalid } else { ConnectionState::Related }
        }
        What::Datagram | What::Query { .. } => judge_datagram(&values, subject.side).0,
    }
}

fn count(
    batch: &Batch,
    states: &[ConnectionState; BATCH_PACKETS_MAX],
    stats: &mut ConnectionStats,
) {
    // Sixteen bits a state, so that packets do not wait for each other's sum.
    const _: () = assert!(BATCH_PACKETS_MAX < 1 << 16);
    let mut counts = 0u64;
    for ((verdict, metadata), state) in batch.verdicts.iter().zip(&batch.metadata).zip(states) {
        let counted = u64::from(is_classified(*verdict, metadata.layer3));
        counts += counted << (16 * *state as u32);
    }
    for ((what, _), state) in ConnectionCount::ALL.into_iter().zip(0..4) {
        stats.add(what, counts >> (16 * state) & 0xffff);
    }
}

/// Writes down what the packets said that [`classify`] was asked about before, and that go on: no stage has dropped
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
fn settled(subject: &Subject, values: &[u64; VALUES]) -> linecard_tables::connections::Lifetime {
    let directions = [0, 1].map(|side| Direction::of_values(values, side));
    match subject.what {
        What::Tcp(_) => tcp::lifetime(tcp::state(&directions)),
        _ => lifetime(subject.protocol, directions.iter().all(|direction| direction.has(SEEN))),
    }
}
