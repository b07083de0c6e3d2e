//! The operator `explain`: why a system found its documents, for many questions.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt32Array};
use gfm_pipe_api::answer::{MAX_PATHS, Path, Step};
use gfm_pipe_api::zip::{connected, problem_error, zip_problem};
use gfm_pipe_api::{
    Arity, Connected, Context, Field, InPort, OpError, OpResult, Operator, OutPort, Problem,
    Schema, Type, columns, kinds,
};
use gfm_pipe_eval::rankers::{self, DEFAULT_TOP_K, NO_SCORE, RankerName, ranker_type, top_k_field};
use gfm_pipe_eval::starts::Starts;
use gfm_pipe_eval::systems::{FUSED, MODEL, SystemName, Walking, explainable};
use gfm_pipe_model::model::Question;
use gfm_pipe_model::progress::Pass;
use gfm_pipe_model::questions::{OF_QUESTIONS, Questions};
use gfm_pipe_model::scorer::check_scores;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::corpus::Corpus;
use crate::facts::Facts;
use crate::on_graph::OnGraph;
use crate::reasons::{Grounds, Reasons};
use crate::retriever::{Retriever, needs};
use crate::walking::walk_on;

/// The operator `explain`.
pub struct Explain;

/// Parameters of `explain`.
#[derive(Debug, Serialize, Deserialize)]
pub struct ExplainParams {
    system: SystemName,
    documents: usize,
    paths: usize,
    ranker: RankerName,
    top_k: usize,
    node_specificity: bool,
    restart: Option<f64>,
    init_entities_weight: bool,
}

/// Ports of a retriever that `explain` has too. The first ones are needed.
const NEEDED: [&str; 5] = ["documents", "entities", "relations", "triples", "links"];
const MORE: [&str; 10] = [
    "sources",
    "nodes",
    "labels",
    "edge_weights",
    "facts",
    "evidence",
    "sentences",
    "graph",
    "model",
    "background",
];

/// What some of them are for here.
const ABOUT_PORTS: [(&str, &str); 7] = [
    ("documents", "the documents of the rankings"),
    ("sources", "which documents are pieces of one"),
    ("labels", "how entities are shown"),
    ("facts", "facts, for `evidence`"),
    ("evidence", "which facts the triples were made from"),
    ("sentences", "sentences of the facts"),
    (
        "background",
        "the background of `model` on `graph`; computed if it is not given",
    ),
];

/// Documents whose paths are written together.
const WRITTEN_AT_ONCE: usize = 1024;

/// A document of a list.
struct Listed {
    rank: u32,
    title: String,
    score: f64,
}

/// A document with its paths.
struct Explained {
    question: usize,
    rank: u32,
    document: u32,
    paths: Vec<Path>,
}

impl Operator for Explain {
    type Params = ExplainParams;
    const NAME: &'static str = "explain";
    const VERSION: u32 = 2;
    const ABOUT: &'static str = "why a model or personalised PageRank found its documents: paths in the graph from where each question starts";

    fn schema() -> Schema {
        let mut fields = vec![
            Field::new(
                "system",
                Type::one_of(explainable()),
                MODEL.name,
                "whose documents in `rankings` are explained: model (needs `model`, `graph` and `question_embeddings`), ppr, or fused, whose documents are explained by the walks of ppr",
            ),
            Field::new(
                "documents",
                Type::int(1),
                5,
                "first documents of each question that are explained",
            )
            .at_most(1000.0, "each needs a backward pass"),
            Field::new("paths", Type::int(1), 3, "most paths for each document")
                .at_most(MAX_PATHS as f64, "the search keeps ten walks for each node"),
            Field::new(
                "ranker",
                ranker_type(),
                rankers::DEFAULT.name,
                "how the model's entity scores became document scores in `rankings`",
            ),
            top_k_field(DEFAULT_TOP_K),
            Field::new(
                "init_entities_weight",
                Type::Bool,
                true,
                "as in the model's training: yes starts a question entity with weight 1 / number of its documents, no with 1; ignored if `starts` is connected",
            ),
        ];
        fields.extend(Walking::fields());
        Schema::new(fields)
    }

