//! Parameter schemas: validation with every problem at once, defaults, documentation, and what
//! enters a stage's key.
//!
//! A schema is data, written next to the operator's parameter struct. The engine validates the
//! pipeline's tree against it (so that it can point at file, line and column), fills in defaults,
//! and only then deserializes. Invariant: a value that [`Schema::normalize`] accepted deserializes
//! into the operator's parameters; a test per operator checks this.

mod check;
mod problem;
mod types;

use serde_json::{Map, Value};

pub use check::{as_switch, is_name, nearest};
pub use problem::{AsWritten, PathSeg, Problem, path_text};
pub use types::Type;

use check::check;
use problem::{Found, report, show};

/// Whether a parameter can change the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It can: it enters the stage's key.
    Result,
    /// It cannot (logging, timeouts, batch sizes of pure functions): a change reruns nothing.
    None,
}

/// A parameter.
#[derive(Debug, Clone)]
pub struct Field {
    /// Name of the key.
    pub name: &'static str,
    /// Type of its value.
    pub ty: Type,
    /// Default; `None` where the user must give a value.
    pub default: Option<Value>,
    /// Whether it can change the result.
    pub effect: Effect,
    /// What it means.
    pub about: &'static str,
    /// Why a number may not be larger.
    pub limit: Option<&'static str>,
    /// A key that is known but may not be set here, with what to do instead.
    pub refused: Option<&'static str>,
    /// Whether the key works only with its default so far.
    pub fixed: bool,
    /// Whether it is missing from a stage's key while it has its default.
    pub later: bool,
    /// Words that mean the same as the default.
    pub alike: &'static [&'static str],
    /// What to do instead, if the parameter will be removed.
    pub deprecated: Option<&'static str>,
}

impl Field {
    /// A parameter the user must give.
    pub fn required(name: &'static str, ty: Type, about: &'static str) -> Self {
        Field {
            name,
            ty,
            default: None,
            effect: Effect::Result,
            about,
            limit: None,
            refused: None,
            fixed: false,
            later: false,
            alike: &[],
            deprecated: None,
        }
    }

    /// A parameter with a default.
    pub fn new(
        name: &'static str,
        ty: Type,
        default: impl Into<Value>,
        about: &'static str,
    ) -> Self {
        Field {
            default: Some(default.into()),
            ..Field::required(name, ty, about)
        }
    }

    /// A group of parameters; its defaults are those of its members.
    pub fn group(name: &'static str, schema: Schema, about: &'static str) -> Self {
        Field {
            default: Some(Value::Object(Map::new())),
            ..Field::required(name, Type::Object(schema), about)
        }
    }

    /// A known key that may not be set here; `instead` says what to do.
    pub fn refused(name: &'static str, instead: &'static str) -> Self {
        Field {
            refused: Some(instead),
            ..Field::required(name, Type::Text, instead)
        }
    }

    /// Sets the largest allowed number and the reason for it; in a list the bound applies to each
    /// item.
    #[must_use]
    pub fn at_most(mut self, max: f64, why: &'static str) -> Self {
        self.ty.bound(max);
        self.limit = Some(why);
        self
    }

    /// What it means, with the reason for its upper bound and what to use instead, where there are
    /// such.
    pub fn meaning(&self) -> String {
        let mut out = self.about.to_owned();
        if let Some(why) = self.limit {
            out.push_str(&format!(". Bounded: {why}"));
        }
        if let Some(instead) = self.deprecated {
            out.push_str(&format!(". Deprecated: {instead}"));
        }
        out
    }

    /// The parameter cannot change the result.
    #[must_use]
    pub fn no_effect(mut self) -> Self {
        self.effect = Effect::None;
        self
    }

    /// The parameter was added to an operator that has been in use. With its default, which must
    /// mean what the operator did before, it is not part of a stage's key, so that results stay
    /// valid.
    #[must_use]
    pub fn added_later(mut self) -> Self {
        self.later = true;
        self
    }

