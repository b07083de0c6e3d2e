//! The systems that are not trained: dense, BM25, personalised PageRank and their fusion; and what
//! each system must be connected to.

use arrow::array::Array;
use gfm_pipe_api::bm25::Bm25;
use gfm_pipe_api::{Connected, Context, Field, OpError, OpResult, Problem, Type};

use crate::documents::Embeddings;

use crate::eval::dense::Dense;
use crate::eval::ppr::{Ppr, RESTART, RESTART_WITH_PASSAGES};
use crate::eval::rankers::Ranker;
use crate::eval::rrf::fuse;
use crate::eval::{BadShape, EntityDocuments};
use crate::passages::{Passages, weighted_triples};
use crate::retrieval::Setting;

/// Their names.
pub(crate) const BASELINES: [&str; 4] = ["dense", "bm25", "ppr", "rrf"];

/// What `rrf` fuses.
const FUSED: [&str; 3] = ["dense", "bm25", "ppr"];

/// How personalised PageRank walks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walking {
    /// `node_specificity`.
    pub node_specificity: bool,
    /// `restart`.
    pub restart: Option<f64>,
}

/// The parameters of [`Walking`].
pub(crate) fn fields() -> Vec<Field> {
    let specificity = Field::new(
        "node_specificity",
        Type::Bool,
        true,
        "ppr returns to a question entity with weight 1 / number of its documents, as HippoRAG does; else evenly. Not looked at where `starts` is connected",
    );
    let restart = Field::new(
        "restart",
        Type::Float {
            min: 0.01,
            max: 1.0,
        }
        .or_null(),
        serde_json::Value::Null,
        "probability with which ppr returns to the question at each step; null: 0.5 as in HippoRAG, 0.3 where `nodes` says that documents are nodes",
    );
    vec![specificity, restart]
}

/// The ports a system needs besides `corpus` and `questions`, and that `wired` does not have.
pub(crate) fn missing(system: &str, wired: &dyn Fn(&str) -> bool) -> Vec<&'static str> {
    const ON_GRAPH: [&str; 4] = ["model", "graph", "documents", "question_embeddings"];
    let needs: &[&'static str] = match system {
        "model" | "untrained" => &ON_GRAPH,
        "pretrained" => &ON_GRAPH[1..],
        "dense" => &["corpus_embeddings", "question_embeddings"],
        "ppr" => &["graph", "documents"],
        // bm25 needs nothing, and two make a fusion.
        "rrf" if missing("ppr", wired).is_empty() => &[],
        "rrf" => return missing("dense", wired),
        _ => &[],
    };
    needs.iter().copied().filter(|port| !wired(port)).collect()
}

/// `` `graph` and `documents` ``, for messages.
pub(crate) fn listed(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// Whether a port is connected, of what the pipeline says.
pub(crate) fn wired(inputs: &Connected) -> impl Fn(&str) -> bool {
    |port| inputs.get(port).is_some_and(|from| !from.is_empty())
}

/// What is wrong when a system was asked for by name and cannot run; `ways` says what can be done
/// besides connecting what it needs.
pub(crate) fn unwired(system: &str, inputs: &Connected, ways: &str) -> Option<Problem> {
    let missing = missing(system, &wired(inputs));
    if missing.is_empty() {
        return None;
    }
    let (is, missing) = (
        if missing.len() == 1 { "is" } else { "are" },
        listed(&missing),
    );
    let text = format!("system `{system}` needs {missing}, which {is} not connected");
    Some(Problem::at_root(text).hint(format!("connect {missing}{ways}")))
}

/// Baselines, ready to be asked.
pub(crate) struct Baselines<'a> {
    setting: &'a Setting,
    /// Of [`BASELINES`], in that order, those that were wanted and can be asked.
    pub names: Vec<&'static str>,
    walking: Walking,
    dense: Option<Dense>,
    bm25: Option<Bm25>,
    ppr: Option<Walk<'a>>,
}

/// Personalised PageRank and how it ranks documents.
struct Walk<'a> {
    on: Ppr,
    matrix: &'a EntityDocuments,
    /// Where documents are nodes.
    passages: Option<Passages>,
}

impl Walk<'_> {
    /// Scores of documents from the masses of nodes.
    fn documents(&self, masses: &[f64]) -> Vec<f64> {
        match &self.passages {
            Some(passages) => passages.ranking(masses),
            None => Ranker::Simple.ranking(masses, self.matrix),
        }
    }
}

