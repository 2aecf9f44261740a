//! HTTP-01 to HTTP-04, HTTP-06 and INP-01: what arrives on the wire before anybody knows what it is.

use super::{Ask, Rig};
use crate::support::{RELYING_KEY, Server};
use baton_service::testing::On;
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Sends bytes as they are and gives all that comes back until the server closes, or until `enough` of it is there.
async fn raw(server: &Server, sent: &[u8], enough: &str) -> String {
    let mut stream = TcpStream::connect(server.direct().trim_start_matches("http://")).await.unwrap();
    // A server that has said no may close before all was sent.
    let _ = stream.write_all(sent).await;
    let (mut said, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&said);
        if !enough.is_empty() && text.contains(enough) {
            return text.into_owned();
        }
        let read = tokio::time::timeout(Duration::from_secs(30), stream.read(&mut buffer)).await;
        match read.unwrap_or_else(|_| panic!("nothing more after {text}")) {
            Ok(0) | Err(_) => return text.into_owned(),
            Ok(count) => said.extend_from_slice(&buffer[..count]),
        }
    }
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default()
}

fn post(path: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{headers}\r\n{body}").into_bytes()
}

/// Whatever came before, the next request is answered.
async fn is_well(server: &Server) {
    let body = r#"{"jkt":"0000000000000000000000000000000000000000000"}"#;
    let sent = post("/broker/v1/nonces", &format!("content-length: {}\r\nconnection: close\r\n", body.len()), body);
    let answer = raw(server, &sent, "").await;
    assert_eq!(status(&answer), 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_01_bodies_are_bounded_in_size_and_time() {
    let server = Server::start(On::Sqlite).await;
    // Nobody waits for what is too long by its own account, and nobody reads to the end of what has none.
    let answer = raw(&server, &post("/broker/v1/nonces", "content-length: 10000000\r\n", "{"), "limit.body").await;
    assert_eq!(status(&answer), 413, "{answer}");
    let mut endless = post("/broker/v1/nonces", "transfer-encoding: chunked\r\n", "");
    for _ in 0..40 {
        endless.extend_from_slice(format!("2000\r\n{}\r\n", " ".repeat(0x2000)).as_bytes());
    }
    let answer = raw(&server, &endless, "limit.body").await;
    assert_eq!(status(&answer), 413, "{answer}");
    // A length that lies: the rest never comes.
    let answer = raw(&server, &post("/broker/v1/nonces", "content-length: 100\r\n", "{"), "limit.slow").await;
    assert_eq!(status(&answer), 408, "{answer}");
    // Without a length there is no body.
    let answer = raw(&server, &post("/broker/v1/nonces", "connection: close\r\n", ""), "").await;
    assert_eq!(status(&answer), 400, "{answer}");
    is_well(&server).await;
}

/// A connection that says nothing, or not yet which HTTP it speaks, has the time of a head and no more.
#[tokio::test(flavor = "multi_thread")]
async fn http_01_silent_connections_end() {
    let server = Server::start(On::Sqlite).await;
    for said in ["", "PRI * HT", "G", "GET / HTTP/1.1\r\nhost: localhost\r\n", "get / HTTP/1.1\r\nx:", "\r\n\r\n\r\nG"] {
        // Nothing is answered; the server hangs up.
        let answer = raw(&server, said.as_bytes(), "").await;
        assert!(answer.is_empty(), "{said}: {answer}");
    }
    // What is no HTTP need not be waited for.
    assert_eq!(status(&raw(&server, b"\x16\x03\x01", "").await), 400);
    is_well(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_02_heads_are_bounded() {
    let server = Server::start(On::Sqlite).await;
    let get = |headers: String| format!("GET /broker/jwks HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n").into_bytes();
    let many = |count: usize| "x: a\r\n".repeat(count);
    for (headers, expected) in [
        (format!("x: {}\r\n", "a".repeat(15 * 1024)), 200),
        (format!("x: {}\r\n", "a".repeat(17 * 1024)), 431),
        (many(90), 200),
        (many(200), 431),
        ("x: a b\r\n".into(), 200),
        ("x: a\0b\r\n".into(), 400),
        ("x: a\rb\r\n".into(), 400),
        ("x : a\r\n".into(), 400),
    ] {
        let answer = raw(&server, &get(headers.clone()), "").await;
        assert_eq!(status(&answer), expected, "{headers:.40}: {answer}");
    }
    is_well(&server).await;
}

/// One request, one answer: what hides in its body is never taken for another. Where both lengths are given the chunks count and the connection
/// ends (RFC 9112 §6.3 allows that beside a refusal); everything else is refused.
#[tokio::test(flavor = "multi_thread")]
async fn http_03_no_request_hides_in_another() {
    let server = Server::start(On::Sqlite).await;
    let hidden = "GET /verifier/jwks HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let chunks = format!("0\r\n\r\n{hidden}");
    let both = |first: &str, second: &str, body: &str| post("/broker/v1/nonces", &format!("{first}{second}"), body);
    let (length, chunked) = (format!("content-length: {}\r\n", chunks.len()), "transfer-encoding: chunked\r\n");
    for sent in [
        both(&length, chunked, &chunks),
        both(chunked, &length, &chunks),
        both(chunked, "transfer-encoding: identity\r\n", &chunks),
        both("transfer-encoding: \x0bchunked\r\n", &length, &chunks),
        both("transfer-encoding: chunked, identity\r\n", "", &chunks),
        both("content-length: 3\r\n", "content-length: 4\r\n", &format!("{{}} {hidden}")),
        both("content-length: +2\r\n", "", &format!("{{}}{hidden}")),
        both("x: a\r\n transfer-encoding: chunked\r\n", &length, &chunks),
    ] {
        let answer = raw(&server, &sent, "").await;
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{}: {answer}", String::from_utf8_lossy(&sent));
        assert_eq!(status(&answer), 400, "{answer}");
    }
    is_well(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_04_an_http_2_client_that_opens_and_resets_is_sent_away() {
    let server = Server::start(On::Sqlite).await;
    let connect = async || {
        let stream = TcpStream::connect(server.direct().trim_start_matches("http://")).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        (client, tokio::spawn(connection))
    };
    let request = || axum::http::Request::get("http://localhost/broker/jwks").body(()).unwrap();
    let (client, connection) = connect().await;
    let mut client = client.ready().await.unwrap();
    for _ in 0..10_000 {
        let Ok((answer, mut sending)) = client.send_request(request(), true) else { break };
        sending.send_reset(h2::Reason::CANCEL);
        drop(answer);
        match client.ready().await {
            Ok(ready) => client = ready,
            Err(_) => break,
        }
    }
    let ended = connection.await.unwrap().unwrap_err();
    assert!(ended.is_io() || ended.is_go_away() || ended.is_remote(), "{ended}");
    // Somebody else is served by HTTP/2 as ever, and no more than a bounded number at once.
    let (client, connection) = connect().await;
    let mut client = client.ready().await.unwrap();
    let (answer, _) = client.send_request(request(), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    assert_eq!(client.current_max_send_streams(), 64);
    drop(client);
    let _ = connection.await;
    is_well(&server).await;
}

/// Nobody counts under another's name: no forwarding header is believed.
#[tokio::test(flavor = "multi_thread")]
async fn http_06_who_asks_too_often_is_told_whatever_it_says_of_itself() {
    let server = Server::start(On::Sqlite).await;
    let ask = |n: usize| {
        let spoofed = format!("203.0.113.{}", n % 250);
        Ask::new("POST", format!("{}/identity/v1/sign-in/start", server.public_url))
            .header("origin", server.public_url.clone())
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/json")
            .header("x-forwarded-for", spoofed.clone())
            .header("forwarded", format!("for={spoofed}"))
            .header("x-real-ip", spoofed)
    };
    let mut answers = Vec::new();
    for n in 0..400 {
        answers.push(ask(n).send().await);
        if answers.last().unwrap().status == 429 {
            break;
        }
    }
    let last = answers.last().unwrap();
    assert_eq!((last.status, last.code.as_str()), (429, "limit.rate"), "after {}", answers.len());
    assert!(answers.len() > 10 && answers[..answers.len() - 1].iter().all(|answer| answer.status == 200));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/identity/v1/sign-in/start", server.public_url);
    let refused = client
        .post(url)
        .header("origin", &server.public_url)
        .header("sec-fetch-site", "same-origin")
        .header("content-type", "application/json")
        .send()
        .await
        .unwrap();
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u32>().unwrap() > 0);
}

/// Text that would be something else in a statement, a pattern or a C string is text, or is refused; it is never a failure of ours.
#[tokio::test(flavor = "multi_thread")]
async fn inp_01_text_stays_text() {
    for on in [On::Sqlite, On::Postgres] {
        let rig = Rig::new(on).await;
        let id = rig.laptop.enrolled().device_id;
        for (name, allowed) in [
            ("x'); DROP TABLE devices; --", true),
            ("%_\\%' OR '1'='1", true),
            ("$1 ?1 :name \"quoted\" `ticked`", true),
            ("Fernseher \u{1f4fa} \u{20bb7}", true),
            ("a\0b", false),
            ("\u{202e}gnip", false),
            ("", false),
        ] {
            let renamed = rig.person.post(&format!("/v1/devices/{id}/rename"), &json!({"name": name})).await;
            match renamed {
                Ok(answer) => {
                    assert!(allowed, "{name:?} was taken");
                    assert_eq!(answer["name"], name);
                    let listed = rig.person.get("/v1/devices").await.unwrap();
                    let all = listed["devices"].as_array().unwrap();
                    assert!(all.len() == 2 && all.iter().any(|device| device["name"] == name), "{listed}");
                }
                Err(error) => assert!(!allowed && baton::person::code(&error) != Some("internal"), "{name:?}: {error}"),
            }
        }
        // A lone surrogate is no text at all, and a NUL none that could be kept.
        let mut ask = Ask::new("POST", rig.identity(&format!("/v1/devices/{id}/rename")))
            .header("cookie", rig.person.cookie())
            .header("origin", rig.server.public_url.clone())
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/json");
        for name in [r"\ud800", r"a\u0000b"] {
            ask.body = format!(r#"{{"name":"{name}"}}"#).into_bytes();
            assert_eq!(ask.send().await.code, "input.invalid", "{name}");
        }
        // Nor do ids and references reach a pattern.
        for shape in ["%25", "_", "'%20OR%201=1--", "%00", "%F0%9F%93%BA", "%ff"] {
            for path in [
                format!("/identity/v1/devices/{shape}/credential"),
                format!("/verifier/v1/transactions/{shape}"),
                format!("/identity/v1/logs/{shape}"),
            ] {
                let ask = Ask::new("GET", format!("{}{path}", rig.server.public_url))
                    .header("cookie", rig.person.cookie())
                    .header("authorization", format!("Bearer {RELYING_KEY}"));
                let answer = ask.send().await;
                let empty = path.contains("/logs/") && answer.status == 200 && answer.body == json!({"entries": []});
                assert!(empty || [400, 404].contains(&answer.status), "{path}: {} {}", answer.status, answer.body);
            }
        }
    }
}
