//! Jira: approvals that start runs, commands in comments, the four proofs and what they prove, and tickets that cannot be moved.
#![expect(clippy::too_many_lines, reason = "whole threads are shown where they are told about")]

mod believed;
mod proofs;

pub(super) use proofs::automation_may;

use serde_json::{Map, Value, json};
use stepherd::domain::run::RunState;
use stepherd::sandbox::jira::{Flavour, Jira, JiraOptions, JiraUser, Shape, Signing, Status, Transition, Workflow};
use stepherd::sandbox::town::{SECOND_TICKET, TENANT, TICKET, now_from};
use url::Url;

use super::dcr::{approved, failed, minutes, rebuilding, ticket};
use crate::world::{TestClock, World};

const ADA: &str = "557058:ada";
const EVE: &str = "557058:eve";

async fn comment(world: &World, who: &str, text: &str) {
    world.town.jira.comment(TICKET, who, text).await.unwrap();
    world.settle().await;
}

/// The newest comment on the ticket, as people see it.
async fn newest(world: &World) -> String {
    let last = world.town.jira.messages(TICKET).pop().expect("there is a comment");
    world.readable(&last.body).await
}

/// The notes on the newest deliveries, newest first.
async fn notes(world: &World, count: u32) -> Vec<String> {
    let all = world.store.deliveries(None, count).await.unwrap();
    all.into_iter().map(|delivery| delivery.note).collect()
}

#[tokio::test]
async fn a_transition_is_matched_by_status_id_or_by_name_in_any_case() {
    for to in ["Approved", "approved", "10011"] {
        let world = World::with(|dir| {
            let path = dir.join("commands/dcr.toml");
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains("to = \"Approved\""));
            std::fs::write(path, text.replace("to = \"Approved\"", &format!("to = \"{to}\""))).unwrap();
        })
        .await;
        approved(&world).await;
        assert_eq!(world.runs().await.len(), 1, "{to}");
    }
}

#[tokio::test]
async fn a_transition_that_is_delivered_again_triggers_nothing() {
    let world = World::new().await;
    let delivery = world.town.jira.transition(TICKET, ADA, "Approved").await.unwrap();
    world.settle().await;
    let again = world.town.jira.redeliver(&delivery).await.unwrap();
    assert_eq!(again.status, 202);
    world.settle().await;
    assert_eq!(world.runs().await.len(), 1);
    // Jira may also send the same transition under another id.
    let body = world
        .town
        .jira
        .deliveries()
        .into_iter()
        .find(|d| d.id == delivery)
        .unwrap()
        .body;
    let url = Url::parse(&format!("{}/webhooks/jira", world.url)).unwrap();
    let signing = Signing::Admin {
        secret: "jira-webhook-secret".into(),
    };
    let (name, value) = signing
        .header("POST", &url, body.as_bytes(), jiff::Timestamp::UNIX_EPOCH)
        .unwrap();
    let request = world
        .http
        .post(url)
        .header(name, value)
        .header("content-type", "application/json");
    let request = request
        .header("x-atlassian-webhook-identifier", "another-id")
        .body(body);
    assert_eq!(request.send().await.unwrap().status(), 202);
    world.settle().await;
    assert_eq!(notes(&world, 1).await, ["had already taken effect"]);
    assert_eq!(world.runs().await.len(), 1);
}

#[tokio::test]
async fn what_is_no_approval_starts_nothing() {
    let world = World::new().await;
    for shape in [
        Shape {
            from_equals_to: true,
            ..Shape::default()
        },
        Shape {
            no_changelog: true,
            ..Shape::default()
        },
    ] {
        world.town.jira.set_shape(shape);
        approved(&world).await;
        world.town.jira.transition(TICKET, ADA, "Open").await.unwrap();
        world.settle().await;
    }
    world.town.jira.set_shape(Shape::default());
    world
        .town
        .jira
        .set_field(TICKET, ADA, "summary", json!("Approved"))
        .await
        .unwrap();
    world.settle().await;
    assert!(world.runs().await.is_empty());
    assert!(world.town.jira.messages(TICKET).is_empty(), "and nothing is said");
}

