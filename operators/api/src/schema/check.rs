//! Checks a value against its type, and converts it to the form that the operator gets.

use serde_json::{Map, Value};

use super::problem::{Found, report};
use super::{PathSeg, Problem, Type};

/// Whether a text may name something in a pipeline: a letter, then up to 99 letters, digits, `_`
/// and `-`. Such a name is a valid file name on every system.
pub fn is_name(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    starts && text.len() <= 100 && text.chars().all(rest)
}

/// A switch as any reader of YAML leaves it: a boolean, or one of the words yes, no, on, off, true,
/// false.
pub fn as_switch(v: &Value) -> Option<bool> {
    match v {
        Value::Bool(b) => Some(*b),
        Value::String(s) => match s.to_ascii_lowercase().as_str() {
            "yes" | "on" | "true" => Some(true),
            "no" | "off" | "false" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// The candidate most similar to a mistyped word, if one is similar enough to be what was meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|c| {
            (
                strsim::jaro_winkler(&word.to_lowercase(), &c.to_lowercase()),
                c,
            )
        })
        .filter(|(score, _)| *score >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, c)| c)
}

/// Reports that a value is not of its type.
fn wrong(
    ty: &Type,
    v: &Value,
    path: &[PathSeg],
    out: &mut Found<'_>,
    hint: Option<String>,
) -> Value {
    let found = out.describe(path, v);
    let message = format!("expected {}, found {found}", ty.describe());
    report(path, out, message, hint);
    Value::Null
}

/// Checks a value; `limit` is why a number may not be larger.
pub(super) fn check(
    ty: &Type,
    v: &Value,
    path: &mut Vec<PathSeg>,
    out: &mut Found<'_>,
    limit: Option<&'static str>,
) -> Value {
    match (ty, v) {
        (Type::Nullable(_), Value::Null) => Value::Null,
        (Type::Nullable(inner), v) => check(inner, v, path, out, limit),
        (Type::Bool, v) => as_switch(v).map_or_else(|| wrong(ty, v, path, out, None), Value::Bool),
        (Type::Int { min, max }, Value::Number(n)) => match n.as_i64() {
            Some(i) if i >= *min && i <= *max => v.clone(),
            // Whole numbers that do not fit 64 bits arrive as floating-point ones.
            _ if n.as_f64().is_some_and(|x| x > *max as f64) => {
                wrong(ty, v, path, out, limit.map(str::to_owned))
            }
            _ => wrong(ty, v, path, out, None),
        },
        (Type::Float { min, max }, Value::Number(n)) => match n.as_f64() {
            // Adding zero turns -0 into 0: they are the same number, so both must lead to the same
            // key.
            Some(x) if x >= *min && x <= *max => Value::from(x + 0.0),
            Some(x) if x > *max => wrong(ty, v, path, out, limit.map(str::to_owned)),
            _ => wrong(ty, v, path, out, None),
        },
        (Type::Word, Value::String(_)) => v.clone(),
        (Type::Word, Value::Number(n)) if n.is_i64() && out.reads_as(path, v) => {
            Value::String(v.to_string())
        }
        // 0755 would become 755, 3.10 would become 3.1, and `True` true.
        (Type::Word, Value::Number(_) | Value::Bool(_)) => {
            let hint = out.quote(path) + ", or as part of a word: \"--x={{ x }}\"";
            wrong(ty, v, path, out, Some(hint))
        }
        (Type::Path, Value::String(s)) if s.is_empty() => wrong(ty, v, path, out, None),
        (Type::Text | Type::Path, Value::String(_)) => v.clone(),
        (Type::Text | Type::Path, Value::Number(_) | Value::Bool(_)) => {
            let hint = out.quote(path);
            wrong(ty, v, path, out, Some(hint))
        }
        (Type::OneOf { words, planned }, Value::String(s)) if planned.contains(&s.as_str()) => {
            let message = format!("`{s}` is not implemented yet");
            let hint = format!("works so far: {}", words.join(", "));
            report(path, out, message, Some(hint));
            Value::Null
        }
        (Type::OneOf { words, .. } | Type::WordsOr { words, .. }, Value::String(s)) => {
            if words.contains(&s.as_str()) {
                return v.clone();
            }
            let near = nearest(s, words.iter().copied());
            let hint = near.map(|n| format!("did you mean `{n}`?"));
            wrong(ty, v, path, out, hint)
        }
        (Type::WordsOr { schema, .. }, Value::Object(_)) => schema.walk(v, path, out),
        (Type::Form { check, .. }, Value::String(s)) => match check(s) {
            Ok(()) => v.clone(),
            Err(why) => {
                report(path, out, why, None);
                Value::Null
            }
        },
        (Type::List { min, .. }, Value::Array(items)) if items.len() < *min => {
            wrong(ty, v, path, out, Some(format!("give at least {min}")))
        }
        (Type::List { item, .. }, Value::Array(items)) => {
            let checked = items.iter().enumerate().map(|(i, v)| {
                path.push(PathSeg::Index(i));
                let v = check(item, v, path, out, limit);
                path.pop();
                v
            });
            Value::Array(checked.collect())
        }
        (Type::Object(s), Value::Object(_) | Value::Null) => s.walk(v, path, out),
        (Type::Map { .. }, Value::Null) => Value::Object(Map::new()),
        (Type::Map { .. }, Value::Object(given)) => map(ty, given, path, out),
        _ => wrong(ty, v, path, out, None),
    }
}

/// Checks the keys and values of a map.
fn map(
    ty: &Type,
    given: &Map<String, Value>,
    path: &mut Vec<PathSeg>,
    out: &mut Found<'_>,
) -> Value {
    let Type::Map {
        key,
        check: is_key,
        value,
    } = ty
    else {
        return Value::Null;
    };
    let mut full = Map::new();
    for (name, v) in given {
        path.push(PathSeg::Key(name.clone()));
        if !is_key(name) {
            let shown: String = name.chars().take(60).collect();
            out.problems.push(Problem {
                path: path.clone(),
                message: format!("expected {key}, found `{shown}`"),
                hint: None,
                on_key: true,
            });
        }
        full.insert(name.clone(), check(value, v, path, out, None));
        path.pop();
    }
    Value::Object(full)
}
