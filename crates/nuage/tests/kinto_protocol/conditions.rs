//! Times and conditional requests (sections 5 and 6 of the protocol).

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;

use super::{kinto, play_all};

both_databases!(times, conditional_requests);

fn times(backend: Backend) {
    play_all(&kinto(backend, ""), &[TIMES, CHOSEN_TIMES, TOMBSTONES]);
}

fn conditional_requests(backend: Backend) {
    play_all(&kinto(backend, ""), &[READS, WRITES, LISTS, UNREADABLE, EXISTING_FOR_READERS]);
}

const TIMES: &str = r#"
    PUT /buckets/b
    => 201 | ETag: $bucket | Last-Modified: ? | {"data": {"last_modified": "$bucket"}}
    PUT /buckets/b/collections/c
    => 201
    # An empty list has a time too, and keeps it.
    GET /buckets/b/collections/c/records
    => 200 | ETag: $empty | {"data": []}
    GET /buckets/b/collections/c/records
    => 200 | ETag: $empty
    HEAD /buckets/b/collections/c/records
    => 200 | ETag: $empty
    PUT /buckets/b/collections/c/records/r | {"data": {"a": 1}}
    => 201 | ETag: $first
    GET /buckets/b/collections/c/records?a=2
    => 200 | ETag: $first | {"data": []}
    # Every accepted write moves the time.
    GET /buckets/b/collections/c/records | If-None-Match: $first
    => 304 | ETag: $first | Last-Modified: ?
    PUT /buckets/b/collections/c/records/r | {"data": {"a": 1}}
    => 200 | ETag: $second
    GET /buckets/b/collections/c/records | If-None-Match: $first
    => 200 | ETag: $second
    PATCH /buckets/b/collections/c/records/r | {"data": {}}
    => 200 | ETag: $third
    GET /buckets/b/collections/c/records/r | If-None-Match: $second
    => 200 | ETag: $third
    PATCH /buckets/b/collections/c/records/r | {"permissions": {"read": ["x"]}}
    => 200 | ETag: $fourth
    GET /buckets/b/collections/c/records/r | If-None-Match: $third
    => 200 | ETag: $fourth
    DELETE /buckets/b/collections/c/records/r
    => 200 | ETag: $fifth | {"data": {"id": "r", "deleted": true, "last_modified": "$fifth"},
       "permissions": "-"}
    GET /buckets/b/collections/c/records
    => 200 | ETag: $fifth
"#;

const CHOSEN_TIMES: &str = r#"
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c
    => 201
    PUT /buckets/b/collections/c/records/now
    => 201 | ETag: $now
    # In the past: kept, and the list does not move.
    PUT /buckets/b/collections/c/records/past | {"data": {"last_modified": 12}}
    => 201 | ETag: "12" | {"data": {"last_modified": 12}}
    GET /buckets/b/collections/c/records
    => 200 | ETag: $now
    # An object does not go back.
    PUT /buckets/b/collections/c/records/now | {"data": {"last_modified": 5}}
    => 200 | ETag: $now2
    # Other kinds of values say nothing.
    PUT /buckets/b/collections/c/records/text | {"data": {"last_modified": "12"}}
    => 201 | ETag: $text
    PUT /buckets/b/collections/c/records/true | {"data": {"last_modified": true}}
    => 201 | ETag: $true
    GET /buckets/b/collections/c/records
    => 200 | ETag: $true
    # Two of the same past both stay.
    PUT /buckets/b/collections/c/records/past2 | {"data": {"last_modified": 12}}
    => 201
    GET /buckets/b/collections/c/records?id=past2
    => 200 | {"data": [{"id": "past2"}]}
    DELETE /buckets/b/collections/c/records/past?last_modified=abc
    => 400 | {"details": [{"location": "querystring", "name": "last_modified"}]}
"#;

const TOMBSTONES: &str = r#"
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c
    => 201
    PUT /buckets/b/collections/c/records/a
    => 201
    PUT /buckets/b/collections/c/records/b
    => 201 | ETag: $b
    DELETE /buckets/b/collections/c/records/a
    => 200
    GET /buckets/b/collections/c/records
    => 200 | {"data": [{"id": "b"}]}
    GET /buckets/b/collections/c/records?_since=0
    => 200 | {"data": [{"id": "a", "deleted": true}, {"id": "b", "deleted": "-"}]}
    GET /buckets/b/collections/c/records?_since=$b
    => 200 | {"data": [{"id": "a", "deleted": true}]}
    GET /buckets/b/collections/c/records?_since=0&deleted=true
    => 200 | {"data": [{"id": "a"}]}
    HEAD /buckets/b/collections/c/records
    => 200 | Total-Objects: 1 | Total-Records: 1
    GET /buckets/b/collections/c/records/a
    => 404 | {"errno": 110, "details": {"id": "a", "resource_name": "record"}}
    DELETE /buckets/b/collections/c/records/a
    => 404
    PUT /buckets/b/collections/c/records/a | If-None-Match: *
    => 201
    # What went with its parent leaves nothing.
    DELETE /buckets/b/collections/c
    => 200
    PUT /buckets/b/collections/c
    => 201
    GET /buckets/b/collections/c/records?_since=0
    => 200 | {"data": []}
    GET /buckets/b/collections?_since=0&deleted=true
    => 200 | {"data": []}
