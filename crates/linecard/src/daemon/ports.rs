//! Opening ports: which kind each becomes, and the kernel's side of it.

mod remedy;

use std::io;
use std::sync::Arc;

use anyhow::{Context, bail};
use linecard_control::config::{Config, KernelDriver, KernelPort, PortKind, XdpMode};
use linecard_io::xdp::XdpPortExtras;
use linecard_io::{
    AttachMode, ClassTotals, DeadManSwitch, Interface, LoadedRouterFilter, LocalAddresses, Outcome,
    OutcomeTotals, PacketGate, ProtectionClass, ProtectionLimits, RouteCache, RouterFilterLoader,
    XdpPort,
};
use linecard_packet::PortId;
use tracing::{info, warn};

pub(super) use self::remedy::explain;
use self::remedy::explain_attach;
use super::claim::Claim;

/// Bytes in front of a packet that packet memory keeps free.
const HEADROOM_BYTES: u32 = 256;

/// What is going to be served, found out before anything is changed.
pub(super) struct Plan {
    /// Workers that run: no more than the port with the fewest queues has, so that each worker
    /// owns a queue of each port that receives and transmits.
    pub(super) workers: usize,
    ports: Vec<PlannedPort>,
    packet_bytes_max: usize,
    protection: Option<ProtectionLimits>,
    has_services: bool,
}

struct PlannedPort {
    id: PortId,
    options: KernelPort,
    interface: Interface,
    /// Receive queues beyond `queues_max`.
    unserved_queues: u32,
    _claim: Claim,
}

impl PlannedPort {
    /// Queues that receive and transmit.
    fn queue_pairs(&self) -> u32 {
        self.interface.receive_queues.min(self.interface.transmit_queues)
    }
}

/// What the classifiers of all ports share.
#[derive(Clone, Copy)]
struct SharedMaps<'a> {
    local: &'a LocalAddresses,
    switch: &'a Arc<DeadManSwitch>,
    cache: Option<&'a Arc<RouteCache>>,
}

/// The kernel's side of a port.
pub(super) enum KernelSide {
    /// An XDP program and sockets.
    Xdp(XdpPort, AttachMode),
    /// A tcx program and packet sockets.
    Packet(PacketGate),
}

/// A port that is attached.
pub(super) struct ServedPort {
    pub(super) id: PortId,
    pub(super) options: KernelPort,
    pub(super) interface: Interface,
    pub(super) side: KernelSide,
    /// Receive queues that workers serve.
    pub(super) queues: u32,
    /// The sockets were bound without copying.
    pub(super) zero_copy: bool,
    /// How fast its classifier leaves packets to the kernel; `None`: as they come.
    pub(super) limits: Option<ProtectionLimits>,
    /// Workers get packets with options and hop-by-hop headers, too.
    pub(super) takes_options: bool,
    /// Receive queues beyond `queues_max`.
    unserved_queues: u32,
    /// VLAN tag stripping was on and has to be turned on again.
    restore_vlan_stripping: bool,
}

impl Plan {
    /// Looks the interfaces up, and claims them for as long as the plan lives.
    ///
    /// # Errors
    /// A missing or unfit interface, or one that another daemon serves; a configuration of ports that are not the kernel's.
    pub(super) fn new(config: &Config) -> anyhow::Result<Self> {
        let mut ports = Vec::with_capacity(config.ports.len());
        for (number, port) in config.ports.iter().enumerate() {
            let PortKind::Kernel(options) = &port.kind else {
                bail!(
                    "port {} is of kind {}: `run` serves interfaces of the kernel; \
                     use `linecard replay` for capture files",
                    port.name,
                    port.kind.label()
                );
            };
            let mut interface = Interface::by_name(&port.name)
                .with_context(|| format!("port {}: see `ip link` for the interfaces", port.name))?;
            let mut unserved_queues = 0;
            if let Some(queues_max) = options.queues_max {
                let queues_max = u32::from(queues_max);
                unserved_queues = interface.receive_queues.saturating_sub(queues_max);
                interface.receive_queues -= unserved_queues;
            }
            let id = PortId(u16::try_from(number).context("more ports than can be numbered")?);
            let claim = Claim::new(&interface)?;
            let options = *options;
            ports.push(PlannedPort { id, options, interface, unserved_queues, _claim: claim });
        }
        let fewest = ports.iter().map(PlannedPort::queue_pairs).min().unwrap_or(1);
        let workers = (fewest as usize).min(usize::from(config.workers.count_max)).max(1);
        let packet_bytes_max = (config.memory.frame_bytes - HEADROOM_BYTES) as usize;
        Ok(Self {
            workers,
            ports,
            packet_bytes_max,
            protection: config.protection,
            has_services: config.has_services(),
        })
    }

