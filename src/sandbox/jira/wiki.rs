//! How Jira's wiki markup reads once it is shown. Only what a reader of a test needs: escapes, monospace, bold at
//! the edges of words, links, macros in braces.

/// As people read it: no markup.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut verbatim = false;
    for line in text.lines() {
        let macro_line = line.trim();
        if macro_line.starts_with("{code") || macro_line.starts_with("{noformat") {
            let closed_again = macro_line.matches("{code").count() + macro_line.matches("{noformat").count() > 1;
            verbatim ^= !closed_again;
            if !closed_again {
                continue;
            }
        }
        let line = if verbatim {
            line.to_owned()
        } else {
            inline(heading(line))
        };
        out.push_str(&line);
        out.push('\n');
    }
    out.trim_end().to_owned()
}

fn heading(line: &str) -> &str {
    let mut chars = line.chars();
    let is_heading = chars.next() == Some('h') && chars.next().is_some_and(|c| ('1'..='6').contains(&c));
    line.get(2..)
        .filter(|_| is_heading)
        .and_then(|l| l.strip_prefix(". "))
        .unwrap_or(line)
}

fn inline(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    let mut bold = false;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        let word_before = out.chars().last().is_some_and(char::is_alphanumeric);
        let word_after = after.starts_with(char::is_alphanumeric);
        let opens = !bold && !word_before && !after.starts_with(char::is_whitespace) && after.contains('*');
        if c == '\\' && after.starts_with(|e: char| e.is_ascii_punctuation()) {
            out.push_str(&after[..1]);
            rest = &after[1..];
        } else if rest.starts_with("{{") || rest.starts_with("}}") {
            rest = &rest[2..];
        } else if let Some(tail) = after_macro(rest) {
            rest = tail;
        } else if let Some((shown, tail)) = link(rest) {
            out.push_str(&shown);
            rest = tail;
        } else if c == '*' && (opens || (bold && !word_after)) {
            bold = !bold;
            rest = after;
        } else {
            out.push(c);
            rest = after;
        }
    }
    out
}

/// `{color:red}`, `{panel}`, `{code}`: gone once shown.
fn after_macro(text: &str) -> Option<&str> {
    let (name, tail) = text.strip_prefix('{')?.split_once('}')?;
    let known = ["color", "panel", "code", "noformat", "quote", "anchor"];
    let word = name.split(':').next().unwrap_or_default();
    known.contains(&word).then_some(tail)
}

/// `[text|url]` reads as `text (url)`.
fn link(text: &str) -> Option<(String, &str)> {
    let (inner, tail) = text.strip_prefix('[')?.split_once(']')?;
    match inner.split_once('|') {
        Some((shown, url)) if url.contains("://") => Some((format!("{shown} ({url})"), tail)),
        None if inner.contains("://") => Some((inner.to_owned(), tail)),
        _ => None,
    }
}