"#;

const READS: &str = r#"
    PUT /buckets/b | {"data": {"a": 1}}
    => 201 | ETag: $tag
    GET /buckets/b | If-None-Match: $tag
    => 304 | ETag: $tag | Last-Modified: ?
    HEAD /buckets/b | If-None-Match: $tag
    => 304
    GET /buckets/b | If-None-Match: "12"
    => 200
    GET /buckets/b | If-None-Match: *
    => 412
    GET /buckets/b | If-Match: "12"
    => 412 | ETag: $tag | {"errno": 114, "error": "Precondition Failed", "message": "Resource was
       modified meanwhile", "details": {"existing": {"id": "b", "a": 1, "last_modified": "$tag"}}}
    GET /buckets/b | If-Match: $tag
    => 200
    GET /buckets/b | If-Modified-Since: Sat, 21 Nov 2037 09:46:41 GMT
    => 200
"#;

const WRITES: &str = r#"
    PUT /buckets/b | If-Match: "12"
    => 412 | {"details": "-"}
    PUT /buckets/b | If-Match: *
    => 412
    PUT /buckets/b | If-None-Match: * | {"data": {"v": 1}}
    => 201 | ETag: $one
    PUT /buckets/b | If-None-Match: * | {"data": {"v": 2}}
    => 412 | ETag: $one | {"details": {"existing": {"v": 1}}}
    PUT /buckets/b | If-Match: "12" | {"data": {"v": 2}}
    => 412 | {"details": {"existing": {"v": 1}}}
    PUT /buckets/b | If-None-Match: "12" | {"data": {"v": 2}}
    => 200
    PATCH /buckets/b | If-Match: $one | {"data": {"v": 3}}
    => 412
    PATCH /buckets/b | If-Match: * | {"data": {"v": 3}}
    => 200 | ETag: $three
    # Whether it is there, and as it was known, comes before what is asked of it.
    PATCH /buckets/b | If-Match: "12" | {}
    => 412
    PATCH /buckets/b/collections/none | If-Match: "12" | {}
    => 404
    PATCH /buckets/b | {}
    => 400 | {"message": "Provide at least one of data or permissions"}
    DELETE /buckets/b | If-Match: $one
    => 412
    DELETE /buckets/b | If-None-Match: *
    => 412
    DELETE /buckets/b | If-Match: $three
    => 200
    PUT /buckets/b | If-None-Match: *
    => 201
    POST /buckets | If-None-Match: * | {"data": {"id": "b"}}
    => 412 | {"details": {"existing": {"id": "b"}}}
    POST /buckets | If-None-Match: * | {"data": {"id": "new"}}
    => 201
    POST /buckets | If-None-Match: *
    => 201
    POST /buckets | If-Match: "12"
    => 412
"#;

const LISTS: &str = r#"
    PUT /buckets/b
    => 201
    PUT /buckets/b/groups/g
    => 201
    GET /buckets/b/groups
    => 200 | ETag: $list
    GET /buckets/b/groups | If-None-Match: $list
    => 304 | ETag: $list
    GET /buckets/b/groups | If-None-Match: *
    => 412
    GET /buckets/b/groups | If-Match: "12"
    => 412 | {"details": "-"}
    DELETE /buckets/b/groups | If-Match: "12"
    => 412
    DELETE /buckets/b/groups | If-Match: $list
    => 200 | {"data": [{"id": "g", "deleted": true}]}
"#;

const UNREADABLE: &str = r#"
    PUT /buckets/b
    => 201
    GET /buckets/b | If-Match: 12
    => 400 | {"errno": 107, "details": [{"location": "header", "name": "If-Match", "description":
       "The value should be integer between double quotes."}]}
    GET /buckets/b | If-None-Match: W/12
    => 400 | {"details": [{"name": "If-None-Match"}]}
    GET /buckets/b | If-None-Match: *, "12"
    => 400
"#;

// Better than the original, which shows the record to somebody who may only create.
const EXISTING_FOR_READERS: &str = r#"
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c | {"permissions": {"record:create": ["system.Everyone"]}}
    => 201
    PUT /buckets/b/collections/c/records/r | {"data": {"secret": 1}}
    => 201
    PUT /buckets/b/collections/c/records/r | bob | If-None-Match: * | {"data": {}}
    => 412 | {"details": "-"}
    PUT /buckets/b/collections/c/records/r | If-None-Match: * | {"data": {}}
    => 412 | {"details": {"existing": {"secret": 1}}}
"#;
