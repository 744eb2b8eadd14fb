//! Commands that a change of a pull request gives without words: they count as long as the change stands.

use std::time::Duration;

use serde_json::json;
use stepherd::sandbox::github::NewPr;
use stepherd::sandbox::stage::Fault;
use stepherd::sandbox::town::REPO;

use crate::world::World;

/// A world in which this change of a pull request starts a run.
async fn starting_on(change: &str) -> World {
    let on = format!(
        "\n[[on]]\npull_request = {{ {change} }}\nverb = \"start\"\nargs = {{ tenant = \"comcast\", ticket = \"SREPROV-3072\" }}\n"
    );
    World::with(|dir| {
        let path = dir.join("commands/dcr.toml");
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str(&on);
        std::fs::write(path, text).unwrap();
    })
    .await
}

const LABELED: &str = "change = \"labeled\", label = \"go\"";

async fn note(world: &World) -> String {
    let newest = world.store.deliveries(None, 1).await.unwrap();
    newest[0].note.clone()
}

/// All notes, oldest first.
async fn notes(world: &World) -> Vec<String> {
    let mut all = world.store.deliveries(None, 100).await.unwrap();
    all.reverse();
    all.into_iter().map(|delivery| delivery.note).collect()
}

fn label(world: &World, number: u64, who: &str, on: bool) {
    world.town.github.label(REPO, number, who, "go", on).unwrap();
}

async fn minutes(world: &World, count: u64) {
    for _ in 0..count {
        world.pass(Duration::from_secs(60)).await;
    }
}

fn looks(world: &World, number: u64) -> usize {
    let pull = format!("/repos/{REPO}/pulls/{number}");
    let calls = world.town.github.stage().calls_to("GET", &pull);
    calls.iter().filter(|call| call.path.ends_with(&pull)).count()
}

#[tokio::test]
async fn a_label_starts_a_run_and_one_look_at_the_pull_request_serves_for_it_and_for_the_head() {
    let world = starting_on(LABELED).await;
    let (number, head) = world.pull_request().await;
    world.clock.advance(Duration::from_secs(2));
    let before = looks(&world, number);
    label(&world, number, "ada", true);
    world.settle().await;
    let run = world.run().await;
    assert_eq!(run.subject.pinned.expect("a commit").head.as_str(), head);
    assert_eq!(looks(&world, number) - before, 1);
}

#[tokio::test]
async fn a_label_that_was_taken_off_again_starts_nothing() {
    let world = starting_on(LABELED).await;
    let (number, _) = world.pull_request().await;
    label(&world, number, "ada", true);
    label(&world, number, "ada", false);
    minutes(&world, 3).await;
    assert!(world.runs().await.is_empty(), "{:?}", notes(&world).await);
    let why = format!("does not stand: {REPO}#{number} does not have that label any more");
    assert!(notes(&world).await.contains(&why), "{:?}", notes(&world).await);
    // Another label does not stand in for it.
    world.town.github.label(REPO, number, "ada", "other", true).unwrap();
    minutes(&world, 3).await;
    assert!(world.runs().await.is_empty());
    // Put on again, it counts.
    label(&world, number, "ada", true);
    minutes(&world, 1).await;
    assert_eq!(world.runs().await.len(), 1, "{:?}", notes(&world).await);
}

#[tokio::test]
async fn what_has_come_over_a_pull_request_since_takes_the_label_back() {
    for what in ["closed", "merged", "retargeted"] {
        let world = starting_on(LABELED).await;
        let (number, _) = world.pull_request().await;
        let github = &world.town.github;
        label(&world, number, "ada", true);
        match what {
            "closed" => github.close_pr(REPO, number, "eve").unwrap(),
            "merged" => {
                github.merge_by_person(REPO, number, "ada").unwrap();
            }
            _ => {
                github.push("ada", REPO, "stable", &[("X.md", Some("x\n"))]).unwrap();
                github.retarget_pr(REPO, number, "eve", "stable").unwrap();
            }
        }
        minutes(&world, 3).await;
        assert!(world.runs().await.is_empty(), "{what}: {:?}", notes(&world).await);
        let told = notes(&world).await.join("\n");
        assert!(told.contains("does not stand: "), "{what}: {told}");
    }
}

