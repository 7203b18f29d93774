//! Ways to misbehave, each with an account like anybody else's, or with none.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::{HOSTILE, Server, request};
use crate::wire::Connection;

/// Connections that ask for work at a time.
const BUSY: usize = 8;
/// Connections that hold something.
const HELD: usize = 200;
/// Records that there are to be listed, and how large each is.
const RECORDS: usize = 10_000;
const RECORD_BYTES: usize = 1_000;

const BUCKET: &str = "/v1/buckets/hostile";
const COLLECTION: &str = "/v1/buckets/hostile/collections/c";

/// A way to misbehave.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Attack {
    Schemas,
    Patches,
    SortedLists,
    Batches,
    Snapshots,
    Permissions,
    UnreadLists,
    UnfinishedBodies,
    Idle,
    Streams,
    Guesses,
    Deletion,
}

/// What came of it.
#[derive(Clone, Copy, Default)]
pub(super) struct Misdeeds {
    pub(super) done: u64,
    pub(super) refused: u64,
}

impl Misdeeds {
    pub(super) fn add(&mut self, other: Self) {
        self.done += other.done;
        self.refused += other.refused;
    }
}

/// An attack that goes on until it is told to end.
pub(super) struct UnderWay {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl UnderWay {
    pub(super) fn end(self) -> Misdeeds {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            // A thread that failed has done what it could.
            let _ = thread.join();
        }
        Misdeeds {
            done: self.done.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

impl Attack {
    pub(super) const ALL: [Self; 12] = [
        Self::Schemas,
        Self::Patches,
        Self::SortedLists,
        Self::Batches,
        Self::Snapshots,
        Self::Permissions,
        Self::UnreadLists,
        Self::UnfinishedBodies,
        Self::Idle,
        Self::Streams,
        Self::Guesses,
        Self::Deletion,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Schemas => "8 connections set schemas that are large to compile, each another",
            Self::Patches => "8 apply JSON Patches of 1,000 operations to a record of 200 kB",
            Self::SortedLists => "8 sort and filter 10,000 records by a field",
            Self::Batches => "8 send batches of 25 lists of 10,000 records",
            Self::Snapshots => "8 take snapshots of 10,000 records",
            Self::Permissions => "8 list what they hold permissions on, 10,000 records",
            Self::UnreadLists => "200 ask for lists of 10 MB and read nothing",
            Self::UnfinishedBodies => "200 send bodies of 4 MiB that never end",
            Self::Idle => "200 connect, wait, and connect again",
            Self::Streams => "200 follow a feed",
            Self::Guesses => "8 guess passwords",
            Self::Deletion => "1 deletes a collection of 10,000 records and fills it again",
        }
    }

    /// Makes what it needs.
    pub(super) fn prepare(self, server: &Server) -> Result<()> {
        server.make(BUCKET, HOSTILE)?;
        server.make(COLLECTION, HOSTILE)?;
        match self {
            Self::SortedLists
            | Self::Batches
            | Self::Snapshots
            | Self::Permissions
            | Self::UnreadLists
            | Self::Streams => fill(server),
            Self::Patches => {
                let large: Vec<Value> =
                    (0..1_000).map(|n| json!({"n": n, "t": "x".repeat(180)})).collect();
                let body = json!({"data": {"large": large}}).to_string();
                server.send(&request("PUT", &format!("{COLLECTION}/records/large"), HOSTILE, &body))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn begin(self, server: &Server, round: usize) -> Result<UnderWay> {
        let under_way = UnderWay {
            stop: Arc::default(),
            done: Arc::default(),
            refused: Arc::default(),
            threads: Vec::new(),
        };
        match self {
            Self::UnreadLists => {
                let list = request("GET", &format!("{COLLECTION}/records"), HOSTILE, "");
                Ok(under_way.hold(server.address, list, HELD))
            }
            Self::UnfinishedBodies => {
                let mut head = request("PUT", &format!("{BUCKET}/x"), "nobody:none", "");
                let text = String::from_utf8_lossy(&head).replace("Length: 0", "Length: 4194304");
                head = text.into_bytes();
                head.extend(vec![b' '; 256 * 1024]);
                Ok(under_way.hold(server.address, head, HELD))
            }
            Self::Idle => Ok(under_way.hold(server.address, Vec::new(), HELD)),
            Self::Streams => {
                let feed = request("GET", &format!("{COLLECTION}/feed"), HOSTILE, "");
                let text = String::from_utf8_lossy(&feed)
                    .replace("Host: bench", "Host: bench\r\nAccept: application/x-ndjson");
                Ok(under_way.hold(server.address, text.into_bytes(), HELD))
            }
            _ => Ok(under_way.ask(server.address, self, round)),
        }
    }

    /// The next request of one of its connections.
    fn next(self, connection: usize, n: u64, round: usize) -> Vec<u8> {
        match self {
            Self::Schemas => {
                let path = format!("{BUCKET}/collections/s{connection}");
                // As large as is still taken.
                let tail = format!("r{round}c{connection}n{n}");
                let pattern = |p| json!({"pattern": format!("\\p{{L}}{{5}}q{p}{tail}")});
                let properties: serde_json::Map<String, Value> =
                    (0..8).map(|p| (format!("p{p}"), pattern(p))).collect();
                let body = json!({"data": {"schema": {"properties": properties}}});
                request("PUT", &path, HOSTILE, &body.to_string())
            }
            Self::Patches => {
                let there = json!({"op": "move", "from": "/data/large", "path": "/data/other"});
                let back = json!({"op": "move", "from": "/data/other", "path": "/data/large"});
                let both = [there, back];
                let operations: Vec<Value> = both.iter().cycle().take(1_000).cloned().collect();
                let path = format!("{COLLECTION}/records/large");
                let body = request("PATCH", &path, HOSTILE, &Value::from(operations).to_string());
                let text = String::from_utf8_lossy(&body);
                text.replace("application/json", "application/json-patch+json").into_bytes()
            }
            Self::SortedLists => {
                let path = format!("{COLLECTION}/records?_sort=-text&like_text=*x*x*{n}*&_limit=1");
                request("GET", &path, HOSTILE, "")
            }
            Self::Batches => {
                let list = json!({"method": "GET", "path": format!("{COLLECTION}/records")});
                let body = json!({"requests": vec![list; 25]}).to_string();
                request("POST", "/v1/batch", HOSTILE, &body)
            }
            Self::Snapshots => {
                let path = format!("/v1/buckets/hostile/snapshot/collections/c@{}", 1_u64 << 45);
                request("GET", &path, HOSTILE, "")
            }
            Self::Permissions => request("GET", "/v1/permissions", HOSTILE, ""),
            Self::Guesses => {
                let login = format!("alice:guess{round}-{connection}-{n}");
                request("GET", "/v1/", &login, "")
            }
            Self::Deletion => match n % 401 {
                0 => request("DELETE", COLLECTION, HOSTILE, ""),
                1 => request("PUT", COLLECTION, HOSTILE, "{}"),
                part => records(part as usize),
            },
            Self::UnreadLists | Self::UnfinishedBodies | Self::Idle | Self::Streams => Vec::new(),
        }
    }
}

impl UnderWay {
    /// Asks again and again.
    fn ask(mut self, address: SocketAddr, attack: Attack, round: usize) -> Self {
        let connections = if attack == Attack::Deletion { 1 } else { BUSY };
        let (stop, done, refused) =
            (Arc::clone(&self.stop), Arc::clone(&self.done), Arc::clone(&self.refused));
        self.threads.push(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(futures_util::future::join_all((0..connections).map(|connection| {
                let (stop, done, refused) = (&stop, &done, &refused);
                async move {
                    let mut wire = Connection::new(address);
                    for n in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let asked = attack.next(connection, n, round);
                        let status = wire.exchange(&asked).await.map_or(0, |answer| answer.status);
                        done.fetch_add(1, Ordering::Relaxed);
                        if !(200..400).contains(&status) {
                            refused.fetch_add(1, Ordering::Relaxed);
                            // Even those who misbehave do not spin.
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                    }
                }
            })));
        }));
        self
    }

    /// Opens connections, says this on each, and opens another where one was closed.
    fn hold(mut self, address: SocketAddr, said: Vec<u8>, connections: usize) -> Self {
        let (stop, done, refused) =
            (Arc::clone(&self.stop), Arc::clone(&self.done), Arc::clone(&self.refused));
        self.threads.push(std::thread::spawn(move || {
            let mut held: Vec<Option<TcpStream>> = (0..connections).map(|_| None).collect();
            while !stop.load(Ordering::Relaxed) {
                for place in &mut held {
                    let closed = place.as_ref().is_none_or(|stream| {
                        let mut one = [0];
                        // An end, or an error that is not "nothing yet".
                        match stream.peek(&mut one) {
                            Ok(bytes) => bytes == 0,
                            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
                        }
                    });
                    if !closed {
                        continue;
                    }
                    if place.take().is_some() {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                    *place = open(address, &said).ok();
                    done.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }));
        self
    }
}

fn open(address: SocketAddr, said: &[u8]) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_nonblocking(true)?;
    // As much as fits at once.
    let _ = stream.write(said);
    Ok(stream)
}

/// A batch of records.
fn records(part: usize) -> Vec<u8> {
    let requests: Vec<Value> = (0..25)
        .map(|n| {
            let path = format!("{COLLECTION}/records/r{}", part * 25 + n);
            let text = format!("{part}-{n}-{}", "x".repeat(RECORD_BYTES));
            json!({"method": "PUT", "path": path, "body": {"data": {"text": text}}})
        })
        .collect();
    request("POST", "/v1/batch", HOSTILE, &json!({"requests": requests}).to_string())
}

fn fill(server: &Server) -> Result<()> {
    (0..RECORDS / 25).try_for_each(|part| server.send(&records(part)))
}
