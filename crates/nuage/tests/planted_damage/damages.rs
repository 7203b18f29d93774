//! What is planted: the names are those of the data of the second form in `fixtures`.

/// Where, how, and what must be said of it or why nothing can be.
pub(super) type Damage = (&'static str, &'static str, &'static str);

/// Where (`-`: a row is missing, `+`: there is one too many), how, and what must be said of it; after
/// a bar, what may be said instead where rows have no names of collections but numbers.
pub(super) const DAMAGES: &[Damage] = &[
    // What the store says of itself.
    ("meta-", "DELETE FROM meta WHERE key = 'store'", "the store has no name"),
    ("meta.key", "UPDATE meta SET key = 'other' WHERE key = 'store'", "the store has no name"),
    (
        "meta.value",
        "UPDATE meta SET value = substr(value, 2) || 'x' WHERE key = 'store'",
        "the store has no name",
    ),
    // Collections.
    (
        "collections-",
        "DELETE FROM collections WHERE collection = 'notes'",
        "(26) lie in a collection that does not exist",
    ),
    (
        "collections+",
        "INSERT INTO collections (bucket, collection, incarnation, seq, timestamp, gc_seq, live,
            tombstones, chosen, gone, dropped, names, named, nested)
        SELECT bucket, 'more', incarnation, seq, timestamp, gc_seq, live, tombstones, chosen,
            gone, dropped, names, named, nested FROM collections WHERE collection = 'notes'",
        "collection blog/more counts 23 live records and 3 tombstones, but has 0 and 0",
    ),
    (
        "collections.bucket",
        "UPDATE collections SET bucket = 'other' WHERE collection = 'notes'",
        "records of blog/notes (26) lie in a collection that does not exist\
        |collection other/notes has 26 records, but the bucket has no such collection",
    ),
    (
        "collections.collection",
        "UPDATE collections SET collection = 'other' WHERE collection = 'notes'",
        "but the bucket has no such collection",
    ),
    (
        "collections.incarnation",
        "UPDATE collections SET incarnation = substr(incarnation, 2) WHERE collection = 'notes'",
        "collection blog/notes has the incarnation",
    ),
    (
        "collections.incarnation",
        "UPDATE collections SET incarnation = (SELECT substr(signature, 1, 8) FROM named_signatures
            WHERE collection = 'posts' ORDER BY signature DESC LIMIT 1)
        WHERE collection = 'notes'",
        "collection blog/notes has the incarnation",
    ),
    (
        "collections.seq",
        "UPDATE collections SET seq = seq - 1, timestamp = NULL WHERE collection = 'notes'",
        "beyond the head",
    ),
    (
        "collections.seq",
        "UPDATE collections SET seq = -1 WHERE collection = 'empty'",
        "collection blog/empty is at -1",
    ),
    (
        "collections.seq",
        "UPDATE collections SET seq = 9007199254740992 WHERE collection = 'empty'",
        "collection blog/empty is at 9007199254740992",
    ),
    (
        "collections.timestamp",
        "UPDATE collections SET timestamp = 1000 WHERE collection = 'notes'",
        "beyond the time of its collection, 1000",
    ),
    (
        "collections.timestamp",
        "UPDATE collections SET timestamp = seq WHERE collection = 'notes'",
        "collection blog/notes shows the time",
    ),
    (
        "collections.gc_seq",
        "UPDATE collections SET gc_seq = -1 WHERE collection = 'notes'",
        "with its horizon at -1",
    ),
    (
        "collections.gc_seq",
        "UPDATE collections SET gc_seq = seq + 1 WHERE collection = 'notes'",
        "collection blog/notes has its horizon",
    ),
    (
        "collections.gc_seq",
        "UPDATE collections SET gc_seq = seq WHERE collection = 'notes'",
        "which is not within the horizon",
    ),
    (
        "collections.live",
        "UPDATE collections SET live = live + 1 WHERE collection = 'notes'",
        "collection blog/notes counts 24 live records",
    ),
    (
        "collections.live",
        "UPDATE collections SET live = -1 WHERE collection = 'closed'",
        "collection blog/closed counts -1 live records",
    ),
    (
        "collections.tombstones",
        "UPDATE collections SET tombstones = 0 WHERE collection = 'notes'",
        "23 live records and 0 tombstones, but has 23 and 3",
    ),
    (
        "collections.chosen",
        "UPDATE collections SET chosen = chosen - 1 WHERE collection = 'times'",
        "collection blog/times counts 3 records with a time of their own, but has 4",
    ),
    (
        "collections.gone",
        "UPDATE collections SET gone = gone + 1 WHERE collection = 'notes'",
        "collection blog/notes counts 17 ended residencies, but has 16",
    ),
    (
        "collections.dropped",
        "UPDATE collections SET dropped = true WHERE collection = 'notes'",
        "records of blog/notes (26) lie in a collection that does not exist",
    ),
    (
        "collections.names",
        "UPDATE collections SET names = names + 1 WHERE collection = 'notes'",
        "collection blog/notes counts 7 groups that are named there, but has 6",
    ),
    (
        "collections.named",
        "UPDATE collections SET named = 2 WHERE collection = 'notes'",
        "collection blog/notes counts 6 groups that are named there, but only 2 times",
    ),
    (
        "collections.nested",
        "UPDATE collections SET nested = 0 WHERE collection = '_groups'",
        "bucket blog has groups in groups, but counts 0 changes of them",
    ),
    (
        "collections.nested",
        "UPDATE collections SET nested = -1 WHERE collection = 'notes'",
        "collection blog/notes counts -1 changes of groups in groups",
    ),
    (
        "collections.nested",
        "UPDATE collections SET nested = 1 WHERE collection = 'notes'",
        "collection blog/notes counts 1 changes of groups in groups",
    ),
    // Records.
    ("records-", "DELETE FROM named_records WHERE id = 'private'", "but has 22 and 3"),
    (
        "records-",
        "DELETE FROM named_records WHERE bucket = '' AND id = 'blog'",
        "bucket blog does not exist",
    ),
    (
        "records-",
        "DELETE FROM named_records WHERE collection = '_collections' AND id = 'notes'",
        "but the bucket has no such collection",
    ),
    (
        "records-",
        "DELETE FROM named_records WHERE collection = '_groups' AND id = 'editors'",
        "group blog/editors does not exist, but has 1 members",
    ),
    (
        "records+",
        "INSERT INTO named_records (bucket, collection, id, seq, timestamp, signature, entered, dead,
            permissions, body)
        SELECT bucket, collection, 'more', 7, NULL, signature, 7, dead, permissions, body
        FROM named_records WHERE id = 'private'",
        "but has 24 and 3",
    ),
    (
        "records.bucket",
        "UPDATE named_records SET bucket = 'other' WHERE id = 'private'",
        "(1) lie in a collection that does not exist",
    ),
    (
        "records.collection",
        "UPDATE named_records SET collection = 'posts' WHERE id = 'private'",
        "but has 8 and 2",
    ),
    ("records.id", "UPDATE named_records SET id = 'other' WHERE id = 'private'", "the sum of digests"),
    (
        "records.seq",
        "UPDATE named_records SET seq = 9007199254740992 WHERE id = 'private'",
        "record blog/notes/private is at position 9007199254740992, beyond the head",
    ),
    (
        "records.seq",
        "UPDATE named_records SET seq = -2, entered = -3 WHERE id = 'private'",
        "record blog/notes/private is at -2, entered at -3",
    ),
    ("records.seq", "UPDATE named_records SET seq = seq + 1 WHERE id = 'new'", "the sum of digests"),
    (
        "records.seq",
        "DROP INDEX records_seq;
        UPDATE named_records SET seq = (SELECT seq FROM named_records WHERE id = 'new') WHERE id = 'private';
        CREATE INDEX records_seq ON records (PLACE, seq)",
        "records of blog/notes share the position",
    ),
    (
        "records.timestamp",
        "UPDATE named_records SET timestamp = NULL WHERE id = 'same-1'",
        "counts 4 records with a time of their own, but has 3",
    ),
    (
        "records.timestamp",
        "UPDATE named_records SET timestamp = -5 WHERE id = 'same-1'",
        "the sum of digests",
    ),
    (
        "records.timestamp",
        "UPDATE named_records SET timestamp = seq WHERE id = 'same-1'",
        "record blog/times/same-1 shows the time",
    ),
    (
        "records.timestamp",
        "UPDATE named_records SET timestamp = (SELECT seq FROM named_records WHERE id = 'between')
        WHERE id = 'same-1'",
        "records of blog/times share the time",
    ),
    (
        "records.signature",
        "UPDATE named_records SET signature = (SELECT name FROM views ORDER BY name LIMIT 1)
        WHERE id = 'private'",
        "record blog/notes/private has the unknown signature",
    ),
    (
        "records.signature",
        "UPDATE named_records SET signature = substr(signature, 2) WHERE id = 'private'",
        "record blog/notes/private has the unknown signature",
    ),
    (
        "records.signature",
        "UPDATE named_records SET signature = (SELECT signature FROM named_records WHERE id = 'for-all')
        WHERE id = 'private'",
        "record blog/notes/private is listed for others than its permissions let read",
    ),
    (
        "records.entered",
        "UPDATE named_records SET entered = seq + 1 WHERE id = 'private'",
        "record blog/notes/private is at position",
    ),
    (
        "records.entered",
        "UPDATE named_records SET entered = 0 WHERE id = 'private'",
        "entered at 0, which is no position",
    ),
    (
        "records.entered",
        "UPDATE named_records SET entered = seq WHERE id = 'dead'",
        "record blog/notes/dead is at position",
    ),
    (
        "records.entered",
        "UPDATE named_records SET entered = 1 WHERE id = 'restless'",
        "after it had entered the next at 1",
    ),
    ("records.dead", "UPDATE named_records SET dead = NOT dead WHERE id = 'private'", "has 22 and 4"),
    ("records.dead", "UPDATE named_records SET dead = NOT dead WHERE id = 'dead'", "has 24 and 2"),
    (
        "records.permissions",
        "UPDATE named_records SET permissions = '{\"read\":1}' WHERE id = 'private'",
        "record blog/notes/private has permissions that cannot be read",
    ),
    (
        "records.permissions",
        "UPDATE named_records SET permissions = '{}' WHERE id = 'private'",
        "record blog/notes/private is listed for others than its permissions let read",
    ),
    (
        "records.permissions",
        "UPDATE named_records SET permissions = '{\"read\":[\"account:bob\"]}' WHERE id = 'dead'",
        "record blog/notes/dead was deleted, but still has",
    ),
    (
        "records.body",
        "UPDATE named_records SET body = '[1]' WHERE id = 'private'",
        "record blog/notes/private has a body that is not a JSON object",
    ),
    (
        "records.body",
        "UPDATE named_records SET body = substr(body, 1, 100000) WHERE id = 'large'",
        "record blog/notes/large has a body that is not a JSON object",
    ),
    (
        "records.body",
        "UPDATE named_records SET body = '' WHERE id = 'dead'",
        "record blog/notes/dead was deleted, but still has",
    ),
    (
        "records.body",
        "UPDATE named_records SET body = '{}' WHERE collection = '_groups' AND id = 'editors'",
        "group blog/editors lists other members",
    ),
    // Ended residencies.
    (
        "gone-",
        "DELETE FROM named_gone WHERE id = 'of-bob' AND entered = (
            SELECT min(entered) FROM named_gone WHERE id = 'of-bob')",
        "collection blog/notes counts 16 ended residencies, but has 15",
    ),
    (
        "gone+",
        "INSERT INTO named_gone (bucket, collection, seq, id, signature, entered)
        SELECT bucket, collection, seq, 'private', signature, entered
        FROM named_gone WHERE id = 'for-bob'",
        "collection blog/notes counts 16 ended residencies, but has 17",
    ),
    (
        "gone.bucket",
        "UPDATE named_gone SET bucket = 'other' WHERE id = 'for-bob'",
        "within the horizon of any collection|gone of number -1 (1) lie",
    ),
    (
        "gone.collection",
        "UPDATE named_gone SET collection = 'posts' WHERE id = 'for-bob'",
        "collection blog/posts counts 1 ended residencies, but has 2",
    ),
    (
        "gone.seq",
        "UPDATE named_gone SET seq = seq + 1 WHERE id = 'for-bob'",
        "record blog/notes/for-bob left a signature at",
    ),
    (
        "gone.seq",
        "UPDATE named_gone SET seq = -1, entered = -2 WHERE id = 'for-bob'",
        "record blog/notes/for-bob left a signature at -1",
    ),
    ("gone.id", "UPDATE named_gone SET id = 'other' WHERE id = 'for-bob'", "but there is no such record"),
    (
        "gone.signature",
        "UPDATE named_gone SET signature = (SELECT name FROM views ORDER BY name LIMIT 1)
        WHERE id = 'for-bob'",
        "record blog/notes/for-bob had the unknown signature",
    ),
    (
        "gone.entered",
        "UPDATE named_gone SET entered = seq WHERE id = 'for-bob'",
        "record blog/notes/for-bob left a signature at",
    ),
    (
        "gone.entered",
        "UPDATE named_gone SET entered = -1 WHERE id = 'for-bob'",
        "that it entered at -1, which is no position",
    ),
    (
        "gone.entered",
        "UPDATE named_gone SET entered = 1 WHERE id = 'restless'",
        "record blog/notes/restless had one signature twice",
    ),
    // Sets of readers.
    (
        "signatures-",
        "DELETE FROM named_signatures WHERE collection = 'notes'",
        "record blog/notes/private has the unknown signature",
    ),
    (
        "signatures+",
        "INSERT INTO named_signatures (bucket, collection, signature, live, digest, held, top)
        SELECT 'blog', 'notes', name, 0, 0, 0, 0 FROM views ORDER BY name LIMIT 1",
        "of blog/notes does not name the principals",
    ),
    (
        "signatures+",
        "INSERT INTO named_signatures (bucket, collection, signature, live, digest, held, top)
        SELECT bucket, 'closed', signature, 0, 0, 0, 0
        FROM named_signatures WHERE collection = 'notes'",
        "signatures of blog/closed|signatures of number -1 (",
    ),
    (
        "signatures.bucket",
        "UPDATE named_signatures SET bucket = 'other' WHERE collection = 'notes'",
        "are kept for a collection that does not exist|signatures of number -1 (",
    ),
    (
        "signatures.collection",
        "UPDATE named_signatures SET collection = 'closed' WHERE collection = 'notes'",
        "signatures of blog/closed|signatures of number -1 (",
    ),
    (
        "signatures.signature",
        "UPDATE named_signatures SET signature = (SELECT name FROM views ORDER BY name LIMIT 1)
        WHERE collection = 'notes' AND signature = (
            SELECT signature FROM named_records WHERE id = 'private')",
        "of blog/notes does not name the principals",
    ),
    (
        "signatures.signature",
        "UPDATE named_signatures SET signature = substr(signature, 2) WHERE collection = 'notes'",
        "not everything can be read",
    ),
    (
        "signatures.live",
        "UPDATE named_signatures SET live = live + 1 WHERE collection = 'notes'",
        "live records, but",
    ),
    (
        "signatures.live",
        "UPDATE named_signatures SET live = -1 WHERE collection = 'notes' AND live = 0",
        "counts -1 live records, but 0 have it",
    ),
    (
        "signatures.digest",
        "UPDATE named_signatures SET digest = digest + 1 WHERE collection = 'notes'",
        "of blog/notes keeps the sum of digests",
    ),
    (
        "signatures.digest",
        "UPDATE named_signatures SET digest = -1 WHERE collection = 'notes' AND live = 0",
        "keeps the sum of digests -1, but its records have 0",
    ),
    (
        "signatures.held",
        "UPDATE named_signatures SET held = held - 1 WHERE collection = 'notes'",
        " that have it, but ",
    ),
    (
        "signatures.held",
        "UPDATE named_signatures SET held = -1 WHERE collection = 'notes' AND live = 0",
        "of blog/notes counts -1 that have it, but ",
    ),
    (
        "signatures.top",
        "UPDATE named_signatures SET top = top - 1 WHERE collection = 'notes' AND live > 0",
        " at most, but ",
    ),
    (
        "signatures.top",
        "UPDATE named_signatures SET top = top + 1000000000000 WHERE collection = 'notes'",
        " is the position",
    ),
    (
        "signature_principals-",
        "DELETE FROM named_signature_principals WHERE collection = 'notes' AND principal = 'account:dave'",
        "of blog/notes does not name the principals",
    ),
    (
        "signature_principals+",
        "INSERT INTO named_signature_principals (bucket, collection, principal, signature)
        SELECT bucket, collection, 'system.Everyone', signature FROM named_records
        WHERE id = 'private'",
        "of blog/notes does not name the principals",
    ),
    (
        "signature_principals.bucket",
        "UPDATE named_signature_principals SET bucket = 'other' WHERE collection = 'notes'",
        "is listed under the unknown signature|signature_principals of number -1 (",
    ),
    (
        "signature_principals.collection",
        "UPDATE named_signature_principals SET collection = 'closed' WHERE collection = 'notes'",
        "is listed under the unknown signature|signature_principals of number -1 (",
    ),
    (
        "signature_principals.principal",
        "UPDATE named_signature_principals SET principal = 'account:eve'
        WHERE collection = 'notes' AND principal = 'account:dave'",
        "principal account:eve may read records of blog/notes, but the directory",
    ),
    (
        "signature_principals.signature",
        "UPDATE named_signature_principals
        SET signature = (SELECT name FROM views ORDER BY name LIMIT 1)
        WHERE collection = 'notes' AND signature = (
            SELECT signature FROM named_records WHERE id = 'may-delete')
        AND principal = 'account:dave'",
        "principal account:dave is listed under the unknown signature",
    ),
    // Groups that they name.
    (
        "names-",
        "DELETE FROM named_names WHERE collection = 'notes' AND grp = 'editors'",
        "signatures of blog/notes name /buckets/blog/groups/editors, but it is not among the names",
    ),
    (
        "names-",
        "DELETE FROM named_names WHERE collection = 'notes' AND grp = 'editors'",
        "collection blog/notes counts 6 groups that are named there, but has 5",
    ),
    (
        "names+",
        "INSERT INTO named_names (bucket, collection, grp_bucket, grp, signatures, since, ordinal)
        SELECT bucket, collection, grp_bucket, 'more', 1, 0, 1 FROM named_names
        WHERE collection = 'notes' AND grp = 'editors'",
        "group blog/more is named in blog/notes by 1 signatures, but 0 name it",
    ),
    (
        "names.bucket",
        "UPDATE named_names SET bucket = 'none' WHERE collection = 'notes'",
        "group blog/editors is named in none/notes since 0, which is not within its positions\
        |names of number -1 (6) lie in a collection that does not exist",
    ),
    (
        "names.collection",
        "UPDATE named_names SET collection = 'posts' WHERE collection = 'notes'",
        "group blog/editors is named in blog/posts by",
    ),
    (
        "names.grp_bucket",
        "UPDATE named_names SET grp_bucket = 'none' WHERE collection = 'notes'",
        "signatures of blog/notes name /buckets/blog/groups/editors, but it is not among the names",
    ),
    (
        "names.grp",
        "UPDATE named_names SET grp = 'none' WHERE collection = 'notes' AND grp = 'editors'",
        "group blog/none is named in blog/notes by 2 signatures, but 0 name it",
    ),
    (
        "names.signatures",
        "UPDATE named_names SET signatures = signatures + 1
        WHERE collection = 'notes' AND grp = 'editors'",
        "group blog/editors is named in blog/notes by 3 signatures, but 2 name it",
    ),
    (
        "names.since",
        "UPDATE named_names SET since = 9007199254740991 WHERE collection = 'notes'",
        "group blog/editors is named in blog/notes since 9007199254740991, which is not within",
    ),
    (
        "names.since",
        "UPDATE named_names SET since = -1 WHERE collection = 'notes'",
        "group blog/editors is named in blog/notes since -1, which is not within its positions",
    ),
    (
        "names.ordinal",
        "UPDATE named_names SET ordinal = 7 WHERE collection = 'notes' AND grp = 'editors'",
        "group blog/editors has the number 7 among the names of blog/notes, of which 6 came",
    ),
    (
        "names.ordinal",
        "UPDATE named_names SET ordinal = 0 WHERE collection = 'notes' AND grp = 'editors'",
        "group blog/editors has the number 0 among the names of blog/notes",
    ),
    (
        "names.ordinal",
        "UPDATE named_names SET ordinal = 1 WHERE collection = 'notes'",
        "groups that are named in blog/notes share the number 1",
    ),
    // Groups.
    (
        "members-",
        "DELETE FROM named_members WHERE grp = 'editors'",
        "group blog/editors lists other members",
    ),
    (
        "members+",
        "INSERT INTO named_members (bucket, member, grp) VALUES ('blog', 'account:dave', 'empty')",
        "group blog/empty lists other members",
    ),
    (
        "members+",
        "INSERT INTO named_members (bucket, member, grp) VALUES ('blog', 'account:dave', 'none')",
        "group blog/none does not exist, but has 1 members",
    ),
    (
        "members.bucket",
        "UPDATE named_members SET bucket = 'other' WHERE grp = 'editors'",
        "group other/editors does not exist|members of number -1 (",
    ),
    (
        "members.member",
        "UPDATE named_members SET member = 'account:eve' WHERE grp = 'editors'",
        "group blog/editors has the member account:eve, but the directory does not say so",
    ),
    (
        "members.grp",
        "UPDATE named_members SET grp = 'empty' WHERE grp = 'editors'",
        "group blog/empty lists other members",
    ),
    // Where to look.
    (
        "directory_groups-",
        "DELETE FROM directory_groups WHERE member = 'account:carol'",
        "has the member account:carol, but the directory does not say so",
    ),
    (
        "directory_groups.member",
        "UPDATE directory_groups SET member = 'account:eve' WHERE member = 'account:carol'",
        "has the member account:carol, but the directory does not say so",
    ),
    (
        "directory_groups.bucket",
        "UPDATE directory_groups SET bucket = 'again' WHERE member = 'account:carol'",
        "has the member account:carol, but the directory does not say so",
    ),
    (
        "directory_collections-",
        "DELETE FROM directory_collections WHERE collection = 'notes'",
        "may read records of blog/notes, but the directory does not say so",
    ),
    (
        "directory_collections.principal",
        "UPDATE directory_collections SET principal = 'account:eve'
        WHERE collection = 'notes' AND principal = 'account:dave'",
        "principal account:dave may read records of blog/notes, but the directory",
    ),
    (
        "directory_collections.bucket",
        "UPDATE directory_collections SET bucket = 'other' WHERE collection = 'notes'",
        "may read records of blog/notes, but the directory does not say so",
    ),
    (
        "directory_collections.collection",
        "UPDATE directory_collections SET collection = 'closed' WHERE collection = 'notes'",
        "may read records of blog/notes, but the directory does not say so",
    ),
    // Views.
    (
        "views.name",
        "UPDATE views SET name = substr(name, 2)",
        "has a name that is not of sixteen bytes",
    ),
    (
        "views.name",
        "UPDATE views SET name = (SELECT signature FROM named_records WHERE id = 'private')
        WHERE person = 'account:carol'",
        "has the name of other groups than it has",
    ),
    ("views.groups", "UPDATE views SET groups = '{}'", "has groups that cannot be read"),
    ("views.groups", "UPDATE views SET groups = '[1]'", "has groups that cannot be read"),
    (
        "views.groups",
        "UPDATE views SET groups = '[\"/buckets/blog/groups/none\"]'",
        "has the name of other groups than it has",
    ),
    ("views.used", "UPDATE views SET used = -1", "was used at -1, which is no time"),
    // Notes of the head.
    (
        "marks+",
        "INSERT INTO named_marks (bucket, collection, seq, time) VALUES ('blog', 'none', 1, 1)",
        "the head of blog/none is noted to have been at 1 at the time 1, which cannot be|marks of number -1 (",
    ),
    (
        "marks.bucket",
        "INSERT INTO named_marks (bucket, collection, seq, time)
        SELECT 'other', collection, seq, 1 FROM collections WHERE collection = 'notes'",
        "the head of other/notes is noted|marks of number -1 (",
    ),
    (
        "marks.collection",
        "INSERT INTO named_marks (bucket, collection, seq, time)
        SELECT bucket, 'other', seq, 1 FROM collections WHERE collection = 'notes'",
        "the head of blog/other is noted|marks of number -1 (",
    ),
    (
        "marks.seq",
        "INSERT INTO named_marks (bucket, collection, seq, time)
        SELECT bucket, collection, seq + 1, 1 FROM collections WHERE collection = 'notes'",
        "the head of blog/notes is noted",
    ),
    (
        "marks.time",
        "INSERT INTO named_marks (bucket, collection, seq, time)
        SELECT bucket, collection, seq, -1 FROM collections WHERE collection = 'notes'",
        "at the time -1, which cannot be",
    ),
];

