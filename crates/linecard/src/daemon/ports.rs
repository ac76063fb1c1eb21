//! Opening ports: which kind each becomes, and the kernel's side of it.

mod remedy;
mod served;

use std::io;
use std::sync::Arc;

use anyhow::{Context, bail};
use linecard_control::config::{Config, KernelDriver, KernelPort, PortKind, XdpMode};
use linecard_io::xdp::XdpPortExtras;
use linecard_io::{
    AttachMode, DeadManSwitch, Interface, LocalAddresses, PacketGate, ProtectionLimits, RouteCache,
    XdpPort,
};
use linecard_packet::PortId;
use tracing::{info, warn};

pub(super) use self::remedy::explain;
use self::remedy::explain_attach;
use self::served::restore_vlan_stripping;
pub(super) use self::served::{KernelSide, ServedPort};
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
