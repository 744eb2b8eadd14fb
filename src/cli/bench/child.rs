//! What is measured runs as a process of its own, so that its processor time and memory are its own.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use super::place::Place;
use super::report::Report;
use super::wire::Wire;
use crate::clock::Stopwatch;

/// A start that takes longer has failed.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How often it is asked whether it listens; small against what is measured.
const POLL: Duration = Duration::from_micros(500);
/// Linux counts processor time in hundredths of a second, whatever the machine.
const TICK: Duration = Duration::from_millis(10);

/// A program of this binary; dropping it kills it.
pub(super) struct Server {
    process: Child,
    pub(super) address: SocketAddr,
    /// What it has logged.
    pub(super) log: PathBuf,
    since: Stopwatch,
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    pub(super) cpu: Duration,
    pub(super) rss: u64,
    pub(super) rss_peak: u64,
}

impl Server {
    /// Starts `stepherd serve` with the place's configuration; it may not listen yet.
    pub(super) fn start(place: &Place) -> Result<Self, String> {
        let address = free_address().map_err(|e| format!("no free port: {e}"))?;
        let config = place.config();
        let args = ["--config".into(), config.into_os_string(), "serve".into()];
        let mut env: Vec<(String, String)> = place.environment().into_iter().collect();
        env.push(("STEPHERD__SERVER__LISTEN".to_owned(), address.to_string()));
        Self::spawn(&args, env, address, place.path().join("stepherd.log"))
    }

    /// Starts the bare handler.
    pub(super) fn bare(place: &Place) -> Result<Self, String> {
        let address = free_address().map_err(|e| format!("no free port: {e}"))?;
        let args = ["bench".into(), "--bare".into(), address.to_string().into()];
        Self::spawn(&args, Vec::new(), address, place.path().join("bare.log"))
    }

    fn spawn(
        args: &[std::ffi::OsString],
        env: Vec<(String, String)>,
        address: SocketAddr,
        log: PathBuf,
    ) -> Result<Self, String> {
        let said = |error: io::Error| format!("cannot start this program again: {error}");
        let program = std::env::current_exe().map_err(said)?;
        let file = File::create(&log).map_err(said)?;
        let since = Stopwatch::start();
        let process = Command::new(program)
            .args(args)
            .env_clear()
            .envs(env)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .map_err(said)?;
        Ok(Self {
            process,
            address,
            log,
            since,
        })
    }

    /// Waits until it can work; how long that took since it was started.
    pub(super) async fn listening(&mut self) -> Result<Duration, String> {
        loop {
            if let Ok(mut wire) = Wire::connect(self.address).await
                && wire.get("/readyz").await.is_ok_and(|status| status == 200)
            {
                return Ok(self.since.elapsed());
            }
            self.still_lives()?;
            tokio::time::sleep(POLL).await;
        }
    }

    /// An error once it has ended or takes too long.
    pub(super) fn still_lives(&mut self) -> Result<(), String> {
        let ended = self.process.try_wait().map_err(|e| e.to_string())?;
        if ended.is_none() && self.since.elapsed() < START_TIMEOUT {
            return Ok(());
        }
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let last = log.lines().last().unwrap_or_default();
        Err(format!("it does not start; its last words: {last}"))
    }

    /// The time since it was started.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// `kill -9`: what was promised must survive even this. What it has logged as errors is held against it.
    pub(super) async fn kill(mut self, report: &mut Report) {
        let _ = self.process.kill().await;
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
        report.must(errors.is_empty(), || {
            format!("{} errors in the log, first: {}", errors.len(), errors[0])
        });
    }

    pub(super) fn usage(&self) -> Usage {
        self.process.id().map(|id| usage(&id.to_string())).unwrap_or_default()
    }
}

/// What a process has used, by its number or `self`. Nothing where there is no `/proc`.
pub(super) fn usage(process: &str) -> Usage {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name, in parentheses, may hold anything; utime and stime are the 12th and 13th after it.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace()
        .collect();
    let ticks = |place: usize| fields.get(place).and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let kib = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0)
    };
    Usage {
        cpu: TICK * ticks(11) + TICK * ticks(12),
        rss: kib("VmRSS:") * 1024,
        rss_peak: kib("VmHWM:") * 1024,
    }
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}
