//! Parameter schemas: validation with every problem at once, defaults, documentation, and what enters a stage's key.
//!
//! A schema is data, written next to the operator's parameter struct. The engine validates the pipeline's tree against it
//! (so that it can point at file, line and column), fills in defaults, and only then deserializes. Invariant: a value that
//! [`Schema::normalize`] accepted deserializes into the operator's parameters; a test per operator holds this.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Whether a parameter can change the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It can: it enters the stage's key.
    Result,
    /// It cannot (logging, timeouts, batch sizes of pure functions): a change reruns nothing.
    None,
}

/// A step into a parameter tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathSeg {
    /// A key of a mapping.
    Key(String),
    /// An item of a list.
    Index(usize),
}

/// A path written as `task.losses[0].cfg.weight`.
pub fn path_text(path: &[PathSeg]) -> String {
    let mut out = String::new();
    for seg in path {
        match seg {
            PathSeg::Key(k) if out.is_empty() => out.push_str(k),
            PathSeg::Key(k) => {
                out.push('.');
                out.push_str(k);
            }
            // Writing to a String cannot fail.
            PathSeg::Index(i) => drop(write!(out, "[{i}]")),
        }
    }
    out
}

/// Something wrong with a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, from the root of the parameters.
    pub path: Vec<PathSeg>,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether the key itself is at fault (unknown, refused) rather than its value.
    pub on_key: bool,
}

impl Problem {
    /// A problem with the parameters as a whole.
    pub fn at_root(message: impl Into<String>) -> Self {
        Problem {
            path: Vec::new(),
            message: message.into(),
            hint: None,
            on_key: false,
        }
    }

    /// A problem at a dotted path of keys (`task.num_negative`).
    pub fn at(path: &str, message: impl Into<String>) -> Self {
        Problem {
            path: path
                .split('.')
                .map(|k| PathSeg::Key(k.to_owned()))
                .collect(),
            ..Problem::at_root(message)
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// How the user wrote a value, for messages: `007` is the number 7, but the user knows it as `007`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsWritten {
    /// The value as it is written in the file.
    pub text: String,
    /// What to write there instead so that it is read as text.
    pub quoted: String,
}

/// Problems found so far, and how to say what was found.
struct Found<'a> {
    problems: Vec<Problem>,
    written: &'a dyn Fn(&[PathSeg]) -> Option<AsWritten>,
}

/// Type of a parameter.
#[derive(Debug, Clone)]
pub enum Type {
    /// true/false; yes/no and on/off are read too.
    Bool,
    /// A whole number within bounds.
    Int {
        /// Smallest allowed value.
        min: i64,
        /// Largest allowed value.
        max: i64,
    },
    /// A number within bounds.
    Float {
        /// Smallest allowed value.
        min: f64,
        /// Largest allowed value.
        max: f64,
    },
    /// Text.
    Text,
    /// A word of a command line: text, or a whole number.
    Word,
    /// A path, relative to the working directory of the run.
    Path,
    /// One of a few words.
    OneOf {
        /// Words that work, in order of documentation.
        words: &'static [&'static str],
        /// Words that mean something but do not work yet: refused by name.
        planned: &'static [&'static str],
    },
    /// One of a few words, or a mapping.
    WordsOr {
        /// Words that work.
        words: &'static [&'static str],
        /// What the mapping holds.
        schema: Schema,
    },
    /// Text of a form a function knows.
    Form {
        /// The form, for documentation and messages.
        form: &'static str,
        /// Gives what is wrong.
        check: fn(&str) -> Result<(), String>,
    },
    /// A list.
    List {
        /// Type of an item.
        item: Box<Type>,
        /// Smallest number of items.
        min: usize,
    },
    /// A mapping.
    Object(Schema),
    /// A mapping whose keys the user chooses.
    Map {
        /// Form of a key, for documentation and messages.
        key: &'static str,
        /// Whether a text is one.
        check: fn(&str) -> bool,
        /// Type of a value.
        value: Box<Type>,
    },
    /// The type or null.
    Nullable(Box<Type>),
}

