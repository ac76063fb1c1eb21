//! Changes one after the other, with workers that take each table up whenever they like.

use std::path::Path;

use linecard_control::config;
use linecard_io::{MemoryConfig, PacketMemory};
use linecard_packet::{Batch, InterfaceId, Metadata, PortId, Station, parse};
use linecard_services::filter::{Hook, RuleHit, rules_of};
use linecard_services::police::PoliceTables;
use linecard_services::source::SourceTables;
use linecard_tables::publication::Reader;
use linecard_wire::MacAddress;
use linecard_wire::builder::{Ipv4, PacketBuilder, Udp};

use super::*;

const ROUTER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);
const SENDER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 2]);

/// Number `number`, which guards port 0 by one service or by another. The name of its rule and the DSCP that this gives
/// say which it is.
fn config(number: usize) -> Config {
    let (police_in, police, martians) = match number % 3 {
        0 => (String::new(), format!(", police = \"p{number}\""), "off"),
        1 => (format!("police_in = \"p{number}\"\n"), String::new(), "off"),
        _ => (String::new(), String::new(), "special"),
    };
    let policer = match number % 3 {
        2 => String::new(),
        _ => format!(
            "[[police]]\nname = \"p{number}\"\nrate_bits_per_second = 8000\nburst_bytes = 9000\n"
        ),
    };
    let text = format!(
        "[[port]]\nname = \"p\"\nfilter_in = \"f\"\n{police_in}martians = \"{martians}\"\n{policer}\
         [[filter]]\nname = \"f\"\ndefault = \"accept\"\nrules = [{{ name = \"r{number}\", match = \"udp\", \
         action = \"accept\", dscp = \"{number}\"{police} }}]\n"
    );
    config::parse(&text, Path::new("test.toml")).expect("it is right")
}

/// A packet that its rule matches.
fn packet() -> (Vec<u8>, Metadata) {
    let bytes = PacketBuilder::new()
        .ethernet(ROUTER, SENDER)
        .ipv4(Ipv4::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into()))
        .udp(Udp::new(1, 2))
        .build();
    let mut memory =
        PacketMemory::new(MemoryConfig { frames: 1, chunk_bytes: 2048 }).expect("2 KiB");
    let mut frame = memory.allocate().expect("a frame");
    assert!(memory.set_packet(&mut frame, &bytes));
    let mut batch = Batch::new();
    batch.frames.push(frame);
    batch.end_segment(PortId(0), 0);
    parse(&mut batch, &memory, |_| Station::new(InterfaceId(0), ROUTER, true, true));
    (bytes, batch.metadata[0])
}

/// The tables of a worker.
struct Held {
    filters: Reader<FilterTables>,
    policers: Reader<PoliceTables>,
    source_checks: Reader<SourceTables>,
}

impl Held {
    fn new(services: &Services) -> Self {
        Self {
            filters: services.filters.subscription().reader(),
            policers: services.policers.subscription().reader(),
            source_checks: services.source_checks.subscription().reader(),
        }
    }

    fn refresh(&mut self, which: usize) {
        match which {
            0 => self.filters.refresh(),
            1 => self.policers.refresh(),
            _ => self.source_checks.refresh(),
        };
    }

    /// The rule that packets match.
    fn hit(&self, (bytes, metadata): &(Vec<u8>, Metadata)) -> RuleHit {
        let mut hit = None;
        let each = |it: RuleHit| hit = hit.or(Some(it));
        assert!(rules_of(
            self.filters.get(),
            Hook::Input(PortId(0)),
            (bytes, metadata),
            None,
            each
        ));
        hit.expect("the rule matches")
    }
}

/// The same numbers in each run (xorshift).
fn numbers(mut state: u64) -> impl FnMut(usize) -> usize {
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    }
}

#[test]
fn no_packet_goes_unguarded_and_no_rule_counts_for_another_while_services_change() {
    let packet = packet();
    for seed in 1..10 {
        let mut next = numbers(seed);
        let mut services = Services::new(&config(0), 2).expect("it fits");
        let mut workers = [Held::new(&services), Held::new(&services)];
        let (mut in_force, mut refused) = (0, 0);
        while in_force < 60 {
            match next(8) {
                0 => match services.apply(&config(in_force + 1), || Ok(())) {
                    Ok(_) => in_force += 1,
                    Err(error) => {
                        assert!(error.to_string().contains("not taken up"), "{error}");
                        refused += 1;
                    }
                },
                1 | 2 => drop(services.publish()),
                which => {
                    let worker = &mut workers[which % 2];
                    worker.refresh(next(3));
                }
            }
            for worker in &workers {
                let hit = worker.hit(&packet);
                let context = format!("seed {seed}, change {in_force}: {hit:?}");
                if let Some(policer) = hit.policer {
                    assert!(worker.policers.get().has(policer), "{context}");
                }
                let is_guarded = hit.policer.is_some()
                    || !worker.policers.get().polices_no_port()
                    || !worker.source_checks.get().is_off();
                assert!(is_guarded, "{context}");
                let number = hit.set_dscp.expect("each rule gives one");
                let (_, rule) = services.filters.rule_of(hit.counter);
                assert!(rule == "?" || rule == format!("r{number}"), "{context}: {rule}");
            }
        }
        assert!(refused > 0, "some changes came before the last one was everywhere");
    }
}

#[test]
fn a_change_is_over_when_no_worker_has_what_was_before() {
    let mut services = Services::new(&config(0), 1).expect("it fits");
    let mut worker = Held::new(&services);
    services.apply(&config(2), || Ok(())).expect("the first is everywhere");
    assert!(services.apply(&config(3), || Ok(())).is_err());
    for which in [0, 1, 2, 0, 1, 2, 0, 1, 2] {
        services.publish();
        worker.refresh(which);
    }
    assert!(services.publish());
    services.apply(&config(3), || Ok(())).expect("the second is everywhere");
    // Asleep it holds nothing.
    worker.filters.release();
    worker.policers.release();
    worker.source_checks.release();
    assert!(services.publish());
}
