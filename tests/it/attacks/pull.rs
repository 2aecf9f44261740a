//! A session asked for by who may not, and a request answered by who may not (docs/protocol.md §8).

use super::{Rig, race};
use baton_protocol::handoff::machine::Target;
use baton_protocol::handoff::wire::{Offer, offer_data};
use baton_protocol::id::HandoffId;
use baton_protocol::time::Millis;
use baton_sdk::protocol::b64;
use baton_sdk::{Asked, Device, Session};
use baton_service::testing::On;
use serde_json::{Value, json};

fn id(n: u8) -> HandoffId {
    HandoffId::new(Millis(1_790_000_000_000), [n; 10])
}

/// An offer by a device as the handoff of this id, with its presentation, whatever the SDK would think of it.
pub(super) async fn offer_as(device: &Device, handoff: &HandoffId, session: &Session, to: Target) -> Value {
    let challenge = b64::encode([7; 16]);
    let offer = Offer { v: 1, handoff: handoff.clone(), session: session.id().clone(), epoch: 1, from: device.did().clone(), to, challenge };
    let draft = offer.draft();
    let signature = device.signer().sign_now(draft.signing_input());
    let text = draft.signed(&signature);
    let (_, hash) = Offer::read(&text).unwrap();
    let broker = &device.servers().broker;
    let nonce = device.nonce(broker).await.unwrap();
    let shown = device.present(broker, &nonce, &[offer_data(&hash)], &[]).await.unwrap();
    json!({"offer": text, "presentation": shown})
}

#[tokio::test(flavor = "multi_thread")]
async fn asking() {
    let mut rig = Rig::new(On::Sqlite).await;
    let phone = rig.server.full(&mut rig.person, "Phone").await;
    let session = rig.session().await;
    let path = format!("/v1/sessions/{}/request", session.id());
    let body = json!({"handoff": id(1)});
    let ask = async |device: &Device, body: &Value| rig.to_broker(device, "POST", &path, "handoff:accept", Some(body)).await;

    rig.refuse(&ask(&rig.tv, &body).await, 403, "insufficient_scope", "tier").await;
    let mut bare = ask(&phone, &body).await;
    bare.headers.retain(|(name, _)| *name != "authorization");
    rig.refuse(&bare, 401, "invalid_token", "missing").await;
    let read_only = rig.to_broker(&phone, "POST", &path, "session:read", Some(&body)).await;
    rig.refuse(&read_only, 403, "insufficient_scope", "scope").await;
    rig.refuse(&ask(&rig.laptop, &body).await, 409, "handoff.state", "state").await;
    for wrong in [json!({}), json!({"handoff": "hof_1"}), json!({"handoff": id(1), "from": phone.did()})] {
        rig.refuse(&ask(&phone, &wrong).await, 400, "input.invalid", "invalid").await;
    }
    // Somebody else entirely, and a device from which the sessions of the others are kept, see what an unknown id shows.
    let mut stranger = rig.server.person().await;
    let foreign = rig.server.full(&mut stranger, "Foreign").await;
    let unknown = rig.refuse(&ask(&foreign, &body).await, 404, "not_found", "not found").await;
    let page = crate::manage::page(&rig.server, phone.subject());
    let switches = format!("/v1/manage/devices/{}/switches", phone.did());
    page.tell(&switches, &json!({"sync": false})).await.unwrap();
    assert_eq!(rig.refuse(&ask(&phone, &body).await, 404, "not_found", "not found").await.body, unknown.body);
    page.tell(&switches, &json!({"sync": true})).await.unwrap();

    assert_eq!(rig.allow(&ask(&phone, &body).await).await["state"], "requested");
    assert_eq!(rig.allow(&ask(&phone, &body).await).await["state"], "requested", "twice is once");
    // Its sync switched off, it asks for nothing any more.
    page.tell(&switches, &json!({"sync": false})).await.unwrap();
    assert!(Asked::list(&rig.laptop).await.unwrap().is_empty());
    page.tell(&switches, &json!({"sync": true})).await.unwrap();
    let over = rig.allow(&rig.to_broker(&phone, "GET", &format!("/v1/handoffs/{}", id(1)), "session:read", None).await).await;
    assert_eq!((&over["state"], &over["reason"]), (&json!("void"), &json!("not_synced")));
}

