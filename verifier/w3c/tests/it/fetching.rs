//! The fetcher, against a real TLS server of another party.

use baton_w3c::{Fetch as _, Fetcher, Host, Policy};
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

/// Answers every request alike, and counts them.
async fn server(answer: impl Into<Vec<u8>>) -> Server {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key.into()).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name = format!("localhost:{}", listener.local_addr().unwrap().port());
    let (asked, answer) = (Arc::new(AtomicUsize::new(0)), answer.into());
    let count = asked.clone();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 2048];
            let _ = stream.read(&mut request).await;
            count.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
        }
    });
    Server { name, roots: cert.pem(), asked, task }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn fetcher(server: &Server, change: impl Fn(&mut Policy)) -> Fetcher {
    let host = Host { name: server.name.clone(), private: true, roots: server.roots.clone() };
    let mut policy = Policy { host: vec![host], stale_secs: 600, ..Policy::default() };
    change(&mut policy);
    policy.check().unwrap();
    Fetcher::new(&policy).unwrap()
}

#[tokio::test]
async fn what_a_named_host_says_is_fetched_and_kept_for_a_minute() {
    let server = server(ok("list")).await;
    let (url, fetcher) = (format!("https://{}/1", server.name), fetcher(&server, |_| ()));
    let asked = || server.asked.load(Ordering::SeqCst);
    let get = async |now| fetcher.get(&url, "text/plain", now).await;
    assert_eq!(get(1000).await.unwrap(), b"list");
    assert_eq!((get(1059).await.unwrap(), asked()), (b"list".to_vec(), 1));
    assert_eq!((get(1060).await.unwrap(), asked()), (b"list".to_vec(), 2));
    // A clock that was set back makes nothing younger.
    assert_eq!((get(900).await.unwrap(), asked()), (b"list".to_vec(), 3));
    // Its host gone, what it said lasts as long as the policy says, from when it was said.
    server.task.abort();
    assert_eq!(get(1499).await.unwrap(), b"list");
    assert_eq!(get(1500).await, Err("it could not be fetched"));
}

#[tokio::test]
async fn nobody_else_is_asked() {
    let server = server(ok("list")).await;
    let url = format!("https://{}/1", server.name);
    assert!(fetcher(&server, |_| ()).get(&url, "text/plain", 0).await.is_ok(), "the twin of all that follow");
    let asked = server.asked.load(Ordering::SeqCst);
    let refused = async |url: &str, change: &dyn Fn(&mut Policy)| fetcher(&server, change).get(url, "text/plain", 0).await.unwrap_err();
    assert_eq!(refused(&url, &|policy| policy.host[0].private = false).await, "it could not be fetched", "an address inside");
    assert_eq!(refused(&url, &|policy| policy.host[0].roots.clear()).await, "it could not be fetched", "a certificate of nobody's");
    assert_eq!(refused(&url, &|policy| policy.host[0].name = "localhost".into()).await, "its host is not in the policy");
    assert_eq!(refused(&url.replace("https", "http"), &|_| ()).await, "it is at no https URL of a named host");
    assert_eq!(refused(&url.replace("localhost", "127.0.0.1"), &|_| ()).await, "it is at no https URL of a named host");
    assert_eq!(server.asked.load(Ordering::SeqCst), asked);
}

#[tokio::test]
async fn only_a_short_and_plain_answer_counts() {
    let long = |length: usize| ok(&"x".repeat(length));
    for (answer, expected) in [
        (long(512 * 1024), Ok(512 * 1024)),
        (long(512 * 1024 + 1), Err("it is too long")),
        ("HTTP/1.1 302 Found\r\nlocation: /2\r\ncontent-length: 0\r\n\r\n".into(), Err("it could not be fetched")),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".into(), Err("it could not be fetched")),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nless".into(), Err("it could not be fetched")),
        ("nothing".into(), Err("it could not be fetched")),
    ] {
        let server = server(answer).await;
        let url = format!("https://{}/1", server.name);
        assert_eq!(fetcher(&server, |_| ()).get(&url, "text/plain", 0).await.map(|bytes| bytes.len()), expected);
    }
}
