//! Merging: what GitHub says to it, and heads that move.

use super::*;

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

#[tokio::test]
async fn a_head_that_moves_between_looking_and_merging_is_not_merged() {
    let scene = Scene::app().await;
    let pr = opened(&scene).await;
    let number = pr.pr.number;
    let moved = scene
        .github
        .push_to_pr(REPO, number, "octocat", &[("x", Some("y"))])
        .expect("a push");
    let before = format!(
        r#"{{"number":{number},"state":"open","merged":false,"head":{{"ref":"{BRANCH}","sha":"{}","repo":null}},
            "base":{{"ref":"main","repo":{{"default_branch":"main"}}}}}}"#,
        pr.head
    );
    outdated(&scene, &format!("/pulls/{number}"), 200, &before);
    refused(&merge(&scene, &merging(&pr)).await, &moved);
    assert_eq!(scene.calls("PUT", "/merge"), 1);
    assert_eq!(scene.github.pulls(REPO).expect("pulls")[0].merged, None);
}

#[tokio::test]
async fn a_branch_or_pull_request_that_turns_up_late_is_adopted() {
    let scene = Scene::app().await;
    let pr = opened(&scene).await;
    outdated(&scene, "/pulls", 200, "[]");
    outdated(&scene, BRANCH, 404, "{}");
    assert_eq!(change(&scene, &intent()).await, Outcome::ChangeOpened(pr));
    assert_eq!(
        (scene.calls("POST", "/git/refs"), scene.calls("POST", "/pulls")),
        (2, 2)
    );
    assert_eq!(scene.github.pulls(REPO).expect("pulls").len(), 1);
}

#[tokio::test]
async fn a_pull_request_that_is_closed_or_absent_is_not_merged() {
    let scene = Scene::app().await;
    let pr = opened(&scene).await;
    scene.github.close_pr(REPO, pr.pr.number, "octocat").expect("closed");
    assert_eq!(
        merge(&scene, &merging(&pr)).await,
        Outcome::ChangeClosed { pr: pr.pr.clone() }
    );
    let absent = MergeIntent {
        pr: PrRef {
            repo: repo(),
            number: 999,
        },
        ..merging(&pr)
    };
    let error = scene.ours.merge(&absent).await;
    assert!(
        matches!(
            error,
            Err(CallError::Permanent {
                class: FailureClass::Permission,
                ..
            })
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_missing_right_is_told_as_one() {
    let scene = Scene::app().await;
    scene.github.grant("contents", false);
    let error = scene.ours.change(&intent()).await;
    assert!(
        matches!(
            error,
            Err(CallError::Permanent {
                class: FailureClass::Permission,
                ..
            })
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_squash_has_the_title_of_its_pull_request_as_it_is_now_and_github_can_link_its_number() {
    let scene = Scene::app().await;
    let pr = opened(&scene).await;
    let number = pr.pr.number;
    let better = json!({ "title": "Raise comcast to 2" });
    let pulls = format!("/pulls/{number}");
    scene.by_hand(reqwest::Method::PATCH, &pulls, &better).await;
    merge(&scene, &merging(&pr)).await;
    let commit = format!("/git/commits/{}", scene.main());
    let commit = scene.by_hand(reqwest::Method::GET, &commit, &json!({})).await;
    assert_eq!(commit["message"], json!(format!("Raise comcast to 2 (#{number})")));
}

#[tokio::test]
async fn the_branch_of_a_merged_step_is_deleted_whoever_merged_it() {
    for by_people in [false, true] {
        for scene in [Scene::app().await, Scene::token().await] {
            let pr = opened(&scene).await;
            if by_people {
                let merged = scene.github.merge_by_person(REPO, pr.pr.number, "octocat");
                merged.expect("a merge");
            }
            let commit = match merge(&scene, &merging(&pr)).await {
                Outcome::Merged { commit } => commit,
                other => panic!("{other:?}"),
            };
            assert_eq!(scene.branch(BRANCH), None);
            // Once more, as after an answer that was lost.
            assert_eq!(merge(&scene, &merging(&pr)).await, Outcome::Merged { commit });
        }
    }
}

#[tokio::test]
async fn a_merged_branch_stays_where_people_have_pushed_since_or_the_setting_is_off() {
    let scene = Scene::app().await;
    let pr = opened(&scene).await;
    let merged = scene.github.merge_by_person(REPO, pr.pr.number, "octocat");
    merged.expect("a merge");
    let newer = json!({ "sha": scene.main().as_str(), "force": true });
    let branch = format!("/git/refs/heads/{BRANCH}");
    scene.by_hand(reqwest::Method::PATCH, &branch, &newer).await;
    let done = merge(&scene, &merging(&pr)).await;
    assert!(matches!(done, Outcome::Merged { .. }), "{done:?}");
    assert_eq!(scene.branch(BRANCH), Some(scene.main().to_string()));

    let scene = Scene::keeping_branches().await;
    let pr = opened(&scene).await;
    let done = merge(&scene, &merging(&pr)).await;
    assert!(matches!(done, Outcome::Merged { .. }), "{done:?}");
    assert_eq!(scene.branch(BRANCH), Some(pr.head.to_string()));
}

#[tokio::test]
async fn a_branch_that_cannot_be_deleted_keeps_no_merge_from_counting() {
    let answers = [
        (
            200,
            r#"{"data":{"updateRefs":null},"errors":[{"message":"Repository rule violations found"}]}"#,
        ),
        (404, r#"{"message":"Not Found"}"#),
        (502, "<html>"),
    ];
    for (status, body) in answers {
        let scene = Scene::app().await;
        let pr = opened(&scene).await;
        let fault = Fault::answer("POST", "/graphql", 1, status, vec![], body);
        scene.github.stage().misbehave(fault);
        let done = merge(&scene, &merging(&pr)).await;
        assert_eq!(done, Outcome::Merged { commit: scene.main() }, "{status}");
        assert_eq!(scene.branch(BRANCH), Some(pr.head.to_string()), "{status}");
    }
}
