//! The vocabulary of these tests: a chain that can be told what happens and be reorganised, and shorthand for facts.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::Context;
use bidengine::{Capacity, Node, Policy, Tariff};
use manifests::group::spec_hash;
use manifests::money::{Amount, Rate};
use manifests::order::{
    AccountId, Address, Bid, BlockRef, CloseReason, Fact, Hash, Lease, LogRef, Order, OrderId, OrderKind,
};
use provider::config::Bids;
use provider::follower::{self, ChainSource};
use provider::freshness::Freshness;
use provider::metrics::Metrics;
use provider::pricing::{Pricing, Terms};
use provider::store::Event;
use provider::sweep::{ContractView, Standing};

/// We.
pub(super) const US: Address = Address([0xaa; 20]);
/// Another provider.
pub(super) const RIVAL: Address = Address([0xbb; 20]);
/// Who orders.
pub(super) const TENANT: Address = Address([0x11; 20]);

/// Gas without a budget or a reserve.
pub(super) const GAS: provider::config::Gas = provider::config::Gas { daily_budget: None, reserve_closes: 0 };

/// When the first block was mined, unix seconds.
pub(super) const GENESIS: u64 = 1_700_000_000;

pub(super) fn id(dseq: u64) -> OrderId {
    OrderId { tenant: TENANT, dseq, gseq: 1, oseq: 1 }
}

/// A spec that asks for one replica of `cpu` thousandths of a core and this many GPUs.
pub(super) fn spec(cpu: u64, gpus: u64) -> Vec<u8> {
    let mut spec: serde_json::Value = serde_json::from_str(SPEC).expect("a spec");
    let resource = &mut spec["resources"][0]["resource"];
    resource["cpu"]["units"]["val"] = cpu.to_string().into();
    if gpus > 0 {
        resource["gpu"]["units"]["val"] = gpus.to_string().into();
        resource["gpu"]["attributes"] =
            serde_json::json!([{"key": "vendor/nvidia/model/h100", "value": "true"}]);
    }
    serde_json::to_vec(&spec).expect("json")
}

const SPEC: &str = r#"{"name":"g","requirements":{"attributes":null,"signed_by":{"all_of":null,"any_of":null}},
"resources":[{"count":1,"resource":{"cpu":{"units":{"val":"1000"}},"endpoints":[{"sequence_number":0}],
"gpu":{"units":{"val":"0"}},"id":1,"memory":{"size":{"val":"1073741824"}},
"storage":[{"name":"default","size":{"val":"1073741824"}}]}}]}"#;

pub(super) fn order(dseq: u64, spec: Vec<u8>) -> Order {
    Order {
        id: id(dseq),
        class: Hash([1; 32]),
        spec_hash: spec_hash(&spec),
        max_rate: Rate::MAX,
        expires_at: GENESIS + 3600,
        min_reclaim: 0,
        req_bits: 0,
        kind: OrderKind::Service,
        award: None,
        spec,
    }
}

pub(super) fn posted(dseq: u64) -> Fact {
    Fact::OrderCreated(order(dseq, spec(1000, 0)))
}

pub(super) fn bid_of(provider: Address, dseq: u64) -> Fact {
    Fact::BidPlaced(Bid {
        order: id(dseq),
        provider,
        rate: rate(5),
        expires_at: GENESIS + 600,
        reclaim: 0,
        min_bill: 0,
    })
}

pub(super) fn won_by(provider: Address, dseq: u64) -> Fact {
    Fact::LeaseCreated(Lease {
        id: id(dseq),
        provider,
        rate: rate(5_000_000_000),
        started_at: GENESIS + 10,
        fee_bps: 100,
        funded_until: GENESIS + 10_000,
    })
}

pub(super) fn ended(dseq: u64, at: u64) -> Fact {
    Fact::LeaseClosed {
        lease: id(dseq),
        provider: US,
        reason: CloseReason::TENANT,
        ended_at: at,
        penalty: Amount::ZERO,
    }
}

pub(super) fn paid(dseq: u64, units: u128, up_to: u64) -> Fact {
    Fact::Withdrawn { lease: id(dseq), provider: US, net: Amount(units), fee: Amount(1), up_to }
}

pub(super) fn deployed(dseq: u64, digest: u8) -> Fact {
    Fact::DeploymentCreated { account: account(dseq), manifest_hash: Hash([digest; 32]) }
}

pub(super) fn moved(dseq: u64, delta: i128) -> Fact {
    Fact::FundsChanged { account: account(dseq), delta, funded_until: GENESIS + 10_000 }
}

pub(super) fn account(dseq: u64) -> AccountId {
    AccountId { tenant: TENANT, dseq }
}

pub(super) fn rate(scaled: u128) -> Rate {
    Rate::new(scaled).expect("below the cap")
}

/// A node with 4 cores, 8 GiB, 100 GiB and this many H100.
pub(super) fn one_node(gpus: u64) -> Capacity {
    let node = Node {
        schedulable: true,
        cpu_milli: 4000,
        memory_bytes: 8 << 30,
        ephemeral_bytes: 100 << 30,
        gpus: [("h100-80Gi-sxm".parse().expect("a pool"), gpus)].into_iter().collect(),
        ..Node::default()
    };
    Capacity { nodes: [("n1".to_owned(), node)].into_iter().collect(), ..Capacity::default() }
}

