-- The latest time this service has gone by: none of what had expired by then is good again because somebody sets the clock back (faults.md F29).
CREATE TABLE clock (
  one BIGINT NOT NULL PRIMARY KEY,
  seen_at BIGINT NOT NULL
);
