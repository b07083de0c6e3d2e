//! `--vars FILE`, `-p NAME=VALUE` and `--set STAGE.with.PATH=VALUE`, applied to the tree before it
//! is templated and checked.
//!
//! Invariant: everything that an override puts into the tree, keys and values alike, carries the
//! override's span, so that any mistake in it is reported at the override. Whether a parameter
//! exists and its value fits is not checked here: validation does that, as for values in files.

use super::LoadOptions;
use super::error::Mistake;
use super::expand::split_port;
use super::include;
use super::node::{Entry, Key, Kind, Node, near, quote};
use super::parse::{self, Budget, Purpose};
use super::source::{Sources, Span};

/// Applies all overrides in the order given; the last one of a name wins.
pub(super) fn apply(
    root: &mut Node,
    opts: &LoadOptions,
    sources: &mut Sources,
    mistakes: &mut Vec<Mistake>,
) {
    let mut budget = Budget::default();
    for file in &opts.var_files {
        let span = sources.add_override(format!("--vars {}", file.display()));
        let entries = include::variables(file, &opts.base, span, sources, &mut budget, mistakes);
        for e in entries {
            mistakes.extend(var(root, &e.key.text, e.value, e.key.span).err());
        }
    }
    for (name, value) in &opts.vars {
        let span = sources.add_override(format!("-p {name}={value}"));
        let done = read(value, span).and_then(|v| var(root, name, v, span));
        mistakes.extend(done.err());
    }
    for (target, value) in &opts.sets {
        let span = sources.add_override(format!("--set {target}={value}"));
        let done = read(value, span).and_then(|v| set(root, target, v, span));
        mistakes.extend(done.err());
    }
}

/// The value of an override: a YAML scalar, or a flow list or mapping. Unlike in a file, a `#` or a
/// colon before a space is just text.
fn read(value: &str, span: Span) -> Result<Node, Mistake> {
    let value = value.trim();
    let template = value.starts_with("{{");
    if template || !value.starts_with(['[', '{', '"', '\'']) {
        return Ok(Node::plain(span, value.to_owned()));
    }
    let mut mistakes = Vec::new();
    let mut budget = Budget::default();
    let node = parse::parse(
        span.source,
        value,
        Purpose::Part,
        &mut budget,
        &mut mistakes,
    );
    match (node, mistakes.into_iter().next()) {
        (Some(mut node), None) => {
            claim(&mut node, span);
            Ok(node)
        }
        (_, Some(m)) => Err(Mistake { span, ..m }),
        (None, None) => Ok(Node::plain(span, String::new())),
    }
}

/// Gives a whole tree the override's span.
fn claim(node: &mut Node, span: Span) {
    node.span = span;
    match &mut node.kind {
        Kind::Scalar { .. } => {}
        Kind::List(items) => items.iter_mut().for_each(|n| claim(n, span)),
        Kind::Map(entries) => {
            for e in entries {
                e.key.span = span;
                claim(&mut e.value, span);
            }
        }
    }
}

fn var(root: &mut Node, name: &str, value: Node, span: Span) -> Result<(), Mistake> {
    let vars = child(root, "vars").and_then(|n| match &mut n.kind {
        Kind::Map(entries) => Some(entries),
        _ => None,
    });
    let Some(vars) = vars else {
        return Err(Mistake::new(span, format!("no variable `{}`", quote(name)))
            .hint("the pipeline has no `vars`; --set STAGE.with.KEY=VALUE sets a parameter"));
    };
    match vars.iter_mut().find(|e| e.key.text == name) {
        Some(e) => {
            e.key.span = span;
            e.value = value;
            Ok(())
        }
        None => {
            let names: Vec<&str> = vars.iter().map(|e| e.key.text.as_str()).collect();
            let hint = near(name, names.iter().copied()).map_or_else(
                || format!("variables of this pipeline: {}", names.join(", ")),
                |n| format!("did you mean `{n}`?"),
            );
            Err(Mistake::new(span, format!("no variable `{}`", quote(name))).hint(hint))
        }
    }
}

/// A step of a target: `key`, or `[0]`.
#[derive(Debug, PartialEq)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// The form of a target, repeated in every message about one.
const FORM: &str = "write --set STAGE.with.KEY=VALUE; of a list: KEY[0].KEY=VALUE";

/// Splits `task.losses[0].cfg` into steps.
fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut out = Vec::new();
    for part in path.split('.') {
        let (key, mut rest) = part.split_at(part.find('[').unwrap_or(part.len()));
        if key.is_empty() {
            return None;
        }
        out.push(Step::Key(key));
        while let Some(after) = rest.strip_prefix('[') {
            let (digits, tail) = after.split_once(']')?;
            out.push(Step::Index(digits.parse().ok()?));
            rest = tail;
        }
        if !rest.is_empty() {
            return None;
        }
    }
    Some(out)
}

