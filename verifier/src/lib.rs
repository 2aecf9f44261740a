//! Verifier: a device presents its credential with a fresh proof by its key and gets a token bound to the same key; relying services
//! ask what a presentation is worth.
//!
//! Issuer signatures that were verified may be remembered, dates and status never.

mod gate;
mod request_certificate;
mod routes;
mod settled;
mod state;
mod store;

#[cfg(feature = "w3c")]
pub use baton_w3c::{Policy, Trust};
pub use request_certificate::RequestCertificate;
pub use routes::router;
pub use state::{Config, RelyingService, SCHEMA, Verifier, migrations};
