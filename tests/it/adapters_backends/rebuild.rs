//! The cache-rebuild service through every flag, with farmers that come and go.

use super::*;

struct Scene {
    peer: dcr::Dcr,
    dcr: Dcr,
}

async fn scene() -> Scene {
    let peer = dcr::Dcr::start(DcrOptions::new(TOKEN, noon()), 0)
        .await
        .expect("a port");
    peer.add_tenant("comcast", 3);
    let dcr = Dcr::new(&DcrConfig {
        base_url: peer.url.clone(),
        token: TOKEN.into(),
    });
    Scene {
        peer,
        dcr: dcr.expect("a good address"),
    }
}

fn rebuild() -> JobIntent {
    job("dcr", &[("tenant", "comcast")])
}

fn farmers() -> JobIntent {
    job("dcr", &[("tenant", "comcast"), ("watch", "farmers")])
}

impl Scene {
    async fn seen(&self) -> Observation {
        self.dcr.observe(&rebuild(), true).await.expect("an answer")
    }
}

#[tokio::test]
async fn each_of_the_sixteen_combinations_of_flags_means_what_it_means_and_only_one_is_success() {
    let scene = scene().await;
    assert_eq!(scene.dcr.start(&rebuild()).await, Ok(Outcome::JobStarted));
    for bits in 0..16_u8 {
        let letters: String = (0..4).map(|i| if bits >> i & 1 == 1 { 'T' } else { 'F' }).collect();
        scene.peer.force_flags("comcast", Some(Flags::of(&letters)));
        let expected = match letters.as_str() {
            "FFFF" => ObservedState::Pending,
            "TFFF" | "TTFF" => ObservedState::Running,
            "TFFT" => ObservedState::Failed,
            "TFTF" => ObservedState::Succeeded,
            _ => ObservedState::Unknown,
        };
        let seen = scene.seen().await;
        assert_eq!(seen.state, expected, "{letters}");
        if expected == ObservedState::Unknown {
            assert!(detail(&seen).contains("contradicts itself"), "{letters}");
        }
        if letters == "TFFF" {
            assert_eq!(detail(&seen), "starting");
        }
    }
}

#[tokio::test]
async fn a_rebuild_is_started_followed_and_done() {
    let scene = scene().await;
    assert_eq!(scene.dcr.start(&rebuild()).await, Ok(Outcome::JobStarted));
    assert_eq!(detail(&scene.seen().await), "starting");
    for style in [
        ProgressStyle::Integer,
        ProgressStyle::Float,
        ProgressStyle::Text,
        ProgressStyle::PercentText,
    ] {
        for name in [false, true] {
            scene.peer.set_style(style, name);
            scene.peer.advance("comcast", 20.0);
            let seen = scene.seen().await;
            assert_eq!(seen.state, ObservedState::Running);
            assert_eq!(seen.progress, Some(Percent::clamped(20.0)), "{style:?}");
        }
    }
    scene.peer.set_style(ProgressStyle::Null, false);
    assert_eq!(scene.seen().await.progress, None);
    scene.peer.complete("comcast");
    assert_eq!(scene.seen().await.state, ObservedState::Succeeded);
    assert_eq!(scene.peer.starts("comcast"), 1);
}

#[tokio::test]
async fn a_failure_comes_with_its_reason_and_progress_and_a_silent_restart_is_counted() {
    let scene = scene().await;
    assert_eq!(scene.dcr.start(&rebuild()).await, Ok(Outcome::JobStarted));
    scene.peer.advance("comcast", 42.0);
    scene.peer.fail("comcast", "farmer-3 lost");
    let seen = scene.seen().await;
    assert_eq!(seen.state, ObservedState::Failed);
    assert_eq!(seen.reason.as_deref(), Some("farmer-3 lost"));
    assert_eq!(seen.progress, Some(Percent::clamped(42.0)));
    scene.peer.auto_restart("comcast");
    let seen = scene.seen().await;
    assert_eq!((seen.state, seen.restarts), (ObservedState::Running, 1));
    assert_eq!(detail(&seen), "resumed, restarted 1 time");
}

