//! A run as one self-contained HTML page: no network, no script, no second file. The page that
//! compares many runs has a script of its own, which sorts its table.
//!
//! The parts read tables of the run from the store and become plain values ([`evaluation`],
//! [`training`], [`questions`], …) or drawings ([`svg`], [`rows`]); the [`card`] at the top sums
//! them up; `page.html` puts them together. Invariant: a report is a function of the run's journal
//! and artifacts alone. If a table is gone or was written by another version, the page says so in
//! its place; the report does not fail.

mod answers;
mod audit;
mod card;
mod compare;
mod evaluation;
mod fusions;
mod knowledge;
mod paths;
mod questions;
mod rows;
mod run;
mod runs;
mod stages;
mod summary;
mod svg;
mod training;

use std::collections::BTreeSet;

use minijinja::value::{Serde, Value};
use minijinja::{Environment, context, escape_formatter};
use serde::Serialize;

use crate::record::{JournalFile, Series, metrics_of};
use crate::store::Store;
pub use compare::compare;
pub(crate) use run::Run;
pub use runs::runs;

/// The page could not be made. This is a bug in gfm-pipe, not a fault of the run.
#[derive(Debug, thiserror::Error)]
#[error("the page could not be written: {0}")]
pub struct ReportError(#[from] minijinja::Error);

/// Makes the page of a run.
///
/// # Errors
/// When the page's template cannot be rendered.
pub fn report(store: &Store, journal: &JournalFile) -> Result<String, ReportError> {
    let journal = &stages::with_unfinished(store, journal);
    let run = Run::read(store, journal);
    let mut lacking: Vec<String> = Vec::new();
    let mut keep = |why: String| {
        if !lacking.contains(&why) {
            lacking.push(why);
        }
    };
    let mut evaluations = Vec::new();
    let mut summaries = Vec::new();
    let mut answered = Vec::new();
    for (stage, port) in run.of_kind("metrics") {
        if run.has_port(&stage, "scores") {
            match answers::read(&run, &stage) {
                Ok(a) => answered.push(a),
                Err(why) => keep(why),
            }
            continue;
        }
        match evaluation::read(&run, &stage, &port) {
            Ok(e) => {
                // A `compare` stage lists no documents.
                let lists = run.has_port(&stage, "ranks") && run.has_port(&stage, "rankings");
                let questions = lists.then(|| questions::read(&run, &stage)).transpose();
                let questions = questions.map_err(&mut keep).unwrap_or_default();
                summaries.extend(e.summary.clone());
                evaluations.push(
                    context! { figures => of(&e), questions => of(&questions.unwrap_or_default()) },
                );
            }
            Err(why) => keep(why),
        }
    }
    let mut trainings = Vec::new();
    for (stage, port) in run.of_kind("history") {
        match training::read(&run, &stage, &port) {
            Ok(t) => trainings.push(t),
            Err(why) => keep(why),
        }
    }
    // Metrics of stages that have left no history.
    match metrics_of(store, &journal.run) {
        Ok(series) => {
            let stages: BTreeSet<&str> = series.iter().map(|s| s.stage.as_str()).collect();
            for stage in stages {
                let has = |s: &&Series| s.stage == stage;
                if !trainings.iter().any(|t| t.stage == stage) {
                    let own: Vec<&Series> = series.iter().filter(has).collect();
                    trainings.push(training::recorded(stage, &own));
                }
            }
        }
        Err(e) => keep(e.to_string()),
    }
    let mut fused = Vec::new();
    for (stage, port) in run.of_kind("fusion") {
        match fusions::read(&run, &stage, &port) {
            Ok(f) => fused.push(f),
            Err(why) => keep(why),
        }
    }
    let mut audits = Vec::new();
    for (stage, _) in run.of_kind("audit") {
        match audit::read(&run, &stage) {
            Ok(a) => audits.push(a),
            Err(why) => keep(why),
        }
    }
    // An audit says more about the graph than these statistics.
    let graphs = if audits.is_empty() {
        knowledge::statistics(&run)
    } else {
        Vec::new()
    };
    let card = card::CardInputs {
        journal,
        summaries: &summaries,
        trainings: &trainings,
        audits: &audits,
    }
    .card();
    let stages = stages::read(&run);
    page(
        "page.html",
        context! {
            title => format!("{}: {}", journal.pipeline, journal.run),
            run => of(&stages::head(journal)),
            card => of(&card),
            dag => stages::dag(&stages),
            timeline => of(&stages::timeline(&run)),
            stages => of(&stages),
            audits => of(&audits),
            graphs => of(&graphs),
            trainings => of(&trainings),
            fusions => of(&fused),
            evaluations => evaluations,
            answers => of(&answered),
            lacking => of(&lacking),
        },
    )
}

/// Converts a value for use in a template.
fn of<T: Serialize>(value: &T) -> Value {
    Value::from(Serde(value))
}

/// Whether a character is invisible but has an effect: control and bidirectional formatting
/// characters.
fn unseen(c: char) -> bool {
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (c.is_control() && !matches!(c, '\n' | '\t'))
}

fn shown(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if unseen(c) {
            out.push_str(&format!("<U+{:04X}>", u32::from(c)))
        } else {
            out.push(c)
        }
    }
    out
}

/// Renders one of the templates.
fn page(name: &str, values: Value) -> Result<String, ReportError> {
    let mut env = Environment::new();
    // Template names end in .html, so that every value is escaped unless it is marked as markup.
    env.add_template("parts.html", include_str!("parts.html"))?;
    env.add_template("page.html", include_str!("page.html"))?;
    env.add_template("compare.html", include_str!("compare.html"))?;
    env.add_template("runs.html", include_str!("runs.html"))?;
    env.set_formatter(|out, state, value| {
        // Titles and questions may contain anything: control characters, and characters that
        // reverse the direction of text, are shown as escapes.
        let text = value.as_str().filter(|_| !value.is_safe());
        match text.filter(|t| t.contains(unseen)) {
            Some(text) => escape_formatter(out, state, &Value::from(shown(text))),
            None => escape_formatter(out, state, value),
        }
    });
    env.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    env.add_global(
        "style",
        Value::from_safe_string(include_str!("page.css").to_owned()),
    );
    env.add_global("version", env!("CARGO_PKG_VERSION"));
    Ok(env.get_template(name)?.render(values)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_look_is_shown_by_its_number() {
        assert_eq!(shown("a\u{202e}b\u{7}\n"), "a<U+202E>b<U+0007>\n");
    }
}
