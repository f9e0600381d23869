-- A refusal that may pass is decided again while its order is open: what may end it ('itself' or 'configuration'; null: nothing,
-- or stored by a version that decided once), how often it was decided again, and when last. decided_at is when this answer was
-- given first.
alter table decisions add column passing text;
alter table decisions add column again bigint not null default 0;
alter table decisions add column again_at bigint;
