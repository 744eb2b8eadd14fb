//! One of everything that is stored, with something in every field.

use std::collections::BTreeMap;
use std::time::Duration;

use stepherd::domain::course::Course;
use stepherd::domain::doc::{Block, Button, Doc, Span, Tone};
use stepherd::domain::edit::{Edit, EditAction};
use stepherd::domain::effect::{
    Act, ChangeIntent, Deed, DeferredApp, Effect, JobIntent, MergeIntent, MoveIntent, Reply,
};
use stepherd::domain::ids::{ParamName, Percent, PrRef};
use stepherd::domain::pipeline::{
    AskOption, AskSpec, ChangeSpec, DeferredSpec, HALF_AN_HOUR, JobSpec, Leaves, MergeBy, MergeMethod, MergeSpec,
    MoveSpec, OnFailure, Param, ParamFile, ParamKind, Pipeline, StepKind, StepSpec, TellSpec, WorkSpec,
};
use stepherd::domain::question::{ClosedQuestion, Closing};
use stepherd::domain::run::{
    Attempt, By, CheckTarget, Failure, FailureClass, Happened, History, Job, JobState, LeftHow, LeftJob, Observation,
    ObservedState, OpenedPr, Passed, Phase, Pinned, Run, RunState, Source, Subject, Verdict,
};
use stepherd::domain::signal::{Account, MessageRef, ReplyHandle};
use stepherd::domain::template::Template;

use super::samples::{at, id, name, thread};

fn template(source: &str) -> Template {
    Template::new(source)
}

fn by() -> By {
    By {
        account: Some(Account {
            platform: name("github"),
            id: "583231".to_owned(),
        }),
        person: Some(name("ada")),
        name: "Ada".to_owned(),
    }
}

fn pr() -> PrRef {
    PrRef {
        repo: name("acme/deploy"),
        number: 42,
    }
}

fn head() -> stepherd::domain::ids::Sha {
    name(&"0123456789abcdef0123".repeat(2))
}

fn opened() -> OpenedPr {
    OpenedPr {
        pr: pr(),
        branch: "OPS-1_ABCDEFGH_StepConfig".to_owned(),
        head: head(),
        url: "https://github.example/acme/deploy/pull/42".to_owned(),
        thread: thread(42),
        merged: Some(head()),
    }
}

fn passed() -> Passed {
    Passed {
        step: name("Config"),
        attempts: 2,
        at: at(1),
        note: Some("merged as 0123456".to_owned()),
        restarts: 1,
    }
}

fn failure(class: FailureClass) -> Failure {
    Failure {
        step: name("Rebuild"),
        attempt: 1,
        seq: 9,
        reason: "out of \"disk\"".to_owned(),
        progress: Some(Percent::clamped(42.5)),
        restarts: 3,
        class,
        link: Some("https://ci.example/1".to_owned()),
        at: at(2),
        left: [LeftHow::Running, LeftHow::MayRun, LeftHow::ToldToEnd].map(left).into(),
        crew: None,
    }
}

fn left(how: LeftHow) -> LeftJob {
    LeftJob {
        job: "sync".to_owned(),
        how,
        progress: Some(Percent::clamped(7.0)),
        link: Some("https://ci.example/2".to_owned()),
    }
}

fn params() -> Vec<Param> {
    let kinds = [
        ("tenant", ParamKind::Word),
        ("reason", ParamKind::Text),
        ("count", ParamKind::Int { min: 1, max: 9 }),
        ("dry", ParamKind::Bool),
        ("size", ParamKind::Choice(vec!["s".to_owned(), "l".to_owned()])),
        ("ticket", ParamKind::Ticket),
        ("of", ParamKind::Run),
        ("commit", ParamKind::Sha),
    ];
    kinds
        .into_iter()
        .map(|(param, kind)| Param {
            name: name(param),
            help: format!("the {param}"),
            files: (kind == ParamKind::Word)
                .then(|| ParamFile {
                    repo: template("acme/config"),
                    path: template("{{ ticket }}.yaml"),
                    pointer: "/tenant".to_owned(),
                })
                .into_iter()
                .collect(),
            default: (kind == ParamKind::Bool).then(|| template("false")),
            kind,
        })
        .collect()
}

