//! OpenID for Verifiable Credential Issuance 1.0: wallets get the device-binding credential by the standard's own messages. It is deferred always:
//! the person's page signs it, this service cannot.

mod authorization;
mod credential;
mod encryption;
mod metadata;
mod offers;

pub use authorization::{By, DETAILS, offered, token as token_of_code, wanted};
pub use credential::{credential, deferred, nonce, notification};
pub use metadata::metadata;
pub use offers::{GRANT, create as offer, show as show_offer, token};

/// The one credential there is.
pub const CONFIGURATION: &str = "baton_device";
