//! Paths, media types, headers of every answer, and what a server says of itself (sections 1, 2,
//! 20 and 21 of the protocol).

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;

use super::{kinto, play_all};

both_databases!(
    paths_and_media_types,
    headers_of_every_answer,
    servers_that_are_busy_or_near_their_end
);

fn paths_and_media_types(backend: Backend) {
    let server = kinto(backend, "");
    play_all(&server, &[REDIRECTIONS, METHODS, MEDIA_TYPES, BODIES, BAD_ADDRESSES]);
}

fn headers_of_every_answer(backend: Backend) {
    play_all(&kinto(backend, ""), &[ORIGINS, UTILITIES]);
    let server = kinto(backend, "kinto.cors_origins = https://*.example.org http://a.test\n");
    play_all(&server, &[SOME_ORIGINS]);
    let lifetimes = "kinto.bucket_cache_expires_seconds = 60\n\
                     kinto.record_cache_expires_seconds = 10\n\
                     kinto.bucket_read_principals = system.Everyone\n\
                     kinto.record_read_principals = system.Everyone\n";
    play_all(&kinto(backend, lifetimes), &[LIFETIMES]);
}

fn servers_that_are_busy_or_near_their_end(backend: Backend) {
    let settings = "kinto.eos = 2999-01-01\nkinto.eos_message = move on\n\
                    kinto.eos_url = http://new.test\nkinto.backoff = 10\n";
    play_all(&kinto(backend, settings), &[NEAR_THE_END]);
    super::play(&kinto(backend, "kinto.readonly = true\n"), READ_ONLY);
    let strict = "kinto.version_prefix_redirect_enabled = false\n\
                  kinto.trailing_slash_redirect_enabled = false\n";
    super::play(&kinto(backend, strict), WITHOUT_REDIRECTIONS);
}

