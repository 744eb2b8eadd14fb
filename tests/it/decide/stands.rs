//! Whether what people did without words still stands: a pull request's change, and what a moved ticket would start.

use std::collections::BTreeMap;

use stepherd::domain::command::{Trigger, TriggerOn};
use stepherd::domain::ids::{PrRef, Sha};
use stepherd::domain::signal::{Account, Actor, ActorKind, PrChange, PrChanged, PrNow, PrState};
use stepherd::domain::since::{Altered, FieldEdit, FieldsUsed, Since};
use stepherd::domain::template::Template;

use super::kit::{at, name};

fn sha(digit: &str) -> Sha {
    digit.repeat(40).parse().unwrap()
}

fn changed(change: PrChange, state: PrState, labels: &[&str]) -> PrChanged {
    let pr = PrRef {
        repo: "acme/deploy".parse().unwrap(),
        number: 7,
    };
    PrChanged {
        actor: Actor {
            account: Account {
                platform: "github".parse().unwrap(),
                id: "1".to_owned(),
            },
            name: "ada".to_owned(),
            kind: ActorKind::Human,
            roles: Vec::new(),
            insider: false,
        },
        thread: "github:acme/deploy#7".parse().unwrap(),
        pr,
        change,
        head: sha("a"),
        state,
        draft: false,
        base: "main".to_owned(),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        title: "A wish".to_owned(),
        at: at(0),
        key: "k".to_owned(),
    }
}

fn now(state: PrState, labels: &[&str]) -> PrNow {
    PrNow {
        state,
        draft: false,
        head: sha("a"),
        base: "main".to_owned(),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
    }
}

#[test]
fn a_change_of_a_pull_request_stands_as_long_as_it_looks_as_the_change_left_it() {
    use PrChange::{Closed, Labeled, Merged, Opened, Pushed, Reopened};
    let states = [PrState::Open, PrState::Merged, PrState::Closed];
    for (change, left) in [
        (Opened, PrState::Open),
        (Reopened, PrState::Open),
        (Pushed, PrState::Open),
        (Labeled, PrState::Open),
        (Labeled, PrState::Merged),
        (Labeled, PrState::Closed),
        (Merged, PrState::Merged),
        (Closed, PrState::Closed),
    ] {
        let told = changed(change, left, &["go"]);
        for state in states {
            let stands = told.as_it_stands(&now(state, &["go"]));
            assert_eq!(
                stands.is_ok(),
                state == left,
                "{change:?}: {left}, now {state}: {stands:?}"
            );
        }
        let draft = PrNow {
            draft: true,
            ..now(left, &["go"])
        };
        assert!(told.as_it_stands(&draft).is_err(), "{change:?}: made a draft");
        let of_draft = PrChanged {
            draft: true,
            ..told.clone()
        };
        assert!(of_draft.as_it_stands(&draft).is_ok(), "{change:?}: it was one");
        assert!(
            of_draft.as_it_stands(&now(left, &["go"])).is_ok(),
            "{change:?}: it is ready"
        );
        let elsewhere = PrNow {
            base: "stable".to_owned(),
            ..now(left, &["go"])
        };
        assert!(told.as_it_stands(&elsewhere).is_err(), "{change:?}: retargeted");
        let pushed = PrNow {
            head: sha("b"),
            ..now(left, &["go"])
        };
        assert_eq!(
            told.as_it_stands(&pushed).is_err(),
            change == Pushed,
            "{change:?}: another head"
        );
    }
}

#[test]
fn of_labels_those_count_that_are_still_there() {
    for change in [PrChange::Opened, PrChange::Pushed, PrChange::Labeled] {
        let told = changed(change, PrState::Open, &["go"]);
        let gone = told.as_it_stands(&now(PrState::Open, &["Go", "other"]));
        if change == PrChange::Labeled {
            assert_eq!(gone, Err("acme/deploy#7 does not have that label any more".to_owned()));
        } else {
            assert_eq!(gone.unwrap().labels, Vec::<String>::new());
        }
    }
    let told = changed(PrChange::Opened, PrState::Open, &["go", "now"]);
    let stands = told.as_it_stands(&now(PrState::Open, &["later", "now"])).unwrap();
    assert_eq!(
        stands.labels,
        ["now"],
        "nor does a label count that was added by somebody else since"
    );
}

