//! Commits: all of it or nothing, once, and only on the version that was decided on.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use stepherd::domain::ids::RunId;
use stepherd::store::{Commit, Committed, EffectSettled, LockChange, Place, RunFilter, Shards, Store, StoreError};

use super::samples::{
    act, ask, at, claim_effect, done, entry, everything, finished, id, join, load, lock, name, next, queue, reply,
    report, run, start, thread,
};

/// A commit that does everything, on a run that is at version 1.
fn full(number: u64) -> Commit {
    let mut commit = next(run(number));
    commit.key = Some(format!("key {number}"));
    commit.history = vec![entry(1), entry(2)];
    commit.effects = vec![report(number), act()];
    commit.locks = LockChange::Join(vec![(lock("a"), Vec::new()), (lock("b"), Vec::new())]);
    commit
}

/// Tries a commit that must not happen, and checks that nothing can be seen of it.
async fn nothing_of(store: &Store, commit: &Commit, expected: Committed) {
    let before = everything(store).await;
    assert_eq!(store.commit(commit, at(50)).await.unwrap(), expected);
    assert_eq!(everything(store).await, before);
}

pub(super) async fn a_commit_stores_all_of_its_parts(store: Store) {
    done(&store, &start(1)).await;
    ask(&store, vec![reply("1")], at(0)).await;
    let claimed = claim_effect(&store, at(0)).await.unwrap();
    let mut commit = full(1);
    commit.settles = Some(claimed.claim);
    commit.run.as_mut().unwrap().run.audience.push(thread(77));
    done(&store, &commit).await;
    assert_eq!(load(&store, 1).await, commit.run.unwrap().run);
    assert_eq!(store.history(&id(1)).await.unwrap(), [entry(1), entry(2)]);
    let effects = store.effects(None, 9).await.unwrap();
    let states: Vec<&str> = effects.iter().map(|effect| effect.state.as_str()).collect();
    assert_eq!(states, ["pending", "pending", "done"]);
    assert_eq!(queue(&store, "a").await, [id(1)]);
    assert_eq!(queue(&store, "b").await, [id(1)]);
    assert!(store.run(&id(2)).await.unwrap().is_none());
    for place in [1, 77] {
        let filter = RunFilter {
            place: Some(Place::Thread(thread(place))),
            ..RunFilter::default()
        };
        assert_eq!(store.runs(&filter).await.unwrap().len(), 1);
    }
}

pub(super) async fn a_key_is_accepted_once_and_settles_the_effect_all_the_same(store: Store) {
    let mut first = start(1);
    first.key = Some("github:comment:1".to_owned());
    first.effects = vec![report(1)];
    done(&store, &first).await;
    let mut again = start(2);
    again.key.clone_from(&first.key);
    again.effects = vec![report(2)];
    nothing_of(&store, &again, Committed::AlreadyDone).await;
    again.settles = Some(claim_effect(&store, at(0)).await.unwrap().claim);
    assert_eq!(store.commit(&again, at(1)).await.unwrap(), Committed::AlreadyDone);
    assert_eq!(store.effects(Some("done"), 9).await.unwrap().len(), 1);
    assert_eq!(store.effects(None, 9).await.unwrap().len(), 1);
    assert!(store.run(&id(2)).await.unwrap().is_none());
    nothing_of(&store, &again, Committed::LeaseLost).await;
}

pub(super) async fn a_key_of_a_commit_that_failed_is_still_free(store: Store) {
    done(&store, &start(1)).await;
    let mut stale = start(1);
    stale.key = Some("k".to_owned());
    nothing_of(&store, &stale, Committed::Stale).await;
    let mut fresh = start(2);
    fresh.key = Some("k".to_owned());
    done(&store, &fresh).await;
}

pub(super) async fn a_stale_version_leaves_nothing_behind(store: Store) {
    nothing_of(&store, &full(1), Committed::Stale).await;
    done(&store, &start(1)).await;
    done(&store, &next(run(1))).await;
    nothing_of(&store, &full(1), Committed::Stale).await;
    let mut ahead = run(1);
    ahead.version = 7;
    nothing_of(&store, &next(ahead), Committed::Stale).await;
}

pub(super) async fn a_taken_run_id_leaves_nothing_behind(store: Store) {
    done(&store, &start(1)).await;
    let mut taken = start(1);
    taken.run.as_mut().unwrap().run.audience = vec![thread(5)];
    taken.effects = vec![reply("1")];
    nothing_of(&store, &taken, Committed::Stale).await;
}

