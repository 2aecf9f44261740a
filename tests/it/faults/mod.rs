//! faults.md with a real process that is killed.

mod checker;
mod kill;
