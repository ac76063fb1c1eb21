//! What an operator should read in the log of links that come and go, and what Linecard does about
//! the one link that is its own.

use linecard_control::rib::Rib;
use linecard_io::PuntDevice;
use linecard_observe::PortState;
use tracing::{error, info, warn};

use super::source::Shared;
use super::workers::Workers;

/// The state of a link, as `show ports` names it.
pub(super) fn state(rib: &Rib, interface_index: u32) -> PortState {
    match rib.link(interface_index) {
        None => PortState::Gone,
        Some(link) if link.up && link.carrier => PortState::Up,
        Some(_) => PortState::Down,
    }
}

/// The states that were last seen.
#[derive(Default)]
pub(super) struct LinkWatch {
    ports: Vec<PortState>,
    punt_device_gone: bool,
}

impl LinkWatch {
    /// Compares the links with what was seen last.
    pub(super) fn look(&mut self, shared: &Shared, punt: &PuntDevice, workers: &Workers) {
        let ports = shared.ports();
        let rib = shared.rib();
        let states: Vec<_> = ports.iter().map(|port| state(&rib, port.interface.index)).collect();
        for (number, (port, &now)) in ports.iter().zip(&states).enumerate() {
            let name = &port.interface.name;
            match (self.ports.get(number), now) {
                (Some(&before), now) if before == now => {}
                (None, PortState::Up) => {}
                (_, PortState::Up) => info!(port = name, "up"),
                (_, PortState::Down) => warn!(port = name, "down, or without a carrier"),
                (_, PortState::Gone) => {
                    warn!(port = name, "gone: restart Linecard when it is back");
                }
            }
        }
        self.ports = states;
        let punt_state = rib.link(punt.interface_index()).map(|link| link.up);
        drop((rib, ports));
        self.keep_punt_device(punt_state, shared, punt, workers);
    }

    /// Without the punt device no neighbour is found and no ICMP error sent: a device that somebody
    /// set down is set up again; one that is gone cannot be replaced, so the kernel forwards.
    fn keep_punt_device(
        &mut self,
        up: Option<bool>,
        shared: &Shared,
        punt: &PuntDevice,
        workers: &Workers,
    ) {
        match up {
            Some(true) => {}
            Some(false) => match punt.set_up() {
                Ok(()) => warn!(device = punt.name(), "was set down; it is up again"),
                Err(error) => error!(device = punt.name(), %error, "is down and stays so"),
            },
            None if self.punt_device_gone => {}
            None => {
                self.punt_device_gone = true;
                workers.stand_down();
                shared.status().punt_device_gone = true;
                error!(device = punt.name(), "is gone: the kernel forwards; restart Linecard");
            }
        }
    }
}
