//! Looking into the database of a running server, and doing things again.

use serde_json::{Value, json};

use super::kit::Folder;

/// The delivery as it is listed once the server has dealt with it.
fn dealt_with(folder: &Folder, attempts: u64) -> Value {
    for _ in 0..500 {
        let list = folder.run(&["deliveries", "list", "--json"]).json();
        let first = list["deliveries"][0].clone();
        if first["state"] != "pending" && first["attempts"].as_u64() >= Some(attempts) {
            return first;
        }
    }
    panic!("the server does not deal with it");
}

#[test]
fn what_is_sent_is_taken_once_listed_shown_and_can_be_replayed() {
    let folder = Folder::with_github();
    let server = folder.serve();
    let ping = folder.write("ping.json", r#"{"zen":"Design for failure.","hook_id":1}"#);
    let send = || {
        folder.run(&[
            "send",
            "github",
            ping.to_str().unwrap(),
            "--url",
            &server.url(),
            "--id",
            "d-1",
        ])
    };
    for _ in 0..2 {
        let sent = send();
        assert_eq!((sent.code, sent.out.trim()), (Some(0), "202 Accepted"), "{sent:?}");
    }
    let delivery = dealt_with(&folder, 1);
    assert_eq!(
        (
            &delivery["number"],
            &delivery["platform"],
            &delivery["deliveryId"],
            &delivery["kind"],
            &delivery["state"]
        ),
        (
            &json!(1),
            &json!("github"),
            &json!("d-1"),
            &json!("ping"),
            &json!("done")
        )
    );
    let shown = folder.run(&["deliveries", "show", "1"]).json();
    assert_eq!(shown["body"]["zen"], "Design for failure.");
    let replayed = folder.run(&["deliveries", "replay", "1"]);
    assert_eq!(
        (replayed.code, replayed.out.trim()),
        (Some(0), "Delivery 1 will be dealt with again.")
    );
    assert_eq!(dealt_with(&folder, 1)["state"], "done");
    let table = folder.run(&["deliveries", "list", "--state", "done"]);
    assert!(
        table.out.contains("github") && table.out.contains("ping"),
        "{}",
        table.out
    );
    assert_eq!(
        folder
            .run(&["deliveries", "list", "--state", "parked", "--json"])
            .json(),
        json!({ "deliveries": [] })
    );
}

#[test]
fn a_forged_payload_is_refused_and_send_says_so() {
    let folder = Folder::with_github();
    let server = folder.serve();
    let ping = folder.write("ping.json", r#"{"zen":"x"}"#);
    let mut other = Folder::with_github();
    other.set("GITHUB__WEBHOOK_SECRET", "another secret");
    let refused = other.run(&["send", "github", ping.to_str().unwrap(), "--url", &server.url()]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.out.starts_with("401 Unauthorized"), "{refused:?}");
    assert_eq!(
        folder.run(&["deliveries", "list", "--json"]).json(),
        json!({ "deliveries": [] })
    );
}

#[test]
fn what_is_not_there_ends_with_one_and_says_how_to_find_what_is() {
    let folder = Folder::new();
    drop(folder.serve());
    let table: [(&[&str], &str); 5] = [
        (
            &["runs", "show", "URMO7YZ2"],
            "there is no run URMO7YZ2; `stepherd runs list` shows what there is",
        ),
        (&["runs", "show", "URMO7YZ2", "--json"], "there is no run URMO7YZ2"),
        (
            &["deliveries", "show", "9"],
            "there is no delivery 9; `stepherd deliveries list` shows what there is",
        ),
        (&["deliveries", "replay", "9"], "delivery 9 is not there"),
        (&["effects", "release", "9"], "effect 9 is not there"),
    ];
    for (args, words) in table {
        let ran = folder.run(args);
        assert_eq!(ran.code, Some(1), "{args:?}: {ran:?}");
        assert!(ran.err.contains(words), "{args:?}: {}", ran.err);
    }
    let nonsense = folder.run(&["runs", "show", "nonsense"]);
    assert_eq!(
        (nonsense.code, nonsense.err.contains("a run id must be")),
        (Some(2), true),
        "{nonsense:?}"
    );
}

#[test]
fn whoever_looks_where_no_database_is_makes_none_and_is_told_so() {
    let folder = Folder::new();
    let table: [&[&str]; 7] = [
        &["runs", "list"],
        &["runs", "show", "URMO7YZ2"],
        &["deliveries", "list", "--json"],
        &["deliveries", "replay", "1"],
        &["effects", "list"],
        &["effects", "release", "1"],
        &["restored"],
    ];
    for args in table {
        let refused = folder.run(args);
        assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""), "{args:?}");
        let why = "there is no database at stepherd.db: `stepherd serve` makes it";
        assert!(refused.err.contains(why), "{args:?}: {}", refused.err);
        assert!(!folder.path("stepherd.db").exists(), "{args:?} made one");
    }
}

#[test]
fn an_empty_database_lists_nothing() {
    let folder = Folder::new();
    drop(folder.serve());
    assert_eq!(folder.run(&["runs", "list", "--json"]).json(), json!({ "runs": [] }));
    assert_eq!(
        folder.run(&["effects", "list", "--json"]).json(),
        json!({ "effects": [] })
    );
    let all = folder.run(&["effects", "release", "--all"]);
    assert!(all.out.starts_with("0 effects will be tried again"), "{all:?}");
    let table = folder.run(&["runs", "list", "--live"]);
    assert_eq!(table.code, Some(0));
    assert!(table.out.contains("RUN"), "{}", table.out);
}
