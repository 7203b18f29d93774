-- When the head of a collection was where.
CREATE TABLE marks (
  bucket      TEXT    NOT NULL,
  collection  TEXT    NOT NULL,
  seq         INTEGER NOT NULL,
  time        INTEGER NOT NULL,
  PRIMARY KEY (bucket, collection, seq)
) STRICT, WITHOUT ROWID;
