//! Everything that can be wrong in the data, as far as it is told alike on every database.
//!
//! Each rule is one question to the tables, whose every answer is a finding in one sentence; what
//! SQL cannot decide (hashes, JSON) is decided row by row. The words for a binary value in hexadecimal
//! digits differ, [`signature_rules`], and those for the collection of a row, [`in_words`].

use std::collections::BTreeSet;

use nuage_model::{
    DIGEST_MODULUS, Finding, Permissions, Principal, Readers, RecordId, Signature, Timestamp,
    digest,
};
use serde_json::Value;

/// Findings told of one rule; broken data can break a rule in every row.
pub(crate) const FINDINGS_MAX: usize = 100;

/// What a database says for the words of the rules that name the collection a row lies in.
pub(crate) struct Words {
    /// How the views begin in which a row has the names of its collection.
    pub(crate) named: &'static str,
    /// The columns that tell it from others, for `PLACE`.
    pub(crate) place: &'static [&'static str],
    /// What a text is like that has the parts of the principal of a group, for `IS_GROUP`.
    pub(crate) is_group: &'static str,
}

/// A rule in the words of a database: `SAME(a, b)` says that two rows lie in one collection.
pub(crate) fn in_words(rule: &str, words: &Words) -> String {
    let mut said = String::new();
    let mut rest = rule;
    while let Some((before, after)) = rest.split_once("SAME(") {
        let (pair, after) = after.split_once(')').unwrap_or((after, ""));
        let (one, other) = pair.split_once(", ").unwrap_or((pair, pair));
        let same = words.place.iter().map(|column| format!("{one}.{column} = {other}.{column}"));
        said += before;
        said += &same.collect::<Vec<_>>().join(" AND ");
        rest = after;
    }
    said += rest;
    said.replace("PLACE", &words.place.join(", "))
        .replace("IS_GROUP", words.is_group)
        .replace("named_", words.named)
}

