//! The one write of the engine: all of a decision, or nothing.

use jiff::Timestamp;

use super::deliveries::voided_in;
use super::shards::shard_of;
use super::sql::{Text, Tx, sql};
use super::{Commit, Committed, EffectClaim, LockChange, MayBeVoided, RunWrite, Store, StoreError, rows};
use crate::domain::effect::{Act, Deed, Effect};
use crate::domain::ids::{LockName, RunId};
use crate::domain::run::{History, Run, RunState};

impl Store {
    /// Commits a decision: all of it or nothing, as `Committed` says.
    ///
    /// # Errors
    /// Besides those of the database, `Unreadable` for a commit that contradicts itself: history or locks without
    /// a run, or a run whose version does not follow the expected one.
    pub async fn commit(&self, commit: &Commit, now: Timestamp) -> Result<Committed, StoreError> {
        well_formed(commit)?;
        match self.commit_once(commit, now).await {
            // What it was in the way of may be what it rests on.
            Err(StoreError::Collided(why)) => {
                tracing::debug!(why, "a commit was undone and is to be decided again");
                Ok(Committed::Stale)
            }
            committed => committed,
        }
    }

    async fn commit_once(&self, commit: &Commit, now: Timestamp) -> Result<Committed, StoreError> {
        let _turn = match commit.locks {
            LockChange::Keep => None,
            _ => self.queue_for_turn().await?,
        };
        let mut tx = self.write("commit").await?;
        let committed = carry_out(&mut tx, commit, now).await?;
        match committed {
            // What `AlreadyDone` has written by now is only that the effect is settled.
            Committed::Done | Committed::AlreadyDone => {
                tx.commit().await?;
                self.stir();
            }
            Committed::Stale | Committed::LeaseLost | Committed::Voided => tx.rollback().await?,
        }
        Ok(committed)
    }
}

/// Queues first, then the rows of this decision, and last of all the one row that every commit needs.
async fn carry_out(tx: &mut Tx, commit: &Commit, now: Timestamp) -> Result<Committed, StoreError> {
    if commit.locks != LockChange::Keep {
        take_turn(tx).await?;
    }
    if let Some(start) = &commit.unless_voided
        && is_voided(tx, start).await?
    {
        return Ok(Committed::Voided);
    }
    if let Some(key) = &commit.key
        && !accept(tx, key, now).await?
    {
        return match commit.settles {
            Some(claim) if !settle_done(tx, claim, now).await? => Ok(Committed::LeaseLost),
            _ => Ok(Committed::AlreadyDone),
        };
    }
    for key in &commit.also {
        accept(tx, key, now).await?;
    }
    let run = commit.run.as_ref().map(|write| &write.run.id);
    if let Some(write) = &commit.run
        && !write_run(tx, write, now).await?
    {
        return Ok(Committed::Stale);
    }
    let mut changed: Vec<String> = run.map(ToString::to_string).into_iter().collect();
    if let Some(run) = run {
        for entry in &commit.history {
            append(tx, run, entry).await?;
        }
        match &commit.locks {
            LockChange::Keep => {}
            LockChange::Join(queues) => {
                if !join(tx, run, queues).await? {
                    return Ok(Committed::Stale);
                }
            }
            LockChange::Leave => changed.extend(leave(tx, run, now).await?),
        }
    }
    for effect in &commit.effects {
        ask_for(tx, run, effect, now).await?;
    }
    if let Some(claim) = commit.settles
        && !settle_done(tx, claim, now).await?
    {
        return Ok(Committed::LeaseLost);
    }
    number(tx, &changed).await?;
    Ok(Committed::Done)
}

/// Whether the start was stopped while it waited. The row stays locked, so that whoever stops it now is either seen here
/// or sees what comes of it.
async fn is_voided(tx: &mut Tx, start: &MayBeVoided) -> Result<bool, StoreError> {
    const LOCK: Text = Text::Two {
        sqlite: "SELECT voided FROM deliveries WHERE seq = $1",
        postgres: "SELECT voided FROM deliveries WHERE seq = $1 FOR UPDATE",
    };
    let found = sql(LOCK).bind(start.seq).optional::<(String,)>(tx).await?;
    Ok(found.is_some_and(|(voided,)| voided_in(&voided, start).is_some()))
}

