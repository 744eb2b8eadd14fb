//! Merges that others made first, merges that must not touch a running cluster, and where values come from.

use stepherd::clock::Clock as _;
use stepherd::domain::ids::RunId;
use stepherd::sandbox::town::{APP, CHANNEL, CONFIG_REPO, OTHER_TENANT, TENANT};

use super::*;

/// Both tenants in neighbouring lines.
const CLUSTERS: &str = "clusters:\n  comcast: idle\n  globex: idle\n";
const SWITCH: &str = r#"
[[step]]
name = "Switch"
title = "Switch the cluster"
kind = "change"
repo = "acme/deployment"
pr_title = "{{ tenant }}: switch the cluster"
[[step.edit]]
path = "clusters.yaml"
set = { pointer = "/clusters/{{ tenant }}", value = "rebuilding" }

[[step]]
name = "SwitchMerge"
title = "Merge the switch"
kind = "merge"
branch_of = "Switch"
"#;
const OTHER_TICKET: &str = "SREPROV-3080";
const ADA: &str = "557058:ada";

/// Two runs, of two tenants, whose pull requests are open and edit the same file; the one of comcast is first.
async fn both_open(steps: &str) -> (World, [RunId; 2]) {
    let world = world(&[steps]).await;
    let github = &world.town.github;
    github
        .push("ada", REPO, "main", &[("clusters.yaml", Some(CLUSTERS))])
        .unwrap();
    github.block_merging(REPO, Some("The freeze is on.")).unwrap();
    // GitHub takes a while to find out what a merge means for others.
    github.slow_mergeability(1);
    world.town.add_ticket(OTHER_TICKET, OTHER_TENANT).unwrap();
    start(&world).await;
    world.pass(Duration::from_secs(5)).await;
    world.town.jira.transition(OTHER_TICKET, ADA, "Approved").await.unwrap();
    world.pass(Duration::from_secs(90)).await;
    let runs = world.runs().await;
    assert_eq!(runs.len(), 2);
    let ids = [runs[1].id.clone(), runs[0].id.clone()];
    (world, ids)
}

fn open(world: &World) -> Vec<(u64, bool, bool)> {
    let pulls = world.town.github.pulls(REPO).unwrap();
    pulls
        .iter()
        .map(|pull| (pull.number, pull.open, pull.merged.is_some()))
        .collect()
}

#[tokio::test]
async fn two_tenants_in_one_file_both_land_without_a_person() {
    for by in ["", "by = \"people\"\n"] {
        let (world, [first, second]) = both_open(&format!("{SWITCH}{by}")).await;
        let github = &world.town.github;
        assert_eq!(open(&world), [(1, true, false), (2, true, false)], "{by}");
        github.block_merging(REPO, None).unwrap();
        if !by.is_empty() {
            github.merge_by_person(REPO, 1, "ada").unwrap();
        }
        world.pass(Duration::from_secs(240)).await;
        if !by.is_empty() {
            github.merge_by_person(REPO, 3, "ada").unwrap();
            world.pass(Duration::from_secs(60)).await;
        }
        for run in [&first, &second] {
            let run = world.run_now(run).await;
            assert!(completed(&run), "{by}: {:?}", run.state);
        }
        let now = github.file(REPO, "main", "clusters.yaml").unwrap().unwrap();
        assert_eq!(now, "clusters:\n  comcast: rebuilding\n  globex: rebuilding\n", "{by}");
        assert_eq!(
            open(&world),
            [(1, false, true), (2, false, false), (3, false, true)],
            "{by}"
        );
        let third = &github.pulls(REPO).unwrap()[2];
        assert_eq!(third.branch, format!("{OTHER_TICKET}_{second}_StepSwitch_2"), "{by}");
        let said: Vec<String> = world.messages(2).into_iter().map(|said| said.body).collect();
        let words: Vec<&String> = said.iter().filter(|body| body.contains("takes its place")).collect();
        assert_eq!(words.len(), 1, "{said:?}");
        assert!(words[0].contains("3 takes its place"), "{words:?}");
        // Nobody was told of a failure, and the history says what happened.
        let told = world.told(&world.run_now(&second).await).await.join("\n");
        assert!(
            told.contains("Switch: acme/deployment#2 conflicts with what was merged since"),
            "{told}"
        );
        assert!(
            !world
                .town
                .jira
                .messages(OTHER_TICKET)
                .iter()
                .any(|said| said.body.contains("❌")),
            "{by}"
        );
    }
}

#[tokio::test]
async fn a_conflict_on_a_branch_that_people_reviewed_is_theirs() {
    let (world, [_, second]) = both_open(SWITCH).await;
    let github = &world.town.github;
    github
        .review_comment(REPO, 2, "grace", ("clusters.yaml", 3), "Sure?")
        .unwrap();
    github.block_merging(REPO, None).unwrap();
    world.pass(Duration::from_secs(240)).await;
    let run = world.run_now(&second).await;
    let (step, reason, class) = failure(&run);
    assert_eq!((step, class), ("SwitchMerge", FailureClass::User));
    assert!(reason.contains("grace commented on its lines"), "{reason}");
    assert_eq!(open(&world), [(1, false, true), (2, true, false)]);
    // They close it and say retry.
    github.close_pr(REPO, 2, "grace").unwrap();
    world.town.jira.comment(OTHER_TICKET, ADA, "/dcr retry").await.unwrap();
    world.pass(Duration::from_secs(120)).await;
    let run = world.run_now(&second).await;
    assert!(completed(&run), "{:?}", run.state);
}

/// The shipped pipeline, with its farm's start about to be merged.
async fn about_to_merge(prepare: impl FnOnce(&World)) -> World {
    let world = World::new().await;
    prepare(&world);
    start(&world).await;
    world
}

