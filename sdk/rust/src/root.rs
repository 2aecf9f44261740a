//! The root, for approving clients: made, wrapped, opened for the moment of an approval, and forgotten.

use crate::error::Error;
use crate::keys::SoftKey;
use baton_protocol::credential::{MAX_LIFETIME_SECS, Template, Tier, VCT};
use baton_protocol::device_log::{DeviceLog, Entry, Op};
use baton_protocol::enrolment::{Approval, IssuerStatement, Offer, Shown};
use baton_protocol::jose::{Draft, Typ};
use baton_protocol::key::{Did, PublicKey, hash};
use baton_protocol::ports::Entropy;
use baton_protocol::refusal::{Enrol, Wrap};
use baton_protocol::root::{Purpose, Seed, derive, fingerprint};
use baton_protocol::secret::Secret;
use baton_protocol::signer::Signer as _;
use baton_protocol::wrap::{Opener, WrappedRoot};
use baton_protocol::{Refusal, b64};

/// A root in clear.
pub struct Root {
    seed: Seed,
    account: SoftKey,
}

/// A recovery code: 128 random bits, shown once.
#[derive(Debug)]
pub struct RecoveryCode(Secret<Vec<u8>>);

/// Crockford's base 32: nothing that looks like something else.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl RecoveryCode {
    /// A new code.
    pub fn generate(entropy: &Entropy) -> Self {
        Self(Secret::new(entropy.bytes::<16>().to_vec()))
    }

    /// As the person writes it down: `XXXX-XXXX-..`, 26 letters and a check letter.
    pub fn words(&self) -> Secret<String> {
        let number = self.0.expose().iter().fold(0u128, |n, byte| n << 8 | u128::from(*byte));
        let mut letters: Vec<u8> = (0..26).rev().map(|i| ALPHABET[(number >> (5 * i) & 31) as usize]).collect();
        letters.push(ALPHABET[(number % 31) as usize]);
        let groups: Vec<String> = letters.chunks(4).map(|group| String::from_utf8_lossy(group).into_owned()).collect();
        Secret::new(groups.join("-"))
    }

    /// From what the person typed.
    pub fn parse(typed: &str) -> Result<Self, Wrap> {
        let clean = typed.chars().filter(|c| !matches!(c, '-' | ' ')).map(|c| match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        });
        let values: Option<Vec<u128>> = clean.map(|c| ALPHABET.iter().position(|a| char::from(*a) == c).map(|i| i as u128)).collect();
        let values = values.filter(|values| values.len() == 27 && values[0] < 8).ok_or(Wrap::Invalid)?;
        let number = values[..26].iter().fold(0u128, |n, value| n << 5 | value);
        if number % 31 == values[26] { Ok(Self(Secret::new(number.to_be_bytes().to_vec()))) } else { Err(Wrap::Invalid) }
    }

    /// How the account is found: a value derived from the code, from which the code does not follow.
    pub fn id(&self) -> String {
        let mut input = b"baton/recovery-id/1\n".to_vec();
        input.extend_from_slice(self.0.expose());
        hash(&input)
    }
}

impl Root {
    /// A new root.
    pub fn generate(entropy: &Entropy) -> Self {
        Self::from_seed(Secret::new(entropy.bytes()))
    }

    /// From a seed.
    pub fn from_seed(seed: Seed) -> Self {
        let account = SoftKey::from_scalar(&derive(&seed, Purpose::Account)).expect("derivation gives scalars");
        Self { seed, account }
    }

    /// What the person knows it by, and what its copies name.
    pub fn fingerprint(&self) -> String {
        fingerprint(self.account.key())
    }

    /// The account key.
    pub fn account(&self) -> &SoftKey {
        &self.account
    }

    /// The issuer key for an app.
    pub fn issuer(&self, app: &str) -> SoftKey {
        SoftKey::from_scalar(&derive(&self.seed, Purpose::Issuer(app))).expect("derivation gives scalars")
    }

    /// A copy that a passkey's PRF output opens.
    pub fn wrap_for_passkey(&self, prf: &Secret<Vec<u8>>, credential_id: &str, rp_id: &str, entropy: &Entropy) -> Result<WrappedRoot, Wrap> {
        let opener = Opener::Passkey { credential_id: credential_id.into(), rp_id: rp_id.into() };
        WrappedRoot::seal(&self.seed, prf, &self.fingerprint(), opener, entropy.bytes(), entropy.bytes())
    }

