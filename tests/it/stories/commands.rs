//! What people say on a pull request, and what comes of it: pins, repetitions, order, edits, proofs and rights.

mod doors;
mod heads;
mod rights;
mod strangers;
mod text;
mod triggers;
mod trust;

use std::time::Duration;

use stepherd::sandbox::github::signature;
use stepherd::sandbox::town::{REPO, Town};

use crate::world::World;

const START: &str = "/dcr start comcast ticket=SREPROV-3072";

#[tokio::test]
async fn a_start_pins_the_head_that_was_known_before_the_comment() {
    let world = World::new().await;
    let (number, head) = world.pull_request().await;
    world.say(number, "ada", START).await;
    let run = world.run().await;
    let pinned = run.subject.pinned.clone().expect("a commit is pinned");
    assert_eq!((pinned.head.as_str(), pinned.pr.number), (head.as_str(), number));
    let checks = world.town.github.check_runs(REPO).unwrap();
    let check = checks
        .iter()
        .find(|check| check.head == head)
        .expect("a check on the pinned commit");
    assert_eq!(
        (check.name.as_str(), check.status.as_str()),
        ("stepherd/dcr", "in_progress")
    );
    world.pass(Duration::from_secs(10)).await;
    insta::assert_snapshot!(world.thread(number).await, @r"
    [ada 👀]
    /dcr start comcast ticket=SREPROV-3072

    [stepherd[bot]]
    ### ▶️ DCR rebuild comcast · SREPROV\-3072 · RUN1 — Sync the farm

    `░░░░░░░░░░` 0 %

    - **Step\:** 5 of 8\: **Sync**
    - **Attempt\:** 1
    - **Doing\:** the sync is asked for and not yet taken up
    - **Back\-end\:** [open](<https://argocd/applications/dcr-comcast>)
    - **Restarts\:** 0
    - **Pull requests\:** [acme/deployment\#2](<https://github/acme/deployment/pull/2>), [acme/deployment\#3](<https://github/acme/deployment/pull/3>)
    - **Commit\:** `COMMIT` of acme/deployment\#1
    - **Asked by\:** ada, 2026\-11\-18 11\:06 UTC

    * ✅ Note the rebuild in the tenant\'s history — acme/deployment\#2 opened
    * ✅ Merge the history — merged as COMMIT
    * ✅ Switch the farmers on — acme/deployment\#3 opened
    * ✅ Merge the farm\'s start — merged as COMMIT
    * ▶️ Sync the farm
    * ▫️ Wait for farmers
    * ▫️ Rebuild the cache
    * ▫️ Close the ticket

    Nothing to do\. To cancel\: `/dcr stop run=RUN1`
    ");
}

#[tokio::test]
async fn a_push_after_the_comment_does_not_move_the_pin() {
    let world = World::new().await;
    let (number, head) = world.pull_request().await;
    world.write(number, "ada", START);
    world.clock.advance(Duration::from_secs(1));
    let pushed = world
        .town
        .github
        .push_to_pr(REPO, number, "eve", &[("EVIL.md", Some("unreviewed\n"))])
        .unwrap();
    world.settle().await;
    let run = world.run().await;
    assert_ne!(pushed, head);
    assert_eq!(run.subject.pinned.expect("pinned").head.as_str(), head);
}

#[tokio::test]
async fn a_push_in_the_second_of_the_comment_was_not_reviewed() {
    let world = World::new().await;
    let (number, head) = world.pull_request().await;
    world
        .town
        .github
        .push_to_pr(REPO, number, "eve", &[("EVIL.md", Some("unreviewed\n"))])
        .unwrap();
    world.say(number, "ada", START).await;
    assert_eq!(world.run().await.subject.pinned.expect("pinned").head.as_str(), head);
}

#[tokio::test]
async fn naming_another_commit_than_the_known_head_starts_nothing() {
    let world = World::new().await;
    let (number, old) = world.pull_request().await;
    world
        .town
        .github
        .push_to_pr(REPO, number, "ada", &[("MORE.md", Some("more\n"))])
        .unwrap();
    world.settle().await;
    world.clock.advance(Duration::from_secs(2));
    world.say(number, "ada", &format!("{START} sha={old}")).await;
    assert!(world.runs().await.is_empty());
    insta::assert_snapshot!(world.last_reply(number).await, @r#"Nothing was started\: you named `COMMIT`, but the pull request\'s head was `COMMIT` when you wrote\. Look at what changed, then say `/dcr start` again\."#);
}

#[tokio::test]
async fn a_comment_takes_effect_once_however_often_it_is_delivered() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.say(number, "ada", START).await;
    let (id, payload) = world.last_delivery("issue_comment");
    let (id, payload) = if payload["comment"]["body"] == START {
        (id, payload)
    } else {
        delivery_of(&world, START)
    };
    assert!(world.town.github.redeliver(&id));
    world.settle().await;
    let body = payload.to_string();
    let proof = signature(&Town::github_secret_before(), body.as_bytes());
    let status = world
        .post_github("issue_comment", "another-id", &body, ("x-hub-signature-256", &proof))
        .await;
    assert_eq!(status, 202);
    world.settle().await;
    assert_eq!(world.runs().await.len(), 1);
    let pulls = world.town.github.pulls(REPO).unwrap();
    assert_eq!(pulls.len(), 3, "the person's, the history's and the farm's");
    let deliveries = world.store.deliveries(None, 100).await.unwrap();
    let again = deliveries
        .iter()
        .find(|delivery| delivery.delivery_id == "another-id")
        .unwrap();
    assert_eq!(again.note, "had already taken effect");
    assert_eq!(
        deliveries.iter().filter(|delivery| delivery.delivery_id == id).count(),
        1
    );
}

#[tokio::test]
async fn a_comment_that_overtakes_its_pull_request_pins_what_github_says_was_there() {
    let world = World::new().await;
    world.town.github.hold_deliveries();
    let number = world.open_pull("wish");
    world.clock.advance(Duration::from_secs(2));
    world.write(number, "ada", START);
    let (comment, _) = world.last_delivery("issue_comment");
    world.town.github.release_deliveries(&[comment]);
    world.settle().await;
    let head = world.pull(number).head;
    assert_eq!(world.run().await.subject.pinned.expect("pinned").head.as_str(), head);
}

#[tokio::test]
async fn words_that_were_edited_in_are_never_obeyed() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    let id = world.say(number, "ada", "looks good").await;
    world.clock.advance(Duration::from_secs(1));
    world.town.github.edit_comment(REPO, id, "ada", START).unwrap();
    world.settle().await;
    assert!(world.runs().await.is_empty());
    assert_eq!(world.messages(number).len(), 1);
}

#[tokio::test]
async fn a_comment_edited_or_deleted_before_it_is_read_again_is_ignored() {
    for deleted in [false, true] {
        let world = World::new().await;
        let (number, _) = world.pull_request().await;
        let id = world.write(number, "ada", START);
        assert!(world.deliver().await, "the webhook is durable");
        world.clock.advance(Duration::from_secs(1));
        if deleted {
            world.town.github.delete_comment(REPO, id, "ada").unwrap();
        } else {
            world
                .town
                .github
                .edit_comment(REPO, id, "ada", "/dcr start globex")
                .unwrap();
        }
        world.settle().await;
        // What is not there may still come; what was edited will not be unedited.
        let note = if deleted {
            world.pass(Duration::from_secs(90)).await;
            format!("ignored: GitHub GET /repos/{REPO}/issues/comments/{id}: 404 Not Found")
        } else {
            "ignored: it was edited".to_owned()
        };
        assert!(world.runs().await.is_empty());
        let deliveries = world.store.deliveries(None, 10).await.unwrap();
        assert!(deliveries.iter().any(|d| d.note == note), "{deliveries:?}");
    }
}

#[tokio::test]
async fn bots_are_never_obeyed_not_even_stepherd_itself() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.town.github.stage().forget_calls();
    world.say(number, "renovate[bot]", START).await;
    world.say(number, "stepherd[bot]", START).await;
    assert!(world.runs().await.is_empty());
    assert_eq!(world.town.github.stage().calls().len(), 0, "nobody is asked anything");
    assert_eq!(world.messages(number).len(), 2);
}

/// The delivery of the comment with this text.
fn delivery_of(world: &World, text: &str) -> (String, serde_json::Value) {
    let all = world.town.github.deliveries();
    let found = all
        .into_iter()
        .find(|delivery| delivery.payload["comment"]["body"] == text);
    found
        .map(|delivery| (delivery.id, delivery.payload))
        .expect("it was delivered")
}
