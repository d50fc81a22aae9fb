//! The JSON Schema for editors: the structs' own schema, widened by what loading accepts besides.

use serde_json::{Map, Value, json};

use crate::ProviderType;
use crate::known;
use crate::setting::{schema, target};

/// The JSON Schema (draft 2020-12) of the YAML file, as text.
pub fn json_schema(types: &[ProviderType]) -> String {
    let mut root = schema();
    root["title"] = json!("Ferrovia configuration");
    for known in known::all().filter(|k| !k.path.is_empty()) {
        let path: Vec<&str> = known.path.split('.').collect();
        add_known(&mut root, &path);
    }
    offer_types(&mut root, types);
    widen(&mut root);
    format!("{}\n", serde_json::to_string_pretty(&root).expect("a schema is JSON"))
}

/// Adds a setting that is known but not built, so that an editor does not call it unknown.
fn add_known(root: &mut Value, path: &[&str]) {
    let mut pointer = String::new();
    for (i, name) in path.iter().enumerate() {
        // A struct's schema stands once, under `$defs`.
        if let Some(reference) = root.pointer(&pointer).and_then(|n| n.get("$ref")).and_then(Value::as_str) {
            pointer = reference.trim_start_matches('#').to_owned();
        }
        if *name == "*" {
            pointer += "/additionalProperties";
            continue;
        }
        let Some(node) = root.pointer_mut(&pointer).and_then(Value::as_object_mut) else { return };
        let members = node.entry("properties").or_insert_with(|| json!({}));
        let Some(members) = members.as_object_mut() else { return };
        let last = i + 1 == path.len();
        let leaf = json!({"description": "Known, but not built in this version.", "deprecated": true});
        members.entry(*name).or_insert_with(|| {
            if last { leaf } else { json!({"type": ["object", "null"], "properties": {}}) }
        });
        pointer += &format!("/properties/{name}");
    }
}

/// Lists the provider types where one is expected.
fn offer_types(root: &mut Value, types: &[ProviderType]) {
    let provider = root.pointer("/properties/providers/additionalProperties").cloned().unwrap_or_default();
    let reference = target(root, &provider).clone();
    let Some(pointer) =
        provider.get("$ref").and_then(Value::as_str).map(|r| r.trim_start_matches('#').to_owned())
    else {
        return;
    };
    if let (Some(node), true) =
        (root.pointer_mut(&format!("{pointer}/properties/type")), reference.is_object())
    {
        let names: Vec<Value> = types.iter().map(|t| json!(t.name)).collect();
        node["anyOf"] = json!([{"enum": names}, {"type": "string"}]);
        if let Some(node) = node.as_object_mut() {
            node.remove("type");
            node.remove("default");
        }
    }
}

/// Accepts what loading accepts besides the type: nothing, text for numbers, `${…}`, comma lists. Drops our own notes.
fn widen(node: &mut Value) {
    match node {
        Value::Array(items) => items.iter_mut().for_each(widen),
        Value::Object(members) => {
            let kind = members.get("x-kind").and_then(Value::as_str).map(String::from);
            members.retain(|key, _| !key.starts_with("x-"));
            match kind.as_deref() {
                Some("seconds" | "size" | "duration") => accept(members, &["string", "integer"]),
                Some("models") => return models(members),
                Some("statuses") => {
                    members.insert("items".into(), json!({"type": ["string", "integer"]}));
                    accept(members, &["array", "string"]);
                }
                _ => match members.get("type").and_then(Value::as_str) {
                    Some("boolean") => accept(members, &["boolean", "string"]),
                    Some("integer") => accept(members, &["integer", "string"]),
                    Some("number") => accept(members, &["number", "string"]),
                    Some("array") => accept(members, &["array", "string"]),
                    Some("string") if !members.contains_key("const") => {
                        accept(members, &["string", "number", "boolean"])
                    }
                    Some("object") => accept(members, &["object"]),
                    _ => {}
                },
            }
            members.iter_mut().filter(|(key, _)| *key != "default").for_each(|(_, inner)| widen(inner));
        }
        _ => {}
    }
}

fn accept(members: &mut Map<String, Value>, types: &[&str]) {
    let mut types: Vec<Value> = types.iter().map(|t| json!(t)).collect();
    types.push(json!("null"));
    members.insert("type".into(), Value::Array(types));
}

/// A configured model is an id, or an entry.
fn models(members: &mut Map<String, Value>) {
    let entry = json!({
        "type": "object",
        "properties": {"id": {"type": "string"}, "metadata": {"type": "object"}},
        "required": ["id"],
        "additionalProperties": false,
    });
    members.insert("items".into(), json!({"anyOf": [{"type": "string"}, entry]}));
    accept(members, &["array", "string"]);
}
