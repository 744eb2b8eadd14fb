//! A pipeline whose first step is a set of jobs, and what must hold of them: each is started once for an attempt, what
//! runs is watched or listed, and what a stop says became of a job is so.

use std::collections::BTreeMap;
use std::path::Path;

use stepherd::domain::ids::RunId;
use stepherd::domain::run::{Happened, History, Run, RunState, Verdict};
use stepherd::domain::standing;
use stepherd::sandbox::argocd::{AppSeed, Operation};
use stepherd::sandbox::town::{OTHER_TENANT, REPO, TENANT};

use crate::world::World;

const STEP: &str = "Warm";
const JOBS: [&str; 3] = ["a", "b", "c"];

/// The set of one story. Each job syncs an application of its own.
#[derive(Debug, Clone, Copy)]
pub struct Set {
    jobs: usize,
    on_failure: &'static str,
    auto_retries: u64,
}

impl Set {
    /// Every other story has one.
    pub fn of(seed: u64) -> Option<Self> {
        seed.is_multiple_of(2).then(|| Self {
            on_failure: ["leave", "cancel", "drain"][(seed / 2 % 3) as usize],
            jobs: 2 + (seed / 6 % 2) as usize,
            auto_retries: seed / 12 % 2,
        })
    }

    /// Puts the set before all other steps.
    pub fn write(&self, dir: &Path) {
        let path = dir.join("config/pipelines/dcr.toml");
        let shipped = std::fs::read_to_string(&path).unwrap();
        let (head, steps) = shipped.split_once("[[step]]").unwrap();
        let (retries, on_failure) = (self.auto_retries, self.on_failure);
        let mut step = format!(
            "[[step]]\nname = \"{STEP}\"\ntitle = \"Warm up\"\nkind = \"work\"\ntimeout = \"2h\"\nevery = \"5s\"\n\
             auto_retries = {retries}\non_failure = \"{on_failure}\"\n\n"
        );
        for job in self.jobs() {
            step += &format!(
                "[[step.job]]\nname = \"{job}\"\nbackend = \"argocd\"\nstart = true\n\
                 with = {{ app = \"warm-{job}-{{{{ tenant }}}}\", project = \"dcr\" }}\n\n"
            );
        }
        std::fs::write(path, format!("{head}{step}[[step]]{steps}")).unwrap();
    }

    /// Adds the applications.
    pub fn build(&self, world: &World) {
        for name in [TENANT, OTHER_TENANT].iter().flat_map(|tenant| self.apps(tenant)) {
            world.town.argocd.add_app(AppSeed {
                path: name.clone(),
                name,
                project: "dcr".to_owned(),
                labels: BTreeMap::new(),
                repo_url: format!("https://github.com/{REPO}"),
                target_revision: "main".to_owned(),
                head: "0".repeat(40),
            });
        }
    }

    fn jobs(&self) -> &'static [&'static str] {
        &JOBS[..self.jobs]
    }

    /// The applications of a tenant.
    pub fn apps(&self, tenant: &str) -> Vec<String> {
        let app = |job: &&str| format!("warm-{job}-{tenant}");
        self.jobs().iter().map(app).collect()
    }
}

/// What was seen of a set.
pub struct Sets {
    set: Option<Set>,
    /// At which of its application's syncs each job was first seen.
    started: BTreeMap<String, u32>,
    /// What runs that are over said is left; nothing if they completed.
    over: BTreeMap<RunId, Vec<String>>,
}

/// The operation of one application, and whose it is.
struct Seen {
    app: String,
    marker: String,
    run: RunId,
    job: String,
    operation: Operation,
}

impl Sets {
    pub fn new(set: Option<Set>) -> Self {
        Self {
            set,
            started: BTreeMap::new(),
            over: BTreeMap::new(),
        }
    }

    /// The set's applications of this tenant.
    pub fn apps(&self, tenant: &str) -> Vec<String> {
        self.set.map(|set| set.apps(tenant)).unwrap_or_default()
    }

