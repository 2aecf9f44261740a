//! `schemas/`: JSON Schema (2020-12) of everything that is signed, sealed or sent as one of our own bodies, and the stable codes. `make schemas`
//! writes them; this test fails when they differ from what the code says. Claims are those *after* the signature was checked.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod golden;

use baton_protocol::refusal::Refusal;
use golden::golden;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::json;

fn written<T: JsonSchema>(name: &str, title: &str) {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value();
    schema["$id"] = format!("urn:baton:schema:{name}:1").into();
    schema["title"] = title.into();
    golden(&format!("schemas/{name}.json"), &schema);
}

#[test]
fn drift_of_the_wire_forms() {
    use baton_protocol::{access_token, credential, device_log, dpop, enrolment, event, handoff, presentation, session, standing, status_list, wrap};
    written::<credential::Visible>("credential", "Device-binding credential: the claims every verifier sees, beside `cnf`, `_sd` and `_sd_alg`");
    written::<credential::Template>("credential-template", "What identity asks the approving client to sign");
    written::<presentation::KeyBinding>("key-binding", "Key-binding JWT (RFC 9901 section 4.3)");
    written::<dpop::Claims>("dpop", "DPoP proof (RFC 9449 section 4.2)");
    written::<access_token::AccessToken>("access-token", "Access token (RFC 9068)");
    written::<status_list::Claims>("status-list", "Status list token");
    written::<wrap::WrappedRoot>("wrapped-root", "Wrapped copy of a root");
    written::<device_log::Entry>("device-log-entry", "Entry of a device log");
    written::<enrolment::DeviceDetails>("enrolment-details", "The one authorization_details of type baton_device");
    written::<enrolment::Shown>("enrolment-shown", "An enrolment request as the approving page shows it");
    written::<enrolment::Offer>("enrolment-offer", "What the approving page is asked to sign");
    written::<enrolment::Approval>("enrolment-approval", "What it sends back");
    written::<enrolment::AccountProof>("account-proof", "Proof at sign-up that the client holds the root");
    written::<enrolment::IssuerStatement>("issuer-statement", "The account key's statement of an app's issuer DID");
    written::<handoff::wire::Offer>("handoff-offer", "Offer of a handoff");
    written::<handoff::chain::Statement>("statement", "Statement of a session's chain");
    written::<handoff::chain::Accepted>("accepted", "The broker's acceptance of a statement");
    written::<session::KeyStatement>("session-key", "A session key, inside its envelope");
    written::<session::SealedUpdate>("sealed-update", "A sealed update as the broker stores it");
    written::<event::Frame>("event-frame", "One frame of the event stream");
    written::<standing::Feed>("standing-feed", "What identity tells verifier and broker");
}

#[test]
fn drift_of_the_stable_codes() {
    let mut codes: Vec<_> = Refusal::all().iter().map(Refusal::code).collect();
    codes.sort_unstable();
    codes.dedup();
    golden("schemas/codes.json", &json!({"title": "Stable codes of Baton's answers", "codes": codes}));
}
