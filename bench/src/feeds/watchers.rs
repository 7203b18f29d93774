//! Those who watch: what each costs while nothing happens, how soon a write reaches those whom it
//! concerns, however many others watch, and what readers that do not read hold.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::feeds::FeedOptions;
use crate::process::{Running, cpu_time, free_address, memory, pinned, wait_for_heartbeat};
use crate::servers::Places;

/// Whom each write concerns.
const CONCERNED: usize = 1_000;
/// Writes that are timed.
const WRITES: u64 = 20;
/// How long nothing happens while CPU time is taken.
const REST: Duration = Duration::from_secs(10);
/// Longest wait for all to hear of a write.
const PATIENCE: Duration = Duration::from_secs(60);
/// Those who do not read, how often is written meanwhile, and how much.
const DEAF: usize = 500;
const DEAF_WRITES: u64 = 40;
const DEAF_BYTES: usize = 100_000;

const COLLECTION: &str = "/v1/buckets/b/collections/c";

/// Heard of a write: its number, and when.
type Heard = (u64, Instant);

pub(crate) async fn measure(places: &Places, options: &FeedOptions) -> Result<String> {
    ensure!(places.nuage.exists(), "there is no release build of Nuage: run `cargo xtask bench`");
    let mut out = format!(
        "### Watchers\n\nNDJSON streams over loopback, SQLite; each write concerns {CONCERNED} of \
         them; {WRITES} writes, times from sending the write to its arrival there.\n\n| watchers | \
         memory of one | CPU at rest, of one core | first | median | 99 % | last |\n\
         |--:|--:|--:|--:|--:|--:|--:|\n"
    );
    for others in [0, options.watchers.saturating_sub(CONCERNED)] {
        let row = measure_with(places, others).await?;
        println!("{row}");
        let _ = writeln!(out, "{row}");
    }
    let _ = writeln!(out, "\n{}", measure_deaf(places).await?);
    Ok(out)
}

