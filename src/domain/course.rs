//! The course of a job that begins, ends and is restarted by itself: what tells its end from an earlier one, which
//! failure it has not recovered from yet, how fast it gets on.
//!
//! An end needs a beginning. When a step begins, or is taken up again, the first that is seen of a job is its
//! baseline; an end counts only once something else than that was seen.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::{Percent, QuestionId};
use super::run::{Job, Observation, ObservedState};

/// How far back the rate is measured.
const RECENT: Duration = Duration::from_secs(6 * 3600);
/// How far apart two milestones are that are both kept.
const SPACING: Duration = Duration::from_secs(30 * 60);
/// Between milestones that are closer together there is no rate.
const SPAN_MIN: Duration = Duration::from_secs(10 * 60);

/// Who works on a job: how many there are, how many it takes, how many there shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crew {
    /// What they are and when one counts as being there.
    pub what: String,
    /// How many are there.
    pub there: u32,
    /// How many it takes.
    pub min: u32,
    /// How many there shall be, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
}

impl Crew {
    /// Whether there are as many as it takes.
    pub fn is_enough(&self) -> bool {
        self.there >= self.min
    }

    /// `3 of min 3, 12 of 30`: both numbers, without saying of what.
    pub fn numbers(&self) -> String {
        let min = format!("{} of min {}", self.there.min(self.min), self.min);
        match self.size {
            Some(size) => format!("{min}, {} of {size}", self.there),
            None if self.there > self.min => format!("{min}, {} in all", self.there),
            None => min,
        }
    }
}

impl fmt::Display for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.numbers(), self.what)
    }
}

/// What is known about a job's course beyond its last observation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Course {
    /// What was seen first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
    /// Whether what is seen now is this run's: something else than the baseline was seen, or people said so.
    pub begun: bool,
    /// How many restarts are known to everybody.
    pub restarts: u32,
    /// How far it was when it was last seen running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reached: Option<Percent>,
    /// Who worked on it then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crew: Option<Crew>,
    /// The failure after which it has not been seen running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken: Option<Broken>,
    /// Where it was when, the newest last: what the rate is told from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pace: Vec<Milestone>,
    /// When it will be done at the recent rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta: Option<Timestamp>,
    /// Whether people were asked whose end it shows, and said to wait.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub told_to_wait: bool,
}

/// What was seen of a job first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// What tells that end from another.
    pub mark: String,
    /// In words: `completed`, `failed: farmer-3 lost`.
    pub shows: String,
    /// Whether it is an end.
    pub ended: bool,
    /// How often it had been restarted.
    pub restarts: u32,
    /// When it was seen.
    pub at: Timestamp,
}

/// A question about a job whose back-end shows an end that may be an earlier one. It is watched on meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// The question's id.
    pub id: QuestionId,
    /// The job.
    pub job: String,
    /// The question.
    pub question: String,
    /// When it was asked.
    pub since: Timestamp,
}

/// A failure that was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// What tells it from another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
    /// How often the job had been restarted.
    pub restarts: u32,
    /// How far it was.
    pub progress: Option<Percent>,
    /// Why, as the back-end said. Outside input.
    pub reason: Option<String>,
    /// Until when the back-end's own restart is waited for; absent where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Whether it is still the one that a person has asked to go on from.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub still: bool,
}

/// How far a job was at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Milestone {
    /// When.
    pub at: Timestamp,
    /// How far.
    pub progress: Percent,
}

/// What an observation means for a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// What counts of it.
    pub seen: Observation,
    /// The course from now on.
    pub course: Course,
    /// What people are to be told, if anything.
    pub news: Option<News>,
}

/// What people are to be told of a job that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// It was restarted.
    Restarted {
        /// How far it was before.
        was: Option<Percent>,
        /// Why it had failed.
        reason: Option<String>,
        /// Who worked on it before.
        before: Option<Crew>,
    },
    /// It failed, and its back-end will try again by itself.
    Interrupted {
        /// Until when that is waited for.
        until: Timestamp,
    },
}

impl Course {
    /// Whether nothing is known.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }

