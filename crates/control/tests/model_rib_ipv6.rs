//! IPv6 routes beside a plain model: the model announces its changes as the kernel does (each
//! message carries all gateways of a metric, a deletion carries one or all), and the base must
//! end up with the same gateways.

mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use linecard_control::facts::{
    Fact, Link, LinkKind, Path, Route, RouteMode, RouteTarget, RouteType,
};
use linecard_control::rib::Rib;
use linecard_packet::PortId;
use linecard_services::route::Special;
use linecard_wire::MacAddress;
use proptest::prelude::*;
use tables::{Tables, Way};

type Gateway = (u32, Ipv6Addr);

#[derive(Debug, Clone)]
enum Change {
    Append(u32, Gateway),
    AppendDevice(u32, u32),
    ReplaceAll(u32, BTreeSet<Gateway>),
    DeleteOne(u32, usize),
    DeleteAll(u32),
    DeleteDevice(u32, u32),
}

/// The routes of one metric: gateways form one multipath route, devices stand alone.
#[derive(Debug, Default)]
struct Class {
    gateways: BTreeSet<Gateway>,
    devices: BTreeSet<u32>,
}

fn prefix() -> IpNet {
    "2001:db8:9::/48".parse().unwrap()
}

fn route(metric: u32, paths: impl IntoIterator<Item = (u32, Option<IpAddr>)>) -> Route {
    let path = |(ifindex, via)| Path { ifindex, via, weight: 1, dead: false };
    let paths = paths.into_iter().map(path).collect();
    Route { metric, target: RouteTarget::Paths(paths), ..Route::unicast(prefix(), Vec::new()) }
}

fn of_gateways<'a>(metric: u32, gateways: impl IntoIterator<Item = &'a Gateway>) -> Route {
    route(metric, gateways.into_iter().map(|(ifindex, via)| (*ifindex, Some((*via).into()))))
}

#[derive(Debug, Default)]
struct Model {
    classes: BTreeMap<u32, Class>,
}

impl Model {
    /// Makes a change and says it as the kernel would; nothing where the kernel refuses.
    fn apply(&mut self, change: Change) -> Option<Fact> {
        match change {
            Change::Append(metric, gateway) => {
                let class = self.classes.entry(metric).or_default();
                let new = class.gateways.insert(gateway);
                new.then(|| Fact::SetRoute(of_gateways(metric, &class.gateways), RouteMode::Append))
            }
            Change::AppendDevice(metric, ifindex) => {
                let new = self.classes.entry(metric).or_default().devices.insert(ifindex);
                new.then(|| Fact::SetRoute(route(metric, [(ifindex, None)]), RouteMode::Append))
            }
            Change::ReplaceAll(metric, gateways) => {
                let class = self.classes.entry(metric).or_default();
                // With none to replace, the kernel would replace a route of a device.
                if class.gateways.is_empty() && !class.devices.is_empty() {
                    return None;
                }
                class.gateways = gateways;
                Some(Fact::SetRoute(of_gateways(metric, &class.gateways), RouteMode::Replace))
            }
            Change::DeleteOne(metric, which) => {
                let class = self.classes.get_mut(&metric)?;
                let gateway = *class.gateways.iter().nth(which)?;
                class.gateways.remove(&gateway);
                Some(Fact::RemoveRoute(of_gateways(metric, [&gateway])))
            }
            Change::DeleteAll(metric) => {
                let gateways = std::mem::take(&mut self.classes.get_mut(&metric)?.gateways);
                (!gateways.is_empty()).then(|| Fact::RemoveRoute(of_gateways(metric, &gateways)))
            }
            Change::DeleteDevice(metric, ifindex) => {
                let gone = self.classes.get_mut(&metric)?.devices.remove(&ifindex);
                gone.then(|| Fact::RemoveRoute(route(metric, [(ifindex, None)])))
            }
        }
    }

    fn ways(&self, interface: impl Fn(u32) -> u16) -> Option<BTreeMap<Way, u32>> {
        let used =
            self.classes.values().find(|c| !c.gateways.is_empty() || !c.devices.is_empty())?;
        let out = |ifindex: u32, via| Way::Out { interface: interface(ifindex), via };
        let only: Vec<u32> = used.devices.iter().copied().collect();
        Some(match (used.gateways.is_empty(), &only[..]) {
            (false, []) => {
                let gateways = used.gateways.iter();
                gateways.map(|(ifindex, via)| (out(*ifindex, Some((*via).into())), 1)).collect()
            }
            (true, [one]) => BTreeMap::from([(out(*one, None), 1)]),
            // The kernel takes turns among them.
            _ => BTreeMap::from([(Way::special(Special::NotServed), 1)]),
        })
    }
}

fn gateway() -> impl Strategy<Value = Gateway> {
    (1_u32..3, 1_u16..4)
        .prop_map(|(ifindex, last)| (ifindex, Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last)))
}

fn change() -> impl Strategy<Value = Change> {
    let metric = 1_u32..3;
    prop_oneof![
        4 => (metric.clone(), gateway()).prop_map(|(m, g)| Change::Append(m, g)),
        1 => (metric.clone(), 1_u32..3).prop_map(|(m, i)| Change::AppendDevice(m, i)),
        2 => (metric.clone(), proptest::collection::btree_set(gateway(), 1..4))
            .prop_map(|(m, g)| Change::ReplaceAll(m, g)),
        3 => (metric.clone(), 0_usize..4).prop_map(|(m, w)| Change::DeleteOne(m, w)),
        1 => metric.clone().prop_map(Change::DeleteAll),
        1 => (metric, 1_u32..3).prop_map(|(m, i)| Change::DeleteDevice(m, i)),
    ]
}

fn link(ifindex: u32) -> Link {
    Link {
        ifindex,
        name: format!("eth{ifindex}"),
        mac_address: MacAddress::from([2, 0, 0, 0, 0, 1]),
        mtu_bytes: 1500,
        up: true,
        carrier: true,
        kind: LinkKind::Other,
        forwarding_ipv4: true,
        forwarding_ipv6: true,
        ignore_linkdown_ipv4: false,
        ignore_linkdown_ipv6: false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn holds_the_gateways_that_the_kernel_holds(changes in proptest::collection::vec(change(), 1..60)) {
        let (mut rib, mut tables, mut model) = (Rib::new(), Tables::default(), Model::default());
        for ifindex in 1..3_u16 {
            rib.serve(u32::from(ifindex), PortId(ifindex));
            rib.apply(Fact::SetLink(link(u32::from(ifindex))));
        }
        for change in changes {
            if let Some(fact) = model.apply(change) {
                rib.apply(fact);
            }
            let mut updates = Vec::new();
            rib.drain(&mut updates);
            for update in updates {
                tables.apply(update);
            }
            let interface = |ifindex| {
                rib.interfaces().find(|(held, ..)| *held == ifindex).expect("served").1.0
            };
            let wanted = model.ways(interface).map(|ways| (prefix(), ways));
            assert_eq!(tables.lookup("2001:db8:9::1".parse().unwrap()), wanted);
        }
        assert!(!rib.resync_wanted(), "every message was understood");
        assert!(rib.routes().all(|held| held.route_type == RouteType::Unicast));
    }
}
