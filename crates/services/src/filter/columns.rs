//! A batch's packets of one family, side by side for the classifier.

use linecard_packet::BATCH_PACKETS_MAX;
use linecard_tables::classifier::{Key, Keys};

use crate::connection::ConnectionState;

/// One array a field, because a place below 256 needs no check against their length.
#[derive(Debug)]
pub(super) struct Columns<A> {
    len: usize,
    places: Box<[u8; BATCH_PACKETS_MAX]>,
    sources: Box<[A; BATCH_PACKETS_MAX]>,
    destinations: Box<[A; BATCH_PACKETS_MAX]>,
    source_ports: Box<[u16; BATCH_PACKETS_MAX]>,
    destination_ports: Box<[u16; BATCH_PACKETS_MAX]>,
    kinds: Box<[u16; BATCH_PACKETS_MAX]>,
    marks: Box<[u16; BATCH_PACKETS_MAX]>,
}

// Places are bytes.
const _: () = assert!(BATCH_PACKETS_MAX == 256);

impl<A: Copy + Default> Columns<A> {
    pub(super) fn new() -> Self {
        let fields = || Box::new([0; BATCH_PACKETS_MAX]);
        let addresses = || Box::new([A::default(); BATCH_PACKETS_MAX]);
        Self {
            len: 0,
            places: Box::new([0; BATCH_PACKETS_MAX]),
            sources: addresses(),
            destinations: addresses(),
            source_ports: fields(),
            destination_ports: fields(),
            kinds: fields(),
            marks: fields(),
        }
    }

    #[inline]
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Adds the packet at `place`. A batch has no more packets than there is room for.
    #[inline]
    pub(super) fn push(&mut self, place: usize, key: &Key<A>) {
        let at = self.len % BATCH_PACKETS_MAX;
        self.places[at] = place as u8;
        self.sources[at] = key.source;
        self.destinations[at] = key.destination;
        self.source_ports[at] = key.source_port;
        self.destination_ports[at] = key.destination_port;
        self.kinds[at] = key.kind;
        self.marks[at] = key.marks;
        self.len += 1;
    }

    /// Places in the batch.
    #[inline]
    pub(super) fn places(&self) -> &[u8] {
        &self.places[..self.len]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The packets' keys.
    #[inline]
    pub(super) fn keys(&self) -> Keys<'_, A> {
        Keys {
            sources: &self.sources[..self.len],
            destinations: &self.destinations[..self.len],
            source_ports: &self.source_ports[..self.len],
            destination_ports: &self.destination_ports[..self.len],
            kinds: &self.kinds[..self.len],
            marks: &self.marks[..self.len],
        }
    }

    /// Says the states of the packets, by their places.
    pub(super) fn set_states(&mut self, states: &[ConnectionState; BATCH_PACKETS_MAX]) {
        let marks = self.kinds.iter_mut().zip(&mut *self.marks);
        for (&place, (kind, marks)) in self.places[..self.len].iter().zip(marks) {
            *kind |= super::key::HAS_STATE;
            *marks |= super::key::mark_of(states[usize::from(place)]);
        }
    }

    /// Keeps the packets for which `keep` says so, by their number.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let mut to = 0;
        for from in 0..self.len {
            if !keep(from) {
                continue;
            }
            self.places[to] = self.places[from];
            self.sources[to] = self.sources[from];
            self.destinations[to] = self.destinations[from];
            self.source_ports[to] = self.source_ports[from];
            self.destination_ports[to] = self.destination_ports[from];
            self.kinds[to] = self.kinds[from];
            self.marks[to] = self.marks[from];
            to += 1;
        }
        self.len = to;
    }
}
