//! `config/pipelines/*.toml`: what a run needs to know, what it locks, whom it tells. Its steps: `steps`.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::domain::edit;
use crate::domain::ids::{CommandName, LockName, ParamName, PipelineName, Repo, StepName};
use crate::domain::pipeline::{Param, ParamFile, ParamKind, Pipeline, StepKind};
use crate::domain::template::Template;
use crate::domain::values::parse_value;

use super::page::{At, Names, Page};
use super::people::known_platform;
use super::settings::BackendForm;
use super::steps::{self, Roles};
use super::steps_raw::RawStep;
use super::values::{KindParts, Known, OneOrSeveral, RawKind, Scalar, stand_in};

/// A pipeline: parameters, locks, audience and steps.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPipeline {
    /// Its name, also the file's name.
    pub(super) name: At<String>,
    /// What people call it.
    title: At<String>,
    /// The chat command that drives it, without the slash.
    pub(super) command: At<String>,
    /// What a run needs to know, in the order in which values are found.
    #[serde(default)]
    param: Vec<RawParam>,
    /// Locks a run holds from start to end, as templates over the parameters; runs that want the same one queue.
    #[serde(default)]
    locks: Vec<At<String>>,
    /// Threads beside the one where the run was asked for, as `platform:place`; one whose place renders empty is
    /// left out.
    #[serde(default)]
    audience: Vec<At<String>>,
    /// The `work` step whose progress stands for the run's; without it, steps passed of all.
    progress_of: Option<At<String>>,
    /// The steps, in order.
    #[serde(default)]
    step: Vec<RawStep>,
}

/// A parameter. Its value is the command's argument of the same name, else the value in `file`, else `default`. `status`
/// and `why` say where each value of a run came from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawParam {
    /// Its name in commands and templates.
    name: At<String>,
    /// What it takes.
    #[serde(rename = "type")]
    kind: At<RawKind>,
    /// The least number, for type = "int".
    min: Option<At<i64>>,
    /// The greatest number, for type = "int".
    max: Option<At<i64>>,
    /// What can be chosen, for type = "choice".
    choices: Option<At<Vec<At<String>>>>,
    /// One line for help.
    help: At<String>,
    /// Where its value stands when the command says nothing: one file, or a list of files in which a later one overrides
    /// those before it, as the tenant's own in the deployment repository overrides what is usual in the configuration
    /// repository.
    #[serde(default)]
    file: OneOrSeveral<RawFile>,
    /// The value when nothing else gives one, as a template over earlier parameters; "" means that it may be left
    /// out. Without a default it must be given.
    default: Option<At<Scalar>>,
}

/// A value in a file of a repository's default branch.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawFile {
    /// The repository, as a template over earlier parameters.
    repo: At<String>,
    /// The path in it, as a template over earlier parameters; YAML, JSON or TOML by its ending.
    path: At<String>,
    /// JSON pointer (RFC 6901) to the value. An absent file or value means "not given".
    pointer: At<String>,
}

/// The names that stand beside a pipeline's own parameters in its templates.
const RUN_NAMES: [&str; 5] = ["run", "ticket", "step", "attempt", "head_sha"];

/// The pipeline, if nothing in it is wrong.
pub(super) fn compile(
    page: &mut Page,
    raw: &RawPipeline,
    roles: &Roles<'_>,
    backends: &[BackendForm],
) -> Option<Pipeline> {
    let name = page.parse::<PipelineName>(&raw.name);
    if page.stem() != raw.name.get() {
        let stem = page.stem().to_owned();
        let message = format!("the file is called `{stem}`, the pipeline `{}`", raw.name.get());
        page.say(raw.name.span(), message);
    }
    let command = page.parse::<CommandName>(&raw.command);
    let (params, known_params) = compile_params(page, &raw.param);
    let mut lock_known = known_params.clone();
    lock_known.insert("ticket".to_owned());
    let mut run_known = lock_known.clone();
    run_known.insert("run".to_owned());
    let locks = raw
        .locks
        .iter()
        .map(|lock| compile_lock(page, lock, &lock_known))
        .collect();
    let audience = raw
        .audience
        .iter()
        .map(|thread| compile_thread(page, thread, &run_known))
        .collect();
    let mut known = known_params;
    known.extend(RUN_NAMES.map(str::to_owned));
    if raw.step.is_empty() && !page.partial {
        page.say_hint(
            raw.name.span(),
            "a pipeline needs steps",
            "[[step]] name = \"…\" kind = \"…\" …",
        );
    }
    let steps = steps::compile(page, &raw.step, known, roles, backends);
    let progress_of = raw.progress_of.as_ref().and_then(|name| {
        let names = Names {
            list: raw.step.iter().map(|step| step.name.get().clone()).collect(),
            complete: !page.partial,
        };
        let found = page.refers("step", name, &names);
        let step = steps.iter().find(|step| step.name.as_str() == name.get());
        if found && step.is_some_and(|step| !matches!(step.kind, StepKind::Work(_))) {
            page.say(name.span(), "only a `work` step has progress of its own");
        }
        name.get().parse::<StepName>().ok()
    });
    let pipeline = Pipeline {
        name: name?,
        title: page.worded("the title", &raw.title),
        command: command?,
        params,
        locks,
        audience,
        progress_of,
        steps,
    };
    page.clean().then_some(pipeline)
}

