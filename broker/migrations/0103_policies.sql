-- What the person lets a device do unasked: hand over what another of theirs asks it for, go on with what is handed to it. NULL: it asks.
ALTER TABLE switches ADD COLUMN gives_at BIGINT;
ALTER TABLE switches ADD COLUMN takes_at BIGINT;
