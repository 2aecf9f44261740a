-- The broker: sessions, their chains, sealed updates, handoffs, events. Nothing here is content or a digest of content.

CREATE TABLE sessions (
  session_id TEXT NOT NULL PRIMARY KEY,
  log TEXT NOT NULL,
  app TEXT NOT NULL,
  mode TEXT NOT NULL,
  state TEXT NOT NULL,
  -- protocol::handoff::chain::Chain, trimmed, as JSON; chain_head guards every step of it.
  chain TEXT NOT NULL,
  chain_head TEXT NOT NULL,
  chain_n BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  -- Who may write; NULL once its device was revoked.
  holder TEXT,
  lease_until BIGINT NOT NULL,
  key_version BIGINT NOT NULL,
  rekey_since BIGINT,
  head_epoch BIGINT NOT NULL,
  head_seq BIGINT NOT NULL,
  head_hash TEXT NOT NULL,
  open_handoff TEXT,
  released_at BIGINT,
  created_at BIGINT NOT NULL,
  ended_at BIGINT
);
CREATE INDEX sessions_log ON sessions (log);
CREATE INDEX sessions_holder ON sessions (holder);

CREATE TABLE statements (
  session_id TEXT NOT NULL,
  n BIGINT NOT NULL,
  hash TEXT NOT NULL,
  statement TEXT NOT NULL,
  accepted TEXT NOT NULL,
  PRIMARY KEY (session_id, n)
);

CREATE TABLE envelopes (
  session_id TEXT NOT NULL,
  key_version BIGINT NOT NULL,
  digest TEXT NOT NULL,
  envelope TEXT NOT NULL,
  device TEXT NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (session_id, key_version, digest)
);

CREATE TABLE updates (
  session_id TEXT NOT NULL,
  seq BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  prev TEXT NOT NULL,
  hash TEXT NOT NULL,
  key_version BIGINT NOT NULL,
  kind TEXT NOT NULL,
  device TEXT NOT NULL,
  iv TEXT NOT NULL,
  ct TEXT NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (session_id, seq)
);

CREATE TABLE branches (
  session_id TEXT NOT NULL,
  hash TEXT NOT NULL,
  device TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  branch TEXT NOT NULL,
  size BIGINT NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (session_id, hash)
);

CREATE TABLE handoffs (
  handoff_id TEXT NOT NULL PRIMARY KEY,
  session_id TEXT NOT NULL,
  log TEXT NOT NULL,
  -- protocol::handoff::machine::Handoff as JSON; rev guards every step of it.
  machine TEXT NOT NULL,
  state TEXT NOT NULL,
  rev BIGINT NOT NULL,
  source TEXT NOT NULL,
  target TEXT,
  offer TEXT NOT NULL,
  offer_hash TEXT NOT NULL,
  presentation TEXT,
  created_at BIGINT NOT NULL
);
CREATE INDEX handoffs_log ON handoffs (log, state);

CREATE TABLE events (
  log TEXT NOT NULL,
  seq BIGINT NOT NULL,
  at BIGINT NOT NULL,
  kind TEXT NOT NULL,
  session_id TEXT,
  handoff_id TEXT,
  -- Devices that are told which session it is even when limited; full devices always are.
  device_a TEXT,
  device_b TEXT,
  PRIMARY KEY (log, seq)
);

CREATE TABLE event_heads (
  log TEXT NOT NULL PRIMARY KEY,
  seq BIGINT NOT NULL
);

-- Every device that ever held a session: the ones whose late updates are kept.
CREATE TABLE holders (
  session_id TEXT NOT NULL,
  device TEXT NOT NULL,
  PRIMARY KEY (session_id, device)
);
