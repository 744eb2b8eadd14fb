//! Which commit a command on a pull request means: the one that was reviewed, never simply the newest.

use stepherd::domain::command::Action;
use stepherd::domain::decide::{HeadKnown, HeadThen, Known, Origin, PrHead, StartFacts};
use stepherd::domain::effect::{Effect, Outcome};
use stepherd::domain::ids::{PrRef, Sha};
use stepherd::domain::run::FailureClass;

use super::kit::{Script, change, first_line, name, opened, plan, sha, start_facts, step, went_wrong};

fn pr() -> PrRef {
    PrRef {
        repo: name("acme/app"),
        number: 1,
    }
}

fn at(digit: char) -> HeadThen {
    HeadThen::Commit(sha(digit))
}

/// The pull request as everybody has known it since before the command: at this commit.
fn seen(digit: char) -> PrHead {
    PrHead {
        pr: pr(),
        origin: Origin::Trusted,
        live: sha(digit),
        recorded: Some(sha(digit)),
        at_command: at(digit),
        belongs: true,
    }
}

fn recorded(digit: char) -> HeadKnown {
    known(seen(digit))
}

fn known(head: PrHead) -> HeadKnown {
    HeadKnown::Seen(Box::new(head))
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

fn pinned(script: Script) -> Option<Sha> {
    script.run.and_then(|run| run.subject.pinned).map(|pinned| pinned.head)
}

/// What is answered where nothing is started.
fn refused(script: Script) -> String {
    match script.last.effects.as_slice() {
        [Effect::Reply(reply)] if script.run.is_none() => first_line(&reply.doc),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_recorded_head_is_pinned_and_a_named_one_must_agree() {
    assert_eq!(pinned(start(recorded('a'), None)), Some(sha('a')));
    assert_eq!(pinned(start(recorded('a'), Some('a'))), Some(sha('a')));
    assert_eq!(pinned(start(HeadKnown::NoPr, None)), None);
    assert!(
        start(HeadKnown::NoPr, Some('a')).run.is_none(),
        "there is no pull request to pin"
    );
    insta::assert_snapshot!(refused(start(recorded('a'), Some('b'))), @"Nothing was started: you named `bbbbbbb`, but the pull request's head was `aaaaaaa` when you wrote. Look at what changed, then say `/zap start` again.");
}

/// What was recorded, what the forge says of the time of the command, and the head now, against the commit that is
/// pinned without anybody naming one.
#[test]
fn a_head_is_taken_only_if_nothing_speaks_against_its_having_been_reviewed() {
    let cases = [
        (Some('a'), at('a'), 'a', Some('a')),
        // Pushed since, which is known.
        (Some('a'), at('a'), 'b', Some('a')),
        // A webhook was lost or is late, or the branch was moved there and back.
        (Some('a'), at('b'), 'b', None),
        (Some('a'), at('b'), 'a', None),
        // A forge without a record of pushes: the branch is where it was heard of before the command.
        (Some('a'), HeadThen::NoRecord, 'a', Some('a')),
        (Some('a'), HeadThen::NoRecord, 'b', None),
        // A record that does not bear it out is no missing one.
        (Some('a'), HeadThen::Behind, 'a', None),
        (Some('a'), HeadThen::Unclear, 'a', None),
        // Never recorded.
        (None, at('a'), 'a', Some('a')),
        (None, at('a'), 'b', None),
        (None, HeadThen::NoRecord, 'a', None),
        (None, HeadThen::Behind, 'a', None),
        (None, HeadThen::Unclear, 'a', None),
    ];
    for (recorded, at_command, live, expected) in cases {
        let head = || PrHead {
            live: sha(live),
            recorded: recorded.map(sha),
            at_command: at_command.clone(),
            ..seen('f')
        };
        let case = format!("{recorded:?} {at_command:?} {live}");
        assert_eq!(pinned(start(known(head()), None)), expected.map(sha), "{case}");
        if expected.is_none() {
            assert_eq!(
                pinned(start(known(head()), Some('c'))),
                Some(sha('c')),
                "{case}: the person says which"
            );
        }
    }
}

#[test]
fn a_head_that_was_not_known_is_never_filled_in() {
    let unknown = |recorded: Option<char>, at_command: HeadThen| {
        let head = PrHead {
            live: sha('b'),
            recorded: recorded.map(sha),
            at_command,
            ..seen('f')
        };
        refused(start(known(head), None))
    };
    insta::assert_snapshot!(unknown(None, HeadThen::NoRecord), @"Nothing was started: stepherd cannot tell which commit of acme/app#1 you reviewed, because it had not heard of that commit before you wrote, and cannot read when it was pushed. Say it again with that commit: `/zap start sha=<the full SHA you reviewed>`");
    insta::assert_snapshot!(unknown(None, at('a')), @"Nothing was started: stepherd cannot tell which commit of acme/app#1 you reviewed, because commits were pushed after you wrote or in that very second. Say it again with that commit: `/zap start sha=<the full SHA you reviewed>`");
    insta::assert_snapshot!(unknown(Some('a'), HeadThen::Unclear), @"Nothing was started: stepherd cannot tell which commit of acme/app#1 you reviewed, because it cannot read whether the branch was still where it had last heard of when you wrote. Say it again with that commit: `/zap start sha=<the full SHA you reviewed>`");
    insta::assert_snapshot!(unknown(Some('a'), at('b')), @"Nothing was started: stepherd cannot tell which commit of acme/app#1 you reviewed, because its branch was moved in ways that stepherd had not heard of when you wrote. Say it again with that commit: `/zap start sha=<the full SHA you reviewed>`");
}

#[test]
fn only_the_pull_requests_own_commits_are_pinned() {
    // Named, and nowhere to be found on the pull request.
    let nowhere = PrHead {
        recorded: None,
        at_command: HeadThen::NoRecord,
        belongs: false,
        ..seen('a')
    };
    insta::assert_snapshot!(refused(start(known(nowhere.clone()), Some('c'))), @"Nothing was started: `ccccccc` is not among the commits of acme/app#1. It may have been pushed away since, or belong to something else. Look at what is there now, and say it again.");
    assert_eq!(
        pinned(start(known(nowhere), Some('a'))),
        Some(sha('a')),
        "the head always is"
    );
    // Recorded, and pushed away since.
    let gone = PrHead {
        live: sha('b'),
        belongs: false,
        ..seen('a')
    };
    assert!(refused(start(known(gone), None)).contains("is not among the commits"));
}

#[test]
fn forks_and_what_cannot_be_seen_start_nothing_whatever_is_named() {
    let of = |origin: Origin| known(PrHead { origin, ..seen('a') });
    let refusals = [
        of(Origin::Fork(Some(name("eve/app")))),
        of(Origin::Fork(None)),
        of(Origin::Moved(PrRef {
            repo: name("acme/renamed"),
            number: 1,
        })),
        HeadKnown::Unseen {
            pr: pr(),
            why: "It is gone.".to_owned(),
        },
    ];
    let told: Vec<String> = refusals.iter().map(|head| refused(start(head.clone(), None))).collect();
    insta::assert_snapshot!(told.join("\n"), @"
    Nothing was started: the commits of acme/app#1 come from the fork eve/app, where anybody may push. An administrator can allow forks: `allow_forks` in stepherd.toml.
    Nothing was started: the commits of acme/app#1 come from a repository that is gone, or that stepherd may not see. An administrator can allow forks: `allow_forks` in stepherd.toml.
    Nothing was started: acme/app#1 is acme/renamed#1 now. Say it again there.
    Nothing was started: stepherd cannot look at acme/app#1. It is gone.
    ");
    for head in refusals {
        assert!(start(head, Some('a')).run.is_none());
    }
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
    let head = PrHead {
        pr: PrRef {
            repo: name("acme/deploy"),
            number: 3,
        },
        ..seen('a')
    };
    let mut script = start(known(head), None);
    script.came(Outcome::ChangeOpened(opened(7, "b")));
    let checks = script
        .last
        .effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Check(_)))
        .count();
    assert_eq!(checks, 1, "the pinned commit is also the step's");
}
