//! faults.md with real processes that are killed or stopped.

pub mod checker;
mod clock;
mod kill;
mod lost_reply;
mod middle;
mod paused;
mod process;
mod streams;
