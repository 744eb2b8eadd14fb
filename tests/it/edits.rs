//! Edits: what changes in a file, what does not, and what is refused.

mod templates;
mod trees;

use proptest::prelude::*;
use stepherd::domain::edit::{EditAction, apply, check_path, read_value};

fn set(path: &str, before: &str, pointer: &str, value: &str) -> Result<String, String> {
    let action = EditAction::Set {
        pointer: pointer.to_owned(),
        value: value.to_owned(),
    };
    apply(path, Some(before), &action)
        .map(|after| after.expect("a set file stays"))
        .map_err(|error| error.to_string())
}

fn insert(before: &str, parent: &str, element: &str) -> Result<String, String> {
    let action = EditAction::InsertXml {
        parent: parent.to_owned(),
        element: element.to_owned(),
    };
    apply("pom.xml", Some(before), &action)
        .map(|after| after.expect("the file stays"))
        .map_err(|error| error.to_string())
}

/// The lines that are in one text but not in the other, as a diff shows them.
fn diff(before: &str, after: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let rest = old.len().min(new.len()) - head;
    let tail = old
        .iter()
        .rev()
        .zip(new.iter().rev())
        .take(rest)
        .take_while(|(a, b)| a == b)
        .count();
    let gone = old[head..old.len() - tail].iter().map(|line| format!("-{line}"));
    let come = new[head..new.len() - tail].iter().map(|line| format!("+{line}"));
    gone.chain(come).collect()
}

#[test]
fn whole_files_are_written_and_removed() {
    let write = EditAction::Write {
        content: "new\n".to_owned(),
    };
    assert_eq!(apply("a/b.txt", None, &write), Ok(Some("new\n".to_owned())));
    assert_eq!(apply("a/b.txt", Some("old\n"), &write), Ok(Some("new\n".to_owned())));
    assert_eq!(apply("a/b.txt", Some("old\n"), &EditAction::Delete), Ok(None));
    assert_eq!(apply("a/b.txt", None, &EditAction::Delete), Ok(None));
}

#[test]
fn values_are_set_only_in_files_that_exist_and_whose_format_is_known() {
    let action = EditAction::Set {
        pointer: "/a".to_owned(),
        value: "1".to_owned(),
    };
    let error = apply("a.yaml", None, &action).expect_err("no file");
    assert_eq!(error.to_string(), "a.yaml: the file does not exist");
    for path in ["a.ini", "yaml", "a/yaml/b", "Makefile", "a.xml"] {
        let error = apply(path, Some(""), &action).expect_err(path);
        assert!(error.message.contains(".yaml, .yml, .json"), "{error}");
    }
    for path in ["a.YAML", "b/a.yml", "a.json", "a.jsonc"] {
        assert!(apply(path, Some("{}"), &action).is_ok(), "{path}");
    }
    assert!(apply("a.toml", Some(""), &action).is_ok());
    let huge = "#".repeat(2_000_000);
    assert!(
        set("a.yaml", &huge, "/a", "1")
            .expect_err("too large")
            .contains("larger than")
    );
}

#[test]
fn paths_stay_in_the_repository() {
    for path in [
        "a",
        "a/b.yaml",
        ".github/workflows/x.yml",
        "a/.gitignore",
        "..a/b..",
        "ünï/x y.txt",
        "...",
        ".gitx",
    ] {
        assert_eq!(check_path(path), Ok(()), "{path:?}");
    }
    for path in [
        "",
        "/",
        "/etc/passwd",
        "a//b",
        "a/",
        "..",
        "../a",
        "a/../b",
        "a/..",
        "./a",
        "a/./b",
        ".git",
        ".git/config",
        "a/.git/b",
        ".GIT/config",
        ".git./x",
        ".git /x",
        "git~1/x",
        ".g\u{200c}it/x",
        ".git::$INDEX_ALLOCATION/x",
        "a\\b",
        "..\\a",
        "a\nb",
        "a\0b",
        "a\u{85}b",
    ] {
        let error = check_path(path).expect_err(path);
        assert!(!error.to_string().contains('\n'), "{error}");
        let action = EditAction::Write { content: String::new() };
        assert!(apply(path, None, &action).is_err(), "{path:?}");
        assert!(apply(path, Some(""), &EditAction::Delete).is_err(), "{path:?}");
    }
    assert!(check_path(&"a/".repeat(600)).is_err());
}

