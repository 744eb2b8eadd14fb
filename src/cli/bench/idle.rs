//! Idle: how long a start takes, and what the program uses when there is nothing to do.

use std::time::Duration;

use super::Bench;
use super::child::Server;
use super::report::{Row, Times, mib, ms};
use super::wire::micros_of;

/// After a start, memory and processor come to rest.
const REST: Duration = Duration::from_secs(1);

/// Starts many times, then waits.
pub(super) async fn measure(bench: &mut Bench) -> Result<(), String> {
    bench.say("idle: starting");
    let place = bench.place().await?;
    let mut first = None;
    let mut micros = Vec::new();
    for _ in 0..bench.sizes.starts {
        let mut server = Server::start(&place)?;
        let took = micros_of(server.listening().await?);
        server.kill(&mut bench.report).await;
        match first {
            None => first = Some(took),
            Some(_) => micros.push(took),
        }
    }
    let times = Times::of(micros);
    let p50 = times.percentile(50.0);
    let first = ms(first.unwrap_or_default() as f64 / 1000.0);
    bench.report.add(
        Row::new("idle", "start to listening", ms(p50))
            .aim("≤ 50 ms", p50 <= 50.0)
            .beside(format!(
                "middle of {}; {first} the first time, with the database to be made",
                times.len()
            ))
            .number("p50_ms", p50),
    );
    let mut server = Server::start(&place)?;
    server.listening().await?;
    tokio::time::sleep(REST).await;
    let before = server.usage();
    tokio::time::sleep(bench.sizes.idle_for).await;
    let usage = server.usage();
    server.kill(&mut bench.report).await;
    place.close().await?;
    bench.report.add(
        Row::new("idle", "memory", mib(usage.rss))
            .aim("≤ 25 MiB", usage.rss <= 25 << 20)
            .beside(format!("{} at its peak", mib(usage.rss_peak)))
            .number("rss_bytes", usage.rss as f64),
    );
    let cpu = usage.cpu.saturating_sub(before.cpu);
    let share = cpu.as_secs_f64() / bench.sizes.idle_for.as_secs_f64() * 100.0;
    bench.report.add(
        Row::new("idle", "processor", format!("{share:.1} % of one core"))
            .aim("≤ 1 %", share <= 1.0)
            .beside(format!(
                "{} ms in {} s",
                cpu.as_millis(),
                bench.sizes.idle_for.as_secs()
            ))
            .number("percent", share),
    );
    Ok(())
}
