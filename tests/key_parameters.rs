//! When a parameter is added to an operator, the keys of its stages must not change as long as the
//! parameter has its default; otherwise every cached result would be computed again.
//! `tests/key_parameters.json` lists the parameters that are always in a key.
//!
//! `UPDATE_GOLDEN=1 cargo test --test key_parameters` rewrites the file, but never with other
//! parameters under the same VERSION.

#![cfg(all(feature = "gfm", feature = "static-encoder", feature = "english"))]
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::BTreeMap;
use std::path::Path;

use gfm_pipe::registry::builtin;
use gfm_pipe_api::{Effect, Schema, Type};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Keyed {
    version: u32,
    parameters: Vec<String>,
}

/// Collects the dotted paths of the parameters that are in every key.
fn always(schema: &Schema, prefix: &str, out: &mut Vec<String>) {
    let fields = schema.fields.iter();
    let keyed = fields.filter(|f| f.effect == Effect::Result && !f.later && f.refused.is_none());
    for field in keyed {
        let path = format!("{prefix}{}", field.name);
        match &field.ty {
            Type::Object(inner) => always(inner, &format!("{path}."), out),
            _ => out.push(path),
        }
    }
}

#[test]
fn a_parameter_that_is_added_leaves_keys_alone() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/key_parameters.json");
    let now: BTreeMap<String, Keyed> = builtin()
        .iter()
        .map(|op| {
            let mut parameters = Vec::new();
            always(&op.schema, "", &mut parameters);
            let version = op.version;
            (
                op.name.to_owned(),
                Keyed {
                    version,
                    parameters,
                },
            )
        })
        .collect();
    let text = std::fs::read_to_string(&path).unwrap_or_else(|_| "{}".to_owned());
    let before: BTreeMap<String, Keyed> = serde_json::from_str(&text).unwrap();
    for (name, now) in &now {
        if let Some(before) = before.get(name).filter(|b| b.version == now.version) {
            assert_eq!(
                before.parameters, now.parameters,
                "the keys of `{name}` changed: mark a parameter that was added with `.added_later()`, \
                 or raise VERSION if the same input gives another result"
            );
        }
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let text = serde_json::to_string_pretty(&now).unwrap();
        std::fs::write(&path, text + "\n").unwrap();
    } else {
        assert_eq!(
            before, now,
            "tests/key_parameters.json is stale: UPDATE_GOLDEN=1 cargo test --test key_parameters"
        );
    }
}
