//! A database that an older stepherd filled is opened by this one: everything is there, and work goes on.

use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use stepherd::domain::effect::Effect;
use stepherd::domain::ids::{PrRef, RunId};
use stepherd::domain::run::{History, Run, RunState};
use stepherd::domain::signal::Proof;
use stepherd::store::{Committed, DeliverySettled, EffectSettled, Place, Recorded, RunFilter, Shards, Store, rows};
use tempfile::TempDir;

use super::samples::{LEASE, at, delivery, name, next, queue, url};
use crate::postgres::Database;

const HEAD: &str = "0123456789abcdef01230123456789abcdef0123";

/// The database as the older stepherd had it.
enum Old {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// A folder with only the first migration, as the older stepherd had it built in.
async fn first_only(engine: &str) -> Migrator {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("src/store/migrations/{engine}/0001_first.sql");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::copy(from, folder.path().join("0001_first.sql")).unwrap();
    Migrator::new(folder.path()).await.unwrap()
}

impl Old {
    async fn sqlite(dir: &TempDir) -> Self {
        let options = SqliteConnectOptions::new().filename(dir.path().join("stepherd.db"));
        let options = options.create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
        Self::Sqlite(options.connect().await.unwrap())
    }

    async fn postgres(database: &Database) -> Self {
        Self::Postgres(database.by_hand().await)
    }

    async fn migrate(&mut self) -> Result<(), MigrateError> {
        match self {
            Self::Sqlite(conn) => first_only("sqlite").await.run(conn).await,
            Self::Postgres(conn) => first_only("postgres").await.run(conn).await,
        }
    }

    async fn run(&mut self, text: String) {
        let text = sqlx::raw_sql(AssertSqlSafe(text));
        match self {
            Self::Sqlite(conn) => drop(text.execute(conn).await.unwrap()),
            Self::Postgres(conn) => drop(text.execute(conn).await.unwrap()),
        }
    }

    fn bytes(&self, bytes: &[u8]) -> String {
        match self {
            Self::Sqlite(_) => format!("x'{}'", hex::encode(bytes)),
            Self::Postgres(_) => format!("'\\x{}'::bytea", hex::encode(bytes)),
        }
    }