fn set(root: &mut Node, target: &str, value: Node, span: Span) -> Result<(), Mistake> {
    let fault = |text: String| Mistake::new(span, text).hint(FORM);
    let (stage, rest) = split_port(target);
    let Some(rest) = rest else {
        return Err(fault("a parameter of a stage is missing".to_owned()));
    };
    let (part, path) = match rest.split_once('.') {
        Some((part, path)) => (part, Some(path)),
        None => (rest, None),
    };
    if part != "with" {
        return Err(fault(format!(
            "only parameters (`with`) can be set, not `{}`",
            quote(part)
        )));
    }
    let Some(steps) = path.and_then(steps).filter(|s| s.len() <= super::MAX_DEPTH) else {
        return Err(fault(format!("`{}` names no parameter", quote(target))));
    };
    let stage = stage_entry(root, stage, span)?;
    let Kind::Map(entries) = &mut stage.value.kind else {
        // The stage itself is reported as malformed.
        return Ok(());
    };
    // A `with` created here gets the span of the stage's name: other keys missing from it are not
    // the override's fault.
    let with = entry(entries, "with", stage.key.span);
    put(with, &steps, value, span, "with")
}

fn stage_entry<'a>(root: &'a mut Node, name: &str, span: Span) -> Result<&'a mut Entry, Mistake> {
    let Some(stages) = child(root, "stages") else {
        return Err(Mistake::new(span, format!("no stage `{}`", quote(name))));
    };
    let Kind::Map(stages) = &mut stages.kind else {
        return Err(Mistake::new(span, format!("no stage `{}`", quote(name))));
    };
    let names: Vec<&str> = stages.iter().map(|e| e.key.text.as_str()).collect();
    let hint = near(name, names.iter().copied()).map_or_else(
        || format!("stages: {}", names.join(", ")),
        |n| format!("did you mean `{n}`?"),
    );
    let base = name.split('[').next().unwrap_or(name);
    let hint = if base != name && names.contains(&base) {
        format!("`--set {base}.with.KEY=VALUE` sets it in all stages that `foreach` makes of it")
    } else {
        hint
    };
    match stages.iter_mut().find(|e| e.key.text == name) {
        Some(e) => Ok(e),
        None => Err(Mistake::new(span, format!("no stage `{}`", quote(name))).hint(hint)),
    }
}

fn child<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    let Kind::Map(entries) = &mut node.kind else {
        return None;
    };
    let found = entries.iter_mut().find(|e| e.key.text == key);
    found.map(|e| &mut e.value)
}

/// The entry of a key; created, with the value null, where it is missing.
fn entry<'a>(entries: &'a mut Vec<Entry>, key: &str, span: Span) -> &'a mut Entry {
    let at = entries.iter().position(|e| e.key.text == key);
    let at = at.unwrap_or_else(|| {
        entries.push(Entry {
            key: Key {
                text: key.to_owned(),
                span,
            },
            value: Node::plain(span, String::new()),
        });
        entries.len() - 1
    });
    &mut entries[at]
}

fn put(
    at: &mut Entry,
    steps: &[Step<'_>],
    value: Node,
    span: Span,
    name: &str,
) -> Result<(), Mistake> {
    let Some((step, rest)) = steps.split_first() else {
        at.key.span = span;
        at.value = value;
        return Ok(());
    };
    put_in(&mut at.value, step, rest, value, span, name)
}

fn put_in(
    node: &mut Node,
    step: &Step<'_>,
    rest: &[Step<'_>],
    value: Node,
    span: Span,
    name: &str,
) -> Result<(), Mistake> {
    if node.is_null() && matches!(step, Step::Key(_)) {
        node.kind = Kind::Map(Vec::new());
    }
    let found = node.found();
    match (&mut node.kind, step) {
        (Kind::Map(entries), Step::Key(key)) => {
            let before = entries.len();
            let done = put(entry(entries, key, span), rest, value, span, key);
            if done.is_err() {
                // Remove what is half built, so that it is not reported a second time.
                entries.truncate(before);
            }
            done
        }
        (Kind::List(items), step) => {
            // `losses.0` means the same as `losses[0]`.
            let index = match step {
                Step::Index(i) => Some(*i),
                Step::Key(k) => k.parse().ok(),
            };
            let n = items.len();
            let item = index.and_then(|i| items.get_mut(i)).ok_or_else(|| {
                let which = match step {
                    Step::Index(i) => format!("[{i}]"),
                    Step::Key(k) => format!("`{}`", quote(k)),
                };
                Mistake::new(
                    span,
                    format!("`{}` is a list: it has no {which}", quote(name)),
                )
                .hint(match n {
                    0 => "it has no items".to_owned(),
                    1 => "its only item is [0]".to_owned(),
                    n => format!("its items are [0] to [{}]", n - 1),
                })
            })?;
            match rest.split_first() {
                None => {
                    *item = value;
                    Ok(())
                }
                Some((step, rest)) => put_in(item, step, rest, value, span, name),
            }
        }
        (_, step) => {
            let want = match step {
                Step::Key(_) => "mapping",
                Step::Index(_) => "list",
            };
            Err(Mistake::new(
                span,
                format!("`{}` is no {want} in the file but {found}", quote(name)),
            )
            .hint(format!("set `{}` as a whole", quote(name))))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn targets_are_split() {
        use Step::{Index, Key};
        assert_eq!(
            steps("task.losses[0].cfg").unwrap(),
            [Key("task"), Key("losses"), Index(0), Key("cfg")]
        );
        assert_eq!(steps("a[1][2]").unwrap(), [Key("a"), Index(1), Index(2)]);
        for bad in ["", ".", "a.", "a..b", "[0]", "a[", "a[x]", "a[0]b", "a[-1]"] {
            assert_eq!(steps(bad), None, "{bad}");
        }
    }
}
