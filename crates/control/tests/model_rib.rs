//! The base beside a plain model: random facts go to both; what the base tells is replayed on the
//! interpreter of [`tables`], which also checks the order of the updates, and must answer as a
//! linear scan of the model's facts does.

mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use linecard_control::facts::{
    Fact, Link, LinkKind, Neighbour, NeighbourState, NextHopObject, NextHopObjectKind, Path, Route,
    RouteMode, RouteTarget, RouteType, TABLE_LOCAL, TABLE_MAIN,
};
use linecard_control::rib::{LocalUpdate, Rib};
use linecard_packet::PortId;
use linecard_services::route::Special;
use linecard_wire::MacAddress;
use proptest::prelude::*;
use tables::{Tables, Way};

/// Links 1 and 2 are ports, 4 is a VLAN of 1, 3 is not served.
const LINKS: u32 = 4;
const OBJECTS: u32 = 6;

fn link(ifindex: u32, up: bool) -> Link {
    Link {
        ifindex,
        name: format!("eth{ifindex}"),
        mac_address: MacAddress::from([2, 0, 0, 0, 0, ifindex as u8]),
        mtu_bytes: 1500,
        up,
        carrier: true,
        kind: match ifindex {
            4 => LinkKind::Vlan { lower: 1, tag_protocol: 0x8100, id: 100 },
            _ => LinkKind::Other,
        },
        forwarding_ipv4: true,
        forwarding_ipv6: true,
        ignore_linkdown_ipv4: false,
        ignore_linkdown_ipv6: false,
    }
}

/// The facts as plain lists, changed as the kernel changes its own.
#[derive(Debug, Default)]
struct Model {
    up: BTreeSet<u32>,
    known: BTreeSet<u32>,
    neighbours: BTreeMap<(u32, IpAddr), Neighbour>,
    /// In the kernel's order.
    routes: Vec<Route>,
    objects: BTreeMap<u32, NextHopObjectKind>,
}

fn rank(route: &Route) -> (IpNet, bool, u32) {
    (route.prefix, route.table == TABLE_MAIN, route.metric)
}

/// Where a route leads, whatever the weights.
fn ways(route: &Route) -> RouteTarget {
    match &route.target {
        RouteTarget::Paths(paths) => {
            let mut paths = paths.clone();
            paths.iter_mut().for_each(|path| path.weight = 1);
            paths.sort_unstable();
            RouteTarget::Paths(paths)
        }
        object @ RouteTarget::NextHopObject(_) => object.clone(),
    }
}

/// (link or 0 for "not served", gateway), or a special answer; with weights.
type Ways = BTreeMap<Result<(u32, Option<IpAddr>), String>, u32>;

impl Model {
    fn apply(&mut self, fact: &Fact) {
        match fact {
            Fact::SetLink(link) => {
                self.known.insert(link.ifindex);
                if link.up {
                    self.up.insert(link.ifindex);
                } else if self.up.remove(&link.ifindex) {
                    self.flush(link.ifindex, false);
                }
            }
            Fact::RemoveLink(ifindex) => {
                if self.known.remove(ifindex) {
                    self.up.remove(ifindex);
                    self.flush(*ifindex, true);
                }
            }
            Fact::SetNeighbour(neighbour) => {
                self.neighbours.insert((neighbour.ifindex, neighbour.address), *neighbour);
            }
            Fact::RemoveNeighbour(ifindex, address) => {
                self.neighbours.remove(&(*ifindex, *address));
            }
            Fact::SetRoute(route, mode) => self.set_route(route, *mode),
            Fact::RemoveRoute(route) => {
                let same = |held: &Route| rank(held) == rank(route);
                let only = self.routes.iter().filter(|held| same(held)).count() == 1;
                let exact = self.routes.iter().position(|held| held == route);
                let alike = |held: &Route| {
                    same(held) && held.route_type == route.route_type && ways(held) == ways(route)
                };
                let alike = self.routes.iter().position(alike);
                let any = self.routes.iter().position(same).filter(|_| only);
                if let Some(at) = exact.or(alike).or(any) {
                    self.routes.remove(at);
                }
            }
            Fact::SetNextHopObject(object) => {
                self.objects.insert(object.id, object.kind.clone());
            }
            Fact::RemoveNextHopObject(id) => self.remove_object(*id),
            Fact::SetAddress(_) | Fact::RemoveAddress(_) => {}
        }
    }

