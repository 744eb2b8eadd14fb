//! `retry`: the world is read first, nothing is started twice, and what was reviewed stays what runs.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use stepherd::domain::run::{Happened, RunState};
use stepherd::sandbox::stage::{Fault, FaultKind};
use stepherd::sandbox::town::{APP, CHANNEL, GUILD, REPO, TENANT, TICKET, Town};

use super::scene::at;
use crate::world::World;

#[tokio::test]
async fn a_failed_rebuild_is_resumed_with_the_same_commit_and_parameters() {
    let world = World::new().await;
    let number = world.failed().await;
    let before = world.run().await;
    let unreviewed = [("EVIL.md", Some("unreviewed\n"))];
    world.town.github.push_to_pr(REPO, number, "eve", &unreviewed).unwrap();
    world.settle().await;
    world.clock.advance(Duration::from_secs(5));
    world.town.dcr.auto_restart(TENANT);
    world.say(number, "ada", "/dcr retry").await;
    world.pass(Duration::from_secs(30)).await;
    let run = world.run().await;
    assert_eq!(at(&run), "Rebuild 1");
    assert_eq!(run.id, before.id);
    assert_eq!((&run.subject, &run.params), (&before.subject, &before.params));
    assert_eq!(world.town.dcr.changing_calls(), 0);
    world.town.dcr.complete(TENANT);
    world.pass(Duration::from_secs(60)).await;
    let told = world.told(&world.run().await).await;
    let from = told
        .iter()
        .position(|line| line.starts_with("Rebuild: attempt 1"))
        .unwrap();
    insta::assert_snapshot!(told[from..].join("\n"), @r"
    Rebuild: attempt 1 began
    Rebuild: failed at 42 %: farmer-3 lost
    resumed by ada
    Rebuild: rebuild failed at 42 % and was restarted by the service (restart 1): it goes on at 42 %; it had failed: farmer-3 lost; there: 3 of min 3, 3 of 3 farmers in hidden state before, 3 of min 3, 3 of 3 now
    Rebuild: found still running or done; nothing was started
    Rebuild: passed
    CloseTicket: attempt 1 began
    CloseTicket: passed
    completed
    ");
}

#[tokio::test]
async fn two_people_who_retry_at_the_same_moment_make_one_attempt() {
    let world = World::new().await;
    let number = world.failed().await;
    world.town.dcr.auto_restart(TENANT);
    world.write(number, "ada", "/dcr retry");
    world.write(number, "grace", "/dcr retry");
    world.settle().await;
    world.pass(Duration::from_secs(60)).await;
    resumed_once(&world).await;
    let said = world.messages(number);
    let ours: String = said.iter().map(|message| message.body.as_str()).collect();
    assert!(ours.contains(NOTHING_TO_RETRY), "{ours}");
}

#[tokio::test]
async fn retries_from_three_platforms_at_once_make_one_attempt() {
    let world = World::new().await;
    let number = world.failed().await;
    world.town.dcr.auto_restart(TENANT);
    let id = world.run().await.id.to_string();
    world.write(number, "ada", "/dcr retry");
    let jira = &world.town.jira;
    jira.comment(TICKET, "557058:ada", "/dcr retry").await.unwrap();
    // All three are durable before any is dealt with.
    world.deliver().await;
    let (ada, run) = (Town::ada(), [("run", json!(id))]);
    let slash = world.town.discord.slash(&ada, GUILD, CHANNEL, "dcr", "retry", &run);
    slash.await.unwrap();
    assert_eq!(world.store.counts().await.unwrap().deliveries_pending, 3);
    world.settle().await;
    world.pass(Duration::from_secs(60)).await;
    resumed_once(&world).await;
}

#[tokio::test]
async fn two_workers_who_each_deal_with_a_retry_make_one_attempt() {
    let world = World::new().await;
    let number = world.failed().await;
    world.town.dcr.auto_restart(TENANT);
    // In two threads: in one, the second would wait for its turn.
    let other = world.open_pull("other");
    world.settle().await;
    let run = world.run().await.id;
    world.write(number, "ada", "/dcr retry");
    world.deliver().await;
    let second = async {
        // By now the first worker has the first comment in its hands.
        world.write(other, "grace", &format!("/dcr retry run={run}"));
        world.deliver().await;
        world.intake().await
    };
    let (first, second) = tokio::join!(world.intake(), second);
    assert_eq!((first, second), (1, 1));
    world.settle().await;
    world.pass(Duration::from_secs(60)).await;
    resumed_once(&world).await;
}

#[tokio::test]
async fn of_two_retries_in_one_thread_the_second_waits_for_the_first_and_finds_nothing_to_retry() {
    let world = World::new().await;
    let number = world.failed().await;
    world.town.dcr.auto_restart(TENANT);
    world.write(number, "ada", "/dcr retry");
    world.deliver().await;
    let second = async {
        world.write(number, "grace", "/dcr retry");
        world.deliver().await;
        world.intake().await
    };
    let (first, second) = tokio::join!(world.intake(), second);
    assert_eq!((first, second), (1, 0));
    assert_eq!(world.intake().await, 1);
    world.settle().await;
    let reply = world.last_reply(number).await;
    assert!(reply.starts_with(NOTHING_TO_RETRY), "{reply}");
    world.pass(Duration::from_secs(60)).await;
    resumed_once(&world).await;
}

const NOTHING_TO_RETRY: &str = "There is nothing to retry\\: only a run that has failed can be resumed\\. \
     Nothing was started\\. Where it stands\\:";

/// One retry, one attempt, however often it was asked for.
async fn resumed_once(world: &World) {
    let run = world.run().await;
    assert_eq!(at(&run), "Rebuild 1");
    assert_eq!(world.town.dcr.changing_calls(), 0);
    let history = world.store.history(&run.id).await.unwrap();
    let retried = history
        .iter()
        .filter(|entry| matches!(entry.what, Happened::Retried { .. }));
    assert_eq!(retried.count(), 1);
}

#[tokio::test]
async fn a_retry_while_it_runs_gives_a_hint_and_starts_nothing() {
    let world = World::new().await;
    let number = world.rebuilding().await;
    world.say(number, "ada", "/dcr retry").await;
    let reply = world.last_reply(number).await;
    assert!(reply.starts_with(NOTHING_TO_RETRY), "{reply}");
    assert!(reply.contains("`▓▓▓▓░░░░░░` 42 %"), "{reply}");
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(at(&world.run().await), "Rebuild 1");
    assert_eq!(world.town.dcr.changing_calls(), 0);
}

#[tokio::test]
async fn a_retry_finds_the_rebuild_running_again_and_only_watches_on() {
    let world = World::new().await;
    let number = world.failed().await;
    world.town.dcr.auto_restart(TENANT);
    world.say(number, "ada", "/dcr retry").await;
    world.pass(Duration::from_secs(30)).await;
    let run = world.run().await;
    assert_eq!(at(&run), "Rebuild 1");
    let told = world.told(&run).await;
    let reattached = "Rebuild: found still running or done; nothing was started";
    assert_eq!(told.last().unwrap(), reattached);
    let card = &world.messages(number)[1];
    assert!(card.body.contains("restarted 1 time by the service"), "{}", card.body);
    world.town.dcr.complete(TENANT);
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(at(&world.run().await), "completed");
}

#[tokio::test]
async fn a_retry_finds_the_rebuild_done_meanwhile_and_goes_on() {
    let world = World::new().await;
    let number = world.failed().await;
    world.town.dcr.complete(TENANT);
    world.say(number, "ada", "/dcr retry").await;
    world.pass(Duration::from_secs(30)).await;
    assert_eq!(at(&world.run().await), "completed");
    assert_eq!(world.town.jira.status(TICKET).as_deref(), Some("Done"));
}

#[tokio::test]
async fn after_a_retry_nothing_goes_on_before_the_back_end_has_been_read() {
    let world = World::new().await;
    let number = world.failed().await;
    world.town.dcr.complete(TENANT);
    let cut = Fault::new("GET", "/processStatus", 20, FaultKind::Cut);
    world.town.dcr.stage.misbehave(cut);
    world.say(number, "ada", "/dcr retry").await;
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(at(&world.run().await), "Rebuild 1");
    world.town.dcr.stage.behave();
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(at(&world.run().await), "completed");
}

#[tokio::test]
async fn a_retry_that_finds_it_still_failed_says_so_and_nothing_proceeds() {
    let world = World::new().await;
    let number = world.failed().await;
    let attempts = |told: &[String]| told.iter().filter(|line| line.starts_with("Rebuild: attempt")).count();
    for _ in 0..2 {
        world.say(number, "ada", "/dcr retry").await;
        world.pass(Duration::from_secs(60)).await;
        let run = world.run().await;
        let RunState::Stopped { why, .. } = &run.state else {
            panic!("{}", at(&run));
        };
        assert_eq!((why.reason.as_str(), why.attempt), ("still failed: farmer-3 lost", 1));
        assert_eq!(attempts(&world.told(&run).await), 1, "no attempts pile up");
    }
    world.town.dcr.auto_restart(TENANT);
    world.say(number, "ada", "/dcr retry").await;
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(at(&world.run().await), "Rebuild 1");
    world.town.dcr.fail(TENANT, "farmer-3 lost");
    world.pass(Duration::from_secs(60)).await;
    let run = world.run().await;
    let RunState::Stopped { why, .. } = &run.state else {
        panic!("{}", at(&run));
    };
    assert_eq!(why.reason, "farmer-3 lost", "the same words, another failure");
    assert_eq!(world.town.dcr.changing_calls(), 0);
}

#[tokio::test]
async fn the_budget_of_retries_without_asking_is_spent_openly_and_then_ends() {
    let world = World::with(|dir| sync_tries_again(dir, 2)).await;
    world.town.argocd.fail_next_sync(APP, "a hook failed");
    let number = world.started().await;
    for attempt in 1..=3 {
        assert_eq!(at(&world.run().await), format!("Sync {attempt}"));
        world.town.argocd.finish(APP);
        if attempt < 3 {
            world.town.argocd.fail_next_sync(APP, "a hook failed");
        }
        world.pass(Duration::from_secs(60)).await;
    }
    assert_eq!(at(&world.run().await), "stopped at Sync");
    assert_eq!(world.town.argocd.syncs(APP), 3);
    let said = world.messages(number);
    let headed = |word: &str| said.iter().filter(|message| message.body.starts_with(word)).count();
    assert_eq!(headed("### ❌ Sync failed and is tried again"), 2);
    assert_eq!(headed("### ❌ Sync failed\n"), 1);
    insta::assert_snapshot!(world.as_told(&said[3].body).await, @r"
    ### ❌ Sync failed and is tried again without asking

    ```text
    a hook failed
    ```

    - **Progress at failure\:** not known
    - **Attempt\:** 2
    - **Restarts\:** 0
    - **Class\:** infrastructure\: a machine, a network or a service
    - **Back\-end\:** [open](<https://argocd/applications/dcr-comcast>)

    The plan allows 2 such retries of this step\.
    ");

    // Whoever asks gives a new budget.
    world.town.argocd.fail_next_sync(APP, "a hook failed");
    world.say(number, "ada", "/dcr retry").await;
    world.pass(Duration::from_secs(60)).await;
    world.town.argocd.finish(APP);
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(at(&world.run().await), "Sync 5");
}

#[tokio::test]
async fn what_people_must_mend_is_not_tried_again_without_asking() {
    let world = World::with(|dir| sync_tries_again(dir, 2)).await;
    let reason = "permission denied: the bucket is read-only";
    world.town.argocd.fail_next_sync(APP, reason);
    world.started().await;
    world.town.argocd.finish(APP);
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(at(&world.run().await), "stopped at Sync");
    assert_eq!(world.town.argocd.syncs(APP), 1);
}

#[tokio::test]
async fn a_failed_rebuild_is_not_tried_again_without_asking_because_only_its_service_can() {
    let world = World::with(|dir| {
        let path = dir.join("config/pipelines/dcr.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let name = "name = \"Rebuild\"\n";
        std::fs::write(path, text.replace(name, &format!("{name}auto_retries = 2\n"))).unwrap();
    })
    .await;
    let number = world.failed().await;
    assert_eq!(at(&world.run().await), "stopped at Rebuild");
    let told = world.messages(number).len();
    world.pass(Duration::from_secs(600)).await;
    assert_eq!(world.messages(number).len(), told, "and it is told once");
}

#[tokio::test]
async fn a_change_that_was_not_allowed_is_made_once_it_is() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.town.github.grant("pull_requests", false);
    // A token keeps the rights it was made with.
    world.town.github.revoke_installation_tokens();
    // Not on the pull request: what may be read of that is part of the same right.
    world
        .town
        .jira
        .transition(TICKET, "557058:ada", "Approved")
        .await
        .unwrap();
    world.pass(Duration::from_secs(90)).await;
    let run = world.run().await;
    let RunState::Stopped { why, .. } = &run.state else {
        panic!("{}", at(&run));
    };
    assert_eq!((why.step.as_str(), why.attempt), ("HistoryUpdate", 1));
    world.town.github.grant("pull_requests", true);
    world.say(number, "ada", &format!("/dcr retry run={}", run.id)).await;
    world.pass(Duration::from_secs(60)).await;
    let run = world.run().await;
    assert_eq!(at(&run), "Sync 1");
    assert_eq!(run.passed[0].attempts, 2);
    let pulls = world.town.github.pulls(REPO).unwrap();
    let history: Vec<_> = pulls
        .iter()
        .filter(|pull| pull.title.contains("note rebuild"))
        .collect();
    assert_eq!(history.len(), 1);
    let branch = format!("{TICKET}_{}_StepHistoryUpdate", run.id);
    assert_eq!(history[0].branch, branch, "a new attempt needs no new branch");
}

#[tokio::test]
async fn a_merge_that_failed_is_made_once_the_pull_request_is_open_again() {
    let world = World::new().await;
    let github = world.town.github.clone();
    github.require_reviews(REPO, 1).unwrap();
    let number = world.started().await;
    let run = world.run().await;
    assert_eq!(at(&run), "HistoryUpdateMerge 1");
    let step = run.prs.values().next().expect("the history's").pr.number;
    github.close_pr(REPO, step, "eve").unwrap();
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(at(&world.run().await), "stopped at HistoryUpdateMerge");
    github.reopen_pr(REPO, step, "ada").unwrap();
    github.require_reviews(REPO, 0).unwrap();
    world.say(number, "ada", "/dcr retry").await;
    world.pass(Duration::from_secs(60)).await;
    let run = world.run().await;
    assert_eq!(at(&run), "Sync 1");
    assert_eq!(run.passed[1].attempts, 2);
    assert!(world.pull(step).merged.is_some());
}

fn sync_tries_again(dir: &Path, times: u32) {
    let path = dir.join("config/pipelines/dcr.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let usual = "timeout = \"30m\"\nauto_retries = 1\n";
    assert!(text.contains(usual));
    let text = text.replace(usual, &format!("timeout = \"30m\"\nauto_retries = {times}\n"));
    std::fs::write(path, text).unwrap();
}
