-- Which groups the signatures of a collection name, and counters by which it is noticed that this
-- changed. Of what is there already it is not known since when: since always.

CREATE TABLE names (
  number      INTEGER NOT NULL, -- of the collection
  grp_bucket  TEXT    NOT NULL, -- where the group is
  grp         TEXT    NOT NULL,
  signatures  INTEGER NOT NULL, -- number of signatures of the collection that name it
  since       INTEGER NOT NULL, -- position since which there is one; 0: always
  ordinal     INTEGER NOT NULL, -- by which it is told from other names, earlier ones included
  PRIMARY KEY (number, grp_bucket, grp)
) STRICT, WITHOUT ROWID;

INSERT INTO names (number, grp_bucket, grp, signatures, since, ordinal)
SELECT number, substr(path, 1, at - 1), substr(path, at + length('/groups/')), count(*), 0,
  row_number() OVER (PARTITION BY number ORDER BY path)
FROM (SELECT p.number, substr(p.principal, 10) AS path,
    instr(substr(p.principal, 10), '/groups/') AS at
  FROM collections c CROSS JOIN signature_principals p ON p.number = c.number
  WHERE p.principal GLOB '/buckets/?*/groups/?*'
    AND length(p.principal) - length(replace(p.principal, '/', '')) = 4)
GROUP BY number, path, at;

-- Number of rows in names.
ALTER TABLE collections ADD COLUMN names INTEGER NOT NULL DEFAULT 0;
-- Counts up with each of them that comes or goes, also when all go with the collection.
ALTER TABLE collections ADD COLUMN named INTEGER NOT NULL DEFAULT 0;
-- Of the groups of a bucket: counts up when one that is a member of another comes or goes.
ALTER TABLE collections ADD COLUMN nested INTEGER NOT NULL DEFAULT 0;

UPDATE collections SET names = (SELECT count(*) FROM names n WHERE n.number = collections.number);
UPDATE collections SET named = names WHERE names > 0;
UPDATE collections SET nested = 1
WHERE EXISTS (SELECT 1 FROM members m WHERE m.number = collections.number
  AND m.member >= '/buckets/' AND m.member < '/buckets0');

-- Number of records, tombstones and ended residencies that have the signature.
ALTER TABLE signatures ADD COLUMN held INTEGER NOT NULL DEFAULT 0;

UPDATE signatures SET held =
  (SELECT count(*) FROM records r INDEXED BY records_signature
    WHERE r.number = signatures.number AND r.signature = signatures.signature)
  + (SELECT count(*) FROM gone g INDEXED BY gone_signature
    WHERE g.number = signatures.number AND g.signature = signatures.signature);
