//! Branch names, parameter values and the status of a long process.

use proptest::prelude::*;
use serde_json::json;
use stepherd::domain::branch::{StepBranch, branch_name};
use stepherd::domain::ids::{Percent, RunId, StepName, TicketKey};
use stepherd::domain::pipeline::ParamKind;
use stepherd::domain::process::{ProcessPhase, ProcessStatus};
use stepherd::domain::values::parse_value;

fn parts(ticket: Option<&str>, run: &str, step: &str) -> (Option<TicketKey>, RunId, StepName) {
    (
        ticket.map(|ticket| ticket.parse().expect("a ticket")),
        run.parse().expect("a run"),
        step.parse().expect("a step"),
    )
}

#[test]
fn a_branch_is_named_after_ticket_run_and_step() {
    for (ticket, step, number, expected) in [
        (
            Some("SREPROV-3072"),
            "Lightning",
            1,
            "SREPROV-3072_URMO7YZ2_StepLightning",
        ),
        (
            Some("SREPROV-3072"),
            "Lightning",
            0,
            "SREPROV-3072_URMO7YZ2_StepLightning",
        ),
        (
            Some("SREPROV-3072"),
            "Lightning",
            2,
            "SREPROV-3072_URMO7YZ2_StepLightning_2",
        ),
        (None, "X", 1, "URMO7YZ2_StepX"),
        (None, "Step", 12, "URMO7YZ2_StepStep_12"),
        (Some("A_B-1"), "K8sNamespace", 1, "A_B-1_URMO7YZ2_StepK8sNamespace"),
    ] {
        let (ticket, run, step) = parts(ticket, "URMO7YZ2", step);
        let name = branch_name(ticket.as_ref(), &run, &step, number);
        assert_eq!(name, expected);
        let number = number.max(1);
        assert_eq!(
            StepBranch::parse(&name),
            Some(StepBranch {
                ticket,
                run,
                step,
                number
            })
        );
    }
}

#[test]
fn somebody_elses_branch_is_not_taken_for_ours() {
    for name in [
        "",
        "main",
        "feature/x",
        "_",
        "Step",
        "URMO7YZ2",
        "URMO7YZ2_",
        "URMO7YZ2_Step",
        "URMO7YZ2_stepX",
        "URMO7YZ2_X",
        "urmo7yz2_StepX",
        "URMO7YZ1_StepX",
        "URMO7YZ2_StepX_",
        "URMO7YZ2_StepX_0",
        "URMO7YZ2_StepX_1",
        "URMO7YZ2_StepX_02",
        "URMO7YZ2_StepX_+2",
        "URMO7YZ2_StepX_4294967296",
        "URMO7YZ2_StepX_2_2",
        "_URMO7YZ2_StepX",
        "sreprov-1_URMO7YZ2_StepX",
        "SREPROV_URMO7YZ2_StepX",
        "x_SREPROV-1_URMO7YZ2_StepX",
        "SREPROV-1_URMO7YZ2_StepX/y",
        "refs/heads/URMO7YZ2_StepX",
        "URMO7YZ2_StepX ",
    ] {
        assert_eq!(StepBranch::parse(name), None, "{name:?}");
    }
}

/// The rules of `git check-ref-format --branch`.
fn is_git_branch(name: &str) -> bool {
    let forbidden = |c: char| c.is_ascii_control() || " ~^:?*[\\".contains(c);
    !name.is_empty()
        && name != "@"
        && name != "HEAD"
        && !name.starts_with(['-', '/'])
        && !name.ends_with(['/', '.'])
        && !name.contains("..")
        && !name.contains("//")
        && !name.contains("@{")
        && !name.contains(forbidden)
        && name
            .split('/')
            .all(|part| !part.starts_with('.') && !part.ends_with(".lock"))
}

