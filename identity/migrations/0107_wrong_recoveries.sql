-- Recovery codes that opened nothing, by who tried: an address, hashed. Forgotten after a day.
CREATE TABLE wrong_recoveries (
    caller_hash TEXT NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX wrong_recoveries_by_caller ON wrong_recoveries (caller_hash, at);
CREATE INDEX wrong_recoveries_at ON wrong_recoveries (at);
