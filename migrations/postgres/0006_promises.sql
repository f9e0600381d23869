-- Every time more is promised, the reservation gets the next number: what was decided while another promise was made is
-- decided again.
alter table reservations add column promise bigint;
create unique index reservations_by_promise on reservations (promise);
