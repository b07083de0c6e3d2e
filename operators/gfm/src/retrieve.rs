//! `retrieve`: the documents that a system finds for questions, whether or not the correct ones are
//! known. The system is a model or a baseline that needs no training.

use std::sync::Arc;

use gfm_pipe_api::{
    Arity, Connected, Context, Field, InPort, OpResult, Operator, OutPort, Problem, Schema, Type,
    kinds,
};
use gfm_pipe_eval::rankers::{self, DEFAULT_TOP_K, RankerName, ranker_type, top_k_field};
use gfm_pipe_eval::rankings::{RankedList, Rankings, first};
use gfm_pipe_eval::systems::{MODEL, PPR, RRF, SystemName, Walking, askable};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::baselines::Baselines;
use crate::inference::{self, AskOptions, Inputs};
use gfm_pipe_api::zip::{connected, problem_error, zip_problem};
use gfm_pipe_model::buffers::Lease;
use gfm_pipe_model::model::read_config;
use gfm_pipe_model::progress::Pass;
use gfm_pipe_model::questions::{OF_QUESTIONS, document_ranker};

/// Number of questions that a baseline scores in parallel before their lists are stored.
const SCORED_AT_ONCE: usize = 64;

/// The operator `retrieve`.
pub struct Retrieve;

/// Parameters of `retrieve`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    system: SystemName,
    ranker: RankerName,
    documents: usize,
    top_k: usize,
    node_specificity: bool,
    restart: Option<f64>,
    init_entities_weight: bool,
    batch_size: usize,
}

impl Params {
    fn walking(&self) -> Walking {
        Walking {
            node_specificity: self.node_specificity,
            restart: self.restart,
        }
    }
}

impl Operator for Retrieve {
    type Params = Params;
    const NAME: &'static str = "retrieve";
    const VERSION: u32 = 5;
    const ABOUT: &'static str =
        "the first documents of a model, or of a system that needs no training, for every question";

    fn schema() -> Schema {
        let mut fields = vec![
            Field::new(
                "system",
                Type::one_of(askable()),
                MODEL.name,
                "what finds the documents: model (needs `model`, `graph`, `documents` and `question_embeddings`); dense (`question_embeddings` and `corpus_embeddings`); \
                 bm25 (words of the corpus, no other port); ppr, personalised PageRank (`graph` and `documents`); rrf, the fusion of dense, bm25 and ppr, or of those whose inputs are connected; fused, weighted ranking features (`features` and `fusion`)",
            ),
            Field::new(
                "ranker",
                ranker_type(),
                rankers::DEFAULT.name,
                "how a model's entity scores become document scores",
            ),
            Field::new(
                "documents",
                Type::int(1),
                20,
                "documents listed for each question",
            )
            .at_most(1e6, "each is a row of `rankings`"),
        ];
        fields.push(top_k_field(DEFAULT_TOP_K));
        fields.extend(inference::fields());
        fields.extend(Walking::fields());
        Schema::new(fields)
    }

    fn inputs() -> Vec<InPort> {
        let model = InPort::of(
            "model",
            &[&kinds::MODEL],
            Arity::Optional,
            "the model, for `system: model`",
        );
        let mut ports = vec![model];
        ports.extend(inference::ports());
        ports
    }

    fn outputs() -> Vec<OutPort> {
        vec![OutPort {
            name: "rankings",
            kind: &kinds::RANKINGS,
            about: "the documents",
        }]
    }

    fn check_inputs(p: &Params, inputs: &Connected) -> Vec<Problem> {
        missing_inputs(p, inputs).into_iter().collect()
    }

    fn on_gpu(p: &Params) -> bool {
        p.system.is(&MODEL)
    }

    fn run(p: Params, ctx: &Context) -> OpResult<()> {
        let _lease = Lease;
        if let Some(problem) = missing_inputs(&p, &connected(ctx)) {
            return Err(problem_error(problem));
        }
        let wants_graph = [&MODEL, &PPR, &RRF].iter().any(|s| p.system.is(s));
        let inputs = Inputs::read(ctx, wants_graph)?;
        let rankings = if p.system.is(&MODEL) {
            by_model(&p, ctx, &inputs)?
        } else {
            by_baseline(&p, ctx, &inputs)?
        };
        rankings.write(ctx, &inputs.questions.ids, &inputs.titles)
    }
}

/// Reports what the system needs that is not connected.
fn missing_inputs(p: &Params, inputs: &Connected) -> Option<Problem> {
    let ways = if p.system.is(&MODEL) {
        ", or use a system that needs no model: `system: bm25`"
    } else {
        ""
    };
    p.system
        .problem(inputs, ways)
        .or_else(|| zip_problem(inputs, &["questions"], &OF_QUESTIONS))
}

fn by_model(p: &Params, ctx: &Context, inputs: &Inputs) -> OpResult<Rankings> {
    let model = ctx.input("model")?;
    let matrix = &inputs.on_graph()?.matrix;
    let class = read_config(model)?.class;
    let ranker = document_ranker(class, matrix, p.ranker.0.top_k(p.top_k));
    let options = AskOptions {
        weighted: p.init_entities_weight,
        batch_size: p.batch_size,
        pass: Pass::whole(ctx, "questions", inputs.questions.len()),
    };
    let head = inputs.feature_head(model)?;
    let by = inputs.document_scores(head.as_ref(), ranker)?;
    let without = match by.head {
        Some(_) => "documents are ranked by features alone for them",
        None => "nothing is retrieved for them",
    };
    inputs.warn_of_questions_without_start(ctx, without);
    let mut lists: Vec<Option<RankedList>> = vec![None; inputs.questions.len()];
    let background = ctx.input_opt("background");
    inputs.ask(ctx, model, background, options, |i, scores| {
        let features = inputs.questions.features(i);
        lists[i] = Some(first(&by.of(scores, features), p.documents));
    })?;
    let (mut rankings, system) = (Rankings::default(), MODEL.name.into());
    for (i, list) in lists.into_iter().enumerate() {
        let features = inputs.questions.features(i);
        let alone = || Some(first(&by.without_nodes(features)?, p.documents));
        rankings.add(&system, i, list.or_else(alone).unwrap_or_default());
    }
    Ok(rankings)
}

fn by_baseline(p: &Params, ctx: &Context, inputs: &Inputs) -> OpResult<Rankings> {
    if p.system.is(&PPR) {
        inputs.warn_of_questions_without_start(ctx, "nothing is retrieved for them");
    }
    let by = Baselines::new(ctx, inputs, &|system| p.system.is(system), p.walking())?;
    let (mut rankings, system) = (Rankings::default(), Arc::from(p.system.name));
    let all: Vec<usize> = (0..inputs.questions.len()).collect();
    let pass = Pass::whole(ctx, "questions", all.len());
    for (chunk, part) in all.chunks(SCORED_AT_ONCE).enumerate() {
        ctx.check_cancelled()?;
        pass.at(chunk * SCORED_AT_ONCE, all.len());
        let lists: OpResult<Vec<RankedList>> = part
            .par_iter()
            .map(|i| {
                let scores = by.ask(*i)?.documents.into_iter().find_map(|s| s);
                Ok(scores.map_or_else(RankedList::new, |s| first(&s, p.documents)))
            })
            .collect();
        for (i, list) in part.iter().zip(lists?) {
            rankings.add(&system, *i, list);
        }
    }
    pass.at(all.len(), all.len());
    Ok(rankings)
}
