-- Identity: accounts, passkeys, wrapped roots, enrolment, logs, status, consent, ledger, outbox.

CREATE TABLE accounts (
  account_id TEXT NOT NULL PRIMARY KEY,
  root TEXT NOT NULL UNIQUE,
  account_jwk TEXT NOT NULL,
  recovery_id TEXT NOT NULL UNIQUE,
  recovery_confirmed_at BIGINT,
  created_at BIGINT NOT NULL
);

CREATE TABLE passkeys (
  credential_id TEXT NOT NULL PRIMARY KEY,
  account_id TEXT NOT NULL REFERENCES accounts (account_id),
  passkey TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  used_at BIGINT
);
CREATE INDEX passkeys_account ON passkeys (account_id);

-- opener: the credential id, or 'recovery'.
CREATE TABLE wraps (
  account_id TEXT NOT NULL REFERENCES accounts (account_id),
  opener TEXT NOT NULL,
  wrapped TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (account_id, opener)
);

CREATE TABLE ceremonies (
  ceremony_id TEXT NOT NULL PRIMARY KEY,
  kind TEXT NOT NULL,
  account_id TEXT,
  state TEXT NOT NULL,
  expires_at BIGINT NOT NULL
);

CREATE TABLE page_sessions (
  token_hash TEXT NOT NULL PRIMARY KEY,
  account_id TEXT NOT NULL REFERENCES accounts (account_id),
  verified_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);

CREATE TABLE wrong_codes (
  account_id TEXT NOT NULL,
  at BIGINT NOT NULL
);
CREATE INDEX wrong_codes_at ON wrong_codes (at);

-- One person's issuer and log for one app. next_n guards appends.
CREATE TABLE issuers (
  account_id TEXT NOT NULL REFERENCES accounts (account_id),
  app TEXT NOT NULL,
  iss TEXT NOT NULL UNIQUE,
  log TEXT NOT NULL UNIQUE,
  statement TEXT NOT NULL,
  next_n BIGINT NOT NULL,
  head TEXT NOT NULL,
  PRIMARY KEY (account_id, app)
);

CREATE TABLE log_entries (
  log TEXT NOT NULL,
  n BIGINT NOT NULL,
  entry TEXT NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (log, n)
);

CREATE TABLE requests (
  request_id TEXT NOT NULL PRIMARY KEY,
  lane TEXT NOT NULL,
  client_id TEXT NOT NULL,
  app TEXT NOT NULL,
  scope TEXT NOT NULL,
  device_jwk TEXT NOT NULL,
  did TEXT NOT NULL,
  jkt TEXT NOT NULL,
  agreement_jwk TEXT NOT NULL,
  claims TEXT NOT NULL,
  seen_address TEXT NOT NULL,
  redirect_uri TEXT,
  code_challenge TEXT,
  client_state TEXT,
  request_uri_hash TEXT UNIQUE,
  user_code TEXT UNIQUE,
  check_code_hash TEXT,
  device_code_hash TEXT UNIQUE,
  poll_interval BIGINT NOT NULL,
  polled_at BIGINT,
  check_failures BIGINT NOT NULL,
  state TEXT NOT NULL,
  account_id TEXT,
  offer TEXT,
  status_idx BIGINT,
  code_hash TEXT UNIQUE,
  code_expires_at BIGINT,
  outbox_seq BIGINT,
  redeemed_at BIGINT,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);

CREATE TABLE devices (
  device_id TEXT NOT NULL PRIMARY KEY,
  account_id TEXT NOT NULL REFERENCES accounts (account_id),
  app TEXT NOT NULL,
  log TEXT NOT NULL,
  iss TEXT NOT NULL,
  did TEXT NOT NULL UNIQUE,
  jkt TEXT NOT NULL UNIQUE,
  client_id TEXT NOT NULL,
  tier TEXT NOT NULL,
  name TEXT NOT NULL,
  kind TEXT NOT NULL,
  credential TEXT NOT NULL,
  credential_hash TEXT NOT NULL,
  credential_exp BIGINT NOT NULL,
  status_idx BIGINT NOT NULL UNIQUE,
  grant_id TEXT NOT NULL,
  dev_epoch BIGINT NOT NULL,
  offer TEXT,
  -- When the one who asked redeemed the approval. Before that nothing is handed out, and nobody is told to seal to it.
  redeemed_at BIGINT,
  created_at BIGINT NOT NULL,
  revoked_at BIGINT
);
CREATE INDEX devices_account ON devices (account_id);

CREATE TABLE grants (
  grant_id TEXT NOT NULL PRIMARY KEY,
  account_id TEXT NOT NULL REFERENCES accounts (account_id),
  app TEXT NOT NULL,
  client_id TEXT NOT NULL,
  scopes TEXT NOT NULL,
  purpose TEXT NOT NULL,
  until_at BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  withdrawn_at BIGINT
);
CREATE INDEX grants_account ON grants (account_id);

CREATE TABLE status_lists (
  list_id BIGINT NOT NULL PRIMARY KEY,
  bits BYTEA NOT NULL,
  version BIGINT NOT NULL
);

-- An index belongs to one credential for ever, whatever becomes of it.
CREATE TABLE status_allotments (
  idx BIGINT NOT NULL PRIMARY KEY,
  request_id TEXT NOT NULL,
  at BIGINT NOT NULL
);

CREATE TABLE ledger (
  account_id TEXT NOT NULL,
  n BIGINT NOT NULL,
  at BIGINT NOT NULL,
  kind TEXT NOT NULL,
  detail TEXT NOT NULL,
  prev TEXT NOT NULL,
  hash TEXT NOT NULL,
  PRIMARY KEY (account_id, n)
);

CREATE TABLE ledger_heads (
  account_id TEXT NOT NULL PRIMARY KEY,
  n BIGINT NOT NULL,
  hash TEXT NOT NULL
);

CREATE TABLE counters (
  name TEXT NOT NULL PRIMARY KEY,
  value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('outbox', 0), ('wrong_codes', 0);

CREATE TABLE outbox (
  seq BIGINT NOT NULL PRIMARY KEY,
  body TEXT NOT NULL,
  at BIGINT NOT NULL
);

CREATE TABLE outbox_cursors (
  peer TEXT NOT NULL PRIMARY KEY,
  seq BIGINT NOT NULL
);
