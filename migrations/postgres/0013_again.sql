-- Refused orders are looked for every second: what says whether one is due stands here, apart from what it was decided from.
create index decisions_again on decisions (order_id, spec_hash, passing, again_at, decided_at, rules, reason)
    where passing is not null;
create index orders_open on orders (state, id, spec_hash, award, expires_at) where state = 'open';
