//! Strict compact JWS (RFC 7515, RFC 8725): ES256 alone, one `typ` for each use, no keys or URLs taken from headers.

mod draft;
mod header;
mod jws;
mod memory;

pub use draft::Draft;
pub use header::{Header, Typ};
pub use jws::{MAX_TOKEN, Unverified, Verified};
pub use memory::SignatureMemory;
