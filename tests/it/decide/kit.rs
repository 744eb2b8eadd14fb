//! A small pipeline, a script that plays events to it, and its log, in which every decision is a few lines.

mod words;

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use stepherd::domain::card;
use stepherd::domain::command::{Action, Invocation};
use stepherd::domain::decide::{
    AnswerFacts, Asked, Decision, Event, Facts, HeadKnown, Known, LockChange, SaidAt, StartFacts, Via, decide,
};
use stepherd::domain::doc::{Block, Doc, Span};
use stepherd::domain::edit::{Edit, EditAction};
use stepherd::domain::effect::{Act, Deed, Effect, Outcome};
use stepherd::domain::ids::{Percent, PrRef, QuestionId, RunId, Sha, ThreadRef};
use stepherd::domain::pipeline::{
    AskOption, AskSpec, ChangeSpec, HALF_AN_HOUR, JobSpec, MergeBy, MergeMethod, MergeSpec, MoveSpec, OnFailure, Param,
    ParamKind, Pipeline, StepKind, StepSpec, TellSpec, WorkSpec,
};
use stepherd::domain::policy::{Permission, SamePerson};
use stepherd::domain::run::{By, FailureClass, History, Observation, ObservedState, OpenedPr, Run, RunState};
use stepherd::domain::start::Resolved;
use stepherd::domain::template::Template;

pub use self::words::{act_text, state_text};
use self::words::{observation_text, outcome_text};
use super::laws;

/// For how long commands count in the settings as shipped.
pub const HOUR: Duration = Duration::from_secs(3600);
pub const HERE: &str = "jira:SREPROV-3072";

pub fn name<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

pub fn facts(seconds: i64) -> Facts {
    Facts {
        now: at(seconds),
        new_run: name("URMO7YZ2"),
        new_question: QuestionId::from_bits(0o_7777_7777),
    }
}

/// Said then, and good for an hour.
pub fn said(seconds: i64) -> SaidAt {
    SaidAt {
        at: at(seconds),
        counts_for: Some(HOUR),
    }
}

pub fn by(who: &str) -> By {
    By {
        account: None,
        person: None,
        name: who.to_owned(),
    }
}

pub fn sha(digit: char) -> Sha {
    name(&digit.to_string().repeat(40))
}

pub fn step(called: &str, kind: StepKind) -> StepSpec {
    StepSpec {
        name: name(called),
        title: format!("The {called}"),
        timeout: Some(Duration::from_secs(600)),
        auto_retries: 0,
        kind,
        leaves: None,
    }
}

pub fn change() -> StepKind {
    StepKind::Change(ChangeSpec {
        repo: Template::new("acme/deploy"),
        edits: vec![Edit {
            path: Template::new("a.txt"),
            action: EditAction::Delete,
        }],
        title: Template::new("Change {{ run }}"),
        body: Template::new("For {{ ticket }}."),
    })
}

pub fn merge(of: &str) -> StepKind {
    StepKind::Merge(MergeSpec {
        branch_of: name(of),
        by: MergeBy::Stepherd,
        method: MergeMethod::Squash,
        deferred: Vec::new(),
    })
}

/// Jobs by name; a name that ends in `?` is only observed.
pub fn work(on_failure: OnFailure, jobs: &[&str]) -> StepKind {
    let job = |called: &&str| JobSpec {
        name: called.trim_end_matches('?').to_owned(),
        backend: name("argocd"),
        start: !called.ends_with('?'),
        with: BTreeMap::from([("app".to_owned(), Template::new("{{ step }}-{{ attempt }}"))]),
    };
    StepKind::Work(WorkSpec {
        jobs: jobs.iter().map(job).collect(),
        on_failure,
        every: Duration::from_secs(30),
        stall: None,
        unsure_after: HALF_AN_HOUR,
        restart_within: HALF_AN_HOUR,
        follow_restarts: false,
    })
}

pub fn ask() -> StepKind {
    let option = |value: &str, label: &str, go_on| AskOption {
        value: value.to_owned(),
        label: label.to_owned(),
        go_on,
    };
    StepKind::Ask(AskSpec {
        question: Template::new("Go on with {{ ticket }}?"),
        options: vec![option("yes", "Go on", true), option("no", "End it", false)],
        roles: vec![name("approver")],
        not_the_asker: false,
    })
}

