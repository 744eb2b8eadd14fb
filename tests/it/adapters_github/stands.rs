//! Which comments still stand: what tells of an edit, and what does not.

use serde_json::{Value, json};
use stepherd::adapters::{CallError, Threads, WordSeen};
use stepherd::domain::ids::{PrRef, ThreadRef};
use stepherd::domain::run::FailureClass;
use stepherd::domain::signal::{Account, Actor, ActorKind, MessageRef, Said, Text};
use stepherd::sandbox::stage::Fault;

use super::scene::{REPO, Scene, repo};

const RETRY: &str = "/dcr retry";

/// What `octocat` said in this message, as a webhook told it.
fn said(scene: &Scene, number: u64, message: &str, text: &str) -> Said {
    let author = scene.github.account_id("octocat").expect("the account");
    let thread: ThreadRef = format!("github:{REPO}#{number}").parse().expect("a thread");
    Said {
        actor: Actor {
            account: Account {
                platform: "github".parse().expect("a platform"),
                id: author.to_string(),
            },
            name: "octocat".to_owned(),
            kind: ActorKind::Human,
            roles: vec![],
            insider: false,
        },
        thread: thread.clone(),
        within: vec!["acme".to_owned(), "deploy".to_owned()],
        text: Text::Markdown(text.to_owned()),
        as_written: true,
        at: jiff::Timestamp::UNIX_EPOCH,
        key: String::new(),
        message: MessageRef {
            thread,
            id: message.to_owned(),
        },
        pr: Some(PrRef { repo: repo(), number }),
    }
}

/// The same, found by looking: nobody has its first wording.
fn looked_up(said: &Said) -> Said {
    Said {
        as_written: false,
        ..said.clone()
    }
}

async fn seen(scene: &Scene, said: &Said) -> WordSeen {
    scene.ours.still_stands(said).await.expect("an answer")
}

async fn stands(scene: &Scene, said: &Said) -> bool {
    matches!(seen(scene, said).await, WordSeen::Stands(_))
}

fn why_not(seen: WordSeen) -> String {
    match seen {
        WordSeen::Not(why) => why,
        other => panic!("{other:?}"),
    }
}

/// One comment of each kind, and the name of its message.
fn comments(scene: &Scene, number: u64) -> [(u64, String); 2] {
    let github = &scene.github;
    let issue = github.comment(REPO, number, "octocat", RETRY).expect("a comment");
    let line = ("src.txt", 1);
    let review = github.review_comment(REPO, number, "octocat", line, RETRY);
    let review = review.expect("a comment");
    [
        (issue, format!("issue_comment/{issue}")),
        (review, format!("review_comment/{review}")),
    ]
}

#[tokio::test]
async fn a_comment_stands_until_it_is_edited_or_deleted() {
    for scene in [Scene::app().await, Scene::token().await] {
        let number = scene.somebodys_pr("topic");
        for (id, message) in comments(&scene, number) {
            let told = said(&scene, number, &message, RETRY);
            assert!(stands(&scene, &told).await, "{message}");
            assert!(stands(&scene, &looked_up(&told)).await, "{message}");
            let mut by_another = told.clone();
            by_another.actor.account.id = "1".to_owned();
            assert!(!stands(&scene, &by_another).await, "{message}");
            scene.pass_seconds(5);
            let edit = |text| scene.github.edit_comment(REPO, id, "octocat", text).expect("edited");
            edit("/dcr stop");
            assert!(!stands(&scene, &told).await, "{message}");
            let now = said(&scene, number, &message, "/dcr stop");
            assert_eq!(why_not(seen(&scene, &looked_up(&now)).await), "it was edited");
            edit(RETRY);
            assert!(stands(&scene, &told).await, "{message} says what its author said");
            assert_eq!(why_not(seen(&scene, &looked_up(&told)).await), "it was edited");
            scene.github.delete_comment(REPO, id, "octocat").expect("deleted");
            let gone = seen(&scene, &told).await;
            assert!(
                matches!(gone, WordSeen::Absent(_)),
                "it may only not be shown yet: {gone:?}"
            );
        }
    }
}

#[tokio::test]
async fn what_another_program_wrote_in_somebodys_name_does_not_stand() {
    let scene = Scene::app().await;
    let number = scene.somebodys_pr("topic");
    let id = scene.github.comment_via_app(REPO, number, "octocat", RETRY, 1);
    let message = format!("issue_comment/{}", id.expect("a comment"));
    assert!(!stands(&scene, &said(&scene, number, &message, RETRY)).await);
}

/// Whether a comment that was found by looking was edited is asked of GraphQL, and what that does not say is no.
#[tokio::test]
async fn where_github_does_not_tell_whether_it_was_edited_it_does_not_stand_and_where_it_cannot_say_now_it_waits() {
    let scene = Scene::app().await;
    let number = scene.somebodys_pr("topic");
    let [_, (_, message)] = comments(&scene, number);
    let told = said(&scene, number, &message, RETRY);
    let answer = |status, body: &Value| {
        let fault = Fault::answer("POST", "/graphql", 1, status, vec![], &body.to_string());
        scene.github.stage().misbehave(fault);
    };
    let error = |kind: &str| json!({"data": {"node": null}, "errors": [{"type": kind, "message": "no"}]});
    for body in [
        json!({"data": {"node": null}}),
        json!({"data": {"node": {}}}),
        json!({"data": {"node": {"lastEditedAt": null}}}),
        error("NOT_FOUND"),
        error("FORBIDDEN"),
    ] {
        answer(200, &body);
        let why = why_not(seen(&scene, &looked_up(&told)).await);
        assert_eq!(why, "GitHub does not tell whether it was edited", "{body}");
    }
    answer(404, &json!({"message": "Not Found"}));
    assert!(!stands(&scene, &looked_up(&told)).await, "a server without GraphQL");
    answer(200, &error("RATE_LIMITED"));
    let later = scene.ours.still_stands(&looked_up(&told)).await;
    let limited = matches!(
        later,
        Err(CallError::Retry {
            class: FailureClass::RateLimit,
            after: Some(_),
            ..
        })
    );
    assert!(limited, "{later:?}");
    for body in [json!({}), json!({"data": null})] {
        answer(200, &body);
        let later = scene.ours.still_stands(&looked_up(&told)).await;
        assert!(matches!(later, Err(CallError::Retry { .. })), "{later:?}");
    }
    let asked = scene.calls("POST", "/graphql");
    assert!(stands(&scene, &told).await);
    assert_eq!(scene.calls("POST", "/graphql"), asked, "the first wording is there");
}
