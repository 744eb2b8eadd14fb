//! The table of pitfalls in docs/security.md: whole, and every test that it names exists.

use std::collections::BTreeSet;

use super::source::{Source, repository, root};

const PITFALLS: usize = 17;

/// Every test's full name, and that of everything else that is a function in a test file.
fn functions(files: &[Source]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for file in files {
        let inner = file.path.trim_start_matches("tests/it/").trim_end_matches(".rs");
        let place = inner.trim_end_matches("/mod").replace('/', "::");
        for line in file.text.lines() {
            let line = line.trim_start().trim_start_matches("async ");
            if let Some(rest) = line.strip_prefix("fn ") {
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                all.insert(format!("{place}::{name}"));
            }
        }
    }
    all
}

/// The names between back-ticks in a table's last column, by row.
fn named(table: &str) -> Vec<(usize, Vec<String>)> {
    let rows = table.lines().filter_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let number = cells.first()?.parse().ok()?;
        let names = cells.last()?.split('`').skip(1).step_by(2).map(str::to_owned);
        Some((number, names.collect()))
    });
    rows.collect()
}

#[test]
fn every_pitfall_names_tests_that_exist() {
    let table = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    let rows = named(&table);
    let numbers: Vec<usize> = rows.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=PITFALLS).collect::<Vec<_>>());
    let there = functions(&repository(&["tests/it"], "rs"));
    for (number, tests) in rows {
        assert!(!tests.is_empty(), "pitfall {number} is closed by nothing");
        for test in tests {
            assert!(there.contains(&test), "pitfall {number}: there is no test {test}");
        }
    }
}

#[test]
fn the_table_is_read_as_people_read_it() {
    let table = "| # | a | tests |\n|---|---|---|\n| 1 | `x` | `a::b` `c::d` |\n| 2 | y | none |\n";
    let expected = vec![(1, vec!["a::b".to_owned(), "c::d".to_owned()]), (2, Vec::new())];
    assert_eq!(named(table), expected);
    let file = super::source::sample("tests/it/a/b.rs", "#[test]\nasync fn one(x: u8) {}\n// fn two()\n");
    assert_eq!(functions(&[file]), BTreeSet::from(["a::b::one".to_owned()]));
}

/// Programs are started by the lab (torture and bench start stepherd itself) and for a backup of PostgreSQL, with
/// arguments that only the administrator gives.
#[test]
fn nothing_that_people_say_reaches_a_program() {
    const MAY: [&str; 3] = [
        "src/cli/torture/replica.rs",
        "src/cli/bench/child.rs",
        "src/store/pg_dump.rs",
    ];
    let starts = |file: &&Source| file.text.contains("process::Command");
    let files = repository(&["src"], "rs");
    let found: Vec<&str> = files.iter().filter(starts).map(|file| file.path.as_str()).collect();
    assert!(found.iter().all(|path| MAY.contains(path)), "{found:?}");
    assert!(
        found.contains(&"src/store/pg_dump.rs"),
        "the search finds what is there"
    );
}
