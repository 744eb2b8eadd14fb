//! Making deliveries durable, many in one commit.
//!
//! A commit costs a write to the disk however much is in it. So one task takes all that wait, commits them together,
//! and answers each. It goes on when whoever waits has hung up: what was promised is kept.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use tokio::sync::{mpsc, oneshot};

use super::gate::Gates;
use super::sql::{Sql, sql};
use super::{Db, Recorded, StoreError};

/// How many may wait. More are turned away at once: their senders come back, and memory stays bounded.
const WAITING_MAX: usize = 1024;
/// The most in one commit: deliveries, and bytes of their bodies.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 8 << 20;
/// Rows per statement, most first. Few sizes, so that prepared statements are used again.
const ROWS: [usize; 3] = [64, 8, 1];

static INSERT_DELIVERIES: LazyLock<[String; ROWS.len()]> = LazyLock::new(|| {
    ROWS.map(|rows| {
        format!(
            "INSERT INTO deliveries (platform, delivery_id, kind, target, received_at, body_bytes, due, state, note, \
             attempts, epoch) VALUES {} ON CONFLICT (platform, delivery_id) DO NOTHING \
             RETURNING seq, platform, delivery_id",
            tuples(rows, 6, ", $5, 'pending', '', 0, 0")
        )
    })
});
static INSERT_BODIES: LazyLock<[String; ROWS.len()]> = LazyLock::new(|| {
    ROWS.map(|rows| {
        format!(
            "INSERT INTO delivery_bodies (seq, form, headers, body) VALUES {}",
            tuples(rows, 4, "")
        )
    })
});

/// `($1, …), …`: so many rows of so many values. The rest of each row may name the row's fifth value as `$5`.
fn tuples(rows: usize, values: usize, rest: &str) -> String {
    let mut text = String::new();
    for row in 0..rows {
        let first = row * values;
        text.push_str(if row == 0 { "(" } else { ", (" });
        for value in 1..=values {
            let comma = if value == 1 { "" } else { ", " };
            let _ = write!(text, "{comma}${}", first + value);
        }
        text.push_str(&rest.replace("$5", &format!("${}", first + 5)));
        text.push(')');
    }
    text
}

/// A delivery in its stored form.
pub(super) struct NewRow {
    pub(super) platform: String,
    pub(super) delivery_id: String,
    pub(super) kind: String,
    pub(super) target: String,
    pub(super) received_at: i64,
    pub(super) body_bytes: i64,
    pub(super) form: i64,
    pub(super) headers: String,
    pub(super) body: Vec<u8>,
}

struct Waiting {
    row: NewRow,
    answer: oneshot::Sender<Result<Recorded, StoreError>>,
}

/// The way to the task.
#[derive(Clone)]
pub(super) struct Inbox(mpsc::Sender<Waiting>);

impl Inbox {
    /// Starts the task; it ends with the last handle.
    pub(super) fn start(db: Db, gates: Gates) -> Self {
        let (sender, mut receiver) = mpsc::channel::<Waiting>(WAITING_MAX);
        tokio::spawn(async move {
            while let Some(first) = receiver.recv().await {
                let mut bytes = first.row.body.len();
                let mut batch = vec![first];
                while batch.len() < BATCH && bytes < BATCH_BYTES {
                    let Ok(next) = receiver.try_recv() else { break };
                    bytes += next.row.body.len();
                    batch.push(next);
                }
                take_in(&db, &gates, batch).await;
            }
        });
        Self(sender)
    }

    /// Waits until the delivery is durable.
    pub(super) async fn record(&self, row: NewRow) -> Result<Recorded, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.0
            .try_send(Waiting { row, answer })
            .map_err(|_| StoreError::Unavailable(format!("{WAITING_MAX} deliveries wait to be stored already")))?;
        answered
            .await
            .unwrap_or_else(|_| Err(StoreError::Unavailable("storing it was given up".to_owned())))
    }
}

async fn take_in(db: &Db, gates: &Gates, batch: Vec<Waiting>) {
    let (rows, answers): (Vec<NewRow>, Vec<_>) = batch.into_iter().map(|waiting| (waiting.row, waiting.answer)).unzip();
    // Whoever no longer waits needs no answer.
    match store(db, gates, rows).await {
        Ok(recorded) => {
            for (answer, recorded) in answers.into_iter().zip(recorded) {
                let _ = answer.send(Ok(recorded));
            }
        }
        Err(error) => {
            for answer in answers {
                let _ = answer.send(Err(error.clone()));
            }
        }
    }
}

async fn store(db: &Db, gates: &Gates, rows: Vec<NewRow>) -> Result<Vec<Recorded>, StoreError> {
    let mut tx = db.write("record_delivery", gates).await?;
    let names: Vec<(String, String)> = rows
        .iter()
        .map(|row| (row.platform.clone(), row.delivery_id.clone()))
        .collect();
    let mut bodies = Vec::with_capacity(rows.len());
    let mut parts = Vec::with_capacity(rows.len());
    for row in rows {
        bodies.push((row.form, row.headers, row.body));
        parts.push((
            row.platform,
            row.delivery_id,
            row.kind,
            row.target,
            row.received_at,
            row.body_bytes,
        ));
    }
    let mut new: HashMap<(String, String), i64> = HashMap::with_capacity(parts.len());
    let add = |statement: Sql, row: (String, String, String, String, i64, i64)| {
        let statement = statement.bind(row.0).bind(row.1).bind(row.2).bind(row.3);
        statement.bind(row.4).bind(row.5)
    };
    for statement in chunked(parts, &INSERT_DELIVERIES, add) {
        for (seq, platform, delivery_id) in statement.all::<(i64, String, String)>(&mut tx).await? {
            new.insert((platform, delivery_id), seq);
        }
    }
    let mut recorded = Vec::with_capacity(names.len());
    let mut kept = Vec::with_capacity(names.len());
    for (name, body) in names.iter().zip(bodies) {
        // The first of two with one name is the new one.
        match new.remove(name) {
            Some(seq) => {
                kept.push((seq, body));
                recorded.push(Recorded::New);
            }
            None => recorded.push(Recorded::Again),
        }
    }
    let add = |statement: Sql, (seq, (form, headers, body)): (i64, (i64, String, Vec<u8>))| {
        statement.bind(seq).bind(form).bind(headers).bind(body)
    };
    for statement in chunked(kept, &INSERT_BODIES, add) {
        statement.execute(&mut tx).await?;
    }
    tx.commit().await?;
    Ok(recorded)
}

/// Statements that insert all the rows, in order, as many at a time as there is a statement for.
fn chunked<T>(
    rows: Vec<T>,
    texts: &'static [String; ROWS.len()],
    add: impl Fn(Sql, T) -> Sql,
) -> impl Iterator<Item = Sql> {
    let mut rows = rows.into_iter();
    std::iter::from_fn(move || {
        let (place, size) = ROWS.iter().enumerate().find(|(_, size)| **size <= rows.len())?;
        let statement = sql(texts[place].as_str());
        Some(rows.by_ref().take(*size).fold(statement, &add))
    })
}
