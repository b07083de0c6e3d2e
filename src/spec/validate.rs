//! Checks the tree against the operators: keys, stages, parameters. Inputs and cycles are checked
//! in `wiring`.
//!
//! Invariant: every mistake is reported once, where it is. What follows from another mistake (ports
//! of an unknown operator, parameters that use a broken variable) is not reported.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use gfm_pipe_api::schema::is_name;
use gfm_pipe_api::{AsWritten, OpEntry, PathSeg, Problem};
use serde_json::{Map, Value};

use super::MAX_STAGES;
use super::error::{MOST, Mistake, Place};
use super::expand::{Scope, StageName, instance_name, is_label, scopes};
use super::limits::{self, Limits};
use super::node::{Entry, Kind, Node, near, quote};
use super::origins::Written;
use super::pipeline::{Pipeline, PortRef, Stage};
use super::scalar;
use super::source::{Source, Sources};
use super::templates::{Environment, Rendered, Vars, is_template, no_template};
use super::wiring::{self, Wires};

/// Keys at the top of a pipeline, with their meaning.
pub const TOP_KEYS: [(&str, &str); 6] = [
    ("version", "version of this format: 1"),
    ("name", "name of the pipeline; else the file's"),
    (
        "include",
        "files that this one is merged over, relative to it",
    ),
    (
        "env",
        "what templates may see of the environment, as `env.NAME`: names with defaults",
    ),
    ("vars", "names with values, for templates"),
    ("stages", "the stages by name"),
];
/// Keys of a stage, with their meaning.
pub const STAGE_KEYS: [(&str, &str); 10] = [
    ("op", "the operator"),
    ("foreach", "makes a stage for each value of one name"),
    (
        "matrix",
        "makes a stage for each combination of the values of several names",
    ),
    (
        "in",
        "what is connected to the input ports: STAGE.PORT, or STAGE where it has one output",
    ),
    (
        "after",
        "stages that must have ended well before this one starts, though it takes nothing of them; no part of its key",
    ),
    ("with", "parameters"),
    (
        "retries",
        "how often the stage is tried again after it failed",
    ),
    ("timeout", "how long one attempt may take: 90s, 30m, 1h30m"),
    (
        "resources",
        "what the stage occupies while it runs: cpu, gpu, memory",
    ),
    (
        "mutex",
        "names: of the stages that have one in common, one runs at a time",
    ),
];

/// The names without their meanings.
fn names<const N: usize>(keys: &[(&'static str, &str); N]) -> [&'static str; N] {
    keys.map(|(name, _)| name)
}

/// A stage that is being checked, before it becomes a [`Stage`].
pub(super) struct Draft<'a> {
    /// Its name and body as written.
    pub entry: &'a Entry,
    /// Its name in the pipeline: `NAME`, or `NAME[LABEL]` where `foreach` or `matrix` made it.
    pub name: String,
    /// The values that `foreach` or `matrix` made it for.
    pub scope: Scope,
    /// Its operator, with the ports of this stage; `None` when there is a mistake in it.
    pub op: Option<Cow<'a, OpEntry>>,
    /// Its limits; `None` when there is a mistake in them.
    limits: Option<Limits>,
    /// The variables its templates see.
    vars: Vars,
    /// Whether inputs may be missing because of a mistake that is reported already.
    pub in_flawed: bool,
    /// Whether a mistake in its `foreach`, which is reported, leaves unknown which stages it makes.
    pub scope_flawed: bool,
    params: Option<Value>,
}

impl Draft<'_> {
    /// Its name without labels, and its labels.
    pub fn labels(&self) -> (&str, Vec<&str>) {
        match StageName::parse(&self.name) {
            Some(n) => (n.base, n.labels.unwrap_or_default()),
            None => (&self.name, Vec::new()),
        }
    }

    /// The entry of its body with this key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        let mut entries = self.entry.value.entries()?.iter();
        entries.find(|e| e.key.text == key)
    }
}

