//! What the daemon says of settings of the kernel that do not do with it what they do without.

mod common;

use std::process::Command;

use common::{Daemon, PortMode, resolved_topology, run_in, text};
use linecard_lab::Namespace;
use linecard_observe::HealthState;

fn nft(namespace: &Namespace, rules: &str) {
    let mut command = Command::new("nft");
    command.arg(rules);
    let output = run_in(namespace, command);
    assert!(output.status.success(), "nft {rules}: {}", text(&output.stderr));
}

fn assert_well(daemon: &Daemon) {
    let health = daemon.client().health().expect("the daemon answers");
    assert_eq!(health.state, HealthState::Well, "{:?}", health.troubles);
}

#[test]
fn a_bypassed_firewall_is_named() {
    let topology = resolved_topology();
    let router = &topology.router;
    // Transit passes neither.
    nft(
        router,
        "table inet own { chain input { type filter hook input priority 0; }; chain c { }; }",
    );
    let mut daemon = Daemon::on_router(&topology, PortMode::Generic);
    assert_well(&daemon);
    assert!(!daemon.log().contains("netfilter"), "{}", daemon.log());
    assert!(daemon.stop().success());

    nft(
        router,
        "table inet fw { chain block { type filter hook forward priority 0; policy drop; }; }",
    );
    nft(router, "table ip nat { chain masq { type nat hook postrouting priority 100; }; }");
    daemon.start_again();
    let health = daemon.client().health().expect("the daemon answers");
    assert_eq!(health.state, HealthState::Degraded);
    let [trouble] = &health.troubles[..] else { panic!("one trouble: {:?}", health.troubles) };
    for word in ["netfilter", "`inet fw block`", "`ip nat masq`"] {
        assert!(trouble.contains(word), "{word} is not in: {trouble}");
    }
    assert!(!trouble.contains("own"), "{trouble}");
    assert!(daemon.log().contains(trouble), "{}", daemon.log());
    assert!(daemon.stop().success());
}

#[test]
fn forwarding_that_is_off_is_named_until_it_is_on() {
    let topology = resolved_topology();
    let set = |value| {
        for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            topology.router.sysctl(key, value).expect("it may be set");
        }
    };
    set("0");
    let mut daemon = Daemon::on_router(&topology, PortMode::Generic);
    let health = daemon.client().health().expect("the daemon answers");
    assert_eq!(health.state, HealthState::Degraded);
    for port in topology.router_ports() {
        let trouble = format!("forwarding is off on {}: `sysctl", port.interface);
        let found = health.troubles.iter().any(|it| it.starts_with(&trouble));
        assert!(found, "{trouble} is not in {:?}", health.troubles);
        assert!(daemon.log().contains(&trouble), "{}", daemon.log());
    }
    set("1");
    daemon.wait_for("the daemon to be well", |daemon| {
        daemon.client().health().is_ok_and(|health| health.state == HealthState::Well)
    });
    assert!(daemon.stop().success());
}

#[test]
fn what_may_be_as_it_should_be_is_only_logged() {
    let topology = resolved_topology();
    let [port, ..] = topology.router_ports().map(|port| port.interface);
    let key = format!("net.ipv4.conf.{port}.rp_filter");
    topology.router.sysctl("net.ipv4.conf.all.rp_filter", "0").expect("it may be set");
    topology.router.sysctl(&key, "1").expect("it may be set");
    let mut daemon = Daemon::on_router(&topology, PortMode::Generic);
    assert_well(&daemon);
    let log = daemon.log();
    assert!(log.contains(&format!("rp_filter is set on {port}")), "{log}");
    assert!(log.contains(&format!("{port} is a veth")), "{log}");
    assert!(daemon.stop().success());
}
