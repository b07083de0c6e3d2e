//! An audit as a pipeline: stages that read data and check it, for folders of data or for the data
//! that a pipeline reads.
//!
//! Invariant: the stages that read data are the same as in the pipeline for that data (the one that
//! `init` writes, or the given one). So a run takes results of an audit from the store, and an
//! audit those of a run.

mod documents;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::registry::audit_tables::TABLES;
use crate::registry::layout;
use crate::registry::preview;
use gfm_pipe_api::{Kind, OpEntry, kinds};
use serde_json::{Value, json};

pub use self::documents::of_documents;
use crate::init::{DataSet, Layout};
use crate::spec::{Limits, Origin, Pipeline, PortRef, Stage, Written};

/// A data set that is audited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The stage that audits it.
    pub stage: String,
    /// The file of its graph, where the pipeline names one.
    kg: Option<PathBuf>,
    /// Its folder, where the pipeline names one.
    root: Option<PathBuf>,
}

impl Target {
    /// Its name for people: its folder, or the file of its graph.
    pub fn name(&self) -> String {
        let path = self.root.as_ref().or(self.kg.as_ref());
        path.map_or_else(|| self.stage.clone(), |p| p.display().to_string())
    }

    /// The path of a file that findings name, as the user would write it.
    pub fn path(&self, source: &str) -> String {
        if TABLES.contains(&source) {
            return source.to_owned();
        }
        let kg = self.kg.as_ref();
        if let Some(kg) = kg.filter(|kg| kg.file_name().is_some_and(|name| name == source)) {
            return kg.display().to_string();
        }
        let root = self.root.as_ref();
        root.map_or_else(
            || source.to_owned(),
            |r| r.join(source).display().to_string(),
        )
    }
}

/// Why an audit cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// This build does not have the operator.
    #[error("there is no operator `{0}`")]
    NoOperator(&'static str),
    /// An operator refused its parameters.
    #[error("{0}")]
    Parameters(String),
    /// Nothing in the pipeline reads data.
    #[error("{}: no stage reads data: there is no ingest-kg, no ingest-qa, no ingest-graph and no build-kg", .0.display())]
    NoData(PathBuf),
    /// A part of a graph is missing.
    #[error("{place}: stage `{stage}` has its entities from `{from}`, which gives no {missing}")]
    NoGraph {
        /// `file:line:column` of the stage.
        place: String,
        /// The stage.
        stage: String,
        /// The stage that its entities come from.
        from: String,
        /// The kind of artifact that is missing.
        missing: &'static str,
    },
}

/// How to audit.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditOptions {
    /// Number of layers of the model. `None` leaves the operator's default, or what the pipeline
    /// says.
    pub layers: Option<u32>,
}

/// Makes the stages of an audit.
struct Maker<'a> {
    ops: &'a [OpEntry],
    options: AuditOptions,
    origin: Origin,
}

type Inputs = BTreeMap<String, Vec<PortRef>>;

impl Maker<'_> {
    fn stage(
        &self,
        name: String,
        op: &'static str,
        params: &Value,
        inputs: Inputs,
    ) -> Result<Stage, AuditError> {
        let entry = self.ops.iter().find(|o| o.name == op);
        let entry = entry.ok_or(AuditError::NoOperator(op))?;
        let params = entry.validate(params).map_err(|problems| {
            let texts: Vec<String> = problems.into_iter().map(|p| p.message).collect();
            AuditError::Parameters(texts.join("; "))
        })?;
        Ok(Stage {
            name,
            op: entry.clone(),
            params,
            inputs,
            after: Vec::new(),
            limits: Limits::default(),
            origin: self.origin.clone(),
            written: Arc::new(Written::default()),
        })
    }

    /// Makes the stage that audits the outputs of these stages.
    fn audit(
        &self,
        name: String,
        graph: &Stage,
        entities: &PortRef,
        qa: Option<&Stage>,
    ) -> Result<Stage, AuditError> {
        let mut inputs = Inputs::from([("entities".to_owned(), vec![entities.clone()])]);
        for (name, kind) in [
            ("triples", &kinds::TRIPLES),
            ("relations", &kinds::RELATIONS),
        ] {
            let first = ports(graph, kind).into_iter().next();
            let first = first.ok_or_else(|| AuditError::NoGraph {
                place: self.origin.to_string(),
                stage: qa.unwrap_or(graph).name.clone(),
                from: graph.name.clone(),
                missing: kind.name,
            })?;
            inputs.insert(name.to_owned(), vec![first]);
        }
        for (name, kind) in [("rejects", &kinds::REJECTS), ("places", &kinds::PLACES)] {
            let mut all = ports(graph, kind);
            all.extend(qa.map(|s| ports(s, kind)).unwrap_or_default());
            inputs.insert(name.to_owned(), all);
        }
        if let Some(qa) = qa {
            for (name, kind) in [
                ("documents", &kinds::DOCUMENTS),
                ("links", &kinds::LINKS),
                ("questions", &kinds::QUESTIONS),
            ] {
                inputs.insert(name.to_owned(), ports(qa, kind));
            }
        }
        self.audit_of(name, inputs)
    }

    /// Makes the stage that audits what `ingest-graph` reads: the graph, its documents and its
    /// questions.
    fn typed(&self, name: String, data: &Stage) -> Result<Stage, AuditError> {
        let all = [
            ("entities", &kinds::ENTITIES),
            ("triples", &kinds::TRIPLES),
            ("relations", &kinds::RELATIONS),
            ("nodes", &kinds::NODES),
            ("documents", &kinds::DOCUMENTS),
            ("links", &kinds::LINKS),
            ("questions", &kinds::QUESTIONS),
            ("rejects", &kinds::REJECTS),
            ("places", &kinds::PLACES),
        ];
        let inputs = all.map(|(port, kind)| (port.to_owned(), ports(data, kind)));
        self.audit_of(name, inputs.into())
    }

    fn audit_of(&self, name: String, mut inputs: Inputs) -> Result<Stage, AuditError> {
        inputs.retain(|_, from| !from.is_empty());
        let params = match self.options.layers {
            Some(layers) => json!({"layers": layers}),
            None => json!({}),
        };
        self.stage(name, "audit", &params, inputs)
    }
}

