//! **connection**: which connection a packet belongs to, and whether it may: what filters ask for by
//! `established`, `related`, `new` and `invalid`.
//!
//! Two halves stand around the filter. [`classify`] looks up and says the state of each packet; it changes
//! nothing. [`commit()`] enters what the filter let pass. So a refused packet leaves no trace, and a flood
//! that the filter drops costs lookups only.
//!
//! **Several workers.** Receive hashing is not symmetric as a rule, so the two directions of a connection
//! arrive at different workers. They share one table of atomic words
//! ([`linecard_tables::connections`]): an entry has two values for each direction, which the packets of that
//! direction alone change, and the connection's state is never stored but follows from both ([`tcp`]). A
//! key that makes the hash symmetric is not needed; with one, the words of a connection stay in one core's
//! cache.
//!
//! **Within a batch** packets are judged by what was known before it. An answer cannot be in one batch with
//! what it answers, since that has not been sent yet; in a replayed capture it can, and is then invalid or
//! new: replay batches of one packet where that matters.
//!
//! **Fragments.** The first fragment of a datagram has the ports; its state is kept, and later fragments get it
//! (`fragments`). Later ones that come before the first are invalid, and so are fragments of TCP, which
//! avoids them (RFC 9293 3.7.2) and whose windows cannot be checked by parts.
//!
//! **Cost**, nanoseconds a packet for classify + commit with 1,000, 65,536 and a million connections of each of
//! TCP and UDP over IPv4 (`cargo bench -p linecard-services --bench connection`; 1 ns is 2.6 cycles of the time
//! stamp counter there): next TCP segment 35 + 22, 48 + 27, 60 + 32; UDP 21 + 2, 33 + 6, 44 + 6; TCP without
//! connection 19 + 1, 22 + 1, 27 + 1; SYNs of a flood that all are let pass 20 + 110, 25 + 224, 29 + 272.
//!
//! **Packets that the kernel gets** have a state as well: what parse punts is classified like the rest, for the
//! filter is asked about it. But only what the kernel forwards becomes a connection ([`commit()`] says which): not
//! what goes to a group, to the link or to the router, and not what ends here.
//!
//! Not looked at: upper-layer checksums (the hosts do), and what application protocols say about further
//! connections (the kernel's helpers).

mod commit;
mod config;
mod fragments;
mod identity;
mod list;
mod sources;
mod stage;
mod stats;
mod table;
pub mod tcp;

pub use commit::commit;
pub use config::{ConnectionConfig, WhenFull};
pub use list::{Connection, StateCount, states};
pub use stage::{ConnectionScratch, classify};
pub use stats::{ConnectionCount, ConnectionStats, ConnectionStatsReader};
pub use table::ConnectionTables;

/// How a packet stands to the connections that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionState {
    /// It may begin a connection, or is one more of a side that has had no answer yet.
    New,
    /// It belongs to a connection of which both sides were seen, or is the first answer.
    Established,
    /// An ICMP error about a packet of a known connection.
    Related,
    /// None of these: a TCP segment without connection or outside of the window, an ICMP answer or error
    /// that nothing asked for, what is too short to say.
    Invalid,
}
