//! Reading runs: one, many, what changed, their history, the queues they wait in, and how many there are.

use std::time::Duration;

use jiff::Timestamp;

use super::commit::{number, take_turn, wake};
use super::sql::{Text, sql};
use super::{Counts, Overdue, Place, RunFilter, Store, StoreError, rows};
use crate::domain::ids::{LockName, Repo, RunId, Sha};
use crate::domain::run::{History, Run};

/// How many runs are listed where the filter does not say.
const RUNS_LISTED: i64 = 50;

/// Runs, newest first; $1 ticket, $2 pipeline, $3 limit, $4 what `$from` asks for.
macro_rules! listing {
    ($from:literal) => {
        [listing!(@all $from, ""), listing!(@all $from, "AND r.live = 1")]
    };
    (@all $from:literal, $live:literal) => {
        concat!(
            "SELECT r.id, r.body FROM ",
            $from,
            " AND (CAST($1 AS TEXT) IS NULL OR r.ticket = $1) AND (CAST($2 AS TEXT) IS NULL OR r.pipeline = $2) ",
            $live,
            " ORDER BY r.asked_at DESC, r.id DESC LIMIT $3"
        )
    };
}

/// $1 now. Work that waits for its next try has been due since it first had to wait.
macro_rules! overdue {
    ($now:literal, $least:literal) => {
        concat!(
            "SELECT COALESCE(",
            $now,
            " - (SELECT ",
            $least,
            "(MIN(due), COALESCE(MIN(held_since), MIN(due))) FROM deliveries WHERE state = 'pending'), 0), COALESCE(",
            $now,
            " - (SELECT ",
            $least,
            "(MIN(due), COALESCE(MIN(CASE WHEN failures > 0 THEN since END), MIN(due))) FROM effects
                WHERE state = 'pending'), 0)"
        )
    };
}

impl Store {
    /// A run as it is now.
    pub async fn run(&self, id: &RunId) -> Result<Option<Run>, StoreError> {
        let found: Option<(String,)> = sql("SELECT body FROM runs WHERE id = $1")
            .bind(id.as_str())
            .optional(&mut self.read().await?)
            .await?;
        found
            .map(|(body,)| rows::decode(&format!("run {id}"), &body))
            .transpose()
    }

    /// Runs, newest first.
    pub async fn runs(&self, filter: &RunFilter) -> Result<Vec<Run>, StoreError> {
        // Each has an index of its own; the texts say so plainly, or the planners would not see it.
        const ANYWHERE: [&str; 2] = listing!("runs AS r WHERE true");
        const ABOUT: [&str; 2] = listing!("runs AS r WHERE r.ticket = $1");
        const IN_THREAD: [&str; 2] = listing!("run_threads AS t JOIN runs AS r ON r.id = t.run_id WHERE t.thread = $4");
        const ON_PR: [&str; 2] = listing!("runs AS r WHERE r.id IN (SELECT run_id FROM run_prs WHERE pr = $4)");
        let (texts, place) = match (&filter.place, &filter.ticket) {
            (Some(Place::Thread(thread)), _) => (IN_THREAD, Some(rows::thread_text(thread))),
            (Some(Place::Pr(pr)), _) => (ON_PR, Some(pr.to_string())),
            (None, Some(_)) => (ABOUT, None),
            (None, None) => (ANYWHERE, None),
        };
        let limit = match filter.limit {
            0 if filter.live_only => i64::MAX,
            0 => RUNS_LISTED,
            limit => i64::from(limit),
        };
        let statement = sql(texts[usize::from(filter.live_only)])
            .bind(filter.ticket.as_ref().map(|ticket| ticket.as_str()))
            .bind(filter.pipeline.clone())
            .bind(limit);
        let statement = match place {
            Some(place) => statement.bind(place),
            None => statement,
        };
        let found: Vec<(String, String)> = statement.all(&mut self.read().await?).await?;
        Ok(found
            .into_iter()
            .filter_map(|(id, body)| readable(&id, &body))
            .collect())
    }

    /// Whether the run belongs to the place.
    pub async fn belongs(&self, run: &RunId, place: &Place) -> Result<bool, StoreError> {
        let statement = match place {
            Place::Thread(thread) => sql("SELECT run_id FROM run_threads WHERE run_id = $1 AND thread = $2")
                .bind(run.as_str())
                .bind(rows::thread_text(thread)),
            Place::Pr(pr) => sql("SELECT run_id FROM run_prs WHERE run_id = $1 AND pr = $2")
                .bind(run.as_str())
                .bind(pr.to_string()),
        };
        let found: Vec<String> = statement.column(&mut self.read().await?).await?;
        Ok(!found.is_empty())
    }

    /// The live runs that have a pull request in this repository at this head.
    pub async fn runs_at_head(&self, repo: &Repo, head: &Sha) -> Result<Vec<RunId>, StoreError> {
        let found: Vec<(String, String)> = sql(
            "SELECT DISTINCT p.pr, r.id FROM run_prs AS p JOIN runs AS r ON r.id = p.run_id
             WHERE p.head = $1 AND r.live = 1 ORDER BY r.id",
        )
        .bind(head.as_str())
        .all(&mut self.read().await?)
        .await?;
        let repo = repo.to_string();
        let here = found
            .iter()
            .filter(|(pr, _)| pr.rsplit_once('#').is_some_and(|(of, _)| of == repo));
        here.map(|(_, run)| rows::name("a run's id", run)).collect()
    }

