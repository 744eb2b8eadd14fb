//! A run with a set of jobs, the database's rows for it, and back-ends, as a model that moves step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use stepherd::domain::command::Action;
use stepherd::domain::decide::{Asked, Decision, Event, Known, Look, Wanted, decide, glance, wanted};
use stepherd::domain::effect::{Act, Deed, Effect, JobIntent, Outcome};
use stepherd::domain::ids::RunId;
use stepherd::domain::pipeline::OnFailure;
use stepherd::domain::run::{FailureClass, Happened, Job, JobState, ObservedState, Phase, Run, RunState, Verdict};
use stepherd::domain::standing;

use crate::decide::kit::{by, facts, granted, invocation, plan, said, seen, start_facts, step, via, work};

/// What a back-end has under a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum There {
    Runs,
    /// It was told to end and has not yet.
    Ends,
    Over(ObservedState),
}

/// How far somebody is with carrying out an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// It is due.
    Due,
    /// Somebody has asked whether it is wanted, and is about to call.
    Begun(Wanted),
    /// The call is over; what came of it is not yet told to the run.
    Called(Outcome),
    Done,
}

/// An effect's row in the database.
#[derive(Debug, Clone)]
struct Row {
    act: Act,
    way: Way,
    unclear: bool,
    asked_again: bool,
}

/// What may still go wrong, and what people may still say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    pub lost: u8,
    pub refused: u8,
    pub cancels_refused: u8,
    pub retries: u8,
    pub stops: u8,
    pub late: u8,
    pub stale_looks: u8,
    /// Whether something may happen between asking whether an effect is wanted and the call.
    pub slow_calls: bool,
    /// How many of the jobs may fail by themselves.
    pub failing: usize,
}

/// Everything at one moment.
#[derive(Debug, Clone)]
pub struct World {
    pub run: Run,
    rows: BTreeMap<String, Row>,
    there: BTreeMap<String, There>,
    /// A look that is over and not yet told to the run.
    look: Option<Event>,
    /// Its last words.
    words: Vec<String>,
    left: Left,
    seconds: i64,
    /// Whether something was given up: patience was over, or the back-end refused to end a job.
    gave_up: bool,
    stop_said: bool,
}

#[derive(Debug, Clone)]
pub enum Move {
    Begin(String),
    Call(String, Answer),
    Tell(String),
    Goes(String, There),
    Look(String),
    TellLook,
    Stop,
    Retry,
    TimeIsUp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Good,
    Lost,
    Refused,
}

impl World {
    pub fn new(policy: OnFailure, jobs: &[&str], left: Left) -> Self {
        let plan = plan(vec![step("Sync", work(policy, jobs))]);
        let start = asked(
            Action::Start,
            Known::Start(Box::new(start_facts(&plan, "SREPROV-3072", &[("zap/one", &[])]))),
            0,
        );
        let decision = decide(None, &start, &facts(0));
        let mut world = Self {
            run: decision.run.clone().expect("it starts"),
            rows: BTreeMap::new(),
            there: BTreeMap::new(),
            look: None,
            words: Vec::new(),
            left,
            seconds: 0,
            gave_up: false,
            stop_said: false,
        };
        world.take(decision);
        world
    }

    /// Commits a decision as the store does.
    fn take(&mut self, decision: Decision) {
        let id: Option<RunId> = Some(self.run.id.clone());
        for effect in &decision.effects {
            let Effect::Act(act) = effect else { continue };
            let leave = on_failure(&self.run) != OnFailure::Cancel;
            if matches!(act.what, Deed::CancelJob(_)) && leave {
                assert!(self.stop_said, "nobody said that anything should end: {act:?}");
            }
            let row = self.rows.entry(effect.key(id.as_ref())).or_insert(Row {
                act: act.clone(),
                way: Way::Done,
                unclear: false,
                asked_again: false,
            });
            match row.way {
                Way::Done => row.way = Way::Due,
                Way::Due => {}
                _ => row.asked_again = true,
            }
        }
        for entry in &decision.history {
            if let Happened::Finished { left, .. } = &entry.what {
                self.words.clone_from(left);
            }
        }
        if let Some(run) = decision.run {
            self.run = run;
        }
    }