fn well_formed(commit: &Commit) -> Result<(), StoreError> {
    let refuse = |why: &str| Err(rows::unreadable("the commit", why));
    match &commit.run {
        None if !commit.history.is_empty() => refuse("it has history without a run"),
        None if commit.locks != LockChange::Keep => refuse("it changes locks without a run"),
        Some(write) if write.run.version != write.expected.unwrap_or(0) + 1 => {
            refuse("the run's version does not follow the expected one")
        }
        _ => Ok(()),
    }
}

/// `false` if the key was there already.
async fn accept(tx: &mut Tx, key: &str, now: Timestamp) -> Result<bool, StoreError> {
    let inserted = sql("INSERT INTO accepted (key, at) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING")
        .bind(key)
        .bind(rows::millis(now))
        .execute(tx)
        .await?;
    Ok(inserted == 1)
}

/// Waits until no other transaction reads queues in order to change them, or writes several runs. Two that did so at
/// once would each miss what the other does, or wait for each other's rows. It goes before anything else, except for
/// `queue_for_turn`.
pub(super) async fn take_turn(tx: &mut Tx) -> Result<(), StoreError> {
    const TURN: Text = Text::Two {
        // There is one writer.
        sqlite: "SELECT 1",
        // The number is stepherd's own, and means nothing else.
        postgres: "SELECT pg_advisory_xact_lock(1465310789)",
    };
    sql(TURN).execute(tx).await?;
    Ok(())
}

/// Gives these runs, which are written and locked by now, the next change numbers, each its own, so that reading
/// changes page by page misses none. Every commit needs the counter's row: whoever has it has nothing left to wait for,
/// and if it stands still there it keeps only those waiting that are as far.
pub(super) async fn number(tx: &mut Tx, runs: &[String]) -> Result<(), StoreError> {
    if runs.is_empty() {
        return Ok(());
    }
    let (last,) = sql("UPDATE counters SET value = value + $1 WHERE name = 'change' RETURNING value")
        .bind(rows::int(runs.len() as u64))
        .one::<(i64,)>(tx)
        .await?;
    for (before_last, run) in (0_i64..).zip(runs.iter().rev()) {
        sql("UPDATE runs SET change = $2 WHERE id = $1")
            .bind(run)
            .bind(last - before_last)
            .execute(tx)
            .await?;
    }
    Ok(())
}

/// What a new run has until it is numbered: no number, and no other run's.
fn unnumbered(run: &RunId) -> i64 {
    let bytes = run.as_str().as_bytes().first_chunk().copied().unwrap_or_default();
    i64::from_be_bytes(bytes) | i64::MIN
}

/// The label that lists and counts go by.
fn label(run: &Run) -> &'static str {
    match run.state {
        RunState::Queued { .. } => "queued",
        RunState::Active(_) => "active",
        RunState::Stopped { .. } => "stopped",
        RunState::Finished { .. } => "finished",
    }
}

/// $1 id, $2 version, $3 pipeline, $4 ticket, $5 state, $6 live, $7 asked at, $8 now, $9 body, $10 when to look at it next,
/// $11 shard, $12 change. It is due by the database's clock, whoever looks after it.
macro_rules! insert {
    ($wake:literal) => {
        concat!(
            "INSERT INTO runs (id, version, pipeline, ticket, state, live, asked_at, updated_at, body, wake_at, shard,
                change)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, ",
            $wake,
            ", $11, $12) ON CONFLICT (id) DO NOTHING"
        )
    };
}

/// The same but for $11, the version that it replaces.
macro_rules! replace {
    ($wake:literal) => {
        concat!(
            "UPDATE runs SET version = $2, pipeline = $3, ticket = $4, state = $5, live = $6, asked_at = $7,
                updated_at = $8, body = $9, wake_at = ",
            $wake,
            " WHERE id = $1 AND version = $11"
        )
    };
}

