//! The topology of the demo and the system tests: a client, a router, and a server behind two paths.
//!
//! ```text
//!                                         ┌── to-server-a ── 198.51.100.0/25 ── to-router-a ──┐
//! client ── 192.0.2.0/24 ── to-client  router                                              server
//!                                         └── to-server-b ── 198.51.100.128/25 ─ to-router-b ─┘
//! ```
//!
//! Behind the server lie 203.0.113.0/24 and 2001:db8:5::/64, each address of them the server's own,
//! which the router reaches over both paths (ECMP, hashed on the 5-tuple). All addresses are those
//! kept for documentation (RFC 5737, RFC 3849).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::error::Result;
use crate::link::{MacAddress, VethOptions, create_veth};
use crate::namespace::Namespace;
use crate::route::{NextHop, Route};

/// How long an interface may take to come up.
const LINK_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// What may differ from one router topology to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterOptions {
    /// RX and TX queues of each interface.
    pub queues: u32,
    /// MTU of the link between client and router, in bytes.
    pub client_mtu_bytes: u32,
    /// MTU of the links between router and server, in bytes.
    pub server_mtu_bytes: u32,
    /// Whether every neighbour is entered for good, so that no ARP or ND is needed.
    pub permanent_neighbours: bool,
    /// Whether client and server keep checksum and segmentation offloads; off, as AF_XDP needs it.
    pub end_host_offloads: bool,
}

impl Default for RouterOptions {
    fn default() -> Self {
        Self {
            queues: 1,
            client_mtu_bytes: 1500,
            server_mtu_bytes: 1500,
            permanent_neighbours: false,
            end_host_offloads: false,
        }
    }
}

/// One end of a link, with its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The interface's name in its namespace.
    pub interface: &'static str,
    /// Its Ethernet address.
    pub mac: MacAddress,
    /// Its IPv4 address and prefix.
    pub ipv4: Ipv4Net,
    /// Its IPv6 address and prefix.
    pub ipv6: Ipv6Net,
}

impl Port {
    fn addresses(&self) -> [IpNet; 2] {
        [self.ipv4.into(), self.ipv6.into()]
    }
}

/// Two ports that face each other; `near` is the one closer to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The end closer to the client.
    pub near: Port,
    /// The end closer to the server.
    pub far: Port,
}

/// Client – router – server, ready for traffic.
#[derive(Debug)]
pub struct RouterTopology {
    /// The client's namespace.
    pub client: Namespace,
    /// The router's namespace, with forwarding on.
    pub router: Namespace,
    /// The server's namespace.
    pub server: Namespace,
    /// From the client to the router.
    pub client_link: Link,
    /// From the router to the server, first path.
    pub path_a: Link,
    /// From the router to the server, second path.
    pub path_b: Link,
    /// The prefix behind both paths; each of its addresses is the server's.
    pub service_ipv4: Ipv4Net,
    /// The IPv6 prefix behind both paths; each of its addresses is the server's.
    pub service_ipv6: Ipv6Net,
}

/// The addresses of one link: `(IPv4 net, first host, IPv6 subnet number)`.
struct Plan {
    near_interface: &'static str,
    far_interface: &'static str,
    /// The router is the first host of the net, its neighbour the second.
    router_is_near: bool,
    ipv4: Ipv4Net,
    ipv6_subnet: u16,
    mtu_bytes: u32,
}

impl RouterTopology {
    /// Builds the namespaces, links, addresses and routes, and waits until every link is up.
    ///
    /// # Errors
    /// Without `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`, or when the kernel has no veth.
    pub fn new(options: &RouterOptions) -> Result<Self> {
        let client = Namespace::new("client")?;
        let router = Namespace::new("router")?;
        let server = Namespace::new("server")?;
        configure_router(&router)?;
        configure_host(&client)?;
        configure_host(&server)?;
        let [plan_client, plan_a, plan_b] = plans(options);
        let client_link = plan_client.build(&client, &router, options)?;
        let path_a = plan_a.build(&router, &server, options)?;
        let path_b = plan_b.build(&router, &server, options)?;
        if !options.end_host_offloads {
            client.disable_tx_offloads(client_link.near.interface)?;
            server.disable_tx_offloads(path_a.far.interface)?;
            server.disable_tx_offloads(path_b.far.interface)?;
        }
        let topology = Self {
            client,
            router,
            server,
            client_link,
            path_a,
            path_b,
            service_ipv4: Ipv4Net::new_assert(Ipv4Addr::new(203, 0, 113, 0), 24),
            service_ipv6: Ipv6Net::new_assert(ipv6(5, 0), 64),
        };
        topology.add_routes()?;
        Ok(topology)
    }

