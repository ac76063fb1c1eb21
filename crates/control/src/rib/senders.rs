//! Which of the router's own addresses packets have that Linecard itself sends.
//!
//! RFC 1812 4.3.2.4: that of the interface by which they leave. An interface without one borrows another's, as an
//! unnumbered one does in Linux (`inet_select_addr`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hashbrown::HashMap;
use ipnet::IpNet;

/// The addresses of all links, in the order in which the kernel told of them: the primary one first.
pub(super) type Addresses = HashMap<u32, Vec<(IpNet, u8)>>;

/// The addresses to send from, by link.
pub(super) struct Senders<'a> {
    addresses: &'a Addresses,
    /// For links that have none.
    lent_ipv4: Option<Ipv4Addr>,
    lent_ipv6: Option<Ipv6Addr>,
}

impl<'a> Senders<'a> {
    pub(super) fn new(addresses: &'a Addresses) -> Self {
        let mut links: Vec<u32> = addresses.keys().copied().collect();
        links.sort_unstable();
        let mut senders = Self { addresses, lent_ipv4: None, lent_ipv6: None };
        senders.lent_ipv4 = links.iter().find_map(|&link| senders.find(link, global_ipv4));
        senders.lent_ipv6 = links.iter().find_map(|&link| senders.find(link, global_ipv6));
        senders
    }

    /// Those of a link.
    pub(super) fn of(&self, ifindex: u32) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
        let ipv4 = self.find(ifindex, global_ipv4).or(self.lent_ipv4);
        let ipv6 = self.find(ifindex, global_ipv6).or(self.lent_ipv6);
        (ipv4.or(self.find(ifindex, any_ipv4)), ipv6.or(self.find(ifindex, any_ipv6)))
    }

    fn find<A>(&self, ifindex: u32, wanted: impl Fn(IpAddr) -> Option<A>) -> Option<A> {
        let mut addresses = self.addresses.get(&ifindex)?.iter();
        addresses.find_map(|(address, _)| wanted(address.addr()))
    }
}

fn any_ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address).filter(|address| !address.is_loopback()),
        IpAddr::V6(_) => None,
    }
}

fn global_ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    any_ipv4(address).filter(|address| !address.is_link_local())
}

fn any_ipv6(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(address) => Some(address).filter(|address| !address.is_loopback()),
        IpAddr::V4(_) => None,
    }
}

fn global_ipv6(address: IpAddr) -> Option<Ipv6Addr> {
    any_ipv6(address).filter(|address| !address.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_sends_from_its_own_address_and_else_from_another_links() {
        let held = |addresses: &[&str]| {
            let parse = |it: &&str| (it.parse().expect("an address with its prefix"), 0);
            addresses.iter().map(parse).collect()
        };
        let addresses: Addresses = [
            (1, held(&["127.0.0.1/8", "::1/128"])),
            (2, held(&["169.254.1.1/16", "192.0.2.1/24", "192.0.2.9/24", "fe80::2/64"])),
            (3, held(&["fe80::3/64", "2001:db8::3/64"])),
        ]
        .into();
        let senders = Senders::new(&addresses);
        let ipv4 = Some([192, 0, 2, 1].into());
        let ipv6 = "2001:db8::3".parse().ok();
        for link in [2, 3, 4] {
            assert_eq!(senders.of(link), (ipv4, ipv6), "link {link}");
        }
        let local: Addresses = [(2, held(&["169.254.1.1/16", "fe80::2/64"]))].into();
        let senders = Senders::new(&local);
        let of_the_link = (Some([169, 254, 1, 1].into()), "fe80::2".parse().ok());
        assert_eq!((senders.of(2), senders.of(3)), (of_the_link, (None, None)));
    }
}
