//! The small notations of configuration files: scalars, spans of time, templates, kinds of values.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::json;

use crate::domain::pipeline::ParamKind;
use crate::domain::template::Template;

use super::page::{At, Page};

/// Text, a whole number or true/false, as the text it is written as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scalar(pub(super) String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Scalar;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text, a whole number, true or false")
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar(value.to_owned()))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl JsonSchema for Scalar {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scalar".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer", "boolean"] })
    }
}

/// One table, or a list of such tables.
#[derive(Debug)]
pub(super) struct OneOrSeveral<T>(pub(super) Vec<T>);

impl<T> Default for OneOrSeveral<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrSeveral<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Vec<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table, or a list of tables")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|one| vec![one])
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<T>, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list))
            }
        }
        deserializer.deserialize_any(Reader(PhantomData)).map(OneOrSeveral)
    }
}

impl<T: JsonSchema> JsonSchema for OneOrSeveral<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("OneOrSeveral_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = T::json_schema(generator);
        let mut either = one.clone();
        either.insert("type".to_owned(), json!(["object", "array"]));
        either.insert("items".to_owned(), one.to_value());
        either
    }
}

/// What values a parameter or an argument takes, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawKind {
    /// Letters, digits and `-_./`: safe in branch names, paths and URLs.
    Word,
    /// Lower-case letters, digits and `-`, not at the ends, at most 63: safe in host names and Kubernetes names as well.
    Name,
    /// Free text, one line.
    Text,
    /// A whole number within `min` and `max`.
    Int,
    /// `true` or `false`.
    Bool,
    /// One of `choices`.
    Choice,
    /// A ticket key, as SREPROV-3072.
    Ticket,
    /// A run id, as URMO7YZ2.
    Run,
    /// A full commit SHA.
    Sha,
}

/// A kind with what belongs to it.
pub(super) struct KindParts<'a> {
    pub(super) kind: &'a At<RawKind>,
    pub(super) min: Option<&'a At<i64>>,
    pub(super) max: Option<&'a At<i64>>,
    pub(super) choices: Option<&'a At<Vec<At<String>>>>,
}

impl KindParts<'_> {
    /// The kind, if its parts fit it.
    pub(super) fn compile(&self, page: &mut Page) -> Option<ParamKind> {
        let kind = *self.kind.get();
        let before = page.count();
        if kind != RawKind::Int {
            for bound in [self.min, self.max].into_iter().flatten() {
                page.say(bound.span(), "`min` and `max` belong to type = \"int\"");
            }
        }
        if let Some(choices) = self.choices.filter(|_| kind != RawKind::Choice) {
            page.say(choices.span(), "`choices` belongs to type = \"choice\"");
        }
        let kind = match kind {
            RawKind::Word => ParamKind::Word,
            RawKind::Name => ParamKind::Name,
            RawKind::Text => ParamKind::Text,
            RawKind::Int => self.int(page),
            RawKind::Bool => ParamKind::Bool,
            RawKind::Choice => self.choice(page),
            RawKind::Ticket => ParamKind::Ticket,
            RawKind::Run => ParamKind::Run,
            RawKind::Sha => ParamKind::Sha,
        };
        (page.count() == before).then_some(kind)
    }

    fn int(&self, page: &mut Page) -> ParamKind {
        let min = self.min.map_or(i64::MIN, |at| *at.get());
        let max = self.max.map_or(i64::MAX, |at| *at.get());
        if let Some(at) = self.max.filter(|_| min > max) {
            page.say(at.span(), format!("`max` {max} is below `min` {min}"));
        }
        ParamKind::Int { min, max }
    }

    fn choice(&self, page: &mut Page) -> ParamKind {
        let Some(choices) = self.choices.filter(|choices| !choices.get().is_empty()) else {
            let span = self.choices.map_or_else(|| self.kind.span(), At::span);
            page.say_hint(span, "a choice needs `choices`", "choices = [\"one\", \"other\"]");
            return ParamKind::Choice(Vec::new());
        };
        let mut seen = BTreeSet::new();
        for choice in choices.get() {
            page.unique("the choice", choice, &mut seen);
            if choice.get().trim().is_empty() {
                page.say(choice.span(), "a choice must not be empty");
            }
        }
        ParamKind::Choice(choices.get().iter().map(|choice| choice.get().clone()).collect())
    }
}

