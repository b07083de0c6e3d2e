//! `gfm-pipe ops`: what operators there are, and all about one of them, as text.
//!
//! The text is made from what an operator declares, so that it cannot go out of date. Nothing is
//! printed here.

use std::fmt::{self, Write as _};

use gfm_pipe_api::{Arity, Effect, Field, Kind, OpEntry, Schema, Type};
use serde_json::Value;

/// A table of all operators: name, version, what it does.
pub fn list(ops: &[OpEntry]) -> String {
    let head = ["NAME", "VERSION", "ABOUT"].map(str::to_owned);
    let rows = ops
        .iter()
        .map(|o| [o.name.to_owned(), o.version.to_string(), o.meaning()]);
    table(0, std::iter::once(head).chain(rows))
}

/// Everything about one operator: ports, parameters, the tables it writes.
pub fn describe(op: &OpEntry) -> String {
    let mut out = format!("{} (version {})\n{}\n", op.name, op.version, op.meaning());
    out.push_str("\nInputs\n");
    if op.inputs.is_empty() {
        out.push_str("  none\n");
    }
    out.push_str(&table(
        2,
        op.inputs.iter().map(|p| {
            [
                p.name.to_owned(),
                p.accepts.describe(),
                arity(p.arity).to_owned(),
                p.about.to_owned(),
            ]
        }),
    ));
    out.push_str("\nOutputs\n");
    out.push_str(&table(
        2,
        op.outputs.iter().map(|p| {
            [
                p.name.to_owned(),
                p.kind.name.to_owned(),
                p.about.to_owned(),
            ]
        }),
    ));
    out.push_str("\nParameters (`no effect`: a change reruns nothing)\n");
    let mut rows = Vec::new();
    parameters(&op.schema, "", &mut rows);
    if rows.is_empty() {
        out.push_str("  none\n");
    }
    out.push_str(&table(2, rows.into_iter()));
    let mut seen: Vec<&Kind> = Vec::new();
    for port in &op.outputs {
        if !seen.contains(&port.kind) {
            seen.push(port.kind);
            kind(&mut out, port.kind);
        }
    }
    out
}

/// An arity in words.
pub(super) fn arity(arity: Arity) -> &'static str {
    match arity {
        Arity::One => "one",
        Arity::Optional => "optional",
        Arity::Many => "one or more",
        Arity::Any => "none or more",
    }
}

fn kind(out: &mut String, kind: &Kind) {
    line(
        out,
        format_args!("\nTables of {}: {}", kind.name, kind.about),
    );
    for t in kind.tables {
        line(out, format_args!("  {}: {}", t.name, t.about));
        out.push_str(&table(
            4,
            t.columns.iter().map(|c| {
                let missing = if c.nullable { " or null" } else { "" };
                [
                    c.name.to_owned(),
                    format!("{}{missing}", c.ty.name()),
                    c.about.to_owned(),
                ]
            }),
        ));
    }
}

/// Rows of path, type, default, meaning; groups are shown by their members.
pub(super) fn parameters(schema: &Schema, prefix: &str, rows: &mut Vec<[String; 4]>) {
    for f in &schema.fields {
        let path = if prefix.is_empty() {
            f.name.to_owned()
        } else {
            format!("{prefix}.{}", f.name)
        };
        if f.refused.is_some() {
            rows.push([
                path,
                "not set here".to_owned(),
                String::new(),
                f.about.to_owned(),
            ]);
            continue;
        }
        match members(&f.ty) {
            Some((inner, false))
                if f.default.is_some() && !matches!(f.ty, Type::WordsOr { .. }) =>
            {
                parameters(inner, &path, rows);
            }
            found => {
                rows.push([path.clone(), f.ty.describe(), default(f), meaning(f)]);
                if let Some((inner, list)) = found {
                    let path = if list { format!("{path}[]") } else { path };
                    parameters(inner, &path, rows);
                }
            }
        }
    }
}

/// The schema inside a type, and whether it is that of a list's items.
fn members(ty: &Type) -> Option<(&Schema, bool)> {
    match ty {
        Type::Object(s) | Type::WordsOr { schema: s, .. } => Some((s, false)),
        Type::List { item, .. } => members(item).map(|(s, _)| (s, true)),
        Type::Nullable(inner) => members(inner),
        _ => None,
    }
}

fn default(f: &Field) -> String {
    match &f.default {
        None => "required".to_owned(),
        Some(Value::Bool(true)) => "default yes".to_owned(),
        Some(Value::Bool(false)) => "default no".to_owned(),
        Some(Value::String(s)) if !s.is_empty() => format!("default {s}"),
        Some(v) => format!("default {v}"),
    }
}

fn meaning(f: &Field) -> String {
    let mut text = f.meaning();
    if let Type::OneOf { planned, .. } = &f.ty
        && !planned.is_empty()
    {
        text.push_str(&format!(" (not yet: {})", planned.join(", ")));
    }
    if f.fixed {
        text.push_str(" (only the default works yet)");
    }
    if f.effect == Effect::None {
        text.push_str(" (no effect)");
    }
    text
}

/// Columns are aligned by their widest cell, except the last one. A very wide cell moves only the
/// rest of its own line to the right.
fn table<const N: usize>(indent: usize, rows: impl Iterator<Item = [String; N]>) -> String {
    const WIDEST: usize = 40;
    let rows: Vec<[String; N]> = rows.collect();
    let mut widths = [0; N];
    for row in &rows {
        for (w, cell) in widths.iter_mut().zip(row) {
            *w = (*w).max(cell.chars().count().min(WIDEST));
        }
    }
    let mut out = String::new();
    for row in &rows {
        let mut text = " ".repeat(indent);
        for (i, (cell, width)) in row.iter().zip(widths).enumerate() {
            text.push_str(cell);
            if i + 1 < N {
                let pad = width.saturating_sub(cell.chars().count());
                text.push_str(&" ".repeat(pad + 2));
            }
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

fn line(out: &mut String, text: fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::spec::testing::toy;

    #[test]
    fn the_list_is_aligned() {
        let text = list(&toy::ops());
        assert_eq!(
            text,
            "NAME       VERSION  ABOUT
words      1        splits a text file into words
upper      1        makes words upper case
join       1        puts word lists behind each other
train      1        fits a toy model
backwards  1        turns words round. Deprecated: use `upper`
exec       1        runs a program with files for inputs and outputs
"
        );
    }

    #[test]
    fn an_operator_is_described_whole() {
        let ops = toy::ops();
        let train = ops.iter().find(|o| o.name == "train").unwrap();
        let text = describe(train);
        for part in [
            "train (version 1)\nfits a toy model\n",
            "\nInputs\n  counts  counts  one       what to learn from\n  init    model   optional  a model",
            "\nOutputs\n  model  model  the fitted model\n",
            "  seed                      a whole number, at least 0",
            "  model.hidden_dims         a list of: a whole number, at least 1",
            "default [64,64]",
            "message function (not yet: rotate)",
            "  task.losses[].cfg.weight  a number, at least 0",
            "default yes",
            "threads that read (no effect)",
            "  hydra                     not set here",
            "\nTables of model: a model\n  weights: one parameter\n    value  f32  its value\n",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
        let words = describe(&ops[0]);
        assert!(words.contains("\nInputs\n  none\n"), "{words}");
        assert!(words.contains("required"), "{words}");
        // Both kinds, and both tables of the second.
        assert!(words.contains("Tables of words"), "{words}");
        assert!(words.contains("  totals: one row for all\n"), "{words}");
    }
}
