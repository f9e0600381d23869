-- Amounts and rates are decimal text, times are unix seconds, ids are text as manifests::order prints them.
-- provider/src/store/mod.rs says who writes which table.

-- What this database belongs to: chain, market, provider, and a sealed word that only the right data key opens.
create table identity (
    key text primary key,
    value text not null
);

-- The chain as it was followed: a ring of headers; the highest one is the cursor.
create table blocks (
    number bigint primary key,
    hash text not null,
    parent text not null,
    timestamp bigint not null
);

-- Every fact that matters to this provider, as it stood in the log.
-- subject is the order, the account or the provider whose rows are a fold of the fact.
create table events (
    block_hash text not null,
    log_index bigint not null,
    block bigint not null,
    subject text not null,
    payload text not null,
    primary key (block_hash, log_index)
);
create index events_by_subject on events (subject, block, log_index);
create index events_by_block on events (block);

-- Folds of events. A subject's rows are deleted and written again whenever its events change.
create table accounts (
    id text collate "C" primary key,
    manifest_hash text not null,
    deposited text not null,
    refunded text not null,
    funded_until bigint not null
);

create table orders (
    id text collate "C" primary key,
    account text not null,
    spec_hash text not null,
    state text not null,
    close_reason bigint,
    expires_at bigint not null,
    created_block bigint not null,
    body text not null
);
create index orders_by_state on orders (state);

create table bids (
    order_id text collate "C" not null,
    provider text not null,
    rate text not null,
    expires_at bigint not null,
    reclaim bigint not null,
    min_bill bigint not null,
    state text not null,
    block bigint not null,
    primary key (order_id, provider)
);

create table leases (
    id text collate "C" primary key,
    account text not null,
    provider text not null,
    rate text not null,
    started_at bigint not null,
    fee_bps bigint not null,
    funded_until bigint not null,
    state text not null,
    created_block bigint not null,
    reclaim_deadline bigint,
    close_reason bigint,
    ended_at bigint,
    closed_block bigint,
    paid_until bigint not null,
    paid_net text not null,
    paid_fee text not null
);
create index leases_by_provider on leases (provider, state);

create table providers (
    address text primary key,
    operator text not null,
    uri text not null,
    spki_hash text not null
);

-- What came of each order, with everything it was decided from. A repeated order id with other terms is decided again.
create table decisions (
    order_id text collate "C" not null,
    spec_hash text not null,
    decided_at bigint not null,
    outcome text not null,
    reason text,
    rate text,
    decision text not null,
    inputs text not null,
    primary key (order_id, spec_hash)
);
create index decisions_by_time on decisions (decided_at);

-- Capacity that is promised: held for a bid, then leased, then released.
create table reservations (
    order_id text collate "C" primary key,
    spec_hash text not null,
    state text not null,
    placement text not null,
    released_because text,
    created_at bigint not null,
    updated_at bigint not null
);
create index reservations_by_state on reservations (state);

-- What is to be said to the chain. Nothing is sent that is not first a row here.
create table intents (
    id text collate "C" primary key,
    kind text not null,
    order_id text collate "C",
    call text not null,
    state text not null,
    deadline bigint,
    not_before bigint not null,
    tries bigint not null,
    outcome text,
    block bigint,
    problem text,
    created_at bigint not null,
    updated_at bigint not null
);
create index intents_by_state on intents (state);
create index intents_by_order on intents (order_id, kind);

-- Each signed transaction, kept before it is sent; live until its nonce is settled.
create table attempts (
    hash text primary key,
    intent text not null references intents (id),
    signer text not null,
    nonce bigint not null,
    raw bytea not null,
    max_fee text not null,
    max_tip text not null,
    live bigint not null,
    sequence bigint not null
);
create index attempts_by_intent on attempts (intent);
create index attempts_by_nonce on attempts (signer, nonce);

-- Manifests as tenants sent them, sealed: env values and registry credentials are inside.
create table manifests (
    lease_id text collate "C" primary key,
    digest text not null,
    revision bigint not null,
    sealed bytea not null,
    received_at bigint not null
);

-- What the cluster was last seen to do for a lease.
create table lease_status (
    lease_id text collate "C" primary key,
    health text not null,
    since bigint not null,
    applied_revision bigint,
    torn_down_at bigint,
    body text not null,
    updated_at bigint not null
);

-- Devices that the cluster gave to pods, with their history.
create table gpu_allocations (
    lease_id text collate "C" not null,
    node text not null,
    pod text not null,
    container text not null,
    uuid text collate "C" not null,
    since bigint not null,
    until bigint,
    primary key (pod, container, uuid)
);
create index gpu_allocations_by_lease on gpu_allocations (lease_id);
create index gpu_allocations_by_uuid on gpu_allocations (uuid, until);
