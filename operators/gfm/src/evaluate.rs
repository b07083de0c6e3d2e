//! `evaluate`: how well the model retrieves, beside the same model with less training and the usual baselines, on the same
//! questions, with intervals and paired tests.

use std::sync::Arc;

use gfm_pipe_api::ranks::{all_of, part};
use gfm_pipe_api::{
    Arity, Context, Field, InPort, OpError, OpResult, Operator, OutPort, Schema, Type, kinds,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::buffers::Lease;
use crate::divided::Dividing;
use crate::documents::{Embeddings, Questions};
use crate::eval::BadShape;
use crate::eval::bm25::Bm25;
use crate::eval::dense::Dense;
use crate::eval::metrics::{Answer, Gold};
use crate::eval::ppr::{Ppr, specificity};
use crate::eval::rankers::Ranker;
use crate::eval::rrf::fuse;
use crate::judged::{self, Report, Sure, Target};
use crate::retrieval::{self, List, Rankings, Setting, first, ranker_type};

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
    divide: Divide,
}

/// What ranks share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Divide {
    Questions,
    Graph,
}

impl Operator for Evaluate {
    type Params = Params;
    const NAME: &'static str = "evaluate";
    const VERSION: u32 = 5;
    const ON_GPU: bool = true;
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
                "systems beside the model; `dense` needs `corpus_embeddings`, `rrf` fuses dense, bm25 and ppr (without `corpus_embeddings` the last two)",
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
        fields.push(
            Field::new(
                "divide",
                Type::one_of(&["questions", "graph"]),
                "questions",
                "what several ranks share: questions, each rank with the whole graph; graph the nodes of the graph, all ranks together scoring the same questions, \
                 for a graph whose states do not fit one rank's memory (CPU only; models with the aggregates sum and mean; `background` is not used then). One rank \
                 has nothing to share. The numbers are the same but for rounding",
            )
            .no_effect(),
        );
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
                "the model with its first ranker against the other systems",
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

    fn on_ranks(_: &Params) -> bool {
        true
    }

    fn run(p: Params, ctx: &Context) -> OpResult<()> {
        let _lease = Lease;
        // What cannot be is refused before anything is read.
        let dividing = Dividing::new(ctx, p.divide == Divide::Graph)?;
        let setting = Setting {
            dividing,
            ..Setting::read(ctx)?
        };
        let questions = &setting.questions;
        if questions.len() == 0 {
            ctx.warn(format!(
                "`{}` holds no questions: nothing is measured",
                questions.name
            ));
        }
        let sure = Sure {
            resamples: p.resamples,
            seed: p.seed,
        };
        sure.check_memory(1 + p.rankers.len())?;
        setting.warn_of_unaskable(ctx, "the graph systems score 0 on them");
        let gold = questions.golds();
        let mut systems = Systems {
            questions,
            report: Report::new(questions.asked(&gold)),
            rankings: Rankings::default(),
        };
        graph_models(&p, ctx, &setting, &mut systems)?;
        if let Some(dividing) = &setting.dividing {
            dividing.report(ctx)?;
        }
        baselines(&p, ctx, &setting, &mut systems)?;
        if ctx.ranks.rank() > 0 {
            return Ok(());
        }
        systems.ceiling();
        systems.report.write(ctx, &sure)?;
        systems.report.write_ranks(ctx)?;
        systems.rankings.write(ctx, &questions.ids, &setting.titles)
    }
}

