//! Every reason Baton refuses something. Closed on purpose: services map it to answers with one exhaustive match.
//!
//! A refusal has a *code*, which goes on the wire and is stable, and a *reason*, which stays inside (security events, logs).
//! All cryptographic causes of one family share a code, so that an answer is no oracle.

macro_rules! family {
    ($(#[$meta:meta])* $name:ident { $($variant:ident => $code:literal, $reason:literal;)* $(+ $inner:ident => $inner_code:literal;)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = $reason] $variant,)*
            $(#[doc = "The token by itself; its own reason goes into the event."] $inner($inner),)?
        }
        impl $name {
            /// The stable code of the wire.
            pub const fn code(self) -> &'static str { match self { $(Self::$variant => $code,)* $(Self::$inner(_) => $inner_code,)? } }
            /// The precise cause, for security events only.
            pub const fn reason(self) -> &'static str { match self { $(Self::$variant => $reason,)* $(Self::$inner(why) => $inner::reason(why),)? } }
            /// Every variant of its own, for documents and tests.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, "{} ({})", self.code(), self.reason()) }
        }
        impl std::error::Error for $name {}
    };
}

family! {
    /// A JWS or JWK that is not what it must be (RFC 7515, RFC 8725).
    Jose {
        Form => "jose.invalid", "form";
        Encoding => "jose.invalid", "encoding";
        Json => "jose.invalid", "json";
        Limit => "jose.invalid", "limit";
        Alg => "jose.invalid", "alg";
        Typ => "jose.invalid", "typ";
        Kid => "jose.invalid", "kid";
        Crit => "jose.invalid", "crit";
        B64 => "jose.invalid", "b64";
        HeaderJwk => "jose.invalid", "header jwk";
        HeaderJku => "jose.invalid", "header jku";
        HeaderX5c => "jose.invalid", "header x5c";
        HeaderZip => "jose.invalid", "header zip";
        PrivateKey => "jose.invalid", "private key";
        Point => "jose.invalid", "point";
        Key => "jose.invalid", "key";
        Sig => "jose.invalid", "sig";
        ClaimType => "jose.invalid", "claim type";
        ClaimMissing => "jose.invalid", "claim missing";
    }
}

family! {
    /// A device-binding credential that does not hold (RFC 9901, SD-JWT VC, Baton's profile).
    Vc {
        Sig => "vc.invalid", "sig";
        DupDigest => "vc.invalid", "dup digest";
        Reserved => "vc.invalid", "reserved";
        Collision => "vc.invalid", "collision";
        NonSdClaim => "vc.invalid", "non-sd claim";
        SdAlg => "vc.invalid", "sd_alg";
        Disclosure => "vc.invalid", "disclosure";
        Placeholder => "vc.invalid", "placeholder";
        Limit => "vc.invalid", "limit";
        Unused => "vc.invalid", "unused";
        DidMethod => "vc.invalid", "did method";
        Did => "vc.invalid", "did";
        Vct => "vc.invalid", "vct";
        Cnf => "vc.invalid", "cnf";
        Claim => "vc.invalid", "claim";
        Time => "vc.invalid", "time";
        StatusRef => "vc.invalid", "status";
        Policy => "vc.invalid", "policy";
        Expired => "vc.expired", "expired";
        DeviceNotActive => "vc.device_not_active", "device not active";
        ClaimsMissing => "vc.claims_missing", "claims missing";
        + Jose => "vc.invalid";
    }
}

family! {
    /// A key-binding JWT that does not bind (RFC 9901 §4.3).
    Kb {
        Missing => "kb.missing", "missing";
        Typ => "kb.invalid", "typ";
        Key => "kb.invalid", "key";
        Aud => "kb.invalid", "aud";
        Nonce => "kb.invalid", "nonce";
        Iat => "kb.invalid", "iat";
        SdHash => "kb.invalid", "sd_hash";
        TransactionData => "kb.invalid", "transaction_data";
        Replay => "kb.replay", "replay";
        + Jose => "kb.invalid";
    }
}

family! {
    /// What a status list, or the live standing that beats it, says (Token Status List).
    Status {
        Revoked => "status.revoked", "revoked";
        Suspended => "status.suspended", "suspended";
        Unknown => "status.invalid", "unknown value";
        Index => "status.invalid", "index";
        Token => "status.invalid", "token";
        Uri => "status.invalid", "uri";
        Stale => "status.stale", "stale";
        Unavailable => "status.unavailable", "unavailable";
    }
}

family! {
    /// A DPoP proof that proves nothing here (RFC 9449 §4.3).
    Dpop {
        Missing => "invalid_dpop_proof", "missing";
        Jwk => "invalid_dpop_proof", "jwk";
        Htm => "invalid_dpop_proof", "htm";
        Htu => "invalid_dpop_proof", "htu";
        Ath => "invalid_dpop_proof", "ath";
        Iat => "invalid_dpop_proof", "iat";
        Jti => "invalid_dpop_proof", "jti";
        Replay => "invalid_dpop_proof", "replay";
        Nonce => "use_dpop_nonce", "nonce";
        + Jose => "invalid_dpop_proof";
    }
}

family! {
    /// An access token that opens nothing here (RFC 9068, RFC 9449 §7).
    Token {
        Missing => "invalid_token", "missing";
        Scheme => "invalid_token", "scheme";
        Key => "invalid_token", "key";
        Issuer => "invalid_token", "issuer";
        Audience => "invalid_token", "audience";
        Expired => "invalid_token", "expired";
        Claims => "invalid_token", "claims";
        Binding => "invalid_token", "binding";
        Epoch => "invalid_token", "device epoch";
        Standing => "invalid_token", "standing";
        Scope => "insufficient_scope", "scope";
        Tier => "insufficient_scope", "tier";
        + Jose => "invalid_token";
    }
}

family! {
    /// An OAuth request that the endpoint cannot honour (RFC 6749 §5.2, RFC 8628 §3.5, RFC 8693 §2.2.2).
    Oauth {
        Request => "invalid_request", "request";
        Client => "invalid_client", "client";
        Grant => "invalid_grant", "grant";
        GrantDeviceKey => "invalid_grant", "device key";
        Scope => "invalid_scope", "scope";
        Details => "invalid_authorization_details", "authorization details";
        Target => "invalid_target", "target";
        UnauthorizedClient => "unauthorized_client", "unauthorized client";
        GrantType => "unsupported_grant_type", "grant type";
        AuthorizationPending => "authorization_pending", "pending";
        SlowDown => "slow_down", "slow down";
        ExpiredToken => "expired_token", "expired";
        AccessDenied => "access_denied", "denied";
        InteractionRequired => "interaction_required", "interaction required";
        RedirectUri => "invalid_redirect_uri", "redirect uri";
        ClientMetadata => "invalid_client_metadata", "client metadata";
    }
}

family! {
    /// A wallet's request that cannot be honoured (OpenID4VCI 1.0 §8.3, §9.3, §11.3).
    Vci {
        Request => "invalid_credential_request", "request";
        Configuration => "unknown_credential_configuration", "configuration";
        Identifier => "unknown_credential_identifier", "identifier";
        Proof => "invalid_proof", "proof";
        Nonce => "invalid_nonce", "nonce";
        Encryption => "invalid_encryption_parameters", "encryption";
        Denied => "credential_request_denied", "denied";
        Transaction => "invalid_transaction_id", "transaction";
        NotificationId => "invalid_notification_id", "notification id";
        NotificationRequest => "invalid_notification_request", "notification";
    }
}

family! {
    /// A presentation by OpenID4VP that was not asked for like this, or not by this one.
    Vp {
        Query => "vp.query", "query";
        Prefix => "vp.prefix", "prefix";
        Invalid => "vp.invalid", "invalid";
        State => "vp.state", "state";
        Session => "vp.session", "session";
    }
}

family! {
    /// An enrolment that cannot go on.
    Enrol {
        Code => "enrol.code", "code";
        Pop => "enrol.pop", "pop";
        DidMismatch => "enrol.did_mismatch", "did mismatch";
        KeyInUse => "enrol.key_in_use", "key in use";
        KeyRevoked => "enrol.key_revoked", "key revoked";
        Changed => "enrol.changed", "changed";
        NotApproved => "enrol.not_approved", "not approved";
        Expired => "enrol.expired", "expired";
        Proximity => "enrol.proximity", "check code";
        Reauth => "enrol.reauth", "user verification too old";
        Approver => "enrol.approver", "approver";
        SameDevice => "enrol.same_device", "same device";
        Recovery => "enrol.recovery_unconfirmed", "recovery code not confirmed";
        State => "enrol.state", "state";
    }
}

family! {
    /// A passkey ceremony that failed (WebAuthn §7).
    Webauthn {
        Origin => "webauthn.invalid", "origin";
        CrossOrigin => "webauthn.invalid", "cross-origin";
        RpId => "webauthn.invalid", "rpid";
        Flags => "webauthn.invalid", "flags";
        Challenge => "webauthn.invalid", "challenge";
        Uv => "webauthn.invalid", "uv";
        Credential => "webauthn.invalid", "credential";
        Other => "webauthn.invalid", "other";
        Exists => "webauthn.exists", "exists";
        Reauth => "webauthn.reauth", "reauth";
    }
}

family! {
    /// A wrapped copy of the root that must not be taken or given.
    Wrap {
        PrfLeak => "wrap.prf_leak", "prf result sent";
        Invalid => "wrap.invalid", "invalid";
        Prf => "wrap.prf", "no usable prf output";
        Last => "wrap.last", "last opening copy";
        Reauth => "wrap.reauth", "reauth";
        Proof => "wrap.proof", "proof of possession";
    }
}

family! {
    /// A device log that does not chain.
    Log {
        Invalid => "log.invalid", "invalid";
        Moved => "log.moved", "moved";
        Fork => "log.fork", "fork";
        Rollback => "log.rollback", "rollback";
        NotMember => "log.not_member", "not a member";
        Consent => "log.consent", "consent";
    }
}

family! {
    /// A root that cannot be replaced, not yet or not at all.
    Root {
        NotAsked => "root.not_asked", "not asked";
        NoFullDevice => "root.no_full_device", "no full device";
        NotAgreed => "root.not_agreed", "not agreed";
    }
}

family! {
    /// A step of a handoff, or a write, that the session's rules forbid.
    Handoff {
        Presentation => "handoff.presentation", "presentation missing";
        Binding => "handoff.binding", "binding";
        Fenced => "handoff.fenced", "fenced";
        Epoch => "handoff.epoch", "epoch";
        Taken => "handoff.taken", "taken";
        Expired => "handoff.expired", "expired";
        State => "handoff.state", "state";
        Target => "handoff.target", "target";
        OfferVoid => "handoff.offer_void", "offer void";
        NoKey => "handoff.no_key", "no key";
        Statement => "handoff.statement", "statement";
        Forked => "handoff.forked", "forked";
        Early => "handoff.too_early", "too early";
        NotHolder => "handoff.not_holder", "not the holder";
        Exists => "handoff.exists", "id already used";
    }
}

family! {
    /// Sealed state that cannot be taken or opened.
    State {
        Alg => "state.alg", "alg";
        Undecryptable => "state.undecryptable", "undecryptable";
        Recipient => "state.recipient", "recipient";
        Rollback => "state.rollback", "rollback";
        Sender => "state.sender", "sender";
        NotEncrypted => "state.not_encrypted", "not encrypted";
        Conflict => "state.conflict", "conflict";
        RekeyRequired => "state.rekey_required", "rekey required";
        Quota => "state.quota", "quota";
    }
}

family! {
    /// An event stream that cannot go on silently.
    Stream {
        Gap => "stream.gap", "gap";
        Ticket => "stream.ticket", "ticket";
        Origin => "stream.origin", "origin";
    }
}

family! {
    /// More than is allowed.
    Limit {
        Body => "limit.body", "body";
        Slow => "limit.slow", "slow";
        Rate => "limit.rate", "rate";
        Devices => "limit.devices", "devices";
        Streams => "limit.streams", "streams";
        Prompts => "limit.prompts", "prompts";
    }
}

family! {
    /// Input of the wrong shape.
    Input {
        Invalid => "input.invalid", "invalid";
        Id => "input.id", "id";
        Name => "input.name", "name";
        Version => "input.version", "version";
        Csrf => "input.csrf", "csrf";
        Encoding => "input.encoding", "content encoding";
        TokenInUrl => "input.token_in_url", "token in url";
        Qr => "input.qr", "qr";
        NotFound => "not_found", "not found";
    }
}

/// Why something was refused. `code()` may leave the process, `reason()` may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{} ({})", self.code(), self.reason())]
#[expect(missing_docs, reason = "each variant wraps the family of its own name")]
pub enum Refusal {
    Jose(Jose),
    Vc(Vc),
    Kb(Kb),
    Status(Status),
    Dpop(Dpop),
    Token(Token),
    Oauth(Oauth),
    Vci(Vci),
    Vp(Vp),
    Enrol(Enrol),
    Webauthn(Webauthn),
    Wrap(Wrap),
    Log(Log),
    Root(Root),
    Handoff(Handoff),
    State(State),
    Stream(Stream),
    Limit(Limit),
    Input(Input),
}

macro_rules! forward {
    ($($family:ident),*) => {
        impl Refusal {
            /// The stable code of the wire.
            pub const fn code(&self) -> &'static str { match self { $(Self::$family(x) => x.code(),)* } }
            /// The precise cause, for security events only.
            pub const fn reason(&self) -> &'static str { match self { $(Self::$family(x) => x.reason(),)* } }
            /// Every code with its family's reasons, sorted, for documents.
            pub fn all() -> Vec<Self> { let mut all = Vec::new(); $(all.extend($family::ALL.iter().map(|x| Self::$family(*x)));)* all }
        }
        $(impl From<$family> for Refusal { fn from(x: $family) -> Self { Self::$family(x) } })*
    };
}
forward!(Jose, Vc, Kb, Status, Dpop, Token, Oauth, Vci, Vp, Enrol, Webauthn, Wrap, Log, Root, Handoff, State, Stream, Limit, Input);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outside_code_never_tells_two_cryptographic_causes_apart() {
        for jose in Jose::ALL {
            assert_eq!(jose.code(), "jose.invalid");
        }
        assert_eq!(Vc::Sig.code(), Vc::Cnf.code());
        assert_eq!(Kb::Key.code(), Kb::SdHash.code());
    }

    #[test]
    fn causes_are_distinct_inside_a_family() {
        let mut seen = std::collections::HashSet::new();
        for refusal in Refusal::all() {
            assert!(seen.insert((std::mem::discriminant(&refusal), refusal.reason())), "{refusal}");
        }
    }
}
