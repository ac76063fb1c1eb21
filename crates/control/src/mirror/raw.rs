//! The few rtnetlink messages that `netlink-packet-route` does not know: nexthop objects
//! (`include/uapi/linux/nexthop.h`), per-interface configuration (`netconf.h`) and the priority of
//! policy rules (`fib_rules.h`). Everything is read with checked access; what is too short is an
//! error, what is unknown is passed over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{DecodeError, NlasIterator};

use crate::facts::{NextHopObject, NextHopObjectKind, Path};

pub(super) const RTM_NEWNETCONF: u16 = 80;
pub(super) const RTM_DELNETCONF: u16 = 81;
pub(super) const RTM_GETNETCONF: u16 = 82;
pub(super) const RTM_NEWNEXTHOP: u16 = 104;
pub(super) const RTM_DELNEXTHOP: u16 = 105;
pub(super) const RTM_GETNEXTHOP: u16 = 106;

const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_BLACKHOLE: u16 = 4;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
const NHA_ENCAP_TYPE: u16 = 7;
const NHA_FDB: u16 = 11;
/// `struct nhmsg`: family, scope, protocol, reserved, flags.
const NEXTHOP_HEADER_BYTES: usize = 8;
/// `struct nexthop_grp`: id, weight, high byte of the weight, reserved.
const GROUP_MEMBER_BYTES: usize = 8;

const NETCONFA_IFINDEX: u16 = 1;
const NETCONFA_FORWARDING: u16 = 2;
const NETCONFA_IGNORE_ROUTES_WITH_LINKDOWN: u16 = 6;
/// `struct netconfmsg` is one byte; attributes start at the next multiple of four.
const NETCONF_HEADER_BYTES: usize = 4;
/// `NETCONFA_IFINDEX_ALL`: the settings called "all".
pub(super) const IFINDEX_ALL: i32 = -1;

const FRA_PRIORITY: u16 = 6;
/// `struct fib_rule_hdr`.
const RULE_HEADER_BYTES: usize = 12;

/// `AF_INET` as it stands in the first byte of each message.
pub(super) const FAMILY_IPV4: u8 = 2;
/// `AF_INET6`.
pub(super) const FAMILY_IPV6: u8 = 10;

fn u32_of(value: &[u8]) -> Result<u32, DecodeError> {
    let bytes = value.first_chunk().ok_or("attribute shorter than 4 bytes")?;
    Ok(u32::from_ne_bytes(*bytes))
}

fn address_of(value: &[u8]) -> Result<IpAddr, DecodeError> {
    if let Ok(octets) = <[u8; 4]>::try_from(value) {
        return Ok(Ipv4Addr::from(octets).into());
    }
    let octets = <[u8; 16]>::try_from(value).map_err(|_| "gateway is no IP address")?;
    Ok(Ipv6Addr::from(octets).into())
}

fn body(payload: &[u8], header_bytes: usize) -> Result<&[u8], DecodeError> {
    Ok(payload.get(header_bytes..).ok_or("message shorter than its header")?)
}

fn group_of(value: &[u8]) -> Vec<(u32, u32)> {
    let member = |bytes: &[u8]| {
        let id = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        // The kernel stores the weight less one, in two bytes since Linux 6.12.
        let weight = u32::from(bytes[4]) + (u32::from(bytes[5]) << 8) + 1;
        (id, weight)
    };
    value.chunks_exact(GROUP_MEMBER_BYTES).map(member).collect()
}

/// A nexthop object, or `None` for one of a bridge's forwarding database, which no route uses.
pub(super) fn nexthop(payload: &[u8]) -> Result<Option<NextHopObject>, DecodeError> {
    let (mut id, mut kind, mut kernel_only) = (0, None, false);
    let (mut ifindex, mut via) = (0, None);
    for attribute in NlasIterator::new(body(payload, NEXTHOP_HEADER_BYTES)?) {
        let attribute = attribute?;
        let value = attribute.value();
        match attribute.kind() {
            NHA_ID => id = u32_of(value)?,
            NHA_GROUP => kind = Some(NextHopObjectKind::Group(group_of(value))),
            NHA_BLACKHOLE => kind = Some(NextHopObjectKind::Blackhole),
            NHA_OIF => ifindex = u32_of(value)?,
            NHA_GATEWAY => via = Some(address_of(value)?),
            NHA_ENCAP_TYPE => kernel_only = true,
            NHA_FDB => return Ok(None),
            _ => {}
        }
    }
    if id == 0 {
        return Err("nexthop object without a number".into());
    }
    let path = Path { ifindex, via, weight: 1, dead: false };
    let kind = kind.unwrap_or(NextHopObjectKind::Path { path, kernel_only });
    Ok(Some(NextHopObject { id, kind }))
}

