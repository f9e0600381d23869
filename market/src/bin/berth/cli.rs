//! The verbs and their options.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use manifests::extension::is_secret_name;
use manifests::money::{Amount, Rate};
use manifests::order::Address;

use crate::market::MarketVerb;
use crate::sdl::SdlVerb;
use crate::sdl::reading::Faithfulness;

/// Rent capacity on an open market.
///
/// A document in SDL says what should run. `berth up app.yaml` deposits money, posts the order, takes the best bid, hands the
/// manifest to the provider and waits until everything is ready. `berth down NAME` ends it and brings the rest of the money
/// home.
///
/// Exit codes: 0 done, 1 other failure, 2 wrong usage or document, 3 not found, 4 no bids, 5 key or signature refused, 6 too
/// little money, 7 provider not reachable, 8 lease closed, 124 not ready in time, 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "berth", version)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Name the chain, the market and the key to work with.
    #[command(subcommand)]
    Context(ContextVerb),
    /// Make a document run; run again after an interruption, it goes on where it was.
    Up(Up),
    /// List deployments.
    Ls(Ls),
    /// Show one deployment: money, lease, services, pods.
    Status(Status),
    /// Print what the services write.
    Logs(Logs),
    /// Show what a document would pay at most. Needs no chain.
    Price(Price),
    /// Ask every provider whether it would bid on a document and at what price, line by line, and what keeps the others from it.
    /// Pays and posts nothing. Ends with 4 if nobody would bid on one of its placements.
    Check(Check),
    /// Write, check and understand documents. Needs no chain and no context.
    #[command(subcommand)]
    Sdl(SdlVerb),
    /// Pay into a deployment, so that it lasts longer. Must be done before its money ends, which is final.
    Deposit(Deposit),
    /// End a deployment and take back what is left.
    Down(Down),
    /// Show the money of the key: wallet and escrow.
    Balance(Balance),
    /// Put a market on a chain, or check one. Needs no context.
    #[command(subcommand)]
    Market(MarketVerb),
}

/// Which context a verb works in.
#[derive(Debug, Args)]
pub(crate) struct InContext {
    /// The context to work in instead of the current one.
    #[arg(long, env = "BERTH_CONTEXT", value_name = "NAME")]
    pub(crate) context: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContextVerb {
    /// Add a context, or replace one of the same name. The first one becomes the current one.
    Add(AddContext),
    /// Make a context the current one.
    Use {
        /// Its name.
        name: String,
    },
    /// List contexts; a star marks the current one.
    List,
    /// Show a context.
    Show {
        /// Its name; the current one if left out.
        name: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AddContext {
    /// Its name.
    pub(crate) name: String,
    /// JSON-RPC endpoint of the chain: http://host:port or https://host/path.
    #[arg(long)]
    pub(crate) rpc: String,
    /// The market's addresses file, as `berth market deploy` wrote it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["chain_id", "market"])]
    pub(crate) addresses: Option<PathBuf>,
    /// The chain's id; an endpoint on another chain is refused.
    #[arg(long, required_unless_present = "addresses")]
    pub(crate) chain_id: Option<u64>,
    /// Address of the Market contract.
    #[arg(long, required_unless_present = "addresses")]
    pub(crate) market: Option<Address>,
    /// Key file (Web3 Secret Storage, version 3).
    #[arg(long, value_name = "FILE")]
    pub(crate) keystore: PathBuf,
    /// File with the key file's password.
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: PathBuf,
    /// Make a new key in the key file, which must not exist yet.
    #[arg(long)]
    pub(crate) new_key: bool,
    /// What a requirement of another network means here: an auditor's name, or an attribute as key=value. Nothing after the
    /// colon: it is met by being here. Repeatable.
    #[arg(long, value_name = "THEIRS:OURS", value_parser = translation)]
    pub(crate) translate: Vec<(String, String)>,
    /// Dollars for a million of a currency that documents are priced in (uakt=0.55 if 1 AKT is $0.55); repeatable.
    #[arg(long, value_name = "DENOM=DOLLARS", value_parser = pair)]
    pub(crate) exchange_rate: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// The document, in SDL.
    pub(crate) document: PathBuf,
    /// What to call it; the file's name without its ending if left out.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Dollars to put into escrow. What is not used comes back. Left out: what a day costs at the highest price.
    #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
    pub(crate) deposit: Option<Amount>,
    #[command(flatten)]
    pub(crate) faithfulness: Faithfulness,
    /// The most to pay for each placement, in dollars per hour, instead of what the document says.
    #[arg(long, value_name = "DOLLARS/H", value_parser = hourly)]
    pub(crate) max_price: Option<Rate>,
    /// How long to wait for bids.
    #[arg(long, default_value = "90s", value_parser = duration)]
    pub(crate) wait: Duration,
    /// Which bid to take: `cheapest`, or a provider's address.
    #[arg(long, default_value = "cheapest", value_parser = pick)]
    pub(crate) pick: Pick,
    /// How long to wait until everything is ready.
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub(crate) ready: Duration,
    /// The value of a secret that the document names under secretRef, from a file. It goes to the provider alone, never on
    /// chain. Repeatable; the same command again with another file changes it.
    #[arg(long, value_name = "NAME=FILE", value_parser = secret)]
    pub(crate) secret: Vec<(String, PathBuf)>,
    /// Refuse documents with requirements that nobody checks on this market and the context does not translate.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Do not ask before paying.
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) context: InContext,
}

/// Which bid is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pick {
    Cheapest,
    Provider(Address),
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// How to print.
    #[arg(long, short, value_enum, default_value = "table")]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) context: InContext,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Name or number of the deployment; may be left out when there is one.
    pub(crate) name: Option<String>,
    /// How to print.
    #[arg(long, short, value_enum, default_value = "table")]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) context: InContext,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Name or number of the deployment.
    pub(crate) name: String,
    /// Go on as lines are written.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only so many of the last lines of each pod.
    #[arg(long)]
    pub(crate) tail: Option<u32>,
    /// Only this service.
    #[arg(long)]
    pub(crate) service: Option<String>,
    #[command(flatten)]
    pub(crate) context: InContext,
}

#[derive(Debug, Args)]
pub(crate) struct Price {
    /// The document, in SDL.
    pub(crate) document: PathBuf,
    #[command(flatten)]
    pub(crate) faithfulness: Faithfulness,
    /// The most to pay for each placement, in dollars per hour, instead of what the document says.
    #[arg(long, value_name = "DOLLARS/H", value_parser = hourly)]
    pub(crate) max_price: Option<Rate>,
    /// Dollars in escrow: shows how long they last.
    #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
    pub(crate) deposit: Option<Amount>,
    /// How to print.
    #[arg(long, short, value_enum, default_value = "table")]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) context: InContext,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The document, in SDL.
    pub(crate) document: PathBuf,
    #[command(flatten)]
    pub(crate) faithfulness: Faithfulness,
    /// The most to pay for each placement, in dollars per hour, instead of what the document says.
    #[arg(long, value_name = "DOLLARS/H", value_parser = hourly)]
    pub(crate) max_price: Option<Rate>,
    /// Refuse documents with requirements that nobody checks on this market and the context does not translate.
    #[arg(long)]
    pub(crate) strict: bool,
    /// How to print.
    #[arg(long, short, value_enum, default_value = "table")]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) context: InContext,
}

#[derive(Debug, Args)]
pub(crate) struct Deposit {
    /// Name or number of the deployment.
    pub(crate) name: String,
    /// Dollars. What is not used comes back at the end.
    #[arg(value_name = "DOLLARS", value_parser = dollars)]
    pub(crate) amount: Amount,
    #[command(flatten)]
    pub(crate) context: InContext,
}

#[derive(Debug, Args)]
pub(crate) struct Down {
    /// Name or number of the deployment.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) context: InContext,
}

#[derive(Debug, Args)]
pub(crate) struct Balance {
    /// How to print.
    #[arg(long, short, value_enum, default_value = "table")]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) context: InContext,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((theirs, ours)) if !theirs.is_empty() && !ours.is_empty() => {
            Ok((theirs.to_owned(), ours.to_owned()))
        }
        _ => Err("write DENOM=DOLLARS".to_owned()),
    }
}

