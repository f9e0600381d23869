//! Orders, bids and leases, their ids, and the facts the chain tells about them.
//!
//! These are the words of the Market contract in Rust. The crate that reads the chain turns logs into [`Fact`]s; everything
//! behind it (store, bid engine, gateway) speaks only of what is here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::money::{Amount, Rate};

/// Why a text is not the fixed-length hex value that was wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not {want}: write 0x and {digits} hex digits")]
pub struct HexError {
    text: String,
    want: &'static str,
    digits: usize,
}

macro_rules! fixed_bytes {
    ($(#[$doc:meta])* $name:ident, $len:literal, $want:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "0x{}", hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = HexError;

            fn from_str(text: &str) -> Result<Self, HexError> {
                let mut bytes = [0u8; $len];
                let digits = text.strip_prefix("0x").unwrap_or(text);
                hex::decode_to_slice(digits, &mut bytes)
                    .map_err(|_| HexError { text: text.to_owned(), want: $want, digits: $len * 2 })?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

fixed_bytes!(
    /// An account on the chain: 20 bytes, printed as 0x and lower-case hex.
    Address,
    20,
    "an address"
);
fixed_bytes!(
    /// A 32-byte value of the chain: a digest, a block hash, a topic.
    Hash,
    32,
    "a 32-byte hash"
);

/// One deployment of a tenant; also names its escrow account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccountId {
    /// Who posted the deployment and owns the escrow account.
    pub tenant: Address,
    /// The tenant's own number of the deployment.
    pub dseq: u64,
}

impl AccountId {
    /// The 32 bytes under which the contract knows the account: an order id whose last two parts are zero.
    #[must_use]
    pub fn to_word(self) -> Hash {
        self.order(0, 0).to_word()
    }

    /// Reads the contract's word; the parts that name a group and an order are dropped.
    #[must_use]
    pub fn from_word(word: Hash) -> Self {
        OrderId::from_word(word).account()
    }

    /// An order of this deployment.
    #[must_use]
    pub fn order(self, gseq: u16, oseq: u16) -> OrderId {
        OrderId { tenant: self.tenant, dseq: self.dseq, gseq, oseq }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.dseq)
    }
}

/// One order: `tenant | dseq | gseq | oseq` in 256 bits. An order yields at most one lease, so it names the lease too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId {
    /// Who posted the order.
    pub tenant: Address,
    /// The tenant's number of the deployment.
    pub dseq: u64,
    /// The group within the deployment, from 1.
    pub gseq: u16,
    /// The order of that group, from 1; a repeated order counts on.
    pub oseq: u16,
}

/// A lease is named by its order.
pub type LeaseId = OrderId;

impl OrderId {
    /// The escrow account the order is paid from.
    #[must_use]
    pub fn account(self) -> AccountId {
        AccountId { tenant: self.tenant, dseq: self.dseq }
    }

    /// The 32 bytes under which the contract knows the order.
    #[must_use]
    pub fn to_word(self) -> Hash {
        let mut word = [0u8; 32];
        word[..20].copy_from_slice(&self.tenant.0);
        word[20..28].copy_from_slice(&self.dseq.to_be_bytes());
        word[28..30].copy_from_slice(&self.gseq.to_be_bytes());
        word[30..].copy_from_slice(&self.oseq.to_be_bytes());
        Hash(word)
    }

    /// Reads the contract's word. Every word is an id.
    #[must_use]
    pub fn from_word(word: Hash) -> Self {
        let bytes = word.0;
        let mut tenant = [0u8; 20];
        tenant.copy_from_slice(&bytes[..20]);
        let mut dseq = [0u8; 8];
        dseq.copy_from_slice(&bytes[20..28]);
        Self {
            tenant: Address(tenant),
            dseq: u64::from_be_bytes(dseq),
            gseq: u16::from_be_bytes([bytes[28], bytes[29]]),
            oseq: u16::from_be_bytes([bytes[30], bytes[31]]),
        }
    }
}

/// Printed and parsed as `tenant/dseq/gseq/oseq`.
impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.tenant, self.dseq, self.gseq, self.oseq)
    }
}

/// Why a text is not an order id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not an order id: write tenant/dseq/gseq/oseq, or the 32-byte word as 0x and 64 hex digits"
)]
pub struct OrderIdError(String);

impl FromStr for OrderId {
    type Err = OrderIdError;

    fn from_str(text: &str) -> Result<Self, OrderIdError> {
        let wrong = || OrderIdError(text.to_owned());
        if !text.contains('/') {
            return text.parse().map(Self::from_word).map_err(|_| wrong());
        }
        let parts: Vec<&str> = text.split('/').collect();
        let [tenant, dseq, gseq, oseq] = parts[..] else { return Err(wrong()) };
        Ok(Self {
            tenant: tenant.parse().map_err(|_| wrong())?,
            dseq: dseq.parse().map_err(|_| wrong())?,
            gseq: gseq.parse().map_err(|_| wrong())?,
            oseq: oseq.parse().map_err(|_| wrong())?,
        })
    }
}

