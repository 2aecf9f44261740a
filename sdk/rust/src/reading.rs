//! Reading a session: its chain and its keys, each checked against the device log. The broker is not believed.

use crate::device::{Device, Members};
use crate::error::Error;
use crate::keystore::Pin;
use crate::seal;
use baton_protocol::credential::Tier;
use baton_protocol::handoff::chain::{Accepted, Act, Chain, Statement};
use baton_protocol::id::SessionId;
use baton_protocol::jose::{Typ, Unverified};
use baton_protocol::key::{Did, hash};
use baton_protocol::refusal::{Handoff, State};
use baton_protocol::session::{SessionKey, envelope_recipients};
use baton_protocol::signer::Signer as _;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Checks the broker's acceptance of a statement.
pub async fn check_accepted(device: &Device, answer: &Value, session: &SessionId, digest: &str) -> Result<(), Error> {
    let text = answer["accepted"].as_str().ok_or(Error::Answer("accepted"))?;
    let kid = Unverified::parse(text, Typ::Accepted)?.unverified_header().kid.clone();
    let key = device.key_of(&device.servers.broker, kid.as_deref()).await?.ok_or(Handoff::Statement)?;
    let accepted = Accepted::read(text, &key)?;
    if accepted.session == *session && accepted.statement == digest { Ok(()) } else { Err(Handoff::Statement.into()) }
}

/// The chain of a session, each statement accepted by the broker and made by a device of the log; claims by full ones alone.
pub async fn read_chain(device: &Device, members: &Members, id: &SessionId) -> Result<Chain, Error> {
    let mut chain: Option<Chain> = None;
    let mut from = 0;
    loop {
        let path = format!("/v1/sessions/{id}/statements?from={from}");
        let answer = device.broker("GET", &path, "session:read", None, None).await?;
        let rows = answer["statements"].as_array().ok_or(Error::Answer("statements"))?.clone();
        if rows.is_empty() {
            return chain.ok_or(Error::Answer("chain"));
        }
        for row in &rows {
            let (statement, digest) = Statement::read(row["statement"].as_str().ok_or(Error::Answer("statement"))?)?;
            check_accepted(device, row, id, &digest).await?;
            if statement.session != *id || !members.log.knows(&statement.device) {
                return Err(Handoff::Statement.into());
            }
            if matches!(statement.act, Act::Claim { .. }) && members.log.tier(&statement.device) != Some(Tier::Full) {
                return Err(Handoff::Statement.into());
            }
            chain = Some(match chain {
                None => Chain::open(&statement, digest)?,
                Some(chain) => chain.apply(&statement, digest)?,
            });
        }
        from += rows.len() as i64;
    }
}

/// Keys, and who was given the newest.
pub struct Keys {
    pub keys: BTreeMap<i64, SessionKey>,
    pub recipients: BTreeSet<Did>,
    /// Digests of envelopes outside the chain that were taken.
    pub added: BTreeSet<String>,
}

/// The session keys this device can open. An envelope counts when the chain names it, or when a full device that was live when it was first seen
/// added it for a newcomer; others are passed over, and none of them changes what the chain brought.
pub async fn read_keys(device: &Device, members: &Members, chain: &Chain, pin: Option<&Pin>) -> Result<Keys, Error> {
    let id = chain.session();
    let path = format!("/v1/sessions/{id}/envelopes");
    let answer = device.broker("GET", &path, "session:read", None, None).await?;
    let mut rows = Vec::new();
    for row in answer["envelopes"].as_array().ok_or(Error::Answer("envelopes"))? {
        let (version, envelope) =
            (row["key_version"].as_i64().ok_or(Error::Answer("key_version"))?, row["envelope"].as_str().ok_or(Error::Answer("envelope"))?);
        let digest = hash(envelope.as_bytes());
        let in_chain = chain.envelopes(version).any(|named| named == digest);
        rows.push((!in_chain, version, envelope, digest));
    }
    // Those of the chain first: what they bring stands.
    rows.sort_by_key(|(outside, ..)| *outside);
    let newest = chain.key_version();
    let mut wanted: BTreeSet<&str> = chain.envelopes(newest).collect();
    let mut out = Keys { keys: BTreeMap::new(), recipients: BTreeSet::new(), added: pin.map(|pin| pin.added.clone()).unwrap_or_default() };
    let adds = |by: &Did| members.live.contains(by) && members.log.member(by).is_ok_and(|member| member.tier == Tier::Full);
    for (outside, version, envelope, digest) in rows {
        if version == newest {
            out.recipients.extend(envelope_recipients(envelope)?);
            wanted.remove(digest.as_str());
        }
        let opened = match seal::open(envelope, device.did(), &device.agreement) {
            Ok(opened) => opened,
            // Sealed to others.
            Err(State::Recipient) => continue,
            Err(_) if outside => continue,
            Err(other) => return Err(other.into()),
        };
        let seen = out.added.contains(&digest);
        let read = SessionKey::read(&opened, id, version, |by| if outside && !seen { adds(by) } else { members.log.knows(by) });
        let key = match read {
            Ok((key, ..)) => key,
            Err(_) if outside => continue,
            Err(other) => return Err(other.into()),
        };
        match out.keys.get(&version) {
            Some(known) if known.key.expose() == key.key.expose() => {}
            Some(_) if outside => continue,
            Some(_) => return Err(State::Sender.into()),
            None => drop(out.keys.insert(version, key)),
        }
        if outside {
            out.added.insert(digest);
        }
    }
    // Left out, it would hide who has the key.
    if wanted.is_empty() { Ok(out) } else { Err(State::Rollback.into()) }
}

/// Seals a key to all live full devices that have sync, and to one other: `to` that the session goes to, or this one. Gives who they are with it.
pub async fn envelope(
    device: &Device,
    members: &Members,
    id: &SessionId,
    key: &SessionKey,
    to: Option<&Did>,
) -> Result<(String, BTreeSet<Did>), Error> {
    let recipients = members.recipients(|did, tier| members.syncs(did, tier) || did == to.unwrap_or(device.did()));
    let jws = device.signing.seal(key.draft(id, members.log.head(), device.did())).await?;
    let envelope = seal::seal(&jws, &recipients)?;
    Ok((envelope, recipients.into_iter().map(|(device, _)| device).collect()))
}