/// Questions in words that every database knows.
pub(crate) const RULES: &[&str] = &[
    "SELECT 'the store has no name, by which devices know it'
     WHERE NOT EXISTS (SELECT 1 FROM meta WHERE key = 'store' AND length(value) = 32
        AND trim(value, '0123456789abcdef') = '')",
    // Counters and positions of a collection.
    "SELECT 'collection ' || c.bucket || '/' || c.collection || ' counts ' || c.live ||
        ' live records and ' || c.tombstones || ' tombstones, but has ' ||
        coalesce(r.live, 0) || ' and ' || coalesce(r.tombstones, 0)
     FROM collections c LEFT JOIN (
        SELECT PLACE, count(*) FILTER (WHERE NOT dead) AS live,
            count(*) FILTER (WHERE dead) AS tombstones
        FROM records GROUP BY PLACE) r
     ON SAME(r, c)
     WHERE c.live <> coalesce(r.live, 0) OR c.tombstones <> coalesce(r.tombstones, 0)",
    "SELECT 'collection ' || c.bucket || '/' || c.collection || ' counts ' || c.chosen ||
        ' records with a time of their own, but has ' || coalesce(r.chosen, 0)
     FROM collections c LEFT JOIN (
        SELECT PLACE, count(timestamp) AS chosen
        FROM records GROUP BY PLACE) r
     ON SAME(r, c)
     WHERE c.chosen <> coalesce(r.chosen, 0)",
    "SELECT 'collection ' || c.bucket || '/' || c.collection || ' counts ' || c.gone ||
        ' ended residencies, but has ' || coalesce(g.gone, 0)
     FROM collections c LEFT JOIN (
        SELECT PLACE, count(*) AS gone FROM gone GROUP BY PLACE) g
     ON SAME(g, c)
     WHERE c.gone <> coalesce(g.gone, 0)",
    "SELECT 'record ' || r.bucket || '/' || r.collection || '/' || r.id || ' is at position ' ||
        r.seq || ', beyond the head ' || c.seq || ' of its collection'
     FROM named_records r JOIN collections c ON SAME(c, r)
     WHERE r.seq > c.seq",
    "SELECT 'record ' || r.bucket || '/' || r.collection || '/' || r.id || ' shows the time ' ||
        coalesce(r.timestamp, r.seq) || ', beyond the time of its collection, ' ||
        coalesce(c.timestamp, c.seq)
     FROM named_records r JOIN collections c ON SAME(c, r)
     WHERE coalesce(r.timestamp, r.seq) > coalesce(c.timestamp, c.seq)",
    "SELECT 'collection ' || bucket || '/' || collection || ' shows the time ' || timestamp ||
        ', which is not before its position ' || seq
     FROM collections WHERE timestamp >= seq",
    "SELECT 'collection ' || bucket || '/' || collection || ' has its horizon at ' || gc_seq ||
        ', beyond its head ' || seq
     FROM collections WHERE gc_seq > seq",
    // What was only locked is at 0, and dropped.
    "SELECT 'collection ' || bucket || '/' || collection || ' is at ' || seq ||
        ', with its horizon at ' || gc_seq || ', which is no position'
     FROM collections WHERE seq NOT BETWEEN 0 AND 9007199254740991 OR (seq = 0 AND NOT dropped)
        OR gc_seq < 0",
    "SELECT 'collection ' || bucket || '/' || collection || ' is neither there nor dropped'
     FROM collections WHERE CAST(dropped AS integer) NOT IN (0, 1)",
    "SELECT 'records of ' || bucket || '/' || collection || ' share the position ' || seq
     FROM named_records GROUP BY bucket, collection, seq HAVING count(*) > 1",
    "SELECT 'records of ' || bucket || '/' || collection || ' share the time ' ||
        coalesce(timestamp, seq)
     FROM named_records GROUP BY bucket, collection, coalesce(timestamp, seq)
     HAVING count(*) > 1",
    "SELECT 'record ' || bucket || '/' || collection || '/' || id || ' shows the time ' ||
        timestamp || ', which is not before its position ' || seq
     FROM named_records WHERE timestamp >= seq",
    // A tombstone that was brought by an import entered nothing.
    "SELECT 'record ' || bucket || '/' || collection || '/' || id || ' is at ' || seq ||
        ', entered at ' || entered || ', which is no position'
     FROM named_records WHERE seq < 1 OR entered < 0 OR (entered = 0 AND NOT dead)",
    "SELECT 'record ' || bucket || '/' || collection || '/' || id ||
        ' is neither alive nor a tombstone'
     FROM named_records WHERE CAST(dead AS integer) NOT IN (0, 1)",
    "SELECT 'record ' || bucket || '/' || collection || '/' || id ||
        ' was deleted, but still has a body or permissions'
     FROM named_records WHERE dead AND (body <> '{}' OR permissions <> '{}')",
    // Orphans.
    "SELECT 'records of ' || r.bucket || '/' || r.collection || ' (' || count(*) ||
        ') lie in a collection that does not exist'
     FROM named_records r LEFT JOIN collections c
     ON SAME(c, r) AND NOT c.dropped
     WHERE c.seq IS NULL GROUP BY r.bucket, r.collection",
    "SELECT 'collection ' || c.bucket || '/' || c.collection || ' has ' || (c.live + c.tombstones)
        || ' records, but the bucket has no such collection'
     FROM collections c LEFT JOIN named_records r
     ON r.bucket = c.bucket AND r.collection = '_collections' AND NOT r.dead
        AND r.id = CASE substr(c.collection, 1, 2)
            WHEN '__' THEN substr(c.collection, 2) ELSE c.collection END
     WHERE NOT c.dropped AND c.live + c.tombstones > 0 AND c.bucket <> ''
        AND (substr(c.collection, 1, 1) <> '_' OR substr(c.collection, 1, 2) = '__')
        AND r.id IS NULL",
    "SELECT 'bucket ' || c.bucket || ' does not exist, but its collection ' || c.collection ||
        ' has ' || (c.live + c.tombstones) || ' records'
     FROM collections c LEFT JOIN named_records r
     ON r.bucket = '' AND r.collection = '_buckets' AND r.id = c.bucket AND NOT r.dead
     WHERE NOT c.dropped AND c.live + c.tombstones > 0 AND c.bucket <> '' AND r.id IS NULL",
    "SELECT 'signatures of ' || s.bucket || '/' || s.collection || ' (' || count(*) ||
        ') are kept for a collection that does not exist'
     FROM named_signatures s LEFT JOIN collections c
     ON SAME(c, s) AND NOT c.dropped
     WHERE c.seq IS NULL GROUP BY s.bucket, s.collection",
    "SELECT 'principal ' || p.principal || ' may read records of ' || p.bucket || '/' ||
        p.collection || ', but the directory does not say so'
     FROM named_signature_principals p LEFT JOIN directory_collections d
     ON d.principal = p.principal AND d.bucket = p.bucket AND d.collection = p.collection
     WHERE d.principal IS NULL GROUP BY p.principal, p.bucket, p.collection",
    // Residencies.
    "SELECT 'record ' || bucket || '/' || collection || '/' || id || ' is at position ' || seq ||
        ', but entered its signature later, at ' || entered
     FROM named_records WHERE entered > seq OR (dead AND entered = seq)",
    "SELECT 'record ' || bucket || '/' || collection || '/' || id || ' left a signature at ' ||
        seq || ' that it entered no earlier, at ' || entered
     FROM named_gone WHERE entered >= seq",
    "SELECT 'record ' || bucket || '/' || collection || '/' || id || ' left a signature at ' ||
        seq || ' that it entered at ' || entered || ', which is no position'
     FROM named_gone WHERE entered < 0",
    "SELECT 'record ' || g.bucket || '/' || g.collection || '/' || g.id ||
        ' left a signature at ' || g.seq || ', but there is no such record'
     FROM named_gone g LEFT JOIN records r
     ON SAME(r, g) AND r.id = g.id
     WHERE r.id IS NULL",
    "SELECT 'record ' || g.bucket || '/' || g.collection || '/' || g.id ||
        ' left a signature at ' || g.seq || ', after it had entered the next at ' || r.entered
     FROM named_gone g JOIN records r
     ON SAME(r, g) AND r.id = g.id
     WHERE g.seq > r.entered",
    // Of different signatures they may overlap: joined ones span what lay between them.
    "SELECT 'record ' || bucket || '/' || collection || '/' || id ||
        ' had one signature twice at position ' || entered
     FROM (SELECT bucket, collection, id, entered, lag(seq) OVER (
            PARTITION BY bucket, collection, id, signature ORDER BY seq) AS previous
        FROM named_gone) AS departures
     WHERE previous > entered",
    "SELECT 'record ' || g.bucket || '/' || g.collection || '/' || g.id ||
        ' left a signature at ' || g.seq || ', which is not within the horizon ' ||
        coalesce(CAST(c.gc_seq AS text), 'of any collection') || ' and the head'
     FROM named_gone g LEFT JOIN collections c
     ON SAME(c, g) AND NOT c.dropped
     WHERE c.seq IS NULL OR g.seq <= c.gc_seq OR g.seq > c.seq",
    // Notes of the head.
    "SELECT 'the head of ' || m.bucket || '/' || m.collection || ' is noted to have been at ' ||
        m.seq || ' at the time ' || m.time || ', which cannot be'
     FROM named_marks m LEFT JOIN collections c
     ON SAME(c, m) AND NOT c.dropped
     WHERE c.seq IS NULL OR m.seq > c.seq OR m.time < 0",
    // Members.
    "SELECT 'group ' || m.bucket || '/' || m.grp || ' has the member ' || m.member ||
        ', but the directory does not say so'
     FROM named_members m
     LEFT JOIN directory_groups d ON d.member = m.member AND d.bucket = m.bucket
     WHERE d.member IS NULL",
    "SELECT 'group ' || m.bucket || '/' || m.grp || ' does not exist, but has ' || count(*) ||
        ' members'
     FROM named_members m LEFT JOIN named_records r
     ON r.bucket = m.bucket AND r.collection = '_groups' AND r.id = m.grp AND NOT r.dead
     WHERE r.id IS NULL GROUP BY m.bucket, m.grp",
    // Names.
    "SELECT 'collection ' || c.bucket || '/' || c.collection || ' counts ' || c.names ||
        ' groups that are named there, but has ' || coalesce(n.names, 0)
     FROM collections c LEFT JOIN (
        SELECT PLACE, count(*) AS names FROM names GROUP BY PLACE) n
     ON SAME(n, c)
     WHERE c.names <> coalesce(n.names, 0)",
    "SELECT 'collection ' || bucket || '/' || collection || ' counts ' || names ||
        ' groups that are named there, but only ' || named || ' times that one came or went'
     FROM collections WHERE named < names",
    "SELECT 'group ' || n.grp_bucket || '/' || n.grp || ' is named in ' || n.bucket || '/' ||
        n.collection || ' by ' || n.signatures || ' signatures, but ' ||
        coalesce(p.signatures, 0) || ' name it'
     FROM named_names n LEFT JOIN (
        SELECT PLACE, principal, count(*) AS signatures
        FROM signature_principals GROUP BY PLACE, principal) p
     ON SAME(p, n) AND p.principal = '/buckets/' || n.grp_bucket || '/groups/' || n.grp
     WHERE n.signatures <> coalesce(p.signatures, 0) OR n.signatures < 1",
    "SELECT DISTINCT 'signatures of ' || p.bucket || '/' || p.collection || ' name ' ||
        p.principal || ', but it is not among the names there'
     FROM named_signature_principals p LEFT JOIN names n
     ON SAME(n, p) AND p.principal = '/buckets/' || n.grp_bucket || '/groups/' || n.grp
     WHERE n.signatures IS NULL AND p.principal IS_GROUP
        AND length(p.principal) - length(replace(p.principal, '/', '')) = 4",
    "SELECT 'group ' || n.grp_bucket || '/' || n.grp || ' is named in ' || n.bucket || '/' ||
        n.collection || ' since ' || n.since || ', which is not within its positions'
     FROM named_names n LEFT JOIN collections c
     ON SAME(c, n) AND NOT c.dropped
     WHERE c.seq IS NULL OR n.since < 0 OR n.since > c.seq",
    "SELECT 'group ' || n.grp_bucket || '/' || n.grp || ' has the number ' || n.ordinal ||
        ' among the names of ' || n.bucket || '/' || n.collection || ', of which ' || c.named ||
        ' came or went'
     FROM named_names n JOIN collections c ON SAME(c, n)
     WHERE n.ordinal NOT BETWEEN 1 AND c.named",
    "SELECT 'groups that are named in ' || bucket || '/' || collection || ' share the number ' ||
        ordinal
     FROM named_names GROUP BY bucket, collection, ordinal HAVING count(*) > 1",
    "SELECT 'bucket ' || c.bucket || ' has groups in groups, but counts ' || c.nested ||
        ' changes of them'
     FROM collections c
     WHERE c.nested < 1 AND c.collection = '_groups' AND c.bucket IN (
        SELECT bucket FROM named_members WHERE member >= '/buckets/' AND member < '/buckets0')",
    "SELECT 'collection ' || bucket || '/' || collection || ' counts ' || nested ||
        ' changes of groups in groups'
     FROM collections WHERE nested < 0 OR (nested > 0 AND collection <> '_groups')",
    // Views.
    "SELECT 'a view of ' || person || ' in ' || bucket || ' was used at ' || used ||
        ', which is no time'
     FROM views WHERE used < 0",
];

