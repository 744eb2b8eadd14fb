//! A decision in the making: the run as it will be, and what else follows.

use std::collections::BTreeSet;

use super::{Decision, Facts, LockChange};
use crate::domain::effect::{Act, Deed, Effect};
use crate::domain::question;
use crate::domain::run::{Attempt, CheckTarget, Happened, History, Run, RunState};

pub(super) struct Draft<'a> {
    pub(super) run: Run,
    /// The run as it was; absent when the decision makes it.
    before: Option<&'a Run>,
    pub(super) facts: &'a Facts,
    pub(super) effects: Vec<Effect>,
    pub(super) locks: LockChange,
    history: Vec<History>,
}

impl<'a> Draft<'a> {
    /// A decision that changes `run`.
    pub(super) fn change(before: &'a Run, facts: &'a Facts) -> Self {
        let mut run = before.clone();
        run.version += 1;
        run.changed_at = Some(facts.now);
        Self {
            before: Some(before),
            ..Self::new(run, facts)
        }
    }

    /// A decision that makes `run`.
    pub(super) fn new(run: Run, facts: &'a Facts) -> Self {
        Self {
            run,
            before: None,
            facts,
            effects: Vec::new(),
            locks: LockChange::Keep,
            history: Vec::new(),
        }
    }

    /// Appends to the history.
    pub(super) fn record(&mut self, what: Happened) {
        self.run.history_len += 1;
        self.history.push(History {
            seq: self.run.history_len,
            at: self.facts.now,
            what,
        });
    }

    /// Appends to the history and tells every thread in a new message.
    pub(super) fn announce(&mut self, what: Happened) {
        self.record(what);
        let seq = self.run.history_len;
        self.effects
            .extend(self.run.audience.iter().map(|thread| Effect::Notice {
                thread: thread.clone(),
                seq,
            }));
    }

    /// Wants a part of the attempt's step done.
    pub(super) fn act(&mut self, attempt: &Attempt, what: Deed) {
        let step = self.run.plan.steps[attempt.step].name.clone();
        self.effects.push(Effect::Act(Act {
            step,
            attempt: attempt.number,
            what,
        }));
    }

    /// Takes the attempt under way out of the run, to be put back changed. `None` unless the run is active.
    pub(super) fn attempt(&self) -> Option<Attempt> {
        match &self.run.state {
            RunState::Active(attempt) => Some(attempt.clone()),
            _ => None,
        }
    }

    /// The decision: every thread and every check shall show the run as it is now, and every question that was opened
    /// or closed.
    pub(super) fn done(mut self) -> Decision {
        for id in question::changed(self.before, &mut self.run, &self.history, self.facts.now) {
            let faces = self.run.audience.iter().map(|thread| Effect::Question {
                thread: thread.clone(),
                id: id.clone(),
            });
            self.effects.extend(faces);
        }
        let threads = self
            .run
            .audience
            .iter()
            .map(|thread| Effect::Report { thread: thread.clone() });
        let pinned = self.run.subject.pinned.iter().map(|p| CheckTarget {
            repo: p.pr.repo.clone(),
            head: p.head.clone(),
        });
        let opened = self.run.prs.values().map(|pr| CheckTarget {
            repo: pr.pr.repo.clone(),
            head: pr.head.clone(),
        });
        // What was pinned may be what a step opened: one commit has one check.
        let checks: BTreeSet<CheckTarget> = pinned.chain(opened).collect();
        self.effects
            .extend(checks.into_iter().map(Effect::Check).chain(threads));
        Decision {
            run: Some(self.run),
            history: self.history,
            effects: self.effects,
            locks: self.locks,
        }
    }
}
