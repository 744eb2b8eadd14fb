//! What goes wrong.

use std::time::Duration;

use fastrand::Rng;
use stepherd::sandbox::stage::{Fault, FaultKind};
use stepherd::store::Point;

use super::Log;
use super::hands::Hung;
use super::processes::Processes;
use super::tap::Harm;

/// By how much a clock is set wrong at the most: a quarter of an hour.
const STEP_MS_MAX: i64 = 900_000;

/// Something will go wrong in one of the next turns of somebody.
pub fn arm(rng: &mut Rng, all: &Processes, log: &Log) {
    let at = rng.usize(0..all.all.len());
    let harm = match rng.u32(0..20) {
        0 => Harm::StoreFails(Point::BeforeCommit),
        1 | 2 => Harm::StoreFails(Point::AfterCommit),
        3 => Harm::DiesAtCommit(Point::BeforeCommit),
        4 => Harm::DiesAtCommit(Point::AfterCommit),
        5 => Harm::DiesBeforeCall,
        6 => Harm::DiesAfterCall,
        7 | 8 => Harm::AnswerLost,
        9 => Harm::Hangs,
        10 | 11 => Harm::Freezes,
        12 => Harm::FreezesAtCommit,
        13 | 14 => Harm::NeverAnswered,
        _ => Harm::Vendor(of_vendor(rng)),
    };
    let after = rng.u32(0..4);
    log.say(format!("armed: number {at}, after {after}: {harm:?}"));
    all.all[at].tap.arm(after, harm);
}

/// How a vendor misbehaves.
fn of_vendor(rng: &mut Rng) -> Fault {
    let method = ["", "", "GET", "POST", "PUT", "PATCH"][rng.usize(0..6)];
    let answer = |status: u16, body: &str| FaultKind::Answer {
        status,
        headers: Vec::new(),
        body: body.to_owned(),
    };
    let kind = match rng.u32(0..12) {
        0 => return Fault::too_many(method, "", 1, rng.u64(1..40)),
        1 => return Fault::secondary_limit(method, "", 1, Some(rng.u64(1..70))),
        2 => return Fault::secondary_limit(method, "", 1, None),
        3 => answer(500, ""),
        4 => answer(502, "<html>Bad Gateway</html>"),
        5 => answer(503, "{\"message\":\"try"),
        6 => FaultKind::Cut,
        7 | 8 => FaultKind::EffectThenCut,
        9 => FaultKind::EffectThenEmpty,
        10 => FaultKind::EffectThenTruncated,
        _ => FaultKind::EffectThenStatus(504),
    };
    Fault::new(method, "", 1, kind)
}

/// Time passes, or clocks go wrong.
pub async fn of_time(rng: &mut Rng, all: &mut Processes, log: &Log) {
    let by = match rng.u32(0..22) {
        0 => Duration::from_secs(rng.u64(600..4000)),
        1..6 => Duration::from_secs(rng.u64(10..40)),
        6..9 => {
            let at = rng.usize(0..all.all.len());
            let off = rng.i64(-4000..4000);
            log.say(format!("the clock of number {at} is off by {off} ms"));
            all.all[at].set_off(off);
            return;
        }
        9 | 10 => {
            let at = rng.usize(0..all.all.len());
            let step = rng.i64(-STEP_MS_MAX..STEP_MS_MAX);
            all.step_clock(at, step);
            return;
        }
        _ => Duration::from_millis(rng.u64(200..6000)),
    };
    log.say(format!("{by:?} pass"));
    all.advance(by).await;
}

/// What hangs goes on or dies; somebody is restarted; the doors cannot store.
pub async fn of_life(rng: &mut Rng, all: &mut Processes) {
    let at = rng.usize(0..all.all.len());
    match rng.u32(0..10) {
        0 => all.replace(at),
        2 => {
            let vendor = Hung::VENDORS[rng.usize(0..Hung::VENDORS.len())];
            all.vendor_hangs(vendor, Duration::from_secs(rng.u64(10..200)));
        }
        1 => {
            let point = if rng.bool() {
                Point::BeforeCommit
            } else {
                Point::AfterCommit
            };
            all.doors.arm(rng.u32(0..3), Harm::StoreFails(point));
        }
        _ => {
            if all.all.iter().any(|process| process.tap.is_frozen()) && rng.u32(0..4) > 0 {
                // For longer than its leases last, so that others do meanwhile what it has in its hands.
                all.advance(Duration::from_secs(rng.u64(11..120))).await;
                for _ in 0..rng.u32(0..8) {
                    all.turn(rng).await;
                }
            }
            let hanging = (0..all.all.len()).find(|at| all.all[*at].hangs());
            if let Some(at) = hanging {
                all.go_on(at).await;
            }
        }
    }
}
