//! Crowds: as many idle connections as this machine lets a test hold, and storms of short ones. The real program is
//! asked meanwhile whether it lives, and how much memory it takes.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::time::Duration;

use stepherd::clock::Stopwatch;

use crate::cli::kit::{Folder, Server};

/// As many as the issue of the day is about.
const CROWD: usize = 10_000;
/// What the other tests of this process may need meanwhile.
const OTHERS: usize = 3_000;
/// What a program without optimisation may take for all of them; a release takes less.
const MEMORY_KB_MAX: u64 = 400 * 1024;
/// Far longer than an answer takes; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Raises this process' limit of open files as far as it may go, and says how many connections a test can hold.
fn crowd() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut figures = line.split_whitespace().filter_map(|word| word.parse::<usize>().ok());
    let (soft, hard) = (figures.next().unwrap_or(1_024), figures.next().unwrap_or(1_024));
    let wanted = (CROWD + OTHERS).min(hard);
    if soft >= wanted {
        return CROWD.min(soft.saturating_sub(OTHERS).max(soft / 4));
    }
    let pid = std::process::id().to_string();
    let raised = Command::new("prlimit")
        .args(["--pid", &pid, &format!("--nofile={wanted}:{hard}")])
        .status()
        .is_ok_and(|status| status.success());
    let now = if raised { wanted } else { soft };
    CROWD.min(now.saturating_sub(OTHERS).max(now / 4))
}

fn memory_kb(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn get(server: &Server, path: &str) -> String {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn an_idle_crowd_keeps_nobody_from_being_answered() {
    let crowd = crowd();
    let mut folder = Folder::new();
    // Places for fewer than come: the rest gets to the reserve, where nobody may idle.
    folder.set("SERVER__CONNECTIONS_MAX", &(crowd - crowd / 20).to_string());
    folder.set("SERVER__HEADER_TIMEOUT_S", "600");
    let server = folder.serve();
    let before = memory_kb(&server);
    let mut idle = Vec::with_capacity(crowd);
    for n in 0..crowd {
        idle.push(TcpStream::connect(&server.address).unwrap());
        // The system queues some connections; who comes when its queue is full tries again, a second later.
        if n % 64 == 63 {
            assert!(get(&server, "/healthz").starts_with("HTTP/1.1 200 "), "after {n}");
        }
    }
    // Some have begun to speak, all they may, and do not end.
    let beginning = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: {}", "z".repeat(4_000));
    for stream in idle.iter_mut().step_by(10) {
        let _ = stream.write_all(beginning.as_bytes());
    }
    for path in ["/healthz", "/readyz", "/healthz"] {
        let answer = get(&server, path);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path} among {crowd}: {answer}");
    }
    let refused = get(&server, "/metrics");
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    let taken = memory_kb(&server).saturating_sub(before);
    assert!(taken < MEMORY_KB_MAX, "{crowd} idle connections take {taken} kB");
    drop(idle);
    assert!(get(&server, "/healthz").starts_with("HTTP/1.1 200 "));
    server.terminate();
    assert_eq!(server.ended().0.code(), Some(0));
}

#[test]
fn a_storm_of_short_connections_passes() {
    let folder = Folder::with_github();
    let server = folder.serve();
    let before = memory_kb(&server);
    for n in 0..2_400 {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        match n % 3 {
            0 => {}
            1 => {
                let _ = stream.write_all(b"POST /webhooks/github HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{");
            }
            _ => {
                let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\n");
                let _ = stream.shutdown(Shutdown::Write);
            }
        }
        if n % 64 == 63 {
            assert!(get(&server, "/healthz").starts_with("HTTP/1.1 200 "), "after {n}");
        }
    }
    assert!(get(&server, "/healthz").starts_with("HTTP/1.1 200 "));
    let ready = get(&server, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
    let taken = memory_kb(&server).saturating_sub(before);
    assert!(taken < MEMORY_KB_MAX / 4, "what has gone still takes {taken} kB");
    server.terminate();
    assert_eq!(server.ended().0.code(), Some(0));
}

#[test]
fn a_storm_of_forgeries_does_not_fill_the_log() {
    let server = Folder::with_github().serve();
    let began = Stopwatch::start();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = "POST /webhooks/github HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    }
    let most = 2 + began.elapsed().as_secs() / 10;
    server.terminate();
    let (_, log) = server.ended();
    let said = log
        .iter()
        .filter(|line| line["fields"]["message"] == "a request was turned away");
    let said = said.count() as u64;
    assert!((1..=most).contains(&said), "{said} lines about one storm");
}
