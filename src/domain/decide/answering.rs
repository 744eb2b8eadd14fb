//! Answers to questions: which question is meant, and whether this person may answer it.
//!
//! Buttons carry the question's id, so an old one finds its own question closed. A word without an id counts only
//! where it can mean nothing but the open question: said after it was asked, and never offered by an earlier one.

use super::asked::{accept, answer};
use super::draft::Draft;
use super::{AnswerFacts, Asked, Decision, Facts};
use super::{aftermath, ending, steps};
use crate::domain::card;
use crate::domain::doc::Doc;
use crate::domain::ids::RoleName;
use crate::domain::pipeline::{AskOption, StepKind};
use crate::domain::policy::SamePerson;
use crate::domain::question::{self, Open};
use crate::domain::run::{Happened, Run};

pub(super) fn decide(run: &Run, asked: &Asked, known: AnswerFacts, facts: &Facts) -> Decision {
    let meant = meant(run, asked).and_then(|(open, option)| {
        is_somebody_else(run, &open, known)?;
        Ok((open, option))
    });
    let (open, option) = match meant {
        Ok(meant) => meant,
        Err(doc) => return answer(&asked.via, doc),
    };
    let mut draft = Draft::change(run, facts);
    draft.record(Happened::Answered {
        by: asked.by.clone(),
        id: open.id.clone(),
        value: option.value.clone(),
    });
    if matches!(open.step.kind, StepKind::Work(_)) {
        aftermath::answered(&mut draft, &option.value);
    } else if option.go_on {
        steps::pass(&mut draft, Some(format!("{}: {}", asked.by.name, option.label)));
    } else {
        ending::finish_canceled(&mut draft, asked.by.clone(), &[]);
    }
    accept(&mut draft, &asked.via, "answered");
    draft.done()
}

/// The question and the option that the answer means, or why it means none.
fn meant<'a>(run: &'a Run, asked: &Asked) -> Result<(Open<'a>, &'a AskOption), Doc> {
    let named = asked.arg("question");
    let open = match (question::open(run), named) {
        (Some(open), Some(id)) if open.id.as_str().eq_ignore_ascii_case(id) => open,
        (_, Some(id)) => {
            return Err(match question::closed(run, id) {
                Some(closed) => card::closed_question(run, closed),
                None => card::no_such_question(run, id),
            });
        }
        (None, None) => return Err(card::no_question(run)),
        (Some(open), None) => open,
    };
    let said = asked.arg("value").unwrap_or_default();
    let option = open
        .spec
        .options
        .iter()
        .find(|option| option.value.eq_ignore_ascii_case(said))
        .ok_or_else(|| card::no_such_option(run, &open, said))?;
    if named.is_none() && !question::can_mean(asked.said.at, open.asked_at()) {
        return Err(card::answer_before_question(run, &open, option, asked.said.at));
    }
    if named.is_none() && question::was_offered_before(run, &open, &option.value) {
        return Err(card::which_question(run, &open, option));
    }
    Ok((open, option))
}

/// Four eyes: where the question wants somebody else than who brought the run here, not to know counts as no.
fn is_somebody_else(run: &Run, open: &Open<'_>, known: AnswerFacts) -> Result<(), Doc> {
    if !open.spec.not_the_asker {
        return Ok(());
    }
    let starter = (&run.asked_by, "started this run");
    let resumer = run.resumed_by.as_ref().unwrap_or(&run.asked_by);
    for ((who, did), same) in [(starter, known.starter), ((resumer, "resumed this run"), known.resumer)] {
        match same {
            SamePerson::No => {}
            SamePerson::Yes => return Err(card::asked_by_you(open, did)),
            SamePerson::Unknown => return Err(card::perhaps_asked_by_you(open, &who.name, did)),
        }
    }
    Ok(())
}

/// The roles that may answer: those of the question with this id, else of the one the run asks now. `None` if there
/// is no such question.
pub fn answering_roles<'a>(run: &'a Run, id: Option<&str>) -> Option<&'a [RoleName]> {
    let meant = id.and_then(|id| question::closed(run, id));
    let step = match meant {
        Some(closed) => run.plan.step(&closed.step)?.1,
        None => question::open(run)?.step,
    };
    match &step.kind {
        StepKind::Ask(ask) => Some(&ask.roles),
        _ => None,
    }
}
