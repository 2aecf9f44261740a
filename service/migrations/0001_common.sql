-- Tables every service has. One text for SQLite and PostgreSQL: TEXT, BIGINT, BYTEA only; times are unix milliseconds.

-- Single-use things: proof ids, nonces, challenges. One INSERT consumes one; a second finds the key taken.
CREATE TABLE used_once (
  kind TEXT NOT NULL,
  hash TEXT NOT NULL,
  expires_at BIGINT NOT NULL,
  PRIMARY KEY (kind, hash)
);
CREATE INDEX used_once_expiry ON used_once (expires_at);

-- What identity has told of each device (verifier and broker).
CREATE TABLE standing (
  device TEXT NOT NULL PRIMARY KEY,
  jkt TEXT NOT NULL,
  app TEXT NOT NULL,
  iss TEXT NOT NULL,
  log TEXT NOT NULL,
  client_id TEXT NOT NULL,
  tier TEXT NOT NULL,
  credential_hash TEXT NOT NULL,
  dev_epoch BIGINT NOT NULL,
  grant_id TEXT NOT NULL,
  scopes TEXT NOT NULL,
  grant_until BIGINT NOT NULL,
  revoked_at BIGINT
);
CREATE INDEX standing_log ON standing (log);