    fn inputs() -> Vec<InPort> {
        let mut ports: Vec<InPort> = Vec::new();
        for mut port in Retriever::ports() {
            if NEEDED.contains(&port.name) {
                port.arity = Arity::One;
            } else if !MORE.contains(&port.name) {
                continue;
            }
            if let Some((_, about)) = ABOUT_PORTS.iter().find(|(name, _)| *name == port.name) {
                port.about = about;
            }
            ports.push(port);
        }
        ports.extend(Questions::ports());
        ports.push(InPort::of(
            "rankings",
            &[&kinds::RANKINGS],
            Arity::One,
            "the documents to explain",
        ));
        ports
    }

    fn outputs() -> Vec<OutPort> {
        vec![OutPort {
            name: "paths",
            kind: &kinds::PATHS,
            about: "the paths",
        }]
    }

    fn check_inputs(p: &ExplainParams, inputs: &Connected) -> Vec<Problem> {
        problem(p, inputs).into_iter().collect()
    }

    fn run(p: ExplainParams, ctx: &Context) -> OpResult<()> {
        if let Some(problem) = problem(&p, &connected(ctx)) {
            return Err(problem_error(problem));
        }
        let corpus = Corpus::read(ctx)?;
        let facts = Facts::read(ctx, corpus.len())?;
        let questions = Questions::of_ports(ctx)?;
        questions.check(facts.nodes(), corpus.len())?;
        let lists = lists(ctx, &p, &questions)?;
        let table = &kinds::PATHS.tables[0];
        let schema = Arc::new(table.schema(0));
        let mut sink = ctx.outputs.create("paths", table.name, schema)?;
        explain(&p, ctx, (&corpus, &facts), &questions, &lists, |found| {
            sink.write(&batch(&p, &corpus, &questions, &found)?)
        })?;
        sink.finish()
    }
}

fn problem(p: &ExplainParams, inputs: &Connected) -> Option<Problem> {
    let of_system = p.system.is(&MODEL).then(|| {
        let asked = format!("system `{}`", MODEL.name);
        needs(inputs, &asked, &["model", "graph", "question_embeddings"])
    });
    Retriever::incomplete(inputs)
        .or_else(|| of_system.flatten())
        .or_else(|| zip_problem(inputs, &["questions"], &OF_QUESTIONS))
}

/// The first documents that the system found for each question.
fn lists(ctx: &Context, p: &ExplainParams, questions: &Questions) -> OpResult<Vec<Vec<Listed>>> {
    let artifact = ctx.input("rankings")?;
    let places: HashMap<&str, usize> = questions.ids.iter().map(String::as_str).zip(0..).collect();
    let mut out: Vec<Vec<Listed>> = questions.ids.iter().map(|_| Vec::new()).collect();
    let (mut others, mut unknown) = (BTreeSet::new(), 0);
    for batch in artifact.batches("rankings")? {
        let batch = batch?;
        let text = |name| columns::text(&batch, name);
        let (ids, systems, titles) = (text("question")?, text("system")?, text("document")?);
        let (ranks, scores) = (
            columns::u32s(&batch, "rank")?,
            columns::f64s(&batch, "score")?,
        );
        for row in 0..batch.num_rows() {
            if systems.value(row) != p.system.name {
                others.insert(systems.value(row).to_owned());
                continue;
            }
            match places.get(ids.value(row)) {
                Some(place) if ranks.value(row) as usize <= p.documents => {
                    out[*place].push(Listed {
                        rank: ranks.value(row),
                        title: titles.value(row).to_owned(),
                        score: scores.value(row),
                    });
                }
                Some(_) => {}
                None => unknown += 1,
            }
        }
    }
    if unknown > 0 {
        return Err(OpError::new(format!(
            "`{}` does not have the questions of {unknown} of the rows",
            questions.name
        ))
        .artifact(&artifact.name)
        .hint("connect the `questions` that the rankings were made for"));
    }
    if out.iter().all(Vec::is_empty) && !others.is_empty() {
        let others: Vec<String> = others.into_iter().map(|o| format!("`{o}`")).collect();
        return Err(OpError::new(format!(
            "system `{}` is not in these rankings, only {}",
            p.system.name,
            others.join(", ")
        ))
        .artifact(&artifact.name)
        .hint("set `system` to the system whose documents are to be explained"));
    }
    Ok(out)
}