/// Questions about signatures and other binary values, given what to write before and after a binary
/// column to have it in hexadecimal digits.
macro_rules! signature_rules {
    ($hex:literal, $end:literal) => {
        &[
            // Positions have less than 54 bits.
            concat!(
                "SELECT 'collection ' || bucket || '/' || collection || ' has the incarnation ' ||
        ",
                $hex,
                "incarnation",
                $end,
                " || ', which is no position'
     FROM collections WHERE length(incarnation) <> 8 OR ",
                $hex,
                "incarnation",
                $end,
                " NOT LIKE '00%'",
            ),
            concat!(
                "SELECT 'signature ' || ",
                $hex,
                "s.signature",
                $end,
                " || ' of ' || s.bucket || '/' || s.collection ||
        ' counts ' || s.live || ' live records, but ' || coalesce(r.live, 0) || ' have it'
     FROM named_signatures s LEFT JOIN (
        SELECT PLACE, signature, count(*) FILTER (WHERE NOT dead) AS live
        FROM records GROUP BY PLACE, signature) r
     ON SAME(r, s) AND r.signature = s.signature
     WHERE s.live <> coalesce(r.live, 0)",
            ),
            concat!(
                "SELECT 'signature ' || ",
                $hex,
                "s.signature",
                $end,
                " || ' of ' || s.bucket || '/' || s.collection ||
        ' counts ' || s.held || ' that have it, but ' || coalesce(h.held, 0) || ' do'
     FROM named_signatures s LEFT JOIN (
        SELECT PLACE, signature, count(*) AS held
        FROM (SELECT PLACE, signature FROM records
            UNION ALL SELECT PLACE, signature FROM gone) AS one
        GROUP BY PLACE, signature) h
     ON SAME(h, s) AND h.signature = s.signature
     WHERE s.held <> coalesce(h.held, 0)",
            ),
            // What was forgotten may have shown more, but nothing shows more than the position.
            concat!(
                "SELECT 'signature ' || ",
                $hex,
                "s.signature",
                $end,
                " || ' of ' || s.bucket || '/' || s.collection ||
        ' shows the time ' || s.top || ' at most, but ' || coalesce(r.top, 0) || ' is shown, and ' ||
        coalesce(c.seq, 0) || ' is the position'
     FROM named_signatures s LEFT JOIN (
        SELECT PLACE, signature, max(coalesce(timestamp, seq)) AS top
        FROM records GROUP BY PLACE, signature) r
     ON SAME(r, s) AND r.signature = s.signature
     LEFT JOIN collections c ON SAME(c, s) AND NOT c.dropped
     WHERE s.top NOT BETWEEN coalesce(r.top, 0) AND coalesce(c.seq, 0)",
            ),
            concat!(
                "SELECT 'record ' || r.bucket || '/' || r.collection || '/' || r.id ||
        ' has the unknown signature ' || ",
                $hex,
                "r.signature",
                $end,
                "
     FROM named_records r LEFT JOIN signatures s
     ON SAME(s, r) AND s.signature = r.signature
     WHERE s.live IS NULL",
            ),
            concat!(
                "SELECT 'record ' || g.bucket || '/' || g.collection || '/' || g.id ||
        ' had the unknown signature ' || ",
                $hex,
                "g.signature",
                $end,
                " || ' until position ' || g.seq
     FROM named_gone g LEFT JOIN signatures s
     ON SAME(s, g) AND s.signature = g.signature
     WHERE s.live IS NULL",
            ),
            concat!(
                "SELECT 'principal ' || p.principal || ' is listed under the unknown signature ' ||
        ",
                $hex,
                "p.signature",
                $end,
                " || ' of ' || p.bucket || '/' || p.collection
     FROM named_signature_principals p LEFT JOIN signatures s
     ON SAME(s, p) AND s.signature = p.signature
     WHERE s.live IS NULL",
            ),
        ]
    };
}
pub(crate) use signature_rules;