    fn event(&mut self, event: &Event) {
        let decision = decide(Some(&self.run), event, &facts(self.seconds));
        self.take(decision);
    }

    fn jobs(&self) -> &[Job] {
        match standing::attempt(&self.run).map(|attempt| &attempt.phase) {
            Some(Phase::Checking { jobs } | Phase::Watching { jobs } | Phase::Stopping { jobs, .. }) => jobs,
            _ => &[],
        }
    }

    fn job(&self, marker: &str) -> Option<&Job> {
        self.jobs().iter().find(|job| job.marker == marker)
    }

    pub fn moves(&self) -> Vec<Move> {
        let mut moves = self.of_machines();
        if self.left.stops > 0 && !matches!(self.run.state, RunState::Finished { .. }) {
            moves.push(Move::Stop);
        }
        if self.left.retries > 0 && matches!(self.run.state, RunState::Stopped { .. }) {
            moves.push(Move::Retry);
        }
        if self.left.late > 0 && glance(&self.run).deadline.is_some() {
            moves.push(Move::TimeIsUp);
        }
        moves
    }

    /// What happens by itself.
    fn of_machines(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        for (key, row) in &self.rows {
            match &row.way {
                Way::Due => moves.push(Move::Begin(key.clone())),
                Way::Begun(_) => {
                    let start = matches!(row.act.what, Deed::StartJob(_));
                    let refusals = if start {
                        self.left.refused
                    } else {
                        self.left.cancels_refused
                    };
                    moves.push(Move::Call(key.clone(), Answer::Good));
                    moves.extend((self.left.lost > 0).then(|| Move::Call(key.clone(), Answer::Lost)));
                    moves.extend((refusals > 0).then(|| Move::Call(key.clone(), Answer::Refused)));
                }
                Way::Called(_) => moves.push(Move::Tell(key.clone())),
                Way::Done => {}
            }
        }
        for (marker, there) in &self.there {
            let ends: &[ObservedState] = match there {
                There::Runs if self.may_fail(marker) => &[ObservedState::Succeeded, ObservedState::Failed],
                There::Runs => &[ObservedState::Succeeded],
                There::Ends => &[ObservedState::Canceled],
                There::Over(_) => &[],
            };
            moves.extend(ends.iter().map(|end| Move::Goes(marker.clone(), There::Over(*end))));
        }
        for look in glance(&self.run).looks {
            if let Look::Job { intent, .. } = look {
                moves.push(Move::Look(intent.job));
            }
        }
        moves.extend(self.look.is_some().then_some(Move::TellLook));
        moves
    }

    fn may_fail(&self, marker: &str) -> bool {
        let mut failing = ["/a", "/b", "/c"].iter().take(self.left.failing);
        failing.any(|job| marker.ends_with(job))
    }

    pub fn make(&mut self, a_move: &Move) {
        match a_move {
            Move::Begin(key) => {
                let row = self.rows.get_mut(key).unwrap();
                let wanted = wanted(&self.run, &row.act, row.unclear);
                let starts = matches!(row.act.what, Deed::StartJob(_)) && wanted == Wanted::Yes;
                let failed = matches!(self.run.state, RunState::Stopped { .. } | RunState::Finished { .. });
                assert!(!(starts && failed), "a step that has failed starts nothing more");
                row.way = Way::Begun(wanted);
                if !self.left.slow_calls {
                    self.call(key, Answer::Good);
                }
            }
            Move::Call(key, answer) => self.call(key, *answer),
            Move::Tell(key) => self.tell(key),
            Move::Goes(marker, there) => drop(self.there.insert(marker.clone(), *there)),
            Move::Look(job) => {
                let event = self.observed(job);
                if self.left.stale_looks > 0 && self.look.is_none() {
                    self.left.stale_looks -= 1;
                    self.look = Some(event);
                } else {
                    self.event(&event);
                }
            }
            Move::TellLook => {
                let event = self.look.take().unwrap();
                self.event(&event);
            }
            Move::Stop => {
                self.left.stops -= 1;
                self.stop_said = true;
                self.event(&asked(Action::Stop, Known::Run, self.seconds));
            }
            Move::Retry => {
                self.left.retries -= 1;
                self.event(&asked(Action::Retry, Known::Run, self.seconds));
            }
            Move::TimeIsUp => {
                self.left.late -= 1;
                self.seconds += 1_000_000;
                self.gave_up = true;
                self.event(&Event::Woke);
            }
        }
    }