    /// The end that may be an earlier one, as long as that is not known.
    pub fn unsure(&self) -> Option<&Baseline> {
        self.baseline.as_ref().filter(|baseline| baseline.ended && !self.begun)
    }

    /// Until when a restart is waited for.
    pub fn waits_until(&self) -> Option<Timestamp> {
        self.broken.as_ref()?.until
    }

    /// Whether the failure that is seen is the one that was told.
    pub fn is_told(&self, seen: &Observation) -> bool {
        self.broken.as_ref().is_some_and(|told| match told.until {
            // While it waits, the service may say anew what it waits for.
            Some(_) => told.restarts == seen.restarts,
            None => told.mark == seen.mark,
        })
    }

    /// The job is taken up again by a person, who has seen where it stands: what the back-end showed then is known.
    pub fn taken_up(&self, seen: Option<&Observation>) -> Self {
        Self {
            // What was stored before baselines were.
            begun: self.begun || (self.baseline.is_none() && seen.is_some()),
            told_to_wait: false,
            broken: self.broken.clone().map(|broken| Broken { still: true, ..broken }),
            ..self.clone()
        }
    }
}

/// What an observation of the job means. `wait` is how long a restart is waited for; absent where a job that failed is
/// not waited for any more.
pub fn follow(job: &Job, raw: &Observation, now: Timestamp, wait: Option<Duration>) -> Followed {
    let mut course = job.course.clone();
    let mut seen = remembering(job.seen.as_ref(), raw);
    if raw.state == ObservedState::Unknown {
        return Followed {
            seen,
            course,
            news: None,
        };
    }
    let known = known_restarts(job, raw);
    begin(&mut course, job, raw, now);
    if let Some(earlier) = course.unsure() {
        seen = not_begun(&job.name, earlier, raw);
        return Followed {
            seen,
            course,
            news: None,
        };
    }
    let news = match raw.state {
        ObservedState::Running | ObservedState::Succeeded => {
            let restarted = course.broken.is_some() || raw.restarts > known;
            let news = restarted.then(|| restarted_from(&course, job, raw));
            go_on(&mut course, raw, restarted, now);
            news
        }
        ObservedState::Failed => {
            let told = course.is_told(raw);
            // What is started anew after a failure is no restart by its back-end.
            if !told && raw.mark.is_some() {
                course.break_off(&seen, wait.filter(|_| raw.tries_again()).map(|wait| later(now, wait)));
            }
            course.waits_until().filter(|_| wait.is_some()).and_then(|until| {
                seen.state = ObservedState::Waiting;
                seen.detail = Some(format!(
                    "its restart by the service, which tries again by itself until {}",
                    until.strftime("%Y-%m-%d %H:%M UTC")
                ));
                (!told).then_some(News::Interrupted { until })
            })
        }
        ObservedState::Starting => {
            // It has been restarted in time. What it goes on from is told when it runs.
            if let Some(broken) = &mut course.broken {
                broken.until = None;
            }
            None
        }
        _ => None,
    };
    Followed { seen, course, news }
}

impl Course {
    fn break_off(&mut self, seen: &Observation, until: Option<Timestamp>) {
        self.restarts = seen.restarts;
        self.pace.clear();
        self.eta = None;
        self.broken = Some(Broken {
            mark: seen.mark.clone(),
            restarts: seen.restarts,
            progress: seen.progress.or(self.reached),
            reason: seen.reason.clone(),
            until,
            still: false,
        });
    }
}

/// The restarts that a rise is counted from.
fn known_restarts(job: &Job, raw: &Observation) -> u32 {
    let seen = job.seen.as_ref().map_or(0, |seen| seen.restarts);
    match &job.course.baseline {
        // Counted on from an earlier one, or counted anew.
        Some(earlier) if !job.course.begun && earlier.restarts == raw.restarts => raw.restarts,
        _ => job.course.restarts.max(seen),
    }
}

