//! Who forwards.

use std::any::Any;
use std::path::Path;

use linecard_io::AttachMode;
use linecard_lab::SinkHook;

use crate::bare::Transmit;
use crate::bed::{Bed, Destinations};
use crate::daemon::{Daemon, PortMode};
use crate::{bare, redirect, testpmd};

/// Each row of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contestant {
    Kernel,
    KernelThreaded,
    Redirect,
    RedirectThreaded,
    Bare { batch: usize, mode: AttachMode, transmit: Transmit },
    Linecard { mode: PortMode, routes: u32, transmit: Transmit },
    RouteCache { destinations: Destinations },
    Testpmd,
}

/// What forwards now; dropping it ends that.
pub(crate) type Running = Box<dyn Any>;

/// Routes of the larger table.
const ROUTES: u32 = 1024;

impl Contestant {
    pub(crate) const ALL: [Self; 17] = [
        Self::Kernel,
        Self::KernelThreaded,
        Self::Redirect,
        Self::RedirectThreaded,
        Self::Bare { batch: 64, mode: AttachMode::Native, transmit: Transmit::Socket },
        Self::Bare { batch: 256, mode: AttachMode::Native, transmit: Transmit::Socket },
        Self::Bare { batch: 256, mode: AttachMode::Generic, transmit: Transmit::Socket },
        Self::Bare { batch: 256, mode: AttachMode::Native, transmit: Transmit::LiveFrames },
        Self::linecard(PortMode::Native, 1, Transmit::Socket),
        Self::linecard(PortMode::Native, ROUTES, Transmit::Socket),
        Self::linecard(PortMode::Native, 1, Transmit::LiveFrames),
        Self::linecard(PortMode::Native, ROUTES, Transmit::LiveFrames),
        Self::linecard(PortMode::Generic, 1, Transmit::Socket),
        Self::linecard(PortMode::Packet, 1, Transmit::Socket),
        Self::RouteCache { destinations: Destinations::Few },
        Self::RouteCache { destinations: Destinations::Many },
        Self::Testpmd,
    ];

    const fn linecard(mode: PortMode, routes: u32, transmit: Transmit) -> Self {
        Self::Linecard { mode, routes, transmit }
    }

