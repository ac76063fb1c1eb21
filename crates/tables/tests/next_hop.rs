//! Next-hop groups against the promises that their twin checks.

use linecard_tables::next_hop::{
    BUCKETS_MAX, GroupError, MEMBERS_MAX, NO_NEXT_HOP, NextHopGroups, NextHopTwin,
};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Operation {
    Set(u32, Vec<(u32, u32)>),
    /// Removes the members at these places of a group that is set.
    Leave(u32, Vec<usize>),
    Remove(u32),
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let weight = prop_oneof![4 => Just(1u32), 3 => 1u32..8, 1 => 1u32..=256, 1 => any::<u32>()];
    let members = proptest::collection::vec((0u32..12, weight), 0..10);
    let operation = prop_oneof![
        4 => (0u32..4, members).prop_map(|(id, members)| Operation::Set(id, members)),
        4 => (0u32..4, proptest::collection::vec(0usize..9, 1..4))
            .prop_map(|(id, places)| Operation::Leave(id, places)),
        1 => (0u32..4).prop_map(Operation::Remove),
    ];
    proptest::collection::vec(operation, 1..40)
}

fn set(groups: &mut NextHopGroups, twin: &mut NextHopTwin, id: u32, members: &[(u32, u32)]) {
    match groups.set(id, members) {
        Ok(()) => twin.set(id, members, groups).unwrap(),
        Err(GroupError::ZeroWeight) => assert!(members.iter().any(|member| member.1 == 0)),
        Err(GroupError::NoMembers) => assert!(members.is_empty()),
        Err(GroupError::IdOutOfRange { groups_max }) => assert!(id >= groups_max),
        Err(error) => panic!("{error}"),
    }
}

proptest! {
    #[test]
    fn keeps_its_promises(
        operations in operations(),
        hashes in proptest::collection::vec(any::<u32>(), 40),
    ) {
        // Group 3 is out of range.
        let (mut groups, mut twin) = (NextHopGroups::new(3), NextHopTwin::new());
        for operation in operations {
            match operation {
                Operation::Set(id, members) => set(&mut groups, &mut twin, id, &members),
                Operation::Leave(id, places) => {
                    let kept = groups.members(id).iter().enumerate();
                    let kept: Vec<_> =
                        kept.filter(|(at, _)| !places.contains(at)).map(|(_, m)| *m).collect();
                    set(&mut groups, &mut twin, id, &kept);
                }
                Operation::Remove(id) => {
                    prop_assert_eq!(groups.remove(id), !twin_is_unset(&twin, id));
                    twin.remove(id);
                }
            }
            // Groups share one memory: each must be as its twin left it, whichever changed.
            for id in 0..4 {
                let ids = vec![id; hashes.len()];
                let mut next_hops = vec![77; hashes.len()];
                groups.select_bulk(&ids, &hashes, &mut next_hops);
                for (hash, next_hop) in hashes.iter().zip(next_hops) {
                    prop_assert_eq!(next_hop, twin.select(id, *hash));
                    prop_assert_eq!(groups.select(id, *hash), next_hop);
                }
                prop_assert_eq!(groups.is_multipath(id), groups.members(id).len() > 1);
            }
        }
    }
}

fn twin_is_unset(twin: &NextHopTwin, id: u32) -> bool {
    twin.select(id, 0) == NO_NEXT_HOP
}

#[test]
fn survivors_keep_their_flows_when_a_member_leaves_and_when_it_returns() {
    let mut groups = NextHopGroups::new(1);
    let all = [(1, 1), (2, 1), (3, 1), (4, 1)];
    groups.set(0, &all).unwrap();
    let before = groups.buckets_of(0);
    assert_eq!(before.len(), 64);
    groups.set(0, &all[..3]).unwrap();
    let without = groups.buckets_of(0);
    for (old, new) in before.iter().zip(&without) {
        assert!(*old == 4 || old == new, "a flow of {old} moved to {new}");
    }
    groups.set(0, &all).unwrap();
    let back = groups.buckets_of(0);
    let moved = without.iter().zip(&back).filter(|(old, new)| old != new);
    assert_eq!(moved.clone().count(), 16);
    assert!(moved.into_iter().all(|(_, new)| *new == 4));
}

#[test]
fn a_growing_group_doubles_its_table_and_moves_only_what_the_new_member_gets() {
    let mut groups = NextHopGroups::new(1);
    for count in 1..=MEMBERS_MAX as u32 {
        let old = groups.buckets_of(0);
        let members: Vec<_> = (0..count).map(|next_hop| (next_hop, 1)).collect();
        groups.set(0, &members).unwrap();
        let new = groups.buckets_of(0);
        let moved = (0..new.len()).filter(|b| count > 1 && old[b % old.len()] != new[*b]);
        assert!(moved.clone().all(|b| new[b] == count - 1 || count == 1), "member {count}");
        assert!(moved.count() <= new.len().div_ceil(count as usize));
    }
    assert_eq!(groups.buckets_of(0).len(), BUCKETS_MAX as usize);
}

#[test]
fn weights_are_shares_of_the_flows() {
    let mut groups = NextHopGroups::new(1);
    groups.set(0, &[(1, 1), (2, 3), (9, 4)]).unwrap();
    let buckets = groups.buckets_of(0);
    let share = |next_hop| buckets.iter().filter(|owner| **owner == next_hop).count();
    assert_eq!((buckets.len(), share(1), share(2), share(9)), (128, 16, 48, 64));
}

#[test]
fn a_single_member_needs_no_hash() {
    let mut groups = NextHopGroups::new(2);
    groups.set(1, &[(7, 5)]).unwrap();
    assert!(!groups.is_multipath(1));
    assert_eq!((groups.select(1, 0), groups.select(1, u32::MAX)), (7, 7));
    assert_eq!((groups.select(0, 0), groups.select(9, 0)), (NO_NEXT_HOP, NO_NEXT_HOP));
}

#[test]
fn bad_groups_are_refused_and_change_nothing() {
    let mut groups = NextHopGroups::new(2);
    groups.set(1, &[(7, 5)]).unwrap();
    let many: Vec<_> = (0..=MEMBERS_MAX as u32).map(|next_hop| (next_hop, 1)).collect();
    for (id, members, error) in [
        (2, &[(1, 1)][..], GroupError::IdOutOfRange { groups_max: 2 }),
        (1, &[], GroupError::NoMembers),
        (1, &many, GroupError::TooManyMembers),
        (1, &[(1, 1), (2, 0)], GroupError::ZeroWeight),
        (1, &[(NO_NEXT_HOP, 1), (2, 1)], GroupError::ReservedNextHop),
    ] {
        assert_eq!(groups.set(id, members), Err(error));
        assert_eq!(groups.members(1), [(7, 5)]);
        assert_eq!(groups.select(1, 3), 7);
    }
}
