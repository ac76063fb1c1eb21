//! Next-hop groups: whatever changes, each member has its share, and flows move that have to.

#![no_main]

use libfuzzer_sys::fuzz_target;
use linecard_fuzz::input::Input;
use linecard_tables::next_hop::{GroupError, MEMBERS_MAX, NO_NEXT_HOP, NextHopGroups, NextHopTwin};

/// Group 3 is out of range.
const GROUPS_MAX: u32 = 3;
const OPERATIONS_MAX: usize = 48;
/// Groups of hundreds of members in one input: checking one takes a million steps.
const LARGE_MAX: usize = 2;

fn weight(input: &mut Input<'_>) -> u32 {
    match input.u8() {
        0xff => input.u32(),
        0xfe => u32::MAX,
        weight => u32::from(weight % 16),
    }
}

fn next_hop(input: &mut Input<'_>) -> u32 {
    match input.u8() {
        0xff => NO_NEXT_HOP,
        next_hop => u32::from(next_hop % 24),
    }
}

fn members(input: &mut Input<'_>) -> Vec<(u32, u32)> {
    (0..input.below(13)).map(|_| (next_hop(input), weight(input))).collect()
}

/// Around the most members that a group may have, one of them with a weight of its own.
fn many(input: &mut Input<'_>) -> Vec<(u32, u32)> {
    let (count, step) = (MEMBERS_MAX as u32 - 8 + input.below(16), 1 + input.below(2));
    let (odd, weight) = (u32::from(input.u8()), weight(input));
    (0..count).map(|at| (at / step, if at == odd { weight } else { 3 })).collect()
}

fn set(groups: &mut NextHopGroups, twin: &mut NextHopTwin, id: u32, members: &[(u32, u32)]) {
    let distinct: std::collections::BTreeSet<_> = members.iter().map(|(id, _)| id).collect();
    match groups.set(id, members) {
        Ok(()) => twin.set(id, members, groups).expect("the group keeps its promises"),
        Err(GroupError::ZeroWeight) => assert!(members.iter().any(|member| member.1 == 0)),
        Err(GroupError::ReservedNextHop) => assert!(distinct.contains(&NO_NEXT_HOP)),
        Err(GroupError::NoMembers) => assert!(members.is_empty()),
        Err(GroupError::TooManyMembers) => assert!(distinct.len() > MEMBERS_MAX),
        Err(GroupError::IdOutOfRange { groups_max }) => assert!(id >= groups_max),
    }
}

/// Groups share one memory: each must be as its twin left it, whichever changed.
fn compare(groups: &NextHopGroups, twin: &NextHopTwin, hash: u32) {
    for id in 0..=GROUPS_MAX {
        let hashes = [hash, !hash, hash.rotate_left(7), hash & 0xfff, 0, u32::MAX];
        let mut next_hops = [77; 6];
        groups.select_bulk(&[id; 6], &hashes, &mut next_hops);
        for (hash, next_hop) in hashes.into_iter().zip(next_hops) {
            assert_eq!(next_hop, twin.select(id, hash));
            assert_eq!(groups.select(id, hash), next_hop);
        }
        assert_eq!(groups.is_multipath(id), groups.members(id).len() > 1);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let (mut groups, mut twin) = (NextHopGroups::new(GROUPS_MAX), NextHopTwin::new());
    let mut large = 0;
    for _ in 0..OPERATIONS_MAX {
        if input.is_empty() {
            break;
        }
        let (operation, id) = (input.u8(), input.below(GROUPS_MAX + 1));
        match operation % 8 {
            0..=3 => set(&mut groups, &mut twin, id, &members(&mut input)),
            // Of every member that has the bit of its place set, the group loses one.
            4 | 5 => {
                let places = input.u16();
                let members = groups.members(id).iter().enumerate();
                let kept = members.filter(|(at, _)| places >> (at % 16) & 1 == 0);
                let kept: Vec<_> = kept.map(|(_, member)| *member).collect();
                set(&mut groups, &mut twin, id, &kept);
            }
            6 if large < LARGE_MAX => {
                large += 1;
                set(&mut groups, &mut twin, id, &many(&mut input));
            }
            _ => {
                assert_eq!(groups.remove(id), twin.select(id, 0) != NO_NEXT_HOP);
                twin.remove(id);
            }
        }
        compare(&groups, &twin, input.u32());
    }
});
