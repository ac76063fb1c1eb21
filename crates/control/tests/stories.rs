//! Whole routers told as tables: `tests/stories/*.txt` say what the ports are told, and line by line which packet
//! comes, what becomes of it and what has counted it. All packets of a file go through one worker, one after the
//! other, so that policers have credit and connections a past. Every counter that a line does not name must stand
//! still, and no frame may leave that it does not tell of. `stories/README.md` explains the form.

mod packet;
mod router;

use std::collections::BTreeMap;
use std::path::Path;

use linecard_forwarder::Kind;
use linecard_packet::{DropReason, Origin, PortId, PortTotals, PuntReason, Withheld};

use packet::Packet;
use router::Router;

/// Ports of every story, by number.
const PORTS: [&str; 3] = ["eth0", "eth1", "eth2"];
const SECOND: u64 = 1_000_000_000;
/// What stands above each story: see `stories/README.md`.
const ROUTES: &str = include_str!("stories/routes.toml");

fn number(port: &str) -> Result<usize, String> {
    PORTS.iter().position(|name| *name == port).ok_or_else(|| format!("no port `{port}`"))
}

/// The configuration: lines that begin with a port's name are keys of that port.
fn configuration(head: &str) -> String {
    let (mut ports, mut tables) = (PORTS.map(|_| String::new()), String::new());
    for line in head.lines() {
        let key = PORTS.iter().position(|name| line.starts_with(&format!("{name} ")));
        match key {
            Some(port) => ports[port] += &format!("{}\n", &line[PORTS[port].len() + 1..]),
            None => tables += &format!("{line}\n"),
        }
    }
    let port = |(at, keys): (usize, &String)| {
        format!(
            "[[port]]\nname = \"{}\"\nkind = \"memory\"\nmac_address = \"{}\"\nmtu_bytes = 1500\n\
             addresses = [\"10.{at}.0.1/24\", \"2001:db8:{at}::1/64\"]\n{keys}",
            PORTS[at],
            packet::STATION
        )
    };
    let ports: String = ports.iter().enumerate().map(port).collect();
    format!("{ports}{ROUTES}{tables}")
}

/// What a line expects, and what has come.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    /// Frames by port, without order.
    out: [Vec<Vec<u8>>; 3],
    punted: Vec<(PortId, Vec<u8>)>,
    totals: Vec<PortTotals>,
    counted: BTreeMap<String, (u64, u64)>,
    /// Rules that want it to be told of: `log=…`, `sample=…`.
    told: Vec<String>,
}

/// A story under way.
struct Story {
    router: Router,
    now_nanoseconds: u64,
    totals: Vec<PortTotals>,
    counted: BTreeMap<String, (u64, u64)>,
}

impl Story {
    fn new(head: &str) -> Self {
        let router = Router::new(&configuration(head));
        let totals = router.counters.read();
        Self { router, now_nanoseconds: 1_000 * SECOND, totals, counted: BTreeMap::new() }
    }

    /// One line: a packet, and what must become of it.
    fn check(&mut self, line: &str) -> Result<(), String> {
        let (sent, expected) = line.split_once("=>").ok_or("no `=>` in it")?;
        let (wait, words): (Vec<&str>, Vec<&str>) =
            sent.split_whitespace().partition(|word| word.starts_with("wait="));
        for word in wait {
            let seconds: u64 = word["wait=".len()..].parse().map_err(|_| format!("`{word}`"))?;
            self.now_nanoseconds += seconds * SECOND;
        }
        self.now_nanoseconds += 1_000;
        let words = words.join(" ");
        let (packet, in_port) = Packet::parse(&words)?;
        let in_port = number(in_port)?;
        let mut expected = self.expected(&packet, in_port, expected)?;
        let mut came = self.pass(&packet.build(), in_port);
        // Replies are built by rules of their own, which other tests know: here it counts that one has left.
        if expected.totals[in_port].originated_packets[Origin::RejectReply]
            > self.totals[in_port].originated_packets[Origin::RejectReply]
        {
            let reply = came.out[in_port].pop().ok_or("no reply has left")?;
            let totals = &mut expected.totals[in_port];
            totals.originated_bytes += reply.len() as u64;
            totals.transmitted_bytes += reply.len() as u64;
        }
        for outcome in [&mut expected, &mut came] {
            outcome.out.iter_mut().for_each(|frames| frames.sort());
            outcome.told.sort();
        }
        (self.totals, self.counted) = (came.totals.clone(), came.counted.clone());
        if came == expected { Ok(()) } else { Err(differences(&expected, &came)) }
    }

