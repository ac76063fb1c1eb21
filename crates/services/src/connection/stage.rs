//! The first half of the connection stage: what the state of each packet's connection is. Packets get a
//! [`ConnectionState`], and nothing else happens to them; the second half is `commit`.

use std::hint::select_unpredictable;
use std::sync::atomic::Ordering;

use linecard_io::PacketMemory;
use linecard_packet::{BATCH_PACKETS_MAX, Batch, Layer3, Verdict};
use linecard_tables::connections::{ConnectionTable, Handle, Tick, VALUES};
use linecard_tables::hash::FlowHash;

use super::fragments::Fragments;
use super::identity::{Identity, Key, Subject, What, identify, identify_plain};
use super::tcp::{self, Direction, INITIATOR, SEEN, Step};
use super::{ConnectionCount, ConnectionState, ConnectionStats, ConnectionTables};

/// What a worker keeps between the halves, and from batch to batch. All memory is taken by [`Self::new`].
#[derive(Debug)]
pub struct ConnectionScratch {
    pub(super) states: Box<[ConnectionState; BATCH_PACKETS_MAX]>,
    pub(super) ipv4: Column<2>,
    pub(super) ipv6: Column<5>,
    /// Places and datagrams of first and later fragments in the batch.
    first_fragments: Vec<(u8, u64)>,
    later_fragments: Vec<(u8, u64)>,
    fragments: Fragments,
    hash: FlowHash,
    /// The next bucket of the clock hand, counted over both tables' lengths.
    pub(super) hand: usize,
}

/// The packets of one family: place in the batch, key, part in the connection, entry.
#[derive(Debug)]
pub(super) struct Column<const K: usize> {
    pub(super) places: Vec<u8>,
    pub(super) keys: Vec<[u64; K]>,
    pub(super) subjects: Vec<Subject>,
    pub(super) handles: Vec<Handle>,
    /// What there is to write down of a packet that goes on.
    pub(super) news: Vec<News>,
}

/// What a packet says of its connection that was not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
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
