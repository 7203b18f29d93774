-- What feeds need to read quickly, and the views that their tokens name. The digests of what is
-- there already are computed after these statements, in the same transaction.

ALTER TABLE collections
  ADD COLUMN gone INTEGER NOT NULL DEFAULT 0; -- number of rows in gone

UPDATE collections SET gone = (
  SELECT count(*) FROM gone g
  WHERE g.bucket = collections.bucket AND g.collection = collections.collection);

ALTER TABLE signatures
  ADD COLUMN digest INTEGER NOT NULL DEFAULT 0; -- sum of the digests of its live records, mod 2^48

CREATE INDEX signature_principals_signature
  ON signature_principals (bucket, collection, signature, principal);

-- Tombstones by age, for the horizon.
CREATE INDEX records_dead ON records (bucket, collection, seq) WHERE dead = 1;

-- The groups that a person was in, under the name that a token has for them.
CREATE TABLE views (
  bucket      TEXT    NOT NULL,
  person      TEXT    NOT NULL,
  name        BLOB    NOT NULL, -- sixteen bytes
  groups      TEXT    NOT NULL, -- JSON list of principals
  used        INTEGER NOT NULL, -- when it was needed last, at most a day too early
  PRIMARY KEY (bucket, person, name)
) STRICT, WITHOUT ROWID;