    fn pass(&mut self, packet: &[u8], in_port: usize) -> Outcome {
        let Self { router, now_nanoseconds, .. } = self;
        assert!(router.peers[in_port].send(packet), "the wire has room");
        assert_eq!(router.worker.run_once(*now_nanoseconds), 1);
        let mut out: [Vec<Vec<u8>>; 3] = Default::default();
        for (frames, peer) in out.iter_mut().zip(&mut router.peers) {
            frames.extend(std::iter::from_fn(|| peer.receive()));
        }
        assert_eq!(router.worker.run_once(*now_nanoseconds + 1), 0);
        let totals = router.counters.read();
        for port in &totals {
            assert_eq!((port.balance(), port.byte_balance()), (0, 0), "books: {port:?}");
        }
        assert_eq!(totals.iter().cloned().sum::<PortTotals>().total_balance(), 0, "books");
        let records: Vec<_> = std::iter::from_fn(|| router.tap.take()).collect();
        let told = records.into_iter().map(|taken| {
            let rule = router.rule(taken.record.by);
            match taken.record.kind {
                Kind::Log => format!("log={rule}"),
                Kind::Sample => format!("sample={rule}"),
                kind => panic!("nobody ordered {kind:?}"),
            }
        });
        let (told, punted, counted) = (told.collect(), router.take_punted(), router.counted());
        Outcome { out, punted, totals, counted, told }
    }

    /// What the words behind `=>` say: what becomes of the packet, and behind ` : ` what counts it.
    fn expected(&self, packet: &Packet, in_port: usize, text: &str) -> Result<Outcome, String> {
        let text = format!("{text} ");
        let (text, names) = text.split_once(" : ").ok_or("no ` : ` behind the outcome")?;
        let bytes = packet.build().len() as u64;
        let mut counted = self.counted.clone();
        // What is metered is the IP packet.
        let colours = ["green", "yellow", "red"];
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let is_colour = colours.iter().any(|colour| name.ends_with(&format!("/{colour}")));
            let (packets, sum) = counted.entry(name.to_owned()).or_insert((0, 0));
            *packets += 1;
            *sum += if is_colour { bytes - packet::LINK_BYTES } else { bytes };
        }
        let mut outcome = Outcome { totals: self.totals.clone(), counted, ..Outcome::default() };
        outcome.totals[in_port].received_packets += 1;
        outcome.totals[in_port].received_bytes += bytes;
        let mut changed = packet.clone();
        let (mut class, mut words) = (0, Vec::new());
        for word in text.split_whitespace() {
            match word.split_once('=') {
                Some(("dscp", _)) => changed.set(word)?,
                Some(("class", value)) => class = value.parse().map_err(|_| word.to_owned())?,
                Some(("log" | "sample", _)) => outcome.told.push(word.to_owned()),
                _ => words.push(word),
            }
        }
        let end = Sent { packet, changed, in_port, class, bytes };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("`{word}` of what?"))?;
            outcome.add(&end, word, value)?;
        }
        Ok(outcome)
    }
}

/// A packet that was sent, and as what it leaves.
struct Sent<'a> {
    packet: &'a Packet,
    changed: Packet,
    in_port: usize,
    class: usize,
    bytes: u64,
}

fn of_label<T: Copy>(all: &[T], label: fn(T) -> &'static str, name: &str) -> Result<T, String> {
    let found = all.iter().copied().find(|reason| label(*reason) == name);
    found.ok_or_else(|| format!("`{name}` is no reason"))
}

impl Outcome {
    fn add(&mut self, sent: &Sent<'_>, word: &str, value: &str) -> Result<(), String> {
        let (in_port, bytes) = (sent.in_port, sent.bytes);
        match word {
            "forward" => {
                let port = number(value)?;
                self.totals[in_port].forwarded_packets += 1;
                self.totals[in_port].forwarded_bytes += bytes;
                self.leaves(port, sent.class, sent.changed.forwarded(port));
            }
            "punt" => {
                let reason = of_label(PuntReason::ALL, PuntReason::label, value)?;
                self.totals[in_port].punted_packets[reason] += 1;
                self.totals[in_port].punted_bytes[reason] += bytes;
                self.punted.push((PortId(in_port as u16), sent.changed.build()));
            }
            "drop" => {
                let reason = of_label(DropReason::ALL, DropReason::label, value)?;
                self.totals[in_port].dropped_packets[reason] += 1;
                self.totals[in_port].dropped_bytes[reason] += bytes;
            }
            "copy" => {
                let port = number(value)?;
                self.totals[port].originated_packets[Origin::MirrorCopy] += 1;
                self.totals[port].originated_bytes += bytes;
                self.leaves(port, 0, sent.packet.build());
            }
            "reply" => {
                let port = number(value)?;
                self.totals[port].originated_packets[Origin::RejectReply] += 1;
                self.totals[port].sent_packets += 1;
                self.totals[port].class_packets[0] += 1;
            }
            "withhold" => {
                let reason = of_label(Withheld::ALL, Withheld::label, value)?;
                self.totals[in_port].withheld_packets[reason] += 1;
            }
            _ => return Err(format!("`{word}` is no outcome")),
        }
        Ok(())
    }

