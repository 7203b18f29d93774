//! Filters, sorts, fields, totals and pages (sections 7 and 8 of the protocol).

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;

use super::{kinto, play_all};

both_databases!(filters_and_sorts, pages);

fn filters_and_sorts(backend: Backend) {
    play_all(
        &kinto(backend, ""),
        &[FILTERS, TEXT_AND_ARRAYS, NESTED, TIME_FILTERS, SORTS, FIELDS, TOTALS],
    );
}

fn pages(backend: Backend) {
    play_all(&kinto(backend, ""), &[PAGES, EQUAL_SORT_VALUES, PAGES_OF_DELETIONS, FORGED_TOKENS]);
    play_all(&kinto(backend, "kinto.paginate_by = 2\n"), &[PAGES_BY_SETTING]);
}

const FILTERS: &str = r#"
    PUT /buckets/b | {"data": {"n": 1}}
    => 201
    PUT /buckets/c | {"data": {"n": "1"}}
    => 201
    PUT /buckets/d | {"data": {"n": true, "m": null}}
    => 201
    PUT /buckets/e | {"data": {"m": 5}}
    => 201
    GET /buckets?n=1
    => 200 | {"data": [{"id": "b"}]}
    GET /buckets?n=1.0
    => 200 | {"data": [{"id": "b"}]}
    GET /buckets?n=%221%22
    => 200 | {"data": [{"id": "c"}]}
    GET /buckets?n=true
    => 200 | {"data": [{"id": "d"}]}
    GET /buckets?n=True
    => 200 | {"data": []}
    GET /buckets?m=null
    => 200 | {"data": [{"id": "d"}]}
    GET /buckets?not_n=1
    => 200 | {"data": [{"id": "e"}, {"id": "d"}, {"id": "c"}]}
    # Missing sorts last: greater than everything, less than nothing.
    GET /buckets?gt_n=1
    => 200 | {"data": [{"id": "e"}, {"id": "d"}]}
    GET /buckets?min_n=1
    => 200 | {"data": [{"id": "e"}, {"id": "d"}, {"id": "b"}]}
    GET /buckets?lt_n=2
    => 200 | {"data": [{"id": "c"}, {"id": "b"}]}
    GET /buckets?max_n=1
    => 200 | {"data": [{"id": "c"}, {"id": "b"}]}
    GET /buckets?in_n=1,%221%22,
    => 200 | {"data": [{"id": "c"}, {"id": "b"}]}
    GET /buckets?in_id=b,e,
    => 200 | {"data": [{"id": "e"}, {"id": "b"}]}
    GET /buckets?exclude_id=b,e
    => 200 | {"data": [{"id": "d"}, {"id": "c"}]}
    GET /buckets?in_n=
    => 200 | {"data": []}
    GET /buckets?has_m=true
    => 200 | {"data": [{"id": "e"}, {"id": "d"}]}
    GET /buckets?has_m=false&not_n=1
    => 200 | {"data": [{"id": "c"}]}
    GET /buckets?_expected=123
    => 200 | {"data": ["?", "?", "?", "?"]}
    GET /buckets?id=1
    => 400 | {"details": [{"location": "querystring", "name": "id"}]}
    GET /buckets?in_id=1
    => 400
"#;

const TEXT_AND_ARRAYS: &str = r#"
    PUT /buckets/b | {"data": {"t": "Grüße", "c": ["blue", "red"]}}
    => 201
    PUT /buckets/c | {"data": {"t": "100%", "c": ["blue"]}}
    => 201
    PUT /buckets/d | {"data": {"t": 12, "c": "blue"}}
    => 201
    PUT /buckets/e | {"data": {}}
    => 201
    GET /buckets?like_t=grü
    => 200 | {"data": [{"id": "b"}]}
    GET /buckets?like_t=g*e
    => 200 | {"data": [{"id": "b"}]}
    GET /buckets?like_t=*r
    => 200 | {"data": []}
    GET /buckets?like_t=%25
    => 200 | {"data": [{"id": "c"}]}
    GET /buckets?like_t=_
    => 200 | {"data": []}
    GET /buckets?like_t=1
    => 400 | {"details": [{"name": "like_t", "description": "Invalid value for like_t"}]}
    GET /buckets?contains_c=blue
    => 200 | {"data": [{"id": "c"}, {"id": "b"}]}
    GET /buckets?contains_c=[%22blue%22,%22red%22]
    => 200 | {"data": [{"id": "b"}]}
    GET /buckets?contains_any_c=[%22red%22,%22green%22]
    => 200 | {"data": [{"id": "b"}]}
    GET /buckets?contains_c=[]
    => 200 | {"data": [{"id": "c"}, {"id": "b"}]}
    GET /buckets?contains_any_c=[]
    => 200 | {"data": []}
    GET /buckets?contains_id=b
    => 400
