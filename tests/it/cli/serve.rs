//! `serve`: when it starts, when it refuses to, and how it ends.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use secrecy::SecretString;
use stepherd::sandbox::github::signature;

use super::kit::{Folder, SECRET};

#[test]
fn a_platform_that_is_on_without_its_secret_keeps_it_from_starting() {
    for (platform, key) in [
        ("GITHUB", "github is to be on, but `webhook_secret` is not given"),
        ("JIRA", "jira is to be on, but "),
        ("DISCORD", "discord is to be on, but "),
    ] {
        let mut folder = Folder::new();
        folder.set(&format!("{platform}__ENABLED"), "true");
        let refused = folder.run(&["serve"]);
        assert_eq!(refused.code, Some(2), "{platform}: {refused:?}");
        assert!(refused.err.contains(key), "{platform}: {}", refused.err);
    }
}

#[test]
fn what_is_off_is_said_at_the_start() {
    let server = Folder::new().serve();
    let off: Vec<&str> = server
        .log
        .iter()
        .filter(|line| line["fields"]["message"] == "switched off" && line["level"] == "WARN")
        .map(|line| line["fields"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(off, ["argocd", "dcr", "discord", "github", "jira"]);
}

#[test]
fn a_hang_up_ends_nothing_and_is_answered_with_what_to_do() {
    let mut server = Folder::new().serve();
    server.signal("HUP");
    server.wait_for("SIGHUP: configuration is read at the start; check it and restart to take it over");
    server.signal("HUP");
    server.terminate();
    let (status, _) = server.ended();
    assert!(status.success(), "{status}");
}

#[test]
fn an_address_that_is_taken_is_said_in_words() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut folder = Folder::new();
    folder.set("SERVER__LISTEN", &address);
    let refused = folder.run(&["serve"]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.err.contains(&format!("cannot listen on {address}: ")),
        "{}",
        refused.err
    );
}

#[test]
fn a_database_that_cannot_be_had_is_said_in_words() {
    let mut folder = Folder::new();
    folder.write("file", "");
    folder.set("DATABASE__URL", "sqlite:file/stepherd.db");
    for args in [&["serve"] as &[&str], &["runs", "list"]] {
        let refused = folder.run(args);
        assert_eq!(refused.code, Some(1), "{args:?}: {refused:?}");
        assert!(
            refused.err.lines().last().unwrap().starts_with("stepherd: "),
            "{}",
            refused.err
        );
    }
}

#[test]
fn sigterm_lets_a_request_under_way_finish_and_ends_well() {
    let folder = Folder::with_github();
    let mut server = folder.serve();
    let body = br#"{"zen":"Keep it logically awesome."}"#;
    let signed = signature(&SecretString::from(SECRET), body);
    let head = format!(
        "POST /webhooks/github HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         x-github-event: ping\r\nx-github-delivery: d-1\r\nx-hub-signature-256: {signed}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    // The server has begun to read the body when it asks for it.
    let mut go_on = [0_u8; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    server.terminate();
    server.wait_for("asked to end: finishing what is in hand");
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    let (status, log) = server.ended();
    assert_eq!(status.code(), Some(0), "{log:#?}");
    assert_eq!(
        log.last().unwrap()["fields"]["message"],
        "stepherd has ended in good order"
    );
    let kept = folder.run(&["deliveries", "list", "--json"]).json();
    assert_eq!(kept["deliveries"][0]["deliveryId"], "d-1", "what was promised is there");
}

#[test]
fn after_sigterm_nobody_new_is_let_in() {
    let server = Folder::new().serve();
    let address = server.address.clone();
    server.terminate();
    let (status, _) = server.ended();
    assert_eq!(status.code(), Some(0));
    assert!(TcpStream::connect(address).is_err());
}

/// What it logs for people until it listens.
fn log_for_people(folder: &Folder) -> String {
    let mut child = folder.spawn();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut log = String::new();
    while !log.contains("stepherd listens") {
        assert_ne!(lines.read_line(&mut log).unwrap(), 0, "it ended: {log}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    log
}

#[test]
fn a_log_that_goes_to_a_file_has_no_colours() {
    let mut folder = Folder::new();
    folder.set("LOG__FORMAT", "text");
    let plain = log_for_people(&folder);
    assert!(plain.contains(" INFO ") && !plain.contains('\u{1b}'), "{plain:?}");
    // Unless they are asked for; and who wants none has the last word.
    folder.env.insert("CLICOLOR_FORCE".to_owned(), "1".to_owned());
    assert!(log_for_people(&folder).contains('\u{1b}'));
    folder.env.insert("NO_COLOR".to_owned(), "1".to_owned());
    assert!(!log_for_people(&folder).contains('\u{1b}'));
}

/// What the server at this address answers to a request without a body.
fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn while_it_waits_for_the_database_it_lives_and_asks_webhooks_to_come_again() {
    let mut folder = Folder::with_github();
    folder.set("SERVER__API_TOKEN", "a-token-for-the-metrics-of-the-cli-tests");
    // Another one serves the file.
    let first = folder.serve();
    let mut second = folder.start();
    let waits = second.wait_for("waiting for the database; trying again every 2 s");
    let address = waits["fields"]["address"].as_str().unwrap().to_owned();
    assert!(
        waits["fields"]["why"]
            .as_str()
            .unwrap()
            .contains("another stepherd serves")
    );
    assert!(ask(&address, "GET /healthz").starts_with("HTTP/1.1 200 "));
    let ready = ask(&address, "GET /readyz");
    assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
    assert!(
        ready.ends_with(r#"{"ready":false,"degraded":false,"parts":{"start":"not ready"}}"#),
        "{ready}"
    );
    let authorization = "authorization: Bearer a-token-for-the-metrics-of-the-cli-tests\r\nx-rest:";
    let ready = ask(&address, &format!("GET /readyz HTTP/1.1\r\n{authorization}"));
    assert!(ready.contains(r#""why":"waiting for the database""#), "{ready}");
    let webhook = ask(&address, "POST /webhooks/github");
    assert!(webhook.starts_with("HTTP/1.1 503 "), "{webhook}");
    assert!(webhook.to_lowercase().contains("\r\nretry-after: 30\r\n"), "{webhook}");
    drop(first);
    second.wait_for("stepherd listens");
    let mut ready = ask(&address, "GET /readyz");
    for _ in 0..100 {
        if ready.starts_with("HTTP/1.1 200 ") {
            break;
        }
        ready = ask(&address, "GET /readyz");
    }
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
    assert!(ask(&address, "POST /webhooks/github").starts_with("HTTP/1.1 401 "));
    let metrics = ask(
        &address,
        "GET /metrics HTTP/1.1\r\nauthorization: Bearer a-token-for-the-metrics-of-the-cli-tests\r\nx-rest:",
    );
    for name in ["intake", "dispatch", "sweep"] {
        let turned = format!("stepherd_loop_turned_timestamp_seconds{{name=\"{name}\"}}");
        assert!(metrics.contains(&turned), "{metrics}");
    }
}
