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
    let kept = "\nKept: deliveries 30 days, finished runs 365 days, what has taken effect 400 days.\n";
    assert!(good.out.contains(kept), "{}", good.out);
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
                "[[role]]\nname = \"viewer\"\n\n[[role]]\nname = \"approver\"\naccounts = [\"github:1\"]\n[[role]]\nname = \"operator\"\n\
                 github_permission = {{ repo = \"acme/deployment\", at_least = \"{level}\" }}\n"
            ),
        );
        let told = folder.run(&["check"]);
        assert_eq!((told.code, told.err.as_str()), (Some(0), ""), "{level}");
        let warning =
            "people.toml:9:60: if acme/deployment is public, everybody on GitHub has the role `operator`\n  hint: ";
        assert_eq!(told.out.contains(warning), warned, "{level}: {}", told.out);
        let json = folder.run(&["check", "--json"]).json();
        let warnings = json["warnings"].as_array().into_iter().flatten();
        let of_people = warnings.filter(|warning| warning["file"].as_str().unwrap().ends_with("people.toml"));
        assert_eq!(of_people.count(), usize::from(warned), "{json}");
        assert_eq!(json["problems"], serde_json::json!([]));
    }
}

#[test]
fn a_role_that_is_demanded_and_that_nobody_can_have_is_warned_of() {
    let folder = Folder::with_github();
    // Nobody is `viewer`, which matters to nobody: operators may look, too. Grace has no account.
    let people = |approver: &str| {
        let roles = "[[role]]\nname = \"viewer\"\n[[role]]\nname = \"operator\"\naccounts = [\"github:1001\"]\n";
        let approver = format!("[[role]]\nname = \"approver\"\npersons = [{approver}]\n");
        let persons = "[[person]]\nname = \"grace\"\n[[person]]\nname = \"ada\"\ngithub = 1002\n";
        folder.write("config/people.toml", &format!("{roles}{approver}{persons}"));
        folder.run(&["check"])
    };
    for (approver, warned) in [
        ("", true),
        ("\"grace\"", true),
        ("\"ada\"", false),
        ("\"grace\", \"ada\"", false),
    ] {
        let told = people(approver);
        assert_eq!((told.code, told.err.as_str()), (Some(0), ""), "{approver}");
        let warning = "people.toml:7:8: nobody can have the role `approver`";
        assert_eq!(told.out.contains(warning), warned, "{approver}: {}", told.out);
        assert_eq!(
            told.out.matches("nobody can have").count(),
            usize::from(warned),
            "{}",
            told.out
        );
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

/// The warnings of a check that is otherwise good.
fn warnings(folder: &Folder) -> String {
    let told = folder.run(&["check"]);
    assert_eq!((told.code, told.err.as_str()), (Some(0), ""));
    let (_, after) = told.out.split_once("what has taken effect 400 days.\n").unwrap();
    after
        .replace(&format!("{}/", folder.path("").display()), "")
        .replace("//", "/")
}

#[test]
fn it_ends_with_what_is_off_that_a_pipeline_needs() {
    let folder = Folder::with_github();
    let told = warnings(&folder);
    let needs = |name: &str, what: &str| {
        format!("runs of `{name}` need {what} off: they would stop there\n  hint: give what switches them on")
    };
    assert!(told.contains(&needs("dcr", "argocd, dcr, jira, which are")), "{told}");
    assert!(told.contains(&needs("provision", "jira, which is")), "{told}");
}

#[test]
fn what_looks_like_configuration_and_is_not_read_is_told() {
    let mut folder = Folder::with_github();
    folder.write("config/pipelines/nightly.yaml", "name: nightly\n");
    folder.write("commands/nightly.TOML", "name = \"nightly\"\n");
    folder.write("commands/README.md", "What is here\n");
    folder
        .env
        .insert("STEPHERD_GITHUB_TOKEN".to_owned(), "one-underscore".to_owned());
    folder
        .env
        .insert("STEPHERD_LOG_SHIPPER".to_owned(), "somebody else's".to_owned());
    let told = warnings(&folder);
    for (what, hint) in [
        (
            "nightly.yaml: this file is not read",
            "pipelines are read from files that end in .toml",
        ),
        (
            "nightly.TOML: this file is not read",
            "commands are read from files that end in .toml",
        ),
        (
            "environment: STEPHERD_GITHUB_TOKEN: it is not read",
            "did you mean STEPHERD__GITHUB__TOKEN?",
        ),
    ] {
        assert!(told.contains(&format!("{what}\n  hint: {hint}")), "{told}");
    }
    assert!(!told.contains("README") && !told.contains("SHIPPER"), "{told}");
    assert!(!told.contains("one-underscore"), "its value may be a secret: {told}");
}

/// Connect apps and OAuth webhooks are Cloud's; what Data Center sends without a secret anybody could send.
#[test]
fn data_center_without_a_webhook_secret_is_told_what_to_use() {
    let mut folder = Folder::with_github();
    for (name, value) in [
        ("BASE_URL", "https://jira.example.org"),
        ("FLAVOR", "data-center"),
        ("TOKEN", "a-personal-access-token"),
        ("AUTOMATION_SECRET", "a-rule-that-is-ours"),
    ] {
        folder.env.insert(format!("STEPHERD__JIRA__{name}"), value.to_owned());
    }
    let warned = "webhooks of Jira Data Center prove themselves by `webhook_secret` only";
    let told = warnings(&folder);
    assert!(
        told.contains(warned) && told.contains("sends webhooks unsigned"),
        "{told}"
    );
    let secret = "long-enough-to-be-one".to_owned();
    folder.env.insert("STEPHERD__JIRA__WEBHOOK_SECRET".to_owned(), secret);
    let told = warnings(&folder);
    assert!(!told.contains(warned), "{told}");
}

#[test]
fn secrets_that_can_be_guessed_and_tokens_that_travel_in_the_clear_are_told_of() {
    let mut folder = Folder::with_github();
    for (name, value) in [
        ("STEPHERD__SERVER__API_TOKEN", "0123456789"),
        ("STEPHERD__ARGOCD__BASE_URL", "http://argocd.example.org"),
        ("STEPHERD__DCR__BASE_URL", "http://[::1]:9000"),
    ] {
        folder.env.insert(name.to_owned(), value.to_owned());
    }
    let told = warnings(&folder);
    assert!(told.contains("STEPHERD__SERVER__API_TOKEN: a secret of fewer than 16 characters is easily guessed"));
    assert!(!told.contains("0123456789"), "{told}");
    assert!(told.contains("STEPHERD__ARGOCD__BASE_URL: whoever is on the way there can read the token"));
    assert!(
        !told.contains("STEPHERD__DCR__BASE_URL"),
        "it never leaves the machine: {told}"
    );

    folder
        .env
        .insert("STEPHERD__GITHUB__WEBHOOK_SECRET".to_owned(), "x".to_owned());
    folder
        .env
        .insert("STEPHERD__ARGOCD__TOKEN".to_owned(), "0123456789".to_owned());
    let bad = folder.run(&["check"]);
    assert_eq!((bad.code, bad.out.as_str()), (Some(2), ""));
    let refused = "environment: STEPHERD__GITHUB__WEBHOOK_SECRET: a secret of fewer than 8 characters can be guessed\n";
    assert!(bad.err.starts_with(refused), "{}", bad.err);
    assert!(
        bad.err.contains("Warning: environment: STEPHERD__ARGOCD__TOKEN"),
        "warnings are told as well: {}",
        bad.err
    );
}

#[test]
fn a_key_that_is_none_is_told_beside_the_mistakes_of_other_files() {
    let mut folder = Folder::with_github();
    folder.env.insert("STEPHERD__GITHUB__APP_ID".to_owned(), "5".to_owned());
    let key = "-----BEGIN RSA PRIVATE KEY-----\nnone\n".to_owned();
    folder.env.insert("STEPHERD__GITHUB__PRIVATE_KEY".to_owned(), key);
    let text = std::fs::read_to_string(folder.path("commands/dcr.toml")).unwrap();
    folder.write("commands/dcr.toml", &text.replacen("\"operator\"", "\"operater\"", 1));
    let bad = folder.run(&["check"]);
    assert_eq!(bad.code, Some(2));
    assert!(bad.err.contains("there is no role `operater`"), "{}", bad.err);
    assert!(
        bad.err.contains("the app's private key is not an RSA key in PEM"),
        "{}",
        bad.err
    );
}
