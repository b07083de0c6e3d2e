//! The operator `evaluate-answers`.

use gfm_pipe_api::{Arity, Context, InPort, OpError, OpResult, Operator, OutPort, Schema, kinds};
use serde::{Deserialize, Serialize};

use super::read::{self, Documents};
use super::results::{Judged, Results, System};
use crate::questions::QuestionSet;
use crate::tables::Resampling;

/// The operator.
pub struct EvaluateAnswers;

/// Its parameters.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    resamples: usize,
    seed: u64,
}

impl Operator for EvaluateAnswers {
    type Params = Params;
    const NAME: &'static str = "evaluate-answers";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "compares answers with those that are right: exact match, F1 and citations of several systems";
    const NAMES_INPUTS: bool = true;

    fn schema() -> Schema {
        Schema::new(Resampling::fields())
    }

    fn inputs() -> Vec<InPort> {
        vec![
            InPort::of(
                "questions",
                &[&kinds::QUESTIONS],
                Arity::One,
                "the questions, with an answer that is right; those without one do not count",
            ),
            InPort::of(
                "responses",
                &[&kinds::RESPONSES],
                Arity::Many,
                "what systems answered; in tables each is called by its stage",
            ),
            InPort::of(
                "aliases",
                &[&kinds::ANSWERS],
                Arity::Optional,
                "further answers that count as right",
            ),
            InPort::of(
                "documents",
                &[&kinds::DOCUMENTS],
                Arity::Optional,
                "documents that the questions were read with: measures citations",
            ),
            InPort::of(
                "sources",
                &[&kinds::SOURCES],
                Arity::Optional,
                "which documents are pieces of one: a citation of a piece cites its document",
            ),
        ]
    }

    fn outputs() -> Vec<OutPort> {
        let port = |name, kind, about| OutPort { name, kind, about };
        vec![
            port(
                "metrics",
                &kinds::METRICS,
                "metrics of answers (docs/metrics.md), with the stage for a system",
            ),
            port(
                "comparisons",
                &kinds::COMPARISONS,
                "the first system against the others",
            ),
            port(
                "scores",
                &kinds::ANSWER_SCORES,
                "how right each answer is, beside those that are right",
            ),
        ]
    }

    fn run(p: Params, ctx: &Context) -> OpResult<()> {
        let questions = QuestionSet::read(ctx.input("questions")?)?;
        questions.check_ids()?;
        let gold = read::gold(ctx, &questions)?;
        let kept: Vec<usize> = (0..questions.len())
            .filter(|q| !gold[*q].is_empty())
            .collect();
        if kept.is_empty() && !questions.is_empty() {
            return Err(OpError::data(
                "no question has an answer that answers could be compared with",
            )
            .artifact(&questions.name)
            .hint("evaluate questions whose data has `answer`, or connect `aliases`"));
        }
        if kept.len() < questions.len() {
            ctx.info(format!(
                "{} of {} questions have no right answer in the data: they are left out",
                questions.len() - kept.len(),
                questions.len()
            ));
        }
        let documents = Documents::read(ctx, &questions)?;
        let resampling = Resampling {
            resamples: p.resamples,
            seed: p.seed,
        };
        resampling.check_memory(ctx.inputs("responses").len())?;
        let mut systems: Vec<System> = Vec::new();
        for artifact in ctx.inputs("responses") {
            ctx.check_cancelled()?;
            let stage = artifact.name.rsplit_once('.').map_or("?", |n| n.0);
            if systems.iter().any(|system| system.name == stage) {
                return Err(OpError::new(format!("`{stage}` is in the table already"))
                    .artifact(&artifact.name)
                    .hint("connect each stage that answers once"));
            }
            let responses = read::responses(artifact, &questions)?;
            let judged = kept.iter().map(|q| {
                let cited = |titles: &[String]| {
                    let items = &questions.supporting_documents[*q];
                    Some(documents.as_ref()?.cited(titles, items))
                };
                Judged::new(
                    responses[*q].as_ref(),
                    &gold[*q],
                    cited,
                    questions.gold_titles[*q],
                )
            });
            systems.push(System {
                name: stage.to_owned(),
                answers: judged.collect(),
            });
        }
        let gold = kept.iter().map(|q| gold[*q].clone()).collect();
        Results::new(questions.subset(&kept), gold, systems).write(ctx, &resampling)
    }
}
