//! `foreach` and `matrix`: one stage as written becomes several, one for each value or each
//! combination of values.
//!
//! Invariant: a stage made here is called `NAME[LABEL]` (`NAME[A,B]` for two names), its labels are
//! unique in the pipeline, and the stages come in the order in which the values are declared, with
//! the last name varying fastest.

use serde_json::Value;

use super::MAX_STAGES;
use super::error::Mistake;
use super::node::{Entry, near, quote};
use super::source::Span;
use super::templates::{Vars, bad_name};

/// A name with the value it has inside one stage, and how that value is written in the stage's
/// name.
#[derive(Debug, Clone)]
pub(super) struct Bound {
    pub name: String,
    pub value: Value,
    pub label: String,
    /// Where the values are written.
    pub span: Span,
}

/// Compares names and values only: siblings have the same values, wherever these are written.
impl PartialEq for Bound {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.value == other.value && self.label == other.label
    }
}

/// The names of `foreach` or `matrix` with their values in one stage; empty for a stage without
/// either.
pub(super) type Scope = Vec<Bound>;

/// The name of a stage made for these values.
pub(super) fn instance_name(base: &str, scope: &Scope) -> String {
    if scope.is_empty() {
        return base.to_owned();
    }
    let labels: Vec<&str> = scope.iter().map(|b| b.label.as_str()).collect();
    format!("{base}[{}]", labels.join(","))
}

/// The name of a stage as it is written before `.PORT`: `NAME`, `NAME[A]`, `NAME[A,B]`, `NAME[*]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StageName<'a> {
    pub base: &'a str,
    /// The labels between the brackets; `None` where there are no brackets.
    pub labels: Option<Vec<&'a str>>,
}

impl<'a> StageName<'a> {
    /// Returns `None` when the brackets are not closed, or when something follows them. Spaces
    /// around labels are ignored.
    pub fn parse(text: &'a str) -> Option<Self> {
        let Some((base, rest)) = text.split_once('[') else {
            let labels = None;
            return (!text.contains(']')).then_some(StageName { base: text, labels });
        };
        let inner = rest.strip_suffix(']')?;
        if inner.contains(['[', ']']) {
            return None;
        }
        Some(StageName {
            base,
            labels: Some(inner.split(',').map(str::trim).collect()),
        })
    }

    /// Whether the name matches a stage with these labels: `*` matches any label, and `*` alone any
    /// number of them.
    pub fn takes(&self, other: &[&str]) -> bool {
        match self.labels.as_deref() {
            None => other.is_empty(),
            Some(["*"]) => !other.is_empty(),
            Some(labels) => {
                labels.len() == other.len()
                    && labels.iter().zip(other).all(|(l, o)| *l == "*" || l == o)
            }
        }
    }

    /// Whether the name may match several stages.
    pub fn is_pattern(&self) -> bool {
        let labels = self.labels.as_deref().unwrap_or_default();
        labels.contains(&"*")
    }
}

/// Splits `STAGE.PORT…` after the stage: a dot inside brackets belongs to a label.
pub(crate) fn split_port(text: &str) -> (&str, Option<&str>) {
    let from = match text.split_once('[') {
        // A bracket after the first dot is not part of the stage's name.
        Some((before, _)) if !before.contains('.') => text.find(']').unwrap_or(0),
        _ => 0,
    };
    match text[from..].find('.') {
        Some(at) => (&text[..from + at], Some(&text[from + at + 1..])),
        None => (text, None),
    }
}

/// Splits a list of stages at its commas. A comma inside brackets belongs to a name, as in
/// `fit[a,0.001]`.
pub(crate) fn split_names(text: &str) -> Vec<&str> {
    let mut open = false;
    text.split(move |c: char| {
        match c {
            '[' => open = true,
            ']' => open = false,
            _ => {}
        }
        c == ',' && !open
    })
    .map(str::trim)
    .collect()
}

/// Whether a text is allowed as a label between the brackets of a stage's name.
pub(super) fn is_label(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+');
    !text.is_empty() && text.len() <= 100 && text.chars().all(fits)
}

const FOREACH: &str = "foreach: {NAME: [VALUE, VALUE]}; several names: matrix";
const MATRIX: &str = "matrix: {NAME: [VALUE, VALUE], NAME: [VALUE, VALUE]}";

/// The scopes of the stages that a body makes: one empty scope where it has neither `foreach` nor
/// `matrix`. Returns `None`, and reports why, when they cannot be determined.
pub(super) fn scopes(
    body: &[Entry],
    vars: &Vars,
    mistakes: &mut Vec<Mistake>,
) -> Option<Vec<Scope>> {
    let get = |key: &str| body.iter().find(|e| e.key.text == key);
    let (entry, form) = match (get("foreach"), get("matrix")) {
        (None, None) => return Some(vec![Vec::new()]),
        (Some(e), None) => (e, FOREACH),
        (None, Some(e)) => (e, MATRIX),
        (Some(_), Some(e)) => {
            mistakes.push(
                Mistake::new(e.key.span, "a stage has either `foreach` or `matrix`")
                    .hint("put all names under `matrix`"),
            );
            return None;
        }
    };
    let key = entry.key.text.as_str();
    let names = match entry.value.entries() {
        Some(names) if !names.is_empty() && (key == "matrix" || names.len() == 1) => names,
        Some(names) => {
            let message = match names.len() {
                0 => format!("`{key}` names nothing"),
                n => format!("`foreach` goes over one name, found {n}"),
            };
            if !entry.value.flawed {
                mistakes.push(Mistake::new(entry.point(), message).hint(form));
            }
            return None;
        }
        None => {
            let message = format!("`{key}` is a mapping, found {}", entry.value.found());
            mistakes.push(Mistake::new(entry.point(), message).hint(form));
            return None;
        }
    };
    let mut axes = Vec::new();
    let mut stages = 1usize;
    for e in names {
        let values = values(e, vars, mistakes)?;
        stages = stages.saturating_mul(values.len());
        axes.push(values);
    }
    if stages > MAX_STAGES {
        let message = format!("`{key}` makes more than {MAX_STAGES} stages");
        mistakes.push(Mistake::new(entry.key.span, message));
        return None;
    }
    let mut out: Vec<Scope> = vec![Vec::new()];
    for axis in axes {
        out = out
            .iter()
            .flat_map(|scope| {
                axis.iter().map(|bound| {
                    let mut scope = scope.clone();
                    scope.push(bound.clone());
                    scope
                })
            })
            .collect();
    }
    Some(out)
}

