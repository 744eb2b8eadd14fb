//! The shape of the house: who may import whom, how long things may get, what may not stand where. Every law is
//! also fed a sample that breaks it, so that none passes by looking away.

mod imports;
mod lock;
mod pitfalls;
mod samples;
mod shape;
mod source;

use source::{Source, repository};

/// Asserts that nothing in these files breaks the law, and names everything that does.
fn obeyed(files: &[Source], law: impl Fn(&Source) -> Vec<String>) {
    assert!(files.len() > 3, "a law over nothing says nothing");
    let broken: Vec<String> = files
        .iter()
        .flat_map(|file| law(file).into_iter().map(move |what| format!("{}: {what}", file.path)))
        .collect();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn rooms_import_only_what_they_may() {
    obeyed(&repository(&["src"], "rs"), imports::forbidden);
}

#[test]
fn the_domain_waits_for_nothing_and_touches_nothing() {
    obeyed(&repository(&["src/domain"], "rs"), shape::impurities);
}

#[test]
fn only_the_clock_asks_for_time_and_chance() {
    obeyed(&repository(&["src"], "rs"), shape::own_time);
}

#[test]
fn every_file_opens_by_saying_what_it_is_for() {
    obeyed(&repository(&["src", "tests"], "rs"), shape::opening);
}

#[test]
fn files_and_functions_can_be_held_in_the_head() {
    obeyed(&repository(&["src", "tests"], "rs"), shape::long_file);
    obeyed(&repository(&["src"], "rs"), shape::long_functions);
}

#[test]
fn nothing_is_left_half_done() {
    obeyed(&repository(&["src", "tests"], "rs"), shape::loose_ends);
    obeyed(&repository(&["src"], "rs"), shape::tests_in_src);
}

#[test]
fn every_test_file_is_part_of_the_test_binary() {
    let files = repository(&["tests/it"], "rs");
    assert!(files.len() > 20);
    assert_eq!(shape::undeclared(&files), Vec::<String>::new());
    let files = repository(&["src"], "rs");
    assert_eq!(shape::undeclared(&files), Vec::<String>::new());
}

#[test]
fn nothing_speaks_of_the_machine_it_was_written_on() {
    for ending in ["rs", "toml", "md", "sql", "json"] {
        let folders = ["src", "tests", "config", "commands", "."];
        let files = repository(&folders, ending);
        for file in files {
            assert_eq!(shape::machine_paths(&file), Vec::<String>::new(), "{}", file.path);
        }
    }
}

#[test]
fn what_a_reader_looks_for_is_there() {
    let missing: Vec<&str> = [
        "ARCHITECTURE.md",
        "LICENSE",
        "deny.toml",
        ".ci/run",
        "README.md",
        "CHANGELOG.md",
        "docs/security.md",
    ]
    .into_iter()
    .filter(|name| !source::root().join(name).exists())
    .collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn the_map_names_every_room() {
    let map = std::fs::read_to_string(source::root().join("ARCHITECTURE.md")).unwrap();
    for room in imports::ROOMS {
        assert!(
            map.contains(&format!("src/{room}")),
            "ARCHITECTURE.md says nothing about src/{room}"
        );
    }
    let declared = repository(&["src"], "rs");
    let lib = declared.iter().find(|file| file.path == "src/lib.rs").unwrap();
    for room in shape::modules(&lib.text) {
        assert!(
            imports::ROOMS.contains(&room.as_str()),
            "`{room}` has no law: say who may import it"
        );
    }
}

/// A property that fails once in a hundred runs makes every change look guilty: runs of the tests start from one seed.
#[test]
fn property_tests_start_from_a_seed_that_is_fixed() {
    let text = std::fs::read_to_string(source::root().join(".cargo/config.toml")).unwrap();
    let config: toml::Table = text.parse().unwrap();
    let seed = config["env"]["PROPTEST_RNG_SEED"].as_str().unwrap();
    assert!(seed.parse::<u64>().is_ok(), "{seed}");
}