pub fn tell(ticket: Option<&str>, note: Option<&str>) -> StepKind {
    StepKind::Tell(TellSpec {
        move_ticket: ticket.map(|ticket| MoveSpec {
            ticket: Template::new(ticket),
            to: "Done".to_owned(),
        }),
        note: note.map(Template::new),
    })
}

pub fn plan(steps: Vec<StepSpec>) -> Pipeline {
    Pipeline {
        name: name("zap"),
        title: "Zap".to_owned(),
        command: name("zap"),
        params: vec![Param {
            name: name("ticket"),
            kind: ParamKind::Ticket,
            help: "The ticket".to_owned(),
            files: Vec::new(),
            default: Some(Template::new("")),
        }],
        locks: Vec::new(),
        audience: vec![Template::new("discord:400"), Template::new("jira:{{ ticket }}")],
        progress_of: None,
        steps,
    }
}

pub fn seen(state: ObservedState) -> Observation {
    Observation::of(state)
}

pub fn running(percent: f64, restarts: u32) -> Observation {
    Observation {
        progress: Some(Percent::clamped(percent)),
        restarts,
        ..seen(ObservedState::Running)
    }
}

pub fn failed(percent: f64, reason: &str) -> Observation {
    Observation {
        progress: Some(Percent::clamped(percent)),
        reason: Some(reason.to_owned()),
        link: Some("https://ci.example/7".to_owned()),
        ..seen(ObservedState::Failed)
    }
}

pub fn opened(number: u64, branch: &str) -> OpenedPr {
    OpenedPr {
        pr: PrRef {
            repo: name("acme/deploy"),
            number,
        },
        branch: branch.to_owned(),
        head: sha('a'),
        url: format!("https://github.example/acme/deploy/pull/{number}"),
        thread: name(&format!("github:acme/deploy#{number}")),
        merged: None,
    }
}

pub fn went_wrong(class: FailureClass) -> Outcome {
    Outcome::Failed {
        reason: "it broke".to_owned(),
        class,
    }
}

pub fn granted() -> Permission {
    Permission::Granted {
        person: None,
        role: name("operator"),
    }
}

/// What is known of somebody who has neither started nor resumed the run.
pub const A_THIRD: AnswerFacts = AnswerFacts {
    starter: SamePerson::No,
    resumer: SamePerson::No,
};

pub fn via(key: &str) -> Via {
    Via {
        key: key.to_owned(),
        thread: name(HERE),
        handle: None,
        message: None,
    }
}

pub fn invocation(action: Action, args: &[(&str, &str)]) -> Invocation {
    Invocation {
        command: name("zap"),
        verb: name(&format!("{action:?}").to_lowercase()),
        action,
        args: args.iter().map(|(k, v)| (name(k), (*v).to_owned())).collect(),
    }
}

pub fn start_facts(plan: &Pipeline, ticket: &str, queues: &[(&str, &[RunId])]) -> StartFacts {
    StartFacts {
        plan: plan.clone(),
        params: Ok(Resolved {
            values: BTreeMap::from([(name("ticket"), ticket.to_owned())]),
            ..Resolved::default()
        }),
        queues: queues
            .iter()
            .map(|(lock, queue)| (name(lock), queue.to_vec()))
            .collect(),
        head: HeadKnown::NoPr,
    }
}

/// A run in the middle of something, and everything that happened to it so far.
pub struct Script {
    pub run: Option<Run>,
    pub history: Vec<History>,
    pub acts: Vec<Act>,
    pub last: Decision,
    pub log: String,
    /// When the next commands are said, if not when they are decided about.
    pub said_seconds: Option<i64>,
    /// For how long they count.
    pub counts_for: Option<Duration>,
    seconds: i64,
    said: u32,
}

impl Script {
    /// Nothing has happened yet.
    pub fn empty() -> Self {
        Self {
            run: None,
            history: Vec::new(),
            acts: Vec::new(),
            last: Decision::default(),
            log: String::new(),
            said_seconds: None,
            counts_for: Some(HOUR),
            seconds: 0,
            said: 0,
        }
    }

