//! The only place where the key of a stage is made.
//!
//! Invariant: two stages with the same key have the same output. So a key is made of everything
//! that can change the output and of nothing else: cache format, operator name and version,
//! parameters with an effect, content of the inputs, content of the files read, and what the
//! operator itself adds. Not part of it: names of stages, paths, times, device, threads.

use std::collections::BTreeMap;
use std::fmt;

use gfm_pipe_api::{Artifact, OpEntry, Schema, Type};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::listing::Listing;

/// Raised when the meaning of a key or of anything stored under it changes: no older entry is found
/// then.
pub const CACHE_FORMAT: u32 = 1;

/// Stands for a path in a key: whether there is a path matters to the key, where it points to does
/// not.
const PATH: &str = "<path>";

/// The key of a stage: 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first eight digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An input artifact, as far as a key sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputId {
    /// `STAGE.PORT`, for explanations; not in the key.
    pub from: String,
    /// Digest of its content.
    pub digest: String,
}

/// A file read by an operator, as far as a key sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    /// As the user wrote it, for explanations; not in the key (its position in the list is).
    pub path: String,
    /// Digest of its bytes; `None` when an optional file is absent.
    pub digest: Option<String>,
}

/// Everything a key is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ingredients {
    /// Operator.
    pub operator: String,
    /// Its version.
    pub version: u32,
    /// Parameters that can change the result, defaults filled in, paths replaced by a mark, keys
    /// sorted.
    pub params: Value,
    /// What the operator itself adds to the key.
    pub fingerprint: Option<String>,
    /// Input artifacts by port, in the order given.
    pub inputs: BTreeMap<String, Vec<InputId>>,
    /// Files read, in the operator's order. Left out of JSON files where they are many: see
    /// [`Ingredients::brief`].
    pub files: Vec<FileId>,
    /// Files found and not read, for explanations; not in the key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
    /// What stands for the files where there are many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<Listing>,
    /// Whether the names of the inputs reach the outputs, and are part of the key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub names: bool,
}

impl Ingredients {
    /// Collects what the key of a stage is made of. `params` are validated ones; `fingerprint` is
    /// what [`OpEntry::fingerprint`] returns for them; `unread` are files that are found and not
    /// read.
    pub fn collect(
        op: &OpEntry,
        params: &Value,
        fingerprint: Option<String>,
        inputs: &BTreeMap<String, Vec<Artifact>>,
        files: Vec<FileId>,
        unread: Vec<String>,
    ) -> Self {
        let inputs = inputs
            .iter()
            .filter(|(_, artifacts)| !artifacts.is_empty())
            .map(|(port, artifacts)| {
                let ids = artifacts.iter().map(|a| InputId {
                    from: a.name.clone(),
                    digest: a.digest(),
                });
                (port.clone(), ids.collect())
            })
            .collect();
        Ingredients {
            operator: op.name.to_owned(),
            version: op.version,
            params: key_params(op, params),
            fingerprint,
            inputs,
            listing: Listing::of(&files, &unread),
            files,
            unread,
            names: op.names_inputs,
        }
    }

    /// Makes the key.
    pub fn key(&self) -> Key {
        let inputs: BTreeMap<&str, Vec<&str>> = self
            .inputs
            .iter()
            .map(|(port, ids)| {
                let digests = ids.iter().map(|i| i.digest.as_str()).collect();
                (port.as_str(), digests)
            })
            .collect();
        let files = match &self.listing {
            Some(listing) if listing.stands_for_read() => json!(listing.digest),
            _ => json!(self.files.iter().map(|f| &f.digest).collect::<Vec<_>>()),
        };
        let mut all = json!({
            "format": CACHE_FORMAT,
            "operator": self.operator,
            "version": self.version,
            "params": self.params,
            "fingerprint": self.fingerprint,
            "inputs": inputs,
            "files": files,
        });
        if self.names {
            let names: BTreeMap<&str, Vec<&str>> = self
                .inputs
                .iter()
                .map(|(port, ids)| (port.as_str(), ids.iter().map(|i| i.from.as_str()).collect()))
                .collect();
            all["names"] = json!(names);
        }
        let text = canonical(&all).to_string();
        let mut hasher = blake3::Hasher::new_derive_key("gfm-pipe stage key");
        hasher.update(text.as_bytes());
        Key(hasher.finalize().to_hex().to_string())
    }
}

/// The parameters of a stage as its key sees them.
pub fn key_params(op: &OpEntry, params: &Value) -> Value {
    canonical(&without_paths(&op.schema, &op.schema.effective(params)))
}

/// Sorts the keys of every mapping, so that equal values have equal text whatever order they were
/// written in.
fn canonical(v: &Value) -> Value {
    match v {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(k, _)| *k);
            let sorted: Map<String, Value> = entries
                .into_iter()
                .map(|(k, v)| (k.clone(), canonical(v)))
                .collect();
            Value::Object(sorted)
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        other => other.clone(),
    }
}

fn without_paths(schema: &Schema, v: &Value) -> Value {
    let Value::Object(map) = v else {
        return v.clone();
    };
    let kept = map.iter().map(|(k, v)| {
        let field = schema.fields.iter().find(|f| f.name == k);
        let v = field.map_or_else(|| v.clone(), |f| value_without_paths(&f.ty, v));
        (k.clone(), v)
    });
    Value::Object(kept.collect())
}

