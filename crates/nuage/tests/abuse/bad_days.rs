//! Full disks, files that vanish, damage and databases with few connections.

mod damage;
mod failing_database;
mod failover;
mod few_connections;
mod foreign_locks;
mod full_disk;
mod heavy_batches;
mod held_locks;
mod links;
mod odd_settings;
mod read_only;
mod replaced;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use nuage_testkit::client::{Answer, Call, Client};
use nuage_testkit::server::Server;
use serde_json::json;

const USER: &str = "bad:day";
const RECORDS: &str = "/v1/buckets/default/collections/c/records";
/// Longest wait for what comes within a second or two on a machine that is not busy.
const PATIENCE: Duration = Duration::from_secs(20);

fn put(client: &mut Client, id: &str, bytes: usize) -> Answer {
    let body = json!({"data": {"filler": "x".repeat(bytes)}});
    client.send(&Call::put(format!("{RECORDS}/{id}"), &body).login(USER)).unwrap()
}

fn get(client: &mut Client, id: &str) -> Answer {
    client.send(&Call::get(format!("{RECORDS}/{id}")).login(USER)).unwrap()
}

fn delete(client: &mut Client, id: &str) -> Answer {
    client.send(&Call::delete(format!("{RECORDS}/{id}")).login(USER)).unwrap()
}

fn heartbeat(server: &Server) -> u16 {
    server.client().send(&Call::get("/v1/__heartbeat__")).unwrap().status
}

fn database(server: &Server) -> PathBuf {
    server.data().join("nuage.db")
}

/// Runs a verb of the program on the data of a server, with more arguments.
fn tool(server: &Server, verb: &str, arguments: &[&str]) -> (Option<i32>, String) {
    said(server.tool(verb).args(arguments).output().unwrap())
}

fn said(output: Output) -> (Option<i32>, String) {
    let mut words = String::from_utf8_lossy(&output.stdout).into_owned();
    words.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.code(), words)
}

fn names_in(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