impl Type {
    /// A whole number of at least `min`.
    pub fn int(min: i64) -> Type {
        Type::Int { min, max: i64::MAX }
    }

    /// A number of at least `min`.
    pub fn float(min: f64) -> Type {
        Type::Float {
            min,
            max: f64::INFINITY,
        }
    }

    /// One of a few words.
    pub fn one_of(words: &'static [&'static str]) -> Type {
        Type::OneOf {
            words,
            planned: &[],
        }
    }

    /// A list of at least one item.
    pub fn list(item: Type) -> Type {
        Type::List {
            item: Box::new(item),
            min: 1,
        }
    }

    /// The type or null.
    #[must_use]
    pub fn or_null(self) -> Type {
        Type::Nullable(Box::new(self))
    }

    /// Sets the largest allowed number.
    fn bound(&mut self, most: f64) {
        match self {
            Type::Int { max, .. } => *max = most as i64,
            Type::Float { max, .. } => *max = most,
            Type::Nullable(inner) | Type::List { item: inner, .. } => inner.bound(most),
            _ => {}
        }
    }

    /// Whether it is a number without an upper bound, or holds some.
    pub fn unbounded(&self) -> bool {
        match self {
            Type::Int { max, .. } => *max == i64::MAX,
            Type::Float { max, .. } => !max.is_finite(),
            Type::Nullable(inner) | Type::List { item: inner, .. } => inner.unbounded(),
            _ => false,
        }
    }

    /// For messages and documentation.
    pub fn describe(&self) -> String {
        match self {
            Type::Bool => "yes or no".to_owned(),
            Type::Int { min, max } => match (*min, *max) {
                (i64::MIN, i64::MAX) => "a whole number".to_owned(),
                (min, i64::MAX) => format!("a whole number, at least {min}"),
                (min, max) => format!("a whole number from {min} to {max}"),
            },
            Type::Float { min, max } => match (min.is_finite(), max.is_finite()) {
                (false, false) => "a number".to_owned(),
                (true, false) => format!("a number, at least {min}"),
                (false, true) => format!("a number, at most {max}"),
                (true, true) => format!("a number from {min} to {max}"),
            },
            Type::Text => "text".to_owned(),
            Type::Word => "text or a whole number".to_owned(),
            Type::Path => "a path".to_owned(),
            Type::OneOf { words, .. } => words.join(" | "),
            Type::WordsOr { words, schema } => {
                format!("{} | {{{}}}", words.join(" | "), schema.names().join(", "))
            }
            Type::Form { form, .. } => (*form).to_owned(),
            Type::List { item, .. } => format!("a list of: {}", item.describe()),
            Type::Object(_) => "a mapping".to_owned(),
            Type::Map { key, value, .. } => format!("a mapping of {key} to {}", value.describe()),
            Type::Nullable(inner) => format!("{} or null", inner.describe()),
        }
    }
}

/// A parameter.
#[derive(Debug, Clone)]
pub struct Field {
    /// Key.
    pub name: &'static str,
    /// Type.
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
    /// A key that is known but works with its default only so far.
    pub fixed: bool,
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

    /// A group of parameters; its defaults are its members'.
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

    /// A number of at most `max`, and why (a list's items, where it is one).
    #[must_use]
    pub fn at_most(mut self, max: f64, why: &'static str) -> Self {
        self.ty.bound(max);
        self.limit = Some(why);
        self
    }

    /// What it means, with the reason of its upper bound.
    pub fn meaning(&self) -> String {
        match self.limit {
            Some(why) => format!("{}. Bounded: {why}", self.about),
            None => self.about.to_owned(),
        }
    }

    /// The parameter cannot change the result.
    #[must_use]
    pub fn no_effect(mut self) -> Self {
        self.effect = Effect::None;
        self
    }

    /// Other values than the default mean something but do not work yet: they are refused by name, never ignored.
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