    /// Attaches the classifiers. No worker is armed yet, so they pass everything to the kernel.
    ///
    /// # Errors
    /// The kernel's refusal, with the remedy.
    pub(super) fn attach(
        &self,
        local: &LocalAddresses,
        switch: &Arc<DeadManSwitch>,
        cache: Option<&Arc<RouteCache>>,
    ) -> anyhow::Result<Vec<ServedPort>> {
        let shared = SharedMaps { local, switch, cache };
        self.ports.iter().map(|port| self.attach_port(port, shared)).collect()
    }

    fn attach_port(
        &self,
        port: &PlannedPort,
        shared: SharedMaps<'_>,
    ) -> anyhow::Result<ServedPort> {
        let (interface, options) = (&port.interface, port.options);
        let packet = || Ok((self.packet(interface, shared)?, false));
        let xdp = || self.xdp_with_vlan_tags(port, shared);
        let (side, restore_vlan_stripping) = match options.driver {
            KernelDriver::Packet => packet(),
            KernelDriver::Xdp => xdp(),
            KernelDriver::Auto => xdp().or_else(|error| {
                warn!(port = interface.name, "no AF_XDP, using AF_PACKET: {error:#}");
                packet()
            }),
        }?;
        let queues = match &side {
            KernelSide::Xdp(..) => interface.receive_queues,
            KernelSide::Packet(_) => self.workers as u32,
        };
        let mut served = ServedPort {
            id: port.id,
            options,
            interface: interface.clone(),
            side,
            queues,
            zero_copy: false,
            limits: self.protection,
            takes_options: false,
            unserved_queues: port.unserved_queues,
            restore_vlan_stripping,
        };
        served
            .set_takes_options(self.has_services)
            .map_err(|error| explain("write a BPF map", error))?;
        info!(
            port = interface.name,
            kind = served.kind(),
            mode = served.mode(),
            queues,
            "attached"
        );
        Ok(served)
    }

    /// Attaches the XDP program where VLAN tags stay in the frame; a packet socket gets a tag beside
    /// it. True when they did not stay there before.
    fn xdp_with_vlan_tags(
        &self,
        port: &PlannedPort,
        shared: SharedMaps<'_>,
    ) -> anyhow::Result<(KernelSide, bool)> {
        let interface = &port.interface;
        let name = &interface.name;
        let were_stripped = interface.keep_vlan_tags().with_context(|| {
            format!(
                "the driver of {name} strips VLAN tags and cannot be told not to: \
                 use kind = \"packet\""
            )
        })?;
        let side = self.xdp(port, shared);
        if side.is_err() && were_stripped {
            restore_vlan_stripping(interface);
        }
        Ok((side?, were_stripped))
    }

