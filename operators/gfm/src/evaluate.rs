//! `evaluate`: how well the model retrieves, beside the pre-trained model and three baselines, on the same questions.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, StringArray, UInt32Array, UInt64Array};
use candle_core::Result as TensorResult;
use gfm_pipe_api::{
    Accepts, Arity, Context, Field, InPort, OpError, OpResult, Operator, OutPort, Schema, Type,
    columns, kinds,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::buffers::Lease;
use crate::documents::{Embeddings, Questions, read_entity_documents};
use crate::eval::bm25::Bm25;
use crate::eval::dense::Dense;
use crate::eval::metrics::{Gold, Metric, aggregate, groups, score};
use crate::eval::ppr::Ppr;
use crate::eval::rankers::Ranker;
use crate::eval::{BadShape, EntityDocuments, top};
use crate::finetune::{score_questions, seeds};
use crate::inputs::{LoadedGraph, same_encoder};
use crate::model::{Class, Params as Weights, StoredModel, read_model};
use crate::tensor_error;

/// Depth of the `rankings` port.
const RANKED: usize = 20;
/// The k of metrics with one.
const KS: [usize; 6] = [1, 2, 3, 5, 10, 20];

/// The operator.
pub struct Evaluate;

/// Its parameters.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    rankers: Vec<String>,
    top_k: usize,
    init_entities_weight: bool,
    batch_size: usize,
}

impl Operator for Evaluate {
    type Params = Params;
    const NAME: &'static str = "evaluate";
    const VERSION: u32 = 2;
    const ABOUT: &'static str = "retrieval metrics of the model, the pre-trained model, dense, BM25 and personalised PageRank";

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new(
                "rankers",
                Type::list(Type::one_of(&["simple", "idf", "topk", "idf_topk"])),
                json!(["idf_topk", "simple", "idf", "topk"]),
                "document rankers of the models; `rankings` holds the first one's",
            ),
            Field::new(
                "top_k",
                Type::int(1),
                20,
                "entities that count, for topk and idf_topk",
            ),
            Field::new(
                "init_entities_weight",
                Type::Bool,
                true,
                "as in the model's training: a question entity starts with weight 1 / number of its documents, else 1",
            ),
            Field::new("batch_size", Type::int(1), 8, "questions scored at once").no_effect(),
        ])
    }

    fn inputs() -> Vec<InPort> {
        let port = |name, kind, arity, about| InPort {
            name,
            accepts: Accepts::Kinds(kind),
            arity,
            about,
        };
        vec![
            port("model", &[&kinds::MODEL], Arity::One, "the model"),
            port(
                "pretrained",
                &[&kinds::MODEL],
                Arity::Optional,
                "the model before fine-tuning",
            ),
            port("graph", &[&kinds::GRAPH], Arity::One, "the graph"),
            port(
                "documents",
                &[&kinds::ENTITY_DOCUMENTS],
                Arity::One,
                "entity-document matrix",
            ),
            port(
                "corpus",
                &[&kinds::DOCUMENTS],
                Arity::One,
                "titles and texts, for BM25",
            ),
            port(
                "corpus_embeddings",
                &[&kinds::EMBEDDINGS],
                Arity::Optional,
                "embeddings of the corpus, for the dense baseline",
            ),
            port("questions", &[&kinds::QUESTIONS], Arity::One, "questions"),
            port(
                "question_embeddings",
                &[&kinds::EMBEDDINGS],
                Arity::One,
                "their embeddings",
            ),
        ]
    }

    fn outputs() -> Vec<OutPort> {
        vec![
            OutPort {
                name: "metrics",
                kind: &kinds::METRICS,
                about: "metrics by system, ranker, target and group",
            },
            OutPort {
                name: "rankings",
                kind: &kinds::RANKINGS,
                about: "the first 20 documents of each system for each question",
            },
        ]
    }

    fn run(p: Params, ctx: &Context) -> OpResult<()> {
        let _lease = Lease;
        let input = LoadedGraph::read(ctx.input("graph")?)?;
        let matrix = read_entity_documents(ctx.input("documents")?)?;
        let corpus = ctx.input("corpus")?;
        let table = corpus.read("documents")?;
        let (titles, texts) = (
            columns::text(&table, "title")?,
            columns::text(&table, "text")?,
        );
        if matrix.num_entities() != input.graph.nodes() || matrix.num_documents() != titles.len() {
            return Err(OpError::new(format!(
                "graph, entity-document matrix and corpus do not belong together: {} nodes, {} x {}, {} documents",
                input.graph.nodes(),
                matrix.num_entities(),
                matrix.num_documents(),
                titles.len()
            ))
            .hint("make all three from the same ingest stages"));
        }
        let questions =
            Questions::read(ctx.input("questions")?, ctx.input("question_embeddings")?)?;
        questions.check(input.graph.nodes(), matrix.num_documents())?;
        same_encoder(&questions, &input)?;
        let asked = (0..questions.len())
            .filter(|i| !questions.entities[*i].is_empty())
            .count();
        if questions.len() == 0 {
            ctx.warn(format!(
                "`{}` holds no questions: nothing is measured",
                questions.name
            ));
        }
        if asked < questions.len() {
            ctx.warn(format!(
                "{} of {} questions have no known entity: the graph systems score 0 on them",
                questions.len() - asked,
                questions.len()
            ));
        }
        let mut report = Report::new(&questions, titles);

        let rankers: Vec<Ranker> = p
            .rankers
            .iter()
            .filter_map(|n| Ranker::from_name(n, p.top_k))
            .collect();
        for (system, port) in [("model", "model"), ("pretrained", "pretrained")] {
            let Some(artifact) = ctx.input_opt(port) else {
                continue;
            };
            let weights = usable(read_model(artifact)?, &input, &artifact.name)?;
            ctx.info(format!(
                "scoring {} questions with `{system}`",
                questions.len()
            ));
            let scores = entity_scores(ctx, &weights, &input, &questions, &matrix, &p)?;
            report.entities(system, &scores);
            for (i, ranker) in rankers.iter().enumerate() {
                let documents: Vec<Option<Vec<f64>>> = scores
                    .par_iter()
                    .map(|s| s.as_ref().map(|s| ranker.documents(s, &matrix)))
                    .collect();
                report.documents(system, ranker.name(), &documents, i == 0);
            }
        }

        if let Some(artifact) = ctx.input_opt("corpus_embeddings") {
            let e = Embeddings::read(artifact, &corpus.texts()?, &corpus.name)?;
            let dense = Dense::new(e.dim, e.values).map_err(shape)?;
            let scores = per_question(ctx, &questions, |i| {
                dense.scores(questions.embedding(i)).map(Some)
            })?;
            report.documents("dense", "-", &scores, true);
        }
        let pairs = titles
            .iter()
            .zip(texts)
            .map(|(a, b)| (a.unwrap_or(""), b.unwrap_or("")));
        let bm25 = Bm25::new(pairs);
        let scores = per_question(ctx, &questions, |i| {
            Ok(Some(bm25.scores(&questions.texts[i])))
        })?;
        report.documents("bm25", "-", &scores, true);

        let triples = input.graph.triples();
        let heads: Vec<u32> = triples.iter().map(|t| t[0]).collect();
        let tails: Vec<u32> = triples.iter().map(|t| t[2]).collect();
        let ppr = Ppr::new(input.graph.nodes(), &heads, &tails).map_err(shape)?;
        let masses = per_question(ctx, &questions, |i| ppr.masses(&questions.entities[i]))?;
        report.entities("ppr", &masses);
        let scores: Vec<Option<Vec<f64>>> = masses
            .par_iter()
            .map(|m| m.as_ref().map(|m| Ranker::Simple.documents(m, &matrix)))
            .collect();
        report.documents("ppr", "-", &scores, true);

        report.write(ctx)
    }
}

