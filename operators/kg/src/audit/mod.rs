//! `audit`: what is wrong with a data set, before anything is trained on it.
//!
//! The audit checks what the ingests read and what they rejected, and reports the place of each
//! fault. Each file beside this one is a group of checks, as functions over plain data ([`data`]).
//! Their names, severities and meanings are one table ([`checks`]). Invariant: `findings` holds
//! every finding, and `summary` every check that the connected inputs allow.
//!
//! `strict` makes the stage fail when checks have findings. It is applied when the result is
//! delivered, so that the tables are kept and can be looked at. It is not part of the key.

mod boilerplate;
mod checks;
mod csv;
mod data;
mod documents;
mod graph;
pub mod language;
mod names;
mod near_duplicates;
pub(crate) mod normal;
mod paths;
mod questions;
mod read;
mod rejected;
mod report;
mod statistics;
mod suggestions;
#[cfg(test)]
mod testing;
mod twins;
pub(crate) mod unicode;
mod words;

use std::collections::BTreeMap;

use gfm_pipe_api::{
    Arity, Artifact, Connected, Context, Field, InPort, OpError, OpResult, Operator, OutPort,
    Problem, Schema, Type, is_connected, kinds,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use checks::{CHECKS, Check, ERRORS, STRICT, Severity, Unit, WARNINGS, meant};
pub use rejected::TABLES;
pub use report::{FindingRow, SummaryRow, failing, not_made, read_findings, read_summary};
pub use statistics::{DOCUMENT_NUMBERS, NUMBERS, QUESTION_NUMBERS};

use self::data::{Data, Finding};

/// The operator `audit`.
pub struct Audit;

/// Parameters of [`Audit`].
#[derive(Debug, Serialize, Deserialize)]
pub struct AuditParams {
    /// Hops of a model's search.
    layers: usize,
    /// Number of names suggested for an unknown one.
    nearest: usize,
    /// Words of a document that an encoder reads.
    max_words: usize,
    /// Checks that must have no finding.
    strict: Vec<String>,
}

/// Number of places that an error lists.
const SHOWN: usize = 5;

impl Operator for Audit {
    type Params = AuditParams;
    const NAME: &'static str = "audit";
    const VERSION: u32 = 5;
    const ABOUT: &'static str =
        "checks a graph, its documents and questions for faults, and reports the place of each";

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new(
                "layers",
                Type::Int { min: 0, max: 100 },
                6,
                "the most triples that a model's search follows: its number of layers",
            ),
            Field::new(
                "nearest",
                Type::Int { min: 0, max: 20 },
                3,
                "the most names suggested for an unknown one",
            ),
            Field::new(
                "max_words",
                Type::Int { min: 1, max: 1_000_000 },
                300,
                "longest document, in words: encoders cut texts off, most after 256 to 512 tokens, which are 200 to 400 words",
            ),
            Field::new(
                "strict",
                Type::List {
                    item: Box::new(Type::one_of(STRICT)),
                    min: 0,
                },
                json!([]),
                "checks that must have no finding, or the stage fails (its tables are kept); `errors`: every check that is an error, `warnings`: those and every warning",
            )
            .no_effect(),
        ])
    }

    fn inputs() -> Vec<InPort> {
        vec![
            InPort::of(
                "entities",
                &[&kinds::ENTITIES],
                Arity::One,
                "entities of the graph",
            ),
            InPort::of("triples", &[&kinds::TRIPLES], Arity::One, "its triples"),
            InPort::of(
                "relations",
                &[&kinds::RELATIONS],
                Arity::One,
                "its relations",
            ),
            InPort::of(
                "documents",
                &[&kinds::DOCUMENTS],
                Arity::Optional,
                "documents",
            ),
            InPort::of(
                "links",
                &[&kinds::LINKS],
                Arity::Optional,
                "which entities they mention",
            ),
            InPort::of(
                "questions",
                &[&kinds::QUESTIONS],
                Arity::Any,
                "questions, one artifact per split",
            ),
            InPort::of(
                "rejects",
                &[&kinds::REJECTS],
                Arity::Any,
                "what the ingests could not use",
            ),
            InPort::of(
                "places",
                &[&kinds::PLACES],
                Arity::Any,
                "where things were written; without it findings have no lines",
            ),
            InPort::of(
                "nodes",
                &[&kinds::NODES],
                Arity::Optional,
                "which entities stand for documents: their names are titles, which are checked once",
            ),
            InPort::of(
                "sources",
                &[&kinds::SOURCES],
                Arity::Optional,
                "the files of documents, and which are pieces of one",
            ),
            InPort::of(
                "mentions",
                &[&kinds::MENTIONS],
                Arity::Optional,
                "what documents mention",
            ),
            InPort::of(
                "facts",
                &[&kinds::FACTS],
                Arity::Optional,
                "what documents say",
            ),
        ]
    }

    fn outputs() -> Vec<OutPort> {
        vec![
            OutPort {
                name: "summary",
                kind: &kinds::AUDIT,
                about: "the checks that were made, each with its number of findings",
            },
            OutPort {
                name: "findings",
                kind: &kinds::FINDINGS,
                about: "every finding with its place",
            },
            OutPort {
                name: "statistics",
                kind: &kinds::STATISTICS,
                about: "sizes, degrees, frequencies of relations",
            },
        ]
    }

    fn check_inputs(params: &AuditParams, inputs: &Connected) -> Vec<Problem> {
        let connected = is_connected(inputs);
        let mut problems = Vec::new();
        for port in ["links", "sources", "mentions", "facts"] {
            if connected(port) && !connected("documents") {
                let problem = Problem::at_root(format!("`{port}` are of documents"));
                problems.push(problem.hint("connect `documents`"));
            }
        }
        for word in &params.strict {
            let Some(check) = CHECKS.iter().find(|c| c.name == word) else {
                continue;
            };
            let missing: Vec<String> = check
                .needs
                .iter()
                .filter(|port| !connected(port))
                .map(|port| format!("`{port}`"))
                .collect();
            if !missing.is_empty() {
                let missing = missing.join(", ");
                problems.push(
                    Problem::at_root(format!("`strict` names `{word}`, which looks at {missing}"))
                        .hint(format!(
                            "connect {missing}, or leave `{word}` out of `strict`"
                        )),
                );
            }
        }
        problems
    }

    fn run(params: AuditParams, ctx: &Context) -> OpResult<()> {
        let step = |done: u64, note: &str| -> OpResult<()> {
            ctx.check_cancelled()?;
            ctx.progress(done, 8, "groups of checks", note);
            Ok(())
        };
        step(0, "reading")?;
        let data = Data::read(ctx)?;
        let stop = || ctx.check_cancelled();
        let mut findings: Vec<Finding> = Vec::new();
        step(1, "rejected input")?;
        findings.extend(rejected::rejected(&data, params.nearest, &stop)?);
        step(2, "triples")?;
        findings.extend(graph::triples(&data));
        findings.extend(graph::relations(&data));
        findings.extend(twins::near_duplicates(&data));
        findings.extend(csv::header(&data));
        findings.extend(graph::components(&data));
        step(3, "names")?;
        findings.extend(names::similar(&data));
        findings.extend(csv::quoted(&data));
        step(4, "characters")?;
        findings.extend(unicode::characters(&data, &stop)?);
        step(5, "documents")?;
        findings.extend(documents::documents(&data, params.max_words));
        findings.extend(near_duplicates::near_duplicates(&data, &stop)?);
        findings.extend(boilerplate::boilerplate(&data));
        findings.extend(language::languages(&data, &stop)?);
        step(6, "questions")?;
        findings.extend(questions::questions(&data));
        findings.extend(questions::repeated(&data));
        step(7, "ways to gold documents")?;
        findings.extend(paths::gold(&data, params.layers, &stop)?);
        let order = |f: &Finding| CHECKS.iter().position(|c| *c == f.check);
        findings.sort_by_cached_key(order);
        step(8, "")?;
        report::write_summary(ctx, &data, &findings)?;
        report::write_findings(ctx, &findings)?;
        report::write_statistics(ctx, &statistics::statistics(&data))?;
        let of = |s: Severity| findings.iter().filter(|f| f.check.severity == s).count();
        let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
        if errors + warnings > 0 {
            ctx.warn(format!(
                "errors: {errors}, warnings: {warnings}: see `gfm-pipe show {}`, `gfm-pipe show {}`",
                ctx.typed("summary"),
                ctx.typed("findings")
            ));
        }
        Ok(())
    }

    fn deliver(
        params: &AuditParams,
        ctx: &Context,
        outputs: &BTreeMap<String, Artifact>,
    ) -> OpResult<()> {
        if params.strict.is_empty() {
            return Ok(());
        }
        let port = |name: &str| {
            let found = outputs.get(name);
            found.ok_or_else(|| OpError::internal(format!("the port `{name}` is missing")))
        };
        let summary = read_summary(port("summary")?)?;
        let failing = failing(&params.strict, &summary);
        if failing.is_empty() {
            return Ok(());
        }
        let mut places = Vec::new();
        read_findings(port("findings")?, |row| {
            if failing.iter().any(|f| f.check == row.check) {
                let line = row.line(str::to_owned);
                places.push(format!("\n  {}: {line}", row.check));
            }
            places.len() < SHOWN
        })?;
        let counts: Vec<String> = failing
            .iter()
            .map(|f| format!("{} ({})", f.check, f.count))
            .collect();
        let total: u64 = failing.iter().map(|f| f.count).sum();
        let more = total.saturating_sub(places.len() as u64);
        if more > 0 {
            places.push(format!("\n  … and {more} more"));
        }
        Err(OpError::data(format!(
            "the data has what `strict` forbids: {}{}",
            counts.join(", "),
            places.concat()
        ))
        .hint(format!(
            "all of them: gfm-pipe show {} --json; what they mean: gfm-pipe show {}; then correct the data, or take the check out of `strict`",
            ctx.typed("findings"),
            ctx.typed("summary")
        )))
    }
}
