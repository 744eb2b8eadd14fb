//! What is found by looking reads as its webhook did, and what failed to be delivered is asked for again.

use jiff::Timestamp;
use serde_json::{Value, json};
use stepherd::adapters::github::{GithubCatchup, GithubDoor, OwnIdentity};
use stepherd::adapters::{CallError, Catchup, Door, Missed, Ours, RawRequest};
use stepherd::domain::run::FailureClass;
use stepherd::domain::signal::{Proof, Signal};
use stepherd::sandbox::stage::{Fault, FaultKind};

use super::scene::{APP_ID, REPO, Scene};

/// Some time before anything happens in a scene.
const LONG_AGO: i64 = 1_750_000_000;
const NOW: i64 = 1_760_100_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn catchup(scene: &Scene) -> GithubCatchup {
    GithubCatchup::new(scene.ours.clone(), Vec::new())
}

async fn missed(catchup: &GithubCatchup) -> Missed {
    catchup.missed(&Ours::default(), at(LONG_AGO), at(NOW)).await
}

fn read(headers: Vec<(String, String)>, body: Vec<u8>) -> Vec<Signal> {
    let own = OwnIdentity {
        instance: "api.github.com".to_owned(),
        app_id: Some(APP_ID),
        account_id: None,
    };
    let request = RawRequest {
        method: "POST".into(),
        target: "/webhooks/github".into(),
        headers,
        body: body.into(),
    };
    GithubDoor::new(Vec::new(), own)
        .read(&request, Proof::Repaired, at(NOW))
        .expect("readable")
}

fn found(missed: &Missed) -> Vec<Signal> {
    let all = missed.deliveries.iter();
    all.flat_map(|delivery| read(delivery.headers.clone(), delivery.body.clone()))
        .collect()
}

/// What the webhooks of these events said, in the order of what happened.
fn told(scene: &Scene) -> Vec<Signal> {
    let all = scene.github.deliveries();
    let comments = all.iter().filter(|delivery| delivery.event.contains("comment"));
    comments
        .flat_map(|delivery| {
            let headers = [
                ("content-type", "application/json"),
                ("x-github-event", &delivery.event),
            ];
            let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
            read(headers.into(), delivery.payload.to_string().into_bytes())
        })
        .collect()
}

/// Nobody listens there, nor may anybody.
fn listen_nowhere(scene: &Scene) {
    scene
        .github
        .set_webhook("http://127.0.0.1:1/", "s".to_owned().into(), false);
}

#[tokio::test]
async fn comments_found_by_looking_read_exactly_as_their_webhooks() {
    for scene in [Scene::app().await, Scene::token().await] {
        listen_nowhere(&scene);
        let pr = scene.somebodys_pr("b");
        let said = "/dcr retry\r\n\u{1f600} \"quoted\" <!-- hidden -->";
        scene.github.comment(REPO, pr, "octocat", said).expect("a comment");
        scene.pass_seconds(1);
        let line = ("src.txt", 2);
        let root = scene.github.review_comment(REPO, pr, "octocat", line, "/dcr list");
        scene.pass_seconds(1);
        let root = root.expect("a comment");
        scene
            .github
            .reply_to_review(REPO, pr, root, "octocat", "/dcr why")
            .expect("a reply");
        scene.pass_seconds(1);
        scene.github.add_bot("ci[bot]");
        scene
            .github
            .comment(REPO, pr, "ci[bot]", "/dcr stop")
            .expect("a comment");
        let missed = missed(&catchup(&scene)).await;
        assert_eq!(
            (missed.trouble.clone(), missed.seen_to, missed.redelivered),
            (None, at(NOW), 0)
        );
        let found = found(&missed);
        assert_eq!(found, told(&scene));
        assert_eq!(found.len(), 4);
        let ids: Vec<&str> = missed.deliveries.iter().map(|d| d.delivery_id.as_str()).collect();
        assert!(
            ids[0].starts_with("repair-comment-") && ids[1] == format!("repair-review-comment-{root}"),
            "{ids:?}"
        );
        let kinds: Vec<(&str, &str)> = missed.deliveries.iter().map(|d| (d.what, d.kind.as_str())).collect();
        assert_eq!(kinds[0], ("comment", "issue_comment.created"));
        assert_eq!(kinds[1], ("review_comment", "pull_request_review_comment.created"));
    }
}

