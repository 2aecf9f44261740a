//! How a session changes hands: the rules of one handoff ([`machine`]), what its parties sign ([`wire`]), and the chain of signed
//! statements that says who may write ([`chain`]), and what a broker's row allows ([`seat`]). Broker, SDKs and the model checker all use this code.

pub mod chain;
pub mod machine;
pub mod seat;
pub mod wire;
