//! The words both sides of the market trade in: a tenant's document and what it becomes.
//!
//! Pure: no IO, no clock, no tasks. A document in SDL is parsed and validated into a manifest and the resource groups that
//! go on chain; the manifest's digest binds what runs to what was ordered; an order, a bid and a lease are told in the words
//! of [`order`], a provider's answer in those of [`decision`], money in those of [`money`].

pub mod check;
pub mod decision;
pub mod digest;
pub mod gpu;
pub mod group;
pub mod manifest;
pub mod money;
pub mod objects;
pub mod order;
pub mod price;
pub mod problem;
pub mod resources;
mod rules;
mod sdl;

pub use rules::MAX_MANIFEST_BYTES;
pub use sdl::{Deployment, MAX_DOCUMENT_BYTES, parse};
