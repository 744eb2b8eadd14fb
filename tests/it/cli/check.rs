//! `check`: everything that is wrong at once, with its place.

use serde_json::Value;

use super::kit::{Folder, SECRET};

#[test]
fn what_is_shipped_is_good_and_says_what_is_on() {
    let folder = Folder::with_github();
    let good = folder.run(&["check"]);
    assert_eq!((good.code, good.err.as_str()), (Some(0), ""));
    assert!(
        good.out.starts_with("All good: 2 commands, 2 pipelines.\n"),
        "{}",
        good.out
    );
    let platform = |name: &str| {
        good.out
            .lines()
            .find(|line| line.trim_start().starts_with(name))
            .unwrap()
    };
    assert!(platform("github").contains(" on "), "{}", good.out);
    assert!(platform("jira").contains(" off "), "{}", good.out);
    assert!(
        good.out
            .ends_with("Kept: deliveries 30 days, finished runs 365 days, what has taken effect 400 days.\n"),
        "{}",
        good.out
    );
    let json = folder.run(&["check", "--json"]);
    assert_eq!(json.json()["retention"]["runsDays"], 365);
    assert_eq!(json.code, Some(0));
    assert_eq!(json.json()["problems"], serde_json::json!([]));
    assert_eq!(json.json()["platforms"][0]["name"], "github");
}

/// Three mistakes in three files.
fn broken() -> Folder {
    let folder = Folder::with_github();
    let spoil = |file: &str, from: &str, to: &str| {
        let text = std::fs::read_to_string(folder.path(file)).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        folder.write(file, &text.replacen(from, to, 1));
    };
    spoil("config/pipelines/dcr.toml", "kind = \"merge\"", "kind = \"marge\"");
    spoil("commands/dcr.toml", "roles = [\"operator\"]", "roles = [\"operater\"]");
    folder.write("config/stepherd.toml", "[server]\nlisten = \"nowhere\"\n");
    folder
}

#[test]
fn all_mistakes_are_told_at_once_with_file_line_and_column() {
    let mut folder = broken();
    folder.env.remove("STEPHERD__SERVER__LISTEN");
    let bad = folder.run(&["check"]);
    assert_eq!((bad.code, bad.out.as_str()), (Some(2), ""));
    for place in [
        "commands/dcr.toml:",
        "config/pipelines/dcr.toml:",
        "config/stepherd.toml:2:10",
    ] {
        assert!(bad.err.contains(place), "{place} is not in\n{}", bad.err);
    }
    for words in ["marge", "operater", "operator", "nowhere"] {
        assert!(bad.err.contains(words), "{words} is not in\n{}", bad.err);
    }
}

#[test]
fn programs_read_the_same_from_json() {
    let mut folder = broken();
    folder.env.remove("STEPHERD__SERVER__LISTEN");
    let bad = folder.run(&["check", "--json"]);
    assert_eq!(bad.code, Some(2));
    let told = bad.json();
    let problems = told["problems"].as_array().expect("the same shape as when all is good");
    assert_eq!(problems.len(), 3, "{problems:#?}");
    for problem in problems {
        assert!(
            problem["line"].as_u64() > Some(0) && problem["column"].as_u64() > Some(0),
            "{problem}"
        );
        assert!(
            problem["message"].as_str().is_some_and(|words| !words.is_empty()),
            "{problem}"
        );
    }
}

#[test]
fn nothing_else_starts_on_a_broken_configuration() {
    let folder = broken();
    for args in [
        &["serve"] as &[&str],
        &["runs", "list"],
        &["commands", "list"],
        &["deliveries", "list"],
        &["effects", "list"],
    ] {
        let refused = folder.run(args);
        assert_eq!(refused.code, Some(2), "{args:?}");
        assert!(refused.err.contains("dcr.toml"), "{args:?}: {}", refused.err);
    }
    assert!(!folder.path("stepherd.db").exists(), "and nothing was made");
}

#[test]
fn a_folder_that_is_not_there_is_said() {
    let folder = Folder::new();
    let absent = folder.run(&["check", "--config", "elsewhere"]);
    assert_eq!(absent.code, Some(2));
    assert!(absent.err.contains("elsewhere"), "{}", absent.err);
}

#[test]
fn a_secret_in_the_file_is_refused_and_not_shown() {
    let folder = Folder::new();
    folder.write(
        "config/stepherd.toml",
        &format!("[github]\nwebhook_secret = \"{SECRET}\"\n"),
    );
    // `run` sees to it that the secret is not told.
    let text = folder.run(&["check"]);
    assert_eq!(text.code, Some(2));
    assert!(text.err.contains("config/stepherd.toml:2:"), "{}", text.err);
    let json: Value = folder.run(&["check", "--json"]).json();
    assert_eq!(json["problems"].as_array().map(Vec::len), Some(1), "{json}");
}

#[test]
fn a_role_that_everybody_would_have_is_warned_of_and_is_no_mistake() {
    let folder = Folder::with_github();
    for (level, warned) in [("read", true), ("triage", false), ("write", false)] {
        folder.write(
            "config/people.toml",
            &format!(
                "[[role]]\nname = \"viewer\"\n\n[[role]]\nname = \"approver\"\n\n[[role]]\nname = \"operator\"\n\
                 github_permission = {{ repo = \"acme/deployment\", at_least = \"{level}\" }}\n"
            ),
        );
        let told = folder.run(&["check"]);
        assert_eq!((told.code, told.err.as_str()), (Some(0), ""), "{level}");
        let warning =
            "people.toml:9:60: if acme/deployment is public, everybody on GitHub has the role `operator`\n  hint: ";
        assert_eq!(told.out.contains(warning), warned, "{level}: {}", told.out);
        let json = folder.run(&["check", "--json"]).json();
        let warnings = json["warnings"].as_array().map(Vec::len);
        assert_eq!(warnings, Some(usize::from(warned)), "{json}");
        assert_eq!(json["problems"], serde_json::json!([]));
    }
}

#[test]
fn a_command_that_nobody_can_start_anywhere_is_warned_of() {
    let folder = Folder::with_github();
    let path = "commands/provision.toml";
    let text = std::fs::read_to_string(folder.path(path)).unwrap();
    let nowhere = text
        .replace("[\"acme/deployment\", \"acme/instances\"]", "[]")
        .replace("[\"PROV\"]", "[]");
    assert_ne!(nowhere, text);
    folder.write(path, &nowhere);
    let told = folder.run(&["check"]);
    assert_eq!(told.code, Some(0));
    assert!(told.out.contains("nobody can start `provision`"), "{}", told.out);
}
