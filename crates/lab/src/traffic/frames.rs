//! Single frames on an interface, byte for byte: injected as given, captured with their VLAN tags.
//!
//! The kernel takes the outer tag off a received frame before packet sockets see it and tells it
//! beside the frame (`PACKET_AUXDATA`, packet(7)); a captured frame has it back in its place.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockProtocol,
    SockType, bind, recvmsg, sendmmsg, socket,
};

use super::readable_before;
use crate::error::{LabError, Result};
use crate::namespace::Namespace;

const FRAME_BYTES_MAX: usize = 65_536 + 18;
/// Frames in one system call.
const BATCH: usize = 64;
/// Room for frames that wait to be looked at.
const SOCKET_BUFFER_BYTES: usize = 32 << 20;
/// `PACKET_AUXDATA` (uapi/linux/if_packet.h).
const PACKET_AUXDATA: i32 = 8;
/// `PACKET_OUTGOING`: a frame that this host sends.
const PACKET_OUTGOING: u8 = 4;
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;
const TPID_8021Q: u16 = 0x8100;
/// Where a tag stands: behind both addresses.
const TAG_OFFSET: usize = 12;

/// Which way a captured frame went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It came in from the wire.
    Received,
    /// This host sent it.
    Sent,
}

/// A frame as it was on the wire, without the check sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapturedFrame {
    /// Its bytes from the destination address on, with every VLAN tag.
    pub bytes: Vec<u8>,
    /// Which way it went.
    pub direction: Direction,
}

/// A packet socket on one interface; capture begins when it is opened.
#[derive(Debug)]
pub struct FrameSocket {
    socket: OwnedFd,
    index: usize,
    label: String,
}

impl FrameSocket {
    /// Opens a packet socket for all protocols on `interface`. Frames for other Ethernet addresses
    /// are seen as far as the driver passes them up; on a veth that is always.
    ///
    /// # Errors
    /// When there is no such interface, or without `CAP_NET_RAW`.
    pub fn open(namespace: &Namespace, interface: &str) -> Result<Self> {
        let label = format!("{interface} in {namespace}");
        let index = namespace.interface(interface)?.index as usize;
        let socket = namespace
            .run(|| open_here(index))
            .map_err(|error| LabError::new(format!("open a packet socket on {label}"), error))?;
        Ok(Self { socket, index, label })
    }

