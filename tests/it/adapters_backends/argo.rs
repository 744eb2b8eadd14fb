//! Argo CD through every state of an operation.

use super::*;

struct Scene {
    peer: argocd::ArgoCd,
    argo: ArgoCd,
}

async fn scene() -> Scene {
    let options = ArgoOptions {
        token: TOKEN.to_owned(),
        now: ticking(),
        reads_advance: false,
    };
    let peer = argocd::ArgoCd::start(options, 0).await.expect("a port");
    peer.add_app(AppSeed {
        name: "dcr-comcast".to_owned(),
        project: "dcr".to_owned(),
        labels: BTreeMap::new(),
        repo_url: "https://git.example.org/deploy.git".to_owned(),
        path: "comcast".to_owned(),
        target_revision: "main".to_owned(),
        head: "aaa".to_owned(),
    });
    let argo = ArgoCd::new(&ArgoCdConfig {
        base_url: format!("{}/", peer.url),
        token: TOKEN.into(),
    });
    Scene {
        peer,
        argo: argo.expect("a good address"),
    }
}

fn sync() -> JobIntent {
    job("argocd", &[("app", "dcr-comcast"), ("project", "dcr")])
}

fn syncs_asked(scene: &Scene) -> usize {
    scene.peer.stage.calls_to("POST", "/sync").len()
}

#[tokio::test]
async fn a_sync_goes_through_every_state_and_succeeds_only_when_compared_and_healthy() {
    let scene = scene().await;
    scene.peer.git_moved("dcr-comcast", "bbb");
    assert_eq!(scene.argo.start(&sync()).await, Ok(Outcome::JobStarted));
    let mut states = Vec::new();
    loop {
        let seen = scene.argo.observe(&sync(), true).await.expect("an answer");
        states.push((seen.state, detail(&seen).to_owned()));
        if !scene.peer.advance("dcr-comcast") {
            break;
        }
    }
    use ObservedState::{Running, Succeeded};
    let expected = [
        (Running, "the sync is asked for and not yet taken up"),
        (Running, "waiting for completion of hook or resources"),
        (
            Running,
            "the sync ended well; the application is not yet compared again",
        ),
        (Running, "Synced, Progressing"),
        (Succeeded, ""),
    ];
    assert_eq!(states, expected.map(|(s, d)| (s, d.to_owned())));
    let seen = scene.argo.observe(&sync(), true).await.expect("an answer");
    assert_eq!(seen.link, Some(format!("{}/applications/dcr-comcast", scene.peer.url)));
}

#[tokio::test]
async fn a_sync_that_was_asked_for_but_whose_answer_was_lost_is_found_not_repeated() {
    for fault in [
        FaultKind::EffectThenCut,
        FaultKind::EffectThenEmpty,
        FaultKind::EffectThenTruncated,
    ] {
        let scene = scene().await;
        scene.peer.stage.misbehave(Fault::new("POST", "/sync", 1, fault));
        let first = scene.argo.start(&sync()).await;
        assert!(matches!(first, Err(CallError::Retry { .. })), "{first:?}");
        assert_eq!(scene.argo.start(&sync()).await, Ok(Outcome::JobStarted));
        scene.peer.finish("dcr-comcast");
        assert_eq!(scene.argo.start(&sync()).await, Ok(Outcome::JobStarted));
        assert_eq!((syncs_asked(&scene), scene.peer.syncs("dcr-comcast")), (1, 1));
    }
}

#[tokio::test]
async fn an_empty_look_is_not_taken_for_nothing_runs() {
    let scene = scene().await;
    let fault = Fault::new("GET", "/applications/", 2, FaultKind::EffectThenEmpty);
    scene.peer.stage.misbehave(fault);
    assert!(matches!(scene.argo.start(&sync()).await, Err(CallError::Retry { .. })));
    let seen = scene.argo.observe(&sync(), true).await;
    assert!(matches!(seen, Err(CallError::Retry { .. })));
    assert_eq!(syncs_asked(&scene), 0);
}

