//! Changes and their pull requests: found again, merged once, and explained when they cannot be.

mod checks;
mod merging;

use std::path::Path;
use std::time::Duration;

use stepherd::domain::run::{FailureClass, Run, RunState, Verdict};
use stepherd::sandbox::stage::{Call, Fault, FaultKind};
use stepherd::sandbox::town::{REPO, TICKET};

use crate::world::World;

const FARM: &str = "tenants/comcast/farm.yaml";
const HEAD: &str = r#"
name = "dcr"
title = "DCR rebuild"
command = "dcr"
audience = ["jira:{{ ticket }}"]
[[param]]
name = "tenant"
type = "word"
help = "The tenant"
[[param]]
name = "ticket"
type = "ticket"
help = "The ticket"
default = ""
[[param]]
name = "farmers_min"
type = "int"
min = 1
max = 100
help = "How many farmers"
default = 3
"#;
const START_FARM: &str = r#"
[[step]]
name = "StartFarm"
title = "Switch the farmers on"
kind = "change"
auto_retries = 2
repo = "acme/deployment"
pr_title = "{{ tenant }}: start farmers"
pr_body = "For {{ ticket }}."
[[step.edit]]
path = "tenants/{{ tenant }}/farm.yaml"
set = { pointer = "/farmers/enabled", value = true }
"#;
const START_FARM_MERGE: &str = r#"
[[step]]
name = "StartFarmMerge"
title = "Merge the farm's start"
kind = "merge"
branch_of = "StartFarm"
"#;

/// A pipeline of these steps takes the place of the shipped `/dcr`.
fn pipeline(dir: &Path, steps: &[&str]) {
    let text = format!("{HEAD}{}", steps.concat());
    std::fs::write(dir.join("config/pipelines/dcr.toml"), text).unwrap();
}

/// A world with such a pipeline, before anybody asked for anything.
async fn world(steps: &[&str]) -> World {
    World::with(|dir| pipeline(dir, steps)).await
}

async fn start(world: &World) {
    world
        .town
        .jira
        .transition(TICKET, "557058:ada", "Approved")
        .await
        .unwrap();
    world.settle().await;
}

async fn retry(world: &World) {
    world
        .town
        .jira
        .comment(TICKET, "557058:ada", "/dcr retry")
        .await
        .unwrap();
    world.settle().await;
}

fn completed(run: &Run) -> bool {
    matches!(
        run.state,
        RunState::Finished {
            verdict: Verdict::Completed,
            ..
        }
    )
}

/// The failure that the run stopped on: its step, reason and class.
fn failure(run: &Run) -> (&str, &str, FailureClass) {
    match &run.state {
        RunState::Stopped { why, .. } => (why.step.as_str(), &why.reason, why.class),
        other => panic!("the run has not failed: {other:?}"),
    }
}

/// What the run's card in the ticket says.
fn card(world: &World) -> String {
    let said = world.town.jira.messages(TICKET);
    said.into_iter().next().map(|m| m.body).expect("there is a card")
}

fn note(run: &Run, step: &str) -> Option<String> {
    run.passed
        .iter()
        .find(|passed| passed.step.as_str() == step)?
        .note
        .clone()
}

fn merge_calls(world: &World) -> Vec<Call> {
    world.town.github.stage().calls_to("PUT", "/merge")
}

