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
        self.dcr.observe(&rebuild(), false).await.expect("an answer")
    }
}

#[tokio::test]
async fn each_of_the_sixteen_combinations_of_flags_means_what_it_means_and_only_one_is_success() {
    let scene = scene().await;
    for bits in 0..16_u8 {
        let letters: String = (0..4).map(|i| if bits >> i & 1 == 1 { 'T' } else { 'F' }).collect();
        scene.peer.force_flags("comcast", Some(Flags::of(&letters)));
        let expected = match letters.as_str() {
            "FFFF" => ObservedState::Pending,
            "TFFF" => ObservedState::Starting,
            "TTFF" => ObservedState::Running,
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
async fn a_rebuild_is_followed_to_its_end() {
    let scene = scene().await;
    scene.peer.begin("comcast");
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
    assert_eq!(scene.peer.changing_calls(), 0);
}

#[tokio::test]
async fn a_failure_comes_with_its_reason_progress_and_farmers_and_a_silent_restart_is_counted() {
    let scene = scene().await;
    scene.peer.advance("comcast", 42.0);
    scene.peer.fail("comcast", "farmer-3 lost");
    let seen = scene.seen().await;
    assert_eq!(seen.state, ObservedState::Failed);
    assert_eq!(seen.reason.as_deref(), Some("farmer-3 lost"));
    assert_eq!(seen.progress, Some(Percent::clamped(42.0)));
    assert_eq!(crew(&seen), "3 of min 3, 3 of 3 farmers in hidden state");
    assert!(!seen.tries_again(), "there are enough of them");
    scene.peer.auto_restart("comcast");
    let seen = scene.seen().await;
    assert_eq!((seen.state, seen.restarts), (ObservedState::Running, 1));
    assert_eq!(detail(&seen), "restarted 1 time by the service");
}

#[tokio::test]
async fn one_end_is_told_from_another_by_what_the_service_says_of_it() {
    let scene = scene().await;
    let mark = async || scene.seen().await.mark.expect("a mark");
    scene.peer.complete("comcast");
    let done = mark().await;
    scene.peer.set_farmers("comcast", 0);
    scene.peer.set_desired_farmers("comcast", 40);
    scene.peer.set_style(ProgressStyle::PercentText, true);
    assert_eq!(
        mark().await,
        done,
        "how it is written, and farmers, make it no other end"
    );
    scene.peer.auto_restart("comcast");
    scene.peer.complete("comcast");
    let again = mark().await;
    assert_ne!(again, done, "it was restarted in between");
    scene.peer.fail("comcast", "disk full");
    let full = mark().await;
    scene.peer.fail("comcast", "disk broken");
    assert_ne!(mark().await, full, "another reason");
    let at = |time: &str| {
        let body = format!(
            r#"{{"hasStarted":true,"isRunning":false,"hasCompleted":true,"hasFailed":false,"completedAt":"{time}"}}"#
        );
        Fault::answer("GET", "/processStatus", 1, 200, vec![], &body)
    };
    scene.peer.stage.misbehave(at("2026-10-20T12:00:00Z"));
    let october = mark().await;
    scene.peer.stage.misbehave(at("2026-11-20T12:00:00Z"));
    assert_ne!(mark().await, october, "another time");
}

#[tokio::test]
async fn nothing_is_started_and_nothing_is_ended() {
    let scene = scene().await;
    for outcome in [scene.dcr.start(&rebuild()).await, scene.dcr.cancel(&rebuild()).await] {
        let Ok(Outcome::Failed { reason, class }) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(class, FailureClass::User);
        assert!(reason.contains("begins by itself"), "{reason}");
    }
    assert_eq!(scene.dcr.find(&rebuild()).await, Ok(false));
    assert!(scene.peer.stage.calls().is_empty());
}

#[tokio::test]
async fn too_few_farmers_fail_a_rebuild_and_the_service_tries_again() {
    let scene = scene().await;
    scene.peer.advance("comcast", 30.0);
    scene.peer.set_farmers("comcast", 2);
    let seen = scene.seen().await;
    assert_eq!(seen.state, ObservedState::Failed);
    assert_eq!(seen.progress, Some(Percent::clamped(30.0)));
    assert_eq!(crew(&seen), "2 of min 3, 2 of 3 farmers in hidden state");
    assert!(seen.tries_again());
    let lower = job(
        "dcr",
        &[("tenant", "comcast"), ("min_farmers", "2"), ("farm_size", "30")],
    );
    let seen = scene.dcr.observe(&lower, false).await.expect("an answer");
    assert_eq!(crew(&seen), "2 of min 2, 2 of 30 farmers in hidden state");
    assert!(!seen.tries_again());
    scene.peer.set_farmers("comcast", 3);
    assert_eq!(scene.seen().await.state, ObservedState::Running);
    scene.peer.complete("comcast");
    scene.peer.set_farmers("comcast", 0);
    assert_eq!(scene.seen().await.state, ObservedState::Succeeded);
}

#[tokio::test]
async fn what_runs_with_too_few_farmers_runs() {
    let scene = scene().await;
    scene.peer.advance("comcast", 30.0);
    scene.peer.set_farmers("comcast", 2);
    scene.peer.force_flags("comcast", Some(Flags::of("TTFF")));
    let seen = scene.seen().await;
    assert_eq!(seen.state, ObservedState::Running, "the status wins");
    assert_eq!(crew(&seen), "2 of min 3, 2 of 3 farmers in hidden state");
}

#[tokio::test]
async fn a_rebuild_that_has_not_begun_says_what_it_waits_for() {
    let scene = scene().await;
    scene.peer.set_farmers("comcast", 1);
    let seen = scene.seen().await;
    assert_eq!(seen.state, ObservedState::Waiting);
    assert_eq!(detail(&seen), "enough farmers; the rebuild begins by itself then");
    assert_eq!(crew(&seen), "1 of min 3, 1 of 3 farmers in hidden state");
}

#[tokio::test]
async fn farmers_that_cannot_be_counted_do_not_hide_the_status() {
    let scene = scene().await;
    scene.peer.advance("comcast", 30.0);
    scene
        .peer
        .stage
        .misbehave(Fault::answer("GET", "/farmers", 3, 500, Vec::new(), "oops"));
    let seen = scene.seen().await;
    assert_eq!((seen.state, seen.crew), (ObservedState::Running, None));
}

#[tokio::test]
async fn farmers_are_watched_until_enough_are_there() {
    let scene = scene().await;
    scene.peer.set_desired_farmers("comcast", 30);
    scene.peer.set_farmers("comcast", 2);
    let seen = scene.dcr.observe(&farmers(), false).await.expect("an answer");
    assert_eq!(seen.state, ObservedState::Pending);
    assert_eq!(detail(&seen), "2 of min 3, 2 of 30 farmers in hidden state");
    assert_eq!(seen.progress, Some(Percent::of(2, 3)));
    scene.peer.set_farmers("comcast", 12);
    let seen = scene.dcr.observe(&farmers(), false).await.expect("an answer");
    assert_eq!(seen.state, ObservedState::Succeeded);
    assert_eq!(detail(&seen), "3 of min 3, 12 of 30 farmers in hidden state");
    assert_eq!(seen.progress, Some(Percent::FULL));
    assert_eq!(
        seen.mark, None,
        "that they are there is no end that could be an earlier one"
    );
}

fn crew(seen: &Observation) -> String {
    seen.crew.as_ref().expect("farmers").to_string()
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
        let seen = scene.dcr.observe(&rebuild(), false).await;
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
        vec![("tenant", "a"), ("farm_size", "many")],
    ] {
        let intent = job("dcr", &with);
        let seen = scene.dcr.observe(&intent, true).await;
        assert!(matches!(seen, Err(CallError::Permanent { .. })), "{with:?}");
    }
    assert!(scene.peer.stage.calls().is_empty());
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
