//! The steps of a pipeline file. A step is written flat: `kind` says what it is, and only the keys of that kind may
//! stand beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::domain::edit::{Edit, EditAction};
use crate::domain::ids::{BackendName, RoleName, StepName};
use crate::domain::pipeline::{
    AskOption, AskSpec, ChangeSpec, HALF_AN_HOUR, JobSpec, MoveSpec, OnFailure, ParamKind, StepKind, StepSpec,
    TellSpec, WorkSpec,
};
use crate::domain::template::Template;
use crate::domain::values::parse_value;

use super::backends;
use super::diagnose::did_you_mean;
use super::merge::leaves;
use super::page::{At, Names, Page};
use super::pipelines::{is_pointer, path, repo};
use super::settings::BackendForm;
use super::steps_raw::{RawEdit, RawInsertXml, RawJob, RawOnFailure, RawSet, RawStep, RawStepKind};
use super::values::{Known, Scalar, stand_in};

/// The longest label of a button, in characters.
const LABEL_MAX: usize = 80;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The steps that are right. Every name that becomes known on the way is known to the steps after it.
pub(super) fn compile(
    page: &mut Page,
    raw: &[RawStep],
    known: Known,
    roles: &Roles<'_>,
    backends: &[BackendForm],
) -> Vec<StepSpec> {
    let mut steps = Steps {
        known,
        roles: *roles,
        backends,
        changes: Names {
            list: BTreeSet::new(),
            complete: !page.partial,
        },
        merged: BTreeSet::new(),
    };
    let mut seen = BTreeSet::new();
    let compiled = raw.iter().enumerate().filter_map(|(index, step)| {
        page.unique("the step", &step.name, &mut seen);
        steps.step(page, step, &raw[index + 1..])
    });
    compiled.collect()
}

/// The roles that people.toml declares.
#[derive(Clone, Copy)]
pub(super) struct Roles<'a> {
    /// All of them.
    pub(super) names: &'a Names,
    /// Those that approve what others started.
    pub(super) approving: &'a BTreeSet<RoleName>,
}

/// What is known on the way through the list.
pub(super) struct Steps<'a> {
    pub(super) known: Known,
    roles: Roles<'a>,
    pub(super) backends: &'a [BackendForm],
    pub(super) changes: Names,
    pub(super) merged: BTreeSet<String>,
}