#[tokio::test]
async fn two_changes_of_one_repository_are_two_pull_requests_and_the_second_shows_only_its_own() {
    let world = World::new().await;
    start(&world).await;
    let github = &world.town.github;
    let run = world.run().await;
    let pulls = github.pulls(REPO).unwrap();
    let branches: Vec<String> = pulls.iter().map(|p| p.branch.replace(run.id.as_str(), "RUN")).collect();
    assert_eq!(
        branches,
        ["SREPROV-3072_RUN_StepHistoryUpdate", "SREPROV-3072_RUN_StepStartFarm"]
    );
    let first = pulls[0].merged.as_ref().expect("the first is merged");
    assert!(
        pulls[1].merged.is_some(),
        "the second is not skipped because the first was merged"
    );
    assert_eq!(github.commits_ahead(REPO, first, &pulls[1].head).unwrap(), 1);
    assert_eq!(github.commits_ahead(REPO, &pulls[1].head, first).unwrap(), 0);

    let at = |commit: &str, path: &str| world.town.github.file(REPO, commit, path).unwrap().unwrap();
    let history = "tenants/comcast/history.yaml";
    assert!(
        at(&pulls[0].head, FARM).contains("enabled: false"),
        "the first change leaves the farm alone"
    );
    assert_eq!(at(&pulls[1].head, history), at(&pulls[0].head, history));
    // Comments, quotes and order stay as people wrote them.
    insta::assert_snapshot!(at(&pulls[1].head, FARM).replace(run.id.as_str(), "RUN"), @r#"
    # Farmers warm the cache before it is rebuilt.
    farmers:
      enabled: true # switched on by the rebuild
      min: 3
      started_for: RUN
    discord:
      channel: "400"
    "#);
    insta::assert_snapshot!(at(&pulls[0].head, history).replace(run.id.as_str(), "RUN"), @r"
    # What happened to this tenant's cache.
    rebuilds: {RUN: SREPROV-3072}
    ");
}

#[tokio::test]
async fn a_change_is_based_on_the_default_branch_as_it_is_then() {
    let people = START_FARM_MERGE.to_owned() + "by = \"people\"\n";
    let again = START_FARM
        .replace("StartFarm", "Again")
        .replace("/farmers/enabled\", value = true", "/farmers/min\", value = 4");
    let world = world(&[START_FARM, &people, &again]).await;
    start(&world).await;
    let push = [(
        FARM,
        Some("farmers:\n  enabled: false # by hand\n  min: 3\n# more, by grace\n"),
    )];
    world.town.github.merge_by_person(REPO, 1, "ada").unwrap();
    let moved = world.town.github.push("grace", REPO, "main", &push).unwrap();
    world.settle().await;
    let pulls = world.town.github.pulls(REPO).unwrap();
    assert_eq!(
        world.town.github.commits_ahead(REPO, &moved, &pulls[1].head).unwrap(),
        1
    );
    let file = world.town.github.file(REPO, &pulls[1].head, FARM).unwrap().unwrap();
    assert_eq!(
        file,
        "farmers:\n  enabled: false # by hand\n  min: 4\n# more, by grace\n"
    );
}

#[tokio::test]
async fn a_change_that_changes_nothing_says_so_and_opens_nothing() {
    let nothing = START_FARM.replace("/farmers/enabled\", value = true", "/farmers/min\", value = 3");
    let world = world(&[&nothing, START_FARM_MERGE]).await;
    start(&world).await;
    let run = world.run().await;
    assert!(completed(&run), "{:?}", run.state);
    assert_eq!(note(&run, "StartFarm").as_deref(), Some("nothing to change"));
    let merge = note(&run, "StartFarmMerge");
    assert_eq!(
        merge.as_deref(),
        Some("StartFarm had nothing to change, so there is nothing to merge")
    );
    assert!(world.town.github.pulls(REPO).unwrap().is_empty());
    assert_eq!(world.town.github.branches(REPO).unwrap().len(), 1);
    world.pass(Duration::from_secs(30)).await;
    assert!(card(&world).contains("nothing to change"), "{}", card(&world));
}

#[tokio::test]
async fn a_closed_pull_request_stops_the_run_and_a_retry_opens_a_new_one_on_a_new_branch() {
    let world = world(&[START_FARM, START_FARM_MERGE]).await;
    let github = &world.town.github;
    github.block_merging(REPO, Some("The freeze is on.")).unwrap();
    start(&world).await;
    for round in 1..=2_u64 {
        // The webhook tells at once; nothing is asked for again before somebody says so.
        github.close_pr(REPO, round, "grace").unwrap();
        world.settle().await;
        let run = world.run().await;
        let (step, reason, class) = failure(&run);
        assert_eq!((step, class), ("StartFarmMerge", FailureClass::User));
        assert!(
            reason.contains(&format!("acme/deployment#{round} was closed without being merged")),
            "{reason}"
        );
        world.pass(Duration::from_secs(300)).await;
        assert_eq!(github.pulls(REPO).unwrap().len() as u64, round);
        retry(&world).await;
        assert_eq!(github.pulls(REPO).unwrap().len() as u64, round + 1);
    }
    github.block_merging(REPO, None).unwrap();
    world.pass(Duration::from_secs(60)).await;
    let run = world.run().await;
    assert!(completed(&run), "{:?}", run.state);
    let pulls = github.pulls(REPO).unwrap();
    let branches: Vec<String> = pulls.iter().map(|p| p.branch.replace(run.id.as_str(), "RUN")).collect();
    let base = "SREPROV-3072_RUN_StepStartFarm";
    assert_eq!(branches, [base.to_owned(), format!("{base}_2"), format!("{base}_3")]);
    assert_eq!(
        pulls.iter().map(|p| p.merged.is_some()).collect::<Vec<_>>(),
        [false, false, true]
    );
    let passed: Vec<&str> = run.passed.iter().map(|passed| passed.step.as_str()).collect();
    assert_eq!(passed, ["StartFarm", "StartFarmMerge"]);
}

#[tokio::test]
async fn a_pull_request_that_was_opened_again_is_merged_by_a_retry() {
    let world = world(&[START_FARM, START_FARM_MERGE]).await;
    let github = &world.town.github;
    github.block_merging(REPO, Some("The freeze is on.")).unwrap();
    start(&world).await;
    github.close_pr(REPO, 1, "grace").unwrap();
    world.settle().await;
    failure(&world.run().await);
    github.reopen_pr(REPO, 1, "grace").unwrap();
    github.block_merging(REPO, None).unwrap();
    retry(&world).await;
    assert!(completed(&world.run().await));
    assert_eq!(github.pulls(REPO).unwrap().len(), 1);
}

#[tokio::test]
async fn a_head_that_people_moved_is_never_merged_and_the_way_out_is_a_new_pull_request() {
    let world = world(&[START_FARM, START_FARM_MERGE]).await;
    let github = &world.town.github;
    github.block_merging(REPO, Some("The freeze is on.")).unwrap();
    start(&world).await;
    let ours = github.pulls(REPO).unwrap()[0].head.clone();
    let theirs = github
        .push_to_pr(REPO, 1, "grace", &[("sneaked-in", Some("x"))])
        .unwrap();
    github.block_merging(REPO, None).unwrap();
    world.settle().await;
    let run = world.run().await;
    let (step, reason, class) = failure(&run);
    assert_eq!((step, class), ("StartFarmMerge", FailureClass::User));
    for part in [
        "head of #1 moved",
        &ours,
        &theirs,
        "someone pushed to stepherd's branch",
    ] {
        assert!(reason.contains(part), "{part} is not in {reason}");
    }
    // A retry alone does not help, and says so again.
    retry(&world).await;
    assert!(failure(&world.run().await).1.contains("head of #1 moved"));
    github.close_pr(REPO, 1, "grace").unwrap();
    retry(&world).await;
    let pulls = github.pulls(REPO).unwrap();
    assert!(completed(&world.run().await), "{:?}", world.run().await.state);
    assert_eq!((pulls.len(), pulls[0].merged.clone()), (2, None));
    assert_eq!(github.file(REPO, "main", "sneaked-in").unwrap(), None);
}

#[tokio::test]
async fn a_merge_that_rules_forbid_waits_and_the_card_says_for_what() {
    let world = world(&[START_FARM, START_FARM_MERGE]).await;
    let github = &world.town.github;
    github
        .block_merging(REPO, Some("Required status check \"ci\" is expected."))
        .unwrap();
    start(&world).await;
    world.pass(Duration::from_secs(30)).await;
    assert!(
        card(&world).contains("Waiting for: Required status check \"ci\" is expected."),
        "{}",
        card(&world)
    );
    // The same answer again writes nothing.
    let version = world.run().await.version;
    world.pass(Duration::from_secs(600)).await;
    assert_eq!(world.run().await.version, version);
    // The check's webhook makes stepherd look at once: the clock stands still.
    github.block_merging(REPO, None).unwrap();
    let head = github.pulls(REPO).unwrap()[0].head.clone();
    github.finish_check(REPO, &head, "ci", "success").unwrap();
    world.settle().await;
    assert!(completed(&world.run().await), "{:?}", world.run().await.state);
}

#[tokio::test]
async fn a_merge_waits_for_its_required_reviews() {
    let world = world(&[START_FARM, START_FARM_MERGE]).await;
    let github = &world.town.github;
    github.require_reviews(REPO, 1).unwrap();
    start(&world).await;
    world.pass(Duration::from_secs(30)).await;
    assert!(
        card(&world).contains("At least 1 approving review is required"),
        "{}",
        card(&world)
    );
    github.approve(REPO, 1, "grace").unwrap();
    world.pass(Duration::from_secs(60)).await;
    assert!(completed(&world.run().await), "{:?}", world.run().await.state);
}

#[tokio::test]
async fn people_merge_where_the_pipeline_says_so() {
    let people = START_FARM_MERGE.to_owned() + "by = \"people\"\n";
    let world = world(&[START_FARM, &people]).await;
    start(&world).await;
    world.pass(Duration::from_secs(300)).await;
    assert!(
        card(&world).contains("waiting for people to merge #1"),
        "{}",
        card(&world)
    );
    let merged = world.town.github.merge_by_person(REPO, 1, "ada").unwrap();
    world.settle().await;
    let run = world.run().await;
    assert!(completed(&run), "{:?}", run.state);
    assert_eq!(
        note(&run, "StartFarmMerge"),
        Some(format!("merged as {}", &merged[..7]))
    );
    assert!(merge_calls(&world).is_empty());
}

#[tokio::test]
async fn a_409_without_a_moved_head_is_waited_out() {
    let world = world(&[START_FARM, START_FARM_MERGE]).await;
    let body = r#"{"message":"Base branch was modified. Review and try the merge again."}"#;
    world
        .town
        .github
        .stage()
        .misbehave(Fault::answer("PUT", "/merge", 2, 409, vec![], body));
    start(&world).await;
    world.pass(Duration::from_secs(30)).await;
    assert!(card(&world).contains("Base branch was modified"), "{}", card(&world));
    world.pass(Duration::from_secs(120)).await;
    assert!(completed(&world.run().await), "{:?}", world.run().await.state);
    assert_eq!(merge_calls(&world).len(), 3);
}

#[tokio::test]
async fn a_422_that_nothing_explains_fails_in_githubs_words() {
    let world = world(&[START_FARM, START_FARM_MERGE]).await;
    let body =
        r#"{"message":"Validation Failed","errors":[{"resource":"PullRequest","code":"custom","message":"No."}]}"#;
    world
        .town
        .github
        .stage()
        .misbehave(Fault::answer("POST", "/pulls", 3, 422, vec![], body));
    start(&world).await;
    for _ in 0..5 {
        world.pass(Duration::from_secs(2)).await;
    }
    let run = world.run().await;
    let (step, reason, class) = failure(&run);
    assert_eq!((step, class), ("StartFarm", FailureClass::User));
    assert!(reason.contains("422 Validation Failed"), "{reason}");
    // The branch is there already; a retry goes on from it.
    retry(&world).await;
    assert!(completed(&world.run().await), "{:?}", world.run().await.state);
    assert_eq!(world.town.github.pulls(REPO).unwrap().len(), 1);
}

#[tokio::test]
async fn what_an_earlier_try_left_is_found_and_not_made_twice() {
    for made in ["/git/trees", "/git/commits", "/git/refs", "/pulls"] {
        let world = world(&[START_FARM, START_FARM_MERGE]).await;
        world
            .town
            .github
            .stage()
            .misbehave(Fault::new("POST", made, 1, FaultKind::EffectThenCut));
        start(&world).await;
        world.pass(Duration::from_secs(30)).await;
        let run = world.run().await;
        assert!(completed(&run), "{made}: {:?}", run.state);
        assert_eq!(world.town.github.pulls(REPO).unwrap().len(), 1, "{made}");
        assert_eq!(
            world.town.github.stage().calls_to("POST", "/graphql").len(),
            1,
            "{made}"
        );
        assert_eq!(
            world.town.github.branches(REPO).unwrap().len(),
            1,
            "{made}: one branch, and it is merged"
        );
        assert_eq!(run.passed[0].attempts, 1, "{made}");
    }
}

#[tokio::test]
async fn a_commit_that_people_put_on_the_branch_first_is_not_taken_for_the_steps_own() {
    let world = world(&[START_FARM, START_FARM_MERGE]).await;
    let github = &world.town.github;
    github
        .stage()
        .misbehave(Fault::new("POST", "/pulls", 1, FaultKind::Cut));
    start(&world).await;
    let branch = world
        .town
        .github
        .branches(REPO)
        .unwrap()
        .into_iter()
        .find(|(name, _)| name != "main")
        .unwrap()
        .0;
    github
        .push("grace", REPO, &branch, &[("sneaked-in", Some("x"))])
        .unwrap();
    world.pass(Duration::from_secs(30)).await;
    let run = world.run().await;
    let (_, reason, class) = failure(&run);
    assert_eq!(class, FailureClass::User);
    assert!(reason.contains("a commit that is not stepherd's"), "{reason}");
    assert!(github.pulls(REPO).unwrap().is_empty());
}

#[tokio::test]
async fn a_conflict_is_resolved_on_what_stands_there_now() {
    let world = world(&[START_FARM, START_FARM_MERGE]).await;
    let github = &world.town.github;
    github.block_merging(REPO, Some("The freeze is on.")).unwrap();
    start(&world).await;
    let theirs = "farmers:\n  enabled: maybe # grace\n";
    github.push("grace", REPO, "main", &[(FARM, Some(theirs))]).unwrap();
    github.block_merging(REPO, None).unwrap();
    world.pass(Duration::from_secs(60)).await;
    assert!(completed(&world.run().await), "{:?}", world.run().await.state);
    let now = github.file(REPO, "main", FARM).unwrap().unwrap();
    assert_eq!(now, "farmers:\n  enabled: true # grace\n");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named_and_nothing_is_opened() {
    let absent = START_FARM.replace("farm.yaml", "no-such.yaml");
    let world = world(&[&absent, START_FARM_MERGE]).await;
    start(&world).await;
    let run = world.run().await;
    let (step, reason, class) = failure(&run);
    assert_eq!((step, class), ("StartFarm", FailureClass::User));
    assert!(reason.contains("tenants/comcast/no-such.yaml"), "{reason}");
    assert!(world.town.github.pulls(REPO).unwrap().is_empty());
    assert_eq!(world.town.github.branches(REPO).unwrap().len(), 1);
    // What a person got wrong is not tried again without asking.
    let said = world.town.jira.messages(TICKET);
    assert_eq!(
        said.iter()
            .filter(|m| m.body.contains("no-such.yaml") && m.edits == 0)
            .count(),
        1,
        "{said:?}"
    );
}

#[tokio::test]
async fn enterprise_server_is_talked_to_under_its_own_address() {
    let form = START_FARM.replace("acme/deployment", "git@github.example:Acme/Deployment.git");
    let world = World::with_settings(
        |dir| pipeline(dir, &[&form, START_FARM_MERGE]),
        |env| {
            let url = env.get_mut("STEPHERD__GITHUB__API_URL").unwrap();
            url.push_str("/api/v3");
        },
    )
    .await;
    start(&world).await;
    world.pass(Duration::from_secs(30)).await;
    assert!(completed(&world.run().await), "{:?}", world.run().await.state);
    let calls = world.town.github.stage().calls();
    let theirs = |path: &str| path.starts_with("/api/v3/") || path == "/api/graphql";
    assert!(calls.iter().all(|call| theirs(&call.path)), "{calls:?}");
    assert!(
        world.town.github.branches(REPO).unwrap().len() == 1,
        "the merged branch is gone"
    );
    // The pull request's thread is the run's, however the repository is spelled.
    world.town.github.comment(REPO, 1, "ada", "/dcr status").unwrap();
    world.settle().await;
    let said = world.town.github.thread(REPO, 1).unwrap();
    assert!(
        !said.iter().any(|m| m.body.contains("No run belongs to this thread")),
        "{said:?}"
    );
}
