//! Guessing at passwords, and what is told of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::client::{Answer, Call, Client};
use nuage_testkit::server::{Server, Setup};
use serde_json::{Value, json};

use super::{assert_peak, bounded, eventually};

both_databases!(
    no_answer_shows_a_hash,
    nothing_can_be_asked_of_a_hash,
    two_hundred_connections_that_guess_stop_no_log_in,
    who_guesses_locks_nobody_out,
    what_is_told_of_guesses_tells_of_no_account
);

/// Anybody may sign up, and `admin` may manage accounts.
fn people(backend: Backend, settings: &[&str]) -> Setup {
    let open = ["grants.account_create=system.Everyone", "grants.account_write=account:admin"];
    let settings = open.iter().chain(settings);
    settings.fold(bounded(backend), |setup, setting| setup.argument("--set").argument(*setting))
}

fn send(client: &mut Client, call: Call) -> Answer {
    let told = call.to_string();
    client.send(&call).unwrap_or_else(|error| panic!("{told}: {error}"))
}

fn sign_up(client: &mut Client, name: &str, password: &str) -> Answer {
    let body = json!({"data": {"password": password, "age": 7}});
    send(client, Call::put(format!("/v1/accounts/{name}"), &body))
}

/// Whether this name and password make the person of that account.
fn logs_in(client: &mut Client, name: &str, password: &str) -> bool {
    let answer = send(client, Call::get("/v1/").login(&format!("{name}:{password}")));
    answer.json()["user"]["id"] == format!("account:{name}")
}

/// A change in one of the notations that there are for it.
fn patch(path: &str, kind: &str, body: &Value) -> Call {
    let mut call = Call::new("PATCH", path).header("Content-Type", kind);
    call.body = Some(body.to_string().into_bytes());
    call
}

fn assert_hidden(call: &Call, answer: &Answer) {
    let body = String::from_utf8_lossy(&answer.body);
    for word in ["argon2", "$m=", "\"password\":"] {
        assert!(!body.contains(word), "{call}\n{answer}");
    }
    for (name, value) in &answer.headers {
        assert!(!value.contains("argon2"), "{call}\n{name}: {value}");
    }
}

fn no_answer_shows_a_hash(backend: Backend) {
    let server = people(backend, &["history.enabled=true"]).start();
    let mut client = server.client();
    for name in ["admin", "alice", "bob"] {
        let answer = sign_up(&mut client, name, "right");
        assert_eq!(answer.status, 201, "{answer}");
        assert_hidden(&Call::default(), &answer);
        assert_eq!(answer.json()["data"]["age"], 7);
    }
    let account = "/v1/accounts/alice";
    let shared = json!({"permissions": {"read": ["account:bob"], "write": ["account:bob"]}});
    let batch = json!({"requests": [
        {"path": "/accounts"}, {"path": "/accounts/alice"},
        {"method": "PATCH", "path": "/accounts/alice", "body": {"data": {"password": "right"}}},
        {"method": "PUT", "path": "/accounts/alice", "body": {"data": {"password": "right"}},
         "headers": {"If-None-Match": "*"}},
    ]});
    let patch = |kind: &str, body: Value| patch(account, &format!("application/{kind}"), &body);
    let whole = |body: Value| Call::patch(account, &body);
    let light = |behavior: &str| {
        let call = Call::patch(account, &json!({"data": {"password": "right", "n": behavior}}));
        call.header("Response-Behavior", behavior)
    };
    let calls = [
        Call::get(account),
        Call::get(format!("{account}?_fields=password,age")),
        Call::get(format!("{account}?_fields=password.x")),
        Call::get("/v1/accounts"),
        Call::get("/v1/accounts?_sort=password&_limit=1"),
        Call::get("/v1/accounts?_sort=-password&_fields=password"),
        Call::get("/v1/accounts?_since=0"),
        whole(shared),
        whole(json!({"data": {"n": 1}})),
        whole(json!({"data": {"password": "right"}})),
        light("light"),
        light("diff"),
        patch("merge-patch+json", json!({"data": {"password": "right"}})),
        patch("json-patch+json", json!([{"op": "add", "path": "/data/n", "value": 2}])),
        patch(
            "json-patch+json",
            json!([{"op": "add", "path": "/data/password", "value": "right"}]),
        ),
        patch(
            "json-patch+json",
            json!([{"op": "copy", "from": "/data/password", "path": "/data/c"}]),
        ),
        patch(
            "json-patch+json",
            json!([{"op": "move", "from": "/data/password", "path": "/data/c"}]),
        ),
        patch("json-patch+json", json!([{"op": "copy", "from": "/data", "path": "/data/c"}])),
        whole(json!({"data": {"n": 3}})).if_match(1),
        Call::put(account, &json!({"data": {"password": "right"}})).header("If-None-Match", "*"),
        Call::put(account, &json!({"data": {"password": "right"}})).if_match(1),
        Call::get(account).if_match(1),
        Call::get(account).header("If-None-Match", "*"),
        Call::delete(account).if_match(1),
        Call::post("/v1/accounts", &json!({"data": {"id": "alice", "password": "right"}})),
        Call::post("/v1/batch", &batch),
        Call::get("/v1/permissions"),
        Call::get("/v1/"),
        Call::put(account, &json!({"data": {"password": "right", "n": 4}})),
    ];
    for who in ["alice", "bob", "admin"] {
        for call in &calls {
            let call = call.clone().login(&format!("{who}:right"));
            let answer = send(&mut client, call.clone());
            assert!(answer.status < 500, "{call}\n{answer}");
            assert_hidden(&call, &answer);
        }
        // Whatever was tried, the password stayed.
        assert!(logs_in(&mut client, "alice", "right"), "after {who}");
    }
    let call = Call::delete("/v1/accounts?_sort=password&_limit=1").login("admin:right");
    assert_hidden(&call, &send(&mut client, call.clone()));
}

