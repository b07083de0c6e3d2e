//! Audits of documents, by way of a graph made from them: the one that a pipeline makes, or for a
//! folder of documents a new one.

use std::path::Path;

use crate::registry::preview;
use gfm_pipe_api::{OpEntry, kinds};
use serde_json::json;

use super::{AuditError, AuditOptions, Inputs, Maker, Target, entities_of, ports};
use crate::init::Documents;
use crate::spec::{Origin, Pipeline, PortRef, Stage};

impl Maker<'_> {
    /// Makes the stage that audits the outputs of `build-kg`, what they were made from, and the
    /// questions about the same documents.
    pub(super) fn built(
        &self,
        name: String,
        graph: &Stage,
        all: &[Stage],
    ) -> Result<Stage, AuditError> {
        let mut inputs = Inputs::from([("entities".to_owned(), vec![entities_of(graph)])]);
        for (port, kind) in [
            ("triples", &kinds::TRIPLES),
            ("relations", &kinds::RELATIONS),
            ("links", &kinds::LINKS),
            ("nodes", &kinds::NODES),
        ] {
            inputs.insert(port.to_owned(), ports(graph, kind));
        }
        for port in ["documents", "sources", "mentions", "facts"] {
            let from = graph.inputs.get(port).cloned();
            inputs.insert(port.to_owned(), from.unwrap_or_default());
        }
        let about = |stage: &&Stage| {
            stage.op.name == "ingest-questions"
                && stage.inputs.get("documents") == graph.inputs.get("documents")
        };
        let questions: Vec<&Stage> = all.iter().filter(about).collect();
        let from = |port: &PortRef| all.iter().find(|stage| stage.name == port.stage);
        let mut read: Vec<&Stage> = graph.inputs.values().flatten().filter_map(from).collect();
        read.sort_by_key(|stage| all.iter().position(|other| other.name == stage.name));
        read.dedup_by_key(|stage| &stage.name);
        read.extend(&questions);
        read.push(graph);
        for (port, stages, kind) in [
            ("questions", &questions, &kinds::QUESTIONS),
            ("rejects", &read, &kinds::REJECTS),
            ("places", &read, &kinds::PLACES),
        ] {
            let refs = stages.iter().flat_map(|stage| ports(stage, kind));
            inputs.insert(port.to_owned(), refs.collect());
        }
        self.audit_of(name, inputs)
    }
}