/// Checks a whole pipeline. The result is meaningful only when there are no mistakes, from here or
/// from before.
pub(super) fn check(
    file: &Path,
    root: &Node,
    env: &BTreeMap<String, String>,
    ops: &[OpEntry],
    sources: &Sources,
    mistakes: &mut Vec<Mistake>,
) -> Option<Pipeline> {
    let Kind::Map(top) = &root.kind else {
        mistakes.push(
            Mistake::new(
                root.span,
                format!("a pipeline is a mapping, found {}", root.found()),
            )
            .hint(format!("its keys: {}", names(&TOP_KEYS).join(", "))),
        );
        return None;
    };
    let meant = keys(top, &names(&TOP_KEYS), |_| None, mistakes);
    let get = |key: &str| top.iter().find(|e| e.key.text == key);
    if let Some(e) = get("version") {
        version(e, mistakes);
    }
    let name = get("name").and_then(|e| name(e, mistakes));
    let environment = get("env").map(|e| Environment::of(mapping(e, mistakes), env, mistakes));
    let vars = variables(
        get("vars"),
        environment,
        root.flawed || meant.contains(&"vars") || meant.contains(&"env"),
        mistakes,
    );
    let Some(stages) = get("stages") else {
        if !root.flawed && !meant.contains(&"stages") {
            mistakes.push(
                Mistake::new(root.span, "missing key `stages`")
                    .hint("stages: {NAME: {op: OPERATOR, in: {PORT: STAGE}, with: {KEY: VALUE}}}"),
            );
        }
        return None;
    };
    let before = mistakes.len();
    let entries = mapping(stages, mistakes);
    if entries.is_empty() && !stages.value.flawed && mistakes.len() == before {
        mistakes.push(Mistake::new(stages.key.span, "there is no stage"));
    }
    if let Some(e) = entries.get(MAX_STAGES) {
        let message = format!("more than {MAX_STAGES} stages");
        mistakes.push(Mistake::new(e.key.span, message));
        return None;
    }
    let mut drafts: Vec<Draft<'_>> = Vec::with_capacity(entries.len());
    let mut names = HashSet::new();
    for e in entries {
        for draft in stage(e, ops, &vars, sources, mistakes) {
            if !names.insert(draft.name.clone()) {
                let message = format!("there are two stages `{}`", quote(&draft.name));
                mistakes.push(
                    Mistake::new(e.key.span, message)
                        .hint("`foreach` of another stage makes it: give this one another name"),
                );
            }
            drafts.push(draft);
        }
        if drafts.len() > MAX_STAGES {
            let message = format!("more than {MAX_STAGES} stages");
            mistakes.push(Mistake::new(e.key.span, message));
            return None;
        }
    }
    let wires = wiring::connect(&drafts, mistakes);
    if !mistakes.iter().all(|m| m.warning) {
        return None;
    }
    connections(&drafts, &wires, mistakes);
    if !mistakes.iter().all(|m| m.warning) {
        return None;
    }
    Some(Pipeline {
        warnings: Vec::new(),
        name: name.unwrap_or_else(|| stem(file)),
        file: file.to_owned(),
        files: sources.files(),
        stages: finish(sources, &drafts, wires)?,
    })
}

/// Asks the operators whether the outputs connected to their ports fit together and fit the
/// parameters.
fn connections(drafts: &[Draft<'_>], wires: &Wires, mistakes: &mut Vec<Mistake>) {
    for (draft, wire) in drafts.iter().zip(wires) {
        let (Some(op), Some(params)) = (&draft.op, &draft.params) else {
            continue;
        };
        let names = |refs: &Vec<PortRef>| refs.iter().map(PortRef::to_string).collect();
        let inputs = wire
            .inputs
            .iter()
            .map(|(port, refs)| (port.clone(), names(refs)));
        for p in op.check_inputs(params, &inputs.collect()) {
            let at = draft.get("in").map_or(draft.entry.key.span, |e| e.key.span);
            mistakes.push(Mistake {
                hint: p.hint,
                ..Mistake::new(at, p.message)
            });
        }
    }
}

fn variables(
    given: Option<&Entry>,
    environment: Option<Environment>,
    open: bool,
    mistakes: &mut Vec<Mistake>,
) -> Vars {
    let Some(e) = given else {
        return Vars::of(&[], environment, open, mistakes);
    };
    let open = open || e.value.flawed || e.value.entries().is_none();
    Vars::of(mapping(e, mistakes), environment, open, mistakes)
}

fn finish(sources: &Sources, drafts: &[Draft<'_>], wires: Wires) -> Option<Vec<Stage>> {
    drafts
        .iter()
        .zip(wires)
        .map(|(d, wire)| {
            let Place::File(origin) = Place::of(sources, d.entry.key.span) else {
                // An override cannot add a stage.
                return None;
            };
            let body = d.entry.value.entries()?;
            Some(Stage {
                name: d.name.clone(),
                op: d.op.as_deref()?.clone(),
                params: d.params.clone()?,
                inputs: wire.inputs,
                after: wire.after,
                limits: d.limits.clone()?,
                origin,
                written: Arc::new(Written::of(body, &d.vars, sources)),
            })
        })
        .collect()
}

/// The entries of a value that must be a mapping. Anything else is reported and has no entries.
fn mapping<'a>(e: &'a Entry, mistakes: &mut Vec<Mistake>) -> &'a [Entry] {
    e.value.entries().unwrap_or_else(|| {
        let message = format!("`{}` is a mapping, found {}", e.key.text, e.value.found());
        mistakes.push(Mistake::new(e.point(), message));
        &[]
    })
}

