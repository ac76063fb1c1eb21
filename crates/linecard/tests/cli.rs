//! The command line as its users see it: the built binary, its output and its exit status.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

fn linecard(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_linecard"))
        .args(arguments)
        .env_remove("LINECARD_LOG")
        .env("NO_COLOR", "1")
        .output()
        .expect("the binary was built")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("UTF-8")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("UTF-8")
}

fn status(output: &Output) -> i32 {
    output.status.code().expect("no signal ended it")
}

fn directory_with(name: &str, text: &str) -> (TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory of our own");
    let path = directory.path().join(name);
    std::fs::write(&path, text).expect("written");
    let path = path.to_str().expect("UTF-8").to_owned();
    (directory, path)
}

#[test]
fn every_command_has_help_with_examples() {
    for command in [
        &["--help"][..],
        &["run", "--help"],
        &["check", "--help"],
        &["replay", "--help"],
        &["show", "ports", "--help"],
        &["show", "routes", "--help"],
        &["show", "neighbours", "--help"],
        &["show", "drops", "--help"],
        &["show", "health", "--help"],
        &["demo", "--help"],
        &["bench", "--help"],
        &["completions", "--help"],
        &["man", "--help"],
    ] {
        let output = linecard(command);
        assert_eq!(status(&output), 0, "{command:?}");
        assert!(stdout(&output).contains("Examples:\n  "), "{command:?}: {}", stdout(&output));
    }
}

#[test]
fn what_is_not_understood_exits_with_2() {
    for command in [
        &[][..],
        &["rum"],
        &["show"],
        &["show", "routes", "--prefix", "10.0.0.0"],
        &["run", "--port", "eth0", "--config", "x"],
        &["replay"],
        &["replay", "in.pcap", "--config", "x"],
        &["show", "routes", "--prefix", "10.0.0.1/8"],
        &["--log", "loud=very", "check"],
        &["--log", "inof", "check"],
        &["--log", "info,linecard_control=debug,hyper", "check"],
        &["completions", "cmd.exe"],
    ] {
        let output = linecard(command);
        assert_eq!(status(&output), 2, "{command:?}: {}", stderr(&output));
        assert!(!stderr(&output).is_empty(), "{command:?}");
    }
    assert!(stderr(&linecard(&["rum"])).contains("run"), "the nearest command is named");
    let output = linecard(&["show", "routes", "--prefix", "10.0.0.1/8"]);
    assert!(stderr(&output).contains("did you mean 10.0.0.0/8?"), "{}", stderr(&output));
    let output = linecard(&["--log", "inof", "check"]);
    let expected = "`inof` is no level: error, warn, info, debug, trace or off";
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    let output = Command::new(env!("CARGO_BIN_EXE_linecard"))
        .arg("check")
        .env("LINECARD_LOG", "nonsense")
        .output()
        .expect("the binary was built");
    assert_eq!(status(&output), 2, "{}", stderr(&output));
    assert!(stderr(&output).contains("`nonsense` is no level"), "{}", stderr(&output));
}

#[test]
fn a_log_filter_names_levels_and_targets() {
    for filter in ["off", "WARN", "info,linecard_control=debug", "linecard_io", "hyper::proto"] {
        let output = linecard(&["--log", filter, "completions", "bash"]);
        assert_eq!(status(&output), 0, "{filter}: {}", stderr(&output));
    }
}

#[test]
fn check_says_what_a_right_file_would_do() {
    let (_directory, path) = directory_with(
        "linecard.toml",
        "[workers]\ncount_max = 2\n[[port]]\nname = \"no-such-port\"\n\
         [[port]]\nname = \"nor-this\"\n",
    );
    let output = linecard(&["check", &path]);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("no-such-port  auto"), "{text}");
    assert!(text.contains("route cache: unknown (no-such-port, nor-this): known when"), "{text}");
    assert!(text.contains("workers: 2 at the most, 32 MiB of packet memory each"), "{text}");
    assert!(text.contains("warning: this machine has no interface no-such-port now"), "{text}");

    let output = linecard(&["check", &path, "--json"]);
    let report: Value = serde_json::from_str(stdout(&output)).expect("JSON");
    assert_eq!(report["valid"], true);
    assert_eq!(report["plan"]["ports"][0]["name"], "no-such-port");
    assert_eq!(report["plan"]["ports"][0]["route_cache"]["state"], "unknown");
    assert_eq!(report["plan"]["memory_bytes_per_worker"], 32 << 20);
}

