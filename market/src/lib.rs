//! The market's contracts, and how either side takes part: reading the chain, sending to it, and talking over a gateway.
//!
//! [`Chain`] is a checked connection; its methods in [`reader`] answer in the words of [`manifests::order`]. A [`call::Call`]
//! is what can be asked of the contracts; a [`sender::Sender`] makes it happen once, remembering in a [`sender::Journal`] before
//! it sends. [`signer::Signer`] signs, with the key of a [`wallet::Wallet`] or of a signing service. [`api`] and [`auth`] are the two ends' common words of the gateway, and
//! [`client::GatewayClient`] is the tenant's end; [`quote`] is what it can ask before it orders. No type of the Ethereum library leaves this crate.

pub mod api;
pub mod auth;
pub mod backlog;
mod bindings;
pub mod call;
mod chain;
pub mod client;
mod convert;
pub mod deploy;
mod events;
pub mod feed;
mod moment;
mod node;
pub mod observe;
pub mod private_file;
pub mod quote;
pub mod reader;
pub mod revert;
pub mod rpc;
pub mod sender;
pub mod sentence;
pub mod signer;
pub mod tls;
pub mod wakeup;
pub mod wallet;

pub use chain::{Chain, ConnectError, Contracts};
pub use events::{EventError, Logged};
pub use node::At;
