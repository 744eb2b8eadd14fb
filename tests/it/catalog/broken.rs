//! Shipped files with one thing made wrong, and what is said about it.

#![expect(clippy::too_many_lines, reason = "tables of mistakes and what is said about them")]

use super::told;

#[test]
fn the_old_word_for_cancel_is_told_the_new_ones() {
    let stall = "stall = \"12h\"";
    let old = format!("{stall}\non_failure = \"fail-fast\"");
    let told = told("config/pipelines/dcr.toml", &[(stall, old.as_str())]);
    assert!(
        told.contains("must be one of leave, cancel, drain, not `fail-fast`"),
        "{told}"
    );
}

#[test]
fn broken_pipelines_are_told_what_and_where() {
    let told = told(
        "config/pipelines/dcr.toml",
        &[
            ("title = \"DCR rebuild\"", "titel = \"DCR rebuild\""),
            ("title = \"DCR rebuild\"\n", ""),
            ("name = \"dcr\"", "name = \"rebuild\""),
            ("command = \"dcr\"", "command = \"dcrr\""),
            ("command = \"dcr\"", "command = \"provision\""),
            ("\"dcr/{{ tenant }}\"", "\"dcr {{ tenant }}\""),
            ("\"jira:{{ ticket }}\"", "\"gira:{{ ticket }}\""),
            ("\"jira:{{ ticket }}\"", "\"{{ ticket }}\""),
            ("progress_of = \"Rebuild\"", "progress_of = \"Rebuil\""),
            ("progress_of = \"Rebuild\"", "progress_of = \"StartFarm\""),
            ("type = \"word\"", "type = \"wrod\""),
            (
                "name = \"channel\"\ntype = \"text\"",
                "name = \"channel\"\ntype = \"ticket\"",
            ),
            ("name = \"channel\"", "name = \"tenant\""),
            ("name = \"channel\"", "name = \"attempt\""),
            ("default = 3", "default = 300"),
            ("default = 3", "default = 3.5"),
            ("min = 1\n", "min = 200\n"),
            ("pointer = \"/farmers/min\"", "pointer = \"farmers.min\""),
            (
                "repo = \"{{ deployment_repo }}\", path",
                "repo = \"{{ channel }}\", path",
            ),
            ("timeout = \"15m\"", "timeout = \"15 minutes\""),
            ("timeout = \"15m\"", "timeout = \"999d\""),
            ("auto_retries = 2", "auto_retries = 99"),
            ("kind = \"change\"", "kind = \"chagne\""),
            ("kind = \"change\"", "kind = \"change\"\nbranch_of = \"StartFarm\""),
            (
                "{{ tenant }}: note rebuild {{ run }}",
                "{{ tennant }}: note rebuild {{ run }}",
            ),
            (
                "{{ tenant }}: note rebuild {{ run }}",
                "{{ tenant: note rebuild {{ run }}",
            ),
            (
                "\"tenants/{{ tenant }}/history.yaml\"",
                "\"../{{ tenant }}/history.yaml\"",
            ),
            (
                "\"tenants/{{ tenant }}/history.yaml\"",
                "\"tenants/{{ tenant }}/history.txt\"",
            ),
            ("pointer = \"/rebuilds/{{ run }}\"", "pointer = \"rebuilds\""),
            (
                "\nset = { pointer = \"/rebuilds/{{ run }}\", value = \"{{ ticket | json }}\" }",
                "",
            ),
            ("branch_of = \"HistoryUpdate\"", "branch_of = \"StartFarm\""),
            ("branch_of = \"StartFarm\"", "branch_of = \"HistoryUpdate\""),
            ("branch_of = \"HistoryUpdate\"\n", ""),
            ("name = \"StartFarm\"", "name = \"HistoryUpdate\""),
            ("name = \"StartFarm\"", "name = \"Start-Farm\""),
            ("backend = \"argocd\"", "backend = \"argo-cd\""),
            ("backend = \"argocd\"\nstart", "backend = \"argo-cd\"\nstart"),
            (
                "{ app = \"dcr-{{ tenant }}\", project = \"dcr\", revision",
                "{ ap = \"dcr-{{ tenant }}\", project = \"dcr\", revision",
            ),
            ("{ app = \"dcr-{{ tenant }}\"", "{ ap = \"dcr-{{ tenant }}\""),
            (
                "{ app = \"dcr-{{ tenant }}\", project = \"dcr\"",
                "{ app = \"dcr-{{ tenant }}\"",
            ),
            ("revision = \"{{ steps", "prune = \"yes\", revison = \"{{ steps"),
            ("watch = \"farmers\", tenant", "watch = \"farmer\", tennant"),
            ("min_farmers = \"{{ farmers_min }}\"", "zzz = 1"),
            ("with = { watch = \"rebuild\"", "# with = { watch = \"rebuild\""),
            ("{{ steps.StartFarm.merged }}", "{{ steps.StartFram.merged }}"),
            ("{{ steps.StartFarm.merged }}", "{{ steps.Rebuild.merged }}"),
            ("move_ticket = { to = \"Done\" }", "# nothing"),
        ],
    );
    insta::assert_snapshot!(told, @r#"
    > titel = "DCR rebuild"
    config/pipelines/dcr.toml:15:1: unknown key `titel`
      hint: did you mean `title`?

    > nothing
    config/pipelines/dcr.toml:1:1: `title` is missing

    > name = "rebuild"
    commands/dcr.toml:10:12: there is no pipeline `dcr`
      hint: there is: provision, rebuild
    config/pipelines/dcr.toml:14:8: the file is called `dcr`, the pipeline `rebuild`

    > command = "dcrr"
    config/pipelines/dcr.toml:16:11: there is no command `dcrr`
      hint: did you mean `dcr`?

    > command = "provision"
    config/pipelines/dcr.toml:16:11: the command `provision` drives another pipeline

    > "dcr {{ tenant }}"
    config/pipelines/dcr.toml:19:10: a lock name must be letters, digits, `-`, `_`, `.`, `/`, at most 120, got `dcr x`

    > "gira:{{ ticket }}"
    config/pipelines/dcr.toml:22:13: there is no platform `gira`
      hint: did you mean `jira`?

    > "{{ ticket }}"
    config/pipelines/dcr.toml:22:13: `{{ ticket }}` is no thread
      hint: platform:place, as jira:{{ ticket }} or discord:{{ channel }}

    > progress_of = "Rebuil"
    config/pipelines/dcr.toml:25:15: there is no step `Rebuil`
      hint: did you mean `Rebuild`?

    > progress_of = "StartFarm"
    config/pipelines/dcr.toml:25:15: only a `work` step has progress of its own

    > type = "wrod"
    config/pipelines/dcr.toml:45:8: `type` must be one of word, name, text, int, bool, choice, ticket, run, sha, not `wrod`
      hint: did you mean `word`?

    > type = "ticket"
    config/pipelines/dcr.toml:69:8: a run has one ticket, and `ticket` names it already

    > name = "tenant"
    config/pipelines/dcr.toml:22:46: in this template: nothing called `channel` is known here
      hint: known here: config_repo, deployment_repo, farmers_min, run, tenant, ticket
    config/pipelines/dcr.toml:68:8: the parameter `tenant` is there twice

    > name = "attempt"
    config/pipelines/dcr.toml:22:46: in this template: nothing called `channel` is known here
      hint: known here: attempt, config_repo, deployment_repo, farmers_min, run, tenant, ticket
    config/pipelines/dcr.toml:68:8: `attempt` is a name that every run has already

    > default = 300
    config/pipelines/dcr.toml:65:11: the default does not fit: `300` is not from 1 to 100

    > default = 3.5
    config/pipelines/dcr.toml:65:11: `default` must be text or a whole number or true or false, not a number with a fraction

    > min = 200
    config/pipelines/dcr.toml:59:7: `max` 100 is below `min` 200

    > pointer = "farmers.min"
    config/pipelines/dcr.toml:62:66: `farmers.min` is no JSON pointer
      hint: it starts with a slash: /farmers/min

    > repo = "{{ channel }}", path
    config/pipelines/dcr.toml:63:16: in this template: nothing called `channel` is known here
      hint: known here: config_repo, deployment_repo, tenant, ticket

    > timeout = "15 minutes"
    config/pipelines/dcr.toml:81:11: `15 minutes` is no span of time
      hint: a number and a unit: 30s, 90m, 12h, 7d, or several as 1h30m

    > timeout = "999d"
    config/pipelines/dcr.toml:81:11: `999d` is not from 1s to 365d

    > auto_retries = 99
    config/pipelines/dcr.toml:82:16: `auto_retries` must be from 0 to 10

    > kind = "chagne"
    config/pipelines/dcr.toml:80:8: `kind` must be one of change, merge, work, ask, tell, not `chagne`
      hint: did you mean `change`?

    > branch_of = "StartFarm"
    config/pipelines/dcr.toml:81:13: `branch_of` belongs to merge steps, and this is a change step
      hint: a change step takes repo, pr_title, pr_body, edit

    > {{ tennant }}: note rebuild {{ run }}
    config/pipelines/dcr.toml:84:16: in this template: nothing called `tennant` is known here
      hint: did you mean `tenant`?

    > {{ tenant: note rebuild {{ run }}
    config/pipelines/dcr.toml:84:22: in this template: syntax error: unexpected `:`, expected end of variable block

    > "../{{ tenant }}/history.yaml"
    config/pipelines/dcr.toml:88:8: the path must not contain `.`, `..` or empty parts

    > "tenants/{{ tenant }}/history.txt"
    config/pipelines/dcr.toml:88:8: `set` knows YAML, JSON and TOML by the file's ending, not `tenants/{{ tenant }}/history.txt`

    > pointer = "rebuilds"
    config/pipelines/dcr.toml:89:19: `rebuilds` is no JSON pointer
      hint: it starts with a slash: /farmers/enabled

    > nothing
    config/pipelines/dcr.toml:88:8: this edit of `tenants/{{ tenant }}/history.yaml` must do exactly one thing
      hint: write = "…", set = { pointer = "/…", value = … }, insert_xml = { parent = "/…", element = "<…/>" } or delete = true

    > branch_of = "StartFarm"
    config/pipelines/dcr.toml:96:13: there is no earlier change step `StartFarm`
      hint: there is: HistoryUpdate

    > branch_of = "HistoryUpdate"
    config/pipelines/dcr.toml:129:13: `HistoryUpdate` is merged by an earlier step already
    config/pipelines/dcr.toml:151:68: in this template: nothing called `steps.StartFarm.merged` is known here
      hint: did you mean `steps.StartFarm.head`?

    > nothing
    config/pipelines/dcr.toml:95:8: the merge step `HistoryUpdateMerge` needs `branch_of`

    > name = "HistoryUpdate"
    config/pipelines/dcr.toml:104:8: the step `HistoryUpdate` is there twice
    config/pipelines/dcr.toml:129:13: there is no earlier change step `StartFarm`
      hint: there is: HistoryUpdate
    config/pipelines/dcr.toml:151:68: in this template: nothing called `steps.StartFarm.merged` is known here
      hint: did you mean `steps.HistoryUpdate.merged`?

    > name = "Start-Farm"
    config/pipelines/dcr.toml:104:8: a step name must be letters and digits, starting with a letter, at most 40, got `Start-Farm`
    config/pipelines/dcr.toml:129:13: there is no earlier change step `StartFarm`
      hint: did you mean `Start-Farm`?
    config/pipelines/dcr.toml:151:68: in this template: nothing called `steps.StartFarm.merged` is known here
      hint: did you mean `steps.Start-Farm.head`?

    > backend = "argo-cd"
    config/pipelines/dcr.toml:136:11: there is no back-end `argo-cd` that has such applications
      hint: did you mean `argocd`?

    > start
    config/pipelines/dcr.toml:149:11: there is no back-end `argo-cd`
      hint: did you mean `argocd`?

    > { ap = "dcr-{{ tenant }}", project = "dcr", revision
    config/pipelines/dcr.toml:151:10: the back-end `argocd` knows no key `ap`
      hint: did you mean `app`?

    > { ap = "dcr-{{ tenant }}"
    config/pipelines/dcr.toml:137:10: the back-end `argocd` knows no key `ap`
      hint: did you mean `app`?

    > { app = "dcr-{{ tenant }}"
    config/pipelines/dcr.toml:136:11: the back-end `argocd` needs `project` under `with`

    > prune = "yes", revison = "{{ steps
    config/pipelines/dcr.toml:151:61: `prune` must be one of true, false, not `yes`
    config/pipelines/dcr.toml:151:68: the back-end `argocd` knows no key `revison`
      hint: did you mean `revision`?

    > watch = "farmer", tennant
    config/pipelines/dcr.toml:151:18: `watch` must be one of rebuild, farmers, not `farmer`
      hint: did you mean `farmers`?
    config/pipelines/dcr.toml:151:28: the back-end `dcr` knows no key `tennant`
      hint: did you mean `tenant`?

    > zzz = 1
    config/pipelines/dcr.toml:151:54: the back-end `dcr` knows no key `zzz`
      hint: there is: tenant, watch, min_farmers, farm_size, link

    > # with = { watch = "rebuild"
    config/pipelines/dcr.toml:172:11: the back-end `dcr` needs `tenant` under `with`

    > {{ steps.StartFram.merged }}
    config/pipelines/dcr.toml:151:68: in this template: nothing called `steps.StartFram.merged` is known here
      hint: did you mean `steps.StartFarm.merged`?

    > {{ steps.Rebuild.merged }}
    config/pipelines/dcr.toml:151:68: in this template: nothing called `steps.Rebuild.merged` is known here
      hint: did you mean `steps.HistoryUpdate.merged`?

    > # nothing
    config/pipelines/dcr.toml:180:8: the tell step `CloseTicket` has nothing to tell
      hint: move_ticket = { to = "Done" } or note = "…", or both
    "#);
}

#[test]
fn broken_questions_and_edits_are_told_what_and_where() {
    let told = told(
        "config/pipelines/provision.toml",
        &[
            ("roles = [\"approver\"]", "roles = [\"aprover\"]"),
            ("roles = [\"approver\"]", "roles = []"),
            ("value = \"no\"", "value = \" no\""),
            (
                "label = \"Stop here\"",
                "label = \"12345678 12345678 12345678 12345678 12345678 12345678 12345678 12345678 12345678 12345678\"",
            ),
            ("value = \"no\"", "value = \"yes\""),
            ("value = \"no\"", "value = \"not yet\""),
            ("by = \"people\"", "by = \"people\"\nmethod = \"squash\""),
            ("delete = true", "delete = false"),
            ("delete = true", "delete = true\nwrite = \"x\""),
            ("parent = \"/project/modules\"", "parent = \"project\""),
            ("repo = \"acme/instances\"", "repo = \"instances\""),
            ("choices = [\"small\", \"large\"]", "choices = []"),
            ("default = \"small\"", "default = \"tiny\""),
            ("{% else %}2{% endif %}", "{% else %}2"),
        ],
    );
    insta::assert_snapshot!(told, @r#"
    > roles = ["aprover"]
    config/pipelines/provision.toml:131:10: there is no role `aprover`
      hint: did you mean `approver`?

    > roles = []
    config/pipelines/provision.toml:131:9: nobody could answer: the question names no role

    > value = " no"
    config/pipelines/provision.toml:138:9: an option's value has no spaces around it

    > label = "12345678 12345678 12345678 12345678 12345678 12345678 12345678 12345678 12345678 12345678"
    config/pipelines/provision.toml:139:9: a button's label takes 80 characters

    > value = "yes"
    config/pipelines/provision.toml:138:9: the option `yes` is there twice

    > value = "not yet"
    config/pipelines/provision.toml:138:9: an option's value is typed: `not yet` may hold only letters, digits and `-_./`, not ` `

    > method = "squash"
    config/pipelines/provision.toml:119:10: people choose the method when they merge

    > delete = false
    config/pipelines/provision.toml:80:8: this edit of `requests/{{ tenant }}.yaml` must do exactly one thing
      hint: write = "…", set = { pointer = "/…", value = … }, insert_xml = { parent = "/…", element = "<…/>" } or delete = true

    > write = "x"
    config/pipelines/provision.toml:80:8: this edit of `requests/{{ tenant }}.yaml` must do exactly one thing
      hint: write = "…", set = { pointer = "/…", value = … }, insert_xml = { parent = "/…", element = "<…/>" } or delete = true

    > parent = "project"
    config/pipelines/provision.toml:61:25: `project` is no path of elements
      hint: element names from the root: /project/modules

    > repo = "instances"
    config/pipelines/provision.toml:50:8: a repository must be owner/name, git@host:owner/name.git or https://host/owner/name, got `instances`

    > choices = []
    config/pipelines/provision.toml:33:11: a choice needs `choices`
      hint: choices = ["one", "other"]

    > default = "tiny"
    config/pipelines/provision.toml:35:11: the default does not fit: `tiny` is not one of `small`, `large`

    > {% else %}2
    config/pipelines/provision.toml:75:46: in this template: syntax error: unexpected end of input, expected end of block
    "#);
}

#[test]
fn broken_commands_are_told_what_and_where() {
    let told = told(
        "commands/dcr.toml",
        &[
            ("name = \"dcr\"", "name = \"DCR\""),
            ("pipeline = \"dcr\"", "pipeline = \"drc\""),
            ("github = [\"acme/deployment\"]", "gitlab = [\"acme/deployment\"]"),
            ("github = [\"acme/deployment\"]", "github = [\"acme\"]"),
            ("github = [\"acme/deployment\"]", "github = [\"*/*\"]"),
            ("jira = [\"SREPROV\"]", "jira = [\"sreprov\"]"),
            ("jira = [\"SREPROV\"]", "jira = [\"OPS\"]"),
            ("discord = []", "discord = [{ guild = \"the server\" }]"),
            ("discord = []", "discord = [{ guild = \"300\", channels = [] }]"),
            ("discord = []", "discord = [\"300\"]"),
            ("help = \"Start a rebuild", "help = \"Start\\na rebuild"),
            (
                "[places]\ngithub = [\"acme/deployment\"]\njira = [\"SREPROV\"]\ndiscord = []\n",
                "",
            ),
            ("roles = [\"operator\"]", "roles = [\"operators\"]"),
            ("roles = [\"operator\"]", "roles = []"),
            ("example = \"/dcr start", "example = \"dcr start"),
            ("name = \"status\"", "name = \"start\""),
            ("name = \"status\"", "name = \"show\""),
            ("name = \"status\"", "name = \"show\"\naction = \"list\""),
            ("name = \"status\"", "name = \"show\"\naction = \"stauts\""),
            (
                "type = \"int\", min = 1, max = 100",
                "type = \"int\", min = 0, max = 100",
            ),
            (
                "type = \"int\", min = 1, max = 100",
                "type = \"word\", min = 1, max = 100",
            ),
            ("name = \"farmers_min\"", "name = \"farmers\""),
            (
                "{ name = \"farmers_min\",",
                "{ name = \"farmers_min\", required = true,",
            ),
            (
                "{ name = \"tenant\", type = \"name\", required = true,",
                "{ name = \"channel\", type = \"text\",",
            ),
            (
                "args = [{ name = \"run\", type = \"run\"",
                "args = [{ name = \"runs\", type = \"run\"",
            ),
            (
                "args = [{ name = \"run\", type = \"run\"",
                "args = [{ name = \"run\", type = \"word\"",
            ),
            (
                "{ name = \"value\", type = \"word\", required = true",
                "{ name = \"value\", type = \"word\"",
            ),
            ("verb = \"start\"", "verb = \"strat\""),
            ("args = { tenant = \"{{ fields.customfield_10042 }}\",", "args = {"),
            ("args = { tenant =", "args = { tenent ="),
            ("{{ fields.customfield_10042 }}", "{{ feilds.customfield_10042 }}"),
            ("ticket = { project = \"SREPROV\", to = \"Approved\" }\n", ""),
            ("to = \"Approved\" }", "too = \"Approved\" }"),
            (
                "ticket = { project = \"SREPROV\", to = \"Approved\" }",
                "pull_request = { repo = \"acme\", change = \"labelled\" }",
            ),
        ],
    );
    insta::assert_snapshot!(told, @r#"
    > name = "DCR"
    commands/dcr.toml:8:8: a command name must be lower-case letters, digits, `-` and `_`, at most 32, got `DCR`
    commands/dcr.toml:8:8: the file is called `dcr`, the command `DCR`
    config/pipelines/dcr.toml:16:11: there is no command `dcr`
      hint: there is: DCR, provision

    > pipeline = "drc"
    commands/dcr.toml:10:12: there is no pipeline `drc`
      hint: did you mean `dcr`?

    > gitlab = ["acme/deployment"]
    commands/dcr.toml:91:1: unknown key `gitlab`
      hint: did you mean `github`?

    > github = ["acme"]
    commands/dcr.toml:91:11: `acme` names no repositories
      hint: owner/name, as acme/deployment, or all of an owner, as acme/*

    > github = ["*/*"]
    commands/dcr.toml:91:11: `*/*` names no repositories
      hint: owner/name, as acme/deployment, or all of an owner, as acme/*

    > jira = ["sreprov"]
    commands/dcr.toml:80:10: this trigger can do nothing: `places` does not list SREPROV
      hint: [places] jira = ["SREPROV"]
    commands/dcr.toml:92:9: `sreprov` is no project's key
      hint: the letters before the number of its tickets, as SREPROV in SREPROV-3072

    > jira = ["OPS"]
    commands/dcr.toml:80:10: this trigger can do nothing: `places` does not list SREPROV
      hint: [places] jira = ["SREPROV"]

    > discord = [{ guild = "the server" }]
    commands/dcr.toml:93:22: ids on discord are numbers, not `the server`
      hint: in Discord: settings, advanced, developer mode; then right-click and copy the id

    > discord = [{ guild = "300", channels = [] }]
    commands/dcr.toml:93:40: no channel is listed
      hint: leave `channels` out to mean the whole server

    > discord = ["300"]
    commands/dcr.toml:93:12: `discord` must be a table, not text

    > help = "Start\na rebuild
    commands/dcr.toml:16:8: the help must be one line of at most 100 characters, which is all Discord takes

    > nothing
    commands/dcr.toml:15:8: nobody could say `start` anywhere: it has no places
      hint: [places] at the end of the file, with github = ["acme/deployment"], for example
    commands/dcr.toml:80:10: this trigger can do nothing: `places` does not list SREPROV
      hint: [places] jira = ["SREPROV"]

    > roles = ["operators"]
    commands/dcr.toml:17:10: there is no role `operators`
      hint: did you mean `operator`?

    > roles = []
    commands/dcr.toml:17:9: nobody could use this verb: it names no role

    > example = "dcr start
    commands/dcr.toml:18:11: the example must start with `/dcr start`

    > name = "start"
    commands/dcr.toml:27:8: `start` does not take `tenant`, which pipeline `dcr` must be given
      hint: take it as an argument, or give the parameter a file or a default
    commands/dcr.toml:27:8: another verb of this command has the same action; people are told one way to do a thing
    commands/dcr.toml:27:8: the verb `start` is there twice
    commands/dcr.toml:30:11: the example must start with `/dcr start`
    commands/dcr.toml:31:18: the pipeline `dcr` has no parameter `run`
      hint: there is: tenant, ticket, deployment_repo, config_repo, farmers_min, channel, sha

    > name = "show"
    commands/dcr.toml:27:8: `show` is no action; say which one it is with `action`
      hint: there is: start, status, retry, stop, list, help, why, answer
    commands/dcr.toml:30:11: the example must start with `/dcr show`

    > action = "list"
    commands/dcr.toml:31:11: the example must start with `/dcr show`
    commands/dcr.toml:32:18: `show` takes no argument `run`
    commands/dcr.toml:59:8: another verb of this command has the same action; people are told one way to do a thing

    > action = "stauts"
    commands/dcr.toml:28:10: `action` must be one of start, status, retry, stop, list, help, why, answer, not `stauts`
      hint: did you mean `status`?
    commands/dcr.toml:31:11: the example must start with `/dcr show`

    > type = "int", min = 0, max = 100
    commands/dcr.toml:22:36: `farmers_min` takes values that the parameter of pipeline `dcr` does not

    > type = "word", min = 1, max = 100
    commands/dcr.toml:22:50: `min` and `max` belong to type = "int"
    commands/dcr.toml:22:59: `min` and `max` belong to type = "int"

    > name = "farmers"
    commands/dcr.toml:22:14: the pipeline `dcr` has no parameter `farmers`
      hint: did you mean `farmers_min`?

    > { name = "farmers_min", required = true,
    commands/dcr.toml:22:14: the required argument `farmers_min` comes after the optional `ticket`
      hint: required arguments come first: they may be given by position
    commands/dcr.toml:81:8: this trigger does not give `farmers_min`, which is required

    > { name = "channel", type = "text",
    commands/dcr.toml:15:8: `start` does not take `tenant`, which pipeline `dcr` must be given
      hint: take it as an argument, or give the parameter a file or a default
    commands/dcr.toml:82:10: the verb `start` has no argument `tenant`
      hint: there is: channel, ticket, farmers_min, sha

    > args = [{ name = "runs", type = "run"
    commands/dcr.toml:31:18: `status` takes no argument `runs`
      hint: did you mean `run`?

    > args = [{ name = "run", type = "word"
    commands/dcr.toml:31:32: `run` must have type = "run"

    > { name = "value", type = "word"
    commands/dcr.toml:48:8: an answer needs the required argument `value`

    > verb = "strat"
    commands/dcr.toml:81:8: there is no verb `strat`
      hint: did you mean `start`?

    > args = {
    commands/dcr.toml:81:8: this trigger does not give `tenant`, which is required

    > args = { tenent =
    commands/dcr.toml:81:8: this trigger does not give `tenant`, which is required
    commands/dcr.toml:82:10: the verb `start` has no argument `tenent`
      hint: did you mean `tenant`?

    > {{ feilds.customfield_10042 }}
    commands/dcr.toml:82:23: in this template: nothing called `feilds.customfield_10042` is known here
      hint: known here: fields, ticket

    > nothing
    commands/dcr.toml:80:8: this trigger does not say when
      hint: ticket = { project = "…", to = "…" } or pull_request = { repo = "…", change = "…" }

    > too = "Approved" }
    commands/dcr.toml:80:33: unknown key `too`
      hint: did you mean `to`?

    > pull_request = { repo = "acme", change = "labelled" }
    commands/dcr.toml:80:16: this trigger can do nothing: `places` does not list acme
      hint: [places] github = ["acme"]
    commands/dcr.toml:80:25: a repository must be owner/name, git@host:owner/name.git or https://host/owner/name, got `acme`
    commands/dcr.toml:80:42: `change` must be one of opened, pushed, labeled, merged, closed, not `labelled`
      hint: did you mean `labeled`?
    commands/dcr.toml:82:23: in this template: nothing called `fields.customfield_10042` is known here
      hint: known here: pr.base, pr.head, pr.number, pr.repo, pr.title
    commands/dcr.toml:82:66: in this template: nothing called `ticket` is known here
      hint: known here: pr.base, pr.head, pr.number, pr.repo, pr.title
    "#);
}
