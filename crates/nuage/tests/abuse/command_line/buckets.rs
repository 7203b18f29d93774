//! A stranger puts everybody into too many groups, and the operator cannot remove the bucket that
//! does it.

use std::process::{Command, Output};
use std::time::Duration;

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::client::Call;
use nuage_testkit::server::Server;
use serde_json::json;

use crate::abuse::command_line::{assert_end, send};
use crate::abuse::{assert_peak, bounded_with, eventually};

both_databases!(
    strangers_groups_lock_nobody_out,
    deleting_a_bucket_beside_the_server_is_noticed_and_whole,
);

const LIMITS: [&str; 1] = ["limits.principals=20"];
const PATIENCE: Duration = Duration::from_secs(15);
const ATTACKER: &str = "mallory:1";
const VICTIM: &str = "bob:2";

/// Makes groups of everybody who is logged in.
fn trap(server: &Server, groups: std::ops::Range<usize>) {
    let put = Call::put("/v1/buckets/trap", &json!({}));
    assert!(matches!(send(server, put, ATTACKER).status, 200 | 201));
    for from in groups.clone().step_by(25) {
        let requests: Vec<_> = (from..groups.end.min(from + 25))
            .map(|n| {
                let body = json!({"data": {"members": ["system.Authenticated"]}});
                json!({"method": "PUT", "path": format!("/buckets/trap/groups/g{n}"), "body": body})
            })
            .collect();
        let batch = Call::post("/v1/batch", &json!({ "requests": requests }));
        assert_eq!(send(server, batch, ATTACKER).status, 200);
    }
}

fn bucket(server: &Server, arguments: &[&str]) -> Output {
    let mut command: Command = server.tool("bucket");
    command.args(arguments).stdin(std::process::Stdio::null()).output().unwrap()
}

fn strangers_groups_lock_nobody_out(backend: Backend) {
    let server = bounded_with(backend, &LIMITS).start();
    let own = Call::put("/v1/buckets/own", &json!({}));
    assert_eq!(send(&server, own, VICTIM).status, 201);
    trap(&server, 0..300);
    let hello = send(&server, Call::get("/v1/"), VICTIM).json();
    let principals = hello["user"]["principals"].as_array().unwrap();
    assert_eq!(principals.len(), 20, "what the root tells is bounded");
    assert!(principals.contains(&hello["user"]["id"]), "and begins with the person");
    assert_eq!(hello["user"]["principals_truncated"], true);
    for path in ["/v1/buckets", "/v1/buckets/own", "/v1/buckets/own/collections", "/v1/permissions"]
    {
        assert_eq!(send(&server, Call::get(path), VICTIM).status, 200, "{path}");
    }
    let listed = send(&server, Call::get("/v1/buckets"), VICTIM).json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{listed}");
    // What is shared with such a group is listed all the same.
    let readers = json!({"permissions": {"read": ["/buckets/trap/groups/g123"]}});
    assert_eq!(send(&server, Call::patch("/v1/buckets/trap", &readers), ATTACKER).status, 200);
    let listed = send(&server, Call::get("/v1/buckets"), VICTIM).json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 2, "{listed}");

    let listed = bucket(&server, &["list"]);
    assert_end(&listed, 0, &["trap", "300 groups", "basicauth:"]);
    assert_end(
        &bucket(&server, &["list", "--json"]),
        0,
        &["\"groups\":300", "\"owners\":[\"basic"],
    );
    assert_end(&bucket(&server, &["delete", "trap"]), 2, &["--yes"]);
    assert_end(&bucket(&server, &["delete", "trip", "--yes"]), 1, &["There is no bucket trip"]);
    assert_end(&bucket(&server, &["delete", "", "--yes"]), 1, &["There is no bucket"]);
    assert_end(&bucket(&server, &["delete", "trap", "--yes"]), 0, &["trap is deleted"]);
    let listed = || send(&server, Call::get("/v1/buckets"), VICTIM).json();
    assert!(eventually(PATIENCE, || listed()["data"].as_array().unwrap().len() == 1));
    assert_end(&bucket(&server, &["delete", "trap", "--yes"]), 1, &["There is no bucket trap"]);
    assert_peak(&server, 400);
    let (code, words) = server.check();
    assert_eq!(code, Some(0), "{words}");
}

fn deleting_a_bucket_beside_the_server_is_noticed_and_whole(backend: Backend) {
    let server = bounded_with(backend, &["history.enabled=true"]).start();
    let records = "/v1/buckets/blog/collections/posts/records";
    let owner = |call: Call| send(&server, call, "ann:1");
    for path in ["/v1/buckets/blog", "/v1/buckets/blog/collections/posts", "/v1/buckets/other"] {
        assert_eq!(owner(Call::put(path, &json!({}))).status, 201);
    }
    for n in 0..3 {
        let put = Call::put(format!("{records}/r{n}"), &json!({"data": {"n": n}}));
        assert_eq!(owner(put).status, 201);
    }
    assert_eq!(owner(Call::delete(format!("{records}/r0"))).status, 200);
    let feed = "/v1/buckets/blog/collections/posts/feed";
    let token = owner(Call::get(feed)).json()["token"].as_str().unwrap().to_owned();
    assert_end(&bucket(&server, &["list"]), 0, &["blog", "2 records", "1 collections"]);
    assert_end(&bucket(&server, &["delete", "blog", "--yes"]), 0, &["with 2 records"]);
    let gone = || {
        owner(Call::get(format!("{records}/r1"))).status == 403
            && owner(Call::get(format!("{feed}?token={token}"))).status == 403
    };
    assert!(eventually(PATIENCE, gone), "the server goes on with what is deleted");
    assert_eq!(owner(Call::get("/v1/buckets/other")).status, 200);
    // Nothing of it comes back with a new one of that name.
    for path in ["/v1/buckets/blog", "/v1/buckets/blog/collections/posts"] {
        assert_eq!(owner(Call::put(path, &json!({}))).status, 201);
    }
    assert_eq!(owner(Call::get(records)).json()["data"], json!([]));
    let (code, words) = server.check();
    assert_eq!(code, Some(0), "{words}");
}
