//! Comments, checks and rights against the stand-in, over real HTTP.

use stepherd::adapters::{CallError, CheckShow, CheckState, Forge, Marker, Threads};
use stepherd::domain::doc::{Block, Doc, Span};
use stepherd::domain::ids::ThreadRef;
use stepherd::domain::policy::{Grant, Level as Right, Lookup};
use stepherd::domain::run::{CheckTarget, FailureClass};
use stepherd::domain::signal::{Account, MessageRef};
use stepherd::sandbox::github::{Level, SandboxMessage};
use stepherd::sandbox::stage::{Fault, FaultKind};

use super::scene::{REPO, Scene, repo, sha};

fn doc(text: &str) -> Doc {
    Doc::paragraph(vec![Span::text(text)])
}

fn marker() -> Marker {
    Marker("URMO7YZ2:card--x".to_owned())
}

fn thread(place: &str) -> ThreadRef {
    format!("github:{REPO}#{place}").parse().expect("a thread")
}

fn messages(scene: &Scene, number: u64) -> Vec<SandboxMessage> {
    scene.github.thread(REPO, number).expect("the repository")
}

async fn post(scene: &Scene, thread: &ThreadRef, maybe_there: bool) -> MessageRef {
    let posted = scene
        .ours
        .post(thread, &marker(), &doc("hello"), None, maybe_there)
        .await;
    posted.expect("posted").message
}

#[tokio::test]
async fn a_comment_is_posted_with_a_hidden_marker_and_edited_in_place() {
    let scene = Scene::app().await;
    let number = scene.somebodys_pr("topic");
    let message = post(&scene, &thread(&number.to_string()), false).await;
    let said = messages(&scene, number);
    assert_eq!(message.id, format!("issue_comment/{}", said[0].id));
    assert_eq!(said[0].body, "hello\n\n<!-- stepherd:URMO7YZ2:card%2D%2Dx -->");
    assert_eq!(scene.ours.edit(&message, &marker(), &doc("bye")).await, Ok(true));
    assert_eq!(
        messages(&scene, number)[0].body,
        "bye\n\n<!-- stepherd:URMO7YZ2:card%2D%2Dx -->"
    );
    scene
        .github
        .delete_comment(REPO, said[0].id, "octocat")
        .expect("deleted");
    assert_eq!(scene.ours.edit(&message, &marker(), &doc("bye")).await, Ok(false));
}

#[tokio::test]
async fn a_comment_whose_answer_was_lost_is_found_by_its_marker() {
    for scene in [Scene::app().await, Scene::token().await] {
        let number = scene.somebodys_pr("topic");
        let root = scene
            .github
            .review_comment(REPO, number, "octocat", ("src.txt", 1), "why?")
            .expect("a comment");
        for place in [number.to_string(), format!("{number}/r{root}")] {
            let thread = thread(&place);
            let before = messages(&scene, number).len();
            scene.misbehave("POST", &format!("/{number}/comments"), FaultKind::EffectThenCut);
            let lost = scene.ours.post(&thread, &marker(), &doc("hello"), None, false).await;
            assert!(matches!(lost, Err(CallError::Retry { .. })), "{lost:?}");
            // Meanwhile there is more to say.
            let found = scene
                .ours
                .post(&thread, &marker(), &doc("hello again"), None, true)
                .await;
            let found = found.expect("posted").message;
            let said = messages(&scene, number);
            assert_eq!(said.len(), before + 1, "{place}");
            let last = said.last().expect("a message");
            assert!(last.body.starts_with("hello again\n"), "{}", last.body);
            assert!(found.id.ends_with(&format!("/{}", last.id)), "{} {}", found.id, last.id);
        }
    }
}

#[tokio::test]
async fn a_comment_that_vanishes_once_found_is_posted_anew() {
    let scene = Scene::app().await;
    let number = scene.somebodys_pr("topic");
    let thread = thread(&number.to_string());
    let first = post(&scene, &thread, false).await;
    let gone = Fault::answer(
        "PATCH",
        "/issues/comments/",
        1,
        404,
        vec![],
        r#"{"message":"Not Found"}"#,
    );
    scene.github.stage().misbehave(gone);
    assert_ne!(post(&scene, &thread, true).await, first);
}

