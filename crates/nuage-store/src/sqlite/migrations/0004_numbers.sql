-- A collection gets a number, which what lies under it has in the place of its names. Who drops the
-- collection gives it another number; what has the old one is removed afterwards.

ALTER TABLE collections RENAME TO old_collections;
ALTER TABLE records RENAME TO old_records;
ALTER TABLE gone RENAME TO old_gone;
ALTER TABLE signatures RENAME TO old_signatures;
ALTER TABLE signature_principals RENAME TO old_signature_principals;
ALTER TABLE members RENAME TO old_members;
ALTER TABLE marks RENAME TO old_marks;

CREATE TABLE collections (
  number      INTEGER PRIMARY KEY, -- never that of another one, nor one of dropped
  bucket      TEXT    NOT NULL,
  collection  TEXT    NOT NULL,
  incarnation BLOB    NOT NULL, -- its first position, as eight bytes
  seq         INTEGER NOT NULL, -- position of its last change
  timestamp   INTEGER,          -- the time shown, where it is not seq
  gc_seq      INTEGER NOT NULL, -- what happened up to here is no longer told
  live        INTEGER NOT NULL, -- number of live records
  tombstones  INTEGER NOT NULL, -- number of dead ones
  chosen      INTEGER NOT NULL, -- number of records, live or dead, with a timestamp of their own
  gone        INTEGER NOT NULL, -- number of rows in gone
  dropped     INTEGER NOT NULL, -- 1: there is no such collection, but a later one goes on from seq
  UNIQUE (bucket, collection)
) STRICT;

INSERT INTO collections (bucket, collection, incarnation, seq, timestamp, gc_seq, live, tombstones,
  chosen, gone, dropped)
SELECT bucket, collection, incarnation, seq, timestamp, gc_seq, live, tombstones, chosen, gone,
  dropped
FROM old_collections ORDER BY bucket, collection;

-- What lies under a collection without a row must not be lost.
INSERT INTO collections (bucket, collection, incarnation, seq, timestamp, gc_seq, live, tombstones,
  chosen, gone, dropped)
SELECT bucket, collection, zeroblob(8), 0, NULL, 0, 0, 0, 0, 0, 1 FROM (
  SELECT bucket, collection FROM old_records
  UNION SELECT bucket, collection FROM old_gone
  UNION SELECT bucket, collection FROM old_signatures
  UNION SELECT bucket, collection FROM old_signature_principals
  UNION SELECT bucket, collection FROM old_marks
  UNION SELECT bucket, '_groups' FROM old_members)
WHERE (bucket, collection) NOT IN (SELECT bucket, collection FROM old_collections)
ORDER BY bucket, collection;

DROP TABLE old_collections;

-- What is still to be removed: rows that have these numbers, and what the directory says for them.
CREATE TABLE dropped (
  number      INTEGER PRIMARY KEY,
  bucket      TEXT    NOT NULL, -- what the collection was called
  collection  TEXT    NOT NULL,
  looked_at   TEXT    NOT NULL  -- how far the directory was looked through for it
) STRICT;

CREATE INDEX dropped_bucket ON dropped (bucket, collection);

CREATE TABLE records (
  number      INTEGER NOT NULL, -- of the collection
  id          TEXT    NOT NULL,
  seq         INTEGER NOT NULL, -- position of its last change
  timestamp   INTEGER,          -- the time shown, where it is not seq
  signature   BLOB    NOT NULL, -- names the set of principals that its permissions let read
  entered     INTEGER NOT NULL, -- position at which it got that signature
  dead        INTEGER NOT NULL, -- 1: a tombstone
  permissions TEXT    NOT NULL, -- JSON object of lists of principals
  body        TEXT    NOT NULL, -- JSON object
  PRIMARY KEY (number, id)
) STRICT;

INSERT INTO records (number, id, seq, timestamp, signature, entered, dead, permissions, body)
SELECT c.number, t.id, t.seq, t.timestamp, t.signature, t.entered, t.dead, t.permissions, t.body
FROM old_records t NOT INDEXED JOIN collections c USING (bucket, collection) ORDER BY t.rowid;

DROP TABLE old_records;

CREATE UNIQUE INDEX records_seq ON records (number, seq);
CREATE UNIQUE INDEX records_timestamp ON records (number, timestamp) WHERE timestamp IS NOT NULL;
CREATE INDEX records_signature ON records (number, signature, seq);
-- Tombstones by age, for the horizon.
CREATE INDEX records_dead ON records (number, seq) WHERE dead = 1;

-- Residencies that ended: from entered until seq, the record had this signature.
CREATE TABLE gone (
  number      INTEGER NOT NULL, -- of the collection
  seq         INTEGER NOT NULL,
  id          TEXT    NOT NULL,
  signature   BLOB    NOT NULL,
  entered     INTEGER NOT NULL,
  PRIMARY KEY (number, seq, id)
) STRICT, WITHOUT ROWID;

INSERT INTO gone (number, seq, id, signature, entered)
SELECT c.number, t.seq, t.id, t.signature, t.entered
FROM collections c CROSS JOIN old_gone t USING (bucket, collection) ORDER BY c.number, t.seq, t.id;

DROP TABLE old_gone;

CREATE INDEX gone_signature ON gone (number, signature, seq);

CREATE TABLE signatures (
  number      INTEGER NOT NULL, -- of the collection
  signature   BLOB    NOT NULL,
  live        INTEGER NOT NULL, -- number of live records that have it
  digest      INTEGER NOT NULL, -- sum of the digests of its live records, mod 2^48
  PRIMARY KEY (number, signature)
) STRICT, WITHOUT ROWID;

INSERT INTO signatures (number, signature, live, digest)
SELECT c.number, t.signature, t.live, t.digest
FROM collections c CROSS JOIN old_signatures t USING (bucket, collection)
ORDER BY c.number, t.signature;

DROP TABLE old_signatures;

CREATE TABLE signature_principals (
  number      INTEGER NOT NULL, -- of the collection
  principal   TEXT    NOT NULL,
  signature   BLOB    NOT NULL,
  PRIMARY KEY (number, principal, signature)
) STRICT, WITHOUT ROWID;

INSERT INTO signature_principals (number, principal, signature)
SELECT c.number, t.principal, t.signature
FROM collections c CROSS JOIN old_signature_principals t USING (bucket, collection)
ORDER BY c.number, t.principal, t.signature;

DROP TABLE old_signature_principals;

CREATE INDEX signature_principals_signature
  ON signature_principals (number, signature, principal);

CREATE TABLE members (
  number      INTEGER NOT NULL, -- of the collection _groups of the bucket
  member      TEXT    NOT NULL,
  grp         TEXT    NOT NULL,
  PRIMARY KEY (number, member, grp)
) STRICT, WITHOUT ROWID;

INSERT INTO members (number, member, grp)
SELECT c.number, t.member, t.grp
FROM collections c CROSS JOIN old_members t ON t.bucket = c.bucket AND c.collection = '_groups'
ORDER BY c.number, t.member, t.grp;

DROP TABLE old_members;

CREATE UNIQUE INDEX members_grp ON members (number, grp, member);

-- When the head of a collection was where.
CREATE TABLE marks (
  number      INTEGER NOT NULL, -- of the collection
  seq         INTEGER NOT NULL,
  time        INTEGER NOT NULL,
  PRIMARY KEY (number, seq)
) STRICT, WITHOUT ROWID;

INSERT INTO marks (number, seq, time)
SELECT c.number, t.seq, t.time
FROM collections c CROSS JOIN old_marks t USING (bucket, collection) ORDER BY c.number, t.seq;

DROP TABLE old_marks;
