//! Going from step to step: beginning an attempt, passing, failing, ending.

use std::collections::BTreeMap;

use super::draft::Draft;
use super::what::What;
use super::{LockChange, jobs, steps_context, watched};
use crate::domain::branch::{self, StepBranch};
use crate::domain::course::Course;
use crate::domain::effect::{ChangeIntent, Deed, DeferredApp, JobIntent, MergeIntent, MoveIntent};
use crate::domain::ids::{PrRef, Repo};
use crate::domain::pipeline::{AskSpec, ChangeSpec, JobSpec, MergeBy, MergeSpec, StepKind, TellSpec, WorkSpec};
use crate::domain::run::{
    Attempt, Failure, FailureClass, Happened, Job, JobState, Passed, Phase, Run, RunState, Verdict,
};
use crate::domain::standing::{self, attempt_restarts};
use crate::domain::start;
use crate::domain::template::Template;

/// How often a step's branch may be replaced because people closed its pull request, or others merged first.
const BRANCHES_MAX: u32 = 20;

/// Begins the step at `index`, or ends the run when there is none.
pub(super) fn begin(draft: &mut Draft<'_>, index: usize) {
    if index >= draft.run.plan.steps.len() {
        return finish(draft, Verdict::Completed, Vec::new());
    }
    begin_attempt(draft, fresh(draft, index, first_number(draft, index)));
}

/// The number of a first attempt: 1, unless the step was tried before the run went back over it.
fn first_number(draft: &Draft<'_>, index: usize) -> u32 {
    let tried = draft.run.tried.get(&draft.run.plan.steps[index].name);
    tried.map_or(1, |tried| tried + 1)
}

/// A new attempt of the step that `old` tried, made without asking if `auto`.
pub(super) fn again(draft: &mut Draft<'_>, old: &Attempt, auto: bool) {
    let mut attempt = fresh(draft, old.step, old.number + 1);
    attempt.branch = old.branch;
    attempt.unclear = old.unclear;
    attempt.replaces = old.replaces;
    attempt.auto = old.auto + u32::from(auto);
    begin_attempt(draft, attempt);
}

/// The same attempt on a new branch, because the pull request on the old one was closed unmerged.
pub(super) fn on_new_branch(draft: &mut Draft<'_>, old: Attempt) {
    let step = draft.run.plan.steps[old.step].name.clone();
    if old.branch >= BRANCHES_MAX {
        let reason = format!("{BRANCHES_MAX} pull requests of this step were closed without merging");
        return fail(draft, &old, What::new(reason, FailureClass::User));
    }
    if !old.replaces {
        draft.run.prs.remove(&step);
    }
    let attempt = Attempt {
        branch: old.branch + 1,
        unclear: false,
        ..old
    };
    begin_attempt(draft, attempt);
}

/// Back from a merge to the step that opened the pull request, which people closed: it makes a new one, and what
/// came after it is done again with that.
pub(super) fn back_to_change(draft: &mut Draft<'_>, merging: &Attempt) {
    if let Some(index) = undo_from_change(draft, merging) {
        begin(draft, index);
    }
}

/// Back from a merge to the step that opened the pull request, which conflicts with what was merged since: it makes the
/// same edits anew, on a branch of their own, and what came after it is done again with that.
pub(super) fn make_anew(draft: &mut Draft<'_>, merging: &Attempt, pr: &PrRef) {
    let opened = draft.run.prs.iter().find(|(_, opened)| opened.pr == *pr);
    let Some((step, opened)) = opened else { return };
    let (step, branch) = (step.clone(), StepBranch::parse(&opened.branch));
    let branch = branch.map_or(1, |branch| branch.number);
    if branch >= BRANCHES_MAX {
        let reason = format!("{pr} conflicts with what was merged since, like {BRANCHES_MAX} before it");
        return fail(draft, merging, What::new(reason, FailureClass::User));
    }
    let Some(index) = undo_from_change(draft, merging) else {
        return;
    };
    draft.record(Happened::MadeAnew { step, pr: pr.clone() });
    let attempt = Attempt {
        branch: branch + 1,
        replaces: true,
        ..fresh(draft, index, first_number(draft, index))
    };
    begin_attempt(draft, attempt);
}