    /// Sends one frame, from the destination address on; the kernel adds nothing.
    ///
    /// # Errors
    /// When the interface is down or the frame is larger than its MTU allows.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        nix::unistd::write(&self.socket, frame).map(drop).map_err(|error| {
            LabError::new(format!("send a frame of {} bytes on {}", frame.len(), self.label), error)
        })
    }

    /// Sends frames in their order, 64 to a system call; returns how many the kernel took before it
    /// refused one (its queue is full, say).
    ///
    /// # Errors
    /// When not even the first is taken.
    pub fn send_all<F: AsRef<[u8]>>(&self, frames: &[F]) -> Result<usize> {
        let mut headers = MultiHeaders::<LinkAddr>::preallocate(BATCH, None);
        let mut sent = 0;
        while sent < frames.len() {
            let batch = &frames[sent..frames.len().min(sent + BATCH)];
            let slices: Vec<_> = batch.iter().map(|it| [IoSlice::new(it.as_ref())]).collect();
            let addresses = vec![None; batch.len()];
            let fd = self.socket.as_raw_fd();
            match sendmmsg(fd, &mut headers, &slices, &addresses, [], MsgFlags::empty()) {
                Ok(results) => sent += results.count(),
                Err(Errno::EINTR) => {}
                Err(_) if sent > 0 => break,
                Err(error) => {
                    return Err(LabError::new(format!("send frames on {}", self.label), error));
                }
            }
        }
        Ok(sent)
    }

    /// The next frame before `deadline`, or nothing.
    ///
    /// # Errors
    /// When the interface goes away.
    pub fn receive(&self, deadline: Instant) -> Result<Option<CapturedFrame>> {
        let failed = |error: io::Error| LabError::new(format!("capture on {}", self.label), error);
        loop {
            if let Some(frame) = self.receive_now().map_err(failed)? {
                return Ok(Some(frame));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            readable_before(&self.socket, deadline).map_err(failed)?;
        }
    }

    /// The first frame within `timeout` that `wanted` accepts; others are passed over.
    ///
    /// # Errors
    /// `TimedOut`, with the number of frames passed over; or when the interface goes away.
    pub fn receive_first(
        &self,
        timeout: Duration,
        mut wanted: impl FnMut(&CapturedFrame) -> bool,
    ) -> Result<CapturedFrame> {
        let deadline = Instant::now() + timeout;
        let mut others = 0;
        while let Some(frame) = self.receive(deadline)? {
            if wanted(&frame) {
                return Ok(frame);
            }
            others += 1;
        }
        Err(LabError::timed_out(
            format!("capture the frame on {}", self.label),
            format!("{others} other frames came within {timeout:?}"),
        ))
    }

    /// Frames that `wanted` accepts, until there are `count` or `timeout` has passed.
    ///
    /// # Errors
    /// When the interface goes away.
    pub fn collect(
        &self,
        count: usize,
        timeout: Duration,
        mut wanted: impl FnMut(&CapturedFrame) -> bool,
    ) -> Result<Vec<CapturedFrame>> {
        let deadline = Instant::now() + timeout;
        let mut frames = Vec::new();
        while frames.len() < count {
            match self.receive(deadline)? {
                Some(frame) if wanted(&frame) => frames.push(frame),
                Some(_) => {}
                None => break,
            }
        }
        Ok(frames)
    }

    /// One frame that is already there.
    fn receive_now(&self) -> io::Result<Option<CapturedFrame>> {
        let mut buffer = vec![0; FRAME_BYTES_MAX];
        let mut control = nix::cmsg_space!([u8; AuxiliaryData::BYTES]);
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let (flags, fd) = (MsgFlags::MSG_DONTWAIT, self.socket.as_raw_fd());
        let message = match recvmsg::<LinkAddr>(fd, &mut slices, Some(&mut control), flags) {
            Ok(message) => message,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(address) = message.address else { return Ok(None) };
        // Between socket(2) and bind(2), frames of every interface come in.
        if address.ifindex() != self.index {
            return Ok(None);
        }
        let direction = if address.pkttype() == PACKET_OUTGOING {
            Direction::Sent
        } else {
            Direction::Received
        };
        let tag = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Unknown(it) => AuxiliaryData::parse(&it.data_bytes)?.tag(),
            _ => None,
        });
        let length = message.bytes;
        buffer.truncate(length);
        if let (Some(tag), true) = (tag, length >= TAG_OFFSET) {
            buffer.splice(TAG_OFFSET..TAG_OFFSET, tag);
        }
        Ok(Some(CapturedFrame { bytes: buffer, direction }))
    }
}

fn open_here(index: usize) -> io::Result<OwnedFd> {
    let socket =
        socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
    // nix makes no sockaddr_ll of its own, but getifaddrs(3) brings one for every interface.
    let address = nix::ifaddrs::getifaddrs()?
        .filter_map(|entry| entry.address)
        .find_map(|address| address.as_link_addr().copied().filter(|it| it.ifindex() == index))
        .ok_or(Errno::ENODEV)?;
    bind(socket.as_raw_fd(), &address)?;
    linecard_io::socket_option::set_integer(&socket, libc::SOL_PACKET, PACKET_AUXDATA, 1)?;
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER_BYTES)?;
    Ok(socket)
}

/// What the kernel tells beside a frame: `struct tpacket_auxdata`.
struct AuxiliaryData {
    status: u32,
    vlan_tci: u16,
    vlan_tpid: u16,
}

impl AuxiliaryData {
    const BYTES: usize = 20;

    fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<{ Self::BYTES }>()?;
        Some(Self {
            status: u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
            vlan_tci: u16::from_ne_bytes([bytes[16], bytes[17]]),
            vlan_tpid: u16::from_ne_bytes([bytes[18], bytes[19]]),
        })
    }

    /// The tag that was taken off, as it stood on the wire.
    fn tag(&self) -> Option<[u8; 4]> {
        if self.status & TP_STATUS_VLAN_VALID == 0 {
            return None;
        }
        let known = self.status & TP_STATUS_VLAN_TPID_VALID != 0;
        let tpid = if known { self.vlan_tpid } else { TPID_8021Q };
        let ([a, b], [c, d]) = (tpid.to_be_bytes(), self.vlan_tci.to_be_bytes());
        Some([a, b, c, d])
    }
}