#[tokio::test]
async fn somebody_elses_operation_is_waited_for_and_never_taken_for_ours() {
    let scene = scene().await;
    let other = with_marker(sync(), "AAAAAAAA/Sync/1");
    assert_eq!(scene.argo.start(&other).await, Ok(Outcome::JobStarted));
    let asked = "Argo CD to end another operation on dcr-comcast: by sandbox (stepherd's AAAAAAAA/Sync/1)";
    assert_eq!(waits(&scene).await, asked);
    scene.peer.advance("dcr-comcast");
    let under_way = waits(&scene).await;
    assert!(
        under_way.starts_with(&format!("{asked}, under way since 20")),
        "{under_way}"
    );
    assert_eq!(syncs_asked(&scene), 1);
    for detail_now in [
        "another operation is in progress; nothing of this run is there",
        "nothing of this run is there",
    ] {
        let seen = scene.argo.observe(&sync(), true).await.expect("an answer");
        assert_eq!((seen.state, detail(&seen)), (ObservedState::Pending, detail_now));
        scene.peer.finish("dcr-comcast");
    }
    assert_eq!(scene.argo.cancel(&sync()).await, Ok(Outcome::JobCanceled));
    assert!(scene.peer.stage.calls_to("DELETE", "").is_empty());
}

#[tokio::test]
async fn a_race_lost_between_look_and_sync_is_tried_again_later() {
    let scene = scene().await;
    let body = r#"{"error":"another operation is already in progress","code":9,"message":"another operation is already in progress"}"#;
    scene
        .peer
        .stage
        .misbehave(Fault::answer("POST", "/sync", 1, 400, Vec::new(), body));
    let why = waits(&scene).await;
    assert!(why.ends_with("an operation was in the way a moment ago"), "{why}");
    assert_eq!(scene.argo.start(&sync()).await, Ok(Outcome::JobStarted));
}

async fn waits(scene: &Scene) -> String {
    match scene.argo.start(&sync()).await {
        Ok(Outcome::JobWaits { why }) => why,
        other => panic!("must wait: {other:?}"),
    }
}

#[tokio::test]
async fn whose_operation_a_sync_waits_for_is_told_in_argos_own_words() {
    let scene = scene().await;
    assert!(scene.peer.sync_by("dcr-comcast", "admin"));
    let told = waits(&scene).await;
    assert_eq!(told, "Argo CD to end another operation on dcr-comcast: by admin");
    for (initiator, by) in [
        (r#"{"automated":true}"#, "Argo CD's automatic sync"),
        (r#"{"username":"","automated":false}"#, "somebody"),
    ] {
        let body = format!(
            r#"{{"metadata":{{"name":"dcr-comcast"}},"operation":{{"initiatedBy":{initiator}}},
                "status":{{"operationState":{{"phase":"Succeeded","startedAt":"2026-11-20T10:00:00Z"}}}}}}"#
        );
        let fault = Fault::answer("GET", "/applications/", 1, 200, Vec::new(), &body);
        scene.peer.stage.misbehave(fault);
        let expected = format!("Argo CD to end another operation on dcr-comcast: by {by}");
        assert_eq!(waits(&scene).await, expected, "the one before is over");
    }
    assert_eq!(syncs_asked(&scene), 0);
}

#[tokio::test]
async fn a_sync_that_was_told_to_end_has_ended_when_its_operation_has_wherever_the_application_is() {
    for (beats, state) in [
        (vec![Beat::Running], ObservedState::Running),
        (vec![Beat::Running, Beat::Succeeded], ObservedState::Pending),
        (
            vec![Beat::Running, Beat::Succeeded, Beat::Synced, Beat::Health("Degraded")],
            ObservedState::Pending,
        ),
        (
            vec![Beat::Running, Beat::Succeeded, Beat::Synced, Beat::Health("Suspended")],
            ObservedState::Pending,
        ),
        (
            vec![Beat::Running, Beat::Succeeded, Beat::Synced, Beat::Health("Healthy")],
            ObservedState::Succeeded,
        ),
        (
            vec![Beat::Running, Beat::Failed("no".to_owned())],
            ObservedState::Failed,
        ),
    ] {
        let scene = scene().await;
        scene.peer.git_moved("dcr-comcast", "bbb");
        scene.peer.script_next_sync("dcr-comcast", beats.clone());
        assert_eq!(scene.argo.start(&sync()).await, Ok(Outcome::JobStarted));
        let asked = scene.argo.observe_end(&sync()).await.expect("an answer");
        assert_eq!(asked.state, ObservedState::Running, "asked for and not yet taken up");
        scene.peer.finish("dcr-comcast");
        let seen = scene.argo.observe_end(&sync()).await.expect("an answer");
        assert_eq!(seen.state, state, "{beats:?}");
    }
}

