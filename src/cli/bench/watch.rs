//! Watching: many active runs, each with a job that is looked at every 30 s and never moves. Each look at a rebuild
//! is two calls: its status, and the number of farmers.

use std::time::Duration;

use super::Bench;
use super::child::{Server, Usage};
use super::copy::{self, Wake};
use super::life::{self, Until};
use super::payload::FIRST_PR;
use super::place::Place;
use super::report::{Row, Times, mib, ms};
use crate::clock::{Clock as _, SystemClock};

/// From the start of the program to the first look that is due.
const LEAD: Duration = Duration::from_secs(3);
/// What an observation may cost more among many runs than among few.
const FLAT: f64 = 1.25;

/// One number of runs, watched.
struct Watched {
    runs: u32,
    looks: u64,
    /// Runs that were never looked at.
    unseen: u32,
    cpu_micros: f64,
    share: f64,
    usage: Usage,
    late: Times,
    changed: i64,
    log_growth: Option<u64>,
}

/// Watches ever more runs; the place of the most is left for who comes after, its program killed.
pub(super) async fn measure(bench: &mut Bench) -> Result<Place, String> {
    let mut all = Vec::new();
    let mut last: Option<Place> = None;
    for runs in bench.sizes.active.clone() {
        if let Some(place) = last.take() {
            place.close().await?;
        }
        let place = prepare(bench, runs).await?;
        all.push(watch(bench, &place, runs).await?);
        last = Some(place);
    }
    report(bench, &all);
    last.ok_or_else(|| "there is nothing to watch".to_owned())
}

/// A database with so many active runs, each of which waits for its rebuild.
pub(super) async fn prepare(bench: &Bench, runs: u32) -> Result<Place, String> {
    bench.say(&format!("{runs} active runs: filling the database"));
    let place = bench.place().await?;
    let life = life::live(&place, FIRST_PR, Until::Watched).await?;
    // From zero on; when exactly is said when the program starts.
    let wake = Wake {
        from_ms: 0,
        spread_ms: millis(bench.sizes.every_s),
    };
    copy::copy(&place, &life, runs, &wake).await?;
    place
        .hand()
        .await?
        .run(&format!("UPDATE runs SET wake_at = 0 WHERE id = '{}'", life.run))
        .await?;
    Ok(place)
}

fn millis(seconds: u64) -> i64 {
    i64::try_from(seconds * 1000).unwrap_or(i64::MAX)
}

/// What must not change while nothing happens outside.
async fn written(place: &Place) -> Result<i64, String> {
    let mut hand = place.hand().await?;
    let mut sum = 0;
    for text in [
        "SELECT value FROM counters WHERE name = 'change'",
        "SELECT CAST(SUM(version) AS BIGINT) FROM runs",
        "SELECT COUNT(*) FROM history",
        "SELECT CAST(SUM(generation + epoch) AS BIGINT) FROM effects",
    ] {
        sum += hand.number(text).await?;
    }
    hand.close().await?;
    Ok(sum)
}

