//! What other people's libraries say of the same keys and tokens. Where we differ on purpose, a table says so, both ways.

mod credential;
mod did_key;
mod disagree;
mod generate;
mod sd_jwt;
mod support;
