//! Probes and their answers: what ping, traceroute and path-MTU discovery have in common.
//!
//! A raw ICMP socket receives every ICMP message of its host, so one socket sees the echo replies and
//! the errors that quote a probe, whether the probe was an echo request or a UDP datagram.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use linecard_wire::{icmpv4, icmpv6};
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ip_ttl,
    set_ipv6_mtu_discover, set_ipv6_unicast_hops,
};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto};

use super::readable_before;
use crate::error::{LabError, Result};
use crate::namespace::Namespace;

/// The first destination port of UDP probes, as traceroute has it; nothing listens there.
const UDP_PORT_FIRST: u16 = 33434;
const ICMP_HEADER_BYTES: usize = 8;
const RECEIVE_BYTES_MAX: usize = 65_536;

/// What a probe is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProbeKind {
    /// An ICMP or ICMPv6 echo request.
    #[default]
    Icmp,
    /// A UDP datagram to a port where nothing listens, a new one for each probe.
    Udp,
}

/// An ICMP or ICMPv6 error that quoted a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpError {
    /// Who sent it.
    pub from: IpAddr,
    /// The message's type (RFC 792 or RFC 4443, by the family of `from`).
    pub kind: u8,
    /// The message's code.
    pub code: u8,
    /// The next hop's MTU in bytes, in "fragmentation needed" and "packet too big".
    pub mtu_bytes: Option<u32>,
    /// From the probe to the error.
    pub round_trip: Duration,
}

impl IcmpError {
    /// Whether it says that the TTL or hop limit ran out on the way.
    pub fn is_time_exceeded(&self) -> bool {
        let expected = match self.from {
            IpAddr::V4(_) => icmpv4::MessageType::TIME_EXCEEDED.0,
            IpAddr::V6(_) => icmpv6::MessageType::TIME_EXCEEDED.0,
        };
        (self.kind, self.code) == (expected, 0)
    }

    /// Whether it says that the packet was too big and must not be fragmented.
    pub fn is_too_big(&self) -> bool {
        match self.from {
            IpAddr::V4(_) => {
                self.kind == icmpv4::MessageType::DESTINATION_UNREACHABLE.0
                    && self.code == icmpv4::CODE_FRAGMENTATION_NEEDED
            }
            IpAddr::V6(_) => self.kind == icmpv6::MessageType::PACKET_TOO_BIG.0,
        }
    }

    /// Whether it says that nothing listens on the port: the end of a UDP traceroute.
    pub fn is_port_unreachable(&self) -> bool {
        let expected = match self.from {
            IpAddr::V4(_) => (icmpv4::MessageType::DESTINATION_UNREACHABLE.0, 3),
            IpAddr::V6(_) => (icmpv6::MessageType::DESTINATION_UNREACHABLE.0, 4),
        };
        (self.kind, self.code) == expected
    }
}

/// What became of one probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// An echo reply came.
    Reply {
        /// Who answered.
        from: IpAddr,
        /// From request to reply.
        round_trip: Duration,
        /// TTL or hop limit of the reply, as it arrived.
        hop_limit: Option<u8>,
    },
    /// An ICMP error came.
    Error(IcmpError),
    /// The probe could not leave: this host's own errno (`EMSGSIZE`, `ENETUNREACH` …).
    NotSent {
        /// The errno.
        errno: i32,
    },
    /// Nothing came in time.
    Lost,
}

impl ProbeOutcome {
    /// From the probe to its answer, if there was one.
    pub fn round_trip(&self) -> Option<Duration> {
        match self {
            Self::Reply { round_trip, .. } => Some(*round_trip),
            Self::Error(error) => Some(error.round_trip),
            Self::NotSent { .. } | Self::Lost => None,
        }
    }

    /// Who answered, if someone did.
    pub fn from(&self) -> Option<IpAddr> {
        match self {
            Self::Reply { from, .. } => Some(*from),
            Self::Error(error) => Some(error.from),
            Self::NotSent { .. } | Self::Lost => None,
        }
    }

    /// Whether it is an echo reply.
    pub fn is_reply(&self) -> bool {
        matches!(self, Self::Reply { .. })
    }
}

/// Sends probes to one destination and recognises their answers.
pub(crate) struct Prober {
    icmp: OwnedFd,
    udp: Option<UdpSocket>,
    destination: IpAddr,
    /// Echo identifier, or the source port of UDP probes.
    identifier: u16,
    sequence: u16,
}

impl Prober {
    /// Opens the sockets in `namespace`; they may then be used from any thread.
    pub(crate) fn open(
        namespace: &Namespace,
        destination: IpAddr,
        source: Option<IpAddr>,
        kind: ProbeKind,
    ) -> Result<Self> {
        namespace.run(|| Self::open_here(destination, source, kind)).map_err(|error| {
            LabError::new(format!("open an ICMP socket to {destination} in {namespace}"), error)
        })
    }

