//! `evaluate`: how well the model retrieves, compared with the same model with less training and
//! with the usual baselines, on the same questions, with intervals and paired tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use gfm_pipe_api::ranks::{all_of, part};
use gfm_pipe_api::{
    Arity, Artifact, Connected, Context, Field, InPort, OpResult, Operator, OutPort, Problem,
    Schema, Type, is_connected, kinds,
};
use gfm_pipe_eval::metrics::Answer;
use gfm_pipe_eval::rankers::{
    DEFAULT_TOP_K, Ranker, RankerName, default_first, ranker_type, top_k_field,
};
use gfm_pipe_eval::rankings::{RankedList, Rankings, first};
use gfm_pipe_eval::remarks::on_evaluation;
use gfm_pipe_eval::systems::{
    BM25, FUSED, MODEL, PPR, PRETRAINED, System, SystemName, UNTRAINED, Walking, beside_models,
    default_beside_models, listed,
};
use gfm_pipe_eval::tables::{NO_RANKER, Resampling, Results, Source, Target};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::baselines::Baselines;
use crate::inference::{self, AskOptions, Inputs};
use crate::node_targets::NodeTarget;
use crate::types::Types;
use gfm_pipe_api::zip::{connected, problem_error, zip_problem};
use gfm_pipe_model::buffers::Lease;
use gfm_pipe_model::divided::Dividing;
use gfm_pipe_model::document_scores::DocumentScores;
use gfm_pipe_model::model::{Class, read_config};
use gfm_pipe_model::progress::Pass;
use gfm_pipe_model::questions::{OF_QUESTIONS, Questions, document_ranker};

/// Number of documents per question and system in the output `rankings`.
const LISTED: usize = 20;

/// The operator `evaluate`.
pub struct Evaluate;

/// Parameters of `evaluate`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    rankers: Vec<RankerName>,
    baselines: Vec<SystemName>,
    node_specificity: bool,
    restart: Option<f64>,
    hops_at_least: Option<u32>,
    resamples: usize,
    seed: u64,
    top_k: usize,
    init_entities_weight: bool,
    batch_size: usize,
    divide: Divide,
}

/// What several ranks divide among themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Divide {
    Questions,
    Graph,
}

impl Params {
    /// Whether a system is evaluated in addition to the models.
    fn wants(&self, system: &System) -> bool {
        self.baselines.iter().any(|b| b.is(system))
    }

    fn walking(&self) -> Walking {
        Walking {
            node_specificity: self.node_specificity,
            restart: self.restart,
        }
    }
}

impl Operator for Evaluate {
    type Params = Params;
    const NAME: &'static str = "evaluate";
    const VERSION: u32 = 9;
    const ABOUT: &'static str = "retrieval metrics of the model, of the model with less training, and of dense, BM25, personalised PageRank and their fusion";

    fn schema() -> Schema {
        let mut fields = vec![
            Field::new(
                "rankers",
                Type::list(ranker_type()),
                json!(default_first()),
                "document rankers of the models; `rankings` contains those of the first one",
            ),
            Field::new(
                "baselines",
                Type::List {
                    item: Box::new(Type::one_of(beside_models())),
                    min: 0,
                },
                json!(default_beside_models()),
                "systems in addition to the model, if their inputs are connected: untrained needs `model`, dense `question_embeddings` and `corpus_embeddings`, ppr `graph` and \
                 `documents`, bm25 nothing else; rrf fuses those of dense, bm25 and ppr that can be asked, at least two. fused is always evaluated where `fusion` is connected",
            ),
        ];
        fields.extend(Walking::fields());
        fields.push(
            Field::new(
                "hops_at_least",
                Type::int(1).or_null(),
                serde_json::Value::Null,
                "only questions of at least this many hops; questions with an unknown number of hops are left out",
            )
            .at_most(f64::from(u32::MAX), "hops are counted with 32 bits"),
        );
        fields.extend(Resampling::fields());
        fields.push(top_k_field(DEFAULT_TOP_K));
        fields.extend(inference::fields());
        fields.push(
            Field::new(
                "divide",
                Type::one_of(&["questions", "graph"]),
                "questions",
                "what several ranks divide: questions divides the questions, and each rank has the whole graph; graph divides the nodes of the graph, and all ranks together score the same questions, \
                 for a graph whose states do not fit into one rank's memory (CPU only; models with the aggregates sum and mean; `background` is not used then). It does not matter \
                 for one rank. The numbers are the same except for rounding",
            )
            .no_effect(),
        );
        Schema::new(fields)
    }