    /// As [`Schema::normalize`], with messages that show values as `written` knows them.
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

    fn names(&self) -> Vec<&'static str> {
        self.fields
            .iter()
            .filter(|f| f.refused.is_none())
            .map(|f| f.name)
            .collect()
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
                Some((f.name.to_owned(), effective_value(&f.ty, v)))
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

fn report(path: &[PathSeg], out: &mut Found<'_>, message: String, hint: Option<String>) {
    out.problems.push(Problem {
        path: path.to_vec(),
        message,
        hint,
        on_key: false,
    });
}

impl Found<'_> {
    /// A value, for messages.
    fn describe(&self, path: &[PathSeg], v: &Value) -> String {
        let shown = || (self.written)(path).map_or_else(|| v.to_string(), |w| w.text);
        match v {
            Value::Null => "nothing".to_owned(),
            Value::Bool(_) => format!("`{}`", shown()),
            Value::Number(_) => format!("the number {}", shown()),
            Value::String(s) => format!("the text \"{}\"", s.chars().take(60).collect::<String>()),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "a mapping".to_owned(),
        }
    }

    /// Whether a value is written as it is read, as far as anybody knows.
    fn reads_as(&self, path: &[PathSeg], v: &Value) -> bool {
        let read = v.to_string();
        (self.written)(path).is_none_or(|w| w.text == read)
    }

    /// What to do where a number or a boolean should be text. What it is read as (7) is not what
    /// was meant (007), so nothing is quoted where the written form is not known.
    fn quote(&self, path: &[PathSeg]) -> String {
        match (self.written)(path) {
            Some(w) => format!("write it in quotes: {}", w.quoted),
            None => "write it in quotes".to_owned(),
        }
    }
}

