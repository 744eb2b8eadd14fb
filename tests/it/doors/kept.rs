//! What is let in: it is in the database when the answer arrives, once, whatever the sender does next.

use std::time::Duration;

use serde_json::json;
use stepherd::sandbox::town::Town;
use stepherd::store::Store;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::{Knock, counted, deliveries, discord, discord_of, github, jira, knock, now, ping, signed_again};
use crate::world::World;

#[tokio::test]
async fn what_was_accepted_is_in_the_database_file_when_the_answer_arrives() {
    let world = World::new().await;
    let at = now(&world);
    for (good, status) in [
        (github("d-1"), 202),
        (jira("a-1", at), 202),
        (discord("100000000000000001", at), 200),
    ] {
        assert_eq!(knock(&world, &good).await.status, status);
        // Another process would see it: it is in the file, not in this one's memory.
        let other = Store::open(&world.database()).await.unwrap();
        let seen = other.deliveries(None, 10).await.unwrap();
        let newest = &seen[0];
        assert_eq!(
            (newest.platform.as_str(), newest.state.as_str()),
            (good.platform, "pending")
        );
        let (_, kept) = other.delivery_by_seq(newest.seq).await.unwrap().unwrap();
        assert_eq!(kept.body, good.body, "byte for byte");
        other.close().await;
    }
}

#[tokio::test]
async fn what_was_accepted_is_taken_up_at_once() {
    let world = World::new().await;
    let stop = CancellationToken::new();
    let engine = world.engine();
    // The clock stands still, so that nothing is looked at because time has passed: each is taken up by a wake-up.
    let people = async {
        for id in ["d-1", "d-2", "d-3"] {
            assert_eq!(knock(&world, &github(id)).await.status, 202);
            let taken_up = async {
                while deliveries(&world).await[0].state != "done" {
                    tokio::task::yield_now().await;
                }
            };
            let in_time = tokio::time::timeout(Duration::from_secs(30), taken_up).await;
            assert!(in_time.is_ok(), "{id} waits: {:?}", deliveries(&world).await);
        }
        stop.cancel();
    };
    tokio::join!(engine.run(stop.clone()), people);
}

#[tokio::test]
async fn the_same_delivery_again_is_welcome_and_kept_once() {
    let world = World::new().await;
    for _ in 0..3 {
        assert_eq!(
            knock(&world, &github("d-1")).await.status,
            202,
            "never a conflict: that would provoke more"
        );
    }
    assert_eq!(deliveries(&world).await.len(), 1);
    assert_eq!(
        (
            counted(&world, "github", "stored").await,
            counted(&world, "github", "again").await
        ),
        (1, 2)
    );
}

#[tokio::test]
async fn jira_without_an_identifier_is_told_apart_by_its_bytes() {
    let world = World::new().await;
    let nameless = || jira("x", now(&world)).with("x-atlassian-webhook-identifier", None);
    assert_eq!(knock(&world, &nameless()).await.status, 202);
    assert_eq!(knock(&world, &nameless()).await.status, 202);
    assert_eq!(deliveries(&world).await.len(), 1);
}

#[tokio::test]
async fn github_may_send_forms() {
    let world = World::new().await;
    let form = |payload: &[u8]| {
        form_urlencoded::Serializer::new(String::new())
            .append_pair("payload", &String::from_utf8_lossy(payload))
            .finish()
    };
    let knocked = signed_again(github("d-1").saying(form(&ping())));
    let knocked = knocked.with("content-type", Some("application/x-www-form-urlencoded; charset=utf-8"));
    assert_eq!(knock(&world, &knocked).await.status, 202);
    world.settle().await;
    assert_eq!(deliveries(&world).await[0].state, "done");
}

