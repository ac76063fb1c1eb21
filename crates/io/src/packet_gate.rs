//! The gate of an AF_PACKET port: the two programs by which Linecard and the kernel agree who
//! takes which frame.
//!
//! A packet socket gets a copy; the kernel goes on with the original. So the tcx program on the
//! port's ingress, which runs after the copy was made, drops exactly those frames that the
//! socket's filter let in.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::bpf::classifier::{Classifier, Hook};
use crate::bpf::map::Maps;
use crate::bpf::protection::Protection;
use crate::bpf::{Link, LocalAddresses, Outcome, OutcomeTotals, Program};
use crate::protection::{ClassTotals, ProtectionClass, ProtectionLimits};
use crate::router_filter::{LoadedRouterFilter, RouterFilterInForce, RouterFilterLoader};
use crate::xdp::DeadManSwitch;

/// The two classifiers of one AF_PACKET port. Dropping it detaches.
#[derive(Debug)]
pub struct PacketGate {
    link: Option<Link>,
    ingress: Program,
    filter: Program,
    maps: Arc<Maps>,
    protection: Option<Arc<Protection>>,
    router_filter: RouterFilterInForce,
    interface_index: u32,
}

impl PacketGate {
    /// Loads both programs; nothing is attached yet.
    ///
    /// The port counts as alive while worker 0 is: which worker a frame is for is decided after
    /// the filter has run. `protection` limits what is left to the kernel.
    ///
    /// # Errors
    /// The kernel's: `EPERM` without `CAP_BPF` and `CAP_NET_ADMIN`.
    pub fn new(
        interface_index: u32,
        mac_address: [u8; 6],
        packet_bytes_max: usize,
        local: &LocalAddresses,
        switch: &Arc<DeadManSwitch>,
        protection: Option<&ProtectionLimits>,
    ) -> io::Result<Self> {
        let maps = Arc::new(Maps::new(local.clone(), switch.map())?);
        let protection = protection.map(Protection::new).transpose()?.map(Arc::new);
        maps.set_mac_address(mac_address)?;
        let load = |hook| {
            let packet_bytes_max = packet_bytes_max as u32;
            Classifier {
                hook,
                maps: &maps,
                sockets: None,
                queues: 0,
                workers: 1,
                packet_bytes_max,
                redirect: None,
                // Only one of the two may take tokens.
                protection: protection.as_deref().filter(|_| hook == Hook::Tcx),
            }
            .load()
        };
        let (ingress, filter) = (load(Hook::Tcx)?, load(Hook::SocketFilter)?);
        let (link, router_filter) = (None, RouterFilterInForce::default());
        Ok(Self { link, ingress, filter, maps, protection, router_filter, interface_index })
    }

    /// The program for the socket's `SO_ATTACH_BPF`.
    #[must_use]
    pub fn filter(&self) -> BorrowedFd<'_> {
        self.filter.fd()
    }

    /// Attaches the ingress program, in front of those that are there: the kernel leaves transit to
    /// Linecard from now on, as long as worker 0 is alive.
    ///
    /// # Errors
    /// The kernel's: tcx needs Linux 6.6.
    pub fn attach(&mut self) -> io::Result<()> {
        self.link = Some(self.ingress.attach_tcx(self.interface_index)?);
        Ok(())
    }

    /// Detaches the ingress program.
    pub fn detach(&mut self) {
        self.link = None;
    }

    /// Tells the classifiers that the interface's MAC address has changed.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_mac_address(&self, address: [u8; 6]) -> io::Result<()> {
        self.maps.set_mac_address(address)
    }

    /// From now on packets with IPv4 options and IPv6 hop-by-hop headers are taken, too, so that services judge them
    /// before a worker punts them; or are left to the kernel again, as at first. The route cache must be off: it
    /// does not look for options.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_takes_options(&self, takes: bool) -> io::Result<()> {
        self.maps.set_takes_options(takes)
    }

    /// What the ingress classifier did, in the order of [`Outcome::ALL`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn outcomes(&self) -> io::Result<[OutcomeTotals; Outcome::ALL.len()]> {
        self.maps.outcome_totals()
    }

    /// What the ingress classifier has limited and left to the kernel by class; `None` without protection.
    ///
    /// # Errors
    /// The kernel's.
    pub fn classes(&self) -> io::Result<Option<[ClassTotals; ProtectionClass::ALL.len()]>> {
        self.protection.as_deref().map(Protection::totals).transpose()
    }

    /// Other limits from now on; nothing without protection.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_limits(&self, limits: &ProtectionLimits) -> io::Result<()> {
        self.protection.as_ref().map_or(Ok(()), |protection| protection.set_limits(limits))
    }

    /// What makes filters of what is for the router, for this port.
    #[must_use]
    pub fn router_filter_loader(&self) -> RouterFilterLoader {
        let (maps, protection) = (Arc::clone(&self.maps), self.protection.clone());
        RouterFilterLoader { hook: Hook::Tcx, maps, protection }
    }

    /// Filters what is for the router from now on, or not any more; returns the filter that there was. Each packet
    /// meets that or this one.
    ///
    /// # Errors
    /// The kernel's; the filter that there was stays.
    pub fn put_router_filter(
        &mut self,
        filter: Option<LoadedRouterFilter>,
    ) -> io::Result<Option<LoadedRouterFilter>> {
        self.router_filter.put(&self.maps, filter)
    }

    /// Lets the ingress classifier judge `frame`, which goes nowhere (`BPF_PROG_TEST_RUN`); for tests.
    ///
    /// # Errors
    /// The kernel's.
    pub fn run(&self, frame: &[u8]) -> io::Result<()> {
        self.ingress.test_run(frame).map(drop)
    }
}
