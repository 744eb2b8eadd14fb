//! XML: one element, inserted once. Entities are never expanded, DTDs never read.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::Problem;

/// The text with the element as the parent's last child, or the same text if an equal element is among its
/// children. Equal means: same names, attributes in any order, and text but for whitespace.
pub(super) fn insert(text: &str, parent: &str, element: &str) -> Result<String, Problem> {
    let element = element.trim();
    let path: Vec<&str> = parent
        .strip_prefix('/')
        .map_or_else(Vec::new, |path| path.split('/').collect());
    if path.is_empty() || path.iter().any(|name| name.is_empty()) {
        return Err(Problem::new(format!(
            "the parent `{parent}` must look like `/project/modules`"
        )));
    }
    let wanted = shape(element).map_err(|problem| Problem::new(format!("the element is malformed: {problem}")))?;
    let place = locate(text, &path)?.ok_or_else(|| Problem::new(format!("there is no element `{parent}`")))?;
    if has(text, &place, &wanted) {
        return Ok(text.to_owned());
    }
    let after = place.with_child(text, element);
    let placed = locate(&after, &path).ok().flatten();
    if placed.is_some_and(|place| has(&after, &place, &wanted)) {
        Ok(after)
    } else {
        Err(Problem::new(format!(
            "the element could not be inserted into `{parent}`"
        )))
    }
}

fn has(text: &str, place: &Place, wanted: &[Token]) -> bool {
    place.children.iter().any(|(start, end)| {
        let child = text.get(*start..*end).map(shape);
        child.is_some_and(|shape| shape.is_ok_and(|shape| shape == wanted))
    })
}

/// Where the parent stands, in bytes.
#[derive(Debug, Default)]
struct Place {
    /// Its start tag.
    start: usize,
    /// What follows its start tag.
    content: usize,
    /// Its end tag; the same as `content` for `<empty/>`.
    close: usize,
    /// Its name, when it is `<empty/>`.
    empty: Option<String>,
    /// The elements directly in it.
    children: Vec<(usize, usize)>,
    /// The indentation of the first indented child of the root.
    unit: Option<String>,
}

impl Place {
    fn with_child(&self, text: &str, element: &str) -> String {
        let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let outer = indent_of(text, self.start).unwrap_or_default();
        let unit = self.unit.as_deref().unwrap_or("  ");
        let inner = match self.children.last() {
            Some((start, _)) => indent_of(text, *start).map(str::to_owned),
            None => Some(format!("{outer}{unit}")),
        };
        // Without an indented sibling the parent is written in one line, and stays so.
        let lead = inner
            .as_ref()
            .map_or_else(String::new, |inner| format!("{newline}{inner}"));
        let element = reindent(element, &lead);
        if let Some(name) = &self.empty {
            let tag = text[..self.content].trim_end_matches("/>").trim_end();
            return format!("{tag}>{lead}{element}{newline}{outer}</{name}>{}", &text[self.close..]);
        }
        let content = &text[self.content..self.close];
        let at = self.content + content.trim_end().len();
        let rest = &text[at..];
        let gap = if inner.is_some() && !text[at..self.close].contains('\n') {
            format!("{newline}{outer}")
        } else {
            String::new()
        };
        format!("{}{lead}{element}{gap}{rest}", &text[..at])
    }
}

/// The indentation of what starts here, if nothing else stands before it in its line.
fn indent_of(text: &str, at: usize) -> Option<&str> {
    let line = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    Some(&text[line..at]).filter(|indent| indent.chars().all(|c| matches!(c, ' ' | '\t')))
}

/// The element's further lines, moved to stand under its first.
fn reindent(element: &str, lead: &str) -> String {
    let depth = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let further = element.lines().skip(1).filter(|line| !line.trim().is_empty());
    let common = further.map(depth).min().unwrap_or(0);
    let lines = element.lines().enumerate().map(|(i, line)| {
        let start = if i == 0 { 0 } else { common.min(depth(line)) };
        line[start..].trim_end()
    });
    lines
        .collect::<Vec<_>>()
        .join(if lead.is_empty() { "\n" } else { lead })
}

/// Reads the whole document, so that a malformed one is refused wherever the fault is.
fn locate(text: &str, path: &[&str]) -> Result<Option<Place>, Problem> {
    let mut walk = Walk {
        path,
        ..Walk::default()
    };
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_comments = true;
    loop {
        let start = position(&reader);
        let event = reader.read_event().map_err(|error| {
            let at = usize::try_from(reader.error_position()).unwrap_or(start);
            Problem::at(super::line_of(text, at), error.to_string())
        })?;
        let end = position(&reader);
        let eof = matches!(event, Event::Eof);
        walk.step(text, &event, start, end)
            .map_err(|problem| Problem::at(super::line_of(text, start), problem))?;
        if eof {
            return Ok(walk.found);
        }
    }
}

fn position(reader: &Reader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
}

/// The state of reading a document.
#[derive(Default)]
struct Walk<'a> {
    path: &'a [&'a str],
    open: Vec<String>,
    /// Where open children of the parent began.
    child: usize,
    inside: bool,
    roots: usize,
    unit: Option<String>,
    found: Option<Place>,
}

