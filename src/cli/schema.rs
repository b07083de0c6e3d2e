//! `gfm-pipe schema`: the JSON Schema of pipeline files, for editors, made from what operators
//! declare.

use gfm_pipe_api::{Arity, Field, InPort, OpEntry, Schema, Type};
use serde_json::{Map, Value, json};

use crate::spec::pipeline_keys;

/// A text that holds a template: it may stand for a value of any type.
const TEMPLATE: &str = "\\{\\{";

/// The JSON Schema (draft 2020-12) of a pipeline that uses these operators.
pub fn json_schema(ops: &[OpEntry]) -> Value {
    let names: Vec<&str> = ops.iter().map(|o| o.name).collect();
    let cases: Vec<Value> = ops.iter().map(stage_of).collect();
    let mut stage = Map::new();
    for (key, about) in pipeline_keys::STAGE_KEYS {
        stage.insert((*key).to_owned(), json!({"description": about}));
    }
    stage["op"]["enum"] = json!(names);
    for key in ["foreach", "matrix"] {
        stage[key]["type"] = "object".into();
        stage[key]["additionalProperties"] = or_template(json!({"type": "array", "minItems": 1}));
    }
    let name = json!({"type": "string", "minLength": 1});
    stage["after"]["anyOf"] = json!([name, {"type": "array", "items": name}, {"type": "null"}]);
    stage["in"]["type"] = json!(["object", "null"]);
    stage["with"]["type"] = json!(["object", "null"]);
    for f in pipeline_keys::limits().fields {
        stage[f.name] = field(&f);
    }
    let mut top = Map::new();
    for (key, about) in pipeline_keys::TOP_KEYS {
        top.insert((*key).to_owned(), json!({"description": about}));
    }
    let file = json!({"type": "string", "minLength": 1});
    top["version"]["const"] = 1.into();
    top["name"]["pattern"] = "^[A-Za-z][A-Za-z0-9_-]{0,99}$".into();
    top["include"]["anyOf"] = json!([file, {"type": "array", "items": file}]);
    for key in ["env", "vars"] {
        top[key]["type"] = json!(["object", "null"]);
    }
    top["stages"]["type"] = "object".into();
    top["stages"]["additionalProperties"] = json!({"$ref": "#/$defs/stage"});
    let mut properties = Map::new();
    properties.extend(top);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gfm-pipe pipeline",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        // A file that another one includes has no stages of its own, or only parts of some.
        "anyOf": [{"required": ["stages"]}, {"required": ["vars"]}, {"required": ["include"]}, {"required": ["env"]}],
        "$defs": {
            "stage": {
                "type": "object",
                "properties": stage,
                "additionalProperties": false,
                "allOf": cases,
            },
        },
    })
}

/// The part of the schema that holds for stages of one operator.
fn stage_of(op: &OpEntry) -> Value {
    let inputs = if op.shaped {
        json!({"additionalProperties": {"type": "string"}})
    } else {
        let ports: Map<String, Value> = op.inputs.iter().map(port).collect();
        json!({"properties": ports, "additionalProperties": false})
    };
    json!({
        "if": {"properties": {"op": {"const": op.name}}, "required": ["op"]},
        "then": {
            "description": op.meaning(),
            "properties": {
                "in": inputs,
                "with": object(&op.schema),
            },
        },
    })
}

fn port(p: &InPort) -> (String, Value) {
    let one = json!({"type": "string"});
    let takes_many = matches!(p.arity, Arity::Many | Arity::Any);
    let many = json!({"anyOf": [one, {"type": "array", "items": one}]});
    let mut value = if takes_many { many } else { one };
    value["description"] = format!("{} (takes {})", p.about, p.accepts.describe()).into();
    (p.name.to_owned(), value)
}

/// The schema of a mapping. Keys are not `required`: a file may be merged with others, and the
/// loader reports what is missing.
fn object(schema: &Schema) -> Value {
    let known = schema.fields.iter().filter(|f| f.refused.is_none());
    let properties: Map<String, Value> = known.map(|f| (f.name.to_owned(), field(f))).collect();
    json!({"type": ["object", "null"], "properties": properties, "additionalProperties": false})
}

fn field(f: &Field) -> Value {
    let mut value = or_template(of_type(&f.ty));
    value["description"] = f.meaning().into();
    if f.deprecated.is_some() {
        value["deprecated"] = true.into();
    }
    if let Some(default) = f
        .default
        .as_ref()
        .filter(|_| !matches!(f.ty, Type::Object(_)))
    {
        value["default"] = default.clone();
    }
    value
}

fn of_type(ty: &Type) -> Value {
    match ty {
        Type::Bool => {
            json!({"enum": [true, false, "yes", "no", "on", "off", "Yes", "No", "On", "Off", "True", "False"]})
        }
        Type::Int { min, max } => {
            let mut v = json!({"type": "integer"});
            if *min > i64::MIN {
                v["minimum"] = (*min).into();
            }
            if *max < i64::MAX {
                v["maximum"] = (*max).into();
            }
            v
        }
        Type::Float { min, max } => {
            let mut v = json!({"type": "number"});
            if min.is_finite() {
                v["minimum"] = (*min).into();
            }
            if max.is_finite() {
                v["maximum"] = (*max).into();
            }
            v
        }
        Type::Text | Type::Form { .. } => json!({"type": "string"}),
        Type::Word => json!({"type": ["string", "integer"]}),
        Type::Path => json!({"type": "string", "minLength": 1}),
        Type::OneOf { words, .. } => json!({"enum": words}),
        Type::List { item, min } => {
            json!({"type": "array", "items": or_template(of_type(item)), "minItems": min})
        }
        Type::WordsOr { words, schema } => json!({"anyOf": [{"enum": words}, object(schema)]}),
        Type::Object(schema) => object(schema),
        Type::Map { value, .. } => {
            json!({"type": ["object", "null"], "additionalProperties": or_template(of_type(value))})
        }
        Type::Nullable(inner) => json!({"anyOf": [of_type(inner), {"type": "null"}]}),
    }
}

/// A schema that accepts the value or a template.
fn or_template(value: Value) -> Value {
    if value["type"] == "string" {
        return value;
    }
    json!({"anyOf": [value, {"type": "string", "pattern": TEMPLATE}]})
}