pub(super) async fn a_queue_that_moved_leaves_nothing_behind(store: Store) {
    done(&store, &start(1)).await;
    done(&store, &start(2)).await;
    assert_eq!(join(&store, 2, &["b"]).await, Committed::Done);
    nothing_of(&store, &full(1), Committed::Stale).await;
    let mut gone = full(1);
    gone.locks = LockChange::Join(vec![(lock("a"), vec![id(9)])]);
    nothing_of(&store, &gone, Committed::Stale).await;
    let mut right = full(1);
    right.locks = LockChange::Join(vec![(lock("a"), Vec::new()), (lock("b"), vec![id(2)])]);
    done(&store, &right).await;
    assert_eq!(queue(&store, "b").await, [id(2), id(1)]);
}

pub(super) async fn a_lost_lease_leaves_nothing_behind(store: Store) {
    done(&store, &start(1)).await;
    ask(&store, vec![reply("1")], at(0)).await;
    let first = claim_effect(&store, at(0)).await.unwrap();
    let second = claim_effect(&store, at(60)).await.unwrap();
    let mut commit = full(1);
    commit.settles = Some(first.claim);
    nothing_of(&store, &commit, Committed::LeaseLost).await;
    let parked = EffectSettled::Parked { reason: String::new() };
    store.settle_effect(&second.claim, parked, at(61)).await.unwrap();
    commit.settles = Some(second.claim);
    nothing_of(&store, &commit, Committed::LeaseLost).await;
    commit.settles = None;
    done(&store, &commit).await;
}

pub(super) async fn a_commit_that_contradicts_itself_is_refused(store: Store) {
    let history = Commit {
        history: vec![entry(1)],
        ..Commit::default()
    };
    let locks = Commit {
        locks: LockChange::Leave,
        ..Commit::default()
    };
    let mut skips = next(run(1));
    skips.run.as_mut().unwrap().run.version = 3;
    let mut begins = start(1);
    begins.run.as_mut().unwrap().run.version = 2;
    for commit in [history, locks, skips, begins] {
        assert!(matches!(
            store.commit(&commit, at(0)).await,
            Err(StoreError::Unreadable { .. })
        ));
    }
    // A history number that is taken undoes the whole commit.
    done(&store, &start(1)).await;
    let mut first = next(run(1));
    first.history = vec![entry(1)];
    done(&store, &first).await;
    let before = everything(&store).await;
    let mut second = next(load(&store, 1).await);
    second.history = vec![entry(1)];
    assert!(store.commit(&second, at(0)).await.is_err());
    assert_eq!(everything(&store).await, before);
}

pub(super) async fn of_two_commits_on_one_version_one_wins(store: Store) {
    for number in 1..=10 {
        done(&store, &start(number)).await;
        let tries = [1, 2].map(|_| {
            let (store, mut commit) = (store.clone(), next(run(number)));
            commit.history = vec![entry(1)];
            tokio::spawn(async move { store.commit(&commit, at(1)).await.unwrap() })
        });
        let mut outcomes = Vec::new();
        for task in tries {
            outcomes.push(task.await.unwrap());
        }
        assert!(
            outcomes.contains(&Committed::Done) && outcomes.contains(&Committed::Stale),
            "{outcomes:?}"
        );
    }
}

