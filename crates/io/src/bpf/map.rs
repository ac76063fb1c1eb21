//! The maps that the classifiers read, and the handles by which user space keeps them in step.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::counters::PerCpuCounters;
use super::outcome::{Outcome, OutcomeTotals};
use super::router_filter::RouterSlot;
use super::sys;

/// Most local addresses of each family; more than a router's interfaces carry.
const LOCAL_ADDRESSES_MAX: u32 = 65_536;
/// `BPF_F_NO_PREALLOC`: entries are allocated when they are added.
const NO_PREALLOC: u32 = 1;

/// The router's own addresses, shared by the classifiers of all ports.
///
/// Frames to one of them are passed to the kernel. Cloning clones the handle.
#[derive(Debug, Clone)]
pub struct LocalAddresses {
    ipv4: Arc<OwnedFd>,
    ipv6: Arc<OwnedFd>,
}

impl LocalAddresses {
    /// Creates the two maps, empty.
    ///
    /// # Errors
    /// The kernel's; without `CAP_BPF` it is `PermissionDenied`.
    pub fn new() -> io::Result<Self> {
        let map = |name, key_bytes| {
            sys::map_create(name, sys::MAP_HASH, key_bytes, 4, LOCAL_ADDRESSES_MAX, NO_PREALLOC)
                .map(Arc::new)
        };
        Ok(Self { ipv4: map("lc_local_ipv4", 4)?, ipv6: map("lc_local_ipv6", 16)? })
    }

    /// Makes `address` one of the router's own.
    ///
    /// # Errors
    /// The kernel's; `E2BIG` when 65,536 addresses of the family are held.
    pub fn insert(&self, address: IpAddr) -> io::Result<()> {
        match address {
            IpAddr::V4(ip) => sys::map_update(self.ipv4.as_fd(), &ip.octets(), &[1, 0, 0, 0]),
            IpAddr::V6(ip) => sys::map_update(self.ipv6.as_fd(), &ip.octets(), &[1, 0, 0, 0]),
        }
    }

    /// Makes `address` no longer the router's own; true when it was.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&self, address: IpAddr) -> io::Result<bool> {
        match address {
            IpAddr::V4(ip) => sys::map_delete(self.ipv4.as_fd(), &ip.octets()),
            IpAddr::V6(ip) => sys::map_delete(self.ipv6.as_fd(), &ip.octets()),
        }
    }
}

/// All maps of one port's classifiers.
#[derive(Debug)]
pub(crate) struct Maps {
    local: LocalAddresses,
    workers: Arc<OwnedFd>,
    mac_address: OwnedFd,
    options: OwnedFd,
    outcomes: PerCpuCounters,
    router: RouterSlot,
}

impl Maps {
    /// The port's own maps, beside the ones that all ports share.
    pub(crate) fn new(local: LocalAddresses, workers: Arc<OwnedFd>) -> io::Result<Self> {
        let outcomes = Outcome::ALL.len() as u32;
        Ok(Self {
            local,
            workers,
            mac_address: sys::map_create("lc_mac", sys::MAP_ARRAY, 4, 8, 1, 0)?,
            options: sys::map_create("lc_options", sys::MAP_ARRAY, 4, 4, 1, 0)?,
            outcomes: PerCpuCounters::with_elements("lc_outcomes", outcomes, 2)?,
            router: RouterSlot::new()?,
        })
    }

    pub(crate) fn local_ipv4(&self) -> BorrowedFd<'_> {
        self.local.ipv4.as_fd()
    }

    pub(crate) fn local_ipv6(&self) -> BorrowedFd<'_> {
        self.local.ipv6.as_fd()
    }

    pub(crate) fn workers(&self) -> BorrowedFd<'_> {
        self.workers.as_fd()
    }

    pub(crate) fn mac_address(&self) -> BorrowedFd<'_> {
        self.mac_address.as_fd()
    }

    /// Not 0 while packets with options and hop-by-hop headers are taken.
    pub(crate) fn options(&self) -> BorrowedFd<'_> {
        self.options.as_fd()
    }

    /// Tells the classifier whether to take packets with options and hop-by-hop headers.
    pub(crate) fn set_takes_options(&self, takes: bool) -> io::Result<()> {
        let (key, value) = (0_u32.to_ne_bytes(), u32::from(takes).to_ne_bytes());
        sys::map_update(self.options(), &key, &value)
    }

    pub(crate) fn outcomes(&self) -> BorrowedFd<'_> {
        self.outcomes.map()
    }

    /// Where the program stands that filters what is for the router.
    pub(crate) fn router(&self) -> &RouterSlot {
        &self.router
    }

    /// Tells the classifier the port's MAC address.
    pub(crate) fn set_mac_address(&self, address: [u8; 6]) -> io::Result<()> {
        let mut value = [0; 8];
        value[..6].copy_from_slice(&address);
        sys::map_update(self.mac_address(), &0_u32.to_ne_bytes(), &value)
    }

    /// What the classifier did so far, summed over the CPUs, in the order of [`Outcome::ALL`].
    pub(crate) fn outcome_totals(&self) -> io::Result<[OutcomeTotals; Outcome::ALL.len()]> {
        let mut totals = [OutcomeTotals::default(); Outcome::ALL.len()];
        for (outcome, total) in Outcome::ALL.into_iter().zip(&mut totals) {
            let counted = self.outcomes.totals_of(u32::from(outcome as u8))?;
            *total = OutcomeTotals { packets: counted[0], bytes: counted[1] };
        }
        Ok(totals)
    }
}

/// An array that user space may map, of `entries` values of `value_bytes`.
pub(crate) fn create_mapped(
    label: &str,
    value_bytes: usize,
    entries: usize,
) -> io::Result<OwnedFd> {
    let flags = sys::MAP_FLAG_MMAPABLE;
    sys::map_create(label, sys::MAP_ARRAY, 4, value_bytes as u32, entries as u32, flags)
}

/// A map from receive queues to AF_XDP sockets.
#[derive(Debug)]
pub(crate) struct SocketMap(OwnedFd);

impl SocketMap {
    pub(crate) fn new(queues: u32) -> io::Result<Self> {
        sys::map_create("lc_sockets", sys::MAP_XSKMAP, 4, 4, queues, 0).map(Self)
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Frames of receive queue `queue` go to this socket from now on.
    pub(crate) fn set(&self, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        let fd = std::os::fd::AsRawFd::as_raw_fd(&socket) as u32;
        sys::map_update(self.fd(), &queue.to_ne_bytes(), &fd.to_ne_bytes())
    }
}
