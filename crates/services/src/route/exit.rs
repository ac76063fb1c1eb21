//! Where the kernel sends a packet that it gets from a worker, as far as the tables know.

use linecard_packet::{Layer3, Metadata, PortId, PuntReason};
use linecard_tables::lpm::NO_ROUTE;
use linecard_wire::{ipv4, ipv6};

use super::fib::LEFT_TO_KERNEL;
use super::{NextHop, RouteTables};

/// Whether the kernel may forward a packet that is punted for this reason. What it answers, delivers or drops
/// leaves by no port.
#[must_use]
pub fn is_forwarded_by_kernel(reason: PuntReason) -> bool {
    use PuntReason::{
        Ipv4Options, Ipv6HopByHop, NeighbourUnresolved, NotServed, TooBig, VlanUnknown,
    };
    matches!(
        reason,
        Ipv4Options | Ipv6HopByHop | NeighbourUnresolved | NotServed | TooBig | VlanUnknown
    )
}

impl RouteTables {
    /// Whether the kernel may forward a packet by this port: whether a next hop of its route leads there. Which of
    /// several the kernel takes is its own choice. It goes by the destination in the header, whatever a rule has
    /// put in its place. A gateway of which nothing is known may be behind each port; a destination whose route
    /// did not fit the tables is behind none.
    ///
    /// Cost: a lookup, and a few loads for each next hop.
    #[cold]
    #[must_use]
    pub fn kernel_may_leave_by(&self, port: PortId, packet: &[u8], metadata: &Metadata) -> bool {
        let mut group = [NO_ROUTE];
        let header = packet.get(usize::from(metadata.layer3_offset)..).unwrap_or_default();
        match metadata.layer3 {
            Layer3::Ipv4 => {
                let Ok(packet) = ipv4::Packet::new(header) else { return false };
                self.groups_ipv4(&[packet.destination().to_bits()], &mut group);
            }
            Layer3::Ipv6 => {
                let Ok(packet) = ipv6::Packet::new(header) else { return false };
                self.groups_ipv6(&[packet.destination().to_bits()], &mut group);
            }
            Layer3::Other => return false,
        }
        let [group] = group;
        if group == NO_ROUTE || group == LEFT_TO_KERNEL {
            return false;
        }
        self.groups.members(group).iter().any(|&(member, _)| self.leads_to(member, port))
    }

    fn leads_to(&self, next_hop: u32, port: PortId) -> bool {
        let interface = match self.next_hop(next_hop) {
            Some(NextHop::Gateway(id)) => match self.adjacency(id) {
                Some(adjacency) => adjacency.interface,
                None => return true,
            },
            Some(NextHop::Connected(interface)) => interface,
            Some(NextHop::Special(_)) | None => return false,
        };
        self.interface(interface).is_some_and(|interface| interface.port == port)
    }
}
