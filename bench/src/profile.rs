//! Where the time goes: perf on the running server under each workload.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::load::Plan;
use crate::options::{Options, Subject};
use crate::run::plan;
use crate::servers::{self, Places};

const SECONDS: u64 = 5;
const SAMPLES_PER_SECOND: &str = "1999";
const CONNECTIONS: usize = 16;
/// Functions below this share are not listed.
const PERCENT_MIN: &str = "0.7";

/// Prints the functions in which Nuage spends its time, workload by workload.
pub(crate) async fn run(options: &Options, places: &Places) -> Result<()> {
    let folder = places.data.with_file_name("profile");
    std::fs::create_dir_all(&folder)?;
    let server = servers::start(Subject::Nuage, places, options.records()).await?;
    for workload in options.workloads() {
        let file = folder.join(format!("{}.data", workload.name()));
        let pid = server.target.pids[0].to_string();
        let mut recorder = Command::new("perf")
            .args(["record", "-q", "-F", SAMPLES_PER_SECOND, "-g", "-p", &pid, "-o"])
            .arg(&file)
            .args(["--", "sleep", &SECONDS.to_string()])
            .spawn()
            .context("perf is not installed")?;
        let plan = Plan {
            duration: Duration::from_secs(SECONDS),
            requests_max: u64::MAX,
            ..plan(options, workload, CONNECTIONS)
        };
        let sample = server.target.measure(plan).await?;
        recorder.wait()?;
        let cpu_us = sample.cpu_nanos as f64 / 1e3 / sample.requests as f64;
        println!("\n### {}: {cpu_us:.1} \u{b5}s per request\n", workload.title());
        let report = Command::new("perf")
            .args(["report", "--stdio", "--no-children", "-g", "none", "--sort", "dso,symbol"])
            .args(["--percent-limit", PERCENT_MIN, "-i"])
            .arg(&file)
            .output()?;
        if !report.status.success() {
            bail!("perf: {}", String::from_utf8_lossy(&report.stderr));
        }
        for line in String::from_utf8_lossy(&report.stdout).lines() {
            if !line.starts_with('#') && !line.trim().is_empty() {
                println!("    {}", line.trim_end());
            }
        }
    }
    server.finish();
    Ok(())
}