/// Questions looked at together once a model has scored them: their scores are held until then.
const AT_ONCE: usize = 64;

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

    fn answer(&self, target: Target, i: usize, scores: Option<&[f64]>) -> Answer {
        Answer::of(scores, self.gold(target, i))
    }

    /// What is there of a system that was asked nothing.
    fn silent(&self, target: Target) -> Vec<Answer> {
        let all = 0..self.questions.len();
        all.map(|i| self.answer(target, i, None)).collect()
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
    let how = (p.init_entities_weight, p.batch_size);
    let model = ctx.input("model")?;
    let mut judge = Judge::new(p, ctx, setting, systems, "model");
    let background = ctx.input_opt("background");
    setting.ask(ctx, model, background, how, |i, s| judge.take(i, s))?;
    judge.finish(ctx)?;
    if let Some(before) = ctx.input_opt("pretrained") {
        let mut judge = Judge::new(p, ctx, setting, systems, "pretrained");
        setting.ask(ctx, before, None, how, |i, s| judge.take(i, s))?;
        judge.finish(ctx)?;
    }
    if p.baselines.iter().any(|b| b == "untrained") {
        let mut judge = Judge::new(p, ctx, setting, systems, "untrained");
        setting.ask_untrained(ctx, model, p.seed, how, |i, s| judge.take(i, s))?;
        judge.finish(ctx)?;
    }
    Ok(())
}

/// Makes answers of a model's entity scores, by every ranker, and keeps no scores.
struct Judge<'a, 'b> {
    system: Arc<str>,
    rankers: Vec<Ranker>,
    setting: &'a Setting,
    systems: &'a mut Systems<'b>,
    waiting: Vec<(usize, Vec<f64>)>,
    judged: Vec<Judged>,
}

/// A question: its entities, its documents by ranker, and the first ranker's list.
type Judged = (usize, Answer, Vec<Answer>, List);

impl<'a, 'b> Judge<'a, 'b> {
    fn new(
        p: &Params,
        ctx: &Context,
        setting: &'a Setting,
        systems: &'a mut Systems<'b>,
        system: &str,
    ) -> Self {
        let asked = systems.questions.len();
        ctx.info(format!("scoring {asked} questions with `{system}`"));
        let named = p.rankers.iter();
        let rankers: Vec<Ranker> = named
            .filter_map(|n| Ranker::from_name(n, p.top_k))
            .collect();
        Judge {
            system: system.into(),
            rankers,
            setting,
            systems,
            waiting: Vec::new(),
            judged: Vec::new(),
        }
    }

