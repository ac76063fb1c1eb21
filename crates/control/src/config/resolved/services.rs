//! Policers and checks of addresses, as the daemon uses them.

pub use linecard_services::source::{MartianFilter, ReversePath};

/// `[router]`: what is for the router itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Router {
    /// Index of the filter that packets to the router's own addresses pass.
    pub filter: Option<usize>,
}

/// What a port does besides forwarding; of filters the index into the configuration's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortServices {
    /// The filter of packets that come in by it.
    pub filter_in: Option<usize>,
    /// The filter of packets that leave by it.
    pub filter_out: Option<usize>,
    /// The policer that all packets meet that come in by it: index into [`super::Config::policers`].
    pub police_in: Option<usize>,
    /// How sources are checked against the routes.
    pub reverse_path: ReversePath,
    /// With [`ReversePath::Feasible`], and only then: the list of sources that are let in besides, index into
    /// [`Filters::feasible_sources`](crate::config::Filters::feasible_sources).
    pub feasible_sources: Option<usize>,
    /// Which special-purpose addresses are refused besides those that always are.
    pub martians: MartianFilter,
}

impl PortServices {
    /// True when packets of the port pass no service but the route.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One policer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policer {
    /// Its name; unique.
    pub name: String,
    /// Rates and bursts, in units of `unit`.
    pub marker: Marker,
    /// What is counted.
    pub unit: PoliceUnit,
    /// Whether a packet's drop precedence (RFC 2597) counts as its colour before.
    pub colour_aware: bool,
    /// DSCP that yellow packets get, 0 to 63; `None`: they go on as they are.
    pub yellow_dscp: Option<u8>,
    /// Bytes that a packet counts for besides its own, 0 to 255.
    pub overhead_bytes: u8,
    /// Which packets share a meter.
    pub per: PolicePer,
}

/// What a policer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoliceUnit {
    /// Rates in bits a second, bursts in bytes.
    Bits,
    /// Rates in packets a second, bursts in packets.
    Packets,
}

/// Rates a second and bursts, in the units of [`PoliceUnit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// RFC 2697.
    SingleRate {
        /// CIR.
        committed_rate: u64,
        /// CBS.
        committed_burst: u64,
        /// EBS; 0: there is no yellow.
        excess_burst: u64,
    },
    /// RFC 2698.
    TwoRate {
        /// CIR.
        committed_rate: u64,
        /// CBS.
        committed_burst: u64,
        /// PIR, no less than CIR.
        peak_rate: u64,
        /// PBS.
        peak_burst: u64,
    },
    /// RFC 4115.
    TwoRateExcess {
        /// CIR.
        committed_rate: u64,
        /// CBS.
        committed_burst: u64,
        /// EIR, which does not include CIR.
        excess_rate: u64,
        /// EBS.
        excess_burst: u64,
    },
}

/// Which packets share a meter of a policer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PolicePer {
    /// All that the rules and ports that name it send to it.
    #[default]
    Rule,
    /// Those that came in by the same port.
    Port,
    /// Those whose sources have so many leading bits in common.
    SourcePrefix {
        /// 1 to 32.
        ipv4_length: u8,
        /// 1 to 64.
        ipv6_length: u8,
    },
}
