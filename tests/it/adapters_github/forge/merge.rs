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
        let fault = Fault::answer("POST", "/graphql", 2, status, vec![], body);
        scene.github.stage().misbehave(fault);
        let done = merge(&scene, &merging(&pr)).await;
        assert_eq!(done, Outcome::Merged { commit: scene.main() }, "{status}");
        assert_eq!(scene.branch(BRANCH), Some(pr.head.to_string()), "{status}");
    }
}

/// Somebody merges another change of the same line first.
fn merged_first(scene: &Scene) {
    scene
        .github
        .push(
            "octocat",
            REPO,
            "main",
            &[("values.yaml", Some("# tenants\ncomcast: 3\n"))],
        )
        .expect("a push");
}

/// The change that takes the place of this one.
fn anew(old: &OpenedPr) -> ChangeIntent {
    ChangeIntent {
        branch: format!("{BRANCH}_2"),
        recorded: Some(old.clone()),
        replaces: true,
        ..intent()
    }
}

#[tokio::test]
async fn a_conflict_is_known_once_github_knows_and_tells_whether_people_had_a_hand_in_it() {
    let scene = Scene::app().await;
    let pr = opened(&scene).await;
    merged_first(&scene);
    let untouched = Outcome::MergeConflicts {
        pr: pr.pr.clone(),
        people: None,
    };
    assert_eq!(merge(&scene, &merging(&pr)).await, untouched);
    let only_look = merging(&pr).only_look();
    assert_eq!(merge(&scene, &only_look).await, untouched);
    assert_eq!(scene.calls("PUT", "/merge"), 0);
    // What is said in the conversation, commands for one, and what programs review is no hand in it.
    scene
        .github
        .comment(REPO, pr.pr.number, "octocat", "/dcr status")
        .expect("a comment");
    scene.github.add_bot("linter[bot]");
    scene
        .github
        .approve(REPO, pr.pr.number, "linter[bot]")
        .expect("approved");
    assert_eq!(merge(&scene, &merging(&pr)).await, untouched);
    let people = |outcome| match outcome {
        Outcome::MergeConflicts { people, .. } => people,
        other => panic!("{other:?}"),
    };
    let number = pr.pr.number;
    scene
        .github
        .review_comment(REPO, number, "octocat", ("values.yaml", 1), "Why?")
        .expect("a comment");
    let told = people(merge(&scene, &merging(&pr)).await);
    assert_eq!(told.as_deref(), Some("octocat commented on its lines"));
    scene.github.approve(REPO, number, "octocat").expect("approved");
    let told = people(merge(&scene, &merging(&pr)).await);
    assert_eq!(told.as_deref(), Some("octocat reviewed it"));
}

#[tokio::test]
async fn what_github_does_not_know_yet_is_no_conflict_and_a_409_may_be_one() {
    let scene = Scene::app().await;
    let pr = opened(&scene).await;
    merged_first(&scene);
    let unknown = format!(
        r#"{{"number":{},"state":"open","merged":false,"mergeable":null,"mergeable_state":"unknown",
            "head":{{"ref":"{BRANCH}","sha":"{}","repo":null}},
            "base":{{"ref":"main","repo":{{"default_branch":"main"}}}}}}"#,
        pr.pr.number, pr.head
    );
    let path = format!("/pulls/{}", pr.pr.number);
    outdated(&scene, &path, 200, &unknown);
    match merge(&scene, &merging(&pr)).await {
        Outcome::MergeWaits { why } => assert!(why.contains("not mergeable"), "{why}"),
        other => panic!("{other:?}"),
    }
    // By the time it refuses, it may have found out.
    outdated(&scene, &path, 200, &unknown);
    let body = r#"{"message":"Base branch was modified."}"#;
    scene
        .github
        .stage()
        .misbehave(Fault::answer("PUT", "/merge", 1, 409, vec![], body));
    let outcome = merge(&scene, &merging(&pr)).await;
    assert!(matches!(outcome, Outcome::MergeConflicts { .. }), "{outcome:?}");
}