    fn leaves(&mut self, port: usize, class: usize, frame: Vec<u8>) {
        self.totals[port].sent_packets += 1;
        self.totals[port].transmitted_bytes += frame.len() as u64;
        self.totals[port].class_packets[class] += 1;
        self.out[port].push(frame);
    }
}

/// What differs, field by field.
fn differences(expected: &Outcome, came: &Outcome) -> String {
    let mut text = Vec::new();
    let mut say = |what: &str, expected: &dyn std::fmt::Debug, came: &dyn std::fmt::Debug| {
        let (expected, came) = (format!("{expected:?}"), format!("{came:?}"));
        if expected != came {
            text.push(format!("{what}\n      expected {expected}\n      it is    {came}"));
        }
    };
    let hex = |frames: &[Vec<u8>]| -> Vec<String> {
        let octets = |frame: &Vec<u8>| frame.iter().map(|byte| format!("{byte:02x}")).collect();
        frames.iter().map(octets).collect()
    };
    say("counted", &expected.counted, &came.counted);
    say("told", &expected.told, &came.told);
    say("punted", &expected.punted, &came.punted);
    for (at, port) in PORTS.iter().enumerate() {
        say(&format!("{port} sends"), &hex(&expected.out[at]), &hex(&came.out[at]));
        say(port, &expected.totals[at], &came.totals[at]);
    }
    text.join("\n    ")
}

/// Checks a file, and returns how many packets it has and what is wrong.
fn run(path: &Path) -> (usize, Vec<String>) {
    let text = std::fs::read_to_string(path).expect("a story");
    let (head, packets) = text.split_once("\n---\n").expect("a line of dashes");
    let mut story = Story::new(head);
    let first = head.lines().count() + 2;
    let lines = packets.lines().enumerate().map(|(number, line)| (first + number, line));
    let lines: Vec<_> =
        lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')).collect();
    let mut wrong = Vec::new();
    for (number, line) in &lines {
        if let Err(error) = story.check(line) {
            wrong.push(format!("{}:{number}: {line}\n    {error}", path.display()));
        }
    }
    (lines.len(), wrong)
}

#[test]
fn packets_fare_as_the_stories_say() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
    let files = std::fs::read_dir(&directory).expect("the stories");
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    files.retain(|path| path.extension().is_some_and(|it| it == "txt"));
    files.sort();
    assert!(files.len() >= 5, "{files:?}");
    let mut wrong = Vec::new();
    for file in &files {
        let (packets, errors) = run(file);
        assert!(packets > 0, "{} has no packets", file.display());
        wrong.extend(errors);
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn a_line_that_is_wrong_is_noticed() {
    let head = "eth0 filter_in = \"f\"\n[[filter]]\nname = \"f\"\ndefault = \"drop\"\n\
                rules = [{ name = \"a\", match = \"udp\", action = \"accept\", log = true }]";
    let packet = "eth0 40.0.0.1 20.0.0.1 udp 1 2";
    let right = "forward eth1 log=f/a : f/a";
    assert_eq!(Story::new(head).check(&format!("{packet} => {right}")), Ok(()));
    for wrong in [
        "forward eth2 log=f/a : f/a",
        "forward eth1 : f/a",
        "forward eth1 log=f/a :",
        "forward eth1 log=f/a : f/a, f/default",
        "forward eth1 log=f/a dscp=1 : f/a",
        "forward eth1 log=f/a class=1 : f/a",
        "forward eth1 log=f/a copy eth2 : f/a",
        "forward eth1 log=f/a reply eth0 : f/a",
        "punt local log=f/a : f/a",
        "drop filtered log=f/a : f/a",
    ] {
        assert!(Story::new(head).check(&format!("{packet} => {wrong}")).is_err(), "{wrong}");
    }
}
