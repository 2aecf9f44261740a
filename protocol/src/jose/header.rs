//! JOSE headers: what may stand in one, per kind of token.

use crate::json::{self, Node};
use crate::key::PublicKey;
use crate::refusal::Jose;

/// Longest header in bytes.
const MAX_HEADER: usize = 4096;
/// Longest `kid`; a DID URL of the profile has 114 characters.
const MAX_KID: usize = 256;

macro_rules! typs {
    ($($(#[$meta:meta])* $name:ident = $typ:literal;)*) => {
        /// The `typ` of every token in Baton; no two uses share one (RFC 8725 §3.11).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Typ { $($(#[$meta])* $name,)* }
        impl Typ {
            /// As it stands in the header.
            pub const fn as_str(self) -> &'static str { match self { $(Self::$name => $typ,)* } }
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

typs! {
    /// Device-binding credential (SD-JWT VC).
    Credential = "dc+sd-jwt";
    /// Key-binding JWT (RFC 9901 §4.3).
    KeyBinding = "kb+jwt";
    /// DPoP proof (RFC 9449 §4.2); its header carries its key.
    Dpop = "dpop+jwt";
    /// Access token (RFC 9068).
    AccessToken = "at+jwt";
    /// Key proof of a wallet (OpenID4VCI 1.0 appendix F.1), by `jwk` or `kid`.
    CredentialProof = "openid4vci-proof+jwt";
    /// Signed credential issuer metadata (OpenID4VCI 1.0 §12.2.3).
    IssuerMetadata = "openidvci-issuer-metadata+jwt";
    /// Signed authorization request (RFC 9101; OpenID4VP 1.0 §5).
    AuthorizationRequest = "oauth-authz-req+jwt";
    /// ID token (OpenID Connect Core 1.0 section 2).
    IdToken = "JWT";
    /// Status list token.
    StatusList = "statuslist+jwt";
    /// Entry of a device log.
    LogEntry = "baton-log+jwt";
    /// Proof at sign-up that the client holds the root.
    AccountProof = "baton-account+jwt";
    /// The account key's statement of an app's issuer DID.
    IssuerStatement = "baton-issuer+jwt";
    /// A full device's agreement that another root replaces the one before.
    RootConsent = "baton-root-consent+jwt";
    /// The account key asks for another root in the place of its own.
    RootRequest = "baton-root-request+jwt";
    /// The account key's statement of the root that replaces its own.
    RootStatement = "baton-root+jwt";
    /// Offer of a handoff.
    Offer = "baton-offer+jwt";
    /// Statement of a session's chain.
    Statement = "baton-statement+jwt";
    /// The broker's acceptance of a statement.
    Accepted = "baton-accepted+jwt";
    /// A session key, inside its envelope.
    SessionKey = "baton-key+jwt";
    /// A browser's one-use ticket for an event stream.
    Ticket = "baton-ticket+jwt";
    /// The pages' token to look after a person's sessions of one app.
    Manage = "baton-manage+jwt";
    /// A session update, inside its seal.
    Update = "baton-update+jwt";
}

/// A header that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Which kind of token.
    pub typ: Typ,
    /// The key's name, if given.
    pub kid: Option<String>,
    /// The key itself: in DPoP proofs and wallets' key proofs, nowhere else.
    pub jwk: Option<PublicKey>,
}

impl Header {
    /// Reads a decoded header of a token expected to be of kind `typ`.
    pub(super) fn parse(bytes: &[u8], typ: Typ) -> Result<Self, Jose> {
        let header = json::members(bytes, MAX_HEADER)?;
        if header.text("alg") != Some("ES256") {
            return Err(Jose::Alg);
        }
        let mut jwk = None;
        for (name, value) in header.iter() {
            match name {
                "jwk" if matches!(typ, Typ::Dpop | Typ::CredentialProof) => jwk = Some(PublicKey::from_jwk_node(value)?),
                "jwk" => return Err(Jose::HeaderJwk),
                "jku" | "x5u" => return Err(Jose::HeaderJku),
                "x5c" | "x5t" | "x5t#S256" => return Err(Jose::HeaderX5c),
                "crit" => return Err(Jose::Crit),
                "b64" => return Err(Jose::B64),
                "zip" => return Err(Jose::HeaderZip),
                _ => {}
            }
        }
        if header.text("typ") != Some(typ.as_str()) {
            return Err(Jose::Typ);
        }
        if typ == Typ::Dpop && jwk.is_none() {
            return Err(Jose::Key);
        }
        let kid = match header.get("kid") {
            None => None,
            Some(Node::Text(kid)) if is_sane_kid(kid) => Some(kid.as_ref().to_owned()),
            Some(_) => return Err(Jose::Kid),
        };
        Ok(Self { typ, kid, jwk })
    }
}

/// Key names are DID URLs or our own short names; they never reach a path or a query, and are short and plain all the same.
fn is_sane_kid(kid: &str) -> bool {
    (1..=MAX_KID).contains(&kid.len()) && kid.bytes().all(|b| b.is_ascii_alphanumeric() || b":#-_.%".contains(&b)) && !kid.contains("..")
}
