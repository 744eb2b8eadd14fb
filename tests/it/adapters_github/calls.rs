//! What is made of GitHub's answers, and how calls are authorised: against a server that answers as it is told.

use std::sync::Arc;
use std::time::Duration;

use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use stepherd::adapters::again::is_passing;
use stepherd::adapters::github::{Credentials, Github, GithubConfig};
use stepherd::adapters::{CallError, Forge};
use stepherd::domain::ids::Repo;
use stepherd::domain::run::FailureClass;
use stepherd::sandbox::stage::{Fault, FaultKind, Served, Stage, serve};

use super::scene::KEYS;

struct Scene {
    stage: Arc<Stage>,
    github: Arc<Github>,
    _served: Served,
}

fn repo() -> Repo {
    "acme/deploy".parse().expect("a repository")
}

fn token() -> Credentials {
    Credentials::Token("s3cret".to_owned().into())
}

fn app() -> Credentials {
    Credentials::App {
        app_id: 4711,
        private_key: KEYS.private_pem.clone().into(),
    }
}

/// A GitHub with one file, below a path as Enterprise Server has it.
async fn scene(credentials: Credentials) -> Scene {
    let file = json!({
        "type": "file", "encoding": "base64", "content": "aGVs\nbG8=\n", "size": 5,
        "sha": "0123456789abcdef0123456789abcdef01234567"
    });
    let minted = json!({ "token": "ghs_1", "expires_at": "2999-01-01T00:00:00Z", "permissions": {} });
    let always = |body: Value| move || async move { Json(body) };
    let routes = Router::new()
        .route("/api/v3/repos/acme/deploy/contents/{*path}", get(always(file)))
        .route(
            "/api/v3/repos/acme/deploy/installation",
            get(always(json!({ "id": 7 }))),
        )
        .route("/api/v3/app/installations/7/access_tokens", post(always(minted)));
    let stage = Arc::new(Stage::default());
    let served = serve(routes, Arc::clone(&stage), 0).await.expect("a port");
    let github = Github::new(GithubConfig {
        api_url: format!("{}/api/v3/", served.url),
        web_url: None,
        webhook_secrets: vec![],
        credentials,
        own_account_id: None,
        allow_forks: false,
        delete_merged_branches: true,
    })
    .expect("a client");
    Scene {
        stage,
        github,
        _served: served,
    }
}

async fn failure(fault: Fault) -> CallError {
    let scene = scene(token()).await;
    scene.stage.misbehave(fault);
    let error = scene.github.read_file(&repo(), "a b.txt").await.expect_err("a failure");
    // Read three times where it may pass, and once where GitHub has said no or when.
    let calls = scene.stage.calls().len();
    assert!(calls == 1 || (calls == 3 && is_passing(&error)), "{calls}: {error:?}");
    assert!(!format!("{error:?}").contains("s3cret"));
    error
}

fn limited(headers: &[(&str, &str)], message: &str) -> Fault {
    let headers = headers.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
    Fault::answer(
        "GET",
        "/contents",
        1,
        403,
        headers,
        &json!({ "message": message }).to_string(),
    )
}

#[tokio::test]
async fn a_file_is_read_from_an_enterprise_servers_address() {
    let scene = scene(token()).await;
    let text = scene.github.read_file(&repo(), "dir/a b.txt").await;
    assert_eq!(text, Ok(Some("hello".to_owned())));
    assert_eq!(
        scene.stage.calls()[0].path,
        "/api/v3/repos/acme/deploy/contents/dir/a%20b.txt"
    );
}