    /// These words mean the same as the default.
    #[must_use]
    pub fn alike(mut self, words: &'static [&'static str]) -> Self {
        self.alike = words;
        self
    }

    /// The parameter will go: a pipeline that sets it works, with a warning. `instead` says what to
    /// do.
    #[must_use]
    pub fn deprecated(mut self, instead: &'static str) -> Self {
        self.deprecated = Some(instead);
        self
    }

    /// Whether a validated value is the default, as far as it can change the result.
    fn is_default(&self, value: &Value) -> bool {
        if value
            .as_str()
            .is_some_and(|word| self.alike.contains(&word))
        {
            return true;
        }
        match (&self.ty, &self.default) {
            (_, None) => false,
            // A group's defaults are those of its members.
            (Type::Object(schema), Some(given)) => schema
                .normalize(given)
                .is_ok_and(|default| schema.effective(&default) == schema.effective(value)),
            (ty, Some(default)) => effective_value(ty, default) == effective_value(ty, value),
        }
    }

    /// Values other than the default have a meaning but are not implemented yet: they are refused
    /// with a message that says so, never ignored.
    #[must_use]
    pub fn only_default(mut self) -> Self {
        self.fixed = true;
        self
    }
}

/// The parameters of an operator, or of a mapping inside them.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    /// Fields in order of documentation.
    pub fields: Vec<Field>,
}

impl Schema {
    /// A schema of these fields.
    pub fn new(fields: Vec<Field>) -> Self {
        Schema { fields }
    }

    /// Checks a mapping (null counts as an empty one) and fills in defaults.
    ///
    /// # Errors
    /// Every problem found.
    pub fn normalize(&self, value: &Value) -> Result<Value, Vec<Problem>> {
        self.normalize_written(value, &|_| None)
    }

    /// Like [`Schema::normalize`], but messages show each value in the form that `written` returns
    /// for its path.
    ///
    /// # Errors
    /// Every problem found.
    pub fn normalize_written(
        &self,
        value: &Value,
        written: &dyn Fn(&[PathSeg]) -> Option<AsWritten>,
    ) -> Result<Value, Vec<Problem>> {
        let mut found = Found {
            problems: Vec::new(),
            written,
        };
        let full = self.walk(value, &mut Vec::new(), &mut found);
        if found.problems.is_empty() {
            Ok(full)
        } else {
            Err(found.problems)
        }
    }

    fn walk(&self, value: &Value, path: &mut Vec<PathSeg>, out: &mut Found<'_>) -> Value {
        let empty = Map::new();
        let given = match value {
            Value::Object(m) => m,
            Value::Null => &empty,
            other => {
                let found = out.describe(path, other);
                let message = format!("expected a mapping, found {found}");
                report(path, out, message, None);
                return Value::Null;
            }
        };
        for key in given.keys() {
            let known = self.fields.iter().find(|f| f.name == key);
            let refused = known.and_then(|f| f.refused);
            if known.is_some() && refused.is_none() {
                continue;
            }
            path.push(PathSeg::Key(key.clone()));
            let (message, hint) = match refused {
                Some(instead) => (format!("`{key}` is not set here"), Some(instead.to_owned())),
                None => (
                    format!("unknown key `{key}`"),
                    Some(self.near(key).map_or_else(
                        || format!("known keys: {}", self.names().join(", ")),
                        |n| format!("did you mean `{n}`?"),
                    )),
                ),
            };
            out.problems.push(Problem {
                path: path.clone(),
                message,
                hint,
                on_key: true,
            });
            path.pop();
        }
        let mut full = Map::new();
        for f in self.fields.iter().filter(|f| f.refused.is_none()) {
            path.push(PathSeg::Key(f.name.to_owned()));
            match (given.get(f.name), &f.default) {
                (Some(v), default) => {
                    let v = check(&f.ty, v, path, out, f.limit);
                    if f.fixed && default.as_ref().is_some_and(|d| *d != v) {
                        let only = default.as_ref().map(show).unwrap_or_default();
                        report(
                            path,
                            out,
                            format!("`{}: {}` is not implemented yet", f.name, show(&v)),
                            Some(format!("only {only} works so far")),
                        );
                    }
                    full.insert(f.name.to_owned(), v);
                }
                (None, Some(default)) => {
                    let v = match &f.ty {
                        // A group's own members carry the defaults (and may be required).
                        Type::Object(s) => s.walk(default, path, out),
                        _ => default.clone(),
                    };
                    full.insert(f.name.to_owned(), v);
                }
                (None, None) => {
                    path.pop();
                    report(
                        path,
                        out,
                        format!("missing key `{}`", f.name),
                        Some(format!("{}: {}", f.ty.describe(), f.about)),
                    );
                    continue;
                }
            }
            path.pop();
        }
        Value::Object(full)
    }

