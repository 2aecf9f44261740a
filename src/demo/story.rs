//! The story, from an empty server to a session that survived the loss of a device. Every sentence it prints was checked just before.

use super::raw;
use crate::person::{self, Person};
use anyhow::{Context as _, bail, ensure};
use baton_protocol::credential::Tier;
use baton_protocol::enrolment::{DeviceClaims, Kind};
use baton_protocol::handoff::machine::{Declining, Target};
use baton_protocol::ports::Entropy;
use baton_sdk::enroll::Enrolling;
use baton_sdk::keystore::{Kept, Keystore};
use baton_sdk::{Device, Ended, Error, Http, Servers, Session, Waiting, Written, system_clock};
use serde_json::json;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What happens, in order.
pub const STEPS: [&str; 6] = [
    "A person makes an account",
    "A laptop and a television are enrolled",
    "The laptop opens a session and writes to it",
    "The session moves to the television",
    "What must be refused is refused",
    "The television is revoked; nothing is lost",
];

/// Every scope there is.
pub const SCOPES: &str = "session:read session:write handoff:offer handoff:accept presence";

/// Something to tell.
pub enum Told<'a> {
    /// A step begins.
    Step {
        /// From 1.
        number: usize,
        /// Its name.
        name: &'a str,
    },
    /// Something held.
    Fact {
        /// What was done.
        what: &'a str,
        /// What that proves.
        proves: &'a str,
        /// How long it took.
        took: Duration,
    },
}

type Dump = Box<dyn Fn() -> Pin<Box<dyn Future<Output = anyhow::Result<Vec<u8>>> + Send>> + Send + Sync>;

/// Where the story plays.
pub struct Story {
    /// The server.
    pub public_url: String,
    /// The film.
    pub title: String,
    /// Randomness.
    pub entropy: Entropy,
    /// Everything the broker has stored, as bytes.
    pub dump: Dump,
}

struct Teller<'a> {
    tell: &'a mut (dyn FnMut(&Told<'_>) + Send),
    since: Instant,
}

#[expect(clippy::disallowed_methods, reason = "the demo reports how long things took")]
fn instant() -> Instant {
    Instant::now()
}

impl Teller<'_> {
    fn step(&mut self, number: usize) {
        (self.tell)(&Told::Step { number, name: STEPS[number - 1] });
        self.since = instant();
    }
    fn fact(&mut self, what: &str, proves: &str) {
        (self.tell)(&Told::Fact { what, proves, took: self.since.elapsed() });
        self.since = instant();
    }
}

struct Cast {
    person: Person,
    laptop: Arc<Device>,
    television: Arc<Device>,
}