async fn watch(bench: &mut Bench, place: &Place, runs: u32) -> Result<Watched, String> {
    let before = written(place).await?;
    let lead = LEAD + Duration::from_micros(u64::from(runs) * 10);
    let due = SystemClock.now().as_millisecond() + i64::try_from(lead.as_millis()).unwrap_or(0);
    let due_micros = bench.outside.now() + u64::try_from(lead.as_micros()).unwrap_or(0);
    let mut hand = place.hand().await?;
    hand.run(&format!("UPDATE runs SET wake_at = wake_at + {due} WHERE live = 1"))
        .await?;
    hand.close().await?;
    bench.outside.expect_jobs(runs as usize);
    let mut server = Server::start(place)?;
    server.listening().await?;
    tokio::time::sleep(Duration::from_micros(due_micros.saturating_sub(bench.outside.now()))).await;
    bench.say(&format!(
        "watching {runs} runs for {} s",
        bench.sizes.watched_for.as_secs()
    ));
    let began = bench.outside.begin_window();
    let (usage_before, log_before) = (server.usage(), place.log_bytes());
    tokio::time::sleep(bench.sizes.watched_for).await;
    let (usage, log) = (server.usage(), place.log_bytes());
    let looks = bench.outside.looks();
    server.kill(&mut bench.report).await;
    let changed = written(place).await? - before;
    let count = looks.count - began;
    let cpu = usage.cpu.saturating_sub(usage_before.cpu).as_secs_f64();
    // How long after they were due runs were looked at: first as stored, then as remembered.
    let every = bench.sizes.every_s * 1_000_000;
    let spread = every as f64 / f64::from(runs);
    let firsts = looks.first.iter().enumerate().filter(|(_, at)| **at > 0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "microseconds within a minute"
    )]
    let firsts = firsts.map(|(n, at)| at.saturating_sub(due_micros + (n as f64 * spread) as u64));
    let late = firsts.chain(looks.gaps.iter().map(|gap| gap.saturating_sub(every)));
    Ok(Watched {
        runs,
        looks: count,
        unseen: runs - u32::try_from(looks.jobs).unwrap_or(runs),
        cpu_micros: cpu * 1e6 / count.max(1) as f64,
        share: cpu / bench.sizes.watched_for.as_secs_f64(),
        usage,
        late: Times::of(late.collect()),
        changed,
        log_growth: log.zip(log_before).map(|(after, before)| after.saturating_sub(before)),
    })
}

fn report(bench: &mut Bench, all: &[Watched]) {
    let Some((few, many)) = all.first().zip(all.last()) else {
        return;
    };
    let every = bench.sizes.every_s;
    for watched in all {
        bench.report.must(watched.looks > 0, || {
            format!("watch: none of {} runs was looked at", watched.runs)
        });
        bench.report.add(
            Row::new(
                "watch",
                format!("{} runs, processor time a look", watched.runs),
                format!("{:.0} µs", watched.cpu_micros),
            )
            .beside(format!(
                "{} looks of two calls each in {} s, every {every} s; {:.0} % of one core",
                watched.looks,
                bench.sizes.watched_for.as_secs(),
                watched.share * 100.0
            ))
            .number("runs", f64::from(watched.runs))
            .number("looks", watched.looks as f64)
            .number("cpu_us", watched.cpu_micros),
        );
    }
    let flat = many.cpu_micros / few.cpu_micros.max(1e-9);
    bench.report.add(
        Row::new(
            "watch",
            format!("a look among {} against {}", many.runs, few.runs),
            format!("{flat:.2}×"),
        )
        .aim(format!("≤ {FLAT}×"), flat <= FLAT)
        .number("flat", flat),
    );
    let p99 = many.late.percentile(99.0);
    bench.report.add(
        Row::new("watch", format!("{} runs, lateness p99", many.runs), ms(p99))
            .aim("≤ 1 s", p99 <= 1000.0 && many.unseen == 0)
            .beside(format!(
                "{} over {} looks; {} runs never looked at",
                many.late.short(),
                many.late.len(),
                many.unseen
            ))
            .number("p99_ms", p99)
            .number("unseen", f64::from(many.unseen)),
    );
    let rss = many.usage.rss_peak;
    bench.report.add(
        Row::new("watch", format!("{} runs, memory", many.runs), mib(rss))
            .aim("≤ 300 MiB", rss <= 300 << 20)
            .beside(format!("at its peak; {} at the end", mib(many.usage.rss)))
            .number("rss_bytes", rss as f64),
    );
    let changed: i64 = all.iter().map(|watched| watched.changed).sum();
    let growth = many.log_growth.map_or_else(String::new, |bytes| {
        format!(
            "; the log grew by {:.1} KiB/s, for the leases",
            bytes as f64 / 1024.0 / bench.sizes.watched_for.as_secs_f64()
        )
    });
    bench.report.add(
        Row::new("watch", "writes for unchanged observations", changed.to_string())
            .aim("0", changed == 0)
            .beside(format!("of runs, history and effects{growth}"))
            .number("writes", changed as f64),
    );
}
