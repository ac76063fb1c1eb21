//! The plain twin: does not choose buckets, but checks every choice against what was promised.

use std::collections::BTreeMap;

use super::{BUCKETS_MAX, NO_NEXT_HOP, NextHopGroups};

/// Knows the members of each group and its buckets before the last change.
#[derive(Debug, Clone, Default)]
pub struct NextHopTwin {
    groups: BTreeMap<u32, (BTreeMap<u32, u64>, Vec<u32>)>,
}

impl NextHopTwin {
    /// No group is set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// To be called after the group was set: checks the group and remembers it.
    ///
    /// # Errors
    ///
    /// The promise that was broken, in words.
    pub fn set(
        &mut self,
        id: u32,
        members: &[(u32, u32)],
        subject: &NextHopGroups,
    ) -> Result<(), String> {
        let mut weights = BTreeMap::new();
        for (next_hop, weight) in members {
            let sum: &mut u64 = weights.entry(*next_hop).or_default();
            *sum = (*sum + u64::from(*weight)).min(u64::from(u32::MAX));
        }
        let buckets = subject.buckets_of(id);
        check_shares(&weights, &buckets)?;
        if let Some((old_weights, old_buckets)) = self.groups.get(&id) {
            check_moves(old_weights, old_buckets, &weights, &buckets)?;
        }
        self.groups.insert(id, (weights, buckets));
        Ok(())
    }

    /// To be called after the group was removed.
    pub fn remove(&mut self, id: u32) {
        self.groups.remove(&id);
    }

    /// The next hop that the group's buckets give for a hash.
    #[must_use]
    pub fn select(&self, id: u32, hash: u32) -> u32 {
        let Some((_, buckets)) = self.groups.get(&id) else { return NO_NEXT_HOP };
        buckets[hash as usize % buckets.len()]
    }
}

/// Each bucket belongs to a member, and each member has its share to within one bucket.
fn check_shares(weights: &BTreeMap<u32, u64>, buckets: &[u32]) -> Result<(), String> {
    let size = buckets.len() as u64;
    if !size.is_power_of_two() || size > u64::from(BUCKETS_MAX) {
        return Err(format!("{size} buckets"));
    }
    if let Some(stranger) = buckets.iter().find(|owner| !weights.contains_key(owner)) {
        return Err(format!("next hop {stranger} has a bucket and is no member"));
    }
    let total: u64 = weights.values().sum();
    for (next_hop, weight) in weights {
        let held = buckets.iter().filter(|owner| *owner == next_hop).count() as u64;
        // |held − size × weight / total| < 1, without fractions.
        if (held * total).abs_diff(size * weight) >= total {
            return Err(format!("{next_hop} holds {held} of {size}, weight {weight} of {total}"));
        }
    }
    Ok(())
}

/// No more moved from members that stay than had to: what each holds beyond its share rounded
/// down, less the buckets that rounding up can leave with those who hold them.
fn check_moves(
    old_weights: &BTreeMap<u32, u64>,
    old_buckets: &[u32],
    weights: &BTreeMap<u32, u64>,
    buckets: &[u32],
) -> Result<(), String> {
    if buckets.len() < old_buckets.len() && weights.len() > 1 {
        return Err(format!("shrank from {} to {} buckets", old_buckets.len(), buckets.len()));
    }
    let size = buckets.len().max(old_buckets.len());
    let total: u64 = weights.values().sum();
    let (mut floors, mut excess, mut may_round_up, mut lost_in_all) = (0, 0, 0, 0);
    let only_left = weights.iter().all(|(id, weight)| old_weights.get(id) == Some(weight));
    for (next_hop, weight) in weights {
        let owns = |buckets: &[u32], at: usize| buckets[at % buckets.len()] == *next_hop;
        let had = (0..size).filter(|at| owns(old_buckets, *at));
        let held = had.clone().count() as u64;
        let lost = had.filter(|at| !owns(buckets, *at)).count() as u64;
        let floor = size as u64 * weight / total;
        floors += floor;
        excess += held.saturating_sub(floor);
        let is_whole = (size as u64 * weight).is_multiple_of(total);
        may_round_up += u64::from(held > floor && !is_whole);
        lost_in_all += lost;
        if only_left && lost > 1 {
            return Err(format!("{next_hop} lost {lost} buckets when others only left"));
        }
    }
    let allowed = excess - may_round_up.min(size as u64 - floors);
    match lost_in_all <= allowed {
        true => Ok(()),
        false => Err(format!("{lost_in_all} buckets moved from members that stay, not {allowed}")),
    }
}