    fn inputs() -> Vec<InPort> {
        let mut ports = vec![
            InPort::of(
                "model",
                &[&kinds::MODEL],
                Arity::Optional,
                "the model; without it, only the other systems are evaluated",
            ),
            InPort::of(
                "pretrained",
                &[&kinds::MODEL],
                Arity::Optional,
                "the model before fine-tuning",
            ),
        ];
        ports.extend(inference::ports());
        for nodes in ports.iter_mut().filter(|port| port.name == "nodes") {
            nodes.about = "types of the graph's nodes: the nodes of each type are ranked among themselves, and ppr ranks a document that is a node by that node, not by its entities";
        }
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
                "the first system (the model with its first ranker, if there is one) compared with the others",
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

    fn on_gpu(_: &Params) -> bool {
        true
    }

    fn on_ranks(_: &Params) -> bool {
        true
    }

    fn check_inputs(p: &Params, inputs: &Connected) -> Vec<Problem> {
        missing_inputs(p, inputs).into_iter().collect()
    }

    fn remarks(_: &Params, outputs: &BTreeMap<String, Artifact>) -> OpResult<Vec<String>> {
        match (outputs.get("metrics"), outputs.get("comparisons")) {
            (Some(metrics), Some(comparisons)) => on_evaluation(metrics, comparisons),
            _ => Ok(Vec::new()),
        }
    }

    fn run(p: Params, ctx: &Context) -> OpResult<()> {
        let _lease = Lease;
        // Missing inputs are reported before anything is read.
        if let Some(problem) = missing_inputs(&p, &connected(ctx)) {
            return Err(problem_error(problem));
        }
        let dividing = Dividing::new(ctx, p.divide == Divide::Graph)?;
        let mut inputs = Inputs::read(ctx, true)?;
        inputs.dividing = dividing;
        let asked = inputs.questions.len();
        if let Some(hops) = p.hops_at_least {
            inputs.questions = inputs.questions.of_hops(hops);
            ctx.info(format!(
                "{} of {asked} questions have at least {hops} hops",
                inputs.questions.len()
            ));
        }
        let questions = &inputs.questions;
        if questions.is_empty() {
            let none = match asked {
                0 => "has no questions",
                _ => "has no questions of so many hops",
            };
            ctx.warn(format!("`{}` {none}: nothing is measured", questions.name));
        }
        let resampling = Resampling {
            resamples: p.resamples,
            seed: p.seed,
        };
        let nodes = node_targets(ctx, &inputs)?;
        resampling.check_memory(nodes.len() + p.rankers.len())?;
        inputs.warn_of_questions_without_start(ctx, "the graph systems score 0 on them");
        let mut systems = Systems {
            questions,
            nodes,
            results: Results::new(questions),
            rankings: Rankings::default(),
        };
        graph_models(&p, ctx, &inputs, &mut systems)?;
        if let Some(dividing) = &inputs.dividing {
            dividing.report(ctx)?;
        }
        baselines(&p, ctx, &inputs, &mut systems)?;
        if ctx.ranks.rank() > 0 {
            return Ok(());
        }
        systems.results.add_ceiling();
        for nodes in &systems.nodes {
            let all = 0..questions.len();
            let perfect = all.map(|i| nodes.perfect(i)).collect();
            systems.results.add_ceiling_of(&nodes.target, perfect);
        }
        systems.results.write(ctx, &resampling)?;
        systems.results.write_ranks(ctx)?;
        systems.rankings.write(ctx, &questions.ids, &inputs.titles)
    }
}

/// Reports what is missing if a connected model, or every system, lacks an input.
fn missing_inputs(p: &Params, inputs: &Connected) -> Option<Problem> {
    let connected = is_connected(inputs);
    for (port, system) in [
        ("model", &MODEL),
        ("pretrained", &PRETRAINED),
        ("background", &MODEL),
        ("fusion", &FUSED),
    ] {
        if connected(port)
            && let Some(problem) = system.problem(inputs, "")
        {
            return Some(problem);
        }
    }
    let able = |system: &SystemName| system.missing(&connected).is_empty();
    let given = ["model", "pretrained", "fusion"];
    if given.into_iter().any(&connected) || p.baselines.iter().any(able) {
        return zip_problem(inputs, &["questions"], &OF_QUESTIONS);
    }
    let problem = Problem::at_root(
        "nothing can be evaluated: no model is connected, and no baseline has its ports",
    );
    let ways = p.baselines.iter().map(|system| {
        let ports = system.missing(&connected);
        format!("connect {} for `{}`", listed(&ports), system.name)
    });
    let ways: Vec<String> = ways
        .chain([format!("put `{}` in `baselines`", BM25.name)])
        .collect();
    Some(problem.hint(ways.join("; ")))
}

/// Number of questions whose scores are collected before they are ranked in parallel.
const RANKED_AT_ONCE: usize = 64;

/// What is ranked besides documents: nothing without a graph.
fn node_targets(ctx: &Context, inputs: &Inputs) -> OpResult<Vec<NodeTarget>> {
    if !inputs.has_graph() {
        return Ok(Vec::new());
    }
    let nodes = inputs.on_graph()?.input.graph.nodes();
    let types = Types::read(ctx.input_opt("nodes"), nodes)?;
    NodeTarget::all(types.as_ref(), nodes, &inputs.questions)
}

/// The answers of all systems so far.
struct Systems<'a> {
    questions: &'a Questions,
    /// What is ranked besides documents.
    nodes: Vec<NodeTarget>,
    results: Results<'a>,
    rankings: Rankings,
}

