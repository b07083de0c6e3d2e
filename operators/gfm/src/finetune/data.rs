//! Data sets of fine-tuning: a graph with its documents, training questions and validation
//! questions.

use std::collections::BTreeMap;

use gfm_pipe_api::{Artifact, Connected, Context, OpError, OpResult, columns, is_connected};
use gfm_pipe_eval::EntityDocuments;

use super::Params;
use super::ranked::LossTargets;
use crate::inputs::{EncoderId, LoadedGraph};
use crate::train::estimate::port;
use crate::types::Types;
use gfm_pipe_api::zip::{connected, zipped};
use gfm_pipe_model::backend::{DeviceCache, Source};
use gfm_pipe_model::divided::{Divided, Dividing};
use gfm_pipe_model::graph::Graph;
use gfm_pipe_model::model::Class;
use gfm_pipe_model::questions::{Questions, read_entity_documents};

/// The input artifacts of one set of questions.
#[derive(Clone)]
struct QuestionArtifacts {
    questions: Artifact,
    embeddings: Artifact,
    starts: Option<Artifact>,
    features: Option<Artifact>,
}

/// The input artifacts of a data set.
#[derive(Clone)]
pub(super) struct DataSet {
    graph: Artifact,
    documents: Artifact,
    nodes: Option<Artifact>,
    train: Option<QuestionArtifacts>,
    valid: Option<QuestionArtifacts>,
}

/// A data set, loaded into memory.
pub(super) struct Data {
    pub kept: DeviceCache,
    /// The graph and its embeddings. Where ranks divide graphs, the graph has no edges.
    pub input: LoadedGraph,
    /// Number of nodes of the whole graph.
    pub nodes: usize,
    /// This rank's part of the graph, where ranks divide graphs.
    pub divided: Option<Divided>,
    pub documents: EntityDocuments,
    /// What losses and validation rank.
    pub ranked: LossTargets,
    pub train: Split,
    pub valid: Split,
    /// Number of training questions that cannot be trained on.
    pub unusable: usize,
    /// Where the validation questions come from, for the log.
    pub about: &'static str,
}

/// Questions and the nodes that each starts from.
pub(super) struct Split {
    pub questions: Questions,
    pub seeds: Vec<Vec<(u32, f64)>>,
}

/// Ports whose artifacts belong together by position.
pub(super) struct PortGroup {
    pub required: &'static [&'static str],
    /// Ports that may be empty.
    pub optional: &'static [&'static str],
}

/// The groups of ports that belong together by position.
pub(super) fn groups(inputs: &Connected) -> Vec<PortGroup> {
    const OWN: &[&str] = &["graph", "documents", "train", "train_embeddings"];
    const STARTS: &[&str] = &["starts"];
    const VALID: &[&str] = &["valid", "valid_embeddings"];
    const VALID_STARTS: &[&str] = &["valid_starts"];
    const NODES: &[&str] = &["nodes"];
    const VALID_NODES: &[&str] = &["valid_nodes"];
    const FEATURES: &[&str] = &["features"];
    const VALID_FEATURES: &[&str] = &["valid_features"];
    const APART: &[&str] = &[
        "valid",
        "valid_embeddings",
        "valid_graph",
        "valid_documents",
    ];
    let group = |required, optional| PortGroup { required, optional };
    if is_connected(inputs)("valid_graph") {
        vec![
            group(OWN, STARTS),
            group(OWN, NODES),
            group(OWN, FEATURES),
            group(APART, VALID_STARTS),
            group(APART, VALID_NODES),
            group(APART, VALID_FEATURES),
        ]
    } else {
        vec![
            group(OWN, VALID),
            group(OWN, STARTS),
            group(OWN, NODES),
            group(OWN, FEATURES),
            group(VALID, VALID_STARTS),
            group(VALID, VALID_FEATURES),
            group(&["valid_graph", "valid_documents"], VALID_NODES),
        ]
    }
}