fn shape(e: BadShape) -> OpError {
    OpError::wrap("inputs do not belong together", e)
}

/// A model as a retriever on this graph. A pre-trained one has no projection for questions: its only projection of texts,
/// `rel_mlp`, takes the place (a random one would measure nothing).
fn usable(stored: StoredModel, input: &LoadedGraph, name: &str) -> OpResult<Weights> {
    if stored.origin.encoder_digest != input.encoder_digest {
        return Err(OpError::new(format!(
            "the model was trained with the encoder {}, the graph is embedded with {}",
            stored.origin.encoder, input.encoder
        ))
        .artifact(name)
        .hint("embed with the encoder the model was trained with"));
    }
    if stored.params.class == Class::GNNRetriever {
        return Ok(stored.params);
    }
    let build = || -> TensorResult<Weights> {
        let p = &stored.params;
        let mut out = Weights::init(Class::GNNRetriever, &p.config, p.text_dim, 0, p.dtype())?;
        out.take_over(p.tensors())?;
        for part in ["weight", "bias"] {
            out.set(
                &format!("question_mlp.{part}"),
                p.get(&format!("rel_mlp.{part}"))?.clone(),
            )?;
        }
        Ok(out)
    };
    build().map_err(tensor_error)
}

/// Entity scores of every question; `None` where it has no known entity.
fn entity_scores(
    ctx: &Context,
    weights: &Weights,
    input: &LoadedGraph,
    questions: &Questions,
    matrix: &EntityDocuments,
    p: &Params,
) -> OpResult<Vec<Option<Vec<f64>>>> {
    let seeds: Vec<Vec<(u32, f64)>> = questions
        .entities
        .iter()
        .map(|e| seeds(e, matrix, p.init_entities_weight))
        .collect();
    let scores = score_questions(ctx, weights, input, questions, &seeds, p.batch_size)?;
    Ok(scores
        .into_iter()
        .zip(&seeds)
        .map(|(s, seeds)| (!seeds.is_empty()).then_some(s))
        .collect())
}

