//! Templates in the scalars of `vars` and `with`.
//!
//! A scalar is plain data unless it holds `{{ … }}`. One that is exactly one expression keeps the
//! expression's type, so `"{{ dim }}"` is a number where `dim` is; anything else becomes text.
//! Invariant: every name in a template is declared in `vars`, and before it when the template is in
//! `vars` itself; rendering has no access to files or functions, sees only the environment
//! variables that the pipeline declares (`env`), and always ends, because its number of steps is
//! limited. Statements (`{% … %}`) are refused: a value is an expression, not a program.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::sync::Arc;

use gfm_pipe_api::PathSeg;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, ValueKind};
use minijinja::{Error, ErrorKind, UndefinedBehavior, Value as Any};
use serde_json::{Map, Number, Value};

use super::error::{MOST, Mistake};
use super::expand::Scope;
use super::node::{Entry, Kind, Node, near, quote};
use super::scalar;
use super::source::Span;

/// How many steps the rendering of a template may take.
const FUEL: u64 = 20_000;
/// Longest template, in bytes. The template language recurses over the parsed expression, one call
/// per operator, and does not limit chains (`a ~ a ~ …`) itself. At this length they take at most
/// half of a 2 MiB stack in a build without optimisation.
const LONGEST_TEMPLATE: usize = 1000;
/// Longest text that a template may produce, in bytes.
const LONGEST: usize = 1 << 16;
/// Largest number of variables in a pipeline.
const MAX_VARS: usize = 1000;
/// Most values that a template may produce.
const MOST_VALUES: usize = 1 << 16;

/// The name under which templates see the environment.
const ENV: &str = "env";

/// The environment variables that a pipeline declares, by name, with their values.
pub(super) struct Environment(BTreeMap<String, Any>);

impl Environment {
    /// Reads `env: {NAME: DEFAULT}`. A name without a default must be set in the environment.
    pub fn of(
        entries: &[Entry],
        given: &BTreeMap<String, String>,
        mistakes: &mut Vec<Mistake>,
    ) -> Self {
        let mut out = BTreeMap::new();
        for e in entries {
            let name = e.key.text.as_str();
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if !name.chars().all(fits) || name.starts_with(|c: char| c.is_ascii_digit()) {
                let message = format!("`{}` cannot be a name of the environment", quote(name));
                let hint = "letters, digits and `_`, not starting with a digit";
                mistakes.push(Mistake::new(e.key.span, message).hint(hint));
                continue;
            }
            let value = match (given.get(name), &e.value.kind) {
                // Read like a value of `-p`.
                (Some(text), _) => scalar::typed(text.trim()),
                (None, Kind::Scalar { .. }) if e.value.is_null() => {
                    let message = format!("`{name}` is not set in the environment");
                    let hint = format!("set it, or give a default: `{name}: VALUE`");
                    mistakes.push(Mistake::new(e.key.span, message).hint(hint));
                    Value::Null
                }
                (None, Kind::Scalar { text, plain }) => {
                    no_template(text, e.point(), "defaults of `env`", mistakes);
                    if *plain {
                        scalar::typed(text)
                    } else {
                        Value::String(text.clone())
                    }
                }
                (None, _) => {
                    let message =
                        format!("the default of `{name}` is text, found {}", e.value.found());
                    mistakes.push(Mistake::new(e.point(), message));
                    Value::Null
                }
            };
            out.insert(name.to_owned(), Any::from(Serde(&value)));
        }
        Environment(out)
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }
}

/// Whether a text is a template or tries to be one.
pub(super) fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

/// A rendered tree, and the places where mistakes that are already reported left it incomplete.
#[derive(Debug, Default)]
pub(super) struct Rendered {
    pub value: Value,
    /// Paths of templates that could not be rendered; they are null in `value`.
    pub broken: Vec<Vec<PathSeg>>,
    /// Paths of mappings in which a key was refused: what is missing there may be that key.
    pub flawed: Vec<Vec<PathSeg>>,
}

