//! Answer: from the first byte of a webhook with a command in it to the first byte of the call that replies.
//!
//! `/dcr status` on a pull request with a run: the delivery is stored and claimed, the comment read again (one call),
//! the run found, the decision committed, and the reply posted (one call). Who may is said by configuration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::try_join_all;

use super::Bench;
use super::child::Server;
use super::copy::{self, Wake};
use super::life::{self, Until};
use super::outside::{Outside, SAID};
use super::payload::{Envelope, FIRST_COMMENT, FIRST_PR, Signed, uuid};
use super::report::{Row, Times, ms};
use super::wire::Wire;
use crate::clock::{Clock as _, SystemClock};

/// The first commands find connections closed and pages cold; they do not count.
const WARM_UP: u64 = 10;
/// How long a reply is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// A sender that is late by more than this counts from when it should have sent.
const SLACK_MICROS: u64 = 2000;

/// Both measurements.
pub(super) async fn measure(bench: &mut Bench) -> Result<(), String> {
    let idle = WARM_UP + bench.sizes.idle_commands;
    let sustained = bench.sizes.commands_per_s * bench.sizes.load.as_secs();
    let count = idle + sustained;
    bench.say(&format!("answer: {count} pull requests, each with a run"));
    let place = bench.place().await?;
    let life = life::live(&place, FIRST_PR, Until::Finished).await?;
    let never = Wake {
        from_ms: 0,
        spread_ms: 0,
    };
    copy::copy(&place, &life, u32::try_from(count + 1).unwrap_or(u32::MAX), &never).await?;
    let mut envelope = Envelope::new(SAID, false);
    let chance = SystemClock.random() >> 1;
    let signed: Vec<Signed> = (0..count)
        .map(|n| envelope.sign(FIRST_COMMENT + n, FIRST_PR + n, uuid(chance + n)))
        .collect();
    let mut server = Server::start(&place)?;
    server.listening().await?;
    let (idle, sustained) = signed.split_at(usize::try_from(idle).unwrap_or_default());
    one_by_one(bench, &server, &envelope, idle).await?;
    bench.say("answer: sustained");
    all_the_time(bench, &server, &envelope, sustained).await?;
    server.kill(&mut bench.report).await;
    place.close().await
}

/// Idle: the next command comes when the last one has been answered.
async fn one_by_one(
    bench: &mut Bench,
    server: &Server,
    envelope: &Envelope,
    commands: &[Signed],
) -> Result<(), String> {
    let mut wire = Wire::connect(server.address).await.map_err(|e| e.to_string())?;
    let mut envelope = envelope.clone();
    let (mut micros, mut lost) = (Vec::new(), 0);
    let calls = bench.outside.calls();
    for signed in commands {
        let began = bench.outside.now();
        send(&mut wire, &mut envelope, signed).await?;
        match tokio::time::timeout(PATIENCE, bench.replies.recv()).await {
            Ok(Some((pr, at))) if pr == signed.pr => micros.push(at.saturating_sub(began)),
            _ => lost += 1,
        }
    }
    let calls = (bench.outside.calls() - calls) as f64 / commands.len() as f64;
    let times = Times::of(micros.split_off(usize::try_from(WARM_UP).unwrap_or(0).min(micros.len())));
    bench.report.must(lost == 0, || {
        format!("answer: {lost} commands were not answered one by one")
    });
    let p50 = times.percentile(50.0);
    bench.report.add(
        Row::new("answer", "p50 idle", ms(p50))
            .aim("≤ 5 ms", p50 <= 5.0)
            .beside(format!(
                "{}; {} commands one by one, {calls:.1} calls each",
                times.short(),
                times.len()
            ))
            .number("p50_ms", p50)
            .number("answered", times.len() as f64),
    );
    Ok(())
}

async fn send(wire: &mut Wire, envelope: &mut Envelope, signed: &Signed) -> Result<(), String> {
    match wire.exchange(envelope.fill(signed)).await {
        Ok(202) => Ok(()),
        Ok(status) => Err(format!("a command was answered with {status}")),
        Err(error) => Err(format!("the load broke off: {error}")),
    }
}

