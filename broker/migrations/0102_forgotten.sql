-- Subjects whose person has left: what is kept of them is swept out, piece by piece.
CREATE TABLE forgotten (
  log TEXT NOT NULL PRIMARY KEY,
  at BIGINT NOT NULL
);
