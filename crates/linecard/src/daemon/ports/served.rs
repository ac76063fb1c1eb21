//! A port that is attached, and what it is told and asked.

use std::io;

use linecard_control::config::KernelPort;
use linecard_io::{
    AttachMode, ClassTotals, Interface, LoadedRouterFilter, Outcome, OutcomeTotals, PacketGate,
    ProtectionClass, ProtectionLimits, RouterFilterLoader, XdpPort,
};
use linecard_packet::PortId;
use tracing::warn;

/// The kernel's side of a port.
pub(in crate::daemon) enum KernelSide {
    /// An XDP program and sockets.
    Xdp(XdpPort, AttachMode),
    /// A tcx program and packet sockets.
    Packet(PacketGate),
}

/// A port that is attached.
pub(in crate::daemon) struct ServedPort {
    pub(in crate::daemon) id: PortId,
    pub(in crate::daemon) options: KernelPort,
    pub(in crate::daemon) interface: Interface,
    pub(in crate::daemon) side: KernelSide,
    /// Receive queues that workers serve.
    pub(in crate::daemon) queues: u32,
    /// The sockets were bound without copying.
    pub(in crate::daemon) zero_copy: bool,
    /// How fast its classifier leaves packets to the kernel; `None`: as they come.
    pub(in crate::daemon) limits: Option<ProtectionLimits>,
    /// Workers get packets with options and hop-by-hop headers, too.
    pub(in crate::daemon) takes_options: bool,
    /// Receive queues beyond `queues_max`.
    pub(super) unserved_queues: u32,
    /// VLAN tag stripping was on and has to be turned on again.
    pub(super) restore_vlan_stripping: bool,
}

impl ServedPort {
    /// As the configuration and the CLI call it.
    pub(in crate::daemon) fn kind(&self) -> &'static str {
        match self.side {
            KernelSide::Xdp(..) => "xdp",
            KernelSide::Packet(_) => "packet",
        }
    }

    /// Where and how its frames are taken.
    pub(in crate::daemon) fn mode(&self) -> String {
        match self.side {
            KernelSide::Xdp(_, mode) => {
                let copy = if self.zero_copy { "zero-copy" } else { "copy" };
                format!("{} {copy}", mode.label())
            }
            KernelSide::Packet(_) => String::new(),
        }
    }

    /// What its classifier did.
    pub(in crate::daemon) fn outcomes(&self) -> io::Result<[OutcomeTotals; Outcome::ALL.len()]> {
        match &self.side {
            KernelSide::Xdp(port, _) => port.outcomes(),
            KernelSide::Packet(gate) => gate.outcomes(),
        }
    }

    /// What its classifier has limited and left to the kernel, by class.
    pub(in crate::daemon) fn classes(
        &self,
    ) -> io::Result<Option<[ClassTotals; ProtectionClass::ALL.len()]>> {
        match &self.side {
            KernelSide::Xdp(port, _) => port.classes(),
            KernelSide::Packet(gate) => gate.classes(),
        }
    }

    /// Other limits from now on, if these are others, and whether they are; protection cannot be switched on or off.
    pub(in crate::daemon) fn set_limits(&mut self, limits: &ProtectionLimits) -> io::Result<bool> {
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
    pub(in crate::daemon) fn set_takes_options(&mut self, takes: bool) -> io::Result<()> {
        match &self.side {
            KernelSide::Xdp(port, _) => port.set_takes_options(takes)?,
            KernelSide::Packet(gate) => gate.set_takes_options(takes)?,
        }
        self.takes_options = takes;
        Ok(())
    }

    /// Whether frames of some receive queues all stay the kernel's. A packet socket has those of all.
    pub(in crate::daemon) fn has_unserved_queues(&self) -> bool {
        self.unserved_queues > 0 && matches!(self.side, KernelSide::Xdp(..))
    }

    /// What makes filters of what is for the router.
    pub(in crate::daemon) fn router_filter_loader(&self) -> RouterFilterLoader {
        match &self.side {
            KernelSide::Xdp(port, _) => port.router_filter_loader(),
            KernelSide::Packet(gate) => gate.router_filter_loader(),
        }
    }

    /// Another filter of what is for the router from now on, or none; returns that which there was.
    pub(in crate::daemon) fn put_router_filter(
        &mut self,
        filter: Option<LoadedRouterFilter>,
    ) -> io::Result<Option<LoadedRouterFilter>> {
        match &mut self.side {
            KernelSide::Xdp(port, _) => port.put_router_filter(filter),
            KernelSide::Packet(gate) => gate.put_router_filter(filter),
        }
    }

    /// Tells the classifier of another MAC address.
    pub(in crate::daemon) fn set_mac_address(&mut self, address: [u8; 6]) -> io::Result<()> {
        match &self.side {
            KernelSide::Xdp(port, _) => port.set_mac_address(address)?,
            KernelSide::Packet(gate) => gate.set_mac_address(address)?,
        }
        self.interface.mac_address = address;
        Ok(())
    }

    /// Detaches the classifier and leaves the interface as it was found; once.
    pub(in crate::daemon) fn close(&mut self) {
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

/// As it was before the port was attached.
pub(super) fn restore_vlan_stripping(interface: &Interface) {
    if let Err(error) = interface.strip_vlan_tags() {
        warn!(port = interface.name, %error, "VLAN tag stripping stays off");
    }
}
