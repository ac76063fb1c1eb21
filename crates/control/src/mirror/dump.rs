//! All that the kernel holds, asked for in one go.

use std::io;

use super::{
    Counters, Error, Mirror,
    decode::{self, Event},
    raw::{self, FAMILY_IPV4, FAMILY_IPV6},
    socket::Message,
    understand,
};
use crate::{
    facts::{TABLE_LOCAL, TABLE_MAIN},
    rib::Rib,
};

const RTM_GETLINK: u16 = 18;
const RTM_GETADDR: u16 = 22;
const RTM_GETROUTE: u16 = 26;
const RTM_GETNEIGH: u16 = 30;
const RTM_GETRULE: u16 = 34;
const IFLA_EXT_MASK: u16 = 29;
const RTEXT_FILTER_SKIP_STATS: u32 = 8;
const RTA_TABLE: u16 = 15;
/// Priorities of the rules that the kernel makes itself: tables local, main, default.
const RULE_PRIORITIES_KERNEL: [u32; 3] = [0, 32_766, 32_767];

impl Mirror {
    /// Asks for everything, in an order in which a thing comes after what it refers to. False where
    /// the tables changed meanwhile in a way that may have hidden something.
    pub(super) fn dump_all(
        &mut self,
        rib: &mut Rib,
        events: &mut Vec<Event>,
    ) -> Result<bool, Error> {
        self.counters.policy_rules = 0;
        let mut link_request = vec![0; 16];
        link_request.extend(attribute(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS));
        let mut requests = Vec::new();
        for family in [FAMILY_IPV4, FAMILY_IPV6] {
            requests.push(("interface settings", raw::RTM_GETNETCONF, padded(family, 4)));
        }
        requests.push(("links", RTM_GETLINK, link_request));
        for family in [FAMILY_IPV4, FAMILY_IPV6] {
            requests.push(("addresses", RTM_GETADDR, padded(family, 8)));
            requests.push(("neighbours", RTM_GETNEIGH, padded(family, 12)));
            requests.push(("policy rules", RTM_GETRULE, padded(family, 12)));
        }
        requests.push(("nexthop objects", raw::RTM_GETNEXTHOP, vec![0; 8]));
        for (family, table) in [
            (FAMILY_IPV4, TABLE_LOCAL),
            (FAMILY_IPV4, TABLE_MAIN),
            (FAMILY_IPV6, TABLE_LOCAL),
            (FAMILY_IPV6, TABLE_MAIN),
        ] {
            let mut request = padded(family, 12);
            request.extend(attribute(RTA_TABLE, table));
            requests.push(("routes", RTM_GETROUTE, request));
        }
        let mut interrupted = false;
        for (what, message_type, payload) in requests {
            self.dump(what, message_type, &payload, rib, events, &mut interrupted)?;
        }
        Ok(!interrupted)
    }

    fn dump(
        &mut self,
        what: &'static str,
        message_type: u16,
        payload: &[u8],
        rib: &mut Rib,
        events: &mut Vec<Event>,
        interrupted: &mut bool,
    ) -> Result<(), Error> {
        let failed = |source| Error::Dump { what, source };
        let sequence = self.requester.request_dump(message_type, payload).map_err(failed)?;
        let mut found = Vec::new();
        loop {
            let counters = &mut self.counters;
            let part = self.requester.read_dump(sequence, interrupted, |message| {
                if message.message_type == decode::RTM_NEWRULE {
                    count_rule(message, counters);
                } else {
                    found.extend(understand(message, counters));
                }
            });
            let end = match part {
                Ok(end) => end,
                Err(error) if is_absent(&error, what) => true,
                Err(error) => return Err(failed(error)),
            };
            for event in found.drain(..) {
                match event {
                    // The dump of links follows; until then the base's links may be gone.
                    Event::NetConf(conf) => self.keep_settings(conf),
                    event => self.apply(event, rib),
                }
            }
            self.keep_news(events)?;
            if end {
                return Ok(());
            }
        }
    }
}

/// A table of routes that nobody has used yet does not exist; nor do nexthop objects in an old
/// kernel.
fn is_absent(error: &io::Error, what: &str) -> bool {
    let absent = error.kind() == io::ErrorKind::NotFound;
    let unknown = error.raw_os_error() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error());
    (what == "routes" && absent) || (what == "nexthop objects" && unknown)
}

pub(super) fn count_rule(message: &Message<'_>, counters: &mut Counters) {
    counters.messages += 1;
    match raw::rule_priority(message.payload) {
        Ok(priority) if RULE_PRIORITIES_KERNEL.contains(&priority) => {}
        Ok(_) => counters.policy_rules += 1,
        Err(_) => counters.malformed += 1,
    }
}

/// A header of zeros but for the family in its first byte.
fn padded(family: u8, bytes: usize) -> Vec<u8> {
    let mut header = vec![0; bytes];
    header[0] = family;
    header
}

fn attribute(kind: u16, value: u32) -> Vec<u8> {
    let mut bytes = 8_u16.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value.to_ne_bytes());
    bytes
}
