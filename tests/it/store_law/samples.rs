//! Small things the laws are tried on.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use stepherd::domain::doc::Doc;
use stepherd::domain::effect::{Act, Deed, Effect, MoveIntent, Reply};
use stepherd::domain::ids::{LockName, RunId, ThreadRef};
use stepherd::domain::pipeline::{Pipeline, StepKind, StepSpec, TellSpec};
use stepherd::domain::run::{Attempt, By, CheckTarget, Happened, History, Phase, Run, RunState, Subject, Verdict};
use stepherd::domain::signal::Proof;
use stepherd::domain::template::Template;
use stepherd::store::{
    ClaimedDelivery, ClaimedEffect, Commit, Committed, Lease, LockChange, NewDelivery, Place, RunFilter, RunWrite,
    Shards, Store, rows,
};
use tempfile::TempDir;

pub(crate) const LEASE: Lease = Lease(Duration::from_secs(60));

pub(crate) fn name<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

/// So many seconds after an arbitrary beginning.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

pub(crate) fn url(dir: &TempDir) -> String {
    format!("sqlite:{}", dir.path().join("stepherd.db").display())
}

pub(crate) fn delivery(platform: &str, id: &str, received_at: Timestamp) -> NewDelivery {
    NewDelivery {
        platform: name(platform),
        delivery_id: id.to_owned(),
        kind: "issue_comment.created".to_owned(),
        proof: Proof::BodySigned,
        target: "/webhooks/github?x=1".to_owned(),
        headers: vec![("x-github-event".to_owned(), "issue_comment".to_owned())],
        body: vec![0, 159, 146, 150, b'{'].into(),
        received_at,
        thread: None,
    }
}

pub(crate) fn id(number: u64) -> RunId {
    RunId::from_bits(number)
}

pub(crate) fn thread(number: u64) -> ThreadRef {
    name(&format!("github:acme/deploy#{number}"))
}

/// A run at version 1, in its only step.
pub(crate) fn run(number: u64) -> Run {
    Run {
        id: id(number),
        version: 1,
        plan: Pipeline {
            name: name("dcr"),
            title: "Data centre rollout".to_owned(),
            command: name("dcr"),
            params: Vec::new(),
            locks: Vec::new(),
            audience: Vec::new(),
            progress_of: None,
            steps: vec![StepSpec {
                name: name("Tell"),
                title: "Tell".to_owned(),
                timeout: Some(Duration::from_secs(60)),
                auto_retries: 0,
                leaves: None,
                kind: StepKind::Tell(TellSpec {
                    move_ticket: None,
                    note: Some(Template::new("hello")),
                }),
            }],
        },
        params: BTreeMap::new(),
        sources: BTreeMap::new(),
        subject: Subject {
            ticket: None,
            pinned: None,
        },
        asked_by: by(),
        asked_at: at(i64::try_from(number).unwrap()),
        said_at: None,
        resumed_by: None,
        questions: Vec::new(),
        audience: vec![thread(number)],
        passed: Vec::new(),
        prs: BTreeMap::new(),
        state: RunState::Active(attempt()),
        tried: BTreeMap::new(),
        changed_at: None,
        history_len: 0,
    }
}

pub(crate) fn by() -> By {
    By {
        account: None,
        person: None,
        name: "Ada".to_owned(),
    }
}

pub(crate) fn attempt() -> Attempt {
    Attempt {
        step: 0,
        number: 1,
        auto: 0,
        since: at(0),
        phase: Phase::Acting { waiting_for: None },
        waited: Duration::ZERO,
        waiting_since: None,
        moved: None,
        doubt: None,
        branch: 1,
        replaces: false,
        unclear: false,
    }
}

pub(crate) fn finished() -> RunState {
    RunState::Finished {
        verdict: Verdict::Completed,
        at: at(9),
        reached: None,
    }
}

pub(crate) fn entry(seq: u64) -> History {
    History {
        seq,
        at: at(0),
        what: Happened::Retried { by: by() },
    }
}

pub(crate) fn report(number: u64) -> Effect {
    Effect::Report { thread: thread(number) }
}

