-- Values of secrets that a manifest only names, as their tenant gave them apart from it.
create table lease_secrets (
    lease_id text not null,
    name text not null,
    sealed blob not null,
    received_at bigint not null,
    primary key (lease_id, name)
);