/// `false` if the stored run is not the expected one.
async fn write_run(tx: &mut Tx, write: &RunWrite, now: Timestamp) -> Result<bool, StoreError> {
    const INSERT: Text = Text::Two {
        sqlite: insert!("$10"),
        postgres: insert!("stepherd_now($8) + ($10 - $8)"),
    };
    const REPLACE: Text = Text::Two {
        sqlite: replace!("$10"),
        postgres: replace!("stepherd_now($8) + ($10 - $8)"),
    };
    let run = &write.run;
    let statement = sql(if write.expected.is_some() { REPLACE } else { INSERT })
        .bind(run.id.as_str())
        .bind(rows::int(run.version))
        .bind(run.plan.name.as_str())
        .bind(run.subject.ticket.as_ref().map(|ticket| ticket.as_str()))
        .bind(label(run))
        .bind(i64::from(!matches!(run.state, RunState::Finished { .. })))
        .bind(rows::millis(run.asked_at))
        .bind(rows::millis(now))
        .bind(rows::encode(run)?)
        .bind(write.wake.map(rows::millis));
    let statement = match write.expected {
        Some(expected) => statement.bind(rows::int(expected)),
        None => statement.bind(i64::from(shard_of(&run.id))).bind(unnumbered(&run.id)),
    };
    if statement.execute(tx).await? == 0 {
        return Ok(false);
    }
    let opened = run.prs.values().map(|opened| (&opened.pr, &opened.head));
    let pinned = run.subject.pinned.iter().map(|pinned| (&pinned.pr, &pinned.head));
    for (pr, head) in opened.chain(pinned) {
        sql("INSERT INTO run_prs (pr, head, run_id) VALUES ($1, $2, $3) ON CONFLICT (pr, head, run_id) DO NOTHING")
            .bind(pr.to_string())
            .bind(head.as_str())
            .bind(run.id.as_str())
            .execute(tx)
            .await?;
    }
    for thread in &run.audience {
        add_thread(tx, &run.id, &rows::thread_text(thread)).await?;
    }
    Ok(true)
}

/// Lets the run be spoken to in this thread.
pub(super) async fn add_thread(tx: &mut Tx, run: &RunId, thread: &str) -> Result<(), StoreError> {
    sql("INSERT INTO run_threads (thread, run_id) VALUES ($1, $2) ON CONFLICT (thread, run_id) DO NOTHING")
        .bind(thread)
        .bind(run.as_str())
        .execute(tx)
        .await?;
    Ok(())
}

async fn append(tx: &mut Tx, run: &RunId, entry: &History) -> Result<(), StoreError> {
    sql("INSERT INTO history (run_id, seq, at, body) VALUES ($1, $2, $3, $4)")
        .bind(run.as_str())
        .bind(rows::int(entry.seq))
        .bind(rows::millis(entry.at))
        .bind(rows::encode(entry)?)
        .execute(tx)
        .await?;
    Ok(())
}

