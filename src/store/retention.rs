//! Deleting what is old, piece by piece: each piece is one short transaction, so that nobody waits long for the one
//! writer of SQLite. What is live is never old: runs that are not finished, what waits to be done, and the heads of
//! pull requests that a live run is about.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::sql::{Text, Tx, sql};
use super::{Store, StoreError, rows};

/// The most rows in one piece.
const PIECE: i64 = 500;
/// The most bytes of deliveries' bodies in one piece; one body may be larger.
const PIECE_BYTES: i64 = 16 << 20;
/// The most runs in one piece; each brings its history and more.
const RUNS: i64 = 50;

/// What is deleted when it is old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aged {
    /// Deliveries that are done or parked, with their bodies.
    Deliveries,
    /// Answers outside any run that were given or given up.
    Replies,
    /// Finished runs, with all that belongs to them.
    Runs,
    /// Keys of what has taken effect.
    Accepted,
    /// Heads that pull requests had.
    Heads,
}

impl Aged {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Deliveries, Self::Replies, Self::Runs, Self::Accepted, Self::Heads];

    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deliveries => "deliveries",
            Self::Replies => "replies",
            Self::Runs => "runs",
            Self::Accepted => "accepted",
            Self::Heads => "heads",
        }
    }
}

/// What became of one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retired {
    /// How many there were: deliveries, answers, runs (whatever belonged to them), keys or heads.
    pub gone: u64,
    /// Where to go on, if there may be more.
    pub rest: Option<i64>,
}

/// Rows in the order in which they came to be: $1 after which, $2 how many. Number, age, bytes.
const DELIVERIES: &str = "SELECT seq, received_at, body_bytes FROM deliveries WHERE seq > $1 ORDER BY seq LIMIT $2";
const REPLIES: &str =
    "SELECT id, since, CAST(0 AS BIGINT) FROM effects WHERE run_id IS NULL AND id > $1 ORDER BY id LIMIT $2";
const HEADS: &str = "SELECT seq, at, CAST(0 AS BIGINT) FROM heads WHERE seq > $1 ORDER BY seq LIMIT $2";

/// $1 ended before, $2 how many. What is still to be said about a run keeps it.
macro_rules! ended {
    ($lock:literal) => {
        concat!(
            "SELECT r.id FROM runs AS r WHERE r.live = 0 AND r.updated_at <= $1
                AND NOT EXISTS (SELECT 1 FROM effects AS e WHERE e.run_id = r.id AND e.state = 'pending')
                AND NOT EXISTS (SELECT 1 FROM locks AS l WHERE l.run_id = r.id)
             ORDER BY r.updated_at LIMIT $2 ",
            $lock
        )
    };
}

/// Locked against whoever would add something to such a run right now; then that one is kept for another time.
const ENDED: Text = Text::Two {
    sqlite: ended!(""),
    postgres: ended!("FOR UPDATE OF r SKIP LOCKED"),
};

impl Store {
    /// Deletes one piece of what is older than `before`. Begin after 0, and go on after `rest` as long as there is one.
    pub async fn retire(&self, what: Aged, before: Timestamp, after: i64) -> Result<Retired, StoreError> {
        let before = rows::millis(before);
        match what {
            Aged::Deliveries | Aged::Replies | Aged::Heads => self.retire_stretch(what, before, after).await,
            Aged::Runs => self.retire_runs(before).await,
            Aged::Accepted => self.retire_accepted(before).await,
        }
    }

    /// Deletes from the next rows after a number. Numbers grow with time, so when none of those is old, none behind
    /// them is; and a few that are kept do not hide old ones behind them.
    async fn retire_stretch(&self, what: Aged, before: i64, after: i64) -> Result<Retired, StoreError> {
        let page = match what {
            Aged::Deliveries => DELIVERIES,
            Aged::Replies => REPLIES,
            _ => HEADS,
        };
        // Looked for without the one writer: mostly there is nothing.
        let rows: Vec<(i64, i64, i64)> = sql(page).bind(after).bind(PIECE).all(&mut self.read().await?).await?;
        let mut bytes = 0;
        let fits = rows.iter().take_while(|(.., size)| {
            let first = bytes == 0;
            bytes += size.max(&1);
            first || bytes <= PIECE_BYTES
        });
        let piece = fits.count();
        let Some(last) = rows[..piece].last().map(|(number, ..)| *number) else {
            return Ok(Retired::default());
        };
        if rows[..piece].iter().all(|(_, at, _)| *at > before) {
            return Ok(Retired::default());
        }
        let mut tx = self.write("retire").await?;
        let stretch = Stretch { after, last, before };
        let gone = match what {
            Aged::Deliveries => delete_deliveries(&mut tx, stretch).await?,
            Aged::Replies => delete_replies(&mut tx, stretch).await?,
            _ => delete_heads(&mut tx, stretch).await?,
        };
        tx.commit().await?;
        let more = piece < rows.len() || rows.len() as i64 == PIECE;
        Ok(Retired {
            gone,
            rest: more.then_some(last),
        })
    }

