//! Discord: slash commands, buttons, the thread that a run gets, and who is not listened to.
#![expect(clippy::too_many_lines, reason = "whole threads are shown where they are told about")]

mod unanswered;

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use stepherd::adapters::discord::{Discord, registration};
use stepherd::catalog;
use stepherd::domain::run::{Happened, RunState};
use stepherd::sandbox::discord::{Interacted, Shown};
use stepherd::sandbox::town::{APP, CHANNEL, GUILD, REPO, TENANT, Town};
use stepherd::wiring;

use super::dcr::{channel, failed, in_channel, minutes, opened};
use crate::world::World;

/// Ada says this in the channel or thread, and what follows at once has happened.
async fn say(world: &World, place: &str, verb: &str, options: &[(&str, Value)]) -> Interacted {
    let ada = Town::ada();
    let said = world.town.discord.slash(&ada, GUILD, place, "dcr", verb, options).await;
    let said = said.unwrap();
    assert_eq!(said.problem, None);
    world.settle().await;
    said
}

/// The newest message of a channel or thread, as people see it.
async fn newest(world: &World, place: &str) -> String {
    let last = in_channel(world, place).pop().expect("there is a message");
    assert!(!last.pending, "it was answered");
    world.readable(&last.text).await
}

fn card(world: &World) -> Shown {
    let cards = in_channel(world, CHANNEL).into_iter();
    let mut cards: Vec<Shown> = cards.filter(|m| m.text.contains("/card")).collect();
    assert_eq!(cards.len(), 1, "one card");
    cards.remove(0)
}

fn button(message: &Shown, label: &str) -> String {
    let found = message.buttons.iter().find(|b| b.label == label);
    found
        .unwrap_or_else(|| panic!("no {label} on {message:?}"))
        .custom_id
        .clone()
}

