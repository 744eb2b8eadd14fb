//! What programs are told about runs, and what they are not told without the token.
#![expect(clippy::too_many_lines, reason = "whole threads are shown where they are told about")]

use std::time::Duration;

use serde_json::Value;
use stepherd::clock::Clock as _;
use stepherd::sandbox::dcr::ProgressStyle;
use stepherd::sandbox::town::{APP, REPO, SECOND_TICKET, TENANT, TICKET, Town};

use super::{ADA, failed, minutes, status};
use crate::world::World;

#[tokio::test]
async fn the_run_itself_has_a_seven_field_status_in_every_phase() {
    let world = World::new().await;
    world.town.github.require_reviews(REPO, 1).unwrap();
    world.town.dcr.set_farmers(TENANT, 0);
    // The transition has come in, and nothing was done about it yet.
    world.town.jira.transition(TICKET, ADA, "Approved").await.unwrap();
    world.deliver().await;
    world.intake().await;
    let flags = |status: &Value| {
        let names = ["hasStarted", "isRunning", "hasCompleted", "hasFailed"];
        names
            .map(|name| if status[name].as_bool().unwrap() { 'T' } else { 'F' })
            .iter()
            .collect::<String>()
    };
    let seven = [
        "hasStarted",
        "isRunning",
        "hasCompleted",
        "hasFailed",
        "progressPercentage",
        "failureReason",
        "restartCount",
    ];
    let mut seen = Vec::new();
    let mut note = |status: Value| {
        let names: Vec<&str> = status.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, seven);
        seen.push(format!(
            "{} {} {} {}",
            flags(&status),
            status["progressPercentage"],
            status["failureReason"],
            status["restartCount"]
        ));
    };
    note(status(&world).await);
    world.settle().await;
    note(status(&world).await);
    // A second run of the same tenant has to wait in line.
    let first = world.run().await.id;
    world.pass(Duration::from_secs(2)).await;
    world
        .town
        .jira
        .transition(SECOND_TICKET, ADA, "Approved")
        .await
        .unwrap();
    world.settle().await;
    note(status(&world).await);
    let stop = format!("/dcr stop run={}", world.run().await.id);
    world
        .town
        .jira
        .comment(SECOND_TICKET, ADA, stop.as_str())
        .await
        .unwrap();
    world.settle().await;
    note(status(&world).await);

    world.town.github.require_reviews(REPO, 0).unwrap();
    minutes(&world, 3).await;
    let path = format!("/api/v1/runs/{first}/processStatus");
    let now = async || serde_json::from_str::<Value>(&world.get(&path, Some(Town::api_token())).await.1).unwrap();
    note(now().await);
    world
        .town
        .argocd
        .git_moved(APP, &world.town.github.pulls(REPO).unwrap()[1].merged.clone().unwrap());
    world.town.argocd.finish(APP);
    world.town.dcr.set_farmers(TENANT, 3);
    minutes(&world, 2).await;
    world.town.dcr.advance(TENANT, 12.5);
    world.town.dcr.set_style(ProgressStyle::Float, false);
    minutes(&world, 1).await;
    note(now().await);
    world.town.dcr.auto_restart(TENANT);
    minutes(&world, 1).await;
    note(now().await);
    world.town.dcr.fail(TENANT, "farmer-3 lost");
    minutes(&world, 1).await;
    note(now().await);
    world.town.dcr.auto_restart(TENANT);
    world.town.jira.comment(TICKET, ADA, "/dcr retry").await.unwrap();
    minutes(&world, 1).await;
    world.town.dcr.complete(TENANT);
    minutes(&world, 1).await;
    note(now().await);
    insta::assert_snapshot!(seen.join("\n"), @r#"
    TFFF 0.0 null 0
    TFFF 0.0 null 0
    FFFF 0.0 null 0
    TFFT 0.0 "stopped by Ada" 0
    TTFF 0.0 null 0
    TTFF 12.5 null 0
    TTFF 12.5 null 1
    TFFT 12.5 "farmer-3 lost" 1
    TFTF 100.0 null 2
    "#);
}

/// The task's page: a line a step that has begun, with how many seconds ago it was updated.
async fn step_states(world: &World) -> String {
    let path = format!("/api/v1/runs/{}", world.run().await.id);
    let shown: Value = serde_json::from_str(&world.get(&path, Some(Town::api_token())).await.1).unwrap();
    let mut lines = Vec::new();
    for step in shown["stepStates"].as_array().unwrap() {
        let mut names: Vec<&str> = step.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "rebuildPercentage",
                "stepName",
                "stepState",
                "stepStateDetail",
                "updatedAt"
            ]
        );
        let Some(at) = step["updatedAt"].as_str() else {
            assert_eq!(step["stepState"], "pending", "{step}");
            continue;
        };
        let age = world.clock.now().duration_since(at.parse().unwrap()).as_secs();
        let (name, state) = (step["stepName"].as_str().unwrap(), step["stepState"].as_str().unwrap());
        lines.push(format!(
            "{name}: {state}, {}, {}, {age} s ago",
            step["stepStateDetail"], step["rebuildPercentage"]
        ));
    }
    assert_eq!(
        shown["stepStates"].as_array().unwrap().len(),
        shown["steps"].as_array().unwrap().len()
    );
    world.readable(&lines.join("\n")).await
}