    /// A copy that the recovery code opens.
    pub fn wrap_for_recovery(&self, code: &RecoveryCode, entropy: &Entropy) -> Result<WrappedRoot, Wrap> {
        WrappedRoot::seal(&self.seed, &code.0, &self.fingerprint(), Opener::Recovery, entropy.bytes(), entropy.bytes())
    }

    /// Opens a passkey's copy. `expected` is the fingerprint the person's client knows; a server that swaps copies is caught.
    pub fn unwrap(wrapped: &WrappedRoot, prf: &Secret<Vec<u8>>, credential_id: &str, rp_id: &str, expected: &str) -> Result<Self, Wrap> {
        let right = matches!(&wrapped.opener, Opener::Passkey { credential_id: id, rp_id: rp } if id == credential_id && rp == rp_id);
        if right { Self::opened(wrapped.open(prf)?, expected) } else { Err(Wrap::Invalid) }
    }

    /// Opens the recovery copy.
    pub fn recover(wrapped: &WrappedRoot, code: &RecoveryCode) -> Result<Self, Wrap> {
        if wrapped.opener != Opener::Recovery {
            return Err(Wrap::Invalid);
        }
        Self::opened(wrapped.open(&code.0)?, &wrapped.root)
    }

    fn opened(seed: Seed, expected: &str) -> Result<Self, Wrap> {
        let root = Self::from_seed(seed);
        if root.fingerprint() == expected { Ok(root) } else { Err(Wrap::Invalid) }
    }

    /// Signs what was shown, and only that: the offer must be about the very request, device, client, tier and app on the screen.
    pub fn approve(&self, shown: &Shown, offer: &Offer, entropy: &Entropy) -> Result<Approval, Error> {
        let issuer = self.issuer(&shown.app);
        let first = check_offer(shown, offer, &issuer)?;
        let mut approval = sign(offer, &issuer, entropy)?;
        if first {
            approval.issuer_statement = Some(self.issuer_statement(&shown.app));
        }
        Ok(approval)
    }

    /// "This is my issuer for that app."
    pub(crate) fn issuer_statement(&self, app: &str) -> String {
        let draft = IssuerStatement { v: 1, app: app.to_owned(), iss: self.issuer(app).key().did() }.draft(self.account.key());
        let signature = self.account.sign_now(draft.signing_input());
        draft.signed(&signature)
    }

    /// Signs a credential anew for a device of `log` that the person chose: of the tier it has ([`Op::Renew`]) or raised to full ([`Op::Tier`]). What
    /// the device is, is read from the log, which must be this root's own.
    pub fn renew(&self, app: &str, device: &Did, raise: bool, offer: &Offer, log: &DeviceLog, entropy: &Entropy) -> Result<Approval, Error> {
        let issuer = self.issuer(app);
        let visible = &offer.template.visible;
        let member = log.member(device)?;
        let tier = if raise { Tier::Full } else { member.tier };
        let op = if raise { Op::Tier { device: device.clone(), tier } } else { Op::Renew { device: device.clone() } };
        let next = Entry { v: 1, n: log.head().n + 1, prev: Some(log.head().hash), op };
        let agreement = offer.template.disclosable.get("agreement_jwk").and_then(|jwk| PublicKey::from_jwk(jwk).ok());
        let right = read_entries(offer)? == [next]
            && *log.issuer() == issuer.key().did()
            && log.app() == app
            && visible.sub == *device
            && visible.iss == *log.issuer()
            && visible.log == log.subject()
            && visible.client_id == member.client_id
            && visible.tier == tier
            && agreement.as_ref() == Some(&member.agreement);
        if right { sign(offer, &issuer, entropy) } else { Err(Refusal::from(Enrol::Changed).into()) }
    }
}

fn sign(offer: &Offer, issuer: &SoftKey, entropy: &Entropy) -> Result<Approval, Error> {
    let device = PublicKey::from_jwk(&serde_json::to_value(&offer.device_jwk).map_err(|_| Error::Answer("device_jwk"))?)?;
    let credential = sign_credential(&offer.template, &device, issuer, entropy)?;
    let entries = offer.entries.iter().map(|text| sign_entry(text, issuer)).collect();
    Ok(Approval { shown_hash: offer.shown_hash.clone(), credential, entries, issuer_statement: None })
}

