//! The words in which a bid or a refusal is told, on either side of the market.
//!
//! Every order a provider sees ends in one [`Decision`], which is stored, counted, shown to operators by `explain` and to the
//! tenant who asks why nobody bid. A refusal is data: its [`Reason`] has a stable code and says what was needed and what was
//! there.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::money::Rate;

/// What came of looking at an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Decision {
    /// The order fits and is worth it: bid this.
    Bid {
        /// The price.
        rate: Rate,
        /// The least for which it is still worth it, when others bid lower.
        #[serde(default)]
        floor: Rate,
        /// Until when the price holds, in unix seconds.
        #[serde(default)]
        expires_at: u64,
        /// How the price came about; the rates add up to `rate` before the tenant's limit is looked at.
        items: Vec<LineItem>,
        /// Where each replica would run.
        placement: Placement,
        /// What the tenant asked for that this provider does not check, in sentences.
        warnings: Vec<String>,
    },
    /// The order is not for us.
    Decline {
        /// Why; the first thing that did not fit.
        reason: Reason,
    },
}

/// One line of a price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineItem {
    /// What is charged, as in the tariff: `cpu`, `memory`, `ephemeral`, `gpu nvidia/h100/80Gi/sxm`, `endpoint`, `minimum`.
    pub what: String,
    /// How much of it, with its unit: `1500 milli-cpu`, `2147483648 bytes`, `1 gpu`.
    pub quantity: String,
    /// What its price was multiplied by, and why, in this order: `73 % used × 1.2`, `night × 0.8`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub factors: Vec<String>,
    /// What it adds to the rate.
    pub rate: Rate,
}

/// Where the replicas of a group go, and which GPUs they take there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Placement {
    /// One entry a replica of a resource unit.
    pub replicas: Vec<Replica>,
    /// Leased addresses of the whole group.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub leased_ips: u64,
    /// Ports of the nodes' addresses for the whole group: one for each exposure that gets one, however many replicas answer
    /// there.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub node_ports: u64,
}

/// One replica of one resource unit of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// The resource unit's id within the group.
    pub unit: u32,
    /// The node's name.
    pub node: String,
    /// What it takes there.
    pub takes: Takes,
}

/// What one replica takes from its node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Takes {
    /// Thousandths of a core.
    pub cpu_milli: u64,
    /// Bytes of memory, volumes of class `ram` included.
    pub memory_bytes: u64,
    /// Bytes of node-local storage.
    pub ephemeral_bytes: u64,
    /// GPUs, all from this one pool; `None` when no GPU is asked for.
    pub gpu: Option<GpuTake>,
    /// Bytes of persistent volumes, by class. They are the cluster's, not the node's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, u64>,
}

/// GPUs of one model pool on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuTake {
    /// The pool, as the node's `berth.dev/gpu` label names it: `h100-80Gi-sxm`.
    pub pool: String,
    /// How many devices.
    pub count: u64,
    /// The extended resource by which pods ask the node for them; `None` where it is the one that the pool's name implies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference over")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Placement {
    /// Bytes of persistent volumes over all replicas, by class.
    #[must_use]
    pub fn volumes(&self) -> BTreeMap<&str, u64> {
        let mut classes: BTreeMap<&str, u64> = BTreeMap::new();
        for (class, bytes) in self.replicas.iter().flat_map(|replica| &replica.takes.volumes) {
            let sum = classes.entry(class).or_default();
            *sum = sum.saturating_add(*bytes);
        }
        classes
    }

    /// GPUs over all replicas, by pool.
    #[must_use]
    pub fn gpus(&self) -> BTreeMap<&str, u64> {
        let mut pools: BTreeMap<&str, u64> = BTreeMap::new();
        for gpu in self.replicas.iter().filter_map(|replica| replica.takes.gpu.as_ref()) {
            let sum = pools.entry(&gpu.pool).or_default();
            *sum = sum.saturating_add(gpu.count);
        }
        pools
    }

    /// How many replicas of the unit go to each node.
    #[must_use]
    pub fn nodes_of(&self, unit: u32) -> BTreeMap<&str, u32> {
        let mut nodes = BTreeMap::new();
        for replica in self.replicas.iter().filter(|replica| replica.unit == unit) {
            *nodes.entry(replica.node.as_str()).or_default() += 1;
        }
        nodes
    }
}

