//! `kill -9` of the server while devices enrol, write and hand over, and while a root is replaced (F03, F07, F10, F26, WRP-09). After each, the checker reads the databases, and what was acknowledged is there, one device holds the
//! session, and the same step repeated gives the same result (I1, I2, I11).

use super::process::{Process, device};
use crate::support::http;
use baton::demo::{SCOPES, claims};
use baton::person::Person;
use baton_protocol::enrolment::Kind;
use baton_protocol::handoff::machine::Target;
use baton_sdk::enroll::Enrolling;
use baton_sdk::keystore::{Kept, Keystore};
use baton_sdk::{Servers, Session, Waiting, Written, system_entropy};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_step_of_a_handoff() {
    let mut process = Process::start().await;
    let mut person = Person::new(&process.url(), system_entropy()).unwrap();
    person.sign_up().await.unwrap();
    let (laptop, tablet) = (device(&process, &mut person, "Laptop").await, device(&process, &mut person, "Tablet").await);

    let mut session = Session::open(&laptop, b"0").await.unwrap();
    for n in 1..=3u8 {
        assert!(matches!(session.write(&[n]).await.unwrap(), Written::Session(_)));
        process.kill();
        process.again().await;
        let read = Session::load(&tablet, session.id()).await.unwrap();
        assert_eq!(read.content(), [n], "I2: what was acknowledged is there");
    }
    let offered = session.offer(Target::Device(tablet.did().clone())).await.unwrap();
    process.kill();
    process.again().await;
    let waiting = Waiting::list(&tablet).await.unwrap().pop().unwrap();
    waiting.accept().await.unwrap();
    process.kill();
    process.again().await;
    waiting.accept().await.unwrap();
    session.seal(&offered).await.unwrap();
    process.kill();
    process.again().await;
    let mut on_tablet = waiting.complete().await.unwrap();
    process.kill();
    process.again().await;
    assert_eq!((on_tablet.epoch(), on_tablet.content()), (2, &[3u8][..]));
    let repeated = waiting.complete().await.unwrap();
    assert!(repeated.is_held() && repeated.epoch() == 2, "I11: completing twice is completing once");
    assert!(matches!(on_tablet.write(b"on").await.unwrap(), Written::Session(_)));
    let seen = Session::load(&laptop, session.id()).await.unwrap();
    assert!(!seen.is_held() && seen.content() == b"on", "I1: one holder");
    process.checked().await;
}

/// F03: killed at each step of an enrolment, and F07: killed right after a revocation was answered.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_step_of_an_enrolment() {
    let mut process = Process::start().await;
    let mut person = Person::new(&process.url(), system_entropy()).unwrap();
    person.sign_up().await.unwrap();
    let again = async |process: &mut Process| {
        process.kill();
        process.again().await;
    };
    again(&mut process).await;
    let laptop = device(&process, &mut person, "Laptop").await;
    let kept = Kept::fresh(Servers::at(&process.url()), "baton-cli", &system_entropy());
    let asked = claims("Television", Kind::Tv);
    let (mut asking, screen) = Enrolling::elsewhere(http(), Keystore::memory(), kept, &asked, SCOPES).await.unwrap();
    again(&mut process).await;
    let shown = person.open_elsewhere(&screen.user_code).await.unwrap();
    again(&mut process).await;
    let root = person.unlock().await.unwrap();
    let offer = person.offer(&root, &shown, Some(&screen.check_code)).await.unwrap();
    again(&mut process).await;
    assert!(asking.redeem(None).await.is_err(), "I9: not before it was approved");
    let approval = root.approve(&shown, &offer, &system_entropy()).unwrap();
    person.post_approval(&shown, &approval).await.unwrap();
    again(&mut process).await;
    person.post_approval(&shown, &approval).await.unwrap();
    asking.redeem(None).await.unwrap();
    again(&mut process).await;
    let tv = Arc::new(asking.into_device().unwrap());
    let session = Session::open(&laptop, b"x").await.unwrap();
    session.offer(Target::Device(tv.did().clone())).await.unwrap();
    assert!(person.revoke(&tv.enrolled().device_id).await.unwrap());
    again(&mut process).await;
    tv.forget_tokens();
    assert!(tv.members().await.unwrap_err().is("status.revoked"), "I4");
    assert!(laptop.members().await.unwrap().live.iter().all(|live| live != tv.did()));
    process.checked().await;
}

