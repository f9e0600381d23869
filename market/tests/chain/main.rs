//! The chain client against a real node with our contracts on it.

mod anvil;
mod deployment;
mod faults;
mod gateway;
mod keys;
mod model;
mod money;
mod rotation;
mod sending;
mod strangers;
mod tenant;
mod together;
mod web3signer;
