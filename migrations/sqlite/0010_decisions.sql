-- What decisions were made from, in parts that they share, each compressed and named by the SHA-256 of what it says.
create table decision_parts (
    hash text primary key,
    body blob not null
);
-- Which parts: the rules, and a capacity that this decision's differs from a little. rest is compressed too: the order, the time
-- and that difference. Rows from before have none of the three; theirs is all in inputs, which is empty from now on.
alter table decisions add column rules text;
alter table decisions add column base text;
alter table decisions add column rest blob;

-- Of an order that goes to its lowest bid: the second until which it takes bids.
alter table orders add column award bigint;