    async fn close(self) {
        match self {
            Self::Sqlite(conn) => conn.close().await.unwrap(),
            Self::Postgres(conn) => conn.close().await.unwrap(),
        }
    }
}

/// A text for a statement.
fn text(of: &str) -> String {
    format!("'{}'", of.replace('\'', "''"))
}

fn golden(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/store_law/golden")
        .join(file);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The stored forms of runs, each under an id of its own: BAAAAAAA, CAAAAAAA …
fn runs() -> Vec<String> {
    let mut forms = golden("runs.v1.json");
    for (letter, form) in (b'B'..).zip(&mut forms) {
        form["run"]["id"] = format!("{}AAAAAAA", char::from(letter)).into();
    }
    forms.iter().map(Value::to_string).collect()
}

fn effects() -> Vec<(String, Effect)> {
    // Of several replies with one key the first.
    let mut seen = std::collections::BTreeSet::new();
    let forms = golden("effects.v1.json").into_iter().map(|form| form.to_string());
    forms
        .map(|form| (form.clone(), rows::decode::<Effect>("an effect", &form).unwrap()))
        .filter(|(_, effect)| seen.insert(effect.key(Some(&holder()))))
        .collect()
}

/// The run in flight: it has a pull request, a pinned head and jobs that are watched.
fn holder() -> RunId {
    name("BAAAAAAA")
}

const BODY: &[u8] = b"{\"comment\":{\"body\":\"/dcr retry\"}}\x00\xff";

async fn fill(old: &mut Old) {
    let ms = |at: Timestamp| at.as_millisecond();
    for (change, form) in (1..).zip(runs()) {
        let run: Run = rows::decode("a run", &form).unwrap();
        let state = match run.state {
            RunState::Queued { .. } => "queued",
            RunState::Active(_) => "active",
            RunState::Stopped { .. } => "stopped",
            RunState::Finished { .. } => "finished",
        };
        let ticket = run
            .subject
            .ticket
            .as_ref()
            .map_or("NULL".to_owned(), |t| text(t.as_str()));
        old.run(format!(
            "INSERT INTO runs (id, version, change, pipeline, ticket, state, live, asked_at, updated_at, body)
             VALUES ({}, {}, {change}, {}, {ticket}, '{state}', {}, {}, {}, {})",
            text(run.id.as_str()),
            run.version,
            text(run.plan.name.as_str()),
            i32::from(state != "finished"),
            ms(run.asked_at),
            ms(at(change)),
            text(&form)
        ))
        .await;
        for thread in &run.audience {
            let thread = text(&thread.to_string());
            let run = text(run.id.as_str());
            old.run(format!(
                "INSERT INTO run_threads (thread, run_id) VALUES ({thread}, {run})"
            ))
            .await;
        }
    }
    old.run("UPDATE counters SET value = 9 WHERE name = 'change'".to_owned())
        .await;
    for form in golden("history.v1.json") {
        let entry: History = rows::decode("history", &form.to_string()).unwrap();
        let (seq, at, body) = (entry.seq, ms(entry.at), text(&form.to_string()));
        old.run(format!(
            "INSERT INTO history (run_id, seq, at, body) VALUES ('BAAAAAAA', {seq}, {at}, {body})"
        ))
        .await;
    }
    // The first is due, the second is in the hands of a worker, the third failed once, the fourth is parked.
    for (place, (form, effect)) in effects().into_iter().enumerate() {
        let (state, epoch, lease, unclear) = match place {
            0 => ("pending", 0, "NULL".to_owned(), 0),
            1 => ("pending", 1, ms(at(60)).to_string(), 0),
            2 => ("pending", 2, "NULL".to_owned(), 1),
            3 => ("parked", 2, "NULL".to_owned(), 1),
            _ => ("done", 2, "NULL".to_owned(), 0),
        };
        old.run(format!(
            "INSERT INTO effects (key, run_id, lane, body, state, due, since, failures, reason, epoch, generation,
                lease_until, unclear) VALUES ({}, 'BAAAAAAA', {}, {}, '{state}', {now}, {now}, 0, '', {epoch}, 1,
                {lease}, {unclear})",
            text(&effect.key(Some(&holder()))),
            effect.lane(),
            text(&form),
            now = ms(at(0)),
        ))
        .await;
    }
    for (number, state) in [(1, "done"), (2, "pending"), (3, "parked"), (4, "pending")] {
        // The last is in the hands of a worker.
        let lease = if number == 4 {
            ms(at(60)).to_string()
        } else {
            "NULL".to_owned()
        };
        let body = old.bytes(BODY);
        old.run(format!(
            "INSERT INTO deliveries (platform, delivery_id, kind, target, headers, body, received_at, state, note, due,
                attempts, epoch, lease_until, settled_at)
             VALUES ('github', 'd-{number}', 'issue_comment.created', '/webhooks/github',
                '{{\"v\":1,\"headers\":[[\"x-github-event\",\"issue_comment\"]]}}', {body}, {now}, '{state}', 'a note',
                {now}, 1, 1, {lease}, {now})",
            now = ms(at(0))
        ))
        .await;
    }
    for statement in [
        "INSERT INTO accepted (key, at) VALUES ('k', 1800000000000)",
        "INSERT INTO locks (name, place, run_id) VALUES ('a', 1, 'BAAAAAAA'), ('a', 2, 'GAAAAAAA')",
        "INSERT INTO run_threads (thread, run_id) VALUES ('discord:777', 'BAAAAAAA')",
        "INSERT INTO messages (run, thread, purpose, message_thread, message_id, digest, at, opened)
         VALUES ('BAAAAAAA', 'discord:700', 'card', 'discord:700', '99', 'abc', 1800000000000, 'discord:777')",
    ] {
        old.run(statement.to_owned()).await;
    }
    for (platform, kind) in [
        ("jira", "automation"),
        ("jira", "comment_created (repaired)"),
        ("github", "automation"),
    ] {
        old.run(format!(
            "INSERT INTO deliveries (platform, delivery_id, kind, target, headers, body, received_at, state, note, due,
                attempts, epoch) VALUES ('{platform}', '{kind}', '{kind}', '/', '{{\"v\":1,\"headers\":[]}}', {body},
                0, 'done', '', 0, 1, 1)",
            body = old.bytes(BODY),
        ))
        .await;
    }
    old.run(format!(
        "INSERT INTO heads (pr, at, head) VALUES ('acme/deploy#42', 1800000000000, '{HEAD}')"
    ))
    .await;
}

fn on(place: Place) -> RunFilter {
    RunFilter {
        place: Some(place),
        ..RunFilter::default()
    }
}

fn pr() -> PrRef {
    PrRef {
        repo: name("acme/deploy"),
        number: 42,
    }
}

