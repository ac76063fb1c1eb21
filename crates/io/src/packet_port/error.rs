//! Why a packet port cannot be opened.

use std::io;

/// Why a packet port cannot be opened, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum PacketPortError {
    /// The process may not open packet sockets.
    #[error(
        "{interface}: packet sockets need the capability CAP_NET_RAW; run as root, or give it to the program with setcap or AmbientCapabilities="
    )]
    Privilege {
        /// The interface's name.
        interface: String,
    },
    /// There is no such interface here.
    #[error(
        "{interface}: no such interface in this network namespace; `ip link` lists those there are"
    )]
    NoInterface {
        /// The interface's name.
        interface: String,
    },
    /// The interface carries something else than Ethernet frames.
    #[error(
        "{interface}: not an Ethernet interface (ARP hardware type {hardware_type}); only Ethernet can be a port"
    )]
    NotEthernet {
        /// The interface's name.
        interface: String,
        /// `ARPHRD_*` of linux/if_arp.h.
        hardware_type: u16,
    },
    /// The fan-out group has a member with other settings.
    #[error(
        "{interface}: fan-out group {group} is in use with other settings; give the port a group number of its own"
    )]
    FanoutGroup {
        /// The interface's name.
        interface: String,
        /// The group's number.
        group: u16,
    },
    /// The kernel refuses something that it should have.
    #[error(
        "{interface}: the kernel refuses {feature}: {source}; Linecard needs Linux 5.15 or later with CONFIG_PACKET"
    )]
    Kernel {
        /// The interface's name.
        interface: String,
        /// What was asked for, by its name in packet(7).
        feature: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
}
