//! Which commit a start pins when things happened that stepherd did not hear of, or that somebody did on purpose.

use std::time::Duration;

use stepherd::sandbox::github::NewPr;
use stepherd::sandbox::stage::Fault;
use stepherd::sandbox::town::REPO;

use super::START;
use crate::world::World;

const EVIL: [(&str, Option<&str>); 1] = [("EVIL.md", Some("unreviewed\n"))];

/// stepherd hears of comments only.
async fn deaf() -> (World, u64, String) {
    let world = World::new().await;
    world.town.github.subscribe(&["issue_comment"]);
    let (number, head) = world.pull_request().await;
    (world, number, head)
}

async fn pinned(world: &World) -> String {
    world
        .run()
        .await
        .subject
        .pinned
        .expect("a commit is pinned")
        .head
        .to_string()
}

fn without_activity(world: &World) {
    let absent = Fault::answer("GET", "/activity", 1, 404, vec![], r#"{"message":"Not Found"}"#);
    world.town.github.stage().misbehave(absent);
}

#[tokio::test]
async fn without_a_known_head_what_nobody_has_pushed_over_since_is_taken() {
    let (world, number, head) = deaf().await;
    world.say(number, "ada", START).await;
    assert_eq!(pinned(&world).await, head);
}

#[tokio::test]
async fn without_a_known_head_the_person_is_asked_which_commit_was_reviewed() {
    let (world, number, head) = deaf().await;
    without_activity(&world);
    world.say(number, "ada", START).await;
    assert!(world.runs().await.is_empty());
    insta::assert_snapshot!(world.last_reply(number).await, @r"Nothing was started\: stepherd cannot tell which commit of acme/deployment\#1 you reviewed, because it had not heard of that commit before you wrote, and cannot read when it was pushed\. Say it again with that commit\: `/dcr start tenant=comcast ticket=SREPROV-3072 sha=<the full SHA you reviewed>`");
    // The head is never filled in for the person, or it would be pasted unread.
    let messages = world.messages(number);
    assert!(!messages.iter().any(|message| message.body.contains(&head)));

    without_activity(&world);
    world.say(number, "ada", &format!("{START} sha={head}")).await;
    assert_eq!(pinned(&world).await, head);
}

#[tokio::test]
async fn a_push_between_the_comment_and_the_start_asks_which_commit_was_reviewed() {
    for by_force in [false, true] {
        let (world, number, _) = deaf().await;
        world.write(number, "ada", START);
        world.clock.advance(Duration::from_secs(1));
        let github = &world.town.github;
        let pushed = match by_force {
            false => github.push_to_pr(REPO, number, "eve", &EVIL),
            true => github.force_push_to_pr(REPO, number, "eve", &EVIL),
        };
        pushed.unwrap();
        world.settle().await;
        assert!(world.runs().await.is_empty(), "by force: {by_force}");
        let reply = world.last_reply(number).await;
        assert!(reply.contains("commits were pushed after you wrote"), "{reply}");
    }
}

#[tokio::test]
async fn a_commit_that_was_pushed_away_since_is_not_pinned() {
    let world = World::new().await;
    let (number, head) = world.pull_request().await;
    world.write(number, "ada", START);
    world.clock.advance(Duration::from_secs(1));
    world.town.github.force_push_to_pr(REPO, number, "eve", &EVIL).unwrap();
    world.settle().await;
    assert!(world.runs().await.is_empty());
    let reply = world.last_reply(number).await;
    assert!(reply.contains("is not among the commits of"), "{reply}");
    // Nor may it be named.
    world.clock.advance(Duration::from_secs(2));
    world.say(number, "ada", &format!("{START} sha={head}")).await;
    assert!(world.runs().await.is_empty());
}

#[tokio::test]
async fn a_branch_that_was_moved_there_and_back_unheard_is_not_taken_for_reviewed() {
    let world = World::new().await;
    let (number, bad) = world.pull_request().await;
    // The reviewer asks for something better, and gets it; its webhook is lost.
    let better = [("WISH.md", Some("Better.\n"))];
    let github = &world.town.github;
    github.push_to_pr(REPO, number, "ada", &better).unwrap();
    github.lose_deliveries();
    world.clock.advance(Duration::from_secs(2));
    world.write(number, "ada", START);
    assert!(world.deliver().await);
    world.clock.advance(Duration::from_secs(1));
    github.subscribe(&["issue_comment"]);
    github.push_to(REPO, number, "eve", &bad).unwrap();
    assert_eq!(world.pull(number).head, bad);
    world.settle().await;
    assert!(world.runs().await.is_empty());
    let reply = world.last_reply(number).await;
    assert!(reply.contains("had not heard of when you wrote"), "{reply}");
}

#[tokio::test]
async fn a_commit_that_exists_but_not_on_the_pull_request_is_not_pinned() {
    let (world, number, _) = deaf().await;
    let github = &world.town.github;
    github.set_public(REPO, true).unwrap();
    let fork = github.add_fork(REPO, "eve").unwrap();
    // Readable through the repository, as all commits of its forks are.
    let of_fork = github.push("eve", &fork, "evil", &EVIL).unwrap();
    let of_other_branch = github.push("ada", REPO, "other", &EVIL).unwrap();
    let main = github
        .branches(REPO)
        .unwrap()
        .into_iter()
        .find(|(name, _)| name == "main")
        .unwrap()
        .1;
    let nowhere = "0123456789abcdef0123456789abcdef01234567".to_owned();
    for sha in [of_fork, of_other_branch, main, nowhere] {
        without_activity(&world);
        world.say(number, "ada", &format!("{START} sha={sha}")).await;
        assert!(world.runs().await.is_empty(), "{sha}");
        assert!(world.last_reply(number).await.contains("is not among the commits of"));
        world.clock.advance(Duration::from_secs(2));
    }
}

/// A pull request from a fork of eve's.
fn from_fork(world: &World) -> (u64, String) {
    let github = &world.town.github;
    github.set_public(REPO, true).unwrap();
    let fork = github.add_fork(REPO, "eve").unwrap();
    let pr = NewPr {
        branch: "wish",
        base: "main",
        title: "A wish",
        body: "",
        files: &EVIL,
        fork: Some(&fork),
    };
    (github.open_pr_by_person(REPO, "eve", pr).unwrap(), fork)
}

#[tokio::test]
async fn what_comes_from_a_fork_is_not_started_unless_forks_are_allowed() {
    let world = World::new().await;
    let (number, fork) = from_fork(&world);
    world.settle().await;
    world.clock.advance(Duration::from_secs(2));
    let head = world.pull(number).head;
    for text in [START.to_owned(), format!("{START} sha={head}")] {
        world.say(number, "ada", &text).await;
        assert!(world.runs().await.is_empty());
    }
    insta::assert_snapshot!(world.last_reply(number).await, @r"Nothing was started\: the commits of acme/deployment\#1 come from the fork eve/deployment, where anybody may push\. An administrator can allow forks\: `allow_forks` in stepherd\.toml\.");
    // The fork is deleted, which makes it no better.
    world.town.github.delete_repo(&fork).unwrap();
    world.say(number, "ada", START).await;
    assert!(world.runs().await.is_empty());
    assert!(world.last_reply(number).await.contains("a repository that is gone"));

    let allow = |env: &mut std::collections::BTreeMap<String, String>| {
        env.insert("STEPHERD__GITHUB__ALLOW_FORKS".into(), "true".into());
    };
    let world = World::with_settings(|_| {}, allow).await;
    let (number, _) = from_fork(&world);
    world.settle().await;
    world.clock.advance(Duration::from_secs(2));
    world.say(number, "ada", START).await;
    assert_eq!(pinned(&world).await, world.pull(number).head);
}

#[tokio::test]
async fn a_fork_that_changes_its_base_stays_a_fork() {
    let world = World::new().await;
    world
        .town
        .github
        .push("ada", REPO, "release", &[("R", Some("r"))])
        .unwrap();
    let (number, _) = from_fork(&world);
    world.settle().await;
    world.town.github.retarget_pr(REPO, number, "eve", "release").unwrap();
    world.settle().await;
    world.clock.advance(Duration::from_secs(2));
    world.say(number, "ada", START).await;
    assert!(world.runs().await.is_empty());
}

#[tokio::test]
async fn reopening_makes_no_head_known_that_was_pushed_while_it_was_closed() {
    for activity in [true, false] {
        let world = World::new().await;
        let (number, reviewed) = world.pull_request().await;
        let github = &world.town.github;
        github.close_pr(REPO, number, "eve").unwrap();
        world.settle().await;
        // Nothing tells of pushes to the branch of a closed pull request.
        let branch = world.pull(number).branch;
        let tip = github.push("eve", REPO, &branch, &EVIL).unwrap();
        github.reopen_pr(REPO, number, "eve").unwrap();
        assert_eq!(world.pull(number).head, tip);
        world.settle().await;
        world.clock.advance(Duration::from_secs(2));
        if !activity {
            without_activity(&world);
        }
        world.say(number, "ada", START).await;
        assert!(world.runs().await.is_empty(), "activity: {activity}");
        let reply = world.last_reply(number).await;
        assert!(reply.contains("which commit"), "{reply}");
        world.say(number, "ada", &format!("{START} sha={reviewed}")).await;
        assert_eq!(pinned(&world).await, reviewed);
    }
}

#[tokio::test]
async fn whoever_reopens_has_not_said_that_the_head_is_theirs() {
    let trigger = r#"
[[on]]
pull_request = { change = "opened" }
verb = "start"
args = { tenant = "comcast", ticket = "SREPROV-3072" }
"#;
    let world = World::with(|dir| {
        let path = dir.join("commands/dcr.toml");
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str(trigger);
        std::fs::write(path, text).unwrap();
    })
    .await;
    let github = &world.town.github;
    // Eve may start nothing, and what she opened starts nothing.
    let pr = NewPr {
        branch: "wish",
        base: "main",
        title: "A wish",
        body: "",
        files: &EVIL,
        fork: None,
    };
    let number = github.open_pr_by_person(REPO, "eve", pr).unwrap();
    world.settle().await;
    github.close_pr(REPO, number, "eve").unwrap();
    world.settle().await;
    let more = [("MORE.md", Some("more\n"))];
    github.push("eve", REPO, "wish", &more).unwrap();
    world.clock.advance(Duration::from_secs(2));
    // Ada opens it again; she has seen the first commit.
    github.reopen_pr(REPO, number, "ada").unwrap();
    world.settle().await;
    let reply = world.last_reply(number).await;
    assert!(world.runs().await.is_empty(), "{reply}");
    assert!(reply.contains("which commit"), "{reply}");
}

#[tokio::test]
async fn without_a_list_of_pushes_a_head_that_was_heard_of_before_the_comment_and_still_stands_is_pinned() {
    let world = World::new().await;
    let (number, head) = world.pull_request().await;
    without_activity(&world);
    world.say(number, "ada", START).await;
    assert_eq!(pinned(&world).await, head);
}

#[tokio::test]
async fn without_a_list_of_pushes_a_branch_that_was_moved_back_to_an_older_head_is_asked_about() {
    let world = World::new().await;
    let (number, bad) = world.pull_request().await;
    let better = [("WISH.md", Some("Better.\n"))];
    let github = &world.town.github;
    github.push_to_pr(REPO, number, "ada", &better).unwrap();
    world.settle().await;
    world.clock.advance(Duration::from_secs(2));
    without_activity(&world);
    world.write(number, "ada", START);
    github.push_to(REPO, number, "eve", &bad).unwrap();
    world.settle().await;
    assert!(world.runs().await.is_empty());
    assert!(world.last_reply(number).await.contains("which commit"));
}

/// GitHub's list of pushes lags: it does not know of the newest one.
fn lagging(world: &World) {
    let before = format!(
        r#"[{{"after":"{}","timestamp":"2026-11-18T11:00:00Z"}}]"#,
        "0".repeat(40)
    );
    let lags = Fault::answer("GET", "/activity", 1_000, 200, vec![], &before);
    world.town.github.stage().misbehave(lags);
}

#[tokio::test]
async fn a_list_of_pushes_that_lags_is_waited_for_and_does_not_count_as_none() {
    for catches_up in [true, false] {
        let world = World::new().await;
        let (number, head) = world.pull_request().await;
        lagging(&world);
        world.say(number, "ada", START).await;
        assert!(world.runs().await.is_empty(), "it may have been moved there and back");
        world.pass(Duration::from_secs(20)).await;
        assert_eq!(world.messages(number).len(), 1, "nobody is asked yet");
        if catches_up {
            world.town.github.stage().behave();
            world.pass(Duration::from_secs(40)).await;
            assert_eq!(pinned(&world).await, head);
        } else {
            world.pass(Duration::from_secs(60)).await;
            assert!(world.runs().await.is_empty());
            assert!(world.last_reply(number).await.contains("which commit"));
            // Whoever names the commit does not wait.
            world.say(number, "ada", &format!("{START} sha={head}")).await;
            assert_eq!(pinned(&world).await, head);
        }
    }
}

#[tokio::test]
async fn of_more_commits_than_github_lists_stepherd_says_that_it_cannot_tell() {
    let (world, number, _) = deaf().await;
    without_activity(&world);
    let listed: Vec<_> = (0..250)
        .map(|n| serde_json::json!({ "sha": format!("{n:040x}") }))
        .collect();
    for page in listed.chunks(100) {
        let body = serde_json::to_string(page).unwrap();
        let page = Fault::answer("GET", "/commits", 1, 200, vec![], &body);
        world.town.github.stage().misbehave(page);
    }
    world
        .say(number, "ada", &format!("{START} sha={}", "f".repeat(40)))
        .await;
    assert!(world.runs().await.is_empty());
    assert!(world.town.github.stage().faults().is_empty(), "all pages were read");
    insta::assert_snapshot!(world.last_reply(number).await, @r"Nothing was started\: stepherd cannot look at acme/deployment\#1\. GitHub lists no more than 250 commits of a pull request, and COMMIT is not among them, so that stepherd cannot tell whether it belongs there\. Say it again with the newest commit, the head\.");
}
