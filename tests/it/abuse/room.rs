//! Room for bodies: nobody holds it who offers no proof, nobody holds it without sending, and nobody takes all of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use proptest::prelude::*;
use stepherd::domain::ids::Platform;
use stepherd::store::{Gate, Point, StoreError};
use stepherd::web::{Budget, LARGE_BODIES_MAX, SMALL_BODY_BYTES_MAX};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::bodies::{LIMIT, answer, connect, counted, deliver, head, held, ping, rest, waiting, with};
use crate::world::World;

const EXPECT: &str = "expect: 100-continue\r\n";

/// Begins a delivery of this length that claims to be signed, sends so much of its body, and goes on holding it. What
/// the server says if it does not take it.
async fn hold(world: &World, id: &str, length: usize, sent: usize, more: &str) -> Result<TcpStream, String> {
    let mut stream = connect(world).await;
    let body = ping(length);
    let announced = format!("{more}{EXPECT}content-length: {length}");
    stream.write_all(head(id, &body, &announced).as_bytes()).await.unwrap();
    let said = answer(&mut stream).await;
    if !said.starts_with("HTTP/1.1 100 ") {
        return Err(said);
    }
    stream.write_all(&body[..sent]).await.unwrap();
    Ok(stream)
}

#[tokio::test]
async fn without_a_proof_no_byte_of_a_body_is_asked_for() {
    let world = waiting(600).await;
    let digest = "0".repeat(64);
    let stale = format!("x-signature-timestamp: 1\r\nx-signature-ed25519: {}", "0".repeat(128));
    let cases = [
        ("github", String::new()),
        ("github", format!("x-hub-signature: sha256={digest}")),
        ("github", format!("x-hub-signature-256: {digest}")),
        ("github", "x-hub-signature-256: sha256=00".to_owned()),
        ("github", format!("x-hub-signature-256: sha256={}", "z".repeat(64))),
        (
            "github",
            format!("x-hub-signature-256: sha256={digest}\r\nx-hub-signature-256: sha256={digest}"),
        ),
        ("jira", String::new()),
        ("jira", format!("x-hub-signature: sha1={}", &digest[..40])),
        ("jira", "x-hub-signature: sha256=00".to_owned()),
        ("jira", "authorization: Basic eDp5".to_owned()),
        ("jira", "authorization: Bearer guessed".to_owned()),
        ("jira", "authorization: JWT guessed".to_owned()),
        ("jira", "x-automation-webhook-token: guessed".to_owned()),
        ("discord", String::new()),
        ("discord", format!("x-signature-ed25519: {}", "0".repeat(128))),
        ("discord", "x-signature-timestamp: 1795000000".to_owned()),
        ("discord", stale),
    ];
    for (platform, offered) in &cases {
        let offered = if offered.is_empty() {
            String::new()
        } else {
            format!("{offered}\r\n")
        };
        let mut stream = connect(&world).await;
        let request = format!(
            "POST /webhooks/{platform} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{offered}{EXPECT}\
             content-length: {LIMIT}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let said = answer(&mut stream).await;
        assert!(said.starts_with("HTTP/1.1 401 "), "{platform} with {offered:?}: {said}");
    }
    assert_eq!(counted(&world, "forged"), 6);
    // And a body that nobody asked for is not read: the answer comes although it never ends.
    let mut crowd = Vec::new();
    for _ in 0..6 {
        let mut stream = connect(&world).await;
        let request = format!(
            "POST /webhooks/github HTTP/1.1\r\nhost: x\r\ncontent-length: {LIMIT}\r\n\r\n{}",
            "z".repeat(LIMIT / 2)
        );
        let _ = stream.write_all(request.as_bytes()).await;
        crowd.push(stream);
    }
    held(&world, 0).await;
    assert!(deliver(&world, "d-1", LIMIT).await.starts_with("HTTP/1.1 202 "));
    for stream in &mut crowd {
        let said = rest(stream).await;
        // Whoever is still sending may see the connection break instead.
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 401 "), "{said}");
    }
}

#[tokio::test]
async fn what_a_platform_holds_is_bounded_and_comes_back() {
    let world = waiting(600).await;
    let mut holders = Vec::new();
    for n in 0..3 {
        holders.push(
            hold(&world, &format!("d-{n}"), 61_000, 60_000, "")
                .await
                .expect("it is taken"),
        );
    }
    held(&world, 180_000).await;
    let refused = deliver(&world, "d-3", 30_000).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.to_lowercase().contains("\r\nretry-after: 30\r\n"), "{refused}");
    assert_eq!(counted(&world, "overloaded"), 1);
    assert_eq!(world.get("/healthz", None).await.0, 200);
    assert_eq!(world.get("/readyz", None).await.0, 200);
    assert!(
        deliver(&world, "d-4", 9_000).await.starts_with("HTTP/1.1 202 "),
        "what fits is taken"
    );
    // Half of the budget is left to the other platforms.
    world
        .town
        .jira
        .comment(stepherd::sandbox::town::TICKET, "557058:ada", "hello")
        .await
        .unwrap();
    world.deliver().await;
    let newest = &world.store.deliveries(None, 10).await.unwrap()[0];
    assert_eq!(newest.platform.as_str(), "jira");
    drop(holders);
    held(&world, 0).await;
    assert!(deliver(&world, "d-5", LIMIT).await.starts_with("HTTP/1.1 202 "));
}

