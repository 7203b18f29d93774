//! Texts and numbers that databases take differently: both keep what a client wrote, and refuse
//! the same.

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;

use super::{kinto, play_all};

both_databases!(texts);

fn texts(backend: Backend) {
    let deep = deep();
    let transcripts = [NUMBERS, CHARACTERS, NULS_IN_NAMES, NULS_IN_QUESTIONS, SURROGATES, &deep];
    play_all(&kinto(backend, ""), &transcripts);
}

/// What is written comes back as it was written, also where no number of a computer is that exact.
const NUMBERS: &str = r#"
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c
    => 201
    PUT /buckets/b/collections/c/records/n
        | ={"data": {"a": 0.1000, "b": 12345678901234567890, "c": -0, "d": 1E+2, "e": 1e-7,
        "f": 123456789012345678901234567890, "g": 0.1234567890123456789, "h": -0.0, "i": 5e-324}}
    => 201 | ="a":0.1000,"b":12345678901234567890,"c":-0,"d":1E+2,"e":1e-7,
       | ="f":123456789012345678901234567890,"g":0.1234567890123456789,"h":-0.0,"i":5e-324
    GET /buckets/b/collections/c/records/n
    => 200 | ="a":0.1000,"b":12345678901234567890,"c":-0,"d":1E+2,"e":1e-7,
       | ="f":123456789012345678901234567890,"g":0.1234567890123456789,"h":-0.0,"i":5e-324
    GET /buckets/b/collections/c/records
    => 200 | ="a":0.1000,"b":12345678901234567890,"c":-0,"d":1E+2,"e":1e-7,
    PATCH /buckets/b/collections/c/records/n | {"data": {"z": 1}}
    => 200 | ="a":0.1000,"b":12345678901234567890,"c":-0,"d":1E+2,"e":1e-7,
    GET /buckets/b/collections/c/records?a=0.1
    => 200 | {"data": [{"id": "n"}]}
    GET /buckets/b/collections/c/records?d=100
    => 200 | {"data": [{"id": "n"}]}
    GET /buckets/b/collections/c/records?min_b=12345678901234567000
    => 200 | {"data": [{"id": "n"}]}
    # Beyond all bounds.
    PUT /buckets/b/collections/c/records/m | ={"data": {"a": 1e400}}
    => 400 | {"errno": 107}
    PUT /buckets/b/collections/c/records/m | ={"data": {"a": -1e400}}
    => 400
    PUT /buckets/b/collections/c/records/m | ={"data": {"a": NaN}}
    => 400
    PUT /buckets/b/collections/c/records/m | ={"data": {"a": 01}}
    => 400
    GET /buckets/b/collections/c/records/m
    => 404
"#;

/// Characters come back as they were written: escaped or not, composed or not, in any plane.
const CHARACTERS: &str = r#"
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c
    => 201
    PUT /buckets/b/collections/c/records/t | ={"data": {"nul": "a\u0000b", "n\u0000m": "\u0007\t",
        "astral": "\ud83d\ude00", "same": "😀", "cafe": "é", "composed": "é", "noncharacter": "\uffff",
        "slash": "\/", "quote": "\"\\'", "E'": "$1 %s ?"}}
    => 201 | {"data": {"nul": "a\u0000b", "n\u0000m": "\u0007\t", "astral": "😀", "same": "😀",
       "noncharacter": "\uffff", "slash": "/", "quote": "\"\\'", "E'": "$1 %s ?"}}
    GET /buckets/b/collections/c/records/t
    => 200 | {"data": {"nul": "a\u0000b", "n\u0000m": "\u0007\t", "astral": "😀", "same": "😀",
       "cafe": "é", "composed": "é", "noncharacter": "\uffff", "slash": "/", "E'": "$1 %s ?"}}
       | ="astral":"\ud83d\ude00"
    # Also where it is put together anew.
    PATCH /buckets/b/collections/c/records/t | {"data": {"more": "x\u0000y"}}
    => 200 | {"data": {"nul": "a\u0000b", "more": "x\u0000y"}}
    PATCH /buckets/b/collections/c/records/t | Content-Type: application/json-patch+json
        | [{"op": "add", "path": "/data/list", "value": ["\u0000"]}]
    => 200 | {"data": {"nul": "a\u0000b", "list": ["\u0000"]}}
    GET /buckets/b/collections/c/records?_sort=nul
    => 200 | {"data": [{"nul": "a\u0000b", "list": ["\u0000"]}]}
    GET /buckets/b/collections/c/records?same=%F0%9F%98%80
    => 200 | {"data": [{"id": "t"}]}
    GET /buckets/b/collections/c/records?cafe=e%CC%81
    => 200 | {"data": []}
    PUT /buckets/b/groups/g | {"data": {"note": "a\u0000b", "members": ["bob"]}}
    => 201 | {"data": {"note": "a\u0000b"}}
    GET /buckets/b/groups/g
    => 200 | {"data": {"note": "a\u0000b", "members": ["bob"]}}
    GET /buckets/b/history?uri=/buckets/b/groups/g
    => 200 | {"data": [{"target": {"data": {"note": "a\u0000b"}}}]}
"#;