// Row 6.

#[tokio::test]
async fn the_states_of_the_steps_are_published_and_their_times_move_with_progress() {
    let world = World::new().await;
    world.town.github.require_reviews(REPO, 1).unwrap();
    super::approved(&world).await;
    world.pass(Duration::from_secs(20)).await;
    insta::assert_snapshot!(step_states(&world).await, @r#"
    HistoryUpdate: completed, "acme/deployment#1 opened", null, 20 s ago
    HistoryUpdateMerge: waiting, "At least 1 approving review is required by reviewers with write access.", null, 20 s ago
    "#);
    world.town.github.require_reviews(REPO, 0).unwrap();
    minutes(&world, 3).await;
    let merged = world.town.github.pulls(REPO).unwrap()[1].merged.clone().unwrap();
    world.town.argocd.git_moved(APP, &merged);
    world.town.argocd.finish(APP);
    minutes(&world, 2).await;
    world.town.dcr.advance(TENANT, 42.0);
    minutes(&world, 1).await;
    let last = |text: String| text.lines().last().unwrap().to_owned();
    insta::assert_snapshot!(last(step_states(&world).await), @"Rebuild: running, null, 42.0, 30 s ago");
    minutes(&world, 5).await;
    insta::assert_snapshot!(last(step_states(&world).await), @"Rebuild: running, null, 42.0, 330 s ago");
    world.town.dcr.advance(TENANT, 43.0);
    minutes(&world, 1).await;
    insta::assert_snapshot!(last(step_states(&world).await), @"Rebuild: running, null, 43.0, 30 s ago");
    world.town.dcr.fail(TENANT, "farmer-3 lost");
    minutes(&world, 1).await;
    insta::assert_snapshot!(last(step_states(&world).await), @r#"Rebuild: failed, "farmer-3 lost", 43.0, 30 s ago"#);
    world.town.jira.comment(TICKET, ADA, "/dcr stop").await.unwrap();
    minutes(&world, 11).await;
    insta::assert_snapshot!(step_states(&world).await, @r#"
    HistoryUpdate: completed, "acme/deployment#1 opened", null, 1460 s ago
    HistoryUpdateMerge: completed, "merged as SHA", null, 1380 s ago
    StartFarm: completed, "acme/deployment#2 opened", null, 1380 s ago
    StartFarmMerge: completed, "merged as SHA", null, 1380 s ago
    Sync: completed, null, null, 1230 s ago
    WaitForFarmers: completed, "3 of min 3 farmers ready", null, 1230 s ago
    Rebuild: canceled, "stopped by Ada", 43.0, 630 s ago
    CloseTicket: skipped, null, null, 630 s ago
    "#);
    assert_eq!(status(&world).await["progressPercentage"], 43.0);
}

#[tokio::test]
async fn a_merge_that_failed_says_where_to_look() {
    let world = World::new().await;
    world.town.github.require_reviews(REPO, 1).unwrap();
    super::approved(&world).await;
    world
        .town
        .github
        .push_to_pr(REPO, 1, "ada", &[("x", Some("y"))])
        .unwrap();
    minutes(&world, 2).await;
    let run = world.run().await;
    let why = stepherd::domain::standing::failure(&run).expect("it has failed");
    let opened = run.prs.values().next().expect("there is a pull request");
    assert_eq!(
        (why.step.as_str(), why.link.as_ref()),
        ("HistoryUpdateMerge", Some(&opened.url))
    );
    let said = super::ticket(&world).await;
    assert!(
        said.contains("- Pull request: open (https://github/acme/deployment/pull/1)"),
        "{said}"
    );
}

#[tokio::test]
async fn the_api_lists_runs_and_shows_one_to_those_who_hold_the_token() {
    let world = World::new().await;
    failed(&world).await;
    let id = world.run().await.id;
    let one = format!("/api/v1/runs/{id}");
    for path in ["/api/v1/runs", &one, &format!("{one}/processStatus"), "/metrics"] {
        assert_eq!(world.get(path, None).await.0, 401, "{path}");
        assert_eq!(world.get(path, Some("guess")).await.0, 401, "{path}");
        assert_eq!(world.get(path, Some(Town::api_token())).await.0, 200, "{path}");
    }
    for (path, code) in [
        ("/api/v1/runs/nonsense!", 400),
        ("/api/v1/runs/ZZZZZZZZ", 404),
        ("/api/v1/runs?ticket=x", 400),
    ] {
        assert_eq!(world.get(path, Some(Town::api_token())).await.0, code, "{path}");
    }
    let listed = world
        .get(
            "/api/v1/runs?live=true&ticket=SREPROV-3072&pipeline=dcr",
            Some(Town::api_token()),
        )
        .await
        .1;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let pretty = serde_json::to_string_pretty(&listed).unwrap();
    insta::assert_snapshot!(world.readable(&pretty).await, @r#"
    {
      "runs": [
        {
          "id": "RUN",
          "pipeline": "dcr",
          "ticket": "SREPROV-3072",
          "state": "stopped",
          "step": "Rebuild",
          "attempt": 1,
          "progressPercentage": 42.0,
          "restartCount": 0,
          "headline": "❌ DCR rebuild comcast · SREPROV-3072 · RUN — Rebuild failed at 42 %",
          "askedBy": "Ada",
          "askedAt": "2026-11-18T11:06:40Z",
          "headSha": null,
          "failure": {
            "step": "Rebuild",
            "attempt": 1,
            "reason": "farmer-3 lost",
            "class": "infrastructure",
            "progressPercentage": 42.0,
            "restartCount": 0,
            "link": "https://dcr.example.org/ui/tenants/comcast",
            "at": "2026-11-18T11:10:10Z"
          }
        }
      ]
    }
    "#);
    let shown: Value = serde_json::from_str(&world.get(&one, Some(Town::api_token())).await.1).unwrap();
    let of = |key: &str| serde_json::to_string_pretty(&shown[key]).unwrap();
    insta::assert_snapshot!(world.readable(&of("pullRequests")).await, @r#"
    [
      {
        "step": "HistoryUpdate",
        "pullRequest": "acme/deployment#1",
        "branch": "SREPROV-3072_RUN_StepHistoryUpdate",
        "headSha": "SHA",
        "url": "https://github/acme/deployment/pull/1",
        "mergedAs": "SHA"
      },
      {
        "step": "StartFarm",
        "pullRequest": "acme/deployment#2",
        "branch": "SREPROV-3072_RUN_StepStartFarm",
        "headSha": "SHA",
        "url": "https://github/acme/deployment/pull/2",
        "mergedAs": "SHA"
      }
    ]
    "#);
    let lines: Vec<String> = shown["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|h| h["what"].as_str().unwrap().to_owned())
        .collect();
    insta::assert_snapshot!(world.readable(&lines.join("\n")).await, @r"
    accepted from Ada in jira:SREPROV-3072, allowed by the role operator
    HistoryUpdate: attempt 1 began
    HistoryUpdate: acme/deployment#1 on branch SREPROV-3072_RUN_StepHistoryUpdate
    HistoryUpdate: passed (acme/deployment#1 opened)
    HistoryUpdateMerge: attempt 1 began
    HistoryUpdateMerge: passed (merged as SHA)
    StartFarm: attempt 1 began
    StartFarm: acme/deployment#2 on branch SREPROV-3072_RUN_StepStartFarm
    StartFarm: passed (acme/deployment#2 opened)
    StartFarmMerge: attempt 1 began
    StartFarmMerge: passed (merged as SHA)
    Sync: attempt 1 began
    Sync: passed
    WaitForFarmers: attempt 1 began
    WaitForFarmers: passed (3 of min 3, 3 of 3 farmers in hidden state)
    Rebuild: attempt 1 began
    Rebuild: failed at 42 %: farmer-3 lost
    ");
}

#[tokio::test]
async fn without_a_token_the_api_is_closed_and_health_is_not() {
    let world = World::with_settings(
        |_| {},
        |env| {
            env.retain(|key, _| key != "STEPHERD__SERVER__API_TOKEN" && !key.contains("DISCORD"));
        },
    )
    .await;
    for path in [
        "/api/v1/runs",
        "/api/v1/runs/URMO7YZ2",
        "/api/v1/runs/URMO7YZ2/processStatus",
        "/metrics",
    ] {
        assert_eq!(world.get(path, Some(Town::api_token())).await.0, 403, "{path}");
    }
    assert_eq!(world.get("/healthz", None).await, (200, "ok\n".to_owned()));
    let (code, ready) = world.get("/readyz", None).await;
    assert_eq!(code, 200);
    let ready: Value = serde_json::from_str(&ready).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&ready).unwrap(), @r#"
    {
      "ready": true,
      "degraded": false,
      "parts": {
        "loops": "ready",
        "database": "ready",
        "deliveries": "ready",
        "effects": "ready",
        "platforms": "ready"
      }
    }
    "#);
    assert_eq!(
        world
            .http
            .post(format!("{}/webhooks/discord", world.url))
            .send()
            .await
            .unwrap()
            .status(),
        404
    );
}

#[tokio::test]
async fn metrics_count_what_came_in_what_was_done_and_what_runs_stand_where() {
    let world = World::new().await;
    failed(&world).await;
    let (_, text) = world.get("/metrics", Some(Town::api_token())).await;
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for wanted in [
        "stepherd_rows{what=\"runs\",state=\"stopped\"} 1",
        "stepherd_rows{what=\"effects\",state=\"parked\"} 0",
        "stepherd_rows{what=\"deliveries\",state=\"parked\"} 0",
    ] {
        assert!(lines.contains(&wanted), "{wanted} is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}
