//! Which commit a command on a pull request means: the one that was reviewed, never simply the newest.

use stepherd::domain::command::Action;
use stepherd::domain::decide::{HeadKnown, Known, StartFacts};
use stepherd::domain::effect::{Effect, Outcome};
use stepherd::domain::ids::PrRef;
use stepherd::domain::run::{FailureClass, Pinned};

use super::kit::{Script, change, first_line, name, opened, plan, sha, start_facts, step, went_wrong};

fn pr() -> PrRef {
    PrRef {
        repo: name("acme/app"),
        number: 1,
    }
}

fn recorded(digit: char) -> HeadKnown {
    HeadKnown::Recorded(Pinned {
        pr: pr(),
        head: sha(digit),
    })
}

fn start(head: HeadKnown, named: Option<char>) -> Script {
    let known = StartFacts {
        head,
        ..start_facts(&plan(vec![step("Edit", change()), step("More", change())]), "", &[])
    };
    let mut script = Script::empty();
    let named = named.map(|digit| sha(digit).to_string());
    let args: Vec<(&str, &str)> = named.iter().map(|sha| ("sha", sha.as_str())).collect();
    script.asks(Action::Start, &args, Known::Start(Box::new(known)));
    script
}

#[test]
fn the_recorded_head_is_pinned_and_a_named_one_must_agree() {
    let pinned = |script: Script| script.run.and_then(|run| run.subject.pinned).map(|pinned| pinned.head);
    assert_eq!(pinned(start(recorded('a'), None)), Some(sha('a')));
    assert_eq!(pinned(start(recorded('a'), Some('a'))), Some(sha('a')));
    assert_eq!(
        pinned(start(HeadKnown::Unrecorded(pr()), Some('c'))),
        Some(sha('c')),
        "the person said which"
    );
    assert_eq!(pinned(start(HeadKnown::NoPr, None)), None);
    assert!(
        start(HeadKnown::NoPr, Some('a')).run.is_none(),
        "there is no pull request to pin"
    );
}

#[test]
fn a_head_that_was_not_known_is_never_filled_in() {
    let refused = |script: Script| match script.last.effects.as_slice() {
        [Effect::Reply(reply)] if script.run.is_none() => first_line(&reply.doc),
        other => panic!("{other:?}"),
    };
    insta::assert_snapshot!(refused(start(HeadKnown::Unrecorded(pr()), None)), @"Nothing was started: stepherd did not know the head commit of acme/app#1 before you wrote, so it cannot tell which commit you reviewed. Say it again with that commit: `/zap start sha=<the full SHA you reviewed>`");
    insta::assert_snapshot!(refused(start(recorded('a'), Some('b'))), @"Nothing was started: you named `bbbbbbb`, but the pull request's head was `aaaaaaa` when you wrote. Look at what changed, then say `/zap start` again.");
}

#[test]
fn every_check_is_shown_on_the_pinned_commit_and_on_what_the_run_opens() {
    let mut script = start(recorded('d'), None);
    script.came(Outcome::ChangeOpened(opened(7, "b")));
    let checked = |script: &Script| -> Vec<String> {
        let head = |effect: &Effect| match effect {
            Effect::Check(target) => Some(format!("{}@{}", target.repo, target.head.short())),
            _ => None,
        };
        script.last.effects.iter().filter_map(head).collect()
    };
    assert_eq!(checked(&script), ["acme/app@ddddddd", "acme/deploy@aaaaaaa"]);
    script.came(went_wrong(FailureClass::User)).says(Action::Retry, &[]);
    assert_eq!(
        script.run().subject.pinned.as_ref().map(|p| &p.head),
        Some(&sha('d')),
        "retry keeps the commit"
    );
    assert_eq!(checked(&script), ["acme/app@ddddddd", "acme/deploy@aaaaaaa"]);
}

#[test]
fn a_check_on_one_commit_is_wanted_once() {
    let mut script = start(
        HeadKnown::Recorded(Pinned {
            pr: PrRef {
                repo: name("acme/deploy"),
                number: 3,
            },
            head: sha('a'),
        }),
        None,
    );
    script.came(Outcome::ChangeOpened(opened(7, "b")));
    let checks = script
        .last
        .effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Check(_)))
        .count();
    assert_eq!(checks, 1, "the pinned commit is also the step's");
}
