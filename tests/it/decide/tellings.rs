//! Steps that change, merge and tell: what they pass on, what they note, what they do when there is nothing to do.

use stepherd::domain::edit::EditAction;
use stepherd::domain::effect::{Deed, Outcome};
use stepherd::domain::pipeline::{ChangeSpec, Pipeline, StepKind};
use stepherd::domain::run::FailureClass;
use stepherd::domain::template::Template;

use super::kit::{Script, change, merge, name, opened, plan, sha, start_facts, step, tell, went_wrong};

#[test]
fn a_change_that_changes_nothing_opens_nothing_and_its_merge_passes() {
    let mut script = Script::start(&plan(vec![
        step("Edit", change()),
        step("Land", merge("Edit")),
        step("More", change()),
    ]));
    script.take();
    script.came(Outcome::ChangeUnneeded);
    insta::assert_snapshot!(script.take(), @r#"
    0s Edit#1 change SREPROV-3072_URMO7YZ2_StepEdit -> ChangeUnneeded
       = More#1 acts
       3. Edit: passed (nothing to change)
       4. Land: attempt 1 began
       5. Land: passed (Edit had nothing to change, so there is nothing to merge)
       6. More: attempt 1 began
       > More#1 change SREPROV-3072_URMO7YZ2_StepMore
       > report to jira:SREPROV-3072 discord:400
    "#);
}

#[test]
fn each_step_of_one_repository_has_a_branch_of_its_own() {
    let mut script = Script::start(&plan(vec![step("History", change()), step("Farm", change())]));
    script.came(Outcome::ChangeOpened(opened(1, "b")));
    let branches: Vec<&str> = script
        .acts
        .iter()
        .filter_map(|act| match &act.what {
            Deed::Change(intent) => Some(intent.branch.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(
        branches,
        ["SREPROV-3072_URMO7YZ2_StepHistory", "SREPROV-3072_URMO7YZ2_StepFarm"]
    );
}

#[test]
fn a_change_tells_the_forge_what_it_recorded_and_nothing_else_counts_as_merged() {
    let mut script = Script::start(&plan(vec![
        step("Edit", change()),
        step("Land", merge("Edit")),
        step("Again", change()),
    ]));
    let recorded = |script: &Script| match &script.acts.last().unwrap().what {
        Deed::Change(intent) => intent.recorded.as_ref().map(|opened| opened.pr.number),
        other => panic!("{other:?}"),
    };
    assert_eq!(recorded(&script), None);
    script
        .came(Outcome::ChangeOpened(opened(7, "b")))
        .came(Outcome::Merged { commit: sha('b') });
    assert_eq!(
        recorded(&script),
        None,
        "another step's pull request is none of its business"
    );
    assert_eq!(script.run().prs[&name("Edit")].merged, Some(sha('b')));
}

#[test]
fn the_merge_is_of_the_recorded_number_and_head() {
    let mut script = Script::start(&plan(vec![step("Edit", change()), step("Land", merge("Edit"))]));
    script.came(Outcome::ChangeOpened(opened(7, "renamed meanwhile")));
    let Deed::Merge(intent) = &script.acts.last().unwrap().what else {
        panic!("{:?}", script.acts);
    };
    assert_eq!((intent.pr.number, &intent.head), (7, &sha('a')));
}

#[test]
fn a_merge_that_waits_says_what_for_once() {
    let mut script = Script::start(&plan(vec![step("Edit", change()), step("Land", merge("Edit"))]));
    script.came(Outcome::ChangeOpened(opened(7, "b"))).take();
    let waits = |why: &str| Outcome::MergeWaits { why: why.to_owned() };
    script
        .came(waits("a review"))
        .came(waits("a review"))
        .came(waits("checks"));
    insta::assert_snapshot!(script.take(), @r#"
    0s Land#1 merge acme/deploy#7 -> waits for a review
       = Land#1 waits for a review
       > check aaaaaaa
       > report to jira:SREPROV-3072 discord:400 github:acme/deploy#7
    0s Land#1 merge acme/deploy#7 -> waits for a review
       nothing
    0s Land#1 merge acme/deploy#7 -> waits for checks
       = Land#1 waits for checks
       > check aaaaaaa
       > report to jira:SREPROV-3072 discord:400 github:acme/deploy#7
    "#);
    script.wait(600).wakes();
    assert_eq!(
        script.state(),
        "stopped in Land#1 (User): timed out after 10 minutes; it waited for: checks"
    );
}

#[test]
fn a_note_is_posted_when_the_ticket_has_moved_and_not_before() {
    let steps = vec![step("Close", tell(Some("{{ ticket }}"), Some("Done: {{ run }}.")))];
    let mut script = Script::start(&plan(steps));
    script.take();
    script.came(Outcome::TicketMoved);
    insta::assert_snapshot!(script.take(), @r#"
    0s Close#1 move SREPROV-3072 to Done -> TicketMoved
       = completed
       3. Close: Done: URMO7YZ2.
       4. Close: passed
       5. completed
       > notice 3 to jira:SREPROV-3072 discord:400
       > notice 5 to jira:SREPROV-3072 discord:400
       > report to jira:SREPROV-3072 discord:400
       > leave the locks
    "#);
}

#[test]
fn without_a_ticket_only_the_note_is_posted() {
    let steps = vec![step("Close", tell(Some("{{ ticket }}"), Some("Done.")))];
    let mut script = Script::started(start_facts(&plan(steps), "", &[]));
    insta::assert_snapshot!(script.take(), @r#"
    0s start
       = completed
       1. accepted from Ada in jira:SREPROV-3072, allowed by the role operator
       2. Close: attempt 1 began
       3. Close: Done.
       4. Close: passed
       5. completed
       > notice 3 to jira:SREPROV-3072 discord:400
       > notice 5 to jira:SREPROV-3072 discord:400
       > report to jira:SREPROV-3072 discord:400
       > leave the locks
    "#);
}

#[test]
fn a_template_that_does_not_render_stops_the_run_where_people_see_it() {
    let odd = |source: &str| {
        let StepKind::Change(spec) = change() else {
            unreachable!()
        };
        StepKind::Change(ChangeSpec {
            repo: Template::new(source),
            ..spec
        })
    };
    for (source, expected) in [
        ("{{ nobody }}", "stopped in Edit#1 (User): "),
        (
            "not a repository",
            "stopped in Edit#1 (User): repository: a repository must be owner/name",
        ),
    ] {
        let script = Script::start(&plan(vec![step("Edit", odd(source))]));
        assert!(script.state().starts_with(expected), "{}", script.state());
    }
    let script = Script::start(&plan(vec![step("Close", tell(Some("no ticket"), None))]));
    assert!(
        script
            .state()
            .starts_with("stopped in Close#1 (User): ticket: a ticket key must be"),
        "{}",
        script.state()
    );
}

#[test]
fn later_steps_know_what_earlier_ones_opened_and_merged() {
    let StepKind::Change(mut spec) = change() else {
        unreachable!()
    };
    spec.title =
        Template::new("{{ steps.Edit.pr }}\n {{ steps.Edit.merged }} {{ steps.None.pr }}{{ step }} {{ attempt }}");
    spec.edits[0].action = EditAction::Write {
        content: Template::new("{{ steps.Edit.branch }}"),
    };
    let steps = vec![
        step("Edit", change()),
        step("None", change()),
        step("Land", merge("Edit")),
        step("Use", StepKind::Change(spec)),
    ];
    let mut script = Script::start(&Pipeline { ..plan(steps) });
    script
        .came(Outcome::ChangeOpened(opened(7, "b")))
        .came(Outcome::ChangeUnneeded)
        .came(Outcome::Merged { commit: sha('b') });
    let Deed::Change(intent) = &script.acts.last().unwrap().what else {
        panic!("{}", script.state());
    };
    assert_eq!(
        intent.title,
        format!("7 {} Use 1", sha('b')),
        "one line, whatever the template does"
    );
    assert_eq!(
        intent.edits[0].action,
        EditAction::Write {
            content: "b".to_owned()
        }
    );
}

#[test]
fn an_outcome_that_cannot_be_stops_the_run_visibly() {
    let mut script = Script::start(&plan(vec![step("Edit", change())]));
    script.came(Outcome::TicketMoved);
    assert_eq!(
        script.state(),
        "stopped in Edit#1 (Infrastructure): stepherd got an outcome it did not expect: TicketMoved"
    );
}

#[test]
fn an_outcome_after_the_run_has_failed_changes_nothing() {
    let mut script = Script::start(&plan(vec![step("Edit", change())]));
    script
        .came(went_wrong(FailureClass::User))
        .came(went_wrong(FailureClass::User));
    assert!(script.last.is_nothing());
    script.came(Outcome::ChangeOpened(opened(7, "b")));
    assert!(script.last.is_nothing(), "a retry finds the pull request by its branch");
}