impl Systems<'_> {
    /// The answer to question `i`, from the scores of documents or without any.
    fn answer(&self, i: usize, scores: Option<&[f64]>) -> Answer {
        Answer::of(scores, self.questions.document_gold(i))
    }

    /// The answers to question `i` for each target of [`Systems::nodes`], from the scores of nodes
    /// or without any.
    fn of_nodes(&self, i: usize, scores: Option<&[f64]>) -> Vec<Option<Answer>> {
        let targets = self.nodes.iter();
        targets.map(|nodes| nodes.answer(i, scores)).collect()
    }

    /// Adds a system's answers to every question, for each target of [`Systems::nodes`].
    fn add_of_nodes(&mut self, system: &str, answers: &[Vec<Option<Answer>>]) {
        for (t, nodes) in self.nodes.iter().enumerate() {
            let source = Source {
                system,
                ranker: NO_RANKER,
                target: &nodes.target,
            };
            let answers = answers.iter().map(|of_targets| of_targets[t].clone());
            self.results.add(source, answers.collect());
        }
    }

    /// Adds a system's document rankings, one for every question.
    fn add_of_documents(&mut self, system: &str, ranker: &str, answers: Vec<Answer>) {
        let source = Source {
            system,
            ranker,
            target: &Target::Document,
        };
        let answers = answers.into_iter().map(Some).collect();
        self.results.add(source, answers);
    }
}

/// Asks the model, the model before fine-tuning, and a model with random weights.
fn graph_models(
    p: &Params,
    ctx: &Context,
    inputs: &Inputs,
    systems: &mut Systems<'_>,
) -> OpResult<()> {
    let model = ctx.input_opt("model");
    let trained = [
        (&MODEL, model, ctx.input_opt("background")),
        (&PRETRAINED, ctx.input_opt("pretrained"), None),
    ];
    let untrained = p.wants(&UNTRAINED);
    let passes = trained.iter().filter(|(_, of, _)| of.is_some()).count()
        + usize::from(untrained && model.is_some());
    let questions = inputs.questions.len();
    let options = |before: usize, note| AskOptions {
        weighted: p.init_entities_weight,
        batch_size: p.batch_size,
        pass: Pass {
            ctx,
            unit: "questions to models",
            note,
            before: before * questions,
            units: questions,
            total: passes * questions,
        },
    };
    // Announced now, so that the time left includes the baselines, which are asked later.
    report_baselines(ctx, 0, questions);
    let mut before = 0;
    for (system, of, background) in trained {
        let Some(of) = of else { continue };
        let class = read_config(of)?.class;
        let head = inputs.feature_head(of)?;
        let by = |ranker| inputs.document_scores(head.as_ref(), ranker);
        let mut collector = Collector::new(p, ctx, inputs, systems, (system.name, class), by)?;
        let options = options(before, system.name);
        inputs.ask(ctx, of, background, options, |i, s| collector.take(i, s))?;
        collector.finish(ctx)?;
        before += 1;
    }
    if !untrained {
        return Ok(());
    }
    if let Some(model) = model {
        let class = read_config(model)?.class;
        let system = (UNTRAINED.name, class);
        let by = |ranker| inputs.document_scores(None, ranker);
        let mut collector = Collector::new(p, ctx, inputs, systems, system, by)?;
        let options = options(before, UNTRAINED.name);
        inputs.ask_untrained(ctx, model, p.seed, options, |i, s| collector.take(i, s))?;
        collector.finish(ctx)?;
    } else {
        ctx.info("`untrained` is left out: nothing is connected to `model`");
    }
    Ok(())
}

