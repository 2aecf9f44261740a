-- A user code is looked up by its hash: nothing stored opens a request (PRV-02). Codes given before live ten minutes at most.
ALTER TABLE requests RENAME COLUMN user_code TO user_code_hash;
