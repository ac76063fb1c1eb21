//! What the file says of control-plane protection.

use linecard_io::ProtectionClass;
use serde::Deserialize;
use toml::Spanned;

/// `[protection]`: a table for each class.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Protection {
    #[serde(default)]
    pub(in crate::config) mode: ProtectionMode,
    #[serde(default)]
    established: ClassLimit,
    #[serde(default)]
    bgp: ClassLimit,
    #[serde(default)]
    ospf: ClassLimit,
    #[serde(default)]
    bfd: ClassLimit,
    #[serde(default)]
    control: ClassLimit,
    #[serde(default)]
    arp_nd: ClassLimit,
    #[serde(default)]
    icmp: ClassLimit,
    #[serde(default)]
    ssh: ClassLimit,
    #[serde(default)]
    tunnel: ClassLimit,
    #[serde(default)]
    multicast: ClassLimit,
    #[serde(default)]
    exception: ClassLimit,
    #[serde(default)]
    rest: ClassLimit,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum ProtectionMode {
    #[default]
    On,
    Off,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ClassLimit {
    pub(in crate::config) rate_packets_per_second: Option<Spanned<i64>>,
    pub(in crate::config) burst_packets: Option<Spanned<i64>>,
}

impl Protection {
    /// The table of one class.
    pub(in crate::config) fn class(&self, class: ProtectionClass) -> &ClassLimit {
        match class {
            ProtectionClass::Established => &self.established,
            ProtectionClass::Bgp => &self.bgp,
            ProtectionClass::Ospf => &self.ospf,
            ProtectionClass::Bfd => &self.bfd,
            ProtectionClass::Control => &self.control,
            ProtectionClass::ArpNd => &self.arp_nd,
            ProtectionClass::Icmp => &self.icmp,
            ProtectionClass::Ssh => &self.ssh,
            ProtectionClass::Tunnel => &self.tunnel,
            ProtectionClass::Multicast => &self.multicast,
            ProtectionClass::Exception => &self.exception,
            ProtectionClass::Rest => &self.rest,
        }
    }
}