/// The values of one name.
fn values(e: &Entry, vars: &Vars, mistakes: &mut Vec<Mistake>) -> Option<Scope> {
    let name = e.key.text.as_str();
    let mut wrong = |message: String, hint: &str| {
        mistakes.push(Mistake::new(e.key.span, message).hint(hint));
        None
    };
    if let Some((what, hint)) = bad_name(name) {
        return wrong(format!("`{}` {what}", quote(name)), hint);
    }
    if vars.declares(name) {
        let hint = "inside the stage one of them would hide the other: take another name";
        return wrong(format!("`{name}` is a variable of the pipeline too"), hint);
    }
    let rendered = vars.render(e, false, mistakes);
    if !rendered.broken.is_empty() || !rendered.flawed.is_empty() {
        return None;
    }
    let mut out: Scope = Vec::new();
    let mut wrong = |message: String, hint: &str| {
        mistakes.push(Mistake::new(e.point(), message).hint(hint));
        None
    };
    let items = match rendered.value {
        Value::Array(items) if !items.is_empty() => items,
        Value::Array(_) => return wrong(format!("`{name}` has no values"), FOREACH),
        _ => {
            let message = format!(
                "the values of `{name}` are a list, found {}",
                e.value.found()
            );
            return wrong(message, FOREACH);
        }
    };
    for value in items {
        let label = match &value {
            Value::String(s) => s.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            other => {
                let message = format!("a value of `{name}` is {other}");
                return wrong(message, "values are texts, numbers or booleans");
            }
        };
        if !is_label(&label) {
            return wrong(
                format!("`{}` cannot be part of a stage's name", quote(&label)),
                "letters, digits, `_`, `-`, `+` and `.`; put what does not fit (a path, say) into a template: \"data/{{ NAME }}\"",
            );
        }
        if out.iter().any(|b| b.label == label) {
            return wrong(
                format!("`{name}` has the value `{label}` twice"),
                "each value makes one stage: leave one out",
            );
        }
        out.push(Bound {
            name: name.to_owned(),
            value,
            label,
            span: e.point(),
        });
    }
    Some(out)
}

/// A hint: what to write instead of labels that match no stage.
pub(super) fn instead_of(base: &str, given: &str, known: &[String]) -> String {
    match near(given, known.iter().map(String::as_str)) {
        Some(n) => format!("did you mean `{base}[{n}]`?"),
        None => {
            let all: Vec<String> = known.iter().map(|k| format!("`{base}[{k}]`")).collect();
            format!("there are {}", all.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_dot_inside_brackets_belongs_to_the_label() {
        for (text, stage, port) in [
            ("kg", "kg", None),
            ("kg.triples", "kg", Some("triples")),
            ("kg[a].triples", "kg[a]", Some("triples")),
            ("kg[0.5,x].a.b", "kg[0.5,x]", Some("a.b")),
            ("kg[0.5]", "kg[0.5]", None),
            ("kg.a[0.5]", "kg", Some("a[0.5]")),
            ("kg[0.5", "kg[0", Some("5")),
        ] {
            assert_eq!(split_port(text), (stage, port), "{text}");
        }
    }

    #[test]
    fn a_comma_inside_brackets_belongs_to_the_name() {
        assert_eq!(split_names("a"), ["a"]);
        assert_eq!(split_names("a, fit[a,0.1],b"), ["a", "fit[a,0.1]", "b"]);
        assert_eq!(split_names("fit[*,1]"), ["fit[*,1]"]);
        assert_eq!(split_names("fit[a,b"), ["fit[a,b"]);
    }

    #[test]
    fn patterns_take_what_they_say() {
        let takes = |text: &str, labels: &[&str]| StageName::parse(text).unwrap().takes(labels);
        assert!(takes("a", &[]) && !takes("a", &["x"]));
        assert!(takes("a[x]", &["x"]) && !takes("a[x]", &["y"]) && !takes("a[x]", &["x", "y"]));
        assert!(takes("a[*]", &["x"]) && takes("a[*]", &["x", "y"]) && !takes("a[*]", &[]));
        assert!(takes("a[*, y]", &["x", "y"]) && !takes("a[*,y]", &["x", "z"]));
        for bad in ["a[x", "a]", "a[x]y", "a[[x]]"] {
            assert_eq!(StageName::parse(bad), None, "{bad}");
        }
    }
}
