//! The personal bucket, history, accounts and the data of people (sections 14, 16, 17 and 20 of
//! the protocol).

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;

use super::{kinto, play_all};

both_databases!(plugins, history_as_the_operator_wants_it);

fn plugins(backend: Backend) {
    let server = kinto(backend, "");
    play_all(&server, &[DEFAULT_BUCKET, HISTORY, READERS_OF_HISTORY, SNAPSHOTS]);
    play_all(&server, &[ACCOUNTS, ADMINISTRATORS, USER_DATA]);
}

fn history_as_the_operator_wants_it(backend: Backend) {
    let settings = "kinto.history.exclude_resources = /buckets/b/collections/quiet /buckets/q\n\
                    kinto.history.auto_trim_max_count = 2\n\
                    kinto.history.auto_trim_threshold = 1\n";
    play_all(&kinto(backend, settings), &[EXCLUDED, TRIMMED]);
}

const DEFAULT_BUCKET: &str = r#"
    GET /buckets/default | -
    => 401
    OPTIONS /buckets/default | - | Origin: http://x.test | Access-Control-Request-Method: GET
    => 200
    POST /buckets/default | {}
    => 405
    GET /buckets/default
    => 200 | {"data": {"id": "ddaf8694-fa9e-2949-ed0e-77198a7907fb"}, "permissions": {"write":
       ["?"]}}
    GET /buckets/default/nothing
    => 404 | {"errno": 111}
    GET /buckets/default/collections/notes/records
    => 200 | {"data": []}
    GET /buckets/ddaf8694-fa9e-2949-ed0e-77198a7907fb/collections
    => 200 | {"data": [{"id": "notes"}]}
    POST /buckets/default/collections/notes/records | {"data": {"a": 1}}
    => 201
    POST /buckets/default/collections/notes/records | {"data": {"a": 2}}
    => 201
    GET /buckets/default/collections/notes/records?_limit=1
    => 200 | Next-Page: ~/v1/buckets/ddaf8694-fa9e-2949-ed0e-77198a7907fb/collections/notes/records
    PUT /buckets/default | {"data": {"id": "default", "x": 1}}
    => 200 | {"data": {"id": "ddaf8694-fa9e-2949-ed0e-77198a7907fb", "x": 1}}
    GET /buckets/default/groups/none
    => 404
    GET /buckets/default/collections/a%20b
    => 400
    GET /buckets/default/history?resource_name=collection
    => 200 | {"data": [{"action": "create", "uri":
       "/buckets/ddaf8694-fa9e-2949-ed0e-77198a7907fb/collections/notes"}]}
    DELETE /buckets/default
    => 200 | {"data": {"deleted": true}}
    GET /buckets/default/collections
    => 200 | {"data": []}
    GET /buckets/default | bob
    => 200
"#;

