//! Results of tools as text. The texts of documents are cut here, to leave room in a model's
//! context; the tool `document` has the whole.

use std::fmt::Write;

use gfm_pipe_api::answer::{Answer, Document, Node, Step};

/// Characters of each document's text in an answer.
const SHOWN: usize = 1500;

/// An answer.
pub(super) fn answer(answer: &Answer) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    for note in &answer.notes {
        let _ = writeln!(out, "Note: {note}.");
    }
    if let Some(cited) = &answer.answer {
        let text = match cited.text.as_str() {
            "" => "the documents do not say",
            text => text,
        };
        let _ = writeln!(out, "Answer of {}: {text}", cited.model);
        if !cited.reasoning.is_empty() {
            let _ = writeln!(out, "   because: {}", cited.reasoning);
        }
        if !cited.titles.is_empty() {
            let _ = writeln!(out, "   cites: {}", cited.titles.join("; "));
        }
        out.push('\n');
    }
    if answer.documents.is_empty() {
        out.push_str("No document was found.\n");
    }
    for (at, document) in answer.documents.iter().enumerate() {
        let _ = write!(
            out,
            "{}. {} (document {}",
            at + 1,
            document.title,
            document.id
        );
        if let Some(source) = &document.source {
            let _ = write!(out, ", {source}");
        }
        out.push_str(")\n");
        for path in document.paths.iter().filter(|path| !path.steps.is_empty()) {
            let steps: Vec<_> = path.steps.iter().map(fact).collect();
            let _ = writeln!(out, "   by: {}", steps.join("; "));
        }
        if let Some(sentence) = &document.sentence {
            let _ = writeln!(out, "   most similar: {sentence}");
        }
        let mut cut = document.text.char_indices();
        match cut.nth(SHOWN) {
            Some((end, _)) => {
                let _ = writeln!(
                    out,
                    "{}… (cut: the tool document has the rest)",
                    &document.text[..end]
                );
            }
            None => {
                let _ = writeln!(out, "{}", document.text);
            }
        }
        out.push('\n');
    }
    out
}

/// A document.
pub(super) fn document(document: &Document) -> String {
    let mut out = format!("{} (document {})\n", document.title, document.id);
    if let Some(source) = &document.source {
        let _ = writeln!(out, "from {source}");
    }
    let _ = writeln!(out, "\n{}\n", document.text);
    let nodes: Vec<_> = document
        .nodes
        .iter()
        .map(|node| node.label.as_str())
        .collect();
    let _ = writeln!(out, "Nodes: {}", nodes.join("; "));
    out
}

/// A node with its neighbours.
pub(super) fn node(node: &Node) -> String {
    let mut out = format!(
        "{} ({} {}, {} facts)\n",
        node.label, node.kind, node.node, node.degree
    );
    for step in &node.facts {
        let _ = writeln!(out, "- {}", fact(step));
    }
    let hidden = node.degree.saturating_sub(node.facts.len());
    if hidden > 0 {
        let _ = writeln!(out, "and {hidden} more facts");
    }
    let documents: Vec<_> = node.documents.iter().map(|d| d.label.as_str()).collect();
    let _ = writeln!(out, "Documents: {}", documents.join("; "));
    out
}

fn fact(step: &Step) -> String {
    let mut text = format!("{} | {} | {}", step.head, step.relation, step.tail);
    if let Some(title) = &step.title {
        let _ = write!(text, " [{title}]");
    }
    text
}
