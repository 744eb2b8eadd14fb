//! From where a command reaches a run: its own threads, and the places that configuration names. Elsewhere nothing is
//! done and nothing is told, not even whether the run exists.

use stepherd::domain::run::RunState;
use stepherd::sandbox::github::NewPr;
use stepherd::sandbox::town::{CHANNEL, CLUSTER_REPO, GUILD, INSTANCES_REPO, TENANT, Town};

use crate::world::World;

const REFUSED: &str = r"`/dcr stop` may not be said here\. An administrator lists the places in `commands/dcr.toml`; in a run\'s own threads it needs no listing\.";

/// A pull request of ada's in another repository that the App is installed on; what stepherd answers there.
async fn elsewhere(world: &World, text: &str) -> String {
    let pr = NewPr {
        branch: "elsewhere",
        base: "main",
        title: "Something else",
        body: "",
        files: &[("OTHER.md", Some("Other.\n"))],
        fork: None,
    };
    let github = &world.town.github;
    let opened = github.pulls(INSTANCES_REPO).unwrap();
    let number = match opened.first() {
        Some(pull) => pull.number,
        None => github.open_pr_by_person(INSTANCES_REPO, "ada", pr).unwrap(),
    };
    world.settle().await;
    github.comment(INSTANCES_REPO, number, "ada", text).unwrap();
    world.settle().await;
    let said = github.thread(INSTANCES_REPO, number).unwrap();
    let last = said.last().expect("there is a message");
    assert_eq!(last.author, "stepherd[bot]", "{text}");
    world.as_told(&last.body).await
}

async fn is_running(world: &World) -> bool {
    let told = world.told(&world.run().await).await;
    matches!(world.run().await.state, RunState::Active(_)) && !told.iter().any(|line| line.contains("said stop"))
}

#[tokio::test]
async fn a_run_cannot_be_stopped_or_looked_at_from_an_unrelated_repository() {
    let world = World::new().await;
    world.started().await;
    let id = world.run().await.id;
    for verb in ["stop", "retry", "status", "why"] {
        let known = elsewhere(&world, &format!("/dcr {verb} run={id}")).await;
        let unknown = elsewhere(&world, &format!("/dcr {verb} run=UAAAAAAA")).await;
        assert_eq!(known, unknown, "whether it exists is not told");
        assert_eq!(known, REFUSED.replace("stop", verb));
        assert!(!known.contains(TENANT));
    }
    for verb in ["list", "help", "start globex"] {
        let answer = elsewhere(&world, &format!("/dcr {verb}")).await;
        assert!(answer.contains("may not be said here"), "{answer}");
    }
    assert!(is_running(&world).await);
    assert_eq!(world.runs().await.len(), 1);
}

#[tokio::test]
async fn a_repository_that_is_listed_reaches_every_run_and_starts_some() {
    let world = World::with(|dir| {
        let path = dir.join("commands/dcr.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let all = text.replace("github = [\"acme/deployment\"]", "github = [\"ACME/*\"]");
        assert_ne!(all, text);
        std::fs::write(path, all).unwrap();
    })
    .await;
    world.started().await;
    let id = world.run().await.id;
    assert!(elsewhere(&world, "/dcr list").await.contains(TENANT));
    assert!(
        elsewhere(&world, &format!("/dcr status run={id}"))
            .await
            .contains("Sync the farm")
    );
    assert!(is_running(&world).await);
    // Two commands that are answered here, one of which changes the run: one answer, however often it is told.
    let before = world.town.github.thread(INSTANCES_REPO, 1).unwrap().len();
    let both = elsewhere(&world, &format!("/dcr stop run={id}\n\n/dcr status run={id}")).await;
    assert!(!is_running(&world).await);
    assert_eq!(
        world.town.github.thread(INSTANCES_REPO, 1).unwrap().len(),
        before + 2,
        "{both}"
    );
    let (delivery, _) = world.last_delivery("issue_comment");
    world.town.github.redeliver(&delivery);
    world.settle().await;
    assert_eq!(world.town.github.thread(INSTANCES_REPO, 1).unwrap().len(), before + 2);
}

#[tokio::test]
async fn a_runs_own_pull_requests_and_threads_reach_it_wherever_they_are() {
    let world = World::with(|dir| {
        let path = dir.join("commands/dcr.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let server = format!("discord = [{{ guild = \"{GUILD}\" }}]");
        assert!(text.contains(&server));
        std::fs::write(path, text.replace(&server, "discord = []")).unwrap();
    })
    .await;
    world.started().await;
    let id = world.run().await.id;
    let opened = world.town.github.pulls(CLUSTER_REPO).unwrap_or_default();
    for pull in opened {
        let reply = format!("/dcr status run={id}");
        world
            .town
            .github
            .comment(CLUSTER_REPO, pull.number, "ada", &reply)
            .unwrap();
        world.settle().await;
        let said = world.town.github.thread(CLUSTER_REPO, pull.number).unwrap();
        assert!(said.last().unwrap().body.contains("Sync the farm"));
    }
    // The channel that the tenant's rebuilds are followed in is no control place here, but it is the run's.
    let ada = Town::ada();
    let discord = &world.town.discord;
    let slash = async |verb: &str, options: &[(&str, serde_json::Value)]| {
        discord.slash(&ada, GUILD, CHANNEL, "dcr", verb, options).await.unwrap();
        world.settle().await;
        let newest = discord.messages(CHANNEL).pop().expect("there is a message");
        world.readable(&newest.text).await
    };
    let known = slash("stop", &[("run", "UAAAAAAA".into())]).await;
    assert!(known.contains("There is no run"), "{known}");
    assert!(
        slash("start", &[("tenant", "globex".into())])
            .await
            .contains("may not be said here")
    );
    slash("stop", &[("run", id.as_str().into())]).await;
    assert!(!is_running(&world).await);
}