/// The variables of a pipeline, and the template engine that renders with them.
#[derive(Clone)]
pub(super) struct Vars {
    env: Arc<minijinja::Environment<'static>>,
    values: BTreeMap<String, Any>,
    /// The places where the variables were given their values.
    places: BTreeMap<String, Span>,
    /// The names of the environment variables that the pipeline declares, where it declares any.
    environment: Option<BTreeSet<String>>,
    /// `values` in the form that the template language takes.
    context: Any,
    /// Variables that are declared but have no value, because of a mistake that is reported
    /// already.
    broken: HashSet<String>,
    /// Variables that are declared further down.
    later: HashSet<String>,
    /// Whether there may be further variables, hidden by a mistake that is already reported.
    open: bool,
}

impl Vars {
    /// Renders the entries of `vars` in order; `open` says whether there may be further variables,
    /// hidden by a mistake.
    pub fn of(
        entries: &[Entry],
        environment: Option<Environment>,
        open: bool,
        mistakes: &mut Vec<Mistake>,
    ) -> Self {
        let mut env = minijinja::Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_fuel(Some(FUEL));
        env.set_formatter(|out, state, value| match value.kind() {
            ValueKind::String | ValueKind::Number | ValueKind::Bool => {
                minijinja::escape_formatter(out, state, value)
            }
            kind => Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("{} cannot be part of a text", describe(kind)),
            )),
        });
        let mut syntax = SyntaxConfig::builder();
        syntax.keep_trailing_newline(true);
        if let Ok(syntax) = syntax.build() {
            env.set_syntax(syntax);
        }
        for name in ["range", "dict", "debug", "namespace"] {
            env.remove_global(name);
        }
        let mut vars = Vars {
            env: Arc::new(env),
            values: BTreeMap::new(),
            places: BTreeMap::new(),
            environment: None,
            context: Any::from(BTreeMap::<String, Any>::new()),
            broken: HashSet::new(),
            later: entries.iter().map(|e| e.key.text.clone()).collect(),
            open,
        };
        if let Some(environment) = environment {
            vars.environment = Some(environment.names().cloned().collect());
            let values: BTreeMap<String, Any> = environment.0.into_iter().collect();
            vars.values.insert(ENV.to_owned(), Any::from(values));
            vars.context = Any::from(vars.values.clone());
        }
        if let Some(entry) = entries.get(MAX_VARS) {
            let message = format!("more than {MAX_VARS} variables");
            mistakes.push(Mistake::new(entry.key.span, message));
        }
        for entry in entries.iter().take(MAX_VARS) {
            let name = &entry.key.text;
            let bad_name = bad_name(name);
            if let Some((what, hint)) = bad_name {
                let message = format!("`{}` {what}", quote(name));
                mistakes.push(Mistake::new(entry.key.span, message).hint(hint));
            }
            if name == ENV && vars.environment.is_some() {
                let message = "`env` is what the pipeline declares of the environment";
                mistakes.push(
                    Mistake::new(entry.key.span, message).hint("give the variable another name"),
                );
                continue;
            }
            vars.places.insert(name.clone(), entry.point());
            let rendered = vars.render(entry, false, mistakes);
            vars.later.remove(name);
            if rendered.broken.is_empty() && rendered.flawed.is_empty() {
                let value = Any::from(Serde(&rendered.value));
                vars.values.insert(name.clone(), value);
                vars.context = Any::from(vars.values.clone());
            } else {
                vars.broken.insert(name.clone());
            }
        }
        vars
    }

    /// Whether the pipeline has a variable of that name.
    pub fn declares(&self, name: &str) -> bool {
        self.values.contains_key(name) || self.broken.contains(name)
    }

    /// These variables together with those of a stage made by `foreach` or `matrix`.
    pub fn scoped(&self, scope: &Scope) -> Self {
        let mut vars = self.clone();
        for bound in scope {
            let value = Any::from(Serde(&bound.value));
            vars.values.insert(bound.name.clone(), value);
            vars.places.insert(bound.name.clone(), bound.span);
        }
        vars.context = Any::from(vars.values.clone());
        vars
    }

    /// The variables a template uses, by name, with the place of their values.
    pub fn used(&self, text: &str) -> Vec<(String, Span)> {
        if text.len() > LONGEST_TEMPLATE {
            return Vec::new();
        }
        let Ok(template) = self.env.template_from_str(text) else {
            return Vec::new();
        };
        let mut names: Vec<String> = template.undeclared_variables(false).into_iter().collect();
        names.sort();
        let places = names.into_iter().map(|n| {
            let span = self.places.get(&n).copied();
            span.map(|s| (n, s))
        });
        places.flatten().collect()
    }

    /// Renders every scalar of a value; `open` says whether it may use names that a mistake hides
    /// (those of a wrong `foreach`).
    pub fn render(&self, entry: &Entry, open: bool, mistakes: &mut Vec<Mistake>) -> Rendered {
        let mut walk = Walk {
            vars: self,
            open: open || self.open,
            path: Vec::new(),
            done: Rendered::default(),
            mistakes,
        };
        let value = walk.node(&entry.value);
        Rendered { value, ..walk.done }
    }
}