"#;

const NESTED: &str = r#"
    PUT /buckets/b | {"data": {"o": {"p": {"q": 1}}}}
    => 201
    PUT /buckets/c | {"data": {"o": {"p": 1}}}
    => 201
    GET /buckets?o.p.q=1
    => 200 | {"data": [{"id": "b"}]}
    GET /buckets?has_o.p=true
    => 200 | {"data": [{"id": "c"}, {"id": "b"}]}
    GET /buckets?_sort=o.p
    => 200 | {"data": [{"id": "c"}, {"id": "b"}]}
"#;

const TIME_FILTERS: &str = r#"
    PUT /buckets/b
    => 201 | ETag: $b
    PUT /buckets/c
    => 201 | ETag: $c
    GET /buckets?_since=$b
    => 200 | {"data": [{"id": "c"}]}
    GET /buckets?_before=$c
    => 200 | {"data": [{"id": "b"}]}
    GET /buckets?_to=$c
    => 200 | Alert: ~soft-eol~_before | {"data": [{"id": "b"}]}
    GET /buckets?gt_last_modified=$b
    => 200 | {"data": [{"id": "c"}]}
    GET /buckets?in_last_modified=$b
    => 200 | {"data": [{"id": "b"}]}
    GET /buckets?_since=
    => 400 | {"details": [{"location": "querystring", "name": "_since"}]}
    GET /buckets?_since=abc
    => 400
    GET /buckets?_since=-1
    => 400
    # What was told once is accepted, however far ahead it is.
    GET /buckets?_since=99999999999999
    => 200 | {"data": []}
    GET /buckets?_since=9007199254740992
    => 400
    GET /buckets?last_modified=abc
    => 400
    GET /buckets?contains_last_modified=1
    => 400
"#;

const SORTS: &str = r#"
    PUT /buckets/b | {"data": {"n": 2, "m": [1, "a"]}}
    => 201
    PUT /buckets/c | {"data": {"n": "x", "m": [null]}}
    => 201
    PUT /buckets/d | {"data": {"n": null}}
    => 201
    PUT /buckets/e | {"data": {"m": 1}}
    => 201
    PUT /buckets/f | {"data": {"n": [1]}}
    => 201
    PUT /buckets/g | {"data": {"n": false}}
    => 201
    GET /buckets
    => 200 | {"data": [{"id": "g"}, {"id": "f"}, {"id": "e"}, {"id": "d"}, {"id": "c"}, {"id":
       "b"}]}
    # null, string, number, boolean, array, object, missing.
    GET /buckets?_sort=n
    => 200 | {"data": [{"id": "d"}, {"id": "c"}, {"id": "b"}, {"id": "g"}, {"id": "f"}, {"id":
       "e"}]}
    GET /buckets?_sort=-n
    => 200 | {"data": [{"id": "e"}, {"id": "f"}, {"id": "g"}, {"id": "b"}, {"id": "c"}, {"id":
       "d"}]}
    GET /buckets?_sort=m,-id
    => 200 | {"data": [{"id": "e"}, {"id": "c"}, {"id": "b"}, {"id": "g"}, {"id": "f"}, {"id":
       "d"}]}
    GET /buckets?_sort=last_modified
    => 200 | {"data": [{"id": "b"}, {"id": "c"}, {"id": "d"}, {"id": "e"}, {"id": "f"}, {"id":
       "g"}]}
    GET /buckets?_sort=,-&_limit=1
    => 200 | {"data": [{"id": "g"}]}
"#;