/// What baselines give for a question.
pub(crate) struct Scores {
    /// Scores of all documents by system, in the order of [`Baselines::names`]; `None`: the
    /// question could not be asked.
    pub documents: Vec<(&'static str, Option<Vec<f64>>)>,
    /// Masses of all entities, by personalised PageRank.
    pub entities: Option<Vec<f64>>,
}

impl<'a> Baselines<'a> {
    /// Makes those that `wanted` names and the stage's ports allow; says which it leaves out.
    pub fn new(
        ctx: &Context,
        setting: &'a Setting,
        wanted: &dyn Fn(&str) -> bool,
        walking: Walking,
    ) -> OpResult<Self> {
        let wired = |port: &str| ctx.input_opt(port).is_some();
        let mut names = Vec::new();
        for name in BASELINES.into_iter().filter(|name| wanted(name)) {
            match missing(name, &wired).as_slice() {
                [] => names.push(name),
                ports => ctx.info(format!(
                    "`{name}` is left out: nothing is connected to {}",
                    listed(ports)
                )),
            }
        }
        let fused = names.contains(&"rrf");
        if fused {
            let parts = FUSED.iter().filter(|name| missing(name, &wired).is_empty());
            let parts: Vec<&str> = parts.copied().collect();
            if parts.len() < FUSED.len() {
                ctx.info(format!("`rrf` fuses {} only", listed(&parts)));
            }
        }
        let uses =
            |name: &str| names.contains(&name) || (fused && missing(name, &wired).is_empty());
        let ppr = || -> OpResult<_> {
            let on = setting.on_graph()?;
            let nodes = on.input.graph.nodes();
            let walk = match ctx.input_opt("edge_weights") {
                Some(weights) => Ppr::new(nodes, weighted_triples(ctx.input("graph")?, weights)?),
                None => {
                    let triples = on.input.graph.triples().into_iter();
                    Ppr::new(nodes, triples.map(|[head, _, tail]| (head, tail, 1.0)))
                }
            };
            let passages = ctx.input_opt("nodes");
            let passages = passages.map(|of| Passages::read(of, nodes, setting.titles.len()));
            let passages = passages.transpose()?.flatten();
            let restart = match passages {
                Some(_) => RESTART_WITH_PASSAGES,
                None => RESTART,
            };
            let restart = walking.restart.unwrap_or(restart);
            Ok(Walk {
                on: walk.map_err(shape)?.restart(restart),
                matrix: &on.matrix,
                passages,
            })
        };
        let bm25 = || {
            let pairs = setting.titles.iter().zip(&setting.texts);
            Bm25::new(pairs.map(|(a, b)| (a.unwrap_or(""), b.unwrap_or(""))))
        };
        Ok(Baselines {
            dense: uses("dense").then(|| dense(ctx, setting)).transpose()?,
            bm25: uses("bm25").then(bm25),
            ppr: uses("ppr").then(ppr).transpose()?,
            setting,
            names,
            walking,
        })
    }

    /// Asks them a question.
    pub fn ask(&self, question: usize) -> OpResult<Scores> {
        let questions = &self.setting.questions;
        let by_text = self
            .dense
            .as_ref()
            .map(|d| d.scores(questions.embedding(question)));
        let by_word = self
            .bm25
            .as_ref()
            .map(|b| b.scores(&questions.texts[question]));
        let walk = |walk: &Walk<'_>| {
            let starts = questions.walk(question, walk.matrix, self.walking.node_specificity);
            walk.on.masses(&starts)
        };
        let masses = self.ppr.as_ref().map(walk).transpose().map_err(shape)?;
        let entities = masses.flatten();
        let by_walk = self.ppr.as_ref().zip(entities.as_ref());
        let by_walk = by_walk.map(|(walk, masses)| walk.documents(masses));
        let whole = |scores: Option<Vec<f64>>| scores.map(|s| self.setting.whole(s));
        let mut documents = vec![
            ("dense", whole(by_text.transpose().map_err(shape)?)),
            ("bm25", whole(by_word)),
            ("ppr", whole(by_walk)),
        ];
        if self.names.contains(&"rrf") {
            let parts: Vec<Option<&[f64]>> = documents.iter().map(|s| s.1.as_deref()).collect();
            documents.push(("rrf", whole(fuse(&parts))));
        }
        documents.retain(|(name, _)| self.names.contains(name));
        Ok(Scores {
            documents,
            entities,
        })
    }
}

/// Embeddings of the corpus, by the encoder of the questions.
fn dense(ctx: &Context, setting: &Setting) -> OpResult<Dense> {
    let (corpus, artifact) = (ctx.input("corpus")?, ctx.input("corpus_embeddings")?);
    let e = Embeddings::read(artifact, &corpus.texts()?, &corpus.name)?;
    let questions = &setting.questions;
    if (&e.digest, e.dim) != (&questions.encoder_digest, questions.text_dim) {
        return Err(OpError::new(format!(
            "questions `{}` are embedded with {} ({} wide), the corpus with {} ({} wide)",
            questions.name, questions.encoder, questions.text_dim, e.encoder, e.dim
        ))
        .artifact(&artifact.name)
        .hint("give both `embed` stages the same `model`"));
    }
    Dense::new(e.dim, e.values).map_err(shape)
}

fn shape(e: BadShape) -> OpError {
    OpError::wrap("inputs do not belong together", e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_system_names_the_ports_it_lacks() {
        let lacks = |system, ports: &[&str]| missing(system, &|p| ports.contains(&p));
        let graph = ["graph", "documents"];
        let texts = ["corpus_embeddings", "question_embeddings"];
        assert_eq!(lacks("model", &graph), ["model", "question_embeddings"]);
        assert_eq!(lacks("pretrained", &texts), ["graph", "documents"]);
        assert_eq!(lacks("dense", &graph), texts);
        assert_eq!(lacks("dense", &texts[..1]), texts[1..]);
        assert_eq!(lacks("ppr", &graph[..1]), graph[1..]);
        assert!(lacks("bm25", &[]).is_empty());
        // Either of the two makes a fusion with bm25.
        assert!(lacks("rrf", &graph).is_empty() && lacks("rrf", &texts).is_empty());
        assert_eq!(lacks("rrf", &[]), texts);
        assert_eq!(listed(&["a"]), "`a`");
        assert_eq!(listed(&["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