#[tokio::test]
async fn a_ping_is_answered_and_not_kept_while_a_command_is_kept_and_deferred() {
    let world = World::new().await;
    let at = now(&world);
    let ping = knock(
        &world,
        &discord_of(
            &json!({ "id": "1", "application_id": "900", "type": 1, "token": "t", "version": 1 }),
            at,
        ),
    )
    .await;
    assert_eq!((ping.status, ping.text.as_str()), (200, r#"{"type":1}"#));
    assert!(deliveries(&world).await.is_empty());
    let command = knock(&world, &discord("100000000000000001", at)).await;
    assert_eq!(
        (command.status, command.text.as_str()),
        (200, r#"{"type":5,"data":{"flags":64}}"#)
    );
    assert_eq!(deliveries(&world).await[0].kind, "command.dcr.list");
}

#[tokio::test]
async fn verified_but_unreadable_is_parked_listed_and_never_loops() {
    let world = World::new().await;
    for (id, body) in [("d-1", "not JSON"), ("d-2", "[]"), ("d-3", "{\"action\":\"created\"}")] {
        let odd = signed_again(github(id).with("x-github-event", Some("issue_comment")).saying(body));
        assert_eq!(
            knock(&world, &odd).await.status,
            202,
            "it was verified, so it is kept: {body}"
        );
    }
    world.settle().await;
    let parked = world.store.deliveries(Some("parked"), 10).await.unwrap();
    assert_eq!(parked.len(), 3, "{:#?}", deliveries(&world).await);
    assert!(
        parked
            .iter()
            .all(|delivery| !delivery.note.is_empty() && delivery.attempts == 1),
        "{parked:?}"
    );
    let (_, ready) = world.get("/readyz", Some(Town::api_token())).await;
    assert!(ready.contains(r#""deliveries_parked":3"#), "{ready}");
}

#[tokio::test]
async fn when_nothing_can_be_kept_nothing_is_promised() {
    let world = World::new().await;
    world.store.close().await;
    let answer = knock(&world, &github("d-1")).await;
    assert_eq!(
        (answer.status, answer.retry_after.as_deref()),
        (503, Some("30")),
        "{}",
        answer.text
    );
    assert_eq!(counted(&world, "github", "unavailable").await, 1);
    assert_eq!(world.get("/readyz", None).await.0, 503);
    assert_eq!(world.get("/healthz", None).await, (200, "ok\n".to_owned()));
}

/// The request as it goes over the wire.
fn wire(world: &World, knock: &Knock) -> Vec<u8> {
    let host = world.url.trim_start_matches("http://");
    let mut head = format!(
        "POST /webhooks/{} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n",
        knock.platform,
        knock.body.len()
    );
    for (name, value) in &knock.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    [head.as_bytes(), b"\r\n", &knock.body].concat()
}

async fn connect(world: &World) -> TcpStream {
    TcpStream::connect(world.url.trim_start_matches("http://"))
        .await
        .unwrap()
}

#[tokio::test]
async fn whoever_hangs_up_in_the_middle_was_promised_nothing_and_may_try_again() {
    let world = World::new().await;
    let bytes = wire(&world, &github("d-1"));
    for cut in [0, 10, bytes.len() / 2, bytes.len() - 1] {
        let mut stream = connect(&world).await;
        stream.write_all(&bytes[..cut]).await.unwrap();
    }
    assert!(deliveries(&world).await.is_empty(), "half a delivery is none");
    // The whole of it, and gone before the answer: kept or not, it is kept once in the end.
    connect(&world).await.write_all(&bytes).await.unwrap();
    assert_eq!(knock(&world, &github("d-1")).await.status, 202);
    assert_eq!(deliveries(&world).await.len(), 1);
}

#[tokio::test]
async fn whoever_sends_the_answer_away_unread_is_kept_all_the_same() {
    let world = World::new().await;
    let mut stream = connect(&world).await;
    stream.write_all(&wire(&world, &github("d-1"))).await.unwrap();
    let mut first = [0_u8; 12];
    stream.read_exact(&mut first).await.unwrap();
    drop(stream);
    assert_eq!(&first, b"HTTP/1.1 202");
    assert_eq!(
        deliveries(&world).await.len(),
        1,
        "the first byte of the answer is a promise"
    );
}
