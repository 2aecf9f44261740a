//! The protocol from outside: each rule of each token, refused for the one reason and let through once that is mended.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod access_token;
mod device_log;
mod dpop;
mod jose;
mod presentation;
mod sd_jwt_vc;
mod session;
mod status_list;
mod support;
mod wycheproof;
