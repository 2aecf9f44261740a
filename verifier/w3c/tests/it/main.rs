//! What holds, and what is refused beside it with the attacked bit alone changed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod fetching;
mod issuers;
mod presentations;
mod proofs;
mod sd_jwt;
mod statuses;
mod support;
mod tokens;
