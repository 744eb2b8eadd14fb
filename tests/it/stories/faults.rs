//! Vendors that misbehave: whatever they do, the end is the same as if they had not.

mod doors;
mod pace;

use std::time::Duration;

use serde_json::Value;
use stepherd::domain::run::{FailureClass, RunState, Verdict};
use stepherd::sandbox::stage::{Call, Fault, FaultKind, Stage};
use stepherd::sandbox::town::{APP, CHANNEL, REPO, TENANT, TICKET, Town};
use tokio::sync::OnceCell;

use crate::world::World;

/// Every kind of call by which a run changes something, by vendor: method and part of the path. The rebuild service is
/// only looked at.
const GITHUB: [(&str, &str); 9] = [
    ("POST", "/git/trees"),
    ("POST", "/git/commits"),
    ("POST", "/git/refs"),
    ("POST", "/pulls"),
    ("PUT", "/merge"),
    ("POST", "/check-runs"),
    ("PATCH", "/check-runs/"),
    ("POST", "/comments"),
    ("PATCH", "/comments/"),
];
const JIRA: [(&str, &str); 3] = [("POST", "/comment"), ("PUT", "/comment/"), ("POST", "/transitions")];
const DISCORD: [(&str, &str); 3] = [("POST", "/messages"), ("PATCH", "/messages/"), ("POST", "/threads")];
const ARGOCD: [(&str, &str); 1] = [("POST", "/sync")];

fn stages(world: &World) -> [(&Stage, &'static [(&'static str, &'static str)]); 5] {
    let town = &world.town;
    [
        (town.github.stage(), &GITHUB),
        (&town.jira.stage, &JIRA),
        (&town.discord.stage, &DISCORD),
        (&town.argocd.stage, &ARGOCD),
        (&town.dcr.stage, &[]),
    ]
}

async fn approve(world: &World) {
    world
        .town
        .jira
        .transition(TICKET, "557058:ada", "Approved")
        .await
        .unwrap();
    world.settle().await;
}

fn completed(world_run: &stepherd::domain::run::Run) -> bool {
    matches!(
        world_run.state,
        RunState::Finished {
            verdict: Verdict::Completed,
            ..
        }
    )
}

/// Plays the rebuild to its end, however long the vendors make it take: farmers are ready, it fails once at 42 %,
/// a person says retry, it completes.
async fn play(world: &World) {
    approve(world).await;
    let (mut synced, mut looks, mut failed) = (false, 0, false);
    for _ in 0..400 {
        world.pass(Duration::from_secs(30)).await;
        let Some(run) = world.runs().await.into_iter().next() else {
            continue;
        };
        if completed(&run) {
            world.pass(Duration::from_secs(1800)).await;
            return;
        }
        let merged = world
            .town
            .github
            .pulls(REPO)
            .unwrap()
            .get(1)
            .and_then(|p| p.merged.clone());
        if let Some(merged) = merged.filter(|_| !synced) {
            world.town.argocd.git_moved(APP, &merged);
            synced = true;
        }
        world.town.argocd.finish(APP);
        let starting = matches!(&run.state, RunState::Active(a) if a.step == 6);
        looks += u32::from(starting);
        match (looks, failed, &run.state) {
            (1, false, _) if starting => world.town.dcr.advance(TENANT, 42.0),
            (3, false, RunState::Active(_)) => world.town.dcr.fail(TENANT, "farmer-3 lost"),
            // Whoever says retry has read why it failed.
            (_, false, RunState::Stopped { .. }) if says(world, "Rebuild failed at 42") => {
                failed = true;
                world.town.dcr.auto_restart(TENANT);
                world.town.github.comment(REPO, 1, "ada", "/dcr retry").unwrap();
            }
            (_, true, RunState::Active(_)) => world.town.dcr.complete(TENANT),
            _ => {}
        }
    }
    panic!("it never ends: {:?}", world.run().await.state);
}

/// Whether the first pull request's thread has a message with this in its first line, beside the card.
fn says(world: &World, text: &str) -> bool {
    let said = world.town.github.thread(REPO, 1).unwrap();
    let mut messages = said.iter().filter(|m| !m.body.contains("/card -->"));
    messages.any(|m| m.body.lines().next().is_some_and(|line| line.contains(text)))
}

/// Everything there is to see in the end: pull requests, checks, threads, the ticket, what the back-ends did.
async fn ending(world: &World) -> String {
    let town = &world.town;
    let mut lines = Vec::new();
    for pull in town.github.pulls(REPO).unwrap() {
        lines.push(format!(
            "#{} {} merged={}",
            pull.number,
            pull.branch,
            pull.merged.is_some()
        ));
        for said in town.github.thread(REPO, pull.number).unwrap() {
            lines.push(format!("{} {:?}: {}", said.author, said.reactions, said.body));
        }
    }
    for check in town.github.check_runs(REPO).unwrap() {
        lines.push(format!("check {} {:?} {}", check.name, check.conclusion, check.title));
    }
    for said in town.jira.messages(TICKET) {
        lines.push(format!("jira {}: {}", said.author, said.body));
    }
    for said in town.discord.messages(CHANNEL) {
        lines.push(format!(
            "discord {}: {} {:?}",
            said.author,
            said.text,
            said.buttons.len()
        ));
    }
    for (_, name) in town.discord.threads(CHANNEL) {
        lines.push(format!("thread {name}"));
    }
    lines.push(format!("ticket {:?}", town.jira.status(TICKET)));
    lines.push(format!(
        "syncs {} starts {}",
        town.argocd.syncs(APP),
        town.dcr.changing_calls()
    ));
    let run = world.run().await;
    for passed in &run.passed {
        lines.push(format!(
            "{} attempts={} restarts={}",
            passed.step, passed.attempts, passed.restarts
        ));
    }
    lines.push(format!("branches {}", town.github.branches(REPO).unwrap().len()));
    let text = world.readable(&lines.join("\n")).await;
    // A fault costs time, so the restart is seen later.
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("Seen")).collect();
    let text = lines.join("\n");
    // Comment ids in links and the like differ; what they say does not.
    text.replace(&town.argocd.url, "https://argocd")
}

