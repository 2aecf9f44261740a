//! How services reach each other: `local`, a direct call in one process.

pub mod local;
