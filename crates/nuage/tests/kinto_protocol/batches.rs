//! Requests inside requests (section 12 of the protocol).

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;

use super::{kinto, play_all};

both_databases!(batches);

fn batches(backend: Backend) {
    play_all(&kinto(backend, ""), &[SHAPES, EXECUTION, DEFAULTS, PEOPLE, LIMITS, PATCHES, TIMES]);
}

const SHAPES: &str = r#"
    POST /batch | - | {"requests": []}
    => 200 | {"responses": []}
    POST /batch | {}
    => 400 | {"details": [{"name": "requests", "description": "Required"}]}
    POST /batch | []
    => 400
    POST /batch | {"requests": {}}
    => 400
    POST /batch | {"requests": [], "foo": 1}
    => 400
    POST /batch | {"requests": [{"path": "/", "foo": 1}]}
    => 400
    POST /batch | {"requests": [{"method": "GET"}]}
    => 400 | {"details": [{"name": "requests.0.path"}]}
    POST /batch | {"requests": [{"path": "buckets"}]}
    => 400
    POST /batch | {"requests": [{"path": "/", "method": "get"}]}
    => 400 | {"details": [{"name": "requests.0.method"}]}
    POST /batch | {"requests": [{"path": "/", "body": "x"}]}
    => 400
    POST /batch | {"requests": [{"path": "/", "headers": {"a": 1}}]}
    => 400
"#;

const EXECUTION: &str = r#"
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c
    => 201
    POST /batch | {"requests": [{"method": "PUT", "path": "/buckets/b/collections/c/records/a",
       "body": {"data": {"x": 1}}}, {"path": "/v1/buckets/b/collections/c/records/a"}, {"path":
       "/buckets/b/collections/c/records/"}, {"method": "HEAD", "path":
       "/buckets/b/collections/c/records"}, {"method": "DELETE", "path":
       "/buckets/b/collections/c/records/a"}, {"path":
       "/buckets/b/collections/c/records?_since=0"}, {"path":
       "/buckets/b/collections/c/records/a"}]}
    => 200 | {"responses": [{"status": 201, "path": "/v1/buckets/b/collections/c/records/a",
       "headers": {"ETag": "?", "Last-Modified": "?", "Content-Type": "application/json"}, "body":
       {"data": {"x": 1}}}, {"status": 200}, {"status": 200, "body": {"data": [{"id": "a"}]}},
       {"status": 200, "headers": {"Total-Records": "1"}, "body": ""}, {"status": 200, "body":
       {"data": {"deleted": true}}}, {"body": {"data": [{"id": "a", "deleted": true}]}}, {"status":
       404}]}
    # A refusal stays with its request.
    POST /batch | {"requests": [{"method": "POST", "path": "/buckets/b/collections/c/records",
       "body": {"data": {"id": "x y"}}}, {"method": "POST", "path":
       "/buckets/b/collections/c/records", "body": {"data": {"id": "ok"}}}, {"path": "/nothing"},
       {"path": "/v2/buckets"}, {"method": "POST", "path": "/buckets/b"}, {"path": "/buckets/b",
       "headers": {"Accept": "text/html"}}]}
    => 200 | {"responses": [{"status": 400}, {"status": 201}, {"status": 404, "body": {"errno":
       111}}, {"status": 404}, {"status": 405}, {"status": 406}]}
    GET /buckets/b/collections/c/records/ok
    => 200 | ETag: $ok
    POST /batch | {"requests": [{"method": "PUT", "path": "/buckets/b/collections/c/records/ok",
       "headers": {"If-None-Match": "*"}, "body": {"data": {}}}]}
    => 200 | {"responses": [{"status": 412, "body": {"details": {"existing": {"id": "ok",
       "last_modified": "$ok"}}}}]}
    POST /batch | {"requests": [{"path": "/buckets/default/collections/t/records"}, {"path":
       "/buckets/default/collections"}]}
    => 200 | {"responses": [{"status": 200}, {"body": {"data": [{"id": "t"}]}}]}
