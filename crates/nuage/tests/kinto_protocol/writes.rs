//! Objects, identifiers, the three notations of PATCH, schemas (sections 4, 9 and 13 of the
//! protocol).

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;

use super::{SETTINGS, kinto, play_all, start};

both_databases!(objects, patches, schemas);

fn objects(backend: Backend) {
    play_all(&kinto(backend, ""), &[IDENTIFIERS, PUT, POST, GROUPS, COLLECTIONS, DELETIONS]);
}

fn patches(backend: Backend) {
    play_all(&kinto(backend, ""), &[PATCH_MEMBERS, MERGE_PATCH, JSON_PATCH, SHORT_ANSWERS]);
}

fn schemas(backend: Backend) {
    play_all(&kinto(backend, ""), &[SCHEMA, BUCKET_SCHEMAS, SCHEMAS_THAT_ARE_NONE]);
    let settings = SETTINGS.replace("schema_validation = true", "schema_validation = false");
    super::play(&start(backend, &settings), SCHEMAS_OFF);
}

const IDENTIFIERS: &str = r#"
    PUT /buckets/a-b_C1
    => 201
    PUT /buckets/-a
    => 400 | {"errno": 107, "message": "path: Invalid object id", "details": [{"location": "path",
       "name": null, "description": "Invalid object id"}]}
    PUT /buckets/_a
    => 400
    PUT /buckets/a.b
    => 400
    PUT /buckets/a b
    => 400
    POST /buckets | {"data": {"id": "a b"}}
    => 400 | {"details": [{"description": "Invalid object id"}]}
    POST /buckets | {"data": {"id": 5}}
    => 400
    PUT /buckets/a | {"data": {"id": "b"}}
    => 400 | {"message": "Object id does not match existing object"}
    PUT /buckets/a | {"data": {"id": "a"}}
    => 201
    # A place under a name that nothing can have.
    GET /buckets/*/collections
    => 404 | {"errno": 111, "details": {"id": "*", "resource_name": "bucket"}}
    PUT /buckets/*/collections/c
    => 404 | {"errno": 111}
    GET /buckets/*/collections/c
    => 403
    GET /buckets/a/collections/*/records
    => 404 | {"errno": 111, "details": {"id": "*", "resource_name": "collection"}}
    GET /buckets/a/collections/none/records
    => 404 | {"errno": 111, "details": {"id": "none", "resource_name": "collection"}}
    GET /buckets/a/collections/_records/records
    => 404 | {"details": {"id": "_records", "resource_name": "collection"}}
"#;

const PUT: &str = r#"
    PUT /buckets/b | {"data": {"z": 1, "a": {"y": 2, "x": null}}, "permissions": {"read": ["bob"]}}
    => 201 | {"data": {"z": 1, "a": {"y": 2, "x": null}}, "permissions": {"read": ["bob"], "write":
       ["?"]}}
    PUT /buckets/b | {"data": {"n": 1}}
    => 200 | {"data": {"n": 1, "z": "-"}, "permissions": {"read": ["bob"]}}
    PUT /buckets/b
    => 200 | {"data": {"n": 1}}
    PUT /buckets/b | {"permissions": {}}
    => 200 | {"data": {"n": 1}, "permissions": {"read": ["bob"]}}
    PUT /buckets/b | {"permissions": {"read": null}}
    => 200 | {"permissions": {"read": ["bob"]}}
    PUT /buckets/b | {"permissions": {"collection:create": ["eve", "eve"]}}
    => 200 | {"permissions": {"read": "-", "collection:create": ["eve"], "write": ["?"]}}
    PUT /buckets/b | {"data": {}}
    => 200 | {"data": {"n": "-"}, "permissions": {"collection:create": ["eve"]}}
    PUT /buckets/b | {"permissions": {"foo": ["x"]}}
    => 400 | {"details": [{"location": "body", "name": "permissions"}]}
    PUT /buckets/b | {"permissions": {"read": "x"}}
    => 400 | {"details": [{"name": "permissions.read"}]}
    PUT /buckets/b | {"permissions": {"read": [1]}}
    => 400 | {"details": [{"name": "permissions.read.0"}]}
    PUT /buckets/b | {"data": {"deleted": true}}
    => 200 | {"data": {"deleted": true}}
    GET /buckets/b
    => 200 | {"data": {"deleted": true}}
