//! How long a well-behaved client waits while another one misbehaves.
//!
//! The quiet client has one connection and asks 50 times a second, half of them puts; what it
//! waits counts from the moment in which it wanted to ask. The server has one core, both clients
//! the other. Each attack is measured in turns with calm, round after round.

mod attacks;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::histogram::Histogram;
use crate::machine;
use crate::options::QuietOptions;
use crate::process::{Running, free_address, pin_self, pinned, wait_for_heartbeat};
use crate::quiet::attacks::{Attack, Misdeeds};
use crate::report;
use crate::servers::Places;
use crate::wire::{Connection, request};

/// The part of docs/performance.md that is written.
const SECTION: &str = "bench-quiet";
/// Time between two requests of the quiet client.
const EVERY: Duration = Duration::from_millis(20);
/// How long an attack goes on before anything counts.
const WARM_UP: Duration = Duration::from_millis(500);
/// Most address space that the server may take: an attack must not take the machine down.
const ADDRESS_SPACE: u64 = 6 << 30;

/// Who asks quietly, and who misbehaves.
const QUIET: &str = "quiet:secret";
const HOSTILE: &str = "hostile:secret";

/// Measures, prints, and writes the table if asked to.
pub(crate) fn run(options: &QuietOptions) -> Result<()> {
    let places = Places::find(!options.no_pin, None)?;
    ensure!(places.nuage.exists(), "there is no release build of Nuage: run `cargo xtask bench`");
    if places.pin {
        pin_self()?;
    }
    let mut text = machine::describe(&places.data, places.pin)?;
    println!("{text}");
    let _ = write!(
        text,
        "\n\nSQLite; {} rounds of {} s each, with and without; milliseconds, all rounds together. \
         *refused* are answers of 400 and more to the one who misbehaves; memory is the most that \
         was ever resident.\n\n| meanwhile | get, alone: 99 % | get: 99 % | put, alone: 99 % | \
         put: 99 % | longest | misdeeds | refused | memory |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        options.rounds, options.seconds,
    );
    for attack in Attack::ALL {
        let named = options.only.iter().any(|name| attack.name().contains(name.as_str()));
        if options.only.is_empty() || named {
            let row = measure(attack, &places, options)?;
            println!("{row}");
            let _ = writeln!(text, "{row}");
        }
    }
    if options.write {
        report::publish(SECTION, &text)?;
    }
    std::fs::remove_dir_all(&places.data)?;
    Ok(())
}

fn measure(attack: Attack, places: &Places, options: &QuietOptions) -> Result<String> {
    let folder = places.data.join(attack.name().replace(' ', "-"));
    std::fs::create_dir_all(&folder)?;
    let server = Server::start(places, &folder)?;
    let time = Duration::from_secs(options.seconds);
    let (mut alone, mut beside) = (Waits::new(), Waits::new());
    let mut misdeeds = Misdeeds::default();
    server.make("/v1/buckets/quiet", QUIET)?;
    server.make("/v1/buckets/quiet/collections/c", QUIET)?;
    attack.prepare(&server)?;
    for round in 0..options.rounds {
        wait_quietly(server.address, time, &mut alone)?;
        let under_way = attack.begin(&server, round)?;
        std::thread::sleep(WARM_UP);
        wait_quietly(server.address, time, &mut beside)?;
        misdeeds.add(under_way.end());
    }
    Ok(format!(
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} MB |",
        attack.name(),
        ms(alone.gets.percentile(99.0)),
        ms(beside.gets.percentile(99.0)),
        ms(alone.puts.percentile(99.0)),
        ms(beside.puts.percentile(99.0)),
        ms(beside.longest),
        misdeeds.done,
        misdeeds.refused,
        server.peak_mb(),
    ))
}

fn ms(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}

/// What the quiet client waited for.
struct Waits {
    gets: Histogram,
    puts: Histogram,
    longest: Duration,
}

impl Waits {
    fn new() -> Self {
        Self { gets: Histogram::new(), puts: Histogram::new(), longest: Duration::ZERO }
    }
}

/// Asks for a while.
fn wait_quietly(address: SocketAddr, time: Duration, waits: &mut Waits) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let record = "/v1/buckets/quiet/collections/c/records/r";
    let put =
        request("PUT", record, QUIET, &json!({"data": {"text": "x".repeat(200)}}).to_string());
    let get = request("GET", record, QUIET, "");
    runtime.block_on(async {
        let mut connection = Connection::new(address);
        let begun = Instant::now();
        for n in 0.. {
            let due = begun + EVERY * n;
            if due >= begun + time {
                break;
            }
            tokio::time::sleep_until(due.into()).await;
            let is_put = n % 2 == 0;
            let status = connection.exchange(if is_put { &put } else { &get }).await?.status;
            ensure!(matches!(status, 200 | 201), "the quiet client was answered {status}");
            let waited = due.elapsed();
            let kind = if is_put { &mut waits.puts } else { &mut waits.gets };
            kind.record(waited);
            waits.longest = waits.longest.max(waited);
        }
        Ok(())
    })
}

/// The server under attack.
struct Server {
    running: Running,
    address: SocketAddr,
}

impl Server {
    fn start(places: &Places, folder: &Path) -> Result<Self> {
        let address = free_address()?;
        let mut command = pinned("prlimit", places.pin);
        command.arg(format!("--as={ADDRESS_SPACE}")).arg(&places.nuage);
        command.args(["serve", "--listen", &address.to_string(), "--log-level", "error"]);
        for setting in ["auth.policies=account,basicauth", "history.enabled=true"] {
            command.args(["--set", setting]);
        }
        command.arg("--data").arg(folder.join("data"));
        let begun = Instant::now();
        let mut running = Running::start(command, &folder.join("log"))?;
        wait_for_heartbeat(&mut running, address, begun)
            .with_context(|| std::fs::read_to_string(folder.join("log")).unwrap_or_default())?;
        Ok(Self { running, address })
    }

    /// Makes what is at this path.
    fn make(&self, path: &str, login: &str) -> Result<()> {
        self.send(&request("PUT", path, login, "{}"))
    }

    /// Sends one request, which must be done.
    fn send(&self, request: &[u8]) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut connection = Connection::new(self.address);
            let answer = connection.exchange(request).await?;
            let body = String::from_utf8_lossy(answer.body);
            ensure!(matches!(answer.status, 200 | 201), "answered {}: {body}", answer.status);
            Ok(())
        })
    }

    fn peak_mb(&self) -> u64 {
        let path = format!("/proc/{}/status", self.running.pid());
        let status = std::fs::read_to_string(path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) / 1024
    }
}
