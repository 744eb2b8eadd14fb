//! One `stepherd serve` as a process of its own, which is killed and started again.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use jiff::SignedDuration;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::balancer::Backs;
use super::wire::{Mode, Wire};
use crate::clock::{Clock as _, SystemClock};

/// How often it is asked whether it is up.
const LOOK: Duration = Duration::from_millis(10);
/// How long a start may take on a machine that has other things to do.
const START_PATIENCE: SignedDuration = SignedDuration::from_secs(60);
/// How long it may take to end in good order.
const END_PATIENCE: Duration = Duration::from_secs(60);
/// How long a commit is waited for, to be frozen in.
const COMMIT_PATIENCE: Duration = Duration::from_secs(2);
/// How often it may find its port taken by somebody else before that is an error.
const PORTS_TRIED: u32 = 10;

/// A replica.
pub(super) struct Replica {
    number: usize,
    config: PathBuf,
    log: PathBuf,
    /// What is set by the environment rather than by the folder.
    env: Vec<(String, String)>,
    backs: Backs,
    /// Its way to PostgreSQL.
    wire: Option<Wire>,
    http: reqwest::Client,
    running: Option<(Child, SocketAddr)>,
}

impl Replica {
    pub(super) fn new(
        number: usize,
        config: &Path,
        log: PathBuf,
        env: Vec<(String, String)>,
        backs: Backs,
        wire: Option<Wire>,
    ) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_built_in_root_certs(false)
            .timeout(Duration::from_secs(2))
            // A connection to a process that was killed is of no use.
            .pool_max_idle_per_host(0)
            .build();
        Self {
            number,
            config: config.to_owned(),
            log,
            env,
            backs,
            wire,
            http: http.unwrap_or_default(),
            running: None,
        }
    }

    /// Starts it, and does not wait for it.
    pub(super) fn start(&mut self) -> Result<(), String> {
        let said = |error: std::io::Error| format!("stepherd cannot be started: {error}");
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(said)?;
        // The port is free now; should somebody else take it before stepherd does, another one is tried.
        let address = TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr());
        let address = address.map_err(said)?;
        let mut command = Command::new(std::env::current_exe().map_err(said)?);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STEPHERD_") {
                command.env_remove(name);
            }
        }
        let child = command
            .arg("--config")
            .arg(&self.config)
            .arg("serve")
            .env("STEPHERD__SERVER__LISTEN", address.to_string())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(said)?;
        self.backs.set(self.number, Some(address));
        self.running = Some((child, address));
        Ok(())
    }

    /// Waits until it can work. What ends by itself meanwhile is an error, except for a port that was taken.
    pub(super) async fn is_up(&mut self) -> Result<(), String> {
        let until = SystemClock
            .now()
            .saturating_add(START_PATIENCE)
            .unwrap_or(jiff::Timestamp::MAX);
        let mut ports = 0;
        loop {
            let Some((child, address)) = &mut self.running else {
                return Err(format!("replica {} was never started", self.number + 1));
            };
            if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
                self.backs.set(self.number, None);
                let why = self.last_words();
                ports += 1;
                if !why.contains("cannot listen on") || ports > PORTS_TRIED {
                    let number = self.number + 1;
                    return Err(format!("replica {number} ended by itself ({status}): {why}"));
                }
                self.start()?;
                continue;
            }
            let asked = self.http.get(format!("http://{address}/readyz")).send().await;
            if asked.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if SystemClock.now() > until {
                return Err(format!("replica {} does not come up", self.number + 1));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// `kill -9`.
    pub(super) async fn kill(&mut self) -> Result<(), String> {
        if let Some((mut child, _)) = self.running.take() {
            let killed = child.kill().await;
            self.backs.set(self.number, None);
            killed.map_err(|e| format!("replica {} cannot be killed: {e}", self.number + 1))?;
        }
        Ok(())
    }

    /// Asks it to end, as a service manager does; it must end with 0.
    pub(super) async fn end(&mut self) -> Result<(), String> {
        let Some((mut child, _)) = self.running.take() else {
            return Ok(());
        };
        let number = self.number + 1;
        signal(&child, Signal::TERM).map_err(|e| format!("replica {number} cannot be told to end: {e}"))?;
        let ended = tokio::time::timeout(END_PATIENCE, child.wait()).await;
        self.backs.set(self.number, None);
        match ended {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(ended_badly(number, status)),
            Ok(Err(error)) => Err(format!("replica {number}: {error}")),
            Err(_) => Err(format!(
                "replica {number} does not end within {} s of SIGTERM",
                END_PATIENCE.as_secs()
            )),
        }
    }

    /// It stands still from now on: in the middle of a commit, if it makes one soon.
    pub(super) async fn freeze(&self) -> Result<(), String> {
        if let Some(wire) = &self.wire {
            wire.catch_commit(COMMIT_PATIENCE).await;
        }
        self.signal(Signal::STOP)
    }

    /// It goes on where it stood still.
    pub(super) fn thaw(&self) -> Result<(), String> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, which: Signal) -> Result<(), String> {
        let Some((child, _)) = &self.running else { return Ok(()) };
        signal(child, which).map_err(|e| format!("replica {} cannot be signalled: {e}", self.number + 1))
    }

    /// From now on this happens to what it and PostgreSQL tell each other.
    pub(super) fn wire(&self, mode: Mode) {
        if let Some(wire) = &self.wire {
            wire.set(mode);
        }
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().next_back().unwrap_or("without a word").to_owned()
    }
}

fn signal(child: &Child, signal: Signal) -> std::io::Result<()> {
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    // Whoever has ended hears no signal.
    pid.map_or(Ok(()), |pid| Ok(kill_process(pid, signal)?))
}

fn ended_badly(number: usize, status: ExitStatus) -> String {
    format!("replica {number} did not end in good order after SIGTERM: {status}")
}
