//! The time of a list for whoever sees part of it (docs/protocols/times.md).

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;

use super::{kinto, play_all};

both_databases!(time_of_a_part);

fn time_of_a_part(backend: Backend) {
    play_all(&kinto(backend, ""), &[NOTHING, WHAT_IS_SEEN, LEFT, CONDITIONS, PAGES, BATCHES]);
}

// Alone with the right to create, bob is told when the collection began, and nothing else ever.
const NOTHING: &str = r#"
    PUT /accounts/bob | - | {"data": {"password": "secret"}}
    => 201
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c | {"permissions": {"record:create": ["account:bob"]}}
    => 201
    GET /buckets/b/collections/c/records | bob
    => 200 | ETag: $first | {"data": []}
    PUT /buckets/b/collections/c/records/hidden
    => 201 | ETag: $hidden
    GET /buckets/b/collections/c/records | bob
    => 200 | ETag: $first
    HEAD /buckets/b/collections/c/records | bob
    => 200 | ETag: $first | Total-Objects: 0
    GET /buckets/b/collections/c/records?_since=#first | bob
    => 200 | ETag: $first | {"data": []}
    GET /buckets/b/collections/c/records?_since=#hidden | bob
    => 200 | ETag: $first
    GET /buckets/b/collections/c/records?_since=9007199254740991 | bob
    => 200 | ETag: $first
    GET /buckets/b/collections/c/records?_since=1 | bob
    => 200 | ETag: $first
    GET /buckets/b/collections/c/records
    => 200 | ETag: $hidden
"#;

const WHAT_IS_SEEN: &str = r#"
    PUT /accounts/bob | - | {"data": {"password": "secret"}}
    => 201
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c
    => 201
    PUT /buckets/b/collections/c/records/r | {"permissions": {"read": ["account:bob"]}}
    => 201 | ETag: $one
    PUT /buckets/b/collections/c/records/hidden
    => 201
    GET /buckets/b/collections/c/records | bob
    => 200 | ETag: $one | {"data": [{"id": "r"}]}
    # Whatever is asked.
    GET /buckets/b/collections/c/records?_before=1&_sort=x&id=none | bob
    => 200 | ETag: $one | {"data": []}
    PUT /buckets/b/collections/c/records/r | {"data": {"n": 1}}
    => 200 | ETag: $two
    GET /buckets/b/collections/c/records?_since=#one | bob
    => 200 | ETag: $two | {"data": [{"id": "r"}]}
    DELETE /buckets/b/collections/c/records/r
    => 200 | ETag: $dead
    GET /buckets/b/collections/c/records?_since=0 | bob
    => 403
    PUT /buckets/b/collections/c/records/other | {"permissions": {"read": ["account:bob"]},
       "data": {"last_modified": 5}}
    => 201
    # A deletion counts, and a time that was chosen, as it is shown.
    GET /buckets/b/collections/c/records?_since=0 | bob
    => 200 | ETag: $dead | {"data": [{"id": "r", "deleted": true}, {"id": "other"}]}
"#;

// Taken away, or left: it goes back, and nothing is missed.
const LEFT: &str = r#"
    PUT /accounts/bob | - | {"data": {"password": "secret"}}
    => 201
    PUT /buckets/b
    => 201
    PUT /buckets/b/groups/g | {"data": {"members": ["account:bob"]}}
    => 201
    PUT /buckets/b/collections/c
    => 201
    PUT /buckets/b/collections/c/records/own | {"permissions": {"read": ["account:bob"]}}
    => 201 | ETag: $own
    PUT /buckets/b/collections/c/records/ours | {"permissions": {"read": ["/buckets/b/groups/g"]}}
    => 201 | ETag: $ours
    PUT /buckets/b/collections/c/records/taken | {"permissions": {"read": ["account:bob"]}}
    => 201 | ETag: $taken
    GET /buckets/b/collections/c/records | bob
    => 200 | ETag: $taken
    PATCH /buckets/b/collections/c/records/taken | {"permissions": {"read": []}}
    => 200
    GET /buckets/b/collections/c/records | bob
    => 200 | ETag: $ours
    PUT /buckets/b/groups/g | {"data": {"members": []}}
    => 200
    GET /buckets/b/collections/c/records | bob
    => 200 | ETag: $own
    GET /buckets/b/collections/c/records?_since=#ours | bob
    => 200 | ETag: $own | {"data": []}
    # Who comes back is told what is newer than what they know of.
    PUT /buckets/b/groups/g | {"data": {"members": ["account:bob"]}}
    => 200
    GET /buckets/b/collections/c/records?_since=#own | bob
    => 200 | ETag: $ours | {"data": [{"id": "ours"}]}
    HEAD /buckets/b/collections/c/records?_since=#own | bob
    => 200 | ETag: $ours | Total-Objects: 1
    # Made again, it is later than everything.
    DELETE /buckets/b/collections/c
    => 200
    PUT /buckets/b/collections/c | {"permissions": {"record:create": ["account:bob"]}}
    => 201
    POST /buckets/b/collections/c/records | {"data": {"id": "x"}}
    => 201 | ETag: $x
    GET /buckets/b/collections/c/records?_since=#taken | bob
    => 200 | ETag: $x | {"data": []}