/// Renders one value.
struct Walk<'a> {
    vars: &'a Vars,
    open: bool,
    /// The path of the part that is being rendered.
    path: Vec<PathSeg>,
    done: Rendered,
    mistakes: &'a mut Vec<Mistake>,
}

impl Walk<'_> {
    fn node(&mut self, node: &Node) -> Value {
        if node.flawed {
            self.done.flawed.push(self.path.clone());
        }
        match &node.kind {
            Kind::Scalar { text, .. } if is_template(text) => {
                self.template(text, node.span).unwrap_or_else(|| {
                    self.done.broken.push(self.path.clone());
                    Value::Null
                })
            }
            Kind::Scalar { text, plain: true } => scalar::typed(text),
            Kind::Scalar { text, plain: false } => Value::String(text.clone()),
            Kind::List(items) => {
                let mut out = Vec::with_capacity(items.len());
                for (i, item) in items.iter().enumerate() {
                    self.path.push(PathSeg::Index(i));
                    out.push(self.node(item));
                    self.path.pop();
                }
                Value::Array(out)
            }
            Kind::Map(entries) => {
                let mut out = Map::new();
                for e in entries {
                    if no_template(&e.key.text, e.key.span, "keys", self.mistakes) {
                        self.path.push(PathSeg::Key(e.key.text.clone()));
                        let value = self.node(&e.value);
                        out.insert(e.key.text.clone(), value);
                        self.path.pop();
                    } else {
                        self.done.flawed.push(self.path.clone());
                    }
                }
                Value::Object(out)
            }
        }
    }

    /// Renders one scalar. Returns `None` when that fails, which is reported (here, or where a
    /// variable it uses failed).
    fn template(&mut self, text: &str, span: Span) -> Option<Value> {
        match self.rendered(text, span) {
            Ok(value) => value,
            Err((why, hint)) => {
                let mistake = Mistake::new(span, format!("{why} in `{}`", quote(text)));
                self.mistakes.push(Mistake { hint, ..mistake });
                None
            }
        }
    }

    /// Like `template`; the error says why the template language refuses the text, and what to do.
    fn rendered(
        &mut self,
        text: &str,
        span: Span,
    ) -> Result<Option<Value>, (String, Option<String>)> {
        // A template that is only a string (`{{ "…" }}`), as resolved pipelines have them, may have
        // any length.
        let literal = single(text).and_then(|inner| serde_json::from_str(inner.trim()).ok());
        if let Some(text) = literal {
            return Ok(Some(Value::String(text)));
        }
        if text.len() > LONGEST_TEMPLATE {
            let hint = "move parts of it to `vars`".to_owned();
            let why = format!("a template of more than {LONGEST_TEMPLATE} bytes");
            return Err((why, Some(hint)));
        }
        let Vars { env, context, .. } = self.vars;
        let expression = single(text).and_then(|inner| env.compile_expression(inner).ok());
        if let Some(expression) = expression {
            let declared = self.env_declared(&expression.undeclared_variables(true), text, span);
            if !self.names_known(expression.undeclared_variables(false), text, span) || !declared {
                return Ok(None);
            }
            return expression
                .eval(context.clone())
                .map_err(|e| say(&e))
                .and_then(|v| json(&v, &mut MOST_VALUES.clone()))
                .map(Some)
                .map_err(|why| (why, None));
        }
        if text.contains("{%") {
            let hint = "an expression can choose: {{ a if condition else b }}".to_owned();
            return Err(("statements are not supported".to_owned(), Some(hint)));
        }
        let template = env.template_from_str(text).map_err(|e| {
            let hint = "to write the braces themselves: {{ \"{{\" }}".to_owned();
            (say(&e), Some(hint))
        })?;
        let declared = self.env_declared(&template.undeclared_variables(true), text, span);
        if !self.names_known(template.undeclared_variables(false), text, span) || !declared {
            return Ok(None);
        }
        let mut out = Limited(Vec::new());
        template
            .render_captured_to(context.clone(), &mut out)
            .map_err(|e| (say(&e), None))?;
        let text = String::from_utf8_lossy(&out.0).into_owned();
        Ok(Some(Value::String(text)))
    }

    /// Whether all environment variables that a template uses are declared; reports those that are
    /// not.
    fn env_declared(&mut self, paths: &HashSet<String>, text: &str, span: Span) -> bool {
        let Some(declared) = &self.vars.environment else {
            return true;
        };
        let names = paths.iter().filter_map(|p| p.strip_prefix("env."));
        let mut missing: Vec<&str> = names.filter(|n| !declared.contains(*n)).collect();
        missing.sort_unstable();
        for name in &missing {
            let message = format!("`env.{name}` is not declared in `{}`", quote(text));
            let hint = match near(name, declared.iter().map(String::as_str)) {
                Some(n) => format!("did you mean `env.{n}`?"),
                None => format!("declare it: `env: {{{name}: DEFAULT}}` at the top of the file"),
            };
            self.mistakes.push(Mistake::new(span, message).hint(hint));
        }
        missing.is_empty()
    }

    /// Whether all names that a template uses have values; reports those that have none, each once.
    fn names_known(&mut self, names: HashSet<String>, text: &str, span: Span) -> bool {
        let vars = self.vars;
        let mut missing: Vec<String> = names
            .into_iter()
            .filter(|n| !vars.values.contains_key(n))
            .collect();
        missing.sort();
        for name in &missing {
            if vars.broken.contains(name) {
                continue;
            }
            if vars.later.contains(name) {
                let message = format!("`{name}` has no value yet in `{}`", quote(text));
                let hint = "a variable may use those above it: change their order";
                self.mistakes.push(Mistake::new(span, message).hint(hint));
            } else if !self.open {
                let message = format!("unknown name `{name}` in `{}`", quote(text));
                let mut mistake = Mistake::new(span, message);
                if self.mistakes.len() < MOST {
                    mistake = mistake.hint(vars.instead_of(name));
                }
                self.mistakes.push(mistake);
            }
        }
        missing.is_empty()
    }
}

