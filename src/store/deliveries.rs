//! The inbox: each verified delivery once, held by one worker at a time, kept when it makes no sense.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;

use super::bundle::{self, Content};
use super::inbox::{BUNDLE, NewRow, PLAIN, Settlement};
use super::rows::{self, Headers};
use super::sql::{Text, sql, storable};
use super::{
    ClaimedDelivery, Deadline, DeliveryClaim, DeliverySettled, DeliveryView, Lease, NewDelivery, Recorded, Store,
    StoreError,
};
use crate::domain::ids::Platform;
use crate::domain::signal::Proof;

macro_rules! claim {
    ($skip_locked:literal) => {
        concat!(
            "WITH free AS MATERIALIZED (
                SELECT seq FROM deliveries
                WHERE state = 'pending' AND due <= $1 AND (lease_until IS NULL OR lease_until <= $1)
                ORDER BY seq LIMIT $3 ",
            $skip_locked,
            ")
             UPDATE deliveries SET epoch = epoch + 1, attempts = attempts + 1, lease_until = $2
             FROM free WHERE deliveries.seq = free.seq
             RETURNING deliveries.seq, epoch, attempts, platform, delivery_id, kind, proof, target,
                received_at, bundle, place"
        )
    };
}

/// $1 now, $2 end of the lease, $3 limit.
const CLAIM: Text = Text::Two {
    sqlite: claim!(""),
    postgres: claim!("FOR UPDATE SKIP LOCKED"),
};

/// $1 numbers, as a JSON array.
const BUNDLES: Text = Text::Two {
    sqlite: "SELECT id, form, headers, body FROM bundles WHERE id IN (SELECT value FROM json_each($1))",
    postgres: "SELECT id, form, headers, body FROM bundles
               WHERE id IN (SELECT number::bigint FROM json_array_elements_text($1::json) AS number)",
};

macro_rules! views {
    ($rest:literal) => {
        concat!(
            "SELECT d.seq, d.platform, d.delivery_id, d.kind, d.proof, d.target, d.received_at, d.bundle, d.place,
                d.state, d.note, d.attempts, d.body_bytes FROM deliveries AS d ",
            $rest
        )
    };
}

#[derive(sqlx::FromRow)]
struct ClaimedRow {
    seq: i64,
    epoch: i64,
    attempts: i64,
    #[sqlx(flatten)]
    delivery: DeliveryRow,
}

#[derive(sqlx::FromRow)]
struct DeliveryRow {
    platform: String,
    delivery_id: String,
    kind: String,
    proof: String,
    target: String,
    received_at: i64,
    bundle: i64,
    place: i64,
}

#[derive(sqlx::FromRow)]
struct BundleRow {
    id: i64,
    form: i64,
    headers: String,
    body: Vec<u8>,
}

#[derive(sqlx::FromRow)]
struct ViewRow {
    seq: i64,
    state: String,
    note: String,
    attempts: i64,
    body_bytes: i64,
    #[sqlx(flatten)]
    delivery: DeliveryRow,
}

impl Store {
    /// Makes the delivery durable, due at once, unless it already is. Many at a time are one commit; what is under
    /// way goes on although the future is dropped.
    ///
    /// # Errors
    /// `Unavailable` at once if too many wait already.
    pub async fn record_delivery(&self, delivery: &NewDelivery) -> Result<Recorded, StoreError> {
        self.record(delivery, None).await
    }

    /// The same, unless the deadline passes before it is durable: then `TooLate`, and nothing is stored. What is stored
    /// in time may still be heard of too late, if the answer to the commit takes long.
    ///
    /// # Errors
    /// As for `record_delivery`.
    pub async fn record_delivery_before(
        &self,
        delivery: &NewDelivery,
        deadline: Deadline,
    ) -> Result<Recorded, StoreError> {
        self.record(delivery, Some(deadline)).await
    }

    async fn record(&self, delivery: &NewDelivery, deadline: Option<Deadline>) -> Result<Recorded, StoreError> {
        let row = NewRow {
            platform: delivery.platform.to_string(),
            delivery_id: storable(delivery.delivery_id.clone()),
            kind: storable(delivery.kind.clone()),
            proof: delivery.proof.name(),
            target: storable(delivery.target.clone()),
            received_at: rows::millis(delivery.received_at),
            body_bytes: rows::int(delivery.body.len() as u64),
            content: Content {
                headers: rows::encode(&Headers(delivery.headers.clone()))?,
                body: delivery.body.clone(),
            },
            deadline,
        };
        let bytes = delivery.body.len();
        let recorded = self.inbox.arrivals.ask_unless_full(row, bytes).await?;
        if recorded == Recorded::New {
            self.stir();
        }
        Ok(recorded)
    }