#[tokio::test]
async fn a_refusal_that_will_not_pass_is_final_in_argos_own_words() {
    let scene = scene().await;
    scene.peer.set_auto_sync("dcr-comcast", true);
    let pinned = job(
        "argocd",
        &[("app", "dcr-comcast"), ("project", "dcr"), ("revision", "bbb")],
    );
    let Ok(Outcome::Failed { reason, class }) = scene.argo.start(&pinned).await else {
        panic!("must fail");
    };
    assert_eq!(class, FailureClass::User);
    assert!(
        reason.contains("Cannot sync to bbb: auto-sync currently set to main"),
        "{reason}"
    );
    assert_eq!(scene.argo.start(&sync()).await, Ok(Outcome::JobStarted));
}

#[tokio::test]
async fn a_revision_that_came_to_nothing_is_not_the_newest_one() {
    let scene = scene().await;
    for revision in ["", " "] {
        let intent = job(
            "argocd",
            &[("app", "dcr-comcast"), ("project", "dcr"), ("revision", revision)],
        );
        let outcome = scene.argo.start(&intent).await.expect("an outcome");
        assert_eq!(failed_as(&outcome), Some(FailureClass::User));
        let seen = scene.argo.observe(&intent, false).await;
        assert!(matches!(seen, Err(CallError::Permanent { .. })), "{seen:?}");
    }
    assert!(scene.peer.stage.calls().is_empty());
}

#[tokio::test]
async fn a_closed_sync_window_and_an_absent_application_are_final() {
    let scene = scene().await;
    scene.peer.close_window("dcr-comcast", true);
    let Ok(Outcome::Failed { reason, class }) = scene.argo.start(&sync()).await else {
        panic!("must fail");
    };
    assert_eq!(class, FailureClass::Permission);
    assert!(reason.contains("sync window"), "{reason}");
    let absent = job("argocd", &[("app", "nowhere"), ("project", "dcr")]);
    let outcome = scene.argo.start(&absent).await.expect("an outcome");
    assert_eq!(failed_as(&outcome), Some(FailureClass::User));
    let foreign = job("argocd", &[("app", "dcr-comcast"), ("project", "other")]);
    let outcome = scene.argo.start(&foreign).await.expect("an outcome");
    assert_eq!(failed_as(&outcome), Some(FailureClass::Permission));
}

#[tokio::test]
async fn names_that_would_leave_their_place_in_the_address_are_refused_without_a_call() {
    let scene = scene().await;
    for (app, project) in [
        ("", "dcr"),
        ("..", "dcr"),
        ("a/b", "dcr"),
        ("a?b", "dcr"),
        ("a", "x&y=z"),
        ("a", ""),
    ] {
        let intent = job("argocd", &[("app", app), ("project", project)]);
        let outcome = scene.argo.start(&intent).await.expect("an outcome");
        assert_eq!(failed_as(&outcome), Some(FailureClass::User), "{app} {project}");
        let seen = scene.argo.observe(&intent, true).await;
        assert!(matches!(seen, Err(CallError::Permanent { .. })));
    }
    let odd = job("argocd", &[("app", "a"), ("project", "b"), ("prune", "perhaps")]);
    assert_eq!(
        failed_as(&scene.argo.start(&odd).await.expect("an outcome")),
        Some(FailureClass::User)
    );
    assert!(scene.peer.stage.calls().is_empty());
}

#[tokio::test]
async fn failure_error_and_termination_fail_with_argos_own_words() {
    let scene = scene().await;
    let ends = [
        (Beat::Failed("hook job failed".to_owned()), "hook job failed"),
        (Beat::Error("cannot reach cluster".to_owned()), "cannot reach cluster"),
    ];
    for (n, (beat, reason)) in ends.into_iter().enumerate() {
        let intent = with_marker(sync(), &format!("URMO7YZ2/Sync/{n}"));
        scene.peer.script_next_sync("dcr-comcast", vec![Beat::Running, beat]);
        assert_eq!(scene.argo.start(&intent).await, Ok(Outcome::JobStarted));
        scene.peer.finish("dcr-comcast");
        let seen = scene.argo.observe(&intent, true).await.expect("an answer");
        assert_eq!(
            (seen.state, seen.reason.as_deref()),
            (ObservedState::Failed, Some(reason))
        );
    }
}

