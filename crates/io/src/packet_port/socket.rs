//! Opens packet sockets and sets their options.
#![allow(unsafe_code, reason = "binds packet sockets and sets options that rustix does not know")]

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::ring::ReceiveRing;
use super::{PacketPortError, PacketPortOptions};

/// `ARPHRD_ETHER` of linux/if_arp.h.
const HARDWARE_TYPE_ETHERNET: u16 = 1;

/// Bytes of sent packets that the kernel may hold for a socket before it refuses more.
const SEND_BUFFER_BYTES: usize = 4 << 20;

/// Opens the socket that receives, and its ring. No packet that the filter would refuse gets in
/// before it.
pub(super) fn receiver(
    options: &PacketPortOptions<'_>,
) -> Result<(OwnedFd, ReceiveRing), PacketPortError> {
    let failed = |feature| move |source| kernel(options, feature, source);
    let socket = open(options)?;
    let fd = socket.as_fd();
    set(fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1i32)
        .map_err(failed("PACKET_IGNORE_OUTGOING"))?;
    set(fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1i32).map_err(failed("PACKET_VNET_HDR"))?;
    let ring = ReceiveRing::new(fd, options.receive_packets_max, options.packet_bytes_max)
        .map_err(failed("PACKET_RX_RING"))?;

    // A member joins its group only when it receives already. So it joins deaf, and no packet
    // arrives twice.
    refuse_everything(fd).map_err(failed("SO_ATTACH_FILTER"))?;
    bind(options, fd, libc::ETH_P_ALL as u16)?;
    if let Some(group) = options.fanout_group {
        join(options, fd, group)?;
    }
    match options.filter {
        Some(filter) => set(fd, libc::SOL_SOCKET, libc::SO_ATTACH_BPF, &filter.as_raw_fd())
            .map_err(failed("SO_ATTACH_BPF (the filter program)"))?,
        None => set(fd, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &0i32)
            .map_err(failed("SO_DETACH_FILTER"))?,
    }
    Ok((socket, ring))
}

/// Opens the socket that sends. With protocol 0 it receives nothing; with `PACKET_QDISC_BYPASS`
/// packets go to the driver directly: Linecard does the queueing.
pub(super) fn sender(options: &PacketPortOptions<'_>) -> Result<OwnedFd, PacketPortError> {
    let socket = open(options)?;
    set(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, &1i32)
        .map_err(|source| kernel(options, "PACKET_QDISC_BYPASS", source))?;
    rustix::net::sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER_BYTES)
        .map_err(|errno| kernel(options, "SO_SNDBUF", errno.into()))?;
    bind(options, socket.as_fd(), 0)?;
    Ok(socket)
}

/// Packets that the socket dropped because its ring was full, since the last call.
pub(super) fn take_drops(socket: BorrowedFd<'_>) -> u64 {
    // SAFETY: all-zero is a value of this plain struct of integers.
    let mut statistics: libc::tpacket_stats = unsafe { mem::zeroed() };
    let mut length = mem::size_of_val(&statistics) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `statistics`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut length,
        )
    };
    if result == 0 { u64::from(statistics.tp_drops) } else { 0 }
}

fn open(options: &PacketPortOptions<'_>) -> Result<OwnedFd, PacketPortError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None).map_err(|errno| {
        match errno {
            Errno::PERM | Errno::ACCESS => {
                PacketPortError::Privilege { interface: options.interface.to_owned() }
            }
            _ => kernel(options, "AF_PACKET sockets", errno.into()),
        }
    })
}

/// Binds the socket to the interface and checks that it is Ethernet.
fn bind(
    options: &PacketPortOptions<'_>,
    socket: BorrowedFd<'_>,
    protocol: u16,
) -> Result<(), PacketPortError> {
    let interface = || options.interface.to_owned();
    let index = rustix::net::netdevice::name_to_index(socket, options.interface)
        .map_err(|_| PacketPortError::NoInterface { interface: interface() })?;
    // SAFETY: all-zero is a value of this plain struct of integers.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = index.cast_signed();
    let mut length = mem::size_of_val(&address) as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `address`, which is its size.
    if unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) } != 0 {
        return Err(match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENODEV) => {
                PacketPortError::NoInterface { interface: interface() }
            }
            error => kernel(options, "bind", error),
        });
    }
    // SAFETY: the kernel writes at most `length` bytes of `address`, which is its size.
    let result = unsafe {
        libc::getsockname(socket.as_raw_fd(), (&raw mut address).cast(), &raw mut length)
    };
    if result != 0 {
        return Err(kernel(options, "getsockname", io::Error::last_os_error()));
    }
    if address.sll_hatype != HARDWARE_TYPE_ETHERNET {
        let hardware_type = address.sll_hatype;
        return Err(PacketPortError::NotEthernet { interface: interface(), hardware_type });
    }
    Ok(())
}

fn join(
    options: &PacketPortOptions<'_>,
    socket: BorrowedFd<'_>,
    group: u16,
) -> Result<(), PacketPortError> {
    let argument = u32::from(group) | libc::PACKET_FANOUT_HASH << 16;
    set(socket, libc::SOL_PACKET, libc::PACKET_FANOUT, &argument).map_err(|source| {
        // EINVAL and EALREADY: the group is of another type or interface.
        match source.raw_os_error() {
            Some(libc::EINVAL | libc::EALREADY) => {
                PacketPortError::FanoutGroup { interface: options.interface.to_owned(), group }
            }
            _ => kernel(options, "PACKET_FANOUT", source),
        }
    })
}

/// Attaches a filter that accepts no packet: the classic program "return 0".
fn refuse_everything(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut program =
        [libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 }];
    let program = libc::sock_fprog { len: 1, filter: program.as_mut_ptr() };
    set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// Sets a socket option to `value`, of which the kernel reads no more than its size.
pub(super) fn set<T>(socket: BorrowedFd<'_>, level: i32, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: the kernel reads the bytes of `value`, which lives through the call; so does the
    // program that a `sock_fprog` points to, in `refuse_everything`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            mem::size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn kernel(
    options: &PacketPortOptions<'_>,
    feature: &'static str,
    source: io::Error,
) -> PacketPortError {
    PacketPortError::Kernel { interface: options.interface.to_owned(), feature, source }
}
