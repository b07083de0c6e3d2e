//! The operator `explain`: why a system found its documents, for many questions.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, StringArray, UInt32Array};
use gfm_pipe_api::answer::{MAX_PATHS, Path, Step};
use gfm_pipe_api::zip::{connected, problem_error, zip_problem};
use gfm_pipe_api::{
    Arity, Connected, Context, Field, InPort, OpError, OpResult, Operator, OutPort, Problem,
    Schema, Type, columns, kinds,
};
use gfm_pipe_eval::rankers::{self, DEFAULT_TOP_K, NO_SCORE, RankerName, ranker_type, top_k_field};
use gfm_pipe_eval::starts::Starts;
use gfm_pipe_eval::systems::{MODEL, SystemName, Walking, explainable};
use gfm_pipe_model::model::Question;
use gfm_pipe_model::progress::Pass;
use gfm_pipe_model::questions::{OF_QUESTIONS, Questions};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::corpus::Corpus;
use crate::facts::Facts;
use crate::on_graph::OnGraph;
use crate::reasons::{Grounds, Reasons};
use crate::retriever::{Retriever, needs};
use crate::walking::{matrix, shape, walk_on};

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
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "why a model or personalised PageRank found its documents: paths in the graph from where each question starts";

    fn schema() -> Schema {
        let mut fields = vec![
            Field::new(
                "system",
                Type::one_of(explainable()),
                MODEL.name,
                "whose documents in `rankings` are explained: model (needs `model`, `graph` and `question_embeddings`) or ppr",
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
                ports.push(port);
            } else if MORE.contains(&port.name) {
                ports.push(port);
            }
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
        let explained = explain(&p, ctx, (&corpus, &facts), &questions, &lists)?;
        write(&p, ctx, &corpus, &questions, &explained)
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
            "{unknown} rows are of questions that `{}` does not have",
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

fn explain(
    p: &ExplainParams,
    ctx: &Context,
    (corpus, facts): (&Corpus, &Facts),
    questions: &Questions,
    lists: &[Vec<Listed>],
) -> OpResult<Vec<Explained>> {
    let matrix = matrix(facts, corpus)?;
    let (walk, walked) = walk_on(p.restart, ctx, facts, corpus, &matrix)?;
    let model = p.system.is(&MODEL).then(|| {
        let on = OnGraph::read(ctx, p.ranker.0.top_k(p.top_k), Arc::clone(&matrix))?;
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
    let titles = titles(corpus);
    let pass = Pass::whole(ctx, "questions", lists.len());
    let (mut out, mut others, mut all) = (Vec::new(), 0, 0);
    for (question, list) in lists.iter().enumerate() {
        ctx.check_cancelled()?;
        pass.at(question, lists.len());
        let seeds: Starts = match model {
            Some(_) => questions.seeds(question, &matrix, p.init_entities_weight),
            None => questions.walk(question, &matrix, p.node_specificity),
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
                let scores = model.documents(nodes, corpus.pieces.as_deref());
                (reasons, scores)
            }
            None => {
                let masses = walk.on.masses(&seeds).map_err(shape)?;
                let scores = walk.documents(&masses.unwrap_or_default(), corpus.pieces.as_deref());
                (Reasons::by_walk(on, &seeds), scores)
            }
        };
        let mut documents = Vec::with_capacity(list.len());
        for listed in list {
            let of_title = titles.get(listed.title.as_str());
            let document = of_title.and_then(|all| closest(all, &scores, listed.score));
            let document = document.ok_or_else(|| {
                OpError::new(format!("there is no document {:?}", listed.title))
                    .hint("connect the `documents` that the rankings were made of")
            })?;
            all += 1;
            others += usize::from(!alike(scores[document as usize], listed.score));
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
    }
    pass.at(lists.len(), lists.len());
    if others > 0 {
        ctx.warn(format!(
            "{others} of {all} documents have another score here than in the rankings, so these \
             paths do not explain them: connect the same model, graph and starts, and give the \
             same ranker and weights, as the stage that made the rankings"
        ));
    }
    Ok(out)
}

/// The documents of each title; later pieces of a document are not among them.
fn titles(corpus: &Corpus) -> HashMap<&str, Vec<u32>> {
    let mut out: HashMap<&str, Vec<u32>> = HashMap::new();
    for (document, title) in (0..).zip(&corpus.titles) {
        if corpus.parents[document as usize] == document {
            out.entry(title).or_default().push(document);
        }
    }
    out
}

/// Of documents with the same title, the one whose score is closest to that in a list.
fn closest(documents: &[u32], scores: &[f64], listed: f64) -> Option<u32> {
    let distance = |d: &u32| (score(scores[*d as usize]) - listed).abs();
    let by_distance = |a: &&u32, b: &&u32| distance(a).total_cmp(&distance(b));
    documents.iter().min_by(by_distance).copied()
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

fn write(
    p: &ExplainParams,
    ctx: &Context,
    corpus: &Corpus,
    questions: &Questions,
    explained: &[Explained],
) -> OpResult<()> {
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
    let table = &kinds::PATHS.tables[0];
    let batch = columns::batch(
        table,
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
    )?;
    ctx.write("paths", table.name, &batch)
}