"#;

const POST: &str = r#"
    POST /buckets
    => 201 | Location: - | {"data": {"id": "?"}}
    POST /buckets | {"data": {"id": "b", "v": 1}}
    => 201
    # What is there already is shown, and stays.
    POST /buckets | {"data": {"id": "b", "v": 2}}
    => 200 | {"data": {"v": 1}}
    PUT /buckets/b/collections/c
    => 201
    POST /buckets/b/collections/c/records | {"data": {"v": 1}}
    => 201 | {"data": {"id": "?", "v": 1}}
    POST /buckets/b/groups
    => 201 | {"data": {"members": []}}
"#;

const GROUPS: &str = r#"
    PUT /buckets/b
    => 201
    PUT /buckets/b/groups/g | {"data": {}}
    => 201 | {"data": {"members": []}}
    PUT /buckets/b/groups/g | {"data": {"members": ["a", "a", "system.Authenticated"]}}
    => 200 | {"data": {"members": ["a", "a", "system.Authenticated"]}}
    PUT /buckets/b/groups/g | {"data": {"members": ["system.Everyone"]}}
    => 400 | {"details": [{"name": "data.members.0"}]}
    PUT /buckets/b/groups/g | {"data": {"members": ["/buckets/b/groups/h"]}}
    => 200 | {"data": {"members": ["/buckets/b/groups/h"]}}
    PUT /buckets/b/groups/g | {"data": {"members": ["/buckets/b/groups/"]}}
    => 400 | {"details": [{"name": "data.members.0"}]}
    PUT /buckets/b/groups/g | {"data": {"members": ["/buckets/b"]}}
    => 400 | {"details": [{"name": "data.members.0"}]}
    PUT /buckets/b/groups/g | {"data": {"members": "a"}}
    => 400 | {"details": [{"name": "data.members"}]}
    PATCH /buckets/b/groups/g | {"data": {"members": ["b"]}}
    => 200 | {"data": {"members": ["b"]}}
"#;

const COLLECTIONS: &str = r#"
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c | {"data": {"cache_expires": "12"}}
    => 201 | {"data": {"cache_expires": 12}}
    PUT /buckets/b/collections/c | {"data": {"cache_expires": "x"}}
    => 400 | {"details": [{"name": "data.cache_expires"}]}
    PUT /buckets/b/collections/c | {"data": {"schema": "x"}}
    => 400 | {"details": [{"name": "data.schema"}]}
"#;

const DELETIONS: &str = r#"
    PUT /buckets/b
    => 201
    PUT /buckets/b/groups/g
    => 201
    PUT /buckets/b/collections/c
    => 201
    PUT /buckets/b/collections/c/records/r
    => 201
    DELETE /buckets/b
    => 200 | {"data": {"id": "b", "deleted": true}}
    GET /buckets/b/collections
    => 403
    PUT /buckets/b
    => 201
    GET /buckets/b/collections?_since=0
    => 200 | {"data": []}
    GET /buckets/b/groups?_since=0
    => 200 | {"data": []}
    GET /buckets/b/history
    => 200 | {"data": [{"uri": "/buckets/b", "action": "create"}]}
    PUT /buckets/b/collections/c
    => 201
    GET /buckets/b/collections/c/records?_since=0
    => 200 | {"data": []}
    DELETE /buckets
    => 200 | {"data": [{"id": "b", "deleted": true}]}
"#;

