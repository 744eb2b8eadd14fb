//! What can no longer be answered in time is not done.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Knock, counted, deliveries, discord, github, now};
use crate::world::World;

/// Sends the head, lets this much time pass once the door waits for the body, and sends that; what is answered.
async fn slowly(world: &World, knock: &Knock, time: Duration) -> String {
    let address = world.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut head = format!(
        "POST /webhooks/{} HTTP/1.1\r\nhost: {address}\r\nexpect: 100-continue\r\nconnection: close\r\n\
         content-length: {}\r\n",
        knock.platform,
        knock.body.len()
    );
    for (name, value) in &knock.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    let mut heard = [0; 1024];
    let len = stream.read(&mut heard).await.unwrap();
    assert!(
        heard[..len].starts_with(b"HTTP/1.1 100 "),
        "the door waits for the body"
    );
    world.clock.advance(time);
    stream.write_all(&knock.body).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn an_interaction_that_could_not_be_stored_in_time_is_not_kept() {
    let world = World::new().await;
    let late = slowly(&world, &discord("101", now(&world)), Duration::from_millis(2_500)).await;
    assert_eq!(late, "HTTP/1.1 503 Service Unavailable");
    assert!(
        deliveries(&world).await.is_empty(),
        "Discord has told its user of a failure"
    );
    assert_eq!(counted(&world, "discord", "too_late").await, 1);
    let in_time = slowly(&world, &discord("102", now(&world)), Duration::from_millis(2_499)).await;
    assert_eq!(in_time, "HTTP/1.1 200 OK");
    assert_eq!(deliveries(&world).await.len(), 1);
}

#[tokio::test]
async fn a_webhook_that_is_sent_again_anyway_may_take_its_time() {
    let world = World::new().await;
    let late = slowly(&world, &github("d-1"), Duration::from_secs(20)).await;
    assert_eq!(late, "HTTP/1.1 202 Accepted");
    assert_eq!(deliveries(&world).await.len(), 1);
}
