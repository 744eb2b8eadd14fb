//! Merge steps: who merges and how, what must not take up by itself what is merged. And what steps leave behind.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::domain::pipeline::{DeferredSpec, Leaves, MergeBy, MergeMethod, MergeSpec};

use super::backends;
use super::diagnose::did_you_mean;
use super::page::{At, Names, Page};
use super::settings::BackendForm;
use super::steps::{Steps, need};
use super::steps_raw::RawStep;
use super::values::{Known, Scalar};

/// Who merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawBy {
    /// stepherd, as soon as the forge allows.
    Stepherd,
    /// People; stepherd waits.
    People,
}

/// How stepherd merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawMethod {
    /// A merge commit.
    Merge,
    /// One squashed commit.
    Squash,
    /// Rebased commits.
    Rebase,
}

/// An application that takes up what is merged only when somebody asks for it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDeferred {
    /// The back-end that has it: argocd.
    backend: At<String>,
    /// What the back-end needs to know to find it. Templates. argocd: app, project; and app_namespace.
    #[serde(default)]
    with: BTreeMap<At<String>, At<Scalar>>,
}

/// What a step that has passed leaves behind.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLeaves {
    /// What it is, and what undoes it. A template. It is told when the run is stopped.
    says: At<String>,
    /// The later step after which nothing of it is left. Without it, it is always told.
    until: Option<At<String>>,
}

/// What a step leaves behind is told after it has passed, so its templates may use what it is known by then.
pub(super) fn leaves(page: &mut Page, raw: &RawLeaves, later: &[RawStep], known: &Known) -> Leaves {
    let until = raw.until.as_ref().filter(|until| {
        let later = Names {
            list: later.iter().map(|step| step.name.get().clone()).collect(),
            complete: !page.partial,
        };
        page.refers("later step", until, &later)
    });
    Leaves {
        says: page.template(&raw.says, known),
        until: until.and_then(|until| until.get().parse().ok()),
    }
}

impl Steps<'_> {
    pub(super) fn merge(&mut self, page: &mut Page, raw: &RawStep) -> Option<MergeSpec> {
        let branch_of = need(page, raw, "branch_of", raw.branch_of.as_ref())?;
        if page.refers("earlier change step", branch_of, &self.changes) {
            if !self.merged.insert(branch_of.get().clone()) {
                page.say(
                    branch_of.span(),
                    format!("`{}` is merged by an earlier step already", branch_of.get()),
                );
            }
            self.known.insert(format!("steps.{}.merged", branch_of.get()));
        }
        let by = match raw.by.as_ref().map(At::get) {
            None | Some(RawBy::Stepherd) => MergeBy::Stepherd,
            Some(RawBy::People) => MergeBy::People,
        };
        if let Some(method) = raw.method.as_ref().filter(|_| by == MergeBy::People) {
            page.say(method.span(), "people choose the method when they merge");
        }
        let deferred = raw.deferred.iter().flat_map(At::get);
        let deferred: Vec<DeferredSpec> = deferred.filter_map(|app| self.deferred(page, app)).collect();
        Some(MergeSpec {
            deferred,
            branch_of: branch_of.get().parse().ok()?,
            by,
            method: match raw.method.as_ref().map(At::get) {
                None | Some(RawMethod::Merge) => MergeMethod::Merge,
                Some(RawMethod::Squash) => MergeMethod::Squash,
                Some(RawMethod::Rebase) => MergeMethod::Rebase,
            },
        })
    }

    fn deferred(&self, page: &mut Page, raw: &RawDeferred) -> Option<DeferredSpec> {
        let form = self.backends.iter().find(|form| form.name == raw.backend.get());
        let Some(form) = form.filter(|form| !form.defers.is_empty()) else {
            let able = || {
                self.backends
                    .iter()
                    .filter(|form| !form.defers.is_empty())
                    .map(|form| form.name)
            };
            page.push(
                raw.backend.span(),
                format!(
                    "there is no back-end `{}` that has such applications",
                    raw.backend.get()
                ),
                did_you_mean(raw.backend.get(), able()),
            );
            return None;
        };
        let form = BackendForm {
            required: form.defers,
            optional: form.defers_optional,
            words: &[],
            ..*form
        };
        backends::check_with(page, &raw.backend, &raw.with, &form);
        Some(DeferredSpec {
            backend: raw.backend.get().parse().ok()?,
            with: self.with(page, &raw.with),
        })
    }
}