/// Reports unknown keys and returns the known keys that may have been meant. `belongs` returns, if
/// it can, the known key that an unknown one belongs under, and a text that says so.
fn keys(
    entries: &[Entry],
    known: &[&'static str],
    belongs: impl Fn(&str) -> Option<(&'static str, String)>,
    mistakes: &mut Vec<Mistake>,
) -> Vec<&'static str> {
    let mut meant = Vec::new();
    for e in entries {
        let key = e.key.text.as_str();
        if known.contains(&key) || !no_template(key, e.key.span, "keys", mistakes) {
            continue;
        }
        let close = near(key, known.iter().copied());
        let close = known.iter().copied().find(|k| Some(*k) == close);
        let close = close.map(|k| (k, format!("did you mean `{k}`?")));
        let hint = match belongs(key).or(close) {
            Some((k, hint)) => {
                meant.push(k);
                hint
            }
            None => format!("known keys: {}", known.join(", ")),
        };
        let mistake = Mistake::new(e.key.span, format!("unknown key `{}`", quote(key))).hint(hint);
        mistakes.push(mistake);
    }
    meant
}

pub(super) fn version(e: &Entry, mistakes: &mut Vec<Mistake>) {
    let one =
        matches!(&e.value.kind, Kind::Scalar { text, plain: true } if scalar::typed(text) == 1);
    if !one {
        let message = format!(
            "unknown version of the pipeline format: {}",
            e.value.found()
        );
        mistakes.push(Mistake::new(e.point(), message).hint("this gfm-pipe reads `version: 1`"));
    }
}

/// Whether a text may name a stage: a name, with labels in brackets where it stands for one of
/// several.
fn is_stage_name(text: &str) -> bool {
    let plain = !text.contains(char::is_whitespace);
    StageName::parse(text).filter(|_| plain).is_some_and(|n| {
        let labels = n.labels.unwrap_or_default();
        is_name(n.base) && labels.iter().all(|l| is_label(l))
    })
}

fn name(e: &Entry, mistakes: &mut Vec<Mistake>) -> Option<String> {
    let Kind::Scalar { text, .. } = &e.value.kind else {
        let message = format!("`name` is text, found {}", e.value.found());
        mistakes.push(Mistake::new(e.point(), message));
        return None;
    };
    if no_template(text, e.point(), "names", mistakes) && !is_name(text) {
        mistakes
            .push(Mistake::new(e.point(), format!("`{}` is no name", quote(text))).hint(NAME_FORM));
    }
    Some(text.clone())
}

const NAME_FORM: &str = "a letter, then up to 99 letters, digits, `_` and `-`";

/// The name of a pipeline that has no `name`: it is made from the file's name.
fn stem(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let name: String = stem
        .chars()
        .map(|c| if ok(c) { c } else { '-' })
        .take(100)
        .collect();
    if is_name(&name) {
        name
    } else {
        "pipeline".to_owned()
    }
}

/// The mapping of a stage that a misplaced key belongs under, and what to say about it.
fn belongs_under(op: &OpEntry, key: &str) -> Option<(&'static str, String)> {
    let (place, what) = if op.inputs.iter().any(|p| p.name == key) {
        ("in", "an input")
    } else if op.schema.fields.iter().any(|f| f.name == key) {
        ("with", "a parameter")
    } else {
        return None;
    };
    let name = op.name;
    Some((
        place,
        format!("`{key}` is {what} of `{name}`: put it under `{place}:`"),
    ))
}

/// The stages that an entry of `stages` makes: one, or one for each value of its `foreach`.
fn stage<'a>(
    entry: &'a Entry,
    ops: &'a [OpEntry],
    vars: &Vars,
    sources: &Sources,
    mistakes: &mut Vec<Mistake>,
) -> Vec<Draft<'a>> {
    let name = entry.key.text.as_str();
    if no_template(name, entry.key.span, "stage names", mistakes) && !is_stage_name(name) {
        let message = format!("`{}` cannot name a stage", quote(name));
        mistakes.push(Mistake::new(entry.key.span, message).hint(NAME_FORM));
    }
    let draft = |op: Option<&'a OpEntry>, scope: Scope, vars: &Vars| Draft {
        entry,
        name: instance_name(name, &scope),
        scope,
        op: op.map(Cow::Borrowed),
        limits: None,
        vars: vars.clone(),
        in_flawed: false,
        scope_flawed: false,
        params: None,
    };
    let Kind::Map(body) = &entry.value.kind else {
        let message = format!("a stage is a mapping, found {}", entry.value.found());
        mistakes.push(
            Mistake::new(entry.point(), message)
                .hint("NAME: {op: OPERATOR, in: {PORT: STAGE}, with: {KEY: VALUE}}"),
        );
        return vec![draft(None, Vec::new(), vars)];
    };
    let get = |key: &str| body.iter().find(|e| e.key.text == key);
    let op = get("op").and_then(|e| operator(&e.value, e, ops, mistakes));
    let belongs = |key: &str| belongs_under(op?, key);
    let meant = keys(body, &names(&STAGE_KEYS), belongs, mistakes);
    let flawed = |key: &str| entry.value.flawed || meant.contains(&key);
    if get("op").is_none() && !flawed("op") {
        let message = format!("stage `{}` has no `op`", quote(name));
        mistakes
            .push(Mistake::new(entry.key.span, message).hint("`gfm-pipe ops` lists the operators"));
    }
    // A wrong `foreach` leaves the names of its stages unknown.
    let scopes = scopes(body, vars, mistakes);
    let bracket = name.contains('[') && scopes.as_ref().is_some_and(|s| s[0] != Scope::new());
    if bracket {
        let message = format!("`{}` has a label of its own and `foreach`", quote(name));
        let hint = "leave the brackets out: `foreach` gives the labels";
        mistakes.push(Mistake::new(entry.key.span, message).hint(hint));
    }
    let open = scopes.is_none() || flawed("foreach") || flawed("matrix");
    let with = get("with");
    let mut out = Vec::new();
    for scope in scopes.unwrap_or_else(|| vec![Vec::new()]) {
        let scoped = (!scope.is_empty()).then(|| vars.scoped(&scope));
        let vars = scoped.as_ref().unwrap_or(vars);
        let mut rendered = with.map_or_else(Rendered::default, |e| vars.render(e, open, mistakes));
        if flawed("with") {
            rendered.flawed.push(Vec::new());
        }
        let mut draft = draft(op, scope, vars);
        draft.limits = bounds(body, vars, open, sources, mistakes);
        if let Some(op) = op {
            draft.params = params(op, with, entry, rendered, &draft.vars, sources, mistakes);
            if op.shaped {
                draft.op = shaped(op, draft.params.as_ref(), get("in"));
            }
        }
        draft.in_flawed = flawed("in");
        draft.scope_flawed = open;
        out.push(draft);
    }
    out
}

