//! The netlink mirror: keeps a [`Rib`] in step with the kernel of one network namespace.
//!
//! It listens to the kernel's news (`rtnetlink(7)` multicast groups) on one socket and asks for
//! dumps on another. News may be lost when they come faster than they are read; the kernel says so
//! (`ENOBUFS`), and a dump makes up for it. A dump starts after the listening has, and news that
//! arrive meanwhile are kept and applied after it, so nothing falls between the two.
//!
//! Nothing here runs by itself: the owner polls [`Mirror::as_fd`], calls [`Mirror::receive`], and
//! [`Mirror::sync`] when that asks for it.

mod decode;
mod dump;
pub mod netfilter;
mod raw;
mod socket;
pub mod xdp_features;

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use hashbrown::HashMap;
use netlink_packet_core::{Emitable, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage},
};
use netlink_sys::protocols::NETLINK_ROUTE;
use thiserror::Error;

use self::{
    decode::Event,
    raw::NetConf,
    socket::{Message, NetlinkSocket, Read},
};
use crate::{
    facts::{Fact, Link},
    rib::Rib,
};

/// Size of the listening socket's buffer. The kernel takes memory for it only while messages wait;
/// a full table that a routing daemon installs in one go fits.
pub const RECEIVE_BUFFER_BYTES: usize = 32 * 1024 * 1024;
/// Datagrams that one call of [`Mirror::receive`] reads at most.
pub const DATAGRAMS_MAX: usize = 4096;
/// News that are kept while a dump runs; more count as an overrun.
const EVENTS_KEPT_MAX: usize = 1 << 20;
/// Dumps in a row that are given up because the tables changed under them.
const DUMP_ATTEMPTS_MAX: usize = 10;

const RTM_NEWNEIGH: u16 = 28;

/// `RTNLGRP_*`: link, neigh, ipv4 ifaddr, ipv4 route, ipv4 rule, ipv6 ifaddr, ipv6 route, ipv6
/// rule, ipv4 netconf, ipv6 netconf, nexthop.
const GROUPS: [u32; 11] = [1, 3, 5, 7, 8, 9, 11, 19, 24, 25, 32];