    async fn retire_runs(&self, before: i64) -> Result<Retired, StoreError> {
        let some: Vec<String> = sql(ended!(""))
            .bind(before)
            .bind(1_i64)
            .column(&mut self.read().await?)
            .await?;
        if some.is_empty() {
            return Ok(Retired::default());
        }
        let mut tx = self.write("retire").await?;
        let ended: Vec<String> = sql(ENDED).bind(before).bind(RUNS).column(&mut tx).await?;
        let mut gone = 0;
        let mut left = PIECE;
        for run in &ended {
            if left <= 0 {
                break;
            }
            gone += delete_run(&mut tx, run, &mut left).await?;
        }
        tx.commit().await?;
        let worked = left < PIECE;
        let more = worked && (left <= 0 || ended.len() as i64 == RUNS);
        Ok(Retired {
            gone,
            rest: more.then_some(0),
        })
    }

    async fn retire_accepted(&self, before: i64) -> Result<Retired, StoreError> {
        let oldest: Vec<i64> = sql("SELECT at FROM accepted WHERE at <= $1 ORDER BY at LIMIT 1")
            .bind(before)
            .column(&mut self.read().await?)
            .await?;
        if oldest.is_empty() {
            return Ok(Retired::default());
        }
        let mut tx = self.write("retire").await?;
        let gone =
            sql("DELETE FROM accepted WHERE key IN (SELECT key FROM accepted WHERE at <= $1 ORDER BY at LIMIT $2)")
                .bind(before)
                .bind(PIECE)
                .execute(&mut tx)
                .await?;
        tx.commit().await?;
        Ok(Retired {
            gone,
            rest: (gone == PIECE as u64).then_some(0),
        })
    }
}

/// Rows with numbers after one and up to another, and from when on they are kept.
#[derive(Clone, Copy)]
struct Stretch {
    after: i64,
    last: i64,
    before: i64,
}

async fn delete_deliveries(tx: &mut Tx, stretch: Stretch) -> Result<u64, StoreError> {
    let bundles: Vec<i64> = sql("DELETE FROM deliveries
         WHERE seq > $1 AND seq <= $2 AND received_at <= $3 AND state <> 'pending' AND settled_at <= $3
         RETURNING bundle")
    .bind(stretch.after)
    .bind(stretch.last)
    .bind(stretch.before)
    .column(tx)
    .await?;
    let gone = bundles.len() as u64;
    // A bundle goes with the last delivery in it.
    for bundle in BTreeSet::from_iter(bundles) {
        sql("DELETE FROM bundles WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM deliveries AS d WHERE d.bundle = $1)")
            .bind(bundle)
            .execute(tx)
            .await?;
    }
    Ok(gone)
}

async fn delete_replies(tx: &mut Tx, stretch: Stretch) -> Result<u64, StoreError> {
    let gone = sql("DELETE FROM effects
         WHERE run_id IS NULL AND id > $1 AND id <= $2 AND state <> 'pending' AND settled_at <= $3");
    let gone = gone.bind(stretch.after).bind(stretch.last).bind(stretch.before);
    Ok(gone.execute(tx).await?)
}

async fn delete_heads(tx: &mut Tx, stretch: Stretch) -> Result<u64, StoreError> {
    let gone = sql(
        "DELETE FROM heads WHERE seq > $1 AND seq <= $2 AND at <= $3 AND NOT EXISTS (
            SELECT 1 FROM run_prs AS p JOIN runs AS r ON r.id = p.run_id WHERE p.pr = heads.pr AND r.live = 1)",
    );
    let gone = gone.bind(stretch.after).bind(stretch.last).bind(stretch.before);
    Ok(gone.execute(tx).await?)
}

/// Deletes what belongs to a run and then the run, as far as `left` rows go; 1 if the run is gone.
async fn delete_run(tx: &mut Tx, run: &str, left: &mut i64) -> Result<u64, StoreError> {
    let effects = sql("DELETE FROM effects WHERE id IN (
            SELECT id FROM effects WHERE run_id = $1 AND state <> 'pending' ORDER BY id LIMIT $2)");
    *left -= rows::int(effects.bind(run).bind(*left).execute(tx).await?);
    // Asked for since the run was chosen, or released by hand: then it stays until that is done.
    let (kept,) = sql("SELECT COUNT(*) FROM effects WHERE run_id = $1")
        .bind(run)
        .one::<(i64,)>(tx)
        .await?;
    if kept > 0 || *left <= 0 {
        return Ok(0);
    }
    let history = sql("DELETE FROM history WHERE run_id = $1 AND seq IN (
            SELECT seq FROM history WHERE run_id = $1 ORDER BY seq LIMIT $2)");
    *left -= rows::int(history.bind(run).bind(*left).execute(tx).await?);
    if *left <= 0 {
        return Ok(0);
    }
    // These are few: no more than there are places where people speak.
    for statement in [
        "DELETE FROM messages WHERE run = $1",
        "DELETE FROM run_threads WHERE run_id = $1",
        "DELETE FROM run_prs WHERE run_id = $1",
        "DELETE FROM runs WHERE id = $1 AND live = 0",
    ] {
        *left -= rows::int(sql(statement).bind(run).execute(tx).await?);
    }
    Ok(1)
}
