//! The SDK's tests that need nothing but files: golden forms, schemas, and what the TypeScript SDK wrote.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod document;
mod fixtures;
mod golden;
mod root_change;
mod schemas;
mod typescript;