impl Walk<'_> {
    fn step(&mut self, text: &str, event: &Event<'_>, start: usize, end: usize) -> Result<(), String> {
        match event {
            Event::Start(tag) => {
                self.enter(text, tag, start)?;
                if self.is_parent() {
                    self.inside = true;
                    self.found = Some(Place {
                        start,
                        content: end,
                        ..Place::default()
                    });
                }
            }
            Event::Empty(tag) => {
                let name = self.enter(text, tag, start)?;
                if self.is_parent() {
                    self.found = Some(Place {
                        start,
                        content: end,
                        close: end,
                        empty: Some(name),
                        unit: self.unit.clone(),
                        ..Place::default()
                    });
                }
                self.open.pop();
                self.child_ends(end);
            }
            Event::End(_) => {
                if self.inside && self.open.len() == self.path.len() {
                    self.inside = false;
                    if let Some(place) = &mut self.found {
                        place.close = start;
                        place.unit = self.unit.clone();
                    }
                }
                self.open.pop();
                self.child_ends(end);
            }
            Event::Text(content) if self.open.is_empty() && !content.trim().is_empty() => {
                return Err("there is text outside of the root element".to_owned());
            }
            Event::CData(_) | Event::GeneralRef(_) if self.open.is_empty() => {
                return Err("there is text outside of the root element".to_owned());
            }
            Event::Eof if !self.open.is_empty() => {
                return Err(format!("`<{}>` is not closed", self.open.join("><")));
            }
            Event::Eof if self.roots == 0 => return Err("there is no root element".to_owned()),
            _ => {}
        }
        Ok(())
    }

    fn enter(&mut self, text: &str, tag: &BytesStart<'_>, start: usize) -> Result<String, String> {
        attributes(tag)?;
        if self.open.is_empty() {
            self.roots += 1;
            if self.roots > 1 {
                return Err("there is more than one root element".to_owned());
            }
        }
        if self.inside && self.open.len() == self.path.len() {
            self.child = start;
        }
        if self.open.len() == 1 && self.unit.is_none() {
            self.unit = indent_of(text, start)
                .filter(|indent| !indent.is_empty())
                .map(str::to_owned);
        }
        let name = name(tag);
        self.open.push(name.clone());
        Ok(name)
    }

    fn child_ends(&mut self, end: usize) {
        if self.inside && self.open.len() == self.path.len() {
            let start = self.child;
            if let Some(place) = &mut self.found {
                place.children.push((start, end));
            }
        }
    }

    /// Whether what was just entered is the parent; the first such element counts.
    fn is_parent(&self) -> bool {
        self.found.is_none() && self.open == self.path
    }
}

/// What matters of an element.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    Start(String, Vec<(String, String)>),
    Text(String),
    End,
}

/// What matters of exactly one element.
fn shape(element: &str) -> Result<Vec<Token>, String> {
    let mut reader = Reader::from_str(element);
    let mut tokens = Vec::new();
    let mut text = String::new();
    let (mut depth, mut roots) = (0_usize, 0_usize);
    loop {
        let event = reader.read_event().map_err(|error| error.to_string())?;
        match &event {
            Event::Text(part) => text.push_str(part),
            Event::CData(part) => text.push_str(&part.clone().escape().map_err(|error| error.to_string())?),
            Event::GeneralRef(part) => text.extend(["&", part, ";"]),
            Event::Comment(_) => {}
            Event::Start(tag) | Event::Empty(tag) => {
                flush(&mut text, &mut tokens, depth)?;
                roots += usize::from(depth == 0);
                tokens.push(Token::Start(name(tag), attributes(tag)?));
                if matches!(event, Event::Start(_)) {
                    depth += 1;
                } else {
                    tokens.push(Token::End);
                }
            }
            Event::End(_) => {
                flush(&mut text, &mut tokens, depth)?;
                depth = depth.saturating_sub(1);
                tokens.push(Token::End);
            }
            Event::Eof => {
                flush(&mut text, &mut tokens, depth)?;
                return match (depth, roots) {
                    (0, 1) => Ok(tokens),
                    (0, _) => Err("it must be exactly one element".to_owned()),
                    _ => Err("it is not closed".to_owned()),
                };
            }
            Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {
                return Err("it must hold elements and text only".to_owned());
            }
        }
    }
}

fn flush(text: &mut String, tokens: &mut Vec<Token>, depth: usize) -> Result<(), String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    if !words.is_empty() {
        if depth == 0 {
            return Err("there is text outside of it".to_owned());
        }
        tokens.push(Token::Text(words.join(" ")));
    }
    text.clear();
    Ok(())
}

fn name(tag: &BytesStart<'_>) -> String {
    tag.name().as_ref().to_owned()
}

/// The attributes by name; values as written.
fn attributes(tag: &BytesStart<'_>) -> Result<Vec<(String, String)>, String> {
    let mut attributes = tag
        .attributes()
        .map(|attribute| {
            let attribute = attribute.map_err(|error| error.to_string())?;
            Ok((attribute.key.as_ref().to_owned(), attribute.value.to_string()))
        })
        .collect::<Result<Vec<_>, String>>()?;
    attributes.sort();
    Ok(attributes)
}
