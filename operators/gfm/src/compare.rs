//! `compare`: several evaluations of the same questions in one table: what ablations end in.

use std::collections::HashMap;

use gfm_pipe_api::{
    Arity, Artifact, Context, Field, InPort, OpError, OpResult, Operator, OutPort, Schema, Type,
    columns, kinds,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::documents::Questions;
use crate::eval::metrics::Answer;
use crate::judged::{self, Report, Sure, Target};

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
            json!(["model"]),
            "what is taken of each evaluation: names as in its metrics, with all their rankers",
        )];
        fields.extend(judged::fields());
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
        let questions = Questions::bare(ctx.input("questions")?)?;
        let gold = questions.golds();
        let mut report = Report::new(questions.asked(&gold));
        let mut labels: Vec<String> = vec![judged::CEILING.to_owned()];
        for artifact in ctx.inputs("ranks") {
            for system in &p.systems {
                let label = label(artifact, system);
                if labels.contains(&label) {
                    return Err(OpError::new(format!("`{label}` is in the table already"))
                        .artifact(&artifact.name)
                        .hint("connect each evaluation once, of stages with other names"));
                }
                for ((ranker, target), answers) in answers(artifact, system, &questions)? {
                    report.add((&label, &ranker), target, answers);
                }
                labels.push(label);
            }
        }
        let sure = Sure {
            resamples: p.resamples,
            seed: p.seed,
        };
        // The ceiling is named there, too.
        sure.check_memory(labels.len() - 1)?;
        let perfect = (0..questions.len()).map(|i| Answer::perfect(questions.document_gold(i)));
        report.ceiling(Target::Document, perfect.collect());
        report.write(ctx, &sure)
    }
}

/// What a system of an evaluation is called: by the stage, and by the system where it is not the model.
fn label(artifact: &Artifact, system: &str) -> String {
    let stage = artifact.name.rsplit_once('.').map_or("?", |n| n.0);
    match system {
        "model" => stage.to_owned(),
        other => format!("{stage} {other}"),
    }
}

/// The answers of a system by ranker and target, in the order of the table, each in the order of the questions.
type Answers<A> = Vec<((String, Target), Vec<A>)>;

fn answers(artifact: &Artifact, system: &str, questions: &Questions) -> OpResult<Answers<Answer>> {
    let t = artifact.read("ranks")?;
    let text = |name| columns::text(&t, name);
    let (question, systems) = (text("question")?, text("system")?);
    let (ranker, target) = (text("ranker")?, text("target")?);
    let (asked, gold) = (columns::bools(&t, "asked")?, columns::u32s(&t, "gold")?);
    let ranks = columns::list_u32(&t, "ranks")?;
    let place: HashMap<&str, usize> = questions.ids.iter().map(String::as_str).zip(0..).collect();
    let mut found: Answers<Option<Answer>> = Vec::new();
    let others = || {
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
        let target = match target.value(i) {
            "entity" => Target::Entity,
            _ => Target::Document,
        };
        let of = (ranker.value(i).to_owned(), target);
        let at = match found.iter().position(|f| f.0 == of) {
            Some(at) => at,
            None => {
                found.push((of, vec![None; questions.len()]));
                found.len() - 1
            }
        };
        let places = ranks.iter().map(|r| (*r as usize).saturating_sub(1));
        let places = asked.value(i).then(|| places.collect());
        let row = place.get(question.value(i)).ok_or_else(others)?;
        let known = Answer::perfect(questions.document_gold(*row)).total;
        if target == Target::Document && gold.value(i) as usize != known {
            return Err(others());
        }
        found[at].1[*row] = Some(Answer::at(places, gold.value(i) as usize));
    }
    if found.is_empty() {
        let known: std::collections::BTreeSet<&str> = systems.iter().flatten().collect();
        let known: Vec<&str> = known.into_iter().collect();
        return Err(OpError::new(format!("no system is called `{system}`"))
            .artifact(&artifact.name)
            .hint(format!("there are: {}", known.join(", "))));
    }
    found
        .into_iter()
        .map(|(of, answers)| {
            let answers: Option<Vec<Answer>> = answers.into_iter().collect();
            Ok((of, answers.ok_or_else(others)?))
        })
        .collect()
}