#[tokio::test]
async fn limits_are_waited_out_for_as_long_as_github_says() {
    let secondary = "You have exceeded a secondary rate limit.";
    let primary = [
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", "1763719230"),
        ("date", "Fri, 21 Nov 2025 10:00:00 GMT"),
    ];
    let unnamed = [("retry-after", "23")];
    let dated = [
        ("retry-after", "Fri, 21 Nov 2025 10:00:45 GMT"),
        ("date", "Fri, 21 Nov 2025 10:00:00 GMT"),
    ];
    let cases = [
        (limited(&unnamed, "Please come back later."), 23),
        (limited(&dated, secondary), 45),
        (Fault::too_many("GET", "/contents", 1, 17), 17),
        (Fault::secondary_limit("GET", "/contents", 1, Some(42)), 42),
        (Fault::secondary_limit("GET", "/contents", 1, None), 60),
        (limited(&[], secondary), 60),
        (limited(&primary, "API rate limit exceeded for user ID 1."), 30),
    ];
    for (fault, seconds) in cases {
        let what = format!("{fault:?}");
        match failure(fault).await {
            CallError::Retry { after, class, .. } => {
                assert_eq!(after, Some(Duration::from_secs(seconds)), "{what}");
                assert_eq!(class, FailureClass::RateLimit);
            }
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn lost_and_broken_answers_may_be_tried_again() {
    let kinds = [
        FaultKind::Cut,
        FaultKind::EffectThenCut,
        FaultKind::EffectThenEmpty,
        FaultKind::EffectThenTruncated,
    ];
    let mut faults: Vec<Fault> = kinds.map(|k| Fault::new("GET", "/contents", 3, k)).to_vec();
    for (status, body) in [
        (500, "{}"),
        (502, "<html>Bad gateway</html>"),
        (503, ""),
        (408, ""),
        (200, "<html>"),
        (200, "{}"),
    ] {
        faults.push(Fault::answer("GET", "/contents", 3, status, vec![], body));
    }
    for fault in faults {
        let what = format!("{fault:?}");
        let error = failure(fault).await;
        let infrastructure = matches!(
            error,
            CallError::Retry {
                class: FailureClass::Infrastructure,
                ..
            }
        );
        assert!(infrastructure, "{what}: {error:?}");
    }
}

#[tokio::test]
async fn a_fault_is_waited_out_for_as_long_as_github_says() {
    let later = vec![("retry-after".to_owned(), "9".to_owned())];
    for status in [500, 502, 503, 408] {
        match failure(Fault::answer("GET", "/contents", 1, status, later.clone(), "")).await {
            CallError::Retry { after, class, .. } => {
                assert_eq!(after, Some(Duration::from_secs(9)), "{status}");
                assert_eq!(class, FailureClass::Infrastructure);
            }
            other => panic!("{status}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn refusals_are_final_and_say_why() {
    for (status, class) in [(403, FailureClass::Permission), (422, FailureClass::User)] {
        let body = r#"{"message":"No, because","errors":[{"message":"of this"},{"code":"invalid"},"plain"]}"#;
        match failure(Fault::answer("GET", "/contents", 1, status, vec![], body)).await {
            CallError::Permanent { why, class: got } => {
                assert_eq!(got, class);
                let told = format!("{status} No, because; of this; invalid; plain");
                assert!(why.contains(&told), "{why}");
            }
            other => panic!("{status}: {other:?}"),
        }
    }
}

/// Whoever has to mend it is told what GitHub said; whoever was asked about is not refused for it.
#[tokio::test]
async fn refused_credentials_are_no_answer() {
    let body = r#"{"message":"Bad credentials"}"#;
    match failure(Fault::answer("GET", "/contents", 1, 401, vec![], body)).await {
        CallError::Retry { why, after, class } => {
            assert_eq!((after, class), (None, FailureClass::Permission));
            assert!(why.contains("stepherd's own credentials are refused"), "{why}");
            assert!(why.contains("401 Bad credentials"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_missing_file_is_told_from_a_missing_repository() {
    let scene = scene(token()).await;
    let missing = || Fault::answer("GET", "/contents", 1, 404, vec![], r#"{"message":"Not Found"}"#);
    scene.stage.misbehave(missing());
    scene
        .stage
        .misbehave(Fault::answer("GET", "/repos/acme/deploy", 1, 200, vec![], "{}"));
    assert_eq!(scene.github.read_file(&repo(), "x").await, Ok(None));
    scene.stage.misbehave(missing());
    let error = scene.github.read_file(&repo(), "x").await;
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
async fn one_token_is_minted_however_many_ask_at_once() {
    let scene = scene(app()).await;
    let repo = repo();
    let (a, b, c, d) = tokio::join!(
        scene.github.read_file(&repo, "a"),
        scene.github.read_file(&repo, "b"),
        scene.github.read_file(&repo, "c"),
        scene.github.read_file(&repo, "d"),
    );
    for answer in [a, b, c, d] {
        assert_eq!(answer, Ok(Some("hello".to_owned())));
    }
    assert_eq!(scene.stage.calls_to("GET", "/installation").len(), 1);
    assert_eq!(scene.stage.calls_to("POST", "/access_tokens").len(), 1);
}

#[tokio::test]
async fn a_token_that_is_refused_is_minted_anew() {
    let scene = scene(app()).await;
    let read = || async { scene.github.read_file(&repo(), "a").await };
    assert!(read().await.is_ok());
    scene.stage.misbehave(Fault::answer(
        "GET",
        "/contents",
        1,
        401,
        vec![],
        r#"{"message":"Bad credentials"}"#,
    ));
    assert_eq!(read().await, Ok(Some("hello".to_owned())));
    assert_eq!(scene.stage.calls_to("POST", "/access_tokens").len(), 2);
}

#[tokio::test]
async fn an_app_that_is_installed_again_is_found_again() {
    let scene = scene(app()).await;
    let read = || async { scene.github.read_file(&repo(), "a").await };
    assert!(read().await.is_ok());
    // The token is refused and so is the old installation: it is looked for again.
    let refused = |method: &str, path: &str, status| Fault::answer(method, path, 1, status, vec![], "{}");
    scene.stage.misbehave(refused("GET", "/contents", 401));
    scene.stage.misbehave(refused("POST", "/access_tokens", 404));
    assert_eq!(read().await, Ok(Some("hello".to_owned())));
    assert_eq!(scene.stage.calls_to("GET", "/installation").len(), 2);
    // A token that was just made and is refused all the same stays refused.
    for _ in 0..2 {
        scene.stage.misbehave(refused("GET", "/contents", 401));
    }
    let refused = read().await;
    assert!(
        matches!(
            refused,
            Err(CallError::Retry {
                class: FailureClass::Permission,
                ..
            })
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_app_that_is_not_installed_says_so() {
    let scene = scene(app()).await;
    scene.stage.misbehave(Fault::answer(
        "GET",
        "/installation",
        1,
        404,
        vec![],
        r#"{"message":"Not Found"}"#,
    ));
    match scene.github.read_file(&repo(), "a").await {
        Err(CallError::Permanent { why, class }) => {
            assert_eq!(class, FailureClass::Permission);
            assert!(why.contains("not installed"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_limit_on_minting_is_a_limit() {
    let scene = scene(app()).await;
    scene
        .stage
        .misbehave(Fault::secondary_limit("POST", "/access_tokens", 1, Some(5)));
    match scene.github.read_file(&repo(), "a").await {
        Err(CallError::Retry { after, class, .. }) => {
            assert_eq!((after, class), (Some(Duration::from_secs(5)), FailureClass::RateLimit));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn configuration_that_cannot_work_is_refused_without_naming_secrets() {
    let config = |api_url: &str, credentials| GithubConfig {
        api_url: api_url.to_owned(),
        web_url: None,
        webhook_secrets: vec![],
        credentials,
        own_account_id: None,
        allow_forks: false,
        delete_merged_branches: true,
    };
    let bad_key = Credentials::App {
        app_id: 1,
        private_key: "hunter2".to_owned().into(),
    };
    let told = Github::new(config("https://api.github.com", bad_key))
        .err()
        .expect("no key");
    assert!(told.contains("private key") && !told.contains("hunter2"), "{told}");
    assert!(Github::new(config("not a url", token())).is_err());
}
