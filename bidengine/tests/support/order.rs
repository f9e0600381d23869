//! An order for a spec.

use manifests::group::spec_hash;
use manifests::money::Rate;
use manifests::order::{Address, Hash, Order, OrderId, OrderKind};

/// An order for the bytes of a spec, open until 1000, that pays whatever a rate can be.
pub(crate) fn order(spec: Vec<u8>) -> Order {
    Order {
        id: OrderId { tenant: Address([0xaa; 20]), dseq: 1, gseq: 1, oseq: 1 },
        class: Hash::default(),
        spec_hash: spec_hash(&spec),
        max_rate: Rate::MAX,
        expires_at: 1000,
        min_reclaim: 0,
        req_bits: 0,
        kind: OrderKind::Service,
        award: None,
        spec,
    }
}
