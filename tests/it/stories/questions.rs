//! Questions on GitHub, Jira and Discord at once: each face tells the truth, and a late press or word answers only what
//! it was meant for.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stepherd::domain::question;
use stepherd::domain::run::RunState;
use stepherd::sandbox::discord::Shown;
use stepherd::sandbox::stage::{Fault, FaultKind};
use stepherd::sandbox::town::{CHANNEL, REPO, TENANT, TICKET, Town};

use super::scene::at;
use crate::world::{TestClock, World};

/// The rebuild asks twice before it does anything, with the same options.
fn asks_twice(dir: &Path) {
    let path = dir.join("config/pipelines/dcr.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let first = "[[step]]\nname = \"HistoryUpdate\"\n";
    assert!(text.contains(first));
    let step = |name: &str| {
        format!(
            "[[step]]\nname = \"{name}\"\ntitle = \"Ask about {name}\"\nkind = \"ask\"\ntimeout = \"3d\"\n\
             question = \"Rebuild {{{{ tenant }}}} in {name}?\"\nroles = [\"approver\"]\n\n\
             [[step.option]]\nvalue = \"yes\"\nlabel = \"Go on\"\n\n\
             [[step.option]]\nvalue = \"no\"\nlabel = \"End it\"\ngo_on = false\n\n"
        )
    };
    let asks = step("Staging") + &step("Production");
    std::fs::write(&path, text.replacen(first, &format!("{asks}{first}"), 1)).unwrap();
}

/// Ada has started a rebuild that asks about staging: its pull request.
async fn asking() -> (World, u64) {
    asking_for("ada", World::with(asks_twice).await).await
}

async fn asking_for(login: &str, world: World) -> (World, u64) {
    let (number, _) = world.pull_request().await;
    world
        .say(number, login, &format!("/dcr start {TENANT} ticket={TICKET}"))
        .await;
    assert_eq!(at(&world.run().await), "Staging 1");
    world.pass(Duration::from_secs(60)).await;
    (world, number)
}

/// The messages that show this question, on all platforms, and what can be pressed there.
async fn faces(world: &World, number: u64, about: &str) -> String {
    let github = world
        .messages(number)
        .into_iter()
        .map(|m| ("GitHub", m.body, Vec::new()));
    let jira = world.town.jira.messages(TICKET).into_iter();
    let jira = jira.map(|m| ("Jira", m.body, Vec::new()));
    let discord = world.town.discord.messages(CHANNEL).into_iter();
    let discord = discord.map(|m| ("Discord", m.text, m.buttons.into_iter().map(|b| b.label).collect()));
    let mut shown = Vec::new();
    for (platform, text, buttons) in github.chain(jira).chain(discord) {
        let text = nameless(world, &text).await;
        let is_face = text.contains('❓') && text.contains(&format!("in {about}?")) && !text.contains("Asked by");
        if is_face {
            let buttons: String = buttons.iter().map(|label: &String| format!("\n[{label}]")).collect();
            shown.push(format!("{platform}:\n{text}{buttons}"));
        }
    }
    shown.join("\n\n")
}

/// The text as people read it, without ids.
async fn nameless(world: &World, text: &str) -> String {
    let mut text = world.readable(text).await;
    for run in world.runs().await {
        let closed = run.questions.iter().map(|closed| closed.id.to_string());
        let open = question::open(&run).map(|open| open.id.to_string());
        for (number, id) in closed.chain(open).enumerate() {
            text = text.replace(&id, &format!("QUESTION{}", number + 1));
        }
        for line in 0..=run.history_len {
            text = text.replace(&format!("failure={line} "), "failure=N ");
        }
    }
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("<!-- stepherd:") && !line.starts_with("stepherd · "));
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// Discord's message with a button of this label, and the button's id. The question's own, if `question`, else the card's.
fn with_button(world: &World, label: &str, card: bool) -> (String, String) {
    let is_card = |shown: &Shown| shown.text.contains("Asked by");
    let all = world.town.discord.messages(CHANNEL);
    let fitting = all.iter().filter(|shown| is_card(shown) == card);
    let mut found = fitting.filter_map(|shown| {
        let button = shown.buttons.iter().find(|button| button.label == label)?;
        Some((shown.id.clone(), button.custom_id.clone()))
    });
    found
        .next_back()
        .unwrap_or_else(|| panic!("no button {label}: {all:?}"))
}

/// The newest thing that stepherd said in Discord.
async fn last_in_discord(world: &World) -> String {
    let all = world.town.discord.messages(CHANNEL);
    let newest = all.iter().max_by_key(|shown| shown.id.parse::<u64>().unwrap()).unwrap();
    nameless(world, &newest.text).await
}

#[tokio::test]
async fn every_face_of_a_question_shows_its_outcome_within_ten_seconds_and_none_answers_the_next_one() {
    let (world, number) = asking().await;
    insta::assert_snapshot!(faces(&world, number, "Staging").await, @r#"
    GitHub:
    ❓ **Rebuild comcast in Staging?**

    To answer: `/dcr answer yes run=RUN`, `/dcr answer no run=RUN`

    Not to be answered by ada, who started this run.

    Jira:
    ❓ Rebuild comcast in Staging?
    To answer: /dcr answer yes run=RUN, /dcr answer no run=RUN
    Not to be answered by ada, who started this run.

    Discord:
    ❓ **Rebuild comcast in Staging?**
    To answer: `/dcr answer yes run=RUN`, `/dcr answer no run=RUN`
    Not to be answered by ada, who started this run.
    [Go on] [End it]
    [Go on]
    [End it]
    "#);
    let asked = with_button(&world, "Go on", false);
    let on_card = with_button(&world, "Go on", true);
    world
        .town
        .jira
        .comment(TICKET, "557058:bea", "/dcr answer yes")
        .await
        .unwrap();
    world.settle().await;
    world.pass(Duration::from_secs(10)).await;
    assert_eq!(at(&world.run().await), "Production 1");
    insta::assert_snapshot!(faces(&world, number, "Staging").await, @r#"
    GitHub:
    ❓ Rebuild comcast in Staging?

    ✅ Answered by **Bea**: Go on (2026-11-18 11:07 UTC).

    Jira:
    ❓ Rebuild comcast in Staging?
    ✅ Answered by Bea: Go on (2026-11-18 11:07 UTC).

    Discord:
    ❓ Rebuild comcast in Staging?
    ✅ Answered by **Bea**: Go on (2026-11-18 11:07 UTC).
    "#);
    insta::assert_snapshot!(faces(&world, number, "Production").await, @r#"
    GitHub:
    ❓ **Rebuild comcast in Production?**

    To answer: `/dcr answer yes run=RUN question=QUESTION2`, `/dcr answer no run=RUN question=QUESTION2`

    Not to be answered by ada, who started this run.

    Jira:
    ❓ Rebuild comcast in Production?
    To answer: /dcr answer yes run=RUN question=QUESTION2, /dcr answer no run=RUN question=QUESTION2
    Not to be answered by ada, who started this run.

    Discord:
    ❓ **Rebuild comcast in Production?**
    To answer: `/dcr answer yes run=RUN question=QUESTION2`, `/dcr answer no run=RUN question=QUESTION2`
    Not to be answered by ada, who started this run.
    [Go on] [End it]
    [Go on]
    [End it]
    "#);

    // Whoever still sees the old buttons, or has not read on.
    let mut told = Vec::new();
    for (message, button) in [asked, on_card] {
        world
            .town
            .discord
            .press_stale(&Town::bea(), &message, &button)
            .await
            .unwrap();
        world.settle().await;
        told.push(last_in_discord(&world).await);
    }
    assert_eq!(told[0], told[1], "it does not matter which of them is pressed");
    insta::assert_snapshot!(told[0], @r#"
    Already answered by Bea at 2026-11-18 11:07 UTC: `yes`. It was: “Rebuild comcast in Staging?” Your answer changed nothing.
    It asks now: **Rebuild comcast in Production?** To answer: `/dcr answer yes run=RUN question=QUESTION2`, `/dcr answer no run=RUN question=QUESTION2`
    "#);
    world.say(number, "bea", "/dcr answer yes").await;
    let reply = world.messages(number).pop().unwrap().body;
    insta::assert_snapshot!(nameless(&world, &reply).await, @r#"
    This run has asked before, and `yes` was an answer then, too. Nothing was changed. If you mean “Rebuild comcast in Production?”: `/dcr answer yes run=RUN question=QUESTION2`
    "#);
    assert_eq!(at(&world.run().await), "Production 1");

    let open = question::open(&world.run().await).unwrap().id.to_string();
    world
        .say(number, "bea", &format!("/dcr answer yes question={open}"))
        .await;
    assert_eq!(at(&world.run().await), "Sync 1");
}

#[tokio::test]
async fn a_word_said_before_the_question_does_not_answer_it() {
    let world = World::with(asks_twice).await;
    let (number, _) = world.pull_request().await;
    // The mail brings the answer last, though it was said first.
    world.town.github.hold_deliveries();
    world.write(number, "bea", "/dcr answer yes");
    world.clock.advance(Duration::from_secs(60));
    world.write(number, "ada", &format!("/dcr start {TENANT} ticket={TICKET}"));
    let sent: Vec<String> = world.town.github.deliveries().into_iter().map(|sent| sent.id).collect();
    let late_last: Vec<String> = sent.into_iter().rev().collect();
    world.town.github.release_deliveries(&late_last);
    world.settle().await;
    assert_eq!(at(&world.run().await), "Staging 1");
    let told = world
        .messages(number)
        .into_iter()
        .find(|m| m.body.contains("This was said at"));
    let told = told.unwrap_or_else(|| panic!("{:?}", world.messages(number))).body;
    insta::assert_snapshot!(nameless(&world, &told).await, @"This was said at 2026-11-18 11:06:42 UTC, before the run asked “Rebuild comcast in Staging?” at 2026-11-18 11:07:42 UTC, so it is not taken as an answer to that. If you mean it: `/dcr answer yes run=RUN question=QUESTION1`");
}

#[tokio::test]
async fn a_question_that_expires_or_whose_run_is_stopped_says_so_everywhere() {
    let (world, number) = asking().await;
    let (message, button) = with_button(&world, "Go on", false);
    world.clock.advance(Duration::from_secs(3 * 24 * 3600));
    world.settle().await;
    world.pass(Duration::from_secs(10)).await;
    assert_eq!(at(&world.run().await), "stopped at Staging");
    insta::assert_snapshot!(faces(&world, number, "Staging").await, @r#"
    GitHub:
    ❓ Rebuild comcast in Staging?

    ⌛ Nobody answered in time (2026-11-21 11:07 UTC).

    Jira:
    ❓ Rebuild comcast in Staging?
    ⌛ Nobody answered in time (2026-11-21 11:07 UTC).

    Discord:
    ❓ Rebuild comcast in Staging?
    ⌛ Nobody answered in time (2026-11-21 11:07 UTC).
    "#);
    world.say(number, "ada", "/dcr retry").await;
    world.pass(Duration::from_secs(10)).await;
    assert_eq!(at(&world.run().await), "Staging 2");
    world
        .town
        .discord
        .press_stale(&Town::bea(), &message, &button)
        .await
        .unwrap();
    world.settle().await;
    insta::assert_snapshot!(last_in_discord(&world).await, @r#"
    That question expired at 2026-11-21 11:07 UTC: nobody answered in time. It was: “Rebuild comcast in Staging?” Your answer changed nothing.
    It asks now: **Rebuild comcast in Staging?** To answer: `/dcr answer yes run=RUN question=QUESTION2`, `/dcr answer no run=RUN question=QUESTION2`
    "#);
    world.say(number, "ada", "/dcr stop").await;
    world.pass(Duration::from_secs(10)).await;
    let shown = faces(&world, number, "Staging").await;
    assert_eq!(shown.matches("⌛ Nobody answered in time").count(), 3, "{shown}");
    assert_eq!(shown.matches("⏹️ Not answered: ").count(), 3, "{shown}");
    assert!(!shown.contains('['), "nothing can be pressed: {shown}");
}

#[tokio::test]
async fn an_outcome_that_cannot_be_shown_at_once_is_shown_later_and_a_deleted_question_stays_deleted() {
    let (world, number) = asking().await;
    let (on_discord, _) = with_button(&world, "Go on", false);
    world.town.discord.delete_message(&on_discord);
    let patch = "/repos/acme/deployment/issues/comments/";
    world
        .town
        .github
        .stage()
        .misbehave(Fault::answer("PATCH", patch, 3, 502, Vec::new(), "{}"));
    world
        .town
        .jira
        .comment(TICKET, "557058:bea", "/dcr answer no")
        .await
        .unwrap();
    world.settle().await;
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(at(&world.run().await), "canceled");
    let shown = faces(&world, number, "Staging").await;
    assert_eq!(shown.matches("✅ Answered by").count(), 2, "GitHub and Jira: {shown}");
    assert!(!shown.contains("Discord") && !shown.contains("To answer"), "{shown}");
    let parked = world.store.effects(Some("parked"), 9).await.unwrap();
    assert!(parked.is_empty(), "{parked:?}");
}

#[tokio::test]
async fn one_answer_that_a_message_is_gone_is_not_believed() {
    let (world, number) = asking().await;
    let cards = |world: &World| {
        let github = world.messages(number).into_iter().map(|m| m.body);
        let jira = world.town.jira.messages(TICKET).into_iter().map(|m| m.body);
        github.chain(jira).filter(|body| body.contains("Asked by")).count()
    };
    assert_eq!(cards(&world), 2);
    // All four edits, of two cards and two questions, meet a server that does not know the message.
    let patch = format!("/repos/{REPO}/issues/comments/");
    let github = Fault::answer("PATCH", &patch, 2, 404, Vec::new(), r#"{"message":"Not Found"}"#);
    world.town.github.stage().misbehave(github);
    let jira = Fault::answer("PUT", "/comment/", 2, 404, Vec::new(), "{}");
    world.town.jira.stage.misbehave(jira);
    let jira = &world.town.jira;
    jira.comment(TICKET, "557058:bea", "/dcr answer no").await.unwrap();
    world.settle().await;
    world.pass(Duration::from_secs(9)).await;
    assert_eq!(at(&world.run().await), "canceled");
    let shown = faces(&world, number, "Staging").await;
    assert_eq!(shown.matches("✅ Answered by").count(), 3, "{shown}");
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(cards(&world), 2, "no second card");
}

/// A town whose clocks are so many seconds ahead, where the rebuild asks twice.
async fn asks_twice_in_a_town(ahead: i64) -> (World, u64) {
    let clock = Arc::new(TestClock::new());
    let town = World::town_ahead(&clock, ahead).await;
    let world = World::in_town(town, clock, asks_twice, |_| {}).await;
    let (number, _) = world.pull_request().await;
    (world, number)
}

#[tokio::test]
async fn what_is_said_now_is_said_now_whatever_the_platforms_clock_says() {
    for ahead in [-300, -30, -4, 4, 30, 300] {
        let (world, number) = asks_twice_in_a_town(ahead).await;
        world
            .say(number, "ada", &format!("/dcr start {TENANT} ticket={TICKET}"))
            .await;
        assert_eq!(at(&world.run().await), "Staging 1", "{ahead}");
        world.clock.advance(Duration::from_secs(3));
        world.say(number, "bea", "/dcr answer yes").await;
        assert_eq!(at(&world.run().await), "Production 1", "{ahead}");
        let jira = &world.town.jira;
        jira.comment(TICKET, "557058:ada", "/dcr stop").await.unwrap();
        world.settle().await;
        assert_eq!(at(&world.run().await), "canceled", "{ahead}");
    }
}

#[tokio::test]
async fn what_was_said_before_does_not_count_whatever_the_platforms_clock_says() {
    for ahead in [-300, -30, 30, 300] {
        let (world, number) = asks_twice_in_a_town(ahead).await;
        world.town.github.hold_deliveries();
        for (login, text) in [("bea", "/dcr answer yes"), ("ada", "/dcr stop")] {
            world.write(number, login, text);
        }
        world.clock.advance(Duration::from_secs(60));
        world.write(number, "ada", &format!("/dcr start {TENANT} ticket={TICKET}"));
        let sent: Vec<String> = world.town.github.deliveries().into_iter().map(|sent| sent.id).collect();
        let late_last: Vec<String> = sent.into_iter().rev().collect();
        world.town.github.release_deliveries(&late_last);
        world.settle().await;
        assert_eq!(at(&world.run().await), "Staging 1", "{ahead}");
        for refusal in ["This was said at", "Nothing was stopped"] {
            let told = world.messages(number).iter().any(|m| m.body.contains(refusal));
            assert!(told, "{ahead}: {refusal}: {:?}", world.messages(number));
        }
    }
}

#[tokio::test]
async fn a_question_whose_posting_got_lost_is_found_and_shows_its_outcome_all_the_same() {
    let world = World::with(asks_twice).await;
    let (number, _) = world.pull_request().await;
    world
        .say(number, "ada", &format!("/dcr start {TENANT} ticket={TICKET}"))
        .await;
    // The cards stand; the questions come next, and nobody hears whether they got through.
    world.clock.advance(Duration::from_millis(600));
    let comments = format!("/repos/{REPO}/issues/{number}/comments");
    let github = Fault::new("POST", &comments, 1, FaultKind::EffectThenCut);
    world.town.github.stage().misbehave(github);
    let jira = Fault::new(
        "POST",
        &format!("/rest/api/3/issue/{TICKET}/comment"),
        1,
        FaultKind::EffectThenCut,
    );
    world.town.jira.stage.misbehave(jira);
    world.settle().await;
    let id = question::open(&world.run().await).unwrap().id.clone();
    let faces_then = faces(&world, number, "Staging").await;
    assert_eq!(faces_then.matches("To answer: ").count(), 3, "{faces_then}");
    // It is answered before anybody has looked for them.
    let (message, button) = with_button(&world, "Go on", false);
    world.town.discord.press(&Town::bea(), &message, &button).await.unwrap();
    world.settle().await;
    world.pass(Duration::from_secs(10)).await;
    let shown = faces(&world, number, "Staging").await;
    assert_eq!(shown.matches("✅ Answered by").count(), 3, "{shown}");
    assert!(!shown.contains("To answer: "), "{shown}");
    assert_eq!(world.run().await.questions[0].id, id);
}

#[tokio::test]
async fn whoever_started_a_run_does_not_approve_it_from_any_of_their_accounts() {
    let (world, number) = asking().await;
    world.say(number, "ada", "/dcr answer yes").await;
    let reply = world.messages(number).pop().unwrap().body;
    insta::assert_snapshot!(nameless(&world, &reply).await, @r#"
    “Rebuild comcast in Staging?” is for somebody else to answer: you started this run. Nothing was changed.
    "#);
    world
        .town
        .jira
        .comment(TICKET, "557058:ada", "/dcr answer yes")
        .await
        .unwrap();
    let (message, button) = with_button(&world, "Go on", false);
    world.town.discord.press(&Town::ada(), &message, &button).await.unwrap();
    world.settle().await;
    let jira = world.town.jira.messages(TICKET).pop().unwrap().body;
    for told in [jira, last_in_discord(&world).await] {
        assert!(told.contains("you started this run"), "{told}");
    }
    assert_eq!(at(&world.run().await), "Staging 1");
    world.town.discord.press(&Town::bea(), &message, &button).await.unwrap();
    world.settle().await;
    assert_eq!(at(&world.run().await), "Production 1");
}

#[tokio::test]
async fn an_account_of_nobodys_on_another_platform_may_be_the_starters() {
    let unlinked = |dir: &Path| {
        asks_twice(dir);
        let path = dir.join("config/people.toml");
        let people = std::fs::read_to_string(&path).unwrap();
        let people = people.replace(
            "approves = true\n",
            "approves = true\naccounts = [\"discord:66\", \"jira:557058:eve\"]\n",
        );
        std::fs::write(path, people).unwrap();
    };
    // Grace is known on GitHub only, by her team; Eve on Discord and Jira only, by her accounts.
    let (world, _) = asking_for("grace", World::with(unlinked).await).await;
    let (message, button) = with_button(&world, "Go on", false);
    world.town.discord.press(&Town::eve(), &message, &button).await.unwrap();
    world.settle().await;
    insta::assert_snapshot!(last_in_discord(&world).await, @r#"
    “Rebuild comcast in Staging?” is for somebody other than grace to answer, who started this run. stepherd cannot tell whether that is you: nothing links your account here with one there. Nothing was changed. An administrator can link accounts to persons in people.toml.
    "#);
    assert_eq!(at(&world.run().await), "Staging 1");
    // Bea has an account on GitHub, and it is another one.
    world.town.discord.press(&Town::bea(), &message, &button).await.unwrap();
    world.settle().await;
    assert_eq!(at(&world.run().await), "Production 1");
}

#[tokio::test]
async fn a_retry_button_of_an_earlier_failure_does_nothing_to_a_later_one() {
    let world = World::new().await;
    world.failed().await;
    world.pass(Duration::from_secs(10)).await;
    let (message, button) = with_button(&world, "Retry", true);
    world.town.dcr.auto_restart(TENANT);
    world.town.discord.press(&Town::ada(), &message, &button).await.unwrap();
    world.settle().await;
    world.pass(Duration::from_secs(60)).await;
    world.town.dcr.advance(TENANT, 50.0);
    world.pass(Duration::from_secs(30)).await;
    world.town.dcr.fail(TENANT, "farmer-4 lost");
    world.pass(Duration::from_secs(30)).await;
    let before = world.run().await;
    assert!(matches!(before.state, RunState::Stopped { .. }), "{:?}", before.state);
    world
        .town
        .discord
        .press_stale(&Town::ada(), &message, &button)
        .await
        .unwrap();
    world.settle().await;
    world.pass(Duration::from_secs(30)).await;
    assert_eq!(world.run().await, before, "nothing was started");
    insta::assert_snapshot!(last_in_discord(&world).await, @"This retry was offered for an earlier failure (Rebuild, attempt 1): ada resumed it at 2026-11-18 11:08 UTC. Nothing was started now. Where it stands: ❌ DCR rebuild comcast · SREPROV-3072 · RUN — Rebuild failed at 50 %. To go on from there: `/dcr retry run=RUN failure=21`");
    let (_, now) = with_button(&world, "Retry", true);
    assert_ne!(now, button);
}