    /// The server's first service address, by which tests know it.
    pub fn server_ipv4(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.service_ipv4.addr()) + 1)
    }

    /// The server's first IPv6 service address.
    pub fn server_ipv6(&self) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(self.service_ipv6.addr()) + 1)
    }

    /// The server's first service address of the family asked for.
    pub fn server_address(&self, ipv6: bool) -> IpAddr {
        if ipv6 { self.server_ipv6().into() } else { self.server_ipv4().into() }
    }

    /// The client's address of the family asked for.
    pub fn client_address(&self, ipv6: bool) -> IpAddr {
        let port = &self.client_link.near;
        if ipv6 { port.ipv6.addr().into() } else { port.ipv4.addr().into() }
    }

    /// The router's ports: to the client, to the server by path a, by path b.
    pub fn router_ports(&self) -> [&Port; 3] {
        [&self.client_link.far, &self.path_a.near, &self.path_b.near]
    }

    /// The route of the router to the IPv4 service prefix, over both paths.
    pub fn service_route_ipv4(&self) -> Route {
        self.service_route(self.service_ipv4.into())
    }

    /// The route of the router to the IPv6 service prefix, over both paths.
    pub fn service_route_ipv6(&self) -> Route {
        self.service_route(self.service_ipv6.into())
    }

    fn service_route(&self, prefix: IpNet) -> Route {
        let hop = |link: &Link| {
            let gateway = match prefix {
                IpNet::V4(_) => link.far.ipv4.addr().into(),
                IpNet::V6(_) => link.far.ipv6.addr().into(),
            };
            NextHop::via(gateway).interface(link.near.interface)
        };
        Route::multipath(prefix, vec![hop(&self.path_a), hop(&self.path_b)])
    }

    fn add_routes(&self) -> Result<()> {
        self.server.add_address("lo", host_prefix(self.server_ipv4().into()))?;
        self.server.add_address("lo", host_prefix(self.server_ipv6().into()))?;
        self.server.add_route(&Route::local(self.service_ipv4.into(), "lo"))?;
        self.server.add_route(&Route::local(self.service_ipv6.into(), "lo"))?;
        self.router.add_route(&self.service_route_ipv4())?;
        self.router.add_route(&self.service_route_ipv6())?;
        let default: [IpNet; 2] = [Ipv4Net::default().into(), Ipv6Net::default().into()];
        for (prefix, gateway) in default.into_iter().zip(self.client_link.far.addresses()) {
            self.client.add_route(&Route::via(prefix, gateway.addr()))?;
        }
        // The server answers over both paths, too.
        let gateways_a = self.path_a.near.addresses();
        for ((prefix, a), b) in
            default.into_iter().zip(gateways_a).zip(self.path_b.near.addresses())
        {
            let hops = [(a, &self.path_a), (b, &self.path_b)]
                .map(|(via, link)| NextHop::via(via.addr()).interface(link.far.interface));
            self.server.add_route(&Route::multipath(prefix, hops.to_vec()))?;
        }
        Ok(())
    }
}

fn plans(options: &RouterOptions) -> [Plan; 3] {
    let to_server = |near, far, last_octet, ipv6_subnet| Plan {
        near_interface: near,
        far_interface: far,
        router_is_near: true,
        ipv4: Ipv4Net::new_assert(Ipv4Addr::new(198, 51, 100, last_octet), 25),
        ipv6_subnet,
        mtu_bytes: options.server_mtu_bytes,
    };
    [
        Plan {
            near_interface: "to-router",
            far_interface: "to-client",
            router_is_near: false,
            ipv4: Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 2, 0), 24),
            ipv6_subnet: 1,
            mtu_bytes: options.client_mtu_bytes,
        },
        to_server("to-server-a", "to-router-a", 0, 0xa),
        to_server("to-server-b", "to-router-b", 128, 0xb),
    ]
}

impl Plan {
    fn build(&self, near: &Namespace, far: &Namespace, options: &RouterOptions) -> Result<Link> {
        let veth = VethOptions { queues: options.queues, mtu_bytes: self.mtu_bytes };
        create_veth((near, self.near_interface), (far, self.far_interface), &veth)?;
        let [near_host, far_host] = if self.router_is_near { [1, 2] } else { [2, 1] };
        let link = Link {
            near: self.configure(near, self.near_interface, near_host)?,
            far: self.configure(far, self.far_interface, far_host)?,
        };
        near.wait_running(self.near_interface, LINK_UP_TIMEOUT)?;
        far.wait_running(self.far_interface, LINK_UP_TIMEOUT)?;
        if options.permanent_neighbours {
            for (namespace, port, other) in
                [(near, &link.near, &link.far), (far, &link.far, &link.near)]
            {
                for address in other.addresses() {
                    namespace.add_neighbour(port.interface, address.addr(), other.mac)?;
                }
            }
        }
        Ok(link)
    }

    fn configure(&self, namespace: &Namespace, interface: &'static str, host: u8) -> Result<Port> {
        let ipv4 = Ipv4Addr::from(u32::from(self.ipv4.addr()) + u32::from(host));
        let port = Port {
            interface,
            mac: namespace.interface(interface)?.mac,
            ipv4: Ipv4Net::new_assert(ipv4, self.ipv4.prefix_len()),
            ipv6: Ipv6Net::new_assert(ipv6(self.ipv6_subnet, u16::from(host)), 64),
        };
        namespace.set_up(interface)?;
        for address in port.addresses() {
            namespace.add_address(interface, address)?;
        }
        Ok(port)
    }
}

fn configure_router(router: &Namespace) -> Result<()> {
    for (key, value) in [
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv6.conf.all.forwarding", "1"),
        // Hash on the 5-tuple, so that flows between two hosts spread.
        ("net.ipv4.fib_multipath_hash_policy", "1"),
        ("net.ipv6.fib_multipath_hash_policy", "1"),
        // Every probe of a test gets its ICMP error, however fast they come.
        // By the mask: a limit of zero would use up the tokens that unreachable routes share.
        ("net.ipv4.icmp_ratemask", "0"),
        ("net.ipv6.icmp.ratelimit", "0"),
    ] {
        router.sysctl(key, value)?;
    }
    configure_host(router)
}

/// Both paths lead back to the client, so packets may come in where the answer does not go out.
fn configure_host(namespace: &Namespace) -> Result<()> {
    for scope in ["all", "default"] {
        namespace.sysctl(&format!("net.ipv4.conf.{scope}.rp_filter"), "0")?;
    }
    Ok(())
}

fn ipv6(subnet: u16, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, subnet, 0, 0, 0, 0, host)
}

fn host_prefix(address: IpAddr) -> IpNet {
    address.into()
}
