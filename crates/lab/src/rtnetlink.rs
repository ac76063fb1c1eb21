//! Typed rtnetlink requests of a namespace (kernel `net/core/rtnetlink.c`).

use std::io;

use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader, NetlinkSerializable};
use netlink_packet_route::RouteNetlinkMessage;

use crate::error::{LabError, Result};
use crate::namespace::Namespace;
use crate::netlink::RawMessage;

/// Lays a typed message out as bytes.
pub(crate) fn raw(message: &RouteNetlinkMessage) -> RawMessage {
    let mut payload = vec![0; message.buffer_len()];
    message.serialize(&mut payload);
    RawMessage { message_type: message.message_type(), payload }
}

fn typed(message: &RawMessage) -> io::Result<RouteNetlinkMessage> {
    let mut header = NetlinkHeader::default();
    header.message_type = message.message_type;
    RouteNetlinkMessage::deserialize(&header, &message.payload)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

impl Namespace {
    /// Sends one request and returns what came back before the acknowledgement.
    pub(crate) fn route_request(
        &self,
        message: &RouteNetlinkMessage,
        flags: u16,
        action: impl Fn() -> String,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        let action = || format!("{} in {self}", action());
        let replies = self
            .with_route_socket(|socket| socket.request(&raw(message), flags))
            .map_err(|refusal| refusal.during(action()))?;
        replies
            .iter()
            .map(|reply| typed(reply).map_err(|error| LabError::new(action(), error)))
            .collect()
    }

    /// Sends a request that the crate has no type for.
    pub(crate) fn raw_route_request(
        &self,
        message: &RawMessage,
        flags: u16,
        action: impl Fn() -> String,
    ) -> Result<Vec<RawMessage>> {
        self.with_route_socket(|socket| socket.request(message, flags))
            .map_err(|refusal| refusal.during(format!("{} in {self}", action())))
    }
}
