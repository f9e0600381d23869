//! What is on chain of one deployment, as of one block.

use std::fmt;

use anyhow::Context as _;
use manifests::group::OrderSpec;
use manifests::money::Amount;
use manifests::order::{AccountId, BlockRef, Fact, Hash, OrderId};
use market::reader::{self, AwardRecord, LeaseRecord, OrderState};
use market::{At, Chain};

use crate::account::Account;
use crate::exit::Ending;
use crate::state::{GroupRecord, Record};

/// A deployment on chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sight {
    /// The block that everything was read in.
    pub(crate) head: BlockRef,
    /// Its escrow account, once it is there.
    pub(crate) account: Option<reader::Account>,
    /// Its groups, in the order of their numbers.
    pub(crate) groups: Vec<GroupSight>,
}

/// One group on chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupSight {
    /// The placement's name.
    pub(crate) name: String,
    /// Its order's name, whether it is posted or not.
    pub(crate) order: OrderId,
    /// Where order and lease stand; `None` before the order is posted.
    pub(crate) state: Option<OrderState>,
    /// How its order is awarded; `None` if we choose among the bids.
    pub(crate) award: Option<AwardRecord>,
    /// Its lease, once a bid was accepted.
    pub(crate) lease: Option<LeaseRecord>,
}

impl Sight {
    /// Reads a deployment, all of it in the newest block.
    pub(crate) async fn of(chain: &Chain, record: &Record) -> anyhow::Result<Self> {
        let head = chain.head().await?;
        let at = At::Block(head.hash);
        let account =
            chain.account(record.account(), at).await.context("failed to read the escrow account")?;
        let mut groups = Vec::new();
        for (order, group) in record.orders().into_iter().zip(&record.groups) {
            let posted = chain.order(order, at).await.context("failed to read an order")?;
            let lease = match posted {
                Some(_) => chain.lease(order, at).await.context("failed to read a lease")?,
                None => None,
            };
            let state = posted.map(|posted| posted.state);
            let award = posted.and_then(|posted| posted.award);
            groups.push(GroupSight { name: group.name.clone(), order, state, award, lease });
        }
        Ok(Self { head, account, groups })
    }

    /// Whether nothing of it runs, waits or holds money.
    pub(crate) fn is_over(&self) -> bool {
        let open = |state| matches!(state, OrderState::Open | OrderState::Active | OrderState::Reclaiming);
        let refundable = self.account.map_or(Amount::ZERO, |account| account.refundable);
        refundable == Amount::ZERO && !self.groups.iter().filter_map(|group| group.state).any(open)
    }

    /// Seconds until the money ends.
    pub(crate) fn funded_for(&self) -> Option<u64> {
        let until = self.account?.funded_until?;
        Some(until.saturating_sub(self.head.timestamp))
    }

    /// One word for the whole.
    pub(crate) fn summary(&self) -> &'static str {
        let all = |want: fn(&GroupSight) -> bool| self.groups.iter().all(want);
        let any = |want: fn(&GroupSight) -> bool| self.groups.iter().any(want);
        match self.account {
            None => "not on chain",
            Some(_) if all(|group| group.state.is_some_and(OrderState::runs)) => "leased",
            Some(_) if any(|group| group.state == Some(OrderState::Depleted)) => "out of money",
            Some(_) if any(|group| group.state.is_some_and(OrderState::runs)) => "partly leased",
            Some(_) if any(|group| group.state == Some(OrderState::Open)) => "waiting for bids",
            Some(_) if any(|group| group.state.is_none()) => "begun",
            Some(_) => "closed",
        }
    }
}

/// The lines that are shown when something stopped half-way.
impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(account) = self.account else { return f.write_str("  nothing yet") };
        write!(f, "  escrow: {} of which {} can be taken back", account.balance, account.refundable)?;
        for GroupSight { name, state, award, lease, .. } in &self.groups {
            write!(f, "\n  {name}: ")?;
            match (state, lease) {
                (None, _) => f.write_str("no order yet")?,
                (Some(OrderState::Open), _) => match award.map(|award| award.best) {
                    None => f.write_str("order open, no bid accepted")?,
                    Some(None) => f.write_str("order open for the lowest bid, nobody bid")?,
                    Some(Some((provider, rate))) => {
                        write!(f, "order open for the lowest bid, so far {rate} from {provider}")?;
                    }
                },
                (Some(OrderState::Expired), _) => f.write_str("order expired")?,
                (Some(OrderState::Active | OrderState::Reclaiming), Some(lease)) => {
                    write!(f, "leased from {} at {}", lease.provider, lease.rate)?;
                }
                (Some(OrderState::Depleted), _) => f.write_str("lease ended, the escrow account ran dry")?,
                (Some(_), Some(lease)) => match lease.ended {
                    Some((_, reason)) => write!(f, "lease ended: {reason}")?,
                    None => f.write_str("lease ended")?,
                },
                (Some(_), None) => f.write_str("order closed")?,
            }
        }
        Ok(())
    }
}

/// Finds a deployment by the name it has here, or by its number on chain.
pub(crate) async fn find(account: &Account, name: &str) -> anyhow::Result<Record> {
    if let Some(record) = account.state.read()?.get(name) {
        if record.tenant != account.address() {
            let sentence =
                format!("{name} belongs to {}, this context's key is {}", record.tenant, account.address());
            return Err(Ending::error(Ending::AUTH, sentence));
        }
        return Ok(record.clone());
    }
    let unknown = || {
        let sentence = format!("there is no deployment \"{name}\" in this context; `berth ls` lists them");
        Ending::error(Ending::NOT_FOUND, sentence)
    };
    let dseq: u64 = name.parse().map_err(|_| unknown())?;
    let deployments = account.chain.deployments_of(account.address()).await?;
    let (first_block, id) = deployments.into_iter().find(|(_, id)| id.dseq == dseq).ok_or_else(unknown)?;
    from_chain(&account.chain, id, first_block).await
}

/// What is known of a deployment that this machine has no name for.
pub(crate) async fn from_chain(chain: &Chain, id: AccountId, first_block: u64) -> anyhow::Result<Record> {
    let mut manifest_hash = Hash::default();
    let mut groups = Vec::new();
    for logged in chain.facts_of_account(id, first_block).await? {
        match logged.fact {
            Fact::DeploymentCreated { manifest_hash: hash, .. }
            | Fact::ManifestChanged { manifest_hash: hash, .. } => {
                manifest_hash = hash;
            }
            Fact::OrderCreated(order) if order.id.oseq == 1 => {
                let name =
                    OrderSpec::from_bytes(&order.spec).map_or_else(|_| "?".to_owned(), |spec| spec.name);
                groups.push((order.id.gseq, GroupRecord { name, max_rate: order.max_rate }));
            }
            _ => {}
        }
    }
    groups.sort_by_key(|(gseq, _)| *gseq);
    let groups = groups.into_iter().map(|(_, group)| group).collect();
    Ok(Record { tenant: id.tenant, dseq: id.dseq, manifest_hash, deposit: Amount::ZERO, first_block, groups })
}
