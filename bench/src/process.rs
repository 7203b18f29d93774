//! Servers as processes of their own, so that their CPU time and memory can be told from the
//! load driver's. Reads what Linux tells in `/proc`.

use std::collections::HashMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const STOP_WAIT: Duration = Duration::from_secs(20);
const START_WAIT: Duration = Duration::from_secs(60);

/// The core of everything that serves, when pinned.
pub(crate) const SERVER_CORE: &str = "0";
/// The core of the load driver, when pinned.
pub(crate) const CLIENT_CORE: &str = "1";

/// A started process, ended with its handle.
pub(crate) struct Running {
    pub(crate) child: Child,
    signal: &'static str,
}

/// CPU time used so far, thread by thread.
pub(crate) struct CpuTime(HashMap<u32, u64>);

impl Running {
    /// Starts the command with its output in a file.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self> {
        let out = fs::File::create(log)?;
        command.stdout(out.try_clone()?).stderr(out).stdin(Stdio::null());
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child, signal: "-TERM" })
    }

    /// Runs the command to its end with its output in a file.
    pub(crate) fn finish(command: &mut Command, log: &Path) -> Result<()> {
        let out = fs::File::create(log)?;
        command.stdout(out.try_clone()?).stderr(out).stdin(Stdio::null());
        let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
        if !status.success() {
            bail!("{command:?}: {status}\n{}", fs::read_to_string(log).unwrap_or_default());
        }
        Ok(())
    }

    /// Takes over a process that was started with its input and output connected.
    pub(crate) fn adopt(child: Child) -> Self {
        Self { child, signal: "-TERM" }
    }

    /// Asks with another signal than SIGTERM when it is time to end.
    pub(crate) fn ended_by(mut self, signal: &'static str) -> Self {
        self.signal = signal;
        self
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, waits, and insists.
    pub(crate) fn stop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        for pid in tree(self.pid()) {
            // Some end before they are asked, with their parents.
            let mut kill = Command::new("kill");
            let _ = kill.args([self.signal, &pid.to_string()]).stderr(Stdio::null()).status();
        }
        let started = Instant::now();
        while started.elapsed() < STOP_WAIT {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A command that runs on the servers' core.
pub(crate) fn pinned(program: impl AsRef<std::ffi::OsStr>, pin: bool) -> Command {
    if !pin {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", SERVER_CORE]).arg(program);
    command
}

/// Moves this process, the load driver, to its core.
pub(crate) fn pin_self() -> Result<()> {
    let pid = std::process::id().to_string();
    let output = Command::new("taskset").args(["-a", "-c", "-p", CLIENT_CORE, &pid]).output()?;
    if !output.status.success() {
        bail!("taskset: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// A port that nobody listens on.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Waits until the server answers, and returns how long that took from `started`.
pub(crate) fn wait_for_heartbeat(
    running: &mut Running,
    address: SocketAddr,
    started: Instant,
) -> Result<Duration> {
    use std::io::{Read, Write};
    while started.elapsed() < START_WAIT {
        if let Some(status) = running.child.try_wait()? {
            bail!("the server ended at once: {status}");
        }
        if let Ok(mut stream) = std::net::TcpStream::connect(address) {
            stream.set_read_timeout(Some(START_WAIT))?;
            let asked = stream.write_all(
                b"GET /v1/__lbheartbeat__ HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n",
            );
            let mut start = [0; 12];
            if asked.is_ok() && stream.read_exact(&mut start).is_ok() && start.ends_with(b"200") {
                return Ok(started.elapsed());
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("the server did not answer in {START_WAIT:?}")
}

/// CPU time of the process and its descendants.
pub(crate) fn cpu_time(pids: &[u32]) -> CpuTime {
    let mut times = HashMap::new();
    for pid in pids.iter().flat_map(|pid| tree(*pid)) {
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for task in tasks.flatten() {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let nanos = text.split(' ').next().and_then(|n| n.parse().ok());
            let id = task.file_name().to_str().and_then(|id| id.parse().ok());
            if let (Some(id), Some(nanos)) = (id, nanos) {
                times.insert(id, nanos);
            }
        }
    }
    CpuTime(times)
}

impl CpuTime {
    /// Nanoseconds used since an earlier reading. What a thread that ended meanwhile used after
    /// that reading is lost; no server measured here ends threads under load.
    pub(crate) fn since(&self, earlier: &Self) -> u64 {
        let used = |(id, nanos): (&u32, &u64)| {
            nanos.saturating_sub(earlier.0.get(id).copied().unwrap_or(0))
        };
        self.0.iter().map(used).sum()
    }
}

/// Resident memory, shared pages divided among those who share them.
#[derive(Clone, Copy, Default)]
pub(crate) struct Memory {
    /// What was allocated.
    pub(crate) own_bytes: u64,
    /// Pages of files: the program, and what it maps of its database. The system takes them back
    /// when it needs the room.
    pub(crate) file_bytes: u64,
}

/// Memory of the processes and their descendants.
pub(crate) fn memory(pids: &[u32]) -> Memory {
    let mut memory = Memory::default();
    for pid in pids.iter().flat_map(|pid| tree(*pid)) {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let bytes = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
            kib.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
        };
        memory.own_bytes += bytes("Pss_Anon:") + bytes("Pss_Shmem:");
        memory.file_bytes += bytes("Pss_File:");
    }
    memory
}

/// The process and its descendants.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name, in parentheses, may hold anything.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        if let Some(parent) = after_name.split_ascii_whitespace().nth(1) {
            parents.push((pid, parent.parse::<u32>().unwrap_or(0)));
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(parents.iter().filter(|(_, p)| *p == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found
}