/// What is wrong with the texts of a record, if anything is.
pub(crate) fn wrong_texts(
    name: [&str; 3],
    permissions: Option<&str>,
    body: Option<&str>,
) -> Option<Finding> {
    let is_object =
        body.is_some_and(|text| matches!(serde_json::from_str(text), Ok(Value::Object(_))));
    let is_permissions = permissions.is_some_and(|text| Permissions::from_text(text).is_ok());
    let wrong = match (is_object, is_permissions) {
        (true, true) => return None,
        (false, _) => "a body that is not a JSON object",
        (true, false) => "permissions that cannot be read",
    };
    let [bucket, collection, id] = name;
    Some(Finding(format!("record {bucket}/{collection}/{id} has {wrong}")))
}

/// Whether the members of a group are other ones than its own record lists.
pub(crate) fn wrong_members(
    bucket: &str,
    group: &str,
    body: &str,
    members: &BTreeSet<String>,
) -> Option<Finding> {
    let Ok(Value::Object(body)) = serde_json::from_str(body) else { return None };
    let listed = body.get("members").and_then(Value::as_array).into_iter().flatten();
    let listed: BTreeSet<&str> = listed.filter_map(Value::as_str).collect();
    let is_same = listed.iter().copied().eq(members.iter().map(String::as_str));
    (!is_same).then(|| {
        Finding(format!("group {bucket}/{group} lists other members than are kept for it"))
    })
}

