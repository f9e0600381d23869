//! Should we bid, on which nodes, and at what price.
//!
//! Pure: no IO, no clock, no tasks. [`decide()`] takes an order, what is free in the cluster ([`Capacity`]), what things cost
//! ([`Tariff`]) and what the operator wants to serve ([`Policy`]), and answers with a [`manifests::decision::Decision`]: a
//! bid with its nodes and line items, or the first reason against one. The same inputs give the same answer, so that a
//! decision can be stored with them ([`Inputs`]) and told again later.
//!
//! # A worked example
//!
//! A tenant wants one H100, and pays at most three dollars an hour. Two nodes have the model, one of them with a single card
//! left.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use bidengine::{Capacity, Circumstances, Node, Policy, Tariff, decide};
//! use manifests::decision::{Decision, Reason};
//! use manifests::order::{Address, Hash, Order, OrderId, OrderKind};
//! use manifests::{group::spec_hash, parse};
//!
//! // The document becomes the spec that stands on chain, and the most that is paid.
//! let document = r#"
//! version: "2.0"
//! services:
//!   trainer:
//!     image: example/trainer:1
//!     expose: [{port: 80, to: [{global: true}]}]
//! profiles:
//!   compute:
//!     trainer:
//!       resources:
//!         cpu: {units: 8}
//!         memory: {size: 64Gi}
//!         storage: {size: 100Gi}
//!         gpu: {units: 1, attributes: {vendor: {nvidia: [{model: h100, ram: 80Gi}]}}}
//!   placement:
//!     anywhere: {pricing: {trainer: {denom: uact, amount: 5097}}}
//! deployment: {trainer: {anywhere: {profile: trainer, count: 1}}}
//! "#;
//! let group = &parse(document.as_bytes()).expect("is a document").groups[0];
//! let spec = group.to_order_spec().to_bytes()?;
//! let mut order = Order {
//!     id: OrderId { tenant: Address([1; 20]), dseq: 1, gseq: 1, oseq: 1 },
//!     class: Hash::default(),
//!     spec_hash: spec_hash(&spec),
//!     max_rate: group.max_rate_down()?,
//!     expires_at: 1_000,
//!     min_reclaim: 0,
//!     req_bits: 0,
//!     kind: OrderKind::Service,
//!     award: None,
//!     spec,
//! };
//!
//! // What the cluster has left, from its nodes and its GPUs.
//! let node = |gpus| Node {
//!     schedulable: true,
//!     cpu_milli: 96_000,
//!     memory_bytes: 1 << 40,
//!     ephemeral_bytes: 1 << 41,
//!     gpus,
//!     ..Node::default()
//! };
//! let h100 = "h100-80Gi-sxm".parse::<manifests::gpu::Gpu>()?;
//! let mut capacity = Capacity::default();
//! capacity.nodes.insert("hall-1".to_owned(), node(BTreeMap::from([(h100.clone(), 8)])));
//! capacity.nodes.insert("hall-2".to_owned(), node(BTreeMap::from([(h100, 1)])));
//!
//! // What the operator asks for it.
//! let tariff: Tariff = serde_yaml::from_str(
//!     r#"
//!     cpuThread: "1.60"
//!     memoryGiB: "0.80"
//!     ephemeralGiB: "0.02"
//!     endpoint: "0.05"
//!     gpu: [{model: h100, monthly: "1980"}]
//!     "#,
//! )?;
//! let policy = Policy::default();
//!
//! let now = Circumstances::new(&capacity, &tariff, &policy, 0);
//! let Decision::Bid { rate, items, placement, .. } = decide(&order, &now) else {
//!     panic!("it fits and pays");
//! };
//! assert_eq!(rate.to_string(), "$2.802809/h");
//! assert_eq!(items[3].what, "gpu nvidia/h100/80Gi/sxm");
//! // The last card of a node is taken before a whole machine is broken up.
//! assert_eq!(placement.replicas[0].node, "hall-2");
//!
//! // For less there is no bid, and the tenant can be told why.
//! order.max_rate = manifests::money::Rate::ZERO;
//! let Decision::Decline { reason } = decide(&order, &now) else {
//!     panic!("nobody works for nothing");
//! };
//! assert_eq!(reason.code(), "price_above_max");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod books;
mod capacity;
mod decide;
mod decimal;
mod demand;
mod fragmentation;
mod fx;
mod images;
mod islands;
mod place;
mod policy;
mod question;
mod quoted;
mod tariff;

pub use books::Books;
pub use capacity::{Capacity, Node, Overcommit, Totals};
pub use decide::{Circumstances, Inputs, decide};
pub use decimal::{Decimal, NotADecimal};
pub use fragmentation::{Fragmentation, GpuHoles, Holes};
pub use fx::{Fx, FxRate, FxRateError};
pub use images::{ImagePattern, ImageRefused, Images};
pub use place::{move_off, place};
pub use policy::{Caps, Floors, Policy};
pub use question::{Question, question};
pub use quoted::{PriceUnit, Quoted};
pub use tariff::{PerMonth, PriceError, Tariff, TariffError};
