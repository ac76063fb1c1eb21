//! `linecard bench` as its users see it: the built binary, its output and its exit status.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use linecard_lab::wait_for;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_linecard"))
        .arg("bench")
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

fn cases(output: &Output) -> Vec<Value> {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    serde_json::from_str(stdout(output)).expect("an array of cases")
}

fn number(case: &Value, name: &str) -> f64 {
    case[name].as_f64().unwrap_or_else(|| panic!("{name} is no number in {case}"))
}

#[test]
fn a_quick_run_gives_every_figure_and_every_packet_is_checked() {
    let cases = cases(&bench(&["--quick", "--json", "--seed", "7", "ipv4-1k", "empty"]));
    let names: Vec<&str> = cases.iter().filter_map(|case| case["case"].as_str()).collect();
    assert_eq!(names, ["empty", "ipv4-1k"], "in the order of the list");
    let case = &cases[1];
    for name in [
        "mpps",
        "mpps_per_core",
        "cycles_per_packet",
        "cycles_per_packet_min",
        "cycles_per_packet_max",
        "cycles_per_packet_gross",
        "cycles_per_packet_overhead",
        "gbps_l1",
        "gbps_l2",
        "gbps_imix",
        "packets",
        "tsc_hz",
        "working_set_bytes",
    ] {
        assert!(number(case, name) > 0.0, "{name}: {case}");
    }
    assert_eq!((number(case, "rounds"), number(case, "seed")), (3.0, 7.0));
    assert_eq!((number(case, "routes"), number(case, "workers")), (1_000.0, 1.0));
    assert_eq!(number(case, "packets"), 3.0 * 8_192.0);
    // Of four rounds with the one for warming up: all of the last, one in 16 of the others.
    assert_eq!(number(case, "packets_looked_up"), 8_192.0 + 3.0 * 512.0);
    let mean = number(case, "cycles_per_packet_gross") - number(case, "cycles_per_packet_overhead");
    assert!((mean - number(case, "cycles_per_packet")).abs() < 1e-6, "{case}");
    let bits = number(case, "mpps") * (64.0 + 20.0) * 8.0 / 1e3;
    assert!((bits - number(case, "gbps_l1")).abs() < 1e-9, "{case}");
    for name in ["cpu_model", "kernel", "version"] {
        assert!(case[name].as_str().is_some_and(|text| !text.is_empty()), "{name}: {case}");
    }
    assert!(case.get("instructions_per_packet").is_some(), "a number or null");
}

#[test]
fn all_kinds_of_packets_come_out_right() {
    let directory = tempfile::tempdir().expect("a directory of our own");
    let table = directory.path().join("table.txt");
    let prefixes = "10.0.0.0/8\n10.1.0.0/16\n10.1.2.0/24\n192.0.2.0/24\n2001:db8::/32\n\
                    2001:db8:1::/48\n2001:db8:1:2::/64\n";
    std::fs::write(&table, prefixes).expect("written");
    let table = table.to_str().expect("UTF-8");
    let options = ["--quick", "--json", "--prefixes", table];
    let names = ["ipv4-internet*", "ipv6-internet*", "ipv4-1k-warm"];
    let cases = cases(&bench(&[&options[..], &names[..]].concat()));
    let of = |name: &str| {
        cases.iter().find(|case| case["case"] == name).unwrap_or_else(|| panic!("no {name}"))
    };
    assert_eq!(number(of("ipv4-internet"), "routes"), 4.0);
    assert_eq!(number(of("ipv6-internet-imix"), "routes"), 3.0);
    assert_eq!(of("ipv6-internet-imix")["imix_measured"], true);
    assert_eq!(of("ipv4-1k-warm")["packets_in"], "cache");
}

/// That the rules' counters add up to the packets is a condition of the case itself.
#[test]
fn every_packet_passes_the_filter_and_comes_out_right() {
    let cases = cases(&bench(&["--quick", "--json", "--seed", "7", "filter-*"]));
    for (name, rules) in [
        ("filter-1k-off", 0.0),
        ("filter-1k", 1_000.0),
        ("filter-10k-off-warm", 0.0),
        ("filter-10k-one", 1.0),
        ("filter-10k-warm", 10_000.0),
        ("filter-10k-worst-off", 0.0),
        ("filter-10k-worst-warm", 10_000.0),
    ] {
        let case = cases.iter().find(|case| case["case"] == name);
        let case = case.unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(number(case, "rules"), rules, "{name}");
        assert_eq!(number(case, "routes"), 1_000_001.0, "{name}");
        let has_filter = rules > 0.0;
        assert_eq!(number(case, "rules_memory_bytes") > 0.0, has_filter, "{name}");
        assert_eq!(number(case, "rules_build_seconds") > 0.0, has_filter, "{name}");
    }
}

