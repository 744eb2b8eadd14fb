//! The catalog: shipped files are right, wrong files are told every problem with its place, secrets stay secret.

mod broken;
mod broken_merges;
mod broken_people;
mod lists;
mod robust;
mod settings;
mod whole;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stepherd::catalog::{self, Catalog, Problems, Settings, docs, schema};
use stepherd::domain::command::Action;
use stepherd::domain::edit::EditAction;
use stepherd::domain::grammar::{self, Found};
use stepherd::domain::pipeline::{ParamKind, StepKind};
use stepherd::domain::policy::{Grant, Level};
use stepherd::domain::signal::Text;
use stepherd::domain::start;

type Env = BTreeMap<String, String>;

fn shipped() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn env(pairs: &[(&str, &str)]) -> Env {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// A copy of the shipped files to break, with people in it.
struct Folder {
    root: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a temporary folder");
        for part in ["config", "config/pipelines", "commands"] {
            std::fs::create_dir(root.path().join(part)).expect("a folder");
            for entry in std::fs::read_dir(shipped().join(part)).expect("the shipped folder") {
                let path = entry.expect("an entry").path();
                if path.extension().is_some_and(|ending| ending == "toml") {
                    let name = path.file_name().expect("a file name");
                    std::fs::copy(&path, root.path().join(part).join(name)).expect("a copy");
                }
            }
        }
        let folder = Self { root };
        folder.write("config/people.toml", include_str!("catalog/people.toml"));
        folder
    }

    fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.root.path().join(file), text).expect("a written file");
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.root.path().join(file)).expect("a file")
    }

    fn replace(&self, file: &str, from: &str, to: &str) {
        let text = self.read(file);
        assert!(text.contains(from), "{file} no longer holds {from:?}");
        self.write(file, text.replacen(from, to, 1));
    }

    fn load(&self, env: &Env) -> Result<Catalog, Problems> {
        catalog::load(&self.root.path().join("config"), env)
    }

    /// The problems, with paths from the folder's root.
    fn problems(&self, env: &Env) -> String {
        match self.load(env) {
            Ok(_) => "no problem".to_owned(),
            Err(problems) => self.short(&problems.to_string()),
        }
    }

    fn short(&self, text: &str) -> String {
        let root = format!("{}/", self.root.path().display());
        text.replace(&root, "")
    }

    fn settings(text: &str, pairs: &[(&str, &str)]) -> Result<Settings, String> {
        let folder = Self::new();
        folder.write("config/stepherd.toml", text);
        match folder.load(&env(pairs)) {
            Ok(catalog) => Ok(catalog.settings),
            Err(problems) => Err(folder.short(&problems.to_string())),
        }
    }
}

/// What each change to a shipped file leads to.
fn told(file: &str, changes: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (from, to) in changes {
        let folder = Folder::new();
        folder.replace(file, from, to);
        let to = to.lines().last().unwrap_or("nothing");
        out.push_str(&format!("> {}\n{}\n\n", to.trim(), folder.problems(&Env::new())));
    }
    out
}

#[test]
fn the_shipped_files_have_no_problem() {
    let catalog = catalog::load(&shipped().join("config"), &Env::new()).unwrap_or_else(|problems| {
        panic!("{}", problems.render(false));
    });
    let names: Vec<&str> = catalog.commands.iter().map(|command| command.name.as_str()).collect();
    assert_eq!(names, ["dcr", "provision"]);
    let dcr = &catalog.pipelines[&"dcr".parse().expect("a name")];
    let steps: Vec<&str> = dcr.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(
        steps,
        [
            "HistoryUpdate",
            "HistoryUpdateMerge",
            "StartFarm",
            "StartFarmMerge",
            "Sync",
            "WaitForFarmers",
            "Rebuild",
            "CloseTicket"
        ]
    );
    assert!(catalog.settings.platforms().iter().all(|status| !status.on));
}