/// Explains the lists, and gives the documents to `take` in pieces.
fn explain(
    p: &ExplainParams,
    ctx: &Context,
    (corpus, facts): (&Corpus, &Facts),
    questions: &Questions,
    lists: &[Vec<Listed>],
    mut take: impl FnMut(Vec<Explained>) -> OpResult<()>,
) -> OpResult<()> {
    let matrix = facts.mentioning();
    let (walk, walked) = walk_on(p.restart, ctx, facts)?;
    let model = p.system.is(&MODEL).then(|| {
        let on = OnGraph::read(ctx, p.ranker.0.top_k(p.top_k), Arc::clone(matrix))?;
        on.same_encoder(questions).map(|()| on)
    });
    let model = model.transpose()?;
    let retriever = model.as_ref().map(OnGraph::retriever);
    let model = model.as_ref().zip(retriever.as_ref());
    let on = Grounds {
        corpus,
        facts,
        walk: &walk,
        walked: &walked,
    };
    // The lists of fused have sums of features, which walks alone do not give.
    let fused = p.system.is(&FUSED);
    let titles = corpus.by_title();
    let pass = Pass::whole(ctx, "questions", lists.len());
    let (mut out, mut others, mut all) = (Vec::new(), 0, 0);
    for (question, list) in lists.iter().enumerate() {
        ctx.check_cancelled()?;
        pass.at(question, lists.len());
        let seeds: Starts = match model {
            Some((model, _)) => {
                let weighted = model.weighted(p.init_entities_weight);
                questions.seeds(question, matrix, weighted)
            }
            None => questions.walk(question, matrix, p.node_specificity),
        };
        if seeds.is_empty() || list.is_empty() {
            continue;
        }
        let (reasons, scores) = match model {
            Some((model, retriever)) => {
                let asked = Question {
                    embedding: questions.embedding(question),
                    seeds: &seeds,
                };
                let reasons = Reasons::by_model(on, model, retriever, &asked)?;
                let nodes = reasons.nodes().unwrap_or_default();
                let features = questions.features(question);
                let scores = model.documents(nodes, corpus.pieces.as_deref(), features)?;
                (reasons, scores)
            }
            None => {
                let masses = walk.on.masses(&seeds)?;
                let scores = walk.documents(&masses.unwrap_or_default(), corpus.pieces.as_deref());
                (Reasons::by_walk(on, &seeds), scores)
            }
        };
        if model.is_some() {
            check_scores(reasons.nodes().unwrap_or_default(), facts.nodes(), |_| {
                format!("question `{}`", questions.ids[question])
            })?;
        }
        let mut documents: Vec<(u32, u32)> = Vec::with_capacity(list.len());
        for listed in list {
            let of_title = titles.get(listed.title.as_str()).into_iter().flatten();
            let left = of_title.filter(|d| documents.iter().all(|(_, taken)| taken != *d));
            let mut left = left.copied();
            let document = if fused {
                left.next()
            } else {
                closest(left, &scores, listed.score)
            };
            let document = document.ok_or_else(|| {
                OpError::new(format!("there is no document {:?}", listed.title))
                    .hint("connect the `documents` that the rankings were made of")
            })?;
            all += 1;
            others += usize::from(!fused && !alike(scores[document as usize], listed.score));
            documents.push((listed.rank, document));
        }
        let explained = documents.into_par_iter().map(|(rank, document)| {
            Ok(Explained {
                question,
                rank,
                document,
                paths: reasons.of(document, p.paths)?,
            })
        });
        out.extend(explained.collect::<OpResult<Vec<_>>>()?);
        if out.len() >= WRITTEN_AT_ONCE {
            take(std::mem::take(&mut out))?;
        }
    }
    take(out)?;
    pass.at(lists.len(), lists.len());
    if others > 0 {
        ctx.warn(format!(
            "{others} of {all} documents have another score here than in the rankings, so these \
             paths do not explain them: connect the same model, graph and starts, and give the \
             same ranker and weights, as the stage that made the rankings"
        ));
    }
    Ok(())
}

