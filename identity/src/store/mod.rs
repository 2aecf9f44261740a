//! Identity's rows. Functions take the transaction; a guard that failed is `None`, never an error.

pub mod accounts;
pub mod ceremonies;
pub mod clients;
pub mod credential_offers;
pub mod devices;
pub mod logs;
pub mod requests;
pub mod root_changes;
pub mod sign_ins;
pub mod status;