    /// Ada starts the pipeline on the ticket, and nothing stands before it.
    pub fn start(plan: &Pipeline) -> Self {
        Self::started(start_facts(plan, "SREPROV-3072", &[("zap/one", &[])]))
    }

    pub fn started(known: StartFacts) -> Self {
        let mut script = Self::empty();
        script.asks(Action::Start, &[], Known::Start(Box::new(known)));
        script
    }

    pub fn run(&self) -> &Run {
        self.run.as_ref().expect("there is a run")
    }

    /// So many seconds pass.
    pub fn wait(&mut self, seconds: i64) -> &mut Self {
        self.seconds += seconds;
        self
    }

    pub fn play(&mut self, label: &str, event: &Event) -> &mut Self {
        let before = self.run.clone();
        let facts = Facts {
            // Another one each time, as chance would have it.
            new_question: QuestionId::from_bits(0x1234_5678 + self.history.len() as u64),
            ..facts(self.seconds)
        };
        let decision = decide(before.as_ref(), event, &facts);
        laws::hold(before.as_ref(), &decision);
        self.acts.extend(acts(&decision));
        self.history.extend(decision.history.clone());
        self.run = decision.run.clone().or(before);
        let _ = write!(self.log, "{:>4}s {label}\n{}", self.seconds, told(&decision));
        self.last = decision;
        self
    }

    pub fn asks(&mut self, action: Action, args: &[(&str, &str)], known: Known) -> &mut Self {
        self.said += 1;
        let asked = Asked {
            invocation: invocation(action, args),
            via: via(&format!("said:{}", self.said)),
            by: by("Ada"),
            permission: granted(),
            said: SaidAt {
                at: at(self.said_seconds.unwrap_or(self.seconds)),
                counts_for: self.counts_for,
            },
            known,
        };
        self.play(&format!("{action:?}").to_lowercase(), &Event::Asked(Box::new(asked)))
    }

    /// Ada says a verb that needs no more than the run and its history.
    pub fn says(&mut self, action: Action, args: &[(&str, &str)]) -> &mut Self {
        self.asks(action, args, self.known(action))
    }

    /// Bea says it, who has neither started nor resumed the run, at that time.
    pub fn says_at(&mut self, seconds: i64, action: Action, args: &[(&str, &str)]) -> &mut Self {
        let asked = Asked {
            invocation: invocation(action, args),
            via: via("late"),
            by: by("Bea"),
            said: said(seconds),
            permission: granted(),
            known: self.known(action),
        };
        self.play("late", &Event::Asked(Box::new(asked)))
    }

    fn known(&self, action: Action) -> Known {
        match action {
            Action::Why | Action::Retry => Known::History(self.history.clone()),
            Action::Answer => Known::Answer(A_THIRD),
            _ => Known::Run,
        }
    }

    /// The newest act has this outcome.
    pub fn came(&mut self, outcome: Outcome) -> &mut Self {
        let act = self.acts.last().expect("something is on its way").clone();
        self.came_of(act, outcome)
    }

    pub fn came_of(&mut self, act: Act, outcome: Outcome) -> &mut Self {
        let label = format!("{} -> {}", act_text(&act), outcome_text(&outcome));
        self.play(&label, &Event::Came { act, outcome })
    }

    /// The start of this job of the present attempt worked.
    pub fn job_started(&mut self, job: &str) -> &mut Self {
        let wanted = |act: &&Act| matches!(&act.what, Deed::StartJob(intent) if intent.job == job);
        let act = self
            .acts
            .iter()
            .rev()
            .find(wanted)
            .expect("its start is on its way")
            .clone();
        self.came_of(act, Outcome::JobStarted)
    }

    /// The job is seen so, in the present attempt.
    pub fn saw(&mut self, job: &str, seen: Observation) -> &mut Self {
        let RunState::Active(attempt) = &self.run().state else {
            panic!("nothing is under way");
        };
        let step = self.run().plan.steps[attempt.step].name.clone();
        let label = format!("{job} is {}", observation_text(&seen));
        let attempt = attempt.number;
        let job = job.to_owned();
        self.play(
            &label,
            &Event::Observed {
                step,
                attempt,
                job,
                seen,
            },
        )
    }

