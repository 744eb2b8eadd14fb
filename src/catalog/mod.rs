//! THE CATALOG: what people wrote in `config/` and `commands/`, turned into valid domain types, or into every
//! problem at once, each with its file, line and column.
//!
//! A file goes through three forms: TOML, then a raw struct that has the file's shape and knows where every value
//! stands, then the domain's type, in which nothing is left to check. The raw structs also give the JSON Schemas
//! for editors. The catalog never calls the outside and touches secrets only in the settings.

mod agree;
mod backends;
mod commands;
mod database_url;
mod diagnose;
pub mod docs;
mod merge;
mod page;
mod people;
mod pipelines;
mod places;
pub mod schema;
pub mod settings;
mod settings_env;
mod settings_raw;
mod settings_read;
mod shape;
mod steps;
mod steps_raw;
mod triggers;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

pub use diagnose::{Problem, Problems};
pub use settings::Settings;

use crate::domain::command::Command;
use crate::domain::ids::PipelineName;
use crate::domain::pipeline::Pipeline;
use crate::domain::policy::People;

use page::{Names, Page};

/// Everything that configuration says, valid.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// stepherd's own settings.
    pub settings: Settings,
    /// What people may say, by name.
    pub commands: Vec<Command>,
    /// What runs are made of.
    pub pipelines: BTreeMap<PipelineName, Pipeline>,
    /// Who may.
    pub people: People,
    /// What is no mistake but may not be meant.
    pub warnings: Vec<Problem>,
}

/// Reads a configuration folder: `stepherd.toml`, `people.toml` and `pipelines/*.toml` in it, and the commands in
/// `../commands/*.toml` or where `paths.commands` says. `env` lays `STEPHERD__SECTION__KEY` over the settings; other
/// variables are ignored. Reads files, and nothing else of the outside.
pub fn load(dir: &Path, env: &BTreeMap<String, String>) -> Result<Catalog, Problems> {
    let mut problems = Problems::default();
    let settings = load_settings(dir, env, &mut problems);
    let people_text = read_text(&dir.join("people.toml"), &mut problems);
    let pipelines = read_folder(&dir.join("pipelines"), "pipelines", &mut problems);
    let commands = read_folder(&settings.commands_dir, "commands", &mut problems);
    let sources = Sources {
        people: people_text,
        pipelines,
        commands,
    };
    let mut catalog = compile(settings, sources, &mut problems);
    problems.sort();
    if problems.is_empty() {
        catalog.warnings = problems.into_warnings();
        Ok(catalog)
    } else {
        Err(problems)
    }
}

/// The settings alone, for those who can tell more about them.
pub fn settings(dir: &Path, env: &BTreeMap<String, String>) -> Result<Settings, Problems> {
    let mut problems = Problems::default();
    let settings = load_settings(dir, env, &mut problems);
    if problems.is_empty() {
        Ok(settings)
    } else {
        Err(problems)
    }
}

/// A file's name and text.
type Source = (String, String);

/// What was read, apart from the settings. `None`: it could not be read, which has been said.
struct Sources {
    people: Option<Source>,
    pipelines: Option<Vec<Source>>,
    commands: Option<Vec<Source>>,
}

fn load_settings(dir: &Path, env: &BTreeMap<String, String>, problems: &mut Problems) -> Settings {
    let (file, text) = read_text(&dir.join("stepherd.toml"), problems)
        .unwrap_or_else(|| (shown(&dir.join("stepherd.toml")), String::new()));
    let mut page = Page::secretive(&file, &text);
    let raw = page.read_with(&text, settings_env::overlay(env)).unwrap_or_default();
    let settings = settings_read::compile(&mut page, raw, dir);
    page.finish(problems);
    settings
}