proptest! {
    #[test]
    fn branch_names_are_valid_and_say_what_they_were_made_of(
        ticket in prop::option::of("[A-Z][A-Z0-9_]{0,20}-[1-9][0-9]{0,6}"),
        bits in any::<u64>(),
        step in "[A-Za-z][A-Za-z0-9]{0,39}",
        number in 1_u32..,
    ) {
        let run = RunId::from_bits(bits);
        let (ticket, run, step) = parts(ticket.as_deref(), run.as_str(), &step);
        let name = branch_name(ticket.as_ref(), &run, &step, number);
        prop_assert!(is_git_branch(&name), "{}", name);
        prop_assert_eq!(StepBranch::parse(&name), Some(StepBranch { ticket, run, step, number }));
    }

    #[test]
    fn any_text_is_a_branch_of_ours_only_if_we_would_write_it(text in "\\PC{0,40}|[A-Z2-7]{8}_Step[A-Za-z0-9_]{0,9}") {
        if let Some(branch) = StepBranch::parse(&text) {
            prop_assert_eq!(branch_name(branch.ticket.as_ref(), &branch.run, &branch.step, branch.number), text);
        }
    }
}

#[test]
fn values_come_out_in_one_form() {
    let int = || ParamKind::Int {
        min: -10,
        max: i64::MAX,
    };
    let choice = || ParamKind::Choice(vec!["eu".to_owned(), "US".to_owned(), "us".to_owned()]);
    let sha = "0123456789abcdef0123456789abcdef01234567";
    for (kind, text, expected) in [
        (ParamKind::Word, " comcast ", "comcast"),
        (ParamKind::Word, "a/b-c_d.e", "a/b-c_d.e"),
        (ParamKind::Word, "_x", "_x"),
        (ParamKind::Name, " comcast-2 ", "comcast-2"),
        (ParamKind::Name, "7", "7"),
        (ParamKind::Name, &"x".repeat(63), &"x".repeat(63)),
        (ParamKind::Text, " two words, @here <b> ", "two words, @here <b>"),
        (ParamKind::Text, "👩\u{200d}🚒", "👩\u{200d}🚒"),
        (int(), "007", "7"),
        (int(), "-0", "0"),
        (int(), "9223372036854775807", "9223372036854775807"),
        (ParamKind::Bool, "YES", "true"),
        (ParamKind::Bool, "on", "true"),
        (ParamKind::Bool, "off", "false"),
        (choice(), "EU", "eu"),
        (choice(), "us", "us"),
        (choice(), "US", "US"),
        (ParamKind::Ticket, "sreprov-3072", "SREPROV-3072"),
        (ParamKind::Run, "urmo7yz2", "URMO7YZ2"),
        (ParamKind::Sha, &sha.to_uppercase(), sha),
    ] {
        assert_eq!(parse_value(&kind, text).as_deref(), Ok(expected), "{kind:?} {text:?}");
    }
}