/// What an untroubled rebuild ends in.
async fn untroubled() -> &'static str {
    static ENDING: OnceCell<String> = OnceCell::const_new();
    ENDING
        .get_or_init(|| async {
            let world = World::new().await;
            play(&world).await;
            ending(&world).await
        })
        .await
}

/// Each of these calls is hit so often; nothing of it may show in the end.
async fn withstands(times: u32, fault: impl Fn(&str, &str) -> Fault) {
    let world = World::new().await;
    for (stage, calls) in stages(&world) {
        for (method, path) in calls {
            stage.misbehave(Fault {
                times,
                ..fault(method, path)
            });
        }
    }
    play(&world).await;
    for (stage, _) in stages(&world) {
        let left = stage.faults();
        assert!(left.is_empty(), "these were never met: {left:?}");
    }
    pretty_assertions(&ending(&world).await, untroubled().await);
    let effects = world.store.effects(None, 500).await.unwrap();
    let left: Vec<_> = effects.iter().filter(|effect| effect.state != "done").collect();
    assert!(left.is_empty(), "{left:?}");
}

fn pretty_assertions(got: &str, wanted: &str) {
    let (mut g, mut w) = (got.lines(), wanted.lines());
    let mut at = 0;
    loop {
        at += 1;
        match (g.next(), w.next()) {
            (None, None) => return,
            (got_line, wanted_line) => {
                assert_eq!(got_line, wanted_line, "line {at} of\n{got}");
            }
        }
    }
}

#[tokio::test]
async fn the_untroubled_rebuild_ends_well() {
    let ending = untroubled().await;
    assert!(ending.contains("ticket Some(\"Done\")"), "{ending}");
    assert!(ending.contains("syncs 1 starts 0"), "{ending}");
    assert_eq!(
        ending.matches("check stepherd/dcr Some(\"success\")").count(),
        2,
        "{ending}"
    );
}