fn edits() -> Vec<Edit<Template>> {
    let actions = [
        EditAction::Write {
            content: template("text"),
        },
        EditAction::Set {
            pointer: template("/a/b"),
            value: template("3"),
        },
        EditAction::InsertXml {
            parent: template("/project/modules"),
            element: template("<module/>"),
        },
        EditAction::Delete,
    ];
    let path = || template("a/file");
    actions
        .into_iter()
        .map(|action| Edit { path: path(), action })
        .collect()
}

fn kinds() -> Vec<(&'static str, StepKind)> {
    let merge = |by, method| {
        StepKind::Merge(MergeSpec {
            branch_of: name("Config"),
            by,
            method,
            deferred: vec![DeferredSpec {
                backend: name("argocd"),
                with: BTreeMap::from([("app".to_owned(), template("{{ tenant }}"))]),
            }],
        })
    };
    let work = |on_failure| {
        StepKind::Work(WorkSpec {
            jobs: vec![JobSpec {
                name: "rebuild".to_owned(),
                backend: name("argocd"),
                start: true,
                with: BTreeMap::from([("app".to_owned(), template("{{ tenant }}"))]),
            }],
            on_failure,
            every: Duration::from_millis(1500),
            stall: None,
            unsure_after: HALF_AN_HOUR,
            restart_within: HALF_AN_HOUR,
            follow_restarts: false,
        })
    };
    let change = StepKind::Change(ChangeSpec {
        repo: template("acme/deploy"),
        edits: edits(),
        title: template("{{ ticket }}"),
        body: template("why"),
    });
    let ask = StepKind::Ask(AskSpec {
        question: template("go?"),
        options: vec![AskOption {
            value: "yes".to_owned(),
            label: "Go".to_owned(),
            go_on: true,
        }],
        roles: vec![name("operator")],
        not_the_asker: true,
    });
    let tell = StepKind::Tell(TellSpec {
        move_ticket: Some(MoveSpec {
            ticket: template("{{ ticket }}"),
            to: "Done".to_owned(),
        }),
        note: Some(template("done")),
    });
    vec![
        ("Config", change),
        ("MergeMerge", merge(MergeBy::Stepherd, MergeMethod::Merge)),
        ("MergeSquash", merge(MergeBy::People, MergeMethod::Squash)),
        ("MergeRebase", merge(MergeBy::People, MergeMethod::Rebase)),
        ("Rebuild", work(OnFailure::Cancel)),
        ("Drain", work(OnFailure::Drain)),
        ("Leave", work(OnFailure::Leave)),
        ("Approve", ask),
        ("Tell", tell),
    ]
}

fn plan() -> Pipeline {
    let step = |(step, kind)| StepSpec {
        name: name(step),
        title: format!("The step {step}"),
        timeout: Some(Duration::from_secs(3600)),
        auto_retries: 1,
        kind,
        leaves: Some(Leaves {
            says: template("the farm stays on"),
            until: Some(name("Rebuild")),
        }),
    };
    Pipeline {
        name: name("dcr"),
        title: "Data centre rollout".to_owned(),
        command: name("dcr"),
        params: params(),
        locks: vec![template("dcr/{{ tenant }}")],
        audience: vec![template("jira:{{ ticket }}")],
        progress_of: Some(name("Rebuild")),
        steps: kinds().into_iter().map(step).collect(),
    }
}

