-- A root that is to replace an account's: asked for by the page, agreed to by one full device of each app, then switched to in one transaction.
CREATE TABLE root_changes (
  account_id TEXT NOT NULL PRIMARY KEY REFERENCES accounts (account_id),
  change_id TEXT NOT NULL,
  root TEXT NOT NULL,
  account_jwk TEXT NOT NULL,
  recovery_id TEXT NOT NULL,
  wraps TEXT NOT NULL,
  issuers TEXT NOT NULL,
  offer TEXT,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE TABLE root_consents (
  account_id TEXT NOT NULL REFERENCES accounts (account_id),
  app TEXT NOT NULL,
  device TEXT NOT NULL,
  consent TEXT NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (account_id, app, device)
);
-- Each root's statement of the one that replaced it, oldest first, as a JSON array.
ALTER TABLE accounts ADD COLUMN root_statements TEXT NOT NULL DEFAULT '[]';
