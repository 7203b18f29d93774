//! What the figures were measured on: they mean nothing without it.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

const FSYNC_TRIES: usize = 100;

/// The machine in two sentences; `data` is where the databases lie.
pub(crate) fn describe(data: &Path, pinned: bool) -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let listed = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let cores = listed.max(cores.get());
    let model = field(&cpuinfo, "model name").unwrap_or("unknown processor").to_owned();
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let memory = field(&meminfo, "MemTotal").and_then(|text| text.split(' ').next()?.parse().ok());
    let memory_gib = memory.unwrap_or(0u64) as f64 / f64::from(1 << 20);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let kernel = kernel.trim().split('-').next().unwrap_or("").to_owned();
    let load = load()?;
    let output = Command::new("findmnt").args(["-n", "-o", "FSTYPE", "-T"]).arg(data).output()?;
    let filesystem = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let fsync_us = fsync_median(data)?.as_micros();
    let where_run =
        if pinned { "servers on one core, load driver on the other" } else { "not pinned" };
    Ok(format!(
        "{cores} cores of {model}, {memory_gib:.0} GiB, Linux {kernel}, {filesystem}, append and \
         fsync of 4 KiB in {fsync_us} \u{b5}s; {where_run}; load average before the run: {load}."
    ))
}

/// The load average of the last minute.
pub(crate) fn load() -> Result<String> {
    let load = fs::read_to_string("/proc/loadavg")?;
    Ok(load.split(' ').next().unwrap_or("?").to_owned())
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

fn fsync_median(data: &Path) -> Result<Duration> {
    let path = data.join("fsync");
    let mut file = fs::File::create(&path)?;
    let mut times = Vec::with_capacity(FSYNC_TRIES);
    for _ in 0..FSYNC_TRIES {
        let started = Instant::now();
        file.write_all(&[0x5a; 4096])?;
        file.sync_data()?;
        times.push(started.elapsed());
    }
    fs::remove_file(&path)?;
    times.sort_unstable();
    Ok(times[FSYNC_TRIES / 2])
}