/// The first that is seen is the baseline; whatever is no end, or another one, is this run's.
fn begin(course: &mut Course, job: &Job, raw: &Observation, now: Timestamp) {
    if course.begun {
        return;
    }
    let Some(mark) = &raw.mark else {
        course.begun = true;
        return;
    };
    let ended = raw.state.is_terminal();
    match &course.baseline {
        Some(baseline) => course.begun = !ended || baseline.mark != *mark,
        None => {
            let seen_before = job
                .seen
                .as_ref()
                .is_some_and(|seen| seen.state != ObservedState::Unknown);
            course.begun = !ended || seen_before;
            course.baseline = Some(Baseline {
                mark: mark.clone(),
                shows: in_words(raw),
                ended,
                restarts: raw.restarts,
                at: now,
            });
        }
    }
}

fn in_words(seen: &Observation) -> String {
    match (seen.state, &seen.reason) {
        (ObservedState::Failed, Some(reason)) => format!("failed: {reason}"),
        (ObservedState::Failed, None) => "failed".to_owned(),
        (ObservedState::Canceled, _) => "canceled".to_owned(),
        _ => "completed".to_owned(),
    }
}

fn not_begun(job: &str, earlier: &Baseline, raw: &Observation) -> Observation {
    let shows = &earlier.shows;
    Observation {
        detail: Some(format!(
            "this {job} to begin; the service still shows the end of an earlier one: {shows}"
        )),
        link: raw.link.clone(),
        crew: raw.crew.clone(),
        ..Observation::of(ObservedState::Pending)
    }
}

fn restarted_from(course: &Course, job: &Job, raw: &Observation) -> News {
    let broken = course.broken.as_ref();
    let before = job.seen.as_ref();
    News::Restarted {
        was: broken.map_or(course.reached, |broken| broken.progress),
        reason: broken
            .and_then(|broken| broken.reason.clone())
            .or_else(|| raw.reason.clone())
            .or_else(|| before.and_then(|seen| seen.reason.clone())),
        before: course.crew.clone(),
    }
}

/// It runs, or is done.
fn go_on(course: &mut Course, raw: &Observation, restarted: bool, now: Timestamp) {
    course.broken = None;
    course.restarts = raw.restarts;
    let before = course.reached;
    let fell = before.zip(raw.progress).is_some_and(|(before, now)| now < before);
    if restarted || fell {
        course.pace.clear();
        course.eta = None;
    } else if let Some((before, progress)) = before.zip(raw.progress)
        && progress > before
    {
        get_on(course, Milestone { at: now, progress });
    }
    course.reached = raw.progress.or(before);
    course.crew = raw.crew.clone().or(course.crew.take());
}

/// Progress is told in steps, so a rate is measured from one step to another.
fn get_on(course: &mut Course, here: Milestone) {
    let age = |milestone: &Milestone| Duration::try_from(here.at.duration_since(milestone.at)).unwrap_or_default();
    // The newest one that is too old stays, so that there is always something to measure from.
    while course.pace.get(1).is_some_and(|next| age(next) >= RECENT) {
        course.pace.remove(0);
    }
    if let Some(first) = course.pace.first().filter(|first| age(first) >= SPAN_MIN) {
        let gained = here.progress.as_f64() - first.progress.as_f64();
        let left = 100.0 - here.progress.as_f64();
        if gained > 0.0 {
            let time = age(first).as_secs_f64() * left / gained;
            course.eta = Duration::try_from_secs_f64(time).ok().map(|time| later(here.at, time));
        }
    }
    if course.pace.last().is_none_or(|last| age(last) >= SPACING) {
        course.pace.push(here);
    }
}

/// A look that told nothing forgets nothing: the last known figures stay. Neither does a failure that does not say how
/// far it was.
fn remembering(before: Option<&Observation>, seen: &Observation) -> Observation {
    match before {
        Some(before) if matches!(seen.state, ObservedState::Failed | ObservedState::Canceled) => Observation {
            progress: seen.progress.or(before.progress),
            link: seen.link.clone().or_else(|| before.link.clone()),
            ..seen.clone()
        },
        Some(before) if seen.state == ObservedState::Unknown => Observation {
            progress: seen.progress.or(before.progress),
            restarts: seen.restarts.max(before.restarts),
            link: seen.link.clone().or_else(|| before.link.clone()),
            crew: seen.crew.clone().or_else(|| before.crew.clone()),
            ..seen.clone()
        },
        _ => seen.clone(),
    }
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}