#[tokio::test]
async fn degraded_is_not_the_end_and_suspended_waits() {
    let scene = scene().await;
    scene.peer.degrade_next_sync("dcr-comcast");
    assert_eq!(scene.argo.start(&sync()).await, Ok(Outcome::JobStarted));
    scene.peer.finish("dcr-comcast");
    for (health, state) in [
        ("Degraded", ObservedState::Running),
        ("Missing", ObservedState::Running),
        ("Splendid", ObservedState::Running),
        ("Suspended", ObservedState::Waiting),
        ("Healthy", ObservedState::Succeeded),
    ] {
        scene.peer.set_health("dcr-comcast", health);
        let seen = scene.argo.observe(&sync(), true).await.expect("an answer");
        assert_eq!(seen.state, state, "{health}");
        assert!(state.is_terminal() || detail(&seen).contains(health));
    }
}

#[tokio::test]
async fn cancel_ends_our_operation_once_argo_has_taken_it_up() {
    let scene = scene().await;
    assert_eq!(scene.argo.start(&sync()).await, Ok(Outcome::JobStarted));
    // Argo CD cannot end what it has not taken up.
    assert!(matches!(scene.argo.cancel(&sync()).await, Err(CallError::Retry { .. })));
    scene.peer.advance("dcr-comcast");
    assert_eq!(scene.argo.cancel(&sync()).await, Ok(Outcome::JobCanceled));
    let seen = scene.argo.observe(&sync(), true).await.expect("an answer");
    assert_eq!(seen.state, ObservedState::Running);
    assert!(detail(&seen).starts_with("terminating"));
    scene.peer.finish("dcr-comcast");
    let seen = scene.argo.observe(&sync(), true).await.expect("an answer");
    assert_eq!(seen.reason.as_deref(), Some("Operation terminated"));
    assert_eq!(scene.argo.cancel(&sync()).await, Ok(Outcome::JobCanceled));
    assert_eq!(scene.peer.stage.calls_to("DELETE", "/operation").len(), 2);
}

#[tokio::test]
async fn who_only_watches_sees_a_new_commit_before_argo_compared_by_itself() {
    let scene = scene().await;
    scene.peer.git_moved_unseen("dcr-comcast", "bbb");
    let seen = scene.argo.observe(&sync(), false).await.expect("an answer");
    assert_eq!(seen.state, ObservedState::Pending);
    assert!(detail(&seen).contains("out of sync"));
    let pinned = job(
        "argocd",
        &[("app", "dcr-comcast"), ("project", "dcr"), ("revision", "ccc")],
    );
    let seen = scene.argo.observe(&pinned, false).await.expect("an answer");
    assert_eq!(seen.state, ObservedState::Pending);
    assert_eq!(scene.argo.start(&sync()).await, Ok(Outcome::JobStarted));
    let seen = scene.argo.observe(&sync(), false).await.expect("an answer");
    assert_eq!(seen.state, ObservedState::Running);
    scene.peer.finish("dcr-comcast");
    let seen = scene.argo.observe(&sync(), false).await.expect("an answer");
    assert_eq!(seen.state, ObservedState::Succeeded);
}

