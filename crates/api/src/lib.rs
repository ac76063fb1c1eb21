//! The local HTTP/JSON interface of a running daemon, and its client.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/ports` | [`linecard_observe::PortsReport`] |
//! | `GET /v1/routes?prefix=…&covers=…&after=…&limit=…` | [`linecard_observe::RoutesReport`], a page |
//! | `GET /v1/neighbours` | [`linecard_observe::NeighboursReport`] |
//! | `GET /v1/drops` | [`linecard_observe::DropsReport`] |
//! | `GET /v1/filters` | [`linecard_observe::FiltersReport`] |
//! | `GET /v1/policers` | [`linecard_observe::PolicersReport`] |
//! | `GET /v1/connections?source=…&destination=…&state=…&from=…&limit=…` | [`linecard_observe::ConnectionsReport`], a page |
//! | `GET /v1/protection` | [`linecard_observe::ProtectionReport`] |
//! | `POST /v1/reload` | [`linecard_observe::ReloadReport`], or 422 with what is wrong; with `?set=NAME` one set is read alone |
//! | `POST /v1/tap`, a [`linecard_observe::TapQuery`] | [`linecard_observe::TapEvent`]s, one a line, until the client goes |
//! | `POST /v1/explain`, a [`linecard_observe::ExplainQuery`] | [`linecard_observe::PacketReport`] |
//! | `GET /v1/health` | [`linecard_observe::HealthReport`] |
//!
//! It is served on a unix socket, so that file permissions say who may ask, and by a thread of its
//! own, so that a reader never delays a packet.

pub mod client;
mod feed;
mod routes;
pub mod server;
mod socket;

pub use client::{Client, ClientError};
pub use feed::Feed;
pub use routes::Source;
pub use server::{Reserved, Server, ServerConfig};
pub use socket::SocketError;