const PATCH_MEMBERS: &str = r#"
    PUT /buckets/b | {"data": {"a": 1, "o": {"x": 1, "y": 2}}, "permissions": {"read": ["bob"]}}
    => 201
    PATCH /buckets/b | {"data": {"n": null, "o": {"z": 3}}}
    => 200 | {"data": {"a": 1, "n": null, "o": {"x": "-", "z": 3}}}
    PATCH /buckets/b | {"permissions": {"read": [], "write": null}}
    => 200 | {"permissions": {"read": "-", "write": ["?"]}}
    PATCH /buckets/none | {"data": {}}
    => 403
    PATCH /buckets/b | {"data": {"id": "other"}}
    => 400
"#;

const MERGE_PATCH: &str = r#"
    PUT /buckets/b | {"data": {"a": 1, "o": {"x": 1, "y": 2}}, "permissions": {"read": ["bob"]}}
    => 201
    PATCH /buckets/b | Content-Type: application/merge-patch+json | {"data": {"a": null, "o": {"x":
       null, "z": {"p": null, "q": 1}}}}
    => 200 | {"data": {"a": "-", "o": {"x": "-", "y": 2, "z": {"p": "-", "q": 1}}}}
    PATCH /buckets/b | Content-Type: application/merge-patch+json | {"permissions": {"read": null}}
    => 200 | {"permissions": {"read": "-"}}
"#;

const JSON_PATCH: &str = r#"
    PUT /buckets/b | {"data": {"a": 1, "l": [1, 2], "x/y": 1}, "permissions": {"read": ["bob"]}}
    => 201
    PATCH /buckets/b | Content-Type: application/json-patch+json | []
    => 200 | {"data": {"a": 1}}
    PATCH /buckets/b | Content-Type: application/json-patch+json | [{"op": "add", "path":
       "/data/l/-", "value": 3}, {"op": "replace", "path": "/data/x~1y", "value": 2}, {"op":
       "move", "from": "/data/a", "path": "/data/b"}]
    => 200 | {"data": {"a": "-", "b": 1, "l": [1, 2, 3], "x/y": 2}}
    # kinto.js sends no value for a principal.
    PATCH /buckets/b | Content-Type: application/json-patch+json | [{"op": "add", "path":
       "/permissions/read/alice"}, {"op": "remove", "path": "/permissions/read/bob"}]
    => 200 | {"permissions": {"read": ["alice"]}}
    # Numbers are equal by their value.
    PATCH /buckets/b | Content-Type: application/json-patch+json | [{"op": "test", "path":
       "/data/b", "value": 1.0}, {"op": "test", "path": "/data/l", "value": [1.0, 2e0, 3]}]
    => 200 | {"data": {"b": 1}}
    # All or nothing.
    PATCH /buckets/b | Content-Type: application/json-patch+json | [{"op": "add", "path":
       "/data/new", "value": 1}, {"op": "test", "path": "/data/b", "value": 2}]
    => 400 | {"details": [{"location": "body", "description": "?"}]}
    GET /buckets/b
    => 200 | {"data": {"new": "-"}}
    PATCH /buckets/b | Content-Type: application/json-patch+json | [{"op": "add", "path":
       "/data/z"}]
    => 400
    PATCH /buckets/b | Content-Type: application/json-patch+json | [{"op": "add", "path":
       "/permissions/foo/alice"}]
    => 400
    PATCH /buckets/b | Content-Type: application/json-patch+json | [{"op": "replace", "path":
       "/data/id", "value": "z"}]
    => 400
    PATCH /buckets/b | Content-Type: application/json-patch+json | [{"op": "remove", "path":
       "/data"}]
    => 400
"#;

const SHORT_ANSWERS: &str = r#"
    PUT /buckets/b | {"data": {"a": 1, "b": 2}}
    => 201
    PATCH /buckets/b | Response-Behavior: light | {"data": {"a": 1, "b": 3}}
    => 200 | {"data": {"a": "-", "b": 3, "id": "-"}}
    PATCH /buckets/b | Response-Behavior: diff | {"data": {"b": 4}}
    => 200 | {"data": {"b": "-"}}
    PATCH /buckets/b | Response-Behavior: full | {"data": {"b": 5}}
    => 200 | {"data": {"a": 1, "b": 5, "id": "b"}}
    PATCH /buckets/b | Response-Behavior: foo | {"data": {"b": 6}}
    => 400 | {"details": [{"location": "header", "name": "Response-Behavior"}]}