#[tokio::test]
async fn a_marker_that_somebody_else_wrote_is_not_believed() {
    for scene in [Scene::app().await, Scene::token().await] {
        let number = scene.somebodys_pr("topic");
        let forged = "hello\n\n<!-- stepherd:URMO7YZ2:card%2D%2Dx -->";
        scene
            .github
            .comment(REPO, number, "octocat", forged)
            .expect("a comment");
        scene.github.add_bot("other[bot]");
        scene
            .github
            .comment(REPO, number, "other[bot]", forged)
            .expect("a comment");
        post(&scene, &thread(&number.to_string()), true).await;
        assert_eq!(messages(&scene, number).len(), 3);
    }
}

#[tokio::test]
async fn the_marker_is_looked_for_on_every_page() {
    let scene = Scene::app().await;
    let number = scene.somebodys_pr("topic");
    for n in 0..230 {
        scene
            .github
            .comment(REPO, number, "octocat", &format!("comment {n}"))
            .expect("a comment");
    }
    let first = post(&scene, &thread(&number.to_string()), false).await;
    assert_eq!(post(&scene, &thread(&number.to_string()), true).await, first);
    assert_eq!(scene.calls("GET", "/comments"), 3);
}

#[tokio::test]
async fn a_reply_goes_to_its_review_thread() {
    let scene = Scene::app().await;
    let number = scene.somebodys_pr("topic");
    let root = scene
        .github
        .review_comment(REPO, number, "octocat", ("src.txt", 1), "why?")
        .expect("a comment");
    let message = post(&scene, &thread(&format!("{number}/r{root}")), false).await;
    let said = messages(&scene, number);
    assert_eq!(said[1].in_reply_to, Some(root));
    assert_eq!(message.id, format!("review_comment/{}", said[1].id));
    assert_eq!(message.thread.place, format!("{REPO}#{number}/r{root}"));
    assert_eq!(scene.ours.edit(&message, &marker(), &doc("bye")).await, Ok(true));
    assert!(messages(&scene, number)[1].body.starts_with("bye"));
}

#[tokio::test]
async fn a_message_that_is_too_long_is_cut_with_its_fence_closed() {
    let scene = Scene::app().await;
    let number = scene.somebodys_pr("topic");
    let long = Doc {
        blocks: vec![
            Block::Paragraph(vec![Span::text("why")]),
            Block::Verbatim(format!("```\n{}\n{}", "line\n".repeat(5_000), "x".repeat(100_000))),
            Block::Paragraph(vec![Span::text("never reached")]),
        ],
        ..Doc::default()
    };
    let thread = thread(&number.to_string());
    scene
        .ours
        .post(&thread, &marker(), &long, None, false)
        .await
        .expect("posted");
    let body = &messages(&scene, number)[0].body;
    let length = body.chars().count();
    assert!((60_000..=65_536).contains(&length), "{length}");
    assert!(
        body.ends_with("xx\n````\n\n… (cut)\n\n<!-- stepherd:URMO7YZ2:card%2D%2Dx -->"),
        "{}",
        &body[body.len() - 80..]
    );
}

#[tokio::test]
async fn places_that_are_none_are_refused() {
    let scene = Scene::app().await;
    for place in [
        "github:acme/deploy",
        "github:acme/deploy#0",
        "github:acme/deploy#1/r",
        "github:acme/deploy#+1",
        "github:acme#1",
        "jira:acme/deploy#1",
    ] {
        let thread = place.parse().expect("a thread in form");
        let refused = scene.ours.post(&thread, &marker(), &doc("x"), None, false).await;
        assert!(matches!(refused, Err(CallError::Permanent { .. })), "{place}");
    }
    assert!(scene.github.stage().calls().is_empty());
}

