//! Nexthop objects and groups, as `ip nexthop` and FRR make them (kernel `net/ipv4/nexthop.c`).

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::route::RouteNextHopFlags;

use crate::error::{LabError, Result};
use crate::namespace::Namespace;
use crate::netlink::{RawMessage, push_attribute};
use crate::route::NextHop;

const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;
const RTPROT_STATIC: u8 = 4;

// Attributes of a nexthop object (uapi/linux/nexthop.h).
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;

impl Namespace {
    /// Adds a nexthop object, or replaces the one with the same `id` (not 0).
    ///
    /// # Errors
    /// When the gateway is out of reach or no interface is named.
    pub fn replace_nexthop(&self, id: u32, next_hop: &NextHop) -> Result<()> {
        let action = || format!("replace nexthop object {id}");
        let Some(interface) = &next_hop.interface else {
            return Err(LabError::invalid(action(), "a nexthop object needs an interface"));
        };
        let mut attributes = Vec::new();
        push_attribute(&mut attributes, NHA_ID, &id.to_ne_bytes());
        let index = self.interface(interface)?.index;
        push_attribute(&mut attributes, NHA_OIF, &index.to_ne_bytes());
        let family = match next_hop.gateway {
            None => libc::AF_INET,
            Some(IpAddr::V4(gateway)) => {
                push_attribute(&mut attributes, NHA_GATEWAY, &gateway.octets());
                libc::AF_INET
            }
            Some(IpAddr::V6(gateway)) => {
                push_attribute(&mut attributes, NHA_GATEWAY, &gateway.octets());
                libc::AF_INET6
            }
        };
        let flags = if next_hop.onlink { RouteNextHopFlags::Onlink } else { Default::default() };
        let message = nexthop_message(RTM_NEWNEXTHOP, family, flags, &attributes);
        self.raw_route_request(&message, NLM_F_CREATE | NLM_F_REPLACE, action).map(drop)
    }

    /// Adds a nexthop group of objects with weights (1–256), or replaces the one with the same `id`.
    ///
    /// # Errors
    /// When a member does not exist or is a group itself.
    pub fn replace_nexthop_group(&self, id: u32, members: &[(u32, u16)]) -> Result<()> {
        let mut group = Vec::with_capacity(members.len() * 8);
        for (member, weight) in members {
            // struct nexthop_grp: id, weight − 1, the weight's high byte, two reserved bytes.
            let [low, high] = weight.saturating_sub(1).to_le_bytes();
            group.extend_from_slice(&member.to_ne_bytes());
            group.extend_from_slice(&[low, high, 0, 0]);
        }
        let mut attributes = Vec::new();
        push_attribute(&mut attributes, NHA_ID, &id.to_ne_bytes());
        push_attribute(&mut attributes, NHA_GROUP, &group);
        let message =
            nexthop_message(RTM_NEWNEXTHOP, libc::AF_UNSPEC, Default::default(), &attributes);
        self.raw_route_request(&message, NLM_F_CREATE | NLM_F_REPLACE, || {
            format!("replace nexthop group {id}")
        })
        .map(drop)
    }

    /// Deletes a nexthop object or group, and the routes that use it.
    ///
    /// # Errors
    /// When there is none.
    pub fn delete_nexthop(&self, id: u32) -> Result<()> {
        let mut attributes = Vec::new();
        push_attribute(&mut attributes, NHA_ID, &id.to_ne_bytes());
        let message =
            nexthop_message(RTM_DELNEXTHOP, libc::AF_UNSPEC, Default::default(), &attributes);
        self.raw_route_request(&message, 0, || format!("delete nexthop object {id}")).map(drop)
    }
}

fn nexthop_message(
    message_type: u16,
    family: i32,
    flags: RouteNextHopFlags,
    attributes: &[u8],
) -> RawMessage {
    let family = u8::try_from(family).expect("address families are below 256");
    // The kernel refuses to delete by protocol.
    let protocol = if message_type == RTM_NEWNEXTHOP { RTPROT_STATIC } else { 0 };
    // struct nhmsg: family, scope, protocol, a reserved byte, flags.
    let mut payload = vec![family, 0, protocol, 0];
    payload.extend_from_slice(&u32::from(flags.bits()).to_ne_bytes());
    payload.extend_from_slice(attributes);
    RawMessage { message_type, payload }
}
