//! `evaluate`: how well the model retrieves, beside the same model with less training and the usual baselines, on the same
//! questions, with intervals and paired tests.

use gfm_pipe_api::{
    Arity, Context, Field, InPort, OpError, OpResult, Operator, OutPort, Schema, Type, kinds,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::buffers::Lease;
use crate::documents::{Embeddings, Questions};
use crate::eval::BadShape;
use crate::eval::bm25::Bm25;
use crate::eval::dense::Dense;
use crate::eval::metrics::{Answer, Gold};
use crate::eval::ppr::{Ppr, specificity};
use crate::eval::rankers::Ranker;
use crate::eval::rrf::fuse;
use crate::judged::{self, Report, Sure, Target};
use crate::retrieval::{self, EntityScores, Rankings, Setting, ranker_type};

/// Systems beside the models, and the model without training.
const BASELINES: [&str; 5] = ["untrained", "dense", "bm25", "ppr", "rrf"];

/// Depth of the `rankings` port.
const RANKED: usize = 20;

/// The operator.
pub struct Evaluate;

/// Its parameters.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    rankers: Vec<String>,
    baselines: Vec<String>,
    node_specificity: bool,
    resamples: usize,
    seed: u64,
    top_k: usize,
    init_entities_weight: bool,
    batch_size: usize,
}

impl Operator for Evaluate {
    type Params = Params;
    const NAME: &'static str = "evaluate";
    const VERSION: u32 = 4;
    const ABOUT: &'static str = "retrieval metrics of the model, of the model with less training, and of dense, BM25, personalised PageRank and their fusion";

    fn schema() -> Schema {
        let mut fields = vec![
            Field::new(
                "rankers",
                Type::list(ranker_type()),
                json!(["idf_topk", "simple", "idf", "topk"]),
                "document rankers of the models; `rankings` holds the first one's",
            ),
            Field::new(
                "baselines",
                Type::List {
                    item: Box::new(Type::one_of(&BASELINES)),
                    min: 0,
                },
                json!(BASELINES),
                "systems beside the model; `dense` needs `corpus_embeddings`, `rrf` fuses dense, bm25 and ppr",
            ),
            Field::new(
                "node_specificity",
                Type::Bool,
                true,
                "ppr returns to a question entity with weight 1 / number of its documents, as HippoRAG does; else evenly",
            ),
        ];
        fields.extend(judged::fields());
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
        let port = |name, kind, about| OutPort { name, kind, about };
        vec![
            port(
                "metrics",
                &kinds::METRICS,
                "metrics by system, ranker, target and group, with intervals",
            ),
            port(
                "comparisons",
                &kinds::COMPARISONS,
                "the model with its first ranker against every other system",
            ),
            port(
                "ranks",
                &kinds::RANKS,
                "ranks of the gold items of each question",
            ),
            port(
                "rankings",
                &kinds::RANKINGS,
                "the first 20 documents of each system for each question",
            ),
        ]
    }

    fn run(p: Params, ctx: &Context) -> OpResult<()> {
        let _lease = Lease;
        let setting = Setting::read(ctx)?;
        let questions = &setting.questions;
        if questions.len() == 0 {
            ctx.warn(format!(
                "`{}` holds no questions: nothing is measured",
                questions.name
            ));
        }
        setting.warn_of_unaskable(ctx, "the graph systems score 0 on them");
        let gold = questions.golds();
        let mut systems = Systems {
            questions,
            report: Report::new(questions.asked(&gold)),
            rankings: Rankings::default(),
        };
        graph_models(&p, ctx, &setting, &mut systems)?;
        baselines(&p, ctx, &setting, &mut systems)?;
        systems.ceiling();
        let sure = Sure {
            resamples: p.resamples,
            seed: p.seed,
        };
        systems.report.write(ctx, &sure)?;
        systems.report.write_ranks(ctx)?;
        systems.rankings.write(ctx, &questions.ids, &setting.titles)
    }
}

/// What systems said.
struct Systems<'a> {
    questions: &'a Questions,
    report: Report<'a>,
    rankings: Rankings,
}

impl Systems<'_> {
    fn gold(&self, target: Target, i: usize) -> Gold<'_> {
        match target {
            Target::Document => self.questions.document_gold(i),
            Target::Entity => self.questions.entity_gold(i),
        }
    }

    fn answers(&self, target: Target, scores: &[Option<Vec<f64>>]) -> Vec<Answer> {
        let scores = scores.par_iter().enumerate();
        scores
            .map(|(i, s)| Answer::of(s.as_deref(), self.gold(target, i)))
            .collect()
    }

    /// A system's scores of all entities.
    fn entities(&mut self, system: &str, scores: &[Option<Vec<f64>>]) {
        let answers = self.answers(Target::Entity, scores);
        self.report.add((system, "-"), Target::Entity, answers);
    }

    /// A system's scores of all documents; `list`: also its first documents.
    fn documents(&mut self, system: &str, ranker: &str, scores: &[Option<Vec<f64>>], list: bool) {
        let answers = self.answers(Target::Document, scores);
        self.report.add((system, ranker), Target::Document, answers);
        if list {
            self.rankings.add(system, scores, RANKED);
        }
    }

    fn ceiling(&mut self) {
        for target in [Target::Document, Target::Entity] {
            let perfect = (0..self.questions.len()).map(|i| Answer::perfect(self.gold(target, i)));
            let perfect = perfect.collect();
            self.report.ceiling(target, perfect);
        }
    }
}