/// Settings of an interface for one family (`net.ipv4.conf.IFACE`, `net.ipv6.conf.IFACE`). A
/// message carries some or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NetConf {
    pub(super) ipv6: bool,
    pub(super) ifindex: i32,
    pub(super) forwarding: Option<bool>,
    pub(super) ignore_linkdown: Option<bool>,
}

/// Per-interface settings, or `None` for a family that Linecard does not forward.
pub(super) fn netconf(payload: &[u8]) -> Result<Option<NetConf>, DecodeError> {
    let ipv6 = match payload.first() {
        Some(&FAMILY_IPV4) => false,
        Some(&FAMILY_IPV6) => true,
        Some(_) => return Ok(None),
        None => return Err("empty netconf message".into()),
    };
    let mut conf = NetConf { ipv6, ifindex: 0, forwarding: None, ignore_linkdown: None };
    for attribute in NlasIterator::new(body(payload, NETCONF_HEADER_BYTES)?) {
        let attribute = attribute?;
        let on = || Ok::<_, DecodeError>(Some(u32_of(attribute.value())? != 0));
        match attribute.kind() {
            NETCONFA_IFINDEX => conf.ifindex = u32_of(attribute.value())?.cast_signed(),
            NETCONFA_FORWARDING => conf.forwarding = on()?,
            NETCONFA_IGNORE_ROUTES_WITH_LINKDOWN => conf.ignore_linkdown = on()?,
            _ => {}
        }
    }
    Ok(Some(conf))
}

/// Priority of a policy rule; 0 where it says none.
pub(super) fn rule_priority(payload: &[u8]) -> Result<u32, DecodeError> {
    for attribute in NlasIterator::new(body(payload, RULE_HEADER_BYTES)?) {
        let attribute = attribute?;
        if attribute.kind() == FRA_PRIORITY {
            return u32_of(attribute.value());
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = (u16::try_from(value.len()).unwrap() + 4).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn reads_a_nexthop_with_a_gateway_of_either_family() {
        for gateway in ["192.0.2.1", "fe80::1"].map(|text| text.parse::<IpAddr>().unwrap()) {
            let octets = match gateway {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            let mut payload = vec![0; NEXTHOP_HEADER_BYTES];
            payload.extend(attribute(NHA_ID, &7_u32.to_ne_bytes()));
            payload.extend(attribute(NHA_OIF, &3_u32.to_ne_bytes()));
            payload.extend(attribute(NHA_GATEWAY, &octets));
            let path = Path { ifindex: 3, via: Some(gateway), weight: 1, dead: false };
            let kind = NextHopObjectKind::Path { path, kernel_only: false };
            assert_eq!(nexthop(&payload).unwrap(), Some(NextHopObject { id: 7, kind }));
        }
    }

    #[test]
    fn reads_the_weights_of_a_group() {
        let mut members = 1_u32.to_ne_bytes().to_vec();
        members.extend([0, 0, 0, 0]);
        members.extend(2_u32.to_ne_bytes());
        members.extend([255, 1, 0, 0]);
        let mut payload = vec![0; NEXTHOP_HEADER_BYTES];
        payload.extend(attribute(NHA_ID, &9_u32.to_ne_bytes()));
        payload.extend(attribute(NHA_GROUP, &members));
        let kind = NextHopObjectKind::Group(vec![(1, 1), (2, 512)]);
        assert_eq!(nexthop(&payload).unwrap(), Some(NextHopObject { id: 9, kind }));
    }

    #[test]
    fn every_truncation_is_an_error_or_less_but_no_panic() {
        let mut payload = vec![FAMILY_IPV4; NEXTHOP_HEADER_BYTES];
        payload.extend(attribute(1, &5_u32.to_ne_bytes()));
        payload.extend(attribute(6, &[192, 0, 2, 1]));
        for length in 0..payload.len() {
            let cut = &payload[..length];
            let whole = length == NEXTHOP_HEADER_BYTES + 8;
            assert_eq!(nexthop(cut).is_ok(), whole, "{length} bytes");
            let _ = netconf(cut);
            let _ = rule_priority(cut);
        }
    }
}
