-- The offer that a wallet's authorization request comes from (OpenID4VCI 1.0 issuer_state).
ALTER TABLE sign_ins ADD COLUMN offer_id TEXT;