    /// All that happened to a run, oldest first.
    pub async fn history(&self, run: &RunId) -> Result<Vec<History>, StoreError> {
        let found: Vec<String> = sql("SELECT body FROM history WHERE run_id = $1 ORDER BY seq")
            .bind(run.as_str())
            .column(&mut self.read().await?)
            .await?;
        found
            .into_iter()
            .map(|body| rows::decode(&format!("the history of run {run}"), &body))
            .collect()
    }

    /// Makes these runs count as changed, so that whoever watches them looks at once. Nothing else about them changes.
    pub async fn touch(&self, runs: &[RunId], now: Timestamp) -> Result<(), StoreError> {
        if runs.is_empty() {
            return Ok(());
        }
        let _turn = self.queue_for_turn().await?;
        let mut tx = self.write("touch").await?;
        take_turn(&mut tx).await?;
        let woken = wake(&mut tx, runs.iter().map(ToString::to_string).collect(), now).await?;
        number(&mut tx, &woken).await?;
        tx.commit().await?;
        self.stir();
        Ok(())
    }

    /// Who is in these queues, holder first; in the order asked, empty queues included.
    pub async fn lock_queues(&self, names: &[LockName]) -> Result<Vec<(LockName, Vec<RunId>)>, StoreError> {
        let mut conn = self.read().await?;
        let mut queues = Vec::with_capacity(names.len());
        for name in names {
            let found: Vec<String> = sql("SELECT run_id FROM locks WHERE name = $1 ORDER BY place")
                .bind(name.as_str())
                .column(&mut conn)
                .await?;
            let runs = found
                .iter()
                .map(|run| rows::name("a lock's run", run))
                .collect::<Result<_, _>>()?;
            queues.push((name.clone(), runs));
        }
        Ok(queues)
    }

    /// The runs before this one in any of its queues, each once: holders first, then the seconds in line.
    pub async fn ahead_of(&self, run: &RunId) -> Result<Vec<RunId>, StoreError> {
        let found: Vec<(i64, String)> = sql(
            "SELECT (SELECT COUNT(*) FROM locks AS before WHERE before.name = other.name AND before.place < other.place)
                AS line, other.run_id
             FROM locks AS mine JOIN locks AS other ON other.name = mine.name AND other.place < mine.place
             WHERE mine.run_id = $1 ORDER BY line, other.name",
        )
        .bind(run.as_str())
        .all(&mut self.read().await?)
        .await?;
        let mut ahead = Vec::with_capacity(found.len());
        for (_, other) in found {
            let other = rows::name("a lock's run", &other)?;
            if !ahead.contains(&other) {
                ahead.push(other);
            }
        }
        Ok(ahead)
    }

    /// For how long the oldest of what is to be done has been due, failed tries and the waits between them included.
    pub async fn overdue(&self, now: Timestamp) -> Result<Overdue, StoreError> {
        const BY: Text = Text::Two {
            sqlite: overdue!("$1", "MIN"),
            postgres: overdue!("stepherd_now($1)", "LEAST"),
        };
        let (deliveries, effects): (i64, i64) = sql(BY).bind(rows::millis(now)).one(&mut self.read().await?).await?;
        Ok(Overdue {
            deliveries: Duration::from_millis(rows::count(deliveries)),
            effects: Duration::from_millis(rows::count(effects)),
        })
    }

    /// How much there is of everything that is still to be done, all at one moment. What has ended is not counted: it
    /// only grows.
    pub async fn counts(&self) -> Result<Counts, StoreError> {
        let found: Vec<(String, i64)> = sql(
            "SELECT 'deliveries pending', COUNT(*) FROM deliveries WHERE state = 'pending'
             UNION ALL
             SELECT 'deliveries parked', COUNT(*) FROM deliveries WHERE state = 'parked'
             UNION ALL
             SELECT 'effects pending', COUNT(*) FROM effects WHERE state = 'pending'
             UNION ALL
             SELECT 'effects parked', COUNT(*) FROM effects WHERE state = 'parked'
             UNION ALL
             SELECT 'runs ' || state, COUNT(*) FROM runs WHERE live = 1 GROUP BY state",
        )
        .all(&mut self.read().await?)
        .await?;
        let of = |what: &str| {
            let found = found.iter().find(|(name, _)| name == what);
            found.map_or(0, |(_, number)| rows::count(*number))
        };
        Ok(Counts {
            deliveries_pending: of("deliveries pending"),
            deliveries_parked: of("deliveries parked"),
            effects_pending: of("effects pending"),
            effects_parked: of("effects parked"),
            runs_queued: of("runs queued"),
            runs_active: of("runs active"),
            runs_stopped: of("runs stopped"),
        })
    }
}

/// A run of a list. One that cannot be read must not hide the others; asked for by its id, it says why.
fn readable(id: &str, body: &str) -> Option<Run> {
    let run = rows::decode(&format!("run {id}"), body);
    run.inspect_err(|error| tracing::error!(run = id, %error, "left out of a list"))
        .ok()
}
