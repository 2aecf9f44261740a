-- OpenID4VP: what relying services asked for, and what came, each for five minutes.
CREATE TABLE vp_transactions (
  transaction_id TEXT NOT NULL PRIMARY KEY,
  relying TEXT NOT NULL,
  reference_hash TEXT NOT NULL UNIQUE,
  query TEXT NOT NULL,
  transaction_data TEXT NOT NULL,
  response_mode TEXT NOT NULL,
  redirect_uri TEXT,
  device TEXT,
  response_code_hash TEXT,
  state TEXT NOT NULL,
  result TEXT,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX vp_transactions_expires ON vp_transactions (expires_at);
