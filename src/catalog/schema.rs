//! JSON Schemas of the configuration files, for editors. Made from the same structs that read the files.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::{commands, people, pipelines, settings_raw};

/// The schema of each kind of file, as `(file name, JSON text)`; they live in `config/schema/`.
pub fn all() -> Vec<(&'static str, String)> {
    [
        (
            "stepherd.schema.json",
            titled::<settings_raw::RawSettings>("stepherd.toml"),
        ),
        ("people.schema.json", titled::<people::RawPeople>("people.toml")),
        (
            "pipeline.schema.json",
            titled::<pipelines::RawPipeline>("a pipeline of stepherd"),
        ),
        (
            "command.schema.json",
            titled::<commands::RawCommand>("a chat command of stepherd"),
        ),
    ]
    .into_iter()
    .map(|(name, schema)| (name, format!("{schema:#}\n")))
    .collect()
}

/// The schema of `T`, everything in place rather than by reference.
pub(super) fn of<T: JsonSchema>() -> Value {
    let mut settings = SchemaSettings::draft07().for_deserialize();
    settings.inline_subschemas = true;
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

fn titled<T: JsonSchema>(title: &str) -> Value {
    let mut schema = of::<T>();
    without_null(&mut schema);
    schema["title"] = title.into();
    schema
}

/// TOML has no null: what may be left out is not in `required`, and that is all.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(branches)) = map.get_mut("anyOf") {
                branches.retain(|branch| branch["type"] != "null");
                if let [Value::Object(only)] = branches.as_slice() {
                    let only = only.clone();
                    map.remove("anyOf");
                    for (key, value) in only {
                        map.entry(key).or_insert(value);
                    }
                }
            }
            // `default: null` of optional keys says nothing.
            if map.get("default").is_some_and(Value::is_null) {
                map.remove("default");
            }
            map.values_mut().for_each(without_null);
        }
        Value::Array(list) => list.iter_mut().for_each(without_null),
        _ => {}
    }
}