#[tokio::test]
async fn what_a_sync_is_told_reaches_argo() {
    let scene = scene().await;
    let intent = job(
        "argocd",
        &[
            ("app", "dcr-comcast"),
            ("project", "dcr"),
            ("revision", "bbb"),
            ("prune", "true"),
            ("app_namespace", "argocd"),
        ],
    );
    assert_eq!(scene.argo.start(&intent).await, Ok(Outcome::JobStarted));
    let look = scene.peer.stage.calls_to("GET", "/applications/dcr-comcast");
    assert_eq!(look[0].query, "project=dcr&appNamespace=argocd");
    let sent: serde_json::Value =
        serde_json::from_str(&scene.peer.stage.calls_to("POST", "/sync")[0].body).expect("JSON");
    let expected = serde_json::json!({
        "name": "dcr-comcast", "project": "dcr", "appNamespace": "argocd", "revision": "bbb", "prune": true,
        "infos": [{"name": "stepherd-run", "value": MARKER}],
    });
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn limits_and_outages_are_worth_another_try_and_a_wrong_token_is_not() {
    let scene = scene().await;
    scene.peer.stage.misbehave(Fault::too_many("GET", "", 1, 7));
    let Err(CallError::Retry { after, class, .. }) = scene.argo.observe(&sync(), true).await else {
        panic!("must retry");
    };
    assert_eq!(after, Some(std::time::Duration::from_secs(7)));
    assert_eq!(class, FailureClass::RateLimit);
    let config = ArgoCdConfig {
        base_url: scene.peer.url.clone(),
        token: "wrong".into(),
    };
    let stranger = ArgoCd::new(&config).expect("a good address");
    let outcome = stranger.start(&sync()).await.expect("an outcome");
    assert_eq!(failed_as(&outcome), Some(FailureClass::Permission));
    assert!(!format!("{config:?}").contains("wrong"));
}

#[tokio::test]
async fn whether_a_start_got_through_is_found_out_without_starting() {
    let scene = scene().await;
    assert_eq!(scene.argo.find(&sync()).await, Ok(false));
    let lost = Fault::new("POST", "/sync", 1, FaultKind::EffectThenCut);
    scene.peer.stage.misbehave(lost);
    assert!(scene.argo.start(&sync()).await.is_err());
    assert_eq!(scene.argo.find(&sync()).await, Ok(true));
    assert_eq!(
        scene.argo.find(&with_marker(sync(), "AAAAAAAA/Sync/1")).await,
        Ok(false)
    );
    scene.peer.finish("dcr-comcast");
    assert_eq!(scene.argo.find(&sync()).await, Ok(true), "also when it is over");
    let empty = Fault::new("GET", "/applications/", 1, FaultKind::EffectThenEmpty);
    scene.peer.stage.misbehave(empty);
    assert!(scene.argo.find(&sync()).await.is_err(), "an empty answer tells nothing");
    assert_eq!(syncs_asked(&scene), 1);
}

#[tokio::test]
async fn an_application_waits_to_be_synced_unless_automated_sync_is_on() {
    let scene = scene().await;
    let with = sync().with;
    assert_eq!(scene.argo.deferral(&with).await, Ok(Deferral::OnRequest));
    // `enabled` is what newer versions have; a null counts as on.
    let table = [
        ("null", false),
        ("{}", true),
        (r#"{"prune": true, "selfHeal": true}"#, true),
        (r#"{"enabled": true}"#, true),
        (r#"{"enabled": null}"#, true),
        (r#"{"enabled": false}"#, false),
        (r#"{"enabled": false, "prune": true, "selfHeal": true}"#, false),
        // What nobody has heard of is no promise that nothing happens.
        (r#"{"enabled": "false"}"#, true),
        ("true", true),
    ];
    for (automated, by_itself) in table {
        let set = serde_json::from_str(automated).expect("JSON");
        scene.peer.set_automated("dcr-comcast", set);
        let found = scene.argo.deferral(&with).await.expect("an answer");
        assert_eq!(
            matches!(found, Deferral::ByItself(_)),
            by_itself,
            "{automated}: {found:?}"
        );
    }
    assert_eq!(syncs_asked(&scene), 0);
}

#[tokio::test]
async fn an_application_that_cannot_be_read_promises_nothing() {
    let scene = scene().await;
    let with = sync().with;
    for body in ["", "{}", r#"{"spec": null, "status": {}}"#, "[]"] {
        scene.peer.stage.misbehave(Fault::answer(
            "GET",
            "/applications/dcr-comcast",
            1,
            200,
            Vec::new(),
            body,
        ));
        let found = scene.argo.deferral(&with).await;
        assert!(matches!(found, Err(CallError::Retry { .. })), "{body}: {found:?}");
    }
    for (app, project) in [
        ("no-such", "dcr"),
        ("dcr-comcast", "other"),
        ("", "dcr"),
        ("../x", "dcr"),
    ] {
        let with = job("argocd", &[("app", app), ("project", project)]).with;
        let found = scene.argo.deferral(&with).await;
        assert!(matches!(found, Err(CallError::Permanent { .. })), "{app}: {found:?}");
    }
}
