//! What is fetched and kept, against a real TLS server of another party.

use baton_w3c::{Host, Policy, Trust, Visit};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

struct Server {
    name: String,
    roots: String,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// Gives these answers in turn, the last of them again and again, and counts.
async fn server(answers: &[&str]) -> Server {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key.into()).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name = format!("localhost:{}", listener.local_addr().unwrap().port());
    let answers: Vec<_> = answers.iter().map(|&answer| answer.to_owned()).collect();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 2048];
            let _ = stream.read(&mut request).await;
            let turn = count.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
            let _ = stream.write_all(answers[turn].as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    Server { name, roots: cert.pem(), asked, task }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn trust(server: &Server, change: impl Fn(&mut Policy)) -> Trust {
    let host = Host { name: server.name.clone(), private: true, roots: server.roots.clone() };
    let mut policy = Policy { host: vec![host], stale_secs: 600, ..Policy::default() };
    change(&mut policy);
    Trust::new(policy).unwrap()
}

type Found = Result<String, &'static str>;

/// Looks at one document as a verification does, to the end.
async fn look(trust: &Trust, url: &str, now: i64, judge: impl Fn(&str) -> Use) -> Found {
    let visit = Visit::default();
    loop {
        let found = {
            let desk = trust.desk(&visit, now);
            let world = trust.world(&desk);
            let read = world.sources.get(url, "text/plain").map(|bytes| String::from_utf8(bytes).unwrap());
            read.and_then(|text| match judge(&text) {
                Use::Good(made) => world.sources.accept(url, made).map(|()| text),
                Use::Bad => Ok(text),
            })
        };
        if !trust.fetch(&visit, now).await {
            return found;
        }
    }
}

/// What a look makes of a document.
enum Use {
    /// It is what it should be; when it says that it was made.
    Good(Option<i64>),
    /// It is of no use.
    Bad,
}

const fn useful(_: &str) -> Use {
    Use::Good(None)
}

const NOTHING: Found = Err("it could not be fetched");
const GONE: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn what_a_named_host_says_is_kept_for_a_minute() {
    let server = server(&[&ok("list")]).await;
    let (url, trust) = (format!("https://{}/1", server.name), trust(&server, |_| ()));
    let seen = async |now| (look(&trust, &url, now, useful).await, server.asked.load(Ordering::SeqCst));
    let list = || Ok("list".to_owned());
    assert_eq!(seen(1000).await, (list(), 1));
    assert_eq!(seen(1059).await, (list(), 1));
    assert_eq!(seen(1060).await, (list(), 2));
    // A clock that was set back makes nothing younger.
    assert_eq!(seen(900).await, (list(), 3));
    // Its host gone, what it said lasts as long as the policy says, from when it was said.
    server.task.abort();
    assert_eq!(seen(1499).await, (list(), 3));
    assert_eq!(seen(1500).await, (NOTHING, 3));
}

#[tokio::test]
async fn a_silent_host_is_bridged_and_one_that_says_no_is_not() {
    for (second, expected) in [(BUSY, Ok("list".to_owned())), (GONE, NOTHING)] {
        let server = server(&[&ok("list"), second]).await;
        let (url, trust) = (format!("https://{}/1", server.name), trust(&server, |_| ()));
        assert!(look(&trust, &url, 1000, useful).await.is_ok());
        assert_eq!(look(&trust, &url, 1060, useful).await, expected);
        // It rests for a moment, and nobody waits for it meanwhile.
        assert_eq!((look(&trust, &url, 1064, useful).await, server.asked.load(Ordering::SeqCst)), (expected.clone(), 2));
        assert_eq!((look(&trust, &url, 1065, useful).await, server.asked.load(Ordering::SeqCst)), (expected, 3));
    }
}

#[tokio::test]
async fn what_is_of_no_use_takes_no_good_copy_s_place() {
    let server = server(&[&ok("old"), &ok("new"), &ok("maintenance")]).await;
    let (url, trust) = (format!("https://{}/1", server.name), trust(&server, |_| ()));
    let seen = async |now, wanted: &str| {
        (look(&trust, &url, now, |text| if text == wanted { Use::Good(None) } else { Use::Bad }).await.unwrap(), server.asked.load(Ordering::SeqCst))
    };
    assert_eq!(seen(1000, "old").await, ("old".into(), 1));
    // A copy of this moment is believed; an older one that does not have what is looked for is asked for again.
    assert_eq!(seen(1004, "new").await, ("old".into(), 1));
    assert_eq!(seen(1005, "new").await, ("new".into(), 2));
    assert_eq!(seen(1064, "new").await, ("new".into(), 2));
    assert_eq!(seen(1065, "new").await, ("maintenance".into(), 3));
    assert_eq!(seen(1066, "new").await, ("new".into(), 3), "while it rests, what it said before counts");
}

/// One document sends on to another: until that is there, nobody else is told that the first is of no use.
#[tokio::test]
async fn what_waits_for_something_else_does_not_rest() {
    let server = server(&[&ok("here")]).await;
    let (first, second, trust) = (format!("https://{}/1", server.name), format!("https://{}/2", server.name), trust(&server, |_| ()));
    let visit = Visit::default();
    let get = |visit: &Visit, url: &str| trust.world(&trust.desk(visit, 0)).sources.get(url, "text/plain").is_ok();
    assert!(!get(&visit, &first) && trust.fetch(&visit, 0).await);
    assert!(get(&visit, &first) && !get(&visit, &second) && trust.fetch(&visit, 0).await);
    assert_eq!(look(&trust, &first, 0, useful).await, Ok("here".into()));
    assert!(get(&visit, &first) && get(&visit, &second) && !trust.fetch(&visit, 0).await);
}

/// Who asked first and is done last does not put back what another has seen since.
#[tokio::test]
async fn what_was_asked_for_later_stays() {
    let server = server(&[&ok("old"), &ok("new")]).await;
    let (url, trust) = (format!("https://{}/1", server.name), trust(&server, |_| ()));
    let slow = Visit::default();
    let try_at = |now| {
        let desk = trust.desk(&slow, now);
        trust.world(&desk).sources.get(&url, "text/plain").and_then(|_| trust.world(&desk).sources.accept(&url, None)).is_ok()
    };
    assert!(!try_at(1000) && trust.fetch(&slow, 1000).await);
    assert_eq!(look(&trust, &url, 1001, useful).await, Ok("new".into()));
    assert!(try_at(1002) && !trust.fetch(&slow, 1002).await);
    assert_eq!(look(&trust, &url, 1003, useful).await, Ok("new".into()));
    // It is as old as when it was asked for.
    assert_eq!((look(&trust, &url, 1060, useful).await, server.asked.load(Ordering::SeqCst)), (Ok("new".into()), 2));
    assert_eq!((look(&trust, &url, 1061, useful).await, server.asked.load(Ordering::SeqCst)), (Ok("new".into()), 3));
}

#[tokio::test]
async fn what_was_made_before_another_that_was_seen_does_not_count() {
    let server = server(&[&ok("20"), &ok("30"), &ok("20")]).await;
    let (url, trust) = (format!("https://{}/1", server.name), trust(&server, |_| ()));
    let seen = async |now| look(&trust, &url, now, |text| Use::Good(text.parse().ok())).await;
    assert_eq!(seen(1000).await, Ok("20".into()));
    assert_eq!(seen(1060).await, Ok("30".into()));
    assert_eq!(seen(1120).await, Err("one that was made later was seen before"));
}

#[tokio::test]
async fn nobody_else_is_asked() {
    let server = server(&[&ok("list")]).await;
    let url = format!("https://{}/1", server.name);
    assert!(look(&trust(&server, |_| ()), &url, 0, useful).await.is_ok(), "the twin of all that follow");
    let asked = server.asked.load(Ordering::SeqCst);
    let refused = async |url: &str, change: &dyn Fn(&mut Policy)| look(&trust(&server, change), url, 0, useful).await.unwrap_err();
    let nothing = NOTHING.unwrap_err();
    assert_eq!(refused(&url, &|policy| policy.host[0].private = false).await, nothing, "an address inside");
    assert_eq!(refused(&url, &|policy| policy.host[0].roots.clear()).await, nothing, "a certificate of nobody's");
    assert_eq!(refused(&url, &|policy| policy.host[0].name = "localhost".into()).await, nothing, "another port");
    assert_eq!(refused(&url.replace("https", "http"), &|_| ()).await, "it is at no https URL of a named host");
    assert_eq!(refused(&url.replace("localhost", "127.0.0.1"), &|_| ()).await, "it is at no https URL of a named host");
    assert_eq!(server.asked.load(Ordering::SeqCst), asked);
    for roots in ["/etc/ssl/ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let host = Host { name: server.name.clone(), private: true, roots: roots.into() };
        assert!(Trust::new(Policy { host: vec![host], ..Policy::default() }).is_err(), "{roots} is not the system's roots");
    }
}

#[tokio::test]
async fn only_a_short_and_plain_answer_counts() {
    let long = |length: usize| ok(&"x".repeat(length));
    for (answer, expected) in [
        (long(512 * 1024), Ok(512 * 1024)),
        (long(512 * 1024 + 1), Err(())),
        ("HTTP/1.1 302 Found\r\nlocation: /2\r\ncontent-length: 0\r\n\r\n".into(), Err(())),
        (GONE.into(), Err(())),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nless".into(), Err(())),
        ("nothing".into(), Err(())),
    ] {
        let server = server(&[&answer]).await;
        let url = format!("https://{}/1", server.name);
        let found = look(&trust(&server, |_| ()), &url, 0, useful).await;
        assert_eq!((found.map(|text| text.len()).map_err(drop), server.asked.load(Ordering::SeqCst)), (expected, 1));
    }
}
