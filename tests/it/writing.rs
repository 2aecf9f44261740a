//! Many who write at once share a commit, and each is decided as if it were alone.

use crate::attacks::{Rig, race};
use crate::support::Server;
use baton_sdk::{Session, Written};
use baton_service::testing::On;

/// Devices of two people, with sessions of their own, all at once: every write is where it belongs, and every subject's events have every number.
#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_written_at_once_is_there() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut writers = tokio::task::JoinSet::new();
        let (mut subjects, mut sessions) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let mut person = server.person().await;
            for n in 0..2 {
                let device = server.full(&mut person, &format!("Device {n}")).await;
                if n == 0 {
                    subjects.push(device.clone());
                }
                for _ in 0..5 {
                    sessions.push(Session::open(&device, b"0").await.unwrap());
                }
            }
        }
        for mut session in sessions {
            writers.spawn(async move {
                for n in 1..=6 {
                    let Written::Session(head) = session.write(n.to_string().as_bytes()).await.unwrap() else { panic!("beside it") };
                    assert_eq!(head.seq, n + 1);
                }
                session
            });
        }
        for session in writers.join_all().await {
            let mut again = session;
            again.follow().await.unwrap();
            assert_eq!((again.content(), again.head().seq), (&b"6"[..], 7));
        }
        for device in subjects {
            let mut events = device.events(Some(0)).await.unwrap();
            let mut updated = 0;
            // Two devices enrolled, ten sessions opened, seven updates of each.
            for seq in 1..=2 + 10 * 8 {
                let event = events.next().await.unwrap();
                assert_eq!(event.seq, seq);
                updated += usize::from(event.kind == "session.updated");
            }
            assert_eq!(updated, 70);
        }
        assert_eq!(server.running.broker.gathered(), 120, "nothing was in anybody's way");
    }
}

/// BRK-05, DPO-01 among others who write: the same update ten times with ten proofs is one update, the same proof counts once, and what is refused is refused
/// for its own reason.
#[tokio::test(flavor = "multi_thread")]
async fn each_is_decided_by_itself() {
    for on in [On::Sqlite, On::Postgres] {
        let rig = Rig::new(on).await;
        let mut session = rig.session().await;
        let mut other = Session::open(&rig.laptop, b"another").await.unwrap();
        let path = |session: &Session| format!("/v1/sessions/{}/updates", session.id());
        let update = serde_json::to_value(session.draft_write(b"1").await.unwrap()).unwrap();
        let with = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut update = update.clone();
            change(&mut update);
            update
        };
        let ask = async |path: &str, body: &serde_json::Value| rig.to_broker(&rig.laptop, "POST", path, "session:write", Some(body)).await;
        let mut copies = Vec::new();
        for _ in 0..10 {
            copies.push(ask(&path(&session), &update).await);
        }
        let twice = copies[0].clone();
        copies.push(twice);
        let own = serde_json::to_value(other.draft_write(b"1").await.unwrap()).unwrap();
        copies.push(ask(&path(&other), &own).await);
        copies.push(ask(&path(&other), &update).await);
        copies.push(ask(&path(&session), &with(&|update| update["key_version"] = 2.into())).await);
        copies.push(ask(&path(&session), &with(&|update| update["prev"] = "somewhere".into())).await);
        copies.push(ask(&path(&session), &with(&|update| update["epoch"] = 2.into())).await);
        let answers = race(copies).await;
        let count = |status: u16, code: &str| answers.iter().filter(|answer| (answer.status, answer.code.as_str()) == (status, code)).count();
        assert_eq!(count(200, ""), 11, "ten copies of one, and another's");
        assert_eq!(count(401, "invalid_dpop_proof"), 1);
        assert_eq!(count(422, "state.not_encrypted"), 1);
        assert_eq!(count(409, "state.rekey_required"), 1);
        assert_eq!(count(409, "state.conflict"), 1);
        assert_eq!(count(400, "handoff.epoch"), 1);
        session.follow().await.unwrap();
        other.follow().await.unwrap();
        assert_eq!((session.head().seq, other.head().seq), (2, 2));
    }
}
