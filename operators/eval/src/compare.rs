//! `compare`: several evaluations of the same questions in one table, as for ablations.

use std::collections::{BTreeSet, HashMap};

use gfm_pipe_api::{
    Arity, Artifact, Context, Field, InPort, OpError, OpResult, Operator, OutPort, Schema, Type,
    columns, kinds,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::metrics::Answer;
use crate::questions::QuestionSet;
use crate::systems::MODEL;
use crate::tables::{CEILING, Resampling, Results, Source, Target};

/// The operator.
pub struct Compare;

/// Its parameters.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    systems: Vec<String>,
    resamples: usize,
    seed: u64,
}

impl Operator for Compare {
    type Params = Params;
    const NAME: &'static str = "compare";
    const VERSION: u32 = 1;
    const ABOUT: &'static str =
        "several evaluations of the same questions in one table, the first one against the others";
    const NAMES_INPUTS: bool = true;

    fn schema() -> Schema {
        let mut fields = vec![Field::new(
            "systems",
            Type::list(Type::Text),
            json!([MODEL.name]),
            "what is taken of each evaluation: names as in its metrics, with all their rankers",
        )];
        fields.extend(Resampling::fields());
        Schema::new(fields)
    }

    fn inputs() -> Vec<InPort> {
        vec![
            InPort::of(
                "ranks",
                &[&kinds::RANKS],
                Arity::Many,
                "of the evaluations; in tables each is called by its stage",
            ),
            InPort::of(
                "questions",
                &[&kinds::QUESTIONS],
                Arity::One,
                "the questions they answer",
            ),
        ]
    }

    fn outputs() -> Vec<OutPort> {
        let port = |name, kind, about| OutPort { name, kind, about };
        vec![
            port(
                "metrics",
                &kinds::METRICS,
                "as of `evaluate`, with the stage for a system",
            ),
            port(
                "comparisons",
                &kinds::COMPARISONS,
                "the first evaluation against the others",
            ),
        ]
    }

    fn run(p: Params, ctx: &Context) -> OpResult<()> {
        let questions = QuestionSet::read(ctx.input("questions")?)?;
        let mut results = Results::new(&questions);
        let mut labels: Vec<String> = Vec::new();
        // What each question asks for, by target. It differs where only some evaluations know the
        // types of nodes.
        let mut asked: Vec<(Target, Vec<Option<usize>>)> = Vec::new();
        for artifact in ctx.inputs("ranks") {
            for system in &p.systems {
                let label = label(artifact, system);
                if label == CEILING || labels.contains(&label) {
                    return Err(OpError::new(format!("`{label}` is in the table already"))
                        .artifact(&artifact.name)
                        .hint("connect each evaluation once, of stages with other names"));
                }
                for answers in read_answers(artifact, system, &questions)? {
                    let gold = answers.gold();
                    match asked.iter().find(|(target, _)| *target == answers.target) {
                        Some((_, other)) if *other == gold => {}
                        Some((target, _)) => {
                            ctx.warn(format!(
                                "`{label}` was evaluated on another choice of nodes for the target {}: it is left out there. Connect `nodes` in all evaluations, or in none",
                                target.name()
                            ));
                            continue;
                        }
                        None => asked.push((answers.target.clone(), gold)),
                    }
                    let source = Source {
                        system: &label,
                        ranker: &answers.ranker,
                        target: &answers.target,
                    };
                    results.add(source, answers.of_questions);
                }
                labels.push(label);
            }
        }
        let resampling = Resampling {
            resamples: p.resamples,
            seed: p.seed,
        };
        resampling.check_memory(labels.len())?;
        results.add_ceiling();
        results.write(ctx, &resampling)
    }
}

/// The name of an evaluation's system in the tables: the stage for the model, the stage and the
/// system for other systems.
fn label(artifact: &Artifact, system: &str) -> String {
    let stage = artifact.name.rsplit_once('.').map_or("?", |n| n.0);
    if system == MODEL.name {
        stage.to_owned()
    } else {
        format!("{stage} {system}")
    }
}

/// A system's answers with one ranker, for one target.
struct Answers {
    ranker: String,
    target: Target,
    /// One per question, in order.
    of_questions: Vec<Option<Answer>>,
}

impl Answers {
    /// The number of gold items of each question; `None` where it does not ask for the target.
    fn gold(&self) -> Vec<Option<usize>> {
        let answers = self.of_questions.iter();
        answers.map(|answer| Some(answer.as_ref()?.total)).collect()
    }
}

/// The answers of a system by ranker and target, in the order of the table.
fn read_answers(
    artifact: &Artifact,
    system: &str,
    questions: &QuestionSet,
) -> OpResult<Vec<Answers>> {
    let t = artifact.read("ranks")?;
    let text = |name| columns::text(&t, name);
    let (question, systems) = (text("question")?, text("system")?);
    let (ranker, target) = (text("ranker")?, text("target")?);
    let (asked, gold) = (columns::bools(&t, "asked")?, columns::u32s(&t, "gold")?);
    let ranks = columns::list_u32(&t, "ranks")?;
    let place: HashMap<&str, usize> = questions.ids.iter().map(String::as_str).zip(0..).collect();
    let mut found: Vec<Answers> = Vec::new();
    let other_questions = || {
        OpError::new(format!(
            "these ranks are of other questions than `{}`",
            questions.name
        ))
        .artifact(&artifact.name)
        .hint("compare evaluations of the same questions, and connect `questions` to those")
    };
    for (i, ranks) in ranks.into_iter().enumerate() {
        if systems.value(i) != system {
            continue;
        }
        let ranker = ranker.value(i);
        let target = Target::called(target.value(i));
        let known = found
            .iter()
            .position(|f| f.ranker == ranker && f.target == target);
        let known = known.unwrap_or_else(|| {
            found.push(Answers {
                ranker: ranker.to_owned(),
                target: target.clone(),
                of_questions: vec![None; questions.len()],
            });
            found.len() - 1
        });
        let row = *place.get(question.value(i)).ok_or_else(other_questions)?;
        let gold_documents = Answer::perfect(questions.document_gold(row)).total;
        if target == Target::Document && gold.value(i) as usize != gold_documents {
            return Err(other_questions());
        }
        let answer = Answer::of_ranks(asked.value(i), &ranks, gold.value(i));
        found[known].of_questions[row] = Some(answer);
    }
    if found.is_empty() {
        let known: BTreeSet<&str> = systems.iter().flatten().collect();
        let known: Vec<&str> = known.into_iter().collect();
        return Err(OpError::new(format!("no system is called `{system}`"))
            .artifact(&artifact.name)
            .hint(format!("there are: {}", known.join(", "))));
    }
    // Every question asks for documents, but not for nodes of every type.
    let lacks = |f: &Answers| f.target == Target::Document && f.of_questions.contains(&None);
    if found.iter().any(lacks) {
        return Err(other_questions());
    }
    Ok(found)
}
