//! bpf(2): the system call, and the argument layouts of the commands that are used here.
//!
//! Layouts follow `union bpf_attr` in linux/bpf.h; the kernel takes a shorter attribute as one
//! whose remaining bytes are zero.
#![allow(unsafe_code, reason = "system calls with pointers")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const BPF_MAP_CREATE: i32 = 0;
const BPF_MAP_LOOKUP_ELEM: i32 = 1;
const BPF_MAP_UPDATE_ELEM: i32 = 2;
const BPF_MAP_DELETE_ELEM: i32 = 3;
const BPF_PROG_LOAD: i32 = 5;
const BPF_PROG_TEST_RUN: i32 = 10;
const BPF_OBJ_GET_INFO_BY_FD: i32 = 15;
const BPF_RAW_TRACEPOINT_OPEN: i32 = 17;
const BPF_LINK_CREATE: i32 = 28;

/// Map types (`enum bpf_map_type`).
pub(crate) const MAP_HASH: u32 = 1;
pub(crate) const MAP_ARRAY: u32 = 2;
pub(crate) const MAP_PROG_ARRAY: u32 = 3;
pub(crate) const MAP_PERCPU_ARRAY: u32 = 6;
pub(crate) const MAP_DEVMAP: u32 = 14;
pub(crate) const MAP_XSKMAP: u32 = 17;
/// `BPF_F_MMAPABLE`: an array that user space may map.
pub(crate) const MAP_FLAG_MMAPABLE: u32 = 1 << 10;

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct MapElement {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgramLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
    // The kernel looks at the rest for some attach types (tcx: relative fd and revision).
    rest: [u64; 4],
}

#[repr(C)]
#[derive(Default)]
struct ObjectInfo {
    fd: u32,
    info_len: u32,
    info: u64,
}

#[repr(C)]
#[derive(Default)]
struct RawTracepointOpen {
    name: u64,
    prog_fd: u32,
    pad: u32,
}

#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    // The kernel refuses anything but zeros here, so it must not be padding.
    reserved: u32,
}

fn bpf<T>(command: i32, attribute: &mut T) -> io::Result<i64> {
    // SAFETY: `attribute` is a `repr(C)` prefix of `union bpf_attr` of the size passed; pointers in
    // it are valid for the call, which each caller in this file states.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attribute), size_of::<T>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn bpf_fd<T>(command: i32, attribute: &mut T) -> io::Result<OwnedFd> {
    let fd = bpf(command, attribute)?;
    // SAFETY: the command returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// An object name as the kernel takes it: at most 15 bytes.
fn name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(name.bytes().take(15)) {
        *to = from;
    }
    bytes
}

/// Creates a map.
pub(crate) fn map_create(
    label: &str,
    map_type: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries_max: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    bpf_fd(
        BPF_MAP_CREATE,
        &mut MapCreate {
            map_type,
            key_size: key_bytes,
            value_size: value_bytes,
            max_entries: entries_max,
            map_flags: flags,
            map_name: name(label),
            ..MapCreate::default()
        },
    )
}

/// Sets `map[key] = value`. The slices must have the sizes that the map was created with.
pub(crate) fn map_update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    bpf(
        BPF_MAP_UPDATE_ELEM,
        &mut MapElement {
            map_fd: map.as_raw_fd() as u32,
            key: key.as_ptr() as u64,
            value: value.as_ptr() as u64,
            ..MapElement::default()
        },
    )
    .map(drop)
}