/// Takes back that the steps passed from the one whose pull request is being merged on; the place of that one.
fn undo_from_change(draft: &mut Draft<'_>, merging: &Attempt) -> Option<usize> {
    let StepKind::Merge(merge) = &draft.run.plan.steps[merging.step].kind else {
        return None;
    };
    let (index, _) = draft.run.plan.step(&merge.branch_of)?;
    let undone: Vec<_> = draft.run.plan.steps[index..].iter().map(|s| s.name.clone()).collect();
    let merge_step = draft.run.plan.steps[merging.step].name.clone();
    let run = &mut draft.run;
    run.tried.insert(merge_step, merging.number);
    for passed in run.passed.extract_if(.., |passed| undone.contains(&passed.step)) {
        run.tried.insert(passed.step, passed.attempts);
    }
    Some(index)
}

/// An attempt that has not begun yet.
fn fresh(draft: &Draft<'_>, step: usize, number: u32) -> Attempt {
    Attempt {
        step,
        number,
        auto: 0,
        since: draft.facts.now,
        phase: Phase::Acting { waiting_for: None },
        waited: std::time::Duration::ZERO,
        waiting_since: None,
        moved: None,
        doubt: None,
        branch: 1,
        unclear: false,
        replaces: false,
    }
}

fn begin_attempt(draft: &mut Draft<'_>, attempt: Attempt) {
    let spec = draft.run.plan.steps[attempt.step].clone();
    draft.record(Happened::StepStarted {
        step: spec.name.clone(),
        attempt: attempt.number,
    });
    draft.run.state = RunState::Active(attempt.clone());
    let begun = match &spec.kind {
        StepKind::Change(change) => begin_change(draft, &attempt, change),
        StepKind::Merge(merge) => begin_merge(draft, &attempt, merge),
        StepKind::Work(work) => begin_work(draft, attempt.clone(), work),
        StepKind::Ask(ask) => begin_ask(draft, attempt.clone(), ask),
        StepKind::Tell(tell) => begin_tell(draft, &attempt, tell),
    };
    if let Err(reason) = begun {
        fail(draft, &attempt, What::new(reason, FailureClass::User));
    }
}

fn begin_change(draft: &mut Draft<'_>, attempt: &Attempt, change: &ChangeSpec) -> Result<(), String> {
    let intent = change_intent(&draft.run, attempt, change)?;
    draft.act(attempt, Deed::Change(intent));
    Ok(())
}

fn change_intent(run: &Run, attempt: &Attempt, change: &ChangeSpec) -> Result<ChangeIntent, String> {
    let render = renderer(run, attempt);
    let context = context(run, attempt);
    let step = &run.plan.steps[attempt.step].name;
    let repo: Repo = render(&change.repo)?
        .trim()
        .parse()
        .map_err(|e| format!("repository: {e}"))?;
    let edits = change
        .edits
        .iter()
        .map(|edit| edit.render(&context).map_err(|e| e.to_string()));
    Ok(ChangeIntent {
        repo,
        branch: branch_of(run, attempt),
        edits: edits.collect::<Result<_, _>>()?,
        title: one_line(&render(&change.title)?),
        body: change.body.render_markdown(&context).map_err(|e| e.to_string())?,
        recorded: run.prs.get(step).cloned(),
        replaces: attempt.replaces,
    })
}

/// The branch that the attempt of a change works on.
pub(super) fn branch_of(run: &Run, attempt: &Attempt) -> String {
    let step = &run.plan.steps[attempt.step].name;
    branch::branch_name(run.subject.ticket.as_ref(), &run.id, step, attempt.branch)
}

