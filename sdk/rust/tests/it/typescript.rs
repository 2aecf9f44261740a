//! What the TypeScript SDK wrote opens and verifies here: `fixtures/typescript-*.json`, which its own tests write and hold.

use crate::golden::read_golden;
use baton_protocol::b64;
use baton_protocol::device_log::DeviceLog;
use baton_protocol::enrolment::{AccountProof, Approval, IssuerStatement, Offer, Shown};
use baton_protocol::handoff::chain::{Act, Chain, Statement};
use baton_protocol::handoff::machine::Target;
use baton_protocol::handoff::wire::Offer as HandoffOffer;
use baton_protocol::key::{Did, PublicKey};
use baton_protocol::secret::Secret;
use baton_protocol::session::{Opened, SealedUpdate, SessionKey};
use baton_protocol::signer::Signer as _;
use baton_protocol::view::SealedView;
use baton_protocol::wrap::WrappedRoot;
use baton_sdk::root::{RecoveryCode, Root};
use serde::de::DeserializeOwned;
use serde_json::Value;

fn stands() -> Value {
    read_golden("fixtures/typescript-v1.json")
}

fn read<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn its_wrapped_roots_open() {
    let stands = stands();
    let fingerprint = stands["fingerprint"].as_str().unwrap();
    let prf = Secret::new(b64::decode(stands["prf"].as_str().unwrap()).unwrap());
    let wrapped: WrappedRoot = read(&stands["wrapped_for_passkey"]);
    let by_passkey = Root::unwrap(&wrapped, &prf, "Y3JlZA", "localhost", fingerprint).unwrap();
    let code = RecoveryCode::parse(stands["recovery_code"].as_str().unwrap()).unwrap();
    let by_code = Root::recover(&read(&stands["wrapped_for_recovery"]), &code).unwrap();
    assert_eq!((by_passkey.fingerprint().as_str(), by_code.fingerprint().as_str()), (fingerprint, fingerprint));
    assert_eq!(*by_passkey.account().key(), PublicKey::from_jwk(&stands["account_jwk"]).unwrap());
}

#[test]
fn its_approval_is_what_identity_takes() {
    let stands = stands();
    let account = PublicKey::from_jwk(&stands["account_jwk"]).unwrap();
    let (shown, offer, approval): (Shown, Offer, Approval) = (read(&stands["shown"]), read(&stands["offer"]), read(&stands["approval"]));
    assert_eq!((shown.hash(), &shown.hash()), (offer.shown_hash.clone(), &approval.shown_hash), "both hash the same text");
    let device = PublicKey::from_jwk(&stands["offer"]["device_jwk"]).unwrap();
    let credential = offer.template.check_signed(&approval.credential, &device).unwrap();
    let log = DeviceLog::replay(&approval.entries).unwrap();
    assert_eq!((log.subject(), log.issuer()), (credential.visible.log.as_str(), &credential.visible.iss));
    assert!(log.member(&device.did()).is_ok());
    IssuerStatement::check(approval.issuer_statement.as_deref().unwrap(), &account, "player", log.issuer()).unwrap();
    let proof = stands["proof"].as_str().unwrap();
    assert_eq!(AccountProof::check(proof, &account, "https://baton.example/identity", "cer_1").unwrap().root, stands["fingerprint"]);
    assert!(AccountProof::check(proof, &account, "https://baton.example/identity", "cer_2").is_err(), "of another ceremony");
}

#[test]
fn what_it_sealed_opens_and_its_chain_holds() {
    let stands = read_golden("fixtures/typescript-handoff-v1.json");
    let text = |name: &str| stands[name].as_str().unwrap();
    let (opened, hash) = Statement::read(text("open")).unwrap();
    let source = opened.device.clone();
    let by_source = |by: &Did| *by == source;
    let (key, head, by) = SessionKey::read(text("key_statement"), &opened.session, 1, by_source).unwrap();
    assert_eq!((b64::encode(key.key.expose()), head.n, &by), (text("key").to_owned(), 2, &source));
    let update: SealedUpdate = read(&stands["update"]);
    update.check_form().unwrap();
    let Opened { by, content, needs } = update.open(&key, by_source).unwrap();
    assert_eq!(needs, read(&stands["needs"]));
    assert_eq!((by, content.as_slice(), update.hash().as_str()), (source.clone(), text("content").as_bytes(), text("update_hash")));

    let view: SealedView = read(&stands["view"]);
    view.check_form().unwrap();
    assert_eq!(view.open(&opened.session, &source, &key).unwrap(), b"00:43");

    let chain = Chain::open(&opened, hash).unwrap();
    let (release, hash) = Statement::read(text("release")).unwrap();
    let chain = chain.apply(&release, hash.clone()).unwrap();
    let (receipt, receipt_hash) = Statement::read(text("receipt")).unwrap();
    let Act::Receipt { proof, .. } = &receipt.act else { panic!("a receipt") };
    assert!(key.accepts_proof(proof, &hash, &content));
    let chain = chain.apply(&receipt, receipt_hash).unwrap();
    let (offer, _) = HandoffOffer::read(text("offer")).unwrap();
    assert_eq!((chain.epoch(), &offer.from, Some(&offer.to)), (2, &source, Some(&Target::Device(chain.holder().clone()))));
}
