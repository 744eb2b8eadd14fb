//! The rebuild fails, and goes on when somebody says so.
#![expect(clippy::too_many_lines, reason = "whole threads are shown where they are told about")]

use stepherd::sandbox::town::{CHANNEL, REPO, TENANT, TICKET};

use super::{channel, counts, failed, minutes, opened, pull_request, ticket};
use crate::world::World;

// Rows 3, 14 and 29.

#[tokio::test]
async fn a_failure_is_told_once_in_every_thread_with_all_that_is_needed_to_go_on() {
    let world = World::new().await;
    failed(&world).await;
    insta::assert_snapshot!(ticket(&world).await, @r"
    --- stepherd
    ❌ DCR rebuild comcast · SREPROV-3072 · RUN — Rebuild failed at 42 %
    ████████░░░░░░░░░░░░ 42 %
    - Step: 7 of 8: Rebuild
    - Attempt: 1
    - There: 3 of min 3, 3 of 3 farmers in hidden state
    - Back-end: open (https://dcr.example.org/ui/tenants/comcast)
    - Class: infrastructure: a machine, a network or a service
    - Restarts: 0
    - Pull requests: acme/deployment#1 (https://github/acme/deployment/pull/1), acme/deployment#2 (https://github/acme/deployment/pull/2)
    - Asked by: Ada, 2026-11-18 11:06 UTC
    farmer-3 lost
    - ✅ Note the rebuild in the tenant's history — acme/deployment#1 opened
    - ✅ Merge the history — merged as SHA
    - ✅ Switch the farmers on — acme/deployment#2 opened
    - ✅ Merge the farm's start — merged as SHA
    - ✅ Sync the farm
    - ✅ Wait for farmers — 3 of min 3, 3 of 3 farmers in hidden state
    - ❌ Rebuild the cache
    - ▫️ Close the ticket
    To go on: /dcr retry run=RUN failure=17. To give up and free its locks: /dcr stop run=RUN
    --- stepherd
    ❌ Rebuild failed at 42 %
    farmer-3 lost
    - Progress at failure: 42 %
    - Attempt: 1
    - Restarts: 0
    - Class: infrastructure: a machine, a network or a service
    - There: 3 of min 3, 3 of 3 farmers in hidden state
    - Back-end: open (https://dcr.example.org/ui/tenants/comcast)
    To go on: /dcr retry run=RUN failure=17. To give up and free its locks: /dcr stop run=RUN
    ");
    insta::assert_snapshot!(pull_request(&world, 1).await, @r"
    --- stepherd[bot]
    ### ❌ DCR rebuild comcast · SREPROV-3072 · RUN — Rebuild failed at 42 %

    `▓▓▓▓░░░░░░` 42 %

    - **Step:** 7 of 8: **Rebuild**
    - **Attempt:** 1
    - **There:** 3 of min 3, 3 of 3 farmers in hidden state
    - **Back-end:** [open](<https://dcr.example.org/ui/tenants/comcast>)
    - **Class:** infrastructure: a machine, a network or a service
    - **Restarts:** 0
    - **Pull requests:** [acme/deployment#1](<https://github/acme/deployment/pull/1>), [acme/deployment#2](<https://github/acme/deployment/pull/2>)
    - **Asked by:** Ada, 2026-11-18 11:06 UTC

    ```text
    farmer-3 lost
    ```

    * ✅ Note the rebuild in the tenant's history — acme/deployment#1 opened
    * ✅ Merge the history — merged as SHA
    * ✅ Switch the farmers on — acme/deployment#2 opened
    * ✅ Merge the farm's start — merged as SHA
    * ✅ Sync the farm
    * ✅ Wait for farmers — 3 of min 3, 3 of 3 farmers in hidden state
    * ❌ Rebuild the cache
    * ▫️ Close the ticket

    To go on: `/dcr retry run=RUN failure=17`. To give up and free its locks: `/dcr stop run=RUN`

    <!-- stepherd:RUN/card -->
    --- stepherd[bot]
    ### ❌ Rebuild failed at 42 %

    ```text
    farmer-3 lost
    ```

    - **Progress at failure:** 42 %
    - **Attempt:** 1
    - **Restarts:** 0
    - **Class:** infrastructure: a machine, a network or a service
    - **There:** 3 of min 3, 3 of 3 farmers in hidden state
    - **Back-end:** [open](<https://dcr.example.org/ui/tenants/comcast>)

    To go on: `/dcr retry run=RUN failure=17`. To give up and free its locks: `/dcr stop run=RUN`

    <!-- stepherd:RUN/17 -->
    ");
    insta::assert_snapshot!(channel(&world, CHANNEL).await, @r"
    --- bot
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
    Step: 7 of 8: **Rebuild**
    Attempt: 1
    There: 3 of min 3, 3 of 3 farmers in hidden state
    Back-end: [open](https://dcr.example.org/ui/tenants/comcast)
    Class: infrastructure: a machine, a network or a service
    Restarts: 0
    Pull requests: [acme/deployment#1](https://github/acme/deployment/pull/1), [acme/deployment#2](https://github/acme/deployment/pull/2)
    Asked by: Ada, 2026-11-18 11:06 UTC
    stepherd · RUN/card
    [Retry] [Stop]
    [Retry]
    [Stop]
    ");
    insta::assert_snapshot!(channel(&world, &opened(&world)).await, @r"
    --- bot
    ❌ Rebuild failed at 42 %
    ```
    farmer-3 lost
    ```
    To go on: `/dcr retry run=RUN failure=17`. To give up and free its locks: `/dcr stop run=RUN`
    Progress at failure: 42 %
    Attempt: 1
    Restarts: 0
    Class: infrastructure: a machine, a network or a service
    There: 3 of min 3, 3 of 3 farmers in hidden state
    Back-end: [open](https://dcr.example.org/ui/tenants/comcast)
    stepherd · RUN/17
    ");
    assert_eq!(pull_request(&world, 1).await, pull_request(&world, 2).await);

    let effects = world.store.effects(None, 500).await.unwrap().len();
    minutes(&world, 120).await;
    assert_eq!(counts(&world), [2, 2, 2, 1, 1], "once, and not again");
    assert_eq!(world.store.effects(None, 500).await.unwrap().len(), effects);
    assert_eq!(
        world.town.jira.status(TICKET).as_deref(),
        Some("Approved"),
        "later steps never start"
    );
    assert_eq!(world.town.dcr.begun(TENANT), 1);
    for check in world.town.github.check_runs(REPO).unwrap() {
        assert_eq!(check.conclusion.as_deref(), Some("failure"));
    }
}

#[tokio::test]
async fn after_a_restart_by_the_service_retry_on_the_pull_request_follows_it_and_the_run_completes() {
    let world = World::new().await;
    failed(&world).await;
    world.town.dcr.auto_restart(TENANT);
    minutes(&world, 1).await;
    world.town.github.comment(REPO, 1, "ada", "/dcr retry").unwrap();
    minutes(&world, 1).await;
    assert_eq!(world.town.dcr.changing_calls(), 0, "stepherd only looks");
    world.town.dcr.advance(TENANT, 61.0);
    minutes(&world, 1).await;
    insta::assert_snapshot!(channel(&world, CHANNEL).await, @r"
    --- bot
    ▶️ DCR rebuild comcast · SREPROV-3072 · RUN — Rebuild the cache
    ▰▰▰▰▰▰▱▱▱▱ 61 %
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
    stepherd · RUN/card
    ");
    world.town.dcr.complete(TENANT);
    minutes(&world, 1).await;

    assert_eq!(world.town.jira.status(TICKET).as_deref(), Some("Done"));
    insta::assert_snapshot!(ticket(&world).await, @r"
    --- stepherd
    ✅ DCR rebuild comcast · SREPROV-3072 · RUN — completed
    ████████████████████ 100 %
    - Restarts: 1
    - Pull requests: acme/deployment#1 (https://github/acme/deployment/pull/1), acme/deployment#2 (https://github/acme/deployment/pull/2)
    - Asked by: Ada, 2026-11-18 11:06 UTC
    - ✅ Note the rebuild in the tenant's history — acme/deployment#1 opened
    - ✅ Merge the history — merged as SHA
    - ✅ Switch the farmers on — acme/deployment#2 opened
    - ✅ Merge the farm's start — merged as SHA
    - ✅ Sync the farm
    - ✅ Wait for farmers — 3 of min 3, 3 of 3 farmers in hidden state
    - ✅ Rebuild the cache — 1 restart
    - ✅ Close the ticket
    Nothing left to do.
    --- stepherd
    ❌ Rebuild failed at 42 %
    farmer-3 lost
    - Progress at failure: 42 %
    - Attempt: 1
    - Restarts: 0
    - Class: infrastructure: a machine, a network or a service
    - There: 3 of min 3, 3 of 3 farmers in hidden state
    - Back-end: open (https://dcr.example.org/ui/tenants/comcast)
    To go on: /dcr retry run=RUN failure=17. To give up and free its locks: /dcr stop run=RUN
    --- stepherd
    🔁 Rebuild failed at 42 % and was restarted by the service (restart 1): it goes on at 42 %
    farmer-3 lost
    - Seen: 2026-11-18 11:11 UTC
    - Before: 3 of min 3, 3 of 3 farmers in hidden state
    - Now: 3 of min 3, 3 of 3 farmers in hidden state
    The run has stopped and does not follow it. To go on with it: /dcr retry run=RUN failure=17
    --- stepherd
    ✅ DCR rebuild comcast · SREPROV-3072 · RUN completed.
    ");
    insta::assert_snapshot!(pull_request(&world, 1).await, @r"
    --- stepherd[bot]
    ### ✅ DCR rebuild comcast · SREPROV-3072 · RUN — completed

    `▓▓▓▓▓▓▓▓▓▓` 100 %

    - **Restarts:** 1
    - **Pull requests:** [acme/deployment#1](<https://github/acme/deployment/pull/1>), [acme/deployment#2](<https://github/acme/deployment/pull/2>)
    - **Asked by:** Ada, 2026-11-18 11:06 UTC

    * ✅ Note the rebuild in the tenant's history — acme/deployment#1 opened
    * ✅ Merge the history — merged as SHA
    * ✅ Switch the farmers on — acme/deployment#2 opened
    * ✅ Merge the farm's start — merged as SHA
    * ✅ Sync the farm
    * ✅ Wait for farmers — 3 of min 3, 3 of 3 farmers in hidden state
    * ✅ Rebuild the cache — 1 restart
    * ✅ Close the ticket

    Nothing left to do.

    <!-- stepherd:RUN/card -->
    --- stepherd[bot]
    ### ❌ Rebuild failed at 42 %

    ```text
    farmer-3 lost
    ```

    - **Progress at failure:** 42 %
    - **Attempt:** 1
    - **Restarts:** 0
    - **Class:** infrastructure: a machine, a network or a service
    - **There:** 3 of min 3, 3 of 3 farmers in hidden state
    - **Back-end:** [open](<https://dcr.example.org/ui/tenants/comcast>)

    To go on: `/dcr retry run=RUN failure=17`. To give up and free its locks: `/dcr stop run=RUN`

    <!-- stepherd:RUN/17 -->
    --- stepherd[bot]
    ### 🔁 Rebuild failed at 42 % and was restarted by the service (restart 1): it goes on at 42 %

    ```text
    farmer-3 lost
    ```

    - **Seen:** 2026-11-18 11:11 UTC
    - **Before:** 3 of min 3, 3 of 3 farmers in hidden state
    - **Now:** 3 of min 3, 3 of 3 farmers in hidden state

    The run has stopped and does not follow it. To go on with it: `/dcr retry run=RUN failure=17`

    <!-- stepherd:RUN/18 -->
    --- ada [stepherd[bot]:eyes]
    /dcr retry
    --- stepherd[bot]
    ✅ **DCR rebuild comcast · SREPROV-3072 · RUN** completed.

    <!-- stepherd:RUN/24 -->
    ");
    insta::assert_snapshot!(pull_request(&world, 2).await, @r"
    --- stepherd[bot]
    ### ✅ DCR rebuild comcast · SREPROV-3072 · RUN — completed

    `▓▓▓▓▓▓▓▓▓▓` 100 %

    - **Restarts:** 1
    - **Pull requests:** [acme/deployment#1](<https://github/acme/deployment/pull/1>), [acme/deployment#2](<https://github/acme/deployment/pull/2>)
    - **Asked by:** Ada, 2026-11-18 11:06 UTC

    * ✅ Note the rebuild in the tenant's history — acme/deployment#1 opened
    * ✅ Merge the history — merged as SHA
    * ✅ Switch the farmers on — acme/deployment#2 opened
    * ✅ Merge the farm's start — merged as SHA
    * ✅ Sync the farm
    * ✅ Wait for farmers — 3 of min 3, 3 of 3 farmers in hidden state
    * ✅ Rebuild the cache — 1 restart
    * ✅ Close the ticket

    Nothing left to do.

    <!-- stepherd:RUN/card -->
    --- stepherd[bot]
    ### ❌ Rebuild failed at 42 %

    ```text
    farmer-3 lost
    ```

    - **Progress at failure:** 42 %
    - **Attempt:** 1
    - **Restarts:** 0
    - **Class:** infrastructure: a machine, a network or a service
    - **There:** 3 of min 3, 3 of 3 farmers in hidden state
    - **Back-end:** [open](<https://dcr.example.org/ui/tenants/comcast>)

    To go on: `/dcr retry run=RUN failure=17`. To give up and free its locks: `/dcr stop run=RUN`

    <!-- stepherd:RUN/17 -->
    --- stepherd[bot]
    ### 🔁 Rebuild failed at 42 % and was restarted by the service (restart 1): it goes on at 42 %

    ```text
    farmer-3 lost
    ```

    - **Seen:** 2026-11-18 11:11 UTC
    - **Before:** 3 of min 3, 3 of 3 farmers in hidden state
    - **Now:** 3 of min 3, 3 of 3 farmers in hidden state

    The run has stopped and does not follow it. To go on with it: `/dcr retry run=RUN failure=17`

    <!-- stepherd:RUN/18 -->
    --- stepherd[bot]
    ✅ **DCR rebuild comcast · SREPROV-3072 · RUN** completed.

    <!-- stepherd:RUN/24 -->
    ");
    insta::assert_snapshot!(channel(&world, CHANNEL).await, @r"
    --- bot
    ✅ DCR rebuild comcast · SREPROV-3072 · RUN — completed
    ▰▰▰▰▰▰▰▰▰▰ 100 %
    - ✅ Note the rebuild in the tenant's history — acme/deployment#1 opened
    - ✅ Merge the history — merged as SHA
    - ✅ Switch the farmers on — acme/deployment#2 opened
    - ✅ Merge the farm's start — merged as SHA
    - ✅ Sync the farm
    - ✅ Wait for farmers — 3 of min 3, 3 of 3 farmers in hidden state
    - ✅ Rebuild the cache — 1 restart
    - ✅ Close the ticket
    Nothing left to do.
    Restarts: 1
    Pull requests: [acme/deployment#1](https://github/acme/deployment/pull/1), [acme/deployment#2](https://github/acme/deployment/pull/2)
    Asked by: Ada, 2026-11-18 11:06 UTC
    stepherd · RUN/card
    ");
    insta::assert_snapshot!(channel(&world, &opened(&world)).await, @r"
    --- bot
    ❌ Rebuild failed at 42 %
    ```
    farmer-3 lost
    ```
    To go on: `/dcr retry run=RUN failure=17`. To give up and free its locks: `/dcr stop run=RUN`
    Progress at failure: 42 %
    Attempt: 1
    Restarts: 0
    Class: infrastructure: a machine, a network or a service
    There: 3 of min 3, 3 of 3 farmers in hidden state
    Back-end: [open](https://dcr.example.org/ui/tenants/comcast)
    stepherd · RUN/17
    --- bot
    🔁 Rebuild failed at 42 % and was restarted by the service (restart 1): it goes on at 42 %
    ```
    farmer-3 lost
    ```
    The run has stopped and does not follow it. To go on with it: `/dcr retry run=RUN failure=17`
    Seen: 2026-11-18 11:11 UTC
    Before: 3 of min 3, 3 of 3 farmers in hidden state
    Now: 3 of min 3, 3 of 3 farmers in hidden state
    stepherd · RUN/18
    --- bot
    ✅ **DCR rebuild comcast · SREPROV-3072 · RUN** completed.
    stepherd · RUN/24
    ");
    let heads: Vec<String> = world
        .town
        .github
        .pulls(REPO)
        .unwrap()
        .into_iter()
        .map(|p| p.head)
        .collect();
    let checks = world.town.github.check_runs(REPO).unwrap();
    assert_eq!(checks.len(), 2, "one check on each head");
    for check in checks {
        assert!(heads.contains(&check.head));
        assert_eq!(
            (check.status.as_str(), check.conclusion.as_deref()),
            ("completed", Some("success"))
        );
        assert_eq!(check.name, "stepherd/dcr");
        let title = world.readable(&check.title).await;
        assert_eq!(title, "✅ DCR rebuild comcast · SREPROV-3072 · RUN — completed");
    }
    let left: Vec<_> = world.store.effects(None, 500).await.unwrap();
    assert!(left.iter().all(|effect| effect.state == "done"), "{left:?}");
}
