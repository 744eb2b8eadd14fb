//! Durable ingest: how many signed deliveries a second are in the database for good when they are answered, against
//! a handler that checks the same proof and keeps nothing, in turns and with the same load.
//!
//! The program is measured as it serves: its engine reads every delivery while more come in.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use super::Bench;
use super::child::{Server, usage};
use super::payload::{Envelope, FIRST_COMMENT, FIRST_PR, Signed, uuid};
use super::place::Place;
use super::report::{Row, median};
use super::wire::{Flood, flood};
use crate::adapters::github::{GithubDoor, OwnIdentity};
use crate::adapters::{Door as _, RawRequest};
use crate::clock::{Clock as _, Stopwatch, SystemClock};
use crate::store::NewDelivery;

/// Pull requests on which people comment.
const PRS: u64 = 50;
/// Connections and caches warm up before it counts.
const WARM_UP: Duration = Duration::from_millis(300);

/// One flood, and what it cost.
struct Measured {
    flood: Flood,
    cpu_micros: f64,
    /// Deliveries that the engine had not read yet when the flood ended.
    backlog: i64,
}

/// Ingest, and what it is compared with.
pub(super) async fn measure(bench: &mut Bench) -> Result<(), String> {
    bench.say("ingest: signing deliveries");
    let mut envelope = envelope();
    let deliveries = sign(&mut envelope, bench.sizes.signed_per_s * bench.sizes.load.as_secs());
    let (mut bare, mut durable) = (Vec::new(), Vec::new());
    for round in 1..=bench.sizes.rounds {
        bench.say(&format!("ingest: round {round} of {}", bench.sizes.rounds));
        let place = bench.place().await?;
        bare.push(flood_bare(bench, &place, &envelope, &deliveries).await?);
        durable.push(flood_durable(bench, &place, &envelope, &deliveries).await?);
        place.close().await?;
    }
    report(bench, &envelope, &bare, &durable);
    alone(bench, &mut envelope, &deliveries).await
}

pub(super) fn envelope() -> Envelope {
    Envelope::new("Not a command, just talk.\n", true)
}

/// Deliveries, each of a comment of its own.
pub(super) fn sign(envelope: &mut Envelope, count: u64) -> Arc<Vec<Signed>> {
    let chance = SystemClock.random() >> 1;
    let sign = |n| envelope.sign(FIRST_COMMENT + n, FIRST_PR + n % PRS, uuid(chance + n));
    Arc::new((0..count).map(sign).collect())
}

async fn flood_bare(
    bench: &mut Bench,
    place: &Place,
    envelope: &Envelope,
    deliveries: &Arc<Vec<Signed>>,
) -> Result<Measured, String> {
    let mut server = Server::bare(place)?;
    server.listening().await?;
    let (flood, cpu_micros) = measured(bench, &server, envelope, deliveries, true).await?;
    server.kill(&mut bench.report).await;
    Ok(Measured {
        flood,
        cpu_micros,
        backlog: 0,
    })
}

async fn flood_durable(
    bench: &mut Bench,
    place: &Place,
    envelope: &Envelope,
    deliveries: &Arc<Vec<Signed>>,
) -> Result<Measured, String> {
    let mut server = Server::start(place)?;
    server.listening().await?;
    let (flood, cpu_micros) = measured(bench, &server, envelope, deliveries, false).await?;
    // What was promised must be there although the process gets no chance to put anything in order.
    server.kill(&mut bench.report).await;
    let backlog = verify(bench, place, &flood, deliveries).await?;
    Ok(Measured {
        flood,
        cpu_micros,
        backlog,
    })
}

