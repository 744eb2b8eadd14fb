//! A folder with the shipped configuration, the program run in it, and a server that is ended with the test.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use serde_json::Value;

/// What the program said and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// A folder of its own, with the configuration that is shipped.
pub struct Folder {
    dir: tempfile::TempDir,
    pub env: BTreeMap<String, String>,
    /// What the program is run by; nothing: by itself.
    pub wrap: Vec<String>,
}

pub const SECRET: &str = "a-webhook-secret-of-the-cli-tests";

impl Folder {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for folder in ["commands", "config", "config/pipelines"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
            for file in std::fs::read_dir(root.join(folder))
                .unwrap()
                .map(|entry| entry.unwrap().path())
            {
                if file.is_file() {
                    std::fs::copy(&file, dir.path().join(folder).join(file.file_name().unwrap())).unwrap();
                }
            }
        }
        let env = [
            ("STEPHERD__SERVER__LISTEN", "127.0.0.1:0"),
            ("STEPHERD__LOG__FORMAT", "json"),
        ];
        Self {
            dir,
            env: env.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            wrap: Vec::new(),
        }
    }

    /// GitHub is on, and cannot be reached.
    pub fn with_github() -> Self {
        let mut folder = Self::new();
        folder.set("GITHUB__WEBHOOK_SECRET", SECRET);
        folder.set("GITHUB__TOKEN", "a-token-of-the-cli-tests");
        folder.set("GITHUB__API_URL", "http://127.0.0.1:9");
        folder.set("GITHUB__OWN_ACCOUNT_ID", "7");
        folder
    }

    pub fn set(&mut self, key: &str, value: &str) {
        self.env.insert(format!("STEPHERD__{key}"), value.to_owned());
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    pub fn write(&self, file: &str, text: &str) -> PathBuf {
        let path = self.path(file);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn command(&self, args: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_stepherd");
        let mut words = self.wrap.iter().map(String::as_str).chain([program]);
        let mut command = Command::new(words.next().unwrap_or(program));
        command
            .args(words)
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .envs(&self.env);
        command
    }

    /// Runs the program to its end. Nothing it says may colour or steer a terminal, for it is not on one.
    pub fn run(&self, args: &[&str]) -> Ran {
        let output = self.command(args).stdin(Stdio::null()).output().unwrap();
        let ran = Ran {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(
            !ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'),
            "{args:?} colours what is no terminal: {ran:?}"
        );
        assert!(
            !ran.out.contains(SECRET) && !ran.err.contains(SECRET),
            "{args:?} tells a secret: {ran:?}"
        );
        ran
    }

    /// The program as a server, with its log to be read.
    pub fn spawn(&self) -> Child {
        self.begin(&["serve"])
    }

    /// The program, which goes on beside the test.
    pub fn begin(&self, args: &[&str]) -> Child {
        self.command(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// The program's end if all that it prints goes to this file.
    pub fn run_into(&self, args: &[&str], out: std::fs::File) -> Ran {
        let output = self.command(args).stdin(Stdio::null()).stdout(out).output().unwrap();
        Ran {
            code: output.status.code(),
            out: String::new(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The server, which may not be able to serve yet.
    pub fn start(&self) -> Server {
        let mut child = self.spawn();
        let lines = BufReader::new(child.stderr.take().unwrap());
        Server {
            child,
            lines,
            log: Vec::new(),
            address: String::new(),
        }
    }

    /// Starts the server, unless it refuses to start: then what it said.
    pub fn try_serve(&self) -> Result<Server, Ran> {
        let mut server = self.start();
        let mut err = String::new();
        while server.address.is_empty() {
            let mut line = String::new();
            if server.lines.read_line(&mut line).unwrap() == 0 {
                let code = server.child.wait().unwrap().code();
                let out = String::new();
                return Err(Ran { code, out, err });
            }
            err.push_str(&line);
            // What is said before the logs begin, and why it does not start, is said in words.
            let Ok(said) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            if said["fields"]["message"] == "stepherd listens" {
                server.address = said["fields"]["address"].as_str().unwrap().to_owned();
            }
            server.log.push(said);
        }
        Ok(server)
    }

    /// Starts the server and waits until it listens.
    pub fn serve(&self) -> Server {
        self.try_serve()
            .unwrap_or_else(|ran| panic!("it ended before it listened: {ran:?}"))
    }
}

/// A running server; dropping it kills it.
pub struct Server {
    child: Child,
    lines: BufReader<ChildStderr>,
    /// What it has logged so far, one JSON value a line.
    pub log: Vec<Value>,
    pub address: String,
}

impl Server {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads its log up to a line with this message.
    pub fn wait_for(&mut self, message: &str) -> Value {
        loop {
            let line = self
                .next_line()
                .unwrap_or_else(|| panic!("it ended before `{message}`: {:#?}", self.log));
            if line["fields"]["message"] == message {
                return line;
            }
        }
    }

    fn next_line(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        if line.is_empty() {
            return None;
        }
        let line: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("every line is JSON: {e}: {line}"));
        self.log.push(line.clone());
        Some(line)
    }

    /// Asks it to end, as a service manager does.
    pub fn terminate(&self) {
        terminate(self.child.id());
    }

    /// Sends it a signal, by its name without SIG.
    pub fn signal(&self, name: &str) {
        send_signal(self.child.id(), name);
    }

    /// Waits for its end, with the rest of its log.
    pub fn ended(mut self) -> (ExitStatus, Vec<Value>) {
        while self.next_line().is_some() {}
        let status = self.child.wait().unwrap();
        (status, std::mem::take(&mut self.log))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks a process to end.
pub fn terminate(pid: u32) {
    send_signal(pid, "TERM");
}

fn send_signal(pid: u32, name: &str) {
    let kill = format!("kill -{name} {pid}");
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}
