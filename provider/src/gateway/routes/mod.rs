//! One file an endpoint: look up, check, change, answer.

pub(super) mod decision;
pub(super) mod lease;
pub(super) mod logs;
pub(super) mod manifest;
pub(super) mod nonce;
pub(super) mod quote;
pub(super) mod secrets;
pub(super) mod status;
