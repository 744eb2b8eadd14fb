//! One line, or one structured command, read as an invocation.

use std::collections::BTreeMap;

use super::Found;
use super::words::{self, Word};
use crate::domain::command::{Action, Arg, Command, Invocation, Misread, Verb};
use crate::domain::ids::{CommandName, ParamName, Platform, VerbName};
use crate::domain::nearest::nearest;
use crate::domain::pipeline::ParamKind;
use crate::domain::values::{parse_value, quote};

/// The longest command line, in bytes.
const LINE_MAX: usize = 1024;

impl Found {
    /// The command it is, or was taken for.
    pub fn command(&self) -> &CommandName {
        match self {
            Self::Invocation(invocation) => &invocation.command,
            Self::Misread(misread) => &misread.command,
        }
    }
}

/// What is wrong, and what was probably meant.
struct Wrong {
    problem: String,
    suggestion: Option<String>,
}

impl Wrong {
    fn new(problem: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            suggestion: None,
        }
    }
}

/// A line as a command; `None` when it starts with none of ours.
pub(super) fn read(line: &str, commands: &[Command], place: &Platform) -> Option<Found> {
    let line = line.trim();
    let typed = line.strip_prefix('/')?;
    let end = typed.find(char::is_whitespace).unwrap_or(typed.len());
    let command = named(&typed[..end], commands)?;
    let rest = typed[end..].trim();
    let read = if line.len() > LINE_MAX {
        Err(Wrong::new(format!("a command is at most {LINE_MAX} bytes long")))
    } else {
        spoken(command, rest, place)
    };
    Some(found(command, read))
}

/// A command already taken apart; `None` when none of ours has the name.
pub(super) fn resolve(
    command: &str,
    verb: &str,
    args: &[(String, String)],
    commands: &[Command],
    place: &Platform,
) -> Option<Found> {
    let command = named(command, commands)?;
    let words: Vec<Word> = args
        .iter()
        .map(|(name, value)| Word {
            name: Some(name.to_ascii_lowercase()),
            value: value.clone(),
            quoted: true,
        })
        .collect();
    let read = if args.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > LINE_MAX {
        Err(Wrong::new(format!("a command is at most {LINE_MAX} bytes long")))
    } else {
        verb_of(command, verb.trim()).and_then(|verb| invocation(command, verb, &words, place))
    };
    Some(found(command, read))
}

fn found(command: &Command, read: Result<Invocation, Wrong>) -> Found {
    match read {
        Ok(invocation) => Found::Invocation(invocation),
        Err(wrong) => Found::Misread(Misread {
            command: command.name.clone(),
            problem: wrong.problem,
            suggestion: wrong.suggestion,
        }),
    }
}

fn named<'a>(name: &str, commands: &'a [Command]) -> Option<&'a Command> {
    commands
        .iter()
        .find(|command| command.name.as_str().eq_ignore_ascii_case(name))
}

/// What stands after the command's name. What was probably meant is offered only if it would be understood.
fn spoken(command: &Command, rest: &str, place: &Platform) -> Result<Invocation, Wrong> {
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let (typed, args) = (&rest[..end], rest[end..].trim());
    let read = |verb: &Verb, args: &str| {
        let words = words::split(args).map_err(Wrong::new)?;
        invocation(command, verb, &words, place)
    };
    match verb_of(command, typed) {
        Ok(verb) => read(verb, args).map_err(|wrong| with_example(verb, wrong)),
        Err(mut wrong) => {
            if let Some(verb) = near_verb(command, typed) {
                let meant = format!("/{} {} {args}", command.name, verb.name);
                wrong.suggestion = match read(verb, args) {
                    Ok(_) => Some(meant.trim_end().to_owned()),
                    Err(other) => with_example(verb, other).suggestion,
                };
            }
            Err(wrong)
        }
    }
}

fn with_example(verb: &Verb, mut wrong: Wrong) -> Wrong {
    let example = Some(&verb.example).filter(|example| !example.is_empty());
    wrong.suggestion = wrong.suggestion.or_else(|| example.cloned());
    wrong
}

fn near_verb<'a>(command: &'a Command, typed: &str) -> Option<&'a Verb> {
    let near = nearest(
        &typed.to_ascii_lowercase(),
        command.verbs.iter().map(|verb| verb.name.as_str()),
    )?;
    command.verbs.iter().find(|verb| verb.name.as_str() == near)
}

/// The verb of this name. Nothing, `?` and `help` ask for help, whatever the verb that helps is called.
fn verb_of<'a>(command: &'a Command, typed: &str) -> Result<&'a Verb, Wrong> {
    let exact = command
        .verbs
        .iter()
        .find(|verb| verb.name.as_str().eq_ignore_ascii_case(typed));
    let asks = matches!(typed, "" | "?") || typed.eq_ignore_ascii_case("help");
    let help = || command.verbs.iter().find(|verb| asks && verb.action == Action::Help);
    exact.or_else(help).ok_or_else(|| {
        let verbs: Vec<String> = command.verbs.iter().map(|verb| format!("`{}`", verb.name)).collect();
        let verbs = verbs.join(", ");
        Wrong::new(if typed.is_empty() {
            format!("`/{}` needs a verb: one of {verbs}", command.name)
        } else {
            format!("{} is not a verb of `/{}`; it has {verbs}", quote(typed), command.name)
        })
    })
}