    fn open_here(destination: IpAddr, source: Option<IpAddr>, kind: ProbeKind) -> io::Result<Self> {
        static IDENTIFIER: AtomicU16 = AtomicU16::new(1);
        let (family, protocol) = match destination {
            IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
            IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
        };
        let flags = SocketFlags::CLOEXEC;
        let icmp = rustix::net::socket_with(family, SocketType::RAW, flags, Some(protocol))?;
        let source = source.unwrap_or(match destination {
            IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        });
        rustix::net::bind(&icmp, &SocketAddr::new(source, 0))?;
        if destination.is_ipv6() {
            setsockopt(&icmp, sockopt::Ipv6RecvHopLimit, &true)?;
        }
        let udp = match kind {
            ProbeKind::Icmp => None,
            ProbeKind::Udp => Some(UdpSocket::bind(SocketAddr::new(source, 0))?),
        };
        let identifier = match &udp {
            Some(socket) => socket.local_addr()?.port(),
            None => IDENTIFIER.fetch_add(1, Ordering::Relaxed),
        };
        Ok(Self { icmp, udp, destination, identifier, sequence: 0 })
    }

    /// Sets the TTL or hop limit of the probes to come.
    pub(crate) fn set_hop_limit(&self, hop_limit: u8) -> Result<()> {
        let set = |socket: BorrowedFd<'_>| match self.destination {
            IpAddr::V4(_) => set_ip_ttl(socket, hop_limit.into()),
            IpAddr::V6(_) => set_ipv6_unicast_hops(socket, Some(hop_limit)),
        };
        self.on_both("set the hop limit", set)
    }

    /// Lets no one fragment the probes to come, this host included; what it knows of the path's
    /// MTU does not count (`IP_PMTUDISC_PROBE`).
    pub(crate) fn set_dont_fragment(&self) -> Result<()> {
        let set = |socket: BorrowedFd<'_>| match self.destination {
            IpAddr::V4(_) => set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::PROBE),
            IpAddr::V6(_) => {
                set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::PROBE)?;
                setsockopt(&socket, sockopt::Ipv6DontFrag, &true)
                    .map_err(|errno| rustix::io::Errno::from_raw_os_error(errno as i32))
            }
        };
        self.on_both("set don't fragment", set)
    }

    fn on_both(
        &self,
        action: &str,
        set: impl Fn(BorrowedFd<'_>) -> rustix::io::Result<()>,
    ) -> Result<()> {
        set(self.icmp.as_fd())
            .and_then(|()| self.udp.as_ref().map_or(Ok(()), |socket| set(socket.as_fd())))
            .map_err(|error| LabError::new(format!("{action} to {}", self.destination), error))
    }

    /// Sends one probe with `payload_bytes` behind its header and waits for the answer.
    pub(crate) fn probe(
        &mut self,
        payload_bytes: usize,
        timeout: Duration,
    ) -> Result<ProbeOutcome> {
        self.sequence = self.sequence.wrapping_add(1);
        let start = Instant::now();
        match self.send(payload_bytes) {
            Ok(()) => {}
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::EIO);
                return Ok(ProbeOutcome::NotSent { errno });
            }
        }
        let deadline = start + timeout;
        loop {
            let outcome = self.receive(start, deadline).map_err(|error| {
                LabError::new(format!("receive an answer from {}", self.destination), error)
            })?;
            if let Some(outcome) = outcome {
                return Ok(outcome);
            }
            if Instant::now() >= deadline {
                return Ok(ProbeOutcome::Lost);
            }
        }
    }

    fn send(&self, payload_bytes: usize) -> io::Result<()> {
        if let Some(socket) = &self.udp {
            let target = SocketAddr::new(self.destination, self.udp_port());
            return socket.send_to(&vec![0; payload_bytes], target).map(drop);
        }
        let mut message = vec![0; ICMP_HEADER_BYTES + payload_bytes];
        message[0] = match self.destination {
            IpAddr::V4(_) => icmpv4::MessageType::ECHO_REQUEST.0,
            IpAddr::V6(_) => icmpv6::MessageType::ECHO_REQUEST.0,
        };
        message[4..6].copy_from_slice(&self.identifier.to_be_bytes());
        message[6..8].copy_from_slice(&self.sequence.to_be_bytes());
        if self.destination.is_ipv4() {
            // The kernel fills in the checksum of ICMPv6 only.
            let checksum = linecard_wire::checksum::checksum(&message);
            message[2..4].copy_from_slice(&checksum.to_be_bytes());
        }
        let target = SocketAddr::new(self.destination, 0);
        rustix::net::sendto(&self.icmp, &message, SendFlags::empty(), &target)?;
        Ok(())
    }

    fn udp_port(&self) -> u16 {
        UDP_PORT_FIRST.wrapping_add(self.sequence)
    }

    /// Takes one message off the socket; nothing when it is not about the current probe.
    fn receive(&self, start: Instant, deadline: Instant) -> io::Result<Option<ProbeOutcome>> {
        if !readable_before(&self.icmp, deadline)? {
            return Ok(None);
        }
        let mut buffer = vec![0; RECEIVE_BYTES_MAX];
        let mut control = nix::cmsg_space!(i32);
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let fd = self.icmp.as_raw_fd();
        let message = match recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut control), flags) {
            Ok(message) => message,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let round_trip = start.elapsed();
        let (length, from) = (message.bytes, message.address.as_ref().and_then(ip_of));
        let hop_limit = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv6HopLimit(limit) => u8::try_from(limit).ok(),
            _ => None,
        });
        let (Some(from), Some(bytes)) = (from, buffer.get(..length)) else { return Ok(None) };
        Ok(match from {
            // An IPv4 raw socket delivers the IP header, too.
            IpAddr::V4(_) => transport_of_v4(bytes)
                .and_then(|icmp| self.recognise(icmp, from, bytes.get(8).copied(), round_trip)),
            IpAddr::V6(_) => self.recognise(bytes, from, hop_limit, round_trip),
        })
    }

    fn recognise(
        &self,
        icmp: &[u8],
        from: IpAddr,
        hop_limit: Option<u8>,
        round_trip: Duration,
    ) -> Option<ProbeOutcome> {
        let header = icmp.first_chunk::<ICMP_HEADER_BYTES>()?;
        let (kind, code) = (header[0], header[1]);
        let reply = match from {
            IpAddr::V4(_) => icmpv4::MessageType::ECHO_REPLY.0,
            IpAddr::V6(_) => icmpv6::MessageType::ECHO_REPLY.0,
        };
        if kind == reply {
            let ours = self.udp.is_none() && self.is_current(&header[4..8]);
            return ours.then_some(ProbeOutcome::Reply { from, round_trip, hop_limit });
        }
        let is_error = match from {
            IpAddr::V4(_) => icmpv4::MessageType(kind).is_error(),
            IpAddr::V6(_) => icmpv6::MessageType(kind).is_error(),
        };
        let quoted = &icmp[ICMP_HEADER_BYTES..];
        let transport = match from {
            IpAddr::V4(_) => transport_of_v4(quoted),
            IpAddr::V6(_) => transport_of_v6(quoted),
        };
        if !is_error || !self.is_quoted(transport?) {
            return None;
        }
        let mut error = IcmpError { from, kind, code, mtu_bytes: None, round_trip };
        if error.is_too_big() {
            let mtu = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            error.mtu_bytes = Some(if from.is_ipv4() { mtu & 0xffff } else { mtu });
        }
        Some(ProbeOutcome::Error(error))
    }

    /// Whether `transport`, quoted in an error, starts like the current probe.
    fn is_quoted(&self, transport: &[u8]) -> bool {
        let Some(head) = transport.first_chunk::<8>() else { return false };
        if self.udp.is_some() {
            let ports = [self.identifier.to_be_bytes(), self.udp_port().to_be_bytes()].concat();
            return head[..4] == ports;
        }
        self.is_current(&head[4..8])
    }

    fn is_current(&self, identifier_and_sequence: &[u8]) -> bool {
        let expected = [self.identifier.to_be_bytes(), self.sequence.to_be_bytes()].concat();
        identifier_and_sequence == expected
    }
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
}

/// What follows the header of an IPv4 packet that may be cut short, as an ICMP error quotes it.
fn transport_of_v4(packet: &[u8]) -> Option<&[u8]> {
    let header_bytes = usize::from(packet.first()? & 0xf) * 4;
    packet.get(header_bytes..)
}

/// What follows the headers of an IPv6 packet that may be cut short.
fn transport_of_v6(packet: &[u8]) -> Option<&[u8]> {
    const HOP_BY_HOP: u8 = 0;
    const FRAGMENT: u8 = 44;
    const DESTINATION_OPTIONS: u8 = 60;
    let mut next = *packet.get(6)?;
    let mut rest = packet.get(40..)?;
    while matches!(next, HOP_BY_HOP | FRAGMENT | DESTINATION_OPTIONS) {
        let length = if next == FRAGMENT { 8 } else { (usize::from(*rest.get(1)?) + 1) * 8 };
        next = *rest.first()?;
        rest = rest.get(length..)?;
    }
    Some(rest)
}