/// Removes `map[key]`; true when it was there.
pub(crate) fn map_delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<bool> {
    let mut element = MapElement {
        map_fd: map.as_raw_fd() as u32,
        key: key.as_ptr() as u64,
        ..MapElement::default()
    };
    match bpf(BPF_MAP_DELETE_ELEM, &mut element) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads `map[key]` into `value`, which must have room for the map's value (for per-CPU maps: one
/// for each possible CPU).
pub(crate) fn map_lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<()> {
    bpf(
        BPF_MAP_LOOKUP_ELEM,
        &mut MapElement {
            map_fd: map.as_raw_fd() as u32,
            key: key.as_ptr() as u64,
            value: value.as_mut_ptr() as u64,
            ..MapElement::default()
        },
    )
    .map(drop)
}

/// Loads a program; a refusal carries the verifier's last words.
pub(crate) fn program_load(
    label: &str,
    program_type: u32,
    attach_type: u32,
    flags: u32,
    instructions: &[u64],
) -> io::Result<OwnedFd> {
    let mut load = ProgramLoad {
        prog_type: program_type,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        prog_flags: flags,
        prog_name: name(label),
        expected_attach_type: attach_type,
        ..ProgramLoad::default()
    };
    let error = match bpf_fd(BPF_PROG_LOAD, &mut load) {
        Ok(fd) => return Ok(fd),
        Err(error) => error,
    };
    // A second time with the verifier's log, for the error message.
    let mut log = vec![0_u8; 1 << 20];
    load.log_level = 1;
    load.log_size = log.len() as u32;
    load.log_buf = log.as_mut_ptr() as u64;
    if let Ok(fd) = bpf_fd(BPF_PROG_LOAD, &mut load) {
        return Ok(fd);
    }
    let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
    let text = String::from_utf8_lossy(&log[..end]);
    let tail: Vec<&str> = text.lines().rev().take(12).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    Err(io::Error::new(
        error.kind(),
        format!("the kernel refused program {label}: {error}\n{}", tail.join("\n")),
    ))
}

/// Attaches a program to an interface; the attachment lives as long as the returned descriptor.
pub(crate) fn link_create(
    program: BorrowedFd<'_>,
    interface_index: u32,
    attach_type: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    bpf_fd(
        BPF_LINK_CREATE,
        &mut LinkCreate {
            prog_fd: program.as_raw_fd() as u32,
            target_ifindex: interface_index,
            attach_type,
            flags,
            ..LinkCreate::default()
        },
    )
}

/// Attaches a program to a raw tracepoint; the attachment lives as long as the returned descriptor.
pub(crate) fn raw_tracepoint_open(program: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    bpf_fd(
        BPF_RAW_TRACEPOINT_OPEN,
        &mut RawTracepointOpen {
            name: name.as_ptr() as u64,
            prog_fd: program.as_raw_fd() as u32,
            pad: 0,
        },
    )
}

/// The number by which the kernel knows a map.
pub(crate) fn map_id(map: BorrowedFd<'_>) -> io::Result<u32> {
    // The beginning of `struct bpf_map_info`: type, id.
    let mut info = [0_u32; 2];
    let mut ask = ObjectInfo {
        fd: map.as_raw_fd() as u32,
        info_len: size_of_val(&info) as u32,
        info: info.as_mut_ptr() as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut ask)?;
    Ok(info[1])
}

/// Runs a program `repeat` times on `frame` and returns its answer and what it made of the frame; the frame
/// goes nowhere.
pub(crate) fn program_test_run(
    program: BorrowedFd<'_>,
    frame: &[u8],
    repeat: u32,
) -> io::Result<TestRunReport> {
    let mut out = vec![0; frame.len()];
    let mut run = TestRun {
        prog_fd: program.as_raw_fd() as u32,
        data_size_in: frame.len() as u32,
        data_in: frame.as_ptr() as u64,
        data_size_out: out.len() as u32,
        data_out: out.as_mut_ptr() as u64,
        repeat,
        ..TestRun::default()
    };
    bpf(BPF_PROG_TEST_RUN, &mut run)?;
    out.truncate(run.data_size_out as usize);
    Ok(TestRunReport { answer: run.retval, frame: out, nanoseconds: run.duration })
}

/// What [`program_test_run`] has found.
#[derive(Debug)]
pub(crate) struct TestRunReport {
    /// Of the last run.
    pub(crate) answer: u32,
    /// What the runs made of the frame.
    pub(crate) frame: Vec<u8>,
    /// Of one run, on average.
    pub(crate) nanoseconds: u32,
}

/// `BPF_F_TEST_XDP_LIVE_FRAMES`: what the program does with the frames comes true.
const TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;

/// Runs an XDP program on `repeat` frames that begin as copies of `frame`, in batches of
/// `batch_size`, and lets its answers come true. Blocks until it is done.
pub(crate) fn program_run_live(
    program: BorrowedFd<'_>,
    frame: &[u8],
    repeat: u32,
    batch_size: u32,
) -> io::Result<()> {
    let mut run = TestRun {
        prog_fd: program.as_raw_fd() as u32,
        data_size_in: frame.len() as u32,
        data_in: frame.as_ptr() as u64,
        repeat,
        flags: TEST_XDP_LIVE_FRAMES,
        batch_size,
        ..TestRun::default()
    };
    bpf(BPF_PROG_TEST_RUN, &mut run).map(drop)
}
