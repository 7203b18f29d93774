//! PostgreSQL has fewer connections than the process wants: requests are refused at once.

use std::thread;

use nuage_testkit::backend::Backend;

use super::{get, heartbeat, put};
use crate::abuse::{bounded_with, eventually};

#[test]
fn connections_that_nobody_needs_are_left_to_others() {
    let database = Backend::Postgres.database().unwrap();
    let role = format!("shared_{}", database.name());
    database.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'few' CONNECTION LIMIT 8"));
    database.execute(&format!("GRANT ALL ON SCHEMA public TO {role}"));
    let place = database.url().split_once('@').unwrap().1;
    let url = format!("postgres://{role}:few@{place}");
    let serve =
        || bounded_with(Backend::Sqlite, &[]).argument("--storage-url").argument(&url).start();
    let servers = [serve(), serve()];
    // A burst on the first one takes whatever there is.
    thread::scope(|scope| {
        for n in 0..12 {
            let server = &servers[0];
            scope.spawn(move || {
                for _ in 0..10 {
                    put(&mut server.client(), &format!("r{n}"), 10);
                }
            });
        }
    });
    // Nevertheless the other one has its own, and in the end all but those are given back.
    let answer = put(&mut servers[1].client(), "other", 10);
    assert_eq!(answer.status, 201, "{answer}");
    let open = || {
        let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'");
        database.execute(&sql).parse::<usize>().unwrap()
    };
    assert!(eventually(2 * super::PATIENCE, || open() <= 6), "{} are open", open());
    drop(servers);
    database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn requests_wait_for_the_connections_that_there_are() {
    for limit in [3, 6] {
        let database = Backend::Postgres.database().unwrap();
        let role = format!("few_{}", database.name());
        database
            .execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'few' CONNECTION LIMIT {limit}"));
        database.execute(&format!("GRANT ALL ON SCHEMA public TO {role}"));
        let place = database.url().split_once('@').unwrap().1;
        let url = format!("postgres://{role}:few@{place}");
        let server =
            bounded_with(Backend::Sqlite, &[]).argument("--storage-url").argument(url).start();
        thread::scope(|scope| {
            for n in 0..12 {
                let server = &server;
                scope.spawn(move || {
                    let mut client = server.client();
                    let id = format!("r{n}");
                    for _ in 0..2 {
                        let answer = put(&mut client, &id, 10);
                        assert!(matches!(answer.status, 200 | 201), "limit {limit}: {answer}");
                        let answer = get(&mut client, &id);
                        assert_eq!(answer.status, 200, "limit {limit}: {answer}");
                    }
                });
            }
        });
        assert!(eventually(super::PATIENCE, || heartbeat(&server) == 200));
        let told = server.log().matches("fewer connections than wanted").count();
        let least = usize::from(limit == 3);
        assert!((least..=2).contains(&told), "told {told} times:\n{}", server.log());
        drop(server);
        database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
    }
}