#[tokio::test]
async fn a_429_with_retry_after_changes_nothing_in_the_end() {
    withstands(2, |method, path| Fault::too_many(method, path, 1, 7)).await;
}

#[tokio::test]
async fn a_5xx_changes_nothing_in_the_end() {
    let page = "<html>Bad gateway</html>";
    withstands(2, |method, path| Fault::answer(method, path, 1, 502, vec![], page)).await;
}

#[tokio::test]
async fn a_cut_connection_changes_nothing_in_the_end() {
    withstands(2, |method, path| Fault::new(method, path, 1, FaultKind::Cut)).await;
}

#[tokio::test]
async fn an_effect_whose_answer_is_cut_is_not_made_twice() {
    withstands(1, |method, path| Fault::new(method, path, 1, FaultKind::EffectThenCut)).await;
}

#[tokio::test]
async fn an_effect_whose_answer_comes_empty_is_not_made_twice() {
    withstands(1, |method, path| {
        Fault::new(method, path, 1, FaultKind::EffectThenEmpty)
    })
    .await;
}

#[tokio::test]
async fn an_effect_whose_answer_comes_in_half_is_not_made_twice() {
    withstands(1, |method, path| {
        Fault::new(method, path, 1, FaultKind::EffectThenTruncated)
    })
    .await;
}

#[tokio::test]
async fn githubs_secondary_limit_changes_nothing_in_the_end() {
    for after in [Some(7), None] {
        let world = World::new().await;
        for (method, path) in GITHUB {
            let fault = Fault::secondary_limit(method, path, 1, after);
            world.town.github.stage().misbehave(fault);
        }
        play(&world).await;
        assert!(world.town.github.stage().faults().is_empty());
        pretty_assertions(&ending(&world).await, untroubled().await);
    }
}

/// A world whose rebuild runs and is at 10 %, looked at every second.
async fn rebuilding() -> World {
    let world = World::with(|dir| {
        let file = dir.join("config/pipelines/dcr.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("every = \"30s\"", "every = \"1s\"")).unwrap();
    })
    .await;
    approve(&world).await;
    world.pass(Duration::from_secs(30)).await;
    let merged = world.town.github.pulls(REPO).unwrap()[1].merged.clone().unwrap();
    world.town.argocd.git_moved(APP, &merged);
    world.town.argocd.finish(APP);
    world.pass(Duration::from_secs(60)).await;
    world.town.dcr.advance(TENANT, 10.0);
    world.pass(Duration::from_secs(60)).await;
    let run = world.run().await;
    assert!(
        matches!(&run.state, RunState::Active(a) if a.step == 6),
        "{:?}",
        run.state
    );
    for (stage, _) in stages(&world) {
        stage.forget_calls();
    }
    world
}

async fn second(world: &World) {
    world.clock.advance(Duration::from_secs(1));
    world.settle().await;
}

#[tokio::test]
async fn nobody_is_called_again_before_the_time_they_asked_for() {
    // Who asks for it, by the call that is hit when the rebuild fails.
    let hits = [
        ("github", "POST", "/comments"),
        ("jira", "POST", "/comment"),
        ("discord", "POST", "/messages"),
    ];
    for (vendor, method, path) in hits {
        let world = rebuilding().await;
        let stage: &Stage = match vendor {
            "github" => world.town.github.stage(),
            "jira" => &world.town.jira.stage,
            _ => &world.town.discord.stage,
        };
        stage.misbehave(Fault::too_many(method, path, 1, 90));
        world.town.dcr.fail(TENANT, "farmer-3 lost");
        second(&world).await;
        assert!(stage.faults().is_empty(), "{vendor}");
        stage.forget_calls();
        // Somebody speaks up meanwhile, too.
        world.town.github.comment(REPO, 1, "ada", "/dcr status").unwrap();
        for _ in 0..8 {
            world.clock.advance(Duration::from_secs(11));
            world.settle().await;
            assert_eq!(names(&stage.calls()), Vec::<String>::new(), "{vendor}");
        }
        world.pass(Duration::from_secs(60)).await;
        assert!(
            stage
                .calls()
                .iter()
                .any(|call| call.method == method && call.path.contains(path)),
            "{vendor}"
        );
        let shown = everywhere(&world).await;
        assert!(
            shown.iter().all(|thread| thread.contains("farmer-3 lost")),
            "{vendor}: {shown:?}"
        );
    }
}

