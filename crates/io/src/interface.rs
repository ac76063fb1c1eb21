//! What the kernel says of an interface, and the one offload that Linecard must turn off.
//!
//! Asked by ioctl (netdevice(7), linux/ethtool.h): `io` stands below `control` and knows no
//! netlink.
#![allow(unsafe_code, reason = "ioctl with pointers")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `ETHTOOL_GDRVINFO`, `ETHTOOL_GCHANNELS`, `ETHTOOL_GFLAGS`, `ETHTOOL_SFLAGS`.
const GET_DRIVER: u32 = 0x03;
const GET_CHANNELS: u32 = 0x3c;
const GET_FLAGS: u32 = 0x25;
const SET_FLAGS: u32 = 0x26;
/// `ETH_FLAG_RXVLAN`.
const FLAG_RX_VLAN: u32 = 1 << 8;

/// An Ethernet interface of the calling thread's network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// The kernel's index.
    pub index: u32,
    /// Its MAC address.
    pub mac_address: [u8; 6],
    /// Its MTU in bytes.
    pub mtu_bytes: u32,
    /// Receive queues in use.
    pub receive_queues: u32,
    /// Transmit queues in use.
    pub transmit_queues: u32,
}

/// `struct ethtool_channels`.
#[repr(C)]
#[derive(Default)]
struct Channels {
    command: u32,
    rx_max: u32,
    tx_max: u32,
    other_max: u32,
    combined_max: u32,
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

impl Interface {
    /// Looks an interface up by name.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name, `InvalidInput` when it is not Ethernet or the
    /// name is longer than 15 bytes.
    pub fn by_name(name: &str) -> io::Result<Self> {
        let control = Control::new(name)?;
        let index = control.request(libc::SIOCGIFINDEX)?;
        // SAFETY: SIOCGIFINDEX fills this member of the union.
        let index = unsafe { index.ifr_ifru.ifru_ifindex };
        let hardware = control.request(libc::SIOCGIFHWADDR)?;
        // SAFETY: SIOCGIFHWADDR fills this member of the union.
        let hardware = unsafe { hardware.ifr_ifru.ifru_hwaddr };
        if hardware.sa_family != libc::ARPHRD_ETHER {
            let text = format!("interface {name} is not Ethernet (ARPHRD {})", hardware.sa_family);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let mtu = control.request(libc::SIOCGIFMTU)?;
        // SAFETY: SIOCGIFMTU fills this member of the union.
        let mtu = unsafe { mtu.ifr_ifru.ifru_mtu };
        let (receive_queues, transmit_queues) = control.queues();
        let mut mac_address = [0; 6];
        for (to, from) in mac_address.iter_mut().zip(hardware.sa_data) {
            *to = from as u8;
        }
        Ok(Self {
            name: name.to_owned(),
            index: index as u32,
            mac_address,
            mtu_bytes: mtu as u32,
            receive_queues,
            transmit_queues,
        })
    }

    /// The driver's name, such as `veth`.
    ///
    /// # Errors
    /// The kernel's: the interface is gone, or its driver does not say.
    pub fn driver(&self) -> io::Result<String> {
        let mut info = DriverInfo { command: GET_DRIVER, driver: [0; 32], rest: [0; 160] };
        Control::new(&self.name)?.ethtool(&mut info)?;
        let name = info.driver.split(|&byte| byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(name).into_owned())
    }

    /// Whether its link is up and has its carrier (`IFF_UP` and `IFF_RUNNING`).
    ///
    /// # Errors
    /// The kernel's: the interface is gone.
    pub fn is_running(&self) -> io::Result<bool> {
        let request = Control::new(&self.name)?.request(libc::SIOCGIFFLAGS)?;
        // SAFETY: SIOCGIFFLAGS fills this member of the union.
        let flags = i32::from(unsafe { request.ifr_ifru.ifru_flags });
        let wanted = libc::IFF_UP | libc::IFF_RUNNING;
        Ok(flags & wanted == wanted)
    }

    /// Turns off "receive VLAN tag stripping" where it is on, so that tags stay in the frame where
    /// XDP sees them; true when it was on. A driver that cannot be asked strips nothing.
    ///
    /// # Errors
    /// The driver's, when the feature is fixed; `Unsupported` when the driver leaves it on all the
    /// same.
    pub fn keep_vlan_tags(&self) -> io::Result<bool> {
        let control = Control::new(&self.name)?;
        let flags = control.flags().unwrap_or_default();
        if flags & FLAG_RX_VLAN == 0 {
            return Ok(false);
        }
        control.ethtool(&mut Value { command: SET_FLAGS, data: flags & !FLAG_RX_VLAN })?;
        if control.flags()? & FLAG_RX_VLAN != 0 {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "it was left on"));
        }
        Ok(true)
    }