    fn xdp(&self, port: &PlannedPort, shared: SharedMaps<'_>) -> anyhow::Result<KernelSide> {
        let (interface, options) = (&port.interface, port.options);
        let side = || shared.cache.map(|cache| cache.port(port.id.0)).transpose();
        let load = |redirect| {
            XdpPort::with(
                interface.index,
                interface.mac_address,
                interface.receive_queues,
                self.packet_bytes_max,
                (shared.local, shared.switch),
                XdpPortExtras { redirect, protection: self.protection.as_ref() },
            )
        };
        let refused = |error: &io::Error| {
            warn!(
                port = interface.name,
                "its packets all go through the workers, since the kernel refuses the XDP program \
                 with the route cache (other processors than x86-64 need Linux 6.15); mode = \"off\" \
                 in [route_cache] ends this warning: {error}"
            );
        };
        let mut port = with_or_without(|| Ok(side()?.flatten()), load, refused)
            .map_err(|error| explain("load the XDP program", error))?;
        let modes: &[AttachMode] = match options.xdp_mode {
            XdpMode::Auto => &[AttachMode::Native, AttachMode::Generic],
            XdpMode::Native => &[AttachMode::Native],
            XdpMode::Generic => &[AttachMode::Generic],
        };
        let mut refusal = None;
        for &mode in modes {
            match port.attach(mode) {
                Ok(()) => return Ok(KernelSide::Xdp(port, mode)),
                Err(error) => refusal = Some(explain_attach(interface, mode, error)),
            }
        }
        Err(refusal.context("no XDP mode was tried")?)
    }

    fn packet(
        &self,
        interface: &Interface,
        SharedMaps { local, switch, .. }: SharedMaps<'_>,
    ) -> anyhow::Result<KernelSide> {
        let (index, mac) = (interface.index, interface.mac_address);
        let (bytes, protection) = (self.packet_bytes_max, self.protection.as_ref());
        let mut gate = PacketGate::new(index, mac, bytes, local, switch, protection)
            .map_err(|error| explain("load the tcx program", error))?;
        gate.attach().map_err(|error| {
            let what = format!("attach the tcx program to {} (Linux 6.6)", interface.name);
            explain(&what, error)
        })?;
        Ok(KernelSide::Packet(gate))
    }
}

impl ServedPort {
    /// As the configuration and the CLI call it.
    pub(super) fn kind(&self) -> &'static str {
        match self.side {
            KernelSide::Xdp(..) => "xdp",
            KernelSide::Packet(_) => "packet",
        }
    }

    /// Where and how its frames are taken.
    pub(super) fn mode(&self) -> String {
        match self.side {
            KernelSide::Xdp(_, mode) => {
                let copy = if self.zero_copy { "zero-copy" } else { "copy" };
                format!("{} {copy}", mode.label())
            }
            KernelSide::Packet(_) => String::new(),
        }
    }

    /// What its classifier did.
    pub(super) fn outcomes(&self) -> io::Result<[OutcomeTotals; Outcome::ALL.len()]> {
        match &self.side {
            KernelSide::Xdp(port, _) => port.outcomes(),
            KernelSide::Packet(gate) => gate.outcomes(),
        }
    }

    /// What its classifier has limited and left to the kernel, by class.
    pub(super) fn classes(&self) -> io::Result<Option<[ClassTotals; ProtectionClass::ALL.len()]>> {
        match &self.side {
            KernelSide::Xdp(port, _) => port.classes(),
            KernelSide::Packet(gate) => gate.classes(),
        }
    }

    /// Other limits from now on, if these are others, and whether they are; protection cannot be switched on or off.
    pub(super) fn set_limits(&mut self, limits: &ProtectionLimits) -> io::Result<bool> {
        if self.limits.is_none_or(|old| old == *limits) {
            return Ok(false);
        }
        match &self.side {
            KernelSide::Xdp(port, _) => port.set_limits(limits)?,
            KernelSide::Packet(gate) => gate.set_limits(limits)?,
        }
        self.limits = Some(*limits);
        Ok(true)
    }

    /// Whether workers get packets with options and hop-by-hop headers, which only services want to see.
    pub(super) fn set_takes_options(&mut self, takes: bool) -> io::Result<()> {
        match &self.side {
            KernelSide::Xdp(port, _) => port.set_takes_options(takes)?,
            KernelSide::Packet(gate) => gate.set_takes_options(takes)?,
        }
        self.takes_options = takes;
        Ok(())
    }

    /// Whether frames of some receive queues all stay the kernel's. A packet socket has those of all.
    pub(super) fn has_unserved_queues(&self) -> bool {
        self.unserved_queues > 0 && matches!(self.side, KernelSide::Xdp(..))
    }

    /// What makes filters of what is for the router.
    pub(super) fn router_filter_loader(&self) -> RouterFilterLoader {
        match &self.side {
            KernelSide::Xdp(port, _) => port.router_filter_loader(),
            KernelSide::Packet(gate) => gate.router_filter_loader(),
        }
    }

    /// Another filter of what is for the router from now on, or none; returns that which there was.
    pub(super) fn put_router_filter(
        &mut self,
        filter: Option<LoadedRouterFilter>,
    ) -> io::Result<Option<LoadedRouterFilter>> {
        match &mut self.side {
            KernelSide::Xdp(port, _) => port.put_router_filter(filter),
            KernelSide::Packet(gate) => gate.put_router_filter(filter),
        }
    }

    /// Tells the classifier of another MAC address.
    pub(super) fn set_mac_address(&mut self, address: [u8; 6]) -> io::Result<()> {
        match &self.side {
            KernelSide::Xdp(port, _) => port.set_mac_address(address)?,
            KernelSide::Packet(gate) => gate.set_mac_address(address)?,
        }
        self.interface.mac_address = address;
        Ok(())
    }

    /// Detaches the classifier and leaves the interface as it was found; once.
    pub(super) fn close(&mut self) {
        match &mut self.side {
            KernelSide::Xdp(port, _) => port.detach(),
            KernelSide::Packet(gate) => gate.detach(),
        }
        if std::mem::take(&mut self.restore_vlan_stripping) {
            restore_vlan_stripping(&self.interface);
        }
    }
}