async fn measure_with(places: &Places, others: usize) -> Result<String> {
    let site = Site::start(places, &format!("watchers-{others}")).await?;
    let before = memory(&[site.running.pid()]);
    let (heard, mut hearing) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    for number in 0..CONCERNED + others {
        let who = if number < CONCERNED { "in" } else { "out" };
        tasks.spawn(watch(site.address, who, heard.clone()));
        if number % 50 == 49 {
            // The queue of connections that wait to be accepted is short.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    // Each hears of the record that was there.
    for _ in 0..CONCERNED + others {
        next(&mut hearing).await?;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let bytes = memory(&[site.running.pid()]).own_bytes.saturating_sub(before.own_bytes);
    let pids = [site.running.pid()];
    let used = cpu_time(&pids);
    tokio::time::sleep(REST).await;
    let used = cpu_time(&pids).since(&used) as f64 / REST.as_nanos() as f64;
    let mut times = Vec::new();
    let mut lasts = Vec::new();
    let mut firsts = Vec::new();
    for n in 1..=WRITES {
        let sent = Instant::now();
        site.put("in", n, "").await?;
        let mut round = Vec::new();
        while round.len() < CONCERNED {
            let (number, when) = next(&mut hearing).await?;
            if number == n {
                round.push(when.saturating_duration_since(sent));
            }
        }
        round.sort();
        firsts.push(round[0]);
        lasts.push(round[CONCERNED - 1]);
        times.extend(round);
    }
    tasks.abort_all();
    for times in [&mut times, &mut firsts, &mut lasts] {
        times.sort();
    }
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
    let middle = |times: &[Duration]| ms(times[times.len() / 2]);
    Ok(format!(
        "| {} | {:.1} KB | {:.2} % | {} | {} | {} | {} |",
        CONCERNED + others,
        bytes as f64 / 1000.0 / (CONCERNED + others) as f64,
        used * 100.0,
        middle(&firsts),
        middle(&times),
        ms(times[times.len() * 99 / 100]),
        middle(&lasts),
    ))
}

async fn measure_deaf(places: &Places) -> Result<String> {
    let site = Site::start(places, "deaf").await?;
    let before = memory(&[site.running.pid()]);
    let mut deaf = Vec::new();
    for _ in 0..DEAF {
        let mut stream = TcpStream::connect(site.address).await?;
        stream.write_all(request("in").as_bytes()).await?;
        deaf.push(stream);
    }
    let text = "x".repeat(DEAF_BYTES);
    for n in 1..=DEAF_WRITES {
        site.put("in", n, &text).await?;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let bytes = memory(&[site.running.pid()]).own_bytes.saturating_sub(before.own_bytes);
    drop(deaf);
    Ok(format!(
        "{DEAF} watchers that never read, while a record of {DEAF_BYTES} bytes that all of them see is \
         written {DEAF_WRITES} times: {:.0} KB each.",
        bytes as f64 / 1000.0 / DEAF as f64
    ))
}

/// A server with a record for `in` and one for `out`.
struct Site {
    running: Running,
    address: SocketAddr,
    readers: [(String, String); 2],
}

impl Site {
    async fn start(places: &Places, name: &str) -> Result<Self> {
        let folder = places.data.join(name);
        std::fs::create_dir_all(&folder)?;
        let address = free_address()?;
        let mut command: Command = pinned(&places.nuage, places.pin);
        command.args(["serve", "--listen", &address.to_string(), "--log-level", "warn"]);
        command.args(["--set", "auth.policies=basicauth", "--set", "kinto.accounts=false"]);
        // All watchers come from one address, which gets about a fifth of them.
        command.args(["--set", "limits.connections=100000"]);
        command.arg("--data").arg(folder.join("data"));
        let begun = Instant::now();
        let mut running = Running::start(command, &folder.join("log"))?;
        wait_for_heartbeat(&mut running, address, begun)
            .with_context(|| std::fs::read_to_string(folder.join("log")).unwrap_or_default())?;
        let mut readers = Vec::new();
        for who in ["in", "out"] {
            let root = call(address, "GET", "/v1/", who, "").await?;
            let id = root["user"]["id"].as_str().context("a user id")?;
            readers.push((who.to_owned(), id.to_owned()));
        }
        let readers = [readers.remove(0), readers.remove(0)];
        let site = Self { running, address, readers };
        for path in ["/v1/buckets/b", COLLECTION] {
            call(address, "PUT", path, "owner", "{}").await?;
        }
        site.put("in", 0, "").await?;
        site.put("out", 0, "").await?;
        Ok(site)
    }

    async fn put(&self, who: &str, n: u64, text: &str) -> Result<()> {
        let reader = self.readers.iter().find(|(name, _)| name == who).context("a reader")?;
        let body = json!({"data": {"n": n, "text": text}, "permissions": {"read": [reader.1]}});
        let path = format!("{COLLECTION}/records/{who}");
        call(self.address, "PUT", &path, "owner", &body.to_string()).await.map(drop)
    }
}

async fn next(hearing: &mut mpsc::UnboundedReceiver<Heard>) -> Result<Heard> {
    let heard = tokio::time::timeout(PATIENCE, hearing.recv()).await;
    heard.context("a write did not reach all whom it concerns")?.context("nobody watches")
}

// Tells of each record that a stream shows.
async fn watch(
    address: SocketAddr,
    who: &'static str,
    heard: mpsc::UnboundedSender<Heard>,
) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request(who).as_bytes()).await?;
    let mut kept: Vec<u8> = Vec::new();
    let mut chunk = [0; 2048];
    loop {
        let bytes = stream.read(&mut chunk).await?;
        if bytes == 0 {
            bail!("the stream ended");
        }
        kept.extend_from_slice(&chunk[..bytes]);
        while let Some(at) = kept.windows(4).position(|window| window == b"\"n\":") {
            let digits: Vec<u8> =
                kept[at + 4..].iter().copied().take_while(u8::is_ascii_digit).collect();
            if at + 4 + digits.len() == kept.len() {
                break;
            }
            let number = String::from_utf8_lossy(&digits).parse()?;
            heard.send((number, Instant::now()))?;
            kept.drain(..at + 4);
        }
        if kept.len() > 8_192 {
            kept.drain(..kept.len() - 64);
        }
    }
}

fn request(who: &str) -> String {
    format!(
        "GET {COLLECTION}/feed HTTP/1.1\r\nHost: bench\r\nAccept: application/x-ndjson\r\n\
         Authorization: {}\r\n\r\n",
        authorization(who)
    )
}

fn authorization(who: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{who}:secret")))
}

async fn call(
    address: SocketAddr,
    method: &str,
    path: &str,
    who: &str,
    body: &str,
) -> Result<Value> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nAuthorization: {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        authorization(who),
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer")?;
    ensure!(head.starts_with("HTTP/1.1 20"), "{method} {path}: {answer}");
    Ok(serde_json::from_str(body)?)
}