#[tokio::test(flavor = "multi_thread")]
async fn answering() {
    let mut rig = Rig::new(On::Sqlite).await;
    let (phone, tablet) = (rig.server.full(&mut rig.person, "Phone").await, rig.server.full(&mut rig.person, "Tablet").await);
    let session = rig.session().await;
    let request = format!("/v1/sessions/{}/request", session.id());
    let ask = async |device: &Device, n: u8| rig.to_broker(device, "POST", &request, "handoff:accept", Some(&json!({"handoff": id(n)}))).await;
    rig.allow(&ask(&phone, 1).await).await;
    rig.refuse(&ask(&tablet, 1).await, 409, "handoff.exists", "id already used").await;
    rig.refuse(&ask(&tablet, 2).await, 409, "handoff.state", "state").await;

    let offers = async |device: &Device, to: &Device| {
        let body = offer_as(device, &id(1), &session, Target::Device(to.did().clone())).await;
        rig.to_broker(device, "POST", "/v1/handoffs", "handoff:offer", Some(&body)).await
    };
    rig.refuse(&offers(&tablet, &phone).await, 409, "handoff.fenced", "fenced").await;
    rig.refuse(&offers(&phone, &phone).await, 409, "handoff.fenced", "fenced").await;
    rig.refuse(&offers(&rig.laptop, &tablet).await, 403, "handoff.target", "target").await;
    let path = |verb: &str| format!("/v1/handoffs/{}/{verb}", id(1));
    // Nothing is accepted that was not offered; it is the holder's to decline, and the asker's to withdraw.
    let shown = json!({"presentation": phone.present(&phone.servers().broker, "a challenge of its own", &[], &[]).await.unwrap()});
    rig.refuse(&rig.to_broker(&phone, "POST", &path("accept"), "handoff:accept", Some(&shown)).await, 409, "handoff.state", "state").await;
    for device in [&phone, &tablet] {
        rig.refuse(&rig.to_broker(device, "POST", &path("decline"), "handoff:accept", Some(&json!({}))).await, 403, "handoff.target", "target").await;
    }
    for device in [&*rig.laptop, &tablet] {
        rig.refuse(&rig.to_broker(device, "POST", &path("cancel"), "handoff:offer", None).await, 403, "handoff.target", "target").await;
    }
    assert_eq!(rig.allow(&offers(&rig.laptop, &phone).await).await["state"], "offered");
}

/// Whom the person named may have it without sync; who named itself may not, however far it came before the sync was switched off.
#[tokio::test(flavor = "multi_thread")]
async fn kept_away_after_it_was_agreed() {
    let mut rig = Rig::new(On::Sqlite).await;
    let phone = rig.server.full(&mut rig.person, "Phone").await;
    let mut session = rig.session().await;
    let requested = Session::load(&phone, session.id()).await.unwrap().request().await.unwrap();
    let asked = Asked::list(&rig.laptop).await.unwrap().pop().unwrap();
    let offered = session.agree(&asked).await.unwrap();
    let waiting = requested.offered().await.unwrap().unwrap();
    waiting.accept().await.unwrap();
    let page = crate::manage::page(&rig.server, phone.subject());
    let switches = format!("/v1/manage/devices/{}/switches", phone.did());
    page.tell(&switches, &json!({"sync": false})).await.unwrap();
    assert!(session.seal(&offered).await.unwrap_err().is("log.not_member"));
    page.tell(&switches, &json!({"sync": true})).await.unwrap();
    session.seal(&offered).await.unwrap();
    assert!(waiting.complete().await.unwrap().is_held());
}

/// [R]: of many that ask at once one is asked for; the holder's offer to another device comes through whichever came first.
async fn at_once(on: On) {
    let mut rig = Rig::new(on).await;
    let (phone, tablet) = (rig.server.full(&mut rig.person, "Phone").await, rig.server.full(&mut rig.person, "Tablet").await);
    let session = rig.session().await;
    let request = format!("/v1/sessions/{}/request", session.id());
    let mut copies = Vec::new();
    for n in 0..8 {
        for (device, own) in [(&phone, 0), (&tablet, 50)] {
            let body = json!({"handoff": id(own + n)});
            copies.push(rig.to_broker(device, "POST", &request, "handoff:accept", Some(&body)).await);
        }
    }
    let answers = race(copies).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert!(answers.iter().all(|answer| answer.status == 201 || answer.code == "handoff.state"));

    let body = offer_as(&rig.laptop, &id(99), &session, Target::Device(rig.tv.did().clone())).await;
    let offer = rig.to_broker(&rig.laptop, "POST", "/v1/handoffs", "handoff:offer", Some(&body)).await;
    let asked = Asked::list(&rig.laptop).await.unwrap().pop().unwrap();
    let asker = if asked.by() == phone.did() { &phone } else { &tablet };
    let late = rig.to_broker(asker, "POST", &request, "handoff:accept", Some(&json!({"handoff": id(100)}))).await;
    let (offered, late) = tokio::join!(offer.send(), late.send());
    assert_eq!((offered.status, late.code.as_str()), (201, "handoff.state"), "{} {}", offered.body, late.body);
    assert!(Asked::list(&rig.laptop).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn at_once_on_sqlite() {
    at_once(On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_once_on_postgres() {
    at_once(On::Postgres).await;
}