    fn set_route(&mut self, route: &Route, mode: RouteMode) {
        let class: Vec<usize> =
            (0..self.routes.len()).filter(|at| rank(&self.routes[*at]) == rank(route)).collect();
        let same = class.iter().copied().find(|at| self.routes[*at] == *route);
        let (first, last) = (class.first().copied(), class.last().copied());
        match (mode, first, last, same) {
            (RouteMode::Prepend | RouteMode::Append, _, _, Some(_)) => {}
            (RouteMode::Replace, Some(first), _, same) => {
                self.routes[first] = route.clone();
                if let Some(at) = same.filter(|at| *at != first) {
                    self.routes.remove(at);
                }
            }
            (RouteMode::Prepend, Some(first), ..) => self.routes.insert(first, route.clone()),
            (_, _, Some(last), _) => self.routes.insert(last + 1, route.clone()),
            _ => self.routes.push(route.clone()),
        }
    }

    fn flush(&mut self, ifindex: u32, removed: bool) {
        let gone: Vec<u32> = self
            .objects
            .iter()
            .filter(|(_, kind)| matches!(kind, NextHopObjectKind::Path { path, .. } if path.ifindex == ifindex))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.remove_object(id);
        }
        let (up, known) = (&self.up, &self.known);
        self.routes.retain(|route| {
            let RouteTarget::Paths(paths) = &route.target else { return true };
            if route.route_type == RouteType::Local && !removed {
                return true;
            }
            let down = |path: &Path| {
                path.ifindex == ifindex
                    || (known.contains(&path.ifindex) && !up.contains(&path.ifindex))
            };
            let here = paths.iter().any(|path| path.ifindex == ifindex);
            !(here && (removed || paths.iter().all(down)))
        });
    }

    fn remove_object(&mut self, id: u32) {
        if self.objects.remove(&id).is_some() {
            self.routes.retain(|route| route.target != RouteTarget::NextHopObject(id));
        }
        let mut empty = Vec::new();
        for (group, kind) in &mut self.objects {
            if let NextHopObjectKind::Group(members) = kind {
                let before = members.len();
                members.retain(|(member, _)| *member != id);
                if members.is_empty() && before > 0 {
                    empty.push(*group);
                }
            }
        }
        for group in empty {
            self.remove_object(group);
        }
    }

    /// The port behind a link and its VLAN identifiers, as an interface is told apart.
    fn is_served(&self, ifindex: u32) -> bool {
        let lower_known = ifindex != 4 || self.known.contains(&4);
        self.known.contains(&ifindex) && lower_known && ifindex != 3
    }

    fn path_way(&self, path: &Path) -> Option<(u32, Option<IpAddr>)> {
        // A link that is not known yet is believed, and is no interface.
        let usable = self.up.contains(&path.ifindex) || !self.known.contains(&path.ifindex);
        usable.then(
            || {
                if self.is_served(path.ifindex) { (path.ifindex, path.via) } else { (0, None) }
            },
        )
    }

    fn ways(&self, route: &Route) -> Ways {
        let special = |special: Special| BTreeMap::from([(Err(format!("{special:?}")), 1)]);
        match route.route_type {
            RouteType::Local => return special(Special::Local),
            RouteType::Blackhole => return special(Special::Blackhole),
            RouteType::Unreachable => return special(Special::Reject),
            _ if route.kernel_only => return special(Special::NotServed),
            _ => {}
        }
        let mut ways = BTreeMap::new();
        let mut add = |way, weight| *ways.entry(way).or_insert(0) += weight;
        match &route.target {
            RouteTarget::Paths(paths) => {
                for path in paths {
                    if let Some(way) = self.path_way(path) {
                        add(Ok(way), path.weight);
                    }
                }
            }
            RouteTarget::NextHopObject(id) => {
                let members = match self.objects.get(id) {
                    Some(NextHopObjectKind::Group(members)) => members.clone(),
                    _ => vec![(*id, 1)],
                };
                for (member, weight) in members {
                    match self.objects.get(&member) {
                        Some(NextHopObjectKind::Path { path, .. }) => {
                            if let Some(way) = self.path_way(path) {
                                add(Ok(way), weight);
                            }
                        }
                        Some(NextHopObjectKind::Blackhole) => add(Err("Blackhole".into()), weight),
                        _ => add(Ok((0, None)), weight),
                    }
                }
            }
        }
        let unserved = ways.remove(&Ok((0, None)));
        if let Some(weight) = unserved {
            *ways.entry(Err("NotServed".into())).or_insert(0) += weight;
        }
        ways
    }

    fn lookup(&self, destination: IpAddr) -> Option<(IpNet, Ways)> {
        let mut best: Option<(&Route, BTreeMap<_, _>)> = None;
        for route in self.routes.iter().filter(|route| route.prefix.contains(&destination)) {
            let ways = self.ways(route);
            let better = best.as_ref().is_none_or(|(held, _)| {
                let order = |route: &Route| {
                    (u8::MAX - route.prefix.prefix_len(), route.table == TABLE_MAIN, route.metric)
                };
                order(route) < order(held)
            });
            if better && !ways.is_empty() {
                best = Some((route, ways));
            }
        }
        best.map(|(route, ways)| (route.prefix, ways))
    }
}