// Row 11.

#[tokio::test]
async fn nothing_is_merged_that_argo_cd_would_sync_by_itself() {
    let world = about_to_merge(|world| world.town.argocd.set_auto_sync(APP, true)).await;
    let run = world.run().await;
    let (step, reason, class) = failure(&run);
    assert_eq!((step, class), ("StartFarmMerge", FailureClass::User));
    assert!(
        reason.contains("Argo CD syncs the application `dcr-comcast` automatically"),
        "{reason}"
    );
    assert_eq!(open(&world), [(1, false, true), (2, true, false)]);
    assert_eq!(merge_calls(&world).len(), 1, "the history's, which feeds nothing");
    // Mended, it goes on.
    let off = serde_json::json!({"enabled": false, "selfHeal": true});
    world.town.argocd.set_automated(APP, off);
    retry(&world).await;
    assert_eq!(open(&world), [(1, false, true), (2, false, true)]);
    assert_eq!(world.town.argocd.syncs(APP), 1, "the run asks for it");
}

#[tokio::test]
async fn nothing_is_merged_before_it_is_known_what_that_would_do() {
    let world = about_to_merge(|world| {
        let away = Fault::answer("GET", "/applications/dcr-comcast", 999, 503, vec![], "upstream is away");
        world.town.argocd.stage.misbehave(away);
    })
    .await;
    world.pass(Duration::from_secs(10)).await;
    assert!(
        card(&world).contains("it cannot be read now whether merging acme/deployment#2"),
        "{}",
        card(&world)
    );
    world.pass(Duration::from_secs(300)).await;
    assert_eq!(open(&world), [(1, false, true), (2, true, false)]);
    world.town.argocd.stage.behave();
    world.pass(Duration::from_secs(120)).await;
    assert_eq!(open(&world), [(1, false, true), (2, false, true)]);
    // Argo CD's trouble is not GitHub's: nothing else waited for it.
    let pauses = world.store.pauses(world.clock.now()).await.unwrap();
    assert!(!pauses.iter().any(|(vendor, _)| vendor == "github"), "{pauses:?}");
}

#[tokio::test]
async fn whoever_stops_a_run_is_told_that_the_farm_stays_on() {
    let world = about_to_merge(|_| {}).await;
    let merged = world.town.github.pulls(REPO).unwrap()[1].merged.clone().unwrap();
    world.town.argocd.git_moved(APP, &merged);
    world.town.argocd.finish(APP);
    world.pass(Duration::from_secs(60)).await;
    world.town.jira.comment(TICKET, ADA, "/dcr stop").await.unwrap();
    world.pass(Duration::from_secs(700)).await;
    let said = world.town.jira.messages(TICKET);
    let last = &said.last().expect("it was told").body;
    assert!(
        last.contains("the farm of comcast stays on; to switch it off: "),
        "{last}"
    );
}

// Row 36.

#[tokio::test]
async fn status_names_where_each_value_came_from() {
    let world = World::new().await;
    world.town.add_ticket(OTHER_TICKET, OTHER_TENANT).unwrap();
    // This tenant says nothing about farmers.
    let nothing = format!("discord:\n  channel: \"{CHANNEL}\"\n");
    let farm = format!("tenants/{TENANT}/farm.yaml");
    world
        .town
        .github
        .push("ada", REPO, "main", &[(&farm, Some(&nothing))])
        .unwrap();
    for ticket in [TICKET, OTHER_TICKET] {
        world.town.jira.transition(ticket, ADA, "Approved").await.unwrap();
    }
    world.settle().await;
    let asked = async |ticket: &str, what: &str| {
        world.town.jira.comment(ticket, ADA, what).await.unwrap();
        world.pass(Duration::from_secs(2)).await;
        let said = world.town.jira.messages(ticket);
        world.readable(&said.last().expect("an answer").body).await
    };
    for what in ["/dcr status", "/dcr why"] {
        let other = asked(OTHER_TICKET, what).await;
        assert!(
            other.contains("farmers_min = 5, from tenants/globex/farm.yaml in acme/deployment"),
            "{other}"
        );
        assert!(other.contains("tenant = globex, from the command"), "{other}");
        let usual = asked(TICKET, what).await;
        assert!(
            usual.contains(&format!("farmers_min = 4, from rebuild.yaml in {CONFIG_REPO}")),
            "{usual}"
        );
        assert!(
            usual.contains("deployment_repo = acme/deployment, from the pipeline's default"),
            "{usual}"
        );
    }
}

#[tokio::test]
async fn a_parameter_gates_by_release() {
    let gate = r#"
[[param]]
name = "release"
type = "int"
min = 686
help = "The release that the tenant is on"
file = { repo = "acme/deployment", path = "tenants/{{ tenant }}/release.yaml", pointer = "/release" }
"#;
    let with_gate = |dir: &Path| {
        let text = format!("{HEAD}{gate}{START_FARM}{START_FARM_MERGE}");
        std::fs::write(dir.join("config/pipelines/dcr.toml"), text).unwrap();
    };
    let world = World::with(with_gate).await;
    let release = |number: u32| {
        let text = format!("release: {number}\n");
        let file = [("tenants/comcast/release.yaml", Some(text.as_str()))];
        world.town.github.push("ada", REPO, "main", &file).unwrap();
    };
    release(685);
    start(&world).await;
    assert!(world.runs().await.is_empty());
    let said = world.town.jira.messages(TICKET);
    let said = said.last().expect("an answer").body.clone();
    assert!(said.contains("release") && said.contains("685 is below 686"), "{said}");
    assert!(
        said.contains("tenants/comcast/release.yaml in acme/deployment"),
        "{said}"
    );
}