fn begin_merge(draft: &mut Draft<'_>, attempt: &Attempt, merge: &MergeSpec) -> Result<(), String> {
    match merge_intent(&draft.run, attempt, merge)? {
        None => pass(
            draft,
            Some(format!(
                "{} had nothing to change, so there is nothing to merge",
                merge.branch_of
            )),
        ),
        Some(intent) => draft.act(attempt, Deed::Merge(intent)),
    }
    Ok(())
}

/// The recorded pull request that the step merges; `None` when the earlier step had nothing to change.
pub(super) fn merge_intent(run: &Run, attempt: &Attempt, merge: &MergeSpec) -> Result<Option<MergeIntent>, String> {
    let Some(opened) = run.prs.get(&merge.branch_of) else {
        return Ok(None);
    };
    let render = renderer(run, attempt);
    let deferred = merge.deferred.iter().map(|spec| {
        Ok(DeferredApp {
            backend: spec.backend.clone(),
            with: rendered(&spec.with, &render)?,
        })
    });
    let method = (merge.by == MergeBy::Stepherd).then_some(merge.method);
    Ok(Some(MergeIntent {
        pr: opened.pr.clone(),
        head: opened.head.clone(),
        method,
        deferred: deferred.collect::<Result<_, String>>()?,
    }))
}

fn rendered(
    with: &BTreeMap<String, Template>,
    render: impl Fn(&Template) -> Result<String, String>,
) -> Result<BTreeMap<String, String>, String> {
    let rendered = with.iter().map(|(key, template)| Ok((key.clone(), render(template)?)));
    rendered.collect()
}

/// The pull request that the attempt's step merges, unless it is known to be merged.
pub(super) fn merge_awaited(run: &Run, attempt: &Attempt) -> Option<MergeIntent> {
    let StepKind::Merge(merge) = &run.plan.steps[attempt.step].kind else {
        return None;
    };
    let merged = run.prs.get(&merge.branch_of)?.merged.is_some();
    merge_intent(run, attempt, merge).ok().flatten().filter(|_| !merged)
}

/// What the attempt's step may have done in the world and is not known to have done: always a merge, because people may
/// have merged; else what was given up after a try that may have got through.
pub(super) fn maybe_done(run: &Run, attempt: &Attempt) -> Option<Deed> {
    match &run.plan.steps[attempt.step].kind {
        StepKind::Merge(_) => merge_awaited(run, attempt).map(Deed::Merge),
        StepKind::Change(change) if attempt.unclear => change_intent(run, attempt, change).ok().map(Deed::Change),
        StepKind::Tell(tell) if attempt.unclear => {
            let intent = move_intent(run, attempt.step, attempt.number, tell).ok()?;
            intent.map(Deed::MoveTicket)
        }
        StepKind::Change(_) | StepKind::Tell(_) | StepKind::Work(_) | StepKind::Ask(_) => None,
    }
}

fn begin_work(draft: &mut Draft<'_>, attempt: Attempt, work: &WorkSpec) -> Result<(), String> {
    let jobs = work
        .jobs
        .iter()
        .map(|spec| new_job(&draft.run, &attempt, spec))
        .collect::<Result<Vec<_>, _>>()?;
    watch(draft, attempt, jobs);
    Ok(())
}

/// Starts the jobs that are to be started and watches them all.
pub(super) fn watch(draft: &mut Draft<'_>, attempt: Attempt, jobs: Vec<Job>) {
    let to_start = |job: &&Job| matches!(job.state, JobState::Starting | JobState::Unconfirmed);
    for job in jobs.iter().filter(to_start) {
        draft.act(&attempt, Deed::StartJob(job_intent(job)));
    }
    draft.run.state = RunState::Active(Attempt {
        phase: Phase::Watching { jobs },
        ..attempt
    });
}