#[tokio::test]
async fn large_bodies_leave_the_room_of_small_ones() {
    let world = waiting(600).await;
    let first = hold(&world, "d-1", 90_000, 80_000, "").await.expect("it is taken");
    // The second does not fit beside it once it has sent more than is left to large ones.
    let mut second = hold(&world, "d-2", 90_000, 69_000, "").await.expect("it is taken");
    held(&world, 149_000).await;
    second.write_all(&[b'z'; 2_000]).await.unwrap();
    let refused = answer(&mut second).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    held(&world, 80_000).await;
    let second = hold(&world, "d-2", 90_000, 69_000, "").await.expect("it is taken");
    held(&world, 149_000).await;
    // Without a length, a body is small until it is not.
    let mut third = connect(&world).await;
    let chunked = head("d-3", b"", &format!("{EXPECT}transfer-encoding: chunked"));
    third.write_all(chunked.as_bytes()).await.unwrap();
    assert!(answer(&mut third).await.starts_with("HTTP/1.1 100 "));
    let chunk = format!("c000\r\n{}\r\n", "z".repeat(0xc000));
    third.write_all(chunk.as_bytes()).await.unwrap();
    held(&world, 149_000 + 0xc000).await;
    third.write_all(chunk.as_bytes()).await.unwrap();
    let refused = answer(&mut third).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    held(&world, 149_000).await;
    for n in 0..5 {
        let taken = deliver(&world, &format!("small-{n}"), 50_000).await;
        assert!(taken.starts_with("HTTP/1.1 202 "), "{taken}");
    }
    drop((first, second));
}

#[tokio::test]
async fn large_bodies_are_few_however_little_they_send() {
    let world = waiting(600).await;
    let mut holders = Vec::new();
    for n in 0..LARGE_BODIES_MAX / 2 {
        let length = SMALL_BODY_BYTES_MAX + 1;
        holders.push(
            hold(&world, &format!("d-{n}"), length, 1, "")
                .await
                .expect("it is taken"),
        );
    }
    let refused = hold(&world, "d-x", SMALL_BODY_BYTES_MAX + 1, 1, "").await.unwrap_err();
    assert!(refused.starts_with("HTTP/1.1 503 "), "before its first byte: {refused}");
    let small = deliver(&world, "d-y", SMALL_BODY_BYTES_MAX).await;
    assert!(small.starts_with("HTTP/1.1 202 "), "{small}");
}