pub(crate) fn check() -> Effect {
    Effect::Check(CheckTarget {
        repo: name("acme/deploy"),
        head: name("0123456789012345678901234567890123456789"),
    })
}

pub(crate) fn reply(key: &str) -> Effect {
    Effect::Reply(Reply {
        key: key.to_owned(),
        thread: thread(1),
        handle: None,
        doc: Doc::default(),
        direct_only: false,
    })
}

pub(crate) fn act() -> Effect {
    Effect::Act(Act {
        step: name("Tell"),
        attempt: 1,
        what: Deed::MoveTicket(MoveIntent {
            ticket: name("OPS-1"),
            to: "Done".to_owned(),
        }),
    })
}

/// The commit that inserts a run.
pub(crate) fn start(number: u64) -> Commit {
    Commit {
        run: Some(RunWrite {
            run: run(number),
            expected: None,
            wake: None,
        }),
        ..Commit::default()
    }
}

/// The commit that replaces a run by its next version.
pub(crate) fn next(mut run: Run) -> Commit {
    let expected = run.version;
    run.version += 1;
    Commit {
        run: Some(RunWrite {
            run,
            expected: Some(expected),
            wake: None,
        }),
        ..Commit::default()
    }
}

pub(crate) async fn load(store: &Store, number: u64) -> Run {
    store.run(&id(number)).await.unwrap().expect("the run is there")
}

pub(crate) async fn done(store: &Store, commit: &Commit) {
    assert_eq!(store.commit(commit, at(0)).await.unwrap(), Committed::Done);
}

/// Asks for effects outside any run.
pub(crate) async fn ask(store: &Store, effects: Vec<Effect>, now: Timestamp) {
    let commit = Commit {
        effects,
        ..Commit::default()
    };
    assert_eq!(store.commit(&commit, now).await.unwrap(), Committed::Done);
}

pub(crate) fn lock(text: &str) -> LockName {
    name(text)
}

/// The run joins these queues as they are now.
pub(crate) async fn join(store: &Store, number: u64, names: &[&str]) -> Committed {
    let names: Vec<_> = names.iter().map(|text| lock(text)).collect();
    let queues = store.lock_queues(&names).await.unwrap();
    let mut commit = next(load(store, number).await);
    commit.locks = LockChange::Join(queues);
    store.commit(&commit, at(0)).await.unwrap()
}

pub(crate) async fn leave(store: &Store, number: u64) -> Committed {
    let mut commit = next(load(store, number).await);
    commit.locks = LockChange::Leave;
    store.commit(&commit, at(0)).await.unwrap()
}

pub(crate) async fn queue(store: &Store, text: &str) -> Vec<RunId> {
    store.lock_queues(&[lock(text)]).await.unwrap().remove(0).1
}

pub(crate) async fn claim_delivery(store: &Store, now: Timestamp) -> Option<ClaimedDelivery> {
    store.claim_deliveries(now, LEASE, 1).await.unwrap().pop()
}

pub(crate) async fn claim_effect(store: &Store, now: Timestamp) -> Option<ClaimedEffect> {
    store.claim_effects(now, LEASE, 1).await.unwrap().pop()
}

/// All that the verbs show, for comparing before and after.
pub(crate) async fn everything(store: &Store) -> String {
    let mut all = format!("{:?}\n", store.counts().await.unwrap());
    for changed in store.runs_changed_since(0, Shards::ALL, 1000, at(0)).await.unwrap() {
        let (change, run) = (changed.change, store.run(&changed.wake.run).await.unwrap().unwrap());
        all += &format!("{change} {}\n", rows::encode(&run).unwrap());
        for entry in store.history(&run.id).await.unwrap() {
            all += &format!("{}\n", rows::encode(&entry).unwrap());
        }
        let filter = RunFilter {
            place: run.audience.first().cloned().map(Place::Thread),
            ..RunFilter::default()
        };
        all += &format!("{}\n", store.runs(&filter).await.unwrap().len());
    }
    for effect in store.effects(None, 1000).await.unwrap() {
        all += &format!("{effect:?}\n");
    }
    for name in ["a", "b", "c"] {
        all += &format!("{name} {:?}\n", queue(store, name).await);
    }
    all
}
