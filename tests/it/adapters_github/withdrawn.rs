//! Comments that came too late are taken back.

use stepherd::adapters::{Marker, Threads};
use stepherd::domain::doc::{Doc, Span};
use stepherd::domain::ids::ThreadRef;
use stepherd::domain::signal::MessageRef;
use stepherd::sandbox::github::SandboxMessage;

use super::scene::{REPO, Scene};

fn marker() -> Marker {
    Marker("URMO7YZ2:card--x".to_owned())
}

fn messages(scene: &Scene, number: u64) -> Vec<SandboxMessage> {
    scene.github.thread(REPO, number).expect("the repository")
}

async fn post(scene: &Scene, thread: &ThreadRef) -> MessageRef {
    let doc = Doc::paragraph(vec![Span::text("hello")]);
    let posted = scene.ours.post(thread, &marker(), &doc, None, false).await;
    posted.expect("posted").message
}

#[tokio::test]
async fn a_comment_is_taken_back_if_there_is_another_one_of_ours_with_its_marker_in_its_thread() {
    for scene in [Scene::app().await, Scene::token().await] {
        let number = scene.somebodys_pr("topic");
        let review = |line| {
            let root = scene
                .github
                .review_comment(REPO, number, "octocat", ("src.txt", line), "why?");
            format!("{number}/r{}", root.expect("a comment"))
        };
        let places = [number.to_string(), review(1), review(1)];
        let forged = "hello\n\n<!-- stepherd:URMO7YZ2:card%2D%2Dx -->";
        scene
            .github
            .comment(REPO, number, "octocat", forged)
            .expect("a comment");
        for place in places {
            let thread: ThreadRef = format!("github:{REPO}#{place}").parse().expect("a thread");
            let first = post(&scene, &thread).await;
            // Another thread's and somebody else's are no second one.
            let alone = scene.ours.withdraw_second(&first, &marker()).await;
            assert_eq!(alone, Ok(false), "{place}");
            let second = post(&scene, &thread).await;
            let before = messages(&scene, number).len();
            let other = Marker("URMO7YZ2:7".to_owned());
            assert_eq!(scene.ours.withdraw_second(&second, &other).await, Ok(false), "{place}");
            assert_eq!(
                scene.ours.withdraw_second(&second, &marker()).await,
                Ok(true),
                "{place}"
            );
            let said = messages(&scene, number);
            assert_eq!(said.len(), before - 1, "{place}");
            let stands = |message: &MessageRef| said.iter().any(|said| message.id.ends_with(&format!("/{}", said.id)));
            assert!(stands(&first) && !stands(&second), "{place}");
            // There is nothing to take back any more.
            assert_eq!(
                scene.ours.withdraw_second(&first, &marker()).await,
                Ok(false),
                "{place}"
            );
        }
    }
}