#[tokio::test]
async fn a_repository_named_in_another_case_makes_the_same_keys() {
    let scene = Scene::app().await;
    listen_nowhere(&scene);
    let pr = scene.somebodys_pr("b");
    scene
        .github
        .comment(REPO, pr, "octocat", "/dcr list")
        .expect("a comment");
    scene.github.add_repo("acme/other", &[]).expect("a repository");
    let named = "Acme/DEPLOY".parse().expect("a name");
    let missed = missed(&GithubCatchup::new(scene.ours.clone(), vec![named])).await;
    assert_eq!(found(&missed), told(&scene));
    assert_eq!(scene.calls("GET", "/installation/repositories"), 0);
    let others = scene.github.stage().calls_to("GET", "/acme/other/");
    assert!(others.is_empty(), "only what is named is looked through");
}

#[tokio::test]
async fn only_what_was_said_since_then_is_found_however_many_pages_it_takes() {
    let scene = Scene::app().await;
    let pr = scene.somebodys_pr("b");
    let say = |text: &str| scene.github.comment(REPO, pr, "octocat", text).expect("a comment");
    let old = say("/dcr before");
    scene.pass_seconds(10);
    for n in 0..230 {
        say(&format!("/dcr {n}"));
    }
    scene.pass_seconds(10);
    // An edit brings an old comment back into the list, and it must not count as new.
    scene
        .github
        .edit_comment(REPO, old, "octocat", "/dcr after")
        .expect("an edit");
    let since = at(1_760_000_010) + jiff::SignedDuration::from_millis(900);
    let missed = catchup(&scene).missed(&Ours::default(), since, at(NOW)).await;
    assert_eq!(missed.deliveries.len(), 230);
    let ids: std::collections::BTreeSet<&str> = missed.deliveries.iter().map(|d| d.delivery_id.as_str()).collect();
    assert_eq!(ids.len(), 230);
}

#[tokio::test]
async fn comments_on_issues_and_of_closed_accounts_are_left_out() {
    let scene = Scene::token().await;
    let pr = scene.somebodys_pr("b");
    scene
        .github
        .comment(REPO, pr, "octocat", "/dcr list")
        .expect("a comment");
    let api = format!("{}/repos/{REPO}", scene.github.url());
    let client = reqwest::Client::builder().user_agent("x").build().expect("a client");
    let list = client.get(format!("{api}/issues/comments")).bearer_auth("ghp_machine");
    let listed: Value = list.send().await.expect("an answer").json().await.expect("JSON");
    let (mut on_issue, mut ghost) = (listed[0].clone(), listed[0].clone());
    on_issue["html_url"] = json!(format!("https://github.com/{REPO}/issues/{pr}#issuecomment-1"));
    ghost["user"] = Value::Null;
    let body = json!([on_issue, ghost]).to_string();
    let answer = Fault::answer("GET", "/issues/comments", 1, 200, Vec::new(), &body);
    scene.github.stage().misbehave(answer);
    let missed = missed(&catchup(&scene)).await;
    assert!(missed.deliveries.is_empty() && missed.trouble.is_none());
}

#[tokio::test]
async fn what_cannot_be_looked_at_now_keeps_the_time_standing_still() {
    let scene = Scene::app().await;
    let pr = scene.somebodys_pr("b");
    scene
        .github
        .comment(REPO, pr, "octocat", "/dcr list")
        .expect("a comment");
    let catchup = catchup(&scene);
    for path in ["/app/hook/deliveries", "/app/installations", "/pulls/comments"] {
        let broken = Fault::new("GET", path, 9, FaultKind::EffectThenTruncated);
        scene.github.stage().misbehave(broken);
        let missed = missed(&catchup).await;
        scene.github.stage().behave();
        assert!(matches!(missed.trouble, Some(CallError::Retry { .. })), "{path}");
        assert_eq!(missed.seen_to, at(LONG_AGO), "{path}");
    }
    scene
        .github
        .stage()
        .misbehave(Fault::secondary_limit("GET", "/issues/comments", 1, Some(7)));
    let limited = missed(&catchup).await.trouble;
    let Some(CallError::Retry { class, after, .. }) = limited else {
        panic!("{limited:?}");
    };
    assert_eq!(
        (class, after),
        (FailureClass::RateLimit, Some(std::time::Duration::from_secs(7)))
    );
    // What may not be read at all would stand in the way for ever.
    scene.github.stage().misbehave(Fault::answer(
        "GET",
        "/pulls/comments",
        1,
        403,
        Vec::new(),
        r#"{"message":"Resource protected"}"#,
    ));
    let refused = missed(&catchup).await;
    assert_eq!((refused.trouble, refused.deliveries.len()), (None, 1));
    assert_eq!(missed(&catchup).await.deliveries.len(), 1);
}

