-- Times are milliseconds since 1970 in UTC. A position (seq) is the time of a change, moved up
-- where needed so that positions of a collection strictly increase.
--
-- The bucket comes first in every key, so that buckets can be spread over machines. The two
-- directory tables are the exception: they say in which buckets to look.
--
-- No foreign keys, triggers, functions or SQL sequences.

CREATE TABLE meta (
  key   text COLLATE "C" NOT NULL PRIMARY KEY,
  value text COLLATE "C" NOT NULL
);

-- The bucket '' is the root: it holds _buckets and _accounts.
CREATE TABLE collections (
  bucket      text COLLATE "C" NOT NULL,
  collection  text COLLATE "C" NOT NULL,
  incarnation bytea   NOT NULL, -- its first position, as eight bytes
  seq         bigint  NOT NULL, -- position of its last change
  timestamp   bigint,           -- the time shown, where it is not seq
  gc_seq      bigint  NOT NULL, -- what happened up to here is no longer told
  live        bigint  NOT NULL, -- number of live records
  tombstones  bigint  NOT NULL, -- number of dead ones
  chosen      bigint  NOT NULL, -- number of records, live or dead, with a timestamp of their own
  dropped     boolean NOT NULL, -- there is no such collection, but a later one goes on from seq
  PRIMARY KEY (bucket, collection)
) WITH (fillfactor = 50);

CREATE TABLE records (
  bucket      text COLLATE "C" NOT NULL,
  collection  text COLLATE "C" NOT NULL,
  id          text COLLATE "C" NOT NULL,
  seq         bigint  NOT NULL, -- position of its last change
  timestamp   bigint,           -- the time shown, where it is not seq
  signature   bytea   NOT NULL, -- names the set of principals that its permissions let read
  entered     bigint  NOT NULL, -- position at which it got that signature
  dead        boolean NOT NULL, -- a tombstone
  permissions text COLLATE "C" NOT NULL, -- JSON object of lists of principals
  body        text COLLATE "C" NOT NULL, -- JSON object
  PRIMARY KEY (bucket, collection, id)
);

CREATE UNIQUE INDEX records_seq ON records (bucket, collection, seq);
CREATE INDEX records_signature ON records (bucket, collection, signature, seq);
CREATE UNIQUE INDEX records_timestamp ON records (bucket, collection, timestamp)
  WHERE timestamp IS NOT NULL;

-- Residencies that ended: from entered until seq, the record had this signature.
CREATE TABLE gone (
  bucket      text COLLATE "C" NOT NULL,
  collection  text COLLATE "C" NOT NULL,
  seq         bigint NOT NULL,
  id          text COLLATE "C" NOT NULL,
  signature   bytea  NOT NULL,
  entered     bigint NOT NULL,
  PRIMARY KEY (bucket, collection, seq, id)
);

CREATE INDEX gone_signature ON gone (bucket, collection, signature, seq);

CREATE TABLE signatures (
  bucket      text COLLATE "C" NOT NULL,
  collection  text COLLATE "C" NOT NULL,
  signature   bytea  NOT NULL,
  live        bigint NOT NULL, -- number of live records that have it
  PRIMARY KEY (bucket, collection, signature)
) WITH (fillfactor = 50);

CREATE TABLE signature_principals (
  bucket      text COLLATE "C" NOT NULL,
  collection  text COLLATE "C" NOT NULL,
  principal   text COLLATE "C" NOT NULL,
  signature   bytea NOT NULL,
  PRIMARY KEY (bucket, collection, principal, signature)
);

CREATE TABLE members (
  bucket      text COLLATE "C" NOT NULL,
  member      text COLLATE "C" NOT NULL,
  grp         text COLLATE "C" NOT NULL,
  PRIMARY KEY (bucket, member, grp)
);

CREATE UNIQUE INDEX members_grp ON members (bucket, grp, member);

-- The directory says in which buckets to look for the groups of a member, and in which
-- collections for records that a principal may read. An entry may outlive its reason.
CREATE TABLE directory_groups (
  member      text COLLATE "C" NOT NULL,
  bucket      text COLLATE "C" NOT NULL,
  PRIMARY KEY (member, bucket)
);

CREATE INDEX directory_groups_bucket ON directory_groups (bucket, member);

CREATE TABLE directory_collections (
  principal   text COLLATE "C" NOT NULL,
  bucket      text COLLATE "C" NOT NULL,
  collection  text COLLATE "C" NOT NULL,
  PRIMARY KEY (principal, bucket, collection)
);

CREATE INDEX directory_collections_bucket
  ON directory_collections (bucket, collection, principal);