    fn observed(&self, name: &str) -> Event {
        let looks = glance(&self.run).looks;
        let look = looks.into_iter().find_map(|look| match look {
            Look::Job {
                step, attempt, intent, ..
            } if intent.job == name => Some((step, attempt, intent)),
            _ => None,
        });
        let (step, attempt, intent) = look.unwrap();
        let state = match self.there.get(&intent.marker) {
            None => ObservedState::Pending,
            Some(There::Runs | There::Ends) => ObservedState::Running,
            Some(There::Over(state)) => *state,
        };
        Event::Observed {
            step,
            attempt,
            job: intent.job,
            seen: seen(state),
        }
    }

    fn call(&mut self, key: &str, answer: Answer) {
        let row = self.rows[key].clone();
        let Way::Begun(wanted) = row.way else { unreachable!() };
        let calls = wanted != Wanted::No;
        let outcome = match (&row.act.what, &wanted, answer) {
            (_, Wanted::No, _) => Outcome::NotDone,
            (Deed::StartJob(_), Wanted::Yes, Answer::Refused) => {
                self.left.refused -= 1;
                refused()
            }
            (Deed::CancelJob(_), _, Answer::Refused) => {
                self.left.cancels_refused -= 1;
                self.gave_up = true;
                refused()
            }
            (Deed::StartJob(intent), Wanted::Yes, _) => self.start(intent),
            (Deed::StartJob(intent), Wanted::Look, _) => {
                let found = self.there.contains_key(&intent.marker);
                if found { Outcome::JobStarted } else { Outcome::NotDone }
            }
            (Deed::StartJob(intent), Wanted::Undo(_), _) => {
                self.end(intent);
                Outcome::NotDone
            }
            (Deed::CancelJob(intent), ..) => {
                self.end(intent);
                Outcome::JobCanceled
            }
            other => panic!("{other:?}"),
        };
        let row = self.rows.get_mut(key).unwrap();
        row.way = Way::Called(outcome);
        if answer == Answer::Lost && calls {
            self.left.lost -= 1;
            row.unclear = true;
            row.way = Way::Due;
        }
    }

    fn start(&mut self, intent: &JobIntent) -> Outcome {
        let live = |there: &There| !matches!(there, There::Over(_));
        let twins = self.there.iter().filter(|(marker, there)| {
            **marker != intent.marker && marker.ends_with(&format!("/{}", intent.job)) && live(there)
        });
        assert_eq!(twins.count(), 0, "{} runs already", intent.job);
        self.there.entry(intent.marker.clone()).or_insert(There::Runs);
        Outcome::JobStarted
    }

    fn end(&mut self, intent: &JobIntent) {
        if self.there.get(&intent.marker) == Some(&There::Runs) {
            let state = self.job(&intent.marker).map(|job| job.state);
            assert_ne!(
                state,
                Some(JobState::Watched),
                "a late cancel hits a job that was taken up"
            );
            self.there.insert(intent.marker.clone(), There::Ends);
        }
    }

    fn tell(&mut self, key: &str) {
        let row = self.rows[key].clone();
        let Way::Called(outcome) = row.way else { unreachable!() };
        let outcome = if row.unclear {
            outcome.after_unclear_try()
        } else {
            outcome
        };
        let before = self.rows.get_mut(key).unwrap();
        before.way = if before.asked_again { Way::Due } else { Way::Done };
        before.asked_again = false;
        before.unclear = false;
        let act = row.act;
        self.event(&Event::Came { act, outcome });
    }