#[tokio::test]
async fn a_rebuild_whose_start_was_lost_on_the_way_back_is_found_not_started_again() {
    for fault in [
        FaultKind::EffectThenCut,
        FaultKind::EffectThenEmpty,
        FaultKind::EffectThenTruncated,
    ] {
        let scene = scene().await;
        scene.peer.stage.misbehave(Fault::new("POST", "/rebuild", 1, fault));
        let first = scene.dcr.start(&rebuild()).await;
        assert!(matches!(first, Err(CallError::Retry { .. })), "{first:?}");
        assert_eq!(scene.dcr.start(&rebuild()).await, Ok(Outcome::JobStarted));
        assert_eq!(scene.peer.starts("comcast"), 1);
        // Even long after: the service itself would start another.
        scene.peer.complete("comcast");
        assert_eq!(scene.dcr.start(&rebuild()).await, Ok(Outcome::JobStarted));
        assert_eq!(scene.peer.starts("comcast"), 1);
    }
}

#[tokio::test]
async fn an_earlier_attempts_rebuild_is_joined_and_never_triggered_twice() {
    let scene = scene().await;
    assert_eq!(scene.dcr.start(&rebuild()).await, Ok(Outcome::JobStarted));
    let second = with_marker(rebuild(), "URMO7YZ2/Sync/2");
    assert_eq!(scene.dcr.start(&second).await, Ok(Outcome::JobStarted));
    assert_eq!(scene.peer.starts("comcast"), 1);
}

#[tokio::test]
async fn somebody_elses_rebuild_is_waited_for_and_ours_comes_after_it() {
    let scene = scene().await;
    scene.peer.start_by_hand("comcast");
    let Err(CallError::Retry { why, .. }) = scene.dcr.start(&rebuild()).await else {
        panic!("must wait");
    };
    assert!(why.contains("another rebuild of `comcast` is under way"), "{why}");
    assert_eq!(scene.peer.starts("comcast"), 1);
    scene.peer.complete("comcast");
    assert_eq!(scene.dcr.start(&rebuild()).await, Ok(Outcome::JobStarted));
    assert_eq!(scene.peer.starts("comcast"), 2);
}

#[tokio::test]
async fn the_end_of_somebody_elses_rebuild_is_not_the_end_of_ours() {
    let scene = scene().await;
    let other = with_marker(rebuild(), "AAAAAAAA/Sync/1");
    assert_eq!(scene.dcr.start(&other).await, Ok(Outcome::JobStarted));
    for end in ["TFFT", "TFTF"] {
        scene.peer.force_flags("comcast", Some(Flags::of(end)));
        let seen = scene.seen().await;
        assert_eq!(seen.state, ObservedState::Pending, "{end}");
        assert_eq!(
            detail(&seen),
            "nothing of this run is there; the last rebuild, `AAAAAAAA/Sync/1`, has ended"
        );
        // Who only watches takes the tenant as it is.
        let watched = scene.dcr.observe(&rebuild(), false).await.expect("an answer");
        assert!(watched.state.is_terminal(), "{end}");
    }
    scene.peer.force_flags("comcast", None);
    scene.peer.complete("comcast");
    scene.peer.start_by_hand("comcast");
    scene.peer.complete("comcast");
    assert_eq!(scene.seen().await.state, ObservedState::Pending);
}

#[tokio::test]
async fn the_end_of_an_earlier_attempts_rebuild_is_ours() {
    let scene = scene().await;
    assert_eq!(scene.dcr.start(&rebuild()).await, Ok(Outcome::JobStarted));
    scene.peer.complete("comcast");
    let later = with_marker(rebuild(), "URMO7YZ2/Sync/2/job");
    let seen = scene.dcr.observe(&later, true).await.expect("an answer");
    assert_eq!(seen.state, ObservedState::Succeeded);
    for marker in ["URMO7YZ2/SyncAll/1", "URMO7YZ/2Sync/1", "URMO7YZ2", ""] {
        let near = with_marker(rebuild(), marker);
        let seen = scene.dcr.observe(&near, true).await.expect("an answer");
        assert_eq!(seen.state, ObservedState::Pending, "{marker}");
    }
}

