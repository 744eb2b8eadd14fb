//! Disks and clocks that fail: a full disk, a file that cannot be written, a damaged one, a clock that is wrong. There
//! is always a clear word that says what to do, and never a 2xx for what was not kept.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use stepherd::clock::{Clock, Stopwatch};
use stepherd::sandbox::github::signature;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::kit::{Folder, SECRET, Server};

/// Only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends a ping of this many bytes that cannot be packed: the status, and all that was answered.
fn send(server: &Server, id: &str, len: usize) -> (u16, String) {
    let digest = |n: usize| hex::encode(Sha256::digest(format!("{id} {n}")));
    let mut noise: String = (0..len.div_ceil(64)).map(digest).collect();
    noise.truncate(len);
    let body = format!(r#"{{"zen":"{noise}"}}"#);
    let signed = signature(&SecretString::from(SECRET), body.as_bytes());
    let head = format!(
        "POST /webhooks/github HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nx-github-event: ping\r\nx-github-delivery: {id}\r\nx-hub-signature-256: {signed}\r\n\r\n",
        body.len()
    );
    said(server, &format!("{head}{body}"))
}

fn get(server: &Server, path: &str) -> (u16, String) {
    said(
        server,
        &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
    )
}

fn said(server: &Server, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer[9..12].parse().unwrap(), answer)
}

/// The ids of the deliveries that are in the database, as another process reads them.
fn kept(folder: &Folder) -> Vec<String> {
    let list = folder.run(&["deliveries", "list", "--limit", "1000", "--json"]).json();
    let all = list["deliveries"].as_array().unwrap();
    all.iter()
        .map(|one| one["deliveryId"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_full_disk_refuses_what_it_cannot_keep_and_loses_nothing() {
    let mut folder = Folder::with_github();
    // A file may grow to 800 kB and no further, whoever runs this; the program is told so instead of being ended.
    folder.wrap = ["sh", "-c", "trap '' XFSZ; ulimit -S -f 1600; exec \"$0\" \"$@\""]
        .map(str::to_owned)
        .into();
    let server = folder.serve();
    let mut promised = Vec::new();
    let mut refused = Vec::new();
    for n in 0..60 {
        let id = format!("d-{n}");
        let (status, answer) = send(&server, &id, 40_000);
        match status {
            202 => promised.push(id),
            503 => {
                assert!(answer.to_lowercase().contains("\r\nretry-after: "), "{answer}");
                refused.push(id);
            }
            _ => panic!("{answer}"),
        }
    }
    assert!(
        promised.len() > 3 && refused.len() > 3,
        "{} taken, {} refused",
        promised.len(),
        refused.len()
    );
    assert_eq!(get(&server, "/healthz").0, 200, "it is there to say so");
    // Not a page more, and so not even what is small.
    let less = format!("prlimit --pid {} --fsize=4096:", server.pid());
    assert!(Command::new("sh").args(["-c", &less]).status().unwrap().success());
    assert_eq!(get(&server, "/readyz").0, 503, "another replica may have room");
    // With room again the same process takes what it refused.
    let more = format!("prlimit --pid {} --fsize=unlimited:", server.pid());
    assert!(Command::new("sh").args(["-c", &more]).status().unwrap().success());
    for id in &refused {
        let (status, answer) = send(&server, id, 40_000);
        assert_eq!(status, 202, "{id}: {answer}");
    }
    assert_eq!(get(&server, "/readyz").0, 200);
    server.terminate();
    let (_, log) = server.ended();
    let refusals = log
        .iter()
        .filter(|line| line["fields"]["message"] == "deliveries cannot be stored");
    assert!(refusals.count() < 3, "said once, not each time: {log:#?}");
    let said: Vec<&str> = log.iter().filter_map(|line| line["fields"]["why"].as_str()).collect();
    assert!(
        said.iter().any(|why| why.contains("disk")),
        "what is wrong is said: {said:?}"
    );
    let kept = kept(&folder);
    for id in promised.iter().chain(&refused) {
        assert_eq!(kept.iter().filter(|there| *there == id).count(), 1, "{id}");
    }
}

#[test]
fn a_disk_that_is_full_at_the_start_is_waited_for() {
    let mut folder = Folder::with_github();
    folder.wrap = ["sh", "-c", "trap '' XFSZ; ulimit -S -f 8; exec \"$0\" \"$@\""]
        .map(str::to_owned)
        .into();
    let mut server = folder.start();
    let waits = server.wait_for("waiting for the database; trying again every 2 s");
    let why = waits["fields"]["why"].as_str().unwrap();
    assert!(why.contains("disk"), "{why}");
    server.address = waits["fields"]["address"].as_str().unwrap().to_owned();
    assert_eq!(get(&server, "/healthz").0, 200);
    let more = format!("prlimit --pid {} --fsize=unlimited:", server.pid());
    assert!(Command::new("sh").args(["-c", &more]).status().unwrap().success());
    server.wait_for("stepherd listens");
}

#[test]
fn a_file_that_somebody_else_keeps_locked_is_answered_before_the_sender_hangs_up() {
    let folder = Folder::with_github();
    let server = folder.serve();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path("stepherd.db"));
    let mut held = runtime.block_on(sqlx::ConnectOptions::connect(&file)).unwrap();
    runtime
        .block_on(sqlx::Executor::execute(&mut held, "BEGIN IMMEDIATE"))
        .unwrap();
    let began = Stopwatch::start();
    let (status, answer) = send(&server, "d-1", 10);
    assert_eq!(status, 503, "{answer}");
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "GitHub hangs up after 10 s: {:?}",
        began.elapsed()
    );
    assert_eq!(get(&server, "/readyz").0, 503);
}

#[test]
fn a_database_that_cannot_be_written_is_refused_at_the_start() {
    let mut folder = Folder::with_github();
    drop(folder.serve());
    // A file that is opened for reading only is read-only for everybody, also for whom permissions do not bind.
    for query in ["mode=ro", "immutable=1"] {
        folder.set("DATABASE__URL", &format!("sqlite:stepherd.db?{query}"));
        let refused = folder.run(&["serve"]);
        assert_eq!(refused.code, Some(1), "{query}: {refused:?}");
        let why = refused.err.lines().last().unwrap();
        assert!(
            why.starts_with("stepherd: ") && why.contains("stepherd.db"),
            "{query}: {why}"
        );
        assert!(
            why.contains("writable") || why.contains("put it on a local disk"),
            "{query}: {why}"
        );
    }
    folder.set("DATABASE__URL", "sqlite:stepherd.db");
    let server = folder.serve();
    assert_eq!(send(&server, "d-1", 10).0, 202);
}

/// Serves on this damaged database: either it refuses in words, or what it promises is there.
fn judge(folder: &Folder, what: &str) {
    let started = folder.try_serve();
    let server = match started {
        Ok(server) => server,
        Err(ran) => {
            assert_eq!(ran.code, Some(1), "{what}: {ran:?}");
            let why = ran.err.lines().last().unwrap();
            assert!(
                why.starts_with("stepherd: ") && why.contains("stepherd.db"),
                "{what}: {why}"
            );
            assert!(!ran.err.contains("panicked"), "{what}: {ran:?}");
            return;
        }
    };
    let (status, answer) = send(&server, "d-new", 10);
    assert!(
        status == 202 || (status == 503 && answer.to_lowercase().contains("retry-after")),
        "{what}: {answer}"
    );
    assert_eq!(get(&server, "/healthz").0, 200, "{what}");
    let ready = get(&server, "/readyz");
    assert!(matches!(ready.0, 200 | 503), "{what}: {}", ready.1);
    if status == 202 {
        let listed = folder.run(&["deliveries", "list", "--limit", "1", "--json"]);
        assert_eq!(
            listed.json()["deliveries"][0]["deliveryId"],
            "d-new",
            "{what}: promised and not there: {listed:?}"
        );
    }
    server.terminate();
    let (ended, log) = server.ended();
    assert_eq!(ended.code(), Some(0), "{what}: {log:#?}");
}

#[test]
fn a_damaged_database_is_told_and_never_believed() {
    let folder = Folder::with_github();
    let server = folder.serve();
    for n in 0..20 {
        assert_eq!(send(&server, &format!("d-{n}"), 9_000).0, 202);
    }
    server.terminate();
    server.ended();
    let file = folder.path("stepherd.db");
    let whole = std::fs::read(&file).unwrap();
    let damage = |bytes: &[u8]| {
        for end in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(folder.path(&format!("stepherd.db{end}")));
        }
        std::fs::write(&file, bytes).unwrap();
    };
    damage(
        b"This is no database, and longer than the head of one would be. "
            .repeat(20)
            .as_slice(),
    );
    let refused = folder.run(&["serve"]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused
            .err
            .contains("not a SQLite database: name another file, or move this one away"),
        "{}",
        refused.err
    );
    damage(&[]);
    judge(&folder, "an empty file is a new database");
    for cut in [100, 4_096, whole.len() / 2, whole.len() - 1] {
        damage(&whole[..cut]);
        judge(&folder, &format!("cut after {cut} bytes"));
    }
    let pages = whole.len() / 4_096;
    for page in [0, 1, 2, pages / 4, pages / 2, pages - 1] {
        let mut spoilt = whole.clone();
        for byte in &mut spoilt[page * 4_096 + 100..(page + 1) * 4_096] {
            *byte = !*byte;
        }
        damage(&spoilt);
        judge(&folder, &format!("page {page} of {pages} turned over"));
    }
    // The log of another database beside it.
    damage(&whole);
    let other = Folder::with_github();
    let server = other.serve();
    assert_eq!(send(&server, "of-another", 9_000).0, 202);
    std::fs::copy(other.path("stepherd.db-wal"), folder.path("stepherd.db-wal")).unwrap();
    drop(server);
    judge(&folder, "the log of another database");
    damage(&whole);
    assert_eq!(kept(&folder).len(), 20, "the whole one is as it was");
}