impl Serialize for OrderId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OrderId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// What an order asks for. Only services are traded so far; the chain refuses the other numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderKind {
    /// Containers that run until the lease ends. 0 on chain.
    Service,
}

/// A tenant's wish on the book, as the chain announced it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its name.
    pub id: OrderId,
    /// keccak256 of the class string that lets providers filter orders, such as `cpu` or `gpu/nvidia/h100/80Gi`.
    pub class: Hash,
    /// keccak256 of [`Order::spec`]; bids repeat it, so that none can land on other terms.
    pub spec_hash: Hash,
    /// The most the tenant pays.
    pub max_rate: Rate,
    /// Unix seconds of chain time after which no bid is taken.
    pub expires_at: u64,
    /// The least notice, in seconds, that a provider must give before leaving.
    pub min_reclaim: u32,
    /// Capability bits that a bidder must have.
    pub req_bits: u128,
    /// What is asked for.
    pub kind: OrderKind,
    /// Unix seconds of chain time until which bids are taken, if the lowest of them wins: a bid must then last five minutes
    /// beyond it. `None` if the tenant chooses.
    #[serde(default)]
    pub award: Option<u64>,
    /// The group spec without its price, as sorted-key JSON.
    #[serde(with = "hex_bytes")]
    pub spec: Vec<u8>,
}

/// A provider's offer for an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bid {
    /// The order it answers.
    pub order: OrderId,
    /// Who offers.
    pub provider: Address,
    /// What it asks.
    pub rate: Rate,
    /// Unix seconds of chain time until which it can be accepted.
    pub expires_at: u64,
    /// The notice, in seconds, that the provider promises before leaving.
    pub reclaim: u32,
    /// Seconds that are paid even if the tenant leaves earlier.
    pub min_bill: u16,
}

/// A won order: who runs it, at what rate, since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The order it came from, which names it.
    pub id: LeaseId,
    /// Who runs it.
    pub provider: Address,
    /// What it earns.
    pub rate: Rate,
    /// Unix seconds of chain time from which it is paid.
    pub started_at: u64,
    /// The fee of the market, in hundredths of a percent of what is paid.
    pub fee_bps: u16,
    /// Unix seconds of chain time until which the escrow account could pay when the lease began.
    pub funded_until: u64,
}

/// Why an order or a lease ended: 1–99 the tenant, 100–149 the provider, 200–255 the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CloseReason(pub u8);

impl CloseReason {
    /// The tenant asked for it.
    pub const TENANT: Self = Self(1);
    /// The provider left without saying why.
    pub const PROVIDER: Self = Self(100);
    /// The workload could not be kept running.
    pub const UNSTABLE: Self = Self(101);
    /// The provider takes the capacity away.
    pub const DECOMMISSION: Self = Self(102);
    /// The tenant sent no manifest in time.
    pub const MANIFEST_TIMEOUT: Self = Self(103);
    /// The notice that was given has passed.
    pub const RECLAIM_ELAPSED: Self = Self(104);
    /// The escrow account ran dry.
    pub const DEPLETED: Self = Self(200);
    /// The order found no taker in time.
    pub const EXPIRED: Self = Self(201);

    /// Whether it is one of a tenant's, 1 to 99.
    #[must_use]
    pub fn is_tenants(self) -> bool {
        (1..=99).contains(&self.0)
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match *self {
            Self::TENANT => "closed by the tenant",
            Self::PROVIDER => "closed by the provider",
            Self::UNSTABLE => "closed by the provider: the workload did not stay up",
            Self::DECOMMISSION => "closed by the provider: capacity withdrawn",
            Self::MANIFEST_TIMEOUT => "closed by the provider: no manifest came in time",
            Self::RECLAIM_ELAPSED => "closed by the provider after the agreed notice",
            Self::DEPLETED => "the escrow account ran dry",
            Self::EXPIRED => "the order expired",
            Self(code) => return write!(f, "reason {code}"),
        };
        f.write_str(words)
    }
}

