//! `retrieve`: the documents a system finds for questions, whether or not anybody knows the right
//! ones. The system is a model, or one that needs no training.

use std::sync::Arc;

use gfm_pipe_api::{
    Arity, Connected, Context, Field, InPort, OpError, OpResult, Operator, OutPort, Problem,
    Schema, Type, kinds,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::baselines::{self, Baselines, Walking, unwired};
use crate::buffers::Lease;
use crate::eval::rankers::Ranker;
use crate::inputs::{connected, problem_error, zip_problem};
use crate::progress::Pass;
use crate::retrieval::{self, How, List, OF_QUESTIONS, Rankings, Setting, first, ranker_type};

/// The system that is trained.
const MODEL: &str = "model";

/// What may be asked.
const SYSTEMS: [&str; 5] = [MODEL, "dense", "bm25", "ppr", "rrf"];

/// Questions whose documents are scored together by a system that is not trained: their scores are
/// held until then.
const AT_ONCE: usize = 64;

/// The operator.
pub struct Retrieve;

/// Its parameters.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    system: String,
    ranker: String,
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
    const VERSION: u32 = 2;
    const ON_GPU: bool = true;
    const ABOUT: &'static str =
        "the first documents of a model, or of a system that needs no training, for every question";

    fn schema() -> Schema {
        let mut fields = vec![
            Field::new(
                "system",
                Type::one_of(&SYSTEMS),
                MODEL,
                "what finds the documents: model (needs `model`, `graph`, `documents` and `question_embeddings`); dense (`question_embeddings` and `corpus_embeddings`); \
                 bm25 (words of the corpus, no other port); ppr, personalised PageRank (`graph` and `documents`); rrf, the fusion of those of the last three that what is connected allows",
            ),
            Field::new(
                "ranker",
                ranker_type(),
                "idf_topk",
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
        fields.extend(retrieval::fields());
        fields.extend(baselines::fields());
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
        ports.extend(retrieval::ports());
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
        lacking(p, inputs).into_iter().collect()
    }

    fn run(p: Params, ctx: &Context) -> OpResult<()> {
        let _lease = Lease;
        if let Some(problem) = lacking(&p, &connected(ctx)) {
            return Err(problem_error(problem));
        }
        let wants_graph = ["model", "ppr", "rrf"].contains(&&*p.system);
        let setting = Setting::read(ctx, wants_graph)?;
        let rankings = match p.system.as_str() {
            MODEL => by_model(&p, ctx, &setting)?,
            _ => by_baseline(&p, ctx, &setting)?,
        };
        rankings.write(ctx, &setting.questions.ids, &setting.titles)
    }
}

/// What is wrong when the system cannot be asked, of what is connected.
fn lacking(p: &Params, inputs: &Connected) -> Option<Problem> {
    let ways = match p.system.as_str() {
        MODEL => ", or take a system that needs no model: `system: bm25`",
        _ => "",
    };
    unwired(&p.system, inputs, ways).or_else(|| zip_problem(inputs, &["questions"], &OF_QUESTIONS))
}

fn by_model(p: &Params, ctx: &Context, setting: &Setting) -> OpResult<Rankings> {
    setting.warn_of_unaskable(ctx, "nothing is retrieved for them");
    let ranker = Ranker::from_name(&p.ranker, p.top_k)
        .ok_or_else(|| OpError::new(format!("no ranker is called `{}`", p.ranker)))?;
    let matrix = &setting.on_graph()?.matrix;
    let how = How {
        weighted: p.init_entities_weight,
        batch_size: p.batch_size,
        pass: Pass::whole(ctx, "questions", setting.questions.len()),
    };
    let background = ctx.input_opt("background");
    let (mut rankings, system) = (Rankings::default(), MODEL.into());
    setting.ask(ctx, ctx.input("model")?, background, how, |i, scores| {
        let documents = setting.whole(ranker.ranking(scores, matrix));
        rankings.add(&system, i, first(&documents, p.documents));
    })?;
    Ok(rankings)
}

fn by_baseline(p: &Params, ctx: &Context, setting: &Setting) -> OpResult<Rankings> {
    if p.system == "ppr" {
        setting.warn_of_unaskable(ctx, "nothing is retrieved for them");
    }
    let by = Baselines::new(ctx, setting, &|name| name == p.system, p.walking())?;
    let (mut rankings, system) = (Rankings::default(), Arc::from(p.system.as_str()));
    let all: Vec<usize> = (0..setting.questions.len()).collect();
    let pass = Pass::whole(ctx, "questions", all.len());
    for (chunk, part) in all.chunks(AT_ONCE).enumerate() {
        ctx.check_cancelled()?;
        pass.at(chunk * AT_ONCE, all.len());
        let lists: OpResult<Vec<List>> = part
            .par_iter()
            .map(|i| {
                let scores = by.ask(*i)?.documents.into_iter().find_map(|s| s.1);
                Ok(scores.map_or_else(List::new, |s| first(&s, p.documents)))
            })
            .collect();
        for (i, list) in part.iter().zip(lists?) {
            rankings.add(&system, *i, list);
        }
    }
    pass.at(all.len(), all.len());
    Ok(rankings)
}
