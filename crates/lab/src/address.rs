//! Addresses of interfaces, and the permanent neighbours beside them.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::error::Result;
use crate::link::MacAddress;
use crate::namespace::Namespace;

/// A neighbour (ARP or ND cache) entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Its IP address.
    pub address: IpAddr,
    /// Its Ethernet address, if it is known.
    pub mac: Option<MacAddress>,
    /// The kernel's state of it (RFC 4861 §7.3.2, and Linux's own for permanent ones).
    pub state: NeighbourState,
}

/// The address family of an address.
pub(crate) fn family_of(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

impl Namespace {
    /// Adds an address with its prefix; an IPv6 one serves at once, without duplicate detection.
    ///
    /// # Errors
    /// When the interface has it already or does not exist.
    pub fn add_address(&self, interface: &str, address: IpNet) -> Result<()> {
        self.change_address(interface, address, NLM_F_CREATE | NLM_F_EXCL, "add")
    }

    /// Adds an address, or renews it if it is there.
    ///
    /// # Errors
    /// When the interface does not exist.
    pub fn replace_address(&self, interface: &str, address: IpNet) -> Result<()> {
        self.change_address(interface, address, NLM_F_CREATE | NLM_F_REPLACE, "replace")
    }

    /// Deletes an address.
    ///
    /// # Errors
    /// When the interface does not have it or does not exist.
    pub fn delete_address(&self, interface: &str, address: IpNet) -> Result<()> {
        let message = self.address_message(interface, address)?;
        self.route_request(&RouteNetlinkMessage::DelAddress(message), 0, || {
            format!("delete address {address} from {interface}")
        })
        .map(drop)
    }

    fn change_address(
        &self,
        interface: &str,
        address: IpNet,
        flags: u16,
        verb: &str,
    ) -> Result<()> {
        let message = self.address_message(interface, address)?;
        self.route_request(&RouteNetlinkMessage::NewAddress(message), flags, || {
            format!("{verb} address {address} on {interface}")
        })
        .map(drop)
    }

    fn address_message(&self, interface: &str, address: IpNet) -> Result<AddressMessage> {
        let mut message = AddressMessage::default();
        message.header.family = family_of(address.addr());
        message.header.prefix_len = address.prefix_len();
        message.header.index = self.interface(interface)?.index;
        message.attributes = vec![
            AddressAttribute::Local(address.addr()),
            AddressAttribute::Address(address.addr()),
        ];
        if address.addr().is_ipv6() {
            message.header.flags = AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        Ok(message)
    }

    /// The addresses of an interface, link-local ones included.
    ///
    /// # Errors
    /// When the interface does not exist.
    pub fn addresses(&self, interface: &str) -> Result<Vec<IpNet>> {
        let index = self.interface(interface)?.index;
        let message = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let replies = self.route_request(&message, NLM_F_DUMP, || "list addresses".to_owned())?;
        let address = |reply: &RouteNetlinkMessage| {
            let RouteNetlinkMessage::NewAddress(message) = reply else { return None };
            let address = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            })?;
            let net = IpNet::new(address, message.header.prefix_len).ok()?;
            (message.header.index == index).then_some(net)
        };
        Ok(replies.iter().filter_map(address).collect())
    }

    /// Adds a permanent neighbour, or makes an entry permanent.
    ///
    /// # Errors
    /// When the interface does not exist or is down.
    pub fn add_neighbour(&self, interface: &str, address: IpAddr, mac: MacAddress) -> Result<()> {
        let mut message = self.neighbour_message(interface, address)?;
        message.header.state = NeighbourState::Permanent;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        self.route_request(&RouteNetlinkMessage::NewNeighbour(message), flags, || {
            format!("add neighbour {address} on {interface}")
        })
        .map(drop)
    }

    /// Deletes a neighbour entry.
    ///
    /// # Errors
    /// When there is none.
    pub fn delete_neighbour(&self, interface: &str, address: IpAddr) -> Result<()> {
        let message = self.neighbour_message(interface, address)?;
        self.route_request(&RouteNetlinkMessage::DelNeighbour(message), 0, || {
            format!("delete neighbour {address} from {interface}")
        })
        .map(drop)
    }

    /// Deletes every neighbour entry of an interface but the kernel's own (`NOARP`).
    ///
    /// # Errors
    /// When the interface does not exist.
    pub fn flush_neighbours(&self, interface: &str) -> Result<()> {
        for neighbour in self.neighbours(interface)? {
            match self.delete_neighbour(interface, neighbour.address) {
                // It went by itself between the listing and now.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// The neighbour entries of an interface, without the kernel's own (`NOARP`).
    ///
    /// # Errors
    /// When the interface does not exist.
    pub fn neighbours(&self, interface: &str) -> Result<Vec<Neighbour>> {
        let index = self.interface(interface)?.index;
        let message = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        let replies = self.route_request(&message, NLM_F_DUMP, || "list neighbours".to_owned())?;
        let ours = |reply: &RouteNetlinkMessage| match reply {
            RouteNetlinkMessage::NewNeighbour(message) if message.header.ifindex == index => {
                neighbour_of(message)
            }
            _ => None,
        };
        Ok(replies.iter().filter_map(ours).collect())
    }

    fn neighbour_message(&self, interface: &str, address: IpAddr) -> Result<NeighbourMessage> {
        let destination = match address {
            IpAddr::V4(address) => NeighbourAddress::Inet(address),
            IpAddr::V6(address) => NeighbourAddress::Inet6(address),
        };
        let mut message = NeighbourMessage::default();
        message.header.family = family_of(address);
        message.header.ifindex = self.interface(interface)?.index;
        message.attributes.push(NeighbourAttribute::Destination(destination));
        Ok(message)
    }
}

fn neighbour_of(message: &NeighbourMessage) -> Option<Neighbour> {
    if message.header.state == NeighbourState::Noarp {
        return None;
    }
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => {
            Some(IpAddr::V4(*address))
        }
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => {
            Some(IpAddr::V6(*address))
        }
        _ => None,
    })?;
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok(),
        _ => None,
    });
    Some(Neighbour { address, mac, state: message.header.state })
}
