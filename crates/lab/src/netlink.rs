//! A blocking netlink socket: one request at a time, or a batch, with the kernel's own words on
//! failure (extended acknowledgements, kernel `net/netlink/af_netlink.c`).

use std::io;

use netlink_packet_core::{
    DoneBuffer, Emitable, ErrorBuffer, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer,
    NetlinkHeader,
};
use netlink_sys::{Socket, SocketAddr};

use crate::error::LabError;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_HEADER_BYTES: usize = 16;
/// `NLMSGERR_ATTR_MSG`: the attribute of an acknowledgement that holds a sentence.
const ERROR_ATTRIBUTE_MESSAGE: u16 = 1;
/// Requests that go out in one datagram of a batch; the kernel answers each failed one.
const BATCH_BYTES_MAX: usize = 32 * 1024;

/// A message as it travels: its type and what follows the netlink header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawMessage {
    pub(crate) message_type: u16,
    pub(crate) payload: Vec<u8>,
}

/// Why the kernel refused a request.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) source: io::Error,
    pub(crate) detail: Option<String>,
}

impl Refusal {
    pub(crate) fn during(self, action: impl Into<String>) -> LabError {
        LabError::new(action, self.source).with_detail(self.detail)
    }
}

impl From<io::Error> for Refusal {
    fn from(source: io::Error) -> Self {
        Self { source, detail: None }
    }
}

/// A netlink socket that belongs to the namespace of the thread which opened it.
pub(crate) struct NetlinkSocket {
    socket: Socket,
    sequence: u32,
}

impl NetlinkSocket {
    /// Opens a socket of `protocol` (`NETLINK_ROUTE`, `NETLINK_GENERIC`) in this thread's namespace.
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Acknowledgements then carry the header alone, so the sentence is found at a fixed place.
        socket.set_cap_ack(true)?;
        socket.set_ext_ack(true)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends one request and collects what the kernel answers, up to its acknowledgement.
    pub(crate) fn request(
        &mut self,
        message: &RawMessage,
        flags: u16,
    ) -> Result<Vec<RawMessage>, Refusal> {
        let sequence = self.next_sequence();
        let mut bytes = Vec::new();
        append(&mut bytes, message, flags | NLM_F_REQUEST | NLM_F_ACK, sequence);
        self.socket.send(&bytes, 0)?;
        let mut replies = Vec::new();
        let dump = flags & NLM_F_DUMP == NLM_F_DUMP;
        while !self.collect(sequence, sequence, dump, &mut replies)? {}
        Ok(replies)
    }

    /// Sends many requests with few system calls; the first refusal ends it.
    ///
    /// Only the last request of each datagram asks for an acknowledgement; refusals are always told.
    pub(crate) fn batch(
        &mut self,
        messages: impl IntoIterator<Item = RawMessage>,
        flags: u16,
    ) -> Result<usize, Refusal> {
        let mut messages = messages.into_iter().peekable();
        let mut sent = 0;
        while messages.peek().is_some() {
            let first = self.sequence.wrapping_add(1);
            let mut bytes = Vec::with_capacity(BATCH_BYTES_MAX + 1024);
            while let Some(message) = messages.next() {
                let sequence = self.next_sequence();
                sent += 1;
                let last = bytes.len() >= BATCH_BYTES_MAX || messages.peek().is_none();
                let acknowledge = if last { NLM_F_ACK } else { 0 };
                append(&mut bytes, &message, flags | NLM_F_REQUEST | acknowledge, sequence);
                if last {
                    break;
                }
            }
            self.socket.send(&bytes, 0)?;
            let last = self.sequence;
            while !self.collect(first, last, false, &mut Vec::new())? {}
        }
        Ok(sent)
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Reads one datagram; true when the request numbered `last` has been answered to its end.
    fn collect(
        &self,
        first: u32,
        last: u32,
        dump: bool,
        replies: &mut Vec<RawMessage>,
    ) -> Result<bool, Refusal> {
        let (datagram, _) = self.socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while rest.len() >= NLMSG_HEADER_BYTES {
            let buffer = NetlinkBuffer::new_checked(rest).map_err(|e| malformed(&e))?;
            let (sequence, kind) = (buffer.sequence_number(), buffer.message_type());
            let length = (buffer.length() as usize).next_multiple_of(4).min(rest.len());
            let payload = &rest[NLMSG_HEADER_BYTES..buffer.length() as usize];
            rest = &rest[length..];
            // An answer to a request that was given up earlier.
            if sequence.wrapping_sub(first) > last.wrapping_sub(first) {
                continue;
            }
            match kind {
                NLMSG_ERROR => {
                    let refused = acknowledgement(payload)?;
                    if let Some(refusal) = refused {
                        return Err(refusal);
                    }
                    if sequence == last && !dump {
                        return Ok(true);
                    }
                }
                NLMSG_DONE => {
                    let code = DoneBuffer::new_checked(payload).map_or(0, |done| done.code());
                    if code != 0 {
                        return Err(io::Error::from_raw_os_error(-code).into());
                    }
                    return Ok(true);
                }
                message_type => {
                    replies.push(RawMessage { message_type, payload: payload.to_vec() });
                }
            }
        }
        Ok(false)
    }
}

fn append(bytes: &mut Vec<u8>, message: &RawMessage, flags: u16, sequence: u32) {
    let start = bytes.len();
    let length = NLMSG_HEADER_BYTES + message.payload.len();
    let mut header = NetlinkHeader::default();
    header.length = u32::try_from(length).expect("a request is far below 4 GiB");
    header.message_type = message.message_type;
    header.flags = flags;
    header.sequence_number = sequence;
    bytes.resize(start + NLMSG_HEADER_BYTES, 0);
    header.emit(&mut bytes[start..]);
    bytes.extend_from_slice(&message.payload);
    bytes.resize(start + length.next_multiple_of(4), 0);
}

fn malformed(error: &dyn std::error::Error) -> Refusal {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string()).into()
}

fn acknowledgement(payload: &[u8]) -> Result<Option<Refusal>, Refusal> {
    let buffer = ErrorBuffer::new_checked(payload).map_err(|e| malformed(&e))?;
    let Some(code) = buffer.code() else { return Ok(None) };
    let attributes = payload.get(4 + NLMSG_HEADER_BYTES..).unwrap_or_default();
    let detail = attributes_of(attributes)
        .find(|(kind, _)| *kind == ERROR_ATTRIBUTE_MESSAGE)
        .map(|(_, text)| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
    let source = io::Error::from_raw_os_error(code.get().wrapping_neg());
    Ok(Some(Refusal { source, detail }))
}

/// Appends one attribute (`struct nlattr`), padded to four bytes.
pub(crate) fn push_attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).expect("attributes of the lab are short");
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// Walks over attributes; stops at the first that does not fit.
pub(crate) fn attributes_of(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    /// The two upper bits of the type are flags (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
    const TYPE_MASK: u16 = 0x3fff;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let head = rest.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & TYPE_MASK;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_as_they_were_pushed() {
        let mut bytes = Vec::new();
        push_attribute(&mut bytes, 1, b"abc");
        push_attribute(&mut bytes, 0x8002, &7u32.to_ne_bytes());
        let seen: Vec<_> = attributes_of(&bytes).collect();
        assert_eq!(seen, [(1, &b"abc"[..]), (2, &7u32.to_ne_bytes()[..])]);
    }

    #[test]
    fn a_cut_attribute_ends_the_walk() {
        let mut bytes = Vec::new();
        push_attribute(&mut bytes, 1, b"abcdef");
        assert_eq!(attributes_of(&bytes[..7]).count(), 0);
    }
}
