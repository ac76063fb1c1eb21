//! A case from its recipe to its figures.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, ensure};
use serde::Serialize;

use super::cases::Case;
use super::connections::{FLOWS, Flows};
use super::cycles::Cycles;
use super::empty;
use super::filters;
use super::lane::{self, Course, Laps, Load, Start};
use super::machine::{LINE_BYTES, Machine, cores, take_priority};
use super::meter::Meter;
use super::prefixes::{self, Prefixes};
use super::ranks::Ranks;
use super::recipe::{Recipe, Routes, Service};
use super::rules::Drawn;
use super::services::Services;
use super::sources::Origins;
use super::tables::{Network, PORTS, Routable};
use super::traffic::{Draw, Family, GAP_BYTES, Sizes, Traffic};
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
    /// Rules of the filter that each packet passes; 0 for none.
    pub(super) rules: usize,
    /// From rules to a filter that can be published.
    pub(super) rules_build_seconds: f64,
    pub(super) rules_memory_bytes: usize,
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
        let seed = self.args.seed;
        let family = recipe.routes.family();
        let rules = recipe.filtering.map(|filtering| Drawn::new(&filtering, family, seed));
        let services = Services::new(&recipe, rules.as_ref(), established(&course), seed)?;
        let laps = self.laps(case, &recipe, &course, (rules, &services))?;
        self.progress.step();
        Ok(self.figures(case, &recipe, &course, &laps, services.size()))
    }

    fn laps(
        &mut self,
        case: &Case,
        recipe: &Recipe,
        course: &Course,
        (rules, services): (Option<Drawn>, &Services),
    ) -> anyhow::Result<Vec<Laps>> {
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
            Some((_, Loaded::Ipv4(network))) => {
                let draw = match (recipe.service, rules) {
                    (Service::Connections { .. }, _) => {
                        Draw::Flows(Flows { count: established(course) })
                    }
                    (_, Some(Drawn::Ipv4(rules))) => Draw::Rules(rules),
                    _ => by_routes(recipe, network)?,
                };
                self.workers(recipe, course, &Load { network, services, draw })
            }
            Some((_, Loaded::Ipv6(network))) => {
                let draw = match rules {
                    Some(Drawn::Ipv6(rules)) => Draw::Rules(rules),
                    _ => by_routes(recipe, network)?,
                };
                self.workers(recipe, course, &Load { network, services, draw })
            }
            None => Ok(Vec::new()),
        }
    }

    fn load(&self, routes: Routes) -> anyhow::Result<Loaded> {
        let (file, seed) = (self.file.as_ref(), self.args.seed);
        Ok(match routes {
            Routes::Ipv6Internet => {
                Loaded::Ipv6(Network::new(prefixes::ipv6_internet(file, seed), seed, false)?)
            }
            Routes::Ipv6AndDefault { routes } => {
                Loaded::Ipv6(Network::new(prefixes::ipv6_and_default(routes, seed), seed, false)?)
            }
            Routes::Ipv4Internet => {
                Loaded::Ipv4(Network::new(prefixes::ipv4_internet(file, seed), seed, false)?)
            }
            Routes::Ipv4 { routes, multipath } => {
                Loaded::Ipv4(Network::new(prefixes::ipv4(routes, seed), seed, multipath)?)
            }
            Routes::Ipv4AndDefault { routes } => {
                Loaded::Ipv4(Network::new(prefixes::ipv4_and_default(routes, seed), seed, false)?)
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
            warmup_rounds: match recipe.service {
                // That the flows are established takes two.
                Service::Connections { .. } => WARMUP_ROUNDS,
                _ if quick => 1,
                _ => WARMUP_ROUNDS,
            },
            seed: self.args.seed,
            scrub_bytes: if quick { 0 } else { 2 * self.machine.l3_bytes },
        }
    }

    /// Runs the workers of a case, each on a core of its own.
    fn workers<A: Traffic + Routable>(
        &self,
        recipe: &Recipe,
        course: &Course,
        load: &Load<'_, A>,
    ) -> anyhow::Result<Vec<Laps>> {
        let tick = || self.progress.tick();
        let start = Start::new(recipe.workers, &tick);
        thread::scope(|scope| {
            let lane = |(place, &core): (usize, &usize)| {
                let start = &start;
                thread::Builder::new()
                    .name(format!("worker-{place}"))
                    .spawn_scoped(scope, move || {
                        lane::run(course, load, (place, core), &self.meter, start)
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

    fn figures(
        &self,
        case: &Case,
        recipe: &Recipe,
        course: &Course,
        laps: &[Laps],
        filter: filters::Size,
    ) -> Figures {
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
                (Sizes::Smallest | Sizes::SmallestTcp, Family::Ipv4) => "64",
                (Sizes::Smallest, Family::Ipv6) => "66",
                (Sizes::SmallestTcp, Family::Ipv6) => "78",
            },
            packet_bytes_mean,
            packets_in: if recipe.warm { "cache" } else { "memory" },
            batch_packets: recipe.batch,
            ports: PORTS,
            routes,
            routes_load_seconds: load,
            rules: filter.rules,
            rules_build_seconds: filter.build.as_secs_f64(),
            rules_memory_bytes: filter.memory_bytes,
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

/// Packets for the routes, from anywhere, or from where the reverse path wants them.
fn by_routes<A: Traffic + Routable>(
    recipe: &Recipe,
    network: &Network<A>,
) -> anyhow::Result<Draw<A>> {
    let ranks = Arc::new(Ranks::new(recipe.spread, network.prefixes().len()));
    let prefixes = Arc::clone(network.prefixes());
    Ok(match recipe.service {
        Service::ReversePath { .. } => {
            let origins = Origins::new(network, recipe.batch)?;
            Draw::ThereAndBack(prefixes, ranks, Arc::new(origins))
        }
        _ => Draw::Routes(prefixes, ranks),
    })
}

/// Flows of each worker: a round opens all of them.
fn established(course: &Course) -> u32 {
    FLOWS.min(course.packets)
}