/// That policers, checks and connections have counted what they must is a condition of the cases themselves.
#[test]
fn every_packet_is_policed_checked_and_tracked() {
    let cases = cases(&bench(&["--quick", "--json", "police*", "urpf*", "stateful*"]));
    let names: Vec<&str> = cases.iter().filter_map(|case| case["case"].as_str()).collect();
    for (name, rules, routes) in [
        ("urpf", 0.0, 1_000_000.0),
        ("police", 1_000.0, 1_000_001.0),
        ("stateful", 2.0, 1_000_001.0),
    ] {
        for suffix in ["", "-warm", "-off", "-off-warm"] {
            assert!(names.contains(&format!("{name}{suffix}").as_str()), "{name}{suffix}");
        }
        let case = cases.iter().find(|case| case["case"] == name).expect("it is among the names");
        assert_eq!((number(case, "rules"), number(case, "routes")), (rules, routes), "{name}");
        assert_eq!(number(case, "packets"), 3.0 * 8_192.0, "{name}");
    }
}

#[test]
fn two_workers_are_compared_with_one() {
    let cores = std::thread::available_parallelism().expect("a number of cores").get();
    let output = bench(&["--quick", "--json", "--workers", "2", "ipv4-1k"]);
    if cores < 2 {
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("need as many cores"), "{}", stderr(&output));
        return;
    }
    let cases = cases(&output);
    assert_eq!(number(&cases[0], "workers"), 2.0);
    assert!(number(&cases[0], "speedup_over_one_worker") > 0.0);
}

#[test]
fn the_number_of_cores_is_told_with_what_it_assumes() {
    let output = bench(&["--quick", "--cores-for", "1.2Tbps", "ipv4-1k-imix"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("1.2 Tbit/s each way"), "{text}");
    assert!(text.contains("Assumed:") && text.contains("7:4:1"), "{text}");
}

#[test]
fn a_picture_is_drawn_with_every_case() {
    let directory = tempfile::tempdir().expect("a directory of our own");
    let path = directory.path().join("bench.svg");
    let name = path.to_str().expect("UTF-8");
    let output = bench(&["--quick", "--plot", name, "ipv4-1k", "empty"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let picture = std::fs::read_to_string(Path::new(name)).expect("the picture");
    assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"), "{picture}");
    assert!(picture.contains("ipv4-1k") && picture.contains("empty"));
}

#[test]
fn what_is_not_there_is_refused_with_what_is_near() {
    let output = bench(&["--quick", "ipv4-2k"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("nearest are `ipv4-1k`, `ipv4-1m`"), "{}", stderr(&output));
    assert_eq!(bench(&["--plot", "a.png"]).status.code(), Some(2));
    assert_eq!(bench(&["--cores-for", "12 bananas"]).status.code(), Some(2));
    let output = bench(&["--quick", "--prefixes", "/nonexistent/table.txt", "ipv4-internet"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("/nonexistent/table.txt"), "{}", stderr(&output));
}

#[test]
fn the_list_names_every_case() {
    let output = bench(&["--list"]);
    for name in ["ipv4-1k", "ipv4-1m-batch-8", "ipv6-internet-imix"] {
        assert!(stdout(&output).lines().any(|line| line.starts_with(name)), "{name}");
    }
    let list: Vec<Value> =
        serde_json::from_slice(&bench(&["--list", "--json"]).stdout).expect("an array");
    assert!(list.iter().all(|case| case["case"].is_string() && case["what"].is_string()));
}

#[test]
fn what_a_file_of_prefixes_lacks_is_said_before_anything_is_measured() {
    let directory = tempfile::tempdir().expect("a directory of our own");
    let table = directory.path().join("table.txt");
    std::fs::write(&table, "10.0.0.0/8\n10.0.0.0/8\n0.0.0.0/0\n192.0.2.0/24\n").expect("written");
    let table = table.to_str().expect("UTF-8");
    let output = bench(&["--quick", "--prefixes", table, "ipv4-internet", "ipv6*"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.contains("2 IPv4 and 0 IPv6 routes; lines left out: 2 (1 repeated, 1 not"),
        "{text}"
    );
    assert!(text.contains("no IPv6 prefixes, which ipv6-internet, ipv6-internet-imix,"), "{text}");
    assert!(text.contains("without --prefixes"), "{text}");
    assert_eq!(stdout(&output), "", "nothing was measured");
}

#[test]
fn a_signal_ends_it_while_it_sets_up() {
    let child = Command::new(env!("CARGO_BIN_EXE_linecard"))
        .args(["bench", "ipv4-1m"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built");
    let pid = Pid::from_raw(child.id() as i32);
    // Signals are taken before anything is made, and a million routes are more than this.
    wait_for("it makes routes", Duration::from_secs(10), || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = resident.and_then(|text| text.trim().strip_suffix(" kB"));
        Ok(kibibytes.is_some_and(|text| text.parse::<u64>().expect("a number") > 32 << 10))
    })
    .expect("a million routes take more");
    kill(pid, Signal::SIGINT).expect("the child is ours");
    // That nobody waits for the set-up, the tests of `bench::session` say.
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("interrupted: 0 of 1 cases"), "{}", stderr(&output));
}