"#;

const CONDITIONS: &str = r#"
    PUT /accounts/bob | - | {"data": {"password": "secret"}}
    => 201
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c
    => 201
    PUT /buckets/b/collections/c/records/r | {"permissions": {"write": ["account:bob"]}}
    => 201 | ETag: $one
    PUT /buckets/b/collections/c/records/hidden
    => 201 | ETag: $hidden
    # Of what is seen something may go while the time stays.
    GET /buckets/b/collections/c/records | bob | If-None-Match: $one
    => 200 | ETag: $one | {"data": [{"id": "r"}]}
    GET /buckets/b/collections/c/records | bob | If-None-Match: *
    => 412
    GET /buckets/b/collections/c/records | If-None-Match: $hidden
    => 304 | ETag: $hidden
    GET /buckets/b/collections/c/records | bob | If-Match: $one
    => 200
    GET /buckets/b/collections/c/records | bob | If-Match: $hidden
    => 412 | ETag: $one
    DELETE /buckets/b/collections/c/records | bob | If-Match: $hidden
    => 412 | ETag: $one
    DELETE /buckets/b/collections/c/records | bob | If-Match: $one
    => 200 | {"data": [{"id": "r", "deleted": true}]}
    # Who reads all of it names the time of all of it, whatever they may delete.
    PATCH /buckets/b/collections/c | {"permissions": {"read": ["account:bob"]}}
    => 200
    PUT /buckets/b/collections/c/records/r | {"permissions": {"write": ["account:bob"]}}
    => 201
    PUT /buckets/b/collections/c/records/hidden | {"data": {"n": 1}}
    => 200 | ETag: $all
    GET /buckets/b/collections/c/records | bob
    => 200 | ETag: $all
    DELETE /buckets/b/collections/c/records | bob | If-Match: $all
    => 200 | {"data": [{"id": "r", "deleted": true}]}
"#;

// All pages show the time of the first one, or what was written between them would be missed.
const PAGES: &str = r#"
    PUT /accounts/bob | - | {"data": {"password": "secret"}}
    => 201
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c
    => 201
    PUT /buckets/b/collections/c/records/a | {"permissions": {"read": ["account:bob"]}}
    => 201
    PUT /buckets/b/collections/c/records/b | {"permissions": {"read": ["account:bob"]}}
    => 201 | ETag: $second
    GET /buckets/b/collections/c/records?_limit=1 | bob
    => 200 | ETag: $second | Next-Page: $next
    PUT /buckets/b/collections/c/records/between | {"permissions": {"read": ["account:bob"]}}
    => 201 | ETag: $between
    GET !#next | bob
    => 200 | ETag: $second | {"data": [{"id": "a"}]}
    GET /buckets/b/collections/c/records?_since=#second | bob
    => 200 | ETag: $between | {"data": [{"id": "between"}]}
"#;

const BATCHES: &str = r##"
    PUT /accounts/bob | - | {"data": {"password": "secret"}}
    => 201
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c
    => 201
    PUT /buckets/b/collections/c/records/r | {"permissions": {"write": ["account:bob"]}}
    => 201 | ETag: $one
    POST /batch | bob | {"requests": [{"path": "/buckets/b/collections/c/records"}, {"method":
       "PUT", "path": "/buckets/b/collections/c/records/hidden", "headers": {"Authorization":
       "Basic bWF0OnNlY3JldA=="}}, {"path": "/buckets/b/collections/c/records"}]}
    => 200 | {"responses": [{"headers": {"ETag": "\"#one\""}}, {"status": 201}, {"headers": {"ETag":
       "\"#one\""}}]}
    POST /batch | bob | {"requests": [{"method": "PUT", "path":
       "/buckets/b/collections/c/records/r", "body": {"data": {"n": 1}}}, {"path":
       "/buckets/b/collections/c/records"}]}
    => 200 | {"responses": [{"status": 200, "body": {"data": {"n": 1}}}, {"headers":
       {"ETag": "?"}, "body": {"data": [{"id": "r", "n": 1}]}}]}
"##;
