-- What a person looks after: when a device was last there.
ALTER TABLE devices ADD COLUMN seen_at BIGINT;