#[tokio::test]
async fn one_sender_leaves_room_for_others_where_the_proxies_name_it() {
    let limits = [("READ_TIMEOUT_S", "600"), ("TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8")];
    let world = with(&limits).await;
    let from = |who: &str| format!("x-forwarded-for: 203.0.113.77, {who}, 10.1.2.3\r\n");
    let one = hold(&world, "d-1", 65_000, 64_000, &from("192.0.2.1"))
        .await
        .expect("taken");
    held(&world, 64_000).await;
    let mut two = hold(&world, "d-2", 65_000, 30_000, &from("192.0.2.1"))
        .await
        .expect("taken");
    held(&world, 94_000).await;
    two.write_all(&[b'z'; 10_000]).await.unwrap();
    let refused = answer(&mut two).await;
    assert!(
        refused.starts_with("HTTP/1.1 503 "),
        "a quarter is what one may have: {refused}"
    );
    held(&world, 64_000).await;
    // Whatever it claims to have been before: who connected to the proxy is what counts.
    let claimed = "x-forwarded-for: 198.51.100.9\r\nx-forwarded-for: 192.0.2.1\r\n";
    let mut three = hold(&world, "d-3", 60_000, 30_000, claimed).await.expect("taken");
    held(&world, 94_000).await;
    three.write_all(&[b'z'; 10_000]).await.unwrap();
    let refused = answer(&mut three).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    let other = hold(&world, "d-4", 65_000, 64_000, &from("192.0.2.2"))
        .await
        .expect("taken");
    held(&world, 128_000).await;
    drop((one, other));
}

#[tokio::test]
async fn one_sender_has_few_requests_being_read_where_the_proxies_name_it() {
    let limits = [
        ("READ_TIMEOUT_S", "600"),
        ("TRUSTED_PROXIES", "127.0.0.1"),
        ("CONNECTIONS_MAX", "40"),
    ];
    let world = with(&limits).await;
    let from = |who: &str| format!("x-forwarded-for: {who}\r\n");
    let mut holders = Vec::new();
    // All addresses of one network are one sender.
    for n in 0..10 {
        let who = from(&format!("2001:db8::{n}"));
        holders.push(hold(&world, &format!("d-{n}"), 500, 1, &who).await.expect("taken"));
    }
    let refused = hold(&world, "d-x", 500, 1, &from("2001:db8::a")).await.unwrap_err();
    assert!(
        refused.starts_with("HTTP/1.1 503 "),
        "a quarter of the places is what one may have: {refused}"
    );
    let other = hold(&world, "d-y", 500, 1, &from("192.0.2.1")).await.expect("taken");
    // What has come is no longer being read.
    let mut first = holders.remove(0);
    first.write_all(&ping(500)[1..]).await.unwrap();
    let said = answer(&mut first).await;
    assert!(said.starts_with("HTTP/1.1 202 "), "{said}");
    let again = hold(&world, "d-z", 500, 1, &from("2001:db8::a")).await.expect("taken");
    // Where nobody names senders they are not told apart.
    let world = with(&[("READ_TIMEOUT_S", "600"), ("CONNECTIONS_MAX", "40")]).await;
    let mut all = Vec::new();
    for n in 0..30 {
        let one = hold(&world, &format!("d-{n}"), 500, 1, &from("192.0.2.1")).await;
        all.push(one.expect("taken"));
    }
    drop((holders, other, again, all));
}

#[tokio::test]
async fn whoever_gets_a_place_of_the_reserve_has_little_time_for_a_body() {
    let world = with(&[
        ("CONNECTIONS_MAX", "16"),
        ("HEADER_TIMEOUT_S", "600"),
        ("READ_TIMEOUT_S", "600"),
        ("BODY_RATE_MIN", "1"),
    ])
    .await;
    // All places are taken by idlers, and the reserve by bodies that come very slowly.
    let mut idle = Vec::new();
    for n in 0..16 {
        idle.push(hold(&world, &format!("d-{n}"), 9_000, 1, "").await.expect("taken"));
    }
    let mut slow = Vec::new();
    for n in 0..8 {
        slow.push(hold(&world, &format!("r-{n}"), 9_000, 8_000, "").await.expect("taken"));
    }
    for stream in &mut slow {
        let said = rest(stream).await;
        assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    }
    let whole = deliver(&world, "whole", 50_000).await;
    assert!(whole.starts_with("HTTP/1.1 202 "), "who sends is served: {whole}");
    drop(idle);
}