#[tokio::test]
async fn a_slash_command_is_answered_later_and_drives_a_run_from_start_to_end() {
    let world = World::new().await;
    world.town.dcr.set_farmers(TENANT, 0);
    let ada = Town::ada();
    let options = [("tenant", TENANT.into())];
    let said = world
        .town
        .discord
        .slash(&ada, GUILD, CHANNEL, "dcr", "start", &options)
        .await
        .unwrap();
    assert_eq!((said.kind(), said.problem.as_deref()), (5, None), "deferred");
    assert!(in_channel(&world, CHANNEL)[0].pending, "Discord shows that it thinks");
    world.settle().await;
    assert!(!in_channel(&world, CHANNEL)[0].pending);
    assert_eq!(world.runs().await.len(), 1);
    minutes(&world, 1).await;
    insta::assert_snapshot!(channel(&world, CHANNEL).await, @r"
    --- bot
    **DCR rebuild comcast · RUN**: started. Where it stands: `/dcr status run=RUN`
    --- bot
    ▶️ DCR rebuild comcast · RUN — Sync the farm
    ▱▱▱▱▱▱▱▱▱▱ 0 %
    - ✅ Note the rebuild in the tenant's history — acme/deployment#1 opened
    - ✅ Merge the history — merged as SHA
    - ✅ Switch the farmers on — acme/deployment#2 opened
    - ✅ Merge the farm's start — merged as SHA
    - ▶️ Sync the farm
    - ▫️ Wait for farmers
    - ▫️ Rebuild the cache
    - ▫️ Close the ticket
    Nothing to do. To cancel: `/dcr stop run=RUN`
    Step: 5 of 8: **Sync**
    Attempt: 1
    Doing: the sync is asked for and not yet taken up
    Back-end: [open](https://argocd/applications/dcr-comcast)
    Restarts: 0
    Pull requests: [acme/deployment#1](https://github/acme/deployment/pull/1), [acme/deployment#2](https://github/acme/deployment/pull/2)
    Asked by: ada, 2026-11-18 11:06 UTC
    stepherd · RUN/card
    ");
    let threads = world.town.discord.threads(CHANNEL);
    assert_eq!(threads.len(), 1, "opened once");
    insta::assert_snapshot!(world.readable(&threads[0].1).await, @"DCR rebuild comcast · RUN");
    let merged = world.town.github.pulls(REPO).unwrap()[1].merged.clone().unwrap();
    world.town.argocd.git_moved(APP, &merged);
    world.town.argocd.finish(APP);
    world.town.dcr.set_farmers(TENANT, 3);
    minutes(&world, 1).await;
    world.town.dcr.complete(TENANT);
    minutes(&world, 1).await;
    assert_eq!(
        newest(&world, &opened(&world)).await.lines().next(),
        Some("✅ **DCR rebuild comcast · RUN** completed.")
    );
}

#[tokio::test]
async fn a_command_in_the_runs_thread_means_the_run() {
    let world = World::new().await;
    failed(&world).await;
    let thread = opened(&world);
    say(&world, &thread, "status", &[]).await;
    insta::assert_snapshot!(newest(&world, &thread).await, @r"
    ❌ DCR rebuild comcast · SREPROV-3072 · RUN — Rebuild failed at 42 %
    ▰▰▰▰▱▱▱▱▱▱ 42 %
    ```
    farmer-3 lost
    ```
    - ✅ Note the rebuild in the tenant's history — acme/deployment#1 opened
    - ✅ Merge the history — merged as SHA
    - ✅ Switch the farmers on — acme/deployment#2 opened
    - ✅ Merge the farm's start — merged as SHA
    - ✅ Sync the farm
    - ✅ Wait for farmers — 3 of min 3, 3 of 3 farmers in hidden state
    - ❌ Rebuild the cache
    - ▫️ Close the ticket
    To go on: `/dcr retry run=RUN failure=17`. To give up and free its locks: `/dcr stop run=RUN`
    - **tenant** = comcast, from the command
    - **ticket** = SREPROV-3072, from the command
    - **deployment_repo** = acme/deployment, from the pipeline's default
    - **config_repo** = acme/configuration, from the pipeline's default
    - **farmers_min** = 3, from tenants/comcast/farm.yaml in acme/deployment
    - **channel** = 400, from tenants/comcast/farm.yaml in acme/deployment
    Step: 7 of 8: **Rebuild**
    Attempt: 1
    There: 3 of min 3, 3 of 3 farmers in hidden state
    Back-end: [open](https://dcr.example.org/ui/tenants/comcast)
    Class: infrastructure: a machine, a network or a service
    Restarts: 0
    Pull requests: [acme/deployment#1](https://github/acme/deployment/pull/1), [acme/deployment#2](https://github/acme/deployment/pull/2)
    Asked by: Ada, 2026-11-18 11:06 UTC
    ");
    say(&world, &thread, "why", &[]).await;
    insta::assert_snapshot!(newest(&world, &thread).await, @r"
    ❌ DCR rebuild comcast · SREPROV-3072 · RUN — Rebuild failed at 42 %
    - 2026-11-18 11:06 UTC — accepted from Ada in jira:SREPROV-3072, allowed by the role operator
    - 2026-11-18 11:06 UTC — HistoryUpdate: attempt 1 began
    - 2026-11-18 11:06 UTC — HistoryUpdate: acme/deployment#1 on branch SREPROV-3072_RUN_StepHistoryUpdate
    - 2026-11-18 11:06 UTC — HistoryUpdate: passed (acme/deployment#1 opened)
    - 2026-11-18 11:06 UTC — HistoryUpdateMerge: attempt 1 began
    - 2026-11-18 11:06 UTC — HistoryUpdateMerge: passed (merged as SHA)
    - 2026-11-18 11:06 UTC — StartFarm: attempt 1 began
    - 2026-11-18 11:06 UTC — StartFarm: acme/deployment#2 on branch SREPROV-3072_RUN_StepStartFarm
    - 2026-11-18 11:06 UTC — StartFarm: passed (acme/deployment#2 opened)
    - 2026-11-18 11:06 UTC — StartFarmMerge: attempt 1 began
    - 2026-11-18 11:06 UTC — StartFarmMerge: passed (merged as SHA)
    - 2026-11-18 11:06 UTC — Sync: attempt 1 began
    - 2026-11-18 11:07 UTC — Sync: passed
    - 2026-11-18 11:07 UTC — WaitForFarmers: attempt 1 began
    - 2026-11-18 11:08 UTC — WaitForFarmers: passed (3 of min 3, 3 of 3 farmers in hidden state)
    - 2026-11-18 11:08 UTC — Rebuild: attempt 1 began
    - 2026-11-18 11:10 UTC — Rebuild: failed at 42 %: farmer-3 lost
    - **tenant** = comcast, from the command
    - **ticket** = SREPROV-3072, from the command
    - **deployment_repo** = acme/deployment, from the pipeline's default
    - **config_repo** = acme/configuration, from the pipeline's default
    - **farmers_min** = 3, from tenants/comcast/farm.yaml in acme/deployment
    - **channel** = 400, from tenants/comcast/farm.yaml in acme/deployment
    Plan and parameters as of its start. Asked in jira:SREPROV-3072.
    ");
    world.town.dcr.auto_restart(TENANT);
    say(&world, &thread, "retry", &[]).await;
    insta::assert_snapshot!(newest(&world, &thread).await, @"**DCR rebuild comcast · SREPROV-3072 · RUN**: resumed. Where it stands: `/dcr status run=RUN`");
    minutes(&world, 1).await;
    say(&world, &thread, "retry", &[]).await;
    insta::assert_snapshot!(newest(&world, &thread).await, @r"
    There is nothing to retry: only a run that has failed can be resumed. Nothing was started. Where it stands:
    ### ▶️ DCR rebuild comcast · SREPROV-3072 · RUN — Rebuild the cache
    ▰▰▰▰▱▱▱▱▱▱ 42 %
    - ✅ Note the rebuild in the tenant's history — acme/deployment#1 opened
    - ✅ Merge the history — merged as SHA
    - ✅ Switch the farmers on — acme/deployment#2 opened
    - ✅ Merge the farm's start — merged as SHA
    - ✅ Sync the farm
    - ✅ Wait for farmers — 3 of min 3, 3 of 3 farmers in hidden state
    - ▶️ Rebuild the cache
    - ▫️ Close the ticket
    Nothing to do. To end the run, while what it watches goes on without it: `/dcr stop run=RUN`
    Step: 7 of 8: **Rebuild**
    Attempt: 1
    Doing: restarted 1 time by the service
    There: 3 of min 3, 3 of 3 farmers in hidden state
    Done by: unknown
    Back-end: [open](https://dcr.example.org/ui/tenants/comcast)
    Restarts: 1
    Pull requests: [acme/deployment#1](https://github/acme/deployment/pull/1), [acme/deployment#2](https://github/acme/deployment/pull/2)
    Asked by: Ada, 2026-11-18 11:06 UTC
    ");
    say(&world, &thread, "stop", &[]).await;
    minutes(&world, 1).await;
    insta::assert_snapshot!(newest(&world, &thread).await, @r"
    ⏹️ **DCR rebuild comcast · SREPROV-3072 · RUN** was stopped by ada. What is left:
    - rebuild: goes on at 42 % without stepherd, which only watched it
    - Sync: had passed, which is not undone
    - HistoryUpdate: acme/deployment#1 stays merged as SHA
    - StartFarm: acme/deployment#2 stays merged as SHA
    - the farm of comcast stays on; to switch it off: set farmers.enabled to false in tenants/comcast/farm.yaml of acme/deployment, and sync dcr-comcast
    stepherd · RUN/21
    ");
    assert_eq!(world.town.discord.threads(CHANNEL).len(), 1);
}

#[tokio::test]
async fn list_and_help_answer_where_no_run_is() {
    let world = World::new().await;
    say(&world, CHANNEL, "list", &[]).await;
    insta::assert_snapshot!(newest(&world, CHANNEL).await, @"No run is under way.");
    say(&world, CHANNEL, "status", &[]).await;
    insta::assert_snapshot!(newest(&world, CHANNEL).await, @"No run belongs to this thread. Name one, like `/dcr status run=URMO7YZ2`; to see them all: `/dcr list`");
    say(&world, CHANNEL, "status", &[("run", "URMO7YZ2".into())]).await;
    insta::assert_snapshot!(newest(&world, CHANNEL).await, @"There is no run `URMO7YZ2`. To see the runs there are: `/dcr list`");
    say(&world, CHANNEL, "help", &[]).await;
    insta::assert_snapshot!(newest(&world, CHANNEL).await, @r#"
    `/dcr` — Rebuild a tenant's cache
    - `/dcr start <tenant> [ticket=…] [farmers_min=…] [sha=…]` — Start a rebuild for a tenant. Who may: operator.
    - `/dcr status [run=…]` — Show where a run stands. Who may: viewer or operator.
    - `/dcr retry [run=…] [failure=…]` — Resume a run that stopped, at the step that failed. Who may: operator.
    - `/dcr stop [run=…]` — End the run and what it started; a rebuild goes on without it. Who may: operator.
    - `/dcr answer <value> [run=…] [question=…]` — Answer a run's question. Who may: operator or approver.
    - `/dcr list` — List the runs that are under way. Who may: viewer or operator.
    - `/dcr why [run=…]` — Say why a run stands where it does: its decisions, by whom and under which role. Who may: viewer or operator.
    - `/dcr help [verb=…]` — Say what can be said. Who may: viewer or operator or approver.
    "#);
    say(&world, CHANNEL, "help", &[("verb", "start".into())]).await;
    insta::assert_snapshot!(newest(&world, CHANNEL).await, @r"
    `/dcr` — Rebuild a tenant's cache
    - `/dcr start <tenant> [ticket=…] [farmers_min=…] [sha=…]` — Start a rebuild for a tenant. Who may: operator.
    - `tenant` — The tenant, as its folder is called
    - `ticket` — The ticket that is kept up to date and closed at the end
    - `farmers_min` — How many farmers must be ready; else what the tenant's farm.yaml says
    - `sha` — The commit that was reviewed; else the newest known on this pull request
    For example: `/dcr start comcast ticket=SREPROV-3072`
    ");
    failed(&world).await;
    say(&world, CHANNEL, "list", &[]).await;
    insta::assert_snapshot!(newest(&world, CHANNEL).await, @"- ❌ DCR rebuild comcast · SREPROV-3072 · RUN — Rebuild failed at 42 % · since 2026-11-18 11:06 UTC");
}

#[tokio::test]
async fn who_lacks_the_role_is_told_which_and_nothing_happens() {
    let world = World::new().await;
    failed(&world).await;
    let eve = Town::eve();
    for verb in ["retry", "stop", "status", "why", "list"] {
        let said = world
            .town
            .discord
            .slash(&eve, GUILD, CHANNEL, "dcr", verb, &[])
            .await
            .unwrap();
        assert_eq!(said.problem, None, "{verb}");
        world.settle().await;
        let shown = world.town.discord.answer_to(&said.token).unwrap();
        assert!(shown.ephemeral, "nobody else reads it");
        let answer = newest(&world, CHANNEL).await;
        assert!(
            answer.starts_with(&format!("You may not say `/dcr {verb}`: it takes the role ")),
            "{answer}"
        );
    }
    insta::assert_snapshot!(newest(&world, CHANNEL).await, @"You may not say `/dcr list`: it takes the role `viewer` or `operator`. Roles are given in people.toml by an administrator.");
    let pressed = world
        .town
        .discord
        .press(&eve, &card(&world).id, &button(&card(&world), "Retry"))
        .await
        .unwrap();
    assert_eq!(pressed.problem, None);
    minutes(&world, 1).await;
    assert!(matches!(world.run().await.state, RunState::Stopped { .. }));
}

#[tokio::test]
async fn a_half_typed_run_is_completed_with_the_runs_there_are() {
    let world = World::new().await;
    failed(&world).await;
    let id = world.run().await.id;
    let suggest = async |typed: &str| {
        let ada = Town::ada();
        let asked = world
            .town
            .discord
            .autocomplete(&ada, GUILD, CHANNEL, "dcr", "retry", &[], ("run", typed))
            .await
            .unwrap();
        assert_eq!((asked.problem.as_deref(), asked.kind()), (None, 8));
        asked.choices()
    };
    for typed in [
        "",
        &id.as_str()[..3],
        &id.as_str().to_lowercase(),
        "comcast",
        "SREPROV-30",
    ] {
        let choices = suggest(typed).await;
        assert_eq!(choices.len(), 1, "{typed}");
        assert_eq!(choices[0].1, id.as_str());
        assert_eq!(
            world.readable(&choices[0].0).await,
            "❌ DCR rebuild comcast · SREPROV-3072 · RUN — Rebuild failed at 42 %"
        );
    }
    assert!(suggest("globex").await.is_empty());
}

#[tokio::test]
async fn runs_are_suggested_only_to_those_who_may_and_only_those_of_the_command() {
    let world = World::new().await;
    failed(&world).await;
    let suggest = async |member, command: &str, verb: &str, arg: &str| {
        let discord = &world.town.discord;
        let asked = discord.autocomplete(&member, GUILD, CHANNEL, command, verb, &[], (arg, ""));
        let asked = asked.await.unwrap();
        assert_eq!((asked.problem.as_deref(), asked.kind()), (None, 8));
        asked.choices().len()
    };
    assert_eq!(suggest(Town::ada(), "dcr", "retry", "run").await, 1);
    assert_eq!(
        suggest(Town::eve(), "dcr", "retry", "run").await,
        0,
        "she may not retry"
    );
    assert_eq!(
        suggest(Town::eve(), "dcr", "status", "run").await,
        0,
        "she may not even look"
    );
    assert_eq!(
        suggest(Town::ada(), "provision", "retry", "run").await,
        0,
        "another command"
    );
}

#[tokio::test]
async fn a_command_that_no_longer_exists_is_answered() {
    let world = World::new().await;
    // Discord still shows a command that has been renamed since.
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut before = catalog::load(&config, &world.town.settings()).unwrap();
    before.commands[0].name = "warm".parse().unwrap();
    let discord = Discord::new(&wiring::discord_config(&before.settings).unwrap()).unwrap();
    let commands = registration(&before.commands);
    discord.register(Some(GUILD), &commands).await.unwrap();
    let ada = Town::ada();
    let said = world.town.discord.slash(&ada, GUILD, CHANNEL, "warm", "list", &[]);
    assert_eq!(said.await.unwrap().problem, None);
    world.settle().await;
    insta::assert_snapshot!(newest(&world, CHANNEL).await, @"There is no command /warm any more; the list of commands that you see is out of date.");
}

#[tokio::test]
async fn the_retry_button_on_the_card_works_once() {
    let world = World::new().await;
    failed(&world).await;
    let card_then = card(&world);
    let retry = button(&card_then, "Retry");
    world.town.dcr.auto_restart(TENANT);
    let pressed = world
        .town
        .discord
        .press(&Town::ada(), &card_then.id, &retry)
        .await
        .unwrap();
    assert_eq!((pressed.kind(), pressed.problem), (6, None), "deferred without a word");
    minutes(&world, 1).await;
    assert!(matches!(world.run().await.state, RunState::Active(_)));
    assert!(card(&world).buttons.is_empty(), "what cannot be pressed is not shown");
    // Somebody whose client still shows the button presses it as well.
    world
        .town
        .discord
        .press_stale(&Town::ada(), &card_then.id, &retry)
        .await
        .unwrap();
    minutes(&world, 1).await;
    let history = world.store.history(&world.run().await.id).await.unwrap();
    let resumed = history
        .iter()
        .filter(|entry| matches!(entry.what, Happened::Retried { .. }));
    assert_eq!(resumed.count(), 1);
    insta::assert_snapshot!(newest(&world, CHANNEL).await, @r"
    This retry was offered for an earlier failure (Rebuild, attempt 1): ada resumed it at 2026-11-18 11:11 UTC. Nothing was started now. Where it stands: ▶️ DCR rebuild comcast · SREPROV-3072 · RUN — Rebuild the cache
    stepherd · reply/discord:interaction:1572569979289600001
    ");
    assert_eq!(card(&world).id, card_then.id, "the card is still the card");
}

#[tokio::test]
async fn an_interaction_that_comes_twice_takes_effect_once() {
    let world = World::new().await;
    let options = [("tenant", Value::from(TENANT))];
    let said = say(&world, CHANNEL, "start", &options).await;
    minutes(&world, 1).await;
    let messages = in_channel(&world, CHANNEL).len();
    let status = world.town.discord.redeliver(&said.id).await.unwrap();
    assert_eq!(status, 200);
    minutes(&world, 1).await;
    assert_eq!(world.runs().await.len(), 1);
    assert_eq!(in_channel(&world, CHANNEL).len(), messages);
    // What is replayed after the window does not even come in.
    world.clock.advance(Duration::from_secs(600));
    assert_eq!(world.town.discord.redeliver(&said.id).await.unwrap(), 401);
}

#[tokio::test]
async fn the_endpoint_passes_discords_own_examination() {
    let world = World::new().await;
    world.town.discord.check_endpoint().await.unwrap();
    let pong = world.town.discord.ping().await.unwrap();
    assert_eq!(pong.body, json!({"type": 1}));
    let forged = world.town.discord.probe_bad_signature().await.unwrap();
    assert_eq!(forged.status, 401);
    assert!(
        world.store.deliveries(None, 10).await.unwrap().is_empty(),
        "neither is stored"
    );
    let (_, text) = world.get("/metrics", Some(Town::api_token())).await;
    let count = text
        .lines()
        .find(|l| l.contains("platform=\"discord\"") && l.contains("outcome=\"forged\""));
    assert!(count.is_some_and(|l| l.ends_with(" 2")), "{text}");
}

#[tokio::test]
async fn an_answer_that_comes_too_late_for_the_interaction_goes_to_the_channel() {
    let world = World::new().await;
    let ada = Town::ada();
    world
        .town
        .discord
        .slash(&ada, GUILD, CHANNEL, "dcr", "list", &[])
        .await
        .unwrap();
    // Twenty minutes pass before anybody gets to it: Discord's token has lapsed.
    world.clock.advance(Duration::from_secs(20 * 60));
    world.settle().await;
    insta::assert_snapshot!(newest(&world, CHANNEL).await, @r"
    No run is under way.
    stepherd · reply/discord:interaction:1572568720998400003
    ");
    assert!(world.town.discord.stage.calls_to("PATCH", "/webhooks/").is_empty());
}

#[tokio::test]
async fn nobody_is_ever_mentioned() {
    let world = World::new().await;
    super::dcr::rebuilding(&world, 42.0).await;
    world.town.dcr.fail(
        TENANT,
        "@everyone <@5> farmer-3 lost [here](https://evil.example) **now**",
    );
    minutes(&world, 1).await;
    let thread = opened(&world);
    say(&world, &thread, "why", &[]).await;
    say(&world, &thread, "retry", &[]).await;
    minutes(&world, 1).await;
    let written = world.town.discord.stage.calls().into_iter();
    let written: Vec<_> = written
        .filter(|c| {
            matches!(c.method.as_str(), "POST" | "PATCH")
                && c.path.contains("/messages")
                && !c.path.ends_with("/threads")
        })
        .collect();
    assert!(written.len() > 5);
    for call in written {
        let body: Value = serde_json::from_str(&call.body).unwrap();
        assert_eq!(
            body["allowed_mentions"]["parse"],
            json!([]),
            "{} {}",
            call.method,
            call.path
        );
    }
    let all = world.town.discord.messages(CHANNEL);
    assert!(all.iter().all(|message| !message.pings));
}

#[tokio::test]
async fn the_registered_commands_are_the_declared_ones() {
    let world = World::new().await;
    let mut names = world.town.discord.commands(GUILD);
    names.sort();
    assert_eq!(names, ["dcr", "provision"]);
    let sent = world.town.discord.stage.calls_to("PUT", "/commands");
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].status, 200, "{}", sent[0].body);
    let body: Value = serde_json::from_str(&sent[0].body).unwrap();
    let dcr = body.as_array().unwrap().iter().find(|c| c["name"] == "dcr").unwrap();
    let verbs: Vec<&str> = dcr["options"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| o["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        verbs,
        ["start", "status", "retry", "stop", "answer", "list", "why", "help"]
    );
}

#[tokio::test]
async fn a_card_that_people_deleted_comes_back() {
    let world = World::new().await;
    failed(&world).await;
    let before = card(&world).id;
    world.town.discord.delete_message(&before);
    world.town.dcr.auto_restart(TENANT);
    say(
        &world,
        CHANNEL,
        "retry",
        &[("run", world.run().await.id.as_str().into())],
    )
    .await;
    world.town.dcr.advance(TENANT, 50.0);
    minutes(&world, 2).await;
    assert_ne!(card(&world).id, before);
    assert!(card(&world).text.contains("50 %"));
}
