-- OpenID4VCI: offers that a person made for their wallet, and the access tokens that wallets got for them. Codes and tokens as hashes alone.
CREATE TABLE credential_offers (
  offer_id TEXT NOT NULL PRIMARY KEY,
  account_id TEXT NOT NULL REFERENCES accounts (account_id),
  client_id TEXT NOT NULL,
  reference_hash TEXT NOT NULL UNIQUE,
  code_hash TEXT NOT NULL UNIQUE,
  tx_code_hash TEXT NOT NULL,
  tx_failures BIGINT NOT NULL,
  redeemed_at BIGINT,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE TABLE credential_tokens (
  token_hash TEXT NOT NULL PRIMARY KEY,
  offer_id TEXT NOT NULL REFERENCES credential_offers (offer_id),
  jkt TEXT,
  -- The enrolment request it may make, and what the person will type to approve it.
  request_id TEXT NOT NULL,
  check_code_hash TEXT NOT NULL,
  requested_at BIGINT,
  expires_at BIGINT NOT NULL
);
CREATE INDEX credential_offers_account ON credential_offers (account_id);
