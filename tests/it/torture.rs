//! The torture: a short one on the real program, as somebody runs it who has just built it, and its counting.

mod counting;

use std::process::{Command, Output};

use serde_json::Value;
use stepherd::domain::signal::Proof;
use stepherd::store::{NewDelivery, Store};

use super::postgres::Database;

/// The built program, away from the repository.
fn stepherd(args: &[&str]) -> Output {
    let elsewhere = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_stepherd"))
        .args(args)
        .current_dir(elsewhere.path())
        .env(
            "STEPHERD__GITHUB__API_URL",
            "this would be refused if what is killed looked at it",
        )
        .output()
        .unwrap()
}

/// Runs the torture, which must find nothing; what it counted.
fn finds_nothing(args: &[&str]) -> Value {
    let ran = stepherd(&[&["torture", "--json"], args].concat());
    let (out, err) = (
        String::from_utf8(ran.stdout).unwrap(),
        String::from_utf8(ran.stderr).unwrap(),
    );
    let found: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}\n{err}"));
    assert!(ran.status.success(), "{found:#}\n{err}");
    assert_eq!(err, "");
    assert_eq!(found["ok"], true);
    assert_eq!(found["folder"], Value::Null, "what went well leaves nothing behind");
    found
}

#[test]
fn killed_again_and_again_it_loses_nothing_and_does_nothing_twice() {
    let found = finds_nothing(&["--rounds", "8", "--seed", "7"]);
    assert_eq!(found["rounds"], 8);
    let counts = found["counts"].as_array().unwrap();
    let kinds: Vec<&str> = counts.iter().map(|row| row["what"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "deliveries",
            "questions",
            "orders",
            "pull requests",
            "syncs",
            "rebuilds",
            "ticket moves",
            "cards",
            "notices",
            "checks",
        ]
    );
    // People ask when they feel like it; everything else is part of every run.
    for row in counts.iter().filter(|row| row["what"] != "questions") {
        assert!(row["counted"].as_u64().unwrap() > 0, "{row}");
    }
    assert!(found["runs"]["completed"].as_u64().unwrap() > 0);
    assert!(
        !found["hits"].as_object().unwrap().is_empty(),
        "no kill came while a run was under way"
    );
}

#[tokio::test]
async fn three_replicas_bear_every_fault_and_whoever_is_left_in_peace_goes_on() {
    let database = Database::new().await;
    let args = [
        "--faults",
        "kill,freeze,partition,slow,hang",
        "--rounds",
        "8",
        "--seed",
        "3",
        "--replicas",
        "3",
        "--database",
        &database.url,
    ];
    let found = finds_nothing(&args);
    assert_eq!(found["replicas"], 3);
    let faults = found["faults"].as_object().unwrap();
    assert_eq!(faults.values().filter_map(Value::as_u64).sum::<u64>(), 8, "{faults:?}");
    assert!(faults.len() > 2, "a seed with more kinds of fault: {faults:?}");
    assert!(found["runs"]["completed"].as_u64().unwrap() > 0);
    // What is too long is a trouble; that it was measured at all shows here.
    for longest in ["refused_s", "stalled_s"] {
        assert!(found["longest"][longest].as_f64().unwrap() > 0.0, "{found:#}");
    }
    database.drop().await;
}

#[tokio::test]
async fn a_database_that_is_in_use_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("in-use.db").display());
    let store = Store::open(&url).await.unwrap();
    let delivery = NewDelivery {
        platform: "github".parse().unwrap(),
        delivery_id: "d-1".to_owned(),
        kind: "ping".to_owned(),
        proof: Proof::BodySigned,
        target: "/webhooks/github".to_owned(),
        headers: Vec::new(),
        body: "{}".into(),
        received_at: "2026-11-21T00:00:00Z".parse().unwrap(),
        thread: None,
    };
    store.record_delivery(&delivery).await.unwrap();
    store.close().await;
    let ran = stepherd(&["torture", "--rounds", "1", "--database", &url]);
    let err = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(1), "{err}");
    assert!(err.contains("the database is in use"), "{err}");
}

#[test]
fn a_file_is_for_one_process() {
    for database in [&[] as &[&str], &["--database", "sqlite:somewhere.db"]] {
        let ran = stepherd(&[&["torture", "--replicas", "3"], database].concat());
        let err = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(2));
        assert!(
            err.contains("a SQLite file is for one process: --replicas 3 takes"),
            "{err}"
        );
    }
}

#[test]
fn a_database_that_cannot_be_had_is_said_in_words() {
    let ran = stepherd(&["torture", "--rounds", "1", "--database", "sqlite:nowhere/torture.db"]);
    let err = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(1), "{err}");
    assert!(err.contains("nowhere"), "{err}");
}

#[test]
fn a_file_has_no_connection_to_disturb() {
    let ran = stepherd(&["torture", "--faults", "kill,partition"]);
    let err = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(2), "{err}");
    assert!(err.contains("--faults partition takes --database postgres://"), "{err}");
}

#[test]
fn it_says_what_it_does() {
    let ran = stepherd(&["torture", "--help"]);
    let out = String::from_utf8(ran.stdout).unwrap();
    for words in [
        "--rounds",
        "--faults",
        "--seed",
        "--replicas",
        "--database",
        "--keep",
        "Examples:",
    ] {
        assert!(out.contains(words), "{words}: {out}");
    }
}