/// What is wrong with a view, if anything is.
pub(crate) fn wrong_view(
    bucket: &str,
    person: &str,
    name: &[u8],
    groups: Option<&str>,
) -> Option<Finding> {
    let is_list = groups.is_some_and(|text| serde_json::from_str::<Vec<String>>(text).is_ok());
    let wrong = match (is_list, name.len()) {
        (true, 16) => return None,
        (true, _) => "a name that is not of sixteen bytes",
        (false, _) => "groups that cannot be read",
    };
    Some(Finding(format!("a view of {person} in {bucket} has {wrong}")))
}

/// Goes through the signatures and the live records that have each, in the order of signatures,
/// and tells of each whose sum of digests is another one than is kept.
#[derive(Default)]
pub(crate) struct Sums {
    current: Option<(SignatureKey, i64, u64)>,
    pub(crate) findings: Vec<Finding>,
}

impl Sums {
    /// One row: a signature with the sum that is kept, and the id and the time shown of one of its
    /// records, if there is any.
    pub(crate) fn next(&mut self, key: SignatureKey, kept: i64, record: Option<(&str, i64)>) {
        let is_same = self.current.as_ref().is_some_and(|(current, ..)| *current == key);
        if !is_same {
            self.end();
            self.current = Some((key, kept, 0));
        }
        if let (Some((_, _, sum)), Some((id, shown))) = (&mut self.current, record) {
            *sum = (*sum + digest(&RecordId::from(id), Timestamp(shown))) % DIGEST_MODULUS;
        }
    }