/// The output ports of a stage that have this kind.
fn ports(stage: &Stage, kind: &Kind) -> Vec<PortRef> {
    let ports = stage.op.outputs.iter().filter(|p| *p.kind == *kind);
    ports
        .map(|p| PortRef {
            stage: stage.name.clone(),
            port: p.name.to_owned(),
        })
        .collect()
}

fn entities_of(kg: &Stage) -> PortRef {
    PortRef {
        stage: kg.name.clone(),
        port: "entities".to_owned(),
    }
}

/// Makes a pipeline that audits the data sets found in a folder.
///
/// # Errors
/// When an operator is missing or refuses its parameters.
pub fn of_data(
    folder: &Path,
    sets: &[DataSet],
    ops: &[OpEntry],
    options: AuditOptions,
) -> Result<(Pipeline, Vec<Target>), AuditError> {
    let maker = Maker {
        ops,
        options,
        origin: Origin {
            file: folder.to_owned(),
            line: 1,
            column: 1,
        },
    };
    let mut stages = Vec::new();
    let mut targets = Vec::new();
    for set in sets {
        let name = |base: &str| match sets.len() {
            1 => base.to_owned(),
            _ => format!("{base}[{}]", set.name),
        };
        if set.layout == Layout::Two {
            let params = json!({"root": set.root.to_string_lossy(), "dataset": set.name});
            let data = maker.stage(name("data"), "ingest-graph", &params, Inputs::new())?;
            let audit = maker.typed(name("audit"), &data)?;
            targets.push(Target {
                stage: audit.name.clone(),
                kg: None,
                root: Some(set.root.clone()),
            });
            stages.extend([data, audit]);
            continue;
        }
        let path = json!({"path": set.kg.to_string_lossy()});
        let kg = maker.stage(name("kg"), "ingest-kg", &path, Inputs::new())?;
        let entities = entities_of(&kg);
        let qa = set.documents.then(|| {
            let params = json!({"root": set.root.to_string_lossy(), "dataset": set.name});
            let inputs = Inputs::from([("entities".to_owned(), vec![entities.clone()])]);
            maker.stage(name("qa"), "ingest-qa", &params, inputs)
        });
        let qa = qa.transpose()?;
        let audit = maker.audit(name("audit"), &kg, &entities, qa.as_ref())?;
        targets.push(Target {
            stage: audit.name.clone(),
            kg: Some(set.kg.clone()),
            root: qa.is_some().then(|| set.root.clone()),
        });
        stages.extend([Some(kg), qa, Some(audit)].into_iter().flatten());
    }
    let name = match sets {
        [only] => only.name.clone(),
        _ => "many".to_owned(),
    };
    let pipeline = Pipeline {
        warnings: Vec::new(),
        files: Vec::new(),
        name,
        file: folder.to_owned(),
        stages,
    };
    Ok((pipeline, targets))
}

