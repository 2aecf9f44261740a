//! Identity: accounts, passkeys, enrolment, device logs, status lists.
//!
//! It never holds a root or an issuer key in clear, and can therefore never add a device: it checks what a person's client signed against
//! what it offered, and stores it. What it may do alone is take away: revoke, suspend, withdraw.

mod clients;
mod ledger;
mod oauth;
mod outbox;
mod page_session;
mod passkeys;
mod peers;
mod routes;
mod state;
mod store;

pub use clients::{Client, Clients};
pub use ledger::{Tampered, verify as verify_ledger};
pub use peers::{PeerError, StandingPeer};
pub use routes::router;
pub use state::{Config, Identity, Operator, SCHEMA, migrations};