/// A clock that stands still.
struct Stopped(Timestamp);

#[async_trait]
impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn steady(&self) -> Duration {
        Duration::ZERO
    }

    async fn sleep_until(&self, _: Timestamp) {
        std::future::pending().await
    }

    fn random(&self) -> u64 {
        4
    }
}

async fn serve_at(folder: &Folder, now: &str) -> Result<(), String> {
    let settings = BTreeMap::from([(
        "STEPHERD__DATABASE__URL".to_owned(),
        format!("sqlite:{}", folder.path("stepherd.db").display()),
    )]);
    let catalog = stepherd::catalog::load(&folder.path("config"), &settings).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    stepherd::cli::serve::serve(catalog, listener, Arc::new(Stopped(now.parse().unwrap())), stop).await
}

#[tokio::test]
async fn a_clock_before_2026_is_refused() {
    let folder = Folder::new();
    for wrong in [
        "1970-01-01T00:00:00Z",
        "2025-12-31T23:59:59.999Z",
        "-000044-03-15T00:00:00Z",
    ] {
        let why = serve_at(&folder, wrong).await.unwrap_err();
        assert!(
            why.starts_with("the clock of this machine says ") && why.contains("set it"),
            "{why}"
        );
        assert!(
            !folder.path("stepherd.db").exists(),
            "nothing is begun with a wrong clock"
        );
    }
    serve_at(&folder, "2026-01-01T00:00:00Z").await.unwrap();
    assert!(folder.path("stepherd.db").exists());
}
