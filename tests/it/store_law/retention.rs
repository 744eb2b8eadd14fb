//! What is old goes, piece by piece; what is live, or waits, or is needed by what is live, stays as it is.

use jiff::{SignedDuration, Timestamp};
use stepherd::clock::Clock as _;
use stepherd::domain::ids::PrRef;
use stepherd::domain::run::OpenedPr;
use stepherd::domain::signal::MessageRef;
use stepherd::store::{
    Aged, Commit, Committed, DeliverySettled, EffectSettled, HeadSeen, Lease, Place, RunFilter, Sent, Store, rows,
};

use super::samples::{
    LEASE, act, at, attempt, claim_effect, delivery, done, entry, finished, id, join, load, lock, name, next, reply,
    report, start, thread,
};
use crate::world::TestClock;

/// Long after the beginning of `at`.
fn now() -> Timestamp {
    at(1000 * 24 * 3600)
}

fn ago(days: u64) -> Timestamp {
    now() - SignedDuration::from_hours(24 * i64::try_from(days).unwrap())
}

/// Deletes all that is older, in as many pieces as it takes.
async fn retire(store: &Store, what: Aged, before: Timestamp) -> u64 {
    let (mut gone, mut after) = (0, 0);
    loop {
        let piece = store.retire(what, before, after).await.unwrap();
        gone += piece.gone;
        match piece.rest {
            Some(rest) => after = rest,
            None => return gone,
        }
    }
}

fn pr(number: u64) -> PrRef {
    PrRef {
        repo: name("acme/deploy"),
        number,
    }
}

/// A random run of the property.
struct Lot {
    number: u64,
    days: u64,
    live: bool,
    waits: bool,
    locked: bool,
}

impl Lot {
    fn drawn(number: u64, dice: &TestClock) -> Self {
        let roll = |sides: u64| dice.random() % sides;
        Self {
            number,
            days: roll(800),
            live: roll(3) == 0,
            waits: roll(5) == 0,
            locked: roll(4) == 0,
        }
    }

    fn stays(&self) -> bool {
        self.live || self.waits || self.days < 365
    }

    async fn store(&self, store: &Store) {
        let then = ago(self.days);
        let mut commit = start(self.number);
        commit.key = Some(format!("key:{}", self.number));
        commit.history = vec![entry(1), entry(2)];
        commit.effects = vec![report(self.number), act()];
        let run = &mut commit.run.as_mut().unwrap().run;
        if !self.live {
            run.state = finished();
        }
        run.prs.insert(
            name("Config"),
            OpenedPr {
                pr: pr(self.number),
                branch: format!("branch-{}", self.number),
                head: name(&"a".repeat(40)),
                url: "https://example.org".to_owned(),
                thread: thread(self.number),
                merged: None,
            },
        );
        assert_eq!(store.commit(&commit, then).await.unwrap(), Committed::Done);
        // Both are carried out at once, except that something may wait for ever.
        let claimed = store.claim_effects(then, Lease(LEASE.0), 9).await.unwrap();
        let settled = if self.waits { &claimed[..1] } else { &claimed[..] };
        for effect in settled {
            let parked = EffectSettled::Parked { reason: String::new() };
            let how = if self.number.is_multiple_of(7) {
                parked
            } else {
                EffectSettled::Done
            };
            assert!(store.settle_effect(&effect.claim, how, then).await.unwrap());
        }
        for left in claimed.iter().skip(settled.len()) {
            let wait = EffectSettled::NotBefore { at: at(1 << 32) };
            assert!(store.settle_effect(&left.claim, wait, then).await.unwrap());
        }
        let sent = Sent {
            message: MessageRef {
                thread: thread(self.number),
                id: "1".to_owned(),
            },
            digest: "d".to_owned(),
            at: then,
            opened: Some(thread(10_000 + self.number)),
        };
        let run = id(self.number);
        let place = thread(self.number);
        store.record_sent(Some(&run), &place, "card", &sent).await.unwrap();
        let seen = HeadSeen {
            head: name(&"a".repeat(40)),
            at: then,
        };
        store.record_head(&pr(self.number), &seen).await.unwrap();
        if self.live && self.locked {
            assert_eq!(join(store, self.number, &["a"]).await, Committed::Done);
        }
    }

