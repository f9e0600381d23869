//! The bench's chain: a real EVM node that mines a block a second and finalises the block before.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::addresses::{CHAIN_PORT, NODE};
use crate::parts::Parts;
use crate::process::Process;
use crate::wait;

/// The chain's id on every bench.
pub const CHAIN_ID: u64 = 31337;
/// Seconds between two blocks.
pub const BLOCK_SECONDS: u64 = 1;

/// A chain node, spoken to in its own dialect: mining, balances, time.
#[derive(Clone, Debug)]
pub struct Anvil {
    url: String,
    client: reqwest::Client,
}

impl Anvil {
    /// A chain node that answers at `url`.
    #[must_use]
    pub fn at(url: &str) -> Self {
        Self { url: url.to_owned(), client: reqwest::Client::new() }
    }

    /// Where the node answers.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The answer to one JSON-RPC call.
    ///
    /// # Errors
    /// When the node does not answer or answers with an error.
    pub async fn call(&self, method: &str, parameters: Value) -> Result<Value> {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters});
        let answer = self.client.post(&self.url).json(&request).send().await;
        let answer: Value = answer
            .with_context(|| format!("the chain node at {} does not answer {method}", self.url))?
            .json()
            .await
            .with_context(|| format!("the chain node answers {method} with something that is no JSON"))?;
        if let Some(error) = answer.get("error") {
            bail!(
                "the chain node refuses {method}: {}",
                error["message"].as_str().unwrap_or("no reason given")
            );
        }
        Ok(answer["result"].clone())
    }

    /// The number that a call without parameters answers: `eth_blockNumber`, `eth_chainId`.
    ///
    /// # Errors
    /// As [`Anvil::call`], and when the answer is no number.
    pub async fn number(&self, method: &str) -> Result<u64> {
        let answer = self.call(method, json!([])).await?;
        let digits = answer.as_str().and_then(|text| text.strip_prefix("0x"));
        let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        number.with_context(|| format!("the chain node answers {method} with {answer}, which is no number"))
    }

    /// Gives an account this many whole units of the chain's own coin, for fees.
    ///
    /// # Errors
    /// As [`Anvil::call`].
    pub async fn fund(&self, account: &str, coins: u64) -> Result<()> {
        let wei = u128::from(coins) * 1_000_000_000_000_000_000;
        self.call("anvil_setBalance", json!([account, format!("{wei:#x}")])).await?;
        Ok(())
    }

    /// Mines a block as soon as there is a transaction, and only then.
    ///
    /// # Errors
    /// As [`Anvil::call`].
    pub async fn mine_on_demand(&self) -> Result<()> {
        self.call("evm_setIntervalMining", json!([0])).await?;
        self.call("evm_setAutomine", json!([true])).await?;
        Ok(())
    }

    /// Mines a block every [`BLOCK_SECONDS`].
    ///
    /// # Errors
    /// As [`Anvil::call`].
    pub async fn mine_by_the_clock(&self) -> Result<()> {
        self.call("evm_setIntervalMining", json!([BLOCK_SECONDS])).await?;
        Ok(())
    }
}

/// Starts the node, mining on demand, and waits until it answers.
pub(crate) async fn start(parts: &Parts) -> Result<(Process, Anvil)> {
    let mut anvil = parts.command("foundry", "anvil");
    anvil.args(["--host", NODE, "--port", &CHAIN_PORT.to_string()]);
    // The node's own accounts have keys that the whole world knows; the bench funds keys of its own instead.
    anvil.args(["--accounts", "1", "--balance", "0", "--mnemonic-random", "12"]);
    anvil.args(["--slots-in-an-epoch", "1", "--chain-id", &CHAIN_ID.to_string()]);
    // It keeps a log folder in the home of whoever starts it.
    anvil.env("HOME", parts.folder("chain")?);
    let mut process = parts.start("anvil", &mut anvil)?;
    let node = Anvil::at(&format!("http://{NODE}:{CHAIN_PORT}"));
    wait::until("the chain to answer", Duration::from_secs(30), async || {
        process.still_runs()?;
        node.call("eth_chainId", json!([])).await
    })
    .await?;
    Ok((process, node))
}