const HISTORY: &str = r#"
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c
    => 201
    PUT /buckets/b/collections/c/records/r | {"data": {"v": 1}}
    => 201 | ETag: $one
    PATCH /buckets/b/collections/c/records/r | {"data": {"v": 2}}
    => 200
    DELETE /buckets/b/collections/c/records/r
    => 200 | ETag: $gone
    GET /buckets/b/history
    => 200 | {"data": [{"action": "delete", "target": {"data": {"id": "r", "deleted": true,
       "last_modified": "$gone"}, "permissions": {}}}, {"action": "update", "target": {"data":
       {"v": 2}}}, {"action": "create", "date": "?", "user_id": "?", "uri":
       "/buckets/b/collections/c/records/r", "resource_name": "record", "record_id": "r",
       "collection_id": "c", "bucket_id": "-", "target": {"data": {"v": 1, "id": "r",
       "last_modified": "$one"}, "permissions": {"write": ["?"]}}}, {"resource_name": "collection",
       "collection_id": "c"}, {"resource_name": "bucket", "bucket_id": "b"}]}
    GET /buckets/b/history?resource_name=record&_limit=1&_sort=last_modified
    => 200 | Next-Page: ? | {"data": [{"action": "create"}]}
    GET /buckets/b/history?target.data.v=2
    => 200 | {"data": [{"action": "update"}]}
    GET /buckets/b/history?collection_id=12
    => 200 | {"data": []}
    GET /buckets/b/history/x
    => 404
    GET /buckets/none/history
    => 403
    GET /buckets/*/history
    => 404
    DELETE /buckets/b/history?action=create | bob
    => 403
    DELETE /buckets/b/history?action=create
    => 200 | {"data": ["?", "?", "?"]}
    GET /buckets/b/history
    => 200 | {"data": ["?", "?"]}
    PUT /buckets/1
    => 201
    PUT /buckets/1/collections/2
    => 201
    GET /buckets/1/history?collection_id=2
    => 200 | {"data": [{"collection_id": "2"}]}
"#;

const READERS_OF_HISTORY: &str = r#"
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c
    => 201
    PUT /buckets/b/collections/c/records/closed
    => 201
    PUT /buckets/b/collections/c/records/open | {"permissions": {"read": ["system.Authenticated"]}}
    => 201
    GET /buckets/b/history | bob
    => 200 | {"data": [{"uri": "/buckets/b/collections/c/records/open"}]}
    GET /buckets/b/history | -
    => 401
"#;

const SNAPSHOTS: &str = r#"
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c
    => 201
    PUT /buckets/b/collections/c/records/r | {"data": {"v": 1, "last_modified": 10000}}
    => 201
    PUT /buckets/b/collections/c/records/r | {"data": {"v": 2, "last_modified": 11000}}
    => 200
    PUT /buckets/b/collections/c/records/s | {"data": {"last_modified": 12000}}
    => 201
    DELETE /buckets/b/collections/c/records/r
    => 200
    GET /buckets/b/snapshot/collections/c@9999
    => 200 | ETag: - | {"data": []}
    GET /buckets/b/snapshot/collections/c@10000
    => 200 | {"data": [{"id": "r", "v": 1}]}
    GET /buckets/b/snapshot/collections/c@12000
    => 200 | {"data": [{"id": "s"}, {"id": "r", "v": 2}]}
    GET /buckets/b/snapshot/collections/c@99999999999999
    => 200 | {"data": [{"id": "s"}]}
    GET /buckets/b/snapshot/collections/none@1
    => 200 | {"data": []}
    GET /buckets/b/snapshot/collections/c@abc
    => 400
    GET /buckets/b/snapshot/collections/*@1
    => 404
    GET /buckets/b/snapshot/collections/c@1 | bob
    => 403
"#;

const ACCOUNTS: &str = r#"
    PUT /accounts/alice | - | {"data": {"password": "secret"}}
    => 201 | {"data": {"id": "alice", "password": "-"}, "permissions": {"write":
       ["account:alice"]}}
    GET / | alice
    => 200 | {"user": {"id": "account:alice"}}
    GET /accounts/alice | alice
    => 200
    GET /accounts/alice | -
    => 401
    PUT /accounts/alice | - | {"data": {"password": "mine"}}
    => 401
    GET /accounts | alice
    => 200 | {"data": [{"id": "alice"}]}
    GET /accounts | -
    => 401 | {"errno": 999, "error": "Cannot read accounts."}
    POST /accounts | - | {"data": {"id": "bob"}}
    => 400 | {"details": [{"name": "data.password"}]}
    POST /accounts | - | {"data": {"password": "x"}}
    => 400 | {"details": [{"name": "data.id"}]}
    PUT /accounts/bob | - | {"data": {"password": 1}}
    => 400
    PUT /accounts/bob | -
    => 400
    PUT /accounts/a@b.c+d | - | {"data": {"password": "x"}}
    => 201
    PUT /accounts/+a | - | {"data": {"password": "x"}}
    => 400
    PUT /accounts/eve | alice | {"data": {"password": "x"}}
    => 400 | {"details": [{"name": "data.id", "description": "Username and account ID do not
       match."}]}
    GET /accounts/eve | alice
    => 403
    PATCH /accounts/alice | alice | {"data": {"age": 1}}
    => 200 | {"data": {"age": 1}}
    GET / | alice
    => 200 | {"user": {"id": "account:alice"}}
    DELETE /accounts/alice | bob
    => 403
    DELETE /accounts/alice | alice
    => 200
    # Nobody has that account any more, so the password alone makes a user.
    GET / | alice
    => 200 | {"user": {"id":
       "basicauth:d5b0026601f1b251974e09548d44155e16812e3c64ff7ae053fe3542e2ca1570"}}
"#;

const ADMINISTRATORS: &str = r#"
    PUT /accounts/admin | - | {"data": {"password": "secret"}}
    => 201
    PUT /accounts/alice | admin | {"data": {"password": "other"}}
    => 201 | {"permissions": {"write": ["account:alice"]}}
    GET /accounts | admin
    => 200 | {"data": [{"id": "alice"}, {"id": "admin"}]}
    PUT /accounts/alice | admin | {"data": {"password": "secret"}}
    => 200
    GET /accounts/alice | alice
    => 200 | {"data": {"id": "alice"}}
    DELETE /accounts/alice | admin
    => 200
"#;

const USER_DATA: &str = r#"
    PUT /accounts/admin | - | {"data": {"password": "secret"}}
    => 201
    PUT /accounts/dan | - | {"data": {"password": "secret"}}
    => 201
    PUT /buckets/dan | dan
    => 201
    PUT /buckets/b | {"permissions": {"write": ["account:dan"], "read": ["account:dan", "x"]}}
    => 201
    PUT /buckets/b/groups/g | {"data": {"members": ["account:dan", "x"]}}
    => 201
    DELETE /__user_data__/account:dan
    => 403
    DELETE /__user_data__/account:dan | -
    => 401
    DELETE /__user_data__/account:dan | admin
    => 200 | {"data": {"principal": "account:dan"}}
    GET /buckets/dan | admin
    => 403
    GET /buckets/b
    => 200 | {"permissions": {"read": ["x"], "write": ["?"]}}
    GET /buckets/b/groups/g
    => 200 | {"data": {"members": ["x"]}}
"#;

const EXCLUDED: &str = r#"
    GET / | -
    => 200 | {"capabilities": {"history": {"excluded_resources": [{"bucket": "b", "collection":
       "quiet"}, {"bucket": "q"}]}}}
    PUT /buckets/q
    => 201
    GET /buckets/q/history
    => 200 | {"data": []}
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/quiet
    => 201
    PUT /buckets/b/collections/quiet/records/r
    => 201
    PUT /buckets/b/collections/loud
    => 201
    GET /buckets/b/history
    => 200 | {"data": [{"uri": "/buckets/b/collections/loud"}, {"uri": "/buckets/b"}]}
"#;

const TRIMMED: &str = r#"
    PUT /buckets/b
    => 201
    PUT /buckets/b | {"data": {"v": 1}}
    => 200
    PUT /buckets/b | {"data": {"v": 2}}
    => 200
    GET /buckets/b/history
    => 200 | {"data": ["?", "?", "?"]}
    PUT /buckets/b | {"data": {"v": 3}}
    => 200
    GET /buckets/b/history
    => 200 | {"data": [{"target": {"data": {"v": 3}}}, {"target": {"data": {"v": 2}}}]}
"#;
