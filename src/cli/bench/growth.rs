//! Growth: what ingest, the status of a run and lists of runs cost with a long history, against the same without.

use super::Bench;
use super::child::Server;
use super::copy::{self, Wake};
use super::ingest;
use super::life::{self, Until};
use super::payload::{FIRST_PR, mixed};
use super::place::Place;
use super::report::{Row, Times, mib};
use super::wire::{flood, gets};
use crate::domain::ids::RunId;

/// Runs that are under way all the time, and the history of a database that counts as empty.
const LIVE: u32 = 50;
const EMPTY: u32 = 50;
/// Their tokens lie apart.
const FINISHED_FROM: u64 = FIRST_PR + 50_000_000;
const AIM: f64 = 1.5;
/// No live run is due while this is measured.
const FAR_OFF_MS: i64 = 32_503_680_000_000;

/// What is read, and how fast deliveries come in.
struct Pace {
    per_s: f64,
    status: Times,
    list: Times,
    live: Times,
    bytes: u64,
}

/// Empty, then with the history.
pub(super) async fn measure(bench: &mut Bench) -> Result<(), String> {
    let empty = history(bench, EMPTY).await?;
    let full = history(bench, bench.sizes.finished).await?;
    let finished = bench.sizes.finished;
    let beside = format!(
        "{} with {finished} finished runs, {} without",
        mib(full.bytes),
        mib(empty.bytes)
    );
    bench.report.add(
        Row::new("growth", "database", mib(full.bytes))
            .beside(beside)
            .number("bytes", full.bytes as f64),
    );
    let slower = empty.per_s / full.per_s.max(1.0);
    bench.report.add(
        Row::new("growth", "ingest, slower by", format!("{slower:.2}×"))
            .aim(format!("≤ {AIM}×"), slower <= AIM)
            .beside(format!("{:.0}/s with, {:.0}/s without", full.per_s, empty.per_s))
            .number("ratio", slower),
    );
    for (what, full, empty) in [
        ("status of a run", &full.status, &empty.status),
        ("list of runs", &full.list, &empty.list),
        ("list of live runs", &full.live, &empty.live),
    ] {
        let ratio = full.percentile(50.0) / empty.percentile(50.0).max(1e-9);
        bench.report.add(
            Row::new("growth", format!("{what}, slower by"), format!("{ratio:.2}×"))
                .aim(format!("≤ {AIM}×"), ratio <= AIM)
                .beside(format!("{} with, {} without", full.short(), empty.short()))
                .number("ratio", ratio),
        );
    }
    Ok(())
}

async fn history(bench: &mut Bench, finished: u32) -> Result<Pace, String> {
    bench.say(&format!("growth: {finished} finished runs: filling the database"));
    let place = bench.place().await?;
    let live = life::live(&place, FIRST_PR, Until::Watched).await?;
    copy::copy(
        &place,
        &live,
        LIVE,
        &Wake {
            from_ms: FAR_OFF_MS,
            spread_ms: 0,
        },
    )
    .await?;
    let mut hand = place.hand().await?;
    hand.run(&format!("UPDATE runs SET wake_at = {FAR_OFF_MS} WHERE live = 1"))
        .await?;
    hand.close().await?;
    let ended = life::live(&place, FINISHED_FROM, Until::Finished).await?;
    let ids = copy::copy(
        &place,
        &ended,
        finished,
        &Wake {
            from_ms: 0,
            spread_ms: 0,
        },
    )
    .await?;
    let bytes = place.database_bytes().await?;
    let pace = pace(bench, &place, &ids, bytes).await?;
    let kept = place.hand().await?.number("SELECT COUNT(*) FROM runs").await?;
    bench.report.must(kept == i64::from(LIVE) + i64::from(finished), || {
        format!("growth: only {kept} runs are there")
    });
    place.close().await?;
    Ok(pace)
}

async fn pace(bench: &mut Bench, place: &Place, ids: &[RunId], bytes: u64) -> Result<Pace, String> {
    let mut envelope = ingest::envelope();
    let deliveries = ingest::sign(&mut envelope, bench.sizes.signed_per_s * bench.sizes.load.as_secs());
    let mut server = Server::start(place)?;
    server.listening().await?;
    let reads = bench.sizes.reads;
    let chosen = (0..reads as u64).filter_map(|n| {
        let place = mixed(n) % ids.len().max(1) as u64;
        ids.get(usize::try_from(place).unwrap_or_default())
    });
    let status: Vec<String> = chosen.map(|id| format!("/api/v1/runs/{id}")).collect();
    let list = vec!["/api/v1/runs?limit=50".to_owned(); reads];
    let live = vec!["/api/v1/runs?live=true&limit=50".to_owned(); reads];
    // Once for the caches, then for the clock.
    gets(server.address, &[&status[..], &list[..10], &live[..10]].concat()).await?;
    let (status, list, live) = (
        gets(server.address, &status).await?,
        gets(server.address, &list).await?,
        gets(server.address, &live).await?,
    );
    let connections = bench.sizes.connections;
    ingest::warm_up(bench, server.address, &envelope, &deliveries, false).await?;
    let flood = flood(
        server.address,
        &envelope,
        &deliveries,
        connections,
        bench.sizes.load,
        false,
    )
    .await
    .map_err(|e| e.to_string())?;
    server.kill(&mut bench.report).await;
    Ok(Pace {
        per_s: flood.rate(),
        status,
        list,
        live,
        bytes,
    })
}
