//! Which filter stands where: what the control side publishes and workers read.

use std::sync::Arc;

use linecard_packet::PortId;
use linecard_tables::publication::Absorb;

use super::Program;

/// Where a filter is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hook {
    /// To the packets that come in on a port, also those for the router itself.
    Input(PortId),
    /// To the packets that leave by a port, also those that the kernel gets and may forward by it.
    Output(PortId),
}

/// A change of the tables.
#[derive(Debug, Clone)]
pub struct FilterUpdate {
    /// Where.
    pub hook: Hook,
    /// The filter from now on; `None` for none.
    pub program: Option<Arc<Program>>,
}

/// The filters by port. Ports beyond those given at set-up have none.
#[derive(Debug, Clone)]
pub struct FilterTables {
    input: Vec<Option<Arc<Program>>>,
    output: Vec<Option<Arc<Program>>>,
}

impl FilterTables {
    /// No filters, for ports 0 to `ports` − 1.
    #[must_use]
    pub fn new(ports: usize) -> Self {
        Self { input: vec![None; ports], output: vec![None; ports] }
    }

    /// The filter of a port's input.
    #[inline]
    pub(super) fn input(&self, port: PortId) -> Option<&Program> {
        self.input.get(port.index())?.as_deref()
    }

    /// The filter of a port's output.
    pub(super) fn output(&self, port: PortId) -> Option<&Program> {
        self.output.get(port.index())?.as_deref()
    }

    /// Ports whose output has a filter.
    pub fn output_ports(&self) -> impl Iterator<Item = PortId> {
        self.outputs().map(|(port, _)| port)
    }

    /// Ports whose output has a filter, and the filter.
    #[inline]
    pub(super) fn outputs(&self) -> impl Iterator<Item = (PortId, &Program)> {
        let programs = (0..).map(PortId).zip(&self.output);
        programs.filter_map(|(port, program)| Some((port, program.as_deref()?)))
    }
}

impl Absorb<FilterUpdate> for FilterTables {
    fn absorb(&mut self, update: &FilterUpdate) {
        let (programs, port) = match update.hook {
            Hook::Input(port) => (&mut self.input, port),
            Hook::Output(port) => (&mut self.output, port),
        };
        if let Some(program) = programs.get_mut(port.index()) {
            program.clone_from(&update.program);
        }
    }
}