/// Something the Market or the registry said in a log. It serialises with its name outside, because an inner tag cannot be
/// read back beside numbers of 128 bits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// A deployment was opened with the digest of its manifest.
    DeploymentCreated {
        /// The new account.
        account: AccountId,
        /// The digest that the running manifest must have.
        manifest_hash: Hash,
    },
    /// The tenant replaced the manifest.
    ManifestChanged {
        /// Whose.
        account: AccountId,
        /// The digest from now on.
        manifest_hash: Hash,
    },
    /// An order was posted.
    OrderCreated(Order),
    /// An order left the book without a lease.
    OrderClosed {
        /// Which.
        order: OrderId,
        /// Why.
        reason: CloseReason,
    },
    /// A provider bid, or bettered its bid.
    BidPlaced(Bid),
    /// A provider took its bid back.
    BidWithdrawn {
        /// The order it was for.
        order: OrderId,
        /// Whose it was.
        provider: Address,
    },
    /// A bid was accepted.
    LeaseCreated(Lease),
    /// The provider gave notice.
    ReclaimStarted {
        /// Which lease.
        lease: LeaseId,
        /// Who gave notice.
        provider: Address,
        /// Unix seconds of chain time at which it may leave.
        deadline: u64,
        /// Why.
        reason: CloseReason,
    },
    /// A lease ended.
    LeaseClosed {
        /// Which.
        lease: LeaseId,
        /// Who ran it.
        provider: Address,
        /// Why.
        reason: CloseReason,
        /// Unix seconds of chain time up to which it is paid.
        ended_at: u64,
        /// What moved beside the seconds: closed by the provider, what it forfeited for leaving early; closed by the tenant,
        /// what the provider is paid up to the minimum bill.
        penalty: Amount,
    },
    /// A provider was paid.
    Withdrawn {
        /// For which lease.
        lease: LeaseId,
        /// Who.
        provider: Address,
        /// What reached the payout address.
        net: Amount,
        /// What the market kept.
        fee: Amount,
        /// Unix seconds of chain time up to which the lease is now paid.
        up_to: u64,
    },
    /// Money went into or out of an escrow account.
    FundsChanged {
        /// Which.
        account: AccountId,
        /// Token base units: positive for a deposit, negative for a refund.
        delta: i128,
        /// Unix seconds of chain time until which the account can now pay.
        funded_until: u64,
    },
    /// A provider registered, which says all of this, or changed some of it: what is `None` stays.
    ProviderChanged {
        /// Who.
        provider: Address,
        /// The key that bids for it.
        operator: Option<Address>,
        /// Where its gateway is.
        uri: Option<String>,
        /// SHA-256 of the public key (SPKI) that the gateway's certificate must carry.
        spki_hash: Option<Hash>,
    },
}

/// Where in the chain a fact stands. `(block_hash, log_index)` identifies a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogRef {
    /// Height of the block.
    pub block: u64,
    /// Its hash.
    pub block_hash: Hash,
    /// The log's place in the block.
    pub log_index: u64,
}

/// A block as far as a follower needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRef {
    /// Height.
    pub number: u64,
    /// Hash.
    pub hash: Hash,
    /// Hash of the block below.
    pub parent: Hash,
    /// Unix seconds: the time by which everything on chain is measured.
    pub timestamp: u64,
}

mod hex_bytes {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("0x{}", hex::encode(bytes)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        hex::decode(text.strip_prefix("0x").unwrap_or(&text)).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> OrderId {
        OrderId { tenant: Address([0xab; 20]), dseq: 0x0102_0304, gseq: 5, oseq: 600 }
    }

    #[test]
    fn an_order_id_survives_its_word_and_its_text() {
        assert_eq!(OrderId::from_word(id().to_word()), id());
        assert_eq!(id().to_string().parse(), Ok(id()));
        assert_eq!(id().to_word().to_string().parse(), Ok(id()));
    }

    #[test]
    fn the_word_packs_tenant_dseq_gseq_and_oseq_from_the_left() {
        let word = id().to_word().to_string();
        assert_eq!(word, format!("0x{}{:016x}{:04x}{:04x}", "ab".repeat(20), 0x0102_0304, 5, 600));
    }

    #[test]
    fn an_account_is_the_order_word_with_zero_group_and_order() {
        let word = id().account().to_word();
        assert_eq!(&word.0[28..], &[0; 4]);
        assert_eq!(AccountId::from_word(id().to_word()), id().account());
    }

    #[test]
    fn facts_with_large_numbers_survive_json() {
        let order = Order {
            id: id(),
            class: Hash([1; 32]),
            spec_hash: Hash([2; 32]),
            max_rate: Rate::MAX,
            expires_at: 1,
            min_reclaim: 2,
            req_bits: u128::MAX >> 32,
            kind: OrderKind::Service,
            award: None,
            spec: b"{}".to_vec(),
        };
        let funds = Fact::FundsChanged { account: id().account(), delta: -1, funded_until: 3 };
        for fact in [Fact::OrderCreated(order), funds] {
            let json = serde_json::to_string(&fact).expect("json");
            assert_eq!(serde_json::from_str::<Fact>(&json).expect("read back"), fact);
        }
    }

    #[test]
    fn a_wrong_id_is_refused_with_the_form_that_is_wanted() {
        let error = "0xab/1/1".parse::<OrderId>().expect_err("too short");
        assert!(error.to_string().contains("tenant/dseq/gseq/oseq"));
    }
}
