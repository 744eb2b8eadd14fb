//! Merging: once, at the recorded head, and explained when it cannot be.

use stepherd::adapters::{CallError, Forge};
use stepherd::domain::effect::Outcome;
use stepherd::domain::run::FailureClass;
use stepherd::sandbox::stage::{Fault, FaultKind};

use super::{merge, merging, opened, refused};
use crate::adapters_github::scene::{REPO, Scene, sha};

#[tokio::test]
async fn a_merge_is_made_once_at_the_recorded_head() {
    let scene = Scene::app().await;
    let pr = opened(&scene).await;
    let intent = merging(&pr);
    let done = merge(&scene, &intent).await;
    let commit = scene.main();
    assert_eq!(done, Outcome::Merged { commit });
    assert_eq!(merge(&scene, &intent).await, done);
    assert_eq!(scene.calls("PUT", "/merge"), 1);
    let body = &scene.github.stage().calls_to("PUT", "/merge")[0].body;
    assert!(body.contains(pr.head.as_str()) && body.contains("squash"), "{body}");
}

#[tokio::test]
async fn a_merge_whose_answer_was_lost_is_found() {
    for kind in [
        FaultKind::EffectThenCut,
        FaultKind::EffectThenEmpty,
        FaultKind::EffectThenTruncated,
    ] {
        let scene = Scene::app().await;
        let intent = merging(&opened(&scene).await);
        scene.misbehave("PUT", "/merge", kind);
        let lost = scene.ours.merge(&intent).await;
        assert!(matches!(lost, Err(CallError::Retry { .. })), "{lost:?}");
        assert_eq!(merge(&scene, &intent).await, Outcome::Merged { commit: scene.main() });
        assert_eq!(scene.calls("PUT", "/merge"), 1);
    }
}

#[tokio::test]
async fn a_merge_waits_for_reviews_and_for_people() {
    let scene = Scene::app().await;
    let pr = opened(&scene).await;
    let mut intent = merging(&pr);
    scene.github.require_reviews(REPO, 1).expect("the repository");
    match merge(&scene, &intent).await {
        Outcome::MergeWaits { why } => assert!(why.contains("approving review"), "{why}"),
        other => panic!("{other:?}"),
    }
    intent.method = None;
    let puts = scene.calls("PUT", "/merge");
    let why = format!("waiting for people to merge #{}", pr.pr.number);
    assert_eq!(merge(&scene, &intent).await, Outcome::MergeWaits { why });
    assert_eq!(scene.calls("PUT", "/merge"), puts);
    scene.github.approve(REPO, pr.pr.number, "octocat").expect("approved");
    let merged = scene
        .github
        .merge_by_person(REPO, pr.pr.number, "octocat")
        .expect("a merge");
    assert_eq!(merge(&scene, &intent).await, Outcome::Merged { commit: sha(&merged) });
}

#[tokio::test]
async fn what_github_says_to_a_merge_is_explained() {
    let scene = Scene::app().await;
    let intent = merging(&opened(&scene).await);
    let answer = |status| {
        let body = r#"{"message":"Base branch was modified."}"#;
        scene
            .github
            .stage()
            .misbehave(Fault::answer("PUT", "/merge", 1, status, vec![], body));
    };
    let waits = Outcome::MergeWaits {
        why: "Base branch was modified.".to_owned(),
    };
    answer(409);
    assert_eq!(merge(&scene, &intent).await, waits);
    answer(405);
    assert_eq!(merge(&scene, &intent).await, waits);
    answer(422);
    refused(&merge(&scene, &intent).await, "Base branch was modified.");
    for status in [403, 404] {
        answer(status);
        let error = scene.ours.merge(&intent).await;
        let denied = matches!(
            error,
            Err(CallError::Permanent {
                class: FailureClass::Permission,
                ..
            })
        );
        assert!(denied, "{status}: {error:?}");
    }
    scene
        .github
        .stage()
        .misbehave(Fault::secondary_limit("PUT", "/merge", 1, Some(9)));
    let error = scene.ours.merge(&intent).await;
    assert!(
        matches!(
            error,
            Err(CallError::Retry {
                class: FailureClass::RateLimit,
                ..
            })
        ),
        "{error:?}"
    );
}