impl Steps<'_> {
    fn step(&mut self, page: &mut Page, raw: &RawStep, later: &[RawStep]) -> Option<StepSpec> {
        let name = page.parse::<StepName>(&raw.name);
        refuse_foreign(page, raw);
        let kind = match raw.kind.get() {
            RawStepKind::Change => self.change(page, raw).map(StepKind::Change),
            RawStepKind::Merge => self.merge(page, raw).map(StepKind::Merge),
            RawStepKind::Work => self.work(page, raw).map(StepKind::Work),
            RawStepKind::Ask => self.ask(page, raw).map(StepKind::Ask),
            RawStepKind::Tell => self.tell(page, raw).map(StepKind::Tell),
        };
        let usual = match raw.kind.get() {
            RawStepKind::Change | RawStepKind::Tell => 15 * MINUTE,
            RawStepKind::Work => 60 * MINUTE,
            RawStepKind::Merge | RawStepKind::Ask => 7 * DAY,
        };
        let timeout = raw.timeout.as_ref().map(|text| page.duration(text, SECOND, 365 * DAY));
        // What has a bound on stalling needs no other.
        let usual = raw.stall.is_none().then_some(usual);
        Some(StepSpec {
            title: page.worded("the title", &raw.title),
            name: name?,
            timeout: match timeout {
                Some(given) => Some(given?),
                None => usual,
            },
            auto_retries: raw.auto_retries.unwrap_or(0),
            kind: kind?,
            leaves: raw.leaves.as_ref().map(|raw| leaves(page, raw, later, &self.known)),
        })
    }

    fn change(&mut self, page: &mut Page, raw: &RawStep) -> Option<ChangeSpec> {
        let needed = (
            need(page, raw, "repo", raw.repo.as_ref()),
            need(page, raw, "pr_title", raw.pr_title.as_ref()),
            need(page, raw, "edit", raw.edit.as_ref()),
        );
        let repo = needed.0.map(|at| repo(page, at, &self.known));
        let title = needed.1.map(|at| page.template(at, &self.known));
        let body = raw.pr_body.as_ref().map(|at| page.template(at, &self.known));
        let mut edits = Vec::new();
        for edit in raw.edit.iter().flat_map(At::get) {
            edits.extend(self.edit(page, edit));
        }
        // What the step leaves behind, for later templates; `merged` comes with its merge.
        for field in ["pr", "branch", "head", "url"] {
            self.known.insert(format!("steps.{}.{field}", raw.name.get()));
        }
        self.changes.list.insert(raw.name.get().clone());
        Some(ChangeSpec {
            repo: repo?,
            edits,
            title: title?,
            body: body.unwrap_or_else(|| Template::new("")),
        })
    }

    fn edit(&self, page: &mut Page, raw: &RawEdit) -> Option<Edit<Template>> {
        let path = path(page, &raw.path, &self.known);
        let delete = raw.delete.as_ref().filter(|at| *at.get());
        let given = [
            raw.write.is_some(),
            raw.set.is_some(),
            raw.insert_xml.is_some(),
            delete.is_some(),
        ];
        if given.into_iter().filter(|given| *given).count() != 1 {
            page.say_hint(
                raw.path.span(),
                format!("this edit of `{}` must do exactly one thing", raw.path.get()),
                "write = \"…\", set = { pointer = \"/…\", value = … }, insert_xml = { parent = \"/…\", element = \"<…/>\" } \
                 or delete = true",
            );
            return None;
        }
        let action = if let Some(content) = &raw.write {
            EditAction::Write {
                content: page.template(content, &self.known),
            }
        } else if let Some(set) = &raw.set {
            self.set(page, raw, set)
        } else if let Some(insert) = &raw.insert_xml {
            self.insert_xml(page, insert)
        } else {
            EditAction::Delete
        };
        Some(Edit { path, action })
    }

    fn set(&self, page: &mut Page, raw: &RawEdit, set: &RawSet) -> EditAction<Template> {
        const ENDINGS: [&str; 4] = [".yaml", ".yml", ".json", ".toml"];
        if !ENDINGS.iter().any(|ending| raw.path.get().ends_with(ending)) && !raw.path.get().ends_with("}}") {
            page.say(
                raw.path.span(),
                format!(
                    "`set` knows YAML, JSON and TOML by the file's ending, not `{}`",
                    raw.path.get()
                ),
            );
        }
        if stand_in(set.pointer.get(), "/x").is_some_and(|pointer| !is_pointer(&pointer)) {
            page.say_hint(
                set.pointer.span(),
                format!("`{}` is no JSON pointer", set.pointer.get()),
                "it starts with a slash: /farmers/enabled",
            );
        }
        EditAction::Set {
            pointer: page.template(&set.pointer, &self.known),
            value: page.scalar_template(&set.value, &self.known),
        }
    }

    fn insert_xml(&self, page: &mut Page, raw: &RawInsertXml) -> EditAction<Template> {
        if stand_in(raw.parent.get(), "/x").is_some_and(|parent| !parent.starts_with('/')) {
            page.say_hint(
                raw.parent.span(),
                format!("`{}` is no path of elements", raw.parent.get()),
                "element names from the root: /project/modules",
            );
        }
        EditAction::InsertXml {
            parent: page.template(&raw.parent, &self.known),
            element: page.template(&raw.element, &self.known),
        }
    }

    pub(super) fn with(&self, page: &mut Page, raw: &BTreeMap<At<String>, At<Scalar>>) -> BTreeMap<String, Template> {
        let with = raw.iter();
        with.map(|(key, value)| (key.get().clone(), page.scalar_template(value, &self.known)))
            .collect()
    }

    fn work(&self, page: &mut Page, raw: &RawStep) -> Option<WorkSpec> {
        let jobs = need(page, raw, "job", raw.job.as_ref())?;
        if jobs.get().is_empty() && !page.partial {
            page.say(jobs.span(), "a work step needs jobs");
        }
        let (mut compiled, mut seen) = (Vec::new(), BTreeSet::new());
        for job in jobs.get() {
            page.unique("the job", &job.name, &mut seen);
            page.worded("a job's name", &job.name);
            compiled.extend(self.job(page, job));
        }
        let every = raw.every.as_ref().map(|text| page.duration(text, SECOND, DAY));
        let mut time = |given: &Option<At<String>>, usual: Option<Duration>| match given {
            Some(text) => page.duration(text, SECOND, 365 * DAY),
            None => usual,
        };
        let (stall, unsure_after, restart_within) = (
            time(&raw.stall, None),
            time(&raw.unsure_after, Some(HALF_AN_HOUR)),
            time(&raw.restart_within, Some(HALF_AN_HOUR)),
        );
        Some(WorkSpec {
            jobs: compiled,
            on_failure: match raw.on_failure.as_ref().map(At::get) {
                None | Some(RawOnFailure::Leave) => OnFailure::Leave,
                Some(RawOnFailure::Cancel) => OnFailure::Cancel,
                Some(RawOnFailure::Drain) => OnFailure::Drain,
            },
            every: every.unwrap_or(Some(15 * SECOND))?,
            stall,
            unsure_after: unsure_after?,
            restart_within: restart_within?,
            follow_restarts: raw.follow_restarts.as_ref().is_some_and(|said| *said.get()),
        })
    }

    fn job(&self, page: &mut Page, raw: &RawJob) -> Option<JobSpec> {
        let form = self.backends.iter().find(|form| form.name == raw.backend.get());
        let startable = form.is_none_or(|form| form.never_started.is_none());
        match form {
            Some(form) => {
                backends::check_with(page, &raw.backend, &raw.with, form);
                if let (Some(why), Some(start)) = (form.never_started, raw.start.as_ref().filter(|at| *at.get())) {
                    page.say_hint(
                        start.span(),
                        format!("the back-end `{}` starts nothing: {why}", form.name),
                        "start = false",
                    );
                }
            }
            None => page.push(
                raw.backend.span(),
                format!("there is no back-end `{}`", raw.backend.get()),
                did_you_mean(raw.backend.get(), self.backends.iter().map(|form| form.name)),
            ),
        }
        Some(JobSpec {
            name: raw.name.get().clone(),
            backend: raw.backend.get().parse::<BackendName>().ok()?,
            start: raw.start.as_ref().map_or(startable, |said| *said.get()),
            with: self.with(page, &raw.with),
        })
    }

    fn ask(&self, page: &mut Page, raw: &RawStep) -> Option<AskSpec> {
        let needed = (
            need(page, raw, "question", raw.question.as_ref()),
            need(page, raw, "option", raw.option.as_ref()),
            need(page, raw, "roles", raw.roles.as_ref()),
        );
        let question = needed.0.map(|at| page.template(at, &self.known));
        let (mut options, mut seen) = (Vec::new(), BTreeSet::new());
        if let Some(list) = needed.1.filter(|list| list.get().len() < 2 && !page.partial) {
            page.say(list.span(), "a question needs at least two options");
        }
        for option in needed.1.into_iter().flat_map(At::get) {
            page.unique("the option", &option.value, &mut seen);
            match parse_value(&ParamKind::Word, option.value.get()) {
                Ok(word) if word == *option.value.get() => {}
                Ok(_) => page.say(option.value.span(), "an option's value has no spaces around it"),
                Err(problem) => page.say(option.value.span(), format!("an option's value is typed: {problem}")),
            }
            if option.label.get().chars().count() > LABEL_MAX {
                page.say(
                    option.label.span(),
                    format!("a button's label takes {LABEL_MAX} characters"),
                );
            }
            options.push(AskOption {
                value: option.value.get().clone(),
                label: page.worded("the label", &option.label),
                go_on: option.go_on.unwrap_or(true),
            });
        }
        if let Some(none) = needed.2.filter(|list| list.get().is_empty()) {
            page.say(none.span(), "nobody could answer: the question names no role");
        }
        let roles: Vec<RoleName> = needed
            .2
            .into_iter()
            .flat_map(At::get)
            .filter(|role| page.refers("role", role, self.roles.names))
            .filter_map(|role| role.get().parse().ok())
            .collect();
        let approves = roles.iter().any(|role| self.roles.approving.contains(role));
        Some(AskSpec {
            not_the_asker: raw.not_the_asker.as_ref().map_or(approves, |said| *said.get()),
            question: question?,
            options,
            roles,
        })
    }

    fn tell(&self, page: &mut Page, raw: &RawStep) -> Option<TellSpec> {
        if raw.move_ticket.is_none() && raw.note.is_none() {
            page.say_hint(
                raw.kind.span(),
                format!("the tell step `{}` has nothing to tell", raw.name.get()),
                "move_ticket = { to = \"Done\" } or note = \"…\", or both",
            );
            return None;
        }
        let move_ticket = raw.move_ticket.as_ref().map(|at| {
            let usual = at.with("{{ ticket }}".to_owned());
            MoveSpec {
                ticket: page.template(at.get().ticket.as_ref().unwrap_or(&usual), &self.known),
                to: page.worded("the status", &at.get().to),
            }
        });
        Some(TellSpec {
            move_ticket,
            note: raw.note.as_ref().map(|at| page.template(at, &self.known)),
        })
    }
}

