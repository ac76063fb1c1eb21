//! A case from its recipe to its figures.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, ensure};
use serde::Serialize;

use super::cases::{Case, Recipe, Routes};
use super::empty;
use super::lane::{self, Course, Laps, Round, Start};
use super::machine::{LINE_BYTES, Machine, cores, take_priority};
use super::meter::{Meter, Spread};
use super::prefixes::{self, Prefixes};
use super::tables::{Network, PORTS, Routable};
use super::traffic::{Family, GAP_BYTES, Ranks, Sizes, Traffic};
use super::{Args, Progress, ROUNDS, ROUNDS_QUICK};

/// Rounds in which caches, branch predictors and the processor's clock settle.
const WARMUP_ROUNDS: u32 = 2;
const FRAMES_QUICK: u32 = 8192;
/// Frames of a case with packets in the cache: what a NIC's rings hold.
const FRAMES_WARM: u32 = 4096;
const PACKETS_WARM: u32 = 64 * FRAMES_WARM;

/// What was measured in a case. In JSON one flat object, units at the end of the names.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figures {
    pub(super) case: &'static str,
    /// Packets of all workers, in millions a second.
    pub(super) mpps: f64,
    /// The same for one worker.
    pub(super) mpps_per_core: f64,
    /// TSC cycles a packet, queues left out: median of the rounds, and how they spread.
    pub(super) cycles_per_packet: f64,
    pub(super) cycles_per_packet_min: f64,
    pub(super) cycles_per_packet_max: f64,
    pub(super) cycles_per_packet_mad: f64,
    pub(super) cycles_per_packet_gross: f64,
    pub(super) cycles_per_packet_overhead: f64,
    /// Queues included; none where the machine does not count.
    pub(super) instructions_per_packet: Option<f64>,
    /// Bit rate of this case's packets on the wire, with preamble and gap.
    pub(super) gbps_l1: f64,
    /// The same without preamble and gap.
    pub(super) gbps_l2: f64,
    /// Bit rate with preamble and gap if the packets were IMIX: see `imix_measured`.
    pub(super) gbps_imix: f64,
    /// True when the packets were IMIX, false when their rate is multiplied with IMIX's size.
    pub(super) imix_measured: bool,
    pub(super) workers: usize,
    /// Packets a second of all workers by those of one.
    pub(super) speedup_over_one_worker: Option<f64>,
    pub(super) packet_sizes: &'static str,
    pub(super) packet_bytes_mean: f64,
    pub(super) packets_in: &'static str,
    pub(super) batch_packets: usize,
    pub(super) ports: u16,
    pub(super) routes: usize,
    /// One copy of the tables, from an empty one.
    pub(super) routes_load_seconds: f64,
    pub(super) rounds: usize,
    /// Of all workers and rounds.
    pub(super) packets: u64,
    /// Packets whose way was looked up in the reference; all were counted and checked.
    pub(super) packets_looked_up: u64,
    /// What a round touches of its packets, at least.
    pub(super) working_set_bytes: u64,
    pub(super) quick: bool,
    pub(super) seed: u64,
    #[serde(flatten)]
    pub(super) machine: Machine,
}

/// The routes and tables of the last case, for the next.
enum Loaded {
    Ipv4(Network<u32>),
    Ipv6(Network<u128>),
}

/// Runs cases one after another.
pub(super) struct Bench<'a> {
    args: &'a Args,
    progress: &'a Progress,
    meter: Meter,
    machine: Machine,
    cores: Vec<usize>,
    file: Option<Prefixes>,
    loaded: Option<(Routes, Loaded)>,
}