#[test]
fn pointers_that_lead_nowhere_say_where_they_stop() {
    let files = [
        ("a.yaml", "a: 1\nl: [1, 2]\nm:\n  x: y\n"),
        ("a.json", "{\"a\": 1, \"l\": [1, 2], \"m\": {\"x\": \"y\"}}"),
        ("a.toml", "a = 1\nl = [1, 2]\n[m]\nx = \"y\"\n"),
    ];
    for (path, text) in files {
        for (pointer, expected) in [
            ("", "the pointer names the whole file"),
            ("a", "must start with `/`"),
            ("/a/b", "what is at `/a` is no object"),
            ("/m/x/y", "what is at `/m/x` is no object"),
            ("/l/2", "the list at `/l` has 2 items, no `2`"),
            ("/l/-", "the list at `/l` has 2 items, no `-`"),
            ("/l/01", "no `01`"),
            ("/l/-1", "no `-1`"),
            ("/l/x", "no `x`"),
            ("/l/18446744073709551616", "no `18446744073709551616`"),
            ("/a\nb", "control characters"),
        ] {
            let problem = set(path, text, pointer, "1").expect_err(pointer);
            assert!(problem.contains(expected), "{path} {pointer:?}: {problem}");
        }
        assert!(
            set(path, text, &"/x".repeat(40), "1")
                .expect_err("deep")
                .contains("more than 32 parts")
        );
    }
}

#[test]
fn malformed_files_are_refused_with_their_line() {
    for (path, text, line) in [
        ("a.yaml", "a: 1\nb: [1\n", None),
        ("a.yaml", "a: 1\n\tb: 2\n", None),
        ("a.yaml", "a: 1\na: 2\n", Some(2)),
        ("a.yaml", "a: 1\n---\nb: 2\n", None),
        ("a.json", "{\n \"a\": 1,\n b: 2}", Some(3)),
        ("a.json", "{\"a\": 1", Some(1)),
        ("a.json", "{\"a\": 1} x", Some(1)),
        ("a.toml", "a = 1\nb = \n", Some(2)),
        ("a.toml", "a = 1\na = 2\n", Some(2)),
    ] {
        let action = EditAction::Set {
            pointer: "/a".to_owned(),
            value: "3".to_owned(),
        };
        let error = apply(path, Some(text), &action).expect_err(text);
        assert!(error.line.is_some(), "{path} {text:?}: {error}");
        if line.is_some() {
            assert_eq!(error.line, line, "{path} {text:?}: {error}");
        }
        assert!(error.to_string().starts_with(&format!("{path}:")), "{error}");
        assert!(read_value(path, text, "/a").is_err(), "{path} {text:?}");
    }
}

