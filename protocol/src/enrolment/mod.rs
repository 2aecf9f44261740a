//! Enrolment as it crosses the wire: what a device asks for, what the person is shown, what the approving client signs.

mod approval;
mod claims;
mod codes;
mod name;
mod root_change;

pub use approval::{AccountProof, Approval, IssuerStatement, Lane, Offer, Shown};
pub use claims::{DETAILS_TYPE, DeviceClaims, DeviceDetails, Kind};
pub use codes::{CHECK_CODE_DIGITS, MAX_GUESSES, check_code, normalise_user_code, user_code};
pub use name::check_name;
pub use root_change::{Anew, AppChange, AppSigned, RootStatement, continues};