/// An operator whose ports depend on its parameters, with the ports of a stage. `None` when the
/// parameters are wrong, because its ports are not known then.
fn shaped<'a>(
    op: &OpEntry,
    params: Option<&Value>,
    connected: Option<&Entry>,
) -> Option<Cow<'a, OpEntry>> {
    let connected = connected
        .and_then(|e| e.value.entries())
        .unwrap_or_default();
    let names: Vec<&str> = connected.iter().map(|e| e.key.text.as_str()).collect();
    op.of_stage(params?, &names).ok().map(Cow::Owned)
}

/// The limits of the stage.
fn bounds(
    body: &[Entry],
    vars: &Vars,
    open: bool,
    sources: &Sources,
    mistakes: &mut Vec<Mistake>,
) -> Option<Limits> {
    let mut given = Map::new();
    let mut whole = true;
    let mut at = Vec::new();
    for e in body
        .iter()
        .filter(|e| limits::KEYS.contains(&e.key.text.as_str()))
    {
        let rendered = vars.render(e, open, mistakes);
        if rendered.broken.is_empty() && rendered.flawed.is_empty() {
            given.insert(e.key.text.clone(), rendered.value);
            at.push(e);
        } else {
            whole = false;
        }
    }
    let written = |path: &[PathSeg]| {
        let (PathSeg::Key(key), path) = path.split_first()? else {
            return None;
        };
        as_written(at.iter().find(|e| e.key.text == *key)?, path, sources)
    };
    match limits::schema().normalize_written(&Value::Object(given), &written) {
        Ok(full) => whole.then(|| Limits::of(&full)),
        Err(problems) => {
            for p in problems {
                let (Some(PathSeg::Key(key)), path) = (p.path.first(), p.path.get(1..)) else {
                    continue;
                };
                if let Some(e) = at.iter().find(|e| e.key.text == *key) {
                    let span = e.locate(path.unwrap_or_default(), p.on_key);
                    mistakes.push(Mistake {
                        hint: p.hint,
                        ..Mistake::new(span, p.message)
                    });
                }
            }
            None
        }
    }
}