#[tokio::test]
async fn what_failed_is_asked_for_again_until_it_comes_or_it_is_enough() {
    let scene = Scene::app().await;
    listen_nowhere(&scene);
    let pr = scene.somebodys_pr("b");
    scene
        .github
        .comment(REPO, pr, "octocat", "/dcr list")
        .expect("a comment");
    assert_eq!(scene.github.deliver_pending().await, [0, 0]);
    let catchup = catchup(&scene);
    let asked = missed(&catchup).await;
    assert_eq!((asked.redelivered, asked.deliveries.len()), (2, 0));
    assert_eq!(asked.seen_to, at(LONG_AGO), "they are waited for");
    for tries in [2, 3] {
        assert_eq!(scene.github.deliver_pending().await, [0, 0]);
        let asked = missed(&catchup).await;
        assert_eq!((asked.redelivered, asked.seen_to), (2, at(NOW)), "{tries}");
        assert_eq!(asked.deliveries.len(), 1, "and not waited for any longer");
    }
    assert_eq!(scene.github.deliver_pending().await, [0, 0]);
    assert_eq!(missed(&catchup).await.redelivered, 0, "three times are enough");
}

#[tokio::test]
async fn what_came_through_or_never_will_is_not_asked_for() {
    let scene = Scene::app().await;
    let pr = scene.somebodys_pr("b");
    for status in [200, 202, 400, 401, 413, 415] {
        let code = axum::http::StatusCode::from_u16(status).expect("a status");
        let routes = axum::Router::new().fallback(async move || code);
        let door = stepherd::sandbox::stage::serve(routes, std::sync::Arc::default(), 0)
            .await
            .expect("a port");
        scene.github.set_webhook(&door.url, "s".to_owned().into(), false);
        scene
            .github
            .comment(REPO, pr, "octocat", "/dcr list")
            .expect("a comment");
        assert_eq!(scene.github.deliver_pending().await, [status]);
    }
    // A hint to look is worth nothing later: stepherd looks anyway.
    listen_nowhere(&scene);
    let head = scene.branch("b").expect("the branch");
    scene
        .github
        .finish_check(REPO, &head, "ci", "success")
        .expect("a check");
    scene.github.deliver_pending().await;
    let missed = missed(&catchup(&scene)).await;
    assert_eq!((missed.redelivered, missed.seen_to), (0, at(NOW)));
    assert_eq!(scene.calls("POST", "/attempts"), 0);
}

#[tokio::test]
async fn a_long_list_of_failures_is_asked_for_bit_by_bit_the_oldest_first() {
    let scene = Scene::app().await;
    listen_nowhere(&scene);
    let pr = scene.somebodys_pr("b");
    for n in 0..129 {
        scene
            .github
            .comment(REPO, pr, "octocat", &format!("/dcr {n}"))
            .expect("a comment");
    }
    scene.github.deliver_pending().await;
    let catchup = catchup(&scene);
    let routes = axum::Router::new().fallback(async || axum::http::StatusCode::ACCEPTED);
    let door = stepherd::sandbox::stage::serve(routes, std::sync::Arc::default(), 0)
        .await
        .expect("a port");
    scene.github.set_webhook(&door.url, "s".to_owned().into(), false);
    let mut asked = Vec::new();
    for _ in 0..4 {
        let missed = missed(&catchup).await;
        assert_eq!(missed.seen_to == at(NOW), missed.redelivered == 0);
        asked.push(missed.redelivered);
        scene.github.deliver_pending().await;
    }
    assert_eq!(asked, [60, 60, 10, 0]);
    let answers: Vec<Vec<u16>> = scene.github.deliveries().into_iter().map(|d| d.answers).collect();
    assert!(answers.iter().all(|answers| *answers == [0, 202]), "{answers:?}");
}