#[tokio::test]
async fn every_shape_of_an_approval_starts_one_run() {
    let all = [
        Shape {
            two_items: true,
            ..Shape::default()
        },
        Shape {
            numeric_changelog_id: true,
            ..Shape::default()
        },
        Shape {
            bulk: true,
            ..Shape::default()
        },
        Shape {
            secondary_flow: true,
            ..Shape::default()
        },
        Shape {
            no_identifier: true,
            ..Shape::default()
        },
        Shape {
            active_as_text: true,
            ..Shape::default()
        },
    ];
    for shape in all {
        let world = World::new().await;
        world.town.jira.set_shape(shape.clone());
        approved(&world).await;
        assert_eq!(world.runs().await.len(), 1, "{shape:?}: {:?}", notes(&world, 5).await);
    }
}

#[tokio::test]
async fn an_approval_by_somebody_without_any_role_starts_nothing_and_is_not_answered() {
    let world = World::new().await;
    world.town.jira.transition(TICKET, EVE, "Approved").await.unwrap();
    world.settle().await;
    assert!(world.runs().await.is_empty());
    assert_eq!(ticket(&world).await, "");
    assert!(
        world
            .town
            .github
            .pulls(stepherd::sandbox::town::REPO)
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn an_approval_without_a_tenant_says_what_is_missing() {
    let world = World::new().await;
    world
        .town
        .jira
        .add_issue("SREPROV-3099", "DCR of nobody", Map::new())
        .unwrap();
    world
        .town
        .jira
        .transition("SREPROV-3099", ADA, "Approved")
        .await
        .unwrap();
    world.settle().await;
    assert!(world.runs().await.is_empty());
    let said = world.town.jira.messages("SREPROV-3099");
    assert_eq!(said.len(), 1);
    insta::assert_snapshot!(world.readable(&said[0].body).await, @"/dcr start needs tenant (The tenant, as its folder is called). What can be said: /dcr help");
}

#[tokio::test]
async fn commands_are_understood_in_text_and_in_documents() {
    let world = World::new().await;
    failed(&world).await;
    comment(&world, ADA, "/dcr status").await;
    insta::assert_snapshot!(newest(&world).await, @r"
    ❌ DCR rebuild comcast · SREPROV-3072 · RUN — Rebuild failed at 42 %
    ████████░░░░░░░░░░░░ 42 %
    - Step: 7 of 8: Rebuild
    - Attempt: 1
    - There: 3 of min 3, 3 of 3 farmers in hidden state
    - Back-end: open (https://dcr.example.org/ui/tenants/comcast)
    - Class: infrastructure: a machine, a network or a service
    - Restarts: 0
    - Pull requests: acme/deployment#1 (https://github/acme/deployment/pull/1), acme/deployment#2 (https://github/acme/deployment/pull/2)
    - Asked by: Ada, 2026-11-18 11:06 UTC
    farmer-3 lost
    - ✅ Note the rebuild in the tenant's history — acme/deployment#1 opened
    - ✅ Merge the history — merged as SHA
    - ✅ Switch the farmers on — acme/deployment#2 opened
    - ✅ Merge the farm's start — merged as SHA
    - ✅ Sync the farm
    - ✅ Wait for farmers — 3 of min 3, 3 of 3 farmers in hidden state
    - ❌ Rebuild the cache
    - ▫️ Close the ticket
    To go on: /dcr retry run=RUN failure=17. To give up and free its locks: /dcr stop run=RUN
    - tenant = comcast, from the command
    - ticket = SREPROV-3072, from the command
    - deployment_repo = acme/deployment, from the pipeline's default
    - config_repo = acme/configuration, from the pipeline's default
    - farmers_min = 3, from tenants/comcast/farm.yaml in acme/deployment
    - channel = 400, from tenants/comcast/farm.yaml in acme/deployment
    ");
    let before = world.town.jira.messages(TICKET).len();
    world.town.jira.set_shape(Shape {
        comment_as_adf: true,
        ..Shape::default()
    });
    let text = |text: &str| json!({"type": "paragraph", "content": [{"type": "text", "text": text}]});
    let code = json!({"type": "codeBlock", "content": [{"type": "text", "text": "/dcr stop"}]});
    let quote = json!({"type": "blockquote", "content": [text("/dcr stop")]});
    let doc = |content: Value| json!({"type": "doc", "version": 1, "content": content});
    world
        .town
        .jira
        .comment(TICKET, ADA, doc(json!([code, quote])))
        .await
        .unwrap();
    world.settle().await;
    assert_eq!(
        world.town.jira.messages(TICKET).len(),
        before + 1,
        "code and quotes command nothing"
    );
    world
        .town
        .jira
        .comment(TICKET, ADA, doc(json!([text("Let me see."), text("/dcr why")])))
        .await
        .unwrap();
    world.settle().await;
    insta::assert_snapshot!(newest(&world).await, @r"
    ❌ DCR rebuild comcast · SREPROV-3072 · RUN — Rebuild failed at 42 %
    - 2026-11-18 11:06 UTC — accepted from Ada in jira:SREPROV-3072, allowed by the role operator
    - 2026-11-18 11:06 UTC — HistoryUpdate: attempt 1 began
    - 2026-11-18 11:06 UTC — HistoryUpdate: acme/deployment#1 on branch SREPROV-3072_RUN_StepHistoryUpdate
    - 2026-11-18 11:06 UTC — HistoryUpdate: passed (acme/deployment#1 opened)
    - 2026-11-18 11:06 UTC — HistoryUpdateMerge: attempt 1 began
    - 2026-11-18 11:06 UTC — HistoryUpdateMerge: passed (merged as SHA)
    - 2026-11-18 11:06 UTC — StartFarm: attempt 1 began
    - 2026-11-18 11:06 UTC — StartFarm: acme/deployment#2 on branch SREPROV-3072_RUN_StepStartFarm
    - 2026-11-18 11:06 UTC — StartFarm: passed (acme/deployment#2 opened)
    - 2026-11-18 11:06 UTC — StartFarmMerge: attempt 1 began
    - 2026-11-18 11:06 UTC — StartFarmMerge: passed (merged as SHA)
    - 2026-11-18 11:06 UTC — Sync: attempt 1 began
    - 2026-11-18 11:07 UTC — Sync: passed
    - 2026-11-18 11:07 UTC — WaitForFarmers: attempt 1 began
    - 2026-11-18 11:08 UTC — WaitForFarmers: passed (3 of min 3, 3 of 3 farmers in hidden state)
    - 2026-11-18 11:08 UTC — Rebuild: attempt 1 began
    - 2026-11-18 11:10 UTC — Rebuild: failed at 42 %: farmer-3 lost
    - tenant = comcast, from the command
    - ticket = SREPROV-3072, from the command
    - deployment_repo = acme/deployment, from the pipeline's default
    - config_repo = acme/configuration, from the pipeline's default
    - farmers_min = 3, from tenants/comcast/farm.yaml in acme/deployment
    - channel = 400, from tenants/comcast/farm.yaml in acme/deployment
    Plan and parameters as of its start. Asked in jira:SREPROV-3072.
    ");
    assert!(matches!(world.run().await.state, RunState::Stopped { .. }));
}

#[tokio::test]
async fn edited_comments_bots_and_markup_command_nothing() {
    let world = World::new().await;
    failed(&world).await;
    world.town.jira.add_user(JiraUser {
        app: true,
        ..JiraUser::person("robot", "Robot")
    });
    comment(&world, "557058:robot", "/dcr retry").await;
    for text in [
        "{code}\n/dcr retry\n{code}",
        "{quote}\n/dcr retry\n{quote}",
        "bq. /dcr retry",
        "please /dcr retry",
        "{{/dcr retry}}",
        "/dcrx retry",
    ] {
        comment(&world, ADA, text).await;
    }
    let id = world.town.jira.comment(TICKET, ADA, "nothing yet").await.unwrap();
    world.settle().await;
    world
        .town
        .jira
        .edit_comment(TICKET, &id, ADA, "/dcr retry")
        .await
        .unwrap();
    world.settle().await;
    // Edited before stepherd got to it: what was sent is not what stands there.
    let id = world.town.jira.comment(TICKET, ADA, "/dcr retry").await.unwrap();
    world.clock.advance(std::time::Duration::from_secs(5));
    world
        .town
        .jira
        .edit_comment(TICKET, &id, ADA, "never mind")
        .await
        .unwrap();
    world.settle().await;
    minutes(&world, 1).await;
    assert!(
        matches!(world.run().await.state, RunState::Stopped { .. }),
        "{:?}",
        notes(&world, 20).await
    );
}

#[tokio::test]
async fn retry_from_the_ticket_resumes_and_what_is_misspelt_is_explained() {
    let world = World::new().await;
    failed(&world).await;
    comment(&world, ADA, "/dcr retri").await;
    insta::assert_snapshot!(newest(&world).await, @"retri is not a verb of /dcr; it has start, status, retry, stop, answer, list, why, help. Did you mean /dcr retry? What can be said: /dcr help");
    let before = world.town.jira.messages(TICKET).len();
    comment(&world, EVE, "/dcr retry").await;
    assert_eq!(
        world.town.jira.messages(TICKET).len(),
        before + 1,
        "who has no role is not answered"
    );
    world.town.dcr.auto_restart(TENANT);
    minutes(&world, 1).await;
    assert_eq!(
        world.town.jira.messages(TICKET).len(),
        before + 2,
        "the restart is told"
    );
    comment(&world, ADA, "/dcr retry").await;
    minutes(&world, 1).await;
    assert!(matches!(world.run().await.state, RunState::Active(_)));
    assert_eq!(
        world.town.jira.messages(TICKET).len(),
        before + 3,
        "the card speaks; nothing else is posted"
    );
}

#[tokio::test]
async fn a_ticket_that_cannot_be_moved_says_where_it_could_go() {
    let world = World::new().await;
    rebuilding(&world, 99.0).await;
    world.town.jira.transition(TICKET, ADA, "Open").await.unwrap();
    world.town.dcr.complete(TENANT);
    minutes(&world, 1).await;
    insta::assert_snapshot!(newest(&world).await, @r"
    ❌ CloseTicket failed
    SREPROV-3072 cannot go from `Open` to `Done`; from there stepherd's account can move it to: `Approved` (10011)
    - Progress at failure: not known
    - Attempt: 1
    - Restarts: 0
    - Class: user: something that a person wrote or configured
    To go on: /dcr retry run=RUN failure=19. To give up and free its locks: /dcr stop run=RUN
    ");
    // Somebody puts it right, which is an approval again and waits behind the run; the run goes on by one word.
    world.town.jira.transition(TICKET, ADA, "Approved").await.unwrap();
    world.settle().await;
    let first = world.runs().await.pop().unwrap().id;
    comment(&world, ADA, &format!("/dcr retry run={first}")).await;
    minutes(&world, 1).await;
    assert!(matches!(world.run_now(&first).await.state, RunState::Finished { .. }));
    assert_eq!(world.town.jira.status(TICKET).as_deref(), Some("Done"));
}

#[tokio::test]
async fn data_center_speaks_wiki_text_and_knows_people_by_key() {
    let clock = std::sync::Arc::new(TestClock::new());
    let mut town = World::town(&clock).await;
    let of = clock.clone();
    let options = JiraOptions {
        now: now_from(move || stepherd::clock::Clock::now(of.as_ref())),
        flavour: Flavour::DataCenter,
        bot: JiraUser::person("stepherd", "stepherd"),
        token: "personal-access-token".into(),
        webhook: None,
        signing: Signing::Unsigned,
        auto: false,
    };
    town.jira = Jira::start(options, 0).await.unwrap();
    let status = |id: &str, name: &str| Status {
        id: id.into(),
        name: name.into(),
    };
    let way = |id: &str, from: &str, to: &str| Transition {
        id: id.into(),
        name: id.into(),
        from: vec![from.into()],
        to: to.into(),
    };
    let workflow = Workflow {
        statuses: vec![status("1", "Open"), status("2", "Approved"), status("3", "Done")],
        transitions: vec![way("11", "1", "2"), way("21", "2", "3")],
    };
    town.jira.add_project("SREPROV", "SRE provisioning", workflow);
    town.jira.add_user(JiraUser::person("ada", "Ada"));
    let fields = Map::from_iter([("customfield_10042".to_owned(), json!(TENANT))]);
    town.jira.add_issue(TICKET, "DCR comcast", fields).unwrap();
    let world = World::in_town(
        town,
        clock,
        |dir| {
            let path = dir.join("config/people.toml");
            let people = std::fs::read_to_string(&path).unwrap();
            std::fs::write(path, people.replace("557058:ada", "JIRAUSER-ada")).unwrap();
        },
        |env| {
            env.insert("STEPHERD__JIRA__FLAVOR".into(), "data-center".into());
            env.insert("STEPHERD__JIRA__TOKEN".into(), "personal-access-token".into());
            env.remove("STEPHERD__JIRA__EMAIL");
        },
    )
    .await;
    world.town.jira.set_shape(Shape {
        no_identifier: true,
        ..Shape::default()
    });
    world.town.jira.transition(TICKET, "ada", "Approved").await.unwrap();
    world.settle().await;
    let merged = world.town.github.pulls(stepherd::sandbox::town::REPO).unwrap()[1]
        .merged
        .clone()
        .unwrap();
    world.town.argocd.git_moved(stepherd::sandbox::town::APP, &merged);
    world.town.argocd.finish(stepherd::sandbox::town::APP);
    minutes(&world, 2).await;
    world.town.dcr.advance(TENANT, 42.0);
    minutes(&world, 1).await;
    world
        .town
        .dcr
        .fail(TENANT, "farmer-3 {color:red}lost{color} [~ada] !x.png!");
    minutes(&world, 1).await;
    let raw = world.town.jira.comments(TICKET).pop().unwrap().raw;
    insta::assert_snapshot!(raw.as_str().unwrap().replace(world.run().await.id.as_str(), "RUN"), @r"
    {panel:bgColor=#ffebe6}
    h3. ❌ Rebuild failed at 42 %
    {panel}

    {noformat}
    farmer-3 {color:red}lost{color} [~ada] !x.png!
    {noformat}

    * *Progress at failure:* 42 %
    * *Attempt:* 1
    * *Restarts:* 0
    * *Class:* infrastructure: a machine, a network or a service
    * *There:* 3 of min 3, 3 of 3 farmers in hidden state
    * *Back\-end:* [open|https://dcr.example.org/ui/tenants/comcast]

    To go on: {{/dcr retry run=RUN failure=17}}. To give up and free its locks: {{/dcr stop run=RUN}}
    ");
    world.town.dcr.auto_restart(TENANT);
    world.town.jira.comment(TICKET, "ada", "/dcr retry").await.unwrap();
    minutes(&world, 1).await;
    assert!(
        matches!(world.run().await.state, RunState::Active(_)),
        "{:?}",
        notes(&world, 10).await
    );
    world.town.dcr.complete(TENANT);
    minutes(&world, 1).await;
    assert_eq!(world.town.jira.status(TICKET).as_deref(), Some("Done"));
    insta::assert_snapshot!(world.readable(&world.town.jira.messages(TICKET)[0].body).await, @r"
    ✅ DCR rebuild comcast · SREPROV-3072 · RUN — completed


    ████████████████████ 100 %

    * Restarts: 1
    * Pull requests: acme/deployment#1 (https://github/acme/deployment/pull/1), acme/deployment#2 (https://github/acme/deployment/pull/2)
    * Asked by: Ada, 2026-11-18 11:06 UTC

    * ✅ Note the rebuild in the tenant's history — acme/deployment#1 opened
    * ✅ Merge the history — merged as SHA
    * ✅ Switch the farmers on — acme/deployment#2 opened
    * ✅ Merge the farm's start — merged as SHA
    * ✅ Sync the farm
    * ✅ Wait for farmers — 3 of min 3, 3 of 3 farmers in hidden state
    * ✅ Rebuild the cache — 1 restart
    * ✅ Close the ticket

    Nothing left to do.
    ");
}

#[tokio::test]
async fn a_second_approved_ticket_for_the_tenant_waits_in_line_and_says_so() {
    let world = World::new().await;
    approved(&world).await;
    world
        .town
        .jira
        .transition(SECOND_TICKET, ADA, "Approved")
        .await
        .unwrap();
    minutes(&world, 1).await;
    let said = world.town.jira.messages(SECOND_TICKET);
    assert_eq!(said.len(), 1);
    insta::assert_snapshot!(world.readable(&said[0].body).await, @r"
    ⏳ DCR rebuild comcast · SREPROV-3073 · RUN2 — waits in line, 1 before it
    - Position: 1st in line; before it: RUN
    - Restarts: 0
    - Asked by: Ada, 2026-11-18 11:07 UTC
    - ▫️ Note the rebuild in the tenant's history
    - ▫️ Merge the history
    - ▫️ Switch the farmers on
    - ▫️ Merge the farm's start
    - ▫️ Sync the farm
    - ▫️ Wait for farmers
    - ▫️ Rebuild the cache
    - ▫️ Close the ticket
    It starts by itself when its turn comes. To give up: /dcr stop run=RUN2
    ");
}
