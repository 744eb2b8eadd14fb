//! Who may import whom. Paths are read by `syn` wherever they stand: in `use`, in types, in expressions, in macros.

use syn::visit::{self, Visit};
use syn::{ItemUse, Macro, UseTree};

use super::source::Source;

/// The modules at the root of the crate.
pub const ROOMS: [&str; 12] = [
    "domain", "catalog", "adapters", "store", "engine", "web", "sandbox", "cli", "wiring", "clock", "metrics",
    "trouble",
];

/// Folders and files of `src/adapters` that are one outside system each.
const CONCRETE: [&str; 5] = ["argocd", "dcr", "discord", "github", "jira"];

/// What a room may import beside itself.
fn allowed(room: &str) -> &'static [&'static str] {
    match room {
        "adapters" | "catalog" | "metrics" => &["domain"],
        "store" => &["domain", "clock"],
        "engine" => &["adapters", "store", "catalog", "domain", "clock", "metrics", "trouble"],
        "web" => &["adapters", "store", "catalog", "domain", "clock", "metrics", "trouble"],
        "wiring" => &["adapters", "catalog", "domain"],
        // The command line is where everything comes together.
        "cli" | "main" | "lib" => &ROOMS,
        // The brain, the stage and the clock stand alone.
        _ => &[],
    }
}

/// What the file imports although it may not.
pub fn forbidden(file: &Source) -> Vec<String> {
    let place = place(&file.path);
    let Some(room) = place.first().cloned() else {
        return Vec::new();
    };
    let tree = syn::parse_file(&file.text).unwrap_or_else(|e| panic!("{}: {e}", file.path));
    let mut found = Found {
        place: place.clone(),
        paths: Vec::new(),
    };
    found.visit_file(&tree);
    found.paths.sort();
    found.paths.dedup();
    let mut wrong = Vec::new();
    for path in found.paths {
        let target = path[0].as_str();
        if ROOMS.contains(&target) && target != room && !allowed(&room).contains(&target) {
            wrong.push(format!("`{room}` may not import `{}`", path.join("::")));
        }
        wrong.extend(concrete(&place, &path));
    }
    wrong
}

/// A concrete adapter is named by the wiring and the command line only, and never by another adapter.
fn concrete(place: &[String], path: &[String]) -> Option<String> {
    let named = match path {
        [room, adapter, ..] if room == "adapters" && CONCRETE.contains(&adapter.as_str()) => adapter,
        _ => return None,
    };
    let may = match place.first().map(String::as_str) {
        Some("wiring" | "cli" | "main") => true,
        Some("adapters") => place.get(1).is_none_or(|own| own == named),
        _ => false,
    };
    (!may).then(|| format!("names the concrete adapter `{}`", path.join("::")))
}

/// Where a file stands in the module tree: `src/adapters/github/read.rs` is `adapters::github::read`.
fn place(path: &str) -> Vec<String> {
    let inner = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    inner
        .split('/')
        .filter(|part| *part != "mod")
        .map(str::to_owned)
        .collect()
}

struct Found {
    place: Vec<String>,
    paths: Vec<Vec<String>>,
}

impl Found {
    /// Keeps a path that leads somewhere within the crate, counted from its root.
    fn keep(&mut self, segments: &[String]) {
        let mut at = self.place.clone();
        let mut rest = segments;
        match rest.first().map(String::as_str) {
            Some("crate" | "stepherd") => at.clear(),
            Some("self" | "super") => {}
            _ => return,
        }
        while let [first, more @ ..] = rest {
            match first.as_str() {
                "crate" | "stepherd" | "self" => {}
                "super" => drop(at.pop()),
                _ => break,
            }
            rest = more;
        }
        at.extend(rest.iter().cloned());
        if !at.is_empty() {
            self.paths.push(at);
        }
    }

    fn tree(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.tree(&with(&path.ident), &path.tree),
            UseTree::Name(name) => self.keep(&with(&name.ident)),
            UseTree::Rename(rename) => self.keep(&with(&rename.ident)),
            UseTree::Glob(_) => self.keep(before),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(before, tree)),
        }
    }
}

impl<'ast> Visit<'ast> for Found {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.keep(&segments);
        visit::visit_path(self, path);
    }

    /// A macro's arguments are only words to the parser, so `crate::` is looked for in them.
    fn visit_macro(&mut self, call: &'ast Macro) {
        let words = call.tokens.to_string().replace(' ', "");
        for (start, _) in words.match_indices("crate::") {
            let path: String = words[start..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':'))
                .collect();
            let segments: Vec<String> = path.split("::").map(str::to_owned).collect();
            self.keep(&segments);
        }
        visit::visit_macro(self, call);
    }
}