impl<'a> Bench<'a> {
    /// Looks at the machine and reads the file of prefixes; says what was read.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn new(args: &'a Args, progress: &'a Progress) -> anyhow::Result<Self> {
        progress.say("reading prefixes".to_owned());
        let file = args.prefixes.as_deref().map(Prefixes::read).transpose()?;
        if let (Some(path), Some(file)) = (&args.prefixes, &file) {
            progress.note(&format!("{}: {file}", path.display()));
        }
        let meter = Meter::new();
        let machine = Machine::new(meter.hz());
        take_priority();
        let (cores, loaded) = (cores(), None);
        Ok(Self { args, progress, meter, machine, cores, file, loaded })
    }

    /// The cases that can be measured here. What nobody has asked for by name is left out otherwise, and
    /// said to be.
    ///
    /// # Errors
    /// A case that was asked for needs routes that the file does not have.
    pub(super) fn able(&self, mut cases: Vec<&'static Case>) -> anyhow::Result<Vec<&'static Case>> {
        let lacking = self.without_routes(&cases);
        if !self.args.cases.is_empty() {
            ensure!(lacking.is_empty(), "{}", lacking.join("\n"));
            return Ok(cases);
        }
        lacking.iter().for_each(|lack| self.progress.note(&format!("left out: {lack}")));
        cases.retain(|case| self.has_cores_for(case) && self.has_routes_for(case));
        Ok(cases)
    }

    /// A sentence for each family of which the file has nothing and `cases` need something.
    fn without_routes(&self, cases: &[&Case]) -> Vec<String> {
        let path = self.args.prefixes.as_deref().unwrap_or(Path::new("")).display();
        let lack = |family: Family, name: &str| {
            let of_family = |case: &&&Case| self.recipe(case).routes.family() == family;
            let lacking = cases.iter().filter(of_family).filter(|case| !self.has_routes_for(case));
            let names: Vec<&str> = lacking.map(|case| case.name).collect();
            let names = (!names.is_empty()).then(|| names.join(", "))?;
            Some(format!(
                "{path} has no {name} prefixes, which {names} need: add some to it, or measure these \
                 without --prefixes, on generated routes"
            ))
        };
        [lack(Family::Ipv4, "IPv4"), lack(Family::Ipv6, "IPv6")].into_iter().flatten().collect()
    }

    /// Whether the file, if there is one, has routes for the case.
    fn has_routes_for(&self, case: &Case) -> bool {
        let routes = self.recipe(case).routes;
        let from_file = matches!(routes, Routes::Ipv4Internet | Routes::Ipv6Internet);
        !from_file || self.file.as_ref().is_none_or(|file| file.has(routes.family()))
    }

    /// Whether this process may use a core for each worker of the case.
    fn has_cores_for(&self, case: &Case) -> bool {
        self.recipe(case).workers <= self.cores.len()
    }

    fn recipe(&self, case: &Case) -> Recipe {
        let recipe = (case.build)();
        match self.args.workers {
            Some(workers) if !matches!(recipe.routes, Routes::None { .. }) => {
                Recipe { workers: usize::from(workers), ..recipe }
            }
            _ => recipe,
        }
    }

    /// Measures a case.
    ///
    /// # Errors
    /// Why there are no figures: a wrong packet, no memory.
    pub(super) fn run(&mut self, case: &Case) -> anyhow::Result<Figures> {
        let recipe = self.recipe(case);
        let (workers, cores) = (recipe.workers, self.cores.len());
        ensure!(workers <= cores, "{workers} workers need as many cores; there are {cores}");
        let course = self.course(&recipe);
        let laps = self.laps(case, &recipe, &course)?;
        self.progress.step();
        Ok(self.figures(case, &recipe, &course, &laps))
    }

    fn laps(&mut self, case: &Case, recipe: &Recipe, course: &Course) -> anyhow::Result<Vec<Laps>> {
        if let Routes::None { touch } = recipe.routes {
            self.progress.say(case.name.to_owned());
            return Ok(vec![empty::run(course, touch, &self.meter, self.cores[0])?]);
        }
        if self.loaded.as_ref().is_none_or(|(routes, _)| *routes != recipe.routes) {
            self.progress.say(format!("{}: loading routes", case.name));
            self.loaded = None;
            self.loaded = Some((recipe.routes, self.load(recipe.routes)?));
        }
        self.progress.say(case.name.to_owned());
        match &self.loaded {
            Some((_, Loaded::Ipv4(network))) => self.workers(recipe, course, network),
            Some((_, Loaded::Ipv6(network))) => self.workers(recipe, course, network),
            None => Ok(Vec::new()),
        }
    }

    fn load(&self, routes: Routes) -> anyhow::Result<Loaded> {
        let (file, seed) = (self.file.as_ref(), self.args.seed);
        Ok(match routes {
            Routes::Ipv6Internet => {
                Loaded::Ipv6(Network::new(prefixes::ipv6_internet(file, seed), seed, false)?)
            }
            Routes::Ipv4Internet => {
                Loaded::Ipv4(Network::new(prefixes::ipv4_internet(file, seed), seed, false)?)
            }
            Routes::Ipv4 { routes, multipath } => {
                Loaded::Ipv4(Network::new(prefixes::ipv4(routes, seed), seed, multipath)?)
            }
            Routes::None { .. } => unreachable!("there is nothing to load"),
        })
    }

    fn course(&self, recipe: &Recipe) -> Course {
        let quick = self.args.quick;
        let default = if quick { FRAMES_QUICK } else { self.machine.frames() };
        // Workers share the last cache, and the machine's memory.
        let frames = self.args.frames.unwrap_or(default) / recipe.workers as u32;
        let (frames, packets) = match recipe.warm {
            true if quick => (FRAMES_WARM, FRAMES_WARM),
            true => (FRAMES_WARM, PACKETS_WARM),
            false => (frames, frames),
        };
        Course {
            frames,
            packets,
            batch: recipe.batch,
            warm: recipe.warm,
            sizes: recipe.sizes,
            rounds: self.args.rounds.unwrap_or(if quick { ROUNDS_QUICK } else { ROUNDS }),
            warmup_rounds: if quick { 1 } else { WARMUP_ROUNDS },
            seed: self.args.seed,
            scrub_bytes: if quick { 0 } else { 2 * self.machine.l3_bytes },
        }
    }

    /// Runs the workers of a case, each on a core of its own.
    fn workers<A: Traffic + Routable>(
        &self,
        recipe: &Recipe,
        course: &Course,
        network: &Network<A>,
    ) -> anyhow::Result<Vec<Laps>> {
        let ranks = Arc::new(Ranks::new(recipe.spread, network.prefixes().len()));
        let tick = || self.progress.tick();
        let start = Start::new(recipe.workers, &tick);
        thread::scope(|scope| {
            let lane = |(place, &core): (usize, &usize)| {
                let (ranks, start) = (&ranks, &start);
                thread::Builder::new()
                    .name(format!("worker-{place}"))
                    .spawn_scoped(scope, move || {
                        lane::run(course, network, ranks, (place, core), &self.meter, start)
                    })
                    .context("start a worker's thread")
            };
            let cores = self.cores.iter().take(recipe.workers).enumerate();
            let lanes: Vec<_> = cores.map(lane).collect::<anyhow::Result<_>>()?;
            lanes
                .into_iter()
                .map(|lane| lane.join().expect("a worker panics only by a defect"))
                .collect()
        })
    }

    fn figures(&self, case: &Case, recipe: &Recipe, course: &Course, laps: &[Laps]) -> Figures {
        let cycles = Cycles::of(laps);
        let net = cycles.net;
        let family = recipe.routes.family();
        let packet_bytes_mean = recipe.sizes.mean_bytes(family);
        let imix_bytes_mean = Sizes::Imix.mean_bytes(family);
        let mpps_per_core = self.meter.hz() / net.median / 1e6;
        let mpps = mpps_per_core * recipe.workers as f64;
        let gbps = |bytes: f64| mpps * bytes * 8.0 / 1e3;
        let (routes, load) = match &self.loaded {
            Some((loaded, network)) if *loaded == recipe.routes => network.size(),
            _ => (0, 0.0),
        };
        let rounds = laps.iter().flat_map(|laps| &laps.rounds);
        Figures {
            case: case.name,
            mpps,
            mpps_per_core,
            cycles_per_packet: net.median,
            cycles_per_packet_min: net.min,
            cycles_per_packet_max: net.max,
            cycles_per_packet_mad: net.mad,
            cycles_per_packet_gross: cycles.gross,
            cycles_per_packet_overhead: cycles.overhead,
            instructions_per_packet: cycles.instructions,
            gbps_l1: gbps(packet_bytes_mean + GAP_BYTES as f64),
            gbps_l2: gbps(packet_bytes_mean),
            gbps_imix: gbps(imix_bytes_mean + GAP_BYTES as f64),
            imix_measured: recipe.sizes == Sizes::Imix,
            workers: recipe.workers,
            speedup_over_one_worker: cycles.speedup,
            packet_sizes: match (recipe.sizes, family) {
                (Sizes::Imix, _) => "imix",
                (Sizes::Smallest, Family::Ipv4) => "64",
                (Sizes::Smallest, Family::Ipv6) => "66",
            },
            packet_bytes_mean,
            packets_in: if recipe.warm { "cache" } else { "memory" },
            batch_packets: recipe.batch,
            ports: PORTS,
            routes,
            routes_load_seconds: load,
            rounds: laps.first().map_or(0, |laps| laps.rounds.len()),
            packets: rounds.map(|round| round.packets).sum(),
            packets_looked_up: laps.iter().map(|laps| laps.looked_up).sum(),
            working_set_bytes: u64::from(course.frames) * LINE_BYTES * recipe.workers as u64,
            quick: self.args.quick,
            seed: self.args.seed,
            machine: self.machine.clone(),
        }
    }
}