/// `false` if a queue is not as it was read. A run that is in a queue keeps its place there.
async fn join(tx: &mut Tx, run: &RunId, queues: &[(LockName, Vec<RunId>)]) -> Result<bool, StoreError> {
    for (name, expected) in queues {
        let current: Vec<String> = sql("SELECT run_id FROM locks WHERE name = $1 ORDER BY place")
            .bind(name.as_str())
            .column(tx)
            .await?;
        if !current
            .iter()
            .map(String::as_str)
            .eq(expected.iter().map(RunId::as_str))
        {
            return Ok(false);
        }
        sql("INSERT INTO locks (name, place, run_id)
             SELECT $1, COALESCE(MAX(place), 0) + 1, $2 FROM locks WHERE name = $1
             ON CONFLICT (name, run_id) DO NOTHING")
        .bind(name.as_str())
        .bind(run.as_str())
        .execute(tx)
        .await?;
    }
    Ok(true)
}

/// Has the live runs that share a queue looked at now; which ones, still to be numbered.
async fn leave(tx: &mut Tx, run: &RunId, now: Timestamp) -> Result<Vec<String>, StoreError> {
    let others: Vec<String> = sql("SELECT DISTINCT other.run_id FROM locks AS mine
         JOIN locks AS other ON other.name = mine.name AND other.run_id <> mine.run_id
         WHERE mine.run_id = $1 ORDER BY other.run_id")
    .bind(run.as_str())
    .column(tx)
    .await?;
    sql("DELETE FROM locks WHERE run_id = $1")
        .bind(run.as_str())
        .execute(tx)
        .await?;
    wake(tx, others, now).await
}

/// Has these runs looked at now; which of them are live, still to be numbered.
pub(super) async fn wake(tx: &mut Tx, runs: Vec<String>, now: Timestamp) -> Result<Vec<String>, StoreError> {
    const WAKE: Text = Text::Two {
        sqlite: "UPDATE runs SET wake_at = $2 WHERE id = $1 AND live = 1",
        postgres: "UPDATE runs SET wake_at = stepherd_now($2) WHERE id = $1 AND live = 1",
    };
    let mut woken = Vec::with_capacity(runs.len());
    for run in runs {
        let updated = sql(WAKE).bind(&run).bind(rows::millis(now)).execute(tx).await?;
        if updated == 1 {
            woken.push(run);
        }
    }
    Ok(woken)
}

/// $1 key, $2 run, $3 lane, $4 body, $5 now, $6 room, $7 place. It is due now, by the clock that it will be claimed by.
macro_rules! ask_for {
    ($due:literal, $($otherwise:expr),+) => {
        concat!(
            "INSERT INTO effects (key, run_id, lane, body, due, since, room, place, state, failures, reason, epoch,
                generation, unclear)
             SELECT $1, $2, $3, $4, now.due, now.due, $6, $7, 'pending', 0, '', 0, 1, 0 FROM (SELECT ",
            $due,
            " AS due) AS now WHERE true
             ON CONFLICT (key) DO ",
            $($otherwise),+
        )
    };
}

macro_rules! again {
    () => {
        " generation = effects.generation + 1,
            state = 'pending',
            since = CASE WHEN effects.state = 'pending' THEN effects.since ELSE excluded.since END,
            due = CASE WHEN effects.state = 'pending' AND effects.lease_until > excluded.due
                THEN effects.due ELSE excluded.due END,
            failures = CASE WHEN effects.state = 'pending' AND effects.lease_until > excluded.due
                THEN effects.failures ELSE 0 END"
    };
}

/// Reports, questions, checks and the acts on a job show a level: asked for again, they are due again. One that is under
/// way right now is left to its holder and becomes due when that one is done (its generation has moved). All others
/// happen once.
async fn ask_for(tx: &mut Tx, run: Option<&RunId>, effect: &Effect, now: Timestamp) -> Result<(), StoreError> {
    const ONCE: Text = Text::Two {
        sqlite: ask_for!("$5", "NOTHING"),
        postgres: ask_for!("stepherd_now($5)", "NOTHING"),
    };
    const LEVEL: Text = Text::Two {
        sqlite: ask_for!("$5", "UPDATE SET", again!()),
        postgres: ask_for!("stepherd_now($5)", "UPDATE SET", again!()),
    };
    let statement = match effect {
        Effect::Report { .. } | Effect::Check(_) | Effect::Question { .. } => LEVEL,
        // To be started, and to be canceled, are levels too: a start that came to nothing may be asked for again, and
        // so may the end of a job that was taken up again after a first cancel.
        Effect::Act(Act {
            what: Deed::StartJob(_) | Deed::CancelJob(_),
            ..
        }) => LEVEL,
        Effect::Act(_) | Effect::Notice { .. } | Effect::Reply(_) | Effect::Acknowledge { .. } => ONCE,
    };
    sql(statement)
        .bind(effect.key(run))
        .bind(run.map(RunId::as_str))
        .bind(i64::from(effect.lane()))
        .bind(rows::encode(effect)?)
        .bind(rows::millis(now))
        .bind(effect.room())
        .bind(effect.place())
        .execute(tx)
        .await?;
    Ok(())
}

/// $1 number, $2 epoch, $3 generation, $4 now.
macro_rules! done {
    ($now:literal) => {
        concat!(
            "UPDATE effects SET
                state = CASE WHEN generation = $3 THEN 'done' ELSE 'pending' END,
                due = CASE WHEN generation = $3 THEN due ELSE ",
            $now,
            " END, since = CASE WHEN generation = $3 THEN since ELSE ",
            $now,
            " END, failures = 0, reason = '', unclear = 0, lease_until = NULL, epoch = epoch + 1, settled_at = $4
             WHERE id = $1 AND epoch = $2 AND state = 'pending'"
        )
    };
}

/// `false` if somebody else has claimed or settled it meanwhile. The epoch counts on, so that a claim settles once
/// even if the effect becomes pending again.
pub(super) async fn settle_done(tx: &mut Tx, claim: EffectClaim, now: Timestamp) -> Result<bool, StoreError> {
    const DONE: Text = Text::Two {
        sqlite: done!("$4"),
        postgres: done!("stepherd_now($4)"),
    };
    let updated = sql(DONE)
        .bind(claim.id)
        .bind(claim.epoch)
        .bind(claim.generation)
        .bind(rows::millis(now))
        .execute(tx)
        .await?;
    Ok(updated == 1)
}
