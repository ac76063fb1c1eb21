//! The demo as a newcomer runs it: as root, as somebody else, and broken off. Needs root.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use linecard_lab::{Namespace, Signal, wait_for, was_killed};
use serde_json::Value;
use tempfile::TempDir;

const TIMEOUT: Duration = Duration::from_secs(30);
/// What needs no kernel, and what does.
const ANYWHERE: [&str; 6] = ["ping", "traceroute", "path mtu", "ecmp", "drops", "books"];
const BESIDE_A_KERNEL: [&str; 3] = ["tcp", "kill -9", "restart"];

/// A directory for the demo to leave things in.
fn directory() -> TempDir {
    tempfile::Builder::new().prefix("demo-test-").tempdir().expect("a directory of our own")
}

fn set_up(command: &mut Command, temporary: &Path) {
    command.env("TMPDIR", temporary).env("HOME", temporary).env("NO_COLOR", "1");
    command.env_remove("LINECARD_LOG").stdin(Stdio::null());
}

fn demo(arguments: &[&str], temporary: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linecard"));
    command.arg("demo").args(arguments);
    set_up(&mut command, temporary);
    command
}

fn run(mut command: Command) -> Output {
    command.output().expect("the binary was built")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn result(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        panic!("no JSON ({error}), {}:\n{out}\n{err}", output.status)
    })
}

fn act<'a>(result: &'a Value, name: &str) -> &'a Value {
    let mut acts = result["acts"].as_array().expect("acts").iter();
    acts.find(|act| act["name"] == name).unwrap_or_else(|| panic!("{name} in {result:#}"))
}

fn value(result: &Value, act_name: &str, value: &str) -> u64 {
    let found = &act(result, act_name)["values"][value];
    found.as_u64().unwrap_or_else(|| panic!("{act_name} has no {value}: {found}"))
}

fn assert_verdicts(result: &Value, names: &[&str], verdict: &str) {
    for name in names {
        assert_eq!(act(result, name)["verdict"], verdict, "{name} in {result:#}");
    }
}

fn assert_books_balance(result: &Value) {
    let of = |name: &str| value(result, "books", name);
    let accounted = ["sent_packets", "dropped_packets", "queued_packets", "punted_packets"].map(of);
    assert_eq!(of("received_packets"), accounted.iter().sum::<u64>(), "{result:#}");
    assert!(of("received_packets") > 1_000, "{result:#}");
    let accounted = ["forwarded_bytes", "dropped_bytes", "punted_bytes"].map(of);
    assert_eq!(of("received_bytes"), accounted.iter().sum::<u64>(), "{result:#}");
}

fn assert_empty(directory: &Path) {
    let mut left = fs::read_dir(directory).expect("it is there").map(|entry| entry.unwrap().path());
    assert_eq!(left.next(), None, "left behind");
}

#[test]
fn as_root_every_claim_holds() {
    let directory = directory();
    let output = run(demo(&["--fast", "--json"], directory.path()));
    let result = result(&output);
    assert_verdicts(&result, &ANYWHERE, "yes");
    assert_verdicts(&result, &BESIDE_A_KERNEL, "yes");
    assert_eq!(output.status.code(), Some(0), "{result:#}");
    assert_eq!(result["stage"], "namespaces");
    assert_eq!((&result["holds"], &result["interrupted"]), (&true.into(), &false.into()));
    for reason in ["ipv4_checksum_wrong", "martian_source", "ttl_expired"] {
        assert_eq!(value(&result, "drops", &format!("{reason}_packets")), 100);
    }
    assert_eq!(value(&result, "path mtu", "mtu_ipv6_bytes"), 1_400);
    assert!(value(&result, "kill -9", "arrived_after_kill_packets") > 0);
    assert!(value(&result, "restart", "forwarded_packets") > 0);
    assert_books_balance(&result);
    assert_empty(directory.path());
}