    fn seen(&self, world: &World) -> Vec<Seen> {
        let apps = [TENANT, OTHER_TENANT].into_iter().flat_map(|tenant| self.apps(tenant));
        let seen = apps.filter_map(|app| {
            let operation = world.town.argocd.operation(&app)?;
            let marker = operation.info.clone()?;
            let parts: Vec<&str> = marker.split('/').collect();
            let [run, STEP, _, job] = parts[..] else {
                panic!("{app} is synced by {marker}");
            };
            let (run, job) = (run.parse().unwrap(), job.to_owned());
            Some(Seen {
                app,
                marker,
                run,
                job,
                operation,
            })
        });
        seen.collect()
    }

    /// A run that has changed: what it says when it is over.
    pub fn changed(&mut self, world: &World, run: &Run, history: &[History]) {
        let RunState::Finished { verdict, .. } = &run.state else {
            return;
        };
        let said = history.iter().rev().find_map(|entry| match &entry.what {
            Happened::Finished { left, .. } => Some(left.clone()),
            _ => None,
        });
        let said = said
            .filter(|_| matches!(verdict, Verdict::Canceled { .. }))
            .unwrap_or_default();
        if self.over.insert(run.id.clone(), said.clone()).is_some() {
            return;
        }
        for seen in self.seen(world).iter().filter(|seen| seen.run == run.id) {
            let (line, phase) = (of_job(&said, &seen.job), seen.operation.phase.as_str());
            let Some(line) = line else { continue };
            if line.contains("succeeded") {
                assert_eq!(phase, "Succeeded", "{}: {line}", seen.marker);
            }
            if line.contains("failed") {
                assert!(
                    ["Failed", "Error"].contains(&phase),
                    "{}: {line}, but it is {phase}",
                    seen.marker
                );
            }
        }
    }

    /// What holds at any time.
    pub fn hold(&mut self, world: &World) {
        for seen in self.seen(world) {
            let syncs = world.town.argocd.syncs(&seen.app);
            let first = *self.started.entry(seen.marker.clone()).or_insert(syncs);
            assert_eq!(first, syncs, "{} was started twice", seen.marker);
            if let Some(said) = self.over.get(&seen.run).filter(|_| seen.operation.live) {
                let line = of_job(said, &seen.job);
                let listed = line.is_some_and(|line| line.contains("may "));
                assert!(
                    listed,
                    "{} runs, but when its run was over it said {said:?}",
                    seen.marker
                );
            }
        }
    }

    /// What holds in the end, when no run is under way: what runs is on the list of its run.
    pub fn settled(&self, world: &World, runs: &[Run]) {
        for seen in self.seen(world).iter().filter(|seen| seen.operation.live) {
            let run = runs.iter().find(|run| run.id == seen.run).unwrap();
            let listed = match &run.state {
                RunState::Stopped { attempt, .. } => standing::left(attempt).iter().any(|left| left.job == seen.job),
                // Looked at above.
                RunState::Finished { .. } => true,
                RunState::Active(_) | RunState::Queued { .. } => false,
            };
            assert!(listed, "{} runs, and nobody knows: {:?}", seen.marker, run.state);
        }
    }

    /// Time passes at the back-end: operations are taken up, and while somebody waits for them, they end.
    pub fn controller(&self, world: &World, tenant: &str, awaited: bool) {
        for app in self.apps(tenant) {
            let operation = world.town.argocd.operation(&app);
            if awaited {
                world.town.argocd.finish(&app);
            } else if operation.is_some_and(|operation| operation.phase.is_empty()) {
                world.town.argocd.advance(&app);
            }
        }
    }
}

/// What a list of what is left says about a job.
fn of_job<'a>(said: &'a [String], job: &str) -> Option<&'a str> {
    let mut lines = said.iter().filter_map(|line| line.split_once(": "));
    lines.find(|(of, _)| *of == job).map(|(_, what)| what)
}
