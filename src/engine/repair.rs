//! Repair: what no webhook told is found by looking and put into the inbox, in the shape of the webhook that was lost.
//!
//! It never acts: intake reads what is put there as it reads everything, and the keys that keep a redelivered webhook
//! from taking effect twice keep this from it too. How far a platform was looked at is a cursor in the database,
//! which moves only once all before it is in the inbox.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::Engine;
use super::pauses::later;
use crate::adapters::{CallError, Catchup, Missed, MissedDelivery, Ours, RawRequest};
use crate::domain::grammar;
use crate::domain::ids::Platform;
use crate::domain::signal::{ActorKind, Proof, Said, Signal, TicketMoved};
use crate::store::{ClaimedCursor, Lease, NewDelivery, Recorded, StoreError};

/// Longer than a look may take.
const LEASE: Lease = Lease(Duration::from_secs(300));
/// What one look at one platform may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(240);
/// How far back is looked at most: what people said a week ago and nobody answered, they have said again.
pub(super) const LOOK_BACK: Duration = Duration::from_secs(7 * 24 * 3600);
/// What happened a moment ago may not be in a platform's lists yet, and clocks differ. This much is looked at again.
const OVERLAP: Duration = Duration::from_secs(600);
/// When there is more to look at, or a look failed, the next one comes this soon.
const SOON: Duration = Duration::from_secs(30);
/// How often the loop asks whether a platform is due.
const POLL: Duration = Duration::from_secs(10);

impl Engine {
    /// Looks at every platform that is due; how many missed things were put into the inbox or asked for again.
    ///
    /// # Errors
    /// When the store cannot be used now; the other platforms were looked at all the same.
    pub async fn repair_step(&self) -> Result<usize, StoreError> {
        if self.catalog.settings.engine.repair_interval.is_zero() {
            return Ok(0);
        }
        let looks = self
            .hands
            .catchups
            .values()
            .map(|catchup| self.repair(catchup.as_ref()));
        join_all(looks).await.into_iter().sum()
    }

    /// The first look of a stepherd that has just started: nobody knows what it missed, so every platform is due.
    ///
    /// # Errors
    /// As for `repair_step`.
    pub async fn repair_start(&self) -> Result<usize, StoreError> {
        for platform in self.hands.catchups.keys() {
            self.store.hasten_cursor(&name(platform), self.clock.now()).await?;
        }
        self.repair_step().await
    }

