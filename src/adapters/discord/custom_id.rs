//! A button's `custom_id`: what it invokes, as `sh:{command}:{verb}:{name=value,…}`. It comes back signed by Discord,
//! but it grants nothing: who pressed it is checked when it is read.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::domain::doc::Button;

/// The most that Discord keeps of a `custom_id`.
const CHARS_MAX: usize = 100;
const PREFIX: &str = "sh:";
/// What would be taken for the notation itself.
const RESERVED: &AsciiSet = &CONTROLS.add(b'%').add(b':').add(b',').add(b'=');

/// The button's id; `None` when it does not fit into what Discord keeps, so that the button must be left out.
pub fn encode(button: &Button) -> Option<String> {
    let part = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
    let args: Vec<String> = button
        .args
        .iter()
        .map(|(name, value)| format!("{}={}", part(name), part(value)))
        .collect();
    let id = format!(
        "{PREFIX}{}:{}:{}",
        part(&button.command),
        part(&button.verb),
        args.join(",")
    );
    // Non-ASCII is percent-encoded, so bytes are characters here.
    (id.len() <= CHARS_MAX && !button.command.is_empty() && !button.verb.is_empty()).then_some(id)
}

/// What a button or a slash command says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoken {
    /// The command, without the slash.
    pub command: String,
    /// The verb.
    pub verb: String,
    /// Arguments by name.
    pub args: Vec<(String, String)>,
}

/// What the id stands for; `None` for an id that is not ours.
pub fn decode(id: &str) -> Option<Spoken> {
    let part = |text: &str| Some(percent_decode_str(text).decode_utf8().ok()?.into_owned());
    let mut parts = id.strip_prefix(PREFIX)?.split(':');
    let (command, verb, args) = (parts.next()?, parts.next()?, parts.next()?);
    if command.is_empty() || verb.is_empty() || parts.next().is_some() {
        return None;
    }
    let args = args
        .split(',')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((part(name)?, part(value)?))
        })
        .collect::<Option<Vec<_>>>()?;
    Some(Spoken {
        command: part(command)?,
        verb: part(verb)?,
        args,
    })
}
