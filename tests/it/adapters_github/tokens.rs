//! What the app's tokens are good for, and where they travel.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use serde_json::{Value, json};
use stepherd::adapters::{CallError, Forge, Marker, Threads};
use stepherd::domain::doc::Doc;
use stepherd::domain::edit::{Edit, EditAction};
use stepherd::domain::effect::{ChangeIntent, Outcome};
use stepherd::domain::ids::{Repo, ThreadRef};
use stepherd::domain::run::FailureClass;
use stepherd::sandbox::stage::{Fault, Stage, serve};

use super::scene::{REPO, Scene, repo};

/// What each token was asked for, in order.
fn minted(scene: &Scene) -> Vec<Value> {
    let calls = scene.github.stage().calls_to("POST", "/access_tokens");
    calls
        .iter()
        .filter(|call| call.status == 201)
        .map(|call| serde_json::from_str(&call.body).expect("JSON"))
        .collect()
}

fn for_deploy(permissions: Value) -> Value {
    json!({ "permissions": permissions, "repositories": ["deploy"] })
}

fn change(path: &str) -> ChangeIntent {
    ChangeIntent {
        repo: repo(),
        branch: "SREPROV-3072_URMO7YZ2_StepUpdate".to_owned(),
        edits: vec![Edit {
            path: path.to_owned(),
            action: EditAction::Write {
                content: "a: 1\n".to_owned(),
            },
        }],
        title: "A change".to_owned(),
        body: "By stepherd.".to_owned(),
        recorded: None,
        replaces: false,
    }
}

async fn post(scene: &Scene, number: u64) -> Result<(), CallError> {
    let thread: ThreadRef = format!("github:{REPO}#{number}").parse().expect("a thread");
    let doc = Doc::paragraph(vec![]);
    let marker = Marker("card:A".to_owned());
    scene.ours.post(&thread, &marker, &doc, None, false).await.map(drop)
}

#[tokio::test]
async fn a_token_is_for_one_repository_and_for_what_the_call_needs() {
    let scene = Scene::app().await;
    let number = scene.somebodys_pr("topic");
    scene.ours.read_file(&repo(), "README.md").await.expect("a file");
    scene.ours.read_file(&repo(), "values.yaml").await.expect("a file");
    assert_eq!(
        minted(&scene),
        [for_deploy(json!({"contents": "read"}))],
        "once for both"
    );
    post(&scene, number).await.expect("a comment");
    scene
        .github
        .add_repo("acme/other", &[("x", "y")])
        .expect("a repository");
    let other: Repo = "acme/other".parse().expect("a repository");
    scene.ours.read_file(&other, "x").await.expect("a file");
    let later = &minted(&scene)[1..];
    let of_other = json!({"permissions": {"contents": "read"}, "repositories": ["other"]});
    assert_eq!(later, [for_deploy(json!({"pull_requests": "write"})), of_other]);
}

