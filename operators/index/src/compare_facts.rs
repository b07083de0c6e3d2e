//! `compare-facts`: what two extractions find in the same documents, and where they differ.
//!
//! Extractors word relations in their own ways, so two facts of a document are taken for the same
//! where they are about the same pair of things, whichever is the subject. Names are compared as
//! `build-kg` makes nodes of them.

use std::collections::HashMap;

use ahash::AHashSet;
use gfm_pipe_api::{Arity, Artifact, Context, InPort, OpResult, Operator, OutPort, Schema, kinds};
use gfm_pipe_kg::tables::write_counts;
use serde::{Deserialize, Serialize};

use crate::build_kg::{Normalize, read};
use crate::rows::{Cell, Rows};

/// The operator `compare-facts`.
pub struct CompareFacts;

/// Parameters of [`CompareFacts`]: there are none.
#[derive(Debug, Serialize, Deserialize)]
pub struct CompareFactsParams {}

/// The ports of the two extractions, which are their names in the table.
const SYSTEMS: [&str; 2] = ["first", "second"];

impl Operator for CompareFacts {
    type Params = CompareFactsParams;
    const NAME: &'static str = "compare-facts";
    const VERSION: u32 = 1;
    const ABOUT: &'static str =
        "says where two extractions, such as `by: english` and `by: llm`, find different facts";

    fn schema() -> Schema {
        Schema::new(Vec::new())
    }

    fn inputs() -> Vec<InPort> {
        vec![
            InPort::of(
                "documents",
                &[&kinds::DOCUMENTS],
                Arity::One,
                "the documents of both extractions",
            ),
            InPort::of(
                "first",
                &[&kinds::FACTS],
                Arity::One,
                "facts of one extraction",
            ),
            InPort::of("second", &[&kinds::FACTS], Arity::One, "facts of the other"),
        ]
    }

    fn outputs() -> Vec<OutPort> {
        let port = |name, kind, about| OutPort { name, kind, about };
        vec![
            port(
                "differences",
                &kinds::FACT_DIFFERENCES,
                "facts about a pair of things that only one of both relates",
            ),
            port(
                "counts",
                &kinds::COUNTS,
                "facts, pairs of things and documents that both have, or only one",
            ),
        ]
    }

    fn run(_: CompareFactsParams, ctx: &Context) -> OpResult<()> {
        let titles = read::titles(ctx, ctx.input("documents")?)?;
        let documents = titles.len() as u32;
        let mut names = Names::default();
        let [first, second] = SYSTEMS;
        let both = [
            Facts::read(ctx, ctx.input(first)?, documents, &mut names)?,
            Facts::read(ctx, ctx.input(second)?, documents, &mut names)?,
        ];
        write_differences(ctx, &titles, &both)?;
        let counts = counts(&both, documents);
        let of = |name: &str| counts.iter().find(|c| c.0 == name).map_or(0, |c| c.1);
        ctx.info(format!(
            "{} pairs of things are related in both, {} only in the first, {} only in the second",
            of("pairs_in_both"),
            of("pairs_only_in_first"),
            of("pairs_only_in_second"),
        ));
        write_counts(ctx, &counts)
    }
}

/// Numbers of names.
#[derive(Default)]
struct Names(HashMap<String, u32>);

impl Names {
    /// The number of a text's name. What has no letter or digit is compared as it is written.
    fn number(&mut self, text: &str) -> u32 {
        let name = Normalize::Unicode.name(text);
        let name = name.unwrap_or_else(|| text.trim().to_owned());
        let next = self.0.len() as u32;
        *self.0.entry(name).or_insert(next)
    }
}

/// A document, and two things that it relates, the smaller number first.
type Pair = (u32, u32, u32);

/// The facts of one extraction.
struct Facts {
    /// Subject, relation and object of each, with the pair.
    facts: Vec<(Pair, [String; 3])>,
    pairs: AHashSet<Pair>,
    documents: AHashSet<u32>,
}

impl Facts {
    fn read(
        ctx: &Context,
        artifact: &Artifact,
        documents: u32,
        names: &mut Names,
    ) -> OpResult<Facts> {
        let mut facts = Vec::new();
        read::facts(ctx, artifact, documents, &mut |fact| {
            let [subject, _, object] = fact.parts;
            let (a, b) = (names.number(subject), names.number(object));
            let pair = (fact.document, a.min(b), a.max(b));
            facts.push((pair, fact.parts.map(str::to_owned)));
            Ok(())
        })?;
        Ok(Facts {
            pairs: facts.iter().map(|(pair, _)| *pair).collect(),
            documents: facts.iter().map(|(pair, _)| pair.0).collect(),
            facts,
        })
    }

    /// The facts whose pair the other extraction does not have.
    fn only_here(&self, other: &Facts) -> impl Iterator<Item = &(Pair, [String; 3])> {
        let facts = self.facts.iter();
        facts.filter(|(pair, _)| !other.pairs.contains(pair))
    }
}

/// Writes what differs, by document, those of the first extraction first.
fn write_differences(ctx: &Context, titles: &[String], both: &[Facts; 2]) -> OpResult<()> {
    let [first, second] = both;
    let of = |system| move |(pair, parts): &'_ (Pair, [String; 3])| (pair.0, system, parts.clone());
    let mut rows: Vec<(u32, &str, [String; 3])> = Vec::new();
    rows.extend(first.only_here(second).map(of(SYSTEMS[0])));
    rows.extend(second.only_here(first).map(of(SYSTEMS[1])));
    // A stable sort: within a document the order stays.
    rows.sort_by_key(|row| row.0);
    let kind = &kinds::FACT_DIFFERENCES;
    let mut table = Rows::create(ctx, "differences", kind, "fact_differences")?;
    for (document, system, [subject, relation, object]) in &rows {
        table.push([
            Cell::Id(*document),
            Cell::Text(&titles[*document as usize]),
            Cell::Text(system),
            Cell::Text(subject),
            Cell::Text(relation),
            Cell::Text(object),
        ])?;
    }
    table.finish()
}

fn counts([first, second]: &[Facts; 2], documents: u32) -> Vec<(String, u64)> {
    let mut out = vec![
        ("documents".to_owned(), u64::from(documents)),
        ("facts_of_first".to_owned(), first.facts.len() as u64),
        ("facts_of_second".to_owned(), second.facts.len() as u64),
    ];
    let mut compared = |what: &str, sizes: [usize; 2], common: usize| {
        let [a, b] = sizes.map(|n| n - common);
        out.push((format!("{what}_in_both"), common as u64));
        out.push((format!("{what}_only_in_first"), a as u64));
        out.push((format!("{what}_only_in_second"), b as u64));
    };
    let (a, b) = (&first.pairs, &second.pairs);
    compared("pairs", [a.len(), b.len()], a.intersection(b).count());
    let (a, b) = (&first.documents, &second.documents);
    compared("documents", [a.len(), b.len()], a.intersection(b).count());
    out
}
