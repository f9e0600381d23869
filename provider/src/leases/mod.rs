//! What a lease needs, in order.
