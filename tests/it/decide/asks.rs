//! Questions: the first answer wins, whoever else answers hears who it was.

use stepherd::domain::card;
use stepherd::domain::command::Action;
use stepherd::domain::decide::{AnswerFacts, Asked, Event, Known, NoRun, answering_roles, decide};
use stepherd::domain::effect::Effect;
use stepherd::domain::ids::QuestionId;
use stepherd::domain::pipeline::{AskSpec, StepKind};
use stepherd::domain::policy::{Permission, SamePerson};
use stepherd::domain::question;
use stepherd::domain::run::{Phase, RunState};
use stepherd::domain::signal::{MessageRef, ReplyHandle};

use super::kit::{
    HERE, Script, ask, at, by, change, facts, first_line, granted, invocation, name, plan, said, step, thread, via,
};

fn asking() -> Script {
    let mut script = Script::start(&plan(vec![step("Sure", ask()), step("Edit", change())]));
    script.take();
    script
}

fn reply(script: &Script) -> String {
    let replies: Vec<_> = script
        .last
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Reply(reply) => Some(first_line(&reply.doc)),
            _ => None,
        })
        .collect();
    replies.join("\n")
}

#[test]
fn yes_goes_on_and_the_second_answer_hears_of_the_first() {
    let mut script = asking();
    script
        .says(Action::Answer, &[("value", "yes")])
        .says(Action::Answer, &[("value", "no")]);
    insta::assert_snapshot!(script.take(), @r#"
    0s answer
       = Edit#1 acts
       4. Ada answered yes
       5. Sure: passed (Ada: Go on)
       6. Edit: attempt 1 began
       > Edit#1 change SREPROV-3072_URMO7YZ2_StepEdit
       > question YTVIDJ to jira:SREPROV-3072 discord:400
       > report to jira:SREPROV-3072 discord:400
    0s answer
       > reply: Already answered by Ada at 2027-01-15 08:00 UTC: `yes`. It was: “Go on with SREPROV-3072?” Your answer changed nothing.
    "#);
}

#[test]
fn no_ends_the_run() {
    let mut script = asking();
    script.says(Action::Answer, &[("value", "no")]);
    insta::assert_snapshot!(script.take(), @r#"
    0s answer
       = canceled by Ada
       4. Ada answered no
       5. stopped by Ada: nothing had been changed anywhere
       > notice 5 to jira:SREPROV-3072 discord:400
       > question YTVIDJ to jira:SREPROV-3072 discord:400
       > report to jira:SREPROV-3072 discord:400
       > leave the locks
    "#);
}

#[test]
fn an_answer_that_is_none_of_the_options_lists_them() {
    let mut script = asking();
    script.says(Action::Answer, &[("value", "maybe")]);
    assert_eq!(
        reply(&script),
        "`maybe` is none of the answers. They are: `/zap answer yes run=URMO7YZ2`, `/zap answer no run=URMO7YZ2`"
    );
    assert!(script.last.run.is_none());
}

#[test]
fn nobody_answers_in_time() {
    let mut script = asking();
    script.wait(600).wakes();
    assert_eq!(
        script.state(),
        "stopped in Sure#1 (User): nobody answered within 10 minutes"
    );
}

#[test]
fn only_an_open_question_has_roles_that_may_answer() {
    let mut script = asking();
    assert_eq!(answering_roles(script.run(), None), Some([name("approver")].as_slice()));
    script.says(Action::Answer, &[("value", "yes")]);
    assert_eq!(answering_roles(script.run(), None), None);
}

#[test]
fn whoever_may_not_is_told_which_role_is_missing_and_nothing_happens() {
    let mut script = asking();
    let mut asked = Asked {
        invocation: invocation(Action::Stop, &[]),
        via: via("k"),
        by: by("Eve"),
        said: said(1),
        permission: Permission::Refused {
            missing: vec![name("operator"), name("admin")],
            unknown: vec!["GitHub did not answer".to_owned()],
        },
        known: Known::Run,
    };
    script.play("eve", &Event::Asked(Box::new(asked.clone())));
    assert_eq!(
        reply(&script),
        "Eve may not say `/zap stop`: it takes the role `operator` or `admin`. Roles are given in people.toml by an administrator."
    );
    assert!(script.last.run.is_none());
    asked.permission = Permission::Refused {
        missing: vec![],
        unknown: vec![],
    };
    script.play("eve", &Event::Asked(Box::new(asked)));
    assert!(
        reply(&script).starts_with("Nobody may say `/zap stop`"),
        "{}",
        reply(&script)
    );
}

#[test]
fn a_command_that_means_no_run_is_told_what_would_help() {
    let table = [
        (
            NoRun::NoneHere,
            "No run belongs to this thread. Name one, like `/zap retry run=URMO7YZ2`; to see them all: `/zap list`",
        ),
        (
            NoRun::Unknown("AAAAAAAA".to_owned()),
            "There is no run `AAAAAAAA`. To see the runs there are: `/zap list`",
        ),
        (
            NoRun::Several(vec![name("AAAAAAAA"), name("BBBBBBBB")]),
            "Several runs belong to this thread. Name the one you mean: `/zap retry run=AAAAAAAA`, `/zap retry run=BBBBBBBB`",
        ),
    ];
    for (why, expected) in table {
        let mut script = Script::empty();
        script.asks(Action::Retry, &[], Known::NoRun(why));
        assert_eq!(reply(&script), expected);
    }
}

#[test]
fn what_the_shell_should_have_found_out_is_asked_for_openly() {
    let mut script = Script::empty();
    for action in [
        Action::Start,
        Action::Status,
        Action::Retry,
        Action::Stop,
        Action::List,
        Action::Help,
        Action::Why,
        Action::Answer,
    ] {
        script.asks(action, &[], Known::Run);
        assert!(reply(&script).starts_with("stepherd could not find out"), "{action:?}");
    }
}

#[test]
fn a_message_is_acknowledged_and_an_interaction_is_answered() {
    let script = Script::start(&plan(vec![step("Sure", ask())]));
    let message = MessageRef {
        thread: thread(HERE),
        id: "77".to_owned(),
    };
    let handle = ReplyHandle {
        token: "t".to_owned(),
        until: at(900),
    };
    let asked = |handle: Option<&ReplyHandle>, message: Option<&MessageRef>| {
        let via = stepherd::domain::decide::Via {
            handle: handle.cloned(),
            message: message.cloned(),
            ..via("k")
        };
        let asked = Asked {
            invocation: invocation(Action::Stop, &[]),
            via,
            by: by("Ada"),
            said: said(1),
            permission: granted(),
            known: Known::Run,
        };
        decide(script.run.as_ref(), &Event::Asked(Box::new(asked)), &facts(1)).effects
    };
    let is_ack = |effect: &Effect| matches!(effect, Effect::Acknowledge { .. });
    let is_reply = |effect: &Effect| matches!(effect, Effect::Reply(_));
    let in_a_thread = asked(None, Some(&message));
    assert!(
        in_a_thread.iter().any(is_ack) && !in_a_thread.iter().any(is_reply),
        "the card speaks"
    );
    let by_interaction = asked(Some(&handle), None);
    assert!(!by_interaction.iter().any(is_ack) && by_interaction.iter().any(is_reply));
}

/// A pipeline that asks twice, with the same options, and what was offered on the way.
fn asking_twice() -> Script {
    let mut script = Script::start(&plan(vec![
        step("Staging", ask()),
        step("Production", ask()),
        step("Edit", change()),
    ]));
    script.take();
    script
}

/// The button of the question that the run asks now, as `answer` takes it.
fn button(script: &Script, label: &str) -> Vec<(String, String)> {
    let open = question::open(script.run()).expect("a question is open");
    let shown = card::question(script.run(), open.id).expect("it has a face").doc;
    let on_card = card::card(script.run()).buttons;
    assert_eq!(shown.buttons, on_card, "card and question offer the same");
    let button = on_card
        .iter()
        .find(|button| button.label == label)
        .expect("there is such a button");
    button.args.clone()
}

fn press(script: &mut Script, button: &[(String, String)]) {
    let args: Vec<(&str, &str)> = button
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    script.says_at(1, Action::Answer, &args);
}

#[test]
fn a_button_pressed_twice_answers_its_own_question_once_and_the_next_one_never() {
    let mut script = asking_twice();
    let yes = button(&script, "Go on");
    press(&mut script, &yes);
    assert!(script.state().starts_with("Production#1 asks"), "{}", script.state());
    press(&mut script, &yes);
    assert!(
        script.last.run.is_none(),
        "the second press changes nothing: {}",
        script.state()
    );
    insta::assert_snapshot!(reply(&script), @r#"
    Already answered by Bea at 2027-01-15 08:00 UTC: `yes`. It was: “Go on with SREPROV-3072?” Your answer changed nothing.
    "#);
    let next = button(&script, "Go on");
    assert_ne!(next, yes);
    press(&mut script, &next);
    assert!(script.state().starts_with("Edit#1"), "{}", script.state());
    for stale in [&yes, &next] {
        press(&mut script, stale);
        assert!(script.last.run.is_none());
    }
}

#[test]
fn a_bare_word_counts_only_where_it_can_mean_nothing_else() {
    let mut script = asking_twice();
    script.wait(60).says_at(-1, Action::Answer, &[("value", "yes")]);
    assert!(script.last.run.is_none(), "said before the run asked anything");
    insta::assert_snapshot!(reply(&script), @r#"
    This was said at 2027-01-15 07:59:59 UTC, before the run asked “Go on with SREPROV-3072?” at 2027-01-15 08:00:00 UTC, so it is not taken as an answer to that. If you mean it: `/zap answer yes run=URMO7YZ2 question=YTVIDJ`
    "#);
    script.says_at(0, Action::Answer, &[("value", "yes")]);
    assert!(script.state().starts_with("Production#1 asks"), "{}", script.state());
    // The second question has the same words: whoever has not seen it yet means the first.
    script.says_at(59, Action::Answer, &[("value", "yes")]);
    assert!(script.last.run.is_none(), "said before the question was asked");
    script.says_at(61, Action::Answer, &[("value", "YES")]);
    assert!(script.last.run.is_none(), "may be meant for the first");
    insta::assert_snapshot!(reply(&script), @r#"
    This run has asked before, and `yes` was an answer then, too. Nothing was changed. If you mean “Go on with SREPROV-3072?”: `/zap answer yes run=URMO7YZ2 question=3TVIDJ`
    "#);
    let id = question::open(script.run()).unwrap().id.to_string();
    let typed = format!("/zap answer yes run=URMO7YZ2 question={id}");
    assert!(reply(&script).contains(&typed), "what is to be typed is shown");
    let shown = card::question(script.run(), &name(&id)).unwrap().doc;
    assert!(format!("{shown:?}").contains(&typed), "and stands below the question");
    script.says_at(0, Action::Answer, &[("value", "yes"), ("question", &id.to_lowercase())]);
    assert!(script.state().starts_with("Edit#1"), "{}", script.state());
}

#[test]
fn a_late_answer_hears_what_became_of_its_question() {
    let mut expired = asking_twice();
    let yes = button(&expired, "Go on");
    expired.wait(600).wakes();
    press(&mut expired, &yes);
    insta::assert_snapshot!(reply(&expired), @r#"
    That question expired at 2027-01-15 08:10 UTC: nobody answered in time. It was: “Go on with SREPROV-3072?” Your answer changed nothing.
    "#);
    expired.says(Action::Retry, &[]);
    press(&mut expired, &yes);
    assert!(expired.last.run.is_none(), "asked again, it is another question");
    insta::assert_snapshot!(reply(&expired), @r#"
    That question expired at 2027-01-15 08:10 UTC: nobody answered in time. It was: “Go on with SREPROV-3072?” Your answer changed nothing.
    "#);
    let mut stopped = asking_twice();
    let yes = button(&stopped, "Go on");
    stopped.says(Action::Stop, &[]);
    press(&mut stopped, &yes);
    insta::assert_snapshot!(reply(&stopped), @r#"
    That question is closed: Ada stopped the run at 2027-01-15 08:00 UTC. It was: “Go on with SREPROV-3072?” Your answer changed nothing.
    "#);
    stopped.says(Action::Answer, &[("value", "yes")]);
    assert!(
        reply(&stopped).starts_with("That question is closed: Ada stopped the run"),
        "{}",
        reply(&stopped)
    );
    stopped.says(Action::Answer, &[("value", "yes"), ("question", "ZZZZZZ")]);
    insta::assert_snapshot!(reply(&stopped), @r#"
    Zap · SREPROV-3072 · URMO7YZ2 has asked no question `ZZZZZZ`.
    "#);
}

#[test]
fn a_question_of_a_run_stored_before_questions_had_ids_is_answered_by_naming_the_run() {
    let mut script = asking_twice();
    let run = script.run.as_mut().unwrap();
    if let RunState::Active(attempt) = &mut run.state
        && let Phase::Asking { id, .. } = &mut attempt.phase
    {
        *id = QuestionId::of_old();
    }
    let old_button = [
        ("value".to_owned(), "yes".to_owned()),
        ("run".to_owned(), "URMO7YZ2".to_owned()),
    ];
    press(&mut script, &old_button);
    assert!(script.state().starts_with("Production#1 asks"), "{}", script.state());
    press(&mut script, &old_button);
    assert!(
        script.last.run.is_none(),
        "without an id it could mean either: {}",
        script.state()
    );
}

#[test]
fn whoever_brought_the_run_to_its_question_does_not_answer_it() {
    use SamePerson::{No, Unknown, Yes};
    let refused = |not_the_asker: bool, starter, resumer| {
        let StepKind::Ask(spec) = ask() else { unreachable!() };
        let ask = StepKind::Ask(AskSpec { not_the_asker, ..spec });
        let mut script = Script::start(&plan(vec![step("Sure", ask)]));
        script.asks(
            Action::Answer,
            &[("value", "yes")],
            Known::Answer(AnswerFacts { starter, resumer }),
        );
        script.last.run.is_none().then(|| reply(&script))
    };
    for (starter, resumer) in [(Yes, Yes), (Unknown, No), (No, No)] {
        assert_eq!(refused(false, starter, resumer), None, "not every question is so");
    }
    assert_eq!(refused(true, No, No), None);
    let all = [(Yes, No), (No, Yes), (Yes, Yes), (Unknown, No), (No, Unknown)].map(|(starter, resumer)| {
        refused(true, starter, resumer).expect("neither the same person nor perhaps the same")
    });
    insta::assert_snapshot!(all.join("\n"), @r#"
    “Go on with SREPROV-3072?” is for somebody else to answer: you started this run. Nothing was changed.
    “Go on with SREPROV-3072?” is for somebody else to answer: you resumed this run. Nothing was changed.
    “Go on with SREPROV-3072?” is for somebody else to answer: you started this run. Nothing was changed.
    “Go on with SREPROV-3072?” is for somebody other than Ada to answer, who started this run. stepherd cannot tell whether that is you: nothing links your account here with one there. Nothing was changed. An administrator can link accounts to persons in people.toml.
    “Go on with SREPROV-3072?” is for somebody other than Ada to answer, who resumed this run. stepherd cannot tell whether that is you: nothing links your account here with one there. Nothing was changed. An administrator can link accounts to persons in people.toml.
    "#);
}
