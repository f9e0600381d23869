-- The intents that an attempt serves after its first, in the order in which its bytes say them.
create table batched (
    attempt text not null references attempts (hash),
    place bigint not null,
    intent text not null references intents (id),
    primary key (attempt, place)
);
create index batched_by_intent on batched (intent);

-- What is on its way is looked for before every transaction, and is little among all that ever was.
create index attempts_live on attempts (signer, nonce) where live <> 0;
create index attempts_by_sequence on attempts (sequence);