#[tokio::test]
async fn an_account_where_the_app_is_suspended_hinders_no_other() {
    let scene = Scene::app().await;
    scene.github.add_repo("other/thing", &[]).expect("a repository");
    let pr = scene.somebodys_pr("b");
    scene
        .github
        .comment(REPO, pr, "octocat", "/dcr list")
        .expect("a comment");
    let refused = r#"{"message":"This installation has been suspended"}"#;
    scene
        .github
        .stage()
        .misbehave(Fault::answer("POST", "/access_tokens", 1, 403, Vec::new(), refused));
    let missed = missed(&catchup(&scene)).await;
    // Which of the two it hits is up to the order of the list: the other one is looked through all the same.
    assert!(missed.trouble.is_none());
    let looked = scene.github.stage().calls_to("GET", "/issues/comments");
    assert_eq!(looked.len(), 1, "{looked:?}");
}

#[tokio::test]
async fn where_nothing_ever_gets_through_nothing_is_waited_for() {
    let scene = Scene::app().await;
    listen_nowhere(&scene);
    let pr = scene.somebodys_pr("b");
    let catchup = catchup(&scene);
    for said in 1..4 {
        // There is always something that is asked for the first time.
        scene
            .github
            .comment(REPO, pr, "octocat", "/dcr list")
            .expect("a comment");
        scene.github.deliver_pending().await;
        let missed = missed(&catchup).await;
        assert_eq!(missed.deliveries.len(), if said == 1 { 0 } else { said });
    }
}

#[tokio::test]
async fn what_strangers_installed_the_app_on_is_neither_asked_for_again_nor_looked_through() {
    const TRAP: &str = "eve/trap";
    let scene = Scene::app().await;
    listen_nowhere(&scene);
    scene.github.add_repo(TRAP, &[]).expect("a repository");
    let write = stepherd::sandbox::github::Level::Write;
    scene.github.set_permission(TRAP, "octocat", write).expect("an account");
    let pr = stepherd::sandbox::github::NewPr {
        branch: "b",
        base: "main",
        title: "Something",
        body: "",
        files: &[("src.txt", Some("one"))],
        fork: None,
    };
    let theirs = scene
        .github
        .open_pr_by_person(TRAP, "octocat", pr)
        .expect("a pull request");
    let pr = scene.somebodys_pr("b");
    for (repo, number) in [(TRAP, theirs), (REPO, pr)] {
        scene
            .github
            .comment(repo, number, "octocat", "/dcr list")
            .expect("a comment");
    }
    scene.github.deliver_pending().await;
    let mut ours = Ours::default();
    ours.add(&super::scene::repo());
    let catchup = catchup(&scene);
    let first = catchup.missed(&ours, at(LONG_AGO), at(NOW)).await;
    assert_eq!(first.redelivered, 2, "only what happened in our own repository");
    scene.github.deliver_pending().await;
    let second = catchup.missed(&ours, at(LONG_AGO), at(NOW)).await;
    assert_eq!((second.trouble, second.deliveries.len()), (None, 1));
    let there = scene.github.stage().calls_to("GET", "/eve/trap/");
    assert!(there.is_empty(), "{there:?}");
    assert_eq!(scene.calls("GET", "/installation/repositories"), 1);
    // Who is named in the settings is one of us, too; and where nobody is known, everybody may be.
    let named = GithubCatchup::new(scene.ours.clone(), vec![TRAP.parse().expect("a name")]);
    let named = named.missed(&ours, at(LONG_AGO), at(NOW)).await;
    assert_eq!((named.redelivered, named.seen_to), (4, at(LONG_AGO)));
    assert_eq!(missed(&catchup).await.redelivered, 4);
}
