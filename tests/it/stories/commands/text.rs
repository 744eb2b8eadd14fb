//! What counts as said, where it is answered, and that nothing said bites back.

use std::time::Duration;

use stepherd::clock::Clock as _;
use stepherd::sandbox::town::REPO;

use super::START;
use crate::stories::scene::at;
use crate::world::World;

#[tokio::test]
async fn a_comment_read_again_under_another_configuration_is_not_obeyed_twice() {
    let world = World::with(|dir| {
        std::fs::rename(dir.join("commands/provision.toml"), dir.join("provision-command")).unwrap();
        std::fs::rename(
            dir.join("config/pipelines/provision.toml"),
            dir.join("provision-pipeline"),
        )
        .unwrap();
    })
    .await;
    let (number, _) = world.pull_request().await;
    world.say(number, "ada", &format!("/provision help\n{START}")).await;
    assert_eq!(world.runs().await.len(), 1);
    let deliveries = world.store.deliveries(None, 50).await.unwrap();
    let comment = deliveries
        .iter()
        .rfind(|d| d.kind.starts_with("issue_comment"))
        .unwrap();

    let world = world
        .restart_with(|dir| {
            std::fs::rename(dir.join("provision-command"), dir.join("commands/provision.toml")).unwrap();
            std::fs::rename(
                dir.join("provision-pipeline"),
                dir.join("config/pipelines/provision.toml"),
            )
            .unwrap();
        })
        .await;
    assert!(
        world
            .store
            .replay_delivery(comment.seq, world.clock.now())
            .await
            .unwrap()
    );
    world.pass(Duration::from_secs(10)).await;
    assert_eq!(world.runs().await.len(), 1);
    // What was no command then is one now.
    let replies = world.thread(number).await;
    let deliveries = world.store.deliveries(None, 50).await.unwrap();
    let notes: Vec<_> = deliveries.iter().map(|d| (&d.kind, &d.note)).collect();
    assert!(
        replies.contains("Provision a tenant in a data centre"),
        "{replies}\n{notes:?}"
    );
}

#[tokio::test]
async fn a_comment_may_hold_several_commands() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world
        .say(
            number,
            "ada",
            &format!("Let us go.\n\n{START}\n/dcr list\n\nand\n\n/dcr help retry"),
        )
        .await;
    assert_eq!(world.runs().await.len(), 1);
    world.pass(Duration::from_secs(10)).await;
    insta::assert_snapshot!(world.thread(number).await, @r#"
    [ada 👀]
    Let us go.

    /dcr start comcast ticket=SREPROV-3072
    /dcr list

    and

    /dcr help retry

    [stepherd[bot]]
    - ▶️ DCR rebuild comcast · SREPROV\-3072 · RUN1 — Note the rebuild in the tenant\'s history · 0 % · since 2026\-11\-18 11\:06 UTC

    `/dcr` — Rebuild a tenant\'s cache

    * `/dcr retry [run=…] [failure=…]` — Resume a run that stopped, at the step that failed\. Who may\: operator\.

    - `run` — The run; else this thread\'s newest
    - `failure` — The failure\'s number, as its message shows it; else the newest

    For example\: `/dcr retry`

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
    "#);
}

#[tokio::test]
async fn what_is_quoted_fenced_or_hidden_is_not_said_and_asks_nobody_anything() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.town.github.stage().forget_calls();
    for text in [
        "```\n/dcr start comcast\n```",
        "~~~\n/dcr start comcast\n",
        "    /dcr start comcast",
        "> /dcr start comcast",
        "- /dcr start comcast",
        "`/dcr start comcast`",
        "<!--\n/dcr start comcast\n-->",
        "<details>\n\n/dcr start comcast\n\n</details>",
        "Say /dcr start comcast to begin.",
        "/dcrx start comcast",
        "/other start comcast",
        "",
        "looks good to me",
    ] {
        // GitHub itself refuses an empty comment.
        let said = world.town.github.comment(REPO, number, "ada", text);
        assert_eq!(said.is_err(), text.is_empty(), "{text}");
    }
    world.settle().await;
    assert!(world.runs().await.is_empty());
    let calls = world.town.github.stage().calls();
    assert!(calls.is_empty(), "{calls:?}");
}

#[tokio::test]
async fn an_unknown_verb_is_answered_with_what_was_probably_meant() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.say(number, "ada", "/dcr strat comcast").await;
    world.say(number, "ada", "/dcr start comcast ticket=banana").await;
    world.say(number, "ada", "/dcr start comcast farmers_min=0").await;
    insta::assert_snapshot!(world.thread(number).await, @r#"
        [ada]
        /dcr strat comcast

        [stepherd[bot]]
        `strat` is not a verb of `/dcr`; it has `start`, `status`, `retry`, `stop`, `answer`, `list`, `why`, `help`\. Did you mean `/dcr start comcast`? What can be said\: `/dcr help`

        [ada]
        /dcr start comcast ticket=banana

        [stepherd[bot]]
        `ticket`\: `banana` is not a ticket key like SREPROV\-3072\. Did you mean `/dcr start comcast ticket=SREPROV-3072`? What can be said\: `/dcr help`

        [ada]
        /dcr start comcast farmers_min=0

        [stepherd[bot]]
        `farmers_min`\: `0` is not from 1 to 100\. Did you mean `/dcr start comcast ticket=SREPROV-3072`? What can be said\: `/dcr help`
    "#);
    assert!(world.runs().await.is_empty());
}

