//! What deliveries mean. The payloads are cut down to the shape that GitHub's webhook docs give them.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use stepherd::adapters::github::{GithubDoor, OwnIdentity};
use stepherd::adapters::{Door, RawRequest, Unreadable};
use stepherd::domain::signal::{ActorKind, PrChange, Proof, Said, Signal, Text};

const OWN_APP: u64 = 4711;
const OWN_ACCOUNT: u64 = 99;
const HEAD: &str = "0123456789abcdef0123456789abcdef01234567";

fn read_bytes(event: &str, body: Vec<u8>) -> Result<Vec<Signal>, Unreadable> {
    let own = OwnIdentity {
        instance: "api.github.com".to_owned(),
        app_id: Some(OWN_APP),
        account_id: Some(OWN_ACCOUNT),
    };
    let request = RawRequest {
        method: "POST".into(),
        target: "/webhooks/github".into(),
        headers: vec![
            ("content-type".into(), "application/json".into()),
            ("x-github-event".into(), event.into()),
        ],
        body: body.into(),
    };
    GithubDoor::new(vec!["s".to_owned().into()], own).read(&request, Proof::BodySigned, Timestamp::UNIX_EPOCH)
}

fn read(event: &str, payload: &Value) -> Result<Signal, Unreadable> {
    let mut signals = read_bytes(event, payload.to_string().into_bytes())?;
    assert_eq!(signals.len(), 1);
    Ok(signals.remove(0))
}

fn said(event: &str, payload: &Value) -> Said {
    match read(event, payload) {
        Ok(Signal::Said(said)) => said,
        other => panic!("{other:?}"),
    }
}

fn is_nothing(event: &str, payload: &Value) -> bool {
    matches!(read(event, payload), Ok(Signal::Nothing(_)))
}

/// The value with one field set, made or (by `Null`) emptied.
fn but(mut payload: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    payload.pointer_mut(parent).expect("a parent")[field] = value;
    payload
}

fn person() -> Value {
    json!({ "login": "octocat", "id": 583_231, "type": "User", "node_id": "MDQ6" })
}

fn issue_comment() -> Value {
    json!({
        "action": "created",
        "issue": {
            "number": 12,
            "state": "open",
            "pull_request": { "url": "https://api.github.com/repos/acme/deploy/pulls/12" }
        },
        "comment": {
            "id": 1_234,
            "user": person(),
            "created_at": "2026-11-20T10:00:00Z",
            "updated_at": "2026-11-20T10:00:00Z",
            "body": "/dcr retry\r\n",
            "performed_via_github_app": null
        },
        "repository": { "id": 1, "full_name": "acme/deploy", "a_new_field": [1, 2] },
        "sender": person()
    })
}

fn review_comment() -> Value {
    json!({
        "action": "created",
        "comment": {
            "id": 77,
            "user": person(),
            "created_at": "2026-11-20T10:00:00Z",
            "updated_at": "2026-11-20T10:00:00Z",
            "body": "/dcr status"
        },
        "pull_request": { "number": 12 },
        "repository": { "full_name": "acme/deploy" },
        "sender": person()
    })
}

fn pull_request(action: &str) -> Value {
    json!({
        "action": action,
        "number": 12,
        "pull_request": {
            "id": 5012,
            "number": 12,
            "title": "Update <b>",
            "state": "open",
            "draft": false,
            "merged": false,
            "updated_at": "2026-11-20T10:00:00Z",
            "head": { "ref": "topic", "sha": HEAD },
            "base": { "ref": "main" },
            "labels": [{ "name": "dcr" }, { "name": "urgent" }]
        },
        "repository": { "full_name": "acme/deploy" },
        "sender": person()
    })
}

#[test]
fn a_comment_on_a_pull_request_is_something_said() {
    let said = said("issue_comment", &issue_comment());
    assert_eq!(said.thread.to_string(), "github:acme/deploy#12");
    assert_eq!(said.key, "github:api.github.com:issue_comment:1234");
    assert_eq!(said.message.id, "issue_comment/1234");
    assert_eq!(said.message.thread, said.thread);
    assert_eq!(said.text, Text::Markdown("/dcr retry\r\n".into()));
    assert_eq!(said.at, "2026-11-20T10:00:00Z".parse().expect("a time"));
    assert_eq!(said.pr.expect("a pull request").to_string(), "acme/deploy#12");
    assert_eq!(said.actor.account.id, "583231");
    assert_eq!(said.actor.name, "octocat");
    assert_eq!(said.actor.kind, ActorKind::Human);
}

