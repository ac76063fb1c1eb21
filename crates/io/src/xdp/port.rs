//! A port's side in the kernel: the classifier and its attachment.

use std::io;
use std::sync::Arc;

use super::{DeadManSwitch, XdpQueue};
use crate::bpf::classifier::{Classifier, Hook};
use crate::bpf::map::{Maps, SocketMap};
use crate::bpf::protection::Protection;
use crate::bpf::uapi::XDP_FLAGS_NATIVE;
use crate::bpf::{Link, LocalAddresses, Outcome, OutcomeTotals, Program, Redirect, Redirected};
use crate::protection::{ClassTotals, ProtectionClass, ProtectionLimits};
use crate::router_filter::{LoadedRouterFilter, RouterFilterInForce, RouterFilterLoader};

/// `XDP_FLAGS_SKB_MODE`, linux/if_link.h.
const FLAGS_GENERIC: u32 = 1 << 1;

/// Where the classifier runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver, before the kernel has made a socket buffer.
    Native,
    /// In the generic hook, for drivers without XDP.
    Generic,
}

impl AttachMode {
    /// The word that the configuration and the CLI use.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// The classifier of one AF_XDP port. Dropping it detaches.
#[derive(Debug)]
pub struct XdpPort {
    link: Option<Link>,
    native: Program,
    generic: Program,
    sockets: SocketMap,
    maps: Arc<Maps>,
    redirect: Option<Redirect>,
    protection: Option<Arc<Protection>>,
    router_filter: RouterFilterInForce,
    interface_index: u32,
}

/// What a port's classifier does besides taking transit and leaving the rest to the kernel.
#[derive(Debug, Default)]
pub struct XdpPortExtras<'a> {
    /// The program for native mode forwards by the route cache.
    pub redirect: Option<Redirect>,
    /// What is left to the kernel is limited by class.
    pub protection: Option<&'a ProtectionLimits>,
}

impl XdpPort {
    /// Loads the classifier of the interface with this index and MAC address, for either mode;
    /// nothing is attached yet. Frames larger than `packet_bytes_max` stay the kernel's.
    ///
    /// The first `queues` receive queues are served, and each needs [`Self::register`]; frames of
    /// others stay the kernel's.
    ///
    /// # Errors
    /// The kernel's: `EPERM` without `CAP_BPF` and `CAP_NET_ADMIN`.
    pub fn new(
        interface_index: u32,
        mac_address: [u8; 6],
        queues: u32,
        packet_bytes_max: usize,
        local: &LocalAddresses,
        switch: &Arc<DeadManSwitch>,
    ) -> io::Result<Self> {
        let (maps, extras) = ((local, switch), XdpPortExtras::default());
        Self::with(interface_index, mac_address, queues, packet_bytes_max, maps, extras)
    }

    /// The same, and the classifier does more.
    ///
    /// # Errors
    /// Those of [`Self::new`]. The larger program may be refused where the smaller one is not: its
    /// load-acquire instructions, which only x86-64 does without, need Linux 6.15.
    pub fn with(
        interface_index: u32,
        mac_address: [u8; 6],
        queues: u32,
        packet_bytes_max: usize,
        (local, switch): (&LocalAddresses, &Arc<DeadManSwitch>),
        XdpPortExtras { redirect, protection }: XdpPortExtras<'_>,
    ) -> io::Result<Self> {
        let maps = Arc::new(Maps::new(local.clone(), switch.map())?);
        maps.set_mac_address(mac_address)?;
        let sockets = SocketMap::new(queues)?;
        let protection = protection.map(Protection::new).transpose()?.map(Arc::new);
        let load = |mode| {
            Classifier {
                hook: Hook::Xdp(mode),
                maps: &maps,
                sockets: Some(sockets.fd()),
                queues,
                workers: switch.workers() as u32,
                packet_bytes_max: packet_bytes_max as u32,
                redirect: redirect.as_ref().filter(|_| mode == AttachMode::Native),
                protection: protection.as_deref(),
            }
            .load()
        };
        let (native, generic) = (load(AttachMode::Native)?, load(AttachMode::Generic)?);
        let link = None;
        let router_filter = RouterFilterInForce::default();
        Ok(Self {
            link,
            native,
            generic,
            sockets,
            maps,
            redirect,
            protection,
            router_filter,
            interface_index,
        })
    }