/// Makes a pipeline that audits what the given one reads. Its own audits stay as they are, except
/// that `strict` is cleared, and each stage that reads data and has no audit gets one.
///
/// # Errors
/// When it reads no data, or a part of a graph is missing.
pub fn of_pipeline(
    mut pipeline: Pipeline,
    ops: &[OpEntry],
    options: AuditOptions,
) -> Result<(Pipeline, Vec<Target>), AuditError> {
    let mut audited = BTreeSet::new();
    let mut names = Vec::new();
    for stage in pipeline.stages.iter_mut().filter(|s| s.op.name == "audit") {
        // An audit shows all findings; what is fatal is decided by the user who runs it.
        stage.params["strict"] = json!([]);
        if let Some(layers) = options.layers {
            stage.params["layers"] = json!(layers);
        }
        audited.extend(stage.inputs.values().flatten().map(|r| r.stage.clone()));
        names.push(stage.name.clone());
    }
    let mut made = Vec::new();
    for qa in pipeline.stages.iter().filter(|s| s.op.name == "ingest-qa") {
        let entities = qa.inputs.get("entities").and_then(|from| from.first());
        let graph = entities.and_then(|from| pipeline.stage(&from.stage));
        let (Some(entities), Some(graph)) = (entities, graph) else {
            continue;
        };
        let seen = !audited.insert(qa.name.clone());
        audited.insert(graph.name.clone());
        if !seen {
            let name = free(&pipeline, &made, &qa.name);
            made.push(maker(qa, ops, options).audit(name, graph, entities, Some(qa))?);
        }
    }
    for kg in pipeline.stages.iter().filter(|s| s.op.name == "ingest-kg") {
        if audited.insert(kg.name.clone()) {
            let name = free(&pipeline, &made, &kg.name);
            made.push(maker(kg, ops, options).audit(name, kg, &entities_of(kg), None)?);
        }
    }
    for data in pipeline
        .stages
        .iter()
        .filter(|s| s.op.name == "ingest-graph")
    {
        if audited.insert(data.name.clone()) {
            let name = free(&pipeline, &made, &data.name);
            made.push(maker(data, ops, options).typed(name, data)?);
        }
    }
    for kg in pipeline.stages.iter().filter(|s| s.op.name == "build-kg") {
        if audited.insert(kg.name.clone()) {
            let name = free(&pipeline, &made, &kg.name);
            made.push(maker(kg, ops, options).built(name, kg, &pipeline.stages)?);
        }
    }
    names.extend(made.iter().map(|s| s.name.clone()));
    pipeline.stages.extend(made);
    if names.is_empty() {
        return Err(AuditError::NoData(pipeline.file));
    }
    let targets = names.into_iter().map(|n| target(&pipeline, n)).collect();
    Ok((pipeline, targets))
}

fn maker<'a>(stage: &Stage, ops: &'a [OpEntry], options: AuditOptions) -> Maker<'a> {
    Maker {
        ops,
        options,
        origin: stage.origin.clone(),
    }
}

/// A name for the audit of a stage, different from all other names. It keeps the stage's labels.
fn free(pipeline: &Pipeline, made: &[Stage], of: &str) -> String {
    let labels = of.find('[').map_or("", |at| &of[at..]);
    let taken = |name: &str| {
        let mut all = pipeline.stages.iter().chain(made);
        all.any(|s| s.name == name)
    };
    let mut name = format!("audit{labels}");
    let mut n = 1;
    while taken(&name) {
        n += 1;
        name = format!("audit-{n}{labels}");
    }
    name
}

