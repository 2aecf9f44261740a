//! Broker: sessions, handoffs, sealed updates, events. It relays what it cannot read.
//!
//! Every step is one transaction: the caller is admitted (proof consumed, standing held), the session's row is held, a pure rule decides
//! (`protocol::handoff`), one guarded UPDATE writes, one event is appended.

mod presence;
mod revocation;
mod routes;
mod state;
mod store;
mod streams;
mod writer;

pub use routes::router;
pub use state::{Broker, Config, SCHEMA, migrations};
pub use streams::TICK;
