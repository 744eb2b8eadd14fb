//! What whoever operates it at night has to rely on: it begins although others hang, says what is wrong once, and ends
//! when it is told to.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::kit::{Folder, terminate};

const TOKEN: &str = "a-token-for-probes-of-the-cli-tests";

/// Takes connections and never says a word.
struct Mute {
    url: String,
    listener: TcpListener,
}

impl Mute {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self { url, listener }
    }

    /// Waits until somebody asks it something; the connection stays open.
    fn asked(&self) -> TcpStream {
        let (mut stream, _) = self.listener.accept().unwrap();
        assert_ne!(stream.read(&mut [0; 16]).unwrap(), 0);
        stream
    }
}

/// What `/readyz` says to whoever has the token.
fn ready(address: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("GET /readyz HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer[9..12].parse().unwrap(), answer)
}

/// GitHub and Jira are on, at these addresses.
fn with_platforms(github: &str, jira: &str) -> Folder {
    let mut folder = Folder::with_github();
    folder.env.remove("STEPHERD__GITHUB__OWN_ACCOUNT_ID");
    folder.set("GITHUB__API_URL", github);
    folder.set("JIRA__WEBHOOK_SECRET", "a-jira-secret-of-the-cli-tests");
    folder.set("JIRA__BASE_URL", jira);
    folder.set("JIRA__EMAIL", "stepherd@example.test");
    folder.set("JIRA__TOKEN", "a-jira-token-of-the-cli-tests");
    folder.set("SERVER__API_TOKEN", TOKEN);
    folder
}

#[test]
fn platforms_that_hang_keep_nothing_from_beginning_and_no_end_waiting() {
    let (github, jira) = (Mute::new(), Mute::new());
    let folder = with_platforms(&github.url, &jira.url);
    let server = folder.serve();
    // It begins although nobody has answered; and here nobody ever does.
    let _asked = (github.asked(), jira.asked());
    let early = server.log.iter().find(|line| line["fields"]["error"].is_string());
    assert_eq!(early, None, "it waited for an answer before it listened");
    assert_eq!(ready(&server.address).0, 200);
    server.terminate();
    let (status, log) = server.ended();
    assert_eq!(status.code(), Some(0), "{log:#?}");
}

#[test]
fn a_platform_that_refuses_the_token_is_told_by_readyz() {
    let jira = TcpListener::bind("127.0.0.1:0").unwrap();
    let github = Mute::new();
    let folder = with_platforms(&github.url, &format!("http://{}", jira.local_addr().unwrap()));
    std::thread::spawn(move || {
        for stream in jira.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let body = r#"{"message":"Client must be authenticated"}"#;
            let head = format!(
                "HTTP/1.1 401 Unauthorized\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    let mut server = folder.serve();
    while server.wait_for("a platform does not know stepherd; asking again")["fields"]["platform"] != "jira" {}
    let (status, said) = ready(&server.address);
    assert_eq!(status, 200, "another replica would be refused as well: {said}");
    assert!(said.contains(r#""degraded":true"#), "{said}");
    assert!(
        said.contains("jira refuses stepherd's credentials: nobody is obeyed there (")
            && said.contains("Jira GET /rest/api/3/myself: 401"),
        "{said}"
    );
}

#[test]
fn whoever_asks_again_is_not_kept_waiting() {
    let folder = Folder::with_github();
    let mut server = folder.serve();
    // A request that is not over: an orderly end would wait for it.
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let head = "POST /webhooks/github HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\
                x-github-event: ping\r\nx-github-delivery: d\r\nexpect: 100-continue\r\nx-hub-signature-256: sha256=";
    stream
        .write_all(format!("{head}{}\r\n\r\n", "0".repeat(64)).as_bytes())
        .unwrap();
    let mut go_on = [0_u8; 25];
    stream.read_exact(&mut go_on).unwrap();
    server.terminate();
    server.wait_for("asked to end: finishing what is in hand");
    server.terminate();
    server.wait_for("asked to end again: ending at once");
    assert_eq!(server.ended().0.code(), Some(1));
}

#[test]
fn the_database_is_named_at_the_start_and_a_new_one_is_said_to_be_new() {
    let folder = Folder::new();
    let named = |log: &[serde_json::Value], message: &str| {
        let line = log.iter().find(|line| line["fields"]["message"] == message)?;
        Some(line["fields"]["place"].as_str().unwrap().to_owned())
    };
    let place = fs::canonicalize(folder.path("config")).unwrap();
    let place = place.parent().unwrap().join("stepherd.db").display().to_string();
    let server = folder.serve();
    assert_eq!(named(&server.log, "made a new, empty database"), Some(place.clone()));
    assert_eq!(named(&server.log, "the database"), Some(place.clone()));
    drop(server);
    let server = folder.serve();
    assert_eq!(named(&server.log, "made a new, empty database"), None);
    assert_eq!(named(&server.log, "the database"), Some(place));
}

#[test]
fn an_output_that_cannot_be_written_is_told_without_a_panic() {
    let folder = Folder::with_github();
    drop(folder.serve());
    for args in [
        &["runs", "list"] as &[&str],
        &["check"],
        &["deliveries", "list", "--json"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let ran = folder.run_into(args, full);
        assert_eq!(ran.code, Some(1), "{args:?}: {ran:?}");
        assert!(
            ran.err.contains("not all of it could be printed: "),
            "{args:?}: {}",
            ran.err
        );
        assert!(!ran.err.contains("panicked"), "{args:?}: {}", ran.err);
    }
}

#[test]
fn what_is_set_wrongly_is_told_by_check_and_not_by_silence() {
    let said = |set: &[(&str, &str)]| {
        let mut folder = Folder::with_github();
        for (key, value) in set {
            folder.set(key, value);
        }
        let ran = folder.run(&["check"]);
        (ran.code, format!("{}{}", ran.out, ran.err))
    };
    for (set, told) in [
        (
            &[("LOG__LEVEL", "inof")] as &[(&str, &str)],
            "`inof` is no level of logs",
        ),
        (&[("LOG__LEVEL", "verbose")], "`verbose` is no level of logs"),
        (&[("LOG__LEVEL", "info,stepherd::engine=lots")], "is no level of logs"),
        (
            &[("DATABASE__URL", "")],
            "STEPHERD__DATABASE__URL: it is set, and empty",
        ),
        (
            &[("DATABASE__URL_FILE", "")],
            "STEPHERD__DATABASE__URL_FILE: it is set, and empty",
        ),
        (
            &[("DATABASE__URL", "postgres://u@h/d?sslmod=require")],
            "an option `sslmod`, which means nothing here",
        ),
        (
            &[("GITHUB__APP_ID", "5"), ("GITHUB__PRIVATE_KEY", "no PEM at all")],
            "settings: ",
        ),
    ] {
        let (code, all) = said(set);
        assert_eq!(code, Some(2), "{set:?}: {all}");
        assert!(all.contains(told), "{set:?}: {all}");
    }
    for set in [
        &[("LOG__LEVEL", "WARN,stepherd::engine=debug")] as &[(&str, &str)],
        &[(
            "DATABASE__URL",
            "postgres://u@h/d?sslmode=require&options[search_path]=x",
        )],
        &[("GITHUB__TOKEN_FILE", "")],
    ] {
        let (code, all) = said(set);
        assert_eq!(code, Some(0), "{set:?}: {all}");
    }
}

#[tokio::test]
async fn a_backup_that_is_given_up_leaves_nothing_behind() {
    let database = crate::postgres::Database::new().await;
    database.store().await.close().await;
    let mut folder = Folder::new();
    folder.set("DATABASE__URL", &database.url);
    // A dump that goes on and on.
    fs::create_dir(folder.path("bin")).unwrap();
    let pg_dump = folder.write("bin/pg_dump", "#!/bin/sh\nexec /bin/sleep 600\n");
    fs::set_permissions(&pg_dump, fs::Permissions::from_mode(0o755)).unwrap();
    folder
        .env
        .insert("PATH".to_owned(), folder.path("bin").display().to_string());
    let mut backup = folder.begin(&["backup", "copy.dump"]);
    let part = || {
        let files = fs::read_dir(folder.path("")).unwrap();
        files
            .filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().contains(".part-"))
            .count()
    };
    while part() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    terminate(backup.id());
    let ended = backup.wait().unwrap();
    assert_eq!((ended.code(), part()), (Some(1), 0));
    database.drop().await;
}