const REDIRECTIONS: &str = r#"
    GET !/buckets?a=1
    => 307 | Location: ~/v1/buckets?a=1 | Cache-Control: -
    POST !/buckets | {}
    => 307 | Location: ~/v1/buckets
    GET !/
    => 307 | Location: ~/v1/
    GET !/v1
    => 307 | Location: ~/v1/ | Cache-Control: max-age=3600 | Expires: ?
    GET /buckets/?a=1
    => 307 | Location: ~/v1/buckets?a=1 | Cache-Control: max-age=3600 | Expires: ?
    GET /nothing/
    => 307 | Location: ~/v1/nothing
    GET !/v2/buckets
    => 404 | {"errno": 116, "message": "The requested API version is not available on this
       server."}
    GET !/foo%0d%0abar
    => 404 | Location: -
    OPTIONS !/buckets | -
    => 200 | Location: -
"#;

const WITHOUT_REDIRECTIONS: &str = r#"
    GET !/buckets
    => 404 | {"errno": 111}
    GET /buckets/
    => 404 | {"errno": 111}
    GET !/v1
    => 404 | {"errno": 111}
"#;

const METHODS: &str = r#"
    GET /nothing
    => 404 | {"code": 404, "errno": 111, "error": "Not Found", "message": "The resource you are
       looking for could not be found."}
    GET /buckets//collections
    => 404 | {"errno": 111}
    PATCH /buckets
    => 405 | Allow: ~GET~HEAD~POST~DELETE | {"errno": 115, "error": "Method Not Allowed",
       "message": "Method not allowed on this endpoint."}
    POST /buckets/b
    => 405 | Allow: ~PUT~PATCH | {"errno": 115}
    POST /buckets/b/history
    => 405 | {"errno": 115}
    PUT /permissions
    => 405 | {"errno": 115}
    GET /batch
    => 405 | Allow: ~POST | {"errno": 115}
    GET /__user_data__/x
    => 405 | {"errno": 115}
"#;

const MEDIA_TYPES: &str = r#"
    GET /buckets | Accept: text/html
    => 406 | {"errno": 107, "error": "Invalid parameters", "details": [{"location": "header",
       "name": "Accept"}]}
    GET /buckets | Accept: text/html, application/json;q=0.1
    => 200
    GET /buckets | Accept: */*
    => 200
    # Load balancers ask for anything.
    GET /__heartbeat__ | - | Accept: text/plain
    => 200
    GET / | - | Accept: text/html
    => 200
    PUT /buckets/b | Content-Type: text/plain | {}
    => 415 | {"errno": 107, "message": "Content-Type header should be one of ['application/json']"}
    PUT /buckets/b | Content-Type: text/plain | =
    => 415
    POST /buckets | - | Content-Type: text/plain | {}
    => 415
    PUT /buckets/b | Content-Type: application/json; charset=utf-8 | {}
    => 201
    PATCH /buckets/b | Content-Type: multipart/form-data | {}
    => 415 | {"details": [{"location": "header", "name": "Content-Type"}]}
    DELETE /buckets/b | Content-Type: text/plain
    => 200
    POST /__flush__ | - | Content-Type: text/plain | =x
    => 202
"#;

const BODIES: &str = r#"
    PUT /buckets/b
    => 201 | {"data": {"id": "b"}}
    PUT /buckets/b | {"data": {}, "foo": 1}
    => 400 | {"errno": 107, "details": [{"location": "body", "name": ""}]}
    PUT /buckets/b | {"data": "x"}
    => 400 | {"details": [{"location": "body", "name": "data"}]}
    PUT /buckets/b | [1]
    => 400 | {"details": [{"location": "body", "name": ""}]}
    PUT /buckets/b | ={"data": {"a": 1}
    => 400 | {"errno": 107, "error": "Invalid parameters", "details": [{"location": "body", "name":
       ""}, {"location": "body", "name": "", "description": "Required"}]}
    PUT /buckets/b | ={"data": {"a": 01}}
    => 400
    PUT /buckets/b | ={"data": {"é.b": "ü", "n": null, "big": 12345678901234567890123}}
    => 200 | {"data": {"é.b": "ü", "n": null}}
"#;

const BAD_ADDRESSES: &str = r#"
    GET /buckets/%e8
    => 400 | {"errno": 107, "error": "Bad Request", "message": "Invalid URL path."}
    GET /buckets?a=%e8
    => 400 | {"errno": 107, "error": "Bad Request"}
    PUT /buckets/a%00b
    => 400 | {"details": [{"location": "path", "description": "Invalid object id"}]}
    GET /buckets?a=%00
    => 400 | {"details": [{"location": "querystring", "name": "a"}]}
"#;

const ORIGINS: &str = r#"
    PUT /buckets/b
    => 201 | Access-Control-Allow-Origin: - | Access-Control-Expose-Headers:
       ~Backoff~Retry-After~Alert~Content-Length
    GET /buckets/b | Origin: http://x.test
    => 200 | Access-Control-Allow-Origin: * | Access-Control-Allow-Credentials: - |
       Access-Control-Expose-Headers: ~ETag~Last-Modified~Cache-Control~Expires~Pragma
    GET /buckets | Origin: http://x.test
    => 200 | Access-Control-Expose-Headers: ~Next-Page
    HEAD /buckets | Origin: http://x.test
    => 200 | Access-Control-Expose-Headers: ~Total-Objects~Total-Records
    GET /nothing | Origin: http://x.test
    => 404 | Access-Control-Allow-Origin: *
    GET /buckets/x | - | Origin: http://x.test
    => 401 | Access-Control-Allow-Origin: *
    GET !/buckets | Origin: http://x.test
    => 307 | Access-Control-Allow-Origin: *
    GET /buckets/b | Origin: http://x.test | If-None-Match: *
    => 412 | Access-Control-Allow-Origin: *
    OPTIONS /buckets/b | - | Origin: http://x.test | Access-Control-Request-Method: PUT |
       Access-Control-Request-Headers: X-One
    => 200 | Access-Control-Allow-Origin: * | Access-Control-Allow-Methods: ~PUT~PATCH |
       Access-Control-Allow-Headers: ~X-One | Access-Control-Max-Age: 3600
    OPTIONS /buckets/default/collections | - | Origin: http://x.test |
       Access-Control-Request-Method: POST
    => 200 | Access-Control-Allow-Methods: GET, HEAD, POST, DELETE, OPTIONS
    OPTIONS /buckets | -
    => 400
    GET /buckets
    => 200 | X-Content-Type-Options: nosniff | Content-Security-Policy: ~default-src
       'none'~frame-ancestors 'none'~base-uri 'none'
"#;

const SOME_ORIGINS: &str = r#"
    GET /buckets | Origin: https://app.example.org
    => 200 | Access-Control-Allow-Origin: https://app.example.org
    GET /buckets | Origin: http://a.test
    => 200 | Access-Control-Allow-Origin: http://a.test
    GET /buckets | Origin: http://evil.test
    => 200 | Access-Control-Allow-Origin: -
    GET /buckets | Origin: https://example.org.evil.test
    => 200 | Access-Control-Allow-Origin: -
"#;

const LIFETIMES: &str = r#"
    PUT /buckets/b
    => 201 | Cache-Control: -
    PUT /buckets/b/collections/c
    => 201
    PUT /buckets/b/collections/c/records/r
    => 201
    GET /buckets/b
    => 200 | Cache-Control: no-cache, no-store | Expires: -
    GET /buckets/b | -
    => 200 | Cache-Control: max-age=60 | Expires: ?
    GET /buckets/b/collections/c/records | -
    => 200 | Cache-Control: max-age=10
    # A collection may give its records a longer life, not a shorter one.
    PATCH /buckets/b/collections/c | {"data": {"cache_expires": 3600}}
    => 200
    GET /buckets/b/collections/c/records/r | -
    => 200 | Cache-Control: max-age=3600
    GET /buckets/b/collections/c/records/r
    => 200 | Cache-Control: no-cache, no-store
    PATCH /buckets/b/collections/c | {"data": {"cache_expires": 1}}
    => 200
    GET /buckets/b/collections/c/records/r | -
    => 200 | Cache-Control: max-age=10
    GET /buckets/default/collections
    => 200 | Cache-Control: no-cache, no-store
    GET /permissions | -
    => 200 | Cache-Control: no-cache, no-store
"#;

const UTILITIES: &str = r#"
    GET / | -
    => 200 | {"project_name": "?", "project_version": "?", "http_api_version": "1.23",
       "project_docs": "?", "url": "?", "config": null, "user": "-", "settings": {"readonly":
       false, "explicit_permissions": true, "batch_max_requests": 25}, "capabilities":
       {"basicauth": {"url": "?"}, "default_bucket": {}, "accounts": {"validation_enabled": false},
       "history": {}, "flush_endpoint": {}, "counters_endpoint": {}, "permissions_endpoint": {},
       "schema": {}}}
    # The user of the fixtures of Kinto's clients.
    GET /
    => 200 | {"user": {"id":
       "basicauth:8a931a10fc88ab2f6d1cc02a07d3a81b5d4768f6f13e85c5d8d4180419acb1b4", "bucket":
       "ddaf8694-fa9e-2949-ed0e-77198a7907fb", "principals": ["?", "?", "?"]}}
    GET /__heartbeat__ | -
    => 200 | {"storage": true, "permission": true, "cache": true}
    GET /__lbheartbeat__ | -
    => 200 | {}
    GET /__version__ | -
    => 404
    GET /contribute.json | -
    => 200 | {"name": "?", "description": "?", "repository": {}, "participate": {}, "bugs": {},
       "keywords": "?"}
    GET /__api__ | -
    => 200 | {"swagger": "2.0", "basePath": "/v1", "info": {"version": "1.23"}, "paths":
       {"/buckets/{id}": {"get": {"operationId": "get_bucket"}}}}
    PUT /buckets/b
    => 201
    PUT /buckets/b/collections/c
    => 201
    DELETE /buckets/b/collections/c
    => 200
    GET /__counters__ | -
    => 200 | {"objects": {"bucket": 1, "collection": "-"}, "tombstones": {"collection": 1}}
    POST /__flush__ | -
    => 202 | {}
    GET /buckets
    => 200 | {"data": []}
"#;

const NEAR_THE_END: &str = r#"
    GET /buckets
    => 200 | Alert: ~soft-eol~move on~http://new.test | Backoff: 10
    GET /nothing
    => 404 | Alert: ~soft-eol | Backoff: 10
    GET / | -
    => 200 | Alert: ? | {"eos": "2999-01-01"}
"#;

const READ_ONLY: &str = r#"
    GET /buckets
    => 200
    GET / | -
    => 200 | Cache-Control: max-age=86400 | {"settings": {"readonly": true}}
    PUT /buckets/b
    => 405 | {"errno": 115}
    POST /batch | {"requests": []}
    => 405
    POST /__flush__
    => 405
    GET /buckets/default
    => 405
"#;
