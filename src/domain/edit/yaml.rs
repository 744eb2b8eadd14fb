//! YAML. Edits are spliced into the text at places that `yamlpath` names; whoever calls reads the result again and
//! compares, so a splice that meets aliases, merge keys or other cleverness is refused rather than half right.

use serde_json::Value;
use yamlpath::{Component, Document, Feature, Route};

use super::Problem;
use super::pointer::{self, NewValue};
use super::yaml_text::{Quotes, block, double_quoted, flow, key};

/// What the text means. Several documents in one file are an error, and so are duplicate keys.
pub(super) fn read(text: &str) -> Result<Value, Problem> {
    // Documents nest a few levels; the default bounds let the parser's own recursion go much further.
    let mut options = serde_saphyr::Options::default();
    options.with_snippet = false;
    // `yes` and `on` are words, as in YAML 1.2.
    options.strict_booleans = true;
    options.alias_limits.max_total_replayed_events = 10_000;
    if let Some(budget) = &mut options.budget {
        budget.max_depth = 64;
        budget.flow_nesting_limit = 64;
        budget.max_events = 600_000;
        budget.max_aliases = 1_000;
        budget.max_anchors = 1_000;
    }
    if text
        .lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    {
        return Ok(Value::Null);
    }
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error
            .location()
            .and_then(|place| usize::try_from(place.line()).ok())
            .unwrap_or(1);
        let message = error.to_string();
        Problem::at(
            line.max(1),
            message.lines().next().unwrap_or("it is not YAML").to_owned(),
        )
    })
}

/// The number at the place as it is written there.
pub(super) fn number(text: &str, tokens: &[String], root: &Value) -> Option<String> {
    let document = Document::new(text).ok()?;
    let feature = document.query_exact(&route(&document, root, tokens)).ok()??;
    let written = document.extract(&feature).trim();
    // A key may be found by its spelling that is another one's.
    (read(written).ok().as_ref() == pointer::get(root, tokens)).then(|| written.to_owned())
}

/// The text with the value set; `root` is what the text means.
pub(super) fn write(text: &str, tokens: &[String], new: &NewValue, root: &Value) -> Result<String, Problem> {
    let document = Document::new(text).map_err(|error| Problem::new(error.to_string()))?;
    let editor = Editor {
        text,
        newline: if text.contains("\r\n") { "\r\n" } else { "\n" },
        document: &document,
        root,
        new,
    };
    let depth = pointer::existing(root, tokens);
    let (there, rest) = tokens.split_at(depth);
    match pointer::get(root, there) {
        Some(Value::Object(_)) if !rest.is_empty() => editor.insert(there, &rest[0], &new.nested(&rest[1..])),
        Some(Value::Null) if there.is_empty() => Ok(editor.append(&new.nested(rest))),
        Some(_) => editor.replace(there, &new.nested(rest)),
        None => Err(lost()),
    }
}

fn lost() -> Problem {
    Problem::new("the place cannot be found in the text itself; does it come from an alias or a merged key?")
}

/// The place as `yamlpath` finds it: it compares keys as they are spelled between their quotes.
fn route<'a>(document: &Document, root: &Value, tokens: &'a [String]) -> Route<'a> {
    let mut at = Some(root);
    let mut components: Vec<Component<'a>> = Vec::new();
    for token in tokens {
        let item = at.filter(|value| value.is_array()).and_then(|_| pointer::index(token));
        let component = match item {
            Some(index) => Component::Index(index),
            None => {
                let there = |spelling: &String| {
                    let key = Component::Key(spelling.clone().into());
                    let with: Vec<_> = components.iter().cloned().chain([key]).collect();
                    document.query_exists(&Route::from(with))
                };
                let spelled = spellings(token).into_iter().find(there);
                Component::Key(spelled.map_or_else(|| token.into(), Into::into))
            }
        };
        components.push(component);
        at = at.and_then(|value| pointer::child(value, token));
    }
    Route::from(components)
}

/// How a key may be spelled other than as it is: between double quotes, and between single ones.
fn spellings(key: &str) -> Vec<String> {
    let double = double_quoted(key);
    let inner = &double[1..double.len() - 1];
    if inner == key && !key.contains('\'') {
        return Vec::new();
    }
    vec![key.to_owned(), inner.to_owned(), key.replace('\'', "''")]
}

struct Editor<'a> {
    text: &'a str,
    newline: &'static str,
    document: &'a Document,
    root: &'a Value,
    new: &'a NewValue,
}

