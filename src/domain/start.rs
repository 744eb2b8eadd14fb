//! What a run needs before it starts: its parameters' values and the names of its locks and threads.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::ids::{LockName, ParamName, Repo, RunId, Sha, ThreadRef, TicketKey};
use super::pipeline::{Param, ParamKind, Pipeline};
use super::run::Source;
use super::template::Template;
use super::values;

/// Parameter values by name.
pub type Params = BTreeMap<ParamName, String>;

/// Where values came from, by name.
pub type Sources = BTreeMap<ParamName, Source>;

/// What files say so far, by parameter and by the file's place in its list; `None` if the file or the value is absent.
pub type FileValues = BTreeMap<(ParamName, usize), Option<String>>;

/// The parameters' values, and where each came from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolved {
    /// The values.
    pub values: Params,
    /// Their sources.
    pub sources: Sources,
}

/// A file that must be read before the parameters can be resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileWanted {
    /// The parameter whose value it may hold.
    pub param: ParamName,
    /// Its place in the list of the parameter's files.
    pub place: usize,
    /// The repository.
    pub repo: Repo,
    /// The path on its default branch.
    pub path: String,
    /// JSON pointer to the value.
    pub pointer: String,
}

/// What to read next, given what files have said so far. `Ok(None)` when nothing more is needed. Of several files the last
/// one counts that has the value, so it is read first and the ones before it only if it has none.
///
/// # Errors
/// A problem with the arguments or the configuration, in words for the person who asked.
pub fn file_wanted(plan: &Pipeline, args: &Params, files: &FileValues) -> Result<Option<FileWanted>, String> {
    let mut known = Params::new();
    for param in &plan.params {
        if !args.contains_key(&param.name)
            && let Some(place) = unread(param, files)
        {
            let (repo, path) = place_of(plan, param, place, &known)?;
            return Ok(Some(FileWanted {
                param: param.name.clone(),
                place,
                repo,
                path,
                pointer: param.files[place].pointer.clone(),
            }));
        }
        if let Some((value, _)) = value_of(plan, param, args, files, &known)? {
            known.insert(param.name.clone(), value);
        }
    }
    Ok(None)
}

/// The place of the file to read next for this parameter, if any.
fn unread(param: &Param, files: &FileValues) -> Option<usize> {
    for place in (0..param.files.len()).rev() {
        match files.get(&(param.name.clone(), place)) {
            None => return Some(place),
            Some(Some(_)) => return None,
            Some(None) => {}
        }
    }
    None
}

/// Where one of a parameter's files is.
fn place_of(plan: &Pipeline, param: &Param, place: usize, known: &Params) -> Result<(Repo, String), String> {
    let file = &param.files[place];
    let context = values_context(plan, known, None, None);
    let render = |template: &Template| template.render(&context).map_err(|e| format!("`{}`: {e}", param.name));
    let repo = render(&file.repo)?
        .parse()
        .map_err(|e| format!("`{}`: {e}", param.name))?;
    Ok((repo, render(&file.path)?))
}

/// The parameters' values: argument, else the last file that has one, else default.
///
/// # Errors
/// What is missing or wrong, in words for the person who asked.
pub fn resolve(plan: &Pipeline, args: &Params, files: &FileValues) -> Result<Resolved, String> {
    let mut resolved = Resolved::default();
    for param in &plan.params {
        let Some((value, source)) = value_of(plan, param, args, files, &resolved.values)? else {
            return Err(format!("`{}` is missing: {}", param.name, param.help));
        };
        resolved.values.insert(param.name.clone(), value);
        resolved.sources.insert(param.name.clone(), source);
    }
    Ok(resolved)
}

/// The run's ticket, if its pipeline has one and it was given.
pub fn ticket_of(plan: &Pipeline, params: &Params) -> Option<TicketKey> {
    params.get(&plan.ticket_param()?.name)?.parse().ok()
}

/// The locks that a run with these values needs, without repeats.
///
/// # Errors
/// A lock's template that does not render to a lock name.
pub fn lock_names(plan: &Pipeline, params: &Params) -> Result<Vec<LockName>, String> {
    let context = values_context(plan, params, None, None);
    let mut names = Vec::new();
    for template in &plan.locks {
        let name: LockName = template
            .render(&context)
            .map_err(|e| format!("lock: {e}"))?
            .parse()
            .map_err(|e| format!("lock: {e}"))?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// The threads that the pipeline names; a place that renders empty is left out.
///
/// # Errors
/// A template that does not render to a thread.
pub fn audience(plan: &Pipeline, params: &Params, run: &RunId) -> Result<Vec<ThreadRef>, String> {
    let context = values_context(plan, params, Some(run), None);
    let rendered = plan
        .audience
        .iter()
        .map(|template| template.render(&context).map_err(|e| format!("audience: {e}")));
    rendered
        .filter(|text| !text.as_ref().is_ok_and(|t| t.trim().ends_with(':')))
        .map(|text| text?.trim().parse().map_err(|e| format!("audience: {e}")))
        .collect()
}

/// What every template may use: the parameters, `run`, `ticket` and `head_sha`. What is not known is an empty text.
pub fn values_context(plan: &Pipeline, params: &Params, run: Option<&RunId>, head: Option<&Sha>) -> Value {
    let mut context = Map::new();
    for param in &plan.params {
        let text = params.get(&param.name).cloned().unwrap_or_default();
        context.insert(param.name.to_string(), typed(&param.kind, text));
    }
    context.insert("run".into(), run.map_or("", RunId::as_str).into());
    context.insert(
        "ticket".into(),
        ticket_of(plan, params)
            .map(|t| t.to_string())
            .unwrap_or_default()
            .into(),
    );
    context.insert("head_sha".into(), head.map_or("", Sha::as_str).into());
    Value::Object(context)
}

/// Numbers and truth values keep their type, so that templates can compare them.
fn typed(kind: &ParamKind, text: String) -> Value {
    match kind {
        ParamKind::Int { .. } => text.parse::<i64>().map_or(Value::String(text), Value::from),
        ParamKind::Bool => Value::Bool(text == "true"),
        _ => Value::String(text),
    }
}

fn value_of(
    plan: &Pipeline,
    param: &Param,
    args: &Params,
    files: &FileValues,
    known: &Params,
) -> Result<Option<(String, Source)>, String> {
    let in_file = (0..param.files.len()).rev().find_map(|place| {
        let found = files.get(&(param.name.clone(), place))?.clone()?;
        Some((place, found))
    });
    let (text, source) = if let Some(text) = args.get(&param.name) {
        (text.clone(), Source::Command)
    } else if let Some((place, text)) = in_file {
        let (repo, path) = place_of(plan, param, place, known)?;
        (text, Source::File { repo, path })
    } else if let Some(default) = &param.default {
        let context = values_context(plan, known, None, None);
        (
            default.render(&context).map_err(|e| format!("`{}`: {e}", param.name))?,
            Source::Default,
        )
    } else {
        return Ok(None);
    };
    if text.is_empty() && param.default.is_some() {
        return Ok(Some((text, source)));
    }
    match values::parse_value(&param.kind, &text) {
        Ok(value) => Ok(Some((value, source))),
        Err(problem) => Err(format!("`{}` from {source}: {problem}", param.name)),
    }
}
