//! What each of Baton's three services needs to be a server, and nothing that only one of them uses.
//!
//! A request goes: [`edge`] bounds it, [`guard`] checks token and proof, a handler opens a transaction on [`database`], admits the caller in
//! it ([`guard::Candidate::admit`]), decides, writes once, answers. Refusals become answers in [`problem`] and events in [`edge`].

pub mod audit;
pub mod base;
pub mod clock;
pub mod database;
pub mod edge;
pub mod extract;
#[cfg(debug_assertions)]
mod failpoint;
pub mod form;
pub mod gather;
pub mod guard;
pub mod key_ring;
pub mod limits;
pub mod many;
pub mod nonces;
pub mod once;
pub mod problem;
pub mod standing;
#[cfg(feature = "testing")]
pub mod testing;
pub mod verified;
#[cfg(feature = "testing")]
pub mod witness;