    /// Claims pending deliveries that are due and that nobody holds, in the order of arrival. One that cannot be
    /// read any more is parked instead, so that it does not stand in the way.
    pub async fn claim_deliveries(
        &self,
        now: Timestamp,
        lease: Lease,
        limit: u32,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let mut tx = self.write_light("claim_deliveries").await?;
        let lease_now = self.lease_now(&mut tx, now).await?;
        let mut claimed: Vec<ClaimedRow> = sql(CLAIM)
            .bind(lease_now)
            .bind(rows::lease_end(lease_now, lease.0))
            .bind(i64::from(limit))
            .all(&mut tx)
            .await?;
        tx.commit().await?;
        claimed.sort_by_key(|row| row.seq);
        let bundles = self.bundles(claimed.iter().map(|row| row.delivery.bundle)).await?;
        let mut readable = Vec::with_capacity(claimed.len());
        for row in claimed {
            let claim = DeliveryClaim {
                seq: row.seq,
                epoch: row.epoch,
            };
            match row.delivery.read(claim.seq, &bundles) {
                Ok(delivery) => readable.push(ClaimedDelivery {
                    claim,
                    attempts: rows::tries(row.attempts - 1),
                    delivery,
                }),
                Err(error) => {
                    let reason = error.to_string();
                    let parked = settlement(claim, DeliverySettled::Parked { reason }, now);
                    self.inbox.settlements.ask(parked).await?;
                }
            }
        }
        Ok(readable)
    }

    /// Bundles never change, so they are read outside the transaction that claims.
    async fn bundles(&self, of: impl Iterator<Item = i64>) -> Result<Bundles, StoreError> {
        let wanted: BTreeSet<i64> = of.collect();
        if wanted.is_empty() {
            return Ok(Bundles::new());
        }
        let found: Vec<BundleRow> = sql(BUNDLES)
            .bind(serde_json::json!(wanted).to_string())
            .all(&mut self.read().await?)
            .await?;
        Ok(found.into_iter().map(|row| (row.id, row.read())).collect())
    }

    /// Holds the delivery for another lease. `false` if somebody else has claimed or settled it meanwhile.
    pub async fn renew_delivery(&self, claim: DeliveryClaim, now: Timestamp, lease: Lease) -> Result<bool, StoreError> {
        let mut tx = self.write_light("renew_delivery").await?;
        let lease_now = self.lease_now(&mut tx, now).await?;
        let renewed = sql("UPDATE deliveries SET lease_until = $3 WHERE seq = $1 AND epoch = $2 AND state = 'pending'")
            .bind(claim.seq)
            .bind(claim.epoch)
            .bind(rows::lease_end(lease_now, lease.0))
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(renewed == 1)
    }

    /// Settles a delivery; many at a time are one commit. `false` if somebody else has claimed or settled it meanwhile:
    /// nothing was done.
    pub async fn settle_delivery(
        &self,
        claim: DeliveryClaim,
        settled: DeliverySettled,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let settlement = settlement(claim, settled, now);
        self.inbox.settlements.ask(settlement).await
    }