/// Why the mirror cannot do its work.
#[derive(Debug, Error)]
pub enum Error {
    /// The netlink socket cannot be opened or set up.
    #[error("open a netlink socket: {0}")]
    Open(#[source] io::Error),
    /// A dump failed.
    #[error("ask the kernel for {what}: {source}")]
    Dump {
        /// What was asked for.
        what: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The tables changed under every dump.
    #[error("the kernel's tables changed during each of {0} dumps")]
    Unsteady(usize),
    /// News cannot be read.
    #[error("read news from the kernel: {0}")]
    Receive(#[source] io::Error),
    /// A request cannot be sent.
    #[error("send a request to the kernel: {0}")]
    Send(#[source] io::Error),
}

/// What one call of [`Mirror::receive`] brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Received {
    /// Messages that were applied.
    pub messages: usize,
    /// The bound of work was reached: more may wait.
    pub more: bool,
    /// The base needs a [`Mirror::sync`]: news were lost, or the kernel did something in silence.
    pub resync_wanted: bool,
}

/// What has happened since the mirror was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Messages that were read, those of dumps included.
    pub messages: u64,
    /// Messages that could not be understood.
    pub malformed: u64,
    /// Times that the kernel threw news away.
    pub overruns: u64,
    /// Dumps of everything that were completed.
    pub syncs: u64,
    /// Dumps that had to be repeated, because the tables changed under them.
    pub dumps_interrupted: u64,
    /// Policy rules beyond the kernel's own, as of the last sync. Linecard follows the table `main`
    /// only: a packet that such a rule would send elsewhere goes by `main`.
    pub policy_rules: u64,
}

/// Settings of one interface and family.
#[derive(Debug, Clone, Copy, Default)]
struct Settings {
    forwarding: bool,
    ignore_linkdown: bool,
}

/// The netlink mirror of one network namespace.
#[derive(Debug)]
pub struct Mirror {
    listener: NetlinkSocket,
    requester: NetlinkSocket,
    /// By family (IPv6?) and interface index.
    settings: HashMap<(bool, i32), Settings>,
    counters: Counters,
    lost: bool,
}

impl Mirror {
    /// Starts to listen in the network namespace of the calling thread.
    ///
    /// # Errors
    /// The sockets cannot be opened.
    pub fn open() -> Result<Self, Error> {
        Self::open_with_buffer(RECEIVE_BUFFER_BYTES)
    }

    /// The same with a receive buffer of another size, in bytes.
    ///
    /// # Errors
    /// The sockets cannot be opened.
    pub fn open_with_buffer(buffer_bytes: usize) -> Result<Self, Error> {
        Ok(Self {
            listener: NetlinkSocket::listener(&GROUPS, buffer_bytes).map_err(Error::Open)?,
            requester: NetlinkSocket::requester(NETLINK_ROUTE).map_err(Error::Open)?,
            settings: HashMap::new(),
            counters: Counters::default(),
            lost: false,
        })
    }

    /// What has happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The size of the receive buffer that the kernel granted, in bytes (it doubles what is asked).
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn receive_buffer_bytes(&self) -> io::Result<usize> {
        self.listener.receive_buffer_bytes()
    }

    /// Takes what the kernel holds now, at the start or to make up for what was lost; the base
    /// tells the packet path the differences only. It blocks for the time of a dump, about a
    /// second for a million routes.
    ///
    /// # Errors
    /// The kernel refuses a dump, or its tables change under each of several; the base is then as
    /// it was, with the news applied, and wants a resync.
    pub fn sync(&mut self, rib: &mut Rib) -> Result<(), Error> {
        for _ in 0..DUMP_ATTEMPTS_MAX {
            self.lost = false;
            let mut events = Vec::new();
            rib.begin_resync();
            let complete = self.dump_all(rib, &mut events);
            if matches!(complete, Ok(true)) {
                rib.end_dump();
            } else {
                rib.abandon_resync();
            }
            for event in events {
                self.apply(event, rib);
            }
            rib.end_resync();
            if complete? && !self.lost {
                self.counters.syncs += 1;
                return Ok(());
            }
            self.counters.dumps_interrupted += 1;
        }
        self.lost = true;
        Err(Error::Unsteady(DUMP_ATTEMPTS_MAX))
    }

    /// Applies the news that wait, at most [`DATAGRAMS_MAX`] datagrams of them. Does not block.
    ///
    /// # Errors
    /// The socket fails for another reason than a lack of room.
    pub fn receive(&mut self, rib: &mut Rib) -> Result<Received, Error> {
        let before = self.counters.messages;
        let more = self.read_news(|mirror, event| mirror.apply(event, rib))?;
        Ok(Received {
            messages: usize::try_from(self.counters.messages - before).unwrap_or(usize::MAX),
            more,
            resync_wanted: self.lost || rib.resync_wanted(),
        })
    }

    /// Makes the kernel use a neighbour entry, so that it resolves the address and keeps the entry
    /// fresh while Linecard, and not the kernel, sends packets to it (`NTF_USE`).
    ///
    /// # Errors
    /// The request cannot be sent. Whether the kernel takes it is not waited for.
    pub fn refresh_neighbour(&mut self, ifindex: u32, address: IpAddr) -> Result<(), Error> {
        let mut message = NeighbourMessage::default();
        message.header.family =
            if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.header.ifindex = ifindex;
        message.header.flags = NeighbourFlags::Use;
        let destination = match address {
            IpAddr::V4(address) => NeighbourAddress::Inet(address),
            IpAddr::V6(address) => NeighbourAddress::Inet6(address),
        };
        message.attributes.push(NeighbourAttribute::Destination(destination));
        let mut payload = vec![0; message.buffer_len()];
        message.emit(&mut payload);
        self.requester
            .send(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &payload)
            .map(|_| ())
            .map_err(Error::Send)
    }

    /// Hands the news that wait to `take`; true where the bound of work was reached.
    fn read_news(&mut self, mut take: impl FnMut(&mut Self, Event)) -> Result<bool, Error> {
        let mut events = Vec::new();
        for _ in 0..DATAGRAMS_MAX {
            match self.listener.read().map_err(Error::Receive)? {
                Read::Empty => return Ok(false),
                Read::Overrun => {
                    self.counters.overruns += 1;
                    self.lost = true;
                }
                Read::Datagram(length) => {
                    for message in self.listener.messages(length) {
                        events.extend(understand(&message, &mut self.counters));
                    }
                    for event in events.drain(..) {
                        take(self, event);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Keeps the news that arrive while a dump runs.
    fn keep_news(&mut self, events: &mut Vec<Event>) -> Result<(), Error> {
        self.read_news(|mirror, event| {
            if events.len() < EVENTS_KEPT_MAX {
                events.push(event);
            } else {
                mirror.lost = true;
            }
        })
        .map(|_| ())
    }

    fn apply(&mut self, event: Event, rib: &mut Rib) {
        match event {
            Event::Fact(Fact::SetLink(link)) => {
                let link = self.with_settings(link);
                rib.apply(Fact::SetLink(link));
            }
            Event::Fact(Fact::RemoveLink(ifindex)) => {
                for ipv6 in [false, true] {
                    self.settings.remove(&(ipv6, ifindex.cast_signed()));
                }
                rib.apply(Fact::RemoveLink(ifindex));
            }
            Event::Fact(fact) => rib.apply(fact),
            Event::NetConf(conf) => self.apply_settings(conf, rib),
            // Which rules there are is counted by a dump.
            Event::Rules => self.lost = true,
        }
    }

    fn with_settings(&self, link: Link) -> Link {
        let of = |ipv6, ifindex| self.settings.get(&(ipv6, ifindex)).copied().unwrap_or_default();
        let ipv4 = of(false, link.ifindex.cast_signed());
        let ipv6 = of(true, link.ifindex.cast_signed());
        Link {
            forwarding_ipv4: ipv4.forwarding,
            // In IPv6 the setting of an interface makes it a router's for neighbour discovery;
            // packets are forwarded by the setting of all (ip6_forward). The kernel tells that
            // `force_forwarding` (Linux 6.17) changed but not to what; such packets are its own.
            forwarding_ipv6: of(true, raw::IFINDEX_ALL).forwarding,
            ignore_linkdown_ipv4: ipv4.ignore_linkdown,
            ignore_linkdown_ipv6: ipv6.ignore_linkdown,
            ..link
        }
    }

    fn keep_settings(&mut self, conf: NetConf) {
        let settings = self.settings.entry((conf.ipv6, conf.ifindex)).or_default();
        let set = |held: &mut bool, told: Option<bool>| *held = told.unwrap_or(*held);
        set(&mut settings.forwarding, conf.forwarding);
        set(&mut settings.ignore_linkdown, conf.ignore_linkdown);
    }

    fn apply_settings(&mut self, conf: NetConf, rib: &mut Rib) {
        self.keep_settings(conf);
        let touched: Vec<Link> = match u32::try_from(conf.ifindex) {
            Ok(ifindex) => rib.link(ifindex).cloned().into_iter().collect(),
            Err(_) => rib.links().filter(|link| is_kernels(link)).cloned().collect(),
        };
        for link in touched {
            let link = self.with_settings(link);
            rib.apply(Fact::SetLink(link));
        }
    }
}

impl AsFd for Mirror {
    /// The listening socket: readable when news wait.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

fn is_kernels(link: &Link) -> bool {
    link.ifindex < crate::facts::IFINDEX_STATIC_FIRST
}

/// What a datagram says, as [`Mirror::receive`] reads it, without a socket: for the fuzzer. Settings
/// of interfaces are read and left out.
#[cfg(fuzzing)]
pub fn facts(datagram: &[u8]) -> Vec<Fact> {
    let mut counters = Counters::default();
    let messages = socket::Messages::of(datagram);
    let events = messages.filter_map(|message| {
        // A dump of policy rules reads more of them than news do.
        dump::count_rule(&message, &mut counters);
        understand(&message, &mut counters)
    });
    let facts = events.filter_map(|event| match event {
        Event::Fact(fact) => Some(fact),
        Event::NetConf(_) | Event::Rules => None,
    });
    facts.collect()
}

fn understand(message: &Message<'_>, counters: &mut Counters) -> Option<Event> {
    counters.messages += 1;
    match decode::decode(message.message_type, message.flags, message.payload) {
        Ok(event) => event,
        Err(error) => {
            counters.malformed += 1;
            tracing::debug!(message_type = message.message_type, %error, "netlink message");
            None
        }
    }
}
