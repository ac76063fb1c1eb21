//! Ports and packet memory: how frames enter and leave the house.
//!
//! A worker owns one [`PacketMemory`] and, on each port, one or more [`PortQueue`]s: a receive and
//! a transmit queue. All queues of a worker share the worker's memory, so forwarding moves no
//! bytes: a received [`Frame`] is handed to another queue's transmit side as it is.
//!
//! `io` knows no service, no table and no configuration text.

pub mod bpf;
pub mod frame;
pub mod interface;
pub mod memory;
pub mod memory_port;
pub mod packet_gate;
pub mod packet_port;
pub mod pcap_port;
pub mod port;
pub mod protection;
pub mod punt_device;
pub mod punt_mark;
pub mod route_cache;
pub mod router_filter;
pub mod socket_option;
pub mod xdp;

/// What [`route_cache`] shares between threads; its model test has loom's in this place.
mod sync {
    pub(crate) use std::sync::atomic;
}

pub use bpf::{LocalAddresses, Outcome, OutcomeTotals};
pub use frame::Frame;
pub use interface::Interface;
pub use memory::{MemoryConfig, PacketMemory};
pub use memory_port::{MemoryPeer, MemoryPort};
pub use packet_gate::PacketGate;
pub use packet_port::{PacketPort, PacketPortError, PacketPortOptions};
pub use pcap_port::{AnnotatedCapture, CaptureError, PcapPort};
pub use port::{KernelCounters, PortQueue};
pub use protection::{ClassLimit, ClassTotals, ProtectionClass, ProtectionLimits};
pub use punt_device::{PuntDevice, PuntQueue};
pub use punt_mark::punt_mark;
pub use route_cache::{CachedRoute, RouteCache};
pub use router_filter::{
    LoadedRouterFilter, RouterFilter, RouterFilterCounters, RouterFilterLoader,
};
pub use xdp::{AttachMode, DeadManSwitch, XdpPort, XdpQueue};
