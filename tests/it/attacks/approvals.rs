//! Section H, the person's side: DEV-01, DEV-04, DEV-06, DEV-07 and DEV-12 to DEV-17.

use super::enrolment::{device_authorization, poll};
use super::{Ask, Rig};
use crate::support::Server;
use baton::demo::{SCOPES, claims};
use baton_protocol::enrolment::{Kind, Shown};
use baton_protocol::signer::Signer as _;
use baton_sdk::enroll::{Enrolling, Introduction};
use baton_sdk::keys::SoftKey;
use baton_sdk::keystore::Keystore;
use baton_sdk::root::Root;
use baton_sdk::system_entropy;
use baton_service::testing::{ManualClock, On};
use serde_json::{Value, json};
use sqlx::Connection as _;

/// What a wrong check code is counted in, and where the person reads of it.
const TRIED: &[&str] = &["requests", "ledger", "ledger_heads"];

/// A device that asks from elsewhere.
struct Asking {
    key: SoftKey,
    started: Value,
}

impl Asking {
    async fn new(rig: &Rig, name: &str) -> Self {
        let key = SoftKey::generate(&system_entropy());
        let started = rig.allow(&device_authorization(rig, &key, name).await).await;
        Self { key, started }
    }
    fn text(&self, name: &str) -> &str {
        self.started[name].as_str().unwrap()
    }
    fn look(&self, rig: &Rig) -> Ask {
        rig.signed_in("/v1/requests/open", &json!({"user_code": self.text("user_code")}))
    }
    async fn shown(&self, rig: &Rig) -> Shown {
        serde_json::from_value(rig.allow(&self.look(rig)).await["shown"].clone()).unwrap()
    }
    /// Another code of six digits.
    fn wrong(&self) -> &'static str {
        if self.text("check_code") == "000000" { "000001" } else { "000000" }
    }
}

/// Asks for what is to be signed.
fn offer(rig: &Rig, root: &Root, shown: &Shown, hash: &str, check_code: Option<&str>) -> Ask {
    let body = json!({"shown_hash": hash, "issuer": root.issuer(&shown.app).key().did(), "check_code": check_code});
    rig.signed_in(&format!("/v1/requests/{}/offer", shown.request), &body)
}