/// Makes a pipeline that audits documents without a graph: it first builds a graph of what they
/// mention and say.
///
/// # Errors
/// When an operator is missing or refuses its parameters.
pub fn of_documents(
    documents: &Documents,
    ops: &[OpEntry],
    options: AuditOptions,
) -> Result<(Pipeline, Vec<Target>), AuditError> {
    let origin = Origin {
        file: documents.path.clone(),
        line: 1,
        column: 1,
    };
    let maker = Maker {
        ops,
        options,
        origin,
    };
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut given = json!({"path": text(&documents.path)});
    if !documents.except.is_empty() {
        given["except"] = json!(documents.except);
    }
    let read = maker.stage(
        "documents".to_owned(),
        "ingest-documents",
        &given,
        Inputs::new(),
    )?;
    let inputs = |stage: &str, names: &[&str]| -> Inputs {
        let ports = names.iter().map(|name| {
            let port = PortRef {
                stage: stage.to_owned(),
                port: (*name).to_owned(),
            };
            ((*name).to_owned(), vec![port])
        });
        ports.collect()
    };
    let mut stages = Vec::new();
    if !documents.questions.is_empty() {
        let mut with = json!({"dataset": documents.name});
        for asked in &documents.questions {
            with[asked.split.port()] = text(&asked.file).into();
        }
        let from = inputs("documents", &["documents", "sources"]);
        stages.push(maker.stage("questions".to_owned(), "ingest-questions", &with, from)?);
    }
    let from = inputs("documents", &["documents"]);
    let extract = |params| maker.stage("extract".to_owned(), "extract", &params, from.clone());
    // A build without the English language pipeline refuses the default.
    let extract = extract(json!({})).or_else(|_| extract(json!({"by": "patterns"})))?;
    let mut from = inputs("documents", &["documents", "sources"]);
    from.extend(inputs("extract", &["facts", "mentions", "named"]));
    let graph = maker.stage("kg".to_owned(), "build-kg", &json!({}), from)?;
    stages.splice(0..0, [read]);
    stages.extend([extract, graph.clone()]);
    let audit = maker.built("audit".to_owned(), &graph, &stages)?;
    let target = Target {
        stage: audit.name.clone(),
        kg: None,
        root: Some(preview::folder(&documents.path)),
    };
    stages.push(audit);
    let pipeline = Pipeline {
        warnings: Vec::new(),
        files: Vec::new(),
        name: documents.name.clone(),
        file: documents.path.clone(),
        stages,
    };
    Ok((pipeline, vec![target]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::of_pipeline;
    use super::super::tests::loaded;
    use super::*;
    use crate::init::{Data, look_at};
    use crate::registry::builtin;

    fn inputs(pipeline: &Pipeline, stage: &str) -> Vec<String> {
        let inputs = pipeline.stage(stage).unwrap().inputs.iter();
        inputs
            .map(|(port, from)| {
                let from: Vec<String> = from.iter().map(ToString::to_string).collect();
                format!("{port}: {}", from.join(", "))
            })
            .collect()
    }

    #[test]
    fn a_graph_of_documents_is_audited_with_what_it_was_made_from() {
        let yaml = "stages:
  texts: {op: ingest-documents, with: {path: docs}}
  asked:
    op: ingest-questions
    in: {documents: texts.documents, sources: texts.sources}
    with: {dataset: x, test: q.csv}
  other: {op: ingest-documents, with: {path: other}}
  others: {op: ingest-questions, in: {documents: other.documents}, with: {dataset: y, test: r.csv}}
  found: {op: extract, in: {documents: texts.documents}, with: {by: patterns}}
  built: {op: build-kg, in: {documents: texts.documents, facts: found.facts, mentions: found.mentions}}
";
        let made = of_pipeline(loaded(yaml), &builtin(), AuditOptions::default());
        let (pipeline, targets) = made.unwrap();
        assert_eq!(targets.len(), 1);
        assert_eq!(targets[0].name(), "docs");
        assert_eq!(targets[0].path("a/b.txt"), "docs/a/b.txt");
        for table in ["facts", "mentions", "documents", "named"] {
            assert_eq!(targets[0].path(table), table);
        }
        assert_eq!(
            inputs(&pipeline, "audit"),
            [
                "documents: texts.documents",
                "entities: built.entities",
                "facts: found.facts",
                "links: built.links",
                "mentions: found.mentions",
                "nodes: built.nodes",
                "places: asked.places, built.places",
                "questions: asked.train, asked.valid, asked.test",
                "rejects: texts.rejects, found.rejects, asked.rejects, built.rejects",
                "relations: built.relations",
                "triples: built.triples",
            ]
        );
        // A graph that has an audit gets no second one.
        let own = format!(
            "{yaml}  look: {{op: audit, in: {{entities: built.entities, triples: built.triples, relations: built.relations}}}}\n"
        );
        let (pipeline, targets) =
            of_pipeline(loaded(&own), &builtin(), AuditOptions::default()).unwrap();
        assert_eq!((targets.len(), pipeline.stages.len()), (1, 7));
    }

    #[test]
    fn documents_are_audited_with_a_graph_that_is_made_of_them() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.txt"), "Ada Alder lives here.").unwrap();
        std::fs::write(dir.path().join("test.json"), r#"[{"question": "Who?"}]"#).unwrap();
        let Data::Documents(documents) = look_at(dir.path()).unwrap() else {
            panic!("documents are taken for a data set")
        };
        let made = of_documents(&documents, &builtin(), AuditOptions { layers: Some(2) });
        let (pipeline, targets) = made.unwrap();
        let stages: Vec<&str> = pipeline.stages.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(stages, ["documents", "questions", "extract", "kg", "audit"]);
        assert_eq!(
            targets[0].path("a.txt"),
            dir.path().join("a.txt").display().to_string()
        );
        let audit = inputs(&pipeline, "audit");
        assert!(
            audit.contains(&"sources: documents.sources".to_owned()),
            "{audit:?}"
        );
        assert!(audit.contains(&"places: questions.places, kg.places".to_owned()));
        assert_eq!(pipeline.stage("audit").unwrap().params["layers"], json!(2));
    }
}
