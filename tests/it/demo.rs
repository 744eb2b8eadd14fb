//! The demo, as somebody runs it who has just built the program.

use std::process::{Command, Output};

use serde_json::Value;

/// The built program, away from the repository and without settings of the machine.
fn stepherd(args: &[&str]) -> Output {
    let elsewhere = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_stepherd"))
        .args(args)
        .current_dir(elsewhere.path())
        .env(
            "STEPHERD__SERVER__LISTEN",
            "this would be refused if the demo looked at it",
        )
        .output()
        .unwrap()
}

#[test]
fn the_demo_tells_the_main_job_to_its_end() {
    let ran = stepherd(&["demo", "--json"]);
    let (out, err) = (
        String::from_utf8(ran.stdout).unwrap(),
        String::from_utf8(ran.stderr).unwrap(),
    );
    let told: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}\n{err}"));
    let differs: Vec<&Value> = told["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["ok"] != true)
        .collect();
    assert!(ran.status.success(), "{differs:#?}\n{}\n{err}", told["trouble"]);
    assert_eq!(err, "");
    assert_eq!(told["ok"], true);
    assert_eq!(told["tickets"][0]["status"], "Done");
    assert_eq!(told["tickets"][1]["status"], "Open");

    let places: Vec<&str> = told["threads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["platform"].as_str().unwrap())
        .collect();
    assert_eq!(places, ["Jira", "GitHub", "GitHub", "Discord", "Discord"]);
    let said = |place: usize| {
        let messages = told["threads"][place]["messages"].as_array().unwrap();
        messages
            .iter()
            .map(|m| m["text"].as_str().unwrap().lines().next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let run = told["run"].as_str().unwrap();
    let name = format!("✅ DCR rebuild comcast · SREPROV-3072 · {run}");
    let card = format!("{name} — completed");
    let restarted = "🔁 Rebuild failed at 42 % and was restarted by the service (restart 1): it goes on at 42 %";
    let notices = [
        "❌ Rebuild failed at 42 %".to_owned(),
        restarted.to_owned(),
        format!("{name} completed."),
    ];
    assert_eq!(said(0), [std::slice::from_ref(&card), &notices[..]].concat());
    assert_eq!(said(1), [std::slice::from_ref(&card), &notices[..]].concat());
    assert_eq!(
        said(2),
        [
            std::slice::from_ref(&card),
            &notices[..2],
            &["/dcr retry".to_owned()],
            &notices[2..]
        ]
        .concat()
    );
    assert_eq!(said(3)[0], card);
    assert_eq!(said(4), notices);
}

#[test]
fn the_demo_says_what_it_is_and_what_it_cannot_do() {
    let ran = stepherd(&["demo", "--help"]);
    let out = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success());
    assert!(out.contains("--stay") && out.contains("--json"), "{out}");

    let ran = stepherd(&["demo", "--stay", "--json"]);
    assert_eq!(ran.status.code(), Some(2));
}