async fn at(clock: &ManualClock) -> Rig {
    Rig::at(Server::start_at(On::Sqlite, clock.clock()).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_01_user_codes_are_not_guessed() {
    let clock = ManualClock::start();
    let mut rig = at(&clock).await;
    let asking = Asking::new(&rig, "Tablet").await;
    let guess = rig.signed_in("/v1/requests/open", &json!({"user_code": "BBBB-BBBB"}));
    for _ in 0..5 {
        rig.refuse_but(&guess, 400, "enrol.code", "code", &["wrong_codes"]).await;
    }
    rig.refuse(&asking.look(&rig), 429, "limit.rate", "rate").await;
    // Nobody else is held up by it, and the person themself no longer than a request lives.
    clock.advance_secs(601);
    rig.server.running.identity.pump().await.unwrap();
    rig.person.unlock().await.unwrap();
    rig.allow(&Asking::new(&rig, "Tablet").await.look(&rig)).await;
}

/// Everybody's wrong codes together: however many accounts guess, and from wherever.
#[tokio::test(flavor = "multi_thread")]
async fn dev_01_nobody_guesses_in_a_crowd() {
    let rig = Rig::new(On::Sqlite).await;
    let asking = Asking::new(&rig, "Tablet").await;
    let mut db = sqlx::AnyConnection::connect(&rig.server.database("identity")).await.unwrap();
    let now = rig.server.running.identity.base().now().0;
    for n in 0..baton_protocol::enrolment::MAX_GUESSES {
        sqlx::query("INSERT INTO wrong_codes (account_id, at) VALUES ($1, $2)").bind(format!("acc_{n}")).bind(now).execute(&mut db).await.unwrap();
    }
    rig.refuse(&asking.look(&rig), 429, "limit.rate", "rate").await;
    sqlx::query("DELETE FROM wrong_codes WHERE account_id = 'acc_0'").execute(&mut db).await.unwrap();
    db.close().await.unwrap();
    rig.allow(&asking.look(&rig)).await;
}

/// The interval grows by five seconds each time somebody is too quick, and stays so.
#[tokio::test(flavor = "multi_thread")]
async fn dev_03_who_is_too_quick_waits_longer() {
    let clock = ManualClock::start();
    let rig = at(&clock).await;
    let asking = Asking::new(&rig, "Tablet").await;
    let counted = &["requests", "used_once"];
    let ask = async || poll(&rig, &asking.key, asking.text("device_code")).await;
    rig.refuse_but(&ask().await, 400, "authorization_pending", "pending", counted).await;
    for (secs, code, reason) in [
        (4, "slow_down", "slow down"),
        (6, "slow_down", "slow down"),
        (15, "authorization_pending", "pending"),
        (14, "slow_down", "slow down"),
        (20, "authorization_pending", "pending"),
    ] {
        clock.advance_secs(secs);
        rig.server.running.identity.pump().await.unwrap();
        rig.refuse_but(&ask().await, 400, code, reason, counted).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_04_a_request_that_nobody_decided_ends() {
    let clock = ManualClock::start();
    let rig = at(&clock).await;
    let counted = &["requests", "used_once"];
    let asking = Asking::new(&rig, "Tablet").await;
    let pending = poll(&rig, &asking.key, asking.text("device_code")).await;
    rig.refuse_but(&pending, 400, "authorization_pending", "pending", counted).await;
    clock.advance_secs(601);
    rig.server.running.identity.pump().await.unwrap();
    let late = poll(&rig, &asking.key, asking.text("device_code")).await;
    rig.refuse_but(&late, 400, "expired_token", "expired", counted).await;
    rig.refuse_but(&asking.look(&rig), 400, "enrol.code", "code", &["wrong_codes"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_06_dev_07_what_was_shown_with_the_code_of_its_own_screen() {
    let mut rig = Rig::new(On::Sqlite).await;
    let root = rig.person.unlock().await.unwrap();
    let asking = Asking::new(&rig, "Tablet").await;
    let shown = asking.shown(&rig).await;
    let right = Some(asking.text("check_code"));
    let mut other = shown.clone();
    other.claims.name = "Another".into();
    rig.refuse(&offer(&rig, &root, &shown, &other.hash(), right), 409, "enrol.changed", "changed").await;
    let mut other = shown.clone();
    other.jkt = SoftKey::generate(&system_entropy()).key().thumbprint();
    rig.refuse(&offer(&rig, &root, &shown, &other.hash(), right), 409, "enrol.changed", "changed").await;
    for code in [None, Some(""), Some(asking.wrong())] {
        rig.refuse_but(&offer(&rig, &root, &shown, &shown.hash(), code), 403, "enrol.proximity", "check code", TRIED).await;
    }
    rig.allow(&offer(&rig, &root, &shown, &shown.hash(), right)).await;
    // Five wrong ones in all: then the right one is too late.
    for _ in 0..2 {
        let guess = offer(&rig, &root, &shown, &shown.hash(), Some(asking.wrong()));
        rig.refuse_but(&guess, 403, "enrol.proximity", "check code", TRIED).await;
    }
    rig.refuse(&offer(&rig, &root, &shown, &shown.hash(), right), 403, "enrol.not_approved", "not approved").await;
    let told = poll(&rig, &asking.key, asking.text("device_code")).await;
    rig.refuse_but(&told, 400, "access_denied", "denied", &["requests", "used_once"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_12_a_code_that_two_persons_were_shown_is_nobody_s() {
    let rig = Rig::new(On::Sqlite).await;
    let asking = Asking::new(&rig, "Tablet").await;
    let stranger = rig.server.person().await;
    rig.allow(&asking.look(&rig)).await;
    // The same person may look twice.
    rig.allow(&asking.look(&rig)).await;
    let theirs = asking.look(&rig).header("cookie", stranger.cookie());
    rig.refuse_but(&theirs, 400, "enrol.code", "code", &["requests"]).await;
    rig.refuse(&asking.look(&rig), 403, "enrol.not_approved", "not approved").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_13_whoever_approves_was_there_just_now_and_holds_the_root() {
    let clock = ManualClock::start();
    let mut rig = at(&clock).await;
    let asking = Asking::new(&rig, "Tablet").await;
    let shown = asking.shown(&rig).await;
    let root = rig.person.unlock().await.unwrap();
    let stale = rig.person.cookie();
    clock.advance_secs(301);
    rig.server.running.identity.pump().await.unwrap();
    let ask = offer(&rig, &root, &shown, &shown.hash(), Some(asking.text("check_code")));
    rig.refuse(&ask, 403, "enrol.reauth", "user verification too old").await;
    let root = rig.person.unlock().await.unwrap();
    let right = rig.allow(&offer(&rig, &root, &shown, &shown.hash(), Some(asking.text("check_code")))).await;
    let approval = root.approve(&shown, &serde_json::from_value(right).unwrap(), &system_entropy()).unwrap();
    let approve = rig.signed_in(&format!("/v1/requests/{}/approve", shown.request), &serde_json::to_value(&approval).unwrap());
    rig.refuse(&approve.clone().header("cookie", stale), 403, "enrol.reauth", "user verification too old").await;
    // Somebody else's root, in this person's page.
    let stranger = Root::generate(&system_entropy());
    let ask = offer(&rig, &stranger, &shown, &shown.hash(), Some(asking.text("check_code")));
    rig.refuse(&ask, 403, "enrol.approver", "approver").await;
    rig.allow(&approve).await;
}

/// Who is sent one link after the other is left in peace, whatever they contain, and over a restart.
#[tokio::test(flavor = "multi_thread")]
async fn dev_14_nobody_is_worn_out() {
    let clock = ManualClock::start();
    let mut rig = at(&clock).await;
    clock.advance_secs(301);
    rig.server.running.identity.pump().await.unwrap();
    let mut looked_at = Vec::new();
    for n in 0..3 {
        looked_at.push(Asking::new(&rig, &format!("Tablet {n}")).await.shown(&rig).await);
    }
    let deny = |rig: &Rig, shown: &Shown| rig.signed_in(&format!("/v1/requests/{}/deny", shown.request), &json!({}));
    rig.allow(&deny(&rig, &looked_at[0])).await;
    rig = Rig { server: rig.server.restart().await, ..rig };
    let fourth = Asking::new(&rig, "Tablet 3").await;
    rig.refuse(&fourth.look(&rig), 429, "limit.prompts", "prompts").await;
    // What was looked at before can still be decided; and whoever shows their passkey for it is let through.
    rig.allow(&deny(&rig, &looked_at[1])).await;
    let bored = rig.person.cookie();
    rig.person.unlock().await.unwrap();
    rig.allow(&fourth.look(&rig)).await;
    // In an hour it is forgotten.
    clock.advance_secs(3601);
    rig.server.running.identity.pump().await.unwrap();
    rig.allow(&Asking::new(&rig, "Tablet 4").await.look(&rig).header("cookie", bored)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_15_nobody_asks_at_scale() {
    let clock = ManualClock::start();
    let rig = at(&clock).await;
    let key = SoftKey::generate(&system_entropy());
    let first = device_authorization(&rig, &key, "Tablet").await;
    let junk = Ask::new("POST", first.url.clone()).form(&[("client_id", "nobody")]);
    while junk.send().await.status != 429 {}
    rig.refuse(&first, 429, "limit.rate", "rate").await;
    clock.advance_secs(60);
    rig.server.running.identity.pump().await.unwrap();
    rig.allow(&device_authorization(&rig, &key, "Tablet").await).await;
}

/// A link in a page, that of an app on this very device or one in somebody's mail, is no screen of another device.
#[tokio::test(flavor = "multi_thread")]
async fn dev_16_the_lane_of_another_device_is_not_walked_on_this_one() {
    let rig = Rig::new(On::Sqlite).await;
    let asking = Asking::new(&rig, "Tablet").await;
    let look = |from: Value| rig.signed_in("/v1/requests/open", &json!({"user_code": asking.text("user_code"), "linked_from": from}));
    rig.refuse(&look("https://mail.example".into()), 400, "enrol.same_device", "same device").await;
    rig.allow(&look(Value::Null)).await;
    rig.allow(&look(rig.server.public_url.clone().into())).await;
}

/// What is no invisible trick is text: it is shown as it is, apart from what the server knows (the pages' part is in tests/browser).
#[tokio::test(flavor = "multi_thread")]
async fn dev_17_a_name_is_text() {
    let rig = Rig::new(On::Sqlite).await;
    let key = SoftKey::generate(&system_entropy());
    for name in ["i\u{202e}Phone", "\u{2066}a", "a\u{200b}b", "a\nb", "e\u{301}", &"x".repeat(10_000)] {
        rig.refuse(&device_authorization(&rig, &key, name).await, 422, "input.name", "name").await;
    }
    for name in ["iРhone", "<img src=x onerror=alert(1)>"] {
        let shown = Asking::new(&rig, name).await.shown(&rig).await;
        assert_eq!(shown.claims.name, name);
    }
    // Nor is a reason anything but a line of text.
    let claims = claims("Tablet", Kind::Tablet);
    let ask = async |reason: &str| {
        let introduction = Introduction { claims: &claims, reason: Some(reason) };
        Enrolling::elsewhere(rig.server.http(), Keystore::memory(), rig.server.kept(), introduction, SCOPES).await
    };
    for reason in ["a\nb", "i\u{202e}Phone", "", &"x".repeat(201)] {
        assert!(ask(reason).await.err().is_some_and(|error| error.is("input.name")), "{reason:?}");
    }
    let (_, screen) = ask("To <b>carry on</b>").await.unwrap();
    assert_eq!(rig.person.open_elsewhere(&screen.user_code).await.unwrap().reason.as_deref(), Some("To <b>carry on</b>"));
}
