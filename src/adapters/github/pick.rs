//! Reading a few fields out of a large payload. Most of a payload is addresses of other things; it is checked to be
//! JSON and skipped, which costs a fraction of keeping it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::adapters::json::{Whole, given_twice};

/// What is wanted of a value.
pub(super) enum Wanted {
    /// All of it.
    All,
    /// These fields of an object. Something that is no object is wanted as it is, so that it can be told.
    Fields(&'static [(&'static str, Self)]),
}

impl Wanted {
    /// Reads a JSON text.
    pub(super) fn read(&'static self, json: &[u8]) -> serde_json::Result<Value> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let value = self.deserialize(&mut reader)?;
        reader.end()?;
        Ok(value)
    }

    /// Whether what this path leads to is read.
    pub(super) fn covers(&self, path: &str) -> bool {
        let (field, rest) = path.split_once('.').unwrap_or((path, ""));
        match self {
            Self::All => true,
            Self::Fields(_) if path.is_empty() => false,
            Self::Fields(fields) => fields
                .iter()
                .any(|(name, wanted)| *name == field && wanted.covers(rest)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for &'static Wanted {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        match self {
            Wanted::All => Whole.deserialize(reader),
            Wanted::Fields(fields) => reader.deserialize_any(Object(fields)),
        }
    }
}

/// An object of which some fields are wanted.
struct Object(&'static [(&'static str, Wanted)]);

impl<'de> Visitor<'de> for Object {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = serde_json::Map::new();
        while let Some(field) = map.next_key_seed(Field(self.0))? {
            match field.and_then(|place| self.0.get(place)) {
                Some((name, _)) if object.contains_key(*name) => return Err(given_twice(name)),
                Some((name, wanted)) => {
                    object.insert((*name).to_owned(), map.next_value_seed(wanted)?);
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(object))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Array(Vec::new()))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Whole.visit_unit()
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Whole.visit_bool(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Whole.visit_u64(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Whole.visit_i64(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Whole.visit_f64(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Whole.visit_str(value)
    }
}

/// Which of the wanted fields a key names.
struct Field(&'static [(&'static str, Wanted)]);

impl<'de> DeserializeSeed<'de> for Field {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Option<usize>, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Field {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Option<usize>, E> {
        Ok(self.0.iter().position(|(name, _)| *name == key))
    }
}
