//! `schemas/`: JSON Schema (2020-12) of everything that is signed, sealed or sent as one of our own bodies, and the stable codes. `make schemas`
//! writes them; this test fails when they differ from what the code says. Claims are those *after* the signature was checked.

use crate::golden::{golden, read_golden};
use baton_protocol::refusal::Refusal;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};

fn written<T: JsonSchema>(name: &str, title: &str) {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value();
    schema["$id"] = format!("urn:baton:schema:{name}:1").into();
    schema["title"] = title.into();
    golden(&format!("schemas/{name}.json"), &schema);
}

#[test]
fn drift_of_the_wire_forms() {
    use baton_protocol::{
        access_token, credential, device_log, dpop, enrolment, event, handoff, manage, presentation, session, standing, status_list, wrap,
    };
    written::<credential::Visible>("credential", "Device-binding credential: the claims every verifier sees, beside `cnf`, `_sd` and `_sd_alg`");
    written::<credential::Template>("credential-template", "What identity asks the approving client to sign");
    written::<presentation::KeyBinding>("key-binding", "Key-binding JWT (RFC 9901 section 4.3)");
    written::<dpop::Claims>("dpop", "DPoP proof (RFC 9449 section 4.2)");
    written::<access_token::AccessToken>("access-token", "Access token (RFC 9068)");
    written::<manage::ManageToken>("manage-token", "The pages' token for one app's sessions");
    written::<status_list::Claims>("status-list", "Status list token");
    written::<wrap::WrappedRoot>("wrapped-root", "Wrapped copy of a root");
    written::<device_log::Entry>("device-log-entry", "Entry of a device log");
    written::<enrolment::DeviceDetails>("enrolment-details", "The one authorization_details of type baton_device");
    written::<enrolment::Shown>("enrolment-shown", "An enrolment request as the approving page shows it");
    written::<enrolment::Offer>("enrolment-offer", "What the approving page is asked to sign");
    written::<enrolment::Approval>("enrolment-approval", "What it sends back");
    written::<enrolment::AccountProof>("account-proof", "Proof at sign-up that the client holds the root");
    written::<enrolment::RootStatement>("root-statement", "The account key's statement of the root that replaces its own");
    written::<enrolment::AppChange>("root-change", "What identity asks to be signed for one app when the root is replaced");
    written::<enrolment::AppSigned>("root-change-signed", "What goes back for one app when the root is replaced");
    written::<device_log::RootConsent>("root-consent", "A full device's agreement that its log goes on under another root");
    written::<enrolment::IssuerStatement>("issuer-statement", "The account key's statement of an app's issuer DID");
    written::<handoff::wire::Offer>("handoff-offer", "Offer of a handoff");
    written::<handoff::wire::Agreed<'_>>("transaction-data", "What a presentation agrees to on the way of a handoff (OpenID4VP 1.0 section 8.4)");
    written::<handoff::chain::Statement>("statement", "Statement of a session's chain");
    written::<handoff::chain::Accepted>("accepted", "The broker's acceptance of a statement");
    written::<session::KeyStatement>("session-key", "A session key, inside its envelope");
    written::<session::SealedUpdate>("sealed-update", "A sealed update as the broker stores it");
    written::<event::Frame>("event-frame", "One frame of the event stream");
    written::<event::Said>("stream-said", "What a device says on its event stream");
    written::<standing::Feed>("standing-feed", "What identity tells verifier and broker");
}

#[test]
fn drift_of_the_stable_codes() {
    let mut codes: Vec<_> = Refusal::all().iter().map(Refusal::code).collect();
    codes.sort_unstable();
    codes.dedup();
    golden("schemas/codes.json", &json!({"title": "Stable codes of Baton's answers", "codes": codes}));
}

fn fixture(name: &str) -> Value {
    read_golden(&format!("fixtures/{name}-v1.json"))
}

/// The claims of a JWS, or of the last JWT of an SD-JWT.
fn claims(token: &Value) -> Value {
    let payload = token.as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&baton_protocol::b64::decode(payload).unwrap()).unwrap()
}

/// Somebody else's validator finds what stands in fixtures/ to be as schemas/ say, and without any one required member not.
#[test]
fn the_golden_forms_are_as_the_schemas_say() {
    let (wrap, shown, handoff) = (fixture("wrap"), fixture("presentation"), fixture("handoff"));
    let kb: Value = shown["presentation"].as_str().unwrap().rsplit('~').next().unwrap().into();
    let entries = shown["device_log"].as_array().unwrap().iter().map(|entry| ("device-log-entry", claims(entry)));
    let statements = ["open", "release", "receipt", "reclaim"].map(|kind| ("statement", claims(&handoff[kind])));
    let others = [
        ("wrapped-root", wrap["wrapped_for_passkey"].clone()),
        ("wrapped-root", wrap["wrapped_for_recovery"].clone()),
        ("credential", claims(&shown["credential"])),
        ("handoff-offer", claims(&shown["offer"])),
        ("key-binding", claims(&kb)),
        ("session-key", claims(&handoff["key_statement"])),
        ("sealed-update", handoff["update"].clone()),
    ];
    for (name, instance) in entries.chain(statements).chain(others) {
        let schema = read_golden(&format!("schemas/{name}.json"));
        let validator = jsonschema::validator_for(&schema).unwrap();
        if let Err(why) = validator.validate(&instance) {
            panic!("{name}: {why} in {instance}");
        }
        for required in schema["required"].as_array().unwrap() {
            let mut without = instance.clone();
            without.as_object_mut().unwrap().remove(required.as_str().unwrap()).unwrap();
            assert!(!validator.is_valid(&without), "{name} without {required}");
        }
    }
}
