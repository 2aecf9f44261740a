//! Checked over everything that can happen within the bounds; each property has a defect that it catches. `make model` goes further.

use baton_model::world::Handing;
use baton_model::{Bounds, Defect};
use stateright::{Checker as _, Model as _};

/// Two devices, a write of each, a handoff, a claim, and time for everything but an offer to lapse.
const SMALL: Bounds =
    Bounds { devices: 2, writes: 1, handoffs: 1, requests: 0, ticks: 2, losses: 0, repeats: 0, revocations: 0, crashes: 0, claims: 1, lies: 0 };

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
fn with_a_revocation_and_a_loss() {
    holds(Bounds { revocations: 1, losses: 1, ticks: 1, ..SMALL });
}

#[test]
fn with_a_revocation_and_a_repeat() {
    holds(Bounds { revocations: 1, repeats: 1, ..SMALL });
}

#[test]
fn with_losses_and_time() {
    holds(Bounds { losses: 1, ticks: 3, ..SMALL });
}

#[test]
fn with_a_crash() {
    holds(Bounds { crashes: 1, repeats: 1, ..SMALL });
}

#[test]
fn with_a_third_device_that_is_limited() {
    holds(Bounds { devices: 3, revocations: 1, ..SMALL });
}

/// All the time that an offer has, and more.
#[test]
fn with_an_offer_nobody_takes() {
    holds(Bounds { ticks: 5, claims: 0, ..SMALL });
}

#[test]
fn with_a_limited_device_that_hands_on() {
    holds(Bounds { devices: 3, handoffs: 2, ticks: 1, claims: 0, ..SMALL });
}

/// Asked for, agreed to, declined, withdrawn, overtaken by an offer to the other, never answered.
#[test]
fn with_a_request() {
    holds(Bounds { requests: 1, ticks: 4, claims: 0, ..SMALL });
    holds(Bounds { requests: 1, devices: 3, ticks: 1, claims: 0, ..SMALL });
}

#[test]
fn with_a_request_and_what_goes_wrong() {
    holds(Bounds { requests: 1, handoffs: 0, revocations: 1, losses: 1, ticks: 1, ..SMALL });
    holds(Bounds { requests: 1, handoffs: 0, crashes: 1, repeats: 1, claims: 0, ..SMALL });
}

#[test]
fn with_two_handoffs() {
    holds(Bounds { handoffs: 2, claims: 0, ..SMALL });
}

#[test]
fn with_a_broker_that_lies() {
    holds(Bounds { lies: 1, repeats: 1, ..SMALL });
}

#[test]
fn every_property_sees_its_defect() {
    caught(Bounds { losses: 1, ..SMALL }, Defect::NoFence, "one writer in each epoch");
    caught(Bounds { losses: 1, ..SMALL }, Defect::ReleaseFromAnywhere, "nothing acknowledged is lost");
    caught(Bounds { revocations: 1, ..SMALL }, Defect::KeyOutlivesRevocation, "nobody opens what is sealed once they are out");
    caught(Bounds { devices: 3, handoffs: 2, claims: 0, ..SMALL }, Defect::LimitedKeepsKey, "nobody opens what is sealed once they are out");
    caught(SMALL, Defect::NothingLapses, "every handoff ends");
    caught(Bounds { lies: 1, ..SMALL }, Defect::ForksAreTakenIn, "who saw a fork does nothing any more");
}

/// `make model`: three devices, with a revocation and a loss.
#[test]
#[ignore = "minutes: make model"]
fn three_devices_further() {
    holds(Bounds { devices: 3, losses: 1, revocations: 1, ticks: 2, ..SMALL });
}

/// `make model`: four devices, of which one is limited.
#[test]
#[ignore = "minutes: make model"]
fn four_devices() {
    holds(Bounds { devices: 4, revocations: 1, ..SMALL });
}

/// `make model`: two devices, and everything that goes wrong at once.
#[test]
#[ignore = "minutes: make model"]
fn everything_at_once() {
    holds(Bounds { losses: 1, repeats: 1, revocations: 1, crashes: 1, ..SMALL });
}
