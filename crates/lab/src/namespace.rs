//! Network namespaces that live as long as their handle.
//!
//! A namespace is made by a thread of its own with `unshare(2)` and held by an open file; nothing is
//! mounted under `/run/netns`. So when the process ends, in whatever way, the kernel takes the
//! namespace down with every link in it, and no test leaves anything behind.
//!
//! The thread that made the namespace stays and starts the children of [`Namespace::spawn`]: the
//! parent-death signal of `prctl(2)` follows the *thread* that forked, which must therefore live on.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use netlink_sys::protocols::{NETLINK_GENERIC, NETLINK_ROUTE};
use nix::sched::{CloneFlags, setns, unshare};

use crate::error::{LabError, Result};
use crate::netlink::NetlinkSocket;
use crate::process::Process;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace; clones are handles of the same one, and the last one dropped ends it.
#[derive(Clone)]
pub struct Namespace {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    file: File,
    route_socket: Mutex<NetlinkSocket>,
    generic_socket: Mutex<NetlinkSocket>,
    keeper: Keeper,
}

/// The thread that lives in the namespace and runs jobs one after the other.
struct Keeper {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // The thread leaves its loop when the sender is gone.
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the keeper brings back from inside: the namespace's file and sockets that belong to it.
struct Opened {
    file: File,
    route_socket: NetlinkSocket,
    generic_socket: NetlinkSocket,
}

fn open_inside() -> io::Result<Opened> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    Ok(Opened {
        file: File::open("/proc/thread-self/ns/net")?,
        route_socket: NetlinkSocket::open(NETLINK_ROUTE)?,
        generic_socket: NetlinkSocket::open(NETLINK_GENERIC)?,
    })
}

impl Namespace {
    /// Makes a namespace with the loopback up and IPv6 duplicate address detection off, so that
    /// addresses serve at once. `name` is for messages and the thread's name only; it need not be unique.
    ///
    /// # Errors
    /// Without `CAP_SYS_ADMIN`, or when the kernel has no network namespaces.
    pub fn new(name: &str) -> Result<Self> {
        let action = || format!("create network namespace {name}");
        let (jobs, queue) = mpsc::channel::<Job>();
        let (answer, opened) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name(format!("netns-{name}"))
            .spawn(move || {
                let result = open_inside();
                let failed = result.is_err();
                if answer.send(result).is_err() || failed {
                    return;
                }
                while let Ok(job) = queue.recv() {
                    job();
                }
            })
            .map_err(|error| LabError::new(action(), error))?;
        let keeper = Keeper { jobs: Some(jobs), thread: Some(thread) };
        let opened = opened
            .recv()
            .map_err(|_| LabError::new(action(), io::Error::other("its thread ended")))?
            .map_err(|error| LabError::new(action(), error))?;
        let inner = Inner {
            name: name.to_owned(),
            file: opened.file,
            route_socket: Mutex::new(opened.route_socket),
            generic_socket: Mutex::new(opened.generic_socket),
            keeper,
        };
        let namespace = Self { inner: Arc::new(inner) };
        namespace.quieten()?;
        namespace.set_up("lo")?;
        Ok(namespace)
    }

    /// Turns off what would delay addresses or send frames that nobody asked for.
    fn quieten(&self) -> Result<()> {
        for (key, value) in [("accept_dad", "0"), ("dad_transmits", "0"), ("accept_ra", "0")] {
            for scope in ["all", "default"] {
                match self.sysctl(&format!("net.ipv6.conf.{scope}.{key}"), value) {
                    // A kernel without IPv6 has nothing to turn off.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    other => other?,
                }
            }
        }
        Ok(())
    }