#[tokio::test]
async fn commands_are_acknowledged_with_one_reaction() {
    let scene = Scene::app().await;
    let number = scene.somebodys_pr("topic");
    let id = scene
        .github
        .comment(REPO, number, "octocat", "/dcr retry")
        .expect("a comment");
    let root = scene
        .github
        .review_comment(REPO, number, "octocat", ("src.txt", 1), "/dcr")
        .expect("a comment");
    for (place, message) in [
        (number.to_string(), format!("issue_comment/{id}")),
        (format!("{number}/r{root}"), format!("review_comment/{root}")),
    ] {
        let message = MessageRef {
            thread: thread(&place),
            id: message,
        };
        assert_eq!(scene.ours.acknowledge(&message).await, Ok(()));
        assert_eq!(scene.ours.acknowledge(&message).await, Ok(()));
    }
    for message in messages(&scene, number) {
        assert_eq!(message.reactions, ["stepherd[bot]:eyes"]);
    }
    let gone = MessageRef {
        thread: thread(&number.to_string()),
        id: "issue_comment/1".to_owned(),
    };
    assert_eq!(scene.ours.acknowledge(&gone).await, Ok(()));
}

fn show(state: CheckState, title: &str) -> CheckShow {
    CheckShow {
        name: "stepherd/dcr".to_owned(),
        external_id: "URMO7YZ2".to_owned(),
        state,
        title: title.to_owned(),
        doc: doc("card"),
        url: Some("https://stepherd.example/runs/URMO7YZ2".to_owned()),
    }
}

#[tokio::test]
async fn an_app_shows_one_check_run_and_writes_only_what_changed() {
    let scene = Scene::app().await;
    let target = CheckTarget {
        repo: repo(),
        head: scene.main(),
    };
    for (state, status, conclusion) in [
        (CheckState::Queued, "queued", None),
        (CheckState::InProgress, "in_progress", None),
        (CheckState::Failure, "completed", Some("failure")),
        (CheckState::InProgress, "in_progress", None),
        (CheckState::Canceled, "completed", Some("cancelled")),
        (CheckState::Success, "completed", Some("success")),
        (CheckState::Success, "completed", Some("success")),
    ] {
        assert_eq!(scene.ours.check(&target, &show(state, "Rebuild")).await, Ok(()));
        let checks = scene.github.check_runs(REPO).expect("checks");
        assert_eq!(checks.len(), 1);
        assert_eq!(checks[0].status, status);
        assert_eq!(checks[0].conclusion.as_deref(), conclusion);
        assert_eq!(checks[0].summary, "card");
    }
    let writes = scene.github.stage().calls_to("PATCH", "/check-runs/").len();
    assert_eq!(writes, 5, "the last one said nothing new");
    let mut other = show(CheckState::Queued, "another run");
    other.external_id = "AAAAAAAA".to_owned();
    assert_eq!(scene.ours.check(&target, &other).await, Ok(()));
    assert_eq!(scene.github.check_runs(REPO).expect("checks").len(), 2);
}

#[tokio::test]
async fn a_check_run_whose_answer_was_lost_is_not_made_twice() {
    let scene = Scene::app().await;
    let target = CheckTarget {
        repo: repo(),
        head: scene.main(),
    };
    scene.misbehave("POST", "/check-runs", FaultKind::EffectThenTruncated);
    let show = show(CheckState::InProgress, "Rebuild");
    assert!(matches!(
        scene.ours.check(&target, &show).await,
        Err(CallError::Retry { .. })
    ));
    assert_eq!(scene.ours.check(&target, &show).await, Ok(()));
    assert_eq!(scene.github.check_runs(REPO).expect("checks").len(), 1);
}

