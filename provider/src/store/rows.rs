//! Rows of orders and bids, and the one place that knows how columns hold our words.

use std::fmt::Display;
use std::str::FromStr;

use anyhow::{Context, anyhow};
use manifests::money::{Amount, Rate};
use manifests::order::{Bid, CloseReason, Order};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::any::AnyRow;

/// Where an order stands on the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderState {
    /// It takes bids, until its expiry.
    Open,
    /// It became a lease.
    Matched,
    /// It left the book without one.
    Closed(CloseReason),
}

/// An order as the chain tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRow {
    /// What was posted.
    pub order: Order,
    /// Where it stands.
    pub state: OrderState,
    /// Height at which it was posted.
    pub created_block: u64,
}

/// Where a bid stands. That it lost or expired follows from its order and the time; it is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BidState {
    /// It can be accepted.
    Open,
    /// It was taken back.
    Withdrawn,
    /// It was accepted.
    Won,
}

impl BidState {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Withdrawn => "withdrawn",
            Self::Won => "won",
        }
    }
}

/// A bid as the chain tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BidRow {
    /// What was offered.
    pub bid: Bid,
    /// Where it stands.
    pub state: BidState,
    /// Height at which it was last placed.
    pub block: u64,
}

impl OrderRow {
    pub(super) fn read(row: &AnyRow) -> anyhow::Result<Self> {
        let state = match string(row, "state")?.as_str() {
            "open" => OrderState::Open,
            "matched" => OrderState::Matched,
            "closed" => OrderState::Closed(reason(row, "close_reason")?),
            other => return Err(anyhow!("the database holds an order in state \"{other}\"")),
        };
        Ok(Self { order: json(row, "body")?, state, created_block: number(row, "created_block")? })
    }
}

impl BidRow {
    pub(super) fn read(row: &AnyRow) -> anyhow::Result<Self> {
        let state = match string(row, "state")?.as_str() {
            "open" => BidState::Open,
            "withdrawn" => BidState::Withdrawn,
            "won" => BidState::Won,
            other => return Err(anyhow!("the database holds a bid in state \"{other}\"")),
        };
        let bid = Bid {
            order: text(row, "order_id")?,
            provider: text(row, "provider")?,
            rate: rate(row, "rate")?,
            expires_at: number(row, "expires_at")?,
            reclaim: small(row, "reclaim")?,
            min_bill: small(row, "min_bill")?,
        };
        Ok(Self { bid, state, block: number(row, "block")? })
    }
}

pub(super) fn string(row: &AnyRow, column: &str) -> anyhow::Result<String> {
    row.try_get(column).with_context(|| format!("the database column {column} cannot be read"))
}

pub(super) fn text<T: FromStr<Err: Display>>(row: &AnyRow, column: &str) -> anyhow::Result<T> {
    string(row, column)?.parse().map_err(|error| anyhow!("the database column {column} is damaged: {error}"))
}

pub(super) fn json<T: DeserializeOwned>(row: &AnyRow, column: &str) -> anyhow::Result<T> {
    serde_json::from_str(&string(row, column)?)
        .with_context(|| format!("the database column {column} is damaged"))
}

pub(super) fn number(row: &AnyRow, column: &str) -> anyhow::Result<u64> {
    small(row, column)
}

pub(super) fn small<T: TryFrom<i64>>(row: &AnyRow, column: &str) -> anyhow::Result<T> {
    let value: i64 =
        row.try_get(column).with_context(|| format!("the database column {column} cannot be read"))?;
    T::try_from(value).map_err(|_| anyhow!("the database column {column} holds {value}, which cannot be"))
}

pub(super) fn maybe<T: TryFrom<i64>>(row: &AnyRow, column: &str) -> anyhow::Result<Option<T>> {
    let value: Option<i64> =
        row.try_get(column).with_context(|| format!("the database column {column} cannot be read"))?;
    value
        .map(|value| {
            T::try_from(value)
                .map_err(|_| anyhow!("the database column {column} holds {value}, which cannot be"))
        })
        .transpose()
}

pub(super) fn maybe_text<T: FromStr<Err: Display>>(row: &AnyRow, column: &str) -> anyhow::Result<Option<T>> {
    let value: Option<String> =
        row.try_get(column).with_context(|| format!("the database column {column} cannot be read"))?;
    value
        .map(|value| {
            value.parse().map_err(|error| anyhow!("the database column {column} is damaged: {error}"))
        })
        .transpose()
}

pub(super) fn reason(row: &AnyRow, column: &str) -> anyhow::Result<CloseReason> {
    small(row, column).map(CloseReason)
}

pub(super) fn rate(row: &AnyRow, column: &str) -> anyhow::Result<Rate> {
    let scaled: u128 = text(row, column)?;
    Rate::new(scaled).with_context(|| format!("the database column {column} is damaged"))
}

pub(super) fn amount(row: &AnyRow, column: &str) -> anyhow::Result<Amount> {
    text(row, column).map(Amount)
}

/// A number as a column holds it. Times, heights and sizes of this world fit.
pub(super) fn sql(value: u64) -> anyhow::Result<i64> {
    i64::try_from(value).map_err(|_| anyhow!("{value} is too large for the database"))
}

pub(super) fn to_json(value: &impl Serialize) -> anyhow::Result<String> {
    serde_json::to_string(value).context("failed to write a value as JSON")
}
