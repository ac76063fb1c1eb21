//! Offloads of an interface, by ethtool's generic-netlink family
//! (kernel Documentation/networking/ethtool-netlink.rst).
//!
//! A veth passes packets on with the checksum left to "hardware" that does not exist. Inside the
//! kernel that is sound; a packet that leaves through AF_XDP carries the unfinished checksum onto the
//! wire. So end hosts behind Linecard turn `tx-checksum-ip-generic` off, and segmentation with it.

use std::io;

use crate::error::Result;
use crate::namespace::Namespace;
use crate::netlink::{NetlinkSocket, RawMessage, Refusal, attributes_of, push_attribute};

/// The controller family, which tells the ids of the others (uapi/linux/genetlink.h).
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

// uapi/linux/ethtool_netlink.h
const ETHTOOL_MSG_FEATURES_GET: u8 = 11;
const ETHTOOL_MSG_FEATURES_SET: u8 = 12;
const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
const ETHTOOL_A_FEATURES_WANTED: u16 = 3;
const ETHTOOL_A_FEATURES_ACTIVE: u16 = 4;
const ETHTOOL_A_HEADER_DEV_NAME: u16 = 2;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BITS_BIT: u16 = 1;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;
const ETHTOOL_A_BITSET_BIT_VALUE: u16 = 3;

const ETHTOOL_MSG_CHANNELS_SET: u8 = 18;
const ETHTOOL_A_CHANNELS_TX_COUNT: u16 = 7;

const NLA_F_NESTED: u16 = 0x8000;
const GENL_VERSION: u8 = 1;
/// `struct genlmsghdr`: command, version, two reserved bytes.
const GENL_HEADER_BYTES: usize = 4;

/// What an end host turns off so that its checksums are complete on the wire.
const END_HOST_OFF: [(&str, bool); 3] = [
    ("tx-checksum-ip-generic", false),
    ("tx-tcp-segmentation", false),
    ("tx-tcp6-segmentation", false),
];

impl Namespace {
    /// Makes an interface finish its checksums in software and send no segment above the MTU, as a
    /// host whose packets travel through AF_XDP must.
    ///
    /// # Errors
    /// When there is no such interface, or the kernel has no ethtool netlink (before Linux 5.6).
    pub fn disable_tx_offloads(&self, interface: &str) -> Result<()> {
        self.set_features(interface, &END_HOST_OFF)
    }

    /// Turns features on or off, by the kernel's names (`ethtool -k` shows some under older ones):
    /// `rx-gro`, `tx-checksum-ip-generic`, `tx-tcp-segmentation` …
    ///
    /// # Errors
    /// When there is no such interface or feature, or the driver has it fixed.
    pub fn set_features(&self, interface: &str, features: &[(&str, bool)]) -> Result<()> {
        let mut bits = Vec::new();
        for (name, on) in features {
            let mut bit = Vec::new();
            push_text(&mut bit, ETHTOOL_A_BITSET_BIT_NAME, name);
            if *on {
                push_attribute(&mut bit, ETHTOOL_A_BITSET_BIT_VALUE, &[]);
            }
            push_attribute(&mut bits, ETHTOOL_A_BITSET_BITS_BIT | NLA_F_NESTED, &bit);
        }
        let mut bitset = Vec::new();
        push_attribute(&mut bitset, ETHTOOL_A_BITSET_BITS | NLA_F_NESTED, &bits);
        let mut wanted = Vec::new();
        push_attribute(&mut wanted, ETHTOOL_A_FEATURES_WANTED | NLA_F_NESTED, &bitset);
        self.ethtool(ETHTOOL_MSG_FEATURES_SET, interface, &wanted)
            .map(drop)
            .map_err(|refusal| refusal.during(format!("set features of {interface} in {self}")))
    }

