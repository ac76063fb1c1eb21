//! Next-hop groups: which member carries this flow?
//!
//! A group of one member answers with it; no hash is needed ([`NextHopGroups::is_multipath`]). A
//! group of more has a table of buckets, a power of two of them, each of which belongs to a
//! member; the low bits of the flow's hash choose the bucket. Members have as many buckets as
//! their weight asks for, rounded up or down.
//!
//! **Resilience.** With "hash modulo members", or ranges of hashes (RFC 2992), one member's
//! leaving moves flows between members that stay, and breaks their connections where the far side keeps
//! state. Here a change of members moves only buckets that must move:
//!
//! - the buckets of members that left go to members with fewer than their share;
//! - a member with more buckets than its new share gives up the excess, no more.
//!
//! So when members leave, a member that stays loses at most one bucket (and that only where rounding
//! asks for it), and when one joins, the flows that move are those that it gets. Linux's resilient
//! next-hop groups (`net/ipv4/nexthop.c`) have the same aim; they wait until a bucket is idle
//! before they take it from a member that stays, which needs a clock and writes by readers.
//!
//! **Number of buckets.** A member of the smallest weight should have at least
//! [`BUCKETS_PER_MEMBER_MIN`], so that rounding changes its share by no more than 1/16:
//! the power of two at or above 16 × (sum of weights) / (smallest weight), at most
//! [`BUCKETS_MAX`]. When a change of members asks for more than there are, the table doubles and
//! each half repeats the old table: bucket `b` becomes `b` and `b + size`, so no flow moves. It
//! shrinks only when a single member is left: before that, shrinking would move flows.
//!
//! Cost: a selection loads 8 bytes of the group and one bucket. A change costs the size of the
//! group's table plus sorting its members.

use std::fmt;

mod apportion;
mod twin;

use apportion::{apportion, reassign};
pub use twin::NextHopTwin;

/// The answer for a group that is not set. It cannot be a member.
pub const NO_NEXT_HOP: u32 = u32::MAX;
/// Members of a group at the most, each next hop counted once.
pub const MEMBERS_MAX: usize = 256;
/// Buckets that a member of the smallest weight gets, where [`BUCKETS_MAX`] allows.
pub const BUCKETS_PER_MEMBER_MIN: u64 = 16;
/// Buckets of a group at the most (16 KiB): 16 for each of 256 equal members.
pub const BUCKETS_MAX: u32 = 4096;

const _: () = assert!(MEMBERS_MAX as u64 * BUCKETS_PER_MEMBER_MIN == BUCKETS_MAX as u64);

/// Why a group was not set; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupError {
    /// The group's number is not below the capacity given at set-up.
    IdOutOfRange {
        /// Numbers end before this one.
        groups_max: u32,
    },
    /// A group needs a member.
    NoMembers,
    /// More than [`MEMBERS_MAX`] members.
    TooManyMembers,
    /// A weight is zero; weights start from 1.
    ZeroWeight,
    /// [`NO_NEXT_HOP`] is not a next hop.
    ReservedNextHop,
}

impl fmt::Display for GroupError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IdOutOfRange { groups_max } => {
                write!(formatter, "next-hop groups are numbered below {groups_max}")
            }
            Self::NoMembers => write!(formatter, "a next-hop group needs a member"),
            Self::TooManyMembers => {
                write!(formatter, "a next-hop group has at most {MEMBERS_MAX} members")
            }
            Self::ZeroWeight => write!(formatter, "the weight of a next hop starts from 1"),
            Self::ReservedNextHop => write!(formatter, "next hop {NO_NEXT_HOP} is reserved"),
        }
    }
}

impl std::error::Error for GroupError {}

/// What a selection reads. With `mask` 0 there are no buckets and `start` is the answer itself.
#[derive(Debug, Clone, Copy)]
struct Group {
    start: u32,
    mask: u32,
}

const UNSET: Group = Group { start: NO_NEXT_HOP, mask: 0 };

/// All groups, by number.
#[derive(Debug, Clone)]
pub struct NextHopGroups {
    groups: Vec<Group>,
    /// Members as (next hop, weight), by next hop, each once; for the writer.
    members: Vec<Box<[(u32, u32)]>>,
    buckets: Vec<u32>,
    /// Starts of bucket tables no longer used, by the logarithm of their size.
    free: [Vec<u32>; BUCKETS_MAX.ilog2() as usize + 1],
}

impl NextHopGroups {
    /// No group is set; groups are numbered from 0 to below `groups_max`.
    #[must_use]
    pub fn new(groups_max: u32) -> Self {
        let groups = groups_max as usize;
        Self {
            groups: vec![UNSET; groups],
            members: vec![Box::default(); groups],
            buckets: Vec::new(),
            free: Default::default(),
        }
    }

    /// Sets the members of a group as (next hop, weight), whether or not it was set before.
    ///
    /// A next hop that is listed twice counts with the sum of its weights.
    ///
    /// # Errors
    ///
    /// [`GroupError`]; the group stays as it was.
    pub fn set(&mut self, id: u32, members: &[(u32, u32)]) -> Result<(), GroupError> {
        if id as usize >= self.groups.len() {
            return Err(GroupError::IdOutOfRange { groups_max: self.groups.len() as u32 });
        }
        let members = canonical(members)?;
        let old = self.buckets_of(id);
        let group = match members[..] {
            [(next_hop, _)] => Group { start: next_hop, mask: 0 },
            _ => {
                let size = buckets_wanted(&members).max(old.len() as u32);
                let mut buckets = repeat(&old, size as usize);
                let shares = apportion(&members, &buckets);
                reassign(&mut buckets, &shares);
                self.store(id, &buckets)
            }
        };
        if group.mask == 0 {
            self.release(id);
        }
        self.groups[id as usize] = group;
        self.members[id as usize] = members.into_boxed_slice();
        Ok(())
    }