fn gateway() -> impl Strategy<Value = Option<IpAddr>> {
    proptest::option::of((1_u8..4).prop_map(|last| IpAddr::from([10, 0, 0, last])))
}

fn path() -> impl Strategy<Value = Path> {
    (1..=LINKS, gateway(), 1_u32..4).prop_map(|(ifindex, via, weight)| Path {
        ifindex,
        via,
        weight,
        dead: false,
    })
}

fn route() -> impl Strategy<Value = Route> {
    let target = prop_oneof![
        3 => proptest::collection::vec(path(), 1..4).prop_map(|mut paths| {
            paths.sort_unstable();
            RouteTarget::Paths(paths)
        }),
        2 => (1..=OBJECTS).prop_map(RouteTarget::NextHopObject),
    ];
    let route_type = prop_oneof![
        6 => Just(RouteType::Unicast),
        1 => Just(RouteType::Local),
        1 => Just(RouteType::Blackhole),
        1 => Just(RouteType::Unreachable),
    ];
    let bits = prop_oneof![Just(0_u8), Just(8), Just(30), Just(31), Just(32)];
    (0_u8..4, bits, route_type, 0_u32..3, target, proptest::bool::weighted(0.1)).prop_map(
        |(last, bits, route_type, metric, target, kernel_only)| {
            let address = Ipv4Addr::new(10, 0, 0, last);
            Route {
                table: if route_type == RouteType::Local { TABLE_LOCAL } else { TABLE_MAIN },
                route_type,
                metric,
                kernel_only,
                target,
                ..Route::unicast(Ipv4Net::new(address, bits).unwrap().trunc().into(), vec![])
            }
        },
    )
}

fn object() -> impl Strategy<Value = NextHopObject> {
    prop_oneof![
        (1_u32..4, path()).prop_map(|(id, path)| NextHopObject {
            id,
            kind: NextHopObjectKind::Path { path, kernel_only: false },
        }),
        Just(NextHopObject { id: 3, kind: NextHopObjectKind::Blackhole }),
        (4..=OBJECTS, proptest::collection::btree_map(1_u32..4, 1_u32..4, 1..3)).prop_map(
            |(id, members)| NextHopObject {
                id,
                kind: NextHopObjectKind::Group(members.into_iter().collect()),
            }
        ),
    ]
}

fn fact() -> impl Strategy<Value = Fact> {
    let mode =
        prop_oneof![Just(RouteMode::Prepend), Just(RouteMode::Append), Just(RouteMode::Replace)];
    let neighbour = (1..=LINKS, 1_u8..5, any::<bool>(), 0_u8..3);
    prop_oneof![
        3 => (1..=LINKS, proptest::bool::weighted(0.7))
            .prop_map(|(ifindex, up)| Fact::SetLink(link(ifindex, up))),
        1 => (1..=LINKS).prop_map(Fact::RemoveLink),
        3 => neighbour.prop_map(|(ifindex, last, usable, mac)| Fact::SetNeighbour(Neighbour {
            ifindex,
            address: IpAddr::from([10, 0, 0, last]),
            mac_address: Some(MacAddress::from([2, 0, 0, 0, 1, mac])),
            state: if usable { NeighbourState::Usable } else { NeighbourState::Unresolved },
            permanent: false,
        })),
        1 => (1..=LINKS, 1_u8..5)
            .prop_map(|(ifindex, last)| Fact::RemoveNeighbour(ifindex, [10, 0, 0, last].into())),
        8 => (route(), mode).prop_map(|(route, mode)| Fact::SetRoute(route, mode)),
        4 => route().prop_map(Fact::RemoveRoute),
        3 => object().prop_map(Fact::SetNextHopObject),
        1 => (1..=OBJECTS).prop_map(Fact::RemoveNextHopObject),
    ]
}

struct Pair {
    rib: Rib,
    tables: Tables,
    local: BTreeSet<IpAddr>,
    model: Model,
}

impl Pair {
    fn new() -> Self {
        let mut rib = Rib::new();
        rib.serve(1, PortId(0));
        rib.serve(2, PortId(1));
        Self { rib, tables: Tables::default(), local: BTreeSet::new(), model: Model::default() }
    }