    /// Turns "receive VLAN tag stripping" on again.
    ///
    /// # Errors
    /// The driver's.
    pub fn strip_vlan_tags(&self) -> io::Result<()> {
        let control = Control::new(&self.name)?;
        let data = control.flags()? | FLAG_RX_VLAN;
        control.ethtool(&mut Value { command: SET_FLAGS, data })
    }
}

/// A socket to ask by, and the name to ask for.
struct Control {
    socket: OwnedFd,
    name: [libc::c_char; libc::IFNAMSIZ],
    text: String,
}

impl Control {
    fn new(text: &str) -> io::Result<Self> {
        if text.is_empty() || text.len() >= libc::IFNAMSIZ || text.contains('\0') {
            let text = format!("{text:?} is no interface name: 1 to 15 bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let mut name = [0; libc::IFNAMSIZ];
        for (to, from) in name.iter_mut().zip(text.bytes()) {
            *to = from as libc::c_char;
        }
        // SAFETY: no memory is passed.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor that nobody else owns.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { socket, name, text: text.to_owned() })
    }

    fn call(&self, request: libc::c_ulong, argument: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: `argument` is a valid ifreq; a pointer in it is valid, as the callers state.
        let result = unsafe {
            libc::ioctl(self.socket.as_raw_fd(), request as _, std::ptr::from_mut(argument))
        };
        if result >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() == Some(libc::ENODEV) {
            let text = format!("there is no interface {} in this network namespace", self.text);
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        Err(error)
    }

    fn request(&self, request: libc::c_ulong) -> io::Result<libc::ifreq> {
        let ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_ifindex: 0 };
        let mut argument = libc::ifreq { ifr_name: self.name, ifr_ifru };
        self.call(request, &mut argument)?;
        Ok(argument)
    }

    fn ethtool<T>(&self, value: &mut T) -> io::Result<()> {
        let ifru_data = std::ptr::from_mut(value).cast();
        let ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_data };
        // `value` is a repr(C) ethtool structure that begins with its command.
        self.call(libc::SIOCETHTOOL, &mut libc::ifreq { ifr_name: self.name, ifr_ifru })
    }

    /// The flags of ethtool.
    fn flags(&self) -> io::Result<u32> {
        let mut value = Value { command: GET_FLAGS, data: 0 };
        self.ethtool(&mut value)?;
        Ok(value.data)
    }

    /// Queues that can receive, and queues that can transmit: combined channels, and those for one
    /// direction; 1 each when the driver does not say.
    fn queues(&self) -> (u32, u32) {
        let mut channels = Channels { command: GET_CHANNELS, ..Channels::default() };
        match self.ethtool(&mut channels) {
            Ok(()) => {
                let combined = channels.combined;
                ((combined + channels.rx).max(1), (combined + channels.tx).max(1))
            }
            Err(_) => (1, 1),
        }
    }
}

/// Sets an interface administratively up.
pub(crate) fn set_up(name: &str) -> io::Result<()> {
    let control = Control::new(name)?;
    let mut request = control.request(libc::SIOCGIFFLAGS)?;
    // SAFETY: SIOCGIFFLAGS filled this member of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
    control.call(libc::SIOCSIFFLAGS, &mut request)
}
