//! `berth market verify`: a line for everything that an addresses file says, and whether the chain agrees.

use std::path::PathBuf;

use clap::Args;
use market::deploy::{self, AddressBook};
use market::rpc::Rpc;

use crate::cli::Format;
use crate::exit::Ending;
use crate::output::{json, result};

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// JSON-RPC endpoint of the chain: http://host:port or https://host/path.
    #[arg(long)]
    rpc: String,
    /// The addresses file, as `berth market deploy` wrote it.
    #[arg(long, value_name = "FILE", default_value = "addresses.json")]
    addresses: PathBuf,
    /// How to print.
    #[arg(long, short, value_enum, default_value = "table")]
    output: Format,
}

pub(crate) async fn run(verify: Verify) -> anyhow::Result<()> {
    let Verify { rpc, addresses, output } = verify;
    let book = AddressBook::load(&addresses)?;
    let findings = deploy::verify(Rpc::new(&rpc)?, &book).await?;
    let wrong = findings.iter().filter(|finding| finding.verdict.is_err()).count();
    if output == Format::Json {
        json(&findings)?;
    } else {
        for finding in &findings {
            let (word, sentence) = match &finding.verdict {
                Ok(sentence) => ("ok  ", sentence),
                Err(sentence) => ("FAIL", sentence),
            };
            result(format_args!("{word}  {:<11} {sentence}", finding.what));
        }
    }
    match wrong {
        0 => Ok(()),
        _ => Err(Ending::error(
            Ending::REFUSED,
            format!("{} is not what lies on chain {}", addresses.display(), book.chain_id),
        )),
    }
}