/// Why an order was declined. The set is closed; [`Reason::code`] is stable and labels metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// The spec cannot be read, or does not hash to what the order says.
    SpecInvalid {
        /// What is wrong with it.
        problem: String,
    },
    /// The tenant wants something this provider does not offer at all.
    Unsupported {
        /// What, in words.
        what: String,
    },
    /// A placement attribute that the policy makes binding is missing or different here.
    Attributes {
        /// Attribute and wanted value.
        need: String,
        /// What this provider says of itself.
        have: String,
    },
    /// An auditor's signature is wanted that this provider does not have.
    Signature {
        /// The auditors that were named.
        need: String,
    },
    /// No node has this GPU model.
    ResourcesGpuModel {
        /// The models that would do.
        need: String,
        /// The pools that are there.
        have: String,
    },
    /// Nodes have the model but not enough free devices on one node.
    ResourcesGpuCount {
        /// Devices that one replica needs.
        need: u64,
        /// The most that one node has free.
        have: u64,
    },
    /// No node has enough free processor time.
    ResourcesCpu {
        /// Thousandths of a core that one replica needs.
        need: u64,
        /// The most that one node has free.
        have: u64,
    },
    /// No node has enough free memory.
    ResourcesMemory {
        /// Bytes that one replica needs.
        need: u64,
        /// The most that one node has free.
        have: u64,
    },
    /// No node has enough free node-local storage.
    ResourcesStorage {
        /// Bytes that one replica needs.
        need: u64,
        /// The most that one node has free.
        have: u64,
    },
    /// No node takes another pod.
    ResourcesPods {
        /// Pods that one replica needs.
        need: u64,
        /// The most that one node takes.
        have: u64,
    },
    /// The storage class is not offered.
    ResourcesStorageClass {
        /// The class.
        need: String,
        /// The classes that are offered.
        have: String,
    },
    /// Of the storage class less is left to sell than the volumes take together, or less than those of one replica take is
    /// left in each place where they are made.
    ResourcesVolume {
        /// The class.
        class: String,
        /// Bytes that the volumes need.
        need: u64,
        /// Bytes that are left: of the class, or the most in one place.
        have: u64,
    },
    /// Each resource is there, but not together on one node for every replica.
    NodeFragmentation {
        /// The resource unit whose replica found no node.
        unit: u32,
        /// How many of its replicas were placed before.
        placed: u32,
        /// How many are wanted.
        wanted: u32,
    },
    /// Each replica is to be on a node of its own, and there are not so many nodes that have room for one.
    NodeSpread {
        /// The resource unit.
        unit: u32,
        /// How many nodes it needs.
        need: u32,
        /// How many have room.
        have: u32,
    },
    /// Replicas with persistent volumes go to one node together or each to a node of its own, and there is room for neither.
    NodeVolumes {
        /// The resource unit.
        unit: u32,
        /// How many replicas there are, and so nodes that they need of their own.
        need: u32,
        /// How many nodes have room for one of them.
        have: u32,
    },
    /// A leased IP is wanted and none is free.
    IpUnavailable,
    /// Fewer ports of the nodes' addresses are left than the exposures need.
    Ports {
        /// Ports that are needed.
        need: u64,
        /// Ports that are left.
        have: u64,
    },
    /// Our price is above what the tenant pays.
    PriceAboveMax {
        /// Our price.
        need: Rate,
        /// The tenant's limit.
        have: Rate,
    },
    /// The tariff has no price for a storage class.
    PriceClassMissing {
        /// The class.
        class: String,
    },
    /// The tariff has no price for a GPU model.
    PriceGpuMissing {
        /// The pool.
        pool: String,
    },
    /// What the tariff's currency is worth is not known well enough to price anything.
    FxStale {
        /// The currency.
        currency: String,
        /// Who told the last worth; `None` if nobody ever did.
        source: Option<String>,
        /// How many seconds ago.
        age: Option<u64>,
        /// How many seconds ago it may have been told.
        most: u64,
    },
    /// The operator's own pricing program named no price.
    PriceHook {
        /// What happened.
        problem: String,
    },
    /// Our price, as the operator's rules lowered it, does not bring what serving the order costs and the margin on it.
    BelowMargin {
        /// The least that it must bring.
        need: Rate,
        /// Our price.
        have: Rate,
    },
    /// The tenant would have more here than the operator lets one tenant have.
    TenantCap {
        /// Of what: `leases` or `monthly`.
        what: String,
        /// How much it would have with this order.
        need: String,
        /// How much it may have.
        have: String,
    },
    /// As many bids stand as the operator wants at most.
    BidCap {
        /// How many would stand with this one.
        need: u64,
        /// How many may.
        have: u64,
    },
    /// The provider's own means are lower than the operator wants for making a promise.
    Balance {
        /// Of what: `gas` or `bond`.
        what: String,
        /// How much there must be.
        need: String,
        /// How much there is.
        have: String,
    },
    /// Processor time or memory would be there, but is kept for the GPUs that are free beside it.
    ReservedForGpus {
        /// Of what: `cpu` in thousandths of a core or `memory` in bytes.
        what: String,
        /// How much one replica needs.
        need: u64,
        /// The most that one node has free for it.
        have: u64,
        /// How much is kept on that node besides.
        kept: u64,
    },
    /// The notice the tenant wants is longer than we promise.
    ReclaimTooLong {
        /// Seconds wanted.
        need: u32,
        /// Seconds promised.
        have: u32,
    },
    /// The policy refuses this tenant.
    TenantDenied,
    /// A rule of the operator's policy refuses the order.
    Policy {
        /// The rule's name.
        rule: String,
    },
    /// Inventory is not known well enough to promise anything.
    InventoryUnknown {
        /// What is missing.
        problem: String,
    },
    /// The order expired before we could decide.
    Expired,
    /// This provider takes no new orders at the moment.
    Maintenance,
}

