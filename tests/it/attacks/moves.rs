//! The steps of a handoff, and claims, by who may not or with what does not show it: BRK-01, -02, -03, -04, -05, -06, -09, -18.

use super::{Ask, Rig};
use crate::attacks::pull::offer_as;
use crate::support::Server;
use baton_protocol::handoff::chain::{Act, Statement};
use baton_protocol::handoff::machine::Target;
use baton_protocol::handoff::wire::{Offer, claim_data, offer_data};
use baton_protocol::id::{HandoffId, SessionId};
use baton_protocol::key::hash;
use baton_protocol::session::{Head, Mode};
use baton_protocol::signer::Signer as _;
use baton_protocol::time::Millis;
use baton_sdk::{Device, Session, Waiting, seal};
use baton_service::testing::{ManualClock, On};
use serde_json::{Value, json};

fn id(n: u8) -> HandoffId {
    HandoffId::new(Millis(1_790_000_000_000), [n; 10])
}

impl Rig {
    async fn step(&self, device: &Device, path: &str, scope: &str, body: &Value) -> Ask {
        self.to_broker(device, "POST", path, scope, Some(body)).await
    }

    /// A device's statement on top of the session's chain, whatever the SDK would think of it, and its hash.
    async fn said(&self, device: &Device, session: &Session, epoch: i64, act: Act) -> (String, String) {
        let shown = self.to_broker(&self.laptop, "GET", &format!("/v1/sessions/{}", session.id()), "session:read", None).await;
        let prev = Some(self.allow(&shown).await["chain_head"].as_str().unwrap().to_owned());
        let draft = Statement { v: 1, session: session.id().clone(), epoch, prev, device: device.did().clone(), act }.draft();
        let signature = device.signer().sign_now(draft.signing_input());
        let text = draft.signed(&signature);
        let (_, digest) = Statement::read(&text).unwrap();
        (text, digest)
    }
}

