-- What the person switched off for a device: being seen, being mirrored, being synced. A device without a row has everything on.
CREATE TABLE switches (
  device TEXT NOT NULL PRIMARY KEY,
  log TEXT NOT NULL,
  hidden_at BIGINT,
  unmirrored_at BIGINT,
  unsynced_at BIGINT
);
CREATE INDEX switches_log ON switches (log);