#[tokio::test]
async fn a_body_has_to_keep_coming() {
    // Two seconds are free; then a byte earns a ten-thousandth of one.
    let world = with(&[("READ_TIMEOUT_S", "12"), ("BODY_RATE_MIN", "10000")]).await;
    let body = ping(90_000);
    let mut good = hold(&world, "d-1", 90_000, 80_000, "").await.expect("it is taken");
    let mut idle = hold(&world, "d-2", 90_000, 1, "").await.expect("it is taken");
    let said = rest(&mut idle).await;
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    // Who has sent much has earned more than that.
    held(&world, 80_000).await;
    good.write_all(&body[80_000..]).await.unwrap();
    let said = answer(&mut good).await;
    assert!(said.starts_with("HTTP/1.1 202 "), "{said}");
}

/// Stops at the commit that stores a delivery.
#[derive(Default)]
struct Doorstep {
    here: CancellationToken,
    go_on: CancellationToken,
}

#[async_trait]
impl Gate for Doorstep {
    async fn pass(&self, verb: &'static str, point: Point) -> Result<(), StoreError> {
        if verb == "record_delivery" && point == Point::BeforeCommit {
            self.here.cancel();
            self.go_on.cancelled().await;
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_body_is_counted_until_it_is_stored() {
    let doorstep = Arc::new(Doorstep::default());
    let world = World::gated(|_| {}, None, doorstep.clone()).await;
    let delivered = deliver(&world, "d-1", 9_000);
    let looked = async {
        doorstep.here.cancelled().await;
        let (_, metrics) = world
            .get("/metrics", Some(stepherd::sandbox::town::Town::api_token()))
            .await;
        doorstep.go_on.cancel();
        metrics
    };
    let (answer, metrics) = tokio::join!(delivered, looked);
    assert!(metrics.contains("\nstepherd_body_bytes 9000\n"), "{metrics}");
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    held(&world, 0).await;
}

/// What a scope holds: all bytes, those of large bodies, and how many these are.
type Sum = (usize, usize, usize);

proptest! {
    #[test]
    fn no_scope_is_ever_overdrawn_nothing_is_refused_that_fits_and_all_comes_back(
        quarters in 0..500_000_usize, body_max in 0..200_000_usize,
        takes in prop::collection::vec(
            (0..24_usize, prop_oneof![0..90_000_usize, Just(usize::MAX)], 0..4_u8), 0..80,
        ),
    ) {
        let budget = Budget::new(quarters * 4, body_max, 1000);
        let who = |n: usize| {
            let platform: Platform = ["github", "jira", "discord"][n % 3].parse().unwrap();
            let peer: Option<IpAddr> = [None, Some("192.0.2.1"), Some("2001:db8::1"), Some("2001:db8::2")][n % 4]
                .map(|peer| peer.parse().unwrap());
            (platform, peer)
        };
        // Both addresses are of one network.
        let network = |peer: Option<IpAddr>| peer.map(|peer| peer.is_ipv4());
        let new = |n: usize| budget.share(who(n).0, who(n).1);
        let mut shares: Vec<_> = (0..24).map(|n| (new(n), 0_usize, false)).collect();
        let limit = |part: usize, places: usize| {
            let bytes = (quarters * 4 / part).max(body_max);
            (bytes, (bytes - bytes / 4).max(body_max), places)
        };
        for (n, bytes, what) in takes {
            let (platform, peer) = who(n);
            let (held, large) = (shares[n].1, shares[n].2);
            let (wanted, becomes_large) = if what == 1 {
                (Some(held), large || bytes > SMALL_BODY_BYTES_MAX)
            } else {
                let wanted = held.checked_add(bytes);
                (wanted, large || wanted.is_some_and(|bytes| bytes > SMALL_BODY_BYTES_MAX))
            };
            let sum = |scope: &dyn Fn(usize) -> bool| -> Option<Sum> {
                let mut sum = (0_usize, 0_usize, 0);
                for (other, share) in shares.iter().enumerate().filter(|(other, _)| scope(*other)) {
                    let (bytes, large) = if other == n { (wanted?, becomes_large) } else { (share.1, share.2) };
                    sum.0 = sum.0.checked_add(bytes)?;
                    if large {
                        sum = (sum.0, sum.1 + bytes, sum.2 + 1);
                    }
                }
                Some(sum)
            };
            let within = |sum: Option<Sum>, limit: Sum| {
                sum.is_some_and(|sum| sum.0 <= limit.0 && sum.1 <= limit.1 && sum.2 <= limit.2)
            };
            let fits = within(sum(&|_| true), limit(1, LARGE_BODIES_MAX))
                && within(sum(&|other| who(other).0 == platform), limit(2, LARGE_BODIES_MAX / 2))
                && (peer.is_none()
                    || within(
                        sum(&|other| network(who(other).1) == network(peer)),
                        limit(4, LARGE_BODIES_MAX / 4),
                    ));
            if what == 1 {
                let small = bytes <= SMALL_BODY_BYTES_MAX;
                prop_assert_eq!(shares[n].0.announce(bytes as u64), small || fits);
                shares[n].2 |= !small && fits;
            } else {
                prop_assert_eq!(shares[n].0.take(bytes), fits);
                if fits {
                    shares[n].1 += bytes;
                    shares[n].2 = becomes_large;
                }
            }
            if what == 3 {
                shares[n] = (new(n), 0, false);
            }
            prop_assert_eq!(budget.held(), shares.iter().map(|(_, held, _)| held).sum::<usize>());
        }
        drop(shares);
        prop_assert_eq!(budget.held(), 0);
    }
}

#[test]
fn whoever_connected_to_the_last_trusted_proxy_is_the_sender() {
    let proxies: Vec<ipnet::IpNet> = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap()).into();
    let sender = |connected: &str, forwarded: &[&str], proxies: Option<&[ipnet::IpNet]>| {
        let mut headers = axum::http::HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let sender = stepherd::web::sender(connected.parse().unwrap(), &headers, proxies);
        sender.map_or("nobody".to_owned(), |sender| sender.to_string())
    };
    let table: BTreeMap<(&str, &[&str]), &str> = [
        (("192.0.2.1", &[] as &[&str]), "192.0.2.1"),
        (("192.0.2.1", &["198.51.100.1"]), "192.0.2.1"),
        (("10.0.0.1", &[]), "10.0.0.1"),
        (("10.0.0.1", &["198.51.100.1"]), "198.51.100.1"),
        (("10.0.0.1", &["1.1.1.1, 198.51.100.1"]), "198.51.100.1"),
        (("10.0.0.1", &["1.1.1.1, 198.51.100.1,10.0.0.2"]), "198.51.100.1"),
        (("10.0.0.1", &["1.1.1.1", "198.51.100.1"]), "198.51.100.1"),
        (("10.0.0.1", &["198.51.100.1", "10.0.0.2"]), "198.51.100.1"),
        (("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3"),
        (("10.0.0.1", &["198.51.100.1:4711"]), "198.51.100.1"),
        (("10.0.0.1", &["[2001:db8::1]:4711"]), "2001:db8::1"),
        (("10.0.0.1", &["[2001:db8::1]"]), "2001:db8::1"),
        (("::ffff:10.0.0.1", &["::ffff:198.51.100.1"]), "198.51.100.1"),
        (("fd00::1", &["2001:db8::1"]), "2001:db8::1"),
        (("10.0.0.1", &["198.51.100.1, unknown"]), "10.0.0.1"),
        (("10.0.0.1", &["198.51.100.1, , 10.0.0.2"]), "10.0.0.2"),
        (("10.0.0.1", &[""]), "10.0.0.1"),
    ]
    .into();
    assert!(table.len() == 17);
    for ((connected, forwarded), expected) in table {
        let told = sender(connected, forwarded, Some(&proxies));
        assert_eq!(told, expected, "{connected} with {forwarded:?}");
        assert_eq!(sender(connected, forwarded, None), "nobody");
    }
    assert_eq!(sender("10.0.0.1", &["198.51.100.1"], Some(&[])), "10.0.0.1");
}