#[tokio::test]
async fn a_token_shows_a_commit_status_and_writes_only_what_changed() {
    let scene = Scene::token().await;
    let target = CheckTarget {
        repo: repo(),
        head: scene.main(),
    };
    let long = format!("Rebuild {}", "x".repeat(200));
    for state in [
        CheckState::Queued,
        CheckState::InProgress,
        CheckState::Canceled,
        CheckState::Canceled,
    ] {
        assert_eq!(scene.ours.check(&target, &show(state, &long)).await, Ok(()));
    }
    let writes = scene.github.stage().calls_to("POST", "/statuses/");
    assert_eq!(writes.len(), 2, "queued and in progress look the same");
    let body: serde_json::Value = serde_json::from_str(&writes[1].body).expect("JSON");
    assert_eq!(body["state"], "error");
    assert_eq!(body["context"], "stepherd/dcr");
    assert_eq!(body["description"].as_str().expect("text").chars().count(), 140);
}

#[tokio::test]
async fn a_full_or_missing_commit_is_final() {
    let scene = Scene::token().await;
    let show = show(CheckState::Success, "done");
    let target = CheckTarget {
        repo: repo(),
        head: scene.main(),
    };
    let full = r#"{"message":"Validation Failed","errors":[{"message":"This SHA and context has reached the maximum number of statuses."}]}"#;
    scene
        .github
        .stage()
        .misbehave(Fault::answer("POST", "/statuses/", 1, 422, vec![], full));
    let error = scene.ours.check(&target, &show).await;
    assert!(
        matches!(
            error,
            Err(CallError::Permanent {
                class: FailureClass::RateLimit,
                ..
            })
        ),
        "{error:?}"
    );
    let missing = CheckTarget {
        repo: repo(),
        head: sha(&"0".repeat(40)),
    };
    let error = scene.ours.check(&missing, &show).await;
    assert!(matches!(error, Err(CallError::Permanent { .. })), "{error:?}");
}

async fn ask(scene: &Scene, id: u64, grant: Grant) -> Result<bool, CallError> {
    let lookup = Lookup {
        account: Account {
            platform: "github".parse().expect("a platform"),
            id: id.to_string(),
        },
        grant,
    };
    scene.ours.answer_lookup(&lookup).await
}

#[tokio::test]
async fn rights_on_a_repository_are_compared_by_level() {
    let scene = Scene::app().await;
    let id = scene.github.add_user("dev");
    let at_least = |at_least: Right| Grant::Repository {
        platform: "github".parse().expect("a platform"),
        repo: repo(),
        at_least,
    };
    let rights = [Right::Read, Right::Triage, Right::Write, Right::Maintain, Right::Admin];
    let levels = [
        Level::None,
        Level::Read,
        Level::Triage,
        Level::Write,
        Level::Maintain,
        Level::Admin,
    ];
    for (has, level) in levels.into_iter().enumerate() {
        scene.github.set_permission(REPO, "dev", level).expect("set");
        for (needs, right) in rights.into_iter().enumerate() {
            assert_eq!(
                ask(&scene, id, at_least(right)).await,
                Ok(has > needs),
                "{level:?} {right:?}"
            );
        }
    }
    let custom = r#"{"permission":"write","role_name":"release-manager"}"#;
    let answer = |body: &str| {
        scene
            .github
            .stage()
            .misbehave(Fault::answer("GET", "/permission", 9, 200, vec![], body));
    };
    answer(custom);
    assert_eq!(ask(&scene, id, at_least(Right::Write)).await, Ok(true));
    scene.github.stage().behave();
    answer(custom);
    assert_eq!(ask(&scene, id, at_least(Right::Maintain)).await, Ok(false));
    scene.github.stage().behave();
    for unclear in [
        r#"{"permission":"everything"}"#,
        r#"{"permission":"admin","role_name":"admin","user":{"id":1,"login":"dev"}}"#,
    ] {
        answer(unclear);
        let unknown = ask(&scene, id, at_least(Right::Read)).await;
        scene.github.stage().behave();
        assert!(
            matches!(unknown, Err(CallError::Permanent { .. })),
            "{unclear}: {unknown:?}"
        );
    }
    // What was cut says nothing, so it is asked again.
    for cut in ["{}", ""] {
        answer(cut);
        let later = ask(&scene, id, at_least(Right::Read)).await;
        scene.github.stage().behave();
        assert!(matches!(later, Err(CallError::Retry { .. })), "{cut}: {later:?}");
    }
    assert!(matches!(
        ask(&scene, 1, at_least(Right::Read)).await,
        Err(CallError::Permanent { .. })
    ));
}

