//! Who stepherd is on each platform, which is also whether its credentials hold there. Asked beside everything else, at
//! the start and now and then: a platform that hangs keeps nothing else from beginning, and a token that has run out is
//! known before somebody wonders why nothing happens.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::Engine;
use super::pauses::later;
use crate::adapters::{CallError, Threads};
use crate::domain::ids::Platform;
use crate::domain::run::FailureClass;
use crate::trouble::Trouble;

/// How often a platform that knows stepherd is asked whether it still does, and one that does not.
const EVERY: Duration = Duration::from_secs(300);
const AGAIN: Duration = Duration::from_secs(30);
/// What has not answered by then counts as not answering; the answer is waited for all the same.
const SLOW: Duration = Duration::from_secs(10);

impl Engine {
    pub(super) async fn credentials_loop(&self, stop: &CancellationToken) {
        let platforms = self.hands.threads.iter();
        let asking = join_all(platforms.map(|(platform, threads)| self.keep_asking(platform, threads.as_ref())));
        tokio::select! {
            _ = asking => {}
            () = stop.cancelled() => {}
        }
    }

    async fn keep_asking(&self, platform: &Platform, threads: &dyn Threads) -> Infallible {
        let trouble = Trouble::default();
        loop {
            let wait = match self.paused(platform.as_str()).await {
                // Who asks to be left alone knows stepherd.
                Some(_) => AGAIN,
                None => self.ask_once(platform, threads, &trouble).await,
            };
            self.clock.sleep_until(later(self.clock.now(), wait)).await;
        }
    }

    /// Asks; when to ask again.
    async fn ask_once(&self, platform: &Platform, threads: &dyn Threads, trouble: &Trouble) -> Duration {
        let mut asked = threads.know_self();
        let slow = self.clock.sleep_until(later(self.clock.now(), SLOW));
        let answer = tokio::select! {
            biased;
            answer = &mut asked => answer,
            () = slow => {
                let why = format!("no answer in {} s", SLOW.as_secs());
                self.unknown(platform, &CallError::Retry { why, after: None, class: FailureClass::Infrastructure }, trouble);
                asked.await
            }
        };
        match answer {
            Ok(()) => {
                self.metrics.knows_self(platform, None);
                if trouble.over(self.clock.now()).is_some() {
                    tracing::info!(%platform, "the platform says again who stepherd is there");
                }
                EVERY
            }
            Err(error) => {
                self.heed(platform.as_str(), &error).await;
                self.unknown(platform, &error, trouble);
                AGAIN
            }
        }
    }

    fn unknown(&self, platform: &Platform, error: &CallError, trouble: &Trouble) {
        let how = match error {
            CallError::Permanent { .. }
            | CallError::Retry {
                class: FailureClass::Permission,
                ..
            } => "refuses stepherd's credentials",
            CallError::Retry { .. } => "does not say who stepherd is there",
        };
        let why = format!("{platform} {how}: nobody is obeyed there ({error})");
        self.metrics.knows_self(platform, Some(why.clone()));
        if trouble.met(self.clock.now()).is_some() {
            tracing::warn!(%platform, %why, "a platform does not know stepherd; asking again");
        }
    }
}
