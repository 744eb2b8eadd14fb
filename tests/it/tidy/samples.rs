//! Each law, broken on purpose.

use super::source::{Source, sample};
use super::{imports, shape};

fn caught(law: impl Fn(&Source) -> Vec<String>, path: &str, text: &str) -> String {
    law(&sample(path, text)).join("; ")
}

#[test]
fn an_import_out_of_bounds_is_caught_however_it_is_written() {
    let table = [
        (
            "src/domain/decide/mod.rs",
            "use crate::store::Store;",
            "`domain` may not import `store::Store`",
        ),
        (
            "src/domain/run.rs",
            "use crate::{domain::ids::Sha, clock::Clock};",
            "`domain` may not import `clock::Clock`",
        ),
        (
            "src/domain/run.rs",
            "use super::super::metrics;",
            "`domain` may not import `metrics`",
        ),
        (
            "src/domain/run.rs",
            "fn f() -> crate::web::Web { x }",
            "`domain` may not import `web::Web`",
        ),
        (
            "src/domain/run.rs",
            "fn f() { g!(crate::engine::Engine::new()) }",
            "`domain` may not import `engine::Engine::new`",
        ),
        (
            "src/adapters/github/read.rs",
            "use crate::store::Store;",
            "`adapters` may not import `store::Store`",
        ),
        (
            "src/adapters/http.rs",
            "use crate::clock;",
            "`adapters` may not import `clock`",
        ),
        (
            "src/store/open.rs",
            "use crate::adapters::Door;",
            "`store` may not import `adapters::Door`",
        ),
        (
            "src/catalog/mod.rs",
            "use crate::store::*;",
            "`catalog` may not import `store`",
        ),
        (
            "src/sandbox/stage.rs",
            "use crate::domain::ids::Sha;",
            "`sandbox` may not import `domain::ids::Sha`",
        ),
        (
            "src/sandbox/github/mod.rs",
            "use super::super::adapters::signature;",
            "`sandbox` may not import `adapters::signature`",
        ),
        (
            "src/web/api.rs",
            "use crate::engine::Engine;",
            "`web` may not import `engine::Engine`",
        ),
        (
            "src/engine/mod.rs",
            "use crate::web as door;",
            "`engine` may not import `web`",
        ),
        (
            "src/clock.rs",
            "use crate::domain::run::Run;",
            "`clock` may not import `domain::run::Run`",
        ),
        (
            "src/metrics.rs",
            "use crate::store::Store;",
            "`metrics` may not import `store::Store`",
        ),
        (
            "src/engine/ask.rs",
            "use crate::adapters::github::Github;",
            "names the concrete adapter `adapters::github::Github`",
        ),
        (
            "src/adapters/jira/mod.rs",
            "use crate::adapters::github::Github;",
            "names the concrete adapter `adapters::github::Github`",
        ),
        (
            "src/adapters/jira/read.rs",
            "use super::super::discord::plain;",
            "names the concrete adapter `adapters::discord::plain`",
        ),
    ];
    for (path, text, expected) in table {
        assert_eq!(caught(imports::forbidden, path, text), expected, "{path}: {text}");
    }
}

#[test]
fn imports_within_bounds_are_left_alone() {
    let table = [
        (
            "src/domain/decide/mod.rs",
            "use super::super::run::Run; use crate::domain::ids;",
        ),
        (
            "src/adapters/github/read.rs",
            "use super::door; use crate::adapters::{Door, github::client}; use crate::domain::ids;",
        ),
        ("src/adapters/mod.rs", "use self::github::Github;"),
        (
            "src/wiring.rs",
            "use crate::adapters::github::Github; use crate::catalog::Settings;",
        ),
        (
            "src/cli/commands.rs",
            "use crate::adapters::discord::registration; use crate::engine;",
        ),
        (
            "src/engine/ask.rs",
            "use crate::store::Store; use std::store::Other; use store::Third;",
        ),
        (
            "src/sandbox/github/mod.rs",
            "use super::stage::Stage; use crate::sandbox::wire;",
        ),
    ];
    for (path, text) in table {
        assert_eq!(caught(imports::forbidden, path, text), "", "{path}: {text}");
    }
}

