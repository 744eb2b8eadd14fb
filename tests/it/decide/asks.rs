//! Questions: the first answer wins, whoever else answers hears who it was.

use stepherd::domain::command::Action;
use stepherd::domain::decide::{Asked, Event, Known, NoRun, answering_roles, decide};
use stepherd::domain::effect::Effect;
use stepherd::domain::policy::Permission;
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
       > report to jira:SREPROV-3072 discord:400
    0s answer
       > reply: Already answered by Ada: `yes`
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
    assert_eq!(answering_roles(script.run()), Some([name("approver")].as_slice()));
    script.says(Action::Answer, &[("value", "yes")]);
    assert_eq!(answering_roles(script.run()), None);
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
