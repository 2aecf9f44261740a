-- Clients that registered themselves (RFC 7591), where the operator allows it. Each is an app of its own.
CREATE TABLE registered_clients (
  client_id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  redirect_uris TEXT NOT NULL,
  created_at BIGINT NOT NULL
);
