//! Checked over everything that can happen within the bounds; each property has a defect that it catches. `make model` goes further.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use baton_model::world::Handing;
use baton_model::{Bounds, Defect};
use stateright::{Checker as _, Model as _};

/// Two devices, and one of everything that goes wrong.
const SMALL: Bounds = Bounds { devices: 2, writes: 1, handoffs: 1, ticks: 2, losses: 1, repeats: 1, revocations: 1, crashes: 0, claims: 1, lies: 0 };

fn checked(bounds: Bounds, defect: Option<Defect>) -> impl stateright::Checker<Handing> {
    let checker = Handing { bounds, defect }.checker().threads(2).spawn_dfs().join();
    println!("{} states", checker.unique_state_count());
    checker
}

fn holds(bounds: Bounds) {
    checked(bounds, None).assert_properties();
}

/// The defect is found, by this property.
fn caught(bounds: Bounds, defect: Defect, by: &'static str) {
    let checker = Handing { bounds, defect: Some(defect) }.checker().threads(2).spawn_bfs().join();
    assert!(checker.discovery(by).is_some(), "{defect:?} was not seen by: {by}");
}

#[test]
fn with_loss_repeats_and_a_revocation() {
    holds(SMALL);
}

#[test]
fn with_crashes() {
    holds(Bounds { crashes: 1, revocations: 0, repeats: 0, ..SMALL });
}

#[test]
fn with_a_third_device_that_is_limited() {
    holds(Bounds { devices: 3, losses: 0, repeats: 1, ticks: 1, ..SMALL });
}

#[test]
fn with_two_handoffs() {
    holds(Bounds { handoffs: 2, revocations: 0, losses: 1, repeats: 0, claims: 0, ..SMALL });
}

#[test]
fn with_a_broker_that_lies() {
    holds(Bounds { lies: 1, losses: 0, repeats: 0, revocations: 0, ..SMALL });
}

#[test]
fn every_property_sees_its_defect() {
    caught(Bounds { revocations: 0, ..SMALL }, Defect::NoFence, "one writer in each epoch");
    caught(Bounds { revocations: 0, ..SMALL }, Defect::ReleaseFromAnywhere, "nothing acknowledged is lost");
    caught(SMALL, Defect::KeyOutlivesRevocation, "a revoked device opens nothing sealed after it was");
    caught(SMALL, Defect::NothingLapses, "every handoff ends");
    caught(Bounds { lies: 1, ..SMALL }, Defect::ForksAreTakenIn, "who saw a fork does nothing any more");
}

/// `make model`: as far as an hour goes. Four devices, and more of everything.
#[test]
#[ignore = "long: make model"]
fn further() {
    let devices = std::env::var("BATON_MODEL_DEVICES").ok().and_then(|given| given.parse().ok()).unwrap_or(3);
    holds(Bounds { devices, writes: 1, handoffs: 2, ticks: 3, losses: 1, repeats: 1, revocations: 1, crashes: 1, claims: 1, lies: 0 });
}