/// Follows from the first block and nudges nobody.
pub(super) fn follower_settings() -> follower::Settings {
    follower::Settings {
        provider: US,
        start_block: 0,
        deepest_wait: 2,
        freshness: Freshness::default(),
        nudges: vec![],
    }
}

pub(super) fn bidder_settings() -> provider::bidder::Settings {
    let tariff: Tariff = serde_yaml::from_str(
        r#"{cpuThread: "1.60", memoryGiB: "0.80", ephemeralGiB: "0.02", endpoint: "0.05", costShare: "0.5",
            gpu: [{model: h100, monthly: "1980"}]}"#,
    )
    .expect("a tariff");
    let policy = Policy { bid_secs: 300, ..Policy::default() };
    provider::bidder::Settings {
        provider: US,
        pricing: Pricing::new(Terms::new(tariff, policy), Metrics::new().expect("metrics")),
        bids: Bids {
            valid_for: std::time::Duration::from_secs(300),
            reclaim: std::time::Duration::ZERO,
            min_bill: std::time::Duration::ZERO,
            undercut: "0.01".parse().expect("a share"),
        },
        freshness: Freshness::default(),
        replace_after: std::time::Duration::from_secs(120),
        keep_decisions: std::time::Duration::from_secs(30 * 86_400),
    }
}

/// A chain of blocks, one a second; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct FakeChain(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    blocks: Vec<(BlockRef, Vec<Event>)>,
    forks: u8,
    longest_range: Option<u64>,
    hidden: Option<RangeInclusive<u64>>,
}

impl FakeChain {
    /// A chain with its first, empty block.
    pub(super) fn new() -> Self {
        let chain = Self::default();
        chain.mine(vec![]);
        chain
    }

    /// Mines a block that says this.
    pub(super) fn mine(&self, facts: Vec<Fact>) -> BlockRef {
        let mut state = self.lock();
        let number = u64::try_from(state.blocks.len()).expect("few");
        let mut hash = [state.forks; 32];
        hash[..8].copy_from_slice(&number.to_be_bytes());
        let parent = state.blocks.last().map_or(Hash([0xff; 32]), |(block, _)| block.hash);
        let block = BlockRef { number, hash: Hash(hash), parent, timestamp: GENESIS + number };
        let events = facts
            .into_iter()
            .zip(0..)
            .map(|(fact, log_index)| (LogRef { block: number, block_hash: block.hash, log_index }, fact))
            .collect();
        state.blocks.push((block, events));
        block
    }

    /// Drops the last blocks; what is mined after has other hashes.
    pub(super) fn drop_last(&self, count: usize) {
        let mut state = self.lock();
        let left = state.blocks.len() - count;
        state.blocks.truncate(left);
        state.forks += 1;
    }

    /// Makes the node refuse longer ranges.
    pub(super) fn refuse_ranges_above(&self, blocks: u64) {
        self.lock().longest_range = Some(blocks);
    }

    /// Makes the node tell of nothing that was said in these blocks.
    pub(super) fn hide(&self, blocks: Option<RangeInclusive<u64>>) {
        self.lock().hidden = blocks;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it holds this")
    }
}

impl ChainSource for FakeChain {
    async fn head(&self) -> anyhow::Result<BlockRef> {
        self.lock().blocks.last().map(|(block, _)| *block).context("an empty chain")
    }

    async fn block(&self, number: u64) -> anyhow::Result<Option<BlockRef>> {
        Ok(self.lock().blocks.get(usize::try_from(number)?).map(|(block, _)| *block))
    }

    async fn block_by_hash(&self, hash: Hash) -> anyhow::Result<Option<BlockRef>> {
        Ok(self.lock().blocks.iter().map(|(block, _)| *block).find(|block| block.hash == hash))
    }

    async fn facts_of_block(&self, hash: Hash) -> anyhow::Result<Vec<Event>> {
        let state = self.lock();
        let found = state.blocks.iter().find(|(block, _)| block.hash == hash);
        Ok(state.told(found.context("unknown block")?))
    }

    async fn facts_between(&self, first: u64, last: u64) -> anyhow::Result<Vec<Event>> {
        let state = self.lock();
        anyhow::ensure!(state.longest_range.is_none_or(|most| last - first < most), "the range is too long");
        let range = usize::try_from(first)?..=usize::try_from(last)?;
        Ok(state.blocks[range].iter().flat_map(|block| state.told(block)).collect())
    }
}

impl State {
    fn told(&self, (block, events): &(BlockRef, Vec<Event>)) -> Vec<Event> {
        let is_hidden = self.hidden.as_ref().is_some_and(|hidden| hidden.contains(&block.number));
        if is_hidden { Vec::new() } else { events.clone() }
    }
}

impl ContractView for FakeChain {
    async fn standing(&self, wanted: OrderId, _: Hash) -> anyhow::Result<Standing> {
        let state = self.lock();
        let facts = state.blocks.iter().flat_map(|(_, events)| events.iter().map(|(_, fact)| fact));
        Ok(facts.fold(Standing::NoLease, |standing, fact| match fact {
            Fact::LeaseCreated(lease) if lease.id == wanted => Standing::Live(lease.provider),
            Fact::LeaseClosed { lease, .. } if *lease == wanted => Standing::Ended,
            _ => standing,
        }))
    }
}
