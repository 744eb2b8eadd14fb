//! The stored form, pinned. A rename in the domain that would make a run in flight unreadable fails here first.
//!
//! When one does, and a version with the old form has been released: add an upcast in `src/store/rows.rs`, list the
//! file of the old form among the older ones (it must still read as the same values), and name a new file.
//! `GOLDEN=write cargo test --test it golden` writes the files of the current form.

use std::fmt::Debug;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepherd::domain::ids::QuestionId;
use stepherd::domain::run::{Attempt, Happened, History, Phase, Run, RunState};
use stepherd::store::rows::{Stored, decode, encode};

use super::golden_values::{effects, every_variant_is_known, history, runs};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/store_law/golden")
        .join(name)
}

/// Each value has this stored form, and each stored form of any version reads as this value.
fn pinned<T: Stored + PartialEq + Debug>(values: &[T], current: &str, older: &[&str]) {
    let stored: Vec<Value> = values
        .iter()
        .map(|value| serde_json::from_str(&encode(value).unwrap()).unwrap())
        .collect();
    let stored = serde_json::to_string_pretty(&stored).unwrap() + "\n";
    if std::env::var("GOLDEN").is_ok_and(|what| what == "write") {
        std::fs::write(file(current), &stored).unwrap();
    }
    let golden = std::fs::read_to_string(file(current)).unwrap();
    if let Some((number, (now, pinned))) = (1..).zip(stored.lines().zip(golden.lines())).find(|(_, (a, b))| a != b) {
        panic!("the stored form has changed: line {number} of {current} is `{pinned}`, now `{now}`");
    }
    assert_eq!(
        stored.len(),
        golden.len(),
        "the stored form has changed: see the end of {current}"
    );
    for golden in older.iter().chain([&current]) {
        let forms: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(file(golden)).unwrap()).unwrap();
        assert_eq!(forms.len(), values.len());
        for (form, value) in forms.iter().zip(values) {
            assert_eq!(decode::<T>(golden, &form.to_string()).unwrap(), *value);
        }
    }
}

#[test]
fn the_stored_form_of_runs_is_pinned() {
    pinned(&runs(), "runs.v1.json", &[]);
}

#[test]
fn a_run_whose_plan_says_fail_fast_cancels() {
    let run = &runs()[0];
    let now = encode(run).unwrap();
    let before = now.replace("\"on_failure\":\"Cancel\"", "\"on_failure\":\"FailFast\"");
    assert_ne!(before, now);
    assert_eq!(decode::<Run>("a run", &before).unwrap(), *run);
}

#[test]
fn a_run_whose_parameter_has_one_file_or_none_still_reads() {
    let run = &runs()[0];
    let now = encode(run).unwrap();
    let before = now.replace("\"files\":[]", "\"file\":null");
    let before = before
        .replace("\"files\":[{", "\"file\":{")
        .replace("/tenant\"}]", "/tenant\"}");
    assert!(
        !before.contains("\"files\"") && before.contains("\"file\":{"),
        "{before}"
    );
    assert_eq!(decode::<Run>("a run", &before).unwrap(), *run);
}

#[test]
fn the_stored_form_of_history_is_pinned() {
    pinned(&history(), "history.v1.json", &[]);
}

#[test]
fn the_stored_form_of_effects_is_pinned() {
    pinned(&effects(), "effects.v1.json", &[]);
    // Called for its match, which is what must not be forgotten.
    let run = runs().remove(0);
    every_variant_is_known(&run.state, &run.plan.steps[0].kind, &history()[0].what, &effects()[0]);
}

/// The values in the form that was written before questions and failures had ids.
fn without_ids<T: Stored>(values: &[T]) -> Vec<String> {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(members) => {
                for new in ["questions", "resumed_by", "not_the_asker"] {
                    members.remove(new);
                }
                for (of, new) in [
                    ("Asking", "id"),
                    ("Asked", "id"),
                    ("Answered", "id"),
                    ("why", "seq"),
                    ("Failed", "seq"),
                ] {
                    if let Some(inner) = members.get_mut(of).and_then(Value::as_object_mut) {
                        inner.remove(new).expect("it is new");
                    }
                }
                members.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let old = |value: &T| {
        let mut stored: Value = serde_json::from_str(&encode(value).unwrap()).unwrap();
        strip(&mut stored);
        stored.to_string()
    };
    values.iter().map(old).collect()
}

#[test]
fn what_was_stored_before_questions_and_failures_had_ids_still_reads() {
    for old in without_ids(&runs()) {
        let run: Run = decode("an old run", &old).unwrap();
        assert!(run.questions.is_empty() && run.resumed_by.is_none());
        match &run.state {
            RunState::Active(Attempt {
                phase: Phase::Asking { id, .. },
                ..
            }) => assert_eq!(*id, QuestionId::of_old()),
            RunState::Stopped { why, .. } => assert_eq!(why.seq, 0),
            _ => {}
        }
    }
    for old in without_ids(&history()) {
        let entry: History = decode("an old entry", &old).unwrap();
        match &entry.what {
            Happened::Asked { id, .. } | Happened::Answered { id, .. } => assert_eq!(*id, QuestionId::of_old()),
            Happened::Failed(failure) => assert_eq!(failure.seq, 0),
            _ => {}
        }
    }
}

#[test]
fn an_older_form_is_upcast_step_by_step_and_a_newer_or_strange_one_refused() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Pet {
        legs: u32,
        sound: String,
    }
    impl Stored for Pet {
        const NAME: &'static str = "pet";
        const UPCASTS: &'static [fn(Value) -> Value] = &[
            |mut old| {
                old["legs"] = old["feet"].take();
                old
            },
            |mut old| {
                old["sound"] = "none".into();
                old
            },
        ];
    }
    let pet = |sound: &str| Pet {
        legs: 4,
        sound: sound.to_owned(),
    };
    assert_eq!(
        encode(&pet("woof")).unwrap(),
        r#"{"v":3,"pet":{"legs":4,"sound":"woof"}}"#
    );
    for (form, expected) in [
        (r#"{"v":1,"pet":{"feet":4}}"#, "none"),
        (r#"{"v":2,"pet":{"legs":4}}"#, "none"),
        (r#"{"v":3,"pet":{"legs":4,"sound":"woof"}}"#, "woof"),
    ] {
        assert_eq!(decode::<Pet>("a pet", form).unwrap(), pet(expected));
    }
    for (form, why) in [
        (r#"{"v":4,"pet":{"legs":4,"sound":"woof"}}"#, "newer stepherd"),
        (r#"{"v":0,"pet":{}}"#, "which version"),
        (r#"{"pet":{}}"#, "which version"),
        (r#"{"v":"1","pet":{}}"#, "which version"),
        ("[]", "which version"),
        (r#"{"v":3,"pet":{"legs":4}}"#, "sound"),
        (r#"{"v":3}"#, "invalid type"),
        ("", "EOF"),
    ] {
        let error = decode::<Pet>("a pet", form).unwrap_err().to_string();
        assert!(error.contains("a pet") && error.contains(why), "{form}: {error}");
    }
}