fn jobs() -> Vec<Job> {
    let seen = |state| Observation {
        progress: Some(Percent::FULL),
        detail: Some("2 of 3".to_owned()),
        reason: Some("none".to_owned()),
        restarts: 1,
        link: Some("https://ci.example/1".to_owned()),
        ..Observation::of(state)
    };
    let states = [
        (JobState::Starting, None),
        (JobState::Watched, Some(ObservedState::Pending)),
        (JobState::Watched, Some(ObservedState::Running)),
        (JobState::Watched, Some(ObservedState::Waiting)),
        (JobState::Watched, Some(ObservedState::Unknown)),
        (JobState::Unconfirmed, Some(ObservedState::Unknown)),
        (JobState::NotStarted, None),
        (JobState::Canceling, Some(ObservedState::Running)),
        (JobState::Ending, Some(ObservedState::Running)),
        (JobState::Ended, Some(ObservedState::Succeeded)),
        (JobState::Ended, Some(ObservedState::Failed)),
        (JobState::Ended, Some(ObservedState::Canceled)),
        (JobState::Ended, Some(ObservedState::Skipped)),
    ];
    states
        .into_iter()
        .map(|(state, observed)| Job {
            name: "rebuild".to_owned(),
            backend: name("argocd"),
            with: BTreeMap::from([("app".to_owned(), "comcast".to_owned())]),
            start: state == JobState::Starting,
            marker: "ABCDEFGH/Rebuild/1/rebuild".to_owned(),
            state,
            seen: observed.map(seen),
            course: Course::default(),
        })
        .collect()
}

fn attempt(phase: Phase) -> Attempt {
    Attempt {
        step: 4,
        number: 2,
        auto: 1,
        since: at(3),
        phase,
        waited: Duration::from_millis(2500),
        waiting_since: Some(at(4)),
        moved: None,
        doubt: None,
        branch: 1,
        replaces: true,
        unclear: false,
    }
}

fn questions() -> Vec<ClosedQuestion> {
    let answered = Closing::Answered {
        by: by(),
        value: "yes".to_owned(),
    };
    let all = [
        answered,
        Closing::Expired,
        Closing::Stopped { by: by() },
        Closing::Withdrawn,
    ];
    let closed = |how| ClosedQuestion {
        id: name("K7QM2X"),
        step: name("Approve"),
        text: "go?".to_owned(),
        asked_at: at(1),
        closed_at: at(2),
        how,
    };
    all.map(closed).into()
}

fn sources() -> BTreeMap<ParamName, Source> {
    let file = Source::File {
        repo: name("acme/config"),
        path: "OPS-1.yaml".to_owned(),
    };
    let all = [("tenant", file), ("count", Source::Command), ("dry", Source::Default)];
    all.map(|(param, source)| (name(param), source)).into()
}

/// A run with something in every field, and one for each further state.
pub(super) fn runs() -> Vec<Run> {
    let full = Run {
        id: id(1),
        version: 7,
        plan: plan(),
        params: BTreeMap::from([(name("tenant"), "comcast".to_owned())]),
        sources: sources(),
        subject: Subject {
            ticket: Some(name("OPS-1")),
            pinned: Some(Pinned { pr: pr(), head: head() }),
        },
        asked_by: by(),
        asked_at: at(0),
        said_at: None,
        changed_at: Some(at(4)),
        resumed_by: Some(by()),
        audience: vec![thread(42), name("jira:OPS-1")],
        passed: vec![passed()],
        prs: BTreeMap::from([(name("Config"), opened())]),
        state: RunState::Active(attempt(Phase::Watching { jobs: jobs() })),
        tried: BTreeMap::new(),
        questions: questions(),
        history_len: 3,
    };
    let mut bare = super::samples::run(2);
    bare.asked_by = super::samples::by();
    let phases = [
        Phase::Acting {
            waiting_for: Some("a review".to_owned()),
        },
        Phase::Checking { jobs: Vec::new() },
        Phase::Asking {
            id: name("K7QM2X"),
            question: "go?".to_owned(),
        },
        Phase::Stopping {
            by: by(),
            jobs: Vec::new(),
            since: at(7),
            look: true,
        },
    ];
    let mut states: Vec<RunState> = phases
        .into_iter()
        .map(|phase| RunState::Active(attempt(phase)))
        .collect();
    states.push(RunState::Queued {
        ahead: vec![id(8), id(9)],
    });
    states.push(RunState::Stopped {
        why: failure(FailureClass::Infrastructure),
        attempt: attempt(Phase::Acting { waiting_for: None }),
    });
    for verdict in [Verdict::Completed, Verdict::Canceled { by: by() }] {
        states.push(RunState::Finished {
            reached: (verdict != Verdict::Completed).then(|| Percent::clamped(42.0)),
            verdict,
            at: at(5),
        });
    }
    let mut all = vec![full];
    all.extend(states.into_iter().map(|state| Run { state, ..bare.clone() }));
    all
}