    /// Whether the platform sent something earlier that nobody has finished a first try of.
    pub async fn earlier_untried(&self, claimed: &ClaimedDelivery) -> Result<bool, StoreError> {
        let found = sql("SELECT seq FROM deliveries
             WHERE state = 'pending' AND seq < $1 AND platform = $2 AND settled_at IS NULL LIMIT 1")
        .bind(claimed.claim.seq)
        .bind(claimed.delivery.platform.as_str())
        .optional::<(i64,)>(&mut self.read().await?)
        .await?;
        Ok(found.is_some())
    }

    /// Deliveries, newest first: those in this state, or all.
    pub async fn deliveries(&self, state: Option<&str>, limit: u32) -> Result<Vec<DeliveryView>, StoreError> {
        // The states that are few have indexes of their own, which are used only where the text names the state.
        let statement = match state {
            None => sql(views!("ORDER BY d.seq DESC LIMIT $1")),
            Some("pending") => sql(views!("WHERE d.state = 'pending' ORDER BY d.seq DESC LIMIT $1")),
            Some("parked") => sql(views!("WHERE d.state = 'parked' ORDER BY d.seq DESC LIMIT $1")),
            Some(_) => sql(views!("WHERE d.state = 'done' ORDER BY d.seq DESC LIMIT $1")),
        };
        let found: Vec<ViewRow> = statement.bind(i64::from(limit)).all(&mut self.read().await?).await?;
        found.iter().map(ViewRow::read).collect()
    }

    /// A delivery by its platform's id.
    pub async fn delivery(
        &self,
        platform: &Platform,
        delivery_id: &str,
    ) -> Result<Option<(DeliveryView, NewDelivery)>, StoreError> {
        let found = sql(views!("WHERE d.platform = $1 AND d.delivery_id = $2"))
            .bind(platform.as_str())
            .bind(delivery_id)
            .optional(&mut self.read().await?)
            .await?;
        self.whole(found).await
    }

    /// A delivery by its row number.
    pub async fn delivery_by_seq(&self, seq: i64) -> Result<Option<(DeliveryView, NewDelivery)>, StoreError> {
        let found = sql(views!("WHERE d.seq = $1"))
            .bind(seq)
            .optional(&mut self.read().await?)
            .await?;
        self.whole(found).await
    }

    async fn whole(&self, found: Option<ViewRow>) -> Result<Option<(DeliveryView, NewDelivery)>, StoreError> {
        let Some(row) = found else { return Ok(None) };
        let bundles = self.bundles([row.delivery.bundle].into_iter()).await?;
        Ok(Some((row.read()?, row.delivery.read(row.seq, &bundles)?)))
    }

    /// Makes a parked or done delivery pending again, due now, as if it had never been claimed. `false` if it is
    /// pending already or does not exist.
    pub async fn replay_delivery(&self, seq: i64, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.write("replay_delivery").await?;
        let replayed = sql(
            "UPDATE deliveries SET state = 'pending', due = $2, attempts = 0, note = '', settled_at = NULL
             WHERE seq = $1 AND state IN ('parked', 'done')",
        )
        .bind(seq)
        .bind(rows::millis(now))
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        self.stir();
        Ok(replayed == 1)
    }
}

fn settlement(claim: DeliveryClaim, settled: DeliverySettled, now: Timestamp) -> Settlement {
    let (state, note, due) = match settled {
        DeliverySettled::Done { note } => ("done", note, None),
        DeliverySettled::Parked { reason } => ("parked", reason, None),
        DeliverySettled::RetryAt { at, reason } => ("pending", reason, Some(rows::millis(at))),
    };
    Settlement {
        seq: claim.seq,
        epoch: claim.epoch,
        state,
        note: storable(note),
        due,
        at: rows::millis(now),
    }
}

/// What bundles hold, or why that cannot be told, by number.
type Bundles = HashMap<i64, Result<Vec<Content>, String>>;

impl BundleRow {
    fn read(self) -> Result<Vec<Content>, String> {
        match self.form {
            PLAIN => Ok(vec![Content {
                headers: self.headers,
                body: self.body.into(),
            }]),
            BUNDLE => bundle::unpack(&self.body),
            other => Err(format!("a newer stepherd wrote it (form {other})")),
        }
    }
}

impl DeliveryRow {
    fn read(self, seq: i64, bundles: &Bundles) -> Result<NewDelivery, StoreError> {
        let unreadable = |why: &str| rows::unreadable(&format!("the body of delivery {seq}"), why);
        let bundle = bundles.get(&self.bundle).ok_or_else(|| unreadable("it is gone"))?;
        let contents = bundle.as_ref().map_err(|why| unreadable(why))?;
        let content = usize::try_from(self.place).ok().and_then(|place| contents.get(place));
        let content = content.ok_or_else(|| unreadable("it is not in its bundle"))?;
        let headers: Headers = rows::decode(&format!("the headers of delivery {seq}"), &content.headers)?;
        Ok(NewDelivery {
            platform: rows::name("a delivery's platform", &self.platform)?,
            delivery_id: self.delivery_id,
            kind: self.kind,
            proof: Proof::of_name(&self.proof).ok_or_else(|| {
                rows::unreadable(&format!("the proof of delivery {seq}"), "a newer stepherd wrote it")
            })?,
            target: self.target,
            headers: headers.0,
            body: content.body.clone(),
            received_at: rows::time(self.received_at)?,
        })
    }
}

impl ViewRow {
    fn read(&self) -> Result<DeliveryView, StoreError> {
        Ok(DeliveryView {
            seq: self.seq,
            platform: rows::name("a delivery's platform", &self.delivery.platform)?,
            delivery_id: self.delivery.delivery_id.clone(),
            kind: self.delivery.kind.clone(),
            received_at: rows::time(self.delivery.received_at)?,
            state: self.state.clone(),
            note: self.note.clone(),
            attempts: rows::tries(self.attempts),
            body_bytes: rows::count(self.body_bytes),
        })
    }
}
