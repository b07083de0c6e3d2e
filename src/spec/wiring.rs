//! Inputs of stages: what is connected to which port, whether it fits, which other stages it comes
//! after, and whether stages wait for each other.
//!
//! Invariant: nothing is reported about the ports of a stage with an unknown operator (neither its
//! inputs nor the outputs that others read), but its dependencies still count for cycles.

use std::collections::{BTreeMap, HashMap};

use gfm_pipe_api::{InPort, OpEntry};

use super::error::{MOST, Mistake};
use super::expand::{StageName, instead_of, split_port};
use super::node::{Entry, Kind, near, quote};
use super::pipeline::PortRef;
use super::source::Span;
use super::templates::no_template;
use super::validate::Draft;

/// Connections of a stage.
#[derive(Default)]
pub(super) struct Wire {
    /// What is connected, by port.
    pub inputs: BTreeMap<String, Vec<PortRef>>,
    /// Other stages that must have succeeded before it starts.
    pub after: Vec<String>,
}

/// Connections of each stage.
pub(super) type Wires = Vec<Wire>;

/// A dependency on another stage, and where it is written.
type Edge = (usize, Span);

/// Resolves the inputs of all stages.
pub(super) fn connect(drafts: &[Draft<'_>], mistakes: &mut Vec<Mistake>) -> Wires {
    let index = Index::new(drafts);
    let mut edges: Vec<Vec<Edge>> = Vec::with_capacity(drafts.len());
    let mut wires = Vec::with_capacity(drafts.len());
    for draft in drafts {
        let mut stage = StageInputs {
            drafts,
            index: &index,
            edges: Vec::new(),
            mistakes,
        };
        wires.push(Wire {
            inputs: stage.connect(draft),
            after: stage.after(draft),
        });
        edges.push(stage.edges);
    }
    for cycle in cycles(&edges) {
        let mut names: Vec<&str> = cycle
            .iter()
            .map(|(i, _)| drafts[*i].name.as_str())
            .collect();
        names.push(names[0]);
        mistakes.push(
            Mistake::new(
                cycle[0].1,
                format!("stages wait for each other: {}", names.join(" -> ")),
            )
            .hint("`a -> b`: `b` takes an output of `a`, or is `after` it; leave out one of these"),
        );
    }
    wires
}

/// Stages by name without labels: the labels and index of each, in the order of the file.
struct Index<'a>(HashMap<&'a str, Vec<(Vec<&'a str>, usize)>>);

impl<'a> Index<'a> {
    fn new(drafts: &'a [Draft<'_>]) -> Self {
        let mut all: HashMap<&str, Vec<_>> = HashMap::new();
        for (i, d) in drafts.iter().enumerate() {
            let (base, labels) = d.labels();
            all.entry(base).or_default().push((labels, i));
        }
        Index(all)
    }

    fn get(&self, base: &str) -> &[(Vec<&'a str>, usize)] {
        self.0.get(base).map_or(&[], Vec::as_slice)
    }
}

struct StageInputs<'a> {
    drafts: &'a [Draft<'a>],
    index: &'a Index<'a>,
    edges: Vec<Edge>,
    mistakes: &'a mut Vec<Mistake>,
}