/// What may lead to another answer to the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passing {
    /// Nothing: the refusal lies in the order itself, or its time is over.
    Never,
    /// Another tariff or policy; while the operator's configuration stays, so does the answer.
    WithConfiguration,
    /// Time alone, without anybody changing the order or the configuration: capacity is freed, a worth is told again, the night
    /// comes.
    ByItself,
}

impl Reason {
    /// What may end the condition, so that the order can get a bid while it is open.
    #[must_use]
    pub fn passing(&self) -> Passing {
        match self {
            Self::SpecInvalid { .. } | Self::Expired => Passing::Never,
            Self::Attributes { .. }
            | Self::Signature { .. }
            | Self::PriceClassMissing { .. }
            | Self::PriceGpuMissing { .. }
            | Self::ReclaimTooLong { .. }
            | Self::TenantDenied => Passing::WithConfiguration,
            // A node with other processors or cards may join, and what is offered be freed.
            Self::Unsupported { .. }
            | Self::ResourcesGpuModel { .. }
            | Self::ResourcesGpuCount { .. }
            | Self::ResourcesCpu { .. }
            | Self::ResourcesMemory { .. }
            | Self::ResourcesStorage { .. }
            | Self::ResourcesPods { .. }
            | Self::ResourcesStorageClass { .. }
            | Self::ResourcesVolume { .. }
            | Self::NodeFragmentation { .. }
            | Self::NodeSpread { .. }
            | Self::NodeVolumes { .. }
            | Self::IpUnavailable
            | Self::Ports { .. }
            | Self::ReservedForGpus { .. }
            | Self::InventoryUnknown { .. }
            // Prices and rules follow what is used, the hour and what a currency is worth.
            | Self::PriceAboveMax { .. }
            | Self::BelowMargin { .. }
            | Self::Policy { .. }
            | Self::FxStale { .. }
            | Self::PriceHook { .. }
            // Leases end, bids are decided, accounts are filled up.
            | Self::TenantCap { .. }
            | Self::BidCap { .. }
            | Self::Balance { .. }
            | Self::Maintenance => Passing::ByItself,
        }
    }

    /// The stable code that names the reason in metrics, in the store and to tenants.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::SpecInvalid { .. } => "spec_invalid",
            Self::Unsupported { .. } => "unsupported",
            Self::Attributes { .. } => "attributes",
            Self::Signature { .. } => "signature",
            Self::ResourcesGpuModel { .. } => "resources_gpu_model",
            Self::ResourcesGpuCount { .. } => "resources_gpu_count",
            Self::ResourcesCpu { .. } => "resources_cpu",
            Self::ResourcesMemory { .. } => "resources_memory",
            Self::ResourcesStorage { .. } => "resources_storage",
            Self::ResourcesPods { .. } => "resources_pods",
            Self::ResourcesStorageClass { .. } => "resources_storage_class",
            Self::ResourcesVolume { .. } => "resources_volume",
            Self::NodeFragmentation { .. } => "node_fragmentation",
            Self::NodeSpread { .. } => "node_spread",
            Self::NodeVolumes { .. } => "node_volumes",
            Self::IpUnavailable => "ip_unavailable",
            Self::Ports { .. } => "ports",
            Self::PriceAboveMax { .. } => "price_above_max",
            Self::PriceClassMissing { .. } => "price_class_missing",
            Self::PriceGpuMissing { .. } => "price_gpu_missing",
            Self::FxStale { .. } => "fx_stale",
            Self::PriceHook { .. } => "price_hook",
            Self::BelowMargin { .. } => "below_margin",
            Self::TenantCap { .. } => "tenant_cap",
            Self::BidCap { .. } => "bid_cap",
            Self::Balance { .. } => "balance",
            Self::ReservedForGpus { .. } => "reserved_for_gpus",
            Self::ReclaimTooLong { .. } => "reclaim_too_long",
            Self::TenantDenied => "tenant_denied",
            Self::Policy { .. } => "policy",
            Self::InventoryUnknown { .. } => "inventory_unknown",
            Self::Expired => "expired",
            Self::Maintenance => "maintenance",
        }
    }
}