pub(super) fn history() -> Vec<History> {
    let step = || name("Rebuild");
    let mut all = vec![
        Happened::Accepted {
            by: by(),
            thread: thread(42),
            role: "operator".to_owned(),
        },
        Happened::Queued { position: 2 },
        Happened::StepStarted {
            step: step(),
            attempt: 1,
        },
        Happened::StepPassed(passed()),
        Happened::PrOpened {
            step: step(),
            pr: pr(),
            branch: "OPS-1_ABCDEFGH_StepConfig".to_owned(),
        },
        Happened::MadeAnew { step: step(), pr: pr() },
        Happened::Restarted {
            step: step(),
            job: "rebuild".to_owned(),
            restarts: 2,
            progress: Some(Percent::ZERO),
            reason: Some("evicted".to_owned()),
            now: None,
            before: None,
            after: None,
            unattended: false,
        },
        Happened::Retried { by: by() },
        Happened::Reattached { step: step() },
        Happened::StopAsked { by: by() },
        Happened::Answered {
            by: by(),
            id: name("K7QM2X"),
            value: "yes".to_owned(),
        },
        Happened::Finished {
            verdict: Verdict::Completed,
            left: vec!["the branch".to_owned()],
        },
        Happened::Asked {
            step: step(),
            id: name("K7QM2X"),
            question: "go?".to_owned(),
        },
        Happened::Noted {
            step: step(),
            text: "halfway".to_owned(),
        },
        Happened::AutoRetried(failure(FailureClass::Flaky)),
    ];
    let classes = [
        FailureClass::User,
        FailureClass::Infrastructure,
        FailureClass::Permission,
        FailureClass::RateLimit,
    ];
    all.extend(classes.map(|class| Happened::Failed(failure(class))));
    (1..)
        .zip(all)
        .map(|(seq, what)| History { seq, at: at(6), what })
        .collect()
}

fn doc() -> Doc {
    let spans = || {
        vec![
            Span::text("a"),
            Span::strong("b"),
            Span::code("c"),
            Span::link("d", "https://d.example"),
        ]
    };
    Doc {
        blocks: vec![
            Block::Heading(spans()),
            Block::Paragraph(spans()),
            Block::Progress(Percent::clamped(12.34)),
            Block::List(vec![spans()]),
            Block::Fields(vec![("Ticket".to_owned(), spans())]),
            Block::Verbatim("line\nline".to_owned()),
        ],
        buttons: vec![Button {
            label: "Retry".to_owned(),
            command: "dcr".to_owned(),
            verb: "retry".to_owned(),
            args: vec![("run".to_owned(), id(1).to_string())],
        }],
        tone: Tone::Bad,
    }
}