"#;

const SCHEMA: &str = r#"
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c | {"data": {"schema": {"type": "object", "properties": {"title":
       {"type": "string"}, "size": {"type": "integer"}}, "required": ["title"],
       "additionalProperties": false}}}
    => 201 | ETag: $schema
    POST /buckets/b/collections/c/records | {"data": {"id": "r", "title": "x"}}
    => 201 | {"data": {"schema": "$schema"}}
    PUT /buckets/b/collections/c/records/r2 | {"data": {}}
    => 400 | {"errno": 107, "message": "'title' is a required property", "details": [{"location":
       "body", "name": "title"}]}
    PUT /buckets/b/collections/c/records/r2 | {"data": {"title": "x", "size": 1.5}}
    => 400 | {"message": "size in body: 1.5 is not of type 'integer'", "details": [{"name":
       "size"}]}
    PUT /buckets/b/collections/c/records/r2 | {"data": {"title": "x", "other": 1}}
    => 400 | {"details": [{"name": "additionalProperties"}]}
    PATCH /buckets/b/collections/c/records/r | {"data": {"title": 5}}
    => 400
    # What was written before a change of the schema stays, and can be found.
    PATCH /buckets/b/collections/c | {"data": {"schema": {"required": ["kind"]}}}
    => 200 | ETag: $newer
    GET /buckets/b/collections/c/records?max_schema=#schema
    => 200 | {"data": [{"id": "r", "schema": "$schema"}]}
    PATCH /buckets/b/collections/c/records/r | {"data": {"kind": 1}}
    => 200 | {"data": {"schema": "$newer", "kind": 1}}
"#;

const BUCKET_SCHEMAS: &str = r#"
    PUT /buckets/b | {"data": {"record:schema": {"required": ["r"]}, "collection:schema":
       {"required": ["c"]}, "group:schema": {"required": ["g"]}}}
    => 201
    PUT /buckets/b/collections/c | {"data": {}}
    => 400 | {"details": [{"name": "c"}]}
    PUT /buckets/b/collections/c | {"data": {"c": 1}}
    => 201
    PUT /buckets/b/groups/g | {"data": {}}
    => 400 | {"details": [{"name": "g"}]}
    PUT /buckets/b/groups/g | {"data": {"g": 1}}
    => 201
    PUT /buckets/b/collections/c/records/r | {"data": {}}
    => 400 | {"details": [{"name": "r"}]}
    PUT /buckets/b/collections/c/records/r | {"data": {"r": 1}}
    => 201 | {"data": {"schema": "-"}}
"#;

const SCHEMAS_THAT_ARE_NONE: &str = r#"
    PUT /buckets/b | {"data": {"record:schema": {"type": "Washmachine"}}}
    => 400 | {"details": [{"location": "body", "name": "data.record:schema", "description":
       "'Washmachine' is not valid under any of the given schemas"}]}
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c | {"data": {"schema": {"pattern": "("}}}
    => 400 | {"details": [{"name": "data.schema"}]}
    PUT /buckets/b/collections/c | {"data": {"schema": {"$ref": "http://x.test/y"}}}
    => 400 | {"details": [{"name": "data.schema"}]}
"#;

const SCHEMAS_OFF: &str = r#"
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c | {"data": {"schema": {"type": "Washmachine"}}}
    => 400 | {"details": [{"name": "data.schema"}]}
    PUT /buckets/b/collections/c | {"data": {"schema": {"required": ["title"]}}}
    => 201
    PUT /buckets/b/collections/c/records/r | {"data": {}}
    => 201 | {"data": {"schema": "-"}}
"#;