#[tokio::test]
async fn backends_are_left_alone_as_they_ask() {
    let world = World::new().await;
    world
        .town
        .argocd
        .stage
        .misbehave(Fault::too_many("POST", "/sync", 1, 90));
    approve(&world).await;
    assert_eq!(world.town.argocd.stage.calls_to("POST", "/sync").len(), 1);
    let before = world.town.argocd.stage.calls().len();
    for _ in 0..8 {
        world.clock.advance(Duration::from_secs(11));
        world.settle().await;
    }
    assert_eq!(world.town.argocd.stage.calls().len(), before);
    world.pass(Duration::from_secs(30)).await;
    assert_eq!(world.town.argocd.syncs(APP), 1);

    let world = rebuilding().await;
    world
        .town
        .dcr
        .stage
        .misbehave(Fault::too_many("GET", "/processStatus", 1, 90));
    second(&world).await;
    let before = world.town.dcr.stage.calls().len();
    for _ in 0..8 {
        world.clock.advance(Duration::from_secs(11));
        world.settle().await;
    }
    assert_eq!(world.town.dcr.stage.calls().len(), before);
    world.town.dcr.complete(TENANT);
    world.pass(Duration::from_secs(30)).await;
    assert!(completed(&world.run().await));
}

fn names(calls: &[Call]) -> Vec<String> {
    calls
        .iter()
        .map(|call| format!("{} {}", call.method, call.path))
        .collect()
}

/// What stands in each of the run's threads.
async fn everywhere(world: &World) -> Vec<String> {
    let github = |n| {
        world
            .town
            .github
            .thread(REPO, n)
            .unwrap()
            .into_iter()
            .map(|m| m.body)
            .collect::<String>()
    };
    let jira = world.town.jira.messages(TICKET).into_iter().map(|m| m.body).collect();
    let discord = world
        .town
        .discord
        .messages(CHANNEL)
        .into_iter()
        .map(|m| m.text)
        .collect();
    let mut shown = Vec::new();
    for thread in [github(1), github(2), jira, discord] {
        shown.push(world.readable(&thread).await);
    }
    shown
}

#[tokio::test]
async fn the_last_state_gets_through_however_long_a_platform_is_away() {
    let world = rebuilding().await;
    for (stage, path) in [
        (world.town.github.stage(), "/comments"),
        (&*world.town.jira.stage, "/comment"),
        (&*world.town.discord.stage, "/messages"),
    ] {
        stage.misbehave(Fault::answer("", path, 10_000, 503, vec![], "away"));
    }
    world.town.dcr.complete(TENANT);
    world.pass(Duration::from_secs(3 * 3600)).await;
    assert!(
        completed(&world.run().await),
        "what people see does not hold up the run"
    );
    assert!(
        !everywhere(&world)
            .await
            .iter()
            .any(|thread| thread.contains("completed"))
    );
    for (stage, _) in stages(&world) {
        stage.behave();
    }
    world.pass(Duration::from_secs(600)).await;
    for thread in everywhere(&world).await {
        assert_eq!(thread.matches("completed.").count(), 1, "said once: {thread}");
        assert!(thread.contains("— completed"), "and shown: {thread}");
    }
}