#[test]
fn an_impure_domain_is_caught() {
    for text in [
        "pub async fn f() {}",
        "let x = g().await;",
        "use tokio::sync::Mutex;",
        "std::fs::read(path)",
        "tracing::info!(1);",
    ] {
        assert_ne!(caught(shape::impurities, "src/domain/run.rs", text), "", "{text}");
    }
    assert_eq!(
        caught(
            shape::impurities,
            "src/domain/run.rs",
            "/// Never tokio.\nlet x = 1; // nor std::fs"
        ),
        ""
    );
}

#[test]
fn time_and_chance_from_elsewhere_are_caught() {
    for text in [
        "Instant::now()",
        "jiff::Timestamp::now()",
        "fastrand::u64(..)",
        "rand::random()",
    ] {
        assert_ne!(caught(shape::own_time, "src/engine/sweep.rs", text), "", "{text}");
        assert_eq!(caught(shape::own_time, "src/clock.rs", text), "");
    }
}

#[test]
fn a_file_without_a_word_about_itself_is_caught() {
    for text in ["", "use std::fmt;", "//!", "//! Hi.", "// A comment.\n//! Late."] {
        assert_ne!(caught(shape::opening, "src/x.rs", text), "", "{text:?}");
    }
    assert_eq!(caught(shape::opening, "src/x.rs", "//! What it is for."), "");
}

#[test]
fn length_is_caught() {
    assert_eq!(
        caught(shape::long_file, "src/x.rs", &"x\n".repeat(601)),
        "601 lines; 600 are enough"
    );
    assert_eq!(caught(shape::long_file, "src/x.rs", &"x\n".repeat(600)), "");
    let function = |lines: usize| {
        format!(
            "impl X {{\n    pub(super) async fn f() {{\n{}    }}\n}}\n",
            "        g();\n".repeat(lines)
        )
    };
    assert_eq!(
        caught(shape::long_functions, "src/x.rs", &function(71)),
        "line 2: a function of 71 lines; 70 fit a screen"
    );
    assert_eq!(caught(shape::long_functions, "src/x.rs", &function(70)), "");
    let remarks = format!("fn f() {{\n{}}}\n", "    // why\n\n".repeat(80));
    assert_eq!(
        caught(shape::long_functions, "src/x.rs", &remarks),
        "",
        "comments and gaps are free"
    );
}

#[test]
fn loose_ends_are_caught() {
    for text in [
        "todo!()",
        "    unimplemented!(\"x\")",
        "dbg!(x);",
        "#[ignore]",
        "#[ignore = \"slow\"]",
        "mod utils;",
        "pub mod helpers;",
    ] {
        assert_ne!(caught(shape::loose_ends, "src/x.rs", text), "", "{text}");
    }
    for text in ["#[cfg(test)]\nmod tests {}", "#[test]\nfn x() {}", "    #[tokio::test]"] {
        assert_ne!(caught(shape::tests_in_src, "src/x.rs", text), "", "{text}");
    }
}

#[test]
fn paths_of_a_machine_are_caught() {
    for text in ["in /home/ada/x", "\"/root/.cargo\""] {
        assert_ne!(caught(shape::machine_paths, "src/x.rs", text), "", "{text}");
    }
    for text in [
        "/repos/a/b/contents/homework/x",
        ".github/workflows/x.yml",
        "https://host/home.html",
        "{api}/root/x",
    ] {
        assert_eq!(caught(shape::machine_paths, "src/x.rs", text), "", "{text}");
    }
}

#[test]
fn a_forgotten_file_is_caught() {
    let files = [
        sample("tests/it/main.rs", "mod a;\nmod b;\n// mod c;\n"),
        sample("tests/it/a.rs", "mod one;\n"),
        sample("tests/it/a/one.rs", ""),
        sample("tests/it/b/mod.rs", ""),
        sample("tests/it/a/two.rs", ""),
        sample("tests/it/c.rs", ""),
    ];
    assert_eq!(
        shape::undeclared(&files),
        [
            "tests/it/a/two.rs is declared nowhere",
            "tests/it/c.rs is declared nowhere"
        ]
    );
}