impl Vars {
    /// A hint: what may have been meant by an unknown name.
    fn instead_of(&self, name: &str) -> String {
        let all = self.values.keys().chain(&self.broken).chain(&self.later);
        let mut all: Vec<&str> = all.map(String::as_str).collect();
        all.sort_unstable();
        match near(name, all.iter().copied()) {
            _ if name == ENV => {
                "declare what is used of it: `env: {NAME: DEFAULT}` at the top of the file"
                    .to_owned()
            }
            Some(n) => format!("did you mean `{n}`?"),
            None if all.is_empty() => "declare it: `vars:` at the top of the file".to_owned(),
            None => format!("variables: {}", all.join(", ")),
        }
    }
}

/// Reports a template in a place where none is rendered. Returns true when the text is not a
/// template.
pub(super) fn no_template(text: &str, span: Span, what: &str, mistakes: &mut Vec<Mistake>) -> bool {
    let none = !is_template(text);
    if !none {
        mistakes.push(
            Mistake::new(
                span,
                format!("a template in `{}`: {what} are not templated", quote(text)),
            )
            .hint("templates work in the values of `vars` and `with`"),
        );
    }
    none
}

/// The part inside the braces of a text that may be exactly one expression.
fn single(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let inner = inner.strip_prefix('-').unwrap_or(inner);
    let inner = inner.strip_suffix('-').unwrap_or(inner);
    (!inner.trim().is_empty()).then_some(inner)
}