fn invocation(command: &Command, verb: &Verb, words: &[Word], place: &Platform) -> Result<Invocation, Wrong> {
    if !verb.places.contains(place) {
        let places: Vec<&str> = verb.places.iter().map(Platform::as_str).collect();
        let places = if places.is_empty() {
            "nowhere".to_owned()
        } else {
            format!("on {}", places.join(", "))
        };
        return Err(Wrong::new(format!(
            "`/{} {}` cannot be said on {place}; it can be said {places}",
            command.name, verb.name
        )));
    }
    let args = if verb.action == Action::Help {
        asked_verb(command, verb, words)?
    } else {
        arguments(command, verb, words)?
    };
    Ok(Invocation {
        command: command.name.clone(),
        verb: verb.name.clone(),
        action: verb.action,
        args,
    })
}

/// Help takes one argument whatever is declared: the verb asked about, by position or by name.
fn asked_verb(command: &Command, verb: &Verb, words: &[Word]) -> Result<BTreeMap<ParamName, String>, Wrong> {
    let Ok(name) = "verb".parse::<ParamName>() else {
        return Ok(BTreeMap::new());
    };
    let arg = Arg {
        name,
        kind: ParamKind::Choice(command.verbs.iter().map(|verb| verb.name.to_string()).collect()),
        help: String::new(),
        required: !words.is_empty(),
    };
    let asking = Verb {
        args: vec![arg],
        ..verb.clone()
    };
    arguments(command, &asking, words)
}

fn arguments(command: &Command, verb: &Verb, words: &[Word]) -> Result<BTreeMap<ParamName, String>, Wrong> {
    let mut values = BTreeMap::new();
    for word in words {
        let Some(name) = &word.name else { continue };
        let arg = verb
            .args
            .iter()
            .find(|arg| arg.name.as_str() == name)
            .ok_or_else(|| unknown_arg(command, verb, name, words))?;
        if values.insert(arg.name.clone(), checked(arg, word)?).is_some() {
            return Err(Wrong::new(format!("`{name}` is given twice")));
        }
    }
    for word in words.iter().filter(|word| word.name.is_none()) {
        if word.value.starts_with('/') && !word.quoted {
            return Err(Wrong::new(format!(
                "{} is a word too many: one line holds one command",
                quote(&word.value)
            )));
        }
        let open = |arg: &&Arg| arg.required && !values.contains_key(&arg.name);
        let Some(arg) = verb.args.iter().find(open) else {
            return Err(surplus(command, verb, word));
        };
        let value = checked(arg, word)?;
        values.insert(arg.name.clone(), value);
    }
    match verb
        .args
        .iter()
        .find(|arg| arg.required && !values.contains_key(&arg.name))
    {
        None => Ok(values),
        Some(arg) => Err(Wrong::new(format!(
            "`/{} {}` needs `{}` ({})",
            command.name, verb.name, arg.name, arg.help
        ))),
    }
}

fn checked(arg: &Arg, word: &Word) -> Result<String, Wrong> {
    let value = word.value.trim();
    // Whatever a value is handed to, it must not read as an option there. Numbers have a sign, and phones make
    // dashes longer.
    let dash = value.starts_with(['-', '–', '—']) && !matches!(arg.kind, ParamKind::Int { .. });
    if dash {
        return Err(Wrong::new(format!("{} must not start with `-`", quote(value))));
    }
    parse_value(&arg.kind, value).map_err(|problem| Wrong::new(format!("`{}`: {problem}", arg.name)))
}

fn unknown_arg(command: &Command, verb: &Verb, name: &str, words: &[Word]) -> Wrong {
    let Some(near) = nearest(name, verb.args.iter().map(|arg| arg.name.as_str())) else {
        return Wrong::new(format!(
            "`/{} {}` takes no `{name}`; {}",
            command.name,
            verb.name,
            takes(verb)
        ));
    };
    let corrected: Vec<Word> = words
        .iter()
        .map(|word| Word {
            name: word
                .name
                .as_ref()
                .map(|typed| if typed == name { near } else { typed }.to_owned()),
            ..word.clone()
        })
        .collect();
    let suggestion = arguments(command, verb, &corrected)
        .is_ok()
        .then(|| typed(&command.name, &verb.name, &corrected));
    Wrong {
        problem: format!(
            "`/{} {}` takes no `{name}`; did you mean `{near}`?",
            command.name, verb.name
        ),
        suggestion,
    }
}

/// Words as they can be typed again.
fn typed(command: &CommandName, verb: &VerbName, words: &[Word]) -> String {
    let words = words.iter().map(|word| {
        let name = word.name.as_ref().map_or_else(String::new, |name| format!("{name}="));
        let mark = if word.value.contains('"') { '\'' } else { '"' };
        let plain = !word.value.contains(char::is_whitespace);
        if plain {
            format!(" {name}{}", word.value)
        } else {
            format!(" {name}{mark}{}{mark}", word.value)
        }
    });
    format!("/{command} {verb}{}", words.collect::<String>())
}

fn surplus(command: &Command, verb: &Verb, word: &Word) -> Wrong {
    Wrong::new(format!(
        "{} is a word too many: `/{} {}` {}",
        quote(&word.value),
        command.name,
        verb.name,
        takes(verb)
    ))
}

fn takes(verb: &Verb) -> String {
    if verb.args.is_empty() {
        return "takes nothing".to_owned();
    }
    let args: Vec<String> = verb
        .args
        .iter()
        .map(|arg| {
            if arg.required {
                format!("`{}`", arg.name)
            } else {
                format!("`{}=…`", arg.name)
            }
        })
        .collect();
    format!("takes {}", args.join(", "))
}