#[tokio::test]
async fn a_message_that_keeps_failing_is_parked_where_people_see_it_and_can_be_released() {
    let world = World::new().await;
    world
        .town
        .discord
        .stage
        .misbehave(Fault::answer("POST", "/messages", 10_000, 500, vec![], "{}"));
    world
        .town
        .github
        .block_merging(REPO, Some("The freeze is on."))
        .unwrap();
    approve(&world).await;
    let attention = |text: &str| serde_json::from_str::<Value>(text).unwrap()["attention"]["effects_parked"].clone();
    assert_eq!(attention(&world.get("/readyz", Some(Town::api_token())).await.1), 0);
    for _ in 0..400 {
        world.clock.advance(Duration::from_secs(320));
        world.settle().await;
        if !world.store.effects(Some("parked"), 10).await.unwrap().is_empty() {
            break;
        }
    }
    let parked = world.store.effects(Some("parked"), 10).await.unwrap();
    assert_eq!(parked.len(), 1, "{parked:?}");
    let run = world.run().await;
    assert_eq!(parked[0].key, format!("report:{}:discord:{CHANNEL}", run.id));
    assert!(parked[0].reason.contains("500"), "{parked:?}");
    assert_eq!(attention(&world.get("/readyz", Some(Town::api_token())).await.1), 1);
    let (_, detail) = world
        .get(&format!("/api/v1/runs/{}", run.id), Some(Town::api_token()))
        .await;
    let detail: Value = serde_json::from_str(&detail).unwrap();
    assert_eq!(detail["parkedEffects"][0]["id"], parked[0].id);

    world.town.discord.stage.behave();
    use stepherd::clock::Clock as _;
    assert!(
        world
            .store
            .release_effect(parked[0].id, world.clock.now())
            .await
            .unwrap()
    );
    world.settle().await;
    assert!(
        world
            .town
            .discord
            .messages(CHANNEL)
            .iter()
            .any(|m| m.text.contains(run.id.as_str()))
    );
    assert_eq!(attention(&world.get("/readyz", Some(Town::api_token())).await.1), 0);
}

#[tokio::test]
async fn a_refusal_that_is_final_is_explained_and_the_run_goes_on_when_it_is_mended() {
    let world = World::new().await;
    let no = r#"{"message":"No."}"#;
    let town = &world.town;
    // A single refusal of a forge or a tracker is not believed.
    for (stage, method, path, status, times) in [
        (town.github.stage(), "POST", "/pulls", 403, 3),
        (&*town.argocd.stage, "POST", "/sync", 403, 1),
        (&*town.jira.stage, "POST", "/transitions", 404, 3),
    ] {
        stage.misbehave(Fault::answer(method, path, times, status, vec![], no));
    }
    let expected = [
        ("HistoryUpdate", "403 No.", FailureClass::Permission),
        ("Sync", "403 No.", FailureClass::Permission),
        ("CloseTicket", "404 No.", FailureClass::User),
    ];
    approve(&world).await;
    for (step, reason, class) in expected {
        for _ in 0..10 {
            world.pass(Duration::from_secs(30)).await;
            if let Some(merged) = town.github.pulls(REPO).unwrap().get(1).and_then(|p| p.merged.clone()) {
                town.argocd.git_moved(APP, &merged);
                town.argocd.finish(APP);
            }
            if matches!(&world.run().await.state, RunState::Active(a) if a.step == 6) {
                town.dcr.complete(TENANT);
            }
        }
        let run = world.run().await;
        let RunState::Stopped { why, .. } = &run.state else {
            panic!("{step}: {:?}", run.state)
        };
        assert_eq!((why.step.as_str(), why.class), (step, class), "{why:?}");
        assert!(why.reason.contains(reason), "{why:?}");
        let said = town.jira.messages(TICKET);
        let notice = said
            .iter()
            .rfind(|m| m.body.contains(&format!("{step} failed")) && m.body.contains(reason));
        let notice = notice.unwrap_or_else(|| panic!("{step}: {said:?}"));
        assert!(
            notice.body.contains(&format!("/dcr retry run={}", run.id)),
            "{notice:?}"
        );
        town.jira.comment(TICKET, "557058:ada", "/dcr retry").await.unwrap();
        world.settle().await;
    }
    world.pass(Duration::from_secs(60)).await;
    assert!(completed(&world.run().await), "{:?}", world.run().await.state);
}
