//! People without any role: anybody may comment on a public repository, and nobody of them makes stepherd write, ask
//! much or wait.

use std::time::Duration;

use stepherd::sandbox::jira::JiraUser;
use stepherd::sandbox::stage::{Call, Fault};
use stepherd::sandbox::town::TICKET;

use super::START;
use crate::world::World;

/// Eleven commands: ten that count and one too many, some misread, some refused.
fn eleven() -> String {
    let lines = [
        "/dcr start comcast",
        "/dcr stop",
        "/dcr retry",
        "/dcr status",
        "/dcr list",
        "/dcr why",
        "/dcr help",
        "/dcr strat comcast",
        "/dcr start",
        "/dcr frobnicate",
        "/dcr stop",
    ];
    lines.join("\n\n")
}

fn written(calls: &[Call]) -> Vec<String> {
    let writes = calls.iter().filter(|call| call.method != "GET");
    writes
        .map(|call| format!("{} {}", call.method, call.path))
        .filter(|call| !call.contains("access_tokens"))
        .collect()
}

#[tokio::test]
async fn a_stranger_with_five_comments_of_eleven_commands_gets_no_word_and_costs_a_few_questions() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.town.github.stage().forget_calls();
    for _ in 0..5 {
        world.say(number, "eve", &eleven()).await;
        world.clock.advance(Duration::from_secs(1));
    }
    let calls = world.town.github.stage().calls();
    assert_eq!(written(&calls), Vec::<String>::new(), "nothing is written");
    assert!(calls.len() <= 12, "{} calls: {calls:?}", calls.len());
    assert_eq!(world.messages(number).len(), 5);
    assert!(world.runs().await.is_empty());
    // Nobody else waits for that.
    world.clock.advance(Duration::from_secs(2));
    world.say(number, "ada", START).await;
    assert_eq!(world.runs().await.len(), 1);
}

#[tokio::test]
async fn many_strangers_cannot_spend_the_limit_and_their_words_wait_instead() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    for n in 0..60 {
        world.town.github.add_user(&format!("stranger-{n}"));
    }
    world.town.github.stage().forget_calls();
    for n in 0..60 {
        world.write(number, &format!("stranger-{n}"), "/dcr status");
    }
    world.settle().await;
    let calls = world.town.github.stage().calls().len();
    assert!(calls <= 20 * 8, "{calls} calls");
    world.pass(Duration::from_secs(300)).await;
    let calls = world.town.github.stage().calls().len();
    assert!(calls <= 31 * 8, "{calls} calls");
    assert_eq!(world.messages(number).len(), 60, "nobody is answered");
    // All of them have their turn, and to wait for it is not to have tried.
    world.pass(Duration::from_secs(1200)).await;
    let all = world.store.deliveries(None, 500).await.unwrap();
    let tried = all.iter().map(|one| (one.state.as_str(), one.attempts));
    assert!(
        tried.clone().all(|one| one.0 == "done" && one.1 <= 1),
        "{:?}",
        tried.collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn strangers_who_wait_hold_up_neither_their_thread_nor_who_is_likely_to_have_a_role() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    for n in 0..60 {
        world.town.github.add_user(&format!("stranger-{n}"));
        world.write(number, &format!("stranger-{n}"), "/dcr status");
    }
    world.settle().await;
    // GitHub says that grace belongs to the organisation; what her role is must still be asked.
    world.say(number, "grace", START).await;
    assert_eq!(world.run().await.asked_by.name, "grace");
    for n in 60..120 {
        world.town.github.add_user(&format!("stranger-{n}"));
        world.write(number, &format!("stranger-{n}"), "/dcr stop");
    }
    world.settle().await;
    world.say(number, "grace", "/dcr stop").await;
    let told = world.told(&world.run().await).await;
    assert!(told.iter().any(|line| line.contains("grace said stop")), "{told:?}");
    assert_eq!(world.messages(number).len(), 120 + 3);
}

#[tokio::test]
async fn a_crowd_that_says_stop_keeps_nobody_waiting_who_is_listed_as_having_a_role() {
    let world = World::with(|dir| {
        let path = dir.join("config/people.toml");
        let people = std::fs::read_to_string(&path).unwrap();
        let with_group = people.replace("[\"acme/sre\"]\n", "[\"acme/sre\"]\njira_groups = [\"night shift\"]\n");
        std::fs::write(path, with_group).unwrap();
    })
    .await;
    // Whoever has an account at all may comment in Jira; on GitHub these belong to the organisation.
    world.town.jira.add_user(JiraUser::person("hank", "Hank"));
    world.town.jira.add_group("night shift", &["557058:hank"]);
    world
        .town
        .jira
        .transition(TICKET, "557058:ada", "Approved")
        .await
        .unwrap();
    world.settle().await;
    let first = world.run().await;
    for n in 0..60 {
        let name = format!("crowd-{n}");
        world.town.jira.add_user(JiraUser::person(&name, &name));
        let account = format!("557058:{name}");
        world.town.jira.comment(TICKET, &account, "/dcr stop").await.unwrap();
    }
    world.settle().await;
    world.town.jira.stage.forget_calls();
    world
        .town
        .jira
        .comment(TICKET, "557058:hank", "/dcr stop")
        .await
        .unwrap();
    world.settle().await;
    let told = world.told(&first).await;
    assert!(told.iter().any(|line| line.contains("Hank said stop")), "{told:?}");
    let asked = world.town.jira.stage.calls_to("GET", "/group/member").len();
    assert!(asked <= 1, "{asked} lists");

    let (number, _) = world.pull_request().await;
    for n in 0..60 {
        let name = format!("crowd-{n}");
        world.town.github.add_user(&name);
        world.town.github.add_team_member("acme", "crowd", &name, true).unwrap();
        world.write(number, &name, "/dcr stop");
    }
    world.say(number, "ada", START).await;
    world.say(number, "grace", "/dcr stop").await;
    let told = world.told(&world.run().await).await;
    assert!(told.iter().any(|line| line.contains("grace said stop")), "{told:?}");
}