#[tokio::test]
async fn somebody_elses_rebuild_is_left_running() {
    for by_hand in [true, false] {
        let scene = scene().await;
        let other = with_marker(rebuild(), "AAAAAAAA/Sync/1");
        if by_hand {
            scene.peer.start_by_hand("comcast");
        } else {
            assert_eq!(scene.dcr.start(&other).await, Ok(Outcome::JobStarted));
        }
        let Ok(Outcome::Failed { reason, class }) = scene.dcr.cancel(&rebuild()).await else {
            panic!("must be refused");
        };
        assert_eq!(class, FailureClass::User);
        assert!(reason.contains("somebody else's"), "{reason}");
        assert!(scene.peer.stage.calls_to("POST", "/cancel").is_empty());
        scene.peer.complete("comcast");
        assert_eq!(scene.dcr.cancel(&rebuild()).await, Ok(Outcome::JobCanceled));
    }
}

#[tokio::test]
async fn a_new_attempt_after_a_failure_starts_the_rebuild_again() {
    let scene = scene().await;
    assert_eq!(scene.dcr.start(&rebuild()).await, Ok(Outcome::JobStarted));
    scene.peer.fail("comcast", "disk full");
    let second = with_marker(rebuild(), "URMO7YZ2/Rebuild/2");
    assert_eq!(scene.dcr.start(&second).await, Ok(Outcome::JobStarted));
    assert_eq!(scene.peer.starts("comcast"), 2);
    assert_eq!(scene.seen().await.state, ObservedState::Running);
}

#[tokio::test]
async fn too_few_farmers_make_a_rebuild_wait_but_change_nothing_about_its_end() {
    let scene = scene().await;
    assert_eq!(scene.dcr.start(&rebuild()).await, Ok(Outcome::JobStarted));
    scene.peer.advance("comcast", 30.0);
    scene.peer.set_farmers("comcast", 2);
    let seen = scene.seen().await;
    assert_eq!(seen.state, ObservedState::Waiting);
    assert_eq!(seen.progress, Some(Percent::clamped(30.0)));
    assert_eq!(
        detail(&seen),
        "2 of min 3 farmers; the rebuild was aborted and waits up to 30 minutes for them"
    );
    let lower = job("dcr", &[("tenant", "comcast"), ("min_farmers", "2")]);
    let seen = scene.dcr.observe(&lower, true).await.expect("an answer");
    assert_eq!(seen.state, ObservedState::Running);
    scene.peer.set_farmers("comcast", 3);
    assert_eq!(scene.seen().await.state, ObservedState::Running);
    scene.peer.set_farmers("comcast", 0);
    scene.peer.complete("comcast");
    assert_eq!(scene.seen().await.state, ObservedState::Succeeded);
}

#[tokio::test]
async fn a_rebuild_held_before_its_start_says_what_it_waits_for() {
    let scene = scene().await;
    scene.peer.set_farmers("comcast", 1);
    assert_eq!(scene.dcr.start(&rebuild()).await, Ok(Outcome::JobStarted));
    let seen = scene.seen().await;
    assert_eq!(seen.state, ObservedState::Waiting);
    assert_eq!(detail(&seen), "1 of min 3 farmers; the rebuild waits for them");
}

#[tokio::test]
async fn farmers_that_cannot_be_counted_do_not_hide_the_status() {
    let scene = scene().await;
    assert_eq!(scene.dcr.start(&rebuild()).await, Ok(Outcome::JobStarted));
    scene.peer.advance("comcast", 30.0);
    scene
        .peer
        .stage
        .misbehave(Fault::answer("GET", "/farmers", 3, 500, Vec::new(), "oops"));
    assert_eq!(scene.seen().await.state, ObservedState::Running);
}

#[tokio::test]
async fn farmers_are_watched_until_enough_are_ready_and_cannot_be_started() {
    let scene = scene().await;
    scene.peer.set_farmers("comcast", 2);
    let seen = scene.dcr.observe(&farmers(), false).await.expect("an answer");
    assert_eq!(seen.state, ObservedState::Pending);
    assert_eq!(detail(&seen), "2 of min 3 farmers ready");
    assert_eq!(seen.progress, Some(Percent::of(2, 3)));
    scene.peer.set_farmers("comcast", 4);
    let seen = scene.dcr.observe(&farmers(), false).await.expect("an answer");
    assert_eq!(seen.state, ObservedState::Succeeded);
    assert_eq!(seen.progress, Some(Percent::FULL));
    let outcome = scene.dcr.start(&farmers()).await.expect("an outcome");
    assert_eq!(failed_as(&outcome), Some(FailureClass::User));
    assert_eq!(scene.dcr.cancel(&farmers()).await, Ok(Outcome::JobCanceled));
}

