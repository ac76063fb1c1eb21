//! What makes two path sets the same, and what it comes to with the links as they are.

use std::net::IpAddr;

use linecard_services::route::Special;

use super::{hops::Hop, links::Links, objects::Objects};
use crate::facts::{NextHopObjectKind, Path, RouteType};

/// The paths of a [`Key`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// In order, so that the same set is the same key.
    Paths(Box<[Path]>),
    Object(u32),
}

/// What makes two path sets the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) route_type: RouteType,
    pub(super) kernel_only: bool,
    pub(super) ipv4: bool,
    pub(super) target: Target,
}

impl Key {
    /// What is done with packets, where it does not depend on the paths.
    pub(super) fn special(&self) -> Option<Special> {
        match self.route_type {
            RouteType::Local | RouteType::Broadcast | RouteType::Anycast => Some(Special::Local),
            RouteType::Blackhole => Some(Special::Blackhole),
            RouteType::Unreachable | RouteType::Prohibit | RouteType::Throw => {
                Some(Special::Reject)
            }
            RouteType::Multicast | RouteType::Other => Some(Special::NotServed),
            RouteType::Unicast => self.kernel_only.then_some(Special::NotServed),
        }
    }

    /// Whether a route that is the router's own dies with its link: only the addresses of IPv4
    /// answer without one.
    fn needs_link(&self) -> bool {
        match self.route_type {
            RouteType::Broadcast | RouteType::Anycast => true,
            RouteType::Local => !self.ipv4,
            _ => false,
        }
    }

    /// The interface index and gateway of each path.
    pub(super) fn ways(&self) -> impl Iterator<Item = (u32, Option<IpAddr>)> {
        let paths = match &self.target {
            Target::Paths(paths) => paths,
            Target::Object(_) => &[][..],
        };
        paths.iter().map(|path| (path.ifindex, path.via))
    }
}

/// The usable next hops of a path set, with their weights; none where it is dead.
pub(super) fn resolve(key: &Key, links: &Links, objects: &Objects) -> Vec<(Hop, u32)> {
    if let Some(special) = key.special() {
        let dead = key.needs_link() && !key.ways().any(|(other, _)| links.usable(other, key.ipv4));
        return if dead { Vec::new() } else { vec![(Hop::Special(special), 1)] };
    }
    let mut members = Vec::new();
    match &key.target {
        Target::Paths(paths) => {
            for path in paths {
                add_path(&mut members, path, path.weight, key.ipv4, links);
            }
        }
        Target::Object(object) => {
            for (object, weight) in objects.members(*object) {
                match objects.kind(object) {
                    Some(NextHopObjectKind::Path { path, kernel_only: false }) => {
                        add_path(&mut members, path, weight, key.ipv4, links);
                    }
                    Some(NextHopObjectKind::Blackhole) => {
                        add(&mut members, Hop::Special(Special::Blackhole), weight);
                    }
                    // One that is not known yet is the kernel's to follow.
                    _ => add(&mut members, Hop::Special(Special::NotServed), weight),
                }
            }
        }
    }
    members
}

fn add_path(members: &mut Vec<(Hop, u32)>, path: &Path, weight: u32, ipv4: bool, links: &Links) {
    let ifindex = path.ifindex;
    if path.dead || !links.usable(ifindex, ipv4) {
        return;
    }
    let hop = match (links.interface(ifindex), path.via) {
        (None, _) => Hop::Special(Special::NotServed),
        (Some(interface), None) => Hop::Connected(interface),
        (Some(interface), Some(address)) => Hop::Gateway { interface, ifindex, address },
    };
    add(members, hop, weight);
}

/// Adds a member, once: the weights of equal ones add up.
fn add(members: &mut Vec<(Hop, u32)>, hop: Hop, weight: u32) {
    let weight = weight.max(1);
    match members.iter_mut().find(|(held, _)| *held == hop) {
        Some((_, sum)) => *sum = sum.saturating_add(weight),
        None => members.push((hop, weight)),
    }
}