fn compile_params(page: &mut Page, raw: &[RawParam]) -> (Vec<Param>, Known) {
    let (mut params, mut seen, mut known) = (Vec::<Param>::new(), BTreeSet::new(), Known::new());
    for param in raw {
        page.unique("the parameter", &param.name, &mut seen);
        // `ticket` may name the parameter that holds it; the other names belong to the run.
        let taken = RUN_NAMES.contains(&param.name.get().as_str()) && param.name.get() != "ticket";
        if taken || matches!(param.name.get().as_str(), "steps" | "sha") {
            let message = format!("`{}` is a name that every run has already", param.name.get());
            page.say(param.name.span(), message);
        }
        let kind = KindParts {
            kind: &param.kind,
            min: param.min.as_ref(),
            max: param.max.as_ref(),
            choices: param.choices.as_ref(),
        }
        .compile(page);
        check_ticket(page, param, &params);
        let files = param.file.0.iter().map(|file| ParamFile {
            repo: repo(page, &file.repo, &known),
            path: path(page, &file.path, &known),
            pointer: pointer(page, &file.pointer),
        });
        let files = files.collect();
        let default = param
            .default
            .as_ref()
            .map(|default| compile_default(page, default, kind.as_ref(), &known));
        let help = page.worded("the help", &param.help);
        // Known to later templates even if something about it is wrong: one mistake, one problem.
        known.insert(param.name.get().clone());
        if let (Some(name), Some(kind)) = (page.parse::<ParamName>(&param.name), kind) {
            params.push(Param {
                name,
                kind,
                help,
                files,
                default,
            });
        }
    }
    (params, known)
}

fn check_ticket(page: &mut Page, param: &RawParam, before: &[Param]) {
    let is_ticket = *param.kind.get() == RawKind::Ticket;
    if is_ticket && let Some(first) = before.iter().find(|param| param.kind == ParamKind::Ticket) {
        let message = format!("a run has one ticket, and `{}` names it already", first.name);
        page.say(param.kind.span(), message);
    }
    if param.name.get() == "ticket" && !is_ticket {
        page.say(param.kind.span(), "the parameter `ticket` must have type = \"ticket\"");
    }
}

fn compile_default(page: &mut Page, default: &At<Scalar>, kind: Option<&ParamKind>, known: &Known) -> Template {
    let text = &default.get().0;
    let literal = !text.is_empty() && !text.contains('{');
    if literal && let Some(Err(problem)) = kind.map(|kind| parse_value(kind, text)) {
        page.say(default.span(), format!("the default does not fit: {problem}"));
    }
    page.scalar_template(default, known)
}

fn compile_lock(page: &mut Page, lock: &At<String>, known: &Known) -> Template {
    if let Some(Err(error)) = stand_in(lock.get(), "x").map(|name| name.parse::<LockName>()) {
        page.say(lock.span(), error.to_string());
    }
    page.template(lock, known)
}

fn compile_thread(page: &mut Page, thread: &At<String>, known: &Known) -> Template {
    match thread.get().split_once(':') {
        Some((platform, place)) if !place.is_empty() => {
            known_platform(page, platform, thread.span());
        }
        _ => page.say_hint(
            thread.span(),
            format!("`{}` is no thread", thread.get()),
            "platform:place, as jira:{{ ticket }} or discord:{{ channel }}",
        ),
    }
    page.template(thread, known)
}

/// A repository as a template; one without expressions is checked now.
pub(super) fn repo(page: &mut Page, repo: &At<String>, known: &Known) -> Template {
    if let Some(Err(error)) = stand_in(repo.get(), "x").map(|name| name_of(&name, repo.get())) {
        page.say(repo.span(), error.to_string());
    }
    page.template(repo, known)
}

fn name_of(stood_in: &str, source: &str) -> Result<(), crate::domain::ids::InvalidName> {
    // A single expression may be a whole repository.
    if stood_in == "x" && source != "x" {
        return Ok(());
    }
    stood_in.parse::<Repo>().map(|_| ())
}

/// A path as a template.
pub(super) fn path(page: &mut Page, path: &At<String>, known: &Known) -> Template {
    if let Some(Err(error)) = stand_in(path.get(), "x").map(|path| edit::check_path(&path)) {
        page.say(path.span(), error.message);
    }
    page.template(path, known)
}

fn pointer(page: &mut Page, pointer: &At<String>) -> String {
    if !is_pointer(pointer.get()) {
        page.say_hint(
            pointer.span(),
            format!("`{}` is no JSON pointer", pointer.get()),
            "it starts with a slash: /farmers/min",
        );
    }
    pointer.get().clone()
}

/// Whether this may be a JSON pointer (RFC 6901) to something inside the document.
pub(super) fn is_pointer(text: &str) -> bool {
    text.starts_with('/') && text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}
