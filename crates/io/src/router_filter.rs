//! The filter of what is for the router itself: rules that the classifier asks, in front of
//! [`crate::protection`], about each IP packet that it leaves to the kernel for the router.
//!
//! Here a rule is what a program can be made of: comparisons of fields. What people write, and the sets that
//! they name, the control side has resolved. [`crate::bpf`] makes instructions of it, one rule behind the other;
//! the first that matches decides. A change is another program, which takes the place of the old one in one
//! system call a port, so each packet meets the old rules or the new ones.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::bpf::classifier::Hook;
use crate::bpf::map::Maps;
use crate::bpf::protection::Protection;
use crate::bpf::router_filter as program;
use crate::bpf::{PerCpuCounters, Program};

/// Instructions that a filter may have. A jump of BPF reaches 32,767 of them, and the classifier needs some.
pub const INSTRUCTIONS_MAX: usize = 24_000;

/// What a packet has, or has not, as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Field {
    /// Upper-layer protocol.
    Protocol,
    /// Source port of TCP, UDP and SCTP.
    SourcePort,
    /// Destination port.
    DestinationPort,
    /// Type of ICMP and ICMPv6.
    IcmpType,
    /// Its code.
    IcmpCode,
    /// TCP flags (RFC 9293 3.1), eight bits.
    TcpFlags,
    /// Differentiated services code point.
    Dscp,
    /// 1 for what is no fragment, 2 for a first one, 4 for a later one.
    Fragment,
    /// Bytes of the network-layer packet.
    Length,
    /// TTL or hop limit.
    Ttl,
    /// Index of the interface that the packet came in by.
    InInterface,
    /// Outer VLAN identifier; 0 without a tag.
    Vlan,
    /// IPv6 flow label.
    FlowLabel,
}

impl Field {
    /// How many there are.
    pub const COUNT: usize = Self::FlowLabel as usize + 1;
}

/// Holds when a field that the packet has, under the mask, is between two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldTest {
    /// Which bits count.
    pub mask: u32,
    /// No less than this.
    pub first: u32,
    /// No more than this; below `u32::MAX`.
    pub last: u32,
}

/// Where the bytes of a [`BytesTest`] are counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// The network-layer header.
    Layer3,
    /// The upper-layer header.
    Layer4,
    /// Behind the header of TCP, UDP, ICMP or ICMPv6.
    Payload,
}

/// Holds when these bytes are there, within the network-layer packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BytesTest {
    /// Counted from here.
    pub anchor: Anchor,
    /// Bytes behind the anchor.
    pub offset: u16,
    /// Each byte's value and mask, at most 16 of them.
    pub bytes: Vec<(u8, u8)>,
}

/// A part of a rule's condition. A list holds when one of its members does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The source is in one of these prefixes. One of another family than the packet's does not hold.
    Source(Vec<(IpAddr, u8)>),
    /// The same of the destination.
    Destination(Vec<(IpAddr, u8)>),
    /// The packet has the field, and one of the tests holds.
    Field(Field, Vec<FieldTest>),
    /// The bytes are there.
    Bytes(BytesTest),
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouterVerdict {
    /// On to the limits of its protection class, and to the kernel.
    Accept,
    /// Dropped, as [`crate::Outcome::Filtered`].
    Drop,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterRule {
    /// IPv4 packets may match.
    pub ipv4: bool,
    /// IPv6 packets may match.
    pub ipv6: bool,
    /// All of them must hold.
    pub conditions: Vec<Condition>,
    /// `None`: the packet is counted, and the next rule is asked.
    pub verdict: Option<RouterVerdict>,
    /// Which counter of [`RouterFilterCounters`] it counts in.
    pub counter: u32,
}

/// Rules in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterFilter {
    /// The first that matches and has a verdict decides.
    pub rules: Vec<RouterRule>,
    /// What becomes of packets on which no rule decides.
    pub default: RouterVerdict,
    /// The default's counter.
    pub default_counter: u32,
}

/// A filter has more instructions than a program may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyInstructions {
    /// How many it has.
    pub instructions: usize,
}

impl fmt::Display for TooManyInstructions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instructions } = self;
        write!(formatter, "it takes {instructions} instructions, and {INSTRUCTIONS_MAX} fit")
    }
}

impl std::error::Error for TooManyInstructions {}

impl RouterFilter {
    /// How many instructions it takes.
    ///
    /// # Errors
    /// When these are more than [`INSTRUCTIONS_MAX`]: the filter cannot be loaded.
    pub fn instructions(&self) -> Result<usize, TooManyInstructions> {
        let instructions = program::instructions(self);
        if instructions > INSTRUCTIONS_MAX {
            return Err(TooManyInstructions { instructions });
        }
        Ok(instructions)
    }
}

/// The rules' counters, which the programs of all ports share. Cloning clones the handle.
#[derive(Debug, Clone)]
pub struct RouterFilterCounters {
    counters: Arc<PerCpuCounters>,
    max: u32,
}

impl RouterFilterCounters {
    /// So many, of 16 bytes for each processor.
    ///
    /// # Errors
    /// The kernel's; without `CAP_BPF` it is `PermissionDenied`.
    pub fn new(counters_max: u32) -> io::Result<Self> {
        let counters = PerCpuCounters::with_elements("lc_router_rules", counters_max, 2)?;
        Ok(Self { counters: Arc::new(counters), max: counters_max })
    }

    /// Packets and bytes that a counter has counted on all ports since they were made. Bytes are those of frames,
    /// link-layer header included.
    ///
    /// # Errors
    /// The kernel's: `ENOENT` for a counter that there is not.
    pub fn count(&self, counter: u32) -> io::Result<[u64; 2]> {
        let counted = self.counters.totals_of(counter)?;
        Ok([counted[0], counted[1]])
    }

    /// How many there are.
    #[must_use]
    pub fn counters_max(&self) -> u32 {
        self.max
    }

    pub(crate) fn map(&self) -> BorrowedFd<'_> {
        self.counters.map()
    }
}

/// What makes filters for a port; needs nothing of the port while it does so. Cloning clones the handle.
#[derive(Debug, Clone)]
pub struct RouterFilterLoader {
    pub(crate) hook: Hook,
    pub(crate) maps: Arc<Maps>,
    pub(crate) protection: Option<Arc<Protection>>,
}

impl RouterFilterLoader {
    /// Makes a filter, which the port's `put_router_filter` puts in force. The kernel verifies it, which takes
    /// milliseconds: docs/performance.md has figures.
    ///
    /// # Errors
    /// The kernel's, with the verifier's last words; `InvalidInput` for a filter of too many instructions.
    pub fn load(
        &self,
        filter: &RouterFilter,
        counters: &RouterFilterCounters,
    ) -> io::Result<LoadedRouterFilter> {
        let instructions = filter.instructions();
        instructions.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let protection = self.protection.as_deref();
        program::load(self.hook, &self.maps, protection, filter, counters).map(LoadedRouterFilter)
    }
}

/// A filter that a port can be given.
#[derive(Debug)]
pub struct LoadedRouterFilter(Program);

/// The filter that a port has.
#[derive(Debug, Default)]
pub(crate) struct RouterFilterInForce(Option<LoadedRouterFilter>);

impl RouterFilterInForce {
    /// Another one from now on, or none; returns that which there was.
    pub(crate) fn put(
        &mut self,
        maps: &Maps,
        filter: Option<LoadedRouterFilter>,
    ) -> io::Result<Option<LoadedRouterFilter>> {
        maps.router().put(filter.as_ref().map(|LoadedRouterFilter(program)| program))?;
        Ok(std::mem::replace(&mut self.0, filter))
    }
}
