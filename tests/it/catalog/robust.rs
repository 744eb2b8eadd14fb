//! Whatever stands in the files: problems, never a panic.

use proptest::prelude::*;

use super::{Env, Folder};

/// The files a mutation may hit.
const FILES: [&str; 4] = [
    "config/stepherd.toml",
    "config/people.toml",
    "config/pipelines/provision.toml",
    "commands/dcr.toml",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_never_panics(file in 0..FILES.len(), text in "\\PC{0,80}|[\\[\\]a-z=\"'{}\\n.0-9é]{0,120}") {
        let folder = Folder::new();
        folder.write(FILES[file], text);
        if let Err(problems) = folder.load(&Env::new()) {
            prop_assert!(!problems.render(false).is_empty());
        }
    }

    #[test]
    fn shipped_files_with_a_piece_replaced_never_panic_and_never_lose_their_place(
        file in 0..FILES.len(),
        at in any::<prop::sample::Index>(),
        cut in 0..40_usize,
        put in "[\\[\\]a-z=\"'{}%|\\n.0-9é]{0,12}",
    ) {
        let folder = Folder::new();
        let mut text: Vec<char> = folder.read(FILES[file]).chars().collect();
        let start = at.index(text.len());
        let end = (start + cut).min(text.len());
        text.splice(start..end, put.chars());
        folder.write(FILES[file], text.iter().collect::<String>());
        if let Err(problems) = folder.load(&Env::new()) {
            prop_assert!(!problems.render(false).is_empty());
            for problem in problems.iter() {
                let lines = std::fs::read_to_string(&problem.file).unwrap_or_default().lines().count();
                prop_assert!(problem.line <= lines + 1, "{problem}");
            }
        }
    }
}
