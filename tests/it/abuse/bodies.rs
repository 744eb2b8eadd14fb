//! Bodies and heads: however large, endless or slow they are, they are cut at a bound, and room comes back.

use std::time::Duration;

use secrecy::SecretString;
use stepherd::sandbox::github::signature;
use stepherd::sandbox::town::Town;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::World;

pub(super) const SECRET: &str = "github-webhook-secret";
pub(super) const LIMIT: usize = 100_000;
/// Far longer than any answer here takes; only a test that fails waits for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Doors that take 100 kB at once, 400 kB together, and wait a second for heads and bodies.
async fn world() -> World {
    waiting(1).await
}

/// The same, and they wait so many seconds.
pub(super) async fn waiting(seconds: u32) -> World {
    with(&[
        ("HEADER_TIMEOUT_S", &seconds.to_string()),
        ("READ_TIMEOUT_S", &seconds.to_string()),
    ])
    .await
}

/// The same with other settings of the server.
pub(super) async fn with(settings: &[(&str, &str)]) -> World {
    World::with_settings(
        |_| {},
        |env| {
            for (key, value) in [
                ("BODY_LIMIT_BYTES", LIMIT.to_string().as_str()),
                ("BODY_BUDGET_BYTES", "400000"),
            ]
            .iter()
            .chain(settings)
            {
                env.insert(format!("STEPHERD__SERVER__{key}"), (*value).to_owned());
            }
        },
    )
    .await
}

pub(super) async fn connect(world: &World) -> TcpStream {
    TcpStream::connect(world.url.trim_start_matches("http://"))
        .await
        .unwrap()
}

/// The head of a delivery whose body is signed and announced in this way.
pub(super) fn head(id: &str, body: &[u8], announced: &str) -> String {
    let signed = signature(&SecretString::from(SECRET), body);
    format!(
        "POST /webhooks/github HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-github-event: ping\r\n\
         x-github-delivery: {id}\r\nx-hub-signature-256: {signed}\r\n{announced}\r\n\r\n"
    )
}

