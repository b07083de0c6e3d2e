//! `evaluate`: how well the model retrieves, beside the pre-trained model and three baselines, on the same questions.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, UInt64Array};
use gfm_pipe_api::{
    Arity, Context, Field, InPort, OpError, OpResult, Operator, OutPort, Schema, Type, columns,
    kinds,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::buffers::Lease;
use crate::documents::{Embeddings, Questions};
use crate::eval::BadShape;
use crate::eval::bm25::Bm25;
use crate::eval::dense::Dense;
use crate::eval::metrics::{Gold, Metric, aggregate, groups, score};
use crate::eval::ppr::Ppr;
use crate::eval::rankers::Ranker;
use crate::retrieval::{self, Rankings, Setting, ranker_type};

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
    const VERSION: u32 = 3;
    const ABOUT: &'static str = "retrieval metrics of the model, the pre-trained model, dense, BM25 and personalised PageRank";

    fn schema() -> Schema {
        let mut fields = vec![Field::new(
            "rankers",
            Type::list(ranker_type()),
            json!(["idf_topk", "simple", "idf", "topk"]),
            "document rankers of the models; `rankings` holds the first one's",
        )];
        fields.extend(retrieval::fields());
        Schema::new(fields)
    }

    fn inputs() -> Vec<InPort> {
        let mut ports = vec![
            InPort::of("model", &[&kinds::MODEL], Arity::One, "the model"),
            InPort::of(
                "pretrained",
                &[&kinds::MODEL],
                Arity::Optional,
                "the model before fine-tuning",
            ),
        ];
        ports.extend(retrieval::ports());
        ports.push(InPort::of(
            "corpus_embeddings",
            &[&kinds::EMBEDDINGS],
            Arity::Optional,
            "embeddings of the corpus, for the dense baseline",
        ));
        ports
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
        let setting = Setting::read(ctx)?;
        let Setting {
            input,
            matrix,
            titles,
            texts,
            questions,
        } = &setting;
        if questions.len() == 0 {
            ctx.warn(format!(
                "`{}` holds no questions: nothing is measured",
                questions.name
            ));
        }
        setting.warn_of_unaskable(ctx, "the graph systems score 0 on them");
        let mut report = Report::new(questions, titles);

        let rankers: Vec<Ranker> = p
            .rankers
            .iter()
            .filter_map(|n| Ranker::from_name(n, p.top_k))
            .collect();
        for (system, port) in [("model", "model"), ("pretrained", "pretrained")] {
            let Some(artifact) = ctx.input_opt(port) else {
                continue;
            };
            ctx.info(format!(
                "scoring {} questions with `{system}`",
                questions.len()
            ));
            let background = ctx.input_opt("background").filter(|_| port == "model");
            let how = (p.init_entities_weight, p.batch_size);
            let scores = setting.entity_scores(ctx, artifact, background, how)?;
            report.entities(system, &scores);
            for (i, ranker) in rankers.iter().enumerate() {
                let documents: Vec<Option<Vec<f64>>> = scores
                    .par_iter()
                    .map(|s| s.as_ref().map(|s| ranker.documents(s, matrix)))
                    .collect();
                report.documents(system, ranker.name(), &documents, i == 0);
            }
        }

        if let Some(artifact) = ctx.input_opt("corpus_embeddings") {
            let corpus = ctx.input("corpus")?;
            let e = Embeddings::read(artifact, &corpus.texts()?, &corpus.name)?;
            let dense = Dense::new(e.dim, e.values).map_err(shape)?;
            let scores = per_question(ctx, questions, |i| {
                dense.scores(questions.embedding(i)).map(Some)
            })?;
            report.documents("dense", "-", &scores, true);
        }
        let pairs = titles
            .iter()
            .zip(texts)
            .map(|(a, b)| (a.unwrap_or(""), b.unwrap_or("")));
        let bm25 = Bm25::new(pairs);
        let scores = per_question(ctx, questions, |i| {
            Ok(Some(bm25.scores(&questions.texts[i])))
        })?;
        report.documents("bm25", "-", &scores, true);

        let triples = input.graph.triples();
        let heads: Vec<u32> = triples.iter().map(|t| t[0]).collect();
        let tails: Vec<u32> = triples.iter().map(|t| t[2]).collect();
        let ppr = Ppr::new(input.graph.nodes(), &heads, &tails).map_err(shape)?;
        let masses = per_question(ctx, questions, |i| ppr.masses(&questions.entities[i]))?;
        report.entities("ppr", &masses);
        let scores: Vec<Option<Vec<f64>>> = masses
            .par_iter()
            .map(|m| m.as_ref().map(|m| Ranker::Simple.documents(m, matrix)))
            .collect();
        report.documents("ppr", "-", &scores, true);

        report.write(ctx)
    }
}

fn shape(e: BadShape) -> OpError {
    OpError::wrap("inputs do not belong together", e)
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
    rankings: Rankings,
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
            rankings: Rankings::default(),
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
        if list {
            self.rankings.add(system, scores, RANKED);
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
        self.rankings.write(ctx, &q.ids, self.titles)
    }
}
