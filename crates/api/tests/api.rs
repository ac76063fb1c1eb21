//! Server and client, over a real unix socket.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use linecard_api::{Client, ClientError, Server, ServerConfig, SocketError, Source};
use linecard_observe::{
    HealthReport, HealthState, NeighbourReport, NeighbourState, NeighboursReport, PortReport,
    PortState, PortsReport, RouteKind, RouteQuery, RouteReport, RoutesReport,
};
use tempfile::TempDir;

const ROUTES: u32 = 25_000;

struct Fixed;

impl Source for Fixed {
    fn ports(&self) -> PortsReport {
        let mut totals = linecard_packet::PortTotals { received_packets: 5, ..Default::default() };
        totals.dropped_packets[linecard_packet::DropReason::Blackhole] = 5;
        PortsReport::new(vec![PortReport {
            name: "eth0".to_owned(),
            kind: "xdp".to_owned(),
            mode: "native copy".to_owned(),
            state: PortState::Up,
            queues: 2,
            route_cache: None,
            totals,
            passed: Vec::new(),
        }])
    }

    fn routes(&self, query: &RouteQuery) -> RoutesReport {
        let prefix = |n: u32| Ipv4Net::new((n << 8).into(), 24).expect("a length below 33");
        let route = |n| RouteReport {
            prefix: IpNet::from(prefix(n)),
            kind: RouteKind::Blackhole,
            next_hops: Vec::new(),
        };
        query.page((0..ROUTES).map(route))
    }

    fn neighbours(&self) -> NeighboursReport {
        NeighboursReport {
            neighbours: vec![NeighbourReport {
                interface: "eth0".to_owned(),
                address: [192, 0, 2, 2].into(),
                mac_address: None,
                state: NeighbourState::Unresolved,
            }],
        }
    }

    fn health(&self) -> HealthReport {
        HealthReport {
            state: HealthState::Well,
            troubles: Vec::new(),
            version: "1.2.3".to_owned(),
            uptime_seconds: 60,
            workers: 2,
            snapshot_version: 7,
            routes: 100_005,
            route_cache: Vec::new(),
            netlink_overruns: 0,
            netlink_resyncs: 1,
            table_overflows: 0,
        }
    }
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory of our own")
}

fn config(directory: &TempDir) -> ServerConfig {
    ServerConfig { socket: directory.path().join("linecard.sock"), group: None }
}

fn start(directory: &TempDir) -> Server {
    Server::start(&config(directory), Arc::new(Fixed)).expect("the server starts")
}

#[test]
fn every_report_arrives_as_it_was_sent() {
    let directory = directory();
    let server = start(&directory);
    let client = Client::new(server.socket());
    assert_eq!(client.ports().expect("ports"), Fixed.ports());
    assert_eq!(client.neighbours().expect("neighbours"), Fixed.neighbours());
    assert_eq!(client.health().expect("health"), Fixed.health());
    let drops = client.drops().expect("drops");
    assert_eq!(drops, Fixed.drops());
    assert!(drops.drops.iter().any(|line| line.reason == "blackhole" && line.packets == 5));
}

#[test]
fn all_routes_arrive_page_by_page() {
    let directory = directory();
    let server = start(&directory);
    let client = Client::new(server.socket());
    let mut prefixes = Vec::new();
    let query = RouteQuery { limit: 10_000, ..RouteQuery::default() };
    client
        .each_route(query, |route| {
            prefixes.push(route.prefix);
            true
        })
        .expect("routes");
    assert_eq!(prefixes.len(), ROUTES as usize);
    assert!(prefixes.is_sorted());

    let covers = Some([0, 1, 7, 9].into());
    let page = client.routes(&RouteQuery { covers, ..RouteQuery::default() }).expect("one route");
    assert_eq!(page.routes.len(), 1);
    assert_eq!(page.routes[0].prefix.to_string(), "0.1.7.0/24");
}

#[test]
fn a_wrong_question_gets_an_answer_that_says_what_is_wrong() {
    let directory = directory();
    let server = start(&directory);
    let client = Client::new(server.socket());
    let error =
        client.routes(&RouteQuery { limit: 0, ..RouteQuery::default() }).expect_err("limit");
    assert!(error.to_string().contains("limit is 0: 1 to 10000"), "{error}");
    for (path, words) in [
        ("/v1/routes?prefix=10.0.0.0", "prefix"),
        ("/v1/routes?colour=red", "unknown field `colour`"),
        ("/v2", "GET one of /v1/ports"),
    ] {
        let mut stream = UnixStream::connect(server.socket()).expect("connect");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("ask");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answer");
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
        assert!(answer.contains(words), "{path}: {answer}");
    }
}

#[test]
fn the_socket_is_for_owner_and_group_and_goes_with_the_server() {
    let directory = directory();
    let server = start(&directory);
    let mode = std::fs::metadata(server.socket()).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let names = std::fs::read_dir(directory.path()).expect("list").count();
    assert_eq!(names, 1, "the name under which it was made is gone");
    let socket = server.socket().to_owned();
    server.stop();
    assert!(!socket.exists());
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let directory = directory();
    let path = config(&directory).socket;
    drop(UnixListener::bind(&path).expect("a socket that nobody listens on any more"));
    let server = start(&directory);
    let second = Server::start(&config(&directory), Arc::new(Fixed)).expect_err("it is in use");
    assert!(matches!(second, SocketError::InUse(_)), "{second}");
    assert!(Client::new(&path).health().is_ok(), "the first still answers");
    server.stop();
}

#[test]
fn a_file_and_an_unknown_group_are_refused() {
    let directory = directory();
    let mut config = config(&directory);
    config.group = Some("no-such-group-here".to_owned());
    let error = Server::start(&config, Arc::new(Fixed)).expect_err("no group");
    assert!(error.to_string().contains("groupadd no-such-group-here"), "{error}");
    std::fs::write(&config.socket, "precious").expect("a file");
    let error = Server::start(&config, Arc::new(Fixed)).expect_err("no socket");
    assert!(matches!(error, SocketError::NotASocket(_)), "{error}");
    assert_eq!(std::fs::read(&config.socket).expect("the file"), b"precious");
}

#[test]
fn without_a_daemon_the_client_says_what_to_do() {
    let client = Client::new(Path::new("/nonexistent/linecard.sock"));
    let error = client.health().expect_err("no daemon");
    assert_eq!(
        error.to_string(),
        "no daemon answers on /nonexistent/linecard.sock: start one with `linecard run`, or name \
         its socket with --socket"
    );
    let directory = directory();
    let path = directory.path().join("other.sock");
    let other = UnixListener::bind(&path).expect("another program's socket");
    let answers = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().expect("a connection");
        stream.write_all(b"220 mail.example\r\n").expect("greet");
    });
    let error = Client::new(&path).health().expect_err("no API");
    assert!(matches!(error, ClientError::NotUnderstood { .. }), "{error}");
    answers.join().expect("the other program ends");
}

#[test]
fn a_client_that_never_asks_does_not_keep_the_server_from_stopping() {
    let directory = directory();
    let server = start(&directory);
    let mut silent = UnixStream::connect(server.socket()).expect("connect");
    silent.write_all(b"GET /v1/health HT").expect("half a request");
    server.stop();
    let mut rest = Vec::new();
    // The end of the stream, or a reset: the server is gone either way.
    let _ = silent.read_to_end(&mut rest);
}