fn deeds() -> Vec<Deed> {
    let job = || JobIntent {
        backend: name("argocd"),
        job: "rebuild".to_owned(),
        with: BTreeMap::from([("app".to_owned(), "comcast".to_owned())]),
        marker: "ABCDEFGH/Rebuild/1".to_owned(),
    };
    vec![
        Deed::Change(ChangeIntent {
            repo: name("acme/deploy"),
            branch: "OPS-1_ABCDEFGH_StepConfig".to_owned(),
            edits: vec![Edit {
                path: "a/file".to_owned(),
                action: EditAction::Write {
                    content: "text".to_owned(),
                },
            }],
            title: "OPS-1".to_owned(),
            body: "why".to_owned(),
            recorded: Some(opened()),
            replaces: true,
        }),
        Deed::Merge(MergeIntent {
            pr: pr(),
            head: head(),
            method: Some(MergeMethod::Squash),
            deferred: vec![DeferredApp {
                backend: name("argocd"),
                with: BTreeMap::from([("app".to_owned(), "comcast".to_owned())]),
            }],
        }),
        Deed::StartJob(job()),
        Deed::CancelJob(job()),
        Deed::MoveTicket(MoveIntent {
            ticket: name("OPS-1"),
            to: "Done".to_owned(),
        }),
    ]
}

pub(super) fn effects() -> Vec<Effect> {
    let act = |what| {
        Effect::Act(Act {
            step: name("Config"),
            attempt: 1,
            what,
        })
    };
    let reply = |tone, handle| {
        Effect::Reply(Reply {
            key: "github:acme/deploy:issue_comment:123/0".to_owned(),
            thread: thread(42),
            handle,
            doc: Doc { tone, ..doc() },
            direct_only: false,
        })
    };
    let handle = ReplyHandle {
        token: "aW50ZXJhY3Rpb24".to_owned(),
        until: at(900),
    };
    let mut all: Vec<Effect> = deeds().into_iter().map(act).collect();
    all.extend([
        Effect::Report { thread: thread(42) },
        Effect::Notice {
            thread: thread(42),
            seq: 3,
        },
        Effect::Question {
            thread: thread(42),
            id: name("K7QM2X"),
        },
        Effect::Check(CheckTarget {
            repo: name("acme/deploy"),
            head: head(),
        }),
        reply(Tone::Bad, Some(handle)),
        reply(Tone::Busy, None),
        reply(Tone::Good, None),
        reply(Tone::Neutral, None),
        Effect::Acknowledge {
            message: MessageRef {
                thread: thread(42),
                id: "123".to_owned(),
            },
        },
    ]);
    all
}

/// When this does not compile, a variant is new: add it above, with something in every field, and here.
pub(super) fn every_variant_is_known(run: &RunState, step: &StepKind, what: &Happened, effect: &Effect) {
    match run {
        RunState::Queued { .. } | RunState::Stopped { .. } => {}
        RunState::Finished { verdict, .. } => match verdict {
            Verdict::Completed | Verdict::Canceled { .. } => {}
        },
        RunState::Active(attempt) => match attempt.phase {
            Phase::Acting { .. } | Phase::Checking { .. } | Phase::Watching { .. } => {}
            Phase::Asking { .. } | Phase::Stopping { .. } => {}
        },
    }
    match step {
        StepKind::Change(_) | StepKind::Merge(_) | StepKind::Work(_) | StepKind::Ask(_) | StepKind::Tell(_) => {}
    }
    match what {
        Happened::Accepted { .. } | Happened::Queued { .. } | Happened::StepStarted { .. } => {}
        Happened::StepPassed(_) | Happened::PrOpened { .. } | Happened::Restarted { .. } => {}
        Happened::MadeAnew { .. } => {}
        Happened::Failed(_) | Happened::AutoRetried(_) | Happened::Retried { .. } => {}
        Happened::Reattached { .. } | Happened::StopAsked { .. } | Happened::Answered { .. } => {}
        Happened::Asked { .. } | Happened::Noted { .. } | Happened::Finished { .. } => {}
        Happened::Interrupted { .. } | Happened::DoneSince { .. } => {}
    }
    match effect {
        Effect::Report { .. } | Effect::Notice { .. } | Effect::Question { .. } | Effect::Check(_) => {}
        Effect::Reply(_) | Effect::Acknowledge { .. } => {}
        Effect::Act(act) => match act.what {
            Deed::Change(_) | Deed::Merge(_) | Deed::StartJob(_) | Deed::CancelJob(_) | Deed::MoveTicket(_) => {}
        },
    }
}
