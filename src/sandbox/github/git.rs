//! The objects under the repositories: blobs, trees and commits by content, as git has them.
//!
//! Ids are forty hex digits of SHA-256, not SHA-1: the vendor's exact ids matter to nobody here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

/// Path → mode and id, without the trees in between.
pub(super) type Flat = BTreeMap<String, (String, String)>;

pub(super) const FILE: &str = "100644";
pub(super) const TREE: &str = "040000";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) name: String,
    pub(super) email: String,
    pub(super) date: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) tree: String,
    pub(super) parents: Vec<String>,
    pub(super) message: String,
    pub(super) author: Person,
    pub(super) committer: Person,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) blobs: HashMap<String, Vec<u8>>,
    /// Name → mode and id.
    pub(super) trees: HashMap<String, BTreeMap<String, (String, String)>>,
    pub(super) commits: HashMap<String, Commit>,
}

/// How a merge leaves one path: gone, with this object, or with this new content.
enum Left {
    Gone,
    Object(String, String),
    Content(String, Vec<u8>),
}

impl Store {
    pub(super) fn put_blob(&mut self, bytes: Vec<u8>) -> String {
        let id = object_id("blob", &bytes);
        self.blobs.insert(id.clone(), bytes);
        id
    }

    /// Stores the trees that hold these paths; the answer is the root.
    pub(super) fn put_tree(&mut self, flat: &Flat) -> String {
        let mut entries: BTreeMap<String, (String, String)> = BTreeMap::new();
        let mut below: BTreeMap<&str, Flat> = BTreeMap::new();
        for (path, entry) in flat {
            match path.split_once('/') {
                Some((dir, rest)) => {
                    below.entry(dir).or_default().insert(rest.to_owned(), entry.clone());
                }
                None => {
                    entries.insert(path.clone(), entry.clone());
                }
            }
        }
        for (dir, flat) in below {
            let id = self.put_tree(&flat);
            entries.insert(dir.to_owned(), (TREE.to_owned(), id));
        }
        let id = object_id("tree", format!("{entries:?}").as_bytes());
        self.trees.insert(id.clone(), entries);
        id
    }

    pub(super) fn flat(&self, tree: &str) -> Flat {
        let mut flat = Flat::new();
        for (name, (mode, id)) in self.trees.get(tree).into_iter().flatten() {
            if mode == TREE {
                let below = self.flat(id);
                flat.extend(below.into_iter().map(|(path, entry)| (format!("{name}/{path}"), entry)));
            } else {
                flat.insert(name.clone(), (mode.clone(), id.clone()));
            }
        }
        flat
    }

    pub(super) fn flat_of_commit(&self, commit: &str) -> Flat {
        self.commits.get(commit).map(|c| self.flat(&c.tree)).unwrap_or_default()
    }

    pub(super) fn put_commit(&mut self, commit: Commit) -> String {
        let id = object_id("commit", format!("{commit:?}").as_bytes());
        self.commits.insert(id.clone(), commit);
        id
    }

    /// The commit and everything before it, each with the length of its longest line back.
    fn depths(&self, commit: &str) -> HashMap<String, usize> {
        let mut depths = HashMap::new();
        let mut todo = vec![commit.to_owned()];
        while let Some(top) = todo.last().cloned() {
            let parents = self.commits.get(&top).map(|c| c.parents.as_slice()).unwrap_or_default();
            let unseen: Vec<String> = parents.iter().filter(|p| !depths.contains_key(*p)).cloned().collect();
            if unseen.is_empty() {
                let depth = parents.iter().filter_map(|p| depths.get(p)).max().map_or(0, |d| d + 1);
                depths.insert(top, depth);
                todo.pop();
            } else {
                todo.extend(unseen);
            }
        }
        depths
    }

    pub(super) fn contains(&self, descendant: &str, ancestor: &str) -> bool {
        self.depths(descendant).contains_key(ancestor)
    }

    /// The nearest commit that both have. The deepest common one is an ancestor of no other common one.
    pub(super) fn merge_base(&self, one: &str, other: &str) -> Option<String> {
        let ours = self.depths(one);
        self.depths(other)
            .into_iter()
            .filter(|(id, _)| ours.contains_key(id))
            .max_by(|(a, da), (b, db)| da.cmp(db).then(a.cmp(b)))
            .map(|(id, _)| id)
    }

    /// What `head` has and `base` has not, oldest first.
    pub(super) fn ahead(&self, base: &str, head: &str) -> Vec<String> {
        let have = self.depths(base);
        let mut ahead: Vec<(usize, String)> = self
            .depths(head)
            .into_iter()
            .filter(|(id, _)| !have.contains_key(id))
            .map(|(id, depth)| (depth, id))
            .collect();
        ahead.sort();
        ahead.into_iter().map(|(_, id)| id).collect()
    }

