-- The greatest time that records and tombstones of the signature show, or showed until they were
-- forgotten; 0: none.
ALTER TABLE signatures ADD COLUMN top bigint NOT NULL DEFAULT 0;
ALTER TABLE signatures ALTER COLUMN top DROP DEFAULT;

UPDATE signatures s SET top = r.top
FROM (SELECT bucket, collection, signature, max(coalesce(timestamp, seq)) AS top
  FROM records GROUP BY bucket, collection, signature) r
WHERE r.bucket = s.bucket AND r.collection = s.collection AND r.signature = s.signature;