/// The demo as the user "nobody", who must be able to read the program.
fn demo_as_nobody(arguments: &[&str], directory: &Path) -> Command {
    let program = directory.join("linecard");
    if !program.exists() {
        fs::copy(env!("CARGO_BIN_EXE_linecard"), &program).expect("copied");
    }
    let temporary = directory.join("tmp");
    fs::create_dir_all(&temporary).expect("made");
    for (path, mode) in [(directory, 0o755), (&program, 0o755), (&temporary, 0o777)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    command.arg("demo").args(arguments);
    set_up(&mut command, &temporary);
    command
}

#[test]
fn without_root_it_plays_in_memory_and_says_so() {
    let directory = directory();
    let output = run(demo_as_nobody(&["--fast", "--json"], directory.path()));
    let result = result(&output);
    assert_eq!(output.status.code(), Some(0), "{result:#}");
    assert_eq!(result["stage"], "memory");
    assert_verdicts(&result, &ANYWHERE, "yes");
    assert_verdicts(&result, &BESIDE_A_KERNEL, "not_shown");
    assert_books_balance(&result);
    assert_empty(&directory.path().join("tmp"));

    let output = run(demo_as_nobody(&["--fast"], directory.path()));
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}\n{errors}");
    let beginning: Vec<&str> = out.lines().take(6).collect();
    let beginning = beginning.join("\n");
    for words in ["in memory (not root", "kill -9 and restart are not shown", "sudo "] {
        assert!(beginning.contains(words), "no {words:?} in:\n{beginning}");
    }
    assert!(out.contains("6 of 6 claims held, 3 need root"), "{out}");
    assert_fits_a_terminal(&out);
    assert_eq!(errors, "");
}

/// 80 columns, and with NO_COLOR no colours.
fn assert_fits_a_terminal(text: &str) {
    // The path of a test binary is longer than a user's.
    let wide = |line: &&str| line.chars().count() > 80 && !line.contains("sudo /");
    let wide: Vec<&str> = text.lines().filter(wide).collect();
    assert!(wide.is_empty() && !text.contains('\x1b'), "{wide:#?}");
}

/// Starts the demo in a namespace of the test's own, lets it come to the act called `until`, ends it
/// with `signal`, and looks whether anything is left.
fn break_off(until: &str, signal: Signal) -> (ExitStatus, String) {
    let (directory, host) = (directory(), Namespace::new("host").unwrap());
    let mut command = demo(&[], directory.path());
    command.stdout(Stdio::piped());
    let mut demo = host.spawn(command).unwrap();
    let mut lines = BufReader::new(demo.child_mut().stdout.take().expect("it is piped"));
    let mut said = String::new();
    while !said.lines().next_back().is_some_and(|line| line.contains(until)) {
        assert!(lines.read_line(&mut said).expect("UTF-8") > 0, "it ended early:\n{said}");
    }
    let routers = children(demo.id());
    assert_eq!(routers.len(), 1, "Linecard runs in the router:\n{said}");
    let router_namespace = namespace_of(routers[0]).expect("it runs");

    demo.signal(signal).unwrap();
    let status = demo.wait(TIMEOUT).unwrap();
    lines.read_to_string(&mut said).expect("UTF-8");
    wait_for("the router ends", TIMEOUT, || Ok(!runs(routers[0]))).unwrap();
    wait_for("nobody is in the router's namespace", TIMEOUT, || {
        Ok(!processes().any(|id| namespace_of(id).as_ref() == Some(&router_namespace)))
    })
    .unwrap();
    let links: Vec<_> = host.interfaces().unwrap().into_iter().map(|link| link.name).collect();
    assert_eq!(links, ["lo"], "links of the machine are as they were");
    assert_empty(directory.path());
    (status, said)
}

#[test]
fn control_c_puts_everything_away_and_says_what_was_seen() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let (status, said) = break_off("[5/9]", signal);
        assert_eq!(status.code(), Some(128 + signal as i32), "{said}");
        assert_fits_a_terminal(&said);
        let (_, end) = said.rsplit_once("\nact ").expect("a table");
        assert!(end.contains("\ntcp "), "an act that was played: {end}");
        assert!(!end.contains("\necmp "), "the act that was broken off: {end}");
        assert!(end.contains("Interrupted after ") && end.contains("4 of 4 claims held"), "{end}");
    }
}

#[test]
fn sigkill_leaves_nothing_behind() {
    let (status, said) = break_off("[4/9]", Signal::SIGKILL);
    assert!(was_killed(status), "{status}:\n{said}");
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("procfs");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// State and parent of a process, from proc_pid_stat(5).
fn state_and_parent(id: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name may hold anything, but its last parenthesis is the last one.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

fn children(parent: u32) -> Vec<u32> {
    processes().filter(|&id| state_and_parent(id).is_some_and(|(_, at)| at == parent)).collect()
}

/// Whether it exists and is no zombie that waits for its new parent.
fn runs(id: u32) -> bool {
    state_and_parent(id).is_some_and(|(state, _)| state != "Z" && state != "X")
}

fn namespace_of(id: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{id}/ns/net")).ok()
}