impl<'a> Editor<'a> {
    fn find(&self, tokens: &[String]) -> Result<Option<Feature<'a>>, Problem> {
        self.document
            .query_exact(&route(self.document, self.root, tokens))
            .map_err(|_| lost())
    }

    fn splice(&self, start: usize, end: usize, with: &str) -> Result<String, Problem> {
        match (self.text.get(..start), self.text.get(end..)) {
            (Some(before), Some(after)) if start <= end => Ok(format!("{before}{with}{after}")),
            _ => Err(lost()),
        }
    }

    /// Whether the place stands inside braces or brackets, where lines and indentation mean nothing.
    fn in_flow(&self, tokens: &[String]) -> bool {
        (0..tokens.len()).any(|depth| {
            let found = self.find(&tokens[..depth]).ok().flatten();
            found.is_some_and(|feature| self.document.extract(&feature).starts_with(['{', '[']))
        })
    }

    fn lines(&self, value: &Value, indent: usize) -> String {
        let separator = format!("{}{}", self.newline, " ".repeat(indent));
        block(value, self.new).join(&separator)
    }

    /// Into a file that holds nothing but comments.
    fn append(&self, value: &Value) -> String {
        let gap = if self.text.is_empty() || self.text.ends_with('\n') {
            ""
        } else {
            self.newline
        };
        format!("{}{gap}{}{}", self.text, self.lines(value, 0), self.newline)
    }

    fn replace(&self, tokens: &[String], value: &Value) -> Result<String, Problem> {
        let feature = self.find(tokens)?;
        let old = feature.as_ref().map_or("", |feature| self.document.extract(feature));
        let old_is_block = !old.starts_with(['{', '['])
            && pointer::get(self.root, tokens).is_some_and(|value| value.is_object() || value.is_array());
        let as_block = is_filled(value) && !self.in_flow(tokens);
        let keyed = tokens
            .split_last()
            .is_some_and(|(_, parent)| pointer::get(self.root, parent).is_some_and(Value::is_object));
        match feature {
            Some(feature) if as_block && (old_is_block || !keyed) => {
                let (start, end) = self.span(&feature);
                self.splice(start, end, &self.lines(value, feature.location.point_span.0.1))
            }
            Some(feature) if !(as_block || old_is_block && keyed) => {
                let (start, end) = self.span(&feature);
                self.splice(start, end, &flow(value, self.new, Quotes::of(old)))
            }
            feature => {
                let (column, start) = self.after_colon(tokens)?;
                let end = feature.map_or(start, |feature| self.span(&feature).1);
                let with = if as_block {
                    format!(
                        "{}{}{}",
                        self.newline,
                        " ".repeat(column + 2),
                        self.lines(value, column + 2)
                    )
                } else {
                    format!(" {}", flow(value, self.new, Quotes::Plain))
                };
                self.splice(start, end, &with)
            }
        }
    }

    /// The feature's bytes without the line ends that block scalars and blocks may carry.
    fn span(&self, feature: &Feature<'_>) -> (usize, usize) {
        let (start, end) = feature.location.byte_span;
        let content = self.text.get(start..end).unwrap_or_default();
        (start, start + content.trim_end().len())
    }

    /// The key's column, and where its value may begin.
    fn after_colon(&self, tokens: &[String]) -> Result<(usize, usize), Problem> {
        let feature = self
            .document
            .query_key_only(&route(self.document, self.root, tokens))
            .map_err(|_| lost())?;
        let end = feature.location.byte_span.1;
        let rest = self.text.get(end..).unwrap_or_default();
        let gap = rest.len() - rest.trim_start_matches(' ').len();
        if rest[gap..].starts_with(':') {
            Ok((feature.location.point_span.0.1, end + gap + 1))
        } else {
            Err(lost())
        }
    }

    fn insert(&self, parent: &[String], name: &str, value: &Value) -> Result<String, Problem> {
        let feature = self.find(parent)?.ok_or_else(lost)?;
        let (start, end) = self.span(&feature);
        let old = self.text.get(start..end).unwrap_or_default();
        if old.starts_with('{') {
            return self.insert_flow(start, old, name, value);
        }
        let column = feature.location.point_span.0.1;
        let entry = Value::Object([(name.to_owned(), value.clone())].into_iter().collect());
        let at = self.line_end(start + self.content_len(start, old));
        let with = format!("{}{}{}", self.newline, " ".repeat(column), self.lines(&entry, column));
        self.splice(at, at, &with)
    }

    /// How much of a block is left without the blank lines and comments after its last entry.
    fn content_len(&self, start: usize, block: &str) -> usize {
        let blank_or_hash = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
        // The ends of what would be left if one more line were cut, from the end of the block.
        let mut ends = vec![block.len()];
        let mut content = block;
        while let Some(newline) = content
            .rfind('\n')
            .filter(|newline| blank_or_hash(&content[newline + 1..]))
        {
            content = &content[..newline];
            ends.push(newline);
        }
        // What looks like a comment may be text of a block scalar, and comments come after it. Asking the tree takes
        // long, so few lines are asked about.
        let cut = ends[1..].partition_point(|end| {
            let line = &block[end + 1..];
            let hash = line
                .find('#')
                .filter(|at| line[..*at].trim().is_empty() && !line[..*at].contains('\n'));
            hash.is_none_or(|at| self.document.offset_inside_comment(start + end + 1 + at))
        });
        ends[cut]
    }

    fn line_end(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        let line = rest.split('\n').next().unwrap_or_default();
        at + line.strip_suffix('\r').unwrap_or(line).len()
    }

    fn insert_flow(&self, start: usize, old: &str, name: &str, value: &Value) -> Result<String, Problem> {
        let inner = old
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .ok_or_else(lost)?;
        let content = inner.trim_end();
        let quotes = if content.trim_start().starts_with('"') {
            Quotes::Double
        } else {
            Quotes::Plain
        };
        let entry = format!("{}: {}", key(name, quotes), flow(value, self.new, quotes));
        let last_line = content.rsplit('\n').next().unwrap_or_default();
        let gap = if content.contains('\n') {
            let indent = last_line.len() - last_line.trim_start().len();
            format!("{}{}", self.newline, &last_line[..indent])
        } else {
            " ".to_owned()
        };
        let with = match content.trim() {
            "" => entry,
            full if full.ends_with(',') => format!("{gap}{entry},"),
            _ => format!(",{gap}{entry}"),
        };
        let at = start + 1 + content.len();
        self.splice(at, at, &with)
    }
}

fn is_filled(value: &Value) -> bool {
    match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => false,
    }
}
