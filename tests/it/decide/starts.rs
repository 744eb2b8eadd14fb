//! Starting: what a pipeline needs to know before its first step, in which order it is looked for.

use stepherd::domain::command::Action;
use stepherd::domain::decide::{Known, StartFacts};
use stepherd::domain::ids::RunId;
use stepherd::domain::pipeline::{Param, ParamFile, ParamKind, Pipeline};
use stepherd::domain::start::{self, FileValues, FileWanted, Params};
use stepherd::domain::template::Template;

use super::kit::{HERE, Script, change, first_line, name, other, plan, start_facts, step, tell, thread};

fn param(called: &str, kind: ParamKind, default: Option<&str>) -> Param {
    Param {
        name: name(called),
        kind,
        help: format!("what {called} is"),
        files: Vec::new(),
        default: default.map(Template::new),
    }
}

/// `tenant` must be given; `min` comes from the tenant's file, which comes after `repo`; `ticket` may stay empty.
fn farm() -> Pipeline {
    let from_file = |repo: &str, path: &str| ParamFile {
        repo: Template::new(repo),
        path: Template::new(path),
        pointer: "/farmers/min".to_owned(),
    };
    let min = param("min", ParamKind::Int { min: 1, max: 9 }, Some("3"));
    Pipeline {
        params: vec![
            param("tenant", ParamKind::Word, None),
            param("repo", ParamKind::Text, Some("acme/{{ tenant }}")),
            Param {
                files: vec![
                    from_file("acme/usual", "usual.yaml"),
                    from_file("{{ repo }}", "tenants/{{ tenant }}/farm.yaml"),
                ],
                ..min
            },
            param("ticket", ParamKind::Ticket, Some("")),
        ],
        locks: ["zap/{{ tenant }}", "repo/{{ repo }}", "zap/{{ tenant }}"]
            .map(Template::new)
            .into(),
        audience: ["jira:{{ ticket }}", "discord:{{ run }}", "jira: "]
            .map(Template::new)
            .into(),
        ..plan(vec![step("Edit", change())])
    }
}

fn params(given: &[(&str, &str)]) -> Params {
    given.iter().map(|(k, v)| (name(k), (*v).to_owned())).collect()
}

/// What the files of `min` say: what is usual, and what the tenant has.
fn files(said: &[(usize, Option<&str>)]) -> FileValues {
    said.iter()
        .map(|(place, said)| ((name("min"), *place), said.map(str::to_owned)))
        .collect()
}

#[test]
fn a_value_is_the_argument_else_the_files_else_the_default() {
    type Said = &'static [(usize, Option<&'static str>)];
    let table: [(&str, Said, &str, &str); 6] = [
        ("2", &[(1, Some("7"))], "2", "the command"),
        ("", &[(1, Some("7"))], "7", "tenants/comcast/farm.yaml in acme/comcast"),
        (
            "",
            &[(1, Some("7")), (0, Some("5"))],
            "7",
            "tenants/comcast/farm.yaml in acme/comcast",
        ),
        ("", &[(1, None), (0, Some("5"))], "5", "usual.yaml in acme/usual"),
        ("", &[(1, None), (0, None)], "3", "the pipeline's default"),
        ("", &[], "3", "the pipeline's default"),
    ];
    for (argument, said, expected, source) in table {
        let mut args = params(&[("tenant", "comcast")]);
        args.extend((!argument.is_empty()).then(|| (name("min"), argument.to_owned())));
        let resolved = start::resolve(&farm(), &args, &files(said)).unwrap();
        assert_eq!(resolved.values[&name("min")], expected);
        assert_eq!(resolved.sources[&name("min")].to_string(), source);
        assert_eq!(
            resolved.values[&name("repo")],
            "acme/comcast",
            "a default may use what stands before it"
        );
    }
}

#[test]
fn what_is_missing_or_wrong_is_said_with_its_source() {
    let wrong = |args: &[(&str, &str)], said: &[(usize, Option<&str>)]| {
        start::resolve(&farm(), &params(args), &files(said)).unwrap_err()
    };
    assert_eq!(wrong(&[], &[]), "`tenant` is missing: what tenant is");
    let too_many = wrong(&[("tenant", "comcast"), ("min", "70")], &[]);
    assert_eq!(too_many, "`min` from the command: `70` is not from 1 to 9");
    let no_number = wrong(&[("tenant", "comcast")], &[(1, Some("few"))]);
    assert_eq!(
        no_number,
        "`min` from tenants/comcast/farm.yaml in acme/comcast: `few` is not a whole number"
    );
    let no_path = wrong(&[("tenant", "../other")], &[]);
    assert!(no_path.starts_with("`tenant` from the command: "), "{no_path}");
}

#[test]
fn a_file_is_wanted_only_when_its_value_is_not_known_and_only_once() {
    let wanted = |args: &[(&str, &str)], said: &[(usize, Option<&str>)]| {
        start::file_wanted(&farm(), &params(args), &files(said))
    };
    let file = |place, repo: &str, path: &str| FileWanted {
        param: name("min"),
        place,
        repo: name(repo),
        path: path.to_owned(),
        pointer: "/farmers/min".to_owned(),
    };
    let own = file(1, "acme/comcast", "tenants/comcast/farm.yaml");
    assert_eq!(
        wanted(&[("tenant", "comcast")], &[]),
        Ok(Some(own)),
        "what overrides the others is read first"
    );
    assert_eq!(wanted(&[("tenant", "comcast"), ("min", "2")], &[]), Ok(None));
    let usual = file(0, "acme/usual", "usual.yaml");
    assert_eq!(wanted(&[("tenant", "comcast")], &[(1, None)]), Ok(Some(usual)));
    assert_eq!(
        wanted(&[("tenant", "comcast")], &[(1, None), (0, None)]),
        Ok(None),
        "a file that is not there is asked once"
    );
    assert_eq!(wanted(&[("tenant", "comcast")], &[(1, Some("5"))]), Ok(None));
    let nowhere = wanted(&[("tenant", "comcast"), ("repo", "nowhere")], &[]).unwrap_err();
    assert!(nowhere.starts_with("`min`: a repository must be"), "{nowhere}");
}

