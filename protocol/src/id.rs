//! Identifiers of our own resources: a prefix and a UUIDv7 (RFC 9562 §5.7). Time and random bits are arguments.

use crate::refusal::Input;
use crate::time::Millis;
use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[cfg_attr(feature = "schema", schemars(extend("pattern" = concat!("^", $prefix, "[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}$"))))]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// A new id from a time and ten random bytes.
            pub fn new(now: Millis, random: [u8; 10]) -> Self { Self(make($prefix, now, random)) }
            /// Accepts the one canonical spelling.
            pub fn parse(text: &str) -> Result<Self, Input> { check($prefix, text).map(|()| Self(text.to_owned())) }
            /// As text.
            pub fn as_str(&self) -> &str { &self.0 }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(&self.0) }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                let text = String::deserialize(input)?;
                Self::parse(&text).map_err(|_| serde::de::Error::custom("not an id of this kind"))
            }
        }
    )*};
}

ids! {
    /// A person at identity.
    AccountId = "acc_";
    /// One enrolled installation.
    DeviceId = "dev_";
    /// An enrolment request.
    RequestId = "enr_";
    /// An app's request to know who is there.
    SignInId = "sgn_";
    /// What follows from one sign-in.
    FamilyId = "fam_";
    /// A relying service's request to wallets.
    TransactionId = "vpt_";
    /// A client that registered itself.
    ClientId = "cli_";
    /// A credential offer to a wallet.
    OfferId = "off_";
    /// A consent.
    GrantId = "grt_";
    /// A passkey ceremony.
    CeremonyId = "cer_";
    /// A running state that can move.
    SessionId = "ses_";
    /// One handoff of a session.
    HandoffId = "hof_";
    /// A late update, kept beside the session.
    BranchId = "brn_";
}

fn make(prefix: &str, now: Millis, random: [u8; 10]) -> String {
    let uuid = uuid::Builder::from_unix_timestamp_millis(now.0.max(0) as u64, &random).into_uuid();
    format!("{prefix}{}", uuid.simple())
}

fn check(prefix: &str, text: &str) -> Result<(), Input> {
    let hex = text.strip_prefix(prefix).ok_or(Input::Id)?;
    let canonical = hex.len() == 32
        && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        && hex.as_bytes()[12] == b'7'
        && matches!(hex.as_bytes()[16], b'8'..=b'b');
    if canonical { Ok(()) } else { Err(Input::Id) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wildcards_other_prefixes_and_other_versions_are_refused() {
        let good = SessionId::new(Millis(1_700_000_000_000), [7; 10]);
        assert_eq!(SessionId::parse(good.as_str()).as_ref(), Ok(&good));
        assert_eq!(HandoffId::parse(good.as_str()), Err(Input::Id));
        for bad in ["ses_>", "ses_*", "ses_", "", "ses_00000000000040008000000000000000", &good.as_str().to_uppercase()] {
            assert_eq!(SessionId::parse(bad), Err(Input::Id), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn made_ids_parse_and_sort_by_time(a in 0i64..1 << 47, b in 0i64..1 << 47, r in any::<[u8; 10]>()) {
            let (x, y) = (SessionId::new(Millis(a), r), SessionId::new(Millis(b), r));
            prop_assert_eq!(SessionId::parse(x.as_str()), Ok(x.clone()));
            prop_assert_eq!(a.cmp(&b), x.cmp(&y));
        }
    }
}