/// The data set that an audit stage audits, with the paths that its inputs were read from.
fn target(pipeline: &Pipeline, stage: String) -> Target {
    let source = |port: &str, op: &str, key: &str| -> Option<PathBuf> {
        let from = pipeline.stage(&stage)?.inputs.get(port)?.first()?;
        let from = pipeline.stage(&from.stage).filter(|s| s.op.name == op)?;
        Some(from.params.get(key)?.as_str()?.into())
    };
    let root = source("documents", "ingest-qa", "root")
        .or_else(|| source("questions", "ingest-qa", "root"))
        .or_else(|| source("entities", "ingest-graph", "root"));
    let kg = source("entities", "ingest-kg", "path");
    let documents = source("documents", "ingest-documents", "path");
    Target {
        kg: kg.or_else(|| Some(root.as_ref()?.join(layout::KG))),
        root: root.or_else(|| Some(preview::folder(&documents?))),
        stage,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::registry::builtin;
    use crate::spec::{LoadOptions, load};

    pub(super) fn loaded(yaml: &str) -> Pipeline {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p.yaml");
        std::fs::write(&file, yaml).unwrap();
        load(&file, &LoadOptions::default(), &builtin()).unwrap_or_else(|e| panic!("{e}"))
    }

    fn audits(yaml: &str) -> (Pipeline, Vec<Target>) {
        of_pipeline(loaded(yaml), &builtin(), AuditOptions::default()).unwrap()
    }

    #[test]
    fn every_ingest_of_a_pipeline_has_an_audit() {
        let yaml = "stages:
  kg: {op: ingest-kg, foreach: {ds: [a, b]}, with: {path: '{{ ds }}/g.txt'}}
  qa: {op: ingest-qa, foreach: {ds: [b]}, in: {entities: kg.entities}, with: {root: 'x/{{ ds }}', dataset: '{{ ds }}'}}
  audit: {op: ingest-kg, with: {path: c.txt}}
";
        let (pipeline, targets) = audits(yaml);
        let names: Vec<&str> = targets.iter().map(|t| t.stage.as_str()).collect();
        assert_eq!(names, ["audit[b]", "audit[a]", "audit-2"]);
        let shown: Vec<String> = targets.iter().map(Target::name).collect();
        assert_eq!(shown, ["x/b", "a/g.txt", "c.txt"]);
        assert_eq!(targets[0].path("g.txt"), "b/g.txt");
        assert_eq!(
            targets[0].path(layout::CORPUS),
            "x/b/raw/dataset_corpus.json"
        );
        let inputs = &pipeline.stage("audit[b]").unwrap().inputs;
        let from =
            |port: &str| -> Vec<String> { inputs[port].iter().map(ToString::to_string).collect() };
        assert_eq!(from("triples"), ["kg[b].triples"]);
        assert_eq!(
            from("questions"),
            ["qa[b].train", "qa[b].valid", "qa[b].test"]
        );
        assert_eq!(from("places"), ["kg[b].places", "qa[b].places"]);
        let alone = &pipeline.stage("audit-2").unwrap().inputs;
        let ports: Vec<&str> = alone.keys().map(String::as_str).collect();
        assert_eq!(
            ports,
            ["entities", "places", "rejects", "relations", "triples"]
        );
    }

    #[test]
    fn graphs_of_gfm_rag_2_are_audited_with_all_that_they_give() {
        let yaml = "stages:
  typed: {op: ingest-graph, with: {root: 'x/y', dataset: y}}
  kg: {op: ingest-kg, with: {path: kg.txt}}
";
        let (pipeline, targets) = audits(yaml);
        let shown: Vec<String> = targets.iter().map(Target::name).collect();
        assert_eq!(shown, ["kg.txt", "x/y"]);
        assert_eq!(
            targets[1].path(layout::NODES),
            "x/y/processed/stage1/nodes.csv"
        );
        let inputs = &pipeline.stage(&targets[1].stage).unwrap().inputs;
        let ports: Vec<&str> = inputs.keys().map(String::as_str).collect();
        assert_eq!(
            ports,
            [
                "documents",
                "entities",
                "links",
                "nodes",
                "places",
                "questions",
                "rejects",
                "relations",
                "triples"
            ]
        );
        assert_eq!(inputs["questions"].len(), 3);
        // Its own audit is enough.
        let own = "stages:
  typed: {op: ingest-graph, with: {root: 'x/y', dataset: y}}
  look:
    op: audit
    in: {entities: typed.entities, triples: typed.triples, relations: typed.relations}
";
        let (pipeline, targets) = audits(own);
        assert_eq!((pipeline.stages.len(), targets.len()), (2, 1));
        assert_eq!(targets[0].name(), "x/y");
    }

    #[test]
    fn audits_of_a_pipeline_are_taken_without_their_strictness() {
        let yaml = "stages:
  kg: {op: ingest-kg, with: {path: kg.txt}}
  look:
    op: audit
    in: {entities: kg.entities, triples: kg.triples, relations: kg.relations}
    with: {layers: 3, strict: [errors]}
";
        let (pipeline, targets) = audits(yaml);
        assert_eq!(pipeline.stages.len(), 2);
        assert_eq!(targets[0].name(), "kg.txt");
        let params = &pipeline.stage("look").unwrap().params;
        assert_eq!(
            (&params["layers"], &params["strict"]),
            (&json!(3), &json!([]))
        );
        let options = AuditOptions { layers: Some(2) };
        let (pipeline, _) = of_pipeline(loaded(yaml), &builtin(), options).unwrap();
        assert_eq!(pipeline.stage("look").unwrap().params["layers"], json!(2));
    }

    #[test]
    fn a_pipeline_without_data_is_refused() {
        let yaml = "stages: {x: {op: exec, with: {command: [x], outputs: {entities: entities}}}}";
        let made = of_pipeline(loaded(yaml), &builtin(), AuditOptions::default());
        let e = made.err().unwrap().to_string();
        assert!(
            e.ends_with("there is no ingest-kg, no ingest-qa, no ingest-graph and no build-kg"),
            "{e}"
        );
        let yaml = "stages:
  x: {op: exec, with: {command: [x], outputs: {entities: entities}}}
  qa: {op: ingest-qa, in: {entities: x.entities}, with: {root: x, dataset: x}}
";
        let made = of_pipeline(loaded(yaml), &builtin(), AuditOptions::default());
        let e = made.err().unwrap().to_string();
        assert!(
            e.contains(":3:3: stage `qa` has its entities from `x`, which gives no triples"),
            "{e}"
        );
    }
}