/// The flood that counts, after a short one that does not, and the processor time of each delivery.
async fn measured(
    bench: &Bench,
    server: &Server,
    envelope: &Envelope,
    deliveries: &Arc<Vec<Signed>>,
    again: bool,
) -> Result<(Flood, f64), String> {
    warm_up(bench, server.address, envelope, deliveries, again).await?;
    let before = server.usage();
    let flood = flood(
        server.address,
        envelope,
        deliveries,
        bench.sizes.connections,
        bench.sizes.load,
        again,
    );
    let flood = flood.await.map_err(|e| format!("the load broke off: {e}"))?;
    let cpu = server.usage().cpu.saturating_sub(before.cpu);
    let each = cpu.as_secs_f64() * 1e6 / (flood.accepted.len().max(1) as f64);
    Ok((flood, each))
}

pub(super) async fn warm_up(
    bench: &Bench,
    address: SocketAddr,
    envelope: &Envelope,
    deliveries: &Arc<Vec<Signed>>,
    again: bool,
) -> Result<(), String> {
    // Deliveries of their own: those that count must be new.
    let own = if again {
        deliveries.clone()
    } else {
        sign(&mut envelope.clone(), bench.sizes.warm_up)
    };
    let warm = flood(address, envelope, &own, bench.sizes.connections, WARM_UP, again);
    warm.await.map(drop).map_err(|e| format!("the load broke off: {e}"))
}

/// Every delivery that was answered with a 2xx is in the database. How many the engine had not read yet.
async fn verify(bench: &mut Bench, place: &Place, flood: &Flood, deliveries: &[Signed]) -> Result<i64, String> {
    let mut hand = place.hand().await?;
    let stored: HashSet<String> = hand
        .texts("SELECT delivery_id FROM deliveries")
        .await?
        .into_iter()
        .collect();
    let there = |place: &&usize| stored.contains(&*String::from_utf8_lossy(&deliveries[**place].delivery));
    let found = flood.accepted.iter().filter(there).count();
    bench.report.must(found == flood.accepted.len(), || {
        format!("ingest: {} accepted deliveries are lost", flood.accepted.len() - found)
    });
    bench
        .report
        .must(!flood.accepted.is_empty(), || "ingest: nothing was accepted".to_owned());
    let bodies = hand
        .number("SELECT COUNT(*) FROM deliveries AS d JOIN bundles AS b ON b.id = d.bundle")
        .await?;
    bench.report.must(usize::try_from(bodies) == Ok(stored.len()), || {
        format!("ingest: {} deliveries but {bodies} bodies", stored.len())
    });
    let backlog = hand
        .number("SELECT COUNT(*) FROM deliveries WHERE state = 'pending'")
        .await?;
    hand.close().await?;
    Ok(backlog)
}

fn middle(all: &[Measured], figure: impl Fn(&Measured) -> f64) -> f64 {
    median(all.iter().map(figure).collect())
}

fn report(bench: &mut Bench, envelope: &Envelope, bare: &[Measured], durable: &[Measured]) {
    let rate = |all: &[Measured]| middle(all, |measured| measured.flood.rate());
    let cpu = |all: &[Measured]| middle(all, |measured| measured.cpu_micros);
    let (bare_rate, rate) = (rate(bare), rate(durable));
    let (bare_cpu, cpu) = (cpu(bare), cpu(durable));
    let ratio = rate / bare_rate.max(1.0);
    let least = if bench.on_sqlite() { 0.30 } else { 0.12 };
    let last = |all: &[Measured]| all.last().map(|m| m.flood.latencies.short()).unwrap_or_default();
    let refused: u64 = durable.iter().map(|measured| measured.flood.refused).sum();
    bench.report.add(
        Row::new("ingest", "durable against bare", format!("{ratio:.2}×"))
            .aim(format!("≥ {least:.2}×"), ratio >= least)
            .beside(format!(
                "{rate:.0}/s durable, {bare_rate:.0}/s bare; {} connections, {} B each, middle of {}",
                bench.sizes.connections,
                envelope.body_bytes(),
                durable.len()
            ))
            .number("ratio", ratio)
            .number("per_s", rate)
            .number("bare_per_s", bare_rate),
    );
    let row = Row::new("ingest", "processor time each", format!("{cpu:.0} µs"))
        .beside(format!("bare {bare_cpu:.0} µs; the engine's reading is in it"))
        .number("cpu_us", cpu)
        .number("bare_cpu_us", bare_cpu);
    bench.report.add(if bench.on_sqlite() {
        row.aim("≤ 40 µs", cpu <= 40.0)
    } else {
        row
    });
    bench.report.add(
        Row::new("ingest", "time to the answer", last(durable))
            .beside(format!("bare {}; {refused} turned away with 503", last(bare)))
            .number("refused", refused as f64),
    );
    let backlog = middle(durable, |measured| measured.backlog as f64);
    bench.report.add(
        Row::new("ingest", "not read by the engine at the end", format!("{backlog:.0}"))
            .beside("of what was stored; read later, in order")
            .number("backlog", backlog),
    );
}

