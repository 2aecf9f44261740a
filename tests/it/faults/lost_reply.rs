//! The server dies after a commit and before its answer (F03, F07, F09, F10, F26): the device asks again, and what it asked for was done once.

use super::process::{Process, device};
use crate::support::http;
use baton::demo::{SCOPES, claims};
use baton::person::{Person, code};
use baton_protocol::enrolment::Kind;
use baton_protocol::handoff::machine::Target;
use baton_sdk::enroll::Enrolling;
use baton_sdk::http::{Request, form};
use baton_sdk::keystore::{Kept, Keystore};
use baton_sdk::{Asked, Device, Error, Servers, Session, Waiting, Written, system_entropy};

#[tokio::test(flavor = "multi_thread")]
async fn of_each_step_of_a_handoff() {
    let mut process = Process::start().await;
    let mut person = Person::new(&process.url(), system_entropy()).unwrap();
    person.sign_up().await.unwrap();
    let (laptop, tablet) = (device(&process, &mut person, "Laptop").await, device(&process, &mut person, "Tablet").await);
    let mut session = Session::open(&laptop, b"0").await.unwrap();

    process.dying_after("POST /broker/v1/sessions/*/updates").await;
    assert!(session.write(b"43").await.is_err());
    process.died_and_came_back().await;
    assert!(matches!(session.write(b"44").await.unwrap(), Written::Session(_)));
    let read = Session::load(&tablet, session.id()).await.unwrap();
    assert_eq!((read.content(), read.head().seq), (&b"44"[..], 3), "I2, I11: both are there, neither twice");

    let to = || Target::Device(tablet.did().clone());
    process.dying_after("POST /broker/v1/handoffs").await;
    assert!(session.offer(to()).await.is_err());
    process.died_and_came_back().await;
    let waiting = Waiting::list(&tablet).await.unwrap();
    assert_eq!(waiting.len(), 1, "the offer stands, once");
    let offered = session.offer(to()).await.unwrap();
    let mut waiting = Waiting::list(&tablet).await.unwrap();
    assert_eq!(waiting.len(), 1, "I11: offering again is the same offer");
    let waiting = waiting.pop().unwrap();

    process.dying_after("POST /broker/v1/handoffs/*/accept").await;
    assert!(waiting.accept().await.is_err());
    process.died_and_came_back().await;
    waiting.accept().await.unwrap();

    process.dying_after("POST /broker/v1/handoffs/*/seal").await;
    assert!(session.seal(&offered).await.is_err());
    process.died_and_came_back().await;
    assert!(waiting.is_sealed().await.unwrap(), "the release stands");

    process.dying_after("POST /broker/v1/handoffs/*/complete").await;
    assert!(waiting.complete().await.is_err());
    process.died_and_came_back().await;
    let mut there = waiting.complete().await.unwrap();
    assert_eq!((there.epoch(), there.content(), there.is_held()), (2, &b"44"[..], true), "I1, I11");
    assert!(matches!(there.write(b"on").await.unwrap(), Written::Session(_)));
    assert!(matches!(session.write(b"late").await.unwrap(), Written::Branch { epoch: 2 }), "I1: the old holder is fenced");

    // Asked for back, and agreed to; then it stays there after all.
    session.follow().await.unwrap();
    process.dying_after("POST /broker/v1/sessions/*/request").await;
    assert!(session.request().await.is_err());
    process.died_and_came_back().await;
    let requested = session.request().await.unwrap();
    let asked = Asked::list(&tablet).await.unwrap();
    assert_eq!(asked.len(), 1, "I11: asking again is the same request");
    process.dying_after("POST /broker/v1/handoffs").await;
    assert!(there.agree(&asked[0]).await.is_err());
    process.died_and_came_back().await;
    let agreed = there.agree(&asked[0]).await.unwrap();
    assert_eq!((agreed.id(), requested.offered().await.unwrap().unwrap().offer().handoff.clone()), (requested.id(), requested.id().clone()));
    there.cancel(&agreed).await.unwrap();

    person.revoke(&tablet.enrolled().device_id).await.unwrap();
    let mut session = Session::load(&laptop, session.id()).await.unwrap();
    process.dying_after("POST /broker/v1/sessions/*/claim").await;
    assert!(session.claim().await.is_err());
    process.died_and_came_back().await;
    let mut session = Session::load(&laptop, session.id()).await.unwrap();
    if !session.is_held() {
        session.claim().await.unwrap();
    }
    assert_eq!(session.content(), b"on");
    assert!(matches!(session.write(b"home").await.unwrap(), Written::Session(_)));
    process.checked().await;
}