fn show(v: &Value) -> String {
    match v {
        Value::String(s) => s.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}

/// Whether a text may name something in a pipeline: a letter, then up to 99 letters, digits, `_` and `-`. Such a name is a file's
/// name everywhere.
pub fn is_name(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    starts && text.len() <= 100 && text.chars().all(rest)
}

/// A switch as any reader of YAML leaves it: a boolean, or one of the words yes, no, on, off, true, false.
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

/// The candidate nearest to a mistyped word, if one is near enough to be meant.
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

/// Checks a value; `limit` is why a number may not be larger.
fn check(
    ty: &Type,
    v: &Value,
    path: &mut Vec<PathSeg>,
    out: &mut Found<'_>,
    limit: Option<&'static str>,
) -> Value {
    let wrong = |path: &[PathSeg], out: &mut Found<'_>, hint: Option<String>| {
        let found = out.describe(path, v);
        let message = format!("expected {}, found {found}", ty.describe());
        report(path, out, message, hint);
        Value::Null
    };
    match (ty, v) {
        (Type::Nullable(_), Value::Null) => Value::Null,
        (Type::Nullable(inner), v) => check(inner, v, path, out, limit),
        (Type::Bool, v) => as_switch(v).map_or_else(|| wrong(path, out, None), Value::Bool),
        (Type::Int { min, max }, Value::Number(n)) => match n.as_i64() {
            Some(i) if i >= *min && i <= *max => v.clone(),
            // Whole numbers that do not fit 64 bits arrive as floating-point ones.
            _ if n.as_f64().is_some_and(|x| x > *max as f64) => {
                wrong(path, out, limit.map(str::to_owned))
            }
            _ => wrong(path, out, None),
        },
        (Type::Float { min, max }, Value::Number(n)) => match n.as_f64() {
            // Adding zero makes 0 of -0: the same number, so that both give the same key.
            Some(x) if x >= *min && x <= *max => Value::from(x + 0.0),
            Some(x) if x > *max => wrong(path, out, limit.map(str::to_owned)),
            _ => wrong(path, out, None),
        },
        (Type::Word, Value::String(_)) => v.clone(),
        (Type::Word, Value::Number(n)) if n.is_i64() && out.reads_as(path, v) => {
            Value::String(v.to_string())
        }
        // 0755 would become 755, 3.10 would become 3.1, and `True` true.
        (Type::Word, Value::Number(_) | Value::Bool(_)) => {
            let hint = out.quote(path) + ", or as part of a word: \"--x={{ x }}\"";
            wrong(path, out, Some(hint))
        }
        (Type::Text | Type::Path, Value::String(s)) => {
            if matches!(ty, Type::Path) && s.is_empty() {
                return wrong(path, out, None);
            }
            v.clone()
        }
        (Type::Text | Type::Path, Value::Number(_) | Value::Bool(_)) => {
            let hint = out.quote(path);
            wrong(path, out, Some(hint))
        }
        (Type::OneOf { words, planned }, Value::String(s)) => {
            if words.contains(&s.as_str()) {
                v.clone()
            } else if planned.contains(&s.as_str()) {
                report(
                    path,
                    out,
                    format!("`{s}` is not implemented yet"),
                    Some(format!("works so far: {}", words.join(", "))),
                );
                Value::Null
            } else {
                wrong(
                    path,
                    out,
                    nearest(s, words.iter().copied()).map(|n| format!("did you mean `{n}`?")),
                )
            }
        }
        (Type::WordsOr { words, .. }, Value::String(s)) => {
            if words.contains(&s.as_str()) {
                v.clone()
            } else {
                let near = nearest(s, words.iter().copied());
                wrong(path, out, near.map(|n| format!("did you mean `{n}`?")))
            }
        }
        (Type::WordsOr { schema, .. }, Value::Object(_)) => schema.walk(v, path, out),
        (Type::Form { check, .. }, Value::String(s)) => match check(s) {
            Ok(()) => v.clone(),
            Err(why) => {
                report(path, out, why, None);
                Value::Null
            }
        },
        (Type::List { item, min }, Value::Array(items)) => {
            if items.len() < *min {
                return wrong(path, out, Some(format!("give at least {min}")));
            }
            let items = items
                .iter()
                .enumerate()
                .map(|(i, v)| {
                    path.push(PathSeg::Index(i));
                    let v = check(item, v, path, out, limit);
                    path.pop();
                    v
                })
                .collect();
            Value::Array(items)
        }
        (Type::Object(s), Value::Object(_) | Value::Null) => s.walk(v, path, out),
        (Type::Map { .. }, Value::Null) => Value::Object(Map::new()),
        (
            Type::Map {
                key,
                check: is_key,
                value,
            },
            Value::Object(given),
        ) => {
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
        _ => wrong(path, out, None),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn schema() -> Schema {
        Schema::new(vec![
            Field::required("path", Type::Path, "where"),
            Field::new("seed", Type::int(0), 1024, "seed"),
            Field::new("log_interval", Type::int(1), 100, "steps").no_effect(),
            Field::group(
                "task",
                Schema::new(vec![
                    Field::new("strict", Type::Bool, true, "strict"),
                    Field::new("rate", Type::float(0.0), 0.5, "rate"),
                    Field::new("fixed", Type::Bool, false, "later").only_default(),
                ]),
                "task",
            ),
            Field::refused("hydra", "the store is the output folder"),
        ])
    }

    #[test]
    fn defaults_are_filled_in_and_words_become_booleans() {
        let full = schema()
            .normalize(&json!({"path": "a", "task": {"strict": "no", "rate": 1}}))
            .unwrap();
        assert_eq!(
            full,
            json!({"path": "a", "seed": 1024, "log_interval": 100,
                   "task": {"strict": false, "rate": 1.0, "fixed": false}})
        );
    }

    #[test]
    fn all_problems_come_at_once() {
        let problems = schema()
            .normalize(
                &json!({"seeed": 3, "seed": -1, "hydra": {}, "task": {"rate": "x", "fixed": true}}),
            )
            .unwrap_err();
        let text: Vec<String> = problems
            .iter()
            .map(|p| {
                format!(
                    "{}: {} ({})",
                    path_text(&p.path),
                    p.message,
                    p.hint.clone().unwrap_or_default()
                )
            })
            .collect();
        assert_eq!(
            text,
            [
                "seeed: unknown key `seeed` (did you mean `seed`?)",
                "hydra: `hydra` is not set here (the store is the output folder)",
                ": missing key `path` (a path: where)",
                "seed: expected a whole number, at least 0, found the number -1 ()",
                "task.rate: expected a number, at least 0, found the text \"x\" ()",
                "task.fixed: `fixed: yes` is not implemented yet (only no works so far)",
            ]
        );
    }

    #[test]
    fn a_few_words_or_a_mapping() {
        let pieces = Schema::new(vec![
            Field::required("tokens", Type::int(1), "length"),
            Field::new("overlap", Type::int(0), 0, "overlap").no_effect(),
        ]);
        let words = &["none", "paragraphs"];
        let ty = Type::WordsOr {
            words,
            schema: pieces,
        };
        assert_eq!(ty.describe(), "none | paragraphs | {tokens, overlap}");
        let s = Schema::new(vec![Field::new("split", ty, "none", "pieces")]);
        let full = |v: Value| s.normalize(&json!({"split": v}));
        assert_eq!(s.normalize(&json!({})).unwrap(), json!({"split": "none"}));
        assert_eq!(
            full(json!("paragraphs")).unwrap(),
            json!({"split": "paragraphs"})
        );
        let given = full(json!({"tokens": 9})).unwrap();
        assert_eq!(given, json!({"split": {"tokens": 9, "overlap": 0}}));
        assert_eq!(s.effective(&given), json!({"split": {"tokens": 9}}));
        for (wrong, path, hint) in [
            (
                json!("paragraph"),
                "split",
                Some("did you mean `paragraphs`?"),
            ),
            (json!(3), "split", None),
            (json!(null), "split", None),
            (json!({"tokens": 0}), "split.tokens", None),
            (
                json!({"tokens": 1, "overlaps": 1}),
                "split.overlaps",
                Some("did you mean `overlap`?"),
            ),
        ] {
            let problems = full(wrong).unwrap_err();
            assert_eq!(path_text(&problems[0].path), path);
            assert_eq!(problems[0].hint.as_deref(), hint);
        }
    }

    #[test]
    fn a_mapping_of_the_users_own_keys() {
        let s = Schema::new(vec![Field::new(
            "env",
            Type::Map {
                key: "a NAME",
                check: |k| k.chars().all(|c| c.is_ascii_uppercase()),
                value: Box::new(Type::Text),
            },
            json!({}),
            "variables",
        )]);
        let full = s.normalize(&json!({"env": {"A": "x", "B": "y"}})).unwrap();
        assert_eq!(full, json!({"env": {"A": "x", "B": "y"}}));
        assert_eq!(s.normalize(&json!({})).unwrap(), json!({"env": {}}));
        let problems = s
            .normalize(&json!({"env": {"a": "x", "B": 1}}))
            .unwrap_err();
        let text: Vec<String> = problems
            .iter()
            .map(|p| format!("{}: {}", path_text(&p.path), p.message))
            .collect();
        assert_eq!(
            text,
            [
                "env.a: expected a NAME, found `a`",
                "env.B: expected text, found the number 1",
            ]
        );
    }

    #[test]
    fn what_is_quoted_is_what_was_written() {
        let s = Schema::new(vec![
            Field::new("a", Type::Text, "", "a"),
            Field::new("b", Type::Word, "", "b"),
            Field::new("c", Type::Int { min: 0, max: 9 }, 0, "c"),
        ]);
        let written = |path: &[PathSeg]| {
            let text = match path_text(path).as_str() {
                "a" => "007",
                "b" => "0755",
                _ => "99999999999999999999",
            };
            Some(AsWritten {
                text: text.to_owned(),
                quoted: format!("\"{text}\""),
            })
        };
        let value = json!({"a": 7, "b": 755, "c": 1e20});
        let told = |problems: Vec<Problem>| -> Vec<String> {
            let text = |p: Problem| format!("{} ({})", p.message, p.hint.unwrap_or_default());
            problems.into_iter().map(text).collect()
        };
        assert_eq!(
            told(s.normalize_written(&value, &written).unwrap_err()),
            [
                "expected text, found the number 007 (write it in quotes: \"007\")",
                "expected text or a whole number, found the number 0755 (write it in quotes: \
                 \"0755\", or as part of a word: \"--x={{ x }}\")",
                "expected a whole number from 0 to 9, found the number 99999999999999999999 ()",
            ]
        );
        // Where the written form is not known, no quotes are added.
        assert_eq!(
            told(s.normalize(&json!({"a": true})).unwrap_err()),
            ["expected text, found `true` (write it in quotes)"]
        );
        assert_eq!(s.normalize(&json!({"b": 755})).unwrap()["b"], "755");
    }

    #[test]
    fn zero_has_no_sign() {
        let s = Schema::new(vec![Field::new("lr", Type::float(0.0), 0.1, "")]);
        let text = |v: Value| s.normalize(&json!({"lr": v})).unwrap().to_string();
        assert_eq!(text(json!(-0.0)), r#"{"lr":0.0}"#);
        assert_eq!(text(json!(0)), r#"{"lr":0.0}"#);
    }

    #[test]
    fn names_are_names_of_files_too() {
        for yes in ["triples", "a-1", "B_2"] {
            assert!(is_name(yes), "{yes}");
        }
        for no in ["", "..", "a/b", "1a", "a b", "ä", "a.b"] {
            assert!(!is_name(no), "{no}");
        }
    }

    #[test]
    fn numbers_that_are_too_large_are_refused_with_the_reason() {
        let s = Schema::new(vec![
            Field::new("n", Type::int(1), 8, "rows").at_most(1000.0, "each row is a state"),
            Field::new("rate", Type::float(0.0).or_null(), 0.1, "rate").at_most(1.0, "a share"),
            Field::new("dims", Type::list(Type::int(1)), json!([1]), "widths")
                .at_most(64.0, "memory grows with the square"),
        ]);
        let said = |value: Value| -> Vec<String> {
            let problems = s.normalize(&value).unwrap_err();
            let said = problems.iter().map(|p| {
                let hint = p.hint.as_deref().unwrap_or_default();
                format!("{}: {} ({hint})", path_text(&p.path), p.message)
            });
            said.collect()
        };
        assert_eq!(
            said(json!({"n": 10_000_000_000_000i64, "rate": 2, "dims": [8, 65]})),
            [
                "n: expected a whole number from 1 to 1000, found the number 10000000000000 (each row is a state)",
                "rate: expected a number from 0 to 1, found the number 2 (a share)",
                "dims[1]: expected a whole number from 1 to 64, found the number 65 (memory grows with the square)",
            ]
        );
        // One that is too small has another reason.
        assert_eq!(
            said(json!({"n": 0})),
            ["n: expected a whole number from 1 to 1000, found the number 0 ()"]
        );
        assert!(said(json!({"n": 1e30}))[0].ends_with("(each row is a state)"));
        s.normalize(&json!({"n": 1000, "rate": null, "dims": [64]}))
            .unwrap();
        assert_eq!(s.fields[0].meaning(), "rows. Bounded: each row is a state");
        assert!(Type::list(Type::float(0.0)).unbounded() && !s.fields[2].ty.unbounded());
    }

    #[test]
    fn parameters_without_effect_stay_out_of_the_key() {
        let s = schema();
        let full = s.normalize(&json!({"path": "a"})).unwrap();
        let kept = s.effective(&full);
        assert!(kept.get("log_interval").is_none());
        assert_eq!(kept.get("seed"), Some(&json!(1024)));
    }
}