fn secret(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if is_secret_name(name) && !file.is_empty() => {
            Ok((name.to_owned(), PathBuf::from(file)))
        }
        _ => Err("write NAME=FILE: the secret's name as the document has it, and the file with its value"
            .to_owned()),
    }
}

fn translation(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((theirs, ours)) if !theirs.is_empty() => Ok((theirs.to_owned(), ours.to_owned())),
        _ => Err("write THEIRS:OURS, or THEIRS: for what is met by being here".to_owned()),
    }
}

fn pick(text: &str) -> Result<Pick, String> {
    match text {
        "cheapest" => Ok(Pick::Cheapest),
        address => address
            .parse()
            .map(Pick::Provider)
            .map_err(|_| "write `cheapest`, or a provider's address as 0x and 40 hex digits".to_owned()),
    }
}

/// Dollars with at most six decimals, exactly.
fn dollars(text: &str) -> Result<Amount, String> {
    let wrong = || {
        format!("\"{text}\" is not an amount of dollars: write it as 5 or 2.50, with at most six decimals")
    };
    let text = text.strip_prefix('$').unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 6 {
        return Err(wrong());
    }
    let units: u128 = format!("{whole}{fraction:0<6}").parse().map_err(|_| wrong())?;
    // Far above all money there is, and far below what arithmetic on chain takes.
    if units > 10u128.pow(24) { Err(wrong()) } else { Ok(Amount(units)) }
}

fn hourly(text: &str) -> Result<Rate, String> {
    let per_hour = dollars(text.strip_suffix("/h").unwrap_or(text))?;
    let scaled = per_hour.0 * 1_000_000_000 / 3600;
    match Rate::new(scaled) {
        Ok(rate) if rate > Rate::ZERO => Ok(rate),
        Ok(_) => Err("a price of nothing finds no provider".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// `90s`, `5m`, `2h`, or plain seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        _ => (text, 1),
    };
    match number.parse::<u64>() {
        Ok(number) if number <= 1_000_000 => Ok(Duration::from_secs(number * unit)),
        _ => Err(format!("\"{text}\" is not a duration: write it as 90s, 5m or 2h")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_verbs_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn dollars_are_read_to_the_millionth_and_not_beyond() {
        assert_eq!(dollars("5"), Ok(Amount(5_000_000)));
        assert_eq!(dollars("$0.000001"), Ok(Amount(1)));
        assert_eq!(dollars("2.5"), Ok(Amount(2_500_000)));
        for wrong in
            ["", ".", "5.", ".5", "-1", "1e3", "0.0000001", "1,5", "99999999999999999999999999999999999"]
        {
            assert!(dollars(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn prices_are_per_hour_and_durations_have_units() {
        assert_eq!(hourly("3.6/h"), Rate::new(1_000 * 1_000_000_000).map_err(|error| error.to_string()));
        assert!(hourly("0").is_err());
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert!(duration("soon").is_err());
        assert!(pick("dearest").is_err());
    }
}