fn sealed_to(device: &Device) -> String {
    seal::seal("a key, as far as the broker can tell", &[(device.did().clone(), device.signer().key().clone())]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn offering() {
    let rig = Rig::new(On::Sqlite).await;
    let session = rig.session().await;
    let to = || Target::Device(rig.tv.did().clone());
    let right = offer_as(&rig.laptop, &id(1), &session, to()).await;
    let another = offer_as(&rig.laptop, &id(2), &session, to()).await;
    let offer = async |device: &Device, body: &Value| rig.step(device, "/v1/handoffs", "handoff:offer", body).await;
    let with = |presentation: Value| json!({"offer": right["offer"], "presentation": presentation});

    rig.refuse(&offer(&rig.laptop, &json!({"offer": right["offer"]})).await, 401, "handoff.presentation", "presentation missing").await;
    let mut bare = offer(&rig.laptop, &right).await;
    bare.headers.retain(|(name, _)| *name != "authorization");
    rig.refuse(&bare, 401, "invalid_token", "missing").await;
    rig.refuse(&rig.step(&rig.laptop, "/v1/handoffs", "session:read", &right).await, 403, "insufficient_scope", "scope").await;
    let (_, digest) = Offer::read(right["offer"].as_str().unwrap()).unwrap();
    let broker = &rig.tv.servers().broker;
    let of_tv = rig.tv.present(broker, &rig.tv.nonce(broker).await.unwrap(), &[offer_data(&digest)], &[]).await.unwrap();
    rig.refuse(&offer(&rig.laptop, &with(of_tv.into())).await, 403, "handoff.binding", "binding").await;
    rig.refuse(&offer(&rig.laptop, &with(another["presentation"].clone())).await, 400, "kb.invalid", "transaction_data").await;
    let made_up = rig.laptop.present(broker, "made up", &[offer_data(&digest)], &[]).await.unwrap();
    rig.refuse(&offer(&rig.laptop, &with(made_up.into())).await, 400, "kb.invalid", "nonce").await;
    // By whom it is not.
    rig.refuse(&offer(&rig.tv, &right).await, 403, "handoff.binding", "binding").await;
    let other = rig.session().await;
    let elsewhere = offer_as(&rig.tv, &id(3), &other, Target::Device(rig.laptop.did().clone())).await;
    rig.refuse(&offer(&rig.tv, &elsewhere).await, 404, "not_found", "not found").await;

    rig.allow(&offer(&rig.laptop, &right).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claiming() {
    let clock = ManualClock::start();
    let mut rig = Rig::at(Server::start_at(On::Sqlite, clock.clock()).await).await;
    let tablet = rig.server.full(&mut rig.person, "Tablet").await;
    let session = rig.session().await;
    let path = format!("/v1/sessions/{}/claim", session.id());
    let claim = async |device: &Device, body: &Value| rig.step(device, &path, "handoff:accept", body).await;
    let broker = &tablet.servers().broker;
    let shown = async |device: &Device, digest: &str| {
        let data = [claim_data(session.id(), session.head(), digest)];
        device.present(broker, &device.nonce(broker).await.unwrap(), &data, &[]).await.unwrap()
    };
    let claims =
        |from: &Head, key_version, envelope: &str| Act::Claim { from: from.clone(), also: None, key_version, envelope: hash(envelope.as_bytes()) };
    let body = async |device: &Device, epoch: i64, act: Act, envelope: &str| {
        let (statement, digest) = rig.said(device, &session, epoch, act).await;
        json!({"statement": statement, "envelope": envelope, "presentation": shown(device, &digest).await})
    };
    let envelope = sealed_to(&tablet);
    let right = body(&tablet, 2, claims(session.head(), 2, &envelope), &envelope).await;
    let with = |name: &str, value: Value| {
        let mut changed = right.clone();
        changed[name] = value;
        changed
    };

    rig.refuse(&claim(&tablet, &right).await, 409, "handoff.taken", "taken").await;
    for _ in 0..12 {
        clock.advance_secs(4);
        rig.server.running.identity.pump().await.unwrap();
    }
    // A proof is fresh, and so is what is presented.
    let right = body(&tablet, 2, claims(session.head(), 2, &envelope), &envelope).await;
    let digest = Statement::read(right["statement"].as_str().unwrap()).unwrap().1;
    rig.refuse(&claim(&tablet, &with("presentation", Value::Null)).await, 401, "handoff.presentation", "presentation missing").await;
    let mut bare = claim(&tablet, &right).await;
    bare.headers.retain(|(name, _)| *name != "authorization");
    rig.refuse(&bare, 401, "invalid_token", "missing").await;
    rig.refuse(&rig.step(&tablet, &path, "session:read", &right).await, 403, "insufficient_scope", "scope").await;
    rig.refuse(&claim(&rig.tv, &right).await, 403, "insufficient_scope", "tier").await;
    let of_laptop = shown(&rig.laptop, &digest).await;
    rig.refuse(&claim(&tablet, &with("presentation", of_laptop.into())).await, 403, "handoff.binding", "binding").await;
    let over_another = shown(&tablet, "another").await;
    rig.refuse(&claim(&tablet, &with("presentation", over_another.into())).await, 400, "kb.invalid", "transaction_data").await;
    // By another device than says it, from elsewhere, at another epoch, with another key version or envelope than it says.
    rig.refuse(&claim(&rig.laptop, &right).await, 403, "handoff.binding", "binding").await;
    let ahead = Head { seq: 9, ..session.head().clone() };
    for (act, epoch) in [(claims(session.head(), 2, &envelope), 3), (claims(session.head(), 3, &envelope), 2)] {
        rig.refuse(&claim(&tablet, &body(&tablet, epoch, act, &envelope).await).await, 400, "handoff.statement", "statement").await;
    }
    let data = [claim_data(session.id(), &ahead, &rig.said(&tablet, &session, 2, claims(&ahead, 2, &envelope)).await.1)];
    let from_ahead = json!({"statement": rig.said(&tablet, &session, 2, claims(&ahead, 2, &envelope)).await.0, "envelope": envelope,
        "presentation": tablet.present(broker, &tablet.nonce(broker).await.unwrap(), &data, &[]).await.unwrap()});
    rig.refuse(&claim(&tablet, &from_ahead).await, 409, "state.conflict", "conflict").await;
    rig.refuse(&claim(&tablet, &with("envelope", sealed_to(&tablet).into())).await, 400, "handoff.statement", "statement").await;
    let mut stranger = rig.server.person().await;
    let foreign = rig.server.full(&mut stranger, "Foreign").await;
    let outside = sealed_to(&foreign);
    let to_outside = body(&tablet, 2, claims(session.head(), 2, &outside), &outside).await;
    rig.refuse(&claim(&tablet, &to_outside).await, 403, "state.recipient", "recipient").await;

    let answer = rig.allow(&claim(&tablet, &right).await).await;
    assert_eq!((answer["session"]["epoch"].as_i64(), answer["session"]["holder"].as_str()), (Some(2), Some(tablet.did().as_str())));
    assert_eq!(rig.allow(&claim(&tablet, &right).await).await["accepted"], answer["accepted"], "said twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn sealing_completing_and_taking_back() {
    let mut rig = Rig::new(On::Sqlite).await;
    let tablet = rig.server.full(&mut rig.person, "Tablet").await;
    let session = rig.session().await;
    let offered = session.offer(Target::Device(rig.tv.did().clone())).await.unwrap();
    let waiting = Waiting::list(&rig.tv).await.unwrap().pop().unwrap();
    let path = |verb: &str| format!("/v1/handoffs/{}/{verb}", offered.id());
    let envelope = sealed_to(&rig.tv);
    let releases = |handoff: &HandoffId, head: &Head, to: &Device| Act::Release {
        handoff: handoff.clone(),
        head: head.clone(),
        key_version: 1,
        envelope: Some(hash(envelope.as_bytes())),
        to: to.did().clone(),
    };
    let seals = async |device: &Device, epoch: i64, act: Act| {
        let (statement, _) = rig.said(device, &session, epoch, act).await;
        let by = if device.did() == rig.laptop.did() { &rig.laptop } else { &tablet };
        rig.step(by, &path("seal"), "handoff:offer", &json!({"statement": statement, "envelope": envelope})).await
    };
    let (handoff, head) = (offered.id(), session.head());
    rig.refuse(&seals(&rig.laptop, 1, releases(handoff, head, &rig.tv)).await, 409, "handoff.state", "state").await;
    waiting.accept().await.unwrap();
    // To somebody else, of another handoff, by somebody else, from another head, at another epoch.
    rig.refuse(&seals(&rig.laptop, 1, releases(handoff, head, &tablet)).await, 400, "handoff.statement", "statement").await;
    rig.refuse(&seals(&rig.laptop, 1, releases(&id(9), head, &rig.tv)).await, 400, "handoff.statement", "statement").await;
    rig.refuse(&seals(&tablet, 1, releases(handoff, head, &rig.tv)).await, 403, "handoff.not_holder", "not the holder").await;
    let behind = Head { seq: head.seq - 1, ..head.clone() };
    rig.refuse(&seals(&rig.laptop, 1, releases(handoff, &behind, &rig.tv)).await, 409, "state.conflict", "conflict").await;
    rig.refuse(&seals(&rig.laptop, 0, releases(handoff, head, &rig.tv)).await, 400, "handoff.epoch", "epoch").await;
    rig.refuse(&seals(&rig.laptop, 2, releases(handoff, head, &rig.tv)).await, 400, "handoff.epoch", "epoch").await;
    rig.allow(&seals(&rig.laptop, 1, releases(handoff, head, &rig.tv)).await).await;

    let takes = async |device: &Device, verb: &str, epoch: i64, act: Act| {
        let (statement, _) = rig.said(device, &session, epoch, act).await;
        let scope = if verb == "complete" { "handoff:accept" } else { "handoff:offer" };
        rig.step(device, &path(verb), scope, &json!({"statement": statement})).await
    };
    let receipt = |handoff: &HandoffId| Act::Receipt { handoff: handoff.clone(), proof: "as far as the broker can tell".into() };
    rig.refuse(&takes(&rig.laptop, "reclaim", 2, Act::Reclaim { handoff: handoff.clone() }).await, 409, "handoff.too_early", "too early").await;
    rig.refuse(&takes(&tablet, "complete", 2, receipt(handoff)).await, 403, "handoff.target", "target").await;
    rig.refuse(&takes(&rig.tv, "complete", 2, receipt(&id(9))).await, 400, "handoff.statement", "statement").await;
    let stale = rig.refuse(&takes(&rig.tv, "complete", 1, receipt(handoff)).await, 409, "handoff.fenced", "fenced").await;
    assert_eq!(stale.body["epoch"], 1);
    for epoch in [3, 0, -1, i64::MAX] {
        rig.refuse(&takes(&rig.tv, "complete", epoch, receipt(handoff)).await, 400, "handoff.epoch", "epoch").await;
    }
    rig.allow(&takes(&rig.tv, "complete", 2, receipt(handoff)).await).await;
}

/// BRK-09, BRK-18: an offer that is over is nobody's to accept, however right what they show.
#[tokio::test(flavor = "multi_thread")]
async fn accepting_what_is_over() {
    for on in [On::Sqlite, On::Postgres] {
        let clock = ManualClock::start();
        let mut rig = Rig::at(Server::start_at(on, clock.clock()).await).await;
        let tablet = rig.server.full(&mut rig.person, "Tablet").await;
        for (over, status, code, reason) in [
            ("nothing", 0, "", ""),
            ("cancelled", 409, "handoff.state", "state"),
            ("completed", 409, "handoff.taken", "taken"),
            ("expired", 410, "handoff.expired", "expired"),
            ("revoked", 409, "handoff.offer_void", "offer void"),
        ] {
            let mut session = rig.session().await;
            let offered = session.offer(Target::AnyOf(vec![rig.tv.did().clone(), tablet.did().clone()])).await.unwrap();
            let waiting = Waiting::list(&rig.tv).await.unwrap().into_iter().find(|one| one.offer().handoff == *offered.id()).unwrap();
            let theirs = Waiting::list(&tablet).await.unwrap().into_iter().find(|one| one.offer().handoff == *offered.id()).unwrap();
            match over {
                "cancelled" => session.cancel(&offered).await.unwrap(),
                "completed" => {
                    theirs.accept().await.unwrap();
                    session.seal(&offered).await.unwrap();
                    theirs.complete().await.unwrap();
                }
                "expired" => {
                    for _ in 0..31 {
                        clock.advance_secs(4);
                        rig.server.running.identity.pump().await.unwrap();
                    }
                }
                "revoked" => assert!(rig.person.revoke(&rig.laptop.enrolled().device_id).await.unwrap()),
                _ => {}
            }
            let shown = rig.tv.present(&rig.tv.servers().broker, &waiting.offer().challenge, &[waiting.data()], &[]).await.unwrap();
            let ask = rig.step(&rig.tv, &format!("/v1/handoffs/{}/accept", offered.id()), "handoff:accept", &json!({"presentation": shown})).await;
            if status == 0 {
                assert_eq!(rig.allow(&ask).await["state"], "accepted");
                session.seal(&offered).await.unwrap();
                waiting.complete().await.unwrap();
            } else {
                rig.refuse(&ask, status, code, reason).await;
            }
        }
    }
}

/// ECC-13: a session's key goes to nobody but live devices of the person, in whatever step it is brought in.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_for_live_devices_of_the_person() {
    let mut rig = Rig::new(On::Sqlite).await;
    let tablet = rig.server.full(&mut rig.person, "Tablet").await;
    let lost = rig.server.full(&mut rig.person, "Lost").await;
    let foreign = rig.server.full(&mut rig.server.person().await, "Foreign").await;
    assert!(rig.person.revoke(&lost.enrolled().device_id).await.unwrap());
    let session = rig.session().await;
    let path = |verb: &str| format!("/v1/sessions/{}/{verb}", session.id());
    let to = |device: &Device| seal::seal("a key", &[&rig.laptop, device].map(|one| (one.did().clone(), one.signer().key().clone()))).unwrap();
    let app = rig.laptop.members().await.unwrap().log.app().to_owned();
    let offered = session.offer(Target::Device(tablet.did().clone())).await.unwrap();
    Waiting::list(&tablet).await.unwrap().pop().unwrap().accept().await.unwrap();
    for (device, is_one) in [(&foreign, false), (&lost, false), (&tablet, true)] {
        let envelope = to(device);
        let digest = hash(envelope.as_bytes());
        let act = Act::Open { app: app.clone(), subject: rig.laptop.subject().into(), mode: Mode::Exclusive, envelope: digest.clone() };
        let new = SessionId::new(rig.server.http().now(), baton_sdk::system_entropy().bytes());
        let draft = Statement { v: 1, session: new, epoch: 1, prev: None, device: rig.laptop.did().clone(), act }.draft();
        let open = draft.clone().signed(&rig.laptop.signer().sign_now(draft.signing_input()));
        let (rekey, _) = rig.said(&rig.laptop, &session, 1, Act::Rekey { key_version: 2, envelope: digest.clone() }).await;
        let only = sealed_to(device);
        let release = Act::Release {
            handoff: offered.id().clone(),
            head: session.head().clone(),
            key_version: 1,
            envelope: Some(hash(only.as_bytes())),
            to: tablet.did().clone(),
        };
        let (release, _) = rig.said(&rig.laptop, &session, 1, release).await;
        for (path, scope, body) in [
            ("/v1/sessions".into(), "session:write", json!({"statement": open, "envelope": envelope})),
            (path("envelopes"), "session:write", json!({"key_version": 1, "envelope": only})),
            (format!("/v1/handoffs/{}/seal", offered.id()), "handoff:offer", json!({"statement": release, "envelope": only})),
            (path("rekey"), "session:write", json!({"statement": rekey, "envelope": envelope})),
        ] {
            let ask = rig.step(&rig.laptop, &path, scope, &body).await;
            // Of the two that write this chain, the first to come wins.
            if is_one && !path.ends_with("rekey") {
                rig.allow(&ask).await;
            } else if !is_one {
                rig.refuse(&ask, 403, "state.recipient", "recipient").await;
            }
        }
    }
}

/// F28: what arrives in another order than it was sent. An acceptance after the revocation that followed it is none; an acknowledgement after the receipt that
/// followed it takes nothing back.
#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_out_of_order() {
    for on in [On::Sqlite, On::Postgres] {
        let mut rig = Rig::new(on).await;
        let tablet = rig.server.full(&mut rig.person, "Tablet").await;
        let mut session = rig.session().await;
        let offered = session.offer(Target::Device(rig.tv.did().clone())).await.unwrap();
        let waiting = Waiting::list(&rig.tv).await.unwrap().pop().unwrap();
        let shown = rig.tv.present(&rig.tv.servers().broker, &waiting.offer().challenge, &[waiting.data()], &[]).await.unwrap();
        let accept = rig.step(&rig.tv, &format!("/v1/handoffs/{}/accept", offered.id()), "handoff:accept", &json!({"presentation": shown})).await;
        assert!(rig.person.revoke(&rig.tv.enrolled().device_id).await.unwrap());
        rig.refuse(&accept, 401, "invalid_token", "standing").await;
        session.write(b"00:44").await.unwrap();

        let offered = session.offer(Target::Device(tablet.did().clone())).await.unwrap();
        let waiting = Waiting::list(&tablet).await.unwrap().pop().unwrap();
        waiting.accept().await.unwrap();
        session.seal(&offered).await.unwrap();
        let head = session.head().clone();
        let path = format!("/v1/sessions/{}/acknowledge", session.id());
        let fetched = rig.step(&tablet, &path, "session:read", &json!({"seq": head.seq, "hash": head.hash})).await;
        let mut there = waiting.complete().await.unwrap();
        rig.allow(&fetched).await;
        assert_eq!((there.is_held(), there.content()), (true, &b"00:44"[..]));
        there.write(b"00:45").await.unwrap();
        session.follow().await.unwrap();
        assert_eq!((session.is_held(), session.content()), (false, &b"00:45"[..]));
    }
}