/// The data sets of all ports: first the training ones, then those for validation only.
pub(super) fn data_sets(ctx: &Context) -> OpResult<Vec<DataSet>> {
    for group in groups(&connected(ctx)) {
        zipped(ctx, group.required, group.optional)?;
    }
    data_sets_of(&ctx.inputs)
}

/// The same as [`data_sets`], from the artifacts by port.
pub(super) fn data_sets_of(inputs: &BTreeMap<String, Vec<Artifact>>) -> OpResult<Vec<DataSet>> {
    let apart = !port(inputs, "valid_graph").is_empty();
    let at = |name: &str, i: usize| port(inputs, name).get(i).cloned();
    let set = |[graph, documents, nodes]: [&str; 3], i, train, valid| -> OpResult<DataSet> {
        let missing = |port: &str| OpError::new(format!("nothing is connected to input `{port}`"));
        Ok(DataSet {
            graph: at(graph, i).ok_or_else(|| missing(graph))?,
            documents: at(documents, i).ok_or_else(|| missing(documents))?,
            nodes: at(nodes, i),
            train,
            valid,
        })
    };
    let artifacts = |[questions, embeddings, starts, features]: [&str; 4], i| {
        Some(QuestionArtifacts {
            questions: at(questions, i)?,
            embeddings: at(embeddings, i)?,
            starts: at(starts, i),
            features: at(features, i),
        })
    };
    let of_train = ["train", "train_embeddings", "starts", "features"];
    let of_valid = [
        "valid",
        "valid_embeddings",
        "valid_starts",
        "valid_features",
    ];
    let mut out = Vec::new();
    for i in 0..port(inputs, "graph").len() {
        let valid = artifacts(of_valid, i).filter(|_| !apart);
        let train = artifacts(of_train, i);
        out.push(set(["graph", "documents", "nodes"], i, train, valid)?);
    }
    for i in 0..port(inputs, "valid_graph").len() {
        let valid = artifacts(of_valid, i);
        let ports = ["valid_graph", "valid_documents", "valid_nodes"];
        out.push(set(ports, i, None, valid)?);
    }
    Ok(out)
}

impl Data {
    /// The graph and embeddings, as backends need them.
    pub fn source(&self) -> Source<'_> {
        Source {
            graph: &self.input.graph,
            texts: self.input.texts.borrowed(),
            divided: self.divided.as_ref(),
            cache: &self.kept,
        }
    }
}

impl DataSet {
    /// The data set's name, which its questions store.
    pub fn name(&self) -> OpResult<String> {
        let artifacts = self.train.as_ref().or(self.valid.as_ref());
        let Some(artifacts) = artifacts else {
            return Ok(self.graph.name.clone());
        };
        let info = artifacts.questions.read("info")?;
        Ok(columns::text(&info, "dataset")?.value(0).to_owned())
    }

    /// Name of the graph's artifact, for the log.
    pub fn graph(&self) -> &str {
        &self.graph.name
    }

    /// Whether the data set is for validation only.
    pub fn only_validates(&self) -> bool {
        self.train.is_none()
    }

    /// Encoders of all texts of the data set, the graph's first.
    pub fn encoders(&self) -> OpResult<Vec<EncoderId>> {
        let mut out = vec![EncoderId::of_graph(&self.graph)?];
        for artifacts in self.train.iter().chain(&self.valid) {
            out.push(EncoderId::of_embeddings(&artifacts.embeddings)?);
        }
        Ok(out)
    }