/// Reports how many questions the baselines have answered.
fn report_baselines(ctx: &Context, done: usize, questions: usize) {
    ctx.progress(done as u64, questions as u64, "questions to baselines", "");
}

/// Turns a model's entity scores into answers by every ranker, without keeping the scores.
struct Collector<'a, 'b> {
    system: Arc<str>,
    /// How documents are scored, by each ranker.
    rankers: Vec<DocumentScores<'a>>,
    systems: &'a mut Systems<'b>,
    waiting: Vec<(usize, Vec<f64>)>,
    answered: Vec<Answered>,
}

/// A model's answers to a question.
#[derive(Serialize, Deserialize)]
struct Answered {
    question: usize,
    /// One answer for each kind of nodes that is asked for.
    nodes: Vec<Option<Answer>>,
    /// One answer for each ranker.
    documents: Vec<Answer>,
    /// The first documents, by the first ranker.
    list: RankedList,
}

impl<'a, 'b> Collector<'a, 'b> {
    fn new(
        p: &Params,
        ctx: &Context,
        inputs: &'a Inputs,
        systems: &'a mut Systems<'b>,
        (system, class): (&str, Class),
        by: impl Fn(Ranker) -> OpResult<DocumentScores<'a>>,
    ) -> OpResult<Self> {
        let count = systems.questions.len();
        ctx.info(format!("scoring {count} questions with `{system}`"));
        let matrix = &inputs.on_graph()?.matrix;
        let given = p.rankers.iter().map(|r| r.0.top_k(p.top_k));
        let mut rankers: Vec<Ranker> = Vec::new();
        for ranker in given.map(|ranker| document_ranker(class, matrix, ranker)) {
            if rankers.iter().all(|r| r.name() != ranker.name()) {
                rankers.push(ranker);
            }
        }
        Ok(Collector {
            system: system.into(),
            rankers: rankers.into_iter().map(by).collect::<OpResult<_>>()?,
            systems,
            waiting: Vec::new(),
            answered: Vec::new(),
        })
    }