    /// Sets the number of transmit queues in use, which may be fewer than receive queues.
    ///
    /// # Errors
    /// When there is no such interface, or the driver does not have as many.
    pub fn set_transmit_queues(&self, interface: &str, queues: u32) -> Result<()> {
        let mut count = Vec::new();
        push_attribute(&mut count, ETHTOOL_A_CHANNELS_TX_COUNT, &queues.to_ne_bytes());
        self.ethtool(ETHTOOL_MSG_CHANNELS_SET, interface, &count)
            .map(drop)
            .map_err(|refusal| refusal.during(format!("set queues of {interface} in {self}")))
    }

    /// The features of an interface that are on, by the kernel's names.
    ///
    /// # Errors
    /// When there is no such interface, or the kernel has no ethtool netlink.
    pub fn active_features(&self, interface: &str) -> Result<Vec<String>> {
        let replies = self
            .ethtool(ETHTOOL_MSG_FEATURES_GET, interface, &[])
            .map_err(|refusal| refusal.during(format!("read features of {interface} in {self}")))?;
        let attributes = replies.first().map_or(&[][..], |reply| body(reply));
        let names = children(attributes, ETHTOOL_A_FEATURES_ACTIVE)
            .filter(|(kind, _)| *kind == ETHTOOL_A_BITSET_BITS)
            .flat_map(|(_, bits)| attributes_of(bits))
            .flat_map(|(_, bit)| attributes_of(bit))
            .filter(|(kind, _)| *kind == ETHTOOL_A_BITSET_BIT_NAME)
            .map(|(_, name)| text(name));
        Ok(names.collect())
    }

    /// Whether a feature of an interface is on.
    ///
    /// # Errors
    /// Those of [`Namespace::active_features`].
    pub fn has_feature(&self, interface: &str, feature: &str) -> Result<bool> {
        Ok(self.active_features(interface)?.iter().any(|name| name == feature))
    }

    fn ethtool(
        &self,
        command: u8,
        interface: &str,
        attributes: &[u8],
    ) -> std::result::Result<Vec<RawMessage>, Refusal> {
        let mut header = Vec::new();
        push_text(&mut header, ETHTOOL_A_HEADER_DEV_NAME, interface);
        let mut payload = vec![command, GENL_VERSION, 0, 0];
        push_attribute(&mut payload, ETHTOOL_A_FEATURES_HEADER | NLA_F_NESTED, &header);
        payload.extend_from_slice(attributes);
        self.with_generic_socket(|socket| {
            let message_type = family_id(socket, "ethtool")?;
            socket.request(&RawMessage { message_type, payload }, 0)
        })
    }
}

/// Asks the controller for the id of a generic-netlink family.
fn family_id(socket: &mut NetlinkSocket, name: &str) -> std::result::Result<u16, Refusal> {
    let mut payload = vec![CTRL_CMD_GETFAMILY, GENL_VERSION, 0, 0];
    push_text(&mut payload, CTRL_ATTR_FAMILY_NAME, name);
    let replies = socket.request(&RawMessage { message_type: GENL_ID_CTRL, payload }, 0)?;
    replies
        .iter()
        .flat_map(|reply| attributes_of(body(reply)))
        .find(|(kind, _)| *kind == CTRL_ATTR_FAMILY_ID)
        .and_then(|(_, id)| Some(u16::from_ne_bytes(id.try_into().ok()?)))
        .ok_or_else(|| io::Error::from_raw_os_error(libc::EOPNOTSUPP).into())
}

fn body(message: &RawMessage) -> &[u8] {
    message.payload.get(GENL_HEADER_BYTES..).unwrap_or_default()
}

fn children(attributes: &[u8], parent: u16) -> impl Iterator<Item = (u16, &[u8])> {
    attributes_of(attributes)
        .filter(move |(kind, _)| *kind == parent)
        .flat_map(|(_, value)| attributes_of(value))
}

fn push_text(bytes: &mut Vec<u8>, kind: u16, text: &str) {
    let mut value = text.as_bytes().to_vec();
    value.push(0);
    push_attribute(bytes, kind, &value);
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}
