//! The back-ends Argo CD and DCR, over real HTTP against their stand-ins.

mod argo;
mod bounds;
mod rebuild;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use stepherd::adapters::argocd::{ArgoCd, ArgoCdConfig};
use stepherd::adapters::dcr::{Dcr, DcrConfig};
use stepherd::adapters::{Backend, CallError, Deferral};
use stepherd::domain::effect::{JobIntent, Outcome};
use stepherd::domain::ids::Percent;
use stepherd::domain::run::{FailureClass, Observation, ObservedState};
use stepherd::sandbox::argocd::{AppSeed, ArgoOptions, Beat};
use stepherd::sandbox::dcr::{DcrOptions, Flags, ProgressStyle};
use stepherd::sandbox::stage::{Fault, FaultKind};
use stepherd::sandbox::{Now, argocd, dcr};

const TOKEN: &str = "made-up-token";
const MARKER: &str = "URMO7YZ2/Sync/1";

fn noon() -> Now {
    Arc::new(|| "2026-11-20T12:00:00Z".parse().expect("a time"))
}

/// A clock that goes on by a second whenever it is looked at.
fn ticking() -> Now {
    let second = AtomicI64::new(1_763_640_000);
    Arc::new(move || jiff::Timestamp::from_second(second.fetch_add(1, Ordering::Relaxed)).expect("a time"))
}

fn job(backend: &str, with: &[(&str, &str)]) -> JobIntent {
    JobIntent {
        backend: backend.parse().expect("a name"),
        job: "job".to_owned(),
        with: with.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        marker: MARKER.to_owned(),
    }
}

fn with_marker(mut intent: JobIntent, marker: &str) -> JobIntent {
    intent.marker = marker.to_owned();
    intent
}

fn failed_as(outcome: &Outcome) -> Option<FailureClass> {
    match outcome {
        Outcome::Failed { class, .. } => Some(*class),
        _ => None,
    }
}

fn detail(seen: &Observation) -> &str {
    seen.detail.as_deref().unwrap_or_default()
}
