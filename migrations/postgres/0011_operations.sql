-- While there is a row, no new order is taken. At most one, with id 1.
create table maintenance (
    id bigint primary key,
    since bigint not null,
    note text not null
);

-- Nodes that leases are moved away from.
create table drained_nodes (
    node text primary key,
    since bigint not null
);
