//! Sets: prefixes or ports under one name, many of which live in a file of their own.
//!
//! Such a file has one prefix, address, port or range of ports a line; `#` starts a comment.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;
use linecard_services::filter::Prefixes;

use super::error::MatchError;
use super::list::{join_prefixes, join_ranges};
use super::value;

/// Members of one set at the most.
pub const SET_MEMBERS_MAX: usize = 1_000_000;
/// Mistakes in one file that are told at once.
const ERRORS_MAX: usize = 100;

/// What a set holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Members {
    /// Nothing: no packet is in it.
    #[default]
    Empty,
    /// Prefixes, sorted and joined.
    Prefixes(Prefixes),
    /// Ports, sorted and joined.
    Ports(Vec<RangeInclusive<u16>>),
}

impl Members {
    /// The set of these prefixes.
    #[must_use]
    pub fn of_prefixes(networks: impl IntoIterator<Item = IpNet>) -> Self {
        match prefixes(networks) {
            none if none.is_any() => Self::Empty,
            prefixes => Self::Prefixes(prefixes),
        }
    }

    /// The set of these ports.
    #[must_use]
    pub fn of_ports(mut ports: Vec<RangeInclusive<u16>>) -> Self {
        join_ranges(&mut ports, |port| port.checked_add(1));
        if ports.is_empty() { Self::Empty } else { Self::Ports(ports) }
    }

    /// Prefixes or ranges of ports in it.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Prefixes(prefixes) => prefixes.ipv4.len() + prefixes.ipv6.len(),
            Self::Ports(ports) => ports.len(),
        }
    }

    /// True when nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it holds, in a word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Empty => "nothing",
            Self::Prefixes(_) => "prefixes",
            Self::Ports(_) => "ports",
        }
    }

    /// Reads the text of a set's file.
    ///
    /// # Errors
    /// Lines that are neither prefix nor port, and lines of the other kind than the first: the first
    /// hundred of them.
    pub fn parse(text: &str) -> Result<Self, Vec<MatchError>> {
        let (mut networks, mut ports, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let (from, content) = (start, line.split('#').next().unwrap_or_default());
            start += line.len();
            let word = content.trim();
            if word.is_empty() {
                continue;
            }
            let at = from + (content.len() - content.trim_start().len());
            let span = at..at + word.len();
            if let Err((message, help)) = entry(word, &mut networks, &mut ports) {
                errors.push(MatchError::new(&span, message, help));
            } else if networks.len() + ports.len() > SET_MEMBERS_MAX {
                let message = format!("the set has more than {SET_MEMBERS_MAX} members");
                errors.push(MatchError::new(&span, message, "several sets"));
                break;
            }
            if errors.len() == ERRORS_MAX {
                break;
            }
        }
        match (errors.is_empty(), ports.is_empty()) {
            (false, _) => Err(errors),
            (true, true) => Ok(Self::of_prefixes(networks)),
            (true, false) => Ok(Self::of_ports(ports)),
        }
    }
}

/// Sorted, joined and apart by family.
pub(super) fn prefixes(networks: impl IntoIterator<Item = IpNet>) -> Prefixes {
    let mut prefixes = Prefixes::default();
    for network in networks {
        match network {
            IpNet::V4(network) => prefixes.ipv4.push(network.into()),
            IpNet::V6(network) => prefixes.ipv6.push(network.into()),
        }
    }
    join_prefixes(&mut prefixes.ipv4);
    join_prefixes(&mut prefixes.ipv6);
    prefixes
}

fn entry(
    word: &str,
    networks: &mut Vec<IpNet>,
    ports: &mut Vec<RangeInclusive<u16>>,
) -> Result<(), value::Refusal> {
    let is_port = word.chars().all(|c| c.is_ascii_digit() || c == '-');
    if is_port && networks.is_empty() {
        ports.push(value::range16(word)?);
    } else if is_port {
        let message = format!("`{word}` is a port among prefixes");
        return Err((message, "a set holds prefixes or ports: make two".to_owned()));
    } else {
        let network = value::prefix(word).map_err(|(message, help)| {
            let help = help.replace("192.0.2.1 or @set", "192.0.2.1, or as a port: 80, 8000-8100");
            (message, help)
        })?;
        if !ports.is_empty() {
            let message = format!("`{word}` is a prefix among ports");
            return Err((message, "a set holds prefixes or ports: make two".to_owned()));
        }
        networks.push(network);
    }
    Ok(())
}

/// All sets by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sets {
    sets: Vec<(String, Arc<Members>)>,
    by_name: HashMap<String, usize>,
}

impl Sets {
    /// Adds a set or replaces it, and returns its index.
    pub fn insert(&mut self, name: &str, members: impl Into<Arc<Members>>) -> usize {
        let members = members.into();
        if let Some(&at) = self.by_name.get(name) {
            self.sets[at].1 = members;
            return at;
        }
        self.by_name.insert(name.to_owned(), self.sets.len());
        self.sets.push((name.to_owned(), members));
        self.sets.len() - 1
    }

    /// The set of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Members> {
        self.by_name.get(name).map(|&at| &*self.sets[at].1)
    }

    /// The set of this name, without a copy of it.
    pub(crate) fn share(&self, name: &str) -> Option<Arc<Members>> {
        self.by_name.get(name).map(|&at| Arc::clone(&self.sets[at].1))
    }

    /// Names and members, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Members)> {
        self.sets.iter().map(|(name, members)| (name.as_str(), &**members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_member_a_line() {
        let text = "# customers\n192.0.2.0/25 # low\n\n  192.0.2.128/25\r\n2001:db8::1\n";
        let Ok(Members::Prefixes(prefixes)) = Members::parse(text) else { panic!("prefixes") };
        assert_eq!(format!("{:?}", prefixes.ipv4), "[192.0.2.0/24]");
        assert_eq!(format!("{:?}", prefixes.ipv6), "[2001:db8::1/128]");
        assert_eq!(Members::parse("443\n80-81\n82"), Ok(Members::Ports(vec![80..=82, 443..=443])));
        assert_eq!(Members::parse("# nothing\n"), Ok(Members::Empty));
    }

    #[test]
    fn mistakes_have_their_place() {
        let text = "80\n 192.0.2.0/24\n9-8 # empty\n70000\nssh";
        let errors = Members::parse(text).expect_err("wrong");
        let told = |error: &MatchError| format!("{:?} {}", error.span, error.message);
        assert_eq!(
            errors.iter().map(told).collect::<Vec<_>>(),
            [
                "4..16 `192.0.2.0/24` is a prefix among ports",
                "17..20 the range 9-8 is empty",
                "29..34 70000 is out of range",
                "35..38 `ssh` is no IP prefix",
            ]
        );
    }
}