impl Story {
    /// Tells it; an error is the first thing that did not hold.
    pub async fn tell(&self, tell: &mut (dyn FnMut(&Told<'_>) + Send)) -> anyhow::Result<()> {
        let mut teller = Teller { tell, since: instant() };
        teller.step(1);
        let person = self.account(&mut teller).await?;
        teller.step(2);
        let cast = self.enrol(&mut teller, person).await?;
        teller.step(3);
        let mut session = self.open(&mut teller, &cast).await?;
        teller.step(4);
        let mut on_television = self.hand_over(&mut teller, &cast, &mut session).await?;
        teller.step(5);
        self.refusals(&mut teller, &cast, &mut session, &mut on_television).await?;
        teller.step(6);
        self.revoke(&mut teller, &cast, session, on_television).await
    }

    fn film(&self, position: &str) -> Vec<u8> {
        json!({"title": self.title, "position": position, "subtitles": "de"}).to_string().into_bytes()
    }

    fn http(&self) -> Result<Http, Error> {
        Http::new(system_clock(), self.entropy.clone())
    }

    fn kept(&self) -> Kept {
        Kept::fresh(Servers::at(&self.public_url), "baton-cli", &self.entropy)
    }

    async fn account(&self, teller: &mut Teller<'_>) -> anyhow::Result<Person> {
        let mut person = Person::new(&self.public_url, self.entropy.clone())?;
        let code = person.sign_up().await?;
        teller
            .fact("passkey registered, root made on the client, two wrapped copies uploaded", "an account exists whose root the server cannot open");
        let root = person.unlock().await?;
        ensure!(root.fingerprint() == person.root(), "the passkey opened another root");
        teller.fact("signed in with the passkey, opened its copy", "the PRF output of the passkey opens the root, and its fingerprint matches");
        let mut elsewhere = Person::new(&self.public_url, self.entropy.clone())?;
        elsewhere.recover(&code).await?;
        ensure!(elsewhere.root() == person.root(), "the code recovered another root");
        teller.fact("recovered on a new passkey with the recovery code alone", "losing every passkey loses nothing while the code is kept");
        Ok(person)
    }

    async fn enrol(&self, teller: &mut Teller<'_>, mut person: Person) -> anyhow::Result<Cast> {
        let laptop = self.enrol_here(&mut person, "Laptop", Kind::Laptop).await?;
        ensure!(laptop.tier() == Tier::Full, "a device approved on itself is a full one");
        teller.fact(
            "laptop enrolled: PAR, passkey, authorization code with PKCE and DPoP",
            "its credential is signed by the person's issuer key and stands in the device log",
        );

        let claims = claims("Television", Kind::Tv);
        let (mut asking, screen) = Enrolling::elsewhere(self.http()?, Keystore::memory(), self.kept(), &claims, SCOPES).await?;
        let pending = asking.redeem(None).await.err().context("issued before anybody approved")?;
        ensure!(pending.is("authorization_pending"), "polled too early: {pending}");
        let shown = person.open_elsewhere(&screen.user_code).await?;
        let wrong = person.approve(&shown, Some("000000")).await.err().context("a wrong check code was taken")?;
        // One in a million says 000000 on its screen; then the right code was given.
        ensure!(person::code(&wrong) == Some("enrol.proximity"), "refused otherwise: {wrong}");
        teller.fact(
            "television asked with a device code; a wrong check code was refused",
            "a phished code is worth nothing without the new device's own screen",
        );
        person.approve(&shown, Some(&screen.check_code)).await?;
        asking.redeem(None).await?;
        let television = Arc::new(asking.into_device()?);
        ensure!(television.tier() == Tier::Limited, "a device approved from elsewhere is a limited one");
        let members = laptop.members().await?;
        ensure!(members.log.members().count() == 2 && members.by_label("Television") == Some(television.did()), "the log knows both devices");
        teller.fact("television enrolled as limited; the log has two members", "both devices can check by themselves who belongs to this person");
        Ok(Cast { person, laptop, television })
    }

    async fn enrol_here(&self, person: &mut Person, name: &str, kind: Kind) -> anyhow::Result<Arc<Device>> {
        enrol_here(person, self.http()?, Keystore::memory(), self.kept(), &claims(name, kind)).await
    }

    async fn open(&self, teller: &mut Teller<'_>, cast: &Cast) -> anyhow::Result<Session> {
        let mut session = Session::open(&cast.laptop, &self.film("00:00")).await?;
        teller.fact(
            "laptop presented, got a five-minute token bound to its key, opened a session",
            "possession, credential and consent were checked together",
        );
        for position in ["00:10", "00:42", "00:43"] {
            ensure!(matches!(session.write(&self.film(position)).await?, Written::Session(_)), "the holder may write");
        }
        ensure!(session.head().seq == 4, "every write was numbered");
        teller.fact("three sealed updates written, each acknowledged once durable", "the broker stores ciphertext in an unbroken chain");
        Ok(session)
    }

    async fn hand_over(&self, teller: &mut Teller<'_>, cast: &Cast, session: &mut Session) -> anyhow::Result<Session> {
        let members = cast.laptop.members().await?;
        let to = members.by_label("Television").context("no television")?.clone();
        let offered = session.offer(Target::Device(to)).await?;
        teller.fact("laptop offered the session to \"Television\"", "the offer is signed, with a presentation over its very hash");
        let waiting = one_waiting(&cast.television).await?;
        waiting.accept().await?;
        ensure!(session.accepted(&offered).await?.as_ref() == Some(cast.television.did()), "accepted by the television");
        teller.fact(
            "television accepted: token, presentation with the offer's challenge, transaction data",
            "token, credential and agreement to this handoff are one device's",
        );
        session.seal(&offered).await?;
        teller.fact("laptop checked the television against its own log, sealed, released", "mutual attestation without trusting the broker");
        let on_television = waiting.complete().await?;
        ensure!(
            on_television.epoch() == 2 && on_television.is_held() && on_television.content() == self.film("00:43"),
            "the film goes on where it was"
        );
        teller.fact("television opened it and sent its receipt: active at epoch 2", "one active device, and nothing missing");
        Ok(on_television)
    }

    async fn refusals(&self, teller: &mut Teller<'_>, cast: &Cast, session: &mut Session, on_television: &mut Session) -> anyhow::Result<()> {
        let (laptop, television) = (&cast.laptop, &cast.television);
        // The laptop as it would be had it slept through its own release.
        let token = laptop.token(&laptop.servers().broker, "session:write", None).await?;
        let (path, stale) = (format!("/v1/sessions/{}/updates", session.id()), json!(session.draft_write(&self.film("00:44 late")).await?));
        refused(raw::broker(laptop, "POST", &path, Some(token), laptop.signer(), Some(&stale)).await, "handoff.fenced")?;
        let late = session.write(&self.film("00:44 late")).await?;
        ensure!(late == Written::Branch { epoch: 2 }, "a late write went {late:?}");
        on_television.follow().await?;
        ensure!(on_television.branches().await?.iter().any(|branch| branch.content == Some(self.film("00:44 late"))), "the branch is kept");
        teller.fact("laptop's late write: handoff.fenced; kept as a branch the holder can read", "a stale writer is refused and loses nothing");

        let token = television.token(&television.servers().broker, "session:read", None).await?;
        refused(raw::broker(television, "GET", "/v1/sessions", Some(token.clone()), laptop.signer(), None).await, "invalid_token")?;
        raw::broker(television, "GET", "/v1/sessions", Some(token), television.signer(), None).await?;
        teller.fact("television's token under the laptop's key: invalid_token", "a stolen token is worth nothing");

        let nonce = laptop.nonce(&laptop.servers().verifier).await?;
        let presentation = laptop.present(&laptop.servers().verifier, &nonce, &[], &[]).await?;
        raw::exchange(laptop, &presentation, laptop.signer()).await?;
        refused(raw::exchange(laptop, &presentation, laptop.signer()).await, "kb.replay")?;
        teller.fact("a presentation shown twice: kb.replay", "a recorded presentation is worth nothing");

        let offered = on_television.offer(Target::Device(laptop.did().clone())).await?;
        let path = format!("/v1/handoffs/{}/accept", offered.id());
        let token = laptop.token(&laptop.servers().broker, "handoff:accept", None).await?;
        refused(raw::broker(laptop, "POST", &path, Some(token), laptop.signer(), Some(&json!({}))).await, "handoff.presentation")?;
        let waiting = one_waiting(laptop).await?;
        let shown = laptop.present(&laptop.servers().broker, &waiting.offer().challenge, &[waiting.data()], &[]).await?;
        refused(raw::broker(laptop, "POST", &path, None, laptop.signer(), Some(&json!({"presentation": shown}))).await, "invalid_token")?;
        waiting.accept().await?;
        waiting.decline(Declining::Unwanted).await?;
        teller
            .fact("token without presentation, presentation without token: both refused; with both: accepted", "a handoff needs everything at once");

        let mut stranger = Person::new(&self.public_url, self.entropy.clone())?;
        stranger.sign_up().await?;
        let foreign = self.enrol_here(&mut stranger, "Stranger", Kind::Laptop).await?;
        refused(Session::load(&foreign, session.id()).await, "not_found")?;
        teller.fact("a device of another person's root: not_found", "a session is invisible to everybody else");

        let other = Session::open(laptop, &self.film("second film")).await?;
        refused(Session::load(television, other.id()).await, "not_found")?;
        let token = television.token(&television.servers().broker, "handoff:accept", None).await?;
        for verb in ["request", "claim"] {
            let path = format!("/v1/sessions/{}/{verb}", other.id());
            let body = json!({});
            refused(raw::broker(television, "POST", &path, Some(token.clone()), television.signer(), Some(&body)).await, "insufficient_scope")?;
        }
        teller.fact(
            "the limited television pulling a session it was not given: insufficient_scope",
            "a device approved from elsewhere cannot reach for more",
        );

        let stored = (self.dump)().await?;
        ensure!(contains(&stored, session.id().as_str()), "the search would not find anything");
        ensure!(!contains(&stored, &self.title) && !contains(&stored, "subtitles"), "the broker can read");
        teller.fact(&format!("\"{}\" is nowhere in the {} bytes the broker stores", self.title, stored.len()), "the broker is blind");
        Ok(())
    }

    async fn revoke(&self, teller: &mut Teller<'_>, cast: &Cast, session: Session, mut on_television: Session) -> anyhow::Result<()> {
        on_television.write(&self.film("00:57")).await?;
        let mut stream = cast.television.events(None).await?;
        let device_id = cast.television.enrolled().device_id;
        ensure!(cast.person.revoke(&device_id).await?, "verifier and broker have not taken the revocation");
        teller.fact("television revoked, and both verifier and broker have taken it", "one act, and it holds everywhere");

        let token = cast.television.token(&cast.television.servers().broker, "session:read", None).await?;
        refused(raw::broker(&cast.television, "GET", "/v1/sessions", Some(token), cast.television.signer(), None).await, "invalid_token")?;
        let ended = loop {
            match tokio::time::timeout(Duration::from_secs(10), stream.next()).await.context("the stream stayed open")? {
                Ok(_) => {}
                Err(ended) => break ended,
            }
        };
        ensure!(ended == Ended::Closed(4403), "the stream ended as {ended:?}");
        teller.fact("its next request: invalid_token; its open stream: closed with 4403", "tokens that live still open nothing");

        let mut session = Session::load(&cast.laptop, session.id()).await?;
        ensure!(!session.is_held() && session.content() == self.film("00:57"), "the last sealed state is there");
        session.claim().await?;
        ensure!(session.is_held() && session.epoch() == 3, "the laptop holds it at epoch 3");
        teller
            .fact("session detached; laptop claimed it from the last sealed state, at epoch 3 with a new key", "no loss of a device loses a session");

        refused(session.write_under_old_key(&self.film("01:00")).await, "state.rekey_required")?;
        ensure!(matches!(session.write(&self.film("01:00")).await?, Written::Session(_)), "the holder writes on");
        session.follow().await?;
        ensure!(session.content() == self.film("01:00"), "and reads it back");
        ensure!(session.branches().await?.iter().any(|branch| branch.content == Some(self.film("00:44 late"))), "the late write is still kept");
        teller.fact(
            "an update under the old key: state.rekey_required; under the new one: written",
            "what the television knew opens nothing from now on; nothing was lost",
        );
        Ok(())
    }
}

/// Enrols by lane 1, person and device on the same machine.
pub async fn enrol_here(person: &mut Person, http: Http, keystore: Keystore, kept: Kept, claims: &DeviceClaims) -> anyhow::Result<Arc<Device>> {
    let (mut asking, authorization) = Enrolling::here(http, keystore, kept, claims, SCOPES, "http://127.0.0.1:1/callback").await?;
    let shown = person.open_here(&authorization.request_uri).await?;
    ensure!(shown.claims == *claims, "the person is shown what the device claims");
    let redirect = person.approve(&shown, None).await?.context("lane 1 goes on in the app")?;
    asking.redeem(Some(&redirect)).await?;
    Ok(Arc::new(asking.into_device()?))
}

/// Claims of a demo device.
pub fn claims(name: &str, kind: Kind) -> DeviceClaims {
    DeviceClaims { name: name.into(), kind, platform: Some("Baton demo".into()), model: None, capabilities: Vec::new() }
}

async fn one_waiting(device: &Arc<Device>) -> anyhow::Result<Waiting> {
    Waiting::list(device).await?.pop().context("no handoff waits")
}

fn refused<T>(outcome: Result<T, Error>, code: &str) -> anyhow::Result<()> {
    match outcome {
        Err(error) if error.is(code) => Ok(()),
        Err(error) => bail!("expected {code}, got {error}"),
        Ok(_) => bail!("expected {code}, but it was let through"),
    }
}

fn contains(hay: &[u8], needle: &str) -> bool {
    hay.windows(needle.len()).any(|window| window == needle.as_bytes())
}