fn nothing_can_be_asked_of_a_hash(backend: Backend) {
    let server = people(backend, &[]).start();
    let mut client = server.client();
    for name in ["admin", "alice", "bob", "carol"] {
        assert_eq!(sign_up(&mut client, name, name).status, 201);
    }
    let mut ask = |query: &str| {
        let answer =
            send(&mut client, Call::get(format!("/v1/accounts?{query}")).login("admin:admin"));
        (answer.status, answer.body)
    };
    // Each pair would differ if the hashes, which begin with a dollar sign, were looked at.
    for (one, other) in [
        ("min_password=!", "min_password=~"),
        ("max_password=!", "max_password=~"),
        ("gt_password=!", "gt_password=~"),
        ("lt_password=!", "lt_password=~"),
        ("like_password=argon2", "like_password=bcrypt"),
        ("like_password=$argon2id*", "like_password=x*"),
        ("contains_password=a", "contains_password=~"),
        ("password=a", "eq_password=b"),
        ("_sort=password", "_sort=-password"),
        ("_sort=password&_fields=password", "_fields=nothing"),
        ("has_password=true", "has_nothing=true"),
        ("has_password=false", "has_nothing=false"),
        ("min_password=5", "min_nothing=5"),
        ("not_password=5", "not_nothing=5"),
        ("in_password=5", "in_nothing=5"),
        ("exclude_password=5", "exclude_nothing=5"),
        ("like_password.x=a", "like_nothing.x=a"),
    ] {
        let (one, other) = (ask(one), ask(other));
        assert_eq!(one.0, 200, "{}", text(&one.1));
        assert!(one == other, "{}\n{}", text(&one.1), text(&other.1));
    }
    // Nor can it be found by patching, and a body without it changes nothing of it.
    let hash = "$argon2id$v=19$m=9216,t=4,p=1$bnVhZ2U$c29tZXRoaW5n";
    let mut patch = |kind: &str, body: Value| {
        let call = self::patch("/v1/accounts/alice", kind, &body).login("alice:alice");
        let answer = send(&mut client, call);
        (answer.status, answer.json()["message"].clone())
    };
    let operations = "application/json-patch+json";
    let test = |value: Value| json!([{"op": "test", "path": "/data/password", "value": value}]);
    let refused = patch(operations, test(json!(hash)));
    assert_eq!(refused.0, 400);
    for value in [json!("alice"), json!(null), json!("")] {
        assert_eq!(patch(operations, test(value)), refused);
    }
    let remove = json!([{"op": "remove", "path": "/data/password"}]);
    assert_eq!(patch(operations, remove).0, 400);
    let merge = "application/merge-patch+json";
    assert_eq!(patch(merge, json!({"data": {"password": null}})).0, 400);
    assert_eq!(patch("application/json", json!({"data": {"password": ""}})).0, 400);
    assert_eq!(patch("application/json", json!({"data": {"n": 1}})).0, 200);
    let without = Call::put("/v1/accounts/alice", &json!({"data": {"n": 2}}));
    assert_eq!(send(&mut client, without.login("alice:alice")).status, 400);
    assert!(logs_in(&mut client, "alice", "alice"));
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

fn two_hundred_connections_that_guess_stop_no_log_in(backend: Backend) {
    let server = people(backend, &["limits.password_ms=2000"]).start();
    for n in 0..2 {
        assert_eq!(sign_up(&mut server.client(), &format!("person{n}"), "right").status, 201);
    }
    assert_eq!(sign_up(&mut server.client(), "victim", "right").status, 201);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for n in 0..200 {
            let (over, server) = (&over, &server);
            scope.spawn(move || guess(server, n, over));
        }
        let mut client = server.client();
        // First log-ins of others, from the same address as those who guess.
        for n in 0..2 {
            let name = format!("person{n}");
            assert!(eventually(Duration::from_secs(40), || logs_in(&mut client, &name, "right")));
        }
        let signed_up = || sign_up(&mut server.client(), "late", "right").status == 201;
        assert!(eventually(Duration::from_secs(40), signed_up), "new passwords are hashed as well");
        over.store(true, Ordering::Relaxed);
    });
    assert_peak(&server, 600);
}