fn begin_ask(draft: &mut Draft<'_>, attempt: Attempt, ask: &AskSpec) -> Result<(), String> {
    let question = renderer(&draft.run, &attempt)(&ask.question)?;
    let step = draft.run.plan.steps[attempt.step].name.clone();
    let id = draft.facts.new_question.clone();
    draft.run.state = RunState::Active(Attempt {
        phase: Phase::Asking {
            id: id.clone(),
            question: question.clone(),
        },
        ..attempt
    });
    draft.record(Happened::Asked { step, id, question });
    Ok(())
}

fn begin_tell(draft: &mut Draft<'_>, attempt: &Attempt, tell: &TellSpec) -> Result<(), String> {
    match move_intent(&draft.run, attempt.step, attempt.number, tell)? {
        None => tell_and_pass(draft, attempt, tell),
        Some(intent) => {
            draft.act(attempt, Deed::MoveTicket(intent));
            Ok(())
        }
    }
}

/// The ticket's move that the step makes in that attempt; `None` where there is no ticket.
pub(super) fn move_intent(run: &Run, step: usize, number: u32, tell: &TellSpec) -> Result<Option<MoveIntent>, String> {
    let Some(spec) = &tell.move_ticket else {
        return Ok(None);
    };
    let context = context_of(run, step, number);
    let ticket = spec.ticket.render(&context).map_err(|e| e.to_string())?;
    match ticket.trim() {
        "" => Ok(None),
        key => Ok(Some(MoveIntent {
            ticket: key.parse().map_err(|e| format!("ticket: {e}"))?,
            to: spec.to.clone(),
        })),
    }
}

/// Posts the step's note, if it has one, and passes.
pub(super) fn tell_and_pass(draft: &mut Draft<'_>, attempt: &Attempt, tell: &TellSpec) -> Result<(), String> {
    if let Some(note) = &tell.note {
        let text = renderer(&draft.run, attempt)(note)?;
        let step = draft.run.plan.steps[attempt.step].name.clone();
        draft.announce(Happened::Noted { step, text });
    }
    pass(draft, None);
    Ok(())
}

/// The step under way has passed: the next one begins.
pub(super) fn pass(draft: &mut Draft<'_>, note: Option<String>) {
    let Some(attempt) = draft.attempt() else { return };
    let step = draft.run.plan.steps[attempt.step].name.clone();
    let restarts = attempt_restarts(&attempt);
    let passed = Passed {
        step,
        attempts: attempt.number,
        at: draft.facts.now,
        note,
        restarts,
    };
    draft.run.passed.push(passed.clone());
    draft.record(Happened::StepPassed(passed));
    begin(draft, attempt.step + 1);
}

/// The attempt failed: it is tried again without asking if the plan allows and it may help, else the run stops.
pub(super) fn fail(draft: &mut Draft<'_>, attempt: &Attempt, what: What) {
    let spec = &draft.run.plan.steps[attempt.step];
    let mut failure = Failure {
        step: spec.name.clone(),
        attempt: attempt.number,
        // The entry that is about to tell of it.
        seq: draft.run.history_len + 1,
        reason: what.reason,
        progress: what.progress,
        restarts: attempt_restarts(attempt),
        class: what.class,
        link: what.link.or_else(|| pull_request(&draft.run, attempt)),
        at: draft.facts.now,
        left: Vec::new(),
        crew: what.crew,
    };
    let may_help = matches!(
        what.class,
        FailureClass::Infrastructure | FailureClass::Flaky | FailureClass::RateLimit
    );
    if may_help && !what.by_itself && attempt.auto < spec.auto_retries {
        draft.announce(Happened::AutoRetried(failure));
        return resume(draft, attempt, true);
    }
    let mut attempt = attempt.clone();
    jobs::end_what_runs(draft, &mut attempt);
    failure.left = standing::left(&attempt);
    draft.run.state = RunState::Stopped {
        why: failure.clone(),
        attempt,
    };
    draft.announce(Happened::Failed(failure));
}

