//! One session, a few devices, one broker and a network that loses, repeats and reorders, as a model for `stateright`.
//!
//! Who may write, release or claim, what a handoff becomes and what a statement leads to is decided by `baton_protocol::handoff` alone: the very code
//! the broker and the SDKs run. The model retells what is around it: [`broker`] is one transaction for each request that arrives, [`device`] what an
//! SDK does with what it knows, [`world`] everything that can happen next and the properties. A [`Defect`] switches one rule off, to show that the
//! checker sees it. Not in it: switches, envelopes for newcomers, ends and heartbeats, and devices that break their own rules.

pub mod broker;
pub mod device;
pub mod world;

/// A rule that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Defect {
    /// The broker takes updates of any epoch from anybody who ever held the session.
    NoFence,
    /// A release need not name all of the content.
    ReleaseFromAnywhere,
    /// A revocation leaves the session's key good.
    KeyOutlivesRevocation,
    /// The key that a limited device had stays good when the session leaves it.
    LimitedKeepsKey,
    /// What was offered or accepted never lapses.
    NothingLapses,
    /// A device takes any chain in, whatever it saw before.
    ForksAreTakenIn,
}

/// How far the checker goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Devices: the first two are full, the others limited and full by turns.
    pub devices: u8,
    /// Updates each device writes.
    pub writes: u8,
    /// Handoffs that are offered.
    pub handoffs: u8,
    /// Handoffs that are asked for.
    pub requests: u8,
    /// Steps of time, 31 seconds each.
    pub ticks: u8,
    /// Requests or answers that are lost.
    pub losses: u8,
    /// Requests that arrive twice.
    pub repeats: u8,
    /// Devices that are revoked.
    pub revocations: u8,
    /// Times a device dies, with all it did not keep.
    pub crashes: u8,
    /// Claims.
    pub claims: u8,
    /// Times the broker shows a device another chain than it accepted.
    pub lies: u8,
}
