-- How far each device says it has a session's updates: what a newer snapshot covers is kept until all who may read it have that snapshot.
CREATE TABLE acknowledged (
  session_id TEXT NOT NULL,
  device TEXT NOT NULL,
  seq BIGINT NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (session_id, device)
);
