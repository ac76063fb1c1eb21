//! The control loop: what the kernel says becomes what the workers look up.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use linecard_control::mirror::Mirror;
use linecard_io::{LocalAddresses, PuntDevice};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::{error, info, warn};

use super::filter_log::FilterLog;
use super::link_watch::LinkWatch;
use super::neighbours::NeighbourKeeper;
use super::publisher::Publisher;
use super::redirects::TargetWatch;
use super::reload;
use super::source::Shared;
use super::workers::Workers;

/// How long the loop waits for the kernel when nothing is pending.
const QUIET: Duration = Duration::from_millis(200);
/// How long it waits before it tries again to publish.
const BUSY: Duration = Duration::from_millis(1);
/// From one publication to the next at the least: each makes the workers read another copy of the tables,
/// which is not in their caches. What comes after a pause is published at once.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(10);
/// Time between resyncs at the least …
const RESYNC_PAUSE: Duration = Duration::from_millis(200);
/// … and in proportion to what the last one took, which is a second for a million routes.
const RESYNC_SHARE: u32 = 5;

/// What the loop works with.
pub(super) struct ControlLoop<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) mirror: Mirror,
    pub(super) publisher: Publisher,
    pub(super) local: LocalAddresses,
    pub(super) workers: &'a Workers,
    pub(super) punt: &'a PuntDevice,
    pub(super) resync_due: Instant,
}

impl ControlLoop<'_> {
    /// Runs until `signals` becomes readable.
    ///
    /// # Errors
    /// When the kernel cannot be listened to any more.
    pub(super) fn run(mut self, signals: &UnixStream) -> anyhow::Result<()> {
        let mut patience = BUSY;
        let mut publish_due = Instant::now();
        let mut neighbours = NeighbourKeeper::new(Instant::now());
        let mut links = LinkWatch::default();
        let mut filter_log = FilterLog::new(Instant::now());
        let mut targets = TargetWatch::new(Instant::now(), self.shared.redirects.as_ref().ok());
        while !self.wait(signals, patience)? {
            // While the workers still hold the retired copy no more is read: the kernel's buffer
            // and, at its end, a resync bound what waits.
            let more = self.pending() == 0 && self.follow_kernel()?;
            let early = publish_due.saturating_duration_since(Instant::now());
            patience = if !early.is_zero() {
                early
            } else if self.publish(&mut publish_due) {
                QUIET
            } else {
                BUSY
            };
            if more {
                patience = Duration::ZERO;
            }
            if !self.serve() {
                patience = patience.min(BUSY);
            }
            filter_log.write(Instant::now(), self.shared);
            self.follow_addresses();
            links.look(self.shared, self.punt, self.workers);
            targets.look(Instant::now(), self.shared);
            if let Some(live) = &self.shared.live {
                live.look(Instant::now(), self.shared);
            }
            self.report();
            neighbours.keep(Instant::now(), self.shared, &mut self.mirror);
        }
        Ok(())
    }

    /// Publishes what has changed of the services and the taps; false when it has to be tried again.
    fn serve(&self) -> bool {
        let services = self.shared.services_if_free().is_some_and(|mut services| {
            services.connections.sweep(Instant::now());
            let is_published = services.publish();
            if services.take_idle() {
                reload::leave_options(self.shared);
            }
            is_published
        });
        self.shared.taps().publish() && services
    }

    /// Takes the kernel's news, and all it holds where news were lost; true when more wait.
    fn follow_kernel(&mut self) -> anyhow::Result<bool> {
        let mut rib = self.shared.rib();
        let received = self.mirror.receive(&mut rib).context("read the kernel's news")?;
        if received.resync_wanted && Instant::now() >= self.resync_due {
            let started = Instant::now();
            match self.mirror.sync(&mut rib) {
                Ok(()) => info!(milliseconds = started.elapsed().as_millis(), "resync"),
                // The base is as it was, with the news applied; it is tried again.
                Err(error) => warn!(%error, "resync failed"),
            }
            // A storm of changes that each want one may not eat the control side.
            self.resync_due = Instant::now() + RESYNC_PAUSE.max(started.elapsed() * RESYNC_SHARE);
        }
        Ok(received.more)
    }

    /// Publishes what has changed, and puts off the next time if anything has; false when it has to be
    /// tried again.
    fn publish(&mut self, due: &mut Instant) -> bool {
        let before = self.generation();
        let published = self.publisher.publish(&mut self.shared.rib());
        if self.generation() != before {
            *due = Instant::now() + PUBLISH_INTERVAL;
        }
        published
    }

    /// Publications so far.
    fn generation(&self) -> u64 {
        self.publisher.writer().subscription().generation()
    }

    /// Waits for the kernel's news or the time to be up; true when a signal has come.
    fn wait(&self, signals: &UnixStream, patience: Duration) -> anyhow::Result<bool> {
        let timeout = Timespec {
            tv_sec: patience.as_secs() as i64,
            tv_nsec: i64::from(patience.subsec_nanos()),
        };
        let mirror = self.mirror.as_fd();
        // With operations pending the mirror is not read, so waiting for it would spin.
        let events = if self.pending() == 0 { PollFlags::IN } else { PollFlags::empty() };
        let mut fds =
            [PollFd::new(signals, PollFlags::IN), PollFd::from_borrowed_fd(mirror, events)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(!fds[0].revents().is_empty()),
            Err(error) => Err(error).context("wait for the kernel's news"),
        }
    }

    /// Tells the classifiers of the router's own addresses and of the ports' MAC addresses.
    fn follow_addresses(&self) {
        let mut ports = self.shared.ports();
        let mut rib = self.shared.rib();
        let mut updates = Vec::new();
        rib.drain_local(&mut updates);
        for update in updates {
            // The pipeline knows the address as well, and punts what the classifier let through.
            if let Err(error) = super::apply_local(&self.local, update) {
                warn!(?update, %error, "the classifiers do not know an address of the router's");
            }
        }
        for port in ports.iter_mut() {
            let Some(link) = rib.link(port.interface.index) else { continue };
            let address = link.mac_address.octets();
            if address != port.interface.mac_address {
                info!(port = port.interface.name, mac_address = %link.mac_address, "MAC address changed");
                if let Err(error) = port.set_mac_address(address) {
                    error!(port = port.interface.name, %error, "the classifier has the old one");
                }
            }
        }
    }

    /// Changes that wait for the workers.
    fn pending(&self) -> usize {
        self.publisher.writer().pending()
    }

    /// Brings up to date what the API tells of the control side.
    pub(super) fn report(&self) {
        let routes = (self.pending() == 0).then(|| self.shared.rib().prefixes());
        let mut status = self.shared.status();
        status.snapshot_version = self.generation();
        // While operations wait, the base is ahead of the snapshot.
        status.routes = routes.unwrap_or(status.routes);
        status.table_overflows = self.publisher.writer().published().refused_updates();
        status.mirror = self.mirror.counters();
        let ended = self.workers.ended();
        if ended > status.workers_ended {
            error!(ended, "workers have ended; the kernel forwards their packets");
        }
        status.workers_ended = ended;
    }
}