/// Guesses until it is over: most at one account, some at a name of their own each time.
fn guess(server: &Server, n: usize, over: &AtomicBool) {
    let mut client = server.client().patience(Duration::from_secs(60));
    for attempt in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let name =
            if n.is_multiple_of(25) { format!("name{n}x{attempt}") } else { "victim".to_owned() };
        let call = Call::get("/v1/").login(&format!("{name}:{n}-{attempt}"));
        // Being refused is fine, and so is being cut off.
        let refused = client.send(&call).is_ok_and(|answer| answer.status == 429);
        if refused {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn who_guesses_locks_nobody_out(backend: Backend) {
    let server = people(backend, &["limits.password_ms=3000", "auth.guess_wait_s=1"]).start();
    let mut client = server.client();
    for name in ["known", "stranger", "other"] {
        assert_eq!(sign_up(&mut client, name, "right").status, 201);
    }
    assert!(logs_in(&mut client, "known", "right"));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for name in ["known", "stranger", "nobody"] {
            let (over, server) = (&over, &server);
            scope.spawn(move || {
                let mut client = server.client();
                for n in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    assert!(!logs_in(&mut client, name, &format!("guess{n}")));
                }
            });
        }
        // Well after the tenth wrong one.
        std::thread::sleep(Duration::from_millis(1_500));
        // Whose credentials were right before is not refused at all.
        assert!(logs_in(&mut client, "known", "right"));
        // Who comes for the first time, from where somebody guesses, waits and passes.
        for name in ["stranger", "other"] {
            assert!(eventually(Duration::from_secs(40), || logs_in(&mut client, name, "right")));
        }
        over.store(true, Ordering::Relaxed);
    });
}

fn what_is_told_of_guesses_tells_of_no_account(backend: Backend) {
    let server = people(backend, &["limits.password_ms=200"]).start();
    let mut client = server.client();
    assert_eq!(sign_up(&mut client, "somebody", "right").status, 201);
    let mut told = |name: &str| -> Vec<(u16, bool, Value)> {
        let answers = (0..14).map(|n| {
            let call = Call::get(format!("/v1/accounts/{name}")).login(&format!("{name}:guess{n}"));
            let answer = send(&mut client, call);
            let is_told_when = answer.header("Retry-After").is_some();
            (answer.status, is_told_when, answer.json())
        });
        answers.collect()
    };
    let (existing, missing) = (told("somebody"), told("nobody"));
    assert_eq!(existing[0].0, 401);
    for answers in [&existing, &missing] {
        assert!(answers.iter().any(|(status, told, _)| *status == 429 && *told), "{answers:?}");
    }
    let kinds = |answers: &[(u16, bool, Value)]| {
        let mut kinds: Vec<_> = answers.iter().map(|answer| format!("{answer:?}")).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    };
    assert_eq!(kinds(&existing), kinds(&missing));
}