    /// Steers receive queue `queue` of the NIC into this socket.
    ///
    /// # Errors
    /// The kernel's.
    pub fn register(&self, queue: u32, socket: &XdpQueue) -> io::Result<()> {
        self.sockets.set(queue, socket.fd())
    }

    /// Attaches the classifier. Do this last: frames come from now on.
    ///
    /// # Errors
    /// The kernel's: `EBUSY` when another XDP program is attached, `EOPNOTSUPP` when the driver
    /// has no XDP, `ERANGE` when its MTU is too large for it.
    pub fn attach(&mut self, mode: AttachMode) -> io::Result<()> {
        let flags = match mode {
            AttachMode::Native => XDP_FLAGS_NATIVE,
            AttachMode::Generic => FLAGS_GENERIC,
        };
        self.link = Some(self.program(mode).attach_xdp(self.interface_index, flags)?);
        Ok(())
    }

    /// Detaches the classifier: the kernel gets every frame again.
    pub fn detach(&mut self) {
        self.link = None;
    }

    /// Tells the classifier that the interface's MAC address has changed.
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

    /// What the classifier did, in the order of [`Outcome::ALL`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn outcomes(&self) -> io::Result<[OutcomeTotals; Outcome::ALL.len()]> {
        self.maps.outcome_totals()
    }

    /// What the classifier has limited and left to the kernel by class; `None` without protection.
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
        RouterFilterLoader { hook: Hook::Xdp(AttachMode::Native), maps, protection }
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

    /// Whether the program for native mode forwards by a route cache.
    #[must_use]
    pub fn has_route_cache(&self) -> bool {
        self.redirect.is_some()
    }

    /// What the classifier has forwarded by itself to each port, by number; empty without a route
    /// cache.
    ///
    /// # Errors
    /// The kernel's.
    pub fn redirected(&self) -> io::Result<Vec<Redirected>> {
        self.redirect.as_ref().map_or_else(|| Ok(Vec::new()), Redirect::totals)
    }

    fn program(&self, mode: AttachMode) -> &Program {
        match mode {
            AttachMode::Native => &self.native,
            AttachMode::Generic => &self.generic,
        }
    }

    /// What the native classifier makes of `frame` when it forwards it by itself; `None` when it does
    /// not. The frame goes nowhere (`BPF_PROG_TEST_RUN`); for tests.
    ///
    /// # Errors
    /// The kernel's.
    pub fn redirect(&self, frame: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let sum = |totals: Vec<Redirected>| totals.iter().map(|it| it.packets).sum::<u64>();
        let before = sum(self.redirected()?);
        let (_, made) = self.native.test_run(frame)?;
        Ok((sum(self.redirected()?) > before).then_some(made))
    }

    /// Lets the classifier for `mode` judge `frame`, which goes nowhere (`BPF_PROG_TEST_RUN`); for tests.
    ///
    /// # Errors
    /// The kernel's.
    pub fn run(&self, mode: AttachMode, frame: &[u8]) -> io::Result<()> {
        self.program(mode).test_run(frame).map(drop)
    }

    /// The same so many times in one call: nanoseconds of one run, on average; for measurements.
    ///
    /// # Errors
    /// The kernel's.
    pub fn run_repeatedly(&self, mode: AttachMode, frame: &[u8], runs: u32) -> io::Result<u32> {
        self.program(mode).test_run_repeatedly(frame, runs)
    }

    /// Asks the classifier for `mode` what it would do with `frame`, without sending it anywhere
    /// (`BPF_PROG_TEST_RUN`); for tests.
    ///
    /// # Errors
    /// The kernel's.
    pub fn classify(&self, mode: AttachMode, frame: &[u8]) -> io::Result<Outcome> {
        let before = self.outcomes()?;
        self.run(mode, frame)?;
        let after = self.outcomes()?;
        Outcome::ALL
            .into_iter()
            .zip(before.iter().zip(&after))
            .find(|(_, (before, after))| after.packets > before.packets)
            .map(|(outcome, _)| outcome)
            .ok_or_else(|| io::Error::other("the classifier counted no outcome"))
    }
}