#[tokio::test]
async fn only_active_members_are_in_a_team() {
    let scene = Scene::app().await;
    let group = |group: &str| Grant::Group {
        platform: "github".parse().expect("a platform"),
        group: group.to_owned(),
    };
    let (member, invited, other) = (
        scene.github.add_user("member"),
        scene.github.add_user("invited"),
        scene.github.add_user("other"),
    );
    scene
        .github
        .add_team_member("acme", "sre", "member", true)
        .expect("added");
    scene
        .github
        .add_team_member("acme", "sre", "invited", false)
        .expect("added");
    assert_eq!(ask(&scene, member, group("acme/sre")).await, Ok(true));
    assert_eq!(ask(&scene, invited, group("acme/sre")).await, Ok(false));
    assert_ne!(ask(&scene, other, group("acme/sre")).await, Ok(true));
    scene
        .github
        .stage()
        .misbehave(Fault::answer("GET", "/memberships/", 1, 404, vec![], "{}"));
    scene
        .github
        .stage()
        .misbehave(Fault::answer("GET", "/teams/sre", 1, 200, vec![], "{}"));
    assert_eq!(ask(&scene, other, group("acme/sre")).await, Ok(false));
    for odd in ["sre", "acme/", "acme/../x", "acme/a/b", "nobody/sre"] {
        assert!(
            matches!(ask(&scene, member, group(odd)).await, Err(CallError::Permanent { .. })),
            "{odd}"
        );
    }
    scene.github.stage().misbehave(Fault::answer(
        "GET",
        "/memberships/",
        1,
        200,
        vec![],
        r#"{"state":"new"}"#,
    ));
    assert!(matches!(
        ask(&scene, member, group("acme/sre")).await,
        Err(CallError::Permanent { .. })
    ));
}

#[tokio::test]
async fn a_limit_or_a_fault_is_no_answer_about_rights() {
    let scene = Scene::app().await;
    let id = scene.github.add_user("dev");
    scene.github.add_team_member("acme", "sre", "dev", true).expect("added");
    let team = || Grant::Group {
        platform: "github".parse().expect("a platform"),
        group: "acme/sre".to_owned(),
    };
    let seconds = |s| Some(std::time::Duration::from_secs(s));
    let plain = |status| Fault::answer("GET", "/memberships/", 9, status, vec![], "{}");
    for (fault, wait, class) in [
        (
            Fault::too_many("GET", "/memberships/", 1, 7),
            seconds(7),
            FailureClass::RateLimit,
        ),
        (
            Fault::secondary_limit("GET", "/memberships/", 1, Some(9)),
            seconds(9),
            FailureClass::RateLimit,
        ),
        (
            Fault::secondary_limit("GET", "/memberships/", 1, None),
            seconds(60),
            FailureClass::RateLimit,
        ),
        (plain(500), None, FailureClass::Infrastructure),
        (plain(502), None, FailureClass::Infrastructure),
        (
            Fault::new("GET", "/memberships/", 9, FaultKind::Cut),
            None,
            FailureClass::Infrastructure,
        ),
    ] {
        scene.github.stage().misbehave(fault.clone());
        let asked = ask(&scene, id, team()).await;
        scene.github.stage().behave();
        let Err(CallError::Retry {
            after, class: as_class, ..
        }) = asked
        else {
            panic!("{fault:?}: {asked:?}");
        };
        assert_eq!((after, as_class), (wait, class), "{fault:?}");
    }
    // A 403 that is no limit is GitHub's last word.
    scene.github.stage().misbehave(plain(403));
    let refused = ask(&scene, id, team()).await;
    scene.github.stage().behave();
    assert!(matches!(refused, Err(CallError::Permanent { .. })), "{refused:?}");
    assert_eq!(ask(&scene, id, team()).await, Ok(true));
}