async fn everything_is_there(store: &Store) {
    for form in runs() {
        let run: Run = rows::decode("a run", &form).unwrap();
        assert_eq!(store.run(&run.id).await.unwrap().unwrap(), run);
    }
    assert_eq!(store.runs(&RunFilter::default()).await.unwrap().len(), 9);
    let history = store.history(&holder()).await.unwrap();
    assert_eq!(history.len(), golden("history.v1.json").len());
    for (entry, form) in history.iter().zip(golden("history.v1.json")) {
        assert_eq!(rows::encode(entry).unwrap(), form.to_string());
    }
    for place in [
        Place::Thread(name("github:acme/deploy#42")),
        Place::Thread(name("jira:OPS-1")),
        Place::Thread(name("discord:777")),
        Place::Pr(pr()),
    ] {
        let found = store.runs(&on(place.clone())).await.unwrap();
        assert!(found.iter().any(|run| run.id == holder()), "{place:?}");
    }
    let ticket = RunFilter {
        ticket: Some(name("OPS-1")),
        ..RunFilter::default()
    };
    assert!(!store.runs(&ticket).await.unwrap().is_empty());
    let at_head = store.runs_at_head(&name("acme/deploy"), &name(HEAD)).await.unwrap();
    assert_eq!(at_head, [holder()], "no run that has ended, and each once");
    assert_eq!(queue(store, "a").await, [holder(), name("GAAAAAAA")]);
    let sent = store.sent(Some(&holder()), &name("discord:700"), "card").await.unwrap();
    assert_eq!(sent.unwrap().opened, Some(name("discord:777")));
    let head = store.head_before(&pr(), at(1)).await.unwrap().unwrap();
    assert_eq!(head.head.as_str(), HEAD);
    let counts = store.counts().await.unwrap();
    assert_eq!((counts.runs_active, counts.runs_queued, counts.runs_stopped), (5, 1, 1));
    assert_eq!((counts.deliveries_pending, counts.deliveries_parked), (2, 1));
    assert_eq!((counts.effects_pending, counts.effects_parked), (3, 1));
    for seq in 1..=4 {
        let (view, delivery) = store.delivery_by_seq(seq).await.unwrap().unwrap();
        assert_eq!((view.body_bytes, delivery.body.as_ref()), (BODY.len() as u64, BODY));
        assert_eq!(delivery.proof, Proof::Token, "what is not known is not believed");
    }
    for (seq, proof) in [(5, Proof::Automation), (6, Proof::Repaired), (7, Proof::Token)] {
        let (_, delivery) = store.delivery_by_seq(seq).await.unwrap().unwrap();
        assert_eq!(delivery.proof, proof);
    }
}

/// Whoever holds a run's shard finds that it is due.
async fn every_live_run_is_somebodys(store: &Store) {
    store.hold_shards("one", at(20), LEASE).await.unwrap();
    store.hold_shards("two", at(20), LEASE).await.unwrap();
    let one = store.hold_shards("one", at(20), LEASE).await.unwrap();
    let two = store.hold_shards("two", at(20), LEASE).await.unwrap();
    assert_eq!((one.len(), two), (32, Shards::ALL.without(one)));
    let mut found = Vec::new();
    for shards in [one, two] {
        for wake in store.wakes(shards, None, 99, at(0)).await.unwrap() {
            assert!(
                shards.have(&wake.run),
                "{} is stored under the shard that is computed",
                wake.run
            );
            assert!(
                wake.at.is_some_and(|due| due <= at(20)),
                "{} is looked at now",
                wake.run
            );
            found.push(wake.run);
        }
    }
    found.sort();
    let live = (b'B'..=b'H').map(|letter| name(&format!("{}AAAAAAA", char::from(letter))));
    assert_eq!(found, live.collect::<Vec<RunId>>());
    for replica in ["one", "two"] {
        store.leave_shards(replica).await.unwrap();
    }
}

