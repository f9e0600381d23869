-- Values of secrets that a manifest only names, as their tenant gave them apart from it.
create table lease_secrets (
    lease_id text collate "C" not null,
    name text not null,
    sealed bytea not null,
    received_at bigint not null,
    primary key (lease_id, name)
);
