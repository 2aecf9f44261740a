//! Baton: the three services put together, their configuration, the command line, and the demo.
//!
//! This crate holds what joins the others and nothing they could hold themselves: services meet through the small traits they declare
//! (`peers`), and only here.

pub mod cli;
pub mod config;
pub mod demo;
mod docs;
mod listener;
pub mod peers;
pub mod person;
pub mod serve;
