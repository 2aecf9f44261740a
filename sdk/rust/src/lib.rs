//! Baton for apps, in Rust.
//!
//! A [`Device`] enrols once ([`enroll`]), keeps its keys in a [`keystore`], and then opens, writes, offers, accepts and claims
//! [`Session`]s. The SDK does what an app should not have to: proofs and nonces, tokens, bounded retries with jitter, clock offset,
//! idempotent repeats, and the device's own checks of everybody else: log, chain, signatures. Time and randomness are arguments.
//!
//! What it never does: hold a root (that is [`root`], for approving clients), or act on a statement the broker has not accepted.
#![warn(missing_docs)]

mod content;
mod device;
pub mod document;
pub mod enroll;
mod error;
mod events;
mod handoff;
pub mod http;
pub mod keys;
pub mod keystore;
mod line;
mod listening;
mod needs;
mod presence;
mod presenting;
mod pull;
mod reading;
pub mod root;
mod root_change;
pub mod seal;
mod servers;
mod session;
mod system;
mod tokens;
mod volatile;
pub mod wire;
mod writing;

pub use content::Branch;
pub use device::{Device, Label, Members, ReplaceRoot, Unasked};
pub use document::Document;
pub use error::Error;
pub use events::{Ended, Events, Told};
pub use handoff::{Offered, Waiting};
pub use http::Http;
pub use listening::{Back, Heard, Listening};
pub use needs::Taker;
pub use presenting::PresentationRequest;
pub use pull::{Asked, Requested};
pub use servers::Servers;
pub use session::{Listed, Session};
pub use system::{system_clock, system_entropy};
pub use writing::Written;

pub use baton_protocol as protocol;
/// What documents are edited with.
pub use yrs;
