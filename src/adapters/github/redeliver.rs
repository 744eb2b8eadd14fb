//! Failed deliveries of the app's webhook, which GitHub never delivers again by itself (GitHub docs, "Handling failed
//! webhook deliveries"). GitHub is asked to; they come in at the door under the id they had.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use jiff::Timestamp;
use serde::Deserialize;

use super::catchup::GithubCatchup;
use super::client::Verb;
use super::token::Scope;
use crate::adapters::CallError;

/// The most that GitHub puts on a page.
const PAGE_LEN: usize = 100;
/// Twenty thousand deliveries; of what is older, the comments are found by looking.
const PAGES_MAX: usize = 200;
/// So many are asked for at a time, below the eighty writes a minute that GitHub allows.
const ASKED_MAX: usize = 60;
/// How often the same delivery is asked for.
const TRIES_MAX: u32 = 3;
/// Events that nothing else brings back in full. Checks and workflow runs are only hints to look, and stepherd looks
/// anyway.
const EVENTS: [&str; 3] = ["issue_comment", "pull_request", "pull_request_review_comment"];
/// What stepherd said no to, and would again: no proof, no sense, too large, not JSON.
const FINAL: [u16; 4] = [400, 401, 413, 415];

/// How asking went.
#[derive(Default)]
pub(super) struct Again {
    /// How many deliveries were asked for.
    pub(super) asked: usize,
    /// Some were asked for the first time or are still to be asked for, and what was asked for before came through: it
    /// is worth waiting for them.
    pub(super) wait_for_it: bool,
    /// Why not all could be asked for.
    pub(super) trouble: Option<CallError>,
}

/// One try of GitHub's to deliver something.
#[derive(Debug, Deserialize)]
struct Attempt {
    id: u64,
    /// The same for each try: `X-GitHub-Delivery`.
    guid: String,
    delivered_at: Timestamp,
    status: String,
    #[serde(default)]
    status_code: Option<u16>,
    event: String,
    #[serde(default)]
    installation_id: Option<u64>,
}

impl Attempt {
    fn succeeded(&self) -> bool {
        self.status == "OK" || self.status_code.is_some_and(|code| (200..300).contains(&code))
    }
}

fn page_from(cursor: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("per_page", &PAGE_LEN.to_string());
    if let Some(cursor) = cursor {
        query.append_pair("cursor", cursor);
    }
    format!("/app/hook/deliveries?{}", query.finish())
}

impl GithubCatchup {
    /// Asks for the deliveries since then of which no try succeeded, the oldest first, as far as they are about these
    /// installations. Only an app can.
    pub(super) async fn redeliver(&self, since: Timestamp, installations: &BTreeSet<u64>) -> Again {
        let mut again = Again::default();
        if self.github.app_id.is_none() {
            return again;
        }
        let attempts = match self.attempts(since).await {
            Ok(mut attempts) => {
                attempts.retain(|attempt| attempt.installation_id.is_none_or(|id| installations.contains(&id)));
                attempts
            }
            Err(CallError::Permanent { why, .. }) => {
                tracing::warn!(%why, "failed deliveries cannot be listed; comments are looked for all the same");
                return again;
            }
            Err(error) => {
                again.trouble = Some(error);
                return again;
            }
        };
        let (failed, get_through) = self.failed(&attempts);
        again.wait_for_it = failed.len() > ASKED_MAX;
        for attempt in failed.into_iter().take(ASKED_MAX) {
            match self.ask_for(attempt).await {
                Ok(tries) => {
                    again.asked += 1;
                    again.wait_for_it |= tries == 1;
                }
                Err(CallError::Permanent { why, .. }) => {
                    tracing::warn!(delivery = attempt.guid, %why, "GitHub does not deliver it again");
                }
                Err(error) => {
                    again.trouble = Some(error);
                    break;
                }
            }
        }
        again.wait_for_it &= get_through;
        again
    }

    /// Every try since then, newest first.
    async fn attempts(&self, since: Timestamp) -> Result<Vec<Attempt>, CallError> {
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let reply = self
                .github
                .client
                .get(Scope::Own, &page_from(cursor.as_deref()))
                .await?;
            cursor.clone_from(&reply.next);
            let page: Vec<Attempt> = reply.json()?;
            let past = page.last().is_none_or(|oldest| oldest.delivered_at < since);
            all.extend(page.into_iter().filter(|attempt| attempt.delivered_at >= since));
            if past || cursor.is_none() {
                break;
            }
        }
        Ok(all)
    }

    /// One try each of what never succeeded and is worth another one, oldest first; and whether, as far as is known,
    /// what is asked for gets through.
    fn failed<'a>(&self, attempts: &'a [Attempt]) -> (Vec<&'a Attempt>, bool) {
        let done: BTreeSet<&str> = attempts
            .iter()
            .filter(|a| a.succeeded())
            .map(|a| a.guid.as_str())
            .collect();
        // Newest first, so that what is kept is the newest try and how it went.
        let mut newest: BTreeMap<&str, &Attempt> = BTreeMap::new();
        for attempt in attempts {
            newest.entry(&attempt.guid).or_insert(attempt);
        }
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|guid, _| newest.contains_key(guid.as_str()));
        let before = asked.len();
        asked.retain(|guid, _| !done.contains(guid.as_str()));
        let get_through = asked.is_empty() || asked.len() < before;
        let mut failed: Vec<&Attempt> = newest.into_values().collect();
        failed.retain(|attempt| {
            !done.contains(attempt.guid.as_str())
                && EVENTS.contains(&attempt.event.as_str())
                && !attempt.status_code.is_some_and(|code| FINAL.contains(&code))
                && asked.get(&attempt.guid).is_none_or(|tries| *tries < TRIES_MAX)
        });
        failed.sort_by_key(|attempt| (attempt.delivered_at, attempt.id));
        (failed, get_through)
    }

    /// How often it has been asked for now.
    async fn ask_for(&self, attempt: &Attempt) -> Result<u32, CallError> {
        let target = format!("/app/hook/deliveries/{}/attempts", attempt.id);
        let tries = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let tries = asked.entry(attempt.guid.clone()).or_default();
            *tries += 1;
            *tries
        };
        let reply = self.github.client.call(Scope::Own, Verb::Post, &target, None).await?;
        if reply.is_success() {
            Ok(tries)
        } else {
            Err(reply.refusal())
        }
    }
}
