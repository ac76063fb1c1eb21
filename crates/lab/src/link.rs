//! Links: veth pairs across namespaces, bridges, macvlans, and what an interface can be told.

use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoMacVlan, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
    MacVlanMode, State,
};

use crate::error::{LabError, Result};
use crate::namespace::Namespace;
use crate::wait::wait_for;

/// An Ethernet address, in the order of the wire.
pub type MacAddress = [u8; 6];

/// What a new veth pair should be like; both ends are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethOptions {
    /// RX queues and TX queues of each end, 1–4,096.
    pub queues: u32,
    /// MTU of each end in bytes, 68–65,535.
    pub mtu_bytes: u32,
}

impl Default for VethOptions {
    fn default() -> Self {
        Self { queues: 1, mtu_bytes: 1500 }
    }
}

/// What the kernel says of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its index in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its Ethernet address; zeros on the loopback.
    pub mac: MacAddress,
    /// Its MTU in bytes.
    pub mtu_bytes: u32,
    /// Whether it is set up.
    pub is_up: bool,
    /// Whether frames can pass: it is up, and so is its peer or cable.
    pub is_running: bool,
    /// Its counters.
    pub counters: InterfaceCounters,
}

/// The kernel's counters of an interface (`struct rtnl_link_stats64`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InterfaceCounters {
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets that were received and dropped.
    pub rx_dropped: u64,
    /// Bad packets received.
    pub rx_errors: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets that were dropped on the way out.
    pub tx_dropped: u64,
    /// Failures to send.
    pub tx_errors: u64,
}

/// Creates a veth pair with one end in each of two namespaces (or both in one). Both ends are down.
///
/// # Errors
/// When a name is taken or longer than 15 bytes, or without `CAP_NET_ADMIN`.
pub fn create_veth(
    (namespace, name): (&Namespace, &str),
    (peer_namespace, peer_name): (&Namespace, &str),
    options: &VethOptions,
) -> Result<()> {
    let end = |name: &str| {
        vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Mtu(options.mtu_bytes),
            LinkAttribute::NumTxQueues(options.queues),
            LinkAttribute::NumRxQueues(options.queues),
        ]
    };
    let mut peer = LinkMessage::default();
    peer.header.index = next_index();
    peer.attributes = end(peer_name);
    peer.attributes.push(LinkAttribute::NetNsFd(peer_namespace.as_fd().as_raw_fd()));
    let mut message = LinkMessage::default();
    message.header.index = next_index();
    message.attributes = end(name);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    namespace
        .route_request(&RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL, || {
            format!("create veth {name} with peer {peer_name} in {peer_namespace}")
        })
        .map(drop)
}

