//! Values set in YAML, JSON and TOML: the value changes, and nothing else.

use proptest::prelude::*;
use serde_json::Value;
use stepherd::domain::edit::read_value;

use super::{diff, set};

const YAML: &str = "\
# The clusters.
clusters:
  - name: a   # first
    size: 3

    # about labels
    labels: {env: prod, \"tier\": 'gold'}
  - name: b
    size: 4
image:
    tag: 1.2.3  # bumped by hand
    version: 1.10
    digest: \"abc\"
    quoted: 'x'
    # trailing remark

empty:
nothing: null
braces: {}
list: [1, 2]
text: |
  line # not a comment
  # nor this
after: true # end
";

fn changed(text: &str, pointer: &str, value: &str) -> Vec<String> {
    let after = set("a.yaml", text, pointer, value).unwrap_or_else(|problem| panic!("{pointer}: {problem}"));
    assert_eq!(
        set("a.yaml", &after, pointer, value).as_deref(),
        Ok(&*after),
        "{pointer} again"
    );
    diff(text, &after)
}

#[test]
fn a_yaml_value_changes_in_its_place() {
    for (pointer, value, expected) in [
        ("/clusters/0/size", "5", ["-    size: 3", "+    size: 5"]),
        (
            "/clusters/0/name",
            "z",
            ["-  - name: a   # first", "+  - name: z   # first"],
        ),
        ("/clusters/1/name", "true", ["-  - name: b", "+  - name: true"]),
        ("/clusters/1/name", "\"true\"", ["-  - name: b", "+  - name: \"true\""]),
        (
            "/clusters/0/labels/env",
            "test",
            [
                "-    labels: {env: prod, \"tier\": 'gold'}",
                "+    labels: {env: test, \"tier\": 'gold'}",
            ],
        ),
        (
            "/clusters/0/labels/tier",
            "it's",
            [
                "-    labels: {env: prod, \"tier\": 'gold'}",
                "+    labels: {env: prod, \"tier\": 'it''s'}",
            ],
        ),
        (
            "/image/tag",
            "1.2.4",
            ["-    tag: 1.2.3  # bumped by hand", "+    tag: 1.2.4  # bumped by hand"],
        ),
        ("/image/version", "1.20", ["-    version: 1.10", "+    version: 1.20"]),
        ("/image/version", "1.1", ["-    version: 1.10", "+    version: 1.1"]),
        ("/image/digest", "def", ["-    digest: \"abc\"", "+    digest: \"def\""]),
        ("/image/digest", "12", ["-    digest: \"abc\"", "+    digest: 12"]),
        ("/image/quoted", "a: b", ["-    quoted: 'x'", "+    quoted: 'a: b'"]),
        (
            "/image/tag",
            "2024-01-01",
            [
                "-    tag: 1.2.3  # bumped by hand",
                "+    tag: \"2024-01-01\"  # bumped by hand",
            ],
        ),
        (
            "/image/tag",
            "a # b",
            [
                "-    tag: 1.2.3  # bumped by hand",
                "+    tag: \"a # b\"  # bumped by hand",
            ],
        ),
        ("/empty", "full", ["-empty:", "+empty: full"]),
        ("/nothing", "0", ["-nothing: null", "+nothing: 0"]),
        ("/braces/a", "1", ["-braces: {}", "+braces: {a: 1}"]),
        ("/list/1", "no", ["-list: [1, 2]", "+list: [1, \"no\"]"]),
        ("/list", "[]", ["-list: [1, 2]", "+list: []"]),
        ("/after", "false", ["-after: true # end", "+after: false # end"]),
    ] {
        assert_eq!(changed(YAML, pointer, value), expected, "{pointer} {value}");
    }
}

#[test]
fn missing_yaml_objects_are_made_on_the_way() {
    for (pointer, value, expected) in [
        ("/new", "x", &["+new: x"] as &[&str]),
        ("/new/deep/er", "x", &["+new:", "+  deep:", "+    er: x"]),
        ("/clusters/0/zone", "z", &["+    zone: z"]),
        (
            "/clusters/1/a/b",
            "[1, {\"c\": 2}]",
            &["+    a:", "+      b:", "+        - 1", "+        - c: 2"],
        ),
        ("/image/no", "{}", &["+    \"no\": {}"]),
        ("/empty/a/b", "1", &["+  a:", "+    b: 1"]),
        ("/nothing/a", "1", &["-nothing: null", "+nothing:", "+  a: 1"]),
        (
            "/clusters/0/labels/new",
            "x y",
            &[
                "-    labels: {env: prod, \"tier\": 'gold'}",
                "+    labels: {env: prod, \"tier\": 'gold', new: \"x y\"}",
            ],
        ),
        (
            "/image/quoted",
            "{\"a\":[]}",
            &["-    quoted: 'x'", "+    quoted:", "+      a: []"],
        ),
        ("/list/0", "{\"a\":1}", &["-list: [1, 2]", "+list: [{a: 1}, 2]"]),
    ] {
        assert_eq!(changed(YAML, pointer, value), expected, "{pointer} {value}");
    }
    assert_eq!(set("a.yaml", "", "/a/b", "c").as_deref(), Ok("a:\n  b: c\n"));
    assert_eq!(set("a.yaml", "# hi", "/a", "c").as_deref(), Ok("# hi\na: c\n"));
    assert_eq!(set("a.yaml", "a: 1", "/b", "2").as_deref(), Ok("a: 1\nb: 2"));
    assert_eq!(
        set("a.yaml", "a:\r\n  b: 1\r\nc: 2\r\n", "/a/d", "3").as_deref(),
        Ok("a:\r\n  b: 1\r\n  d: 3\r\nc: 2\r\n")
    );
    assert_eq!(
        set("a.yaml", "\u{feff}a: 1\n", "/a", "2").as_deref(),
        Ok("\u{feff}a: 2\n")
    );
    assert_eq!(set("a.yaml", "---\na: 1\n", "/a", "2").as_deref(), Ok("---\na: 2\n"));
}

#[test]
fn a_yaml_entry_is_added_after_the_last_one_and_before_closing_remarks() {
    for (text, expected) in [
        ("a: |\n  x\n  # y\n# z\n", "a: |\n  x\n  # y\nnew: 1\n# z\n"),
        ("a: |\n  x\n  # y\n", "a: |\n  x\n  # y\nnew: 1\n"),
        ("a: 1 # y\n\n# z\n\n\n", "a: 1 # y\nnew: 1\n\n# z\n\n\n"),
        ("a:\n  b: c\n  # z\n", "a:\n  b: c\nnew: 1\n  # z\n"),
        ("a: 'x\n  # y'\n", "a: 'x\n  # y'\nnew: 1\n"),
    ] {
        assert_eq!(set("a.yaml", text, "/new", "1").as_deref(), Ok(expected), "{text:?}");
    }
    let remarks = "# remark\n".repeat(3_000);
    let after = set("a.yaml", &format!("a: 1\n{remarks}"), "/b", "2");
    assert_eq!(after, Ok(format!("a: 1\nb: 2\n{remarks}")));
}

#[test]
fn whole_yaml_blocks_are_replaced() {
    for (pointer, value, text, expected) in [
        ("/a", "1", "a:\n  b: 2\n  c: 3\nd: 4\n", "a: 1\nd: 4\n"),
        ("/a", "{\"x\": 1}", "a:\n  b: 2\nd: 4\n", "a:\n  x: 1\nd: 4\n"),
        ("/a", "[1, 2]", "a:\n- 3\nd: 4\n", "a:\n- 1\n- 2\nd: 4\n"),
        (
            "/a/0",
            "{\"x\": 1, \"z\": [2]}",
            "a:\n  - b: 2\n  - c\n",
            "a:\n  - x: 1\n    z:\n      - 2\n  - c\n",
        ),
        ("/a/1", "{\"x\": 1}", "a:\n  - b\n  - c\n", "a:\n  - b\n  - x: 1\n"),
        ("/a/0", "9", "a:\n  - b: 2\n    c: 3\n  - d\n", "a:\n  - 9\n  - d\n"),
        ("/a", "x", "a: |\n  one\n  two\nb: 1\n", "a: x\nb: 1\n"),
        ("/a", "one\ntwo", "a: x\n", "a: \"one\\ntwo\"\n"),
        ("/\"q\"", "1", "a: 1\n", "a: 1\n\"\\\"q\\\"\": 1\n"),
    ] {
        assert_eq!(
            set("a.yaml", text, pointer, value).as_deref(),
            Ok(expected),
            "{pointer} in {text:?}"
        );
    }
}

#[test]
fn yaml_that_shares_values_is_not_edited_behind_its_back() {
    for (text, pointer) in [
        ("a: &x 1\nb: *x\n", "/a"),
        ("a: &x 1\nb: *x\n", "/b"),
        ("a: &x {k: 1}\nb: *x\n", "/b/k"),
        ("base: &x\n  k: 1\nb:\n  <<: *x\n", "/b/k"),
        ("base: &x\n  k: 1\nb:\n  <<: *x\n", "/base/k"),
    ] {
        match set("a.yaml", text, pointer, "2") {
            Err(problem) => assert!(problem.starts_with("a.yaml: "), "{problem}"),
            Ok(after) => panic!("{pointer} in {text:?} gave {after:?}"),
        }
    }
    // Beside what is shared there is nothing to fear.
    let text = "a: &x 1\nb: *x\nc: 3\n";
    assert_eq!(set("a.yaml", text, "/c", "4").as_deref(), Ok("a: &x 1\nb: *x\nc: 4\n"));
}

const JSON: &str = "{\n  // why\n  \"a\": 1, // one\n  \"v\": 1.10,\n  \"m\": {\n    \"x\": \"y\"\n  },\n  \"l\": [1, {\"k\": null}],\n  \"e\": {}\n}\n";

#[test]
fn a_json_value_changes_in_its_place() {
    for (pointer, value, expected) in [
        ("/a", "2", &["-  \"a\": 1, // one", "+  \"a\": 2, // one"] as &[&str]),
        ("/a", "two", &["-  \"a\": 1, // one", "+  \"a\": \"two\", // one"]),
        ("/v", "1.20", &["-  \"v\": 1.10,", "+  \"v\": 1.20,"]),
        ("/v", "1.1", &["-  \"v\": 1.10,", "+  \"v\": 1.1,"]),
        ("/m/x", "a\"b\\", &["-    \"x\": \"y\"", "+    \"x\": \"a\\\"b\\\\\""]),
        (
            "/m/z",
            "true",
            &["-    \"x\": \"y\"", "+    \"x\": \"y\",", "+    \"z\": true"],
        ),
        (
            "/l/0",
            "null",
            &["-  \"l\": [1, {\"k\": null}],", "+  \"l\": [null, {\"k\": null}],"],
        ),
        (
            "/l/1/k",
            "3",
            &["-  \"l\": [1, {\"k\": null}],", "+  \"l\": [1, {\"k\": 3}],"],
        ),
    ] {
        let after = set("a.json", JSON, pointer, value).expect(pointer);
        assert_eq!(diff(JSON, &after), expected, "{pointer} {value}");
        assert_eq!(set("a.json", &after, pointer, value), Ok(after.clone()));
    }
    let after = set("a.json", JSON, "/e/f/g", "[]").expect("made on the way");
    assert_eq!(read_value("a.json", &after, "/v"), Ok(Some("1.10".to_owned())));
    assert!(after.contains("// why") && after.contains("\"g\": []"), "{after}");
    assert_eq!(
        set("a.json", "", "/a", "1").map(|text| text.contains("\"a\": 1")),
        Ok(true)
    );
    assert!(
        set("a.json", "{\"a\": 1, \"a\": 2}", "/a", "3").is_err(),
        "which of the two is meant?"
    );
}

const TOML: &str = "# top\na = 1 # one\nv = 1.10\nwhen = 2024-01-01\n\n[t] # table\nx = 'y'\ni = { p = 1, q = [1, 2] } # inline\nd.e = 1\n\n[[s]]\nn = 1\n[[s]]\nn = 2\n";

#[test]
fn a_toml_value_changes_in_its_place() {
    for (pointer, value, expected) in [
        ("/a", "2", &["-a = 1 # one", "+a = 2 # one"] as &[&str]),
        ("/v", "1.20", &["-v = 1.10", "+v = 1.20"]),
        ("/v", "1.1", &["-v = 1.10", "+v = 1.1"]),
        ("/when", "2024-02-01", &["-when = 2024-01-01", "+when = 2024-02-01"]),
        ("/t/x", "z", &["-x = 'y'", "+x = \"z\""]),
        (
            "/t/i/p",
            "2",
            &[
                "-i = { p = 1, q = [1, 2] } # inline",
                "+i = { p = 2, q = [1, 2] } # inline",
            ],
        ),
        (
            "/t/i/q/1",
            "3",
            &[
                "-i = { p = 1, q = [1, 2] } # inline",
                "+i = { p = 1, q = [1, 3] } # inline",
            ],
        ),
        ("/t/d/e", "2", &["-d.e = 1", "+d.e = 2"]),
        ("/s/1/n", "3", &["-n = 2", "+n = 3"]),
        ("/t/new", "true", &["+new = true"]),
        ("/s/0/m", "{\"k\":[\"v\"]}", &["+m = { k = [\"v\"] }"]),
    ] {
        let after = set("a.toml", TOML, pointer, value).unwrap_or_else(|problem| panic!("{pointer}: {problem}"));
        assert_eq!(diff(TOML, &after), expected, "{pointer} {value}");
        assert_eq!(set("a.toml", &after, pointer, value), Ok(after.clone()));
    }
    let after = set("a.toml", TOML, "/new/deep/er", "1").expect("made on the way");
    assert!(
        after.contains("[new.deep]\ner = 1\n") && !after.contains("[new]"),
        "{after}"
    );
    assert_eq!(
        set("a.toml", "a = 1\r\nb = 2\r\n", "/c", "3").as_deref(),
        Ok("a = 1\r\nb = 2\r\nc = 3\r\n")
    );
    for (pointer, value, expected) in [
        ("/a", "null", "TOML has no null"),
        ("/a", "99999999999999999999", "not a number TOML can hold"),
        ("/s/0", "{}", "set values in it"),
    ] {
        let problem = set("a.toml", TOML, pointer, value).expect_err(pointer);
        assert!(problem.contains(expected), "{problem}");
    }
}

#[test]
fn setting_what_is_there_changes_no_byte() {
    let untidy = "a :   {x:  1 , y: 'two' }   # c\n\n\nb:   true\nf: 1.50";
    for (pointer, value) in [
        ("/a/x", "1"),
        ("/a/y", "two"),
        ("/a", "{\"y\":\"two\",\"x\":1}"),
        ("/b", " true "),
        ("/f", "1.50"),
    ] {
        assert_eq!(
            set("a.yaml", untidy, pointer, value).as_deref(),
            Ok(untidy),
            "{pointer}"
        );
    }
    assert_eq!(set("a.json", "{\"a\" :1}", "/a", "1").as_deref(), Ok("{\"a\" :1}"));
    assert_eq!(set("a.toml", "a=1", "/a", "1").as_deref(), Ok("a=1"));
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-c]", 1 => "[a-zA-Z0-9_ .:#~/-]{1,6}", 1 => "\\PC{1,4}", 1 => Just("yes".to_owned()), 1 => Just("1".to_owned())]
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        "[a-z0-9.:# -]{0,8}".prop_map(Value::from),
        prop::sample::select(vec![
            "no",
            "~",
            "1e3",
            "0x1f",
            "2024-01-01",
            "- a",
            "a: b",
            "",
            " x ",
            "{",
            "1.2.3"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name(), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    prop::collection::btree_map(name(), tree(), 0..5).prop_map(|fields| Value::Object(fields.into_iter().collect()))
}

fn pointer() -> impl Strategy<Value = String> {
    prop::collection::vec(prop_oneof![3 => name(), 1 => "[0-3]"], 1..4).prop_map(|parts| {
        parts
            .iter()
            .map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1")))
            .collect()
    })
}

/// The tree as block-style YAML with a comment on every line, by setting its fields one after another.
fn written(path: &str, tree: &Value) -> String {
    let mut text = if path == "a.json" {
        "{}\n".to_owned()
    } else {
        String::new()
    };
    for (name, value) in tree.as_object().into_iter().flatten() {
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        text = set(path, &text, &pointer, &value.to_string()).unwrap_or_else(|problem| panic!("{tree}: {problem}"));
    }
    text
}

#[test]
fn a_value_is_found_however_its_key_is_spelled() {
    for key in [
        "\"",
        "'",
        "\\",
        "a\"b",
        "it's",
        "both ' and \"",
        "\\n",
        "\u{feff}x",
        "''",
        "é",
        "a b",
    ] {
        let pointer = format!("/top/{key}");
        let text = set("a.yaml", "", &pointer, "0e0").unwrap();
        for (text, value) in [
            (text, "0e0"),
            (
                format!("top: {{{}: 1.10}}\n", serde_json::to_string(key).unwrap()),
                "1.10",
            ),
            (format!("top:\n  '{}': 1.10 # so\n", key.replace('\'', "''")), "1.10"),
        ] {
            let read = |text: &str| read_value("a.yaml", text, &pointer);
            assert_eq!(read(&text), Ok(Some(value.to_owned())), "{text}");
            let after = set("a.yaml", &text, &pointer, "2.20").unwrap_or_else(|problem| panic!("{text}: {problem}"));
            assert_eq!(after, text.replacen(value, "2.20", 1));
            assert_eq!(read(&after), Ok(Some("2.20".to_owned())), "{after}");
        }
    }
    // Spelled alike, and not the same.
    let text = "\"''\": 1.10\n'''': 2.20\n";
    assert_eq!(read_value("a.yaml", text, "/''"), Ok(Some("1.10".to_owned())));
    assert_ne!(read_value("a.yaml", text, "/'"), Ok(Some("1.10".to_owned())));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_set_can_be_read(path in prop::sample::select(vec!["a.yaml", "a.json", "a.toml"]), tree in object(), pointer in pointer(), value in "\\PC{0,9}|-?[0-9]{1,3}|[a-z0-9.:# -]{0,8}") {
        let before = written(path, &tree);
        if let Ok(after) = set(path, &before, &pointer, &value) {
            prop_assert_eq!(set(path, &after, &pointer, &value), Ok(after.clone()));
            let plain = match serde_json::from_str(&value) {
                Ok(Value::Null) => None,
                Ok(Value::String(text)) => Some(text),
                Ok(Value::Object(_) | Value::Array(_)) => return Ok(()),
                Ok(Value::Number(_)) => Some(value.trim().to_owned()),
                Ok(other) => Some(other.to_string()),
                Err(_) => Some(value),
            };
            prop_assert_eq!(read_value(path, &after, &pointer), Ok(plain), "{}", after);
        }
    }

    #[test]
    fn setting_one_value_touches_no_other_line(names in prop::collection::btree_set("[a-z]{1,5}", 2..6), at in any::<prop::sample::Index>(), value in "[a-z]{1,6}", remark in "[a-z #:'\"-]{0,9}") {
        let names: Vec<String> = names.into_iter().collect();
        let which = at.index(names.len());
        let lines = |sep: &str| names.iter().map(|name| format!("{name}{sep}\"old value\" # {remark}\n\n# {remark}\n")).collect::<String>();
        for (path, text) in [("a.yaml", lines(": ")), ("a.toml", lines(" = "))] {
            let after = set(path, &text, &format!("/{}", names[which]), &value).expect("set");
            prop_assert_eq!(after, text.lines().enumerate().map(|(i, line)| {
                let line = if i == 3 * which { line.replacen("old value", &value, 1) } else { line.to_owned() };
                format!("{line}\n")
            }).collect::<String>());
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "(a|b|:|: |\n|  |- |\\{|\\}|\\[|\\]|,|\"|'|#|&x |\\*x|<<: |\\||>|---\n|\\?|!|!!str |%|=|\t|\r\n|é|🐑|1|\\.|null|~|//|/\\*){0,25}", pointer in pointer(), value in "[a-z\\[\\]{}:\", 0-9]{0,6}") {
        for path in ["a.yaml", "a.json", "a.toml"] {
            let read = read_value(path, &text, &pointer);
            if let Ok(after) = set(path, &text, &pointer, &value) {
                prop_assert!(read.is_ok() || read.is_err_and(|error| error.message.contains("not a value")));
                prop_assert_eq!(set(path, &after, &pointer, &value), Ok(after.clone()));
            }
        }
    }
}
