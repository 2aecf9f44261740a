-- The verifier keeps standing, consumed nonces and proofs: all common. Nothing of its own yet.
SELECT 1;