"#;

const DEFAULTS: &str = r#"
    PUT /buckets/b
    => 201
    POST /batch | {"defaults": {"method": "POST", "path": "/buckets/b/groups", "body": {"data":
       {"common": {"a": 1}}}}, "requests": [{"body": {"data": {"common": {"b": 2}, "id": "g"}}},
       {"method": "HEAD"}]}
    => 200 | {"responses": [{"status": 201, "body": {"data": {"id": "g", "common": {"a": 1, "b":
       2}}}}, {"status": 200}]}
    POST /batch | {"defaults": {"foo": 1}, "requests": [{"path": "/"}]}
    => 400
"#;

const PEOPLE: &str = r#"
    PUT /buckets/b
    => 201
    POST /batch | - | {"requests": [{"path": "/buckets/b"}, {"path": "/buckets/b", "headers":
       {"Authorization": "Basic bWF0OnNlY3JldA=="}}]}
    => 200 | {"responses": [{"status": 401}, {"status": 200}]}
"#;

const LIMITS: &str = r#"
    POST /batch | {"requests": [{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
       {}, {}, {}, {}, {}, {}, {}, {}, {}], "defaults": {"path": "/"}}
    => 400 | {"details": [{"name": "requests", "description": "Number of requests is limited to
       25"}]}
    POST /batch | {"requests": [{"method": "POST", "path": "/v1/batch", "body": {"requests": []}}]}
    => 400 | {"details": [{"description": "Recursive call on /batch endpoint is forbidden."}]}
    # Only that endpoint.
    POST /batch | {"requests": [{"method": "PUT", "path": "/buckets/batcher"}, {"path":
       "/buckets?n=é"}]}
    => 200 | {"responses": [{"status": 201}, {"status": 200}]}
"#;

// The original knows plain bodies only.
const PATCHES: &str = r#"
    PUT /buckets/b | {"data": {"a": 1}}
    => 201
    POST /batch | {"requests": [{"method": "PATCH", "path": "/buckets/b", "headers":
       {"Content-Type": "application/merge-patch+json"}, "body": {"data": {"a": null, "b": 1}}},
       {"method": "PATCH", "path": "/buckets/b", "headers": {"Content-Type":
       "application/json-patch+json"}, "body": [{"op": "add", "path": "/data/c", "value": 1}]}]}
    => 200 | {"responses": [{"status": 200, "body": {"data": {"a": "-"}}}, {"status": 200, "body":
       {"data": {"b": 1, "c": 1}}}]}
"#;

// A chosen time that others show is the next free one, also for lists of the same batch.
const TIMES: &str = r#"
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c
    => 201
    POST /buckets/b/collections/c/records | {"data": {"id": "now"}}
    => 201
    PUT /buckets/b/collections/c/records/a | {"data": {"last_modified": 1000}}
    => 201 | {"data": {"last_modified": 1000}}
    PUT /buckets/b/collections/c/records/b | {"data": {"last_modified": 1001}}
    => 201 | {"data": {"last_modified": 1001}}
    POST /batch | {"requests": [{"method": "PUT", "path": "/buckets/b/collections/c/records/d",
       "body": {"data": {"last_modified": 1000}}}, {"method": "PUT", "path":
       "/buckets/b/collections/c/records/e", "body": {"data": {"last_modified": 1000}}}, {"path":
       "/buckets/b/collections/c/records?_sort=last_modified&_limit=3"}, {"path":
       "/buckets/b/collections/c/records?_since=1001&_sort=last_modified"}]}
    => 200 | {"responses": [{"body": {"data": {"last_modified": 1002}}}, {"body": {"data":
       {"last_modified": 1003}}}, {"body": {"data": [{"id": "a"}, {"id": "b"}, {"id": "d",
       "last_modified": 1002}]}}, {"body": {"data": [{"id": "d", "last_modified": 1002}, {"id":
       "e", "last_modified": 1003}, {"id": "now"}]}}]}
"#;