/// Where to look when a change or a merge has failed: its pull request, if there is one.
fn pull_request(run: &Run, attempt: &Attempt) -> Option<String> {
    let step = &run.plan.steps[attempt.step];
    let opened_by = match &step.kind {
        StepKind::Change(_) => &step.name,
        StepKind::Merge(merge) => &merge.branch_of,
        _ => return None,
    };
    run.prs.get(opened_by).map(|opened| opened.url.clone())
}

/// Takes the step up again. What runs on back-ends is looked at before anything is started: it may still run, or
/// have ended well meanwhile.
pub(super) fn resume(draft: &mut Draft<'_>, old: &Attempt, auto: bool) {
    match jobs_of(&old.phase) {
        Some(jobs) => {
            let attempt = Attempt {
                since: draft.facts.now,
                auto: old.auto + u32::from(auto),
                waited: std::time::Duration::ZERO,
                waiting_since: None,
                moved: None,
                doubt: None,
                phase: Phase::Checking {
                    jobs: jobs
                        .iter()
                        .map(|job| Job {
                            seen: None,
                            course: job.course.taken_up(job.seen.as_ref()),
                            ..job.clone()
                        })
                        .collect(),
                },
                ..old.clone()
            };
            watched::settle_checking(draft, attempt);
        }
        None => again(draft, old, auto),
    }
}

/// The run ends: its locks are freed and everybody is told.
pub(super) fn finish(draft: &mut Draft<'_>, verdict: Verdict, left: Vec<String>) {
    let reached = (verdict != Verdict::Completed).then(|| standing::progress(&draft.run));
    draft.run.state = RunState::Finished {
        verdict: verdict.clone(),
        at: draft.facts.now,
        reached,
    };
    draft.locks = LockChange::Leave;
    draft.announce(Happened::Finished { verdict, left });
}

/// The jobs of an attempt, whatever it is doing with them.
pub(super) fn jobs_of(phase: &Phase) -> Option<&Vec<Job>> {
    match phase {
        Phase::Checking { jobs } | Phase::Watching { jobs } => Some(jobs),
        Phase::Stopping { jobs, .. } => Some(jobs).filter(|jobs| !jobs.is_empty()),
        Phase::Acting { .. } | Phase::Asking { .. } => None,
    }
}

/// What a back-end is told about a job.
pub(super) fn job_intent(job: &Job) -> JobIntent {
    JobIntent {
        backend: job.backend.clone(),
        job: job.name.clone(),
        with: job.with.clone(),
        marker: job.marker.clone(),
    }
}

/// Names a job in its back-end.
pub(super) fn marker(run: &Run, attempt: &Attempt, job: &str) -> String {
    format!(
        "{}/{}/{}/{job}",
        run.id, run.plan.steps[attempt.step].name, attempt.number
    )
}

fn new_job(run: &Run, attempt: &Attempt, spec: &JobSpec) -> Result<Job, String> {
    let render = renderer(run, attempt);
    Ok(Job {
        name: spec.name.clone(),
        backend: spec.backend.clone(),
        with: rendered(&spec.with, render)?,
        start: spec.start,
        marker: marker(run, attempt, &spec.name),
        state: if spec.start {
            JobState::Starting
        } else {
            JobState::Watched
        },
        seen: None,
        course: Course::default(),
    })
}

fn renderer(run: &Run, attempt: &Attempt) -> impl Fn(&Template) -> Result<String, String> + use<> {
    let context = context(run, attempt);
    move |template| template.render(&context).map_err(|e| e.to_string())
}

/// What the templates of a step may use.
fn context(run: &Run, attempt: &Attempt) -> serde_json::Value {
    context_of(run, attempt.step, attempt.number)
}

pub(super) fn context_of(run: &Run, step: usize, attempt: u32) -> serde_json::Value {
    let head = run.subject.pinned.as_ref().map(|pinned| &pinned.head);
    let mut context = start::values_context(&run.plan, &run.params, Some(&run.id), head);
    context["step"] = run.plan.steps[step].name.as_str().into();
    context["attempt"] = attempt.into();
    context["steps"] = steps_context(run);
    context
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
