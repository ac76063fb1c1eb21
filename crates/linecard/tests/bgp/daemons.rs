//! The daemons: BIRD at the server's end of a path announces, FRR or BIRD in the router learns.

use std::fmt::Write as _;

use linecard_lab::{Link, RouterTopology, RoutingDaemon};

use super::prefixes::Prefixes;

const ROUTER_AS: u32 = 65_001;
const PEER_AS: u32 = 65_002;

/// The routing daemon of the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouterKind {
    /// FRR: zebra makes nexthop objects, and routes that refer to them.
    Frr,
    /// BIRD: each route has its own next hops.
    Bird,
}

/// What the router does with a prefix that both peers announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// It takes that of the peer on path b (a higher local preference).
    PreferB,
    /// It shares packets among both.
    Multipath,
}

/// The sessions of one path, by family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    A,
    B,
}

impl Path {
    pub fn link(self, topology: &RouterTopology) -> &Link {
        match self {
            Self::A => &topology.path_a,
            Self::B => &topology.path_b,
        }
    }
}

/// Starts a peer at the server's end of a path, which announces all prefixes.
pub fn start_peer(topology: &RouterTopology, path: Path, prefixes: &Prefixes) -> RoutingDaemon {
    let link = path.link(topology);
    let mut text =
        format!("log stderr all;\nrouter id {};\nprotocol device {{}}\n", link.far.ipv4.addr());
    let mut files = Vec::new();
    for (family, ipv6) in [("ipv4", false), ("ipv6", true)] {
        for half in 0..2 {
            let name = format!("{family}_{half}.conf");
            writeln!(
                text,
                "protocol static half_{half}_{family} {{\n{family};\ninclude \"{name}\";\n}}"
            )
            .expect("a string takes it");
            files.push((name, prefixes.bird_routes(ipv6, half)));
        }
        let channel = "import none; export where source = RTS_STATIC; next hop self;";
        text += &bird_session(link, true, family, channel);
    }
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    RoutingDaemon::bird_with_files(&topology.server, &text, &files).expect("a peer starts")
}

/// Starts the router's daemon with sessions to both peers, whether they run yet or not.
pub fn start_router(topology: &RouterTopology, kind: RouterKind, policy: Policy) -> RoutingDaemon {
    let daemon = match kind {
        RouterKind::Frr => RoutingDaemon::frr(&topology.router, &frr_router(topology, policy)),
        RouterKind::Bird => RoutingDaemon::bird(&topology.router, &bird_router(topology, policy)),
    };
    daemon.expect("the router's daemon starts")
}

/// A BIRD session over one path and family, seen from the peer or from the router.
fn bird_session(link: &Link, from_peer: bool, family: &str, channel: &str) -> String {
    let (own, other) = if from_peer { (&link.far, &link.near) } else { (&link.near, &link.far) };
    let addresses = match family {
        "ipv4" => [own.ipv4.addr().to_string(), other.ipv4.addr().to_string()],
        _ => [own.ipv6.addr().to_string(), other.ipv6.addr().to_string()],
    };
    let (own_as, other_as) = if from_peer { (PEER_AS, ROUTER_AS) } else { (ROUTER_AS, PEER_AS) };
    let name = format!("{}_{family}", link.near.interface.replace('-', "_"));
    format!(
        "protocol bgp {name} {{\n\
         local {} as {own_as};\nneighbor {} as {other_as};\nstrict bind yes;\n\
         graceful restart off;\nconnect delay time 1;\nconnect retry time 1;\n\
         error wait time 1, 1;\nerror forget time 1;\n\
         {family} {{ {channel} }};\n}}\n",
        addresses[0], addresses[1]
    )
}

fn bird_router(topology: &RouterTopology, policy: Policy) -> String {
    let mut text = format!(
        "log stderr all;\nrouter id {};\nprotocol device {{}}\n",
        topology.path_a.near.ipv4.addr()
    );
    let merge = if policy == Policy::Multipath { "merge paths yes;" } else { "" };
    for family in ["ipv4", "ipv6"] {
        writeln!(
            text,
            "protocol kernel {{ {merge} \
             {family} {{ import none; export where source = RTS_BGP; }}; }}"
        )
        .expect("a string takes it");
        let prefer = match policy {
            Policy::PreferB => "import filter { bgp_local_pref = 200; accept; }; export none;",
            Policy::Multipath => "import all; export none;",
        };
        text += &bird_session(&topology.path_a, false, family, "import all; export none;");
        text += &bird_session(&topology.path_b, false, family, prefer);
    }
    text
}

fn frr_router(topology: &RouterTopology, policy: Policy) -> String {
    let mut text = format!(
        "route-map PREFER permit 10\n set local-preference 200\nexit\n\
         router bgp {ROUTER_AS}\n bgp router-id {}\n no bgp ebgp-requires-policy\n \
         no bgp default ipv4-unicast\n bgp graceful-restart-disable\n",
        topology.path_a.near.ipv4.addr()
    );
    let mut families = [String::new(), String::new()];
    for link in [&topology.path_a, &topology.path_b] {
        let neighbours = [link.far.ipv4.addr().to_string(), link.far.ipv6.addr().to_string()];
        for (neighbour, family) in neighbours.iter().zip(&mut families) {
            text += &format!(
                " neighbor {neighbour} remote-as {PEER_AS}\n neighbor {neighbour} timers connect 1\n"
            );
            *family += &format!("  neighbor {neighbour} activate\n");
            if policy == Policy::PreferB && link == &topology.path_b {
                *family += &format!("  neighbor {neighbour} route-map PREFER in\n");
            }
        }
    }
    let paths = if policy == Policy::Multipath { 2 } else { 1 };
    for (name, family) in ["ipv4", "ipv6"].iter().zip(families) {
        text += &format!(
            " address-family {name} unicast\n{family}  maximum-paths {paths}\n exit-address-family\n"
        );
    }
    text + "exit\n"
}
