-- OpenID4VCI by authorization code: a wallet asks as an app does that signs somebody in, and says in one of two ways for what.
ALTER TABLE sign_ins ADD COLUMN wallet TEXT;
-- Whether the token names its credential by an identifier (OpenID4VCI §6.2).
ALTER TABLE credential_tokens ADD COLUMN by_identifier BIGINT NOT NULL DEFAULT 0;