#[test]
fn a_review_comment_is_said_in_the_thread_that_its_first_comment_began() {
    let first = said("pull_request_review_comment", &review_comment());
    assert_eq!(first.thread.place, "acme/deploy#12/r77");
    assert_eq!(first.key, "github:api.github.com:review_comment:77");
    assert_eq!(first.message.id, "review_comment/77");
    let reply = but(review_comment(), "/comment/in_reply_to_id", json!(70));
    let reply = said("pull_request_review_comment", &reply);
    assert_eq!(reply.thread.place, "acme/deploy#12/r70");
    assert_eq!(reply.message.id, "review_comment/77");
}

/// As in GitHub's own example of `pull_request_review_comment.created`, whose comment nobody edited: 15:20:37, 15:20:38.
#[test]
fn a_review_comment_that_is_touched_when_its_review_is_submitted_is_as_it_was_written() {
    for later in ["2026-11-20T10:00:01Z", "2026-11-20T10:00:20Z"] {
        let submitted = but(review_comment(), "/comment/updated_at", json!(later));
        let told = said("pull_request_review_comment", &submitted);
        assert_eq!(told, said("pull_request_review_comment", &review_comment()));
        assert!(told.as_written);
    }
}

#[test]
fn comments_that_must_not_be_obeyed_say_nothing() {
    let cases = [
        ("edited", but(issue_comment(), "/action", json!("edited"))),
        ("deleted", but(issue_comment(), "/action", json!("deleted"))),
        ("pinned", but(issue_comment(), "/action", json!("pinned"))),
        (
            "no pull request",
            but(issue_comment(), "/issue/pull_request", Value::Null),
        ),
        ("sent by another", but(issue_comment(), "/sender/id", json!(1))),
        ("nobody's", but(issue_comment(), "/comment/user", Value::Null)),
    ];
    for (what, payload) in cases {
        assert!(is_nothing("issue_comment", &payload), "{what}");
    }
}

#[test]
fn bots_and_stepherd_itself_are_known_for_what_they_are() {
    let kind = |payload: Value| said("issue_comment", &payload).actor.kind;
    let via = |id: u64| {
        but(
            issue_comment(),
            "/comment/performed_via_github_app",
            json!({ "id": id }),
        )
    };
    let bot = but(issue_comment(), "/sender/type", json!("Bot"));
    assert_eq!(kind(bot.clone()), ActorKind::Bot);
    assert_eq!(
        kind(but(issue_comment(), "/comment/user/type", json!("Bot"))),
        ActorKind::Bot
    );
    assert_eq!(
        kind(but(issue_comment(), "/sender/type", json!("Mannequin"))),
        ActorKind::Bot
    );
    assert_eq!(kind(via(OWN_APP)), ActorKind::Ours);
    assert_eq!(kind(via(1)), ActorKind::Bot, "a program speaks in the person's name");
    let nameless = but(issue_comment(), "/comment/performed_via_github_app", json!({}));
    assert_eq!(kind(nameless), ActorKind::Bot);
    let own = but(issue_comment(), "/sender/id", json!(OWN_ACCOUNT));
    assert_eq!(kind(but(own, "/comment/user/id", json!(OWN_ACCOUNT))), ActorKind::Ours);
    let marked = but(
        issue_comment(),
        "/comment/body",
        json!("/dcr\n<!-- stepherd:card:A -->"),
    );
    assert_eq!(kind(marked), ActorKind::Ours);
}