    pub fn locks(&mut self, ahead: &[RunId]) -> &mut Self {
        let label = format!("ahead: {}", ids(ahead));
        self.play(&label, &Event::LocksChanged { ahead: ahead.to_vec() })
    }

    pub fn wakes(&mut self) -> &mut Self {
        self.play("wakes", &Event::Woke)
    }

    /// The log since it was last taken.
    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.log)
    }

    pub fn state(&self) -> String {
        state_text(self.run())
    }
}

/// Another run's id.
pub fn other(number: u64) -> RunId {
    RunId::from_bits(number)
}

pub fn acts(decision: &Decision) -> Vec<Act> {
    let act = |effect: &Effect| match effect {
        Effect::Act(act) => Some(act.clone()),
        _ => None,
    };
    decision.effects.iter().filter_map(act).collect()
}

/// A decision in a few lines: where the run stands, what was recorded, what is to be done.
pub fn told(decision: &Decision) -> String {
    if decision.is_nothing() {
        return "      nothing\n".to_owned();
    }
    let mut text = String::new();
    if let Some(run) = &decision.run {
        let _ = writeln!(text, "      = {}", state_text(run));
    }
    for entry in &decision.history {
        let _ = writeln!(text, "      {}. {}", entry.seq, card::happened(&entry.what));
    }
    let (mut notices, mut reports) = (BTreeMap::<u64, Vec<String>>::new(), Vec::new());
    let mut questions = BTreeMap::<String, Vec<String>>::new();
    for effect in &decision.effects {
        let _ = match effect {
            Effect::Act(act) => writeln!(text, "      > {}", act_text(act)),
            Effect::Check(target) => writeln!(text, "      > check {}", target.head.short()),
            Effect::Reply(reply) => writeln!(text, "      > reply: {}", first_line(&reply.doc)),
            Effect::Acknowledge { message } => writeln!(text, "      > acknowledge {}", message.id),
            Effect::Notice { thread, seq } => {
                notices.entry(*seq).or_default().push(thread.to_string());
                Ok(())
            }
            Effect::Question { thread, id } => {
                questions.entry(id.to_string()).or_default().push(thread.to_string());
                Ok(())
            }
            Effect::Report { thread } => {
                reports.push(thread.to_string());
                Ok(())
            }
        };
    }
    for (seq, threads) in notices {
        let _ = writeln!(text, "      > notice {seq} to {}", threads.join(" "));
    }
    for (id, threads) in questions {
        let _ = writeln!(text, "      > question {id} to {}", threads.join(" "));
    }
    if !reports.is_empty() {
        let _ = writeln!(text, "      > report to {}", reports.join(" "));
    }
    match &decision.locks {
        LockChange::Keep => {}
        LockChange::Join(queues) => {
            let names: Vec<_> = queues.iter().map(|(lock, _)| lock.to_string()).collect();
            let _ = writeln!(text, "      > join {}", names.join(" "));
        }
        LockChange::Leave => text.push_str("      > leave the locks\n"),
    }
    text
}

pub fn ids(runs: &[RunId]) -> String {
    let ids: Vec<_> = runs.iter().map(RunId::as_str).collect();
    if ids.is_empty() {
        "nobody".to_owned()
    } else {
        ids.join(" ")
    }
}

/// The text of a doc's first block.
pub fn first_line(doc: &Doc) -> String {
    match doc.blocks.first() {
        Some(Block::Heading(spans) | Block::Paragraph(spans)) => plain(spans),
        Some(Block::List(lines)) => lines.iter().map(|line| plain(line)).collect::<Vec<_>>().join(" | "),
        other => format!("{other:?}"),
    }
}

pub fn plain(spans: &[Span]) -> String {
    let text = |span: &Span| match span {
        Span::Text(text) | Span::Strong(text) => text.clone(),
        Span::Code(text) => format!("`{text}`"),
        Span::Link { label, .. } => label.clone(),
    };
    spans.iter().map(text).collect()
}

pub fn thread(text: &str) -> ThreadRef {
    name(text)
}
