//! The shipped `/provision`: two steps share a pull request, two others make two in one repository, and people are
//! asked in between.

use std::time::Duration;

use serde_json::json;
use stepherd::domain::question;
use stepherd::domain::run::{RunState, Verdict};
use stepherd::sandbox::stage::Call;
use stepherd::sandbox::town::{CHANNEL, CLUSTER_REPO, GUILD, INSTANCES_REPO, PROVISION_TICKET, Town};

use crate::world::World;

/// Ada starts it by a slash command, on a ticket that she approved.
async fn started() -> World {
    let world = World::new().await;
    world
        .town
        .jira
        .transition(PROVISION_TICKET, "557058:ada", "Approved")
        .await
        .unwrap();
    let options = [
        ("dc", json!("ams1")),
        ("tenant", json!("comcast")),
        ("ticket", json!(PROVISION_TICKET)),
        ("tier", json!("small")),
    ];
    world
        .town
        .discord
        .slash(&Town::ada(), GUILD, CHANNEL, "provision", "start", &options)
        .await
        .unwrap();
    world.settle().await;
    world
}

/// As `started`, and people have merged the namespace: the question stands.
async fn asked() -> World {
    let world = started().await;
    world.town.github.merge_by_person(CLUSTER_REPO, 1, "ada").unwrap();
    world.pass(Duration::from_secs(10)).await;
    let run = world.run().await;
    assert_eq!(step(&world).await, "Continue", "{:?}", run.state);
    world
}

async fn step(world: &World) -> String {
    let run = world.run().await;
    match &run.state {
        RunState::Active(attempt) | RunState::Stopped { attempt, .. } => run.plan.steps[attempt.step].name.to_string(),
        other => format!("{other:?}"),
    }
}

/// Everything that changed something at a vendor besides talking: branches, pull requests, merges, tickets.
fn deeds(world: &World) -> Vec<String> {
    let changes = |call: &&Call| {
        let talk = [
            "comment",
            "check-runs",
            "reactions",
            "access_tokens",
            "messages",
            "threads",
        ];
        call.method != "GET" && !talk.iter().any(|word| call.path.contains(word))
    };
    let line = |call: &Call| format!("{} {} {}", call.method, call.path, call.status);
    let github = world.town.github.stage().calls();
    let jira = world.town.jira.stage.calls();
    let discord = world.town.discord.stage.calls();
    let calls = github.iter().chain(&jira).chain(&discord).filter(changes);
    calls
        .map(line)
        .filter(|line| !line.starts_with("PUT /api/v10/app"))
        .collect()
}