    /// The name given when it was made.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// A path that names the namespace while the handle lives, for `nsenter --net=PATH` and the like.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.inner.file.as_raw_fd()))
    }

    /// Moves the calling thread into the namespace for good; threads and children it starts follow.
    ///
    /// # Errors
    /// When the process has given up `CAP_SYS_ADMIN`.
    pub fn enter(&self) -> Result<()> {
        setns(&self.inner.file, CloneFlags::CLONE_NEWNET)
            .map_err(|error| LabError::new(format!("enter network namespace {self}"), error))
    }

    /// Runs `work` in a fresh thread inside the namespace and returns its value. Sockets opened
    /// there belong to the namespace for ever; children and threads started there inherit it.
    /// Costs about as much as starting a thread.
    ///
    /// # Panics
    /// When `work` panics, with the same payload; or when the process can no longer start threads or
    /// has given up `CAP_SYS_ADMIN` since it made the namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            self.enter().expect("who made the namespace may enter it");
            work()
        };
        thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(value) => value,
            Err(payload) => std::panic::resume_unwind(payload),
        })
    }

    /// Starts a thread inside the namespace, named `name`, that lives on its own.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn spawn_thread<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>> {
        let namespace = self.clone();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                namespace.enter().expect("who made the namespace may enter it");
                work()
            })
            .map_err(|error| LabError::new(format!("start thread {name} in {self}"), error))
    }

    /// Starts a program inside the namespace; the handle kills and reaps it when dropped.
    ///
    /// # Errors
    /// When the program cannot be started (most often: it is not installed).
    pub fn spawn(&self, mut command: Command) -> Result<Process> {
        let program = command.get_program().to_string_lossy().into_owned();
        let action = || format!("start {program} in {self}");
        let (answer, child) = mpsc::sync_channel(1);
        let job: Job = Box::new(move || {
            // Nobody waits any more: then the child must not stay behind.
            if let Err(mpsc::SendError(Ok(mut child))) = answer.send(command.spawn()) {
                let _ = child.kill();
                let _ = child.wait();
            }
        });
        let gone = || LabError::new(action(), io::Error::other("the namespace's thread ended"));
        let jobs = self.inner.keeper.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(job).map_err(|_| gone())?;
        let child =
            child.recv().map_err(|_| gone())?.map_err(|error| LabError::new(action(), error))?;
        Ok(Process::new(child, program, self.clone()))
    }

    /// Writes a sysctl of this namespace: `net.ipv4.ip_forward`, or with slashes where a part of
    /// the name has a dot (`net/ipv4/conf/eth0.5/rp_filter`).
    ///
    /// # Errors
    /// When there is no such key, it is not the namespace's to change, or the value is refused.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        self.run(|| std::fs::write(sysctl_path(key), value))
            .map_err(|error| LabError::new(format!("set sysctl {key}={value} in {self}"), error))
    }

    /// Reads a sysctl of this namespace, without the line end.
    ///
    /// # Errors
    /// When there is no such key.
    pub fn sysctl_value(&self, key: &str) -> Result<String> {
        self.run(|| std::fs::read_to_string(sysctl_path(key)))
            .map(|text| text.trim_end().to_owned())
            .map_err(|error| LabError::new(format!("read sysctl {key} in {self}"), error))
    }

    pub(crate) fn with_route_socket<T>(&self, use_it: impl FnOnce(&mut NetlinkSocket) -> T) -> T {
        // A panic elsewhere leaves the socket usable: answers are told apart by sequence number.
        use_it(&mut self.inner.route_socket.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn with_generic_socket<T>(&self, use_it: impl FnOnce(&mut NetlinkSocket) -> T) -> T {
        use_it(&mut self.inner.generic_socket.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.file.as_fd()
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.name)
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace").field("name", &self.inner.name).finish_non_exhaustive()
    }
}

fn sysctl_path(key: &str) -> PathBuf {
    let relative = if key.contains('/') { key.to_owned() } else { key.replace('.', "/") };
    PathBuf::from("/proc/sys").join(relative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sysctl_key_may_use_dots_or_slashes() {
        assert_eq!(
            sysctl_path("net.ipv4.ip_forward"),
            PathBuf::from("/proc/sys/net/ipv4/ip_forward")
        );
        assert_eq!(
            sysctl_path("net/ipv4/conf/eth0.5/rp_filter"),
            PathBuf::from("/proc/sys/net/ipv4/conf/eth0.5/rp_filter")
        );
    }
}
