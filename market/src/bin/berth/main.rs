//! `berth`: rent capacity. One document in, one running deployment out; names instead of sequence numbers.
//!
//! Results go to standard output, progress and problems to standard error. Every verb that writes can be run again: what is
//! on chain decides what is left to do.

mod account;
mod balance;
mod bids;
mod check;
mod cli;
mod contexts;
mod deposit;
mod document;
mod down;
mod exit;
mod logs;
mod ls;
mod market;
mod output;
mod price;
mod sdl;
mod secrets;
mod serve;
mod sight;
mod state;
mod status;
mod step;
mod story;
mod up;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Verb};

#[tokio::main]
async fn main() -> ExitCode {
    ::market::tls::install_provider();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::WARN)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        .init();
    let result = match Cli::parse().verb {
        Verb::Context(verb) => contexts::run(verb),
        Verb::Up(up) => up::run(up).await,
        Verb::Ls(ls) => ls::run(ls).await,
        Verb::Status(status) => status::run(status).await,
        Verb::Logs(logs) => logs::run(logs).await,
        Verb::Price(price) => price::run(&price),
        Verb::Check(check) => check::run(check).await,
        Verb::Sdl(verb) => sdl::run(verb),
        Verb::Deposit(deposit) => deposit::run(deposit).await,
        Verb::Down(down) => down::run(down).await,
        Verb::Balance(balance) => balance::run(balance).await,
        Verb::Market(verb) => market::run(verb).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::problem(&error);
            exit::code_of(&error)
        }
    }
}