/// Why a name cannot be the name of a variable, and what to do; `None` when it can.
pub(super) fn bad_name(name: &str) -> Option<(&'static str, &'static str)> {
    const WORDS: [&str; 14] = [
        "true", "false", "none", "True", "False", "None", "not", "and", "or", "in", "is", "if",
        "else", "loop",
    ];
    let mut chars = name.chars();
    let starts = chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if !starts || !chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Some((
            "cannot be a variable's name",
            "letters, digits and `_`, not starting with a digit",
        ));
    }
    WORDS.contains(&name).then_some((
        "is a word of the template language",
        "give the variable another name",
    ))
}

fn say(e: &Error) -> String {
    match (e.kind(), e.detail()) {
        (ErrorKind::OutOfFuel, _) => "too much work".to_owned(),
        (ErrorKind::WriteFailure, _) => "too much text".to_owned(),
        (_, Some(detail)) => detail.to_owned(),
        (kind, None) => kind.to_string(),
    }
}

fn describe(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::None => "null",
        ValueKind::Undefined => "an undefined value",
        ValueKind::Seq | ValueKind::Iterable => "a list",
        ValueKind::Map => "a mapping",
        _ => "a value of this type",
    }
}

/// Converts a value of the template language to JSON; `left` is how many values it may still have.
fn json(value: &Any, left: &mut usize) -> Result<Value, String> {
    *left = left.checked_sub(1).ok_or("too many values")?;
    match value.kind() {
        ValueKind::None => Ok(Value::Null),
        ValueKind::Bool => Ok(Value::Bool(value.is_true())),
        ValueKind::Number if value.is_integer() => {
            let signed = i64::try_from(value.clone()).map(Number::from);
            let number = signed.or_else(|_| u64::try_from(value.clone()).map(Number::from));
            number
                .map(Value::Number)
                .map_err(|_| "a number too large".to_owned())
        }
        ValueKind::Number => f64::try_from(value.clone())
            .ok()
            .and_then(Number::from_f64)
            .map(Value::Number)
            .ok_or_else(|| "not a finite number".to_owned()),
        ValueKind::String => match value.as_str() {
            Some(s) if s.len() <= LONGEST => Ok(Value::String(s.to_owned())),
            _ => Err("too much text".to_owned()),
        },
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter().map_err(|e| say(&e))?;
            items.map(|v| json(&v, left)).collect()
        }
        ValueKind::Map => {
            let mut out = Map::new();
            for key in value.try_iter().map_err(|e| say(&e))? {
                let Some(name) = key.as_str() else {
                    return Err("a key that is no text".to_owned());
                };
                let item = value.get_item(&key).map_err(|e| say(&e))?;
                out.insert(name.to_owned(), json(&item, left)?);
            }
            Ok(Value::Object(out))
        }
        kind => Err(describe(kind).to_owned()),
    }
}

/// A text that cannot grow beyond [`LONGEST`] bytes.
struct Limited(Vec<u8>);

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LONGEST {
            return Err(io::Error::other("too much text"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