/// Of a port alone nothing can be redirected, whatever it turns out to be.
#[test]
fn check_knows_that_it_takes_two_ports_to_redirect() {
    let (_directory, path) = directory_with("linecard.toml", "[[port]]\nname = \"no-such-port\"\n");
    let output = linecard(&["check", &path, "--json"]);
    let report: Value = serde_json::from_str(stdout(&output)).expect("JSON");
    assert_eq!(report["plan"]["ports"][0]["route_cache"]["state"], "off");
}

#[test]
fn check_warns_of_rules_that_never_match() {
    let (_directory, path) = directory_with(
        "linecard.toml",
        "[[port]]\nname = \"eth0\"\nfilter_in = \"edge\"\n[[filter]]\nname = \"edge\"\ndefault = \"drop\"\n\
         rules = [\n  { name = \"web\", match = \"tcp destination-port {80, 443}\", action = \"accept\" },\n\
         \x20 { name = \"late\", match = \"tcp destination-port 443\", action = \"drop\" },\n]\n",
    );
    let output = linecard(&["check", &path]);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let text = stdout(&output);
    let expected =
        "warning: rule late never matches: rule web (line 8) before it takes all of its packets";
    assert!(text.contains(expected), "{text}");
    assert!(text.contains(&format!("--> {path}:9:28\n")), "{text}");

    let output = linecard(&["check", &path, "--json"]);
    let report: Value = serde_json::from_str(stdout(&output)).expect("JSON");
    assert_eq!(report["valid"], true);
    assert_eq!(report["warnings"][0]["place"]["line"], 9);
}

#[test]
fn check_and_run_refuse_the_same_with_the_same_words() {
    let (_directory, path) = directory_with(
        "linecard.toml",
        "[router]\nfilter = \"own\"\n[[filter]]\nname = \"own\"\ndefault = \"drop\"\nrules = [\n\
         \x20 { match = \"state established\", action = \"accept\" },\n]\n[[port]]\nname = \"eth0\"\n",
    );
    let refusals =
        [linecard(&["check", &path]), linecard(&["run", "--config", &path])].map(|output| {
            assert_eq!(status(&output), 1, "{}", stdout(&output));
            stderr(&output).to_owned()
        });
    assert_eq!(refusals[0], refusals[1]);
    assert!(refusals[0].contains("which has no `state`"), "{}", refusals[0]);
    assert!(refusals[0].contains(&format!("--> {path}:7:3\n")), "{}", refusals[0]);
    assert!(refusals[0].contains("help: `tcp tcp-flags ack`"), "{}", refusals[0]);
}

#[test]
fn check_refuses_a_wrong_file_with_its_line_and_column() {
    let (_directory, path) =
        directory_with("bad.toml", "[[port]]\nname = \"eth0\"\n  ring_entires = 64\n");
    let output = linecard(&["check", &path]);
    assert_eq!(status(&output), 1);
    let text = stderr(&output);
    assert!(text.contains(&format!("--> {path}:3:3\n")), "{text}");
    assert!(text.contains("unknown key `ring_entires`"), "{text}");
    assert!(text.contains("did you mean `ring_entries`?"), "{text}");
    assert!(text.contains("3 |   ring_entires = 64\n  |   ^^^^^^^^^^^^\n"), "{text}");

    let (_directory, path) = directory_with(
        "bad.toml",
        "[memory]\nframe_bytes = 9000\n[[port]]\nname = \"eth0\"\nqueues_max = 0\n",
    );
    let output = linecard(&["--json", "check", &path]);
    assert_eq!(status(&output), 1);
    let report: Value = serde_json::from_str(stdout(&output)).expect("JSON");
    assert_eq!(report["valid"], false);
    let places: Vec<_> = report["errors"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|error| (error["place"]["line"].as_u64(), error["place"]["column"].as_u64()))
        .collect();
    assert_eq!(places, [(Some(2), Some(15)), (Some(5), Some(14))]);

    let output = linecard(&["check", "/nonexistent.toml"]);
    assert_eq!(status(&output), 1);
    assert!(stderr(&output).contains("cannot read the file"), "{}", stderr(&output));
    assert!(stderr(&output).contains("help: name another file"), "{}", stderr(&output));

    let output = linecard(&["check", env!("CARGO_MANIFEST_DIR")]);
    assert_eq!(status(&output), 1);
    assert!(stderr(&output).contains("help: name a file in this directory"), "{}", stderr(&output));
}