#[tokio::test]
async fn only_a_change_of_workflows_asks_for_that_right() {
    let scene = Scene::app().await;
    let outcome = scene.ours.change(&change("conf/new.yaml")).await;
    assert!(matches!(outcome, Ok(Outcome::ChangeOpened(_))), "{outcome:?}");
    assert!(
        minted(&scene)
            .iter()
            .all(|body| body["permissions"]["workflows"].is_null())
    );
    let scene = Scene::app().await;
    let outcome = scene.ours.change(&change(".github/workflows/ci.yaml")).await;
    assert!(matches!(outcome, Ok(Outcome::ChangeOpened(_))), "{outcome:?}");
    assert!(minted(&scene).contains(&for_deploy(json!({"contents": "write", "workflows": "write"}))));
    let scene = Scene::app().await;
    scene.github.grant("workflows", false);
    let refused = scene.ours.change(&change(".github/workflows/ci.yaml")).await;
    assert!(
        matches!(
            refused,
            Err(CallError::Permanent {
                class: FailureClass::Permission,
                ..
            })
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_permission_that_the_app_lacks_is_named_and_works_once_it_is_granted() {
    let scene = Scene::app().await;
    let number = scene.somebodys_pr("topic");
    scene.github.grant("pull_requests", false);
    match post(&scene, number).await {
        Err(CallError::Permanent { why, class }) => {
            assert_eq!(class, FailureClass::Permission);
            assert!(
                why.contains(r#"{"pull_requests":"write"}"#) && why.contains(REPO),
                "{why}"
            );
        }
        other => panic!("{other:?}"),
    }
    scene.github.grant("pull_requests", true);
    post(&scene, number).await.expect("a comment");
}

#[tokio::test]
async fn a_repository_is_found_under_its_former_name_also_in_another_organisation() {
    for to in ["acme/renamed", "elsewhere/deploy"] {
        for known_before in [false, true] {
            let scene = Scene::app().await;
            let number = scene.somebodys_pr("topic");
            let text = || async { scene.ours.read_file(&repo(), "README.md").await };
            if known_before {
                assert_eq!(text().await, Ok(Some("hello\n".to_owned())));
            }
            scene.github.move_repo(REPO, to).expect("the repository");
            scene.github.revoke_installation_tokens();
            assert_eq!(text().await, Ok(Some("hello\n".to_owned())), "{to} {known_before}");
            post(&scene, number)
                .await
                .expect("a comment, which is sent on as it is");
            assert_eq!(scene.github.thread(to, number).expect("a thread").len(), 1);
            let last = minted(&scene).pop().expect("a token");
            assert_eq!(last["repository_ids"].as_array().map(Vec::len), Some(1), "{last}");
        }
    }
}

#[tokio::test]
async fn a_repository_is_found_however_its_name_is_written() {
    let scene = Scene::app().await;
    scene
        .github
        .add_repo("Acme/Mixed-Case", &[("x", "y")])
        .expect("a repository");
    let mixed: Repo = "Acme/Mixed-Case".parse().expect("a repository");
    assert_eq!(scene.ours.read_file(&mixed, "x").await, Ok(Some("y".to_owned())));
    let asked: Vec<Value> = minted(&scene)
        .into_iter()
        .map(|body| body["repository_ids"].clone())
        .collect();
    assert!(asked.last().is_some_and(Value::is_array), "by its number: {asked:?}");
}

#[tokio::test]
async fn a_redirect_that_leads_elsewhere_is_not_followed() {
    let stage = Arc::new(Stage::default());
    let other = serve(Router::new().fallback(async || StatusCode::OK), Arc::clone(&stage), 0).await;
    let other = other.expect("a port");
    let scene = Scene::app().await;
    let number = scene.somebodys_pr("topic");
    let here = scene.github.url().to_owned();
    let elsewhere = [
        format!("{}/api/v3/repositories/1", other.url),
        other.url.replace("http://", "//"),
        here.replace("http://", "https://") + "/api/v3/repositories/1",
        here.replace("http://", "http://user:password@") + "/api/v3/repositories/1",
        format!("{here}/login"),
        "javascript:alert(1)".to_owned(),
        String::new(),
    ];
    for location in elsewhere {
        for (method, path, status) in [("GET", "/contents/", 301), ("POST", "/comments", 307)] {
            let headers = vec![("location".to_owned(), location.clone())];
            let redirect = Fault::answer(method, path, 1, status, headers, "{}");
            scene.github.stage().misbehave(redirect);
            let error = match method {
                "GET" => scene.ours.read_file(&repo(), "README.md").await.map(drop),
                _ => post(&scene, number).await,
            };
            assert!(
                matches!(error, Err(CallError::Permanent { .. })),
                "{location}: {error:?}"
            );
        }
    }
    assert!(stage.calls().is_empty(), "nobody else was spoken to");
}

#[tokio::test]
async fn what_changes_something_is_sent_on_only_where_github_says_as_it_is() {
    let scene = Scene::app().await;
    let number = scene.somebodys_pr("topic");
    let location = format!("{}/api/v3/repos/{REPO}/issues/{number}/comments", scene.github.url());
    let redirect = |status| {
        let headers = vec![("location".to_owned(), location.clone())];
        Fault::answer("POST", "/comments", 1, status, headers, "{}")
    };
    for (status, comments) in [(301, 0), (302, 0), (303, 0), (307, 1), (308, 2)] {
        scene.github.stage().misbehave(redirect(status));
        assert_eq!(post(&scene, number).await.is_ok(), status >= 307, "{status}");
        assert_eq!(scene.github.thread(REPO, number).expect("a thread").len(), comments);
    }
    for _ in 0..10 {
        scene.github.stage().misbehave(redirect(307));
    }
    let error = post(&scene, number).await;
    assert!(
        matches!(error, Err(CallError::Retry { .. })),
        "it does not go round for ever: {error:?}"
    );
}