    /// All that the verbs show of it.
    async fn shown(&self, store: &Store) -> String {
        let run = id(self.number);
        let mut shown = String::new();
        for place in [thread(self.number), thread(10_000 + self.number)] {
            let filter = RunFilter {
                place: Some(Place::Thread(place)),
                ..RunFilter::default()
            };
            shown += &format!("{:?}\n", store.runs(&filter).await.unwrap());
        }
        let on_pr = RunFilter {
            place: Some(Place::Pr(pr(self.number))),
            ..RunFilter::default()
        };
        shown += &format!("{:?}\n", store.runs(&on_pr).await.unwrap());
        if let Some(run) = store.run(&run).await.unwrap() {
            shown += &rows::encode(&run).unwrap();
        }
        shown += &format!("{:?}\n", store.history(&run).await.unwrap());
        shown += &format!("{:?}\n", store.effects_of(&run).await.unwrap());
        shown
            + &format!(
                "{:?}",
                store.sent(Some(&run), &thread(self.number), "card").await.unwrap()
            )
    }
}

pub(super) async fn finished_runs_go_with_all_that_is_theirs_and_others_stay_as_they_are(store: Store) {
    let dice = TestClock::new();
    let lots: Vec<Lot> = (1..=60).map(|number| Lot::drawn(number, &dice)).collect();
    for lot in &lots {
        lot.store(&store).await;
    }
    let mut before = Vec::new();
    for lot in &lots {
        before.push(lot.shown(&store).await);
    }
    let queue = store.lock_queues(&[lock("a")]).await.unwrap();
    let counts = store.counts().await.unwrap();

    let gone = retire(&store, Aged::Runs, ago(365)).await;
    let expected = lots.iter().filter(|lot| !lot.stays()).count();
    assert!((5..50).contains(&expected), "{expected} of the lots are old");
    assert_eq!(gone, expected as u64);
    for (lot, before) in lots.iter().zip(&before) {
        let after = lot.shown(&store).await;
        if lot.stays() {
            assert_eq!(after, *before, "run {}", lot.number);
        } else {
            assert_eq!(after, "[]\n[]\n[]\n[]\n[]\nNone", "run {}", lot.number);
        }
    }
    assert_eq!(store.lock_queues(&[lock("a")]).await.unwrap(), queue);
    let after = store.counts().await.unwrap();
    assert_eq!(
        (after.runs_active, after.effects_pending),
        (counts.runs_active, counts.effects_pending)
    );
    assert_eq!(
        retire(&store, Aged::Runs, ago(365)).await,
        0,
        "a second round finds nothing"
    );

    // Keys and heads by their own ages; heads of what is live stay.
    assert!(retire(&store, Aged::Accepted, ago(400)).await > 0);
    assert!(retire(&store, Aged::Heads, ago(400)).await > 0);
    for lot in &lots {
        let again = Commit {
            key: Some(format!("key:{}", lot.number)),
            ..Commit::default()
        };
        let known = store.commit(&again, now()).await.unwrap() == Committed::AlreadyDone;
        assert_eq!(known, lot.days < 400, "key {} of {} days", lot.number, lot.days);
        let head = store.head_before(&pr(lot.number), now()).await.unwrap();
        assert_eq!(head.is_some(), lot.live || lot.days < 400, "head {}", lot.number);
    }
    // What is live goes on.
    let live = lots.iter().find(|lot| lot.live && lot.days > 400).expect("one is old");
    let mut commit = next(load(&store, live.number).await);
    commit.history = vec![entry(3)];
    done(&store, &commit).await;
}