fn used(args: &[&str]) -> FieldsUsed {
    let args = args.iter().enumerate();
    let args = args.map(|(n, source)| (name(&format!("arg{n}")), Template::new(*source)));
    let trigger = Trigger {
        on: TriggerOn::Ticket {
            project: String::new(),
            to: "Approved".to_owned(),
        },
        verb: name("start"),
        args: args.collect(),
    };
    trigger.fields_used()
}

fn only(fields: &[&str]) -> FieldsUsed {
    let always = ["key", "project"].into_iter().chain(fields.iter().copied());
    FieldsUsed::Only(always.map(str::to_owned).collect())
}

#[test]
fn the_fields_that_arguments_use_are_known_from_their_templates() {
    for (source, fields) in [
        ("comcast", &[][..]),
        ("{{ ticket }}", &[]),
        ("{{ fields.summary }}", &["summary"]),
        (
            "{{ fields.summary | upper }}-{{ fields.customfield_10042 }}",
            &["customfield_10042", "summary"],
        ),
        (
            "{% if fields.urgent is defined %}{{ fields.summary }}{% endif %}",
            &["summary", "urgent"],
        ),
        (
            "{{ fields.summary if ticket == 'OPS-1' else fields.description }}",
            &["description", "summary"],
        ),
        ("{% set chosen = fields.summary %}{{ chosen }}", &["summary"]),
        (
            "{% with chosen = fields.summary %}{{ chosen }}{% endwith %}",
            &["summary"],
        ),
        (
            "{% for part in fields.labels | split(',') %}{{ part }}{% endfor %}",
            &["labels"],
        ),
    ] {
        assert_eq!(used(&[source]), only(fields), "{source}");
    }
    assert_eq!(
        used(&["{{ fields.a }}", "{{ fields.b }}"]),
        only(&["a", "b"]),
        "those of all arguments"
    );
}

#[test]
fn a_template_that_does_not_say_which_field_may_use_any() {
    for source in [
        "{% for name in fields %}{{ name }}{% endfor %}",
        "{{ fields }}",
        "{{ fields | length }}",
        "{% set all = fields %}{{ all.summary }}",
        "{{ fields['sum' ~ 'mary'] }}",
        "{{ fields[ticket] }}",
        "{{ fields.summary }}{{ fields | join(',') }}",
        "{{ unclosed",
    ] {
        assert_eq!(used(&[source]), FieldsUsed::All, "{source}");
    }
    // However it is written, a name that is used is not missed.
    let quoted = used(&["{{ fields['summary'] }}"]);
    assert!(quoted == FieldsUsed::All || quoted == only(&["summary"]), "{quoted:?}");
}

#[test]
fn only_a_change_of_what_is_used_speaks_against_a_move() {
    let edit = |by: &str| FieldEdit {
        by: by.to_owned(),
        at: at(5),
    };
    let told = |fields: &[&str]| {
        let edits = fields.iter().map(|field| ((*field).to_owned(), edit("Eve")));
        Since::Told(edits.collect())
    };
    for (since, used, against) in [
        (told(&[]), FieldsUsed::All, None),
        (told(&["summary"]), only(&["tenant"]), None),
        (told(&["summary", "tenant"]), only(&["tenant"]), Some(vec!["tenant"])),
        (
            told(&["summary", "tenant"]),
            FieldsUsed::All,
            Some(vec!["summary", "tenant"]),
        ),
        (told(&["project"]), only(&[]), Some(vec!["project"])),
        (told(&["key"]), only(&[]), Some(vec!["key"])),
    ] {
        let wanted = against.map(|fields| {
            let edits = fields.into_iter().map(|field| (field.to_owned(), edit("Eve")));
            Altered::Fields(edits.collect::<BTreeMap<_, _>>())
        });
        assert_eq!(since.altered(&used), wanted, "{since:?} {used:?}");
    }
    let unknown = Since::Untold("it is torn".to_owned());
    assert_eq!(
        unknown.altered(&only(&[])),
        Some(Altered::Untold("it is torn".to_owned()))
    );
}