impl Loaded {
    /// Routes, and the seconds that loading them took.
    fn size(&self) -> (usize, f64) {
        match self {
            Self::Ipv4(network) => (network.prefixes().len(), network.load().as_secs_f64()),
            Self::Ipv6(network) => (network.prefixes().len(), network.load().as_secs_f64()),
        }
    }
}

/// Cycles and instructions a packet.
struct Cycles {
    /// Of a worker; of several, as if all were as fast, which gives the rate they have together.
    net: Spread,
    gross: f64,
    /// How much faster all workers are together than one is alone.
    speedup: Option<f64>,
    overhead: f64,
    instructions: Option<f64>,
}

impl Cycles {
    /// Of the rounds of all workers, whose rates add up.
    fn of(laps: &[Laps]) -> Self {
        let rounds = laps.iter().map(|laps| laps.rounds.len()).min().unwrap_or(0);
        let by_packet = |cycles: u64, packets: u64| cycles as f64 / packets.max(1) as f64;
        let all = || laps.iter().flat_map(|laps| &laps.rounds);
        let empty: Vec<f64> = all().map(|lap| by_packet(lap.empty_cycles, lap.packets)).collect();
        let overhead = Spread::of(&empty).median;
        let instructions: Option<Vec<f64>> =
            all().map(|lap| Some(by_packet(lap.instructions?, lap.packets))).collect();
        let lap_net = |lap: &Round| by_packet(lap.cycles, lap.packets) - overhead;
        let together = |round: usize| {
            let rates = laps.iter().map(|laps| 1.0 / lap_net(&laps.rounds[round]));
            laps.len() as f64 / rates.sum::<f64>()
        };
        let net = Spread::of(&(0..rounds).map(together).collect::<Vec<_>>());
        let alone: Vec<f64> = laps.iter().flat_map(|laps| &laps.alone).map(lap_net).collect();
        let speedup = |alone: &[f64]| Spread::of(alone).median * laps.len() as f64 / net.median;
        Self {
            net,
            gross: net.median + overhead,
            speedup: (!alone.is_empty()).then(|| speedup(&alone)),
            overhead,
            instructions: instructions.map(|counts| Spread::of(&counts).median),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(cycles: &[u64]) -> Vec<Round> {
        let round = |&cycles: &u64| Round {
            packets: 10,
            cycles,
            empty_cycles: 50,
            instructions: Some(400),
        };
        cycles.iter().map(round).collect()
    }

    #[test]
    fn queues_are_left_out() {
        let rounds = rounds(&[650, 750, 950]);
        let cycles = Cycles::of(&[Laps { rounds, alone: Vec::new(), looked_up: 0 }]);
        assert_eq!((cycles.gross, cycles.overhead), (75.0, 5.0));
        assert_eq!((cycles.net.min, cycles.net.median, cycles.net.max), (60.0, 70.0, 90.0));
        assert_eq!((cycles.instructions, cycles.speedup), (Some(40.0), None));
    }

    #[test]
    fn the_rates_of_workers_add_up() {
        let laps = |together, alone| Laps {
            rounds: rounds(&[together]),
            alone: rounds(&[alone]),
            looked_up: 0,
        };
        // 1/60 and 1/90 packets a cycle are as much as twice 1/72.
        let cycles = Cycles::of(&[laps(650, 590), laps(950, 590)]);
        assert!((cycles.net.median - 72.0).abs() < 1e-9, "{}", cycles.net.median);
        assert!(cycles.speedup.is_some_and(|speedup| (speedup - 1.5).abs() < 1e-9));
    }
}
