-- Leases of ours that a reorganisation took away, and the height that was followed then: their workloads are kept for a while.
create table orphaned_leases (
    lease_id text primary key,
    since bigint not null
);
