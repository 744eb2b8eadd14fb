//! Whose repositories are ours, as configuration and runs name them.

use serde_json::{Map, Value};

use super::Engine;
use crate::adapters::Ours;
use crate::domain::command::TriggerOn;
use crate::domain::ids::Repo;
use crate::domain::pipeline::{Pipeline, StepKind};
use crate::domain::template::Template;
use crate::store::{RunFilter, StoreError};

/// So many runs are asked, the newest first.
const RUNS: u32 = 500;

impl Engine {
    /// What anybody who may has ever pointed stepherd to counts as ours; what only says so itself does not.
    pub(super) async fn ours(&self) -> Result<Ours, StoreError> {
        let mut ours = Ours::default();
        for pipeline in self.catalog.pipelines.values() {
            repositories(pipeline).iter().for_each(|repo| ours.add(repo));
        }
        let forge = self.hands.forge.as_ref().map(|forge| forge.platform());
        for place in self.catalog.commands.iter().flat_map(|command| &command.control) {
            if forge.as_ref() == Some(&place.platform)
                && let Some(owner) = place.path.first()
            {
                ours.add_owner(owner);
            }
        }
        let triggers = self.catalog.commands.iter().flat_map(|command| &command.triggers);
        for trigger in triggers {
            if let TriggerOn::Pr { repo, .. } = &trigger.on
                && let Ok(repo) = repo.parse()
            {
                ours.add(&repo);
            }
        }
        let newest = RunFilter {
            limit: RUNS,
            ..RunFilter::default()
        };
        for run in self.store.runs(&newest).await? {
            let pinned = run.subject.pinned.iter().map(|pinned| &pinned.pr.repo);
            let opened = run.prs.values().map(|opened| &opened.pr.repo);
            pinned.chain(opened).for_each(|repo| ours.add(repo));
        }
        Ok(ours)
    }
}

/// The repositories that a pipeline changes and reads, where nobody names others.
fn repositories(pipeline: &Pipeline) -> Vec<Repo> {
    let usual = pipeline.params.iter().filter_map(|param| {
        let default = param.default.as_ref()?.source().to_owned();
        Some((param.name.to_string(), Value::String(default)))
    });
    let usual = Value::Object(usual.collect::<Map<_, _>>());
    let changed = pipeline.steps.iter().filter_map(|step| match &step.kind {
        StepKind::Change(change) => Some(&change.repo),
        _ => None,
    });
    let read = pipeline
        .params
        .iter()
        .flat_map(|param| &param.files)
        .map(|file| &file.repo);
    let named = |template: &Template| template.render(&usual).ok()?.parse().ok();
    changed.chain(read).filter_map(named).collect()
}
