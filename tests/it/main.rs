//! Whole-system tests, one binary: stories on SQLite and on PostgreSQL (`make test` starts the latter), attacks, faults.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod account;
mod anew;
mod attacks;
mod compaction;
mod documents;
mod faults;
mod forks;
mod handing;
mod late_edits;
mod layering;
mod lifecycle;
mod listening;
mod live;
mod manage;
mod merging;
mod middle;
mod presence;
mod privacy;
mod python;
mod recorded;
mod root;
mod rotation;
mod simulation;
mod store;
mod story;
mod support;
mod who_is_out;
mod writing;