/// An interface index that no other veth end of this process has.
///
/// Left to itself the kernel numbers from 2 in each namespace, so both ends of a pair often have the same
/// index. It then takes an end for a device without a peer, and tells its coming up with a delay of
/// up to a second (`linkwatch_urgent_event` in kernel `net/core/link_watch.c`).
fn next_index() -> u32 {
    /// Above the loopback and what other means create first in a namespace.
    static NEXT: AtomicU32 = AtomicU32::new(100);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Namespace {
    /// Creates a bridge, which is down.
    ///
    /// # Errors
    /// When the name is taken, or without `CAP_NET_ADMIN`.
    pub fn create_bridge(&self, name: &str) -> Result<()> {
        let info = vec![LinkInfo::Kind(InfoKind::Bridge)];
        self.create_link(name, vec![LinkAttribute::LinkInfo(info)], "bridge")
    }

    /// Creates a macvlan in bridge mode on top of `lower`; it is down.
    ///
    /// # Errors
    /// When the name is taken, `lower` is missing, or without `CAP_NET_ADMIN`.
    pub fn create_macvlan(&self, name: &str, lower: &str) -> Result<()> {
        let info = vec![
            LinkInfo::Kind(InfoKind::MacVlan),
            LinkInfo::Data(InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Bridge)])),
        ];
        let index = self.interface(lower)?.index;
        self.create_link(
            name,
            vec![LinkAttribute::Link(index), LinkAttribute::LinkInfo(info)],
            "macvlan",
        )
    }

    fn create_link(
        &self,
        name: &str,
        mut attributes: Vec<LinkAttribute>,
        kind: &str,
    ) -> Result<()> {
        attributes.insert(0, LinkAttribute::IfName(name.to_owned()));
        let mut message = LinkMessage::default();
        message.attributes = attributes;
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.route_request(&RouteNetlinkMessage::NewLink(message), flags, || {
            format!("create {kind} {name}")
        })
        .map(drop)
    }

    /// Deletes a link; the other end of a veth pair goes with it.
    ///
    /// # Errors
    /// When there is no such interface, or it cannot be deleted (the loopback).
    pub fn delete_link(&self, name: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.route_request(&RouteNetlinkMessage::DelLink(message), 0, || {
            format!("delete interface {name}")
        })
        .map(drop)
    }

    /// Sets an interface up.
    ///
    /// # Errors
    /// When there is no such interface, or without `CAP_NET_ADMIN`.
    pub fn set_up(&self, name: &str) -> Result<()> {
        self.set_flag(name, LinkFlags::Up, true)
    }

    /// Sets an interface down; the kernel then drops its routes.
    ///
    /// # Errors
    /// When there is no such interface, or without `CAP_NET_ADMIN`.
    pub fn set_down(&self, name: &str) -> Result<()> {
        self.set_flag(name, LinkFlags::Up, false)
    }

    /// Lets an interface take frames for other Ethernet addresses, or not.
    ///
    /// # Errors
    /// When there is no such interface, or without `CAP_NET_ADMIN`.
    pub fn set_promiscuous(&self, name: &str, on: bool) -> Result<()> {
        self.set_flag(name, LinkFlags::Promisc, on)
    }

    fn set_flag(&self, name: &str, flag: LinkFlags, on: bool) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.change_mask = flag;
        message.header.flags = if on { flag } else { LinkFlags::empty() };
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.route_request(&RouteNetlinkMessage::SetLink(message), 0, || {
            format!("set {flag:?}={on} on interface {name}")
        })
        .map(drop)
    }

    fn set_attribute(&self, name: &str, attribute: LinkAttribute) -> Result<()> {
        let action = || format!("set {attribute:?} on interface {name}");
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName(name.to_owned()), attribute.clone()];
        self.route_request(&RouteNetlinkMessage::SetLink(message), 0, action).map(drop)
    }

    /// Sets the MTU, in bytes.
    ///
    /// # Errors
    /// When there is no such interface, or the driver refuses the size.
    pub fn set_mtu(&self, name: &str, mtu_bytes: u32) -> Result<()> {
        self.set_attribute(name, LinkAttribute::Mtu(mtu_bytes))
    }

    /// Sets the Ethernet address.
    ///
    /// # Errors
    /// When there is no such interface, or the address is a group's.
    pub fn set_mac(&self, name: &str, mac: MacAddress) -> Result<()> {
        self.set_attribute(name, LinkAttribute::Address(mac.to_vec()))
    }

    /// Makes an interface a port of a bridge, or of none.
    ///
    /// # Errors
    /// When either is missing.
    pub fn set_bridge(&self, name: &str, bridge: Option<&str>) -> Result<()> {
        let index = bridge.map_or(Ok(0), |bridge| self.interface(bridge).map(|it| it.index))?;
        self.set_attribute(name, LinkAttribute::Controller(index))
    }

    /// What the kernel says of one interface, with its counters.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn interface(&self, name: &str) -> Result<Interface> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let action = || format!("look up interface {name}");
        let replies = self.route_request(&RouteNetlinkMessage::GetLink(message), 0, action)?;
        replies
            .iter()
            .find_map(interface_of)
            .ok_or_else(|| LabError::new(action(), std::io::Error::from_raw_os_error(libc::ENODEV)))
    }

    /// All interfaces of the namespace.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn interfaces(&self) -> Result<Vec<Interface>> {
        let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let replies = self.route_request(&message, NLM_F_DUMP, || "list interfaces".to_owned())?;
        Ok(replies.iter().filter_map(interface_of).collect())
    }

    /// Waits until frames can pass through an interface (it and its peer are up) and it hears the
    /// neighbour solicitations for its IPv6 addresses; call it after the addresses have been added.
    ///
    /// # Errors
    /// `TimedOut`, or when there is no such interface.
    pub fn wait_running(&self, name: &str, timeout: Duration) -> Result<()> {
        wait_for(&format!("interface {name} of {self} running"), timeout, || {
            Ok(self.interface(name)?.is_running && self.hears_solicitations(name)?)
        })
    }

    /// Whether the solicited-node groups (RFC 4291 §2.7.1) of the IPv6 addresses are joined. The kernel
    /// joins them some time after it took an address; a solicitation that comes earlier is lost, and
    /// repeated only after a second.
    fn hears_solicitations(&self, name: &str) -> Result<bool> {
        if self.interface(name)?.mac == MacAddress::default() {
            return Ok(true);
        }
        let addresses = self.addresses(name)?;
        let path = "/proc/thread-self/net/igmp6";
        let joined = self.run(|| std::fs::read_to_string(path)).unwrap_or_default();
        let is_joined = |address: Ipv6Addr| {
            let [.., a, b, c] = address.octets();
            let group = format!("ff0200000000000000000001ff{a:02x}{b:02x}{c:02x}");
            joined.lines().any(|line| {
                let mut words = line.split_whitespace().skip(1);
                words.next() == Some(name) && words.next() == Some(&group)
            })
        };
        Ok(addresses.iter().all(|it| match it.addr() {
            IpAddr::V4(_) => true,
            IpAddr::V6(address) => is_joined(address),
        }))
    }
}

fn interface_of(message: &RouteNetlinkMessage) -> Option<Interface> {
    let RouteNetlinkMessage::NewLink(link) = message else { return None };
    let mut interface = Interface {
        index: link.header.index,
        name: String::new(),
        mac: [0; 6],
        mtu_bytes: 0,
        is_up: link.header.flags.contains(LinkFlags::Up),
        is_running: link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        counters: InterfaceCounters::default(),
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => interface.mtu_bytes = *mtu,
            LinkAttribute::Address(bytes) => {
                interface.mac = bytes.as_slice().try_into().unwrap_or_default();
            }
            LinkAttribute::OperState(State::Down | State::LowerLayerDown) => {
                interface.is_running = false;
            }
            LinkAttribute::Stats64(stats) => {
                interface.counters = InterfaceCounters {
                    rx_packets: stats.rx_packets,
                    rx_bytes: stats.rx_bytes,
                    rx_dropped: stats.rx_dropped,
                    rx_errors: stats.rx_errors,
                    tx_packets: stats.tx_packets,
                    tx_bytes: stats.tx_bytes,
                    tx_dropped: stats.tx_dropped,
                    tx_errors: stats.tx_errors,
                };
            }
            _ => {}
        }
    }
    Some(interface)
}