#[tokio::test]
async fn another_pull_request_takes_the_place_of_one_that_conflicts() {
    let scene = Scene::app().await;
    let old = opened(&scene).await;
    merged_first(&scene);
    // The answer to the word is lost: it is not said twice.
    scene.misbehave(
        "POST",
        &format!("/issues/{}/comments", old.pr.number),
        FaultKind::EffectThenCut,
    );
    assert!(scene.ours.change(&anew(&old)).await.is_err());
    let Outcome::ChangeOpened(new) = change(&scene, &anew(&old)).await else {
        panic!("not opened");
    };
    assert_eq!(new.branch, format!("{BRANCH}_2"));
    let pulls = scene.github.pulls(REPO).expect("pulls");
    let open: Vec<(u64, bool)> = pulls.iter().map(|pull| (pull.number, pull.open)).collect();
    assert_eq!(open, [(old.pr.number, false), (new.pr.number, true)]);
    let said = scene.github.thread(REPO, old.pr.number).expect("the thread");
    assert_eq!(said.len(), 1, "{said:?}");
    let number = new.pr.number;
    assert!(said[0].body.contains("takes its place"), "{}", said[0].body);
    // Made again, it is the same.
    assert_eq!(change(&scene, &anew(&old)).await, Outcome::ChangeOpened(new.clone()));
    assert_eq!(scene.github.thread(REPO, old.pr.number).expect("the thread").len(), 1);
    assert!(
        matches!(merge(&scene, &merging(&new)).await, Outcome::Merged { .. }),
        "#{number} merges"
    );
    let now = scene.github.file(REPO, "main", "values.yaml").expect("the repository");
    assert_eq!(now.as_deref(), Some("# tenants\ncomcast: 2\n"));
}

#[tokio::test]
async fn what_gives_way_is_left_to_people_who_came_in_between_and_counts_if_it_was_merged() {
    let scene = Scene::app().await;
    let old = opened(&scene).await;
    merged_first(&scene);
    scene.github.approve(REPO, old.pr.number, "octocat").expect("approved");
    assert!(matches!(change(&scene, &anew(&old)).await, Outcome::ChangeOpened(_)));
    assert!(scene.github.pulls(REPO).expect("pulls")[0].open, "people reviewed it");
    // Somebody pushed to it: nothing is made beside it.
    let scene = Scene::app().await;
    let old = opened(&scene).await;
    let moved = scene
        .github
        .push_to_pr(REPO, old.pr.number, "octocat", &[("x", Some("y"))])
        .expect("a push");
    refused(&change(&scene, &anew(&old)).await, &moved);
    assert_eq!(scene.github.pulls(REPO).expect("pulls").len(), 1);
    // It was merged after all.
    let scene = Scene::app().await;
    let old = opened(&scene).await;
    let merged = scene
        .github
        .merge_by_person(REPO, old.pr.number, "octocat")
        .expect("a merge");
    let already = Outcome::ChangeAlreadyMerged { merged: sha(&merged) };
    assert_eq!(change(&scene, &anew(&old)).await, already);
    assert_eq!(scene.github.pulls(REPO).expect("pulls").len(), 1);
}

#[tokio::test]
async fn edits_that_are_there_by_now_close_what_conflicts() {
    let scene = Scene::app().await;
    let old = opened(&scene).await;
    let theirs = [("values.yaml", Some("# tenants\ncomcast: 2\n")), ("README.md", None)];
    scene.github.push("octocat", REPO, "main", &theirs).expect("a push");
    assert_eq!(change(&scene, &anew(&old)).await, Outcome::ChangeUnneeded);
    let pulls = scene.github.pulls(REPO).expect("pulls");
    assert_eq!((pulls.len(), pulls[0].open), (1, false));
    let said = scene.github.thread(REPO, old.pr.number).expect("the thread");
    assert!(said[0].body.contains("not needed any more"), "{}", said[0].body);
}
