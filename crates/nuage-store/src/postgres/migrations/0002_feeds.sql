-- What feeds need to read quickly, and the views that their tokens name. The digests of what is
-- there already are computed after these statements, in the same transaction.

ALTER TABLE collections
  ADD COLUMN gone bigint NOT NULL DEFAULT 0; -- number of rows in gone
ALTER TABLE collections ALTER COLUMN gone DROP DEFAULT;

UPDATE collections c SET gone = g.rows
FROM (SELECT bucket, collection, count(*) AS rows FROM gone GROUP BY bucket, collection) g
WHERE g.bucket = c.bucket AND g.collection = c.collection;

ALTER TABLE signatures
  ADD COLUMN digest bigint NOT NULL DEFAULT 0; -- sum of the digests of its live records, mod 2^48
ALTER TABLE signatures ALTER COLUMN digest DROP DEFAULT;

CREATE INDEX signature_principals_signature
  ON signature_principals (bucket, collection, signature, principal);

-- Tombstones by age, for the horizon.
CREATE INDEX records_dead ON records (bucket, collection, seq) WHERE dead;

-- The groups that a person was in, under the name that a token has for them.
CREATE TABLE views (
  bucket      text COLLATE "C" NOT NULL,
  person      text COLLATE "C" NOT NULL,
  name        bytea  NOT NULL, -- sixteen bytes
  groups      text COLLATE "C" NOT NULL, -- JSON list of principals
  used        bigint NOT NULL, -- when it was needed last, at most a day too early
  PRIMARY KEY (bucket, person, name)
);