    /// A warning for each parameter that a valid mapping sets and that will go.
    pub fn deprecated(&self, given: &Value) -> Vec<Problem> {
        let mut out = Vec::new();
        self.find_deprecated(given, &mut Vec::new(), &mut out);
        out
    }

    fn find_deprecated(&self, given: &Value, path: &mut Vec<PathSeg>, out: &mut Vec<Problem>) {
        for f in &self.fields {
            let Some(value) = given.get(f.name) else {
                continue;
            };
            path.push(PathSeg::Key(f.name.to_owned()));
            if let Some(instead) = f.deprecated {
                out.push(Problem {
                    path: path.clone(),
                    message: format!("`{}` is deprecated: a later version refuses it", f.name),
                    hint: Some(instead.to_owned()),
                    on_key: true,
                });
            }
            find_deprecated(&f.ty, value, path, out);
            path.pop();
        }
    }

    fn names(&self) -> Vec<&'static str> {
        let fields = self.fields.iter();
        let proper = fields.filter(|f| f.refused.is_none() && f.deprecated.is_none());
        proper.map(|f| f.name).collect()
    }

    fn near(&self, key: &str) -> Option<&'static str> {
        nearest(key, self.names())
    }

    /// The part of validated parameters that can change the result, for the stage's key.
    pub fn effective(&self, full: &Value) -> Value {
        let Value::Object(map) = full else {
            return full.clone();
        };
        let kept = self
            .fields
            .iter()
            .filter(|f| f.effect == Effect::Result)
            .filter_map(|f| {
                let v = map.get(f.name)?;
                let left_out = f.later && f.is_default(v);
                (!left_out).then(|| (f.name.to_owned(), effective_value(&f.ty, v)))
            })
            .collect();
        Value::Object(kept)
    }

    /// Every leaf with its dotted path, for documentation and for tests that flip parameters.
    pub fn leaves(&self) -> Vec<(String, &Field)> {
        let mut out = Vec::new();
        collect(self, "", &mut out);
        out
    }
}

/// Looks into what a value of a type is made of.
fn find_deprecated(ty: &Type, value: &Value, path: &mut Vec<PathSeg>, out: &mut Vec<Problem>) {
    match (ty, value) {
        (Type::Object(schema) | Type::WordsOr { schema, .. }, Value::Object(_)) => {
            schema.find_deprecated(value, path, out);
        }
        (Type::Nullable(ty), value) => find_deprecated(ty, value, path, out),
        (Type::List { item, .. }, Value::Array(values)) => {
            for (i, value) in values.iter().enumerate() {
                path.push(PathSeg::Index(i));
                find_deprecated(item, value, path, out);
                path.pop();
            }
        }
        (Type::Map { value: ty, .. }, Value::Object(values)) => {
            for (key, value) in values {
                path.push(PathSeg::Key(key.clone()));
                find_deprecated(ty, value, path, out);
                path.pop();
            }
        }
        _ => {}
    }
}

fn collect<'a>(schema: &'a Schema, prefix: &str, out: &mut Vec<(String, &'a Field)>) {
    for f in &schema.fields {
        let path = if prefix.is_empty() {
            f.name.to_owned()
        } else {
            format!("{prefix}.{}", f.name)
        };
        match &f.ty {
            Type::Object(s) => collect(s, &path, out),
            Type::List { item, .. } if matches!(**item, Type::Object(_)) => {
                if let Type::Object(s) = &**item {
                    collect(s, &format!("{path}[]"), out);
                }
            }
            _ => out.push((path, f)),
        }
    }
}

fn effective_value(ty: &Type, v: &Value) -> Value {
    match (ty, v) {
        (Type::Object(schema) | Type::WordsOr { schema, .. }, v) => schema.effective(v),
        (Type::List { item, .. }, Value::Array(items)) => {
            Value::Array(items.iter().map(|i| effective_value(item, i)).collect())
        }
        (Type::Nullable(inner), v) if !v.is_null() => effective_value(inner, v),
        _ => v.clone(),
    }
}

#[cfg(test)]
mod tests;
