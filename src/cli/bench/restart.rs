//! Restart: the program is killed with many active runs, every one of them overdue, and started again.

use std::time::Duration;

use super::child::Server;
use super::payload::{Envelope, Signed};
use super::place::Place;
use super::report::{Row, ms};
use super::wire::Wire;
use super::{Bench, ingest, watch};
use crate::clock::Stopwatch;

/// The program's own word for it.
const TAKEN_UP: &str = "runs are looked after from here";
/// Small against what is measured.
const POLL: Duration = Duration::from_millis(2);
/// How long all of it may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(300);

/// Starts again with the runs that were watched, or with new ones.
pub(super) async fn measure(bench: &mut Bench, watched: Option<Place>) -> Result<(), String> {
    let runs = bench.sizes.active.last().copied().unwrap_or_default();
    let place = match watched {
        Some(place) => place,
        None => {
            let place = watch::prepare(bench, runs).await?;
            let mut before = Server::start(&place)?;
            before.listening().await?;
            before.kill(&mut bench.report).await;
            place
        }
    };
    // Looks that find nothing new write nothing: as stored, all have been due since long.
    let mut hand = place.hand().await?;
    hand.run("UPDATE runs SET wake_at = 1 WHERE live = 1").await?;
    hand.close().await?;
    bench.outside.expect_jobs(runs as usize);
    bench.say(&format!("restart with {runs} overdue runs"));
    let mut envelope = ingest::envelope();
    let deliveries = ingest::sign(&mut envelope, 1);
    let mut server = Server::start(&place)?;
    let accepted = first_accepted(&mut server, &mut envelope, &deliveries[0]).await?;
    let claimed = taken_up(&mut server).await?;
    let looked = all_looked_at(bench, &server, runs).await;
    let usage = server.usage();
    server.kill(&mut bench.report).await;
    let id = String::from_utf8_lossy(&deliveries[0].delivery).into_owned();
    let there = format!("SELECT COUNT(*) FROM deliveries WHERE delivery_id = '{id}'");
    let kept = place.hand().await?.number(&there).await?;
    bench
        .report
        .must(kept == 1, || "restart: the first webhook is lost".to_owned());
    place.close().await?;
    let seconds = |time: Duration| time.as_secs_f64() * 1000.0;
    bench.report.add(
        Row::new("restart", "first webhook accepted", ms(seconds(accepted)))
            .aim("≤ 1 s", accepted <= Duration::from_secs(1))
            .beside(format!("after kill -9, with {runs} active runs"))
            .number("ms", seconds(accepted)),
    );
    bench.report.add(
        Row::new("restart", "every overdue run claimed", ms(seconds(claimed)))
            .aim("≤ 10 s", claimed <= Duration::from_secs(10))
            .beside("taken up to be looked at, as the log says")
            .number("ms", seconds(claimed)),
    );
    let (_, jobs) = bench.outside.look_count();
    bench
        .report
        .must(jobs > 0, || "restart: no overdue run was looked at".to_owned());
    let row = match looked {
        Some(time) => Row::new("restart", "every overdue run looked at", ms(seconds(time)))
            .beside(format!(
                "{:.0} looks/s, two calls each",
                f64::from(runs) / time.as_secs_f64()
            ))
            .number("ms", seconds(time)),
        None => {
            bench.report.must(false, || {
                format!("restart: only {jobs} of {runs} overdue runs were looked at")
            });
            Row::new("restart", "every overdue run looked at", "never")
        }
    };
    bench.report.add(row.number("memory_bytes", usage.rss_peak as f64));
    Ok(())
}

/// Sends the same delivery until it is taken.
async fn first_accepted(server: &mut Server, envelope: &mut Envelope, signed: &Signed) -> Result<Duration, String> {
    loop {
        if let Ok(mut wire) = Wire::connect(server.address).await
            && wire
                .exchange(envelope.fill(signed))
                .await
                .is_ok_and(|status| status == 202)
        {
            return Ok(server.age());
        }
        server.still_lives()?;
        tokio::time::sleep(POLL).await;
    }
}

async fn taken_up(server: &mut Server) -> Result<Duration, String> {
    loop {
        let log = tokio::fs::read_to_string(&server.log).await.unwrap_or_default();
        if log.contains(TAKEN_UP) {
            return Ok(server.age());
        }
        server.still_lives()?;
        tokio::time::sleep(POLL).await;
    }
}

async fn all_looked_at(bench: &Bench, server: &Server, runs: u32) -> Option<Duration> {
    let patience = Stopwatch::start();
    loop {
        if bench.outside.look_count().1 >= runs as usize {
            return Some(server.age());
        }
        if patience.elapsed() > PATIENCE {
            return None;
        }
        tokio::time::sleep(POLL).await;
    }
}
