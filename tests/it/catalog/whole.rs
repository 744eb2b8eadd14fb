//! Everything at once: every mistake of every file, and whether the files agree with one another.

use super::{Env, Folder};

#[test]
fn a_value_of_the_wrong_kind_hides_no_other_mistake_of_its_step() {
    let folder = Folder::new();
    let file = "config/pipelines/dcr.toml";
    folder.replace(file, "auto_retries = 2\nrepo", "auto_retries = \"two\"\nrepo");
    folder.replace(file, "timeout = \"15m\"", "timeout = \"a while\"");
    folder.replace(
        file,
        "method = \"squash\"\ntimeout = \"2d\"",
        "method = \"squish\"\ntimeout = \"soon\"",
    );
    insta::assert_snapshot!(folder.problems(&Env::new()), @r"
    config/pipelines/dcr.toml:81:11: `a while` is no span of time
      hint: a number and a unit: 30s, 90m, 12h, 7d, or several as 1h30m
    config/pipelines/dcr.toml:82:16: `auto_retries` must be a whole number, not text
    config/pipelines/dcr.toml:98:10: `method` must be one of merge, squash, rebase, not `squish`
      hint: did you mean `squash`?
    config/pipelines/dcr.toml:99:11: `soon` is no span of time
      hint: a number and a unit: 30s, 90m, 12h, 7d, or several as 1h30m
    ");
}

#[test]
fn a_pipeline_whose_messages_name_verbs_that_its_command_lacks_is_refused() {
    let folder = Folder::new();
    for file in ["commands/dcr.toml", "commands/provision.toml"] {
        let text = folder.read(file);
        let verbs = text.split("[[verb]]\n").map(str::to_owned);
        let said = [
            "name = \"retry\"",
            "name = \"stop\"",
            "name = \"help\"",
            "name = \"answer\"",
        ];
        let (kept, dropped): (Vec<String>, Vec<String>) =
            verbs.partition(|verb| !said.iter().any(|name| verb.starts_with(name)));
        let rest = dropped
            .iter()
            .filter_map(|verb| verb.split_once("\n\n"))
            .filter(|(verb, _)| verb.contains("\"help\""));
        let rest: String = rest.map(|(_, rest)| rest).collect();
        folder.write(file, format!("{}{rest}", kept.join("[[verb]]\n")));
    }
    insta::assert_snapshot!(folder.problems(&Env::new()), @r#"
    config/pipelines/dcr.toml:16:11: messages about its runs tell people to say `/dcr help`, and the command has no such verb
      hint: [[verb]] name = "help" … in the file of the command
    config/pipelines/dcr.toml:16:11: messages about its runs tell people to say `/dcr retry`, and the command has no such verb
      hint: [[verb]] name = "retry" … in the file of the command
    config/pipelines/dcr.toml:16:11: messages about its runs tell people to say `/dcr stop`, and the command has no such verb
      hint: [[verb]] name = "stop" … in the file of the command
    config/pipelines/provision.toml:8:11: messages about its runs tell people to say `/provision answer`, and the command has no such verb
      hint: [[verb]] name = "answer" … in the file of the command
    config/pipelines/provision.toml:8:11: messages about its runs tell people to say `/provision help`, and the command has no such verb
      hint: [[verb]] name = "help" … in the file of the command
    config/pipelines/provision.toml:8:11: messages about its runs tell people to say `/provision retry`, and the command has no such verb
      hint: [[verb]] name = "retry" … in the file of the command
    config/pipelines/provision.toml:8:11: messages about its runs tell people to say `/provision stop`, and the command has no such verb
      hint: [[verb]] name = "stop" … in the file of the command
    "#);
}

#[test]
fn thousands_of_steps_and_of_mistakes_are_read_in_one_go() {
    const MANY: usize = 4000;
    let folder = Folder::new();
    let file = "config/pipelines/dcr.toml";
    let mut text = folder.read(file);
    for n in 0..MANY {
        text.push_str(&format!(
            "\n[[step]]\nname = \"C{n}\"\ntitle = \"x\"\nkind = \"change\"\nrepo = \"acme/x\"\n\
             pr_title = \"{{{{ steps.C0.pr }}}}\"\nedit = []\nwrong = 1\n\
             [[step]]\nname = \"M{n}\"\ntitle = \"x\"\nkind = \"merge\"\nbranch_of = \"C{n}\"\n"
        ));
    }
    folder.write(file, text);
    let problems = folder.load(&Env::new()).unwrap_err();
    assert_eq!(problems.len(), MANY + 1, "each unknown key, and C0 that names itself");
}