impl StageInputs<'_> {
    fn connect(&mut self, draft: &Draft<'_>) -> BTreeMap<String, Vec<PortRef>> {
        let mut wires = BTreeMap::new();
        let given = draft.get("in");
        let Some(entries) = given.map_or(Some([].as_slice()), |e| e.value.entries()) else {
            if let Some(e) = given {
                let message = format!("`in` is a mapping of ports, found {}", e.value.found());
                let port = draft.op.as_ref().and_then(|op| op.inputs.first());
                let port = port.map_or("PORT", |p| p.name);
                self.mistakes.push(
                    Mistake::new(e.point(), message).hint(format!("in: {{{port}: STAGE.PORT}}")),
                );
            }
            return wires;
        };
        let mut meant = Vec::new();
        for entry in entries {
            let name = entry.key.text.as_str();
            let port = match &draft.op {
                None => None,
                Some(op) => match op.inputs.iter().find(|p| p.name == name) {
                    Some(port) => Some(port),
                    None => {
                        meant.extend(self.unknown_port(op, entry));
                        None
                    }
                },
            };
            let refs = self.refs(draft, entry, port);
            if port.is_some() && !refs.is_empty() {
                wires.insert(name.to_owned(), refs);
            }
        }
        let Some(op) = &draft.op else {
            return wires;
        };
        if draft.in_flawed || draft.get("in").is_some_and(|e| e.value.flawed) {
            return wires;
        }
        for port in &op.inputs {
            let given = entries.iter().any(|e| e.key.text == port.name);
            if !port.arity.is_required() || given || meant.contains(&port.name) {
                continue;
            }
            let at = draft.get("in").map_or(draft.entry.key.span, |e| e.key.span);
            self.mistakes.push(
                Mistake::new(at, format!("missing input `{}`", port.name)).hint(format!(
                    "it takes {}: {}",
                    port.accepts.describe(),
                    port.about
                )),
            );
        }
        wires
    }

    /// The stages that must have succeeded before this one starts, although it reads none of their
    /// outputs.
    fn after(&mut self, draft: &Draft<'_>) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        let Some(entry) = draft
            .get("after")
            .filter(|e| !e.value.flawed && !e.value.is_null())
        else {
            return out;
        };
        let given = match &entry.value.kind {
            Kind::List(items) => items.iter().map(|n| (n, n.span)).collect(),
            _ => vec![(&entry.value, entry.point())],
        };
        for (node, span) in given {
            let Some(text) = scalar_text(node) else {
                let message = format!("`after` names stages, found {}", node.found());
                self.mistakes
                    .push(Mistake::new(span, message).hint("after: STAGE, or after: [STAGE, …]"));
                continue;
            };
            if !no_template(text, span, "stages to come after", self.mistakes) {
                continue;
            }
            let (stage, port) = split_port(text);
            let name = StageName::parse(stage).filter(|_| port.is_none());
            let Some(name) = name else {
                let message = format!("`after` names stages, found `{}`", quote(text));
                self.mistakes
                    .push(Mistake::new(span, message).hint(match port {
                        Some(_) => format!("the whole stage: `{}`", quote(stage)),
                        None => "STAGE, STAGE[VALUE] or STAGE[*]".to_owned(),
                    }));
                continue;
            };
            for at in self.stages(draft, &name, span) {
                self.edges.push((at, span));
                let name = &self.drafts[at].name;
                if !out.contains(name) {
                    out.push(name.clone());
                }
            }
        }
        out
    }

    /// Reports a port the operator does not have; returns the one that may have been meant.
    fn unknown_port(&mut self, op: &OpEntry, entry: &Entry) -> Option<&'static str> {
        let name = entry.key.text.as_str();
        if !no_template(name, entry.key.span, "ports", self.mistakes) {
            return None;
        }
        let names: Vec<&'static str> = op.inputs.iter().map(|p| p.name).collect();
        let meant = near(name, names.iter().copied())
            .and_then(|n| names.iter().copied().find(|known| *known == n));
        let hint = match meant {
            Some(n) => format!("did you mean `{n}`?"),
            None if op.shaped => "a letter, then up to 99 letters, digits, `_` and `-`".to_owned(),
            None if names.is_empty() => "it takes no inputs".to_owned(),
            None => format!("its inputs: {}", names.join(", ")),
        };
        let message = format!("`{}` has no input `{}`", op.name, quote(name));
        self.mistakes
            .push(Mistake::new(entry.key.span, message).hint(hint));
        meant
    }

    /// The outputs connected to a port. `port` is `None` for an unknown port: then only the stages
    /// named there can be checked.
    fn refs(&mut self, draft: &Draft<'_>, entry: &Entry, port: Option<&InPort>) -> Vec<PortRef> {
        let one = |node: &super::node::Node, span| match scalar_text(node) {
            Some(text) => Ok((text.clone(), span)),
            None => Err(Mistake::new(
                span,
                format!("an input is STAGE or STAGE.PORT, found {}", node.found()),
            )),
        };
        let given: Vec<Result<(String, Span), Mistake>> = match &entry.value.kind {
            Kind::List(items) => {
                if let Some(port) = port.filter(|p| !p.arity.takes_many()) {
                    let n = items.len();
                    let message = format!(
                        "input `{}` takes one artifact, found a list of {n}",
                        port.name
                    );
                    let hint = match items.first().map(|n| &n.kind) {
                        Some(Kind::Scalar { text, .. }) if n == 1 => {
                            format!("without brackets: `{}: {}`", port.name, quote(text))
                        }
                        _ => "it takes no list".to_owned(),
                    };
                    self.mistakes
                        .push(Mistake::new(entry.key.span, message).hint(hint));
                } else if items.is_empty() {
                    let message = format!(
                        "input `{}` needs at least one artifact",
                        quote(&entry.key.text)
                    );
                    self.mistakes.push(Mistake::new(entry.key.span, message));
                }
                items.iter().map(|n| one(n, n.span)).collect()
            }
            _ => vec![one(&entry.value, entry.point())],
        };
        let mut out = Vec::new();
        for item in given {
            match item {
                Ok((text, span)) => out.extend(self.resolve(draft, &text, span, port)),
                Err(m) => self.mistakes.push(m),
            }
        }
        out
    }

    /// The outputs a text names: one, or several where it holds a `*`.
    fn resolve(
        &mut self,
        draft: &Draft<'_>,
        text: &str,
        span: Span,
        port: Option<&InPort>,
    ) -> Vec<PortRef> {
        if !no_template(text, span, "inputs", self.mistakes) {
            return Vec::new();
        }
        let (stage, out) = split_port(text);
        let Some(name) = StageName::parse(stage) else {
            let message = format!("`{}` is no input", quote(text));
            self.mistakes.push(
                Mistake::new(span, message).hint("STAGE.PORT, STAGE[VALUE].PORT or STAGE[*].PORT"),
            );
            return Vec::new();
        };
        let found = self.stages(draft, &name, span);
        let several = found.len() > 1 || name.is_pattern();
        if let Some(port) = port.filter(|p| several && !p.arity.takes_many()) {
            let message = format!(
                "input `{}` takes one artifact, `{}` is {}",
                port.name,
                quote(text),
                found.len()
            );
            let hint = match found.first() {
                Some(i) => format!("say which: `{}`", self.drafts[*i].name),
                None => "it takes no list".to_owned(),
            };
            self.mistakes.push(Mistake::new(span, message).hint(hint));
            self.edges.extend(found.iter().map(|i| (*i, span)));
            return Vec::new();
        }
        let mut refs = Vec::new();
        for at in found {
            self.edges.push((at, span));
            refs.extend(self.output(at, text, out, span, port));
        }
        refs
    }

    /// The stages that a name means when the stage `draft` uses it. A name that means none is
    /// reported.
    fn stages(&mut self, draft: &Draft<'_>, name: &StageName<'_>, span: Span) -> Vec<usize> {
        let members = self.index.get(name.base);
        if members.is_empty() {
            self.unknown_stage(name.base, span);
            return Vec::new();
        }
        if members.iter().any(|(_, i)| self.drafts[*i].scope_flawed) {
            // Which stages it makes is not known.
            self.edges.extend(members.iter().map(|(_, i)| (*i, span)));
            return Vec::new();
        }
        let taken: Vec<usize> = members
            .iter()
            .filter(|(labels, _)| name.takes(labels))
            .map(|(_, i)| *i)
            .collect();
        if !taken.is_empty() {
            return taken;
        }
        let known: Vec<String> = members
            .iter()
            .filter(|(labels, _)| !labels.is_empty())
            .map(|(labels, _)| labels.join(","))
            .collect();
        if name.labels.is_none() {
            // In a stage made for a value, the name means the sibling made for the same value.
            let sibling = members.iter().find(|(_, i)| {
                let scope = &self.drafts[*i].scope;
                !scope.is_empty() && scope.iter().all(|b| draft.scope.contains(b))
            });
            if let Some((_, i)) = sibling {
                return vec![*i];
            }
            if let Some(missing) = self.no_sibling(draft, members) {
                let message = format!("no stage `{}[{missing}]`", name.base);
                let hint = instead_of(name.base, &missing, &known);
                self.mistakes.push(
                    Mistake::new(span, message)
                        .hint(format!("`{}` goes over other values: {hint}", name.base)),
                );
                return Vec::new();
            }
            let message = format!(
                "`{}` is {} stage{}, one for each value: say which",
                name.base,
                known.len(),
                if known.len() == 1 { "" } else { "s" }
            );
            let one = known.first().map_or("*", String::as_str);
            self.mistakes.push(Mistake::new(span, message).hint(format!(
                "`{0}[{one}]` is one of them, `{0}[*]` are all of them in order",
                name.base
            )));
            return Vec::new();
        }
        let given = name.labels.as_deref().unwrap_or_default().join(",");
        let (message, hint) = if known.is_empty() {
            (
                format!("`{}` has no `foreach`: it is one stage", name.base),
                format!("leave the brackets out: `{}`", name.base),
            )
        } else {
            (
                format!("no stage `{}[{}]`", name.base, quote(&given)),
                instead_of(name.base, &given, &known),
            )
        };
        self.mistakes.push(Mistake::new(span, message).hint(hint));
        Vec::new()
    }

    /// The labels that a stage's sibling would have, where the other stage's `foreach` has the same
    /// names but not these values.
    fn no_sibling(&self, draft: &Draft<'_>, members: &[(Vec<&str>, usize)]) -> Option<String> {
        let (_, first) = members.iter().find(|(labels, _)| !labels.is_empty())?;
        let other = &self.drafts[*first].scope;
        let labels: Option<Vec<&str>> = other
            .iter()
            .map(|b| draft.scope.iter().find(|d| d.name == b.name))
            .map(|d| d.map(|d| d.label.as_str()))
            .collect();
        labels.filter(|l| !l.is_empty()).map(|l| l.join(","))
    }

    /// The output of a stage that a text names.
    fn output(
        &mut self,
        at: usize,
        text: &str,
        out: Option<&str>,
        span: Span,
        port: Option<&InPort>,
    ) -> Option<PortRef> {
        let drafts = self.drafts;
        let stage = drafts[at].name.as_str();
        let op = drafts[at].op.as_deref()?;
        let names = || op.outputs.iter().map(|p| p.name);
        let found = match out {
            Some(out) => op.outputs.iter().find(|p| p.name == out),
            None if op.outputs.len() == 1 => op.outputs.first(),
            None => {
                let all: Vec<String> = names().map(|n| format!("{stage}.{n}")).collect();
                self.mistakes.push(
                    Mistake::new(
                        span,
                        format!("`{stage}` has {} outputs: say which", op.outputs.len()),
                    )
                    .hint(format!("one of {}", all.join(", "))),
                );
                return None;
            }
        };
        let Some(found) = found else {
            let out = out.unwrap_or_default();
            let table = out
                .split_once('.')
                .filter(|(p, _)| names().any(|n| n == *p));
            let mistake = match table {
                Some((p, _)) => {
                    Mistake::new(span, "an input is a whole artifact, not one table of it")
                        .hint(format!("did you mean `{stage}.{p}`?"))
                }
                None => Mistake::new(
                    span,
                    format!("`{stage}` ({}) has no output `{}`", op.name, quote(out)),
                )
                .hint(near(out, names()).map_or_else(
                    || format!("its outputs: {}", names().collect::<Vec<_>>().join(", ")),
                    |n| format!("did you mean `{stage}.{n}`?"),
                )),
            };
            self.mistakes.push(mistake);
            return None;
        };
        if let Some(port) = port.filter(|p| !p.accepts.takes(found.kind)) {
            let mistake = Mistake::new(
                span,
                format!(
                    "`{}` is {}, input `{}` takes {}",
                    quote(text),
                    found.kind.name,
                    port.name,
                    port.accepts.describe()
                ),
            );
            let fitting: Vec<String> = op
                .outputs
                .iter()
                .filter(|o| port.accepts.takes(o.kind))
                .map(|o| format!("`{stage}.{}`", o.name))
                .collect();
            self.mistakes.push(if fitting.is_empty() {
                mistake
            } else {
                mistake.hint(format!("of `{stage}` fits: {}", fitting.join(", ")))
            });
            return None;
        }
        Some(PortRef {
            stage: stage.to_owned(),
            port: found.name.to_owned(),
        })
    }

    fn unknown_stage(&mut self, stage: &str, span: Span) {
        let mut mistake = Mistake::new(span, format!("no stage `{}`", quote(stage)));
        if self.mistakes.len() < MOST {
            mistake = mistake.hint(self.instead_of(stage));
        }
        self.mistakes.push(mistake);
    }

    /// A hint: which stage may have been meant by an unknown name.
    fn instead_of(&self, stage: &str) -> String {
        let names = || self.drafts.iter().map(|d| d.name.as_str());
        let is_op = |d: &&Draft<'_>| d.op.as_ref().is_some_and(|op| op.name == stage);
        if let Some(d) = self.drafts.iter().find(is_op) {
            return format!("that is an operator; its stage is `{}`", d.name);
        }
        // Suggest names as written, not those of the stages that `foreach` made from them.
        let written = || self.drafts.iter().map(|d| d.entry.key.text.as_str());
        match near(stage, written()) {
            Some(n) => format!("did you mean `{n}`?"),
            None => format!("stages: {}", names().collect::<Vec<_>>().join(", ")),
        }
    }
}

