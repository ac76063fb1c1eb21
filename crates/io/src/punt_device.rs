//! The punt device: how a frame that a worker has taken goes back to the kernel.
//!
//! One TAP interface serves all ports. A frame is written to it with an outer VLAN tag that names
//! its port; the [`Redirector`] takes the tag off and hands the frame to that port's ingress, so
//! that the kernel processes it as if Linecard had never seen it: it answers ARP and ND, sends
//! ICMP errors from the right address, fragments, or forwards.
//!
//! The device lives as long as its descriptors: it is gone when Linecard is. It has no address,
//! IPv6 is off on it, and nothing is routed to it.
#![allow(unsafe_code, reason = "ioctl and writev with pointers")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use crate::bpf::{PUNT_PORTS_MAX, Redirector};
use crate::interface::{self, Interface};
use crate::punt_mark;

/// `TUNSETIFF` of linux/if_tun.h.
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const MAC_ADDRESSES_BYTES: usize = 12;

/// The TAP interface and its program. Dropping it, and all its [`PuntQueue`]s, removes it.
#[derive(Debug)]
pub struct PuntDevice {
    file: File,
    interface: Interface,
    redirector: Arc<Redirector>,
}

/// A handle by which one worker punts.
#[derive(Debug)]
pub struct PuntQueue {
    file: File,
    mark: [u8; 6],
}

impl PuntDevice {
    /// Creates the device, named `linecard0` or the next free number.
    ///
    /// # Errors
    /// `NotFound` when there is no /dev/net/tun (load the `tun` module), `PermissionDenied`
    /// without `CAP_NET_ADMIN`, or the kernel's refusal of the tcx program (Linux before 6.6).
    pub fn create() -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")?;
        let name = make_tap(&file)?;
        // Before it is up: the kernel would send router solicitations from it.
        // A kernel without IPv6 has no such file, and nothing to turn off.
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
        interface::set_up(&name)?;
        let interface = Interface::by_name(&name)?;
        let redirector = Arc::new(Redirector::attach(interface.index)?);
        Ok(Self { file, interface, redirector })
    }

    /// Its name in the kernel.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.interface.name
    }

    /// The kernel's index of it.
    #[must_use]
    pub fn interface_index(&self) -> u32 {
        self.interface.index
    }

    /// Sets it up again after somebody has set it down.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_up(&self) -> io::Result<()> {
        interface::set_up(&self.interface.name)
    }

    /// Frames punted for port number `port` go to the ingress of this interface from now on.
    ///
    /// # Errors
    /// `InvalidInput` for a port number above 4093; the kernel's otherwise.
    pub fn set_port(&self, port: u16, interface_index: u32) -> io::Result<()> {
        if port >= PUNT_PORTS_MAX {
            let text = format!("the punt device serves {PUNT_PORTS_MAX} ports");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.redirector.set_port(port + 1, interface_index)
    }

    /// A handle for one worker.
    ///
    /// # Errors
    /// The kernel's, when descriptors run out.
    pub fn queue(&self) -> io::Result<PuntQueue> {
        Ok(PuntQueue { file: self.file.try_clone()?, mark: punt_mark() })
    }
}

impl PuntQueue {
    /// Hands a frame to the kernel as if received on port number `port`; false when the kernel did
    /// not take it. One system call a packet: the caller limits the rate.
    ///
    /// The frame's source address becomes the mark ([`punt_mark()`]), so that the classifier knows it
    /// again and lets it pass. The kernel does not look at it.
    pub fn punt(&mut self, port: u16, frame: &[u8]) -> bool {
        if frame.len() < MAC_ADDRESSES_BYTES || port >= PUNT_PORTS_MAX {
            return false;
        }
        let (addresses, rest) = frame.split_at(MAC_ADDRESSES_BYTES);
        let destination = &addresses[..MAC_ADDRESSES_BYTES / 2];
        let [high, low] = (port + 1).to_be_bytes();
        let tag = [0x81, 0x00, high, low];
        let parts = [destination, &self.mark, &tag, rest].map(|part| libc::iovec {
            iov_base: part.as_ptr().cast_mut().cast(),
            iov_len: part.len(),
        });
        // SAFETY: the parts are valid for reading during the call, which does not write.
        let written =
            unsafe { libc::writev(self.file.as_raw_fd(), parts.as_ptr(), parts.len() as i32) };
        written == (frame.len() + tag.len()) as isize
    }
}

/// Turns the open tun file into a TAP interface with a name of the kernel's choice.
fn make_tap(file: &File) -> io::Result<String> {
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(b"linecard%d") {
        *to = *from as libc::c_char;
    }
    let flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    let ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_flags: flags };
    let mut request = libc::ifreq { ifr_name: name, ifr_ifru };
    // SAFETY: `request` is a valid ifreq for the call.
    if unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF as _, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let bytes = request.ifr_name.iter().take_while(|&&byte| byte != 0).map(|&byte| byte as u8);
    String::from_utf8(bytes.collect()).map_err(io::Error::other)
}
