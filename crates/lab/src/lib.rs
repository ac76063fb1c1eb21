//! Network namespaces, links, addresses, routes, traffic generators and sinks: the laboratory in
//! which Linecard's demo, system tests and benchmarks run. It needs no external program,
//! but for [`RoutingDaemon`], which runs FRR and BIRD.
//!
//! Everything hangs on handles. Dropping a [`Namespace`] takes down its links, dropping a
//! [`Process`] kills and reaps the child, and when the process ends in whatever way the kernel
//! clears up the rest. Root (or `CAP_SYS_ADMIN`, `CAP_NET_ADMIN`, `CAP_NET_RAW`) is needed.
//!
//! ```no_run
//! use linecard_lab::{Namespace, VethOptions, create_veth};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (left, right) = (Namespace::new("left")?, Namespace::new("right")?);
//! create_veth((&left, "eth0"), (&right, "eth0"), &VethOptions::default())?;
//! left.add_address("eth0", "192.0.2.1/24".parse()?)?;
//! left.set_up("eth0")?;
//! # Ok(())
//! # }
//! ```

mod address;
mod daemons;
mod error;
mod link;
mod namespace;
mod netlink;
mod nexthop;
mod offload;
mod process;
mod route;
mod route_dump;
mod rtnetlink;
mod topology;
mod traffic;
mod wait;

pub use address::Neighbour;
pub use daemons::RoutingDaemon;
pub use error::{LabError, Result};
pub use link::{Interface, InterfaceCounters, MacAddress, VethOptions, create_veth};
pub use namespace::Namespace;
pub use netlink_packet_route::neighbour::NeighbourState;
pub use nix::sys::signal::Signal;
pub use process::{Process, command_that_dies_with_us, die_with_parent, was_killed};
pub use route::{NextHop, Route};
pub use route_dump::{KernelNextHop, KernelRoute};
pub use topology::{Link, Port, RouterOptions, RouterTopology};
pub use traffic::count_sink::{CountSink, CountSinkReport, SinkHook};
pub use traffic::flood::{Flood, FloodKind, FloodLoad, FloodReport};
pub use traffic::frames::{CapturedFrame, Direction, FrameSocket};
pub use traffic::path_mtu::{PathMtu, path_mtu};
pub use traffic::ping::{PingOptions, PingReport, ping};
pub use traffic::probe::{IcmpError, ProbeKind, ProbeOutcome};
pub use traffic::sink::{FlowReport, UdpSink, UdpSinkReport};
pub use traffic::tcp::{TcpDirection, TcpReport, TcpRun, TcpTransfer};
pub use traffic::traceroute::{Hop, TracerouteOptions, traceroute};
pub use traffic::udp::{
    UDP_PACKETS_MAX, UDP_PAYLOAD_BYTES_MIN, UdpGenerator, UdpLoad, UdpSendReport,
};
pub use wait::{wait_for, wait_until};