#[test]
fn run_refuses_what_it_cannot_serve() {
    let output = linecard(&["run", "--port", "a name that no interface has"]);
    assert_eq!(status(&output), 1);
    assert!(stderr(&output).contains("--> --port:2:8"), "{}", stderr(&output));

    let (_directory, path) = directory_with(
        "memory.toml",
        "[[port]]\nname = \"a\"\nkind = \"memory\"\nmac_address = \"02:00:00:00:00:01\"\n",
    );
    let output = linecard(&["run", "--config", &path]);
    assert_eq!(status(&output), 1);
    assert!(stderr(&output).contains("serves kernel interfaces"), "{}", stderr(&output));
}

#[test]
fn show_without_a_daemon_says_the_remedy() {
    let directory = tempfile::tempdir().expect("a directory of our own");
    let socket = directory.path().join("linecard.sock");
    let socket = socket.to_str().expect("UTF-8");
    for noun in ["ports", "routes", "neighbours", "drops", "health"] {
        let output = linecard(&["show", noun, "--socket", socket]);
        assert_eq!(status(&output), 1, "{noun}");
        let expected = format!(
            "error: no daemon answers on {socket}: start one with `linecard run`, or name its \
             socket with --socket\n"
        );
        assert_eq!(stderr(&output), expected);
    }
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = linecard(&["completions", shell]);
        assert_eq!(status(&output), 0);
        for word in ["run", "check", "replay", "show", "neighbours", "demo", "completions"] {
            assert!(stdout(&output).contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn man_pages_are_written_for_each_command() {
    let directory = tempfile::tempdir().expect("a directory of our own");
    // It is made, with those that it lies in.
    let pages = directory.path().join("man/man1");
    assert_eq!(status(&linecard(&["man", pages.to_str().expect("UTF-8")])), 0);
    for page in ["linecard.1", "linecard-run.1", "linecard-show-routes.1"] {
        let text = std::fs::read_to_string(pages.join(page)).expect(page);
        assert!(text.contains(".SH SYNOPSIS"), "{page}");
    }
    let output = linecard(&["man", "/dev/null/man1"]);
    assert_eq!(status(&output), 1);
    assert!(stderr(&output).contains("cannot write man pages to /dev/null/man1"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_linecard"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((status(&output), stderr(&output)), (0, ""));
}

#[test]
fn what_cannot_be_written_is_named() {
    for command in [&["completions", "bash"][..], &["demo", "--memory", "--fast"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("it is there");
        let output = Command::new(env!("CARGO_BIN_EXE_linecard"))
            .args(command)
            .env("NO_COLOR", "1")
            .stdout(full)
            .output()
            .expect("the binary was built");
        assert_eq!(status(&output), 1, "{command:?}");
        let expected = "error: cannot write to stdout: No space left on device (os error 28)\n";
        assert_eq!(stderr(&output), expected, "{command:?}");
    }
}

#[test]
fn the_documented_files_pass_the_check() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    for name in ["linecard.toml", "replay.toml"] {
        let path = docs.join(name);
        let output = linecard(&["check", path.to_str().expect("UTF-8")]);
        assert_eq!(status(&output), 0, "{name}: {}", stderr(&output));
    }
}