/// The value of a key that the step's kind needs; a problem if it is absent.
pub(super) fn need<'a, T>(page: &mut Page, step: &RawStep, key: &str, value: Option<&'a At<T>>) -> Option<&'a At<T>> {
    // In a file that was read in part, it may be what was left out.
    if value.is_none() && !page.partial {
        let message = format!(
            "the {} step `{}` needs `{key}`",
            spoken(*step.kind.get()),
            step.name.get()
        );
        page.say(step.kind.span(), message);
    }
    value
}

/// A problem for every key that belongs to another kind.
fn refuse_foreign(page: &mut Page, raw: &RawStep) {
    use RawStepKind::{Ask, Change, Merge, Tell, Work};
    let keys = [
        (Change, "repo", raw.repo.as_ref().map(At::span)),
        (Change, "pr_title", raw.pr_title.as_ref().map(At::span)),
        (Change, "pr_body", raw.pr_body.as_ref().map(At::span)),
        (Change, "edit", raw.edit.as_ref().map(At::span)),
        (Merge, "branch_of", raw.branch_of.as_ref().map(At::span)),
        (Merge, "by", raw.by.as_ref().map(At::span)),
        (Merge, "method", raw.method.as_ref().map(At::span)),
        (Merge, "deferred", raw.deferred.as_ref().map(At::span)),
        (Work, "job", raw.job.as_ref().map(At::span)),
        (Work, "on_failure", raw.on_failure.as_ref().map(At::span)),
        (Work, "every", raw.every.as_ref().map(At::span)),
        (Work, "stall", raw.stall.as_ref().map(At::span)),
        (Work, "unsure_after", raw.unsure_after.as_ref().map(At::span)),
        (Work, "restart_within", raw.restart_within.as_ref().map(At::span)),
        (Work, "follow_restarts", raw.follow_restarts.as_ref().map(At::span)),
        (Ask, "question", raw.question.as_ref().map(At::span)),
        (Ask, "option", raw.option.as_ref().map(At::span)),
        (Ask, "roles", raw.roles.as_ref().map(At::span)),
        (Ask, "not_the_asker", raw.not_the_asker.as_ref().map(At::span)),
        (Tell, "move_ticket", raw.move_ticket.as_ref().map(At::span)),
        (Tell, "note", raw.note.as_ref().map(At::span)),
    ];
    let kind = *raw.kind.get();
    let own: Vec<&str> = keys
        .iter()
        .filter(|(owner, ..)| *owner == kind)
        .map(|(_, key, _)| *key)
        .collect();
    for (owner, key, span) in keys {
        if let Some(span) = span.filter(|_| owner != kind) {
            page.say_hint(
                span,
                format!(
                    "`{key}` belongs to {} steps, and this is a {} step",
                    spoken(owner),
                    spoken(kind)
                ),
                format!("a {} step takes {}", spoken(kind), own.join(", ")),
            );
        }
    }
}

fn spoken(kind: RawStepKind) -> &'static str {
    match kind {
        RawStepKind::Change => "change",
        RawStepKind::Merge => "merge",
        RawStepKind::Work => "work",
        RawStepKind::Ask => "ask",
        RawStepKind::Tell => "tell",
    }
}
