//! Ports and packet memory: how frames enter and leave the house.
//!
//! A worker owns one [`PacketMemory`] and, on each port, one or more [`PortQueue`]s: a receive and
//! a transmit queue. All queues of a worker share the worker's memory, so forwarding moves no
//! bytes: a received [`Frame`] is handed to another queue's transmit side as it is.
//!
//! `io` knows no service, no table and no configuration text.

pub mod frame;
pub mod memory;
pub mod memory_port;
pub mod pcap_port;
pub mod port;

pub use frame::Frame;
pub use memory::{MemoryConfig, PacketMemory};
pub use memory_port::{MemoryPeer, MemoryPort};
pub use pcap_port::{CaptureError, PcapPort};
pub use port::{KernelCounters, PortQueue};