/// The same, where only SQLite takes such a value, or has such a column.
pub(super) const DAMAGES_OF_SQLITE: &[Damage] = &[
    (
        "collections.number",
        "UPDATE collections SET number = 1000 WHERE collection = 'notes'",
        "(26) lie in a collection that does not exist",
    ),
    (
        "dropped+",
        "INSERT INTO dropped SELECT number, bucket, collection, '' FROM collections
        WHERE collection = 'notes'",
        "collection blog/notes has the number",
    ),
    (
        "dropped-",
        "UPDATE records SET number = 1000 WHERE id = 'private'",
        "records of number 1000 (1) lie in a collection that does not exist",
    ),
    (
        "dropped.number",
        "UPDATE records SET number = 1000 WHERE id = 'private';
        INSERT INTO dropped VALUES (1001, 'blog', 'notes', '')",
        "records of number 1000 (1) lie in a collection that does not exist",
    ),
    (
        "collections.dropped",
        "UPDATE collections SET dropped = 2 WHERE collection = 'closed'",
        "collection blog/closed is neither there nor dropped",
    ),
    (
        "records.dead",
        "UPDATE named_records SET dead = 2 WHERE id = 'private'",
        "record blog/notes/private is neither alive nor a tombstone",
    ),
];

/// What is no damage where there are numbers: the directory says more than it must.
pub(super) const HARMLESS_ON_SQLITE: &[Damage] = &[
    (
        "dropped.bucket",
        "INSERT INTO dropped VALUES (1000, 'other', 'notes', '')",
        "an entry may outlive its reason",
    ),
    (
        "dropped.collection",
        "INSERT INTO dropped VALUES (1000, 'blog', 'other', '')",
        "an entry may outlive its reason",
    ),
    (
        "dropped.looked_at",
        "INSERT INTO dropped VALUES (1000, 'blog', 'notes', 'z')",
        "an entry may outlive its reason",
    ),
];