/// A ping of this many bytes.
pub(super) fn ping(len: usize) -> Vec<u8> {
    let frame = r#"{"zen":""}"#.len();
    format!(r#"{{"zen":"{}"}}"#, "z".repeat(len - frame)).into_bytes()
}

/// Everything that the server says until it closes the connection.
pub(super) async fn rest(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    // A connection that is reset after the answer has given the answer.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said))
        .await
        .expect("an end");
    String::from_utf8_lossy(&said).into_owned()
}

/// The first line of what the server says, and all that came with it.
pub(super) async fn answer(stream: &mut TcpStream) -> String {
    let mut said = vec![0; 4096];
    let len = tokio::time::timeout(PATIENCE, stream.read(&mut said))
        .await
        .expect("an answer")
        .unwrap();
    String::from_utf8_lossy(&said[..len]).into_owned()
}

pub(super) async fn deliver(world: &World, id: &str, len: usize) -> String {
    let body = ping(len);
    let mut stream = connect(world).await;
    let head = head(id, &body, &format!("connection: close\r\ncontent-length: {len}"));
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    rest(&mut stream).await
}

/// Waits until bodies hold this much.
pub(super) async fn held(world: &World, bytes: usize) {
    let line = format!("\nstepherd_body_bytes {bytes}\n");
    for _ in 0..10_000 {
        if world.get("/metrics", Some(Town::api_token())).await.1.contains(&line) {
            return;
        }
    }
    panic!("bodies never hold {bytes} bytes: {}", world.metrics.render());
}

pub(super) fn counted(world: &World, outcome: &str) -> u64 {
    let text = world.metrics.render();
    let line = format!("stepherd_deliveries_total{{platform=\"github\",outcome=\"{outcome}\"}} ");
    text.lines()
        .find_map(|row| row.strip_prefix(&line))
        .map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn a_length_over_the_cap_is_refused_before_the_first_byte() {
    let world = world().await;
    let mut stream = connect(&world).await;
    let head = head(
        "d-1",
        b"",
        &format!("expect: 100-continue\r\ncontent-length: {}", LIMIT + 1),
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 413 "),
        "nobody asked for the body: {answer}"
    );
    assert_eq!(counted(&world, "too_large"), 1);
    // A number beyond all numbers, and two lengths that differ, are no lengths.
    for announced in [
        "content-length: 99999999999999999999999999",
        "content-length: -1",
        "content-length: 5\r\ncontent-length: 6",
        "transfer-encoding: chunked, gzip",
        "transfer-encoding: identity, gzip",
    ] {
        let mut stream = connect(&world).await;
        stream
            .write_all(self::head("d-1", b"", announced).as_bytes())
            .await
            .unwrap();
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{announced}: {answer}");
    }
    assert!(world.store.deliveries(None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_body_in_pieces_without_end_is_cut_at_the_cap() {
    let world = world().await;
    let stream = connect(&world).await;
    let (mut read, mut write) = stream.into_split();
    let sender = tokio::spawn(async move {
        write
            .write_all(head("d-1", b"", "transfer-encoding: chunked").as_bytes())
            .await
            .unwrap();
        let piece = format!("1000\r\n{}\r\n", "z".repeat(0x1000));
        let mut sent = 0;
        // Until nobody listens any more.
        while write.write_all(piece.as_bytes()).await.is_ok() {
            sent += piece.len();
            assert!(sent < 100 * 1024 * 1024, "nobody stops it");
        }
    });
    let mut said = [0; 12];
    tokio::time::timeout(PATIENCE, read.read_exact(&mut said))
        .await
        .expect("an answer")
        .unwrap();
    assert_eq!(&said, b"HTTP/1.1 413");
    drop(read);
    tokio::time::timeout(PATIENCE, sender).await.expect("an end").unwrap();
    assert_eq!(counted(&world, "too_large"), 1);
    // Pieces that are none.
    for spoilt in ["zz\r\nxx\r\n", "-1\r\n", "fffffffffffffffffff\r\n", "5\r\nab"] {
        let mut stream = connect(&world).await;
        let request = format!("{}{spoilt}", head("d-1", b"", "transfer-encoding: chunked"));
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
            "{spoilt:?}: {answer}"
        );
    }
    assert!(
        deliver(&world, "d-2", LIMIT).await.starts_with("HTTP/1.1 202 "),
        "the room is there again"
    );
}

#[tokio::test]
async fn slow_senders_are_cut_off() {
    let world = world().await;
    let mut slow_body = connect(&world).await;
    slow_body
        .write_all(head("d-1", &ping(100), "content-length: 100").as_bytes())
        .await
        .unwrap();
    slow_body.write_all(b"{").await.unwrap();
    let mut slow_head = connect(&world).await;
    slow_head
        .write_all(b"POST /webhooks/github HTTP/1.1\r\nhost: x\r\nx-a: ")
        .await
        .unwrap();
    let mut silent = connect(&world).await;
    let mut idle = connect(&world).await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    assert!(answer(&mut idle).await.starts_with("HTTP/1.1 200 "));
    assert!(rest(&mut slow_body).await.starts_with("HTTP/1.1 408 "));
    for stream in [&mut slow_head, &mut silent, &mut idle] {
        let said = rest(stream).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408 "), "{said}");
    }
    assert_eq!(counted(&world, "unread"), 1);
    // A byte now and then does not buy more time.
    let stream = connect(&world).await;
    let (mut read, mut write) = stream.into_split();
    let trickle = tokio::spawn(async move {
        let _ = write
            .write_all(head("d-1", b"", "transfer-encoding: chunked").as_bytes())
            .await;
        while write.write_all(b"1\r\nz\r\n").await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    let mut said = [0; 12];
    tokio::time::timeout(PATIENCE, read.read_exact(&mut said))
        .await
        .expect("an answer")
        .unwrap();
    assert!(
        &said == b"HTTP/1.1 408" || &said == b"HTTP/1.1 413",
        "{}",
        String::from_utf8_lossy(&said)
    );
    drop(read);
    tokio::time::timeout(PATIENCE, trickle).await.expect("an end").unwrap();
}

#[tokio::test]
async fn heads_are_bounded() {
    let world = world().await;
    for (what, head) in [
        (
            "one long header",
            format!(
                "GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n",
                "z".repeat(20_000)
            ),
        ),
        (
            "many headers",
            format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{}\r\n", "x-a: b\r\n".repeat(200)),
        ),
        (
            "a long address",
            format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "z".repeat(20_000)),
        ),
        (
            "no end",
            format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: {}", "z".repeat(50_000)),
        ),
    ] {
        let mut stream = connect(&world).await;
        // It may be cut off before it has sent all.
        let _ = stream.write_all(head.as_bytes()).await;
        let answer = rest(&mut stream).await;
        let refused = ["HTTP/1.1 431 ", "HTTP/1.1 414 "]
            .iter()
            .any(|status| answer.starts_with(status));
        assert!(refused || answer.is_empty(), "{what}: {answer}");
    }
    let mut stream = connect(&world).await;
    let head = format!(
        "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-long: {}\r\n\r\n",
        "z".repeat(8_000)
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(
        rest(&mut stream).await.starts_with("HTTP/1.1 200 "),
        "what is usual fits"
    );
    // Whatever is no HTTP is no request.
    for nonsense in [
        &b"\x16\x03\x01\x02\x00\x01"[..],
        b"\0\0\0\0\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\nx y z\r\n\r\n",
    ] {
        let mut stream = connect(&world).await;
        let _ = stream.write_all(nonsense).await;
        let answer = rest(&mut stream).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{nonsense:?}: {answer}"
        );
    }
    assert_eq!(world.get("/healthz", None).await.0, 200);
}

#[tokio::test]
async fn one_connection_cannot_smuggle_a_second_request() {
    let world = world().await;
    let inner = "POST /webhooks/jira HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    let mut stream = connect(&world).await;
    // Two lengths: whoever believes the other one sees a second request.
    let request = format!(
        "POST /webhooks/github HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{inner}",
        inner.len() + 5
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let answers = rest(&mut stream).await;
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
}
