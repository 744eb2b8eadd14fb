//! What a commit shows of its run: checks for an App, statuses for a plain token.

use std::time::Duration;

use stepherd::sandbox::town::{APP, REPO, TENANT};

use super::{completed, retry, start};
use crate::world::World;

/// The shipped pipeline, played until it is over.
async fn play(world: &World) {
    start(world).await;
    world.pass(Duration::from_secs(60)).await;
    let merged = world.town.github.pulls(REPO).unwrap()[1]
        .merged
        .clone()
        .expect("merged");
    world.town.argocd.git_moved(APP, &merged);
    world.town.argocd.finish(APP);
    world.pass(Duration::from_secs(90)).await;
    world.town.dcr.advance(TENANT, 42.0);
    world.pass(Duration::from_secs(60)).await;
}

#[tokio::test]
async fn every_step_commit_has_one_check_that_ends_with_the_run() {
    let world = World::new().await;
    play(&world).await;
    world.town.dcr.fail(TENANT, "farmer-3 lost");
    world.pass(Duration::from_secs(60)).await;
    let checks = || world.town.github.check_runs(REPO).unwrap();
    let run = world.run().await;
    assert_eq!(checks().len(), 2);
    for (check, opened) in checks().iter().zip(["HistoryUpdate", "StartFarm"]) {
        assert_eq!(check.head, run.prs[&opened.parse().unwrap()].head.as_str());
        assert_eq!(
            (check.name.as_str(), check.external_id.as_str()),
            ("stepherd/dcr", run.id.as_str())
        );
        assert_eq!(
            (check.status.as_str(), check.conclusion.as_deref()),
            ("completed", Some("failure"))
        );
        assert!(check.title.contains("Rebuild failed at 42"), "{check:?}");
    }
    retry(&world).await;
    assert!(
        checks().iter().all(|check| check.status == "in_progress"),
        "{:?}",
        checks()
    );
    world.town.dcr.complete(TENANT);
    world.pass(Duration::from_secs(60)).await;
    assert!(completed(&world.run().await));
    assert!(
        checks()
            .iter()
            .all(|check| check.conclusion.as_deref() == Some("success")),
        "{:?}",
        checks()
    );
    assert_eq!(world.town.github.stage().calls_to("POST", "/check-runs").len(), 2);
}

#[tokio::test]
async fn with_a_plain_token_commit_statuses_take_the_place_of_checks() {
    let clock = std::sync::Arc::new(crate::world::TestClock::new());
    let town = World::town(&clock).await;
    let settings = town.settings_with_token().unwrap();
    let world = World::in_town(
        town,
        clock,
        |_| {},
        |env| {
            env.retain(|key, _| !key.starts_with("STEPHERD__GITHUB__"));
            env.extend(
                settings
                    .into_iter()
                    .filter(|(key, _)| key.starts_with("STEPHERD__GITHUB__")),
            );
        },
    )
    .await;
    play(&world).await;
    world.town.dcr.complete(TENANT);
    world.pass(Duration::from_secs(60)).await;
    assert!(completed(&world.run().await), "{:?}", world.run().await.state);
    let pulls = world.town.github.pulls(REPO).unwrap();
    assert!(
        pulls
            .iter()
            .all(|p| p.author == "stepherd-bot" && p.merged_by.as_deref() == Some("stepherd-bot"))
    );
    let stage = world.town.github.stage();
    assert!(stage.calls_to("POST", "/check-runs").is_empty());
    assert!(stage.calls_to("POST", "/access_tokens").is_empty());
    for pull in &pulls {
        let told = stage.calls_to("POST", &format!("/statuses/{}", pull.head));
        let told: Vec<serde_json::Value> = told.iter().map(|c| serde_json::from_str(&c.body).unwrap()).collect();
        assert!(
            told.iter().all(|status| status["context"] == "stepherd/dcr"),
            "{told:?}"
        );
        assert_eq!(told.first().unwrap()["state"], "pending");
        assert_eq!(told.last().unwrap()["state"], "success");
        // A status is told again only when it says something else.
        let mut distinct = told.clone();
        distinct.dedup();
        assert_eq!(distinct.len(), told.len(), "{told:?}");
    }
    // The account's own words are never obeyed, although it is no bot to GitHub.
    world
        .town
        .github
        .comment(REPO, 1, "stepherd-bot", "/dcr start comcast")
        .unwrap();
    world.settle().await;
    assert_eq!(world.runs().await.len(), 1);
}