    /// How many files differ, and how many lines were added and removed, counted as sets of lines.
    pub(super) fn difference(&self, from: &str, to: &str) -> (usize, usize, usize) {
        let (old, new) = (self.flat_of_commit(from), self.flat_of_commit(to));
        let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let mut sum = (0, 0, 0);
        for path in paths.into_iter().filter(|path| old.get(*path) != new.get(*path)) {
            let lines = |side: &Flat| -> BTreeSet<String> {
                let blob = side.get(path).and_then(|(_, id)| self.blobs.get(id));
                let text = blob
                    .map(|b| String::from_utf8_lossy(b).into_owned())
                    .unwrap_or_default();
                text.lines().map(str::to_owned).collect()
            };
            let (a, b) = (lines(&old), lines(&new));
            sum.0 += 1;
            sum.1 += b.difference(&a).count();
            sum.2 += a.difference(&b).count();
        }
        sum
    }

    /// Whether `theirs` can be merged into `ours`.
    pub(super) fn merges(&self, ours: &str, theirs: &str) -> bool {
        self.merge_plan(self.merge_base(ours, theirs), ours, theirs).is_some()
    }

    /// The tree of the merge of two commits; `None` if they conflict.
    pub(super) fn merge(&mut self, ours: &str, theirs: &str) -> Option<String> {
        self.merge_since(self.merge_base(ours, theirs), ours, theirs)
    }

    /// The tree of `ours` with what `theirs` changed since `base`; `None` if they conflict.
    pub(super) fn merge_since(&mut self, base: Option<String>, ours: &str, theirs: &str) -> Option<String> {
        let plan = self.merge_plan(base, ours, theirs)?;
        let mut flat = self.flat_of_commit(ours);
        for (path, left) in plan {
            match left {
                Left::Gone => {
                    flat.remove(&path);
                }
                Left::Object(mode, id) => put_path(&mut flat, &path, (mode, id)),
                Left::Content(mode, bytes) => {
                    let id = self.put_blob(bytes);
                    put_path(&mut flat, &path, (mode, id));
                }
            }
        }
        Some(self.put_tree(&flat))
    }

    /// What the merge changes against `ours`.
    fn merge_plan(&self, base: Option<String>, ours: &str, theirs: &str) -> Option<Vec<(String, Left)>> {
        let base = base.map(|b| self.flat_of_commit(&b)).unwrap_or_default();
        let (mine, other) = (self.flat_of_commit(ours), self.flat_of_commit(theirs));
        let paths: BTreeSet<&String> = base.keys().chain(mine.keys()).chain(other.keys()).collect();
        let mut plan = Vec::new();
        for path in paths {
            let (b, m, o) = (base.get(path), mine.get(path), other.get(path));
            if m == o || b == o {
                continue;
            }
            let left = if b == m {
                o.map_or(Left::Gone, |(mode, id)| Left::Object(mode.clone(), id.clone()))
            } else {
                let blob = |side: Option<&(String, String)>| self.blobs.get(&side?.1);
                let merged = merge_lines(blob(b)?, blob(m)?, blob(o)?)?;
                Left::Content(m?.0.clone(), merged)
            };
            plan.push((path.clone(), left));
        }
        Some(plan)
    }
}

/// Sets a path. A file takes the place of a directory of that name and the other way round, as in git.
pub(super) fn put_path(flat: &mut Flat, path: &str, entry: (String, String)) {
    let below = format!("{path}/");
    flat.retain(|known, _| !known.starts_with(&below) && !path.starts_with(&format!("{known}/")));
    flat.insert(path.to_owned(), entry);
}

/// Merges two edits of one file if each is one stretch of lines and the stretches neither touch nor overlap.
fn merge_lines(base: &[u8], mine: &[u8], other: &[u8]) -> Option<Vec<u8>> {
    let texts = [base, mine, other].map(|bytes| std::str::from_utf8(bytes).ok());
    let [Some(base), Some(mine), Some(other)] = texts else {
        return None;
    };
    let lines = |text| -> Vec<&str> { str::split_inclusive(text, '\n').collect() };
    let (base, mine, other) = (lines(base), lines(mine), lines(other));
    let (m, o) = (stretch(&base, &mine), stretch(&base, &other));
    let ((first, first_new), (second, second_new)) = if m.0 < o.0 {
        ((m, &mine), (o, &other))
    } else {
        ((o, &other), (m, &mine))
    };
    if first.1 >= second.0 {
        return None;
    }
    let replaced =
        |(start, end): (usize, usize), new: &[&str]| -> String { new[start..new.len() - (base.len() - end)].concat() };
    let merged = [
        base[..first.0].concat(),
        replaced(first, first_new),
        base[first.1..second.0].concat(),
        replaced(second, second_new),
        base[second.1..].concat(),
    ];
    Some(merged.concat().into_bytes())
}

/// The lines of `base` that `new` replaces.
fn stretch(base: &[&str], new: &[&str]) -> (usize, usize) {
    let same = |pairs: usize, at: &dyn Fn(usize) -> bool| (0..pairs).take_while(|i| at(*i)).count();
    let shorter = base.len().min(new.len());
    let head = same(shorter, &|i| base[i] == new[i]);
    let tail = same(shorter - head, &|i| base[base.len() - 1 - i] == new[new.len() - 1 - i]);
    (head, base.len() - tail)
}

/// Forty hex digits for this content.
pub(super) fn object_id(kind: &str, bytes: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{kind} {}\0", bytes.len()).as_bytes());
    hash.update(bytes);
    hex::encode(&hash.finalize()[..20])
}
