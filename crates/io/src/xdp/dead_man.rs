//! The dead-man switch: the kernel itself tells the classifier that a worker has died.
//!
//! When a process is killed its descriptors are closed one after the other, and each XDP program
//! takes some 15 ms to detach; until then the classifier would go on feeding sockets that nobody
//! reads. Order does not help: with several ports one of them is always last. (Measured at
//! 100,000 packets a second: 100 to 2,400 packets lost, by the order in which things had been
//! opened.)
//!
//! So the classifier asks first whether the worker is alive, and the answer must turn to "no" by
//! itself, before the kernel tears anything down. A *robust futex* does that
//! (Documentation/locking/robust-futexes.rst, `exit_robust_list` in kernel/futex/core.c): the
//! first thing a dying thread does, before its memory and files go, is to walk its list of robust
//! futexes and to write `FUTEX_OWNER_DIED` in place of its thread id into each. Here the futex
//! word lies in a BPF array that is mapped into the process (`BPF_F_MMAPABLE`), so what the kernel
//! writes is what the classifier reads. It works for SIGKILL, for a panic that ends the thread,
//! and for the out-of-memory killer, and costs the classifier one inlined array look-up.
//!
//! glibc has a robust list of its own for each thread, for robust mutexes. The worker's list
//! replaces it while the switch is armed; nothing in a worker takes a robust mutex.
#![allow(unsafe_code, reason = "maps a BPF array and registers a robust futex list")]

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::bpf::map;

/// One worker's element in the BPF array.
#[repr(C)]
struct Element {
    /// `struct robust_list`: the next entry, here always back to the head.
    next: *const RobustListHead,
    /// The futex word: the worker's thread id while it is alive. Accessed atomically only.
    word: u32,
    pad: u32,
}

/// Offset of the futex word in an element, which the classifier reads.
pub(crate) const WORD_OFFSET: usize = std::mem::offset_of!(Element, word);

thread_local! {
    /// This thread holds an [`Armed`], whose head is its robust list.
    static IS_ARMED: Cell<bool> = const { Cell::new(false) };
}

/// `struct robust_list_head`, linux/futex.h.
#[repr(C)]
struct RobustListHead {
    list: *const Element,
    futex_offset: libc::c_long,
    list_op_pending: *const Element,
}

/// The switches of all workers: a BPF array mapped into this process.
#[derive(Debug)]
pub struct DeadManSwitch {
    map: Arc<OwnedFd>,
    elements: NonNull<Element>,
    workers: usize,
}

// SAFETY: the mapping is only accessed through atomics, except for `next`, which one thread (the
// worker that arms its own element) writes and which nobody reads but the kernel for that thread.
unsafe impl Send for DeadManSwitch {}
// SAFETY: as above.
unsafe impl Sync for DeadManSwitch {}

/// A worker is alive for as long as its thread holds this; dropping it disarms.
#[derive(Debug)]
pub struct Armed {
    switch: Arc<DeadManSwitch>,
    worker: usize,
    // The kernel walks the list when the thread exits: its head may not move.
    _head: Box<RobustListHead>,
    previous: *const RobustListHead,
    // Belongs to the thread that armed it.
    _not_send: PhantomData<*const ()>,
}

impl std::fmt::Debug for RobustListHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RobustListHead").finish_non_exhaustive()
    }
}

impl DeadManSwitch {
    /// Creates the array for `workers` workers, none alive.
    ///
    /// # Errors
    /// The kernel's: it needs Linux 5.5 (`BPF_F_MMAPABLE`) and `CAP_BPF`.
    pub fn new(workers: usize) -> io::Result<Arc<Self>> {
        let map = map::create_mapped("lc_alive", size_of::<Element>(), workers)?;
        // SAFETY: a new shared mapping of the array, whose size the kernel rounds up to pages.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                workers * size_of::<Element>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_fd().as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let elements = NonNull::new(address.cast()).expect("mmap never maps page 0");
        Ok(Arc::new(Self { map: Arc::new(map), elements, workers }))
    }

