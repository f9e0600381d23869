//! What calls of the contracts cost, beside what they may cost and what others' contracts ask for the like.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::progress::say;
use crate::report::table;
use crate::workspace;

/// A call with its target and, where peers have the like, what it costs there.
struct Row {
    /// What the contracts' test of costs calls it.
    name: &'static str,
    target: u64,
    sablier: &'static str,
    filecoin_pay: &'static str,
}

const fn row(name: &'static str, target: u64, sablier: &'static str, filecoin_pay: &'static str) -> Row {
    Row { name, target, sablier, filecoin_pay }
}

/// Whole transactions, measured alike: Sablier Flow 3.0.1 and Filecoin Pay V1, both with a token of six decimals.
const ROWS: [Row; 30] = [
    row("create deployment", 95_000, "", ""),
    row("deposit", 70_000, "61.7k", "59.4k–118k"),
    row("deposit with permit", 120_000, "", ""),
    row("create order (384 bytes)", 95_000, "", ""),
    row("create order (1536 bytes)", 95_000 + 1152 * 25, "", ""),
    row("create order, per further byte", 25, "", ""),
    row("create order, lowest wins (384 bytes)", 120_000, "", ""),
    row("create order and deposit", 140_000, "", ""),
    row("relayed order and deposit", 165_000, "", ""),
    row("place bid", 65_000, "", ""),
    row("revise bid", 45_000, "", ""),
    row("place bids, per extra", 45_000, "", ""),
    row("place bid, first best", 90_000, "", ""),
    row("place bid, displacing the best", 90_000, "", ""),
    row("revise bid, the best", 55_000, "", ""),
    row("accept bid", 72_000, "162.7k–214k", "252k–286k + 75.8k + 169k"),
    row("accept quote", 95_000, "162.7k–214k", "252k–286k + 75.8k + 169k"),
    row("relayed accept", 90_000, "", ""),
    row("award", 72_000, "", ""),
    row("withdraw", 65_000, "73.4k–93.8k", "47k–168k + 57k–82k"),
    row("withdraw, first to a payout address", 82_000, "73.4k–93.8k", "47k–168k + 57k–82k"),
    row("withdraw two", 90_000, "", ""),
    row("close by tenant", 60_000, "45.7k", "72.8k"),
    row("close by provider", 60_000, "45.7k", "72.8k"),
    row("relayed close", 80_000, "", ""),
    row("finalize", 60_000, "", ""),
    row("refund beside a lease", 55_000, "59.9k", ""),
    row("refund of the rest", 55_000, "59.9k", ""),
    row("register provider", 150_000, "", "117k"),
    row("publish attributes", 50_000, "", ""),
];

/// Measures anew, tells the table, and answers whether everything is at or under its target.
///
/// # Errors
/// When the contracts cannot be measured, or cost something else than their committed figures say.
pub fn contracts() -> Result<bool> {
    let folder = workspace::root().join("market/contracts");
    let mut forge = Command::new(folder.join("node_modules/.bin/forge"));
    forge.current_dir(&folder).args(["test", "--match-path", "test/Gas.t.sol"]);
    let output = forge.env("FORGE_SNAPSHOT_CHECK", "true").output();
    let output = output.context("failed to start forge: install it with `cargo e2e tools`")?;
    ensure!(
        output.status.success(),
        "the costs of calls are not those of snapshots/gas.json, or could not be measured:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let file = folder.join("snapshots/gas.json");
    let text = fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
    let measured = figures(&text).with_context(|| format!("{} holds no figures", file.display()))?;
    let (rows, above) = compare(&measured);
    table(["call", "gas", "target", "", "Sablier Flow", "Filecoin Pay"], &rows);
    if above.is_empty() {
        say("every call is at or under its target");
    } else {
        say(format_args!("above target: {}", above.join(", ")));
    }
    Ok(above.is_empty())
}

fn figures(text: &str) -> Result<BTreeMap<String, u64>> {
    let words: BTreeMap<String, String> = serde_json::from_str(text)?;
    words.into_iter().map(|(name, gas)| Ok((name, gas.parse()?))).collect()
}

/// The rows to show, what costs too much first named at their end, and what is measured without a target last.
fn compare(measured: &BTreeMap<String, u64>) -> (Vec<[String; 6]>, Vec<String>) {
    let mut above = Vec::new();
    let mut rows = Vec::new();
    for Row { name, target, sablier, filecoin_pay } in &ROWS {
        let Some(gas) = measured.get(*name) else { continue };
        let mark = if gas > target {
            above.push(format!("{name} by {}", gas - target));
            "ABOVE"
        } else {
            ""
        };
        let cells = [name, &*gas.to_string(), &*target.to_string(), mark, sablier, filecoin_pay];
        rows.push(cells.map(str::to_owned));
    }
    for (name, gas) in measured.iter().filter(|(name, _)| ROWS.iter().all(|row| row.name != **name)) {
        let gas = gas.to_string();
        rows.push([name, &*gas, "none", "", "", ""].map(str::to_owned));
    }
    (rows, above)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_costs_more_than_its_target_is_named() {
        let measured = figures(r#"{"deposit": "70001", "refund of the rest": "55000", "new": "5"}"#).unwrap();
        let (rows, above) = compare(&measured);
        assert_eq!(above, ["deposit by 1"]);
        let marks: Vec<(&str, &str, &str)> =
            rows.iter().map(|row| (row[0].as_str(), row[2].as_str(), row[3].as_str())).collect();
        assert_eq!(
            marks,
            [("deposit", "70000", "ABOVE"), ("refund of the rest", "55000", ""), ("new", "none", "")]
        );
    }

    #[test]
    fn every_committed_figure_has_a_target() {
        let file = workspace::root().join("market/contracts/snapshots/gas.json");
        let measured = figures(&fs::read_to_string(file).unwrap()).unwrap();
        let (rows, _) = compare(&measured);
        let without: Vec<&String> = rows.iter().filter(|row| row[2] == "none").map(|row| &row[0]).collect();
        assert!(without.is_empty(), "{without:?}");
    }
}