pub(super) async fn writers_that_reload_and_decide_again_lose_nothing(store: Store) {
    done(&store, &start(1)).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                loop {
                    let mut run = load(&store, 1).await;
                    run.history_len += 1;
                    let seq = run.history_len;
                    let mut commit = next(run);
                    commit.history = vec![entry(seq)];
                    if store.commit(&commit, at(1)).await.unwrap() == Committed::Done {
                        return;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let run = load(&store, 1).await;
    assert_eq!((run.version, run.history_len), (9, 8));
    assert_eq!(store.history(&id(1)).await.unwrap().len(), 8);
}

/// Polls at most so often, letting others run in between, then drops the future.
async fn poll_only<F: Future>(future: F, times: usize) {
    let mut future = pin!(future);
    for _ in 0..times {
        let ready = poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await;
        if ready {
            return;
        }
        tokio::task::yield_now().await;
    }
}

pub(super) async fn a_commit_that_is_dropped_half_way_is_done_whole_or_not_at_all(store: Store) {
    for number in 1..=40 {
        let mut commit = start(number);
        commit.key = Some(format!("{number}"));
        commit.history = vec![entry(1)];
        commit.effects = vec![report(number)];
        poll_only(store.commit(&commit, at(0)), usize::try_from(number).unwrap() * 3).await;
        let landed = match store.commit(&commit, at(0)).await.unwrap() {
            Committed::AlreadyDone => "before it was dropped",
            Committed::Done => "at the second try",
            other => panic!("half of it is there: {other:?}"),
        };
        assert!(store.run(&id(number)).await.unwrap().is_some(), "{landed}");
        assert_eq!(store.history(&id(number)).await.unwrap().len(), 1, "{landed}");
        assert_eq!(store.effects_of(&id(number)).await.unwrap().len(), 1, "{landed}");
    }
}

pub(super) async fn every_write_of_a_run_gets_the_next_change_number(store: Store) {
    for number in 1..=3 {
        done(&store, &start(number)).await;
    }
    let changed = async |since, limit| -> Vec<(i64, RunId)> {
        let found = store
            .runs_changed_since(since, Shards::ALL, limit, at(0))
            .await
            .unwrap();
        found.into_iter().map(|found| (found.change, found.wake.run)).collect()
    };
    let all = changed(0, 9).await;
    assert_eq!(
        all.iter().map(|(_, run)| run.clone()).collect::<Vec<_>>(),
        [id(1), id(2), id(3)]
    );
    assert!(all.is_sorted_by(|a, b| a.0 < b.0));
    assert_eq!(changed(0, 2).await, all[..2], "page by page");
    let last = all[2].0;
    assert!(changed(last, 9).await.is_empty());
    let mut ends = run(1);
    ends.state = finished();
    done(&store, &next(ends)).await;
    let newer = changed(last, 9).await;
    assert_eq!(newer.len(), 1);
    assert_eq!(newer[0].1, id(1), "finished ones too, so that they can be forgotten");
}

pub(super) async fn runs_are_found_by_what_they_are_about(store: Store) {
    /// Thread, ticket, live only, pipeline, limit: the runs found, newest first.
    type Case = (u64, &'static str, bool, &'static str, u32, &'static [u64]);
    const CASES: [Case; 12] = [
        (0, "", false, "", 0, &[4, 3, 2, 1]),
        (0, "", false, "", 2, &[4, 3]),
        (0, "", true, "", 0, &[4, 2, 1]),
        (0, "OPS-1", false, "", 0, &[1]),
        (0, "OPS-2", false, "", 0, &[]),
        (0, "", false, "release", 0, &[2]),
        (0, "OPS-1", false, "release", 0, &[]),
        (1, "", false, "", 0, &[4, 1]),
        (1, "", false, "", 1, &[4]),
        (1, "OPS-1", true, "dcr", 0, &[1]),
        (3, "", false, "", 0, &[3]),
        (3, "", true, "", 0, &[]),
    ];
    for number in 1..=4 {
        let mut commit = start(number);
        let run = &mut commit.run.as_mut().unwrap().run;
        match number {
            1 => run.subject.ticket = Some(name("OPS-1")),
            2 => run.plan.name = name("release"),
            3 => run.state = finished(),
            _ => run.audience = vec![thread(4), thread(1)],
        }
        done(&store, &commit).await;
    }
    for (place, ticket, live_only, pipeline, limit, expected) in CASES {
        let filter = RunFilter {
            place: (place > 0).then(|| Place::Thread(thread(place))),
            ticket: ticket.parse().ok(),
            live_only,
            pipeline: Some(pipeline.to_owned()).filter(|text| !text.is_empty()),
            limit,
        };
        let found: Vec<RunId> = store
            .runs(&filter)
            .await
            .unwrap()
            .into_iter()
            .map(|run| run.id)
            .collect();
        assert_eq!(
            found,
            expected.iter().map(|number| id(*number)).collect::<Vec<_>>(),
            "{filter:?}"
        );
    }
}

pub(super) async fn live_runs_of_a_thread_are_all_found_however_many_there_are(store: Store) {
    for number in 1..=130 {
        let mut commit = start(number);
        let run = &mut commit.run.as_mut().unwrap().run;
        run.audience = vec![thread(1)];
        if number > 70 {
            run.state = finished();
        }
        done(&store, &commit).await;
    }
    let here = |live_only| RunFilter {
        place: Some(Place::Thread(thread(1))),
        live_only,
        ..RunFilter::default()
    };
    assert_eq!(store.runs(&here(true)).await.unwrap().len(), 70);
    assert_eq!(store.runs(&here(false)).await.unwrap().len(), 50);
}