#[test]
fn values_that_do_not_fit_are_explained() {
    let int = || ParamKind::Int { min: 1, max: 9 };
    for (kind, text, expected) in [
        (ParamKind::Word, "", "it is empty"),
        (ParamKind::Text, " \t ", "it is empty"),
        (ParamKind::Word, "a b", "not ` `"),
        (ParamKind::Word, "-x", "must start with"),
        (ParamKind::Word, ".x", "must start with"),
        (ParamKind::Word, "/x", "must start with"),
        (ParamKind::Word, "a/../b", "could not stand in a path"),
        (ParamKind::Word, "a//b", "could not stand in a path"),
        (ParamKind::Word, "a/.git/b", "could not stand in a path"),
        (ParamKind::Word, "a/-b", "could not stand in a path"),
        (ParamKind::Word, "a.lock", "could not stand in a path"),
        (ParamKind::Word, "a/", "could not stand in a path"),
        (ParamKind::Word, "a.", "could not stand in a path"),
        (ParamKind::Word, "a\u{0}b", "not `\\0`"),
        (ParamKind::Word, "{{x}}", "not `{`"),
        (ParamKind::Word, &"x".repeat(101), "longer than 100"),
        (ParamKind::Name, "Comcast", "not `C`"),
        (ParamKind::Name, "a.b", "not `.`"),
        (ParamKind::Name, "a/b", "not `/`"),
        (ParamKind::Name, "a_b", "not `_`"),
        (ParamKind::Name, "é", "not `é`"),
        (ParamKind::Name, "-a", "must start and end"),
        (ParamKind::Name, "a-", "must start and end"),
        (ParamKind::Name, &"x".repeat(64), "longer than 63"),
        (ParamKind::Text, "a\nb", "one line"),
        (ParamKind::Text, "a\u{202e}b", "one line"),
        (ParamKind::Text, &"x".repeat(501), "longer than 500"),
        (int(), "0", "not from 1 to 9"),
        (int(), "-", "not a whole number"),
        (int(), "1e3", "not a whole number"),
        (int(), "٣", "not a whole number"),
        (int(), "99999999999999999999", "not from 1 to 9"),
        (ParamKind::Bool, "maybe", "not `true` or `false`"),
        (
            ParamKind::Choice(vec!["eu".to_owned(), "apac".to_owned()]),
            "apca",
            "not one of `eu`, `apac`; did you mean `apac`?",
        ),
        (ParamKind::Ticket, "3072", "not a ticket key"),
        (ParamKind::Run, "URMO7YZ1", "not a run id"),
        (ParamKind::Sha, "0123abc", "not a full commit SHA"),
        // What was typed is quoted, short and harmless.
        (ParamKind::Bool, "a`b", "`a'b` is not"),
        (
            ParamKind::Bool,
            &"x".repeat(5_000),
            &format!("`{}…` is not", "x".repeat(60)),
        ),
    ] {
        let problem = parse_value(&kind, text).expect_err(text);
        assert!(problem.contains(expected), "{kind:?} {text:?}: {problem}");
    }
}

proptest! {
    #[test]
    fn a_value_in_its_one_form_stays_so(text in "\\PC{0,30}|[a-z0-9./_-]{0,12}|-?[0-9]{0,20}|[a-z0-9-]{0,70}", which in 0_usize..7) {
        let kind = [
            ParamKind::Word, ParamKind::Text, ParamKind::Int { min: -99, max: 99 },
            ParamKind::Bool, ParamKind::Ticket, ParamKind::Run, ParamKind::Name,
        ][which].clone();
        if let Ok(value) = parse_value(&kind, &text) {
            prop_assert_eq!(parse_value(&kind, &value), Ok(value.clone()));
            if kind == ParamKind::Name {
                prop_assert!(parse_value(&ParamKind::Word, &value).is_ok(), "{}", value);
            }
            if kind == ParamKind::Word {
                prop_assert!(is_git_branch(&format!("x_{value}")), "{}", value);
            }
        }
    }
}

fn status(flags: u8) -> serde_json::Value {
    json!({
        "hasStarted": flags & 8 != 0,
        "isRunning": flags & 4 != 0,
        "hasCompleted": flags & 2 != 0,
        "hasFailed": flags & 1 != 0,
        "progressPercentage": 20.5,
        "failureReason": null,
        "restartCount": 2,
    })
}

#[test]
fn of_sixteen_combinations_of_flags_five_mean_something() {
    use ProcessPhase::{Done, Failed, Inconsistent, Running, Starting, Waiting};
    let phases = [
        Waiting,
        Inconsistent,
        Inconsistent,
        Inconsistent,
        Inconsistent,
        Inconsistent,
        Inconsistent,
        Inconsistent,
        Starting,
        Failed,
        Done,
        Inconsistent,
        Running,
        Inconsistent,
        Inconsistent,
        Inconsistent,
    ];
    for (flags, expected) in (0_u8..16).zip(phases) {
        let read = ProcessStatus::from_json(&status(flags)).expect("seven fields");
        assert_eq!(read.phase(), expected, "flags {flags:04b}");
    }
}

