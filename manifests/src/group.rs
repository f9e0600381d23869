//! Resource groups: what goes on chain as an order's spec, and what providers price.
//!
//! A [`GroupSpec`] is the group as the document has it, with the tenant's prices. An [`OrderSpec`] is the same without
//! prices; its sorted-key JSON is the `spec` of the order on chain, so both sides hash the same bytes.

use serde::{Deserialize, Serialize};
use sha3::{Digest, Keccak256};

use crate::digest::canonical_json;
use crate::order::Hash;
use crate::price::Price;
use crate::resources::{Attribute, Resources};

/// The most bytes that the market takes as an order's spec.
pub const MAX_SPEC_BYTES: usize = 8192;

/// One group of a document: requirements, resource units and their price limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSpec {
    /// Name of the placement.
    pub name: String,
    /// Who may serve it.
    pub requirements: Requirements,
    /// Resource units in the order of their ids.
    pub resources: Vec<ResourceUnit>,
}

/// What a tenant asks of a provider beside resources.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirements {
    /// Auditors that must have vouched for the provider.
    pub signed_by: SignedBy,
    /// Attributes that the provider must have, sorted by key; `None` if the document has none.
    pub attributes: Option<Vec<Attribute>>,
}

/// Auditors, as the document names them: usually addresses of the network it was written for.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedBy {
    /// All of these must have vouched.
    pub all_of: Option<Vec<String>>,
    /// One of these must have vouched.
    pub any_of: Option<Vec<String>>,
}

/// `count` replicas of the same resources at a price each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceUnit {
    /// What one replica gets.
    pub resource: Resources,
    /// Number of replicas.
    pub count: u32,
    /// The most the tenant pays for one replica.
    pub price: Price,
}

/// What an order says on chain: a group spec without prices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderSpec {
    /// Name of the placement.
    pub name: String,
    /// Who may serve it.
    pub requirements: Requirements,
    /// Resource units in the order of their ids.
    pub resources: Vec<SpecUnit>,
}

/// `count` replicas of the same resources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecUnit {
    /// What one replica gets.
    pub resource: Resources,
    /// Number of replicas.
    pub count: u32,
}

/// Why bytes are not the spec of an order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// More bytes than the market takes.
    #[error(
        "the order's spec is {0} bytes long, the market takes at most {MAX_SPEC_BYTES}: use fewer services in this placement"
    )]
    TooLong(usize),
    /// Not JSON of the right shape; the text says where.
    #[error("the order's spec is not a group spec: {0}")]
    Malformed(String),
}

impl GroupSpec {
    /// The group as the chain sees it: without prices.
    pub fn to_order_spec(&self) -> OrderSpec {
        let unit = |unit: &ResourceUnit| SpecUnit { resource: unit.resource.clone(), count: unit.count };
        OrderSpec {
            name: self.name.clone(),
            requirements: self.requirements.clone(),
            resources: self.resources.iter().map(unit).collect(),
        }
    }
}

impl OrderSpec {
    /// The bytes that go on chain: sorted-key JSON.
    ///
    /// # Errors
    /// [`SpecError::TooLong`] above [`MAX_SPEC_BYTES`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, SpecError> {
        let bytes = canonical_json(self);
        if bytes.len() > MAX_SPEC_BYTES { Err(SpecError::TooLong(bytes.len())) } else { Ok(bytes) }
    }

    /// Reads what stands on chain. Anybody can post an order, so the bytes are not trusted.
    ///
    /// # Errors
    /// [`SpecError`] for bytes that are too long or not a group spec.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SpecError> {
        if bytes.len() > MAX_SPEC_BYTES {
            return Err(SpecError::TooLong(bytes.len()));
        }
        serde_json::from_slice(bytes).map_err(|error| SpecError::Malformed(error.to_string()))
    }

    /// The class by which providers filter orders: `cpu`, `gpu/nvidia/<model>` with `/<memory>` if the order names it, or
    /// `gpu` when several models will do or the units differ.
    pub fn class(&self) -> String {
        let asks_for_gpus = |unit: &&SpecUnit| unit.resource.gpu.units.0 > 0;
        let mut models =
            self.resources.iter().filter(asks_for_gpus).map(|unit| unit.resource.gpu.attributes.as_slice());
        let Some(first) = models.next() else { return "cpu".to_owned() };
        let one_model = match first {
            [one] if models.all(|model| model == first) => one.key.strip_prefix("vendor/nvidia/model/"),
            _ => None,
        };
        let Some(model) = one_model.filter(|model| *model != "*") else { return "gpu".to_owned() };
        let model = model.split("/interface/").next().unwrap_or(model);
        format!("gpu/nvidia/{}", model.replace("/ram/", "/"))
    }

    /// The unit of that id.
    pub fn unit(&self, id: u32) -> Option<&SpecUnit> {
        self.resources.iter().find(|unit| unit.resource.id == id)
    }
}

/// The hash by which bids name the terms: keccak256 of the spec's bytes as they stand on chain.
pub fn spec_hash(spec: &[u8]) -> Hash {
    Hash(Keccak256::digest(spec).into())
}
