//! The main job: an approved ticket becomes a rebuilt cache, and every thread says where it stands.

mod api;
mod beginnings;
mod failure;
mod nine_days;
mod truth;

use std::time::Duration;

use serde_json::{Value, json};
use stepherd::domain::run::{Run, RunState, Verdict};
use stepherd::sandbox::dcr::ProgressStyle;
use stepherd::sandbox::discord::Shown;
use stepherd::sandbox::town::{APP, CHANNEL, REPO, TENANT, TICKET, Town};

use crate::world::World;

const ADA: &str = "557058:ada";

/// The ticket is approved and everything that follows at once has happened: the sync is asked for.
pub async fn approved(world: &World) {
    world.town.jira.transition(TICKET, ADA, "Approved").await.unwrap();
    world.settle().await;
}

/// Nobody farms, and the sync of the merged farm is done.
pub async fn synced(world: &World) {
    world.town.dcr.set_farmers(TENANT, 0);
    approved(world).await;
    let merged = world.town.github.pulls(REPO).unwrap()[1].merged.clone().unwrap();
    world.town.argocd.git_moved(APP, &merged);
    world.town.argocd.finish(APP);
    minutes(world, 1).await;
}

/// The farmers are there and the rebuild is this far.
pub async fn rebuilding(world: &World, percent: f64) {
    synced(world).await;
    world.town.dcr.set_farmers(TENANT, 3);
    minutes(world, 1).await;
    world.town.dcr.advance(TENANT, percent);
    minutes(world, 1).await;
}

/// The rebuild has failed at 42 %.
pub async fn failed(world: &World) {
    rebuilding(world, 42.0).await;
    world.town.dcr.fail(TENANT, "farmer-3 lost");
    minutes(world, 1).await;
}

pub async fn minutes(world: &World, minutes: u64) {
    world.pass(Duration::from_secs(60 * minutes)).await;
}

/// What stands on the ticket.
pub async fn ticket(world: &World) -> String {
    let mut text = String::new();
    for message in world.town.jira.messages(TICKET) {
        text.push_str(&format!("--- {}\n{}\n", message.author, message.body));
    }
    world.readable(&text).await
}

/// What stands on a pull request.
async fn pull_request(world: &World, number: u64) -> String {
    let mut text = String::new();
    for message in world.town.github.thread(REPO, number).unwrap() {
        let reactions: String = message.reactions.iter().map(|r| format!(" [{r}]")).collect();
        text.push_str(&format!("--- {}{reactions}\n{}\n", message.author, message.body));
    }
    world.readable(&text).await
}

/// What stands in a Discord channel or thread.
pub async fn channel(world: &World, id: &str) -> String {
    let mut text = String::new();
    for message in in_channel(world, id) {
        let buttons: String = message.buttons.iter().map(|b| format!("\n[{}]", b.label)).collect();
        text.push_str(&format!("--- {}\n{}{buttons}\n", message.author, message.text));
    }
    world.readable(&text).await
}

/// The messages of a channel without those of its threads.
pub fn in_channel(world: &World, id: &str) -> Vec<Shown> {
    let all = world.town.discord.messages(id).into_iter();
    all.filter(|message| message.channel == id).collect()
}

/// The thread that was opened with the run's card.
pub fn opened(world: &World) -> String {
    let threads = world.town.discord.threads(CHANNEL);
    assert_eq!(threads.len(), 1, "{threads:?}");
    threads[0].0.clone()
}

/// How many messages of stepherd's there are: on the ticket, on both pull requests, in the channel, in its thread.
fn counts(world: &World) -> [usize; 5] {
    let ours = |pr| {
        let thread = world.town.github.thread(REPO, pr).unwrap();
        thread.iter().filter(|m| m.author == "stepherd[bot]").count()
    };
    [
        world.town.jira.messages(TICKET).len(),
        ours(1),
        ours(2),
        in_channel(world, CHANNEL).len(),
        in_channel(world, &opened(world)).len(),
    ]
}