pub(super) async fn a_run_without_end_goes_in_pieces(store: Store) {
    let mut commit = start(1);
    commit.history = (1..=1100).map(entry).collect();
    commit.run.as_mut().unwrap().run.state = finished();
    done(&store, &commit).await;
    let mut pieces = Vec::new();
    loop {
        let piece = store.retire(Aged::Runs, now(), 0).await.unwrap();
        pieces.push((piece.gone, store.history(&id(1)).await.unwrap().len()));
        if piece.rest.is_none() {
            break;
        }
    }
    assert_eq!(pieces, [(0, 600), (0, 100), (1, 0)]);
    // The same id may be drawn again.
    let mut again = start(1);
    again.run.as_mut().unwrap().run.state = stepherd::domain::run::RunState::Active(attempt());
    done(&store, &again).await;
}

/// Records a delivery that is settled as it says, or is not.
async fn received(store: &Store, number: u64, days: u64, settled: Option<DeliverySettled>) {
    let then = ago(days);
    let recorded = delivery("github", &number.to_string(), then);
    store.record_delivery(&recorded).await.unwrap();
    let claimed = store.claim_deliveries(then, LEASE, 1).await.unwrap().remove(0);
    assert_eq!(claimed.delivery.delivery_id, number.to_string());
    let settled = settled.unwrap_or(DeliverySettled::RetryAt {
        at: at(1 << 32),
        reason: String::new(),
        since: then,
    });
    assert!(store.settle_delivery(claimed.claim, settled, then).await.unwrap());
}

pub(super) async fn deliveries_that_were_dealt_with_go_with_their_bodies(store: Store) {
    let dice = TestClock::new();
    let mut expected = Vec::new();
    // They come in the order of time, more or less.
    let mut days: Vec<u64> = (0..60).map(|_| dice.random() % 60).collect();
    days.sort_by_key(|days| std::cmp::Reverse(days + dice.random() % 4));
    for (number, days) in (1..).zip(days) {
        let settled = match dice.random() % 3 {
            0 => None,
            1 => Some(DeliverySettled::Done { note: String::new() }),
            _ => Some(DeliverySettled::Parked { reason: String::new() }),
        };
        expected.push(settled.is_none() || days < 30);
        received(&store, number, days, settled).await;
    }
    let counts = store.counts().await.unwrap();
    let gone = retire(&store, Aged::Deliveries, ago(30)).await;
    assert_eq!(gone as usize, expected.iter().filter(|stays| !**stays).count());
    assert!(gone > 10, "{gone}");
    for (seq, stays) in (1..).zip(expected) {
        let found = store.delivery_by_seq(seq).await.unwrap();
        assert_eq!(found.is_some(), stays, "{seq}");
        if let Some((_, delivery)) = found {
            assert_eq!(delivery.body[..], [0, 159, 146, 150, b'{'], "with its body");
        }
    }
    let after = store.counts().await.unwrap();
    assert_eq!(after.deliveries_pending, counts.deliveries_pending);
    let listed = store.deliveries(None, 100).await.unwrap();
    assert_eq!(listed.len() as u64, 60 - gone, "lists are right");
    assert!(listed.is_sorted_by(|a, b| a.seq > b.seq));
    // What is sent again after all that time is new; that it has taken effect is told by its key.
    assert_eq!(retire(&store, Aged::Deliveries, ago(30)).await, 0);
}

pub(super) async fn what_was_replayed_counts_from_then(store: Store) {
    received(&store, 1, 50, Some(DeliverySettled::Done { note: String::new() })).await;
    assert!(store.replay_delivery(1, ago(5)).await.unwrap());
    assert_eq!(retire(&store, Aged::Deliveries, ago(30)).await, 0, "it is pending");
    let claimed = store.claim_deliveries(ago(5), LEASE, 1).await.unwrap().remove(0);
    let note = String::new();
    store
        .settle_delivery(claimed.claim, DeliverySettled::Done { note }, ago(5))
        .await
        .unwrap();
    assert_eq!(
        retire(&store, Aged::Deliveries, ago(30)).await,
        0,
        "it was dealt with lately"
    );
    assert_eq!(retire(&store, Aged::Deliveries, ago(4)).await, 1);
}