fn per_question(
    ctx: &Context,
    questions: &Questions,
    f: impl Fn(usize) -> Result<Option<Vec<f64>>, BadShape> + Sync,
) -> OpResult<Vec<Option<Vec<f64>>>> {
    (0..questions.len())
        .into_par_iter()
        .map(|i| {
            ctx.check_cancelled()?;
            f(i).map_err(shape)
        })
        .collect()
}

/// A row of the metrics table.
struct MetricRow {
    system: String,
    ranker: String,
    target: &'static str,
    group: String,
    metric: String,
    value: f64,
    n: u64,
}

/// Collects the two tables.
struct Report<'a> {
    questions: &'a Questions,
    titles: &'a StringArray,
    groups: Vec<Vec<String>>,
    rows: Vec<MetricRow>,
    /// Question, system, rank, document, score.
    rankings: Vec<(usize, String, u32, u32, f64)>,
}

impl<'a> Report<'a> {
    fn new(questions: &'a Questions, titles: &'a StringArray) -> Self {
        let groups = (0..questions.len())
            .map(|i| groups(questions.hops[i], &questions.groups[i]))
            .collect();
        Report {
            questions,
            titles,
            groups,
            rows: Vec::new(),
            rankings: Vec::new(),
        }
    }

    fn add<'g>(
        &mut self,
        (system, ranker, target): (&str, &str, &'static str),
        metrics: &[Metric],
        scores: &[Option<Vec<f64>>],
        gold: impl Fn(usize) -> Gold<'g> + Sync,
    ) {
        let values: Vec<Vec<f64>> = scores
            .par_iter()
            .enumerate()
            .map(|(i, s)| score(s.as_deref(), gold(i), metrics))
            .collect();
        for row in aggregate(metrics, &self.groups, &values) {
            self.rows.push(MetricRow {
                system: system.to_owned(),
                ranker: ranker.to_owned(),
                target,
                group: row.group,
                metric: row.metric,
                value: row.value,
                n: row.n,
            });
        }
    }

    fn entities(&mut self, system: &str, scores: &[Option<Vec<f64>>]) {
        let mut metrics: Vec<Metric> = KS.iter().map(|k| Metric::Recall(*k)).collect();
        metrics.extend(KS.iter().map(|k| Metric::Hits(*k)));
        metrics.extend([Metric::Mrr, Metric::MrrFiltered]);
        let q = self.questions;
        self.add((system, "-", "entity"), &metrics, scores, |i| {
            q.entity_gold(i)
        });
    }

    fn documents(&mut self, system: &str, ranker: &str, scores: &[Option<Vec<f64>>], list: bool) {
        let mut metrics = Vec::new();
        for k in KS {
            metrics.extend([Metric::Recall(k), Metric::AllGold(k), Metric::Hits(k)]);
            metrics.extend([Metric::CeilingRecall(k), Metric::CeilingAllGold(k)]);
        }
        metrics.extend([Metric::Mrr, Metric::MrrFiltered]);
        let q = self.questions;
        self.add((system, ranker, "document"), &metrics, scores, |i| {
            q.document_gold(i)
        });
        if !list {
            return;
        }
        for (i, scores) in scores.iter().enumerate() {
            let Some(scores) = scores else { continue };
            for (rank, d) in (1..).zip(top(scores, RANKED)) {
                let row = (i, system.to_owned(), rank, d, scores[d as usize]);
                self.rankings.push(row);
            }
        }
    }

    fn write(&self, ctx: &Context) -> OpResult<()> {
        let rows = &self.rows;
        let text = |f: &dyn Fn(&MetricRow) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(rows.iter().map(f)))
        };
        let q = self.questions;
        let metrics = columns::batch(
            &kinds::METRICS.tables[0],
            vec![
                text(&|_| q.dataset.clone()),
                text(&|_| q.split.clone()),
                text(&|r| r.system.clone()),
                text(&|r| r.ranker.clone()),
                text(&|r| r.target.to_owned()),
                text(&|r| r.group.clone()),
                text(&|r| r.metric.clone()),
                Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.value))),
                Arc::new(UInt64Array::from_iter_values(rows.iter().map(|r| r.n))),
            ],
        )?;
        ctx.write("metrics", "metrics", &metrics)?;
        let r = &self.rankings;
        let rankings = columns::batch(
            &kinds::RANKINGS.tables[0],
            vec![
                Arc::new(StringArray::from_iter_values(r.iter().map(|x| &q.ids[x.0]))),
                Arc::new(StringArray::from_iter_values(r.iter().map(|x| &x.1))),
                Arc::new(UInt32Array::from_iter_values(r.iter().map(|x| x.2))),
                Arc::new(StringArray::from_iter_values(
                    r.iter().map(|x| self.titles.value(x.3 as usize)),
                )),
                Arc::new(Float64Array::from_iter_values(r.iter().map(|x| x.4))),
            ],
        )?;
        ctx.write("rankings", "rankings", &rankings)
    }
}