fn operator<'a>(
    node: &Node,
    e: &Entry,
    ops: &'a [OpEntry],
    mistakes: &mut Vec<Mistake>,
) -> Option<&'a OpEntry> {
    let text = match &node.kind {
        Kind::Scalar { text, .. } if !node.is_null() => text,
        _ => {
            let message = format!("`op` is the name of an operator, found {}", node.found());
            mistakes
                .push(Mistake::new(e.point(), message).hint("`gfm-pipe ops` lists the operators"));
            return None;
        }
    };
    if !no_template(text, e.point(), "operators", mistakes) {
        return None;
    }
    let found = ops.iter().find(|o| o.name == text);
    if found.is_none() {
        let hint = near(text, ops.iter().map(|o| o.name)).map_or_else(
            || "`gfm-pipe ops` lists the operators of this build".to_owned(),
            |n| format!("did you mean `{n}`? `gfm-pipe ops` lists all"),
        );
        let message = format!("unknown operator `{}`", quote(text));
        mistakes.push(Mistake::new(e.point(), message).hint(hint));
    }
    if let Some(instead) = found.and_then(|o| o.deprecated) {
        let message = format!("operator `{text}` is deprecated: a later version refuses it");
        mistakes.push(Mistake {
            warning: true,
            ..Mistake::new(e.point(), message).hint(instead)
        });
    }
    found
}

/// How the value at a path was written, where it was written as a plain scalar.
fn as_written(entry: &Entry, path: &[PathSeg], sources: &Sources) -> Option<AsWritten> {
    let text = entry.plain(path)?;
    let span = entry.locate(path, false);
    // A shell removes the quotes of an override.
    let quoted = match sources.get(span.source) {
        Source::Override(_) => format!("'\"{text}\"'"),
        Source::File { .. } => format!("\"{text}\""),
    };
    Some(AsWritten {
        text: quote(text),
        quoted: quote(&quoted),
    })
}

/// Checks parameters. Where some could not be rendered, the others are still checked one by one,
/// but not against each other.
fn params(
    op: &OpEntry,
    with: Option<&Entry>,
    stage: &Entry,
    rendered: Rendered,
    vars: &Vars,
    sources: &Sources,
    mistakes: &mut Vec<Mistake>,
) -> Option<Value> {
    let Rendered {
        value,
        broken,
        flawed,
    } = rendered;
    let written = |path: &[PathSeg]| as_written(with?, path, sources);
    let checked = op.schema.normalize_written(&value, &written);
    let checked = match checked {
        Ok(_) if broken.is_empty() && flawed.is_empty() => op.validate(&value),
        other => other,
    };
    let problems = match checked {
        Ok(full) => {
            for p in op.schema.deprecated(&value) {
                let span = with.map_or(stage.key.span, |e| e.locate(&p.path, p.on_key));
                mistakes.push(Mistake {
                    hint: p.hint,
                    warning: true,
                    ..Mistake::new(span, p.message)
                });
            }
            return Some(full);
        }
        Err(problems) => problems,
    };
    for p in problems.iter().take(MOST) {
        let hidden = flawed.contains(&p.path) || broken.iter().any(|b| p.path.starts_with(b));
        if hidden || follows(p, &problems) {
            continue;
        }
        let span = with.map_or(stage.key.span, |e| e.locate(&p.path, p.on_key));
        // A value that comes from variables is wrong where these have their values: the hint names
        // the places.
        let text = with
            .and_then(|e| e.text(&p.path))
            .filter(|t| is_template(t));
        let from = text.map(|t| vars.used(t)).unwrap_or_default();
        let from = from.into_iter().map(|(name, span)| {
            let place = Place::of(sources, span);
            format!("`{name}` has its value from {place}")
        });
        let hints: Vec<String> = p.hint.iter().cloned().chain(from).collect();
        mistakes.push(Mistake {
            hint: (!hints.is_empty()).then(|| hints.join("; ")),
            ..Mistake::new(span, p.message.clone())
        });
    }
    None
}

/// Whether a key is missing because it is misspelled: the misspelled one is reported with the right
/// name in its hint.
fn follows(problem: &Problem, all: &[Problem]) -> bool {
    all.iter().any(|other| {
        let Some((PathSeg::Key(_), parent)) = other.path.split_last() else {
            return false;
        };
        let hint = other.hint.as_deref().unwrap_or_default();
        let meant = hint
            .strip_prefix("did you mean `")
            .and_then(|h| h.strip_suffix("`?"));
        other.on_key
            && parent == problem.path.as_slice()
            && meant.is_some_and(|m| problem.message == format!("missing key `{m}`"))
    })
}