/// One exchange of this very presentation, under a fresh proof.
async fn exchange(device: &Device, presentation: &str) -> Result<(), Error> {
    let Servers { verifier, broker, .. } = device.servers();
    let pairs = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token_type", "urn:baton:token-type:device-presentation"),
        ("subject_token", presentation),
        ("audience", broker),
        ("scope", "session:read"),
    ];
    let body = Some(("application/x-www-form-urlencoded", form(&pairs)));
    let request = Request { method: "POST", url: format!("{verifier}/token"), service: verifier, token: None, body };
    device.http().proven(&request, device.signer()).await.map(|_| ())
}

/// F09: the presentation's nonce is consumed and no token came: the same presentation is worth nothing (I3), a new one everything.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_token_exchange() {
    let mut process = Process::start().await;
    let mut person = Person::new(&process.url(), system_entropy()).unwrap();
    person.sign_up().await.unwrap();
    let laptop = device(&process, &mut person, "Laptop").await;
    let (verifier, broker) = (laptop.servers().verifier.clone(), laptop.servers().broker.clone());
    let nonce = laptop.nonce(&verifier).await.unwrap();
    let shown = laptop.present(&verifier, &nonce, &[], &[]).await.unwrap();
    process.dying_after("POST /verifier/token").await;
    assert!(exchange(&laptop, &shown).await.is_err());
    process.died_and_came_back().await;
    assert!(exchange(&laptop, &shown).await.unwrap_err().is("kb.replay"), "I3");
    assert!(laptop.token(&broker, "session:read", None).await.is_ok(), "starting anew is all it takes");
    process.checked().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_approval_and_of_a_revocation() {
    let mut process = Process::start().await;
    let mut person = Person::new(&process.url(), system_entropy()).unwrap();
    person.sign_up().await.unwrap();
    let kept = Kept::fresh(Servers::at(&process.url()), "baton-cli", &system_entropy());
    let (mut asking, screen) = Enrolling::elsewhere(http(), Keystore::memory(), kept, &claims("Television", Kind::Tv), SCOPES).await.unwrap();
    let shown = person.open_elsewhere(&screen.user_code).await.unwrap();
    let root = person.unlock().await.unwrap();
    let offer = person.offer(&root, &shown, Some(&screen.check_code)).await.unwrap();
    let approval = root.approve(&shown, &offer, &system_entropy()).unwrap();

    process.dying_after("POST /identity/v1/requests/*/approve").await;
    assert!(person.post_approval(&shown, &approval).await.is_err());
    process.died_and_came_back().await;
    person.post_approval(&shown, &approval).await.unwrap();

    process.dying_after("POST /identity/token").await;
    assert!(asking.redeem(None).await.is_err());
    process.died_and_came_back().await;
    asking.redeem(None).await.unwrap();
    let tv = asking.into_device().unwrap();

    process.dying_after("POST /identity/v1/devices/*/revoke").await;
    assert!(person.revoke(&tv.enrolled().device_id).await.is_err());
    process.died_and_came_back().await;
    let refused = tv.members().await.unwrap_err();
    assert!(refused.is("status.revoked"), "I4: revoked, though nobody was told: {refused}");
    let again = person.revoke(&tv.enrolled().device_id).await;
    assert!(again.as_ref().is_ok() || again.as_ref().is_err_and(|error| code(error).is_some()), "I11: {again:?}");
    process.checked().await;
}