/// People first, because steps and verbs name roles; then pipelines, because verbs give parameters; then commands.
fn compile(settings: Settings, sources: Sources, problems: &mut Problems) -> Catalog {
    let mut people_page = sources.people.map(|(file, text)| Page::new(&file, &text));
    let (people, roles, nobodys) = people_page.as_mut().map_or_else(Default::default, |page| {
        let raw = page.read();
        people::compile(page, raw)
    });
    let mut pages = Pages::open::<pipelines::RawPipeline>(sources.pipelines);
    let pipeline_names = pages.names("the pipeline", |raw| &raw.name);
    let mut pipelines = BTreeMap::new();
    for (page, raw) in pages.read() {
        let roles = steps::Roles {
            names: &roles,
            approving: &people.approving,
        };
        let compiled = pipelines::compile(page, raw, &roles, &settings::BACKENDS);
        pipelines.extend(compiled.map(|pipeline| (pipeline.name.clone(), pipeline)));
    }
    let mut command_pages = Pages::open::<commands::RawCommand>(sources.commands);
    let command_names = command_pages.names("the command", |raw| &raw.name);
    let others = commands::Others {
        roles: &roles,
        pipeline_names: &pipeline_names,
        pipelines: &pipelines,
    };
    let mut commands = Vec::new();
    for (page, raw) in command_pages.read() {
        commands.extend(commands::compile(page, raw, &others));
    }
    for (page, raw) in pages.read() {
        page.refers("command", &raw.command, &command_names);
        let driver = commands
            .iter()
            .find(|command| command.name.as_str() == raw.command.get());
        if driver.is_some_and(|driver| driver.pipeline.as_str() != raw.name.get()) {
            let message = format!("the command `{}` drives another pipeline", raw.command.get());
            page.say(raw.command.span(), message);
        }
    }
    for (page, raw) in pages.read() {
        if let Some(pipeline) = pipelines.values().find(|found| found.name.as_str() == raw.name.get()) {
            agree::check(page, raw, pipeline, &commands, &settings);
        }
    }
    if let Some(mut page) = people_page {
        people::warn_of_nobodys(&mut page, &nobodys, &commands, &pipelines);
        page.finish(problems);
    }
    pages.finish(problems);
    command_pages.finish(problems);
    commands.sort_by(|a, b| a.name.cmp(&b.name));
    Catalog {
        settings,
        commands,
        pipelines,
        people,
        warnings: Vec::new(),
    }
}

/// The files of one folder.
struct Pages<T> {
    pages: Vec<(Page, Option<T>)>,
    /// Whether the folder itself could be read.
    complete: bool,
}

impl Pages<()> {
    fn open<T: serde::de::DeserializeOwned + schemars::JsonSchema>(sources: Option<Vec<Source>>) -> Pages<T> {
        let complete = sources.is_some();
        let pages = sources.unwrap_or_default().into_iter().map(|(file, text)| {
            let mut page = Page::new(&file, &text);
            let raw = page.read();
            (page, raw)
        });
        Pages {
            pages: pages.collect(),
            complete,
        }
    }
}

impl<T> Pages<T> {
    /// The names the files declare; a problem for each that is there twice.
    fn names(&mut self, what: &str, name: impl Fn(&T) -> &page::At<String>) -> Names {
        let mut list = BTreeSet::new();
        let mut complete = self.complete;
        for (page, raw) in &mut self.pages {
            match raw {
                Some(raw) => page.unique(what, name(raw), &mut list),
                None => complete = false,
            }
        }
        Names { list, complete }
    }

    fn read(&mut self) -> impl Iterator<Item = (&mut Page, &T)> {
        self.pages
            .iter_mut()
            .filter_map(|(page, raw)| raw.as_ref().map(|raw| (page, raw)))
    }

    fn finish(self, problems: &mut Problems) {
        for (page, _) in self.pages {
            page.finish(problems);
        }
    }
}

fn read_text(path: &Path, problems: &mut Problems) -> Option<Source> {
    let file = shown(path);
    match std::fs::read(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Some((file, text)),
            Err(_) => {
                problems.push(Problem::about(&file, "the file is not UTF-8 text", None));
                None
            }
        },
        Err(error) => {
            let hint = "every configuration folder has stepherd.toml and people.toml; either may be empty";
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            problems.push(Problem::about(
                &file,
                format!("the file cannot be read: {error}"),
                missing.then(|| hint.to_owned()),
            ));
            None
        }
    }
}

/// Endings of files that somebody may take for configuration.
const NEARLY: [&str; 5] = ["toml", "yaml", "yml", "json", "tml"];

/// The TOML files of a folder, by name.
fn read_folder(folder: &Path, what: &str, problems: &mut Problems) -> Option<Vec<Source>> {
    let listed = std::fs::read_dir(folder).and_then(|entries| {
        entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<PathBuf>, _>>()
    });
    let mut paths = match listed {
        Ok(paths) => paths,
        Err(error) => {
            let hint = match what {
                "commands" => "set paths.commands in stepherd.toml if they are elsewhere",
                _ => "pipelines stand in the configuration folder, in pipelines/",
            };
            let message = format!("the folder of {what} cannot be read: {error}");
            problems.push(Problem::about(&shown(folder), message, Some(hint.to_owned())));
            return None;
        }
    };
    paths.retain(|path| {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if ending != "toml" && NEARLY.iter().any(|other| ending.eq_ignore_ascii_case(other)) {
            let hint = format!("{what} are read from files that end in .toml");
            problems.warn(Problem::about(&shown(path), "this file is not read", Some(hint)));
        }
        ending == "toml"
    });
    paths.sort();
    let count = paths.len();
    let read: Vec<Source> = paths.iter().filter_map(|path| read_text(path, problems)).collect();
    (read.len() == count).then_some(read)
}

/// The path without `x/..`, as people would write it.
fn shown(path: &Path) -> String {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out.display().to_string()
}
