//! The states of fragmented datagrams, kept from the first fragment for the others.
//!
//! A small direct-mapped table of each worker: receive hashing goes by addresses for fragments, so those
//! of one datagram come to one worker. A new datagram takes the place of an older one, so a
//! flood of first fragments makes later ones of others invalid: they are dropped where a filter asks for
//! states, and nothing else.

use super::ConnectionState;

/// Datagrams, as a power of two.
const DATAGRAMS: usize = 1 << 10;
/// Later fragments follow at once; reassembly waits for 30 s (Linux) at the most.
const LIFETIME_NANOSECONDS: u64 = 30_000_000_000;

/// The datagrams of one worker. 24 KiB.
#[derive(Debug)]
pub(super) struct Fragments {
    datagrams: Box<[Datagram]>,
}

#[derive(Debug, Clone, Copy)]
struct Datagram {
    /// A seeded hash of addresses, protocol and identification stands for them.
    identity: u64,
    seen_nanoseconds: u64,
    state: ConnectionState,
}

impl Fragments {
    pub(super) fn new() -> Self {
        let none = Datagram { identity: 0, seen_nanoseconds: 0, state: ConnectionState::Invalid };
        Self { datagrams: vec![none; DATAGRAMS].into_boxed_slice() }
    }

    /// A first fragment has this state.
    pub(super) fn remember(&mut self, identity: u64, state: ConnectionState, now: u64) {
        self.datagrams[identity as usize % DATAGRAMS] =
            Datagram { identity, seen_nanoseconds: now, state };
    }

    /// The state of a later fragment.
    pub(super) fn recall(&self, identity: u64, now: u64) -> ConnectionState {
        let datagram = &self.datagrams[identity as usize % DATAGRAMS];
        let age = now.saturating_sub(datagram.seen_nanoseconds);
        if datagram.identity == identity && age < LIFETIME_NANOSECONDS {
            datagram.state
        } else {
            ConnectionState::Invalid
        }
    }
}