/// A character 0 cannot be in the name of anybody or anything.
const NULS_IN_NAMES: &str = r#"
    PUT /buckets/b | {"permissions": {"read": ["b\u0000b"]}}
    => 400 | {"errno": 107, "details": [{"location": "body", "name": "permissions.read",
       "description": "the character U+0000 cannot be in a name"}]}
    GET /buckets/b
    => 403
    PUT /buckets/b
    => 201
    PATCH /buckets/b | {"permissions": {"write": ["\u0000"]}}
    => 400 | {"details": [{"name": "permissions.write"}]}
    PATCH /buckets/b | Content-Type: application/json-patch+json
        | [{"op": "add", "path": "/permissions/read/b\u0000b"}]
    => 400
    PUT /buckets/b/groups/g | {"data": {"members": ["bob", "b\u0000b"]}}
    => 400 | {"details": [{"location": "body", "name": "data.members"}]}
    PUT /buckets/b/groups/g | {"data": {"members": ["bob"]}}
    => 201
    PATCH /buckets/b/groups/g | {"data": {"members": ["b\u0000b"]}}
    => 400
    PATCH /buckets/b/groups/g | Content-Type: application/json-patch+json
        | [{"op": "add", "path": "/data/members/-", "value": "b\u0000b"}]
    => 400
    GET /buckets/b/groups/g
    => 200 | {"data": {"members": ["bob"]}}
    POST /buckets | {"data": {"id": "b\u0000b"}}
    => 400
    PUT /buckets/b%00b
    => 400
    PUT /accounts/b%00b | - | {"data": {"password": "p"}}
    => 400
    POST /accounts | - | {"data": {"id": "b\u0000b", "password": "p"}}
    => 400
    # In a batch it is the refusal of one request.
    POST /batch | {"requests": [
        {"method": "PUT", "path": "/buckets/b/groups/n", "body": {"data": {"members": ["\u0000"]}}},
        {"method": "PUT", "path": "/buckets/b/groups/o", "body": {"data": {"members": ["x"]}}}]}
    => 200 | {"responses": [{"status": 400}, {"status": 201}]}
    GET /buckets/b/groups/o
    => 200
"#;

/// Whoever asks with a character 0 finds nothing, and is told the same as with any other name.
const NULS_IN_QUESTIONS: &str = r#"
    PUT /buckets/b | {"permissions": {"read": ["system.Everyone"]}}
    => 201
    PUT /buckets/b/collections/c
    => 201
    GET /buckets/b%00b
    => 403
    GET /buckets/b%00b/collections/c/records
    => 404
    GET /buckets/b/collections/c%00/records
    => 404
    GET /buckets/b/collections/c/records/r%00
    => 400
    GET /buckets/b/collections/c/records?name=a%00b
    => 400
    GET /buckets/b/collections/c/records?name="a\u0000b"
    => 200 | {"data": []}
    GET /buckets/b/collections/c/records?id="a\u0000b"
    => 200 | {"data": []}
    GET /buckets/b/collections/c/records?in_id="a\u0000b","c"
    => 200 | {"data": []}
    GET /buckets/b/collections/c/records?min_id="\u0000"&_sort=id
    => 200 | {"data": []}
    GET /buckets/b/collections/c/records?like_name="a\u0000b"
    => 200 | {"data": []}
    GET /buckets/b/collections/c/records?not_id="a\u0000b"
    => 200 | {"data": []}
    GET /buckets/b/history?user_id="a\u0000b"
    => 200 | {"data": []}
    GET /permissions?uri="a\u0000b"
    => 200 | {"data": []}
    GET /permissions?bucket_id="a\u0000b"
    => 200 | {"data": []}
    # A name that has an account nowhere, and one that only basicauth knows.
    GET / | b\u0000b
    => 200
    GET /accounts | - | Authorization: Basic YQBiOnNlY3JldA==
    => 200 | {"data": []}
    GET / | - | Authorization: Basic YQBiOnNlY3JldA==
    => 200
    GET /accounts/b%00b
    => 403
    DELETE /__user_data__/b%00b
    => 403
    PUT /accounts/admin | - | {"data": {"password": "secret"}}
    => 201
    DELETE /__user_data__/b%00b | admin
    => 200
"#;

/// Half a character is no text.
const SURROGATES: &str = r#"
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c
    => 201
    PUT /buckets/b/collections/c/records/t | ={"data": {"a": "\ud800"}}
    => 400 | {"errno": 107}
    PUT /buckets/b/collections/c/records/t | ={"data": {"a": "\udc00\ud800"}}
    => 400
    PUT /buckets/b/collections/c/records/t | ={"data": {"a\ud800": 1}}
    => 400
    PUT /buckets/b/collections/c/records/t | ={"data": {"a": ["\ud83dx"]}}
    => 400
    PUT /buckets/b/groups/g | ={"data": {"members": ["\ud800"]}}
    => 400
    PUT /buckets/b/groups/g | ={"permissions": {"read": ["\ud800"]}}
    => 400
    GET /buckets/b/collections/c/records?name=%ED%A0%80
    => 400
    GET /buckets/b/collections/c/records
    => 200 | {"data": []}
"#;

/// As deep as may be, and one deeper.
fn deep() -> String {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    format!(
        r#"
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c
    => 201
    PUT /buckets/b/collections/c/records/d | ={{"data": {{"a": {deepest}}}}}
    => 201 | ="a":{deepest}
    GET /buckets/b/collections/c/records/d
    => 200 | ="a":{deepest}
    GET /buckets/b/collections/c/records?_sort=a
    => 200 | ="a":{deepest}
    PUT /buckets/b/collections/c/records/e | ={{"data": {{"a": {deeper}}}}}
    => 400
    PUT /buckets/b/collections/c/records/e | ={{"data": {{"a": {far}}}}}
    => 400
"#,
        deepest = nested(63),
        deeper = nested(64),
        far = nested(10_000),
    )
}
