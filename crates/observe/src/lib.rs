//! What readers see: the reports that the API returns, the CLI prints and the tests compare.
//!
//! All of them are plain copies, taken in one moment. Names carry their units; reasons carry the
//! same labels as the counters (`linecard_packet::DropReason`).

pub mod connections;
pub mod drops;
pub mod filters;
pub mod health;
pub mod neighbours;
mod packet_text;
pub mod policers;
pub mod ports;
pub mod protection;
pub mod reload;
pub mod route_cache;
pub mod routes;
pub mod trace;

pub use connections::{
    ConnectionQuery, ConnectionReport, ConnectionStateReport, ConnectionSummary, ConnectionsReport,
};
pub use drops::{DropsReport, PortPackets, ReasonReport};
pub use filters::{FilterReport, FiltersReport, RuleReport};
pub use health::{HealthReport, HealthState};
pub use neighbours::{NeighbourReport, NeighbourState, NeighboursReport};
pub use packet_text::packet_text;
pub use policers::{PoliceSourcesReport, PolicerReport, PolicersReport};
pub use ports::{PassedReport, PortReport, PortState, PortsReport};
pub use protection::{ClassReport, PortProtectionReport, ProtectionReport};
pub use reload::ReloadReport;
pub use route_cache::{
    ObstacleReport, PortRouteCacheReport, PortService, RedirectTarget, RouteCacheObstacle,
    RouteCacheReport, RouteCacheState,
};
pub use routes::{NextHopReport, RouteKind, RouteQuery, RouteReport, RoutesReport};
pub use trace::{
    ExplainQuery, Fate, PacketReport, StepReport, TapEvent, TapKind, TapQuery, VerdictReport,
};
