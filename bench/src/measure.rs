//! One contestant's run: wall time, CPU time, peak memory.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) wall: Duration,
    /// User and system time of the process.
    pub(crate) cpu: Duration,
    /// The most memory that was resident, in bytes.
    pub(crate) peak: u64,
}

/// Runs a command to its end. CPU time and memory are read every 10 ms, so their last 10 ms may be missing.
pub(crate) fn run(command: &mut Command) -> Result<Run> {
    let ticks_per_second = 100.0;
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{command:?}"))?;
    let proc = std::path::PathBuf::from(format!("/proc/{}", child.id()));
    let (mut cpu, mut peak) = (Duration::ZERO, 0);
    let status = loop {
        if let Ok(stat) = std::fs::read_to_string(proc.join("stat"))
            && let Some((_, fields)) = stat.rsplit_once(") ")
        {
            // Fields 14 and 15 of proc(5), the third being the first after the name: utime and stime.
            let ticks: f64 = fields
                .split(' ')
                .skip(11)
                .take(2)
                .filter_map(|field| field.parse::<f64>().ok())
                .sum();
            cpu = Duration::from_secs_f64(ticks / ticks_per_second).max(cpu);
        }
        if let Ok(status) = std::fs::read_to_string(proc.join("status"))
            && let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))
        {
            let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap_or(0);
            peak = peak.max(kib * 1024);
        }
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let wall = started.elapsed();
    let mut errors = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        std::io::Read::read_to_string(&mut stderr, &mut errors)?;
    }
    ensure!(
        status.success(),
        "{command:?} ended with {status}: {errors}"
    );
    Ok(Run { wall, cpu, peak })
}
