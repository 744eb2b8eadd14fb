//! The repository's files, as text.

use std::path::{Path, PathBuf};

/// One file.
pub struct Source {
    /// From the repository's root, with slashes.
    pub path: String,
    pub text: String,
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The files with this ending in these folders and below; `.` means the root's own files only.
pub fn repository(folders: &[&str], ending: &str) -> Vec<Source> {
    let mut files = Vec::new();
    for folder in folders {
        walk(&root().join(folder), ending, *folder != ".", &mut files);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn walk(folder: &Path, ending: &str, deep: bool, files: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() && deep {
            walk(&path, ending, deep, files);
        } else if path.is_file() && path.extension().is_some_and(|e| e == ending) {
            let text = std::fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
            files.push(Source { path, text });
        }
    }
}

/// A made-up file.
pub fn sample(path: &str, text: &str) -> Source {
    Source {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}
