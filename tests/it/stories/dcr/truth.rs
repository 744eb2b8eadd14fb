//! What is told when the back-end's own story has gaps: failures that nobody saw, waits, contradictions, silence.

use stepherd::domain::run::RunState;
use stepherd::sandbox::dcr::Flags;
use stepherd::sandbox::town::{REPO, TENANT};

use super::{channel, counts, minutes, opened, rebuilding, status, synced, ticket};
use crate::world::World;

// Row 4.

#[tokio::test]
async fn a_failure_that_was_repaired_between_two_looks_is_told_though_it_was_never_seen() {
    let world = World::new().await;
    rebuilding(&world, 30.0).await;
    world.town.dcr.fail(TENANT, "out of memory");
    world.town.dcr.auto_restart(TENANT);
    world.town.dcr.advance(TENANT, 31.0);
    minutes(&world, 5).await;
    assert!(matches!(world.run().await.state, RunState::Active(_)));
    assert_eq!(counts(&world), [2, 2, 2, 1, 1]);
    insta::assert_snapshot!(ticket(&world).await, @r"
    --- stepherd
    ▶️ DCR rebuild comcast · SREPROV-3072 · RUN — Rebuild the cache
    ██████░░░░░░░░░░░░░░ 31 %
    - Step: 7 of 8: Rebuild
    - Attempt: 1
    - Doing: restarted 1 time by the service
    - There: 3 of min 3, 3 of 3 farmers in hidden state
    - Done by: unknown
    - Back-end: open (https://dcr.example.org/ui/tenants/comcast)
    - Restarts: 1
    - Pull requests: acme/deployment#1 (https://github/acme/deployment/pull/1), acme/deployment#2 (https://github/acme/deployment/pull/2)
    - Asked by: Ada, 2026-11-18 11:06 UTC
    - ✅ Note the rebuild in the tenant's history — acme/deployment#1 opened
    - ✅ Merge the history — merged as SHA
    - ✅ Switch the farmers on — acme/deployment#2 opened
    - ✅ Merge the farm's start — merged as SHA
    - ✅ Sync the farm
    - ✅ Wait for farmers — 3 of min 3, 3 of 3 farmers in hidden state
    - ▶️ Rebuild the cache
    - ▫️ Close the ticket
    Nothing to do. To end the run, while what it watches goes on without it: /dcr stop run=RUN
    --- stepherd
    🔁 Rebuild failed at 30 % and was restarted by the service (restart 1): it goes on at 31 %
    - Seen: 2026-11-18 11:10 UTC
    - Before: 3 of min 3, 3 of 3 farmers in hidden state
    - Now: 3 of min 3, 3 of 3 farmers in hidden state
    The run follows it. Nothing for you to do.
    ");
    assert_eq!(status(&world).await["restartCount"], 1);
    assert_eq!(world.town.dcr.changing_calls(), 0, "nothing was started by us");
}

// Row 8.

#[tokio::test]
async fn farmers_that_go_away_fail_it_and_the_run_waits_for_the_restart_while_the_deadline_stands_still() {
    let world = World::with(|dir| {
        let path = dir.join("config/pipelines/dcr.toml");
        let plan = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, plan.replace("stall = \"12h\"", "timeout = \"40m\"")).unwrap();
    })
    .await;
    rebuilding(&world, 30.0).await;
    world.town.dcr.set_farmers(TENANT, 1);
    minutes(&world, 25).await;
    insta::assert_snapshot!(ticket(&world).await, @r"
    --- stepherd
    ▶️ DCR rebuild comcast · SREPROV-3072 · RUN — Rebuild the cache: waiting
    ██████░░░░░░░░░░░░░░ 30 %
    - Step: 7 of 8: Rebuild
    - Attempt: 1
    - Waiting for: its restart by the service, which tries again by itself until 2026-11-18 11:40 UTC
    - There: 1 of min 3, 1 of 3 farmers in hidden state
    - Back-end: open (https://dcr.example.org/ui/tenants/comcast)
    - Restarts: 0
    - Pull requests: acme/deployment#1 (https://github/acme/deployment/pull/1), acme/deployment#2 (https://github/acme/deployment/pull/2)
    - Asked by: Ada, 2026-11-18 11:06 UTC
    - ✅ Note the rebuild in the tenant's history — acme/deployment#1 opened
    - ✅ Merge the history — merged as SHA
    - ✅ Switch the farmers on — acme/deployment#2 opened
    - ✅ Merge the farm's start — merged as SHA
    - ✅ Sync the farm
    - ✅ Wait for farmers — 3 of min 3, 3 of 3 farmers in hidden state
    - ▶️ Rebuild the cache
    - ▫️ Close the ticket
    It goes on by itself once that is there. To end the run, while what it watches goes on without it: /dcr stop run=RUN
    --- stepherd
    ❌ Rebuild failed at 30 %
    1 of 3 farmers left
    - Progress at failure: 30 %
    - There: 1 of min 3, 1 of 3 farmers in hidden state
    The service tries again by itself until 2026-11-18 11:40 UTC. The run waits for that, and fails if it is not restarted by then. What you can do is to bring back what is missing.
    ");
    assert!(
        matches!(world.run().await.state, RunState::Active(_)),
        "waiting is not hanging"
    );
    world.town.dcr.set_farmers(TENANT, 3);
    minutes(&world, 30).await;
    assert!(
        matches!(world.run().await.state, RunState::Active(_)),
        "the wait does not count"
    );
    assert!(
        !ticket(&world).await.contains("Rebuild the cache: waiting"),
        "it is over"
    );
    minutes(&world, 12).await;
    let RunState::Stopped { why, .. } = world.run().await.state else {
        panic!("time is over")
    };
    assert!(why.reason.starts_with("timed out after 40 minutes"), "{}", why.reason);
}

#[tokio::test]
async fn farmers_that_do_not_come_back_in_time_fail_the_step() {
    let world = World::new().await;
    rebuilding(&world, 30.0).await;
    world.town.dcr.set_farmers(TENANT, 1);
    minutes(&world, 29).await;
    assert!(matches!(world.run().await.state, RunState::Active(_)));
    let told = counts(&world);
    minutes(&world, 3).await;
    let RunState::Stopped { why, .. } = world.run().await.state else {
        panic!("time is over")
    };
    assert_eq!(
        why.reason,
        "1 of 3 farmers left; the service did not restart it within 30 minutes"
    );
    let [ticket, first, second, channel, thread] = told;
    let once_more = [ticket + 1, first + 1, second + 1, channel, thread + 1];
    assert_eq!(counts(&world), once_more, "that is told, once");
}

#[tokio::test]
async fn a_wait_for_farmers_that_takes_too_long_says_what_it_waited_for() {
    let world = World::new().await;
    synced(&world).await;
    world.town.dcr.set_farmers(TENANT, 2);
    minutes(&world, 91).await;
    insta::assert_snapshot!(channel(&world, &opened(&world)).await, @r"
    --- bot
    ❌ WaitForFarmers failed at 66.67 %
    ```
    timed out after 90 minutes; last seen: 2 of min 3, 2 of 3 farmers in hidden state
    ```
    To go on: `/dcr retry run=RUN failure=15`. To give up and free its locks: `/dcr stop run=RUN`
    Progress at failure: 66.67 %
    Attempt: 1
    Restarts: 0
    Class: infrastructure: a machine, a network or a service
    Back-end: [open](https://dcr.example.org/ui/tenants/comcast)
    stepherd · RUN/15
    ");
    assert_eq!(world.town.dcr.begun(TENANT), 0);
    // The farmers came in the end: going on takes one word.
    world.town.dcr.set_farmers(TENANT, 3);
    let retry = format!("/dcr retry run={}", world.run().await.id);
    world.town.github.comment(REPO, 2, "ada", &retry).unwrap();
    minutes(&world, 1).await;
    assert_eq!(world.town.dcr.begun(TENANT), 1);
}

// Row 1.

#[tokio::test]
async fn flags_that_contradict_one_another_are_never_success_and_never_failure() {
    let world = World::new().await;
    rebuilding(&world, 42.0).await;
    for letters in ["FTFF", "TTTF", "TFTT", "FFTF", "TTFT", "TTTT", "FFFT"] {
        world.town.dcr.force_flags(TENANT, Some(Flags::of(letters)));
        minutes(&world, 2).await;
        assert!(matches!(world.run().await.state, RunState::Active(_)), "{letters}");
    }
    insta::assert_snapshot!(ticket(&world).await, @r"
    --- stepherd
    ▶️ DCR rebuild comcast · SREPROV-3072 · RUN — Rebuild the cache
    ████████░░░░░░░░░░░░ 42 %
    - Step: 7 of 8: Rebuild
    - Attempt: 1
    - Doing: the status contradicts itself: hasStarted=false, isRunning=false, hasCompleted=false, hasFailed=true
    - There: 3 of min 3, 3 of 3 farmers in hidden state
    - Back-end: open (https://dcr.example.org/ui/tenants/comcast)
    - Restarts: 0
    - Pull requests: acme/deployment#1 (https://github/acme/deployment/pull/1), acme/deployment#2 (https://github/acme/deployment/pull/2)
    - Asked by: Ada, 2026-11-18 11:06 UTC
    - ✅ Note the rebuild in the tenant's history — acme/deployment#1 opened
    - ✅ Merge the history — merged as SHA
    - ✅ Switch the farmers on — acme/deployment#2 opened
    - ✅ Merge the farm's start — merged as SHA
    - ✅ Sync the farm
    - ✅ Wait for farmers — 3 of min 3, 3 of 3 farmers in hidden state
    - ▶️ Rebuild the cache
    - ▫️ Close the ticket
    It is looked at again and again until that is clear. To end the run, while what it watches goes on without it: /dcr stop run=RUN
    ");
    world.town.dcr.force_flags(TENANT, None);
    minutes(&world, 1).await;
    assert!(!ticket(&world).await.contains("contradicts"));
}
