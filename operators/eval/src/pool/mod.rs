//! `pool`: the folds and repeats of an evaluation, and several data sets, in one table.
//!
//! `stages.rs` says what the connected stages are, `questions.rs` and `answers.rs` read them,
//! `sample.rs` draws resamples of questions and trainings, and `results.rs` makes the tables.

mod answers;
mod questions;
mod results;
mod sample;
mod stages;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use gfm_pipe_api::{
    Arity, Connected, Context, Field, InPort, OpError, OpResult, Operator, OutPort, Problem,
    Schema, Type, kinds,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::tables::{CEILING, Resampling, Target};
use answers::{Answers, System};
use questions::Questions;
use stages::{Names, Stage, is_pattern, set_of};

/// The operator.
pub struct Pool;

/// Its parameters.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    names: Names,
    baseline: Option<String>,
    sets: Vec<String>,
    resamples: usize,
    seed: u64,
}

impl Operator for Pool {
    type Params = Params;
    const NAME: &'static str = "pool";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "the folds of a cross-validation, repeated trainings and several data sets in one table of all questions";
    const NAMES_INPUTS: bool = true;

    fn schema() -> Schema {
        let systems = Type::Map {
            key: "a system",
            check: |name| !name.is_empty(),
            value: Box::new(Type::Text),
        };
        let mut fields = vec![
            Field::new(
                "names",
                Type::Map {
                    key: "a stage (evaluate, evaluate[a,*])",
                    check: is_pattern,
                    value: Box::new(systems),
                },
                json!({}),
                "what systems are called in the tables: STAGE: {SYSTEM: NAME}. Two stages with systems of one name need it",
            ),
            Field::new(
                "baseline",
                Type::Text.or_null(),
                Value::Null,
                "the system that is compared with all others, as it is called in the tables, with or without its ranker; null: the first",
            ),
            Field::new(
                "sets",
                Type::List {
                    item: Box::new(Type::Text),
                    min: 0,
                },
                json!([]),
                "names of data sets, where there are several: a stage belongs to the one that is among its values of `foreach` or `matrix`, or that it is called by. Means are over the sets, each of the same weight",
            ),
        ];
        fields.extend(Resampling::fields());
        Schema::new(fields)
    }

    fn inputs() -> Vec<InPort> {
        vec![
            InPort::of(
                "ranks",
                &[&kinds::RANKS],
                Arity::Many,
                "of the evaluations: folds, repeats with other seeds, data sets",
            ),
            InPort::of(
                "questions",
                &[&kinds::QUESTIONS],
                Arity::Many,
                "the questions they answer; those without ranks do not count",
            ),
        ]
    }

    fn outputs() -> Vec<OutPort> {
        let port = |name, kind, about| OutPort { name, kind, about };
        vec![
            port(
                "metrics",
                &kinds::METRICS,
                "as of `evaluate`, over all questions, each of which counts once",
            ),
            port(
                "comparisons",
                &kinds::COMPARISONS,
                "`baseline` against all other systems",
            ),
        ]
    }

    fn check(p: &Params) -> Vec<Problem> {
        let mut out = Vec::new();
        let names = p.names.values().flatten();
        for (system, name) in names.filter(|(_, name)| name.is_empty() || *name == CEILING) {
            let text = format!("`{system}` cannot be called `{name}`");
            out.push(Problem::at("names", text).hint("take another name"));
        }
        for (i, set) in p.sets.iter().enumerate() {
            if p.sets[..i].contains(set) {
                let text = format!("`{set}` is listed twice");
                out.push(Problem::at("sets", text).hint("remove one of the two"));
            }
        }
        out
    }

    fn check_inputs(p: &Params, inputs: &Connected) -> Vec<Problem> {
        let of = |port: &str| inputs.get(port).map_or(&[][..], Vec::as_slice);
        let ranks: Vec<Stage<'_>> = of("ranks").iter().map(|name| Stage::of(name)).collect();
        let bases: BTreeSet<&str> = ranks.iter().map(|stage| stage.base).collect();
        let bases: Vec<&str> = bases.into_iter().collect();
        let mut out = Vec::new();
        for pattern in p.names.keys() {
            if !ranks.iter().any(|stage| stage.fits(pattern)) {
                let text = format!("`names` has `{pattern}`, which no stage of `ranks` is called");
                let hint = format!("there are: {}", bases.join(", "));
                out.push(Problem::at("names", text).hint(hint));
            }
        }
        let mut used = BTreeSet::new();
        let questions = of("questions").iter().map(|name| Stage::of(name));
        for stage in ranks.iter().cloned().chain(questions) {
            match set_of(&stage, &p.sets) {
                Ok(set) => drop(used.insert(set)),
                Err(text) => out.push(Problem::at_root(text).hint(
                    "name the data sets by values of `foreach` or `matrix` that the stages of `ranks` and `questions` have",
                )),
            }
        }
        let unused = p.sets.iter().enumerate();
        for (_, set) in unused.filter(|(s, _)| !used.contains(s)) {
            let text = format!("no stage belongs to `{set}`, which `sets` has");
            out.push(Problem::at("sets", text).hint("remove it, or connect its stages"));
        }
        out
    }

    fn run(p: Params, ctx: &Context) -> OpResult<()> {
        let questions = Questions::read(ctx.inputs("questions"), &p.sets)?;
        let mut answers = Answers::read(ctx.inputs("ranks"), &questions, &p.names, &p.sets)?;
        answers.leave_out_other_nodes(ctx);
        answers.report(ctx);
        let resampling = Resampling {
            resamples: p.resamples,
            seed: p.seed,
        };
        resampling.check_memory(answers.systems.len())?;
        let pool = results::Pool {
            questions: &questions,
            sets: &p.sets,
            first: first(&answers.systems, p.baseline.as_deref())?,
            systems: &answers.systems,
            resampling,
        };
        pool.write(ctx, &answers.asked())
    }
}

/// The place of the system that is compared with the others.
fn first(systems: &[System], wanted: Option<&str>) -> OpResult<usize> {
    let documents = || (0..systems.len()).filter(|s| systems[*s].target == Target::Document);
    let is = |s: &usize| match wanted {
        Some(name) => systems[*s].name == name || systems[*s].label() == name,
        None => true,
    };
    if let Some(first) = documents().find(is) {
        return Ok(first);
    }
    let Some(name) = wanted else {
        return Err(OpError::data("no system ranked documents").hint("connect ranks of `evaluate`"));
    };
    let labels: Vec<String> = documents().map(|s| systems[s].label()).collect();
    Err(
        OpError::new(format!("no system is called `{name}`, the `baseline`"))
            .hint(format!("there are: {}", labels.join(", "))),
    )
}