#[test]
fn locks_are_named_once_each_and_must_be_names() {
    let known = params(&[("tenant", "comcast"), ("repo", "acme/deploy")]);
    let locks: Vec<String> = start::lock_names(&farm(), &known)
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(locks, ["zap/comcast", "repo/acme/deploy"]);
    let refused = start::lock_names(&farm(), &params(&[("tenant", "comcast"), ("repo", "a b")])).unwrap_err();
    assert!(refused.starts_with("lock: a lock name must be"), "{refused}");
}

#[test]
fn a_thread_whose_place_is_empty_is_left_out() {
    let run: RunId = name("URMO7YZ2");
    let audience = |ticket: &str| start::audience(&farm(), &params(&[("ticket", ticket)]), &run).unwrap();
    assert_eq!(audience(""), [thread("discord:URMO7YZ2")]);
    assert_eq!(
        audience("SREPROV-1"),
        [thread("jira:SREPROV-1"), thread("discord:URMO7YZ2")]
    );
}

#[test]
fn a_thread_that_is_none_is_said() {
    let odd = Pipeline {
        audience: vec![Template::new("Somewhere:else")],
        ..farm()
    };
    let error = start::audience(&odd, &params(&[]), &name("URMO7YZ2")).unwrap_err();
    assert!(error.starts_with("audience: a platform must be"), "{error}");
}

#[test]
fn numbers_and_truths_keep_their_type_in_templates() {
    let plan = Pipeline {
        params: vec![
            param("n", ParamKind::Int { min: 0, max: 9 }, None),
            param("b", ParamKind::Bool, None),
        ],
        ..farm()
    };
    let context = start::values_context(&plan, &params(&[("n", "4"), ("b", "false")]), None, None);
    let text = Template::new("{% if n > 3 and not b %}many{% endif %}{{ run }}{{ ticket }}{{ head_sha }}");
    assert_eq!(text.render(&context).unwrap(), "many");
}

#[test]
fn whoever_is_named_and_asked_hears_of_it_once() {
    let script = Script::start(&plan(vec![step("Edit", change())]));
    let audience: Vec<String> = script.run().audience.iter().map(ToString::to_string).collect();
    assert_eq!(
        audience,
        [HERE, "discord:400"],
        "the thread where it was asked is also the ticket's"
    );
    assert_eq!(
        script.run().subject.ticket.as_ref().map(|t| t.as_str()),
        Some("SREPROV-3072")
    );
}

#[test]
fn a_start_that_cannot_be_makes_nothing_and_says_why() {
    let plan = plan(vec![step("Edit", change())]);
    let bad_values = StartFacts {
        params: Err("`tenant` is missing: which".to_owned()),
        ..start_facts(&plan, "", &[])
    };
    let odd_thread = StartFacts {
        plan: Pipeline {
            audience: vec![Template::new("nothing")],
            ..plan.clone()
        },
        ..start_facts(&plan, "", &[])
    };
    for (known, expected) in [
        (
            bad_values,
            "Nothing was started. `tenant` is missing: which. What it takes: `/zap help start`",
        ),
        (
            odd_thread,
            "Nothing was started. audience: a thread must be platform:place, got `nothing`. What it takes: `/zap help start`",
        ),
    ] {
        let mut script = Script::empty();
        script.asks(Action::Start, &[], Known::Start(Box::new(known)));
        assert!(script.run.is_none());
        let [stepherd::domain::effect::Effect::Reply(reply)] = script.last.effects.as_slice() else {
            panic!("one answer: {:?}", script.last);
        };
        assert_eq!(first_line(&reply.doc), expected);
    }
}

#[test]
fn a_pipeline_that_is_over_at_once_still_tells_everybody_and_never_holds_its_locks() {
    let plan = plan(vec![step("Note", tell(None, Some("hello {{ run }}")))]);
    let mut script = Script::start(&plan);
    insta::assert_snapshot!(script.take(), @r#"
    0s start
       = completed
       1. accepted from Ada in jira:SREPROV-3072, allowed by the role operator
       2. Note: attempt 1 began
       3. Note: hello URMO7YZ2
       4. Note: passed
       5. completed
       > notice 3 to jira:SREPROV-3072 discord:400
       > notice 5 to jira:SREPROV-3072 discord:400
       > report to jira:SREPROV-3072 discord:400
       > leave the locks
    "#);
    let mut queued = Script::started(start_facts(&plan, "SREPROV-3072", &[("zap/one", &[other(1)])]));
    insta::assert_snapshot!(queued.locks(&[]).take(), @r#"
    0s start
       = queued behind BAAAAAAA
       1. accepted from Ada in jira:SREPROV-3072, allowed by the role operator
       2. waits in line with 1 before it
       > report to jira:SREPROV-3072 discord:400
       > join zap/one
    0s ahead: nobody
       = completed
       3. Note: attempt 1 began
       4. Note: hello URMO7YZ2
       5. Note: passed
       6. completed
       > notice 4 to jira:SREPROV-3072 discord:400
       > notice 6 to jira:SREPROV-3072 discord:400
       > report to jira:SREPROV-3072 discord:400
       > leave the locks
    "#);
}
