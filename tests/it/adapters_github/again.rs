//! What only reads is tried again in place; what changes something never is.

use std::sync::Arc;
use std::sync::Mutex;

use async_trait::async_trait;
use stepherd::adapters::{CallError, Forge};
use stepherd::sandbox::stage::{Attendant, Call, Fault, FaultKind};

use super::scene::{REPO, Scene, repo};

const FILE: &str = "/contents/README.md";

async fn read(scene: &Scene) -> Result<Option<String>, CallError> {
    scene.ours.read_file(&repo(), "README.md").await
}

fn fails(scene: &Scene, method: &str, path: &str, times: u32, kind: &FaultKind) {
    scene
        .github
        .stage()
        .misbehave(Fault::new(method, path, times, kind.clone()));
}

fn bad_gateway() -> FaultKind {
    FaultKind::Answer {
        status: 502,
        headers: Vec::new(),
        body: "<html>".to_owned(),
    }
}

#[tokio::test]
async fn a_read_that_fails_in_passing_is_tried_again_twice() {
    for kind in [
        FaultKind::Cut,
        FaultKind::EffectThenCut,
        FaultKind::EffectThenEmpty,
        FaultKind::EffectThenTruncated,
        bad_gateway(),
    ] {
        for scene in [Scene::app().await, Scene::token().await] {
            let hello = Ok(Some("hello\n".to_owned()));
            assert_eq!(read(&scene).await, hello);
            fails(&scene, "GET", FILE, 2, &kind);
            assert_eq!(read(&scene).await, hello, "{kind:?}");
            fails(&scene, "GET", FILE, 3, &kind);
            assert!(matches!(read(&scene).await, Err(CallError::Retry { .. })), "{kind:?}");
            // Who is away is asked once, until a read succeeds.
            scene.github.stage().forget_calls();
            fails(&scene, "GET", FILE, 1, &kind);
            assert!(matches!(read(&scene).await, Err(CallError::Retry { .. })), "{kind:?}");
            assert_eq!(scene.calls("GET", FILE), 1, "{kind:?}");
            assert_eq!(read(&scene).await, hello, "{kind:?}");
            fails(&scene, "GET", FILE, 1, &kind);
            assert_eq!(read(&scene).await, hello, "{kind:?}");
        }
    }
}

#[tokio::test]
async fn a_limit_or_a_refusal_is_heeded_at_once() {
    let scene = Scene::app().await;
    for fault in [
        Fault::too_many("GET", FILE, 1, 7),
        Fault::secondary_limit("GET", FILE, 1, None),
        Fault::answer(
            "GET",
            FILE,
            1,
            503,
            vec![("retry-after".to_owned(), "9".to_owned())],
            "",
        ),
        Fault::answer("GET", FILE, 1, 403, vec![], "{}"),
    ] {
        scene.github.stage().forget_calls();
        scene.github.stage().misbehave(fault);
        assert!(read(&scene).await.is_err());
        assert_eq!(scene.calls("GET", FILE), 1);
    }
}

#[tokio::test]
async fn what_changes_something_is_asked_for_once() {
    for kind in [FaultKind::Cut, FaultKind::EffectThenCut, bad_gateway()] {
        for path in ["/git/trees", "/git/commits", "/git/refs", "/pulls"] {
            let scene = Scene::app().await;
            fails(&scene, "POST", path, 1, &kind);
            let lost = scene.ours.change(&super::forge::intent()).await;
            assert!(matches!(lost, Err(CallError::Retry { .. })), "{path}: {lost:?}");
            assert_eq!(scene.calls("POST", path), 1, "{path}");
        }
    }
}

/// Every so many calls one fails, in one way or another.
#[derive(Debug)]
struct Flaky(Mutex<fastrand::Rng>);

#[async_trait]
impl Attendant for Flaky {
    async fn arrives(&self, _call: &Call) -> Option<FaultKind> {
        let mut chance = self.0.lock().expect("no panic");
        let fails = chance.f64() < 0.1;
        let kinds = [FaultKind::Cut, FaultKind::EffectThenCut, bad_gateway()];
        fails.then(|| kinds[chance.usize(..3)].clone())
    }

    async fn leaves(&self, _call: &Call) {}
}

#[tokio::test]
async fn a_step_of_many_calls_gets_through_where_one_call_in_ten_fails() {
    for seed in 0..20 {
        let scene = Scene::app().await;
        let flaky = Flaky(Mutex::new(fastrand::Rng::with_seed(seed)));
        scene.github.stage().attend(Arc::new(flaky));
        let mut tries = 1;
        while scene.ours.change(&super::forge::intent()).await.is_err() {
            tries += 1;
            assert!(tries <= 5, "seed {seed}");
        }
        assert_eq!(scene.github.pulls(REPO).expect("pulls").len(), 1, "seed {seed}");
    }
}
