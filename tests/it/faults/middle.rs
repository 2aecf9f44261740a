//! F26 and F27: answers that are lost, requests that a proxy repeats. And status lists that a server would rather have devices believe (STS).

use crate::middle::{Deed, Middle, Seen};
use crate::support::Server;
use baton_protocol::credential::{self, Template};
use baton_protocol::handoff::machine::Target;
use baton_protocol::handoff::wire::accept_data;
use baton_protocol::jose::{Typ, Unverified};
use baton_protocol::key::{Did, hash};
use baton_protocol::sd_jwt::Compact;
use baton_protocol::signer::Signer as _;
use baton_sdk::keystore::Keystore;
use baton_sdk::root::sign_credential;
use baton_sdk::{Device, Session, Waiting, Written, system_entropy};
use baton_service::base::system_clock;
use baton_service::testing::{ManualClock, On};

/// Plays a session from one device to another and back; what `wrote` says was acknowledged is there at the end.
async fn there_and_back(server: &Server, middle: &Middle, meddle: impl FnMut(&Seen) -> Deed + Send + 'static) {
    let mut person = server.person().await;
    let (laptop, tablet) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Tablet").await);
    middle.meddle(meddle);
    let mut session = Session::open(&laptop, b"0").await.unwrap();
    let (mut here, mut there) = (&laptop, &tablet);
    let mut wrote = 1;
    for epoch in 1..=4 {
        for n in 0..3 {
            assert!(matches!(session.write(format!("{epoch}.{n}").as_bytes()).await.unwrap(), Written::Session(_)));
            wrote += 1;
        }
        let offered = session.offer(Target::Device(there.did().clone())).await.unwrap();
        let waiting = Waiting::list(there).await.unwrap().pop().unwrap();
        waiting.accept().await.unwrap();
        session.seal(&offered).await.unwrap();
        wrote += 1;
        session = waiting.complete().await.unwrap();
        assert_eq!((session.epoch(), session.content()), (epoch + 1, format!("{epoch}.2").as_bytes()), "I1, I2");
        std::mem::swap(&mut here, &mut there);
    }
    assert_eq!(session.head().seq, wrote, "I11: everything once");
}

/// F26: three of ten answers are lost after the server has done what was asked.
#[tokio::test(flavor = "multi_thread")]
async fn answers_are_lost() {
    for (on, seed) in [(On::Sqlite, 7u32), (On::Sqlite, 77), (On::Postgres, 777)] {
        let (server, middle) = Server::behind(on, system_clock()).await;
        // A fixed sequence for each seed; never twice in a row, for clients give up after a few tries.
        let (mut state, mut lost) = (seed, false);
        there_and_back(&server, &middle, move |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            lost = !lost && (state >> 16) % 10 < 3;
            if lost { Deed::LoseAnswer } else { Deed::Pass }
        })
        .await;
    }
}

/// F27: a proxy sends everything twice.
#[tokio::test(flavor = "multi_thread")]
async fn requests_come_twice() {
    let (server, middle) = Server::behind(On::Sqlite, system_clock()).await;
    there_and_back(&server, &middle, |_| Deed::Twice).await;
}

/// STS-03, STS-04, STS-07 at a device: it seals only to a target whose status a fresh list of the right signer says is valid.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_believes_no_list_but_a_fresh_one() {
    let clock = ManualClock::start();
    let (server, middle) = Server::behind(On::Sqlite, clock.clock()).await;
    let mut person = server.person().await;
    let (laptop, tablet) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Tablet").await);
    let list_url = format!("{}/identity/v1/status-lists/1", server.public_url);
    let fetch = async || reqwest::get(&list_url).await.unwrap().bytes().await.unwrap().to_vec();
    let old = fetch().await;
    clock.advance_secs(2);
    server.running.identity.pump().await.unwrap();

    let mut session = Session::open(&laptop, b"x").await.unwrap();
    let offered = session.offer(Target::Device(tablet.did().clone())).await.unwrap();
    let waiting = Waiting::list(&tablet).await.unwrap().pop().unwrap();
    waiting.accept().await.unwrap();
    let list = String::from_utf8(fetch().await).unwrap();
    let replace = |with: String| {
        middle.meddle(move |seen| if seen.path.ends_with("/status-lists/1") { Deed::Replace(with.clone().into_bytes()) } else { Deed::Pass });
    };

    // STS-04: the right list under another's signature, here the issuer's own over other claims.
    let (input, _) = list.rsplit_once('.').unwrap();
    let foreign = Unverified::parse(laptop.enrolled().credential.split('~').next().unwrap(), Typ::Credential).map(|jws| *jws.signature()).unwrap();
    replace(format!("{input}.{}", baton_protocol::b64::encode(foreign)));
    assert!(session.seal(&offered).await.unwrap_err().is("status.invalid"));
    // STS-03: another kind of token.
    replace(laptop.enrolled().credential.split('~').next().unwrap().to_owned());
    assert!(session.seal(&offered).await.unwrap_err().is("status.invalid"));
    // The control, after which the older list is a rollback (STS-07).
    middle.meddle(|_| Deed::Pass);
    session.seal(&offered).await.unwrap();
    let mut session = waiting.complete().await.unwrap();
    let offered = session.offer(Target::Device(laptop.did().clone())).await.unwrap();
    Waiting::list(&laptop).await.unwrap().pop().unwrap().accept().await.unwrap();
    session.seal(&offered).await.unwrap();
    let mut session = Waiting::list(&laptop).await.unwrap().pop().unwrap().complete().await.unwrap();
    let offered = session.offer(Target::Device(tablet.did().clone())).await.unwrap();
    Waiting::list(&tablet).await.unwrap().pop().unwrap().accept().await.unwrap();
    replace(String::from_utf8(old).unwrap());
    assert!(session.seal(&offered).await.unwrap_err().is("status.stale"));
    middle.meddle(|_| Deed::Pass);
    session.seal(&offered).await.unwrap();
}