#[test]
fn the_seven_fields_survive_reading_and_writing() {
    for flags in 0..16 {
        let document = status(flags);
        let read = ProcessStatus::from_json(&document).expect("seven fields");
        let written = read.to_json();
        assert_eq!(written, document);
        let names: Vec<&String> = written.as_object().expect("an object").keys().collect();
        assert_eq!(
            names,
            [
                "hasStarted",
                "isRunning",
                "hasCompleted",
                "hasFailed",
                "progressPercentage",
                "failureReason",
                "restartCount"
            ]
        );
    }
}

#[test]
fn progress_is_read_in_every_way_it_is_written() {
    let percent = |value: f64| Some(Percent::clamped(value));
    for (value, expected) in [
        (json!(20), percent(20.0)),
        (json!(20.0), percent(20.0)),
        (json!("20"), percent(20.0)),
        (json!("20.00%"), percent(20.0)),
        (json!(" 20.25 % "), percent(20.25)),
        (json!(null), None),
        (json!(-3), percent(0.0)),
        (json!(140), percent(100.0)),
        (json!("1e9"), percent(100.0)),
        (json!("NaN"), None),
        (json!("soon"), None),
        (json!(""), None),
        (json!({}), None),
    ] {
        for name in ["progressPercentage", "rebuildPercentage"] {
            let mut document = status(0b1100);
            let fields = document.as_object_mut().expect("an object");
            fields.remove("progressPercentage");
            fields.insert(name.to_owned(), value.clone());
            let read = ProcessStatus::from_json(&document).expect("readable");
            assert_eq!(read.progress, expected, "{name} {value}");
        }
    }
}

#[test]
fn a_missing_or_odd_flag_is_an_error_that_names_it() {
    for name in ["hasStarted", "isRunning", "hasCompleted", "hasFailed"] {
        let mut document = status(0);
        document[name] = json!("false");
        let problem = ProcessStatus::from_json(&document).expect_err("text is no flag");
        assert!(problem.contains(name) && problem.contains("true or false"), "{problem}");
        document.as_object_mut().expect("an object").remove(name);
        let problem = ProcessStatus::from_json(&document).expect_err("a flag is missing");
        assert!(problem.contains(name) && problem.contains("missing"), "{problem}");
    }
    assert!(ProcessStatus::from_json(&json!([])).is_err());
}

#[test]
fn reasons_and_restarts_are_optional_but_not_arbitrary() {
    let read = |change: fn(&mut serde_json::Value)| {
        let mut document = status(0b1001);
        change(&mut document);
        ProcessStatus::from_json(&document)
    };
    let plain = read(|d| {
        d["unheardOf"] = json!([1]);
        d.as_object_mut().expect("an object").remove("restartCount");
    });
    assert_eq!(plain.expect("readable").restart_count, 0);
    assert_eq!(
        read(|d| d["failureReason"] = json!(" "))
            .expect("readable")
            .failure_reason,
        None
    );
    let reason = read(|d| d["failureReason"] = json!("disk full"))
        .expect("readable")
        .failure_reason;
    assert_eq!(reason.as_deref(), Some("disk full"));
    let long = read(|d| d["failureReason"] = json!("é".repeat(9_000)))
        .expect("readable")
        .failure_reason;
    assert_eq!(long.map(|text| text.chars().count()), Some(4_000));
    assert_eq!(
        read(|d| d["restartCount"] = json!(u64::MAX))
            .expect("readable")
            .restart_count,
        u32::MAX
    );
    assert!(read(|d| d["restartCount"] = json!(-1)).is_err());
    assert!(read(|d| d["restartCount"] = json!("2")).is_err());
    assert!(read(|d| d["failureReason"] = json!(5)).is_err());
}
