//! The reference pages in docs/, made from what operators declare. Nothing is printed here; a test writes and compares the files.

use std::fmt::Write as _;

use gfm_pipe_api::{Kind, OpEntry};

use super::ops::{arity, parameters};

/// docs/configuration.md: every operator with its ports and parameters.
pub fn configuration(ops: &[OpEntry]) -> String {
    let mut out = String::from(
        "# Configuration\n\nEvery operator, its ports and its parameters (`with:`). Generated from the operators' own schemas: \
         `UPDATE_GOLDEN=1 cargo test --test docs` writes this page, CI fails when it is stale. `gfm-pipe ops NAME` prints the same.\n\n\
         A change of a parameter marked *no effect* reruns nothing. Switches read yes, no, on, off, true and false.\n",
    );
    for op in ops {
        write(
            &mut out,
            format_args!("\n## {}\n\n{}.\n", op.name, capital(op.about)),
        );
        if !op.inputs.is_empty() {
            table(
                &mut out,
                ["input", "takes", "how many", "meaning"],
                op.inputs.iter().map(|p| {
                    [
                        code(p.name),
                        p.accepts.describe(),
                        arity(p.arity).to_owned(),
                        p.about.to_owned(),
                    ]
                }),
            );
        }
        table(
            &mut out,
            ["output", "kind", "meaning"],
            op.outputs.iter().map(|p| {
                [
                    code(p.name),
                    format!("[{0}](artifacts.md#{0})", p.kind.name),
                    p.about.to_owned(),
                ]
            }),
        );
        let mut rows = Vec::new();
        parameters(&op.schema, "", &mut rows);
        if !rows.is_empty() {
            table(
                &mut out,
                ["key", "default", "allowed", "meaning"],
                rows.into_iter().map(|[path, ty, default, about]| {
                    let default = match default.strip_prefix("default ") {
                        Some(value) => code(value),
                        None => default,
                    };
                    [
                        code(&path),
                        default,
                        ty,
                        about.replace("(no effect)", "*no effect*"),
                    ]
                }),
            );
        }
    }
    out
}

/// docs/artifacts.md: every kind of artifact, its tables, who makes it and who takes it.
pub fn artifacts(ops: &[OpEntry]) -> String {
    let mut kinds: Vec<&Kind> = Vec::new();
    for port in ops.iter().flat_map(|o| &o.outputs) {
        if !kinds.contains(&port.kind) {
            kinds.push(port.kind);
        }
    }
    let mut out = String::from(
        "# Artifacts\n\nWhat stages give each other: named tables, each one Parquet file. A program run by `exec` takes and makes \
         all of them. Generated from the operators: `UPDATE_GOLDEN=1 cargo test --test docs` writes this page, CI fails when it \
         is stale.\n",
    );
    for kind in kinds {
        write(
            &mut out,
            format_args!("\n## {}\n\n{}.\n\n", kind.name, capital(kind.about)),
        );
        // An operator that takes and makes anything would stand in every line.
        let fixed = || ops.iter().filter(|o| !o.shaped);
        let makes = fixed().flat_map(|o| {
            let ports = o.outputs.iter().filter(|p| p.kind == kind);
            ports.map(|p| format!("`{}` (`{}`)", o.name, p.name))
        });
        let takes = fixed().flat_map(|o| {
            let ports = o.inputs.iter().filter(|p| p.accepts.takes(kind));
            ports.map(|p| format!("`{}` (`{}`)", o.name, p.name))
        });
        let (makes, takes): (Vec<String>, Vec<String>) = (makes.collect(), takes.collect());
        let takes = if takes.is_empty() {
            "nobody: for people".to_owned()
        } else {
            takes.join(", ")
        };
        let by = if makes.is_empty() {
            "Made and taken by programs alone.".to_owned()
        } else {
            format!("Made by {}. Taken by {takes}.", makes.join(", "))
        };
        write(&mut out, format_args!("{by}\n"));
        for t in kind.tables {
            write(
                &mut out,
                format_args!("\nTable `{}`: {}.\n", t.name, t.about),
            );
            if t.columns.is_empty() {
                continue;
            }
            table(
                &mut out,
                ["column", "type", "meaning"],
                t.columns.iter().map(|c| {
                    let missing = if c.nullable { " or null" } else { "" };
                    [
                        code(c.name),
                        format!("{}{missing}", c.ty.name()),
                        c.about.to_owned(),
                    ]
                }),
            );
        }
    }
    out
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
}

fn table<const N: usize>(
    out: &mut String,
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    write(
        out,
        format_args!("\n| {} |\n|{}\n", head.join(" | "), " --- |".repeat(N)),
    );
    for row in rows {
        let cells = row.map(|c| c.replace('|', "\\|"));
        write(out, format_args!("| {} |\n", cells.join(" | ")));
    }
}