#[tokio::test]
async fn what_is_said_in_a_review_thread_is_answered_there() {
    let world = World::new().await;
    let (number, head) = world.pull_request().await;
    let root = world
        .town
        .github
        .review_comment(REPO, number, "ada", ("WISH.md", 1), "now?")
        .unwrap();
    world
        .town
        .github
        .reply_to_review(REPO, number, root, "ada", START)
        .unwrap();
    world.settle().await;
    assert_eq!(world.run().await.subject.pinned.expect("pinned").head.as_str(), head);
    let said = world.messages(number);
    let ours: Vec<_> = said
        .iter()
        .filter(|message| message.author == "stepherd[bot]")
        .collect();
    assert_eq!(ours.len(), 1, "the card");
    assert_eq!(ours[0].in_reply_to, Some(root));
    let command = said.iter().find(|message| message.body == START).unwrap();
    assert_eq!(command.reactions, ["stepherd[bot]:eyes"]);
}

#[tokio::test]
async fn a_review_thread_of_the_pull_request_knows_its_run() {
    let world = World::new().await;
    let number = world.failed().await;
    world.town.dcr.auto_restart("comcast");
    let root = world
        .town
        .github
        .review_comment(REPO, number, "ada", ("WISH.md", 1), "/dcr retry")
        .unwrap();
    world.settle().await;
    let said = world.messages(number);
    let command = said.iter().find(|message| message.id == root).unwrap();
    assert_eq!(command.reactions, ["stepherd[bot]:eyes"], "{said:?}");
    world.pass(Duration::from_secs(30)).await;
    assert_eq!(at(&world.run().await), "Rebuild 1");
}

#[tokio::test]
async fn the_merged_pull_request_of_a_run_still_takes_commands() {
    let world = World::new().await;
    world.failed().await;
    world.town.dcr.auto_restart("comcast");
    let pulls = world.town.github.pulls(REPO).unwrap();
    let farm = pulls
        .iter()
        .find(|pull| pull.title.starts_with("comcast: start farmers"))
        .unwrap();
    assert!(!farm.open);
    world.say(farm.number, "ada", "/dcr retry").await;
    world.pass(Duration::from_secs(30)).await;
    assert_eq!(at(&world.run().await), "Rebuild 1");
}

#[tokio::test]
async fn what_others_wrote_cannot_call_people_hide_text_or_give_commands() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.say(number, "ada", "/dcr @acme/sre<!--#1").await;
    world.say(number, "ada", "/dcr start @acme/sre<!--#1").await;
    world.say(number, "ada", START).await;
    world.sync_and_rebuild("comcast").await;
    world.town.dcr.fail(
        "comcast",
        "lost\n```\n/dcr stop\n@acme/sre fixes #1 <!-- \n````\n\n/dcr stop",
    );
    world.pass(Duration::from_secs(30)).await;
    let ours: Vec<_> = world
        .messages(number)
        .into_iter()
        .filter(|m| m.author == "stepherd[bot]")
        .collect();
    assert!(ours.len() >= 4);
    for message in ours {
        let outside = outside_code(&message.body);
        for live in ["@acme", "#1 ", "<!--#1", "/dcr"] {
            assert!(!outside.contains(live), "{live} in {}", message.body);
        }
        let comments = message.body.matches("<!--").count() - code(&message.body).matches("<!--").count();
        assert_eq!(comments, 1, "only the marker: {}", message.body);
    }
    let run = world.run().await;
    assert_eq!(at(&run), "stopped at Rebuild");
}

fn events(markdown: &str) -> Vec<(bool, String)> {
    use pulldown_cmark::{Event, Parser, Tag, TagEnd};
    let mut fenced = false;
    let mut texts = Vec::new();
    for event in Parser::new(markdown) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => fenced = true,
            Event::End(TagEnd::CodeBlock) => fenced = false,
            Event::Code(text) => texts.push((true, text.into_string())),
            Event::Text(text) => texts.push((fenced, text.into_string())),
            Event::SoftBreak | Event::HardBreak => texts.push((false, "\n".to_owned())),
            _ => {}
        }
    }
    texts
}

/// What GitHub would look for mentions and references in. Text comes in pieces, which belong together.
fn outside_code(markdown: &str) -> String {
    events(markdown)
        .into_iter()
        .filter(|(code, _)| !code)
        .map(|(_, text)| text)
        .collect()
}

fn code(markdown: &str) -> String {
    events(markdown)
        .into_iter()
        .filter(|(code, _)| *code)
        .map(|(_, text)| text)
        .collect()
}