    /// As `--only` takes it.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Kernel => "kernel".to_owned(),
            Self::KernelThreaded => "kernel-threaded".to_owned(),
            Self::Redirect => "redirect".to_owned(),
            Self::RedirectThreaded => "redirect-threaded".to_owned(),
            Self::Bare { batch, transmit: Transmit::LiveFrames, .. } => {
                format!("bare-{batch}-live")
            }
            Self::Bare { batch, mode: AttachMode::Native, .. } => format!("bare-{batch}"),
            Self::Bare { batch, mode: AttachMode::Generic, .. } => format!("bare-{batch}-generic"),
            Self::Linecard { routes, transmit: Transmit::LiveFrames, .. } => {
                format!("linecard-live{}", if routes == ROUTES { "-1k" } else { "" })
            }
            Self::Linecard { mode, routes, .. } => {
                let routes = if routes == ROUTES { "-1k" } else { "" };
                match mode {
                    PortMode::Native => format!("linecard{routes}"),
                    PortMode::Generic => format!("linecard-generic{routes}"),
                    PortMode::Packet => format!("linecard-packet{routes}"),
                }
            }
            Self::RouteCache { destinations: Destinations::Few } => "route-cache".to_owned(),
            Self::RouteCache { destinations: Destinations::Many } => "route-cache-many".to_owned(),
            Self::Testpmd => "testpmd".to_owned(),
        }
    }

    /// In a few words.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::Kernel => "the kernel's forwarding, on the source's core",
            Self::KernelThreaded => "the kernel's forwarding, threaded NAPI on the other core",
            Self::Redirect => "an XDP program that redirects without a table, on the source's core",
            Self::RedirectThreaded => "the same, threaded NAPI on the other core",
            Self::Bare { transmit: Transmit::LiveFrames, .. } => {
                "AF_XDP receives, live frames are redirected to send"
            }
            Self::Bare { mode: AttachMode::Native, .. } => "AF_XDP queues without a pipeline",
            Self::Bare { mode: AttachMode::Generic, .. } => "the same in generic mode",
            Self::Linecard { routes: 1, transmit: Transmit::LiveFrames, .. } => {
                "linecard run, AF_XDP native, sending by live frames"
            }
            Self::Linecard { mode: PortMode::Native, routes: 1, .. } => {
                "linecard run, AF_XDP native"
            }
            Self::Linecard { mode: PortMode::Native, .. } => "the same, 1,024 routes in use",
            Self::Linecard { mode: PortMode::Generic, .. } => "linecard run, AF_XDP generic",
            Self::Linecard { mode: PortMode::Packet, .. } => "linecard run, AF_PACKET",
            Self::RouteCache { destinations: Destinations::Few } => {
                "linecard run with its route cache, 1,024 destinations"
            }
            Self::RouteCache { destinations: Destinations::Many } => {
                "the same, 131,072 destinations: more than it holds"
            }
            Self::Testpmd => "DPDK testpmd on net_af_xdp, macswap",
        }
    }

    /// Routes to the destinations.
    pub(crate) fn routes(self) -> u32 {
        match self {
            Self::Linecard { routes, .. } => routes,
            _ => 1,
        }
    }

    /// How many destinations the source uses.
    pub(crate) fn destinations(self) -> Destinations {
        match self {
            Self::RouteCache { destinations } => destinations,
            _ => Destinations::Many,
        }
    }

    /// The sink that costs it least, by the form in which its frames leave.
    pub(crate) fn sink(self) -> SinkHook {
        match self {
            Self::Redirect
            | Self::RedirectThreaded
            | Self::RouteCache { .. }
            | Self::Linecard { transmit: Transmit::LiveFrames, .. }
            | Self::Bare { transmit: Transmit::LiveFrames, .. } => SinkHook::Xdp,
            _ => SinkHook::Tcx,
        }
    }

    /// What would have to be installed, if anything.
    pub(crate) fn missing(self) -> Option<&'static str> {
        let installed = || Path::new(testpmd::PROGRAM).exists();
        (self == Self::Testpmd && !installed()).then_some("install dpdk-dev")
    }

    /// Begins to forward.
    pub(crate) fn start(self, bed: &Bed) -> anyhow::Result<Running> {
        Ok(match self {
            Self::Kernel => Box::new(()),
            Self::KernelThreaded => {
                bed.thread_napi(bed.interfaces()[0])?;
                Box::new(())
            }
            Self::Redirect => Box::new(redirect::attach(bed)?),
            Self::RedirectThreaded => {
                let attached = redirect::attach(bed)?;
                bed.thread_napi(bed.interfaces()[0])?;
                Box::new(attached)
            }
            Self::Bare { batch, mode, transmit } => {
                Box::new(bare::Forwarder::start(bed, batch, mode, transmit)?)
            }
            Self::Linecard { mode, transmit, .. } => {
                Box::new(start_daemon(bed, mode, "off", transmit)?)
            }
            Self::RouteCache { .. } => {
                Box::new(start_daemon(bed, PortMode::Native, "auto", Transmit::Socket)?)
            }
            Self::Testpmd => Box::new(testpmd::Testpmd::start(bed)?),
        })
    }
}

fn start_daemon(
    bed: &Bed,
    mode: PortMode,
    route_cache: &str,
    transmit: Transmit,
) -> anyhow::Result<Daemon> {
    let transmit = match transmit {
        Transmit::Socket => "ring",
        Transmit::LiveFrames => "live",
    };
    let tables = format!(
        "[workers]\ncount_max = 1\ncores = [{}]\n[route_cache]\nmode = \"{route_cache}\"\n\
         [transmit]\nmode = \"{transmit}\"\n",
        bed.cores.worker
    );
    Daemon::start(&bed.topology.router, &bed.interfaces(), mode, &tables)
}