#[test]
fn the_shipped_people_are_nobody_until_an_administrator_says_otherwise() {
    let people = catalog::load(&shipped().join("config"), &Env::new())
        .expect("the shipped files")
        .people;
    assert!(people.persons.is_empty(), "{:?}", people.persons);
    let grants: Vec<(&str, usize)> = people.roles.iter().map(|(role, g)| (role.as_str(), g.len())).collect();
    assert_eq!(grants, [("approver", 0), ("operator", 0), ("viewer", 0)]);
    // What is commented out is right, and gives somebody something.
    let folder = Folder::new();
    let text = std::fs::read_to_string(shipped().join("config/people.toml")).expect("a file");
    let example = |line: &str| {
        line.strip_prefix("# ")
            .filter(|rest| rest.starts_with("[[") || rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')))
            .unwrap_or(line)
            .to_owned()
    };
    let lines: Vec<String> = text.lines().map(example).collect();
    folder.write("config/people.toml", lines.join("\n"));
    let people = folder
        .load(&Env::new())
        .unwrap_or_else(|problems| panic!("{problems}"))
        .people;
    assert_eq!(people.persons.len(), 2);
    assert!(people.roles.values().all(|grants| !grants.is_empty()));
}

#[test]
fn runs_that_edit_the_same_files_of_a_repository_wait_for_each_other() {
    let catalog = catalog::load(&shipped().join("config"), &Env::new()).expect("the shipped files");
    let plan = &catalog.pipelines[&"provision".parse().expect("a name")];
    let locks = |dc: &str, tenant: &str| {
        let args =
            [("dc", dc), ("tenant", tenant)].map(|(name, value)| (name.parse().expect("a name"), value.to_owned()));
        let params = start::resolve(plan, &args.into(), &BTreeMap::new()).expect("values");
        start::lock_names(plan, &params.values).expect("locks")
    };
    // Both edit pom.xml and instances.json of acme/instances.
    let (one, other) = (locks("ams1", "comcast"), locks("fra1", "globex"));
    let shared: Vec<&str> = one
        .iter()
        .filter(|lock| other.contains(lock))
        .map(|lock| lock.as_str())
        .collect();
    assert_eq!(shared, ["instances"]);
}

#[test]
fn text_that_looks_like_a_number_is_set_as_text() {
    fn texts(value: &serde_json::Value) -> bool {
        match value {
            serde_json::Value::Number(_) => false,
            serde_json::Value::Object(map) => map.values().all(texts),
            _ => true,
        }
    }
    let catalog = catalog::load(&shipped().join("config"), &Env::new()).expect("the shipped files");
    let mut seen = 0;
    for step in catalog.pipelines.values().flat_map(|pipeline| &pipeline.steps) {
        let StepKind::Change(change) = &step.kind else { continue };
        for edit in &change.edits {
            let EditAction::Set { value, .. } = &edit.action else {
                continue;
            };
            let context =
                serde_json::json!({ "run": "23456723", "ticket": "77", "tier": "5e3", "tenant": "1", "dc": "2" });
            let set = value.render(&context).expect("a value");
            let set: serde_json::Value = serde_json::from_str(&set).expect("JSON");
            assert!(texts(&set), "{}: {} becomes {set}", step.name, value.source());
            seen += 1;
        }
    }
    assert_eq!(seen, 5);
}

#[test]
fn the_dcr_pipeline_starts_no_rebuild_and_waits_longer_than_a_healthy_one_may_take() {
    let catalog = catalog::load(&shipped().join("config"), &Env::new()).expect("the shipped files");
    let dcr = &catalog.pipelines[&"dcr".parse().expect("a name")];
    let (_, wait) = dcr.step(&"WaitForFarmers".parse().expect("a name")).expect("the step");
    assert!(wait.timeout > Some(Duration::from_secs(55 * 60)));
    let StepKind::Work(work) = &wait.kind else {
        panic!("not a work step: {wait:?}");
    };
    assert!(!work.jobs[0].start);
    let (_, rebuild) = dcr.step(&"Rebuild".parse().expect("a name")).expect("the step");
    assert_eq!(rebuild.timeout, None, "a healthy rebuild may take nine days");
    let StepKind::Work(work) = &rebuild.kind else {
        panic!("not a work step: {rebuild:?}");
    };
    assert!(!work.jobs[0].start);
    assert_eq!(work.stall, Some(Duration::from_secs(12 * 3600)));
    assert_eq!(dcr.ticket_param().map(|param| param.name.as_str()), Some("ticket"));
    let min = dcr
        .params
        .iter()
        .find(|param| param.name.as_str() == "farmers_min")
        .expect("the parameter");
    assert_eq!(min.kind, ParamKind::Int { min: 1, max: 100 });
    assert_eq!(min.default.as_ref().map(|default| default.source()), Some("3"));
    let repos: Vec<&str> = min.files.iter().map(|file| file.repo.source()).collect();
    assert_eq!(
        repos,
        ["{{ config_repo }}", "{{ deployment_repo }}"],
        "what overrides comes last"
    );
    assert!(min.files.iter().all(|file| file.pointer == "/farmers/min"));
}

#[test]
fn every_action_is_reachable_by_the_dcr_command() {
    let catalog = catalog::load(&shipped().join("config"), &Env::new()).expect("the shipped files");
    let mut actions: Vec<Action> = catalog.commands[0].verbs.iter().map(|verb| verb.action).collect();
    actions.sort();
    assert_eq!(
        actions,
        [
            Action::Start,
            Action::Status,
            Action::Retry,
            Action::Stop,
            Action::List,
            Action::Help,
            Action::Why,
            Action::Answer
        ]
    );
}

#[test]
fn every_problem_of_every_file_is_told_at_once() {
    let folder = Folder::new();
    folder.replace("config/people.toml", "github = 1002", "github = \"grace\"");
    folder.replace("config/pipelines/dcr.toml", "timeout = \"2d\"", "timeout = \"soon\"");
    folder.replace(
        "config/pipelines/dcr.toml",
        "pr_title = \"{{ tenant }}: start",
        "pr_titel = \"{{ tenat }}: start",
    );
    folder.replace("config/pipelines/provision.toml", "kind = \"ask\"", "kind = \"aks\"");
    folder.replace("commands/dcr.toml", "verb = \"start\"", "verb = \"begin\"");
    folder.write(
        "config/stepherd.toml",
        "[github]\nenabled = true\n[log]\nlevle = \"info\"\n",
    );
    let environment = env(&[
        ("STEPHERD__LOG__LEVLE", "info"),
        ("STEPHERD_CONFIG", "ignored"),
        ("HOME", "/"),
    ]);
    insta::assert_snapshot!(folder.problems(&environment), @r"
    commands/dcr.toml:81:8: there is no verb `begin`
      hint: there is: answer, help, list, retry, start, status, stop, why
    config/people.toml:22:10: ids on github are numbers, not `grace`
      hint: the `id` from https://api.github.com/users/grace; user names can change hands
    config/pipelines/dcr.toml:99:11: `soon` is no span of time
      hint: a number and a unit: 30s, 90m, 12h, 7d, or several as 1h30m
    config/pipelines/dcr.toml:110:1: unknown key `pr_titel`
      hint: did you mean `pr_title`?
    config/pipelines/dcr.toml:110:16: in this template: nothing called `tenat` is known here
      hint: did you mean `tenant`?
    config/pipelines/provision.toml:128:8: `kind` must be one of change, merge, work, ask, tell, not `aks`
      hint: did you mean `ask`?
    config/stepherd.toml:2:11: github is to be on, but `webhook_secret` is not given
      hint: give it as STEPHERD__GITHUB__… or by its _file key, or remove `enabled`
    config/stepherd.toml:4:1: unknown key `levle`
      hint: did you mean `level`?
    environment: STEPHERD__LOG__LEVLE: there is no such setting
      hint: did you mean STEPHERD__LOG__LEVEL?
    ");
}

#[test]
fn one_mistake_in_a_name_is_not_told_again_by_whoever_uses_it() {
    let folder = Folder::new();
    // The whole role is left out, so nobody can say whether it is missing elsewhere.
    folder.replace("config/people.toml", "name = \"operator\"", "nmae = 5");
    insta::assert_snapshot!(folder.problems(&Env::new()), @r#"
    config/people.toml:47:1: unknown key `nmae`
      hint: did you mean `name`?
    config/people.toml:47:8: `name` must be text, not a whole number
    "#);
}

#[test]
fn problems_are_drawn_with_the_lines_they_stand_in() {
    let folder = Folder::new();
    folder.replace(
        "config/pipelines/provision.toml",
        "{{ tenant | json }}",
        "{{ tenannt | json }}",
    );
    folder.replace("config/pipelines/provision.toml", "by = \"people\"", "bye = \"people\"");
    let problems = folder.load(&Env::new()).expect_err("a problem");
    insta::assert_snapshot!(folder.short(&problems.render(false)), @r#"
      × in this template: nothing called `tenannt` is known here
        ╭─[config/pipelines/provision.toml:73:12]
     72 │ # Made by stepherd, run {{ run }}.
     73 │ tenant: {{ tenannt | json }}
        ·            ─────────────────
     74 │ dataCentre: {{ dc | json }}
        ╰────
      help: did you mean `tenant`?
      × unknown key `bye`
         ╭─[config/pipelines/provision.toml:118:1]
     117 │ branch_of = "K8sNamespace"
     118 │ bye = "people"
         · ───
     119 │ timeout = "14d"
         ╰────
      help: did you mean `by`?
    2 problems
    "#);
    assert!(problems.render(true).contains("\u{1b}["), "color was asked for");
}

#[test]
fn programs_get_problems_as_json() {
    let folder = Folder::new();
    folder.replace("commands/dcr.toml", "pipeline = \"dcr\"", "pipeline = \"drc\"");
    let problems = folder.load(&env(&[("STEPHERD__X__Y", "1")])).expect_err("problems");
    assert_eq!((problems.len(), problems.is_empty()), (2, false));
    insta::assert_snapshot!(folder.short(&problems.to_json()), @r#"
    [
      {
        "file": "commands/dcr.toml",
        "line": 10,
        "column": 12,
        "message": "there is no pipeline `drc`",
        "hint": "did you mean `dcr`?"
      },
      {
        "file": "environment",
        "line": 0,
        "column": 0,
        "message": "STEPHERD__X__Y: there is no such setting",
        "hint": null
      }
    ]
    "#);
}

#[test]
fn columns_count_characters() {
    let folder = Folder::new();
    folder.replace(
        "config/pipelines/dcr.toml",
        "\"jira:{{ ticket }}\", ",
        "\"discord:ééé\", \"gira:ü\", ",
    );
    assert!(
        folder
            .problems(&Env::new())
            .starts_with("config/pipelines/dcr.toml:22:28: "),
        "{}",
        folder.problems(&Env::new())
    );
}

#[test]
fn missing_and_unreadable_files_are_problems() {
    let folder = Folder::new();
    std::fs::remove_file(folder.root.path().join("config/people.toml")).expect("removed");
    folder.write("config/pipelines/dcr.toml", b"name = \"\xff\"");
    folder.write("commands/notes.md", "not a command");
    insta::assert_snapshot!(folder.problems(&Env::new()), @r#"
    config/people.toml: the file cannot be read: No such file or directory (os error 2)
      hint: every configuration folder has stepherd.toml and people.toml; either may be empty
    config/pipelines/dcr.toml: the file is not UTF-8 text
    "#);
    let nowhere = folder.root.path().join("nowhere");
    let problems = catalog::load(&nowhere, &Env::new()).expect_err("nothing there");
    assert_eq!(problems.len(), 4, "{problems}");
}

#[test]
fn a_file_that_is_no_toml_hides_no_problem_of_another() {
    let folder = Folder::new();
    folder.replace("config/pipelines/dcr.toml", "kind = \"change\"", "kind = change = 5");
    folder.replace(
        "commands/provision.toml",
        "github = [\"acme/deployment\"",
        "gitlab = [\"acme/deployment\"",
    );
    let told = folder.problems(&Env::new());
    assert!(
        told.contains("config/pipelines/dcr.toml:80:8: this is no TOML"),
        "{told}"
    );
    assert!(
        told.contains(": unknown key `gitlab`") && told.contains("commands/provision.toml:"),
        "{told}"
    );
    assert!(
        !told.contains("commands/dcr.toml"),
        "what dcr.toml refers to may well be there: {told}"
    );
}

#[test]
fn people_and_roles_become_grants() {
    let folder = Folder::new();
    let text = folder.read("config/people.toml")
        + "\n[[role]]\nname = \"all\"\npersons = [\"ada\"]\naccounts = [\"jira:557058:x\"]\ndiscord_roles = [\"7\"]\n\
           github_teams = [\"acme/sre\"]\njira_groups = [\"site reliability\"]\n\
           github_permission = { repo = \"acme/deployment\", at_least = \"maintain\" }\n";
    folder.write("config/people.toml", text);
    let people = folder.load(&Env::new()).expect("valid people").people;
    let ada = &people.persons[&"ada".parse().expect("a name")];
    let shown: Vec<String> = ada
        .iter()
        .map(|account| format!("{}:{}", account.platform, account.id))
        .collect();
    assert_eq!(shown, ["discord:5", "github:1001", "jira:557058:abc"]);
    let grants = &people.roles[&"all".parse().expect("a name")];
    let shown: Vec<String> = grants
        .iter()
        .map(|grant| match grant {
            Grant::Person(name) => format!("person {name}"),
            Grant::Account(account) => format!("account {} {}", account.platform, account.id),
            Grant::PlatformRole(role) => format!("role {} {}", role.platform, role.id),
            Grant::Group { platform, group } => format!("group {platform} {group}"),
            Grant::Repository {
                platform,
                repo,
                at_least,
            } => format!("repository {platform} {repo} {at_least:?} {}", *at_least > Level::Write),
        })
        .collect();
    assert_eq!(
        shown,
        [
            "person ada",
            "account jira 557058:x",
            "role discord 7",
            "group github acme/sre",
            "group jira site reliability",
            "repository github acme/deployment Maintain true"
        ]
    );
}

/// Set STEPHERD_UPDATE=1 to write the files anew.
#[test]
fn a_question_to_a_role_that_approves_is_for_somebody_else_unless_its_step_says_otherwise() {
    let not_the_asker = |approves: &str, says: &str| {
        let folder = Folder::new();
        let people = std::fs::read_to_string(shipped().join("config/people.toml")).expect("the shipped people");
        folder.write("config/people.toml", people);
        folder.replace("config/people.toml", "approves = true\n", approves);
        folder.replace(
            "config/pipelines/provision.toml",
            "roles = [\"approver\"]\n",
            &format!("roles = [\"approver\"]\n{says}"),
        );
        let catalog = folder.load(&Env::new()).expect("it is right");
        let steps = catalog.pipelines.values().flat_map(|plan| plan.steps.clone());
        let asks: Vec<bool> = steps
            .filter_map(|step| match step.kind {
                StepKind::Ask(ask) => Some(ask.not_the_asker),
                _ => None,
            })
            .collect();
        assert_eq!(asks.len(), 1);
        asks[0]
    };
    assert!(not_the_asker("approves = true\n", ""), "as it is shipped");
    assert!(!not_the_asker("approves = true\n", "not_the_asker = false\n"));
    assert!(!not_the_asker("", ""));
    assert!(not_the_asker("approves = false\n", "not_the_asker = true\n"));
}

#[test]
fn the_schemas_for_editors_are_current() {
    for (name, schema) in schema::all() {
        let path = shipped().join("config/schema").join(name);
        if std::env::var_os("STEPHERD_UPDATE").is_some() {
            std::fs::write(&path, &schema).expect("a written schema");
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(there == schema, "{name} is stale: run the tests with STEPHERD_UPDATE=1");
    }
}

#[test]
fn every_shipped_file_names_its_schema() {
    for part in ["config", "config/pipelines", "commands"] {
        for entry in std::fs::read_dir(shipped().join(part)).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|ending| ending == "toml") {
                let text = std::fs::read_to_string(&path).expect("a file");
                let schema = text
                    .lines()
                    .next()
                    .and_then(|line| line.strip_prefix("#:schema "))
                    .unwrap_or_default();
                let folder = path.parent().unwrap_or(Path::new(""));
                assert!(folder.join(schema).is_file(), "{} names no schema", path.display());
            }
        }
    }
}

#[test]
fn the_table_of_commands_is_made_from_the_commands() {
    let catalog = catalog::load(&shipped().join("config"), &Env::new()).expect("the shipped files");
    insta::assert_snapshot!(docs::command_table(&catalog.commands[..1]), @r#"
    | Say | To | Who | Where |
    |---|---|---|---|
    | `/dcr start <tenant> [ticket] [farmers_min=1..100] [sha]` | Start a rebuild for a tenant | operator | github, jira, discord |
    | `/dcr status [run]` | Show where a run stands | viewer, operator | github, jira, discord |
    | `/dcr retry [run] [failure]` | Resume a run that stopped, at the step that failed | operator | github, jira, discord |
    | `/dcr stop [run]` | End the run and what it started; a rebuild goes on without it | operator | github, jira, discord |
    | `/dcr answer <value> [run] [question]` | Answer a run's question | operator, approver | github, jira, discord |
    | `/dcr list` | List the runs that are under way | viewer, operator | github, jira, discord |
    | `/dcr why [run]` | Say why a run stands where it does: its decisions, by whom and under which role | viewer, operator | github, jira, discord |
    | `/dcr help [verb]` | Say what can be said | viewer, operator, approver | github, jira, discord |

    Without words:

    - A ticket of SREPROV that reaches “Approved” means `/dcr start`.
    "#);
    let readme = format!("a\n{}\nold\n{}\nz\n", docs::TABLE_BEGIN, docs::TABLE_END);
    let made = docs::with_command_table(&readme, &catalog.commands).expect("both markers");
    assert!(made.starts_with("a\n<!--") && made.ends_with("-->\nz\n") && !made.contains("old"));
    assert_eq!(
        docs::with_command_table(&made, &catalog.commands).as_deref(),
        Some(made.as_str())
    );
    assert_eq!(docs::with_command_table("no markers", &catalog.commands), None);
}

#[test]
fn the_readme_has_the_table_of_commands_as_it_is() {
    let catalog = catalog::load(&shipped().join("config"), &Env::new()).expect("the shipped files");
    let readme = std::fs::read_to_string(shipped().join("README.md")).expect("the README");
    let made = docs::with_command_table(&readme, &catalog.commands).expect("both markers");
    assert!(
        readme == made,
        "put what `stepherd commands list` prints between the markers in README.md"
    );
}

#[test]
fn the_example_of_every_verb_is_understood_as_that_verb() {
    let catalog = catalog::load(&shipped().join("config"), &Env::new()).expect("the shipped files");
    for verb in catalog.commands.iter().flat_map(|command| &command.verbs) {
        for place in &verb.places {
            let found = grammar::find(&Text::Markdown(verb.example.clone()), &catalog.commands, place);
            let [Found::Invocation(invocation)] = found.as_slice() else {
                panic!("{}: {found:?}", verb.example);
            };
            assert_eq!(invocation.verb, verb.name, "{}", verb.example);
        }
    }
}
