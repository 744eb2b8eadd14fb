//! Whether the files agree with one another: a pipeline has what it tells people to say, and what it works with.

use std::collections::BTreeSet;

use super::Settings;
use super::page::Page;
use super::pipelines::RawPipeline;
use crate::domain::command::{Action, Command};
use crate::domain::pipeline::{Pipeline, StepKind};

/// What messages about runs tell people to say, by these very names.
const SAID: [(&str, Action); 5] = [
    ("status", Action::Status),
    ("retry", Action::Retry),
    ("stop", Action::Stop),
    ("help", Action::Help),
    ("answer", Action::Answer),
];

pub(super) fn check(
    page: &mut Page,
    raw: &RawPipeline,
    pipeline: &Pipeline,
    commands: &[Command],
    settings: &Settings,
) {
    if let Some(command) = commands.iter().find(|command| command.name == pipeline.command) {
        check_verbs(page, raw, pipeline, command);
    }
    let off: Vec<&str> = needed(pipeline)
        .into_iter()
        .filter(|name| !settings.is_on(name))
        .collect();
    if !off.is_empty() {
        let (names, are) = (off.join(", "), if off.len() == 1 { "is" } else { "are" });
        page.warn(
            raw.name.span(),
            format!(
                "runs of `{}` need {names}, which {are} off: they would stop there",
                pipeline.name
            ),
            "give what switches them on; the list of what is on says what is missing",
        );
    }
}

/// Messages say `retry` and `stop`; a run that asks could otherwise be answered by nobody.
fn check_verbs(page: &mut Page, raw: &RawPipeline, pipeline: &Pipeline, command: &Command) {
    let asks = pipeline.steps.iter().any(|step| matches!(step.kind, StepKind::Ask(_)));
    for (name, action) in SAID {
        let there = command
            .verbs
            .iter()
            .any(|verb| verb.action == action && verb.name.as_str() == name);
        if !there && (action != Action::Answer || asks) {
            page.say_hint(
                raw.command.span(),
                format!(
                    "messages about its runs tell people to say `/{} {name}`, and the command has no such verb",
                    command.name
                ),
                format!("[[verb]] name = \"{name}\" … in the file of the command"),
            );
        }
    }
}

/// The platforms and back-ends that its steps work with.
fn needed(pipeline: &Pipeline) -> BTreeSet<&str> {
    let mut needed = BTreeSet::new();
    if pipeline.params.iter().any(|param| !param.files.is_empty()) {
        needed.insert("github");
    }
    for step in &pipeline.steps {
        match &step.kind {
            StepKind::Change(_) => {
                needed.insert("github");
            }
            StepKind::Merge(merge) => {
                needed.insert("github");
                needed.extend(merge.deferred.iter().map(|app| app.backend.as_str()));
            }
            StepKind::Work(work) => needed.extend(work.jobs.iter().map(|job| job.backend.as_str())),
            StepKind::Tell(tell) if tell.move_ticket.is_some() => {
                needed.insert("jira");
            }
            StepKind::Ask(_) | StepKind::Tell(_) => {}
        }
    }
    needed
}
