//! `evaluate`: how well the model retrieves, beside the same model with less training and the usual baselines, on the same
//! questions, with intervals and paired tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use gfm_pipe_api::ranks::{all_of, part};
use gfm_pipe_api::{
    Arity, Artifact, Connected, Context, Field, InPort, OpResult, Operator, OutPort, Problem,
    Schema, Type, kinds,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::baselines::{self, Baselines, Walking, listed, missing, unwired, wired};
use crate::buffers::Lease;
use crate::divided::Dividing;
use crate::documents::Questions;
use crate::eval::EntityDocuments;
use crate::eval::metrics::{Answer, Gold};
use crate::eval::rankers::Ranker;
use crate::inputs::{connected, problem_error, zip_problem};
use crate::judged::{self, Report, Sure, Target};
use crate::progress::Pass;
use crate::remarks::on_evaluation;
use crate::retrieval::{self, How, List, OF_QUESTIONS, Rankings, Setting, first, ranker_type};

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
    restart: Option<f64>,
    hops_at_least: Option<u32>,
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

impl Params {
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
                "systems beside the model, those that what is connected allows: untrained needs `model`, dense `question_embeddings` and `corpus_embeddings`, ppr `graph` and \
                 `documents`, bm25 nothing else; rrf fuses those of dense, bm25 and ppr that can be asked, two at least",
            ),
        ];
        fields.extend(baselines::fields());
        fields.push(
            Field::new(
                "hops_at_least",
                Type::int(1).or_null(),
                serde_json::Value::Null,
                "only questions of at least this many hops; those whose number of hops is not known are left out, too",
            )
            .at_most(f64::from(u32::MAX), "hops are counted with 32 bits"),
        );
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
            InPort::of(
                "model",
                &[&kinds::MODEL],
                Arity::Optional,
                "the model; without it the other systems are evaluated alone",
            ),
            InPort::of(
                "pretrained",
                &[&kinds::MODEL],
                Arity::Optional,
                "the model before fine-tuning",
            ),
        ];
        ports.extend(retrieval::ports());
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
                "the first system (the model with its first ranker, where there is one) against the others",
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

    fn check_inputs(p: &Params, inputs: &Connected) -> Vec<Problem> {
        lacking(p, inputs).into_iter().collect()
    }

    fn remarks(_: &Params, outputs: &BTreeMap<String, Artifact>) -> OpResult<Vec<String>> {
        match (outputs.get("metrics"), outputs.get("comparisons")) {
            (Some(metrics), Some(comparisons)) => on_evaluation(metrics, comparisons),
            _ => Ok(Vec::new()),
        }
    }

    fn run(p: Params, ctx: &Context) -> OpResult<()> {
        let _lease = Lease;
        // What cannot be is refused before anything is read.
        if let Some(problem) = lacking(&p, &connected(ctx)) {
            return Err(problem_error(problem));
        }
        let dividing = Dividing::new(ctx, p.divide == Divide::Graph)?;
        let mut setting = Setting::read(ctx, true)?;
        setting.dividing = dividing;
        let asked = setting.questions.len();
        if let Some(hops) = p.hops_at_least {
            setting.questions = setting.questions.of_hops(hops);
            ctx.info(format!(
                "{} of {asked} questions have at least {hops} hops",
                setting.questions.len()
            ));
        }
        let questions = &setting.questions;
        if questions.len() == 0 {
            let none = match asked {
                0 => "holds no questions",
                _ => "holds no questions of so many hops",
            };
            ctx.warn(format!("`{}` {none}: nothing is measured", questions.name));
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
        systems.ceiling(setting.has_graph());
        systems.report.write(ctx, &sure)?;
        systems.report.write_ranks(ctx)?;
        systems.rankings.write(ctx, &questions.ids, &setting.titles)
    }
}

