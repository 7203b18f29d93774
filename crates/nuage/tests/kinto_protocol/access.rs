//! Who may do what (sections 10, 11 and 19 of the protocol).

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;

use super::{kinto, play_all};

both_databases!(permissions, settings_that_give_permissions);

fn permissions(backend: Backend) {
    let server = kinto(backend, "");
    play_all(&server, &[STRANGERS, READERS, CREATORS, SHARED_RECORDS, DELETERS, GROUPS]);
    play_all(&server, &[OWNERSHIP, CREDENTIALS, WHAT_IS_SHARED]);
}

fn settings_that_give_permissions(backend: Backend) {
    let settings = "kinto.record_read_principals = system.Everyone\n\
                    kinto.bucket_create_principals = account:admin\n\
                    kinto.collection_write_principals = account:root\n";
    play_all(&kinto(backend, settings), &[GRANTS]);
    play_all(&kinto(backend, "kinto.explicit_permissions = false\n"), &[IMPLICIT]);
}

const STRANGERS: &str = r#"
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c
    => 201
    PUT /buckets/b/collections/c/records/r
    => 201
    GET /buckets/b | -
    => 401 | WWW-Authenticate: ~Basic realm="Realm" | {"errno": 104, "error": "Unauthorized",
       "message": "Please authenticate yourself to use this endpoint."}
    GET /buckets/b | bob
    => 403 | {"errno": 121, "error": "Forbidden", "message": "This user cannot access this
       resource."}
    # Whether something exists is not told.
    GET /buckets/none | bob
    => 403
    GET /buckets/none/collections | bob
    => 403
    GET /buckets/b/collections/none | bob
    => 403
    PATCH /buckets/b/collections/none | bob | {"data": {}}
    => 403
    DELETE /buckets/b/collections/none | bob
    => 403
    PUT /buckets/b/collections/none/records/r | bob
    => 403
    GET /buckets/b/collections/c/records | bob
    => 403
    POST /buckets/b/collections/c/records | bob | {"data": {"id": "r"}}
    => 403
    PUT /buckets/a b | -
    => 401
    GET /buckets | -
    => 401
    GET /buckets | bob
    => 200 | {"data": []}
    PUT /buckets/anonymous | -
    => 401
"#;

const READERS: &str = r#"
    PUT /buckets/b | {"permissions": {"read": ["system.Authenticated"]}}
    => 201
    PUT /buckets/b/collections/c
    => 201
    PUT /buckets/b/collections/c/records/r
    => 201
    GET /buckets/b | bob
    => 200 | {"permissions": {}}
    GET /buckets/b/collections/c/records/r | bob
    => 200
    GET /buckets/b/collections/c/records | bob
    => 200 | {"data": [{"id": "r"}]}
    GET /buckets/b/collections/c/records/none | bob
    => 404 | {"errno": 110, "details": {"id": "none", "resource_name": "record"}}
    PATCH /buckets/b/collections/none | bob | {"data": {}}
    => 404
    PATCH /buckets/b/collections/c | bob | {"data": {}}
    => 403
    DELETE /buckets/b/collections/c/records | bob
    => 403
    GET /buckets/b | -
    => 401
    GET /buckets | bob
    => 200 | {"data": [{"id": "b"}]}
"#;

const CREATORS: &str = r#"
    PUT /buckets/b | {"permissions": {"collection:create": ["system.Everyone"]}}
    => 201
    GET /buckets/b | bob
    => 200
    GET /buckets/b/collections | bob
    => 200 | {"data": []}
    PUT /buckets/b/collections/c | bob | {"permissions": {"record:create": ["system.Everyone"]}}
    => 201
    POST /buckets/b/groups | bob
    => 403
    POST /buckets/b/collections/c/records | -
    => 201 | {"permissions": {"write": ["system.Everyone"]}}
    POST /buckets/b/collections/c/records | eve | {"data": {"id": "e"}}
    => 201
    GET /buckets/b/collections/c | eve
    => 200
    PUT /buckets/b/collections/c/records/e | mat | {"data": {"x": 1}}
    => 200
    PUT /buckets/b/collections/c/records/e | bob | {"data": {"x": 1}}
    => 200
    DELETE /buckets/b/collections/c/records | eve
    => 200 | {"data": ["?", "?"]}
"#;

const SHARED_RECORDS: &str = r#"
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c
    => 201
    PUT /buckets/b/collections/c/records/open | {"permissions": {"read": ["system.Everyone"]}}
    => 201
    PUT /buckets/b/collections/c/records/closed
    => 201
    GET /buckets/b/collections/c/records
    => 200 | {"data": [{"id": "closed"}, {"id": "open"}]}
    GET /buckets/b/collections/c/records | bob
    => 200 | {"data": [{"id": "open"}]}
    HEAD /buckets/b/collections/c/records | -
    => 200 | Total-Records: 1
    GET /buckets/b/collections/c/records/closed | bob
    => 403
    GET /buckets/b/collections/c/records/none | bob
    => 403
    GET /buckets/b/collections/c | bob
    => 403
"#;

// Ours: the holder may delete the record, and that is all.
const DELETERS: &str = r#"
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c
    => 201
    PUT /buckets/b/collections/c/records/r | {"permissions": {"delete": ["system.Authenticated"]}}
    => 201 | {"permissions": {"delete": ["system.Authenticated"]}}
    GET /buckets/b/collections/c/records/r | bob
    => 403
    PATCH /buckets/b/collections/c/records/r | bob | {"data": {}}
    => 403
    DELETE /buckets/b/collections/c/records/r | bob
    => 200
    PUT /buckets/b | {"permissions": {"delete": ["x"]}}
    => 400
"#;

const GROUPS: &str = r#"
    PUT /buckets/g
    => 201
    PUT /buckets/g/groups/all | {"data": {"members": ["system.Authenticated"]}}
    => 201
    PUT /buckets/b | {"permissions": {"read": ["/buckets/g/groups/all"]}}
    => 201
    GET /buckets/b | bob
    => 200
    GET /buckets/b | -
    => 401
    GET / | bob
    => 200 | {"user": {"principals": ["?", "?", "?", "?"]}}
    PUT /buckets/g/groups/all | {"data": {"members": []}}
    => 200
    GET /buckets/b | bob
    => 403
    PUT /buckets/g/groups/all | {"data": {"members": ["system.Authenticated"]}}
    => 200
    DELETE /buckets/g/groups/all
    => 200
    GET /buckets/b | bob
    => 403
    # The name stays where it was given.
    GET /buckets/b
    => 200 | {"permissions": {"read": ["/buckets/g/groups/all"]}}
"#;

const OWNERSHIP: &str = r#"
    PUT /buckets/b | {"permissions": {"write": ["system.Authenticated"]}}
    => 201
    PUT /buckets/b/collections/c
    => 201 | {"permissions": {"write": ["?"]}}
    # Whoever changes something is added.
    PATCH /buckets/b/collections/c | bob | {"data": {"x": 1}}
    => 200 | {"permissions": {"write": ["?", "?"]}}
    # Inherited rights do not show permissions.
    GET /buckets/b/collections/c | eve
    => 200 | {"permissions": {"write": "-"}}
"#;

const CREDENTIALS: &str = r#"
    GET /buckets | - | Authorization: Basic
    => 401
    GET /buckets | - | Authorization: Basic %%%
    => 401
    GET /buckets | - | Authorization: Bearer abc
    => 401
    # An empty name is nobody.
    GET /buckets | - | Authorization: Basic OnNlY3JldA==
    => 401
"#;

const WHAT_IS_SHARED: &str = r#"
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c | {"permissions": {"read": ["system.Everyone"]}}
    => 201
    PUT /buckets/b/collections/c/records/r | {"permissions": {"write": ["system.Everyone"]}}
    => 201
    GET /permissions | -
    => 200 | {"data": [{"uri": "/buckets/b/collections/c/records/r", "resource_name": "record",
       "permissions": ["read", "write"], "id": "r", "bucket_id": "b", "collection_id": "c",
       "record_id": "r"}, {"uri": "/buckets/b/collections/c", "permissions": ["read",
       "read:attributes"]}, {"uri": "/", "resource_name": "root", "permissions":
       ["account:create"]}]}
    GET /permissions?resource_name=bucket
    => 200 | {"data": [{"uri": "/buckets/b", "permissions": ["collection:create", "group:create",
       "read", "read:attributes", "write"], "bucket_id": "b", "last_modified": "-"}]}
    GET /permissions?_limit=1
    => 200 | Next-Page: $next | {"data": ["?"]}
    GET $next
    => 200 | {"data": ["?"]}
    HEAD /permissions
    => 200 | Total-Objects: 4
    PUT /accounts/alice | - | {"data": {"password": "secret"}}
    => 201
    GET /permissions?resource_name=account | alice
    => 200 | {"data": [{"uri": "/accounts/alice", "account_id": "alice", "id": "alice",
       "permissions": ["read", "write"], "bucket_id": "-"}]}
"#;

const GRANTS: &str = r#"
    PUT /buckets/b
    => 403
    PUT /accounts/admin | - | {"data": {"password": "secret"}}
    => 201
    PUT /accounts/root | - | {"data": {"password": "secret"}}
    => 201
    PUT /buckets/b | admin
    => 201
    PUT /buckets/b/collections/c | root
    => 201
    PUT /buckets/b/collections/c/records/r | admin
    => 201
    # They do not reach down, nor up.
    PUT /buckets/b/collections/c/records/r2 | root
    => 201
    GET /buckets/b | root
    => 403
    GET /buckets/b/collections/c/records | -
    => 200 | {"data": ["?", "?"]}
    GET /buckets/b/collections/c | -
    => 401
    # What is deleted is not what there is.
    GET /buckets/b/snapshot/collections/c@99999999999999 | -
    => 401
    GET /buckets/default | bob
    => 200
"#;

const IMPLICIT: &str = r#"
    PUT /buckets/b | {"permissions": {"write": ["system.Authenticated"]}}
    => 201 | {"permissions": {"write": ["system.Authenticated"]}}
    PUT /buckets/b/collections/c | bob
    => 201 | {"permissions": {"write": "-"}}
    PATCH /buckets/b/collections/c | eve | {"data": {"x": 1}}
    => 200
"#;
