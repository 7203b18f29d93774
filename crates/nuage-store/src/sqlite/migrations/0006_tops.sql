-- The greatest time that records and tombstones of the signature show, or showed until they were
-- forgotten; 0: none.
ALTER TABLE signatures ADD COLUMN top INTEGER NOT NULL DEFAULT 0;

UPDATE signatures SET top = coalesce(
  (SELECT max(coalesce(r.timestamp, r.seq)) FROM records r INDEXED BY records_signature
    WHERE r.number = signatures.number AND r.signature = signatures.signature), 0);
