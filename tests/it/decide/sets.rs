//! Sets of jobs, every way things can interleave: starts, failures, lost answers, refusals, stop, retry and time, for
//! two and three jobs under each policy. All states that can be reached are visited, and each is held to what a set
//! promises: no job runs unwatched and unlisted, none twice, stop lists exactly what may still run, a retry takes up
//! what runs, and nothing waits for ever.

mod world;

use std::collections::BTreeSet;

use stepherd::domain::pipeline::OnFailure;

use self::world::{Left, Move, World};

/// Visits every state that can be reached; how many there are.
fn visit_all(policy: OnFailure, jobs: &[&str], left: Left) -> usize {
    let mut known = BTreeSet::new();
    let first = World::new(policy, jobs, left);
    let mut open = vec![(first, Vec::<Move>::new())];
    while let Some((world, way)) = open.pop() {
        if !known.insert(digest(&world.key())) {
            continue;
        }
        told(&way, &world, || world.holds());
        let mut rests = true;
        for a_move in world.moves() {
            let mut after = world.clone();
            told(&way, &world, || after.make(&a_move));
            rests &= matches!(a_move, Move::Stop | Move::Retry | Move::TimeIsUp) || after.key() == world.key();
            let mut way = way.clone();
            way.push(a_move);
            open.push((after, way));
        }
        if rests {
            told(&way, &world, || world.rests());
        }
    }
    known.len()
}

/// Tells the way to where something does not hold.
fn told(way: &[Move], world: &World, check: impl FnOnce()) {
    if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)) {
        for step in way {
            eprintln!("{step:?}");
        }
        eprintln!("=> {}", super::kit::state_text(&world.run));
        std::panic::resume_unwind(panic);
    }
}

fn digest(key: &str) -> u128 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, key).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

pub const POLICIES: [OnFailure; 3] = [OnFailure::Leave, OnFailure::Cancel, OnFailure::Drain];

const CALM: Left = Left {
    lost: 0,
    refused: 0,
    cancels_refused: 0,
    retries: 1,
    stops: 1,
    late: 0,
    stale_looks: 0,
    slow_calls: true,
    failing: 1,
};

/// What may go wrong beside the failure: a little of each with every test run, and more of it at once where
/// `SETS=all` says so, which takes a minute or two.
fn troubles() -> Vec<Left> {
    let (retried, stopped) = (Left { stops: 0, ..CALM }, Left { retries: 0, ..CALM });
    if is_long() {
        let mut all = vec![CALM, Left { retries: 2, ..retried }];
        for calm in [CALM, retried, stopped] {
            all.extend([
                Left { lost: 1, ..calm },
                Left { refused: 1, ..calm },
                Left {
                    cancels_refused: 1,
                    ..calm
                },
                Left { late: 1, ..calm },
                Left { stale_looks: 1, ..calm },
            ]);
        }
        return all;
    }
    let hasty = Left {
        slow_calls: false,
        ..stopped
    };
    vec![
        retried,
        stopped,
        Left { lost: 1, ..retried },
        Left { refused: 1, ..retried },
        Left {
            cancels_refused: 1,
            ..hasty
        },
    ]
}

fn is_long() -> bool {
    std::env::var("SETS").is_ok_and(|which| which == "all")
}

#[test]
fn two_jobs_every_way_things_can_go() {
    for policy in POLICIES {
        for wrong in troubles() {
            let states = visit_all(policy, &["a", "b"], wrong);
            assert!(states > 100, "{policy:?} {wrong:?}: {states} are not all");
        }
    }
}

#[test]
fn three_jobs_every_way_things_can_go() {
    let people: &[(u8, u8)] = if is_long() { &[(1, 0), (0, 1)] } else { &[(1, 0)] };
    for policy in POLICIES {
        for (retries, stops) in people {
            let left = Left {
                retries: *retries,
                stops: *stops,
                slow_calls: false,
                ..CALM
            };
            let states = visit_all(policy, &["a", "b", "c"], left);
            assert!(states > 100, "{policy:?}: {states} are not all");
        }
    }
}
