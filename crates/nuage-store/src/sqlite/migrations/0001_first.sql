-- Times are milliseconds since 1970 in UTC. A position (seq) is the time of a change, moved up
-- where needed so that positions of a collection strictly increase.

CREATE TABLE meta (
  key   TEXT NOT NULL PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO meta (key, value) VALUES ('store', lower(hex(randomblob(16))));

-- The bucket '' is the root: it holds _buckets and _accounts.
CREATE TABLE collections (
  bucket      TEXT    NOT NULL,
  collection  TEXT    NOT NULL,
  incarnation BLOB    NOT NULL, -- its first position, as eight bytes
  seq         INTEGER NOT NULL, -- position of its last change
  timestamp   INTEGER,          -- the time shown, where it is not seq
  gc_seq      INTEGER NOT NULL, -- what happened up to here is no longer told
  live        INTEGER NOT NULL, -- number of live records
  tombstones  INTEGER NOT NULL, -- number of dead ones
  chosen      INTEGER NOT NULL, -- number of records, live or dead, with a timestamp of their own
  dropped     INTEGER NOT NULL, -- 1: there is no such collection, but a later one goes on from seq
  PRIMARY KEY (bucket, collection)
) STRICT, WITHOUT ROWID;

CREATE TABLE records (
  bucket      TEXT    NOT NULL,
  collection  TEXT    NOT NULL,
  id          TEXT    NOT NULL,
  seq         INTEGER NOT NULL, -- position of its last change
  timestamp   INTEGER,          -- the time shown, where it is not seq
  signature   BLOB    NOT NULL, -- names the set of principals that its permissions let read
  entered     INTEGER NOT NULL, -- position at which it got that signature
  dead        INTEGER NOT NULL, -- 1: a tombstone
  permissions TEXT    NOT NULL, -- JSON object of lists of principals
  body        TEXT    NOT NULL, -- JSON object
  PRIMARY KEY (bucket, collection, id)
) STRICT;

CREATE UNIQUE INDEX records_seq ON records (bucket, collection, seq);
CREATE INDEX records_signature ON records (bucket, collection, signature, seq);
CREATE UNIQUE INDEX records_timestamp ON records (bucket, collection, timestamp)
  WHERE timestamp IS NOT NULL;

-- Residencies that ended: from entered until seq, the record had this signature.
CREATE TABLE gone (
  bucket      TEXT    NOT NULL,
  collection  TEXT    NOT NULL,
  seq         INTEGER NOT NULL,
  id          TEXT    NOT NULL,
  signature   BLOB    NOT NULL,
  entered     INTEGER NOT NULL,
  PRIMARY KEY (bucket, collection, seq, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX gone_signature ON gone (bucket, collection, signature, seq);

CREATE TABLE signatures (
  bucket      TEXT    NOT NULL,
  collection  TEXT    NOT NULL,
  signature   BLOB    NOT NULL,
  live        INTEGER NOT NULL, -- number of live records that have it
  PRIMARY KEY (bucket, collection, signature)
) STRICT, WITHOUT ROWID;

CREATE TABLE signature_principals (
  bucket      TEXT    NOT NULL,
  collection  TEXT    NOT NULL,
  principal   TEXT    NOT NULL,
  signature   BLOB    NOT NULL,
  PRIMARY KEY (bucket, collection, principal, signature)
) STRICT, WITHOUT ROWID;

CREATE TABLE members (
  bucket      TEXT    NOT NULL,
  member      TEXT    NOT NULL,
  grp         TEXT    NOT NULL,
  PRIMARY KEY (bucket, member, grp)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX members_grp ON members (bucket, grp, member);

-- The directory says in which buckets to look for the groups of a member, and in which
-- collections for records that a principal may read. An entry may outlive its reason.
CREATE TABLE directory_groups (
  member      TEXT    NOT NULL,
  bucket      TEXT    NOT NULL,
  PRIMARY KEY (member, bucket)
) STRICT, WITHOUT ROWID;

CREATE INDEX directory_groups_bucket ON directory_groups (bucket, member);

CREATE TABLE directory_collections (
  principal   TEXT    NOT NULL,
  bucket      TEXT    NOT NULL,
  collection  TEXT    NOT NULL,
  PRIMARY KEY (principal, bucket, collection)
) STRICT, WITHOUT ROWID;

CREATE INDEX directory_collections_bucket
  ON directory_collections (bucket, collection, principal);