    pub(super) async fn repair_loop(&self, stop: &CancellationToken) {
        if self.catalog.settings.engine.repair_interval.is_zero() {
            tracing::warn!("engine.repair_interval_s is 0: what webhooks do not tell is never looked for");
            return;
        }
        // A look may take minutes. Given up in the middle it costs nothing: the cursor has not moved.
        tokio::select! {
            () = self.repair_on() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn repair_on(&self) {
        let mut step = self.repair_start().await;
        loop {
            match step {
                Ok(_) => self.out_of_trouble("repair"),
                Err(error) => self.in_trouble("repair", &error),
            }
            self.clock.sleep_until(later(self.clock.now(), POLL)).await;
            step = self.repair_step().await;
        }
    }

    async fn repair(&self, catchup: &dyn Catchup) -> Result<usize, StoreError> {
        let platform = catchup.platform();
        let now = self.clock.now();
        if self.paused(platform.as_str()).await.is_some() {
            return Ok(0);
        }
        let Some(cursor) = self.store.claim_cursor(&name(&platform), now, LEASE).await? else {
            return Ok(0);
        };
        let interval = self.catalog.settings.engine.repair_interval;
        let Some(since) = since(&cursor, now) else {
            tracing::info!(%platform, from = %now, "from now on, what webhooks do not tell is looked for");
            self.settle(&cursor, now, later(now, interval)).await?;
            return Ok(0);
        };
        // Only forges let strangers in.
        let ours = if platform.as_str() == self.forge_vendor() {
            self.ours().await?
        } else {
            Ours::default()
        };
        let missed = tokio::select! {
            missed = catchup.missed(&ours, since, now) => Some(missed),
            () = self.clock.sleep_until(later(now, LOOK_TIMEOUT)) => None,
        };
        let Some(missed) = missed else {
            tracing::warn!(%platform, "looking for what was missed took too long; trying again");
            self.settle(&cursor, since, later(self.clock.now(), SOON)).await?;
            return Ok(0);
        };
        self.metrics.repaired(&platform, "redelivered", missed.redelivered);
        let mut found = missed.redelivered;
        for delivery in &missed.deliveries {
            found += usize::from(self.put_down(&platform, delivery).await?);
        }
        if found > 0 {
            tracing::info!(%platform, found, redelivered = missed.redelivered, %since, "found what no webhook had told");
            self.wakes.deliveries.notify_one();
        }
        let due = self.next_look(&platform, &missed, now, interval).await;
        // Never back, so that nothing from before the first start is ever looked at.
        let seen_to = missed.seen_to.min(earlier(now, OVERLAP)).max(since);
        self.settle(&cursor, seen_to, due).await?;
        Ok(found)
    }

    async fn next_look(&self, platform: &Platform, missed: &Missed, began: Timestamp, interval: Duration) -> Timestamp {
        let now = self.clock.now();
        let Some(error) = &missed.trouble else {
            let wait = if missed.seen_to < began {
                SOON.min(interval)
            } else {
                interval
            };
            return later(now, wait);
        };
        self.heed(platform.as_str(), error).await;
        tracing::warn!(%platform, %error, "cannot look now for all that was missed");
        match error {
            CallError::Retry { after, .. } => later(now, after.unwrap_or(SOON).max(SOON.min(interval))),
            CallError::Permanent { .. } => later(now, interval),
        }
    }

    async fn settle(&self, cursor: &ClaimedCursor, value: Timestamp, due: Timestamp) -> Result<(), StoreError> {
        // Whoever took over has looked at the same time again, which does no harm.
        self.store.settle_cursor(cursor, Some(&value.to_string()), due).await?;
        Ok(())
    }

    /// Puts it into the inbox unless it means nothing or has taken effect; whether it is there now and was not before.
    async fn put_down(&self, platform: &Platform, missed: &MissedDelivery) -> Result<bool, StoreError> {
        if !self.is_news(platform, missed).await? {
            return Ok(false);
        }
        let request = as_request(platform, missed);
        let door = self.hands.doors.get(platform);
        let recorded = self
            .store
            .record_delivery(&NewDelivery {
                thread: door.and_then(|door| door.thread(&request)),
                platform: platform.clone(),
                delivery_id: missed.delivery_id.clone(),
                kind: format!("{} (repaired)", missed.kind),
                proof: Proof::Repaired,
                target: target(platform),
                headers: missed.headers.clone(),
                body: missed.body.clone().into(),
                received_at: self.clock.now(),
            })
            .await?;
        let new = recorded == Recorded::New;
        if new {
            self.metrics.repaired(platform, missed.what, 1);
            tracing::info!(%platform, delivery = %missed.delivery_id, what = missed.what, "repaired");
        }
        Ok(new)
    }

    /// Most of what is found was told by a webhook long ago, and most of that is no command: neither belongs into the
    /// inbox. What cannot be read does, so that people see it.
    async fn is_news(&self, platform: &Platform, missed: &MissedDelivery) -> Result<bool, StoreError> {
        let Some(door) = self.hands.doors.get(platform) else {
            return Ok(false);
        };
        let Ok(signals) = door.read(&as_request(platform, missed), Proof::Repaired, self.clock.now()) else {
            return Ok(true);
        };
        for signal in &signals {
            let key = match signal {
                Signal::Nothing(_) => continue,
                Signal::Said(said) if self.says_nothing(said) => continue,
                Signal::TicketMoved(moved) if self.triggers_nothing(moved) => continue,
                Signal::Said(Said { key, .. }) | Signal::TicketMoved(TicketMoved { key, .. }) => key,
                Signal::Invoked(_) | Signal::PrChanged(_) | Signal::Hint(_) => return Ok(true),
            };
            if !self.store.accepted_within(&format!("{key}:")).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn says_nothing(&self, said: &Said) -> bool {
        said.actor.kind != ActorKind::Human
            || grammar::find(&said.text, &self.catalog.commands, &said.thread.platform).is_empty()
    }

    fn triggers_nothing(&self, moved: &TicketMoved) -> bool {
        moved.actor.kind != ActorKind::Human || !self.triggers_on(moved)
    }
}

/// The name of a platform's cursor.
pub(super) fn name(platform: &Platform) -> String {
    format!("repair:{platform}")
}

/// From when on to look; `None` at the first start, when nothing older than now counts.
fn since(cursor: &ClaimedCursor, now: Timestamp) -> Option<Timestamp> {
    let value = cursor.value.as_deref()?;
    let Ok(seen_to) = value.parse::<Timestamp>() else {
        tracing::error!(cursor = cursor.name, value, "cannot be read; it starts anew");
        return None;
    };
    let oldest = earlier(now, LOOK_BACK);
    if seen_to < oldest {
        tracing::warn!(
            cursor = cursor.name,
            last_look = %seen_to,
            looked_for_since = %oldest,
            "stepherd was away for longer than is looked back: what was said before is not obeyed"
        );
    }
    // The clock may have been turned back meanwhile.
    Some(seen_to.max(oldest).min(now))
}

/// As if it had come in at the door.
fn as_request(platform: &Platform, missed: &MissedDelivery) -> RawRequest {
    RawRequest {
        method: "POST".to_owned(),
        target: target(platform),
        headers: missed.headers.clone(),
        body: Bytes::from(missed.body.clone()),
    }
}

fn target(platform: &Platform) -> String {
    format!("/webhooks/{platform}")
}

pub(super) fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_sub(by).unwrap_or(Timestamp::MIN)
}
