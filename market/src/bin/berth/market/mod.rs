//! A market itself, for those who put one on a chain or want to know what one is made of. It lives in `berth` because this
//! is the program that both sides have, it speaks to a chain and to nothing else, and the contracts are inside it.

mod deploy;
mod verify;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum MarketVerb {
    /// Put a market on a chain: contracts, timelock, wiring; check it and write the addresses file that everything else
    /// reads. Run again after an interruption, it goes on where it was; run again when all is done, it changes nothing.
    Deploy(Box<deploy::Deploy>),
    /// Check a market against its addresses file and this version: code, wiring, roles, parameters. Changes nothing.
    Verify(verify::Verify),
}

pub(crate) async fn run(verb: MarketVerb) -> anyhow::Result<()> {
    match verb {
        MarketVerb::Deploy(deploy) => deploy::run(*deploy).await,
        MarketVerb::Verify(verify) => verify::run(verify).await,
    }
}