/// Names that templates may use.
pub(super) type Known = BTreeSet<String>;

impl Page {
    /// The template; a problem if it does not compile or uses a name that will have no value.
    pub(super) fn template(&mut self, source: &At<String>, known: &Known) -> Template {
        let template = Template::new(source.get());
        if let Err(error) = template.check(known) {
            // In a file that was read in part, the name may be one that was left out.
            let unknown_name = error.message.starts_with("nothing called");
            if !(self.partial && unknown_name) {
                let span = self.within(source, error.line, error.column);
                let (message, hint) = match error.message.split_once("; ") {
                    Some((message, hint)) if unknown_name => (message.to_owned(), Some(hint.to_owned())),
                    _ => (error.message.clone(), None),
                };
                let hint = hint.or_else(|| unknown_name.then(|| in_reach(known)));
                self.push(span, format!("in this template: {message}"), hint);
            }
        }
        template
    }

    /// A scalar as a template.
    pub(super) fn scalar_template(&mut self, scalar: &At<Scalar>, known: &Known) -> Template {
        self.template(&scalar.with(scalar.get().0.clone()), known)
    }

    /// A span of time within bounds: `90m`, `30s`, `7d`, `1h30m`.
    pub(super) fn duration(&mut self, text: &At<String>, least: Duration, most: Duration) -> Option<Duration> {
        const FORM: &str = "a number and a unit: 30s, 90m, 12h, 7d, or several as 1h30m";
        let Some(duration) = parse_duration(text.get()) else {
            self.say_hint(text.span(), format!("`{}` is no span of time", text.get()), FORM);
            return None;
        };
        if !(least..=most).contains(&duration) {
            let (least, most) = (shown(least), shown(most));
            self.say(text.span(), format!("`{}` is not from {least} to {most}", text.get()));
            return None;
        }
        Some(duration)
    }

    /// Text for people that must say something.
    pub(super) fn worded(&mut self, what: &str, text: &At<String>) -> String {
        if text.get().trim().is_empty() {
            self.say(text.span(), format!("{what} must not be empty"));
        }
        text.get().clone()
    }

    /// Text for help: one line, as short as every platform shows it.
    pub(super) fn line(&mut self, what: &str, text: &At<String>) -> String {
        const LONGEST: usize = 100;
        let worded = self.worded(what, text);
        if worded.chars().count() > LONGEST || worded.trim().contains('\n') {
            let message =
                format!("{what} must be one line of at most {LONGEST} characters, which is all Discord takes");
            self.say(text.span(), message);
        }
        worded
    }
}

/// The template's source with a stand-in for every expression, to check the form of the whole. `None` if it holds
/// statements, whose result cannot be foreseen.
pub(super) fn stand_in(source: &str, word: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = source;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        out.push_str(word);
        rest = after.split_once("}}")?.1;
    }
    out.push_str(rest);
    (!out.contains("{%") && !out.contains("{#")).then_some(out)
}

fn in_reach(known: &Known) -> String {
    let names: Vec<&str> = known.iter().map(String::as_str).collect();
    if names.is_empty() {
        return "no names are known here".to_owned();
    }
    format!("known here: {}", names.join(", "))
}

/// `1h30m` and the like; `None` if it is anything else or too long to count.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut total = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = match rest[digits..].chars().next()? {
            's' => 1,
            'm' => 60,
            'h' => 60 * 60,
            'd' => 24 * 60 * 60,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = &rest[digits + 1..];
    }
    (!text.is_empty()).then(|| Duration::from_secs(total))
}

fn shown(duration: Duration) -> String {
    let seconds = duration.as_secs();
    for (unit, length) in [("d", 24 * 60 * 60), ("h", 60 * 60), ("m", 60)] {
        if seconds >= length && seconds.is_multiple_of(length) {
            return format!("{}{unit}", seconds / length);
        }
    }
    format!("{seconds}s")
}
