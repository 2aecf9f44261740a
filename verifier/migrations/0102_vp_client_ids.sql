-- How the verifier said who it is: by its DID where this is empty.
ALTER TABLE vp_transactions ADD COLUMN client_id TEXT;