fn value_without_paths(ty: &Type, v: &Value) -> Value {
    match (ty, v) {
        (_, Value::Null) => Value::Null,
        (Type::Path, _) => Value::String(PATH.to_owned()),
        (Type::Nullable(inner), v) => value_without_paths(inner, v),
        (Type::Object(schema) | Type::WordsOr { schema, .. }, v) => without_paths(schema, v),
        (Type::List { item, .. }, Value::Array(items)) => {
            let items = items.iter().map(|i| value_without_paths(item, i));
            Value::Array(items.collect())
        }
        _ => v.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use gfm_pipe_api::Field;
    use proptest::prelude::*;

    fn ingredients(params: Value) -> Ingredients {
        Ingredients {
            operator: "op".to_owned(),
            version: 1,
            params: canonical(&params),
            fingerprint: None,
            inputs: BTreeMap::new(),
            files: Vec::new(),
            unread: Vec::new(),
            listing: None,
            names: false,
        }
    }

    fn input(from: &str, digest: &str) -> InputId {
        InputId {
            from: from.to_owned(),
            digest: digest.to_owned(),
        }
    }

    fn file(path: &str, digest: Option<&str>) -> FileId {
        FileId {
            path: path.to_owned(),
            digest: digest.map(ToOwned::to_owned),
        }
    }

    /// A change of this value empties every user's cache: it must come with a new [`CACHE_FORMAT`].
    #[test]
    fn the_key_of_known_ingredients_is_stable() {
        let mut i = ingredients(json!({"b": 1.5, "a": [true, null, "x"]}));
        i.inputs.insert("in".to_owned(), vec![input("s.p", "aa")]);
        i.files.push(file("f", None));
        assert_eq!(
            i.key().as_str(),
            "66f12cbdda17a9efce4a00b0f61d1a62c472ad0bd6b442043fc86d5d1f570f68"
        );
    }

    #[test]
    fn everything_that_counts_changes_the_key_and_names_do_not() {
        let base = {
            let mut i = ingredients(json!({"a": 1}));
            i.inputs.insert(
                "in".to_owned(),
                vec![input("s.p", "aa"), input("t.p", "bb")],
            );
            i.files = vec![file("f", Some("cc")), file("g", None)];
            i
        };
        let key = base.key();
        let changes: [fn(&mut Ingredients); 10] = [
            |i| i.operator = "other".to_owned(),
            |i| i.version = 2,
            |i| i.params = json!({"a": 2}),
            |i| i.params = json!({"a": 1.0}),
            |i| i.fingerprint = Some("f".to_owned()),
            |i| i.inputs.get_mut("in").unwrap().reverse(),
            |i| drop(i.inputs.get_mut("in").unwrap().pop()),
            |i| {
                let v = i.inputs.remove("in").unwrap();
                i.inputs.insert("other".to_owned(), v);
            },
            |i| i.files.reverse(),
            |i| i.files[1].digest = Some("cc".to_owned()),
        ];
        let mut seen = vec![key.clone()];
        for change in changes {
            let mut i = base.clone();
            change(&mut i);
            let k = i.key();
            assert!(!seen.contains(&k), "{i:?}");
            seen.push(k);
        }
        let mut renamed = base;
        renamed.inputs.get_mut("in").unwrap()[0].from = "elsewhere.p".to_owned();
        renamed.files[0].path = "moved".to_owned();
        renamed.unread = vec!["a.pdf".to_owned()];
        assert_eq!(renamed.key(), key);
    }

    #[test]
    fn paths_leave_the_parameters_but_their_presence_stays() {
        let schema = Schema::new(vec![
            Field::required("path", Type::Path, ""),
            Field::new("start", Type::Path.or_null(), Value::Null, ""),
            Field::new("many", Type::list(Type::Path), json!([]), ""),
            Field::group(
                "train",
                Schema::new(vec![
                    Field::new("checkpoint", Type::Path.or_null(), Value::Null, ""),
                    Field::new("lr", Type::float(0.0), 0.1, ""),
                ]),
                "",
            ),
        ]);
        let with = |p: &str, start: Value| {
            without_paths(
                &schema,
                &json!({"path": p, "start": start, "many": [p, p], "train": {"checkpoint": p, "lr": 0.1}}),
            )
        };
        assert_eq!(with("a", Value::Null), with("b", Value::Null));
        assert_ne!(with("a", Value::Null), with("a", json!("x")));
        assert_eq!(
            with("a", Value::Null),
            json!({"path": PATH, "start": null, "many": [PATH, PATH],
                   "train": {"checkpoint": PATH, "lr": 0.1}})
        );
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e9..1e9f64).prop_map(Value::from),
            "[a-zé\"\\\\]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{1,4}", inner, 0..5)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    /// The same value with the entries of every mapping in another order.
    fn reordered(v: &Value) -> Value {
        match v {
            Value::Object(m) => {
                let mut entries: Vec<_> =
                    m.iter().map(|(k, v)| (k.clone(), reordered(v))).collect();
                entries.reverse();
                Value::Object(entries.into_iter().collect())
            }
            Value::Array(a) => Value::Array(a.iter().map(reordered).collect()),
            other => other.clone(),
        }
    }

    proptest! {
        #[test]
        fn the_order_of_keys_never_matters(v in value()) {
            prop_assert_eq!(ingredients(v.clone()).key(), ingredients(reordered(&v)).key());
        }

        #[test]
        fn different_parameters_have_different_keys(a in value(), b in value()) {
            prop_assume!(a != b);
            prop_assert_ne!(ingredients(a).key(), ingredients(b).key());
        }
    }
}
