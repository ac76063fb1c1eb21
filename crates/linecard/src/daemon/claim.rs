//! One daemon a port: a claim on each interface that ends with the process.
//!
//! The kernel refuses a second XDP program, but any number of packet sockets: two daemons on one
//! AF_PACKET port would both forward each packet. So a daemon first binds a unix socket whose abstract
//! name (unix(7)) tells the interface. Such names are a network namespace's own, as interfaces are, and the
//! kernel takes them back however the process ends.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use anyhow::bail;
use linecard_io::Interface;

/// The right to serve one interface; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Claim {
    _socket: UnixListener,
}

impl Claim {
    /// Claims `interface` for this process.
    ///
    /// # Errors
    /// When another daemon serves it.
    pub(super) fn new(interface: &Interface) -> anyhow::Result<Self> {
        let (name, index) = (&interface.name, interface.index);
        let bind = || -> io::Result<UnixListener> {
            let address = SocketAddr::from_abstract_name(format!("linecard-port-{index}"))?;
            UnixListener::bind_addr(&address)
        };
        match bind() {
            Ok(socket) => Ok(Self { _socket: socket }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => bail!(
                "port {name}: another linecard serves this interface: stop it first \
                 (`ss -xlp src '@linecard-port-{index}'` names the process that has claimed it)"
            ),
            Err(error) => {
                Err(anyhow::Error::new(error).context(format!("port {name}: cannot claim it")))
            }
        }
    }
}