/// The text of a scalar; `None` for null, lists and mappings.
fn scalar_text(node: &super::node::Node) -> Option<&String> {
    match &node.kind {
        Kind::Scalar { text, .. } if !node.is_null() => Some(text),
        _ => None,
    }
}

/// Cycles that share no stage, each starting with its first stage in the file. Each stage comes
/// with the place where its dependency on the stage before it in the cycle is written. Every stage
/// that only a cycle keeps from starting is in one of them or depends on one.
fn cycles(edges: &[Vec<Edge>]) -> Vec<Vec<Edge>> {
    let mut alive = vec![true; edges.len()];
    let mut out = Vec::new();
    loop {
        trim(edges, &mut alive);
        let Some(start) = alive.iter().position(|a| *a) else {
            return out;
        };
        // Each stage that is left needs another one that is left, so following these needs must
        // lead back to a stage that was visited.
        let mut walk: Vec<Edge> = Vec::new();
        let mut seen = vec![usize::MAX; edges.len()];
        let mut at = start;
        while seen[at] == usize::MAX {
            seen[at] = walk.len();
            let Some(&(next, span)) = edges[at].iter().find(|(i, _)| alive[*i]) else {
                return out;
            };
            walk.push((at, span));
            at = next;
        }
        let mut cycle = walk.split_off(seen[at]);
        // Turn the order from "needs" to "leads to", and start with the stage that is written
        // first.
        cycle.reverse();
        let first = (0..cycle.len()).min_by_key(|i| cycle[*i].0).unwrap_or(0);
        cycle.rotate_left(first);
        for (i, _) in &cycle {
            alive[*i] = false;
        }
        out.push(cycle);
    }
}

