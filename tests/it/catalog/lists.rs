//! Settings that are lists: in the file, and from the environment with commas.

use std::time::Duration;

use super::Folder;

fn lists(text: &str, pairs: &[(&str, &str)]) -> Result<(String, String), String> {
    let settings = Folder::settings(text, pairs)?;
    let repositories: Vec<String> = settings.github.repositories.iter().map(ToString::to_string).collect();
    Ok((repositories.join(" "), settings.jira.projects.join(" ")))
}

#[test]
fn lists_stand_in_the_file_or_in_the_environment() {
    assert_eq!(lists("", &[]).unwrap(), (String::new(), String::new()));
    let file = "[github]\nrepositories = [\"acme/a\", \"acme/b\"]\n[jira]\nprojects = [\"SREPROV\"]";
    let expected = ("acme/a acme/b".to_owned(), "SREPROV".to_owned());
    assert_eq!(lists(file, &[]).unwrap(), expected);
    let env = [
        ("STEPHERD__GITHUB__REPOSITORIES", "acme/a, acme/b,"),
        ("STEPHERD__JIRA__PROJECTS", "SREPROV"),
    ];
    assert_eq!(lists("[github]\nrepositories = [\"acme/c\"]", &env).unwrap(), expected);
}

#[test]
fn what_is_no_name_is_told_where_it_stands() {
    let cases: [(&str, &[(&str, &str)]); 4] = [
        ("[github]\nrepositories = [\"acme/a\", \"acme\"]", &[]),
        ("[jira]\nprojects = [\"OPS\\\" OR 1=1\"]", &[]),
        ("[jira]\nprojects = \"OPS\"", &[]),
        ("", &[("STEPHERD__GITHUB__REPOSITORIES", "acme/a,../b")]),
    ];
    let told: Vec<String> = cases
        .iter()
        .map(|(text, env)| lists(text, env).expect_err("a mistake"))
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    config/stepherd.toml:2:27: `acme`: a repository is written owner/name
    config/stepherd.toml:2:13: `OPS" OR 1=1`: a project's key is like SREPROV
    config/stepherd.toml:2:12: `projects` must be a list, not text
    environment: STEPHERD__GITHUB__REPOSITORIES: `../b`: a repository is written owner/name
    "#);
}

#[test]
fn looking_for_what_was_missed_is_on_unless_it_is_switched_off() {
    let interval = |text: &str| Folder::settings(text, &[]).unwrap().engine.repair_interval;
    assert_eq!(interval(""), Duration::from_secs(300));
    assert_eq!(interval("[engine]\nrepair_interval_s = 0"), Duration::ZERO);
    assert!(Folder::settings("[engine]\nrepair_interval_s = 86401", &[]).is_err());
}
