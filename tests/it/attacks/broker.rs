//! Section K over HTTP.

use super::{Rig, race};
use crate::support::posts;
use baton_protocol::handoff::machine::Target;
use baton_protocol::session::{Kind, Place, SealedUpdate};
use baton_protocol::signer::Signer as _;
use baton_sdk::{Device, Session, Waiting};
use baton_service::testing::On;
use serde_json::{Value, json};

async fn offered(rig: &Rig, session: &Session, to: Target) -> (String, Waiting, baton_sdk::Offered) {
    let offered = session.offer(to).await.unwrap();
    let path = format!("/v1/handoffs/{}/accept", offered.id());
    let waiting = Waiting::list(&rig.tv).await.unwrap().pop().unwrap();
    (path, waiting, offered)
}

async fn presentation(rig: &Rig, waiting: &Waiting, nonce: &str, data: bool) -> String {
    let data = if data { vec![waiting.data()] } else { Vec::new() };
    rig.tv.present(&rig.tv.servers().broker, nonce, &data, &[]).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn accepting() {
    let mut rig = Rig::new(On::Sqlite).await;
    let tablet = rig.server.full(&mut rig.person, "Tablet").await;
    let session = rig.session().await;
    let (path, waiting, _) = offered(&rig, &session, Target::Device(rig.tv.did().clone())).await;
    let challenge = waiting.offer().challenge.clone();
    let right = presentation(&rig, &waiting, &challenge, true).await;
    let accept = async |body: Value| rig.to_broker(&rig.tv, "POST", &path, "handoff:accept", Some(&body)).await;

    rig.refuse(&accept(json!({})).await, 401, "handoff.presentation", "presentation missing").await;
    let mut bare = accept(json!({"presentation": right})).await;
    bare.headers.retain(|(name, _)| *name != "authorization");
    rig.refuse(&bare, 401, "invalid_token", "missing").await;
    let read_only = rig.to_broker(&rig.tv, "POST", &path, "session:read", Some(&json!({"presentation": right}))).await;
    rig.refuse(&read_only, 403, "insufficient_scope", "scope").await;
    let of_laptop = rig.laptop.present(&rig.laptop.servers().broker, &challenge, &[waiting.data()], &[]).await.unwrap();
    rig.refuse(&accept(json!({"presentation": of_laptop})).await, 403, "handoff.binding", "binding").await;
    let wrong_nonce = presentation(&rig, &waiting, "another challenge", true).await;
    rig.refuse(&accept(json!({"presentation": wrong_nonce})).await, 400, "kb.invalid", "nonce").await;
    let no_data = presentation(&rig, &waiting, &challenge, false).await;
    rig.refuse(&accept(json!({"presentation": no_data})).await, 400, "kb.invalid", "transaction_data").await;
    // BRK-12: a device of the same person that was not chosen.
    let other = tablet.present(&tablet.servers().broker, &challenge, &[waiting.data()], &[]).await.unwrap();
    let not_chosen = rig.to_broker(&tablet, "POST", &path, "handoff:accept", Some(&json!({"presentation": other}))).await;
    rig.refuse(&not_chosen, 403, "handoff.target", "target").await;
    // BRK-11, BRK-10: somebody else entirely sees what an unknown id shows.
    let mut stranger = rig.server.person().await;
    let foreign = rig.server.full(&mut stranger, "Foreign").await;
    let shown = foreign.present(&foreign.servers().broker, &challenge, &[waiting.data()], &[]).await.unwrap();
    let theirs = rig.to_broker(&foreign, "POST", &path, "handoff:accept", Some(&json!({"presentation": shown}))).await;
    let known = rig.refuse(&theirs, 404, "not_found", "not found").await;
    let nowhere = path.replace("hof_0", "hof_1");
    let unknown = rig.to_broker(&foreign, "POST", &nowhere, "handoff:accept", Some(&json!({"presentation": shown}))).await;
    assert_eq!(known.body, rig.refuse(&unknown, 404, "not_found", "not found").await.body);

    rig.allow(&accept(json!({"presentation": right})).await).await;
    // BRK-07: the same acceptance again gives the same state.
    assert_eq!(rig.allow(&accept(json!({"presentation": right})).await).await["state"], "accepted");
}

/// BRK-07 [R]: of many full devices that accept one offer at once, one does.
async fn one_acceptor(on: On) {
    let mut rig = Rig::new(on).await;
    let mut session = rig.session().await;
    let mut devices = Vec::new();
    for n in 0..8 {
        devices.push(rig.server.full(&mut rig.person, &format!("Tablet {n}")).await);
    }
    let offered = session.offer(Target::AnyFull).await.unwrap();
    let path = format!("/v1/handoffs/{}/accept", offered.id());
    let mut copies = Vec::new();
    for device in &devices {
        let waiting = Waiting::list(device).await.unwrap().pop().unwrap();
        for _ in 0..4 {
            let shown = device.present(&device.servers().broker, &waiting.offer().challenge, &[waiting.data()], &[]).await.unwrap();
            copies.push(rig.to_broker(device, "POST", &path, "handoff:accept", Some(&json!({"presentation": shown}))).await);
        }
    }
    let answers = race(copies).await;
    let winners: std::collections::BTreeSet<_> = answers.iter().filter(|a| a.status == 200).map(|a| a.body["by"].to_string()).collect();
    assert_eq!(winners.len(), 1, "one device");
    assert_eq!(answers.iter().filter(|a| a.status == 200).count(), 4, "however often it asks");
    assert!(answers.iter().all(|a| a.status == 200 || a.code == "handoff.taken"));
    session.seal(&offered).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_acceptor_on_sqlite() {
    one_acceptor(On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_acceptor_on_postgres() {
    one_acceptor(On::Postgres).await;
}

/// BRK-08 [R], BRK-18: an acceptance and the revocation of either side at once.
async fn revocation_and_acceptance(on: On) {
    for revoke_source in [false, true] {
        let mut rig = Rig::new(on).await;
        let keeper = rig.server.full(&mut rig.person, "Keeper").await;
        let session = rig.session().await;
        let (path, waiting, offered) = offered(&rig, &session, Target::Device(rig.tv.did().clone())).await;
        let shown = presentation(&rig, &waiting, &waiting.offer().challenge, true).await;
        let accept = async || rig.to_broker(&rig.tv, "POST", &path, "handoff:accept", Some(&json!({"presentation": shown}))).await;
        let mut copies = Vec::new();
        for _ in 0..32 {
            copies.push(accept().await);
        }
        let later = accept().await;
        let victim = if revoke_source { rig.laptop.enrolled().device_id } else { rig.tv.enrolled().device_id };
        let (answers, revoked) = tokio::join!(race(copies), rig.person.revoke(&victim));
        assert!(revoked.unwrap());
        for answer in answers {
            assert!(answer.status == 200 || ["handoff.offer_void", "invalid_token"].contains(&answer.code.as_str()), "{}", answer.body);
        }
        // Whatever came first: now nothing goes on.
        let later = later.send().await;
        assert!(["handoff.offer_void", "invalid_token"].contains(&later.code.as_str()), "{}", later.body);
        let over = Session::load(&keeper, session.id()).await.unwrap();
        assert!(over.is_over(&offered).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_and_acceptance_on_sqlite() {
    revocation_and_acceptance(On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_and_acceptance_on_postgres() {
    revocation_and_acceptance(On::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writing() {
    let rig = Rig::new(On::Sqlite).await;
    let mut session = rig.session().await;
    let path = format!("/v1/sessions/{}/updates", session.id());
    let good = serde_json::to_value(session.draft_write(b"00:44").await.unwrap()).unwrap();
    let write = async |body: &Value| rig.to_broker(&rig.laptop, "POST", &path, "session:write", Some(body)).await;
    let with = |name: &str, value: Value| {
        let mut changed = good.clone();
        changed[name] = value;
        changed
    };
    for epoch in [json!(2), json!(0), json!(-1), json!(u64::MAX), json!(i64::MAX)] {
        rig.refuse(&write(&with("epoch", epoch)).await, 400, "handoff.epoch", "epoch").await;
    }
    for (name, value) in [
        ("ct", json!("")),
        ("ct", json!("eyJ0aXRsZSI6IlRoZSBHZW5lcmFsIn0")),
        ("iv", json!("AA")),
        ("extra", json!(1)),
        ("seq", json!(-1)),
        ("seq", json!("2")),
    ] {
        rig.refuse(&write(&with(name, value)).await, 422, "state.not_encrypted", "not encrypted").await;
    }
    rig.refuse(&write(&with("ct", json!("A".repeat(400 * 1024 + 4)))).await, 413, "limit.body", "body").await;
    rig.refuse(&write(&with("prev", json!("other"))).await, 409, "state.conflict", "conflict").await;
    rig.refuse(&write(&with("seq", json!(7))).await, 409, "state.conflict", "conflict").await;
    rig.refuse(&write(&good).await.header("content-encoding", "gzip"), 415, "input.encoding", "content encoding").await;
    rig.refuse(&write(&json!({"title": "plain"})).await, 422, "state.not_encrypted", "not encrypted").await;
    // BRK-10: another subject.
    let mut stranger = rig.server.person().await;
    let foreign = rig.server.full(&mut stranger, "Foreign").await;
    for (method, scope, tail) in [
        ("GET", "session:read", ""),
        ("GET", "session:read", "/updates"),
        ("GET", "session:read", "/statements"),
        ("GET", "session:read", "/envelopes"),
        ("GET", "session:read", "/branches"),
        ("POST", "session:write", "/end"),
    ] {
        let path = format!("/v1/sessions/{}{tail}", session.id());
        rig.refuse(&rig.to_broker(&foreign, method, &path, scope, None).await, 404, "not_found", "not found").await;
    }
    // EVT-10: ids are what they are.
    for id in [
        "ses_x",
        "*",
        "%3E",
        "ses_.",
        "ses_019b0000000070008000000000000000.%3E",
        "hof_019b0000000070008000000000000000",
        "ses_019B0000000070008000000000000000",
    ] {
        let ask = rig.to_broker(&rig.laptop, "GET", &format!("/v1/sessions/{id}"), "session:read", None).await;
        rig.refuse(&ask, 400, "input.id", "id").await;
    }
    // ECC-13: a key envelope to somebody else's device.
    let outside = baton_sdk::seal::seal("x", &[(foreign.did().clone(), foreign.signer().key().clone())]).unwrap();
    let add = rig
        .to_broker(
            &rig.laptop,
            "POST",
            &format!("/v1/sessions/{}/envelopes", session.id()),
            "session:write",
            Some(&json!({"key_version": 1, "envelope": outside})),
        )
        .await;
    rig.refuse(&add, 403, "state.recipient", "recipient").await;
    // BRK-04: a token for another session.
    let other = rig.session().await;
    let narrow = rig.laptop.token(&rig.laptop.servers().broker, "session:read", Some(other.id().as_str())).await.unwrap();
    let url = rig.broker(&format!("/v1/sessions/{}", session.id()));
    let ask = super::Ask::new("GET", url.clone()).header("authorization", format!("DPoP {narrow}"));
    let nonce = rig.dpop_nonce(rig.laptop.signer(), &url, "GET", &ask, Some(&narrow)).await;
    let ask = ask.header("dpop", super::Proof::new(&rig, rig.laptop.signer(), "GET", &url, Some(&narrow), &nonce).text());
    rig.refuse(&ask, 403, "handoff.binding", "binding").await;

    let ask = write(&good).await;
    let first = rig.allow(&ask).await;
    // I11: the same update again, under a fresh proof, is the same update.
    assert_eq!(first, rig.allow(&write(&good).await).await);
}

/// BRK-05, and that a limited device reads nothing it no longer holds.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_handoff() {
    let rig = Rig::new(On::Sqlite).await;
    let mut session = rig.session().await;
    let late = serde_json::to_value(session.draft_write(b"late").await.unwrap()).unwrap();
    let (_, waiting, offered) = offered(&rig, &session, Target::Device(rig.tv.did().clone())).await;
    waiting.accept().await.unwrap();
    session.seal(&offered).await.unwrap();
    let on_tv = waiting.complete().await.unwrap();
    let path = format!("/v1/sessions/{}", session.id());
    let write = rig.to_broker(&rig.laptop, "POST", &format!("{path}/updates"), "session:write", Some(&late)).await;
    let answer = rig.refuse(&write, 409, "handoff.fenced", "fenced").await;
    assert_eq!(answer.body["epoch"], 2);
    let beat = rig.to_broker(&rig.laptop, "POST", &format!("{path}/heartbeat"), "session:write", Some(&json!({"epoch": 1}))).await;
    rig.refuse(&beat, 409, "handoff.fenced", "fenced").await;
    on_tv.heartbeat().await.unwrap();

    // And back: the limited device is not to read on, and its key is not to be used on.
    let back = on_tv.offer(Target::Device(rig.laptop.did().clone())).await.unwrap();
    let mut on_tv = on_tv;
    let waiting = Waiting::list(&rig.laptop).await.unwrap().pop().unwrap();
    waiting.accept().await.unwrap();
    rig.allow(&rig.to_broker(&rig.tv, "GET", &path, "session:read", None).await).await;
    on_tv.seal(&back).await.unwrap();
    let mut session = waiting.complete().await.unwrap();
    for tail in ["", "/updates", "/envelopes", "/statements", "/branches"] {
        rig.refuse(&rig.to_broker(&rig.tv, "GET", &format!("{path}{tail}"), "session:read", None).await, 404, "not_found", "not found").await;
    }
    let under_old = serde_json::to_value(session.draft_write(b"x").await.unwrap()).unwrap();
    let ask = rig.to_broker(&rig.laptop, "POST", &format!("{path}/updates"), "session:write", Some(&under_old)).await;
    rig.refuse(&ask, 409, "state.rekey_required", "rekey required").await;
    session.write(b"x").await.unwrap();
}

/// As many late edits of one device are kept in a session, and no more: the next is refused before anything of it is kept, and those that are there stay.
#[tokio::test(flavor = "multi_thread")]
async fn late_edits_have_a_bound() {
    let rig = Rig::new(On::Sqlite).await;
    let mut session = rig.session().await;
    let late = session.draft_write(b"late").await.unwrap();
    let (_, waiting, offered) = offered(&rig, &session, Target::Device(rig.tv.did().clone())).await;
    waiting.accept().await.unwrap();
    session.seal(&offered).await.unwrap();
    waiting.complete().await.unwrap();
    let path = format!("/v1/sessions/{}/branches", session.id());
    let nth = |n: u16| {
        let [high, low] = n.to_be_bytes();
        let iv = baton_protocol::b64::encode([high, low, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        json!(SealedUpdate { iv, ..late.clone() })
    };
    let keep = async |n: u16| rig.to_broker(&rig.laptop, "POST", &path, "session:write", Some(&nth(n))).await;
    for n in 0..255 {
        rig.allow(&keep(n).await).await;
    }
    let one_more = keep(256).await;
    rig.allow(&keep(255).await).await;
    rig.refuse(&one_more, 507, "state.quota", "quota").await;
    // The same once more is there already.
    rig.allow(&keep(255).await).await;
    assert_eq!(session.branches().await.unwrap().len(), 256);
}

/// BRK-13: small states without end, and no snapshot among them, come to an end; with one they go on.
#[tokio::test(flavor = "multi_thread")]
async fn small_states_have_a_bound() {
    let rig = Rig::new(On::Sqlite).await;
    let mut session = rig.session().await;
    let path = format!("/v1/sessions/{}/updates", session.id());
    let first = session.draft_write(b"").await.unwrap();
    let next = |last: &SealedUpdate, kind| SealedUpdate {
        place: Place { seq: last.place.seq + 1, prev: last.hash(), kind, ..last.place.clone() },
        ..last.clone()
    };
    let write = async |update: &SealedUpdate| posts(&rig.laptop, &path, "session:write", &json!(update)).await;
    let mut last = first;
    write(&last).await.unwrap();
    while last.place.seq < 511 {
        last = next(&last, Kind::Update);
        write(&last).await.unwrap();
    }
    let one_more = rig.to_broker(&rig.laptop, "POST", &path, "session:write", Some(&json!(next(&last, Kind::Update)))).await;
    rig.refuse(&one_more, 507, "state.quota", "quota").await;
    last = next(&last, Kind::Snapshot);
    write(&last).await.unwrap();
    while last.place.seq < 768 {
        last = next(&last, Kind::Update);
        write(&last).await.unwrap();
    }
}

/// BRK-16: nobody says for another device that it is there, keeps its session alive, or sees who of other people is.
#[tokio::test(flavor = "multi_thread")]
async fn presence_of_others() {
    let rig = Rig::new(On::Sqlite).await;
    let session = rig.session().await;
    let phone = rig.server.full(&mut { rig.server.person().await }, "Theirs").await;
    let beat = format!("/v1/sessions/{}/heartbeat", session.id());
    let ask = async |device: &Device, path: &str, scope: &str, body: Value| rig.to_broker(device, "POST", path, scope, Some(&body)).await;
    // A television of the person's own, and somebody else's phone.
    rig.refuse(&ask(&rig.tv, &beat, "session:write", json!({"epoch": 1})).await, 404, "not_found", "not found").await;
    rig.refuse(&ask(&phone, &beat, "session:write", json!({"epoch": 1})).await, 404, "not_found", "not found").await;
    rig.allow(&ask(&rig.laptop, &beat, "session:write", json!({"epoch": 1})).await).await;
    let say = |who: &Device| json!({"status": "online", "device": who.did()});
    rig.refuse(&ask(&phone, "/v1/presence", "presence", say(&rig.laptop)).await, 400, "input.invalid", "invalid").await;
    let focused = json!({"status": "online", "session": session.id()});
    rig.refuse(&ask(&phone, "/v1/presence", "presence", focused.clone()).await, 404, "not_found", "not found").await;
    rig.allow(&ask(&rig.laptop, "/v1/presence", "presence", focused).await).await;
    assert!(phone.present_devices().await.unwrap().is_empty());
}
