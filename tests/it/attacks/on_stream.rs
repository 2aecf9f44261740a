//! What a device asks for on its stream: updates that are kept, and another token to go on with. Whoever may not post may not write here either.

use super::{Ask, Proof, Rig};
use crate::support::Server;
use baton_protocol::event::{Frame, Said};
use baton_protocol::handoff::machine::Target;
use baton_protocol::session::{Kind, SealedUpdate};
use baton_sdk::{Device, Session, Waiting};
use baton_service::base::system_clock;
use baton_service::testing::{ManualClock, On};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const SCOPE: &str = "session:read session:write";

/// A stream as a stranger's program speaks it.
struct Raw(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Raw {
    /// Opened with a token and its proof.
    async fn open(rig: &Rig, device: &Device, scope: &str) -> Self {
        let ask = rig.to_broker(device, "GET", "/v1/events", scope, None).await;
        let mut request = ask.url.replacen("http", "ws", 1).into_client_request().unwrap();
        for (name, value) in &ask.headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        Self(tokio_tungstenite::connect_async(request).await.unwrap().0)
    }

    /// Opened with a ticket, as browsers do it.
    async fn by_ticket(rig: &Rig, device: &Device) -> Self {
        let ask = rig.to_broker(device, "POST", "/v1/events/tickets", SCOPE, Some(&json!({}))).await;
        let ticket = rig.allow(&ask).await["ticket"].as_str().unwrap().to_owned();
        let url = rig.broker(&format!("/v1/events?ticket={ticket}")).replacen("http", "ws", 1);
        Self(tokio_tungstenite::connect_async(url).await.unwrap().0)
    }

    async fn say(&mut self, said: &impl serde::Serialize) {
        self.0.send(Message::text(serde_json::to_string(said).unwrap())).await.unwrap();
    }

    /// The next answer, or the close code.
    async fn answer(&mut self) -> Result<Frame, u16> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => match serde_json::from_str(&text).unwrap() {
                    Frame::Event(_) | Frame::Presence { .. } => {}
                    answer => return Ok(answer),
                },
                Some(Ok(Message::Close(frame))) => return Err(frame.map_or(0, |frame| frame.code.into())),
                Some(Ok(_)) => {}
                _ => return Err(0),
            }
        }
    }

    /// Says an update; whether it stands, or why not.
    async fn write(&mut self, update: &SealedUpdate) -> Result<(), String> {
        self.say(&Said::Update { update: update.clone() }).await;
        match self.answer().await {
            Ok(Frame::Written { session, seq, hash }) => {
                assert_eq!((session, seq, hash), (update.place.session.clone(), update.place.seq, update.hash()));
                Ok(())
            }
            Ok(Frame::Unwritten { session, hash, code }) => {
                assert_eq!((session, hash), (update.place.session.clone(), update.hash()));
                Err(code)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Gives it a token; until when it goes on, or why not, and a nonce.
    async fn renew(&mut self, token: &str, proof: &str) -> Result<i64, (String, Option<String>)> {
        self.say(&Said::Renew { token: token.into(), proof: proof.into() }).await;
        match self.answer().await {
            Ok(Frame::Renewed { until }) => Ok(until),
            Ok(Frame::Unrenewed { code, nonce }) => Err((code, nonce)),
            other => panic!("{other:?}"),
        }
    }
}

impl Rig {
    /// What is refused on a stream changes nothing, and is noted once.
    async fn refuse_write(&self, stream: &mut Raw, update: &SealedUpdate, code: &str, status: u16) {
        self.server.running.audit.take();
        let before = self.server.dump(&[]).await;
        assert_eq!(stream.write(update).await.unwrap_err(), code);
        assert_eq!(self.server.dump(&[]).await, before, "a refusal changed something");
        let events = self.server.running.audit.take();
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!((events[0].refusal.code(), events[0].status, events[0].path.as_str()), (code, status, "/broker/v1/events"));
    }

    /// A token and a proof of it, right in every respect.
    async fn renewal(&self, device: &Device, scope: &str) -> (String, String) {
        let ask = self.to_broker(device, "GET", "/v1/events", scope, None).await;
        let header = |name| ask.headers.iter().find(|(known, _)| *known == name).unwrap().1.clone();
        (header("authorization")["DPoP ".len()..].to_owned(), header("dpop"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writing() {
    for on in [On::Sqlite, On::Postgres] {
        let rig = Rig::new(on).await;
        let mut person = rig.server.person().await;
        let theirs = rig.server.full(&mut person, "Theirs").await;
        let mut session = rig.session().await;
        let update = session.draft_write(b"00:44").await.unwrap();
        let moved = |change: &dyn Fn(&mut SealedUpdate)| {
            let mut update = update.clone();
            change(&mut update);
            update
        };

        for (device, code, status) in [(&theirs, "not_found", 404), (&rig.tv, "not_found", 404)] {
            rig.refuse_write(&mut Raw::open(&rig, device, SCOPE).await, &update, code, status).await;
        }
        rig.refuse_write(&mut Raw::open(&rig, &rig.laptop, "session:read").await, &update, "insufficient_scope", 403).await;
        let mut stream = Raw::open(&rig, &rig.laptop, SCOPE).await;
        for (update, code, status) in [
            (moved(&|update| update.place.epoch = 2), "handoff.epoch", 400),
            (moved(&|update| update.place.key_version = 2), "state.rekey_required", 409),
            (moved(&|update| update.place.prev = "elsewhere".into()), "state.conflict", 409),
            (moved(&|update| update.place.seq += 1), "state.conflict", 409),
        ] {
            rig.refuse_write(&mut stream, &update, code, status).await;
        }
        // The same stream, the same update, unchanged.
        stream.write(&update).await.unwrap();
        let after = rig.server.dump(&[]).await;
        stream.write(&update).await.unwrap();
        assert_eq!(rig.server.dump(&[]).await, after, "said twice, it is written once");
        let ask = rig.to_broker(&rig.laptop, "POST", &format!("/v1/sessions/{}/updates", session.id()), SCOPE, Some(&json!(update))).await;
        assert_eq!(rig.allow(&ask).await["hash"], update.hash(), "and posted, it stands");
        session.follow().await.unwrap();
        assert_eq!(session.content(), b"00:44");
    }
}

/// A ticket is no key: whoever found one reads along for as long as its token lives, and writes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_ticket_alone_writes_nothing() {
    let rig = Rig::new(On::Sqlite).await;
    let mut session = rig.session().await;
    let update = session.draft_write(b"00:44").await.unwrap();
    let mut stream = Raw::by_ticket(&rig, &rig.laptop).await;
    rig.refuse_write(&mut stream, &update, "invalid_dpop_proof", 401).await;
    let (token, proof) = rig.renewal(&rig.laptop, SCOPE).await;
    stream.renew(&token, &proof).await.unwrap();
    stream.write(&update).await.unwrap();
}

/// Who says nothing is asked whether it is there, and one that answers is, for as long as it does.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_answers_stays() {
    let rig = Rig::at(Server::start_with(On::Sqlite, system_clock(), |config| config.stream_tick /= 50).await).await;
    let mut session = rig.session().await;
    let mut stream = Raw::open(&rig, &rig.laptop, SCOPE).await;
    // More than twice as long as it may be silent.
    for _ in 0..6 {
        while !matches!(stream.0.next().await.unwrap().unwrap(), Message::Ping(_)) {}
        stream.0.flush().await.unwrap();
    }
    stream.write(&session.draft_write(b"00:44").await.unwrap()).await.unwrap();
}

/// A stream goes on with a fresh token of its own device, of which it has a fresh proof; with nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn renewing() {
    let clock = ManualClock::start();
    let rig = Rig::at(Server::start_at(On::Sqlite, clock.clock()).await).await;
    let mut person = rig.server.person().await;
    let theirs = rig.server.full(&mut person, "Theirs").await;
    let (mut stream, mut left) = (Raw::open(&rig, &rig.laptop, SCOPE).await, Raw::open(&rig, &rig.laptop, SCOPE).await);
    // So that no stream finds its news too old meanwhile.
    let pass = async |secs: i64| {
        for _ in 0..secs / 4 {
            clock.advance_secs(4);
            rig.server.running.identity.pump().await.unwrap();
        }
    };
    pass(280).await;

    let refused = async |stream: &mut Raw, token: &str, proof: &str, code: &str| {
        let before = rig.server.dump(&["used_once"]).await;
        let why = stream.renew(token, proof).await.unwrap_err();
        assert_eq!(why.0, code);
        assert_eq!(rig.server.dump(&["used_once"]).await, before);
        why.1
    };
    for (device, scope, code) in
        [(&theirs, SCOPE, "invalid_token"), (&rig.tv, SCOPE, "invalid_token"), (&rig.laptop, "session:write", "insufficient_scope")]
    {
        let (token, proof) = rig.renewal(device, scope).await;
        refused(&mut stream, &token, &proof, code).await;
    }
    let (token, proof) = rig.renewal(&rig.laptop, SCOPE).await;
    let url = rig.broker("/v1/events");
    let (signer, wrong) =
        (rig.laptop.signer(), |method: &str, url: &str, nonce: &str| Proof::new(&rig, rig.laptop.signer(), method, url, Some(&token), nonce));
    let nonce = refused(&mut stream, &token, &wrong("GET", &url, "made up").text(), "use_dpop_nonce").await.unwrap();
    for proof in [
        wrong("POST", &url, &nonce).text(),
        wrong("GET", &rig.broker("/v1/sessions"), &nonce).text(),
        wrong("GET", &url, &nonce).claim("ath", json!("another")).text(),
        Proof::new(&rig, theirs.signer(), "GET", &url, Some(&token), &nonce).text(),
        "no proof".into(),
    ] {
        let why = stream.renew(&token, &proof).await.unwrap_err().0;
        assert!(["invalid_dpop_proof", "invalid_token", "use_dpop_nonce"].contains(&why.as_str()), "{why}");
    }
    let narrow = {
        let details = json!([{"type": "baton_session", "session": rig.session().await.id()}]).to_string();
        let ask = rig.exchange(&rig.laptop, signer, &[("scope", SCOPE), ("authorization_details", &details)]).await;
        rig.allow(&ask).await["access_token"].as_str().unwrap().to_owned()
    };
    let for_narrow = Proof::new(&rig, signer, "GET", &url, Some(&narrow), &nonce).text();
    refused(&mut stream, &narrow, &for_narrow, "handoff.binding").await;

    let until = stream.renew(&token, &proof).await.unwrap();
    assert_eq!(until, rig.server.running.broker.base().now().secs() + 300);
    refused(&mut stream, &token, &proof, "invalid_dpop_proof").await;
    pass(24).await;
    // The other had the same token at first, and was given no other.
    assert_eq!(left.answer().await, Err(4401));
    let mut session = rig.session().await;
    stream.write(&session.draft_write(b"00:44").await.unwrap()).await.unwrap();
    pass(280).await;
    assert_eq!(stream.answer().await, Err(4401));
}

/// Whoever is out writes nothing, however open its stream still is, and renews nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_writes_nothing() {
    let rig = Rig::new(On::Sqlite).await;
    let mut session = rig.session().await;
    let mut stream = Raw::open(&rig, &rig.laptop, SCOPE).await;
    stream.write(&session.draft_write(b"00:44").await.unwrap()).await.unwrap();
    session.follow().await.unwrap();
    let update = session.draft_write(b"00:45").await.unwrap();
    let renewal = rig.renewal(&rig.laptop, SCOPE).await;
    rig.person.revoke(&rig.laptop.enrolled().device_id).await.unwrap();
    let before = rig.server.dump(&[]).await;
    // It may be gone before it says anything.
    for frame in [json!(Said::Update { update }), json!(Said::Renew { token: renewal.0, proof: renewal.1 })] {
        let _ = stream.0.send(Message::text(frame.to_string())).await;
    }
    let ended = loop {
        match stream.answer().await {
            Ok(Frame::Unwritten { .. } | Frame::Unrenewed { .. }) => {}
            other => break other,
        }
    };
    assert_eq!(ended, Err(4403));
    assert_eq!(rig.server.dump(&[]).await, before);
}

/// Even one whose stream has not heard of it: its standing is read in the transaction that would write.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_counts_before_the_stream_hears_of_it() {
    for on in [On::Sqlite, On::Postgres] {
        let rig = Rig::new(on).await;
        let mut session = rig.session().await;
        let update = session.draft_write(b"00:44").await.unwrap();
        let mut broker = AnyConnection::connect(&rig.server.database("broker")).await.unwrap();
        let revoke = match on {
            On::Sqlite => "UPDATE standing SET revoked_at = $1 WHERE device = $2",
            On::Postgres => "UPDATE broker.standing SET revoked_at = $1 WHERE device = $2",
        };
        let mut stand = async |revoked_at: Option<i64>| {
            sqlx::query(revoke).bind(revoked_at).bind(rig.laptop.did().as_str().to_owned()).execute(&mut broker).await.unwrap();
        };
        let code = loop {
            let mut stream = Raw::open(&rig, &rig.laptop, SCOPE).await;
            stand(Some(1)).await;
            let before = rig.server.dump(&[]).await;
            // It may be shown out before it says anything, for it looks every few seconds.
            let _ = stream.0.send(Message::text(json!(Said::Update { update: update.clone() }).to_string())).await;
            let answer = stream.answer().await;
            assert_eq!(rig.server.dump(&[]).await, before);
            if let Ok(Frame::Unwritten { code, .. }) = answer {
                assert_eq!(stream.answer().await, Err(4403));
                break code;
            }
            assert_eq!(answer, Err(4403));
            stand(None).await;
        };
        assert_eq!(code, "invalid_token");
        stand(None).await;
        Raw::open(&rig, &rig.laptop, SCOPE).await.write(&update).await.unwrap();
    }
}

/// EVT-08: what is no update to be kept ends the stream, and so does asking again and again for what is refused.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_update_ends_the_stream() {
    let rig = Rig::new(On::Sqlite).await;
    let mut session = rig.session().await;
    let update = session.draft_write(b"00:44").await.unwrap();
    let frame = json!(Said::Update { update: update.clone() });
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut frame = frame.clone();
        change(&mut frame);
        frame
    };
    for said in [
        changed(&|frame| frame["update"]["kind"] = json!("volatile")),
        changed(&|frame| frame["update"]["ct"] = json!("The General, 00:43")),
        changed(&|frame| frame["update"]["more"] = json!(1)),
        changed(&|frame| frame["update"]["epoch"] = json!(0)),
        changed(&|frame| frame["more"] = json!(1)),
        changed(&|frame| frame["type"] = json!("written")),
        json!({"type": "renew", "token": 1, "proof": "x"}),
        json!({"type": "renew", "token": "x"}),
        json!({"type": "update", "update": ["ses", 1, 1, "prev", 1, "update", "iv", "ct"]}),
    ] {
        let mut stream = Raw::open(&rig, &rig.laptop, SCOPE).await;
        stream.say(&said).await;
        assert_eq!(stream.answer().await, Err(1008), "{said}");
    }
    let mut stream = Raw::open(&rig, &rig.laptop, SCOPE).await;
    let mut long = update.clone();
    long.ct = "A".repeat(17_000);
    // It may be shown out before it has said all of it.
    let _ = stream.0.send(Message::text(json!(Said::Update { update: long }).to_string())).await;
    // What it had not read when it closed may take the reason along.
    assert!([Err(1009), Err(0)].contains(&stream.answer().await));

    let mut stream = Raw::open(&rig, &rig.laptop, SCOPE).await;
    let wrong = SealedUpdate { place: baton_protocol::session::Place { epoch: 2, kind: Kind::Update, ..update.place.clone() }, ..update.clone() };
    for _ in 0..80 {
        let _ = stream.0.send(Message::text(json!(Said::Update { update: wrong.clone() }).to_string())).await;
    }
    let mut refused = 0;
    let ended = loop {
        match stream.answer().await {
            Ok(Frame::Unwritten { .. }) => refused += 1,
            other => break other,
        }
    };
    assert_eq!(ended, Err(4429));
    assert!((64..80).contains(&refused), "{refused}");
    Raw::open(&rig, &rig.laptop, SCOPE).await.write(&update).await.unwrap();
}