    fn take(&mut self, question: usize, scores: &[f64]) {
        self.waiting.push((question, scores.to_vec()));
        if self.waiting.len() == AT_ONCE {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let judged: Vec<Judged> = self
            .waiting
            .par_iter()
            .map(|(i, scores)| {
                let mut list = List::new();
                let by_ranker = self.rankers.iter().enumerate().map(|(r, ranker)| {
                    let documents = ranker.ranking(scores, &self.setting.matrix);
                    if r == 0 {
                        list = first(&documents, RANKED);
                    }
                    self.systems.answer(Target::Document, *i, Some(&documents))
                });
                let by_ranker = by_ranker.collect();
                let entity = self.systems.answer(Target::Entity, *i, Some(scores));
                (*i, entity, by_ranker, list)
            })
            .collect();
        self.waiting.clear();
        self.judged.extend(judged);
    }

    /// Reports what all ranks judged.
    fn finish(mut self, ctx: &Context) -> OpResult<()> {
        self.flush();
        let mut entities = self.systems.silent(Target::Entity);
        let mut documents = vec![self.systems.silent(Target::Document); self.rankers.len()];
        for (i, entity, by_ranker, list) in all_of(&*ctx.ranks, self.judged)? {
            entities[i] = entity;
            for (answers, answer) in documents.iter_mut().zip(by_ranker) {
                answers[i] = answer;
            }
            self.systems.rankings.add(&self.system, i, list);
        }
        let report = &mut self.systems.report;
        report.add((&self.system, "-"), Target::Entity, entities);
        for (ranker, answers) in self.rankers.iter().zip(documents) {
            let of = (&*self.system, ranker.name());
            report.add(of, Target::Document, answers);
        }
        Ok(())
    }
}

/// What the systems that are not trained here gave for a question.
#[derive(Serialize, Deserialize)]
struct Given {
    /// Of personalised PageRank.
    entities: Option<Answer>,
    /// By system, in the order of `names`.
    documents: Vec<(Answer, Option<List>)>,
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
    let dense = ctx
        .input_opt("corpus_embeddings")
        .filter(|_| has("dense") || fused);
    let dense = dense
        .map(|artifact| {
            let corpus = ctx.input("corpus")?;
            let e = Embeddings::read(artifact, &corpus.texts()?, &corpus.name)?;
            Dense::new(e.dim, e.values).map_err(shape)
        })
        .transpose()?;
    if fused && dense.is_none() {
        ctx.warn("`rrf` fuses bm25 and ppr only: nothing is connected to `corpus_embeddings`");
    }
    let bm25 = (has("bm25") || fused).then(|| {
        let pairs = setting.titles.iter().zip(&setting.texts);
        Bm25::new(pairs.map(|(a, b)| (a.unwrap_or(""), b.unwrap_or(""))))
    });
    let ppr = (has("ppr") || fused)
        .then(|| {
            let triples = setting.input.graph.triples();
            let heads: Vec<u32> = triples.iter().map(|t| t[0]).collect();
            let tails: Vec<u32> = triples.iter().map(|t| t[2]).collect();
            Ppr::new(setting.input.graph.nodes(), &heads, &tails).map_err(shape)
        })
        .transpose()?;
    let names: Vec<&str> = ["dense", "bm25", "ppr", "rrf"]
        .into_iter()
        .filter(|name| has(name) && (*name != "dense" || dense.is_some()))
        .collect();
    let all = &*systems;
    let given: OpResult<Vec<Given>> = part(questions.len(), ctx.ranks.rank(), ctx.ranks.size())
        .into_par_iter()
        .map(|i| {
            ctx.check_cancelled()?;
            let by_text = dense.as_ref().map(|d| d.scores(questions.embedding(i)));
            let by_word = bm25.as_ref().map(|b| b.scores(&questions.texts[i]));
            let seeds = || specificity(&questions.entities[i], &setting.matrix, p.node_specificity);
            let masses = ppr.as_ref().map(|walk| walk.masses(&seeds()));
            let masses = masses.transpose().map_err(shape)?.flatten();
            let by_walk = masses
                .as_ref()
                .map(|m| Ranker::Simple.ranking(m, &setting.matrix));
            let mut scores = vec![
                ("dense", by_text.transpose().map_err(shape)?),
                ("bm25", by_word),
                ("ppr", by_walk),
            ];
            if fused {
                let parts: Vec<Option<&[f64]>> = scores.iter().map(|s| s.1.as_deref()).collect();
                scores.push(("rrf", fuse(&parts)));
            }
            let wanted = scores.iter().filter(|s| names.contains(&s.0));
            let documents = wanted.map(|(_, s)| {
                let answer = all.answer(Target::Document, i, s.as_deref());
                (answer, s.as_ref().map(|s| first(s, RANKED)))
            });
            Ok(Given {
                entities: has("ppr").then(|| all.answer(Target::Entity, i, masses.as_deref())),
                documents: documents.collect(),
            })
        })
        .collect();
    let mut entities = Vec::new();
    let mut documents: Vec<Vec<Answer>> = vec![Vec::new(); names.len()];
    let mut lists: Vec<Vec<Option<List>>> = vec![Vec::new(); names.len()];
    for given in all_of(&*ctx.ranks, given?)? {
        entities.extend(given.entities);
        for (at, (answer, list)) in given.documents.into_iter().enumerate() {
            documents[at].push(answer);
            lists[at].push(list);
        }
    }
    for ((name, answers), lists) in names.iter().zip(documents).zip(lists) {
        if *name == "ppr" {
            let entities = std::mem::take(&mut entities);
            systems.report.add((name, "-"), Target::Entity, entities);
        }
        systems.report.add((name, "-"), Target::Document, answers);
        let system = Arc::from(*name);
        for (i, list) in lists.into_iter().enumerate() {
            systems.rankings.add(&system, i, list.unwrap_or_default());
        }
    }
    Ok(())
}

fn shape(e: BadShape) -> OpError {
    OpError::wrap("inputs do not belong together", e)
}
