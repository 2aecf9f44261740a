-- Apps sign people in (OpenID Connect): the request, then a family of refresh tokens that rests on one consent.
CREATE TABLE sign_ins (
  sign_in_id TEXT NOT NULL PRIMARY KEY,
  client_id TEXT NOT NULL,
  app TEXT NOT NULL,
  scope TEXT NOT NULL,
  nonce TEXT,
  max_age BIGINT,
  redirect_uri TEXT NOT NULL,
  code_challenge TEXT NOT NULL,
  client_state TEXT,
  jkt TEXT NOT NULL,
  seen_address TEXT NOT NULL,
  request_uri_hash TEXT NOT NULL UNIQUE,
  state TEXT NOT NULL,
  account_id TEXT,
  auth_time BIGINT,
  code_hash TEXT UNIQUE,
  code_expires_at BIGINT,
  family_id TEXT,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX sign_ins_account ON sign_ins (account_id);
CREATE INDEX sign_ins_expires ON sign_ins (expires_at);
CREATE TABLE families (
  family_id TEXT NOT NULL PRIMARY KEY,
  account_id TEXT NOT NULL REFERENCES accounts (account_id),
  grant_id TEXT NOT NULL REFERENCES grants (grant_id),
  app TEXT NOT NULL,
  client_id TEXT NOT NULL,
  scope TEXT NOT NULL,
  jkt TEXT NOT NULL,
  nonce TEXT,
  -- Only where the client asked for it: the same second in two apps would link them.
  auth_time BIGINT,
  created_at BIGINT NOT NULL,
  ends_at BIGINT NOT NULL,
  ended_at BIGINT
);
CREATE INDEX families_account ON families (account_id);
CREATE INDEX families_grant ON families (grant_id);
-- Only hashes: what is stored here opens nothing.
CREATE TABLE refresh_tokens (
  token_hash TEXT NOT NULL PRIMARY KEY,
  family_id TEXT NOT NULL REFERENCES families (family_id),
  used_at BIGINT,
  created_at BIGINT NOT NULL
);
CREATE INDEX refresh_tokens_family ON refresh_tokens (family_id);
CREATE TABLE access_tokens (
  token_hash TEXT NOT NULL PRIMARY KEY,
  family_id TEXT NOT NULL REFERENCES families (family_id),
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX access_tokens_family ON access_tokens (family_id);
CREATE INDEX access_tokens_expires ON access_tokens (expires_at);
