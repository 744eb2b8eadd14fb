//! How things look: line by line, on text that rustfmt has laid out.

use std::collections::BTreeSet;

use super::source::Source;

/// The longest file, in lines.
const FILE_MAX: usize = 600;
/// The longest body of a function of the program, in lines that hold something.
const FUNCTION_MAX: usize = 70;

/// The code of a line: without its comment, empty for lines of comment only.
fn code(line: &str) -> &str {
    match line.trim_start() {
        comment if comment.starts_with("//") => "",
        _ => line.split(" // ").next().unwrap_or_default(),
    }
}

/// Lines whose code holds one of these words, as `line: what`.
fn mentions(file: &Source, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let code = code(line);
        let hits = words.iter().filter(|word| code.contains(**word));
        found.extend(hits.map(|word| format!("line {}: {word}", number + 1)));
    }
    found
}

pub fn opening(file: &Source) -> Vec<String> {
    let first = file.text.lines().next().unwrap_or_default();
    let says = first.strip_prefix("//! ").is_some_and(|words| words.trim().len() > 10);
    // The crate's own page is ARCHITECTURE.md.
    let includes = first.starts_with("#![doc = include_str!(");
    if says || includes {
        Vec::new()
    } else {
        vec!["does not open with `//! what it is for`".to_owned()]
    }
}

pub fn long_file(file: &Source) -> Vec<String> {
    let lines = file.text.lines().count();
    if lines > FILE_MAX {
        vec![format!("{lines} lines; {FILE_MAX} are enough")]
    } else {
        Vec::new()
    }
}

/// Functions by what stands between their first brace and the one as far in as their `fn`.
pub fn long_functions(file: &Source) -> Vec<String> {
    let lines: Vec<&str> = file.text.lines().collect();
    let mut long = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let bare = line.trim_start();
        let indent = line.len() - bare.len();
        let is_function = [
            "fn ",
            "pub fn ",
            "async fn ",
            "pub async fn ",
            "const fn ",
            "pub const fn ",
        ]
        .iter()
        .any(|word| bare.starts_with(word))
            || (bare.starts_with("pub(") && bare.contains(" fn "));
        if !is_function || bare.ends_with(';') {
            continue;
        }
        let end = format!("{}}}", " ".repeat(indent));
        let function = lines[start..].iter().take_while(|line| **line != end);
        let body = function.skip_while(|line| !line.ends_with('{')).skip(1);
        let length = body.filter(|line| !code(line).trim().is_empty()).count();
        if length > FUNCTION_MAX {
            long.push(format!(
                "line {}: a function of {length} lines; {FUNCTION_MAX} fit a screen",
                start + 1
            ));
        }
    }
    long
}

pub fn impurities(file: &Source) -> Vec<String> {
    mentions(
        file,
        &[
            "async ",
            ".await",
            "tokio",
            "std::fs",
            "std::net",
            "std::env",
            "std::process",
            "std::thread",
            "std::io::stdin",
            "reqwest",
            "sqlx",
            "tracing::",
            "println!",
            "octocrab",
            "serenity",
            "axum",
        ],
    )
}

pub fn own_time(file: &Source) -> Vec<String> {
    if file.path == "src/clock.rs" {
        return Vec::new();
    }
    mentions(
        file,
        &[
            "Instant::now",
            "SystemTime::now",
            "Timestamp::now",
            "Zoned::now",
            "Utc::now",
            "fastrand::",
            "rand::",
            "getrandom",
            "RandomState",
        ],
    )
}

pub fn loose_ends(file: &Source) -> Vec<String> {
    if file.path.starts_with("tests/it/tidy") {
        return Vec::new();
    }
    let mut found = mentions(file, &["todo!", "unimplemented!", "dbg!(", "#[ignore", "FIXME", "XXX"]);
    let util = |name: &str| ["utils", "util", "helpers", "common", "misc"].contains(&name);
    found.extend(
        modules(&file.text)
            .into_iter()
            .filter(|name| util(name))
            .map(|name| format!("`mod {name}` says nothing")),
    );
    found
}

pub fn tests_in_src(file: &Source) -> Vec<String> {
    mentions(file, &["cfg(test)", "#[test]", "#[tokio::test"])
}

pub fn machine_paths(file: &Source) -> Vec<String> {
    if file.path.starts_with("tests/it/tidy") || file.path.starts_with("target/") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for word in ["/root/", "/home/"] {
        for (at, _) in file.text.match_indices(word) {
            let before = file.text[..at].chars().next_back();
            // A folder of the machine's root, not the end of somebody's path or address.
            if !word.starts_with('/')
                || before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '.' | '}' | '*' | '_' | '-'))
            {
                found.push(format!("{word} at byte {at}"));
            }
        }
    }
    found
}

/// The modules that a file declares, not those it holds.
pub fn modules(text: &str) -> Vec<String> {
    let module = |line: &str| {
        let line = code(line).trim();
        let line = line
            .strip_prefix("pub ")
            .or_else(|| line.strip_prefix("pub(crate) "))
            .unwrap_or(line);
        line.strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned)
    };
    text.lines().filter_map(module).collect()
}

/// Files that no other file declares, so that the compiler never sees them.
pub fn undeclared(files: &[Source]) -> Vec<String> {
    let roots = ["src/lib.rs", "src/main.rs", "tests/it/main.rs"];
    let mut declared: BTreeSet<String> = roots.map(str::to_owned).into();
    for file in files {
        let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        let inside = match name.trim_end_matches(".rs") {
            "mod" | "main" | "lib" => folder.to_owned(),
            stem => format!("{folder}/{stem}"),
        };
        for module in modules(&file.text) {
            declared.insert(format!("{inside}/{module}.rs"));
            declared.insert(format!("{inside}/{module}/mod.rs"));
        }
    }
    let forgotten = files.iter().filter(|file| !declared.contains(&file.path));
    forgotten
        .map(|file| format!("{} is declared nowhere", file.path))
        .collect()
}
