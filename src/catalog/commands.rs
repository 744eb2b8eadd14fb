//! `commands/*.toml`: what people may say, and what starts a verb without words.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::domain::command::{Action, Arg, Command, Verb};
use crate::domain::ids::{CommandName, ParamName, PipelineName, Platform, RoleName, VerbName};
use crate::domain::pipeline::{ParamKind, Pipeline};

use super::diagnose::did_you_mean;
use super::page::{At, Names, Page};
use super::people::known_platform;
use super::places::{Places, RawPlaces};
use super::triggers::{self, RawTrigger};
use super::values::{KindParts, RawKind};

/// A chat command and its verbs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCommand {
    /// Its name without the slash, also the file's name.
    pub(super) name: At<String>,
    /// One line for help.
    summary: At<String>,
    /// The pipeline its verbs act on.
    pipeline: At<String>,
    /// Where it may be said.
    #[serde(default)]
    places: RawPlaces,
    /// Its verbs, in the order of help.
    #[serde(default)]
    verb: Vec<RawVerb>,
    /// What starts a verb without words.
    #[serde(default)]
    on: Vec<RawTrigger>,
}

/// A verb.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawVerb {
    /// What people type after the command.
    name: At<String>,
    /// One line for help.
    help: At<String>,
    /// What it does; without it, the action of the same name.
    action: Option<At<RawAction>>,
    /// Its arguments. Required ones may be given by position, in this order; all by `name=value`.
    #[serde(default)]
    args: Vec<RawArg>,
    /// Who may: any of these roles of people.toml.
    roles: At<Vec<At<String>>>,
    /// The only platforms of the command's that it may be said on: `github`, `jira`, `discord`.
    places: Option<Vec<At<String>>>,
    /// An example of its use, with the slash.
    example: At<String>,
}

/// What verbs do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum RawAction {
    /// Start a run.
    Start,
    /// Show where a run stands.
    Status,
    /// Resume a run that stopped.
    Retry,
    /// Cancel what runs and end the run.
    Stop,
    /// List runs.
    List,
    /// Say what can be said.
    Help,
    /// Say why a run stands where it does.
    Why,
    /// Answer a run's question.
    Answer,
}

/// An argument.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawArg {
    /// Its name.
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
    /// Whether it must be given.
    #[serde(default)]
    required: bool,
}

/// What commands refer to.
pub(super) struct Others<'a> {
    /// Roles of people.toml.
    pub(super) roles: &'a Names,
    /// Names of pipelines, also of those with mistakes.
    pub(super) pipeline_names: &'a Names,
    /// Pipelines without mistakes.
    pub(super) pipelines: &'a BTreeMap<PipelineName, Pipeline>,
}

/// The command, if nothing in it is wrong.
pub(super) fn compile(page: &mut Page, raw: &RawCommand, others: &Others<'_>) -> Option<Command> {
    let name = page.parse::<CommandName>(&raw.name);
    if page.stem() != raw.name.get() {
        let (stem, name) = (page.stem().to_owned(), raw.name.get());
        page.say(
            raw.name.span(),
            format!("the file is called `{stem}`, the command `{name}`"),
        );
    }
    let pipeline_known = page.refers("pipeline", &raw.pipeline, others.pipeline_names);
    let pipeline: Option<PipelineName> = if pipeline_known {
        page.parse(&raw.pipeline)
    } else {
        None
    };
    let plan = pipeline.as_ref().and_then(|name| others.pipelines.get(name));
    let Places {
        platforms: default_places,
        control,
    } = super::places::compile(page, &raw.places);
    if raw.verb.is_empty() && !page.partial {
        page.say_hint(raw.name.span(), "a command needs verbs", "[[verb]] name = \"start\" …");
    }
    let (mut verbs, mut names, mut actions) = (Vec::new(), BTreeSet::new(), Vec::new());
    not_too_many(page, "verbs", raw.verb.iter().map(|verb| &verb.name));
    for verb in &raw.verb {
        page.unique("the verb", &verb.name, &mut names);
        let read = compile_verb(page, verb, name.as_ref(), &default_places, others.roles, &mut actions);
        if let (Some(read), Some(plan)) = (&read, plan)
            && read.action == Action::Start
        {
            check_start(page, verb, read, plan);
        }
        verbs.extend(read);
    }
    let names = Names {
        list: names,
        complete: !page.partial,
    };
    let triggers = raw
        .on
        .iter()
        .filter_map(|trigger| triggers::compile(page, trigger, &names, &verbs, &control))
        .collect();
    let starts = verbs.iter().any(|verb| verb.action == Action::Start);
    if starts && control.is_empty() && !page.partial {
        page.warn(
            raw.name.span(),
            format!(
                "nobody can start `{}`: its [places] list none to start it from",
                raw.name.get()
            ),
            "[places] github = [\"acme/deployment\"], jira = [\"SREPROV\"] or discord = [{ guild = \"…\" }]",
        );
    }
    let command = Command {
        name: name?,
        summary: page.line("the summary", &raw.summary),
        pipeline: pipeline?,
        verbs,
        triggers,
        control,
    };
    page.clean().then_some(command)
}