/// Door and store alone, in this process: what verifying and storing cost without HTTP and the engine.
async fn alone(bench: &mut Bench, envelope: &mut Envelope, deliveries: &Arc<Vec<Signed>>) -> Result<(), String> {
    bench.say("ingest: door and store alone");
    let place = bench.place().await?;
    let store = place.store().await?;
    let secret = secrecy::SecretString::from(super::payload::SECRET);
    let door = Arc::new(GithubDoor::new(vec![secret], OwnIdentity::default()));
    let (next, time) = (Arc::new(AtomicUsize::new(0)), bench.sizes.load);
    let (watch, before) = (Stopwatch::start(), usage("self").cpu);
    let tasks = (0..bench.sizes.connections).map(|_| {
        let (mut envelope, deliveries, next) = (envelope.clone(), deliveries.clone(), next.clone());
        let (store, door) = (store.clone(), door.clone());
        tokio::spawn(async move {
            let mut stored = 0_u64;
            while watch.elapsed() < time {
                let Some(signed) = deliveries.get(next.fetch_add(1, Ordering::Relaxed)) else {
                    break;
                };
                let request = request(&mut envelope, signed);
                let now = SystemClock.now();
                let verified = door.verify(&request, now).map_err(|e| e.to_string())?;
                let delivery = NewDelivery {
                    thread: door.thread(&request),
                    platform: "github".parse().map_err(|e| format!("{e}"))?,
                    delivery_id: verified.delivery_id,
                    kind: verified.kind,
                    proof: verified.proof,
                    target: request.target,
                    headers: request.headers,
                    body: request.body,
                    received_at: now,
                };
                store.record_delivery(&delivery).await.map_err(|e| e.to_string())?;
                stored += 1;
            }
            Ok::<u64, String>(stored)
        })
    });
    let mut stored = 0;
    for done in join_all(tasks).await {
        stored += done.map_err(|e| e.to_string())??;
    }
    let (took, cpu) = (watch.elapsed(), usage("self").cpu.saturating_sub(before));
    store.close().await;
    let kept = place.hand().await?.number("SELECT COUNT(*) FROM deliveries").await?;
    bench.report.must(u64::try_from(kept) == Ok(stored), || {
        format!("ingest: {stored} stored but {kept} kept")
    });
    place.close().await?;
    let (rate, each) = (
        stored as f64 / took.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / stored.max(1) as f64,
    );
    bench.report.add(
        Row::new("ingest", "door and store alone", format!("{each:.0} µs"))
            .beside(format!("{rate:.0}/s, in one process without HTTP, log and engine"))
            .number("cpu_us", each)
            .number("per_s", rate),
    );
    Ok(())
}

/// The request as the web hands it to the door.
fn request(envelope: &mut Envelope, signed: &Signed) -> RawRequest {
    let (signature, body) = envelope.signature_and_body(signed);
    let headers = [
        ("content-type", "application/json".to_owned()),
        (
            "x-github-delivery",
            String::from_utf8_lossy(&signed.delivery).into_owned(),
        ),
        ("x-github-event", "issue_comment".to_owned()),
        ("x-hub-signature-256", format!("sha256={signature}")),
    ];
    RawRequest {
        method: "POST".to_owned(),
        target: "/webhooks/github".to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
        body: Bytes::copy_from_slice(body),
    }
}
