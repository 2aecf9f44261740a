//! SD-JWT (RFC 9901), compact form, SHA-256 alone: splitting, disclosing, and putting disclosed claims back where they belong.
//!
//! What a claim *means* is not decided here: see [`crate::credential`].

mod compact;
mod disclosure;
mod reveal;

pub use compact::Compact;
pub use disclosure::Disclosure;
pub use reveal::reveal;

/// Most disclosures one SD-JWT may carry.
pub const MAX_DISCLOSURES: usize = 64;