/// Removes the stages that need none of the stages left, until there are no such stages: those that
/// stay are in a cycle or depend on one.
fn trim(edges: &[Vec<Edge>], alive: &mut [bool]) {
    let mut needs: Vec<usize> = Vec::with_capacity(edges.len());
    let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); edges.len()];
    for (i, ends) in edges.iter().enumerate() {
        let living = ends.iter().filter(|(e, _)| alive[*e]);
        let mut n = 0;
        for (e, _) in living {
            needed_by[*e].push(i);
            n += 1;
        }
        needs.push(n);
    }
    let mut free: Vec<usize> = (0..edges.len())
        .filter(|i| alive[*i] && needs[*i] == 0)
        .collect();
    while let Some(i) = free.pop() {
        alive[i] = false;
        for &d in &needed_by[i] {
            needs[d] -= 1;
            if alive[d] && needs[d] == 0 {
                free.push(d);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::source::{Pos, Sources};
    use super::*;

    fn found(edges: &[&[usize]]) -> Vec<Vec<usize>> {
        let span = Sources::default().add_override(String::new());
        assert_eq!(span.start, Pos { line: 1, column: 1 });
        let edges: Vec<Vec<Edge>> = edges
            .iter()
            .map(|e| e.iter().map(|i| (*i, span)).collect())
            .collect();
        let stages = |c: Vec<Edge>| c.into_iter().map(|(i, _)| i).collect();
        cycles(&edges).into_iter().map(stages).collect()
    }

    #[test]
    fn no_cycle() {
        assert!(found(&[&[], &[0], &[0, 1], &[1, 1]]).is_empty());
    }

    #[test]
    fn arrows_lead_from_need_to_needing() {
        // 0 needs 2, 2 needs 1, 1 needs 0: 0 -> 1 -> 2 -> 0.
        assert_eq!(found(&[&[2], &[0], &[1]]), [[0, 1, 2]]);
        assert_eq!(found(&[&[], &[1]]), [[1]]);
    }

    #[test]
    fn every_cycle_of_its_own_is_found_and_what_hangs_on_one_is_not() {
        // 0 <-> 1; 2 needs 0 and 3; 3 needs 2; 4 needs 3.
        assert_eq!(
            found(&[&[1], &[0], &[0, 3], &[2], &[3]]),
            [vec![0, 1], vec![2, 3]]
        );
    }
}