#[tokio::test]
async fn cancel_ends_a_running_rebuild_and_is_content_when_none_runs() {
    let scene = scene().await;
    assert_eq!(scene.dcr.cancel(&rebuild()).await, Ok(Outcome::JobCanceled));
    assert_eq!(scene.dcr.start(&rebuild()).await, Ok(Outcome::JobStarted));
    assert_eq!(scene.dcr.cancel(&rebuild()).await, Ok(Outcome::JobCanceled));
    assert_eq!(scene.seen().await.reason.as_deref(), Some("canceled"));
}

#[tokio::test]
async fn a_status_that_cannot_be_read_says_nothing_and_a_lost_one_is_read_again() {
    let scene = scene().await;
    for body in [
        r#"{}"#,
        r#"[]"#,
        r#""done""#,
        r#"{"hasStarted":"true","isRunning":false,"hasCompleted":true,"hasFailed":false}"#,
        r#"{"hasStarted":true,"isRunning":false,"hasCompleted":true}"#,
    ] {
        let fault = Fault::answer("GET", "/processStatus", 1, 200, Vec::new(), body);
        scene.peer.stage.misbehave(fault);
        assert_eq!(scene.seen().await.state, ObservedState::Unknown, "{body}");
    }
    for fault in [
        FaultKind::Cut,
        FaultKind::EffectThenEmpty,
        FaultKind::EffectThenTruncated,
    ] {
        scene
            .peer
            .stage
            .misbehave(Fault::new("GET", "/processStatus", 3, fault));
        let seen = scene.dcr.observe(&rebuild(), true).await;
        assert!(matches!(seen, Err(CallError::Retry { .. })), "{seen:?}");
    }
}

#[tokio::test]
async fn what_a_job_is_told_is_checked_before_any_call() {
    let scene = scene().await;
    for with in [
        vec![],
        vec![("tenant", "")],
        vec![("tenant", "..")],
        vec![("tenant", "a/b")],
        vec![("tenant", "a"), ("watch", "everything")],
        vec![("tenant", "a"), ("min_farmers", "-1")],
    ] {
        let intent = job("dcr", &with);
        let outcome = scene.dcr.start(&intent).await.expect("an outcome");
        assert_eq!(failed_as(&outcome), Some(FailureClass::User), "{with:?}");
        let seen = scene.dcr.observe(&intent, true).await;
        assert!(matches!(seen, Err(CallError::Permanent { .. })), "{with:?}");
    }
    assert!(scene.peer.stage.calls().is_empty());
    let absent = job("dcr", &[("tenant", "nobody")]);
    let outcome = scene.dcr.start(&absent).await.expect("an outcome");
    assert_eq!(failed_as(&outcome), Some(FailureClass::User));
}

#[tokio::test]
async fn the_link_is_the_one_that_was_given() {
    let scene = scene().await;
    assert_eq!(scene.seen().await.link, None);
    let linked = job(
        "dcr",
        &[
            ("tenant", "comcast"),
            ("link", "https://dcr.example.org/ui/task/prov-1"),
        ],
    );
    let seen = scene.dcr.observe(&linked, true).await.expect("an answer");
    assert_eq!(seen.link.as_deref(), Some("https://dcr.example.org/ui/task/prov-1"));
}

#[tokio::test]
async fn whether_a_start_got_through_is_found_out_without_starting() {
    let scene = scene().await;
    assert_eq!(scene.dcr.find(&rebuild()).await, Ok(false));
    let lost = Fault::new("POST", "/rebuild", 1, FaultKind::EffectThenCut);
    scene.peer.stage.misbehave(lost);
    assert!(scene.dcr.start(&rebuild()).await.is_err());
    assert_eq!(scene.dcr.find(&rebuild()).await, Ok(true));
    assert_eq!(
        scene.dcr.find(&with_marker(rebuild(), "AAAAAAAA/Rebuild/1")).await,
        Ok(false)
    );
    assert_eq!(scene.dcr.find(&farmers()).await, Ok(false), "farmers are not started");
    assert_eq!(scene.peer.stage.calls_to("POST", "/rebuild").len(), 1);
}