    /// There are no more rows.
    pub(crate) fn end(&mut self) {
        let Some(((bucket, collection, signature), kept, sum)) = self.current.take() else {
            return;
        };
        if u64::try_from(kept) == Ok(sum) || self.findings.len() == FINDINGS_MAX {
            return;
        }
        let hex = hexadecimal(&signature);
        self.findings.push(Finding(format!(
            "signature {hex} of {bucket}/{collection} keeps the sum of digests {kept}, but its \
             records have {sum}"
        )));
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Goes through the signatures and those who are listed under each, in the order of signatures,
/// and tells of each that does not name exactly these.
#[derive(Default)]
pub(crate) struct Hashes {
    current: Option<(SignatureKey, BTreeSet<Principal>)>,
    pub(crate) findings: Vec<Finding>,
}

/// Bucket, collection, signature.
pub(crate) type SignatureKey = (String, String, [u8; 16]);

impl Hashes {
    /// One row: a signature with one of the principals, if there is any.
    pub(crate) fn next(&mut self, key: SignatureKey, principal: Option<&str>) {
        let is_same = self.current.as_ref().is_some_and(|(current, _)| *current == key);
        if !is_same {
            self.end();
            self.current = Some((key, BTreeSet::new()));
        }
        if let Some((_, principals)) = &mut self.current {
            principals.extend(principal.map(Principal::from));
        }
    }

    /// There are no more rows.
    pub(crate) fn end(&mut self) {
        let Some(((bucket, collection, signature), principals)) = self.current.take() else {
            return;
        };
        let is_right = Readers::new(principals).signature() == Signature(signature);
        if is_right || self.findings.len() == FINDINGS_MAX {
            return;
        }
        let hex = hexadecimal(&signature);
        self.findings.push(Finding(format!(
            "signature {hex} of {bucket}/{collection} does not name the principals that are \
             listed under it"
        )));
    }
}
