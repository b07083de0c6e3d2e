//! `gfm-pipe graph`: a pipeline as text for Mermaid or Graphviz.
//!
//! Invariant: whatever the names, the text parses. Stages get generated ids, because a name may be
//! a keyword of the language (`end`, `graph`); names and labels are quoted.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::spec::{Pipeline, PortRef};

/// The stage graph for Mermaid.
pub fn mermaid(pipeline: &Pipeline) -> String {
    let mut out = String::from("flowchart TD\n");
    for (i, s) in pipeline.stages.iter().enumerate() {
        let (name, op) = (&s.name, s.op.name);
        let label = if name == op {
            format!("<b>{name}</b>")
        } else {
            format!("<b>{name}</b><br/>{op}")
        };
        line(&mut out, format_args!("    s{i}[\"{label}\"]"));
    }
    for Edge { from, to, label } in edges(pipeline) {
        line(
            &mut out,
            format_args!("    s{from} -- \"{label}\" --> s{to}"),
        );
    }
    for (from, to) in orders(pipeline) {
        line(&mut out, format_args!("    s{from} -. after .-> s{to}"));
    }
    out
}

/// The stage graph for Graphviz.
pub fn dot(pipeline: &Pipeline) -> String {
    let mut out = format!("digraph {} {{\n", quoted(&pipeline.name));
    out.push_str("    rankdir=TB;\n    node [shape=box, fontname=\"sans-serif\"];\n");
    out.push_str("    edge [fontname=\"sans-serif\", fontsize=10];\n");
    for (i, s) in pipeline.stages.iter().enumerate() {
        let label = if s.name == s.op.name {
            s.name.clone()
        } else {
            format!("{}\n{}", s.name, s.op.name)
        };
        line(
            &mut out,
            format_args!("    s{i} [label={}];", quoted(&label)),
        );
    }
    for Edge { from, to, label } in edges(pipeline) {
        line(
            &mut out,
            format_args!("    s{from} -> s{to} [label={}];", quoted(&label)),
        );
    }
    for (from, to) in orders(pipeline) {
        line(
            &mut out,
            format_args!("    s{from} -> s{to} [label=\"after\", style=dashed];"),
        );
    }
    out.push_str("}\n");
    out
}

struct Edge {
    from: usize,
    to: usize,
    label: String,
}

/// Stages by name.
fn index(pipeline: &Pipeline) -> HashMap<&str, usize> {
    let stages = pipeline.stages.iter().enumerate();
    stages.map(|(i, s)| (s.name.as_str(), i)).collect()
}

/// Pairs of stages of which the second names the first in its `after`.
fn orders(pipeline: &Pipeline) -> Vec<(usize, usize)> {
    let index = index(pipeline);
    let stages = pipeline.stages.iter().enumerate();
    let pairs = stages.flat_map(|(to, s)| s.after.iter().map(move |from| (from, to)));
    pairs
        .filter_map(|(from, to)| Some((*index.get(from.as_str())?, to)))
        .collect()
}

/// One edge for each connection, in the order of the stages that read.
fn edges(pipeline: &Pipeline) -> Vec<Edge> {
    let index = index(pipeline);
    let mut out = Vec::new();
    for (to, stage) in pipeline.stages.iter().enumerate() {
        for port in &stage.op.inputs {
            for source in stage.inputs.get(port.name).into_iter().flatten() {
                if let Some(&from) = index.get(source.stage.as_str()) {
                    let label = label(pipeline, from, source, port.name);
                    out.push(Edge { from, to, label });
                }
            }
        }
    }
    out
}

/// The text beside an edge: the input port and, where it has another name and is one of several,
/// the output port.
fn label(pipeline: &Pipeline, from: usize, source: &PortRef, input: &str) -> String {
    let alone = pipeline.stages[from].op.outputs.len() == 1;
    if alone || source.port == input {
        input.to_owned()
    } else {
        format!("{} to {input}", source.port)
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::testing::pipeline;

    const TEXT: &str = "
name: toy
stages:
  end: {op: words, with: {path: x}}
  upper: {op: upper, in: {texts: end.words}}
  all: {op: join, in: {texts: [upper, end.words]}}
  train: {op: train, after: all, in: {counts: end.counts}}
";

    #[test]
    fn mermaid_names_stages_and_labels_edges() {
        assert_eq!(
            mermaid(&pipeline(TEXT)),
            "flowchart TD
    s0[\"<b>end</b><br/>words\"]
    s1[\"<b>upper</b>\"]
    s2[\"<b>all</b><br/>join\"]
    s3[\"<b>train</b>\"]
    s0 -- \"words to texts\" --> s1
    s1 -- \"texts\" --> s2
    s0 -- \"words to texts\" --> s2
    s0 -- \"counts\" --> s3
    s2 -. after .-> s3
"
        );
    }

    #[test]
    fn dot_names_stages_and_labels_edges() {
        let text = dot(&pipeline(TEXT));
        assert!(text.starts_with("digraph \"toy\" {\n"));
        assert!(text.contains("    s0 [label=\"end\\nwords\"];\n"));
        assert!(text.contains("    s0 -> s3 [label=\"counts\"];\n"));
        assert!(text.contains("    s2 -> s3 [label=\"after\", style=dashed];\n"));
        assert!(text.ends_with("}\n"));
    }

    #[test]
    fn quotes_are_escaped() {
        assert_eq!(quoted("a\"b\\c"), "\"a\\\"b\\\\c\"");
    }
}
