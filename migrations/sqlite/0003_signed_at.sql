-- When a transaction was signed (unix seconds; 0: before this was kept): a day's gas is counted from here, so that a restart does
-- not begin the day anew.
alter table attempts add column signed_at bigint not null default 0;
