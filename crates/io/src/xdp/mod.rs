//! AF_XDP ports: the kernel's express lane, without unbinding the NIC from its driver.
//!
//! A port is three things. The *classifier* ([`crate::bpf::classifier`]) stands in the driver (or
//! in the generic hook) and steers transit frames into sockets. A *queue* ([`XdpQueue`]) is one
//! socket of one worker for one receive queue of the NIC; all queues of a worker share its packet
//! memory. The *dead-man switch* ([`DeadManSwitch`]) makes the classifier pass everything to the
//! kernel the moment a worker dies.
//!
//! Sources: Documentation/networking/af_xdp.rst, net/xdp/xsk.c, linux/if_xdp.h.

pub mod dead_man;
mod live_side;
pub mod live_transmitter;
pub mod port;
pub mod queue;
mod ring;
mod socket;

pub use dead_man::{Armed, DeadManSwitch};
pub use live_transmitter::LiveTransmitter;
pub use port::{AttachMode, XdpPort, XdpPortExtras};
pub use queue::{QueueOptions, SharedUmem, XdpQueue, ZeroCopy};
