//! What the tables say of where one packet comes from, for whoever wants to know.

use linecard_packet::{Layer3, Metadata};
use linecard_tables::lpm::{Address, NO_ROUTE};

use super::stage::{addresses_ipv4, addresses_ipv6};
use super::table::Special;
use super::{MartianFilter, PortCheck, ReversePath, SourceTables};
use crate::route::{ReverseRoute, RouteTables};

/// What is checked of a packet, and what there is to know for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceFacts {
    /// What its port checks.
    pub check: PortCheck,
    /// The port's martian filter refuses the source, or the destination.
    pub is_martian: [bool; 2],
    /// Where the best route to the source leads; `None` if it is not asked for.
    pub route: Option<ReverseRoute>,
    /// The source is in the port's list of feasible prefixes.
    pub is_feasible: bool,
}

/// What is checked of a packet whose incoming interface is known; `None` if nothing is.
#[must_use]
pub fn explain(
    tables: &SourceTables,
    routes: &RouteTables,
    packet: &[u8],
    metadata: &Metadata,
) -> Option<SourceFacts> {
    let check = *tables.port(metadata.in_port)?;
    let header = packet.get(usize::from(metadata.layer3_offset)..)?;
    let mut group = [NO_ROUTE];
    let (is_martian, is_feasible) = match metadata.layer3 {
        Layer3::Ipv4 => {
            let addresses = addresses_ipv4(header)?;
            routes.groups_ipv4(&addresses[..1], &mut group);
            let is_feasible = tables.is_feasible_ipv4(&check, addresses[0]);
            (martian(&check, tables.special_ipv4(), addresses), is_feasible)
        }
        Layer3::Ipv6 => {
            let addresses = addresses_ipv6(header)?;
            routes.groups_ipv6(&addresses[..1], &mut group);
            let is_feasible = tables.is_feasible_ipv6(&check, addresses[0]);
            (martian(&check, tables.special_ipv6(), addresses), is_feasible)
        }
        Layer3::Other => return None,
    };
    let is_asked = check.reverse_path != ReversePath::Off;
    let route = is_asked.then(|| routes.reverse(group[0], metadata.in_interface));
    Some(SourceFacts { check, is_martian, route, is_feasible })
}

fn martian<A: Address>(check: &PortCheck, special: &Special<A>, addresses: [A; 2]) -> [bool; 2] {
    let [source, destination] = addresses.map(|address| special.find(address));
    let is_on = check.martians != MartianFilter::Off;
    [
        is_on && source.is_some_and(|it| check.martians.refuses_source(it)),
        is_on && destination.is_some_and(|it| check.martians.refuses_destination(it)),
    ]
}