    fn take(&mut self, question: usize, scores: &[f64]) {
        self.waiting.push((question, scores.to_vec()));
        if self.waiting.len() == RANKED_AT_ONCE {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let questions = self.systems.questions;
        let answered: Vec<Answered> = self
            .waiting
            .par_iter()
            .map(|(i, scores)| {
                let mut list = RankedList::new();
                let by_ranker = self.rankers.iter().enumerate().map(|(r, by)| {
                    let documents = by.of(scores, questions.features(*i));
                    if r == 0 {
                        list = first(&documents, LISTED);
                    }
                    self.systems.answer(*i, Some(&documents))
                });
                Answered {
                    documents: by_ranker.collect(),
                    question: *i,
                    nodes: self.systems.of_nodes(*i, Some(scores)),
                    list,
                }
            })
            .collect();
        self.waiting.clear();
        self.answered.extend(answered);
    }

    /// Adds the answers of all ranks to the results.
    fn finish(mut self, ctx: &Context) -> OpResult<()> {
        self.flush();
        let all = 0..self.systems.questions.len();
        let mut nodes: Vec<_> = all
            .clone()
            .map(|i| self.systems.of_nodes(i, None))
            .collect();
        // A question without a node to start from has no answers, or those of features alone.
        let mut lists: Vec<RankedList> = vec![RankedList::new(); all.len()];
        let mut documents: Vec<Vec<Option<Answer>>> =
            vec![vec![None; all.len()]; self.rankers.len()];
        for answered in all_of(&*ctx.ranks, self.answered)? {
            let i = answered.question;
            nodes[i] = answered.nodes;
            for (answers, answer) in documents.iter_mut().zip(answered.documents) {
                answers[i] = Some(answer);
            }
            lists[i] = answered.list;
        }
        for i in all {
            if documents.iter().all(|answers| answers[i].is_some()) {
                continue;
            }
            // No ranker makes a difference without scores of nodes.
            let features = self.systems.questions.features(i);
            let by = self.rankers.first();
            let scores = by.and_then(|by| by.without_nodes(features));
            if let Some(scores) = &scores {
                lists[i] = first(scores, LISTED);
            }
            for answers in &mut documents {
                answers[i] = Some(self.systems.answer(i, scores.as_deref()));
            }
        }
        for (i, list) in lists.into_iter().enumerate() {
            self.systems.rankings.add(&self.system, i, list);
        }
        self.systems.add_of_nodes(&self.system, &nodes);
        for (by, answers) in self.rankers.iter().zip(documents) {
            self.systems.add_of_documents(
                &self.system,
                by.ranker.name(),
                answers.into_iter().flatten().collect(),
            );
        }
        Ok(())
    }
}

/// The answers of the baselines to a question.
#[derive(Serialize, Deserialize)]
struct BaselineAnswers {
    /// The answers of personalised PageRank, one for each kind of nodes.
    nodes: Vec<Option<Answer>>,
    /// Answer and list of each system, in the order of [`Baselines::systems`].
    documents: Vec<(Answer, Option<RankedList>)>,
}

/// Asks the systems that need no training.
fn baselines(
    p: &Params,
    ctx: &Context,
    inputs: &Inputs,
    systems: &mut Systems<'_>,
) -> OpResult<()> {
    let weighed = ctx.input_opt("fusion").is_some();
    let wanted = |system: &System| p.wants(system) || (weighed && system.is(&FUSED));
    let by = Baselines::new(ctx, inputs, &wanted, p.walking())?;
    let baselines = by.systems();
    let questions = inputs.questions.len();
    let all = &*systems;
    let mine = part(questions, ctx.ranks.rank(), ctx.ranks.size());
    let asked = AtomicUsize::new(0);
    let report = || {
        // This rank's share of the questions stands for all of them.
        let done = 1 + asked.fetch_add(1, Relaxed);
        report_baselines(ctx, questions * done / mine.len(), questions);
    };
    let answers: OpResult<Vec<BaselineAnswers>> = mine
        .clone()
        .into_par_iter()
        .map(|i| {
            ctx.check_cancelled()?;
            let scores = by.ask(i)?;
            let documents = scores.documents.iter().map(|s| {
                let answer = all.answer(i, s.as_deref());
                (answer, s.as_ref().map(|s| first(s, LISTED)))
            });
            report();
            let masses = scores.entities.as_deref();
            Ok(BaselineAnswers {
                nodes: all.of_nodes(i, masses),
                documents: documents.collect(),
            })
        })
        .collect();
    let mut nodes = Vec::new();
    let mut documents: Vec<Vec<Answer>> = vec![Vec::new(); baselines.len()];
    let mut lists: Vec<Vec<Option<RankedList>>> = vec![Vec::new(); baselines.len()];
    for answers in all_of(&*ctx.ranks, answers?)? {
        nodes.push(answers.nodes);
        for (b, (answer, list)) in answers.documents.into_iter().enumerate() {
            documents[b].push(answer);
            lists[b].push(list);
        }
    }
    for ((system, answers), lists) in baselines.iter().zip(documents).zip(lists) {
        if system.is(&PPR) {
            systems.add_of_nodes(system.name, &nodes);
        }
        systems.add_of_documents(system.name, NO_RANKER, answers);
        let system = Arc::from(system.name);
        for (i, list) in lists.into_iter().enumerate() {
            systems.rankings.add(&system, i, list.unwrap_or_default());
        }
    }
    Ok(())
}