#[test]
fn scalars_are_read_as_they_are_written() {
    let yaml =
        "a: 1\nf: 1.20\nb: true\ns: 'it''s'\nn: null\ne:\nm: {x: y}\nl: [p, q]\n\"k/~\": v\nyes: no\nd: 2024-01-01\n";
    let json = "// c\n{\"a\": 1, \"f\": 1.20, \"b\": true, \"s\": \"it's\", \"n\": null, \"e\": null,\n \"m\": {\"x\": \"y\"}, \
                \"l\": [\"p\", \"q\"], \"k/~\": \"v\", \"yes\": \"no\", \"d\": \"2024-01-01\",}";
    let toml = "a = 1\nf = 1.20\nb = true\ns = \"it's\"\nl = [\"p\", \"q\"]\n\"k/~\" = \"v\"\nyes = \"no\"\nd = 2024-01-01\n[m]\nx = \"y\"\n";
    for (path, text) in [("a.yaml", yaml), ("a.json", json), ("a.toml", toml)] {
        for (pointer, expected) in [
            ("/a", Some("1")),
            ("/f", Some("1.20")),
            ("/b", Some("true")),
            ("/s", Some("it's")),
            ("/n", None),
            ("/e", None),
            ("/m/x", Some("y")),
            ("/l/1", Some("q")),
            ("/l/2", None),
            ("/l/x", None),
            ("/a/b", None),
            ("/nope/x", None),
            ("/k~1~0", Some("v")),
            ("/yes", Some("no")),
            ("/d", Some("2024-01-01")),
        ] {
            assert_eq!(
                read_value(path, text, pointer),
                Ok(expected.map(str::to_owned)),
                "{path} {pointer}"
            );
        }
        assert!(
            read_value(path, text, "/m")
                .expect_err("an object")
                .message
                .contains("an object")
        );
        assert!(
            read_value(path, text, "/l")
                .expect_err("a list")
                .message
                .contains("a list")
        );
        assert!(read_value(path, text, "a").is_err());
    }
    assert_eq!(read_value("a.yaml", "# only a comment\n", "/a"), Ok(None));
    assert_eq!(read_value("a.yaml", "", "/a"), Ok(None));
    assert_eq!(read_value("a.yaml", "a: 0123\n", "/a"), Ok(Some("0123".to_owned())));
    assert_eq!(read_value("a.yaml", "a: 1_000\n", "/a"), Ok(Some("1_000".to_owned())));
    assert_eq!(read_value("a.yaml", "\u{feff}a: b\n", "/a"), Ok(Some("b".to_owned())));
    assert_eq!(
        read_value("a.json", "\u{feff}{\"a\": \"b\"}", "/a"),
        Ok(Some("b".to_owned()))
    );
}

#[test]
fn bombs_are_refused_and_not_expanded() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let refs = vec![format!("*a{}", i - 1); 10].join(", ");
        bomb.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
    }
    assert!(set("a.yaml", &bomb, "/b", "1").is_err());
    for (path, text) in [
        ("a.yaml", "[".repeat(100_000)),
        ("a.yaml", "- ".repeat(20_000)),
        ("a.json", "[".repeat(100_000)),
        ("a.json", format!("{}{}", "[".repeat(5_000), "]".repeat(5_000))),
        ("a.toml", format!("a = {}", "[".repeat(100_000))),
        ("a.toml", format!("{} = 1", vec!["a"; 20_000].join("."))),
    ] {
        assert!(set(path, &text, "/b", "1").is_err(), "{path}");
        assert!(read_value(path, &text, "/b").is_err(), "{path}");
    }
}

const POM: &str = "<?xml version=\"1.0\"?>\n<project xmlns=\"http://x\">\n    <!-- the <modules> -->\n    <modules>\n        <module>a</module>\n        <module>b</module> <!-- last -->\n    </modules>\n    <empty/>\n    <deps a=\"1\"></deps>\n</project>\n";

#[test]
fn an_element_is_inserted_where_its_siblings_end() {
    for (parent, element, expected) in [
        (
            "/project/modules",
            "<module>c</module>",
            &["+        <module>c</module>"] as &[&str],
        ),
        (
            "/project/empty",
            "<x/>",
            &["-    <empty/>", "+    <empty>", "+        <x/>", "+    </empty>"],
        ),
        (
            "/project/deps",
            "<d>\n  <g>h</g>\n</d>",
            &[
                "-    <deps a=\"1\"></deps>",
                "+    <deps a=\"1\">",
                "+        <d>",
                "+          <g>h</g>",
                "+        </d>",
                "+    </deps>",
            ],
        ),
        ("/project", "<x y=\"1\"/>", &["+    <x y=\"1\"/>"]),
        // Alike but not equal.
        (
            "/project/modules",
            "<module>A</module>",
            &["+        <module>A</module>"],
        ),
        (
            "/project/modules",
            "<module x=\"1\">a</module>",
            &["+        <module x=\"1\">a</module>"],
        ),
    ] {
        let after = insert(POM, parent, element).expect(parent);
        assert_eq!(diff(POM, &after), expected, "{parent} {element}");
        assert_eq!(
            insert(&after, parent, element),
            Ok(after.clone()),
            "{parent} {element} again"
        );
    }
    let crlf = POM.replace('\n', "\r\n");
    let after = insert(&crlf, "/project/modules", "<module>c</module>").expect("inserted");
    assert_eq!(after.matches('\n').count(), after.matches("\r\n").count());
    let line = "<a><b>1</b></a>";
    assert_eq!(insert(line, "/a", "<b>2</b>").as_deref(), Ok("<a><b>1</b><b>2</b></a>"));
}