/// Two streams of one device, and a post: of what they write at once one stands.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_at_once_one_stands() {
    for on in [On::Sqlite, On::Postgres] {
        let rig = Rig::new(on).await;
        let mut session = rig.session().await;
        let (one, two) = (session.draft_write(b"one").await.unwrap(), session.draft_write(b"two").await.unwrap());
        let path = format!("/v1/sessions/{}/updates", session.id());
        let three = json!(session.draft_write(b"three").await.unwrap());
        let ask: Ask = rig.to_broker(&rig.laptop, "POST", &path, SCOPE, Some(&three)).await;
        let (mut first, mut second) = (Raw::open(&rig, &rig.laptop, SCOPE).await, Raw::open(&rig, &rig.laptop, SCOPE).await);
        let (first, second, third) = tokio::join!(first.write(&one), second.write(&two), ask.send());
        let stand = usize::from(first.is_ok()) + usize::from(second.is_ok()) + usize::from(third.status == 200);
        assert_eq!(stand, 1, "{first:?} {second:?} {}", third.code);
    }
}

/// What a session's rules say is said here too, and a newcomer to it reads what was written so.
#[tokio::test(flavor = "multi_thread")]
async fn the_rules_of_sessions_hold_here() {
    let rig = Rig::new(On::Sqlite).await;
    let mut person = rig.server.person().await;
    let (laptop, phone) = (rig.server.full(&mut person, "Laptop").await, rig.server.full(&mut person, "Phone").await);
    let (mut here, mut there) = (Raw::open(&rig, &laptop, SCOPE).await, Raw::open(&rig, &phone, SCOPE).await);

    // A member writes into a shared session, and not into one that another holds.
    for (shared, outcome) in [(true, Ok(())), (false, Err("handoff.fenced"))] {
        let session = if shared { Session::open_shared(&laptop, b"0").await } else { Session::open(&laptop, b"0").await }.unwrap();
        let mut of_phone = Session::load(&phone, session.id()).await.unwrap();
        let update = of_phone.draft_write(b"1").await.unwrap();
        match outcome {
            Ok(()) => there.write(&update).await.unwrap(),
            Err(code) => rig.refuse_write(&mut there, &update, code, 409).await,
        }
    }

    // A snapshot is written by itself, as when it is posted.
    let mut session = Session::open(&laptop, b"0").await.unwrap();
    let mut update = session.draft_write(b"1").await.unwrap();
    update.place.kind = Kind::Snapshot;
    here.write(&update).await.unwrap();

    // Whoever held it is too late.
    let mut session = Session::open(&laptop, b"0").await.unwrap();
    let mut stale = Session::load(&laptop, session.id()).await.unwrap();
    let late = stale.draft_write(b"late").await.unwrap();
    let offered = session.offer(Target::Device(phone.did().clone())).await.unwrap();
    let waiting = Waiting::list(&phone).await.unwrap().pop().unwrap();
    waiting.accept().await.unwrap();
    session.seal(&offered).await.unwrap();
    let mut theirs = waiting.complete().await.unwrap();
    rig.refuse_write(&mut here, &late, "handoff.fenced", 409).await;
    there.write(&theirs.draft_write(b"1").await.unwrap()).await.unwrap();
}

