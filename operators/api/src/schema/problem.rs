//! Problems with parameters: what is wrong with a value, and where it was written.

use std::fmt::Write as _;

use serde_json::Value;

/// A step into a parameter tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathSeg {
    /// A key of a mapping.
    Key(String),
    /// An item of a list.
    Index(usize),
}

/// Writes a path as text, such as `task.losses[0].cfg.weight`.
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

    /// Adds a hint: what to do about it.
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

/// Problems found so far, and a function that returns how a value was written in the file.
pub(super) struct Found<'a> {
    pub problems: Vec<Problem>,
    pub written: &'a dyn Fn(&[PathSeg]) -> Option<AsWritten>,
}

pub(super) fn report(path: &[PathSeg], out: &mut Found<'_>, message: String, hint: Option<String>) {
    out.problems.push(Problem {
        path: path.to_vec(),
        message,
        hint,
        on_key: false,
    });
}

impl Found<'_> {
    /// Describes a value for messages.
    pub fn describe(&self, path: &[PathSeg], v: &Value) -> String {
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

    /// Whether a value is written in the file as it is read; also true where the written form is
    /// unknown.
    pub fn reads_as(&self, path: &[PathSeg], v: &Value) -> bool {
        let read = v.to_string();
        (self.written)(path).is_none_or(|w| w.text == read)
    }

    /// A hint for a number or a boolean that should be text. The hint shows the value in quotes
    /// only where the written form (007) is known, because the value that was read (7) may not be
    /// what was meant.
    pub fn quote(&self, path: &[PathSeg]) -> String {
        match (self.written)(path) {
            Some(w) => format!("write it in quotes: {}", w.quoted),
            None => "write it in quotes".to_owned(),
        }
    }
}

pub(super) fn show(v: &Value) -> String {
    match v {
        Value::String(s) => s.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}
