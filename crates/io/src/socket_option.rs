//! Socket options that hold one integer and that no safe crate offers, such as `PACKET_AUXDATA`.

#![allow(unsafe_code, reason = "setsockopt(2) takes a pointer")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Sets an integer option: `level` is `SOL_PACKET` and the like, `option` the option's number.
///
/// # Errors
/// What the kernel says: no such option, or not for this kind of socket or value.
pub fn set_integer(socket: impl AsFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(&value)).expect("an i32 has four bytes");
    // SAFETY: the pointer is to a live i32 and the length is its size; the kernel copies no more
    // than that during the call and keeps nothing.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(&value).cast(),
            length,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The number of the calling thread's network namespace, which no other one gets until the machine is
/// started anew (`SO_NETNS_COOKIE`, Linux 5.14).
///
/// # Errors
/// The kernel's.
pub fn namespace_cookie() -> io::Result<u64> {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of_val(&cookie)).expect("eight bytes");
    // SAFETY: both pointers are to live values, and the length is that of `cookie`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_set_or_refused() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback");
        set_integer(&socket, libc::SOL_SOCKET, libc::SO_BROADCAST, 1).expect("a plain option");
        assert!(socket.broadcast().expect("readable"));
        let error = set_integer(&socket, libc::SOL_PACKET, 8, 1).expect_err("not a packet socket");
        assert_eq!(error.raw_os_error(), Some(libc::ENOPROTOOPT));
    }
}
