//! Whole-system stories, one binary. Each runs on SQLite and on PostgreSQL; `make test` starts the latter.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod story;
mod support;