fn compile_verb(
    page: &mut Page,
    raw: &RawVerb,
    command: Option<&CommandName>,
    default_places: &[Platform],
    roles: &Names,
    actions: &mut Vec<Action>,
) -> Option<Verb> {
    let name = page.parse::<VerbName>(&raw.name);
    let action = action_of(page, raw);
    if let Some(action) = action {
        if actions.contains(&action) {
            page.say(
                raw.action.as_ref().map_or_else(|| raw.name.span(), At::span),
                "another verb of this command has the same action; people are told one way to do a thing",
            );
        }
        actions.push(action);
    }
    let mut args = compile_args(page, &raw.args);
    if let Some(action) = action {
        check_args(page, raw, action);
        args.extend(arg_of_offers(action).filter(|arg| args.iter().all(|own| own.name != arg.name)));
    }
    let example = page.worded("the example", &raw.example);
    if let Some(command) = command {
        check_example(page, &raw.example, &format!("/{command} {}", raw.name.get()));
    }
    let known: Vec<RoleName> = raw
        .roles
        .get()
        .iter()
        .filter(|role| page.refers("role", role, roles))
        .filter_map(|role| role.get().parse().ok())
        .collect();
    if raw.roles.get().is_empty() {
        page.say(raw.roles.span(), "nobody could use this verb: it names no role");
    }
    let places = raw
        .places
        .as_ref()
        .map_or_else(|| default_places.to_vec(), |own| places(page, own));
    if places.is_empty() && page.clean() {
        page.say_hint(
            raw.name.span(),
            format!("nobody could say `{}` anywhere: it has no places", raw.name.get()),
            "[places] at the end of the file, with github = [\"acme/deployment\"], for example",
        );
    }
    Some(Verb {
        name: name?,
        help: page.line("the help", &raw.help),
        action: action?,
        args,
        roles: known,
        places,
        example,
    })
}

fn not_too_many<'a>(page: &mut Page, what: &str, mut names: impl Iterator<Item = &'a At<String>>) {
    const MOST: usize = 25;
    if let Some(first_over) = names.nth(MOST) {
        page.say(
            first_over.span(),
            format!("there are more than {MOST} {what}, which is all Discord takes"),
        );
    }
}

fn check_example(page: &mut Page, example: &At<String>, start: &str) {
    let rest = example.get().strip_prefix(start);
    if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')) {
        page.say(example.span(), format!("the example must start with `{start}`"));
    }
}

fn action_of(page: &mut Page, raw: &RawVerb) -> Option<Action> {
    const ACTIONS: [(&str, Action); 8] = [
        ("start", Action::Start),
        ("status", Action::Status),
        ("retry", Action::Retry),
        ("stop", Action::Stop),
        ("list", Action::List),
        ("help", Action::Help),
        ("why", Action::Why),
        ("answer", Action::Answer),
    ];
    if let Some(action) = &raw.action {
        return Some(match action.get() {
            RawAction::Start => Action::Start,
            RawAction::Status => Action::Status,
            RawAction::Retry => Action::Retry,
            RawAction::Stop => Action::Stop,
            RawAction::List => Action::List,
            RawAction::Help => Action::Help,
            RawAction::Why => Action::Why,
            RawAction::Answer => Action::Answer,
        });
    }
    let found = ACTIONS
        .iter()
        .find(|(name, _)| name == raw.name.get())
        .map(|(_, action)| *action);
    if found.is_none() {
        let names = ACTIONS.iter().map(|(name, _)| *name);
        page.push(
            raw.name.span(),
            format!("`{}` is no action; say which one it is with `action`", raw.name.get()),
            did_you_mean(raw.name.get(), names),
        );
    }
    found
}

fn compile_args(page: &mut Page, raw: &[RawArg]) -> Vec<Arg> {
    let (mut args, mut seen, mut optional) = (Vec::<Arg>::new(), BTreeSet::new(), None::<String>);
    not_too_many(page, "arguments", raw.iter().map(|arg| &arg.name));
    for arg in raw {
        not_too_many(page, "choices", arg.choices.iter().flat_map(At::get));
        page.unique("the argument", &arg.name, &mut seen);
        let kind = KindParts {
            kind: &arg.kind,
            min: arg.min.as_ref(),
            max: arg.max.as_ref(),
            choices: arg.choices.as_ref(),
        }
        .compile(page);
        match &optional {
            Some(before) if arg.required => page.say_hint(
                arg.name.span(),
                format!(
                    "the required argument `{}` comes after the optional `{before}`",
                    arg.name.get()
                ),
                "required arguments come first: they may be given by position",
            ),
            None if !arg.required => optional = Some(arg.name.get().clone()),
            _ => {}
        }
        let help = page.line("the help", &arg.help);
        if let (Some(name), Some(kind)) = (page.parse::<ParamName>(&arg.name), kind) {
            args.push(Arg {
                name,
                kind,
                help,
                required: arg.required,
            });
        }
    }
    args
}