#[tokio::test]
async fn what_could_not_be_found_out_about_a_stranger_is_not_remembered_as_no() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.town.github.add_user("mallory");
    let teams = "/orgs/acme/teams/sre/memberships";
    let forbidden = Fault::answer("GET", teams, 1, 403, vec![], "<html>");
    world.town.github.stage().misbehave(forbidden);
    world.say(number, "mallory", START).await;
    assert_eq!(world.messages(number).len(), 1, "a stranger is told nothing");
    world
        .town
        .github
        .add_team_member("acme", "sre", "mallory", true)
        .unwrap();
    world.clock.advance(Duration::from_secs(2));
    world.say(number, "mallory", START).await;
    assert_eq!(world.run().await.asked_by.name, "mallory");
}

#[tokio::test]
async fn many_words_that_wait_in_one_thread_hold_others_back_no_longer_than_one() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    let teams = "/orgs/acme/teams/sre/memberships";
    let away = Fault::answer("GET", teams, u32::MAX, 503, vec![], "");
    world.town.github.stage().misbehave(away);
    for _ in 0..4 {
        world.say(number, "eve", "/dcr status").await;
    }
    world.say(number, "ada", START).await;
    assert!(
        world.runs().await.is_empty(),
        "what was said before may still come first"
    );
    world.pass(Duration::from_secs(90)).await;
    assert!(world.runs().await.is_empty());
    // Time goes by half minutes here: it was put back after the first.
    world.pass(Duration::from_secs(90)).await;
    assert_eq!(world.run().await.asked_by.name, "ada");
}

/// The likeliest mistake of a set-up: stepherd's token may not see groups. Whoever has an account may write.
#[tokio::test]
async fn whom_nothing_can_be_found_out_about_is_told_so_once_and_keeps_nobody_waiting() {
    let world = World::with(|dir| {
        let path = dir.join("config/people.toml");
        let people = std::fs::read_to_string(&path).unwrap();
        let with_group = people.replace("approves = true\n", "approves = true\njira_groups = [\"sre\"]\n");
        std::fs::write(path, with_group).unwrap();
    })
    .await;
    let groups = Fault::answer("GET", "/rest/api/3/user/groups", u32::MAX, 403, vec![], "no");
    world.town.jira.stage.misbehave(groups);
    let mallory = "557058:mallory";
    world.town.jira.add_user(JiraUser::person("mallory", "Mallory"));
    for _ in 0..30 {
        world.town.jira.comment(TICKET, mallory, "/dcr status").await.unwrap();
        world.settle().await;
        world.clock.advance(Duration::from_secs(1));
    }
    let messages = world.town.jira.messages(TICKET);
    let ours = messages.iter().filter(|message| message.author == "stepherd");
    assert_eq!(ours.count(), 1, "{messages:?}");
    let asked = world.town.jira.stage.calls_to("GET", "/user/groups").len();
    assert!((1..=3 * 2).contains(&asked), "{asked} questions");
    // Who may speak is heard meanwhile, and when Jira can tell again, she is somebody without a role.
    world
        .town
        .jira
        .comment(TICKET, "557058:ada", "/dcr list")
        .await
        .unwrap();
    world.settle().await;
    assert_eq!(world.town.jira.messages(TICKET).len(), 31 + 2);
    world.town.jira.stage.behave();
    world.pass(Duration::from_secs(120)).await;
    assert_eq!(world.town.jira.messages(TICKET).len(), 31 + 2);
}

#[tokio::test]
async fn a_role_given_to_a_stranger_counts_within_minutes_and_not_for_what_was_said_before() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.say(number, "eve", START).await;
    let (delivery, _) = world.last_delivery("issue_comment");
    world.town.github.add_team_member("acme", "sre", "eve", true).unwrap();
    world.pass(Duration::from_secs(660)).await;
    assert!(world.town.github.redeliver(&delivery));
    world.settle().await;
    assert!(world.runs().await.is_empty(), "it was refused once and for all");
    world.say(number, "eve", START).await;
    assert_eq!(world.run().await.asked_by.name, "eve");
}

#[tokio::test]
async fn several_commands_of_one_comment_are_answered_in_one_message() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.say(number, "ada", "/dcr list\n\n/dcr strat\n\n/dcr status").await;
    let said = world.messages(number);
    assert_eq!(said.len(), 2, "{said:?}");
    let answer = world.last_reply(number).await;
    for part in ["No run is under way", "Did you mean", "No run belongs to this thread"] {
        assert!(answer.contains(part), "{part} in {answer}");
    }
    // What takes effect does so, whatever stands beside it.
    world.clock.advance(Duration::from_secs(2));
    world
        .say(number, "ada", &format!("/dcr list\n\n{START}\n\n/dcr frob"))
        .await;
    assert_eq!(world.runs().await.len(), 1);
}

#[tokio::test]
async fn nobody_gets_more_than_twenty_answers_in_a_thread_within_ten_minutes() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    for _ in 0..25 {
        world.say(number, "ada", "/dcr list").await;
    }
    assert_eq!(world.messages(number).len(), 25 + 20);
    // What takes effect is not held back.
    world.say(number, "ada", START).await;
    assert_eq!(world.runs().await.len(), 1);
    world.pass(Duration::from_secs(660)).await;
    let before = world.messages(number).len();
    world.say(number, "ada", "/dcr list").await;
    assert_eq!(world.messages(number).len(), before + 2);
}
