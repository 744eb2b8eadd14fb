//! Lock queues: the order of joining, whatever happens at the same time.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use stepherd::domain::ids::RunId;
use stepherd::store::{Committed, LockChange, Shards, Store};

use super::samples::{at, done, id, join, leave, load, lock, next, queue, start};

pub(super) async fn locks_are_held_in_the_order_of_joining(store: Store) {
    for number in 1..=4 {
        done(&store, &start(number)).await;
    }
    for number in [3, 1, 2] {
        assert_eq!(join(&store, number, &["a"]).await, Committed::Done);
    }
    assert_eq!(queue(&store, "a").await, [id(3), id(1), id(2)]);
    assert_eq!(leave(&store, 1).await, Committed::Done);
    assert_eq!(join(&store, 4, &["a"]).await, Committed::Done);
    assert_eq!(queue(&store, "a").await, [id(3), id(2), id(4)]);
    assert_eq!(leave(&store, 3).await, Committed::Done);
    assert_eq!(join(&store, 3, &["a", "b"]).await, Committed::Done);
    assert_eq!(queue(&store, "a").await, [id(2), id(4), id(3)]);
    let both = store.lock_queues(&[lock("b"), lock("c"), lock("a")]).await.unwrap();
    let names: Vec<&str> = both.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["b", "c", "a"], "in the order asked, empty ones included");
    assert!(both[1].1.is_empty());
}

pub(super) async fn leaving_marks_the_runs_that_share_a_queue_as_changed(store: Store) {
    for number in 1..=4 {
        done(&store, &start(number)).await;
    }
    for (number, names) in [(1, vec!["a", "b"]), (2, vec!["a"]), (3, vec!["a", "b"]), (4, vec!["c"])] {
        assert_eq!(join(&store, number, &names).await, Committed::Done);
    }
    let before = store.last_change().await.unwrap();
    let versions = [load(&store, 2).await.version, load(&store, 3).await.version];
    assert_eq!(leave(&store, 1).await, Committed::Done);
    let changed = store.runs_changed_since(before, Shards::ALL, 9, at(0)).await.unwrap();
    let mut runs: Vec<RunId> = changed.iter().map(|changed| changed.wake.run.clone()).collect();
    runs.sort();
    let mut expected = [id(1), id(2), id(3)];
    expected.sort();
    assert_eq!(runs, expected, "each once, and not the run in another queue");
    assert!(
        changed.is_sorted_by(|a, b| a.change < b.change),
        "each with a number of its own"
    );
    assert_eq!([load(&store, 2).await.version, load(&store, 3).await.version], versions);
    assert_eq!(queue(&store, "b").await, [id(3)]);
}

pub(super) async fn runs_ahead_are_named_once_with_holders_first(store: Store) {
    for number in 1..=6 {
        done(&store, &start(number)).await;
    }
    join(&store, 1, &["a", "c"]).await;
    join(&store, 2, &["a"]).await;
    join(&store, 3, &["b"]).await;
    join(&store, 4, &["a", "b"]).await;
    join(&store, 5, &["c", "b", "a"]).await;
    join(&store, 6, &["d"]).await;
    let ahead = async |number| store.ahead_of(&id(number)).await.unwrap();
    assert!(ahead(1).await.is_empty());
    assert_eq!(ahead(2).await, [id(1)]);
    assert_eq!(ahead(4).await, [id(1), id(3), id(2)]);
    assert_eq!(ahead(5).await, [id(1), id(3), id(2), id(4)]);
    assert!(ahead(6).await.is_empty());
    assert!(ahead(99).await.is_empty());
    leave(&store, 1).await;
    assert_eq!(ahead(5).await, [id(2), id(3), id(4)]);
}

pub(super) async fn joining_a_queue_again_keeps_the_place(store: Store) {
    done(&store, &start(1)).await;
    done(&store, &start(2)).await;
    for number in [1, 2, 1] {
        assert_eq!(join(&store, number, &["a"]).await, Committed::Done);
    }
    assert_eq!(queue(&store, "a").await, [id(1), id(2)]);
}

#[derive(Debug, Clone)]
enum Step {
    Join(u64, Vec<usize>),
    /// Joins as if the queues were as they were at the beginning: empty.
    JoinBlind(u64, Vec<usize>),
    Leave(u64),
}

const NAMES: [&str; 3] = ["a", "b", "c"];
const RUNS: u64 = 5;

fn step() -> impl Strategy<Value = Step> {
    let names = proptest::sample::subsequence(vec![0, 1, 2], 0..=3);
    prop_oneof![
        3 => (1..=RUNS, names.clone()).prop_map(|(run, names)| Step::Join(run, names)),
        1 => (1..=RUNS, names).prop_map(|(run, names)| Step::JoinBlind(run, names)),
        2 => (1..=RUNS).prop_map(Step::Leave),
    ]
}

/// Plays the steps on the store and on three plain lists, which must never differ.
async fn play(steps: Vec<Step>) {
    let store = Store::open("sqlite::memory:").await.unwrap();
    for number in 1..=RUNS {
        done(&store, &start(number)).await;
    }
    let mut model: BTreeMap<&str, Vec<RunId>> = NAMES.iter().map(|name| (*name, Vec::new())).collect();
    for step in steps {
        match step {
            Step::Join(run, names) => {
                let names: Vec<&str> = names.into_iter().map(|i| NAMES[i]).collect();
                assert_eq!(join(&store, run, &names).await, Committed::Done);
                for name in names {
                    let queue = model.get_mut(name).unwrap();
                    if !queue.contains(&id(run)) {
                        queue.push(id(run));
                    }
                }
            }
            Step::JoinBlind(run, names) => {
                let fresh = names.iter().all(|i| model[NAMES[*i]].is_empty());
                let mut commit = next(load(&store, run).await);
                commit.locks = LockChange::Join(names.iter().map(|i| (lock(NAMES[*i]), Vec::new())).collect());
                let expected = if fresh { Committed::Done } else { Committed::Stale };
                assert_eq!(store.commit(&commit, at(0)).await.unwrap(), expected);
                if fresh {
                    for i in names {
                        model.get_mut(NAMES[i]).unwrap().push(id(run));
                    }
                }
            }
            Step::Leave(run) => {
                assert_eq!(leave(&store, run).await, Committed::Done);
                for queue in model.values_mut() {
                    queue.retain(|other| *other != id(run));
                }
            }
        }
        for (name, expected) in &model {
            assert_eq!(queue(&store, name).await, *expected, "queue {name}");
        }
        for number in 1..=RUNS {
            let before = |queue: &Vec<RunId>| queue.iter().position(|run| *run == id(number));
            let mut expected: Vec<RunId> = model
                .values()
                .flat_map(|queue| queue[..before(queue).unwrap_or(0)].to_vec())
                .collect();
            expected.sort();
            expected.dedup();
            let mut ahead = store.ahead_of(&id(number)).await.unwrap();
            ahead.sort();
            assert_eq!(ahead, expected, "ahead of {number}");
        }
    }
    store.close().await;
}

#[test]
fn queues_behave_like_plain_lists() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let config = Config {
        cases: 24,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(config, rng)
        .run(&proptest::collection::vec(step(), 1..14), |steps| {
            runtime.block_on(play(steps));
            Ok(())
        })
        .unwrap();
}
