//! The words both sides of the market trade in: a tenant's document and what it becomes.
//!
//! Pure: no IO, no clock, no tasks. A document in SDL is parsed and validated into a manifest and the resource groups that
//! go on chain; the manifest's digest binds what runs to what was ordered; an order, a bid and a lease are told in the words
//! of [`order`], a provider's answer in those of [`decision`], money in those of [`money`].
//!
//! ```
//! let document = r#"
//! version: "2.0"
//! services:
//!   web:
//!     image: nginx
//!     expose:
//!       - port: 80
//!         to: [{global: true}]
//! profiles:
//!   compute:
//!     small:
//!       resources:
//!         cpu: {units: 0.5}
//!         memory: {size: 512Mi}
//!         storage: {size: 1Gi}
//!   placement:
//!     anywhere:
//!       pricing:
//!         small: {denom: uact, amount: 100}
//! deployment:
//!   web:
//!     anywhere: {profile: small, count: 2}
//! "#;
//! let deployment = manifests::parse(document).map_err(|problems| problems[0].to_string())?;
//!
//! // What the tenant sends to its provider, and the digest that holds both to it.
//! let manifest = &deployment.manifest;
//! assert_eq!(manifest.0[0].services[0].resources.cpu.units.0, 500);
//! assert!(manifest.digest().to_string().starts_with("0x"));
//!
//! // What the tenant orders: the same resources, without what is private, and the most it pays per second.
//! let group = &deployment.groups[0];
//! let spec = group.to_order_spec();
//! assert!(spec.to_bytes()?.len() < 8192);
//! assert_eq!(group.max_rate_down()?.scaled(), 200 * 1_000_000_000_000 / 6117);
//!
//! // What the provider asks before it runs anything.
//! manifests::check::check(&manifest.0[0], &spec)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A few broken texts make the YAML parser panic. That is caught, and a panic hook keeps it off standard error; other panics
//! reach the hook that was there before.

pub mod check;
pub mod decision;
pub mod digest;
pub mod extension;
pub mod gpu;
pub mod group;
mod json;
pub mod manifest;
pub mod money;
pub mod objects;
pub mod order;
pub mod price;
pub mod problem;
pub mod resources;
mod rules;
mod sdl;
pub mod terms;

pub use rules::MAX_MANIFEST_BYTES;
pub use sdl::{
    Deployment, Excerpt, MAX_DOCUMENT_BYTES, MAX_STEPS_PER_BYTE, Mode, Reading, Source, advise, parse, read,
};
