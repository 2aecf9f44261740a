//! What crosses a wire in Baton, and the rules over it.
//!
//! This crate never reads a clock, draws a random number, awaits, opens a socket or touches a database. It gives signing inputs and
//! takes signatures; it takes `now` and salts as arguments. ES256 (RFC 7518 §3.4) is the only signature algorithm it knows.
//!
//! Where to look: [`jose`] for tokens as such; [`sd_jwt`], [`credential`] and [`presentation`] for who a device is; [`dpop`] and
//! [`access_token`] for what it may do now; [`device_log`] for who may receive keys; [`session`] and [`handoff`] for what moves.
#![warn(missing_docs)]

pub mod access_token;
pub mod b64;
pub mod credential;
pub mod dcql;
pub mod device_log;
pub mod dpop;
pub mod enrolment;
pub mod event;
pub mod handoff;
pub mod id;
pub mod jose;
pub mod json;
pub mod jwe;
pub mod key;
pub mod manage;
pub mod needs;
pub mod nonce;
pub mod oid4vci;
mod point;
pub mod ports;
pub mod presentation;
pub mod refusal;
pub mod root;
pub mod said;
pub mod sd_jwt;
pub mod secret;
pub mod session;
pub mod signer;
pub mod standing;
pub mod status_list;
pub mod time;
pub mod view;
pub mod wrap;

pub use refusal::Refusal;