#[test]
fn pull_request_changes_are_told_apart() {
    let merged = but(pull_request("closed"), "/pull_request/merged", json!(true));
    let mut labeled = pull_request("labeled");
    labeled["label"] = json!({"name": "dcr"});
    let cases = [
        (pull_request("opened"), PrChange::Opened, "opened"),
        (pull_request("reopened"), PrChange::Reopened, "reopened"),
        (pull_request("synchronize"), PrChange::Pushed, "pushed"),
        (labeled, PrChange::Labeled, "labeled"),
        (merged, PrChange::Merged, "merged"),
        (pull_request("closed"), PrChange::Closed, "closed"),
    ];
    for (payload, change, word) in cases {
        let Ok(Signal::PrChanged(got)) = read("pull_request", &payload) else {
            panic!("{word}");
        };
        assert_eq!(got.change, change);
        // A label that is added is an event of its own, whatever labels there were before.
        let labels: &[&str] = if change == PrChange::Labeled {
            &["dcr"]
        } else {
            &["dcr", "urgent"]
        };
        assert_eq!(got.labels, labels);
        let at = "2026-11-20T10:00:00Z";
        let key = format!(
            "github:api.github.com:pull_request:5012:{word}:{HEAD}:{at}:{}",
            labels.join(",")
        );
        assert_eq!(got.key, key);
        assert_eq!(got.head.as_str(), HEAD);
        assert_eq!(got.base, "main");
        assert_eq!(got.thread.place, "acme/deploy#12");
    }
    assert!(is_nothing("pull_request", &pull_request("unlabeled")));
    assert!(is_nothing("pull_request", &pull_request("auto_merge_enabled")));
}

#[test]
fn checks_and_workflows_are_hints_about_a_commit_except_our_own() {
    let payload = |event: &str, action: &str, app: u64| {
        json!({
            "action": action,
            event: { "head_sha": HEAD, "app": { "id": app } },
            "repository": { "full_name": "acme/deploy" },
            "sender": person()
        })
    };
    for (event, action) in [
        ("check_run", "completed"),
        ("workflow_run", "completed"),
        ("workflow_run", "requested"),
    ] {
        let Ok(Signal::Hint(hint)) = read(event, &payload(event, action, 1)) else {
            panic!("{event}");
        };
        assert_eq!(
            (hint.repo.to_string().as_str(), hint.head.as_str()),
            ("acme/deploy", HEAD)
        );
    }
    assert!(is_nothing("check_run", &payload("check_run", "completed", OWN_APP)));
    assert!(is_nothing("check_run", &payload("check_run", "invented", 1)));
    assert!(is_nothing("workflow_run", &payload("workflow_run", "invented", 1)));
}

#[test]
fn other_events_are_of_no_interest() {
    assert!(is_nothing("ping", &json!({ "zen": "Keep it logically awesome." })));
    assert!(is_nothing("installation", &json!({ "action": "created" })));
    assert!(is_nothing("star", &json!({})));
}

#[test]
fn a_missing_field_is_named() {
    let cases = [
        ("issue_comment", issue_comment(), "/action", "action"),
        ("issue_comment", issue_comment(), "/comment/id", "comment.id"),
        ("issue_comment", issue_comment(), "/comment/user/id", "comment.user.id"),
        ("issue_comment", issue_comment(), "/sender/type", "sender.type"),
        ("issue_comment", issue_comment(), "/repository", "repository.full_name"),
        (
            "pull_request",
            pull_request("opened"),
            "/pull_request/head",
            "pull_request.head.sha",
        ),
        (
            "pull_request",
            pull_request("closed"),
            "/pull_request/merged",
            "pull_request.merged",
        ),
    ];
    for (event, payload, pointer, path) in cases {
        let told = read(event, &but(payload, pointer, Value::Null))
            .expect_err(path)
            .to_string();
        assert!(told.contains(&format!("`{path}` is missing")), "{told}");
    }
    let bad = but(pull_request("opened"), "/pull_request/head/sha", json!("HEAD"));
    let told = read("pull_request", &bad).expect_err("no SHA").to_string();
    assert!(told.contains("`pull_request.head.sha` is not"), "{told}");
    let elsewhere = but(issue_comment(), "/repository/full_name", json!("acme/../deploy"));
    assert!(read("issue_comment", &elsewhere).is_err());
}

proptest! {
    #[test]
    fn reading_never_panics(event in "(issue_comment|pull_request|check_run|ping|.{0,8})", body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_bytes(&event, body);
    }

    #[test]
    fn a_payload_with_any_one_field_replaced_is_read_or_refused(
        pointer in prop::sample::select(vec!["/action", "/issue", "/comment", "/comment/id", "/comment/user", "/sender", "/sender/id", "/repository", "/comment/body"]),
        value in prop::sample::select(vec![json!(null), json!(-1), json!(""), json!([]), json!({}), json!(true), json!(1.5)]),
    ) {
        let _ = read("issue_comment", &but(issue_comment(), pointer, value));
    }
}