pub(super) async fn pieces_are_small_and_what_is_kept_hides_nothing(store: Store) {
    // Held by somebody, for ever.
    for_each_at_once(&store, 1..=600).await;
    let forever = Lease(std::time::Duration::from_secs(1 << 36));
    assert_eq!(store.claim_deliveries(at(0), forever, 1000).await.unwrap().len(), 600);
    for number in 601..=603 {
        received(&store, number, 900, Some(DeliverySettled::Done { note: String::new() })).await;
    }
    let first = store.retire(Aged::Deliveries, now(), 0).await.unwrap();
    assert_eq!((first.gone, first.rest), (0, Some(500)));
    let second = store.retire(Aged::Deliveries, now(), 500).await.unwrap();
    assert_eq!((second.gone, second.rest), (3, None));
    assert_eq!(store.counts().await.unwrap().deliveries_pending, 600);
    // Large ones go one by one.
    for number in 701..=703 {
        let mut large = delivery("github", &number.to_string(), at(0));
        large.body = vec![0; 9 << 20].into();
        store.record_delivery(&large).await.unwrap();
        let claimed = store.claim_deliveries(at(0), LEASE, 1).await.unwrap().remove(0);
        let note = String::new();
        let settled = DeliverySettled::Done { note };
        store.settle_delivery(claimed.claim, settled, at(0)).await.unwrap();
    }
    let mut after = 603;
    for _ in 0..2 {
        let piece = store.retire(Aged::Deliveries, now(), after).await.unwrap();
        assert_eq!(piece.gone, 1);
        after = piece.rest.expect("there is more");
    }
    let last = store.retire(Aged::Deliveries, now(), after).await.unwrap();
    assert_eq!((last.gone, last.rest), (1, None));
}

async fn for_each_at_once(store: &Store, numbers: std::ops::RangeInclusive<u64>) {
    let all = numbers.map(|number| async move {
        let one = delivery("github", &number.to_string(), at(0));
        store.record_delivery(&one).await.unwrap();
    });
    futures_util::future::join_all(all).await;
}

pub(super) async fn answers_outside_any_run_go_when_they_were_given(store: Store) {
    for (number, days) in [(1, 50), (2, 40), (3, 10)] {
        let commit = Commit {
            effects: vec![reply(&number.to_string())],
            ..Commit::default()
        };
        store.commit(&commit, ago(days)).await.unwrap();
        if number != 2 {
            let claimed = claim_effect(&store, ago(days)).await.unwrap();
            let then = ago(days);
            store
                .settle_effect(&claimed.claim, EffectSettled::Done, then)
                .await
                .unwrap();
        } else {
            let claimed = claim_effect(&store, ago(days)).await.unwrap();
            let wait = EffectSettled::NotBefore { at: at(1 << 32) };
            store.settle_effect(&claimed.claim, wait, ago(days)).await.unwrap();
        }
    }
    assert_eq!(retire(&store, Aged::Replies, ago(30)).await, 1);
    let left: Vec<String> = store
        .effects(None, 9)
        .await
        .unwrap()
        .into_iter()
        .map(|e| e.key)
        .collect();
    assert_eq!(left, ["reply:3", "reply:2"]);
}

pub(super) async fn after_a_restore_every_effect_may_have_been_carried_out(store: Store) {
    store.doubt_effects(at(100)).await.unwrap();
    for (number, now, maybe_done) in [(1, 0, true), (2, 99, true), (3, 100, false)] {
        let commit = Commit {
            effects: vec![reply(&number.to_string())],
            ..Commit::default()
        };
        store.commit(&commit, at(now)).await.unwrap();
        let claimed = claim_effect(&store, at(now)).await.unwrap();
        assert_eq!(claimed.maybe_done, maybe_done, "{now}");
        let settled = EffectSettled::Done;
        store.settle_effect(&claimed.claim, settled, at(now)).await.unwrap();
    }
    assert!(store.claim_cursor("retention", at(0), LEASE).await.unwrap().is_some());
}
