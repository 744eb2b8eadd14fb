//! What a run needs before it starts: its parameters' values and the names of its locks and threads.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::ids::{LockName, ParamName, Repo, RunId, Sha, ThreadRef, TicketKey};
use super::pipeline::{Param, ParamKind, Pipeline};
use super::template::Template;
use super::values;

/// Parameter values by name.
pub type Params = BTreeMap<ParamName, String>;

/// A file that must be read before the parameters can be resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileWanted {
    /// The parameter whose value it may hold.
    pub param: ParamName,
    /// The repository.
    pub repo: Repo,
    /// The path on its default branch.
    pub path: String,
    /// JSON pointer to the value.
    pub pointer: String,
}

/// What to read next, given what files have said so far (`None`: the file or the value is absent). `Ok(None)` when
/// nothing more is needed.
///
/// # Errors
/// A problem with the arguments or the configuration, in words for the person who asked.
pub fn file_wanted(
    plan: &Pipeline,
    args: &Params,
    files: &BTreeMap<ParamName, Option<String>>,
) -> Result<Option<FileWanted>, String> {
    let mut known = Params::new();
    for param in &plan.params {
        if let (None, Some(file), None) = (args.get(&param.name), &param.file, files.get(&param.name)) {
            let context = values_context(plan, &known, None, None);
            let render = |template: &Template| template.render(&context).map_err(|e| format!("`{}`: {e}", param.name));
            let repo = render(&file.repo)?
                .parse()
                .map_err(|e| format!("`{}`: {e}", param.name))?;
            let path = render(&file.path)?;
            return Ok(Some(FileWanted {
                param: param.name.clone(),
                repo,
                path,
                pointer: file.pointer.clone(),
            }));
        }
        if let Some(value) = value_of(plan, param, args, files, &known)? {
            known.insert(param.name.clone(), value);
        }
    }
    Ok(None)
}

/// The parameters' values: argument, else file, else default.
///
/// # Errors
/// What is missing or wrong, in words for the person who asked.
pub fn resolve(plan: &Pipeline, args: &Params, files: &BTreeMap<ParamName, Option<String>>) -> Result<Params, String> {
    let mut known = Params::new();
    for param in &plan.params {
        match value_of(plan, param, args, files, &known)? {
            Some(value) => known.insert(param.name.clone(), value),
            None => return Err(format!("`{}` is missing: {}", param.name, param.help)),
        };
    }
    Ok(known)
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
    files: &BTreeMap<ParamName, Option<String>>,
    known: &Params,
) -> Result<Option<String>, String> {
    let (text, source) = if let Some(text) = args.get(&param.name) {
        (text.clone(), "the command")
    } else if let Some(Some(text)) = files.get(&param.name) {
        (text.clone(), "the repository's file")
    } else if let Some(default) = &param.default {
        let context = values_context(plan, known, None, None);
        (
            default.render(&context).map_err(|e| format!("`{}`: {e}", param.name))?,
            "the default",
        )
    } else {
        return Ok(None);
    };
    if text.is_empty() && param.default.is_some() {
        return Ok(Some(text));
    }
    values::parse_value(&param.kind, &text)
        .map(Some)
        .map_err(|e| format!("`{}` from {source}: {e}", param.name))
}