/// One sentence that says what was needed and what was there.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SpecInvalid { problem } => write!(f, "the order's spec cannot be used: {problem}"),
            Self::Unsupported { what } => write!(f, "{what} is not offered here"),
            Self::Attributes { need, have } => write!(f, "attribute {need} is required; here it is {have}"),
            Self::Signature { need } => write!(f, "an audit by {need} is required; there is none"),
            Self::ResourcesGpuModel { need, have } => {
                write!(f, "a GPU of model {need} is needed; the nodes have {have}")
            }
            Self::ResourcesGpuCount { need, have } => {
                write!(f, "{need} GPUs on one node are needed; the most free on one node is {have}")
            }
            Self::ResourcesCpu { need, have } => {
                write!(f, "{need} thousandths of a core are needed on one node; the most free is {have}")
            }
            Self::ResourcesMemory { need, have } => {
                write!(f, "{need} bytes of memory are needed on one node; the most free is {have}")
            }
            Self::ResourcesStorage { need, have } => {
                write!(f, "{need} bytes of node storage are needed on one node; the most free is {have}")
            }
            Self::ResourcesPods { need, have } => {
                write!(f, "room for {need} more pods is needed on one node; the most is {have}")
            }
            Self::ResourcesStorageClass { need, have } => {
                write!(f, "storage class {need} is needed; offered are {have}")
            }
            Self::ResourcesVolume { class, need, have } => {
                write!(f, "{need} bytes of storage class {class} are needed; {have} are left to sell")
            }
            Self::NodeFragmentation { unit, placed, wanted } => write!(
                f,
                "no single node has everything that a replica of unit {unit} needs: {placed} of {wanted} replicas could be placed"
            ),
            Self::NodeSpread { unit, need, have } => write!(
                f,
                "each of the {need} replicas of unit {unit} is to be on a node of its own; {have} nodes have room for one"
            ),
            Self::NodeVolumes { unit, need, have } => write!(
                f,
                "the {need} replicas of unit {unit} have persistent volumes, so they go to one node together or each to a node of \
                 its own: no node has room for all, and {have} nodes have room for one"
            ),
            Self::IpUnavailable => f.write_str("a leased IP is needed; none is free"),
            Self::Ports { need, have } => {
                write!(f, "{need} ports of the nodes' addresses are needed; {have} are left")
            }
            Self::PriceAboveMax { need, have } => {
                write!(f, "the price is {need}; the order pays at most {have}")
            }
            Self::PriceClassMissing { class } => {
                write!(f, "storage class {class} has no price in the tariff")
            }
            Self::PriceGpuMissing { pool } => write!(f, "GPU {pool} has no price in the tariff"),
            Self::FxStale { currency, source: Some(source), age: Some(age), most } => write!(
                f,
                "what the {currency} is worth was last told {age} seconds ago, by {source}; prices rest on at most {most} seconds"
            ),
            Self::FxStale { currency, .. } => write!(f, "nobody told yet what the {currency} is worth"),
            Self::PriceHook { problem } => {
                write!(f, "the provider's pricing program named no price: {problem}")
            }
            Self::BelowMargin { need, have } => {
                write!(f, "the price is {have}; serving the order must bring at least {need}")
            }
            Self::TenantCap { what, need, have } => {
                write!(
                    f,
                    "with this order the tenant would have {need} ({what}) here; one tenant may have {have}"
                )
            }
            Self::BidCap { need, have } => {
                write!(f, "{need} bids would stand at once; the provider wants at most {have}")
            }
            Self::Balance { what, need, have } => {
                write!(f, "the provider's {what} is {have}; it promises nothing below {need}")
            }
            Self::ReservedForGpus { what, need, have, kept } => write!(
                f,
                "{need} of {what} are needed on one node; the most free is {have}, and {kept} more are kept there for its free GPUs"
            ),
            Self::ReclaimTooLong { need, have } => {
                write!(f, "a notice of {need} seconds is required; {have} seconds are promised here")
            }
            Self::TenantDenied => f.write_str("the provider's policy refuses this tenant"),
            Self::Policy { rule } => write!(f, "the provider's rule \"{rule}\" refuses this order"),
            Self::InventoryUnknown { problem } => {
                write!(f, "the provider does not know its own inventory well enough: {problem}")
            }
            Self::Expired => f.write_str("the order expired before it was looked at"),
            Self::Maintenance => f.write_str("the provider takes no new orders at the moment"),
        }
    }
}
