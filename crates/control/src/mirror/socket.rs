//! The two netlink sockets: one that listens to news, one that asks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use netlink_packet_core::{
    Emitable, ErrorBuffer, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
    NetlinkBuffer, NetlinkHeader,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::{io::Errno, net::sockopt};

/// A datagram of the kernel's is 32 KiB at most in a dump; a route of a thousand paths fits, too.
const DATAGRAM_BYTES_MAX: usize = 128 * 1024;
const HEADER_BYTES: usize = 16;
/// The kernel answers a request at once; this only guards against waiting for ever.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// `MSG_TRUNC`: say the true length of a datagram.
const MSG_TRUNC: i32 = 0x20;

/// One message of a datagram.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) message_type: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) payload: &'a [u8],
}

/// What one read of the listening socket brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// A datagram of so many bytes.
    Datagram(usize),
    /// Nothing waits.
    Empty,
    /// The kernel had to throw messages away.
    Overrun,
}

/// A netlink socket with its buffer.
#[derive(Debug)]
pub(super) struct NetlinkSocket {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl NetlinkSocket {
    fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        // Not all kernels know it; without it dumps hold more than was asked for.
        let _ = socket.set_netlink_get_strict_chk(true);
        Ok(Self { socket, buffer: vec![0; DATAGRAM_BYTES_MAX], sequence: 0 })
    }

    /// A socket for requests to a `NETLINK_*` protocol, which waits for answers.
    pub(super) fn requester(protocol: isize) -> io::Result<Self> {
        let this = Self::open(protocol)?;
        let timeout = Some(ANSWER_WITHIN);
        sockopt::set_socket_timeout(this.as_fd(), sockopt::Timeout::Recv, timeout)?;
        Ok(this)
    }

    /// A socket for news of the given multicast groups, which never waits.
    pub(super) fn listener(groups: &[u32], buffer_bytes: usize) -> io::Result<Self> {
        let this = Self::open(NETLINK_ROUTE)?;
        // The plain option is bounded by net.core.rmem_max, the other needs CAP_NET_ADMIN.
        if sockopt::set_socket_recv_buffer_size_force(this.as_fd(), buffer_bytes).is_err() {
            sockopt::set_socket_recv_buffer_size(this.as_fd(), buffer_bytes)?;
        }
        this.socket.set_non_blocking(true)?;
        for group in groups {
            this.socket.add_membership(*group)?;
        }
        Ok(this)
    }

    pub(super) fn receive_buffer_bytes(&self) -> io::Result<usize> {
        Ok(sockopt::socket_recv_buffer_size(self.as_fd())?)
    }

    /// Reads one datagram.
    pub(super) fn read(&mut self) -> io::Result<Read> {
        let room = self.buffer.len();
        match self.socket.recv_from(&mut &mut self.buffer[..], MSG_TRUNC) {
            // Truncated: what is missing is lost like anything that did not fit the buffer.
            Ok((length, _)) if length > room => Ok(Read::Overrun),
            // Anybody may send to the socket; the kernel is port 0.
            Ok((_, sender)) if sender.port_number() != 0 => Ok(Read::Datagram(0)),
            Ok((length, _)) => Ok(Read::Datagram(length)),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::AGAIN) => Ok(Read::Empty),
                Some(Errno::NOBUFS) => Ok(Read::Overrun),
                Some(Errno::INTR) => Ok(Read::Datagram(0)),
                _ => Err(error),
            },
        }
    }

    /// The messages of the datagram that was read last, `length` bytes long.
    pub(super) fn messages(&self, length: usize) -> Messages<'_> {
        Messages::of(&self.buffer[..length])
    }

    /// Sends a request; the answers carry the number that is returned.
    pub(super) fn send(
        &mut self,
        message_type: u16,
        flags: u16,
        payload: &[u8],
    ) -> io::Result<u32> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let mut header = NetlinkHeader::default();
        header.length = u32::try_from(HEADER_BYTES + payload.len()).unwrap_or(u32::MAX);
        header.message_type = message_type;
        header.flags = flags | NLM_F_REQUEST;
        header.sequence_number = self.sequence;
        let mut bytes = vec![0; HEADER_BYTES];
        header.emit(&mut bytes);
        bytes.extend_from_slice(payload);
        self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
        Ok(self.sequence)
    }

    /// Asks for a dump. [`NetlinkSocket::read_dump`] reads it.
    pub(super) fn request_dump(&mut self, message_type: u16, payload: &[u8]) -> io::Result<u32> {
        self.send(message_type, NLM_F_DUMP, payload)
    }

    /// Reads a part of a dump and hands its messages to `take`; true at the end.
    ///
    /// `interrupted` is set where the tables changed while the kernel walked them: the dump may
    /// miss something and has to be asked for again.
    ///
    /// # Errors
    /// What the kernel answers, or that it does not answer.
    pub(super) fn read_dump(
        &mut self,
        sequence: u32,
        interrupted: &mut bool,
        mut take: impl FnMut(&Message<'_>),
    ) -> io::Result<bool> {
        let length = match self.read()? {
            Read::Datagram(length) => length,
            Read::Empty => return Err(io::ErrorKind::TimedOut.into()),
            Read::Overrun => return Err(Errno::NOBUFS.into()),
        };
        for message in self.messages(length) {
            if message.sequence != sequence {
                continue;
            }
            *interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
            match message.message_type {
                NLMSG_DONE => return done_code(message.payload).map_or(Ok(true), Err),
                NLMSG_ERROR => return error_code(message.payload).map_or(Ok(true), Err),
                _ => take(&message),
            }
        }
        Ok(false)
    }
}

/// A dump that failed half-way ends with the error in its last message.
fn done_code(payload: &[u8]) -> Option<io::Error> {
    let code = i32::from_ne_bytes(*payload.first_chunk()?);
    (code < 0).then(|| io::Error::from_raw_os_error(-code))
}

fn error_code(payload: &[u8]) -> Option<io::Error> {
    let code = ErrorBuffer::new_checked(payload).ok()?.code()?;
    Some(io::Error::from_raw_os_error(-code.get()))
}

/// The messages of a datagram, up to the first that does not fit.
#[derive(Debug)]
pub(super) struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    pub(super) fn of(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let buffer = NetlinkBuffer::new_checked(self.rest).ok()?;
        let length = buffer.length() as usize;
        let message = Message {
            message_type: buffer.message_type(),
            flags: buffer.flags(),
            sequence: buffer.sequence_number(),
            payload: self.rest.get(HEADER_BYTES..length)?,
        };
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(message)
    }
}

impl AsFd for NetlinkSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
