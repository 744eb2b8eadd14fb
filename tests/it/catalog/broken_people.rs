//! People and roles with one thing made wrong, and what is said about it.

#![expect(clippy::too_many_lines, reason = "tables of mistakes and what is said about them")]

use super::told;

#[test]
fn broken_people_are_told_what_and_where() {
    let told = told(
        "config/people.toml",
        &[
            ("github = 1002", "github = 1001"),
            ("github = 1002", "github = \"grace\""),
            ("github = 1002", "githb = 1002"),
            ("github = 1002", "github = [1002]"),
            ("name = \"grace\"", "name = \"ada\""),
            ("name = \"grace\"\n", ""),
            ("name = \"viewer\"", "name = \"operator\""),
            (
                "name = \"approver\"\npersons = [\"grace\"]",
                "name = \"approver\"\npersons = [\"grase\"]",
            ),
            ("name = \"approver\"", "name = \"approver\"\naccounts = [\"github\"]"),
            (
                "name = \"approver\"",
                "name = \"approver\"\naccounts = [\"github:octocat\"]",
            ),
            ("name = \"approver\"", "name = \"approver\"\ngithub_teams = [\"sre\"]"),
            (
                "name = \"approver\"",
                "name = \"approver\"\ngithub_permission = { repo = \"acme/x\", at_least = \"rite\" }",
            ),
            ("[[person]]\nname = \"ada\"", "[[persons]]\nname = \"ada\""),
            ("[[person]]\nname = \"ada\"", "[[person]\nname = \"ada\""),
        ],
    );
    insta::assert_snapshot!(told, @r#"
    > github = 1001
    config/people.toml:22:10: the github account 1001 already belongs to `ada`

    > github = "grace"
    config/people.toml:22:10: ids on github are numbers, not `grace`
      hint: the `id` from https://api.github.com/users/grace; user names can change hands

    > githb = 1002
    config/people.toml:22:1: there is no platform `githb`
      hint: did you mean `github`?

    > github = [1002]
    config/people.toml:22:10: `github` must be text or a whole number or true or false, not a list

    > name = "ada"
    config/people.toml:21:8: the person `ada` is there twice
    config/people.toml:42:19: there is no person `grace`
      hint: there is: ada, linus
    config/people.toml:48:19: there is no person `grace`
      hint: there is: ada, linus
    config/people.toml:56:12: there is no person `grace`
      hint: there is: ada, linus

    > nothing
    config/people.toml:20:1: `name` is missing

    > name = "operator"
    commands/dcr.toml:29:10: there is no role `viewer`
      hint: there is: approver, operator
    commands/dcr.toml:60:10: there is no role `viewer`
      hint: there is: approver, operator
    commands/dcr.toml:66:10: there is no role `viewer`
      hint: there is: approver, operator
    commands/dcr.toml:73:10: there is no role `viewer`
      hint: there is: approver, operator
    commands/provision.toml:25:10: there is no role `viewer`
      hint: there is: approver, operator
    commands/provision.toml:56:10: there is no role `viewer`
      hint: there is: approver, operator
    commands/provision.toml:62:10: there is no role `viewer`
      hint: there is: approver, operator
    commands/provision.toml:69:10: there is no role `viewer`
      hint: there is: approver, operator
    config/people.toml:47:8: the role `operator` is there twice

    > persons = ["grase"]
    config/people.toml:56:12: there is no person `grase`
      hint: did you mean `grace`?

    > accounts = ["github"]
    config/people.toml:56:13: `github` is no account
      hint: platform:id, as github:1001

    > accounts = ["github:octocat"]
    config/people.toml:56:13: ids on github are numbers, not `octocat`
      hint: the `id` from https://api.github.com/users/octocat; user names can change hands

    > github_teams = ["sre"]
    config/people.toml:56:17: `sre` is no team
      hint: organisation/team, as acme/sre

    > github_permission = { repo = "acme/x", at_least = "rite" }
    config/people.toml:56:51: `at_least` must be one of read, triage, write, maintain, admin, not `rite`
      hint: did you mean `write`?

    > name = "ada"
    config/people.toml:14:3: unknown key `persons`
      hint: did you mean `person`?

    > name = "ada"
    config/people.toml:14:10: this is no TOML: unclosed array table, expected `]`
    "#);
}