/// Sustained: commands come when they come, whether or not earlier ones have been answered.
async fn all_the_time(
    bench: &mut Bench,
    server: &Server,
    envelope: &Envelope,
    commands: &[Signed],
) -> Result<(), String> {
    let began: Arc<Vec<AtomicU64>> = Arc::new(commands.iter().map(|_| AtomicU64::new(0)).collect());
    let (before, calls) = (server.usage(), bench.outside.calls());
    let first = bench.outside.now() + 10_000;
    let mut tasks = Vec::new();
    for lane in 0..bench.sizes.connections {
        let wire = Wire::connect(server.address).await.map_err(|e| e.to_string())?;
        let mine: Vec<(usize, Signed)> = commands
            .iter()
            .cloned()
            .enumerate()
            .skip(lane)
            .step_by(bench.sizes.connections)
            .collect();
        let pace = Pace {
            first,
            per_s: bench.sizes.commands_per_s,
            outside: bench.outside.clone(),
        };
        tasks.push(tokio::spawn(lane_of(wire, envelope.clone(), mine, pace, began.clone())));
    }
    let sent = try_join_all(tasks).await.map_err(|e| e.to_string())?;
    sent.into_iter().collect::<Result<Vec<()>, String>>()?;
    let replies = gather(bench, commands.len()).await;
    let cpu = server.usage().cpu.saturating_sub(before.cpu);
    let calls = (bench.outside.calls() - calls) as f64 / commands.len() as f64;
    let mut micros = Vec::new();
    let (mut lost, mut twice) = (0, 0);
    for (signed, began) in commands.iter().zip(began.iter()) {
        match replies.get(&signed.pr).map(Vec::as_slice) {
            None | Some([]) => lost += 1,
            Some([first, more @ ..]) => {
                twice += more.len();
                micros.push(first.saturating_sub(began.load(Ordering::Relaxed)));
            }
        }
    }
    bench.report.must(lost == 0, || {
        format!("answer: {lost} of {} commands were not answered", commands.len())
    });
    bench
        .report
        .must(twice == 0, || format!("answer: {twice} replies were given twice"));
    let times = Times::of(micros);
    let p99 = times.percentile(99.0);
    let each = cpu.as_secs_f64() * 1000.0 / commands.len().max(1) as f64;
    bench.report.add(
        Row::new("answer", format!("p99 at {}/s", bench.sizes.commands_per_s), ms(p99))
            .aim("≤ 50 ms", p99 <= 50.0)
            .beside(format!(
                "{}; {} commands, {calls:.1} calls and {each:.1} ms of processor time each",
                times.short(),
                times.len()
            ))
            .number("p99_ms", p99)
            .number("answered", times.len() as f64),
    );
    Ok(())
}

/// When commands are due.
struct Pace {
    first: u64,
    per_s: u64,
    outside: Arc<Outside>,
}

async fn lane_of(
    mut wire: Wire,
    mut envelope: Envelope,
    commands: Vec<(usize, Signed)>,
    pace: Pace,
    began: Arc<Vec<AtomicU64>>,
) -> Result<(), String> {
    for (place, signed) in commands {
        let due = pace.first + place as u64 * 1_000_000 / pace.per_s;
        tokio::time::sleep(Duration::from_micros(due.saturating_sub(pace.outside.now()))).await;
        let now = pace.outside.now();
        // A sender that was held up by the answer before would flatter what it measures.
        let from = if now > due + SLACK_MICROS { due } else { now };
        began[place].store(from, Ordering::Relaxed);
        send(&mut wire, &mut envelope, &signed).await?;
    }
    Ok(())
}

/// The replies that arrived at each pull request; waits for as many as there were commands, and then for a moment
/// longer, for those that come twice.
async fn gather(bench: &mut Bench, count: usize) -> BTreeMap<u64, Vec<u64>> {
    let mut replies: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut patience = PATIENCE;
    while let Ok(Some((pr, at))) = tokio::time::timeout(patience, bench.replies.recv()).await {
        replies.entry(pr).or_default().push(at);
        if replies.len() == count {
            patience = Duration::from_millis(500);
        }
    }
    replies
}