async fn status(world: &World) -> Value {
    let path = format!("/api/v1/runs/{}/processStatus", world.run().await.id);
    let (code, body) = world.get(&path, Some(Town::api_token())).await;
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn is_completed(run: &Run) -> bool {
    let verdict = Verdict::Completed;
    matches!(&run.state, RunState::Finished { verdict: v, .. } if *v == verdict)
}

// Rows 11, 15, 17 and 32.

#[tokio::test]
async fn each_change_has_a_branch_of_its_own_and_the_second_is_not_skipped_because_the_first_merged() {
    let world = World::new().await;
    world.town.github.require_reviews(REPO, 1).unwrap();
    approved(&world).await;
    minutes(&world, 1).await;
    let id = world.run().await.id;

    let first = world.town.github.pulls(REPO).unwrap().remove(0);
    assert_eq!(first.branch, format!("SREPROV-3072_{id}_StepHistoryUpdate"));
    assert_eq!(world.town.github.pulls(REPO).unwrap().len(), 1, "one step at a time");
    insta::assert_snapshot!(ticket(&world).await, @r"
    --- stepherd
    ▶️ DCR rebuild comcast · SREPROV-3072 · RUN — Merge the history: waiting
    ░░░░░░░░░░░░░░░░░░░░ 0 %
    - Step: 2 of 8: HistoryUpdateMerge
    - Attempt: 1
    - Waiting for: At least 1 approving review is required by reviewers with write access.
    - Restarts: 0
    - Pull requests: acme/deployment#1 (https://github/acme/deployment/pull/1)
    - Asked by: Ada, 2026-11-18 11:06 UTC
    - ✅ Note the rebuild in the tenant's history — acme/deployment#1 opened
    - ▶️ Merge the history
    - ▫️ Switch the farmers on
    - ▫️ Merge the farm's start
    - ▫️ Sync the farm
    - ▫️ Wait for farmers
    - ▫️ Rebuild the cache
    - ▫️ Close the ticket
    It goes on by itself once that is there. To cancel: /dcr stop run=RUN
    ");
    world.town.github.approve(REPO, 1, "ada").unwrap();
    minutes(&world, 2).await;

    let pulls = world.town.github.pulls(REPO).unwrap();
    let merged = pulls[0].merged.clone().expect("the first is merged");
    let second = &pulls[1];
    assert_eq!(second.branch, format!("SREPROV-3072_{id}_StepStartFarm"));
    assert!(second.open && second.merged.is_none());
    // It stands on the merged first change, so that its diff does not show it again.
    let ahead = world.town.github.commits_ahead(REPO, "main", &second.branch).unwrap();
    assert_eq!(ahead, 1);
    let file = |at: &str, path: &str| world.town.github.file(REPO, at, path).unwrap().unwrap();
    let history = |at: &str| file(at, "tenants/comcast/history.yaml");
    assert_eq!(history(&second.head), history("main"));
    insta::assert_snapshot!(world.readable(&history("main")).await, @r"
    # What happened to this tenant's cache.
    rebuilds: {RUN: SREPROV-3072}
    ");
    insta::assert_snapshot!(world.readable(&file(&second.head, "tenants/comcast/farm.yaml")).await, @r#"
    # Farmers warm the cache before it is rebuilt.
    farmers:
      enabled: true # switched on by the rebuild
      min: 3
      started_for: RUN
    discord:
      channel: "400"
    "#);

    // A merge alone syncs nothing: Argo CD sees it and is left alone.
    world.town.argocd.git_moved(APP, &merged);
    minutes(&world, 10).await;
    assert_eq!(world.town.argocd.syncs(APP), 0);
    assert_eq!(world.town.argocd.shows(APP).unwrap().0, "OutOfSync");

    world.town.github.approve(REPO, 2, "ada").unwrap();
    minutes(&world, 2).await;
    assert_eq!(world.town.argocd.syncs(APP), 1, "the run asks once its step comes");
    let merged = world.town.github.pulls(REPO).unwrap()[1].merged.clone().unwrap();
    let asked = &world.town.argocd.stage.calls_to("POST", "/sync")[0];
    let asked: Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(asked["revision"], json!(merged), "exactly the commit that was merged");
}

// Row 7.

#[tokio::test]
async fn the_rebuild_is_not_waited_for_before_the_farmers_are_there() {
    let world = World::new().await;
    synced(&world).await;
    for ready in 0..3 {
        world.town.dcr.set_farmers(TENANT, ready);
        minutes(&world, 2).await;
        let card = ticket(&world).await;
        assert!(
            card.contains(&format!(
                "Waiting for: {ready} of min 3, {ready} of 3 farmers in hidden state"
            )),
            "{card}"
        );
        assert_eq!(world.town.dcr.begun(TENANT), 0);
    }
    insta::assert_snapshot!(ticket(&world).await, @r"
    --- stepherd
    ▶️ DCR rebuild comcast · SREPROV-3072 · RUN — Wait for farmers: waiting
    ░░░░░░░░░░░░░░░░░░░░ 0 %
    - Step: 6 of 8: WaitForFarmers
    - Attempt: 1
    - Waiting for: 2 of min 3, 2 of 3 farmers in hidden state
    - Back-end: open (https://dcr.example.org/ui/tenants/comcast)
    - Restarts: 0
    - Pull requests: acme/deployment#1 (https://github/acme/deployment/pull/1), acme/deployment#2 (https://github/acme/deployment/pull/2)
    - Asked by: Ada, 2026-11-18 11:06 UTC
    - ✅ Note the rebuild in the tenant's history — acme/deployment#1 opened
    - ✅ Merge the history — merged as SHA
    - ✅ Switch the farmers on — acme/deployment#2 opened
    - ✅ Merge the farm's start — merged as SHA
    - ✅ Sync the farm
    - ▶️ Wait for farmers
    - ▫️ Rebuild the cache
    - ▫️ Close the ticket
    It goes on by itself once that is there. To end the run, while what it watches goes on without it: /dcr stop run=RUN
    ");
    insta::assert_snapshot!(channel(&world, CHANNEL).await, @r"
    --- bot
    ▶️ DCR rebuild comcast · SREPROV-3072 · RUN — Wait for farmers: waiting
    ▱▱▱▱▱▱▱▱▱▱ 0 %
    - ✅ Note the rebuild in the tenant's history — acme/deployment#1 opened
    - ✅ Merge the history — merged as SHA
    - ✅ Switch the farmers on — acme/deployment#2 opened
    - ✅ Merge the farm's start — merged as SHA
    - ✅ Sync the farm
    - ▶️ Wait for farmers
    - ▫️ Rebuild the cache
    - ▫️ Close the ticket
    It goes on by itself once that is there. To end the run, while what it watches goes on without it: `/dcr stop run=RUN`
    Step: 6 of 8: **WaitForFarmers**
    Attempt: 1
    Waiting for: 2 of min 3, 2 of 3 farmers in hidden state
    Back-end: [open](https://dcr.example.org/ui/tenants/comcast)
    Restarts: 0
    Pull requests: [acme/deployment#1](https://github/acme/deployment/pull/1), [acme/deployment#2](https://github/acme/deployment/pull/2)
    Asked by: Ada, 2026-11-18 11:06 UTC
    stepherd · RUN/card
    ");
    world.town.dcr.set_farmers(TENANT, 3);
    minutes(&world, 1).await;
    assert_eq!(world.town.dcr.begun(TENANT), 1);
    assert!(
        ticket(&world)
            .await
            .contains("✅ Wait for farmers — 3 of min 3, 3 of 3 farmers in hidden state")
    );
}

#[tokio::test]
async fn a_tenants_own_minimum_in_the_repository_overrides_the_default() {
    let world = World::new().await;
    world.town.dcr.add_tenant("globex", 5);
    world.town.dcr.set_farmers("globex", 4);
    world.town.argocd.add_app(stepherd::sandbox::argocd::AppSeed {
        name: "dcr-globex".into(),
        project: "dcr".into(),
        labels: std::collections::BTreeMap::new(),
        repo_url: format!("https://github.com/{REPO}"),
        path: "tenants/globex".into(),
        target_revision: "main".into(),
        head: "0".repeat(40),
    });
    let ada = Town::ada();
    let options = [("tenant", "globex".into())];
    let slash = world.town.discord.slash(&ada, "300", CHANNEL, "dcr", "start", &options);
    assert_eq!(slash.await.unwrap().problem, None);
    world.settle().await;
    let merged = world.town.github.pulls(REPO).unwrap()[1].merged.clone().unwrap();
    world.town.argocd.git_moved("dcr-globex", &merged);
    world.town.argocd.finish("dcr-globex");
    minutes(&world, 2).await;
    assert_eq!(world.town.dcr.begun("globex"), 0, "three would do elsewhere");
    insta::assert_snapshot!(channel(&world, CHANNEL).await, @r"
    --- bot
    **DCR rebuild globex · RUN**: started. Where it stands: `/dcr status run=RUN`
    --- bot
    ▶️ DCR rebuild globex · RUN — Wait for farmers: waiting
    ▱▱▱▱▱▱▱▱▱▱ 0 %
    - ✅ Note the rebuild in the tenant's history — acme/deployment#1 opened
    - ✅ Merge the history — merged as SHA
    - ✅ Switch the farmers on — acme/deployment#2 opened
    - ✅ Merge the farm's start — merged as SHA
    - ✅ Sync the farm
    - ▶️ Wait for farmers
    - ▫️ Rebuild the cache
    - ▫️ Close the ticket
    It goes on by itself once that is there. To end the run, while what it watches goes on without it: `/dcr stop run=RUN`
    Step: 6 of 8: **WaitForFarmers**
    Attempt: 1
    Waiting for: 4 of min 5, 4 of 5 farmers in hidden state
    Back-end: [open](https://dcr.example.org/ui/tenants/globex)
    Restarts: 0
    Pull requests: [acme/deployment#1](https://github/acme/deployment/pull/1), [acme/deployment#2](https://github/acme/deployment/pull/2)
    Asked by: ada, 2026-11-18 11:06 UTC
    stepherd · RUN/card
    ");
    world.town.dcr.set_farmers("globex", 5);
    minutes(&world, 1).await;
    assert_eq!(world.town.dcr.begun("globex"), 1);
    world.town.dcr.complete("globex");
    minutes(&world, 1).await;
    assert!(is_completed(&world.run().await));
}

// Row 2.

#[tokio::test]
async fn progress_is_edited_into_one_card_per_thread() {
    let world = World::new().await;
    rebuilding(&world, 10.0).await;
    assert_eq!(counts(&world), [1, 1, 1, 1, 0]);
    let edits = world.town.jira.messages(TICKET)[0].edits;
    let forms = [
        (20.0, ProgressStyle::Integer, false, "20 %"),
        (21.0, ProgressStyle::Float, false, "21 %"),
        (22.0, ProgressStyle::Text, false, "22 %"),
        (23.0, ProgressStyle::PercentText, false, "23 %"),
        (24.0, ProgressStyle::PercentText, true, "24 %"),
        (25.0, ProgressStyle::Integer, true, "25 %"),
    ];
    for (n, (percent, style, other_name, shown)) in forms.into_iter().enumerate() {
        world.town.dcr.set_style(style, other_name);
        world.town.dcr.advance(TENANT, percent);
        minutes(&world, 1).await;
        for text in [
            ticket(&world).await,
            pull_request(&world, 1).await,
            pull_request(&world, 2).await,
            channel(&world, CHANNEL).await,
        ] {
            assert!(text.contains(shown), "{style:?}: {text}");
        }
        assert_eq!(world.town.jira.messages(TICKET)[0].edits, edits + 1 + n as u32);
    }
    // What does not change is not written: an hour of the same costs no edit and no commit.
    let (version, edits) = (world.run().await.version, world.town.jira.messages(TICKET)[0].edits);
    minutes(&world, 60).await;
    assert_eq!(world.run().await.version, version);
    assert_eq!(world.town.jira.messages(TICKET)[0].edits, edits);
    assert_eq!(counts(&world), [1, 1, 1, 1, 0], "nobody was disturbed");
}

#[tokio::test]
async fn a_progress_that_is_not_told_is_no_progress_and_no_failure() {
    let world = World::new().await;
    world.town.dcr.set_style(ProgressStyle::Null, false);
    rebuilding(&world, 50.0).await;
    let card = ticket(&world).await;
    assert!(card.contains("Rebuild the cache") && card.contains(" 0 %"), "{card}");
    world.town.dcr.complete(TENANT);
    minutes(&world, 1).await;
    assert!(is_completed(&world.run().await));
}