/// Killed in the midst of writes, posted ones and ones on a stream: everything acknowledged is there, in order, and at most the one under way besides.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_writing() {
    let mut process = Process::start().await;
    let mut person = Person::new(&process.url(), system_entropy()).unwrap();
    person.sign_up().await.unwrap();
    let laptop = device(&process, &mut person, "Laptop").await;
    for on_stream in [false, true] {
        let mut session = Session::open(&laptop, b"0").await.unwrap();
        let id = session.id().clone();
        let stream = if on_stream { Some(laptop.live(None).await.unwrap()) } else { None };
        let (told, mut acknowledged) = tokio::sync::watch::channel(0u32);
        let writing = tokio::spawn(async move {
            let _stream = stream;
            for n in 1..=1000u32 {
                if session.write(n.to_string().as_bytes()).await.is_err() {
                    return;
                }
                told.send_replace(n);
            }
        });
        acknowledged.wait_for(|n| *n >= 20).await.unwrap();
        process.kill();
        let known = *acknowledged.borrow();
        writing.abort();
        process.again().await;
        let read = Session::load(&laptop, &id).await.unwrap();
        let last: u32 = String::from_utf8(read.content().to_vec()).unwrap().parse().unwrap();
        assert!(last == known || last == known + 1, "acknowledged {known}, stored {last}");
        assert_eq!(read.head().seq, i64::from(last) + 1);
    }
    process.checked().await;
}

/// WRP-09: whenever it dies in the midst of the switch, all copies are of the root there was or all of the next one, and the same request finishes it.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_root_is_replaced() {
    let mut process = Process::start().await;
    let mut person = Person::new(&process.url(), system_entropy()).unwrap();
    person.sign_up().await.unwrap();
    let laptop = device(&process, &mut person, "Laptop").await;
    let mut stopped = [0, 0];
    for millis in [0, 2, 4, 6, 8, 12, 16, 24] {
        let (next, _) = person.ask_for_root().await.unwrap();
        laptop.agree(&laptop.members().await.unwrap().replace_root.clone().unwrap()).await.unwrap();
        let old = person.unlock().await.unwrap();
        let body = person.sign_switch(&old, &next).await.unwrap();
        {
            // Whichever comes first.
            let asked = person.post("/v1/account/root/approve", &body);
            let _ = tokio::time::timeout(std::time::Duration::from_millis(millis), asked).await;
        }
        process.kill();
        process.again().await;
        let account = person.get("/v1/account").await.unwrap()["root"].clone();
        let wraps = person.get("/v1/account/wraps").await.unwrap()["wraps"].clone();
        let roots: Vec<_> = wraps.as_array().unwrap().iter().map(|copy| copy["root"].clone()).collect();
        assert_eq!(roots, [account.clone(), account.clone()], "after {millis} ms: a mixture");
        let is_next = account == next.fingerprint();
        assert!(is_next || account == old.fingerprint());
        stopped[usize::from(is_next)] += 1;
        let answer = person.post("/v1/account/root/approve", &body).await.unwrap();
        assert_eq!(answer["root"], next.fingerprint(), "I11");
        person.replaced(&next);
        person.unlock().await.unwrap();
        assert!(laptop.members().await.unwrap().replace_root.is_none());
        Session::open(&laptop, b"goes on").await.unwrap();
    }
    println!("before {} and after {} of 8 commits", stopped[0], stopped[1]);
    process.checked().await;
}

/// The same where it dies at one known moment: after the commit, before the answer.
#[tokio::test(flavor = "multi_thread")]
async fn killed_once_the_root_is_replaced() {
    let mut process = Process::start().await;
    let mut person = Person::new(&process.url(), system_entropy()).unwrap();
    person.sign_up().await.unwrap();
    let (next, _) = person.ask_for_root().await.unwrap();
    let old = person.unlock().await.unwrap();
    let body = person.sign_switch(&old, &next).await.unwrap();
    process.dying_after("POST /identity/v1/account/root/approve").await;
    assert!(person.post("/v1/account/root/approve", &body).await.is_err());
    process.died_and_came_back().await;
    assert_eq!(person.get("/v1/account").await.unwrap()["root"], next.fingerprint());
    person.post("/v1/account/root/approve", &body).await.unwrap();
    person.replaced(&next);
    person.unlock().await.unwrap();
    process.checked().await;
}
