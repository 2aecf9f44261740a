//! What comes at once: wallets' own requests, and what their person decides meanwhile.

use super::Ask;
use super::wallets::{Wallet, approve};
use crate::support::Server;
use baton_service::testing::{ManualClock, On};
use futures_util::future::join_all;
use serde_json::{Value, json};

/// A wallet that asks again and again never keeps its person's decision from being made, nor is it told that the service is not there.
#[tokio::test(flavor = "multi_thread")]
async fn wallets_poll_while_their_person_approves() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut person = server.person().await;
        for _ in 0..3 {
            let (wallet, tx_code) = Wallet::with_token(&server, &mut person).await;
            let transaction = wallet.request().await.body["transaction_id"].clone();
            let until_there = async || {
                for _ in 0..12 {
                    let answer = wallet.deferred(&transaction).await;
                    assert!([200, 202].contains(&answer.status), "{} {}", answer.status, answer.body);
                    if answer.status == 200 {
                        break;
                    }
                }
            };
            let polls = join_all((0..8).map(|_| until_there()));
            let ((), approved) = tokio::join!(async { drop(polls.await) }, approve(&mut person, &tx_code));
            approved.unwrap();
            assert_eq!(wallet.deferred(&transaction).await.status, 200);
        }
    }
}

/// Either the offer was made first and ended, or its session had ended.
#[tokio::test(flavor = "multi_thread")]
async fn no_offer_outlives_signing_out_everywhere() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut person = server.person().await;
        for _ in 0..6 {
            person.unlock().await.unwrap();
            let (offer, everywhere) = (json!({"client_id": "baton-cli"}), json!({"everywhere": true}));
            let offers = join_all((0..4).map(|_| person.post("/v1/credential-offers", &offer)));
            let (offers, ended) = tokio::join!(offers, person.post("/v1/account/sign-out", &everywhere));
            ended.unwrap();
            for made in offers {
                match made {
                    Ok(made) => assert_eq!(reqwest::get(made["credential_offer_uri"].as_str().unwrap()).await.unwrap().status(), 404),
                    Err(why) => assert_eq!(baton::person::code(&why), Some("invalid_token")),
                }
            }
        }
    }
}

/// RFC 7009: nothing that was asked for with a token is left to approve when it was given back, whichever came first; and the person sees it, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_given_back_while_it_is_used() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut person = server.person().await;
        for round in 1..=4 {
            let (wallet, _) = Wallet::with_token(&server, &mut person).await;
            let nonce = wallet.nonce().await;
            let proof = wallet.proof_of(&wallet.header(), &wallet.claims(&nonce));
            let revoke = || {
                let form = [("client_id", "baton-cli"), ("token", wallet.token.as_str())];
                Ask::new("POST", format!("{}/identity/revoke", server.public_url)).form(&form)
            };
            let (asked, first, second) = tokio::join!(wallet.credential(&proof), async { revoke().send().await }, async { revoke().send().await });
            assert_eq!((first.status, second.status), (200, 200));
            assert!([202, 401].contains(&asked.status), "{} {}", asked.status, asked.body);
            assert_eq!(person.get("/v1/requests").await.unwrap()["requests"], json!([]));
            let activity = person.get("/v1/activity").await.unwrap();
            let gave_back = |events: &Value| events.as_array().unwrap().iter().filter(|event| event["kind"] == "wallet.gave_back").count();
            assert_eq!(gave_back(&activity["events"]), round);
        }
    }
}

/// The rate is a token's own: strangers do not use it up from the same address, and another wallet goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_that_asks_too_often_waits_alone() {
    let server = Server::start_at(On::Sqlite, ManualClock::start().clock()).await;
    let mut person = server.person().await;
    let (wallet, _) = Wallet::with_token(&server, &mut person).await;
    let (other, _) = Wallet::with_token(&server, &mut person).await;
    let transactions = [wallet.request().await.body["transaction_id"].clone(), other.request().await.body["transaction_id"].clone()];
    let mut stranger = Wallet::new(&server);
    stranger.token = "guess".into();
    for _ in 0..130 {
        assert_eq!(stranger.deferred(&transactions[0]).await.status, 401);
    }
    let mut statuses = Vec::new();
    for _ in 0..120 {
        statuses.push(wallet.deferred(&transactions[0]).await.status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 202).count(), 119, "with the request itself");
    assert_eq!(statuses[119], 429);
    assert_eq!(other.deferred(&transactions[1]).await.status, 202);
}