/// What a lying broker shows of a target, the source checks by itself: STS-06, a credential whose status stands elsewhere, though the person's own
/// root signed it; and a limited device that answers an offer to any full one.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_checks_whom_the_broker_shows() {
    let (server, middle) = Server::behind(On::Sqlite, system_clock()).await;
    let mut person = server.person().await;
    let (laptop, tablet) = (server.full(&mut person, "Laptop").await, server.full(&mut person, "Tablet").await);
    let tv = server.limited(&mut person, "Television").await;
    let mut session = Session::open(&laptop, b"x").await.unwrap();
    let offered = session.offer(Target::AnyFull).await.unwrap();
    let waiting = Waiting::list(&tablet).await.unwrap().pop().unwrap();
    waiting.accept().await.unwrap();
    let broker = &laptop.servers().broker;
    let show = |by: &Did, presentation: String| {
        let (by, path) = (by.clone(), format!("/broker/v1/handoffs/{}", offered.id()));
        middle.meddle(move |seen| {
            if seen.path != path {
                return Deed::Pass;
            }
            let mut shown: serde_json::Value = serde_json::from_slice(&seen.answer).unwrap();
            shown["by"] = by.as_str().into();
            shown["presentation"] = presentation.clone().into();
            Deed::Replace(shown.to_string().into_bytes())
        });
    };

    let entropy = system_entropy();
    let mut kept = tablet.kept();
    let enrolled = kept.enrolled.as_mut().unwrap();
    let signed = credential::check(&Compact::parse(&enrolled.credential).unwrap(), &(), server.http().now()).unwrap();
    let mut template = Template { visible: signed.visible, disclosable: signed.claims };
    template.visible.status.status_list.uri = "http://169.254.169.254/identity/v1/status-lists/1".into();
    let issuer = person.unlock().await.unwrap().issuer("baton");
    enrolled.credential = sign_credential(&template, &signed.key, &issuer, &entropy).unwrap();
    let turned = Device::from_kept(Keystore::memory(), kept, server.http()).unwrap().unwrap();
    let challenge = &waiting.offer().challenge;
    show(tablet.did(), turned.present(broker, challenge, &[waiting.data()], &[]).await.unwrap());
    assert!(session.seal(&offered).await.unwrap_err().is("status.invalid"), "STS-06");

    let offer = waiting.offer();
    let data = accept_data(offer, &hash(&serde_json::to_vec(offer).unwrap()), tv.did(), &tv.signer().key().thumbprint());
    show(tv.did(), tv.present(broker, challenge, &[data], &[]).await.unwrap());
    assert!(session.seal(&offered).await.unwrap_err().is("log.not_member"), "a limited device is not any full one");

    middle.meddle(|_| Deed::Pass);
    session.seal(&offered).await.unwrap();
    assert_eq!(waiting.complete().await.unwrap().content(), b"x");
}

/// ECC-14: what a device has seen is not taken back, whoever serves it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_seen_is_not_taken_back() {
    let (server, middle) = Server::behind(On::Sqlite, system_clock()).await;
    let laptop = server.full(&mut server.person().await, "Laptop").await;
    let mut session = Session::open(&laptop, b"1").await.unwrap();
    for content in [b"2", b"3"] {
        session.write(content).await.unwrap();
    }
    let shows = |most: i64| {
        middle.meddle(move |seen| {
            if !seen.path.ends_with("/updates") || !seen.body.is_empty() {
                return Deed::Pass;
            }
            let mut answer: serde_json::Value = serde_json::from_slice(&seen.answer).unwrap();
            answer["updates"].as_array_mut().unwrap().retain(|update| update["seq"].as_i64().unwrap() <= most);
            Deed::Replace(answer.to_string().into_bytes())
        });
    };
    for most in [1, 2] {
        shows(most);
        assert!(session.follow().await.unwrap_err().is("state.rollback"));
        assert!(Session::load(&laptop, session.id()).await.err().unwrap().is("state.rollback"));
        assert_eq!(session.content(), b"3");
    }
    shows(3);
    session.follow().await.unwrap();
    assert_eq!(Session::load(&laptop, session.id()).await.unwrap().content(), b"3");
}
