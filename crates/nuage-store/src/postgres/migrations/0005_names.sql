-- Which groups the signatures of a collection name, and counters by which it is noticed that this
-- changed. Of what is there already it is not known since when: since always.

CREATE TABLE names (
  bucket      text COLLATE "C" NOT NULL,
  collection  text COLLATE "C" NOT NULL,
  grp_bucket  text COLLATE "C" NOT NULL, -- where the group is
  grp         text COLLATE "C" NOT NULL,
  signatures  bigint NOT NULL, -- number of signatures of the collection that name it
  since       bigint NOT NULL, -- position since which there is one; 0: always
  ordinal     bigint NOT NULL, -- by which it is told from other names, earlier ones included
  PRIMARY KEY (bucket, collection, grp_bucket, grp)
);

INSERT INTO names (bucket, collection, grp_bucket, grp, signatures, since, ordinal)
SELECT bucket, collection, split_part(principal, '/', 3), split_part(principal, '/', 5), count(*), 0,
  row_number() OVER (PARTITION BY bucket, collection ORDER BY principal)
FROM signature_principals
WHERE principal LIKE '/buckets/_%/groups/_%'
  AND length(principal) - length(replace(principal, '/', '')) = 4
GROUP BY bucket, collection, principal;

ALTER TABLE collections
  ADD COLUMN names  bigint NOT NULL DEFAULT 0, -- number of rows in names
  -- counts up with each of them that comes or goes, also when all go with the collection
  ADD COLUMN named  bigint NOT NULL DEFAULT 0,
  -- of the groups of a bucket: counts up when one that is a member of another comes or goes
  ADD COLUMN nested bigint NOT NULL DEFAULT 0;
ALTER TABLE collections
  ALTER COLUMN names DROP DEFAULT,
  ALTER COLUMN named DROP DEFAULT,
  ALTER COLUMN nested DROP DEFAULT;

UPDATE collections c SET names = n.rows, named = n.rows
FROM (SELECT bucket, collection, count(*) AS rows FROM names GROUP BY bucket, collection) n
WHERE n.bucket = c.bucket AND n.collection = c.collection;

UPDATE collections SET nested = 1
WHERE collection = '_groups' AND bucket IN (
  SELECT bucket FROM members WHERE member >= '/buckets/' AND member < '/buckets0');

-- Number of records, tombstones and ended residencies that have the signature.
ALTER TABLE signatures ADD COLUMN held bigint NOT NULL DEFAULT 0;
ALTER TABLE signatures ALTER COLUMN held DROP DEFAULT;

UPDATE signatures s SET held = h.held
FROM (SELECT bucket, collection, signature, count(*) AS held
  FROM (SELECT bucket, collection, signature FROM records
    UNION ALL SELECT bucket, collection, signature FROM gone) one
  GROUP BY bucket, collection, signature) h
WHERE h.bucket = s.bucket AND h.collection = s.collection AND h.signature = s.signature;