    fn drain(&mut self) -> usize {
        let (mut updates, mut local) = (Vec::new(), Vec::new());
        self.rib.drain(&mut updates);
        self.rib.drain_local(&mut local);
        let count = updates.len() + local.len();
        for update in updates {
            self.tables.apply(update);
        }
        for update in local {
            match update {
                LocalUpdate::Set(address) => assert!(self.local.insert(address)),
                LocalUpdate::Remove(address) => assert!(self.local.remove(&address)),
            }
        }
        count
    }

    fn interface(&self, ifindex: u32) -> u16 {
        let mut interfaces = self.rib.interfaces();
        interfaces.find(|(held, _, _)| *held == ifindex).expect("a served link").1.0
    }

    fn compare(&mut self) {
        self.drain();
        for last in [0_u8, 1, 2, 3, 4, 200] {
            for destination in [IpAddr::from([10, 0, 0, last]), IpAddr::from([11, 0, 0, last])] {
                let wanted = self.model.lookup(destination).map(|(prefix, ways)| {
                    let way = |way| match way {
                        Ok((ifindex, via)) => Way::Out { interface: self.interface(ifindex), via },
                        Err(special) => Way::Special(special),
                    };
                    (prefix, ways.into_iter().map(|(key, weight)| (way(key), weight)).collect())
                });
                assert_eq!(self.tables.lookup(destination), wanted, "{destination}");
            }
        }
        let served = |ifindex: &u32| self.model.is_served(*ifindex);
        let links: BTreeSet<u32> = self.rib.interfaces().map(|(ifindex, ..)| ifindex).collect();
        assert_eq!(links, (1..=LINKS).filter(served).collect());
        for ((ifindex, address), neighbour) in &self.model.neighbours {
            if neighbour.state == NeighbourState::Usable && self.model.is_served(*ifindex) {
                let held = self.tables.neighbour(self.interface(*ifindex), *address);
                assert_eq!(held, Some(neighbour.mac_address), "{address} on {ifindex}");
            }
        }
        let local = |route: &&Route| {
            route.route_type == RouteType::Local && route.prefix.prefix_len() == 32
        };
        let local = self.model.routes.iter().filter(local).map(|route| route.prefix.addr());
        assert_eq!(self.local, local.collect());
    }

    /// The model's facts as a dump shows them.
    fn dump(&self) -> Vec<Fact> {
        let model = &self.model;
        let links = model.known.iter().map(|ifindex| link(*ifindex, model.up.contains(ifindex)));
        let objects = model.objects.iter();
        let objects = objects.map(|(id, kind)| NextHopObject { id: *id, kind: kind.clone() });
        links
            .map(Fact::SetLink)
            .chain(model.neighbours.values().copied().map(Fact::SetNeighbour))
            .chain(objects.map(Fact::SetNextHopObject))
            .chain(model.routes.iter().map(|r| Fact::SetRoute(r.clone(), RouteMode::Append)))
            .collect()
    }

    fn resync(&mut self, facts: Vec<Fact>) -> usize {
        self.rib.begin_resync();
        for fact in facts {
            self.rib.apply(fact);
        }
        self.rib.end_dump();
        self.rib.end_resync();
        self.drain()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_as_the_facts_do(facts in proptest::collection::vec((fact(), any::<bool>()), 1..80)) {
        let mut pair = Pair::new();
        for (fact, look) in facts {
            pair.model.apply(&fact);
            pair.rib.apply(fact);
            if look {
                pair.compare();
            }
        }
        pair.compare();
        let dump = pair.dump();
        assert_eq!(pair.resync(dump), 0, "a resync of what is known says nothing");
        pair.compare();
        // A resync of nothing takes all away, and leaves no trace.
        pair.resync(Vec::new());
        let tables = &pair.tables;
        assert!(tables.routes.is_empty() && tables.groups.is_empty());
        assert!(tables.next_hops.is_empty() && tables.adjacencies.is_empty());
        assert!(tables.interfaces.is_empty() && pair.local.is_empty());
    }

    #[test]
    fn a_resync_makes_up_for_anything(
        before in proptest::collection::vec(fact(), 1..40),
        lost in proptest::collection::vec(fact(), 1..40),
    ) {
        let mut pair = Pair::new();
        for fact in before {
            pair.model.apply(&fact);
            pair.rib.apply(fact);
        }
        pair.compare();
        for fact in lost {
            pair.model.apply(&fact);
        }
        let dump = pair.dump();
        pair.resync(dump);
        pair.compare();
    }
}