/// What is wrong when models cannot be asked, or nothing can, of what is connected.
fn lacking(p: &Params, inputs: &Connected) -> Option<Problem> {
    let wired = wired(inputs);
    for (port, system) in [
        ("model", "model"),
        ("pretrained", "pretrained"),
        ("background", "model"),
    ] {
        if wired(port)
            && let Some(problem) = unwired(system, inputs, "")
        {
            return Some(problem);
        }
    }
    let able = |name: &str| missing(name, &wired).is_empty();
    let some = wired("model") || wired("pretrained");
    if some || p.baselines.iter().any(|name| able(name)) {
        return zip_problem(inputs, &["questions"], &OF_QUESTIONS);
    }
    let problem = Problem::at_root(
        "nothing can be evaluated: no model is connected, and no baseline has its ports",
    );
    let ways = p.baselines.iter().map(|name| {
        let ports = missing(name, &wired);
        format!("connect {} for `{name}`", listed(&ports))
    });
    let ways: Vec<String> = ways
        .chain(["put `bm25` in `baselines`".to_owned()])
        .collect();
    Some(problem.hint(ways.join("; ")))
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

    fn ceiling(&mut self, entities: bool) {
        let targets = [Target::Document, Target::Entity];
        for target in &targets[..1 + usize::from(entities)] {
            let target = *target;
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
    let model = ctx.input_opt("model");
    let trained = [
        ("model", model, ctx.input_opt("background")),
        ("pretrained", ctx.input_opt("pretrained"), None),
    ];
    let untrained = p.baselines.iter().any(|b| b == "untrained");
    let passes = trained.iter().filter(|(_, of, _)| of.is_some()).count()
        + usize::from(untrained && model.is_some());
    let questions = setting.questions.len();
    let how = |before: usize, note| How {
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
    // The work after the models is part of the time left.
    told(ctx, 0, questions);
    let mut before = 0;
    for (system, of, background) in trained {
        let Some(of) = of else { continue };
        let mut judge = Judge::new(p, ctx, setting, systems, system)?;
        let how = how(before, system);
        setting.ask(ctx, of, background, how, |i, s| judge.take(i, s))?;
        judge.finish(ctx)?;
        before += 1;
    }
    if !untrained {
        return Ok(());
    }
    if let Some(model) = model {
        let mut judge = Judge::new(p, ctx, setting, systems, "untrained")?;
        let how = how(before, "untrained");
        setting.ask_untrained(ctx, model, p.seed, how, |i, s| judge.take(i, s))?;
        judge.finish(ctx)?;
    } else {
        ctx.info("`untrained` is left out: nothing is connected to `model`");
    }
    Ok(())
}

/// Reports how many questions the baselines were asked.
fn told(ctx: &Context, done: usize, questions: usize) {
    ctx.progress(done as u64, questions as u64, "questions to baselines", "");
}

/// Makes answers of a model's entity scores, by every ranker, and keeps no scores.
struct Judge<'a, 'b> {
    system: Arc<str>,
    rankers: Vec<Ranker>,
    setting: &'a Setting,
    matrix: &'a EntityDocuments,
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
    ) -> OpResult<Self> {
        let asked = systems.questions.len();
        ctx.info(format!("scoring {asked} questions with `{system}`"));
        let named = p.rankers.iter();
        let rankers: Vec<Ranker> = named
            .filter_map(|n| Ranker::from_name(n, p.top_k))
            .collect();
        Ok(Judge {
            system: system.into(),
            rankers,
            setting,
            matrix: &setting.on_graph()?.matrix,
            systems,
            waiting: Vec::new(),
            judged: Vec::new(),
        })
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
                    let documents = ranker.ranking(scores, self.matrix);
                    let documents = self.setting.whole(documents);
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
    let wanted = |name: &str| p.baselines.iter().any(|b| b == name);
    let by = Baselines::new(ctx, setting, &wanted, p.walking())?;
    let names = &by.names;
    let questions = setting.questions.len();
    let all = &*systems;
    let mine = part(questions, ctx.ranks.rank(), ctx.ranks.size());
    let asked = AtomicUsize::new(0);
    let through = || match (1 + asked.fetch_add(1, Relaxed), mine.len()) {
        (n, of) if n == of => told(ctx, questions, questions),
        (n, of) => told(ctx, questions * n / of, questions),
    };
    let given: OpResult<Vec<Given>> = mine
        .clone()
        .into_par_iter()
        .map(|i| {
            ctx.check_cancelled()?;
            let scores = by.ask(i)?;
            let documents = scores.documents.iter().map(|(_, s)| {
                let answer = all.answer(Target::Document, i, s.as_deref());
                (answer, s.as_ref().map(|s| first(s, RANKED)))
            });
            through();
            let masses = scores.entities.as_deref();
            Ok(Given {
                entities: names
                    .contains(&"ppr")
                    .then(|| all.answer(Target::Entity, i, masses)),
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
