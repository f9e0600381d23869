//! How many transactions a second the sender gets mined from one key, with everything remembered in SQLite, beside how many
//! the node takes when it is handed the very same bytes. The sender runs in a program of its own, optimised as the daemon is.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use super::{Ground, Row, program};
use crate::tools::Tools;

const TRANSACTIONS: u32 = 2_000;

pub(super) async fn rows(tools: &Tools) -> Result<Vec<Row>> {
    let program = program("sending")?;
    let ground = Ground::lay(tools).await?;
    let mut command = Command::new(program);
    command.args([ground.anvil.url(), &ground.chain.contracts().market.to_string()]);
    command.arg(ground.folder.path()).arg(TRANSACTIONS.to_string());
    let output = command.output().await.context("failed to start the measuring program")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value =
        serde_json::from_slice(&output.stdout).context("the measuring program tells no JSON")?;
    let rate = |who: &str| -> Result<f64> {
        let seconds = told[who].as_f64().with_context(|| format!("no seconds of the {who} are told"))?;
        Ok(f64::from(TRANSACTIONS) / seconds)
    };
    let (sender, node) = (rate("sender")?, rate("node")?);
    Ok(vec![Row {
        name: "sender",
        figure: format!("{sender:.0} tx/s"),
        target: "200 tx/s",
        floor: format!("{node:.0} tx/s"),
        ratio: sender / node,
        what: "2,000 intents of one key simulated, signed, remembered in SQLite, sent and seen mined; the same bytes handed to the node",
    }])
}
