//! Merging where something must not take up by itself what is merged.

use super::Engine;
use crate::adapters::{CallError, Deferral};
use crate::domain::effect::{DeferredApp, MergeIntent, Outcome};
use crate::domain::run::FailureClass;

impl Engine {
    /// Merges, or looks where people merge. Applications that the merge feeds are read right before it: one that would
    /// take it up by itself ends the step, one that cannot be read is waited for.
    pub(super) async fn merge(&self, intent: &MergeIntent) -> Result<Outcome, CallError> {
        let forge = self.forge()?;
        if intent.deferred.is_empty() {
            return forge.merge(intent).await;
        }
        // What is merged is merged, whatever the applications do, and what conflicts is not merged anyway.
        let looked = forge.merge(&intent.only_look()).await?;
        if !matches!(looked, Outcome::MergeWaits { .. }) {
            return Ok(looked);
        }
        for app in &intent.deferred {
            if let Some(instead) = self.not_deferred(intent, app).await {
                return Ok(instead);
            }
        }
        match intent.method {
            Some(_) => forge.merge(intent).await,
            None => Ok(looked),
        }
    }

    /// What comes of the step instead of the merge, unless the application waits until somebody asks for it.
    async fn not_deferred(&self, intent: &MergeIntent, app: &DeferredApp) -> Option<Outcome> {
        let read = async { self.backend(&app.backend)?.deferral(&app.with).await };
        let pr = &intent.pr;
        match read.await {
            Ok(Deferral::OnRequest) => None,
            Ok(Deferral::ByItself(why)) => Some(Outcome::Failed {
                reason: format!(
                    "{pr} is not merged, because {why}: the running system would take the change up at once, before the \
                     step that is to bring it there. Switch that off, and retry"
                ),
                class: FailureClass::User,
            }),
            Err(CallError::Permanent { why, class }) => Some(Outcome::Failed {
                reason: format!(
                    "{pr} is not merged, because it cannot be read whether that would touch a running system: {why}"
                ),
                class,
            }),
            // The vendor who cannot answer now is not the forge, which must not be left alone for it.
            Err(CallError::Retry { why, .. }) => Some(Outcome::MergeWaits {
                why: format!("it cannot be read now whether merging {pr} would touch a running system: {why}"),
            }),
        }
    }
}