/// The model, before fine-tuning, and before any training.
fn graph_models(
    p: &Params,
    ctx: &Context,
    setting: &Setting,
    systems: &mut Systems<'_>,
) -> OpResult<()> {
    let rankers: Vec<Ranker> = p
        .rankers
        .iter()
        .filter_map(|n| Ranker::from_name(n, p.top_k))
        .collect();
    let how = (p.init_entities_weight, p.batch_size);
    let mut add = |system: &str, score: &dyn Fn() -> OpResult<EntityScores>| -> OpResult<()> {
        ctx.info(format!(
            "scoring {} questions with `{system}`",
            setting.questions.len()
        ));
        let scores = score()?;
        systems.entities(system, &scores);
        for (i, ranker) in rankers.iter().enumerate() {
            let documents = by_documents(setting, *ranker, &scores);
            systems.documents(system, ranker.name(), &documents, i == 0);
        }
        Ok(())
    };
    let model = ctx.input("model")?;
    add("model", &|| {
        setting.entity_scores(ctx, model, ctx.input_opt("background"), how)
    })?;
    if let Some(before) = ctx.input_opt("pretrained") {
        add("pretrained", &|| {
            setting.entity_scores(ctx, before, None, how)
        })?;
    }
    if p.baselines.iter().any(|b| b == "untrained") {
        add("untrained", &|| {
            setting.untrained_scores(ctx, model, p.seed, how)
        })?;
    }
    Ok(())
}

/// The systems that are not trained here.
fn baselines(
    p: &Params,
    ctx: &Context,
    setting: &Setting,
    systems: &mut Systems<'_>,
) -> OpResult<()> {
    let questions = &setting.questions;
    let has = |name: &str| p.baselines.iter().any(|b| b == name);
    let fused = has("rrf");
    let mut parts: Vec<Vec<Option<Vec<f64>>>> = Vec::new();
    let mut add = |systems: &mut Systems<'_>, name: &str, scores: Vec<Option<Vec<f64>>>| {
        if has(name) {
            systems.documents(name, "-", &scores, true);
        }
        if fused {
            parts.push(scores);
        }
    };
    if let Some(artifact) = ctx
        .input_opt("corpus_embeddings")
        .filter(|_| has("dense") || fused)
    {
        let corpus = ctx.input("corpus")?;
        let e = Embeddings::read(artifact, &corpus.texts()?, &corpus.name)?;
        let dense = Dense::new(e.dim, e.values).map_err(shape)?;
        let scores = per_question(ctx, questions, |i| {
            dense.scores(questions.embedding(i)).map(Some)
        })?;
        add(systems, "dense", scores);
    }
    if has("bm25") || fused {
        let pairs = setting.titles.iter().zip(&setting.texts);
        let bm25 = Bm25::new(pairs.map(|(a, b)| (a.unwrap_or(""), b.unwrap_or(""))));
        let scores = per_question(ctx, questions, |i| {
            Ok(Some(bm25.scores(&questions.texts[i])))
        })?;
        add(systems, "bm25", scores);
    }
    if has("ppr") || fused {
        let triples = setting.input.graph.triples();
        let heads: Vec<u32> = triples.iter().map(|t| t[0]).collect();
        let tails: Vec<u32> = triples.iter().map(|t| t[2]).collect();
        let ppr = Ppr::new(setting.input.graph.nodes(), &heads, &tails).map_err(shape)?;
        let masses = per_question(ctx, questions, |i| {
            ppr.masses(&specificity(
                &questions.entities[i],
                &setting.matrix,
                p.node_specificity,
            ))
        })?;
        if has("ppr") {
            systems.entities("ppr", &masses);
        }
        add(
            systems,
            "ppr",
            by_documents(setting, Ranker::Simple, &masses),
        );
    }
    if fused {
        let scores = per_question(ctx, questions, |i| {
            let of: Vec<Option<&[f64]>> = parts.iter().map(|s| s[i].as_deref()).collect();
            Ok(fuse(&of))
        })?;
        systems.documents("rrf", "-", &scores, true);
    }
    Ok(())
}

fn by_documents(
    setting: &Setting,
    ranker: Ranker,
    scores: &[Option<Vec<f64>>],
) -> Vec<Option<Vec<f64>>> {
    scores
        .par_iter()
        .map(|s| s.as_ref().map(|s| ranker.documents(s, &setting.matrix)))
        .collect()
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