/// What is no damage: nobody can tell it from sound data, and it does no harm.
pub(super) const HARMLESS: &[Damage] = &[
    ("meta+", "INSERT INTO meta (key, value) VALUES ('x', 'y')", "newer programs may note more"),
    (
        "directory_groups+",
        "INSERT INTO directory_groups (member, bucket) VALUES ('account:eve', 'again')",
        "an entry may outlive its reason",
    ),
    (
        "directory_collections+",
        "INSERT INTO directory_collections (principal, bucket, collection)
        VALUES ('account:eve', 'again', 'c')",
        "an entry may outlive its reason",
    ),
    ("views-", "DELETE FROM views", "a device begins afresh"),
    (
        "marks-",
        "INSERT INTO named_marks (bucket, collection, seq, time)
        SELECT bucket, collection, seq, 1 FROM collections WHERE collection = 'notes'",
        "and without it, what ended is forgotten later",
    ),
    (
        "views+",
        "INSERT INTO views (bucket, person, name, groups, used)
        SELECT bucket, 'account:eve', name, groups, used FROM views WHERE person = 'account:bob'",
        "views go when they were not used for long",
    ),
    ("views.bucket", "UPDATE views SET bucket = 'again'", "a device begins afresh"),
    (
        "views.person",
        "UPDATE views SET person = 'account:eve' WHERE person = 'account:carol'",
        "a device begins afresh",
    ),
];