    /// Reads the data set and splits its questions. `hold_out`: whether a part of the training
    /// questions is held out for validation if no validation questions are given. Where ranks
    /// divide graphs, only this rank's part is kept.
    pub fn read(&self, p: &Params, hold_out: bool, dividing: Option<&Dividing>) -> OpResult<Data> {
        let mut input = LoadedGraph::read(&self.graph)?;
        let documents = read_entity_documents(&self.documents)?;
        if documents.num_entities() != input.graph.nodes() {
            return Err(OpError::new(format!(
                "the graph `{}` has {} nodes, the entity-document matrix {} entities",
                self.graph.name,
                input.graph.nodes(),
                documents.num_entities()
            ))
            .artifact(&self.documents.name)
            .hint("make both from the same ingest-kg stage"));
        }
        let read = |artifacts: &QuestionArtifacts| -> OpResult<Questions> {
            let q = Questions::read(&artifacts.questions, &artifacts.embeddings)?;
            let q = q.starting(artifacts.starts.as_ref())?;
            let q = q.featuring(artifacts.features.as_ref())?;
            q.check(input.graph.nodes(), documents.num_documents())?;
            Ok(q)
        };
        let all = self.train.as_ref().map(read).transpose()?;
        let given = self.valid.as_ref().map(read).transpose()?;
        let given = given.filter(|q| !q.is_empty() || all.is_none());
        let class = p.model.class();
        let usable = all.as_ref().map(|q| usable(q, class)).unwrap_or_default();
        let unusable = all.as_ref().map_or(0, |q| q.len() - usable.len());
        let fraction = p.train.own.valid_fraction;
        let (train, valid, about) = match (all, given) {
            (Some(all), Some(valid)) => (all.subset(&usable), valid, "given"),
            (None, Some(valid)) => (valid.subset(&[]), valid, "given"),
            (Some(all), None) if hold_out => {
                let (held, kept): (Vec<usize>, Vec<usize>) = usable
                    .iter()
                    .partition(|i| hashed(p.seed, &all.ids[**i]) < fraction);
                (all.subset(&kept), all.subset(&held), "held out")
            }
            (Some(all), None) => (all.subset(&usable), all.subset(&[]), "none"),
            (None, None) => {
                return Err(OpError::new("a data set without questions").artifact(&self.graph.name));
            }
        };
        let nodes = input.graph.nodes();
        let config = p.model.config();
        let divided = dividing.map(|d| d.cut(&input.graph, &config)).transpose()?;
        let check = input.texts.check(&config);
        check.map_err(|e| e.artifact(&self.graph.name))?;
        let types = Types::read(self.nodes.as_ref(), nodes)?;
        let (types, texts) = (types.as_ref(), input.texts.nodes.as_ref());
        let ranked = LossTargets::new(p, !train.is_empty(), types, &documents, texts)
            .map_err(|e| e.artifact(&self.graph.name))?;
        if let Some(divided) = &divided {
            input.graph = Graph::new(0, input.graph.relations(), &[]);
            input.texts.keep(divided.part())?;
        }
        let weighted = p.train.own.init_entities_weight && class.weighs_starts();
        let split = |questions: Questions| Split {
            seeds: (0..questions.len())
                .map(|i| questions.seeds(i, &documents, weighted))
                .collect(),
            questions,
        };
        Ok(Data {
            kept: DeviceCache::default(),
            train: split(train),
            valid: split(valid),
            input: input.into_dtype(p.train.common.dtype())?,
            nodes,
            divided,
            documents,
            ranked,
            unusable,
            about,
        })
    }
}

/// Questions that have a node to start from, a known gold entity and a known gold document; for a
/// GraphReasoner one of the two is enough.
fn usable(q: &Questions, class: Class) -> Vec<usize> {
    let answered = |i: usize| {
        let entities = !q.supporting_entities[i].is_empty();
        let documents = !q.supporting_documents[i].is_empty();
        match class {
            Class::GraphReasoner => entities || documents,
            Class::GNNRetriever | Class::QueryGNN => entities && documents,
        }
    };
    let all = 0..q.len();
    all.filter(|i| q.starts_somewhere(*i) && answered(*i))
        .collect()
}

/// A number in [0, 1) from seed and id, so that the split of a question does not depend on the
/// other questions.
fn hashed(seed: u64, id: &str) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(id.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    (u64::from_le_bytes(bytes) >> 11) as f64 / (1u64 << 53) as f64
}