#[test]
fn an_equal_element_is_not_inserted_again() {
    let text = "<r><d  b='2' a=\"1\">\n  <g> x\n y </g>\n  <!-- c --><e></e></d></r>";
    let same = "<d a=\"1\" b=\"2\"><g>x y</g><e/></d>";
    assert_eq!(insert(text, "/r", same).as_deref(), Ok(text));
    let escaped = "<r><m>a &amp; b</m></r>";
    assert_eq!(
        insert(escaped, "/r", "<m><![CDATA[a & b]]></m>").as_deref(),
        Ok(escaped)
    );
    let other = insert(text, "/r", "<d a=\"1\" b=\"2\"><g>x z</g><e/></d>").expect("inserted");
    assert_ne!(other, text);
}

#[test]
fn malformed_xml_is_refused_with_its_line() {
    for (text, line) in [
        ("", 1),
        ("text", 1),
        ("<a>\n<b></a>", 2),
        ("<a>\n", 2),
        ("<a/>\n<b/>", 2),
        ("<a/>\nx", 1),
        ("<a>\n<b x=1/></a>", 2),
        ("<a>\n<b x='1' x='2'/></a>", 2),
        ("<a>\n</a", 2),
    ] {
        let action = EditAction::InsertXml {
            parent: "/a".to_owned(),
            element: "<x/>".to_owned(),
        };
        let error = apply("p/pom.xml", Some(text), &action).expect_err(text);
        assert_eq!(error.line, Some(line), "{text:?}: {error}");
        assert!(error.to_string().starts_with(&format!("p/pom.xml:{line}: ")), "{error}");
    }
    for (parent, element, expected) in [
        ("/project/nope", "<x/>", "there is no element `/project/nope`"),
        ("/modules", "<x/>", "there is no element"),
        ("project", "<x/>", "must look like"),
        ("/", "<x/>", "must look like"),
        ("/project//modules", "<x/>", "must look like"),
        ("/project", "x", "text outside of it"),
        ("/project", "", "exactly one element"),
        ("/project", "<x/><y/>", "exactly one element"),
        ("/project", "<x>", "not closed"),
        ("/project", "<x></y>", "malformed"),
        ("/project", "</project><x>", "malformed"),
        ("/project", "<?php x?><x/>", "elements and text only"),
    ] {
        let problem = insert(POM, parent, element).expect_err(element);
        assert!(problem.contains(expected), "{parent} {element:?}: {problem}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_xml_panic(text in "(<|>|/|a|b|=|\"|'| |\n|<a>|</a>|<b/>|<!--|-->|&amp;|<!\\[CDATA\\[|\\]\\]>|é){0,30}", element in "(<a>|</a>|<b/>|x|<| ){0,5}") {
        if let Ok(after) = insert(&text, "/a", &element) {
            prop_assert_eq!(insert(&after, "/a", &element), Ok(after.clone()));
        }
        let whole = format!("<a>{text}</a>");
        if let Ok(after) = insert(&whole, "/a", "<n/>") {
            prop_assert!(after == whole || after.contains("<n/>"));
        }
    }

    #[test]
    fn any_path_is_judged_without_panic(path in "\\PC{0,30}|(\\.|/|git|\\.git|a|\\\\|~1| ){0,8}") {
        if check_path(&path).is_ok() {
            prop_assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".." || part.eq_ignore_ascii_case(".git")));
        }
    }
}