/// Of documents with the same title, the first one whose score is closest to that in a list.
fn closest(documents: impl Iterator<Item = u32>, scores: &[f64], listed: f64) -> Option<u32> {
    let distance = |d: &u32| (score(scores[*d as usize]) - listed).abs();
    documents.min_by(|a, b| distance(a).total_cmp(&distance(b)))
}

/// Whether two scores are the same but for rounding, which differs between devices.
fn alike(own: f64, listed: f64) -> bool {
    let own = score(own);
    (own - listed).abs() <= 1e-9 + 0.01 * own.abs().max(listed.abs())
}

/// A score as it is in lists.
fn score(score: f64) -> f64 {
    if score == NO_SCORE { 0.0 } else { score }
}

/// The rows of explained documents.
fn batch(
    p: &ExplainParams,
    corpus: &Corpus,
    questions: &Questions,
    explained: &[Explained],
) -> OpResult<RecordBatch> {
    // A path without steps has one row, too.
    let rows = explained.iter().flat_map(|e| {
        (1u32..).zip(&e.paths).flat_map(move |(number, path)| {
            let steps = path.steps.iter().map(Some);
            let none = path.steps.is_empty().then_some(None);
            steps
                .chain(none)
                .map(move |step| (e, number, path.weight, step))
        })
    });
    let rows: Vec<(&Explained, u32, f64, Option<&Step>)> = rows.collect();
    let ids = rows.iter().map(|r| &questions.ids[r.0.question]);
    let systems = rows.iter().map(|_| p.system.name);
    let titles = rows.iter().map(|r| &corpus.titles[r.0.document as usize]);
    let of_step = |of: &dyn Fn(&Step) -> Option<&str>| -> ArrayRef {
        let values = rows.iter().map(|r| r.3.and_then(of));
        Arc::new(values.collect::<StringArray>())
    };
    let layer = |step: Option<&Step>| step.map_or(0, |s| s.layer as u32);
    columns::batch(
        &kinds::PATHS.tables[0],
        vec![
            Arc::new(StringArray::from_iter_values(ids)),
            Arc::new(StringArray::from_iter_values(systems)),
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|r| r.0.rank))),
            Arc::new(StringArray::from_iter_values(titles)),
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|r| r.1))),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.2))),
            Arc::new(UInt32Array::from_iter_values(
                rows.iter().map(|r| layer(r.3)),
            )),
            of_step(&|s| Some(&s.head)),
            of_step(&|s| Some(&s.relation)),
            of_step(&|s| Some(&s.tail)),
            Arc::new(
                rows.iter()
                    .map(|r| r.3.map(|s| s.inverse))
                    .collect::<BooleanArray>(),
            ),
            of_step(&|s| s.title.as_deref()),
            of_step(&|s| s.sentence.as_deref()),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_documents_with_one_title_the_scores_tell_which_is_meant() {
        let scores = [0.5, 0.2, f64::NAN, NO_SCORE, 0.2];
        let all = [0, 1, 2, 3, 4];
        let found = |listed| closest(all.iter().copied(), &scores, listed);
        assert_eq!(found(0.45), Some(0));
        assert_eq!(found(0.21), Some(1));
        // A sum without items is listed as 0.
        assert_eq!(found(0.0), Some(3));
        assert_eq!(closest([2].into_iter(), &scores, 0.5), Some(2));
        assert_eq!(closest(std::iter::empty(), &scores, 0.5), None);
        assert!(alike(NO_SCORE, 0.0) && alike(1.0, 1.009) && alike(1e-5, 1.005e-5));
        assert!(!alike(1.0, 1.02) && !alike(1e-5, 2e-5) && !alike(f64::NAN, 0.5));
    }
}