#[tokio::test]
async fn opened_merged_and_closed_are_looked_at_too() {
    let world = starting_on("change = \"opened\"").await;
    let github = &world.town.github;
    let open = |branch: &'static str| {
        let pr = NewPr {
            branch,
            base: "main",
            title: "A wish",
            body: "",
            files: &[("WISH.md", Some("wish\n"))],
            fork: None,
        };
        github.open_pr_by_person(REPO, "ada", pr).unwrap()
    };
    let number = open("one");
    github.close_pr(REPO, number, "ada").unwrap();
    minutes(&world, 3).await;
    assert!(world.runs().await.is_empty(), "it is closed: {:?}", notes(&world).await);
    open("two");
    minutes(&world, 1).await;
    assert_eq!(world.runs().await.len(), 1, "{:?}", notes(&world).await);

    let world = starting_on("change = \"closed\"").await;
    let (number, _) = world.pull_request().await;
    world.town.github.close_pr(REPO, number, "ada").unwrap();
    world.town.github.reopen_pr(REPO, number, "eve").unwrap();
    minutes(&world, 3).await;
    assert!(
        world.runs().await.is_empty(),
        "it is open again: {:?}",
        notes(&world).await
    );

    // A payload says that it is merged, and GitHub does not.
    let world = starting_on("change = \"merged\"").await;
    let (number, head) = world.pull_request().await;
    let open = json!({ "number": number, "state": "open", "merged": false, "labels": [],
        "head": { "ref": "wish", "sha": head, "repo": { "full_name": REPO } },
        "base": { "ref": "main", "repo": { "full_name": REPO } } });
    let path = format!("/repos/{REPO}/pulls/{number}");
    world.town.github.merge_by_person(REPO, number, "ada").unwrap();
    let stage = world.town.github.stage();
    stage.misbehave(Fault::answer("GET", &path, 1_000, 200, vec![], &open.to_string()));
    minutes(&world, 3).await;
    assert!(world.runs().await.is_empty(), "{:?}", notes(&world).await);
    let why = format!("does not stand: {REPO}#{number} is open now, not merged");
    assert!(notes(&world).await.contains(&why), "{:?}", notes(&world).await);
}

#[tokio::test]
async fn a_push_that_another_has_followed_leaves_it_to_that_one() {
    let world = starting_on("change = \"pushed\"").await;
    let (number, _) = world.pull_request().await;
    let github = &world.town.github;
    let push = |text: &'static str| {
        let files = [("MORE.md", Some(text))];
        github.push_to_pr(REPO, number, "ada", &files).unwrap()
    };
    push("one\n");
    let second = push("two\n");
    minutes(&world, 3).await;
    let run = world.run().await;
    assert_eq!(run.subject.pinned.expect("a commit").head.as_str(), second);
    let why = format!("does not stand: {REPO}#{number} has another head now");
    assert!(notes(&world).await.contains(&why), "{:?}", notes(&world).await);
}

#[tokio::test]
async fn while_github_cannot_be_asked_a_label_waits_and_a_pull_request_that_is_gone_is_no() {
    for (status, starts) in [(503, true), (401, true), (404, false)] {
        let world = starting_on(LABELED).await;
        let (number, _) = world.pull_request().await;
        world.clock.advance(Duration::from_secs(2));
        let path = format!("/repos/{REPO}/pulls/{number}");
        let stage = world.town.github.stage();
        stage.misbehave(Fault::answer("GET", &path, 1_000, status, vec![], "{}"));
        label(&world, number, "ada", true);
        minutes(&world, 2).await;
        assert!(world.runs().await.is_empty(), "{status}");
        let told = note(&world).await;
        assert_eq!(told.starts_with("does not stand: "), !starts, "{status}: {told}");
        stage.behave();
        minutes(&world, 6).await;
        assert_eq!(
            world.runs().await.len(),
            usize::from(starts),
            "{status}: {}",
            note(&world).await
        );
    }
}

#[tokio::test]
async fn a_label_counts_as_long_as_it_stands_there_but_not_for_more_than_a_week() {
    use stepherd::clock::Clock as _;
    for (days, starts) in [(2, true), (8, false)] {
        let world = starting_on(LABELED).await;
        let (number, _) = world.pull_request().await;
        world.clock.advance(Duration::from_secs(2));
        world.town.github.hold_deliveries();
        label(&world, number, "ada", true);
        world.settle().await;
        let labeled = world.clock.now();
        world.clock.advance(Duration::from_secs(days * 24 * 3600));
        world.town.github.release_deliveries(&[]);
        minutes(&world, 1).await;
        assert_eq!(
            world.runs().await.len(),
            usize::from(starts),
            "{days} days after {labeled}: {}",
            note(&world).await
        );
        assert_eq!(
            note(&world).await.starts_with("too old: "),
            !starts,
            "{}",
            note(&world).await
        );
    }
}

#[tokio::test]
async fn a_label_of_somebody_without_any_role_costs_no_look() {
    let world = starting_on(LABELED).await;
    let (number, _) = world.pull_request().await;
    let before = looks(&world, number);
    for _ in 0..3 {
        label(&world, number, "eve", true);
        world.settle().await;
        assert!(
            note(&world).await.ends_with("has no role: triggers nothing"),
            "{}",
            note(&world).await
        );
        label(&world, number, "eve", false);
        world.settle().await;
    }
    assert_eq!(looks(&world, number), before);
    assert!(world.runs().await.is_empty());
    assert!(world.messages(number).is_empty(), "and nothing is said");
}
