//! The broker's rows. Functions take the transaction; a guard that failed is `None` or false, never an error.

pub mod compaction;
pub mod events;
pub mod everything;
pub mod free;
pub mod handoffs;
pub mod sessions;
pub mod switches;
pub mod updates;