    /// Workers that there are switches for.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// The array, for the classifiers.
    pub(crate) fn map(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.map)
    }

    /// The place of a worker's element.
    fn element(&self, worker: usize) -> NonNull<Element> {
        assert!(worker < self.workers, "worker {worker} of {}", self.workers);
        // SAFETY: within the mapping, as just checked.
        unsafe { self.elements.add(worker) }
    }

    fn word(&self, worker: usize) -> &AtomicU32 {
        let element = self.element(worker).as_ptr();
        // SAFETY: the element lies in a mapping that lives as long as `self`, is aligned, and its
        // word is only accessed atomically. `next`, which is not, is no part of the reference.
        unsafe { AtomicU32::from_ptr(&raw mut (*element).word) }
    }

    /// True while the worker's thread is armed and alive.
    #[must_use]
    pub fn is_alive(&self, worker: usize) -> bool {
        self.word(worker).load(Ordering::Acquire) & 0x3fff_ffff != 0
    }

    /// Makes the classifiers pass everything to the kernel from now on, whoever is armed: the first
    /// step of a graceful stop, before the workers drain their queues.
    pub fn stand_down(&self) {
        for worker in 0..self.workers {
            self.word(worker).store(0, Ordering::Release);
        }
    }

    /// Says that the calling thread is worker `worker` and alive, until the guard is dropped or the
    /// thread ends in whatever way.
    ///
    /// # Errors
    /// `AlreadyExists` when the thread is armed, as this worker or another: it has one robust list.
    /// The kernel's, when it has no robust futexes.
    ///
    /// # Panics
    /// When there is no such worker.
    pub fn arm(self: &Arc<Self>, worker: usize) -> io::Result<Armed> {
        if IS_ARMED.get() {
            let text = "this thread is armed already";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        let element = self.element(worker);
        let head = Box::new(RobustListHead {
            list: element.as_ptr(),
            futex_offset: WORD_OFFSET as libc::c_long,
            list_op_pending: std::ptr::null(),
        });
        // SAFETY: only the worker's own thread writes `next` of its element, and the kernel reads
        // it only when this thread exits.
        unsafe { (*element.as_ptr()).next = &raw const *head };
        let previous = robust_list()?;
        set_robust_list(&raw const *head)?;
        IS_ARMED.set(true);
        // SAFETY: no argument, no memory.
        let thread = unsafe { libc::gettid() };
        self.word(worker).store(thread as u32, Ordering::Release);
        Ok(Armed {
            switch: Arc::clone(self),
            worker,
            _head: head,
            previous,
            _not_send: PhantomData,
        })
    }
}

impl Drop for DeadManSwitch {
    fn drop(&mut self) {
        let bytes = self.workers * size_of::<Element>();
        // SAFETY: the mapping was made by `new`; guards hold an `Arc` of this value, so none is
        // left that points into it.
        unsafe { libc::munmap(self.elements.as_ptr().cast(), bytes) };
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        self.switch.word(self.worker).store(0, Ordering::Release);
        // The head is freed after this, so the kernel must forget it. It refuses only a wrong
        // size, which `set_robust_list` does not pass.
        let _ = set_robust_list(self.previous);
        IS_ARMED.set(false);
    }
}

fn robust_list() -> io::Result<*const RobustListHead> {
    let mut head: *const RobustListHead = std::ptr::null();
    let mut bytes: libc::size_t = 0;
    // SAFETY: pid 0 is the calling thread; both pointers are valid for writing.
    let result =
        unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(head) }
}

fn set_robust_list(head: *const RobustListHead) -> io::Result<()> {
    // SAFETY: the head is either the thread's previous one or lives until `Armed` is dropped, which
    // sets the previous one again.
    let result =
        unsafe { libc::syscall(libc::SYS_set_robust_list, head, size_of::<RobustListHead>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn switch() -> Arc<DeadManSwitch> {
        DeadManSwitch::new(2).expect("a mapped BPF array: run as root or with CAP_BPF")
    }

    #[test]
    fn the_kernel_switches_off_when_the_thread_ends_without_disarming() {
        let switch = switch();
        let remote = Arc::clone(&switch);
        std::thread::spawn(move || {
            let armed = remote.arm(1).expect("arm");
            assert!(remote.is_alive(1));
            std::mem::forget(armed);
        })
        .join()
        .expect("worker");
        // The kernel wrote over the word before the thread could be joined.
        assert!(!switch.is_alive(1));
        assert_eq!(switch.word(1).load(Ordering::Acquire), 0x4000_0000, "FUTEX_OWNER_DIED");
    }

    #[test]
    fn disarming_restores_the_thread_s_own_robust_list() {
        let switch = switch();
        let before = robust_list().expect("list");
        let armed = switch.arm(0).expect("arm");
        assert!(switch.is_alive(0) && !switch.is_alive(1));
        assert_ne!(robust_list().expect("list"), before);
        drop(armed);
        assert!(!switch.is_alive(0));
        assert_eq!(robust_list().expect("list"), before);
    }

    #[test]
    fn standing_down_is_for_all_workers() {
        let switch = switch();
        let _first = switch.arm(0).expect("arm");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _second = switch.arm(1).expect("arm");
                assert!(switch.is_alive(0) && switch.is_alive(1));
                switch.stand_down();
                assert!(!switch.is_alive(0) && !switch.is_alive(1));
            });
        });
    }

    #[test]
    fn a_thread_is_one_worker() {
        let switch = switch();
        let first = switch.arm(0).expect("arm");
        for worker in [0, 1] {
            let error = switch.arm(worker).expect_err("one list a thread");
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        }
        assert!(switch.is_alive(0) && !switch.is_alive(1));
        drop(first);
        switch.arm(1).expect("the thread is free again");
    }
}
