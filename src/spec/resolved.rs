//! A pipeline written back as YAML: variables resolved, defaults filled in, every port named.
//!
//! Invariant: loading the written YAML returns the same pipeline.

use serde_json::{Map, Value};

use super::pipeline::{Pipeline, Stage};
use super::templates::is_template;

/// The resolved pipeline as a tree.
pub fn resolved(pipeline: &Pipeline) -> Map<String, Value> {
    let stages: Map<String, Value> = pipeline
        .stages
        .iter()
        .map(|s| (s.name.clone(), stage(s)))
        .collect();
    let mut all = Map::new();
    all.insert("version".to_owned(), 1.into());
    all.insert("name".to_owned(), pipeline.name.clone().into());
    all.insert("stages".to_owned(), Value::Object(stages));
    all
}

/// The resolved pipeline as YAML.
pub fn resolved_yaml(pipeline: &Pipeline) -> String {
    let all = Value::Object(resolved(pipeline));
    // A tree of plain values can always be written as YAML. The fallback to JSON, which is YAML
    // too, is only there for the type.
    serde_yaml::to_string(&all).unwrap_or_else(|_| all.to_string())
}

fn stage(s: &Stage) -> Value {
    let mut out = Map::new();
    out.insert("op".to_owned(), s.op.name.into());
    if !s.inputs.is_empty() {
        let inputs: Map<String, Value> = s
            .inputs
            .iter()
            .map(|(port, refs)| {
                let mut refs: Vec<Value> = refs.iter().map(|r| r.to_string().into()).collect();
                let value = if refs.len() == 1 {
                    refs.remove(0)
                } else {
                    Value::Array(refs)
                };
                (port.clone(), value)
            })
            .collect();
        out.insert("in".to_owned(), Value::Object(inputs));
    }
    if !s.after.is_empty() {
        out.insert("after".to_owned(), s.after.clone().into());
    }
    if s.params.as_object().is_some_and(|m| !m.is_empty()) {
        out.insert("with".to_owned(), literal(&s.params));
    }
    out.extend(s.limits.keys());
    Value::Object(out)
}

/// The value in a form that loads unchanged: a text that looks like a template, or has characters
/// that YAML does not keep, becomes a template that renders to the text.
fn literal(value: &Value) -> Value {
    match value {
        Value::String(s) if is_template(s) || s.contains(fragile) => {
            // The template language writes strings as JSON does.
            let json = Value::String(s.clone()).to_string();
            let mut text = String::from("{{ ");
            for c in json.chars() {
                if fragile(c) {
                    text.push_str(&format!("\\u{:04x}", u32::from(c)));
                } else {
                    text.push(c);
                }
            }
            text.push_str(" }}");
            Value::String(text)
        }
        Value::Array(items) => items.iter().map(literal).collect(),
        Value::Object(map) => {
            let pairs = map.iter().map(|(k, v)| (k.clone(), literal(v)));
            Value::Object(pairs.collect())
        }
        other => other.clone(),
    }
}

/// Control characters, and characters that some versions of YAML read as the end of a line or leave
/// out. (All fit in four hex digits.)
fn fragile(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}