    /// Removes a group; false if it was not set.
    pub fn remove(&mut self, id: u32) -> bool {
        let is_set = !self.members(id).is_empty();
        if is_set {
            self.release(id);
            self.groups[id as usize] = UNSET;
            self.members[id as usize] = Box::default();
        }
        is_set
    }

    /// The members of a group as (next hop, weight), by next hop; none if it is not set.
    #[must_use]
    pub fn members(&self, id: u32) -> &[(u32, u32)] {
        self.members.get(id as usize).map_or(&[], |members| members)
    }

    /// True if the hash matters: the group has more than one member.
    #[inline]
    #[must_use]
    pub fn is_multipath(&self, id: u32) -> bool {
        self.groups.get(id as usize).is_some_and(|group| group.mask != 0)
    }

    /// The member of the group that carries flows of this hash; [`NO_NEXT_HOP`] if the group is not
    /// set.
    #[inline]
    #[must_use]
    pub fn select(&self, id: u32, hash: u32) -> u32 {
        self.select_with(id, || hash)
    }

    /// [`select`](Self::select) with a hash that is computed only for a group of more than one member.
    #[inline]
    #[must_use]
    pub fn select_with(&self, id: u32, hash: impl FnOnce() -> u32) -> u32 {
        match self.groups.get(id as usize) {
            Some(group) if group.mask != 0 => {
                self.buckets[(group.start + (hash() & group.mask)) as usize]
            }
            Some(group) => group.start,
            None => NO_NEXT_HOP,
        }
    }

    /// [`select`](Self::select) for each pair of group and hash, into `next_hops` at the same
    /// place.
    ///
    /// The slices must be equally long; what one has more than the shortest is left alone.
    pub fn select_bulk(&self, ids: &[u32], hashes: &[u32], next_hops: &mut [u32]) {
        debug_assert!(ids.len() == hashes.len() && ids.len() == next_hops.len());
        for ((id, hash), next_hop) in ids.iter().zip(hashes).zip(next_hops) {
            *next_hop = self.select(*id, *hash);
        }
    }

    /// The buckets of a group: entry `b` is the next hop of hashes whose low bits are `b`. One
    /// bucket for a single member, none for a group that is not set. For display and for tests.
    #[must_use]
    pub fn buckets_of(&self, id: u32) -> Vec<u32> {
        match self.groups.get(id as usize) {
            Some(&Group { start: NO_NEXT_HOP, mask: 0 }) | None => Vec::new(),
            Some(group) => (0..=group.mask).map(|bucket| self.select(id, bucket)).collect(),
        }
    }

    /// Writes a bucket table where the group's is, if it has the size, or to other room.
    fn store(&mut self, id: u32, buckets: &[u32]) -> Group {
        let mask = buckets.len() as u32 - 1;
        let mut group = self.groups[id as usize];
        if group.mask != mask {
            self.release(id);
            let end = self.buckets.len();
            let start = self.free[buckets.len().ilog2() as usize].pop().unwrap_or_else(|| {
                self.buckets.resize(end + buckets.len(), NO_NEXT_HOP);
                u32::try_from(end).expect("bucket tables take fewer than 2^32 buckets")
            });
            group = Group { start, mask };
        }
        self.buckets[group.start as usize..][..buckets.len()].copy_from_slice(buckets);
        group
    }

    /// Gives the room of the group's bucket table, if it has one, to the next of its size.
    fn release(&mut self, id: u32) {
        let group = self.groups[id as usize];
        if group.mask != 0 {
            self.free[(group.mask + 1).ilog2() as usize].push(group.start);
        }
    }
}

/// Checks members and puts them in order, each next hop once.
fn canonical(members: &[(u32, u32)]) -> Result<Vec<(u32, u32)>, GroupError> {
    let mut members = members.to_vec();
    members.sort_unstable();
    if members.iter().any(|member| member.1 == 0) {
        return Err(GroupError::ZeroWeight);
    }
    if members.iter().any(|member| member.0 == NO_NEXT_HOP) {
        return Err(GroupError::ReservedNextHop);
    }
    members.dedup_by(|next, kept| {
        let is_same = next.0 == kept.0;
        kept.1 = kept.1.saturating_add(if is_same { next.1 } else { 0 });
        is_same
    });
    match members.len() {
        0 => Err(GroupError::NoMembers),
        1..=MEMBERS_MAX => Ok(members),
        _ => Err(GroupError::TooManyMembers),
    }
}

/// The old table over and over: bucket `b` becomes `b`, `b` + old size, and so on. Buckets of a
/// new group belong to nobody yet.
fn repeat(old: &[u32], size: usize) -> Vec<u32> {
    let old = if old.is_empty() { &[NO_NEXT_HOP] } else { old };
    old.iter().copied().cycle().take(size).collect()
}

/// The number of buckets for these members: see the head of the file.
fn buckets_wanted(members: &[(u32, u32)]) -> u32 {
    let total: u64 = members.iter().map(|member| u64::from(member.1)).sum();
    let least = members.iter().map(|member| u64::from(member.1)).min().unwrap_or(1);
    let wanted = (BUCKETS_PER_MEMBER_MIN * total).div_ceil(least).next_power_of_two();
    wanted.min(u64::from(BUCKETS_MAX)) as u32
}