#[tokio::test]
async fn a_tenant_is_provisioned_from_end_to_end() {
    let world = asked().await;
    let github = &world.town.github;

    // Configure and its merge share one pull request, found by its number.
    let instances = github.pulls(INSTANCES_REPO).unwrap();
    assert_eq!(instances.len(), 1);
    let run = world.run().await;
    assert_eq!(instances[0].branch, format!("PROV-7_{}_StepInstanceConfigure", run.id));
    assert_eq!(instances[0].merged_by.as_deref(), Some("stepherd[bot]"));
    assert_eq!(
        run.prs[&"InstanceConfigure".parse().unwrap()].pr.number,
        instances[0].number
    );
    let file = |repo, path| github.file(repo, "main", path).unwrap();
    insta::assert_snapshot!(file(INSTANCES_REPO, "pom.xml").unwrap(), @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <project>
      <!-- One module per instance. -->
      <modules>
        <module>instances/globex</module>
        <module>instances/comcast</module>
      </modules>
    </project>
    "#);
    insta::assert_snapshot!(file(INSTANCES_REPO, "instances.json").unwrap(), @r#"
    {
      "ams1": {
        "globex": { "tier": "large" },
        "comcast": {
          "tier": "small"
        }
      }
    }
    "#);
    assert!(
        file(INSTANCES_REPO, "instances/comcast/instance.yaml")
            .unwrap()
            .contains("replicas: 2")
    );
    assert_eq!(file(INSTANCES_REPO, "requests/comcast.yaml"), None);

    world
        .town
        .github
        .comment(CLUSTER_REPO, 1, "bea", "/provision answer yes")
        .unwrap();
    world.settle().await;
    world.pass(Duration::from_secs(60)).await;

    // Namespace and Lightning are two pull requests of one repository, each with its own change only.
    let cluster = github.pulls(CLUSTER_REPO).unwrap();
    let branches: Vec<String> = cluster
        .iter()
        .map(|pull| pull.branch.replace(run.id.as_str(), "RUN"))
        .collect();
    assert_eq!(branches, ["PROV-7_RUN_StepK8sNamespace", "PROV-7_RUN_StepLightning"]);
    assert!(cluster.iter().all(|pull| pull.merged.is_some()), "{cluster:?}");
    assert_eq!(
        github
            .commits_ahead(CLUSTER_REPO, cluster[0].merged.as_ref().unwrap(), &cluster[1].head)
            .unwrap(),
        1
    );
    assert!(
        cluster[1].body.contains(cluster[0].merged.as_ref().unwrap().as_str()),
        "{}",
        cluster[1].body
    );
    insta::assert_snapshot!(file(CLUSTER_REPO, "lightning.yaml").unwrap(), @r"
    # Who has Lightning.
    tenants:
      globex: # the first one
        enabled: true
        tier: large
      comcast:
        enabled: true
        tier: small
    ");
    assert!(
        file(CLUSTER_REPO, "namespaces/comcast.yaml")
            .unwrap()
            .contains("name: tenant-comcast")
    );
    assert_eq!(world.town.jira.status(PROVISION_TICKET).as_deref(), Some("Done"));
    let done = world.run().await;
    assert!(
        matches!(
            done.state,
            RunState::Finished {
                verdict: Verdict::Completed,
                ..
            }
        ),
        "{:?}",
        done.state
    );
}

#[tokio::test]
async fn a_step_of_one_repository_is_not_taken_for_done_because_another_one_was_merged() {
    let world = asked().await;
    let run = world.run().await;
    assert_eq!(world.town.github.pulls(CLUSTER_REPO).unwrap().len(), 1);
    assert!(run.passed.iter().all(|passed| passed.step.as_str() != "Lightning"));
    world
        .town
        .jira
        .comment(PROVISION_TICKET, "557058:bea", "/provision answer yes")
        .await
        .unwrap();
    world.settle().await;
    world.pass(Duration::from_secs(30)).await;
    let second = &world.town.github.pulls(CLUSTER_REPO).unwrap()[1];
    assert_eq!(second.title, "Lightning for comcast");
}

#[tokio::test]
async fn the_first_answer_wins_and_the_second_hears_whose_it_was() {
    let world = asked().await;
    // The second is given before the first has shown anywhere.
    world
        .town
        .github
        .comment(CLUSTER_REPO, 1, "bea", "/provision answer yes")
        .unwrap();
    world.deliver().await;
    world.intake().await;
    world
        .town
        .jira
        .comment(PROVISION_TICKET, "557058:bea", "/provision answer no")
        .await
        .unwrap();
    world.settle().await;
    world.pass(Duration::from_secs(60)).await;
    let said = world.town.jira.messages(PROVISION_TICKET);
    assert!(
        said.iter().any(|m| m.body.contains("Already answered by bea at")),
        "{said:?}"
    );
    let done = world.run().await;
    assert!(
        matches!(
            done.state,
            RunState::Finished {
                verdict: Verdict::Completed,
                ..
            }
        ),
        "{:?}",
        done.state
    );
    let run = world.run().await;
    let answers = world.store.history(&run.id).await.unwrap();
    let answers = answers
        .iter()
        .filter(|entry| format!("{:?}", entry.what).starts_with("Answered"));
    assert_eq!(answers.count(), 1);
}

#[tokio::test]
async fn a_button_answers_and_is_gone_afterwards() {
    let world = asked().await;
    let shown = world.town.discord.messages(CHANNEL);
    let (message, button) = shown
        .iter()
        .find_map(|m| {
            Some((
                m.id.clone(),
                m.buttons.iter().find(|b| b.label == "Stop here")?.custom_id.clone(),
            ))
        })
        .unwrap_or_else(|| panic!("no button: {shown:?}"));
    world.town.discord.press(&Town::bea(), &message, &button).await.unwrap();
    world.settle().await;
    world.pass(Duration::from_secs(30)).await;
    let done = world.run().await;
    assert!(
        matches!(
            done.state,
            RunState::Finished {
                verdict: Verdict::Canceled { .. },
                ..
            }
        ),
        "{:?}",
        done.state
    );
    let card = world
        .town
        .discord
        .messages(CHANNEL)
        .into_iter()
        .find(|m| m.text.contains("stopped by"))
        .unwrap();
    assert!(card.buttons.is_empty(), "{card:?}");
}

#[tokio::test]
async fn an_answer_of_somebody_without_the_role_is_refused() {
    let world = asked().await;
    world
        .town
        .github
        .comment(CLUSTER_REPO, 1, "eve", "/provision answer yes")
        .unwrap();
    world
        .town
        .jira
        .comment(PROVISION_TICKET, "557058:eve", "/provision answer yes")
        .await
        .unwrap();
    let interacted = world
        .town
        .discord
        .slash(
            &Town::eve(),
            GUILD,
            CHANNEL,
            "provision",
            "answer",
            &[("value", json!("yes"))],
        )
        .await
        .unwrap();
    assert_eq!(interacted.kind(), 5, "{interacted:?}");
    // Grace is an operator by her team, not an approver.
    world
        .town
        .github
        .comment(CLUSTER_REPO, 1, "grace", "/provision answer yes")
        .unwrap();
    world.settle().await;
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(step(&world).await, "Continue");
    assert_eq!(world.town.github.pulls(CLUSTER_REPO).unwrap().len(), 1);
    let refusals = |bodies: Vec<String>| bodies.iter().filter(|b| b.contains("it takes the role")).count();
    let github = world.town.github.thread(CLUSTER_REPO, 1).unwrap();
    assert_eq!(
        refusals(github.iter().map(|m| m.body.clone()).collect()),
        1,
        "{github:?}"
    );
    assert!(github.iter().any(|m| m.body.contains("approver")));
    let jira = world.town.jira.messages(PROVISION_TICKET);
    assert_eq!(refusals(jira.iter().map(|m| m.body.clone()).collect()), 0, "{jira:?}");
    let discord = world.town.discord.messages(CHANNEL);
    assert_eq!(
        refusals(discord.iter().map(|m| m.text.clone()).collect()),
        1,
        "{discord:?}"
    );
}

#[tokio::test]
async fn an_answer_that_is_no_option_changes_nothing() {
    let world = asked().await;
    world
        .town
        .github
        .comment(CLUSTER_REPO, 1, "bea", "/provision answer maybe")
        .unwrap();
    world.settle().await;
    assert_eq!(step(&world).await, "Continue");
    let said = world.town.github.thread(CLUSTER_REPO, 1).unwrap();
    assert!(
        said.iter().any(|m| m.body.contains("is none of the answers")),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_no_ends_the_run_with_nothing_more_done() {
    let world = asked().await;
    for stage in [
        world.town.github.stage(),
        &world.town.jira.stage,
        &world.town.discord.stage,
    ] {
        stage.forget_calls();
    }
    world
        .town
        .jira
        .comment(PROVISION_TICKET, "557058:bea", "/provision answer no")
        .await
        .unwrap();
    world.settle().await;
    world.pass(Duration::from_secs(600)).await;
    let done = world.run().await;
    assert!(
        matches!(
            done.state,
            RunState::Finished {
                verdict: Verdict::Canceled { .. },
                ..
            }
        ),
        "{:?}",
        done.state
    );
    assert_eq!(deeds(&world), Vec::<String>::new());
    assert_eq!(world.town.jira.status(PROVISION_TICKET).as_deref(), Some("Approved"));
    let said = world.town.jira.messages(PROVISION_TICKET);
    let last = &said
        .iter()
        .find(|m| m.body.contains("What is left:"))
        .unwrap_or_else(|| panic!("{said:?}"))
        .body;
    let run = world.run().await;
    assert!(
        last.contains("K8sNamespace: acme/clusterconfig-ams1#1 stays merged as"),
        "{last}"
    );
    assert!(
        last.contains("InstanceConfigure: acme/instances#1 stays merged as"),
        "{last}"
    );
    assert_eq!(run.passed.len(), 4);
}

#[tokio::test]
async fn a_question_that_nobody_answers_fails_and_a_retry_asks_it_again() {
    let world = asked().await;
    // Three days, in one leap: nothing is due in between.
    world.clock.advance(Duration::from_secs(3 * 24 * 3600));
    world.settle().await;
    let stopped = world.run().await;
    let RunState::Stopped { why, .. } = &stopped.state else {
        panic!("{:?}", stopped.state)
    };
    assert!(why.reason.contains("nobody answered within"), "{why:?}");
    world
        .town
        .github
        .comment(CLUSTER_REPO, 1, "ada", "/provision retry")
        .unwrap();
    world.pass(Duration::from_secs(30)).await;
    assert_eq!(step(&world).await, "Continue");
    let asked = world.town.jira.messages(PROVISION_TICKET);
    assert_eq!(
        asked.iter().filter(|m| m.body.starts_with("❓ The namespace")).count(),
        2,
        "{asked:?}"
    );
    let id = question::open(&world.run().await).expect("it asks again").id.clone();
    let answer = format!("/provision answer yes question={id}");
    world.town.github.comment(CLUSTER_REPO, 1, "bea", &answer).unwrap();
    world.pass(Duration::from_secs(60)).await;
    assert!(matches!(
        world.run().await.state,
        RunState::Finished {
            verdict: Verdict::Completed,
            ..
        }
    ));
}

#[tokio::test]
async fn what_was_inserted_once_is_not_inserted_again() {
    let world = asked().await;
    world
        .town
        .github
        .comment(CLUSTER_REPO, 1, "bea", "/provision answer yes")
        .unwrap();
    world.pass(Duration::from_secs(60)).await;
    // The same tenant again: only the file that names the run differs.
    let options = [("dc", json!("ams1")), ("tenant", json!("comcast"))];
    world
        .town
        .discord
        .slash(&Town::ada(), GUILD, CHANNEL, "provision", "start", &options)
        .await
        .unwrap();
    world.pass(Duration::from_secs(60)).await;
    let pom = world
        .town
        .github
        .file(INSTANCES_REPO, "main", "pom.xml")
        .unwrap()
        .unwrap();
    assert_eq!(pom.matches("instances/comcast").count(), 1, "{pom}");
    // Nothing of the namespace changes: no pull request, and its merge says why it passed.
    let run = world.run().await;
    assert_eq!(world.town.github.pulls(CLUSTER_REPO).unwrap().len(), 2);
    let note = |step: &str| {
        run.passed
            .iter()
            .find(|p| p.step.as_str() == step)
            .and_then(|p| p.note.clone())
    };
    assert_eq!(note("K8sNamespace").as_deref(), Some("nothing to change"));
    assert_eq!(
        note("K8sNamespaceMerge").as_deref(),
        Some("K8sNamespace had nothing to change, so there is nothing to merge")
    );
    assert_eq!(step(&world).await, "Continue");
}
