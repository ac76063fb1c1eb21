//! Who gets how many buckets, and which: the arithmetic of a change of members.

/// A member's share of the buckets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) next_hop: u32,
    /// Buckets that the member is to have.
    pub(super) buckets: u32,
}

/// Divides the buckets by weight: each member's share is its ideal, rounded down or up. Those who
/// hold more than the rounded-down ideal already are rounded up first, so that fewest buckets
/// move; then those with the larger remainder.
///
/// `members` are (next hop, weight), by next hop; `buckets` are the owners as they are now.
pub(super) fn apportion(members: &[(u32, u32)], buckets: &[u32]) -> Vec<Share> {
    let weights: u64 = members.iter().map(|member| u64::from(member.1)).sum();
    let size = buckets.len() as u64;
    let held = count_held(members, buckets);
    // (rounded down, remainder) of size × weight / weights.
    let ideal = |weight: u32| {
        let product = size * u64::from(weight);
        ((product / weights) as u32, product % weights)
    };
    let mut shares: Vec<Share> = members
        .iter()
        .map(|&(next_hop, weight)| Share { next_hop, buckets: ideal(weight).0 })
        .collect();
    let given: u64 = shares.iter().map(|share| u64::from(share.buckets)).sum();
    let mut order: Vec<usize> = (0..members.len()).filter(|&i| ideal(members[i].1).1 > 0).collect();
    order.sort_by_key(|&i| {
        let (floor, remainder) = ideal(members[i].1);
        (held[i] <= floor, std::cmp::Reverse(remainder), i)
    });
    // What is left is the sum of the remainders, so fewer than there are members in `order`.
    for i in order.into_iter().take((size - given) as usize) {
        shares[i].buckets += 1;
    }
    shares
}

/// Buckets that each member holds.
fn count_held(members: &[(u32, u32)], buckets: &[u32]) -> Vec<u32> {
    let mut held = vec![0; members.len()];
    for owner in buckets {
        if let Ok(i) = members.binary_search_by_key(owner, |member| member.0) {
            held[i] += 1;
        }
    }
    held
}

/// Makes the buckets agree with the shares and moves no more of them than it must: those of
/// owners without a share, and what an owner holds beyond its share.
pub(super) fn reassign(buckets: &mut [u32], shares: &[Share]) {
    let mut wanting: Vec<u32> = shares.iter().map(|share| share.buckets).collect();
    let mut free = Vec::new();
    for (bucket, owner) in buckets.iter().enumerate() {
        match shares.binary_search_by_key(owner, |share| share.next_hop) {
            Ok(i) if wanting[i] > 0 => wanting[i] -= 1,
            _ => free.push(bucket),
        }
    }
    // Round about, so that neighbours in the table belong to different members.
    let mut taker = 0;
    for bucket in free {
        while wanting[taker] == 0 {
            taker = (taker + 1) % wanting.len();
        }
        buckets[bucket] = shares[taker].next_hop;
        wanting[taker] -= 1;
        taker = (taker + 1) % wanting.len();
    }
}