/// With another token come its scopes.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_may_do_what_its_token_says() {
    let rig = Rig::new(On::Sqlite).await;
    let mut session = rig.session().await;
    let update = session.draft_write(b"00:44").await.unwrap();
    let mut stream = Raw::open(&rig, &rig.laptop, SCOPE).await;
    let (token, proof) = rig.renewal(&rig.laptop, "session:read").await;
    stream.renew(&token, &proof).await.unwrap();
    rig.refuse_write(&mut stream, &update, "insufficient_scope", 403).await;
    let (token, proof) = rig.renewal(&rig.laptop, SCOPE).await;
    stream.renew(&token, &proof).await.unwrap();
    stream.write(&update).await.unwrap();
}

/// One commit takes what is right of what comes at once, and nothing else: posts and frames, one proof sent twice, one update at the wrong place.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_at_once_is_decided_one_by_one() {
    for on in [On::Sqlite, On::Postgres] {
        let rig = Rig::new(on).await;
        let mut sessions = Vec::new();
        for _ in 0..3 {
            sessions.push(rig.session().await);
        }
        let path = format!("/v1/sessions/{}/updates", sessions[0].id());
        let update = json!(sessions[0].draft_write(b"posted").await.unwrap());
        let ask = rig.to_broker(&rig.laptop, "POST", &path, SCOPE, Some(&update)).await;
        let right = sessions[1].draft_write(b"said").await.unwrap();
        let mut wrong = sessions[2].draft_write(b"elsewhere").await.unwrap();
        wrong.place.prev = "elsewhere".into();
        let (mut one, mut two) = (Raw::open(&rig, &rig.laptop, SCOPE).await, Raw::open(&rig, &rig.laptop, SCOPE).await);
        let (first, again, right, wrong) = tokio::join!(ask.send(), ask.send(), one.write(&right), two.write(&wrong));
        let mut posted = [(first.status, first.code), (again.status, again.code)];
        posted.sort();
        assert_eq!(posted, [(200, String::new()), (401, "invalid_dpop_proof".into())]);
        assert_eq!((right, wrong), (Ok(()), Err("state.conflict".into())));
    }
}