const FIELDS: &str = r#"
    PUT /buckets/b | {"data": {"a": 1, "o": {"p": 1, "q": 2}}}
    => 201
    GET /buckets?_fields=a
    => 200 | {"data": [{"id": "b", "last_modified": "?", "a": 1, "o": "-"}]}
    GET /buckets?_fields=o.p,none
    => 200 | {"data": [{"id": "b", "a": "-", "o": {"p": 1, "q": "-"}}]}
    GET /buckets/b?_fields=a
    => 200 | {"data": {"a": 1, "o": "-"}, "permissions": "-"}
    GET /buckets/b/history?_fields=uri,none
    => 400
    GET /buckets/b/history?none=1
    => 400 | {"details": [{"location": "querystring", "description": "Unknown filter field
       'none'"}]}
    GET /buckets/b/history?_sort=none
    => 400 | {"message": "querystring: Unknown sort field 'none'"}
    GET /permissions?none=1
    => 400
    GET /permissions?_fields=uri
    => 200 | {"data": [{"uri": "/buckets/b", "id": "b", "permissions": "-"}, {"uri": "/", "id":
       "-", "last_modified": "-"}]}
"#;

const TOTALS: &str = r#"
    PUT /buckets/b | {"data": {"n": 1}}
    => 201
    PUT /buckets/c
    => 201
    DELETE /buckets/c
    => 200
    PUT /buckets/d
    => 201
    HEAD /buckets
    => 200 | Total-Objects: 2 | Total-Records: 2
    HEAD /buckets?_limit=1
    => 200 | Total-Objects: 2
    HEAD /buckets?n=1
    => 200 | Total-Objects: 1
    GET /buckets
    => 200 | Total-Objects: - | Total-Records: -
    HEAD /buckets/b/history
    => 200 | Total-Objects: -
"#;

const PAGES: &str = r#"
    PUT /buckets/a
    => 201
    PUT /buckets/b
    => 201
    PUT /buckets/c
    => 201
    GET /buckets?_limit=3
    => 200 | Next-Page: -
    GET /buckets?_limit=0
    => 200 | Next-Page: - | {"data": ["?", "?", "?"]}
    GET /buckets?_limit=2&_sort=id
    => 200 | ETag: $first | Next-Page: $next | {"data": [{"id": "a"}, {"id": "b"}]}
    # What happens in between neither hides nor repeats others, and is told to whoever asks for
    # what changed since any of the pages.
    PUT /buckets/aa
    => 201
    DELETE /buckets/b
    => 200
    GET $next
    => 200 | ETag: $first | Next-Page: - | {"data": [{"id": "c"}]}
    GET $next
    => 200 | {"data": [{"id": "c"}]}
    GET /buckets?_since=$first
    => 200 | {"data": [{"id": "b", "deleted": true}, {"id": "aa"}]}
    GET /buckets?_limit=abc
    => 400 | {"details": [{"name": "_limit"}]}
    GET /buckets?_limit=-1
    => 400
    GET /buckets/default/collections
    => 200 | Next-Page: -
"#;

const EQUAL_SORT_VALUES: &str = r#"
    PUT /buckets/a | {"data": {"n": 1}}
    => 201
    PUT /buckets/b | {"data": {"n": 1}}
    => 201
    PUT /buckets/c
    => 201
    GET /buckets?_sort=n&_limit=1
    => 200 | Next-Page: $two | {"data": [{"id": "b"}]}
    GET $two
    => 200 | Next-Page: $three | {"data": [{"id": "a"}]}
    GET $three
    => 200 | Next-Page: - | {"data": [{"id": "c"}]}
"#;

const PAGES_OF_DELETIONS: &str = r#"
    PUT /buckets/a
    => 201
    PUT /buckets/b
    => 201
    PUT /buckets/c
    => 201
    DELETE /buckets?_limit=1&_sort=id
    => 200 | Next-Page: $next | {"data": [{"id": "a", "deleted": true}]}
    DELETE $next
    => 200 | {"data": [{"id": "b"}]}
    DELETE $next
    => 400 | {"message": "querystring: _token was already used or has expired."}
    GET /buckets
    => 200 | {"data": [{"id": "c"}]}
"#;

const FORGED_TOKENS: &str = r#"
    GET /buckets?_token=abc
    => 400 | {"errno": 107, "message": "querystring: _token has invalid content"}
    GET /buckets?_token=bnVsbA==
    => 400
    GET /buckets?_token=eyJsYXN0X29iamVjdCI6eyJsYXN0X21vZGlmaWVkIjoxfX0=
    => 400
"#;

const PAGES_BY_SETTING: &str = r#"
    PUT /buckets/a
    => 201
    PUT /buckets/b
    => 201
    PUT /buckets/c
    => 201
    GET /buckets
    => 200 | Next-Page: ~_limit=2 | {"data": ["?", "?"]}
    GET /buckets?_limit=5
    => 200 | {"data": ["?", "?"]}
    GET /buckets?_limit=0
    => 200 | {"data": ["?", "?"]}
    GET /buckets?_limit=1
    => 200 | {"data": ["?"]}
"#;
