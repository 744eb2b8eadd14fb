//! Templates: what they may say, and what they cost.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};
use stepherd::domain::edit::{Edit, EditAction};
use stepherd::domain::template::{Template, TemplateError};

fn known(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn check(source: &str) -> Result<(), TemplateError> {
    Template::new(source).check(&known(&[
        "tenant",
        "run",
        "ticket",
        "steps.HistoryUpdate.pr",
        "steps.HistoryUpdate.merged",
    ]))
}

fn context() -> Value {
    json!({
        "tenant": "comcast",
        "farmers": 3,
        "ratio": 0.5,
        "big": u64::MAX,
        "nothing": null,
        "on": true,
        "groups": ["eu", "us"],
        "steps": {"HistoryUpdate": {"pr": "acme/deploy#12"}},
        "summary": "<img> @all `x` [a](b) #1\n*b*",
    })
}

fn render(source: &str) -> Result<String, String> {
    Template::new(source)
        .render(&context())
        .map_err(|error| error.to_string())
}

#[test]
fn templates_are_filled_in() {
    for (source, expected) in [
        ("", ""),
        ("plain <b> & {text}", "plain <b> & {text}"),
        ("dcr-{{ tenant }}", "dcr-comcast"),
        ("{{ steps.HistoryUpdate.pr }}", "acme/deploy#12"),
        ("{{ steps['HistoryUpdate'].pr }}", "acme/deploy#12"),
        (
            "{{ farmers }} {{ ratio }} {{ big }} {{ on }}",
            "3 0.5 18446744073709551615 true",
        ),
        ("{{ farmers + 1 }} {{ nothing }}", "4 null"),
        ("{% for g in groups %}{{ g | upper }};{% endfor %}", "EU;US;"),
        ("{% if farmers > 2 and on %}many{% else %}few{% endif %}", "many"),
        ("{{ missing | default('none') }}", "none"),
        ("{% if missing is defined %}a{% else %}b{% endif %}", "b"),
        ("{{ groups | join(', ') }} {{ groups | length }}", "eu, us 2"),
        ("{{ tenant | replace('com', 'x') | json }}", "\"xcast\""),
        ("{% set x = tenant %}{{ x }}", "comcast"),
        ("{# a remark with {{ braces #}x", "x"),
        ("{% raw %}{{ tenant }}{% endraw %}", "{{ tenant }}"),
        // Nothing is escaped, and a last newline is the template's own business.
        ("{{ summary }}", "<img> @all `x` [a](b) #1\n*b*"),
    ] {
        assert_eq!(render(source).as_deref(), Ok(expected), "{source:?}");
    }
}

#[test]
fn outside_text_in_markdown_stays_text() {
    let rendered = Template::new("**{{ tenant }}** {{ farmers }}: {{ summary }}").render_markdown(&context());
    assert_eq!(
        rendered.as_deref(),
        Ok("**comcast** 3: &lt;img> @\u{200b}all \\`x\\` \\[a\\](b) #\u{200b}1 \\*b\\*")
    );
    assert!(Template::new("{{ missing }}").render_markdown(&context()).is_err());
}

#[test]
fn a_name_without_a_value_is_an_error_and_never_empty() {
    for source in [
        "{{ missing }}",
        "{{ steps.Other.pr }}",
        "{{ steps.HistoryUpdate.nope }}",
        "{% if missing %}{% endif %}",
        "{% for x in missing %}{% endfor %}",
        "{{ missing | upper }}",
    ] {
        let problem = render(source).expect_err(source);
        assert!(problem.contains("undefined"), "{source:?}: {problem}");
    }
}

#[test]
fn mistakes_are_found_at_load_with_their_place() {
    for (source, expected) in [
        (
            "{{ tenat }}",
            "nothing called `tenat` is known here; did you mean `tenant`? (line 1, column 4)",
        ),
        (
            "a\nbé {{ run }}{{ zzz }}",
            "nothing called `zzz` is known here (line 2, column 16)",
        ),
        (
            "{{ steps.HistoryUpdat.pr }}",
            "nothing called `steps.HistoryUpdat.pr` is known here; did you mean `steps.HistoryUpdate.pr`? (line 1, column 4)",
        ),
        (
            "{{ steps.HistoryUpdate.state }}",
            "nothing called `steps.HistoryUpdate.state` is known here",
        ),
        (
            "{% for x in runs %}{{ x }}{% endfor %}",
            "did you mean `run`? (line 1, column 13)",
        ),
        ("{{ range(3) }}", "nothing called `range` is known here"),
        (
            "{{ tenant | uper }}",
            "there is no filter `uper`; did you mean `upper`? (line 1, column 13)",
        ),
        (
            "{{ '|x' }}{{ tenant|urlize }}",
            "there is no filter `urlize`; there are default,",
        ),
        (
            "{% if tenant is not defind %}{% endif %}",
            "there is no test `defind`; did you mean `defined`?",
        ),
        (
            "{%- filter loud %}{{ tenant }}{% endfilter %}",
            "there is no filter `loud`",
        ),
        ("{{ tenant", "(line 1"),
        ("a\n{{ tenant }", "(line 2"),
        ("{% if tenant %}", "(line 1"),
        ("{% nope %}", "unknown statement nope"),
        ("{{ tenant + }}", "syntax error"),
    ] {
        let error = check(source).expect_err(source);
        assert!(error.to_string().contains(expected), "{source:?}: {error}");
    }
}

#[test]
fn known_names_pass_the_check() {
    for source in [
        "",
        "text",
        "{{ tenant }}",
        "{{ tenant.anything }}",
        "{{ steps.HistoryUpdate.pr }}",
        "{{ steps.HistoryUpdate.pr.number }}",
        "{% for name in steps %}{{ name }}{% endfor %}",
        "{% set x = run %}{{ x }}",
        "{{ run | upper }}",
        "{{ tenant.is.odd }}{{ '|x is y' }}",
        "{% filter upper %}x{% endfilter %}",
        "{% if tenant is not defined or run is startingwith('x') %}{% endif %}",
        "{% if ticket is defined %}{% endif %}",
    ] {
        assert_eq!(check(source), Ok(()), "{source:?}");
    }
}

#[test]
fn files_cannot_be_loaded() {
    for source in [
        "{% include '/etc/passwd' %}",
        "{% extends '/etc/passwd' %}",
        "{% import '/etc/passwd' as x %}{{ x }}",
        "{% from '/etc/passwd' import x %}{{ x }}",
    ] {
        assert!(render(source).is_err(), "{source:?}");
    }
}

#[test]
fn nothing_a_template_does_takes_long_or_much() {
    let loops = "{% for a in 'x' * 1000 %}".repeat(3);
    let chain = |link: &str| format!("{{{{ tenant{} }}}}", link.repeat(480 / link.len()));
    for (source, expected) in [
        (format!("{{# {} #}}", "x".repeat(17_000)), "longer than 16384 bytes"),
        (
            format!("a\n {{{{ {}1 }}}}", "not ".repeat(130)),
            "longer than 500 bytes (line 2, column 4)",
        ),
        // A quote that hides the end of a tag does not hide what follows from the count.
        (
            format!("{{{{ '}}}}' ~ {}1 }}}}", "not ".repeat(130)),
            "longer than 500 bytes",
        ),
        (
            "{% if on %}".repeat(101) + &"{% endif %}".repeat(101),
            "more than 200 tags",
        ),
        (
            "{{ ".to_owned() + &"(".repeat(200) + "1" + &")".repeat(200) + " }}",
            "recursion",
        ),
        (
            "{{ ".to_owned() + &"[".repeat(200) + "1" + &"]".repeat(200) + " }}",
            "recursion",
        ),
        (loops + "x" + &"{% endfor %}".repeat(3), "more than 50000 steps"),
        ("{{ 'x' * 100000000000 }}".to_owned(), "too large"),
        (
            "{% for a in 'x' * 400 %}{{ 'y' * 1000 }}{% endfor %}".to_owned(),
            "longer than 262144 bytes",
        ),
        (
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned(),
            "there are no macros",
        ),
        // As deep as the bounds let it.
        (chain("()"), "not callable"),
        (chain(".a"), "undefined"),
        ("{% if 1 > 2 %}".to_owned() + &"{% elif 1 > 2 %}".repeat(198), "(line 1"),
    ] {
        let problem = render(&source).expect_err(&source);
        assert!(
            problem.contains(expected),
            "{}…: {problem}",
            &source[..source.len().min(60)]
        );
    }
    assert_eq!(render(&chain("|upper")).as_deref(), Ok("COMCAST"));
    assert_eq!(render(&format!("{{{{ {}1 }}}}", "-".repeat(480))).as_deref(), Ok("1"));
    let elifs = "{% if 1 > 2 %}".to_owned() + &"{% elif 1 > 2 %}".repeat(197) + "{% else %}x{% endif %}";
    assert_eq!(render(&elifs).as_deref(), Ok("x"));
    let long = "text ".repeat(3_000);
    assert_eq!(render(&long).as_deref(), Ok(long.as_str()));
}

#[test]
fn every_part_of_an_edit_is_a_template() {
    let template = |source: &str| Template::new(source);
    let edit = |action| Edit {
        path: template("clusters/{{ tenant }}.yaml"),
        action,
    };
    let rendered = edit(EditAction::Set {
        pointer: template("/farmers/{{ tenant }}"),
        value: template("{{ farmers }}"),
    })
    .render(&context());
    let action = EditAction::Set {
        pointer: "/farmers/comcast".to_owned(),
        value: "3".to_owned(),
    };
    assert_eq!(
        rendered,
        Ok(Edit {
            path: "clusters/comcast.yaml".to_owned(),
            action
        })
    );
    assert!(
        edit(EditAction::Write {
            content: template("{{ nope }}")
        })
        .render(&context())
        .is_err()
    );
    assert!(
        edit(EditAction::InsertXml {
            parent: template("/a"),
            element: template("{{ nope }}")
        })
        .render(&context())
        .is_err()
    );
    let delete = edit(EditAction::Delete).render(&context()).map(|edit| edit.action);
    assert_eq!(delete, Ok(EditAction::Delete));
}

proptest! {
    #[test]
    fn no_source_makes_it_panic(source in "(\\{\\{|\\}\\}|\\{%|%\\}|\\{#|#\\}| |tenant|missing|steps|\\.|\\||upper|'|\"|\\\\|if|for|in|endif|endfor|set|=|\\(|\\)|\\[|\\]|not|-|1|é|🐑|\n|raw|endraw|,|~|\\*){0,25}") {
        let _ = check(&source);
        let _ = render(&source);
        let _ = Template::new(source).render_markdown(&context());
    }
}
