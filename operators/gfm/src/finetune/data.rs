//! Data sets of fine-tuning: a graph with its documents, questions to train on, questions to validate on.

use std::collections::BTreeMap;

use gfm_pipe_api::{Artifact, Connected, Context, OpError, OpResult, columns};
use gfm_pipe_eval::EntityDocuments;

use super::Params;
use crate::documents::{Questions, read_entity_documents};
use crate::inputs::{EncoderId, LoadedGraph, connected, zipped};
use crate::train::foresee::port;
use gfm_pipe_model::backend::{DeviceCache, Source};
use gfm_pipe_model::divided::{Divided, Dividing};
use gfm_pipe_model::graph::Graph;

/// Questions and their embeddings.
#[derive(Clone)]
struct Asked {
    questions: Artifact,
    embeddings: Artifact,
    starts: Option<Artifact>,
}

/// Artifacts of a data set.
#[derive(Clone)]
pub(super) struct DataSet {
    graph: Artifact,
    documents: Artifact,
    train: Option<Asked>,
    valid: Option<Asked>,
}

/// A data set in memory.
pub(super) struct Data {
    pub kept: DeviceCache,
    /// Of the graph the relations only, where ranks divide graphs.
    pub input: LoadedGraph,
    /// Number of its nodes.
    pub nodes: usize,
    /// This rank's part of it, where ranks divide graphs.
    pub divided: Option<Divided>,
    pub documents: EntityDocuments,
    pub train: Split,
    pub valid: Split,
    /// Training questions that cannot be trained on.
    pub unusable: usize,
    /// Where the validation questions come from, for the log.
    pub about: &'static str,
}

/// Questions with what they start from.
pub(super) struct Split {
    pub questions: Questions,
    pub seeds: Vec<Vec<(u32, f64)>>,
}

/// Ports whose artifacts belong together by position, each group with those of it that may be empty.
pub(super) fn groups(
    inputs: &Connected,
) -> Vec<(&'static [&'static str], &'static [&'static str])> {
    const OWN: &[&str] = &["graph", "documents", "train", "train_embeddings"];
    const STARTS: &[&str] = &["starts"];
    const VALID: &[&str] = &["valid", "valid_embeddings"];
    const VALID_STARTS: &[&str] = &["valid_starts"];
    const APART: &[&str] = &[
        "valid",
        "valid_embeddings",
        "valid_graph",
        "valid_documents",
    ];
    if inputs.get("valid_graph").is_some_and(|v| !v.is_empty()) {
        vec![(OWN, STARTS), (APART, VALID_STARTS)]
    } else {
        vec![
            (OWN, VALID),
            (OWN, STARTS),
            (VALID, VALID_STARTS),
            (&["valid_graph", "valid_documents"], &[]),
        ]
    }
}

/// The data sets of all ports: first those to train on, then those only validated on.
pub(super) fn data_sets(ctx: &Context) -> OpResult<Vec<DataSet>> {
    for (ports, optional) in groups(&connected(ctx)) {
        zipped(ctx, ports, optional)?;
    }
    data_sets_of(&ctx.inputs)
}

/// The same of artifacts by port.
pub(super) fn data_sets_of(inputs: &BTreeMap<String, Vec<Artifact>>) -> OpResult<Vec<DataSet>> {
    let apart = !port(inputs, "valid_graph").is_empty();
    let at = |name: &str, i: usize| port(inputs, name).get(i).cloned();
    let set = |(graph, documents): (&str, &str), i, train, valid| -> OpResult<DataSet> {
        let missing = |port: &str| OpError::new(format!("nothing is connected to input `{port}`"));
        Ok(DataSet {
            graph: at(graph, i).ok_or_else(|| missing(graph))?,
            documents: at(documents, i).ok_or_else(|| missing(documents))?,
            train,
            valid,
        })
    };
    let asked = |[questions, embeddings, starts]: [&str; 3], i| {
        Some(Asked {
            questions: at(questions, i)?,
            embeddings: at(embeddings, i)?,
            starts: at(starts, i),
        })
    };
    let of_train = ["train", "train_embeddings", "starts"];
    let of_valid = ["valid", "valid_embeddings", "valid_starts"];
    let mut out = Vec::new();
    for i in 0..port(inputs, "graph").len() {
        let valid = asked(of_valid, i).filter(|_| !apart);
        let train = asked(of_train, i);
        out.push(set(("graph", "documents"), i, train, valid)?);
    }
    for i in 0..port(inputs, "valid_graph").len() {
        let valid = asked(of_valid, i);
        out.push(set(("valid_graph", "valid_documents"), i, None, valid)?);
    }
    Ok(out)
}

impl Data {
    /// What backends train on.
    pub fn source(&self) -> Source<'_> {
        Source {
            graph: &self.input.graph,
            embeddings: &self.input.embeddings,
            divided: self.divided.as_ref(),
            cache: &self.kept,
        }
    }
}

impl DataSet {
    /// What the data set is called, by its questions.
    pub fn name(&self) -> OpResult<String> {
        let asked = self.train.as_ref().or(self.valid.as_ref());
        let Some(asked) = asked else {
            return Ok(self.graph.name.clone());
        };
        let info = asked.questions.read("info")?;
        Ok(columns::text(&info, "dataset")?.value(0).to_owned())
    }

    /// Name of the graph's artifact, for the log.
    pub fn graph(&self) -> &str {
        &self.graph.name
    }

    /// Whether it is there for validation only.
    pub fn only_validates(&self) -> bool {
        self.train.is_none()
    }

    /// Encoders of all its texts, the graph's first.
    pub fn encoders(&self) -> OpResult<Vec<EncoderId>> {
        let mut out = vec![EncoderId::of_graph(&self.graph)?];
        for asked in self.train.iter().chain(&self.valid) {
            out.push(EncoderId::of_embeddings(&asked.embeddings)?);
        }
        Ok(out)
    }

    /// Reads it and splits its questions. `hold_out`: whether a part of the training questions is validated on where no
    /// others are given. Where ranks divide graphs, only this rank's part is kept.
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
        let read = |asked: &Asked| -> OpResult<Questions> {
            let q = Questions::read(&asked.questions, &asked.embeddings)?;
            let q = q.starting(asked.starts.as_ref())?;
            q.check(input.graph.nodes(), documents.num_documents())?;
            Ok(q)
        };
        let all = self.train.as_ref().map(read).transpose()?;
        let given = self.valid.as_ref().map(read).transpose()?;
        let given = given.filter(|q| !q.is_empty() || all.is_none());
        let usable = all.as_ref().map(usable).unwrap_or_default();
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
        let config = p.model.entity_model.config();
        let divided = dividing.map(|d| d.cut(&input.graph, &config)).transpose()?;
        if divided.is_some() {
            input.graph = Graph::new(0, input.graph.relations(), &[]);
        }
        let split = |questions: Questions| Split {
            seeds: (0..questions.len())
                .map(|i| questions.seeds(i, &documents, p.train.own.init_entities_weight))
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
            unusable,
            about,
        })
    }
}

/// Questions that start somewhere, and have a known gold entity and gold document.
fn usable(q: &Questions) -> Vec<usize> {
    (0..q.len())
        .filter(|i| {
            q.starts_somewhere(*i)
                && !q.supporting_entities[*i].is_empty()
                && !q.supporting_documents[*i].is_empty()
        })
        .collect()
}

/// A number in [0, 1) from seed and id: the same question falls on the same side whatever else the file holds.
fn hashed(seed: u64, id: &str) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(id.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    (u64::from_le_bytes(bytes) >> 11) as f64 / (1u64 << 53) as f64
}