/// The argument by which buttons and shown commands say what they were offered for. Every such verb has it, whether the
/// file declares it or not: a press that comes late must not count for what came after.
fn arg_of_offers(action: Action) -> Option<Arg> {
    let (name, kind, help) = match action {
        Action::Answer => (
            "question",
            ParamKind::Word,
            "The question's id, as its message shows it; needed where an earlier question had the same answer",
        ),
        Action::Retry => (
            "failure",
            ParamKind::Word,
            "The failure's number, as its message shows it; else the newest",
        ),
        _ => return None,
    };
    Some(Arg {
        name: name.parse().ok()?,
        kind,
        help: help.to_owned(),
        required: false,
    })
}

/// What verbs other than `start` take is fixed: the engine knows these arguments only.
fn check_args(page: &mut Page, raw: &RawVerb, action: Action) {
    let taken: &[(&str, RawKind)] = match action {
        Action::Start => return,
        Action::Status | Action::Stop | Action::Why => &[("run", RawKind::Run)],
        Action::Retry => &[("run", RawKind::Run), ("failure", RawKind::Word)],
        Action::List => &[],
        Action::Help => &[("verb", RawKind::Word)],
        Action::Answer => &[
            ("value", RawKind::Word),
            ("run", RawKind::Run),
            ("question", RawKind::Word),
        ],
    };
    for arg in &raw.args {
        match taken.iter().find(|(name, _)| name == arg.name.get()) {
            None => page.push(
                arg.name.span(),
                format!("`{}` takes no argument `{}`", raw.name.get(), arg.name.get()),
                did_you_mean(arg.name.get(), taken.iter().map(|(name, _)| *name)),
            ),
            Some((_, kind)) if kind != arg.kind.get() => {
                let kind = format!("{kind:?}").to_lowercase();
                page.say(
                    arg.kind.span(),
                    format!("`{}` must have type = \"{kind}\"", arg.name.get()),
                );
            }
            Some(_) => {}
        }
    }
    let has_value = raw.args.iter().any(|arg| arg.name.get() == "value" && arg.required);
    if action == Action::Answer && !has_value && !page.partial {
        page.say(raw.name.span(), "an answer needs the required argument `value`");
    }
}

/// Whether a start verb gives the pipeline what it needs, in the kinds it needs.
fn check_start(page: &mut Page, raw: &RawVerb, verb: &Verb, plan: &Pipeline) {
    for arg in &raw.args {
        let name = arg.name.get();
        let Some(read) = verb.args.iter().find(|read| read.name.as_str() == name) else {
            continue;
        };
        let param = plan.params.iter().find(|param| param.name == read.name);
        match param {
            None if name == "sha" => {
                if read.kind != ParamKind::Sha {
                    page.say(arg.kind.span(), "`sha` must have type = \"sha\"");
                }
            }
            None => {
                let names = plan.params.iter().map(|param| param.name.as_str()).chain(["sha"]);
                page.push(
                    arg.name.span(),
                    format!("the pipeline `{}` has no parameter `{name}`", plan.name),
                    did_you_mean(name, names),
                );
            }
            Some(param) if !fits(&read.kind, &param.kind) => page.say(
                arg.kind.span(),
                format!(
                    "`{name}` takes values that the parameter of pipeline `{}` does not",
                    plan.name
                ),
            ),
            Some(_) => {}
        }
    }
    for param in &plan.params {
        let given = verb.args.iter().any(|arg| arg.name == param.name);
        if !given && param.files.is_empty() && param.default.is_none() && !page.partial {
            page.say_hint(
                raw.name.span(),
                format!(
                    "`{}` does not take `{}`, which pipeline `{}` must be given",
                    verb.name, param.name, plan.name
                ),
                "take it as an argument, or give the parameter a file or a default",
            );
        }
    }
}

/// Whether every value of an argument is one of the parameter.
fn fits(arg: &ParamKind, param: &ParamKind) -> bool {
    match (arg, param) {
        (ParamKind::Int { min, max }, ParamKind::Int { min: least, max: most }) => least <= min && max <= most,
        (ParamKind::Choice(some), ParamKind::Choice(all)) => some.iter().all(|choice| all.contains(choice)),
        (ParamKind::Word | ParamKind::Name | ParamKind::Choice(_) | ParamKind::Int { .. }, ParamKind::Text)
        | (ParamKind::Name, ParamKind::Word) => true,
        (arg, param) => arg == param,
    }
}

fn places(page: &mut Page, raw: &[At<String>]) -> Vec<Platform> {
    raw.iter()
        .filter_map(|place| known_platform(page, place.get(), place.span()))
        .collect()
}