/// Signs the exact text of a log entry.
pub(crate) fn sign_entry(text: &str, issuer: &SoftKey) -> String {
    let draft = Draft::exact(Typ::LogEntry, &issuer.key().did().url(), text);
    let signature = issuer.sign_now(draft.signing_input());
    draft.signed(&signature)
}

/// Signs a credential with fresh salts and joins its disclosures.
pub fn sign_credential(template: &Template, device: &PublicKey, issuer: &SoftKey, entropy: &Entropy) -> Result<String, Error> {
    let salts: Vec<[u8; 16]> = template.disclosable.iter().map(|_| entropy.bytes()).collect();
    let (draft, disclosures) = template.draft(device, &salts).ok_or(Error::Answer("template"))?;
    let signature = issuer.sign_now(draft.signing_input());
    let mut credential = draft.signed(&signature);
    credential.push('~');
    for disclosure in disclosures {
        credential.push_str(disclosure.as_str());
        credential.push('~');
    }
    Ok(credential)
}

fn read_entries(offer: &Offer) -> Result<Vec<Entry>, Error> {
    offer.entries.iter().map(|text| serde_json::from_str(text)).collect::<Result<_, _>>().map_err(|_| Error::Answer("log entry"))
}

/// Whether the offer is about what was shown. True when it opens the app's log.
fn check_offer(shown: &Shown, offer: &Offer, issuer: &SoftKey) -> Result<bool, Error> {
    let changed = || Error::from(Refusal::from(Enrol::Changed));
    let (visible, iss) = (&offer.template.visible, issuer.key().did());
    let device = PublicKey::from_jwk(&serde_json::to_value(&offer.device_jwk).map_err(|_| changed())?).map_err(|_| changed())?;
    let claimed = serde_json::to_value(&shown.claims).map_err(|_| changed())?;
    let mut disclosable = offer.template.disclosable.clone();
    disclosable.remove("agreement_jwk");
    disclosable.remove("enrolled_at");
    let same = offer.request == shown.request
        && offer.shown_hash == shown.hash()
        && device.thumbprint() == shown.jkt
        && visible.sub == device.did()
        && visible.iss == iss
        && visible.client_id == shown.client_id
        && visible.tier == shown.tier
        && shown.tier == shown.lane.tier()
        && serde_json::Value::Object(disclosable) == claimed;
    if !same {
        return Err(changed());
    }
    let lives = visible.exp.checked_sub(visible.iat).is_some_and(|secs| (1..=MAX_LIFETIME_SECS).contains(&secs));
    if visible.vct != VCT || !lives {
        return Err(changed());
    }
    // The key that sessions are sealed to is the one the credential names: a server cannot put its own into the log alone.
    let sealed_to = offer.template.disclosable.get("agreement_jwk").and_then(|jwk| PublicKey::from_jwk(jwk).ok()).ok_or_else(changed)?;
    let is_enrol = |op: &Op| {
        matches!(op, Op::Enrol { device, tier, client_id, agreement_jwk }
            if *device == visible.sub && *tier == visible.tier && *client_id == visible.client_id && *agreement_jwk == sealed_to.jwk())
    };
    match read_entries(offer)?.as_slice() {
        [Entry { op: Op::Open { iss: opened, app, salt }, n: 0, prev: None, .. }, Entry { op, n: 1, .. }]
            if *opened == iss
                && *app == shown.app
                && b64::decode_array::<16>(salt).is_ok()
                && is_enrol(op)
                && hash(offer.entries[0].as_bytes()) == visible.log =>
        {
            Ok(true)
        }
        [Entry { op, .. }] if is_enrol(op) => Ok(false),
        _ => Err(changed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_code_survives_pen_and_paper() {
        let code = RecoveryCode(Secret::new((0..16).map(|i| i * 17).collect()));
        let words = code.words();
        let typed = words.expose().to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
        assert_eq!(RecoveryCode::parse(&typed).unwrap().id(), code.id());
        let mut wrong = words.expose().clone();
        wrong.replace_range(1..2, if wrong.as_bytes()[1] == b'7' { "8" } else { "7" });
        assert!(RecoveryCode::parse(&wrong).is_err());
        assert!(RecoveryCode::parse("").is_err() && RecoveryCode::parse(&"Z".repeat(27)).is_err());
    }
}