impl Drop for ServedPort {
    fn drop(&mut self) {
        self.close();
    }
}

/// Loads with what `side` gives; if either fails, says so and loads without it.
fn with_or_without<S, T>(
    side: impl FnOnce() -> io::Result<Option<S>>,
    load: impl Fn(Option<S>) -> io::Result<T>,
    refused: impl FnOnce(&io::Error),
) -> io::Result<T> {
    let with = match side() {
        Ok(None) => return load(None),
        Ok(side) => load(side),
        Err(error) => Err(error),
    };
    with.or_else(|error| {
        let loaded = load(None)?;
        refused(&error);
        Ok(loaded)
    })
}

fn restore_vlan_stripping(interface: &Interface) {
    if let Err(error) = interface.strip_vlan_tags() {
        warn!(port = interface.name, %error, "VLAN tag stripping stays off");
    }
}

#[cfg(test)]
mod tests {
    use libc::{EINVAL, EPERM};

    use super::*;

    #[test]
    fn a_program_that_is_refused_with_the_cache_is_loaded_without() {
        let refusal = || io::Error::from_raw_os_error(EINVAL);
        let load = |side: Option<u8>| if side == Some(1) { Err(refusal()) } else { Ok(side) };
        let mut warnings = 0;
        let mut warn = |_: &io::Error| warnings += 1;
        let accepted = with_or_without(|| Ok(Some(2)), load, &mut warn);
        let unwanted = with_or_without(|| Ok(None), load, &mut warn);
        let refused = with_or_without(|| Ok(Some(1)), load, &mut warn);
        let no_side = with_or_without(|| Err(refusal()), load, &mut warn);
        assert_eq!(accepted.expect("it loads"), Some(2));
        assert_eq!(unwanted.expect("it loads"), None);
        assert_eq!(refused.expect("it loads without"), None);
        assert_eq!(no_side.expect("it loads without"), None);
        assert_eq!(warnings, 2);
    }

    #[test]
    fn a_program_that_is_refused_in_any_case_is_no_warning_of_the_caches() {
        let load = |_: Option<u8>| Err::<(), _>(io::Error::from_raw_os_error(EPERM));
        let warn = |_: &io::Error| panic!("the cache is not to blame");
        let error = with_or_without(|| Ok(Some(1)), load, warn).expect_err("refused twice");
        assert_eq!(error.raw_os_error(), Some(EPERM));
    }
}
