//! The worker: a thread that owns its queues and its packet memory, takes batches from its ports,
//! and carries each through the services to its end.
//!
//! | module | |
//! |---|---|
//! | `worker` | one round over all ports: parse, route and rewrite |
//! | `services` | what stands around the route when it is on; their order is the order of the code |
//! | `egress` | where each packet of a batch ends: sent, punted, dropped |
//! | `originate` | packets of the worker's own: replies to whose packets a filter rejected, and copies |
//! | `punt` | what goes to the kernel, and how fast |
//! | `tap` | what it tells of single packets: traces, captures, what rules log and sample |
//! | `idle` | the loop around the rounds: busy while there is work, asleep while there is none |
//!
//! A worker takes no lock and shares nothing that it writes; time is an argument of a round.

mod egress;
mod idle;
mod originate;
mod punt;
mod services;
mod tap;
mod worker;

pub use idle::{IdlePolicy, clock_nanoseconds};
pub use originate::REPLY_LIMIT;
pub use punt::{PuntLimit, PuntSink};
pub use tap::{
    Explained, Explainer, Kind, Order, OrderId, Policed, Record, Selection, Stage, Step, Tap,
    TapCapacities, TapOrders, TapReader, TapTaken, TapUpdate,
};
pub use worker::{Worker, WorkerConfig, WorkerPort};