    pub fn holds(&self) {
        for (marker, there) in &self.there {
            if matches!(there, There::Over(_)) {
                continue;
            }
            let name = marker.rsplit('/').next().unwrap();
            match &self.run.state {
                RunState::Active(_) | RunState::Stopped { .. } => {
                    let known = self.job(marker).is_some_and(|job| job.state.may_run());
                    assert!(known, "{marker} runs unwatched and unlisted");
                }
                RunState::Finished {
                    verdict: Verdict::Canceled { .. },
                    ..
                } => {
                    assert!(
                        self.says_may_run(name),
                        "{marker} still runs, but stop says {:?}",
                        self.words
                    );
                }
                _ => panic!("{marker} runs after the end"),
            }
        }
        if let RunState::Stopped { why, attempt } = &self.run.state {
            let listed: BTreeSet<_> = why.left.iter().map(|left| &left.job).collect();
            let now = standing::left(attempt);
            assert!(
                now.iter().all(|left| listed.contains(&left.job)),
                "nothing begins to run after the failure"
            );
            let drained = on_failure(&self.run) != OnFailure::Drain || self.gave_up || now.iter().all(is_unconfirmed);
            assert!(drained, "a step that drains fails when all have ended");
        }
        if let RunState::Finished {
            verdict: Verdict::Canceled { .. },
            ..
        } = &self.run.state
            && !self.gave_up
        {
            assert!(!self.words.iter().any(|line| line.contains("may")), "{:?}", self.words);
        }
    }

    fn says_may_run(&self, job: &str) -> bool {
        let line = self.words.iter().find(|line| line.starts_with(&format!("{job}:")));
        line.is_some_and(|line| line.contains("may"))
    }

    /// Nothing happens by itself any more: then the run rests, and what it says is so.
    pub fn rests(&self) {
        let cancel = on_failure(&self.run) == OnFailure::Cancel;
        match &self.run.state {
            RunState::Active(_) => panic!("it hangs"),
            RunState::Stopped { .. } => {
                for job in self.jobs() {
                    let there = self.there.get(&job.marker);
                    assert_ne!(
                        job.state,
                        JobState::Starting,
                        "its start came to nothing, and nobody knows"
                    );
                    assert!(
                        !(cancel && there == Some(&There::Runs) && !self.gave_up),
                        "{} was to end",
                        job.name
                    );
                }
            }
            RunState::Finished { .. } | RunState::Queued { .. } => {}
        }
    }

    /// What tells this moment from others.
    pub fn key(&self) -> String {
        let mut key = format!("{:?}{}{}{}", self.left, self.seconds, self.gave_up, self.stop_said);
        let (name, number) = match &self.run.state {
            RunState::Active(attempt) => match attempt.phase {
                Phase::Checking { .. } => ("checking", attempt.number),
                Phase::Watching { .. } => ("watching", attempt.number),
                _ => ("stopping", attempt.number),
            },
            RunState::Stopped { attempt, .. } => ("stopped", attempt.number),
            RunState::Finished { .. } => ("finished", 0),
            RunState::Queued { .. } => ("queued", 0),
        };
        let _ = write!(key, "{name}{number}{:?}", self.words);
        for job in self.jobs() {
            let state = job.seen.as_ref().map(|seen| seen.state);
            let _ = write!(key, "{}{:?}{state:?}", job.marker, job.state);
        }
        for (marker, there) in &self.there {
            let _ = write!(key, "{marker}{there:?}");
        }
        for (name, row) in &self.rows {
            let _ = write!(key, "{name}{:?}{}{}", row.way, row.unclear, row.asked_again);
        }
        if let Some(Event::Observed { attempt, job, seen, .. }) = &self.look {
            let _ = write!(key, "{attempt}{job}{:?}", seen.state);
        }
        key
    }
}

fn is_unconfirmed(left: &stepherd::domain::run::LeftJob) -> bool {
    left.how == stepherd::domain::run::LeftHow::MayRun
}

fn on_failure(run: &Run) -> OnFailure {
    match &run.plan.steps[0].kind {
        stepherd::domain::pipeline::StepKind::Work(work) => work.on_failure,
        other => panic!("{other:?}"),
    }
}

fn refused() -> Outcome {
    Outcome::Failed {
        reason: "it was refused".to_owned(),
        class: FailureClass::Permission,
    }
}

fn asked(action: Action, known: Known, seconds: i64) -> Event {
    Event::Asked(Box::new(Asked {
        invocation: invocation(action, &[]),
        via: via("said"),
        by: by("Ada"),
        permission: granted(),
        // A second later than anything it could be about.
        said: said(seconds + 1),
        known,
    }))
}
