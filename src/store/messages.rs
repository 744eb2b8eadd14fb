//! What is remembered about the world: messages of ours that stand, and the heads that pull requests had.

use jiff::Timestamp;

use super::commit::add_thread;
use super::sql::sql;
use super::{HeadSeen, Sent, Store, StoreError, rows};
use crate::domain::ids::{PrRef, RunId, ThreadRef};
use crate::domain::signal::MessageRef;

#[derive(sqlx::FromRow)]
struct SentRow {
    message_thread: String,
    message_id: String,
    digest: String,
    at: i64,
    opened: Option<String>,
}

impl Store {
    /// The message of this purpose that stands in the thread for the run.
    pub async fn sent(
        &self,
        run: Option<&RunId>,
        thread: &ThreadRef,
        purpose: &str,
    ) -> Result<Option<Sent>, StoreError> {
        let found: Option<SentRow> = sql("SELECT message_thread, message_id, digest, at, opened FROM messages
             WHERE run = $1 AND thread = $2 AND purpose = $3")
        .bind(run.map_or("", RunId::as_str))
        .bind(rows::thread_text(thread))
        .bind(purpose)
        .optional(&mut self.read().await?)
        .await?;
        found.map(SentRow::read).transpose()
    }

    /// Remembers the message, in place of an earlier one of the same purpose. A thread that was opened with it
    /// leads to the run from now on, as the threads of its audience do.
    pub async fn record_sent(
        &self,
        run: Option<&RunId>,
        thread: &ThreadRef,
        purpose: &str,
        sent: &Sent,
    ) -> Result<(), StoreError> {
        let opened = sent.opened.as_ref().map(rows::thread_text);
        let mut tx = self.write("record_sent").await?;
        sql(
            "INSERT INTO messages (run, thread, purpose, message_thread, message_id, digest, at, opened)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (run, thread, purpose) DO UPDATE SET message_thread = excluded.message_thread,
                message_id = excluded.message_id, digest = excluded.digest, at = excluded.at,
                opened = excluded.opened",
        )
        .bind(run.map_or("", RunId::as_str))
        .bind(rows::thread_text(thread))
        .bind(purpose)
        .bind(rows::thread_text(&sent.message.thread))
        .bind(&sent.message.id)
        .bind(&sent.digest)
        .bind(rows::millis(sent.at))
        .bind(opened.clone())
        .execute(&mut tx)
        .await?;
        if let (Some(run), Some(opened)) = (run, &opened) {
            add_thread(&mut tx, run, opened).await?;
        }
        tx.commit().await
    }

    /// Remembers that the pull request had this head from this time on. Saying it again changes nothing.
    pub async fn record_head(&self, pr: &PrRef, seen: &HeadSeen) -> Result<(), StoreError> {
        let mut tx = self.write("record_head").await?;
        sql("INSERT INTO heads (pr, at, head) VALUES ($1, $2, $3) ON CONFLICT (pr, at, head) DO NOTHING")
            .bind(pr.to_string())
            .bind(rows::millis(seen.at))
            .bind(seen.head.as_str())
            .execute(&mut tx)
            .await?;
        tx.commit().await
    }

    /// The head that the pull request had at this time, as far as is known. Of several heads of the same
    /// millisecond it is the one heard of last.
    pub async fn head_before(&self, pr: &PrRef, at: Timestamp) -> Result<Option<HeadSeen>, StoreError> {
        let found: Option<(String, i64)> =
            sql("SELECT head, at FROM heads WHERE pr = $1 AND at <= $2 ORDER BY at DESC, seq DESC LIMIT 1")
                .bind(pr.to_string())
                .bind(rows::millis(at))
                .optional(&mut self.read().await?)
                .await?;
        found
            .map(|(head, at)| {
                Ok(HeadSeen {
                    head: rows::name("a head", &head)?,
                    at: rows::time(at)?,
                })
            })
            .transpose()
    }
}

impl SentRow {
    fn read(self) -> Result<Sent, StoreError> {
        Ok(Sent {
            message: MessageRef {
                thread: rows::thread(&self.message_thread)?,
                id: self.message_id,
            },
            digest: self.digest,
            at: rows::time(self.at)?,
            opened: self.opened.as_deref().map(rows::thread).transpose()?,
        })
    }
}
