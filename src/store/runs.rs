//! Reading runs: one, many, what changed, their history, the queues they wait in, and how many there are.

use super::{Counts, RunFilter, Store, StoreError, rows};
use crate::domain::ids::{LockName, RunId};
use crate::domain::run::{History, Run};

/// How many runs are listed where the filter does not say.
const RUNS_LISTED: u32 = 50;

impl Store {
    /// A run as it is now.
    pub async fn run(&self, id: &RunId) -> Result<Option<Run>, StoreError> {
        let body: Option<String> = sqlx::query_scalar("SELECT body FROM runs WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(&self.reader)
            .await?;
        body.map(|body| rows::decode(&format!("run {id}"), &body)).transpose()
    }

    /// Runs, newest first.
    pub async fn runs(&self, filter: &RunFilter) -> Result<Vec<Run>, StoreError> {
        const ANYWHERE: &str = "
            SELECT r.id, r.body FROM runs AS r
            WHERE (CAST($1 AS TEXT) IS NULL OR r.ticket = $1) AND r.live >= $2
                AND (CAST($3 AS TEXT) IS NULL OR r.pipeline = $3)
            ORDER BY r.asked_at DESC, r.id DESC LIMIT $4";
        const IN_THREAD: &str = "
            SELECT r.id, r.body FROM run_threads AS t JOIN runs AS r ON r.id = t.run_id
            WHERE t.thread = $5 AND (CAST($1 AS TEXT) IS NULL OR r.ticket = $1) AND r.live >= $2
                AND (CAST($3 AS TEXT) IS NULL OR r.pipeline = $3)
            ORDER BY r.asked_at DESC, r.id DESC LIMIT $4";
        let limit = if filter.limit == 0 { RUNS_LISTED } else { filter.limit };
        let statement = if filter.thread.is_some() { IN_THREAD } else { ANYWHERE };
        let statement = sqlx::query_as::<_, (String, String)>(statement)
            .bind(filter.ticket.as_ref().map(|ticket| ticket.as_str()))
            .bind(i64::from(filter.live_only))
            .bind(&filter.pipeline)
            .bind(i64::from(limit));
        let statement = match &filter.thread {
            Some(thread) => statement.bind(rows::thread_text(thread)),
            None => statement,
        };
        let found = statement.fetch_all(&self.reader).await?;
        Ok(found
            .into_iter()
            .filter_map(|(id, body)| readable(&id, &body))
            .collect())
    }

    /// All that happened to a run, oldest first.
    pub async fn history(&self, run: &RunId) -> Result<Vec<History>, StoreError> {
        let found: Vec<String> = sqlx::query_scalar("SELECT body FROM history WHERE run_id = $1 ORDER BY seq")
            .bind(run.as_str())
            .fetch_all(&self.reader)
            .await?;
        found
            .into_iter()
            .map(|body| rows::decode(&format!("the history of run {run}"), &body))
            .collect()
    }

    /// Runs that were written, or whose queue moved, after this change number, in the order of change. Ask again
    /// with the last number returned; 0 gives all. Finished runs are among them.
    pub async fn runs_changed_since(&self, change: i64, limit: u32) -> Result<Vec<(i64, Run)>, StoreError> {
        let found: Vec<(i64, String, String)> =
            sqlx::query_as("SELECT change, id, body FROM runs WHERE change > $1 ORDER BY change LIMIT $2")
                .bind(change)
                .bind(i64::from(limit))
                .fetch_all(&self.reader)
                .await?;
        Ok(found
            .into_iter()
            .filter_map(|(change, id, body)| Some((change, readable(&id, &body)?)))
            .collect())
    }

    /// Makes these runs count as changed, so that whoever watches them looks at once. Nothing else about them changes.
    pub async fn touch(&self, runs: &[RunId]) -> Result<(), StoreError> {
        if runs.is_empty() {
            return Ok(());
        }
        let mut tx = self.write().await?;
        for run in runs {
            super::commit::mark_changed(&mut tx, run.as_str()).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Who is in these queues, holder first; in the order asked, empty queues included.
    pub async fn lock_queues(&self, names: &[LockName]) -> Result<Vec<(LockName, Vec<RunId>)>, StoreError> {
        let mut conn = self.reader.acquire().await?;
        let mut queues = Vec::with_capacity(names.len());
        for name in names {
            let found: Vec<String> = sqlx::query_scalar("SELECT run_id FROM locks WHERE name = $1 ORDER BY place")
                .bind(name.as_str())
                .fetch_all(&mut *conn)
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
        let found: Vec<(i64, String)> = sqlx::query_as(
            "SELECT (SELECT COUNT(*) FROM locks AS before WHERE before.name = other.name AND before.place < other.place)
                AS line, other.run_id
             FROM locks AS mine JOIN locks AS other ON other.name = mine.name AND other.place < mine.place
             WHERE mine.run_id = $1 ORDER BY line, other.name",
        )
        .bind(run.as_str())
        .fetch_all(&self.reader)
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

    /// How much there is of everything, all at one moment.
    pub async fn counts(&self) -> Result<Counts, StoreError> {
        let found: Vec<(String, i64)> = sqlx::query_as(
            "SELECT 'deliveries ' || state, COUNT(*) FROM deliveries WHERE state IN ('pending', 'parked') GROUP BY state
             UNION ALL
             SELECT 'effects ' || state, COUNT(*) FROM effects WHERE state IN ('pending', 'parked') GROUP BY state
             UNION ALL
             SELECT 'runs ' || state, COUNT(*) FROM runs GROUP BY state",
        )
        .fetch_all(&self.reader)
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
            runs_finished: of("runs finished"),
        })
    }
}

/// A run of a list. One that cannot be read must not hide the others; asked for by its id, it says why.
fn readable(id: &str, body: &str) -> Option<Run> {
    let run = rows::decode(&format!("run {id}"), body);
    run.inspect_err(|error| tracing::error!(run = id, %error, "left out of a list"))
        .ok()
}
