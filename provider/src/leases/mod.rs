//! What a lease needs, in order.

pub mod escrow;
