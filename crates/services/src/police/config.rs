//! What a policer is told, and how many of them there may be.

use linecard_packet::Layer3;
use linecard_tables::meter::{Colour, Marker, ProfileOptions};
use serde::{Deserialize, Serialize};

/// Capacities of the police service. All memory is taken at set-up: for each worker and policer 144 bytes
/// (meters and counters), and 48 for each source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoliceCapacities {
    /// Policers. Default 4,096.
    pub policers_max: u32,
    /// Source prefixes of all policers by source together, at once and for each worker; rounded up to a
    /// power of two. Default 65,536.
    pub sources_max: u32,
}

impl Default for PoliceCapacities {
    fn default() -> Self {
        Self { policers_max: 4096, sources_max: 65_536 }
    }
}

/// What is done with packets of a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ColourAction {
    /// They go on as they are.
    #[default]
    Pass,
    /// They go on with this DSCP, 0 to 63.
    Mark(u8),
    /// They are dropped as `policed`.
    Drop,
}

/// Which sources share a meter: those that agree in so many leading bits of their address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourcePrefixes {
    /// 0 to 32, for instance 24.
    pub ipv4_length: u8,
    /// 0 to 64, for instance 56; what is longer counts as 64: hosts choose the rest themselves.
    pub ipv6_length: u8,
}

impl SourcePrefixes {
    /// The prefix of a source: the first 64 bits of its address, IPv4 in the first 32 of them.
    #[inline]
    pub(super) fn of(self, layer3: Layer3, source: u64) -> u64 {
        let length = match layer3 {
            Layer3::Ipv4 => self.ipv4_length.min(32),
            _ => self.ipv6_length.min(64),
        };
        // A shift by 64 leaves nothing.
        source & !u64::MAX.checked_shr(u32::from(length)).unwrap_or(0)
    }
}

/// A policer as resolved from the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policer {
    /// Rates and bursts.
    pub marker: Marker,
    /// Unit, colour mode and overhead.
    pub options: ProfileOptions,
    /// By colour: green, yellow, red.
    pub actions: [ColourAction; 3],
    /// A meter for each source prefix in place of one for all packets.
    pub sources: Option<SourcePrefixes>,
}

/// The colour that a packet's DSCP says: RFC 2597 section 6 by its drop precedence (AFx1 green, AFx2
/// yellow, AFx3 red); all others are green.
#[inline]
#[must_use]
pub const fn assured_forwarding_colour(dscp: u8) -> Colour {
    let (class, precedence, is_even) = (dscp >> 3, dscp >> 1 & 3, dscp & 1 == 0);
    match precedence {
        2 if is_even && class >= 1 && class <= 4 => Colour::Yellow,
        3 if is_even && class >= 1 && class <= 4 => Colour::Red,
        _ => Colour::Green,
    }
}