async fn work_goes_on(store: &Store) {
    // Effects: what somebody held is held until that lease ends, and may then have been done.
    let claimed = store.claim_effects(at(20), LEASE, 99).await.unwrap();
    let doubts: Vec<_> = claimed.iter().map(|claim| (claim.claim.id, claim.maybe_done)).collect();
    assert_eq!(doubts, [(1, false), (3, true)]);
    for claim in &claimed {
        let settled = store.settle_effect(&claim.claim, EffectSettled::Done, at(21)).await;
        assert!(settled.unwrap());
    }
    let taken_over = store.claim_effects(at(61), LEASE, 99).await.unwrap();
    assert_eq!(
        taken_over
            .iter()
            .map(|claim| (claim.claim.id, claim.maybe_done))
            .collect::<Vec<_>>(),
        [(2, true)]
    );
    assert!(store.release_effect(4, at(61)).await.unwrap());
    // Deliveries: with their bodies and headers.
    let claimed = store.claim_deliveries(at(20), LEASE, 99).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!((claimed[0].claim.seq, claimed[0].attempts), (2, 1));
    let held = &claimed[0].delivery;
    assert_eq!((held.delivery_id.as_str(), held.body.as_ref()), ("d-2", BODY));
    assert_eq!(
        held.headers,
        [("x-github-event".to_owned(), "issue_comment".to_owned())]
    );
    let note = "done".to_owned();
    let settled = store
        .settle_delivery(claimed[0].claim, DeliverySettled::Done { note }, at(21))
        .await;
    assert!(settled.unwrap());
    assert_eq!(store.claim_deliveries(at(61), LEASE, 99).await.unwrap()[0].claim.seq, 4);
    assert!(store.replay_delivery(3, at(61)).await.unwrap());
    let again = store.record_delivery(&delivery("github", "d-1", at(30))).await.unwrap();
    assert_eq!(again, Recorded::Again);
    let new = store.record_delivery(&delivery("github", "d-5", at(30))).await.unwrap();
    assert_eq!(new, Recorded::New);
    let (view, _) = store
        .delivery(&name("github"), "d-5")
        .await
        .unwrap()
        .expect("it is new");
    assert!(view.seq > 7, "numbers count on");
    // The run: its next version, once, with the numbers counting on.
    let run = store.run(&holder()).await.unwrap().unwrap();
    let mut commit = next(run);
    commit.key = Some("k".to_owned());
    let known = store.commit(&commit, at(30)).await.unwrap();
    assert_eq!(known, Committed::AlreadyDone, "what had taken effect has");
    commit.key = Some("new".to_owned());
    assert_eq!(store.commit(&commit, at(30)).await.unwrap(), Committed::Done);
    assert_eq!(store.commit(&commit, at(30)).await.unwrap(), Committed::AlreadyDone);
    let changed = store.runs_changed_since(9, Shards::ALL, 9, at(0)).await.unwrap();
    assert_eq!((changed.len(), changed[0].change), (1, 10));
    assert!(store.claim_cursor("repair", at(30), LEASE).await.unwrap().is_some());
}

/// The older one is started again by mistake: it refuses, because it cannot know what the newer one needs.
async fn the_older_one_refuses(old: &mut Old) {
    let refused = old.migrate().await;
    assert!(matches!(refused, Err(MigrateError::VersionMissing(2))), "{refused:?}");
}

#[tokio::test]
async fn a_database_of_the_first_schema_is_taken_over_on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let mut old = Old::sqlite(&dir).await;
    old.migrate().await.unwrap();
    fill(&mut old).await;
    old.close().await;
    let store = Store::open(&url(&dir)).await.unwrap();
    everything_is_there(&store).await;
    every_live_run_is_somebodys(&store).await;
    store.close().await;
    // Migrated once; a second start changes nothing.
    let store = Store::open(&url(&dir)).await.unwrap();
    everything_is_there(&store).await;
    work_goes_on(&store).await;
    store.close().await;
    the_older_one_refuses(&mut Old::sqlite(&dir).await).await;
}

#[tokio::test]
async fn a_database_of_the_first_schema_is_taken_over_on_postgres() {
    let database = Database::new().await;
    let mut old = Old::postgres(&database).await;
    old.migrate().await.unwrap();
    database.turn_clock_by_hand().await;
    fill(&mut old).await;
    old.close().await;
    let store = Store::open(&database.url).await.unwrap();
    everything_is_there(&store).await;
    every_live_run_is_somebodys(&store).await;
    store.close().await;
    let store = Store::open(&database.url).await.unwrap();
    everything_is_there(&store).await;
    work_goes_on(&store).await;
    store.close().await;
    the_older_one_refuses(&mut Old::postgres(&database).await).await;
    database.drop().await;
}

/// A migration that fails half-way leaves the database as the older stepherd had it.
#[tokio::test]
async fn an_upgrade_that_fails_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut old = Old::sqlite(&dir).await;
    old.migrate().await.unwrap();
    // What the next migration makes is in its way, at its end.
    old.run("CREATE TABLE cursors (odd INTEGER)".to_owned()).await;
    fill(&mut old).await;
    assert!(Store::open(&url(&dir)).await.is_err());
    let mut again = Old::sqlite(&dir).await;
    again.migrate().await.unwrap();
    again.run("SELECT body FROM deliveries".to_owned()).await;
    again.run("DROP TABLE cursors".to_owned()).await;
    drop((old, again));
    let store = Store::open(&url(&dir)).await.unwrap();
    everything_is_there(&store).await;
    store.close().await;
}
