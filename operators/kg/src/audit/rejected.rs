//! Turns every row that the ingests rejected into a finding. Unknown names get the most similar
//! known names as a suggestion, and lines with too many commas the triple that was probably meant.

use std::collections::{HashMap, HashSet};

use gfm_pipe_api::OpResult;

use super::checks::{self, Check};
use super::csv;
use super::data::{Data, Finding, Rejected, Stop};
use super::suggestions::{Nearest, equals_alone, listed};
use super::unicode::{beginning, shown};
use crate::layout::{CORPUS, EDGES, MENTIONS, NODES, RELATIONS, SPLITS};
use crate::reasons;

/// Most fields of a line for which a repair is searched.
const MOST_FIELDS: usize = 12;

/// Reports every rejected row, by the check it belongs to.
///
/// # Errors
/// When the user wants to stop.
pub fn rejected(data: &Data, nearest: usize, stop: Stop<'_>) -> OpResult<Vec<Finding>> {
    let mut names = Suggestions::new(nearest, data);
    let known = Known::new(data);
    let mut out = Vec::with_capacity(data.rejects.len());
    for (i, row) in data.rejects.iter().enumerate() {
        if i % 64 == 0 {
            stop()?;
        }
        let check = check_of(data, row);
        let (message, suggestion) = match check.name {
            _ if *check == checks::COMMA_IN_NAME => commas(&row.text, &known),
            _ if is_unknown_entity(check) => (
                format!("`{}` is not in the graph", shown(&row.text)),
                names.entity(&row.text),
            ),
            _ if *check == checks::UNKNOWN_GOLD_TITLE => (
                format!("gold title `{}` is not in the corpus", shown(&row.text)),
                names.title(&row.text),
            ),
            _ if *check == checks::DOCUMENT_NOT_IN_CORPUS => (row.reason.clone(), None),
            _ => (message(row), None),
        };
        out.push(Finding {
            check,
            place: Some(row.place.clone()),
            item: row.item.clone(),
            message,
            suggestion,
        });
    }
    Ok(out)
}

/// The check a rejected row belongs to.
pub fn check_of(data: &Data, row: &Rejected) -> &'static Check {
    let source = &*row.place.source;
    if TABLES.contains(&source) {
        return &checks::REJECTED_FACT;
    }
    if [NODES, RELATIONS, EDGES].contains(&source) {
        return if reasons::of_attributes(&row.reason) {
            &checks::REJECTED_VALUE
        } else {
            &checks::REJECTED_TRIPLE
        };
    }
    let of_split = SPLITS.iter().any(|(_, file)| *file == source)
        || data
            .splits
            .iter()
            .any(|s| data.places.gives(source, &s.name));
    let of_set = of_split || source == CORPUS || source == MENTIONS;
    if !of_set && (reasons::of_line(&row.reason) || data.places.gives(source, "triples")) {
        return match reasons::fields_found(&row.reason) {
            Some(n) if n > 3 => &checks::COMMA_IN_NAME,
            _ => &checks::REJECTED_TRIPLE,
        };
    }
    match row.reason.as_str() {
        reasons::DOCUMENT_ENTITY => &checks::UNKNOWN_DOCUMENT_ENTITY,
        reasons::QUESTION_ENTITY => &checks::UNKNOWN_QUESTION_ENTITY,
        reasons::SUPPORTING_ENTITY => &checks::UNKNOWN_SUPPORTING_ENTITY,
        reasons::GOLD_TITLE | reasons::TARGET_DOCUMENT => &checks::UNKNOWN_GOLD_TITLE,
        reasons::NOT_IN_CORPUS => &checks::DOCUMENT_NOT_IN_CORPUS,
        reasons::TITLE_TWICE => &checks::DUPLICATE_TITLE,
        reasons::ID_TWICE => &checks::DUPLICATE_QUESTION_ID,
        reason if of_split && reason == reasons::unknown_node(reasons::START) => {
            &checks::UNKNOWN_QUESTION_ENTITY
        }
        reason if of_split && reason == reasons::unknown_node(reasons::TARGET) => {
            &checks::UNKNOWN_SUPPORTING_ENTITY
        }
        reason if of_split && reason.ends_with(reasons::SKIPPED) => &checks::REJECTED_QUESTION,
        reason if of_split && row.item.is_none() && reason.ends_with(reasons::NO_OBJECT) => {
            &checks::REJECTED_QUESTION
        }
        _ if of_set => &checks::REJECTED_VALUE,
        // Files of documents and of extracted records can have any name.
        _ => &checks::REJECTED_DOCUMENT,
    }
}

/// The tables from which `build-kg` makes a graph. They are the sources of the rows it rejects, and
/// of the places of triples.
pub const TABLES: [&str; 4] = ["facts", "mentions", "documents", "named"];

fn is_unknown_entity(check: &Check) -> bool {
    [
        &checks::UNKNOWN_DOCUMENT_ENTITY,
        &checks::UNKNOWN_QUESTION_ENTITY,
        &checks::UNKNOWN_SUPPORTING_ENTITY,
    ]
    .contains(&check)
}

/// The reason, followed by as much of the text as fits a line.
fn message(row: &Rejected) -> String {
    if row.text.is_empty() {
        return row.reason.clone();
    }
    format!("{}: {}", row.reason, beginning(&row.text))
}

/// Suggests known names for unknown ones. The indexes are built at the first look-up, and every
/// name is looked up once.
struct Suggestions<'a> {
    most: usize,
    data: &'a Data,
    entities: Option<Nearest>,
    titles: Option<Nearest>,
    known: [HashMap<String, Option<String>>; 2],
}

impl<'a> Suggestions<'a> {
    fn new(most: usize, data: &'a Data) -> Self {
        Suggestions {
            most,
            data,
            entities: None,
            titles: None,
            known: Default::default(),
        }
    }

    fn entity(&mut self, name: &str) -> Option<String> {
        if let Some(known) = self.known[0].get(name) {
            return known.clone();
        }
        let entities = &self.data.entities;
        let index = &mut self.entities;
        let index = index.get_or_insert_with(|| Nearest::new(entities.iter()));
        let found = index.find(name, self.most);
        let found = equals_alone(name, found, |id| entities.get(id).to_owned());
        let found = listed(found.iter().map(|id| entities.get(*id)));
        self.known[0].insert(name.to_owned(), found.clone());
        found
    }

    fn title(&mut self, name: &str) -> Option<String> {
        if let Some(known) = self.known[1].get(name) {
            return known.clone();
        }
        let titles = &self.data.documents.as_ref()?.titles;
        let index = &mut self.titles;
        let index = index.get_or_insert_with(|| Nearest::new(titles.iter().map(String::as_str)));
        let found = index.find(name, self.most);
        let found = equals_alone(name, found, |id| titles[id as usize].clone());
        let found = listed(found.iter().map(|id| titles[*id as usize].as_str()));
        self.known[1].insert(name.to_owned(), found.clone());
        found
    }
}

/// Names that documents and questions use: those of the graph, and those that it lacks because they
/// contain a comma.
struct Known<'a> {
    data: &'a Data,
    named: HashSet<&'a str>,
    relations: HashSet<&'a str>,
}

impl<'a> Known<'a> {
    fn new(data: &'a Data) -> Self {
        let unknown = data
            .rejects
            .iter()
            .filter(|r| is_unknown_entity(check_of(data, r)));
        Known {
            data,
            named: unknown.map(|r| r.text.as_str()).collect(),
            relations: data.direct().map(|(_, name)| name).collect(),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.named.contains(name) || self.data.entities.find(name).is_some()
    }
}

/// The message for a line with too many commas, and the line that was probably meant.
fn commas(line: &str, known: &Known<'_>) -> (String, Option<String>) {
    let line = crate::lines::strip(line);
    let fields: Vec<&str> = line.split(',').collect();
    let plain = format!("{} fields in `{line}`", fields.len());
    if fields.len() > MOST_FIELDS {
        return (format!("{} fields in one line", fields.len()), None);
    }
    // Quotation marks around a name say where it ends.
    if line.contains('"')
        && let Some(Ok(triple)) = csv::fields(line).map(<[String; 3]>::try_from)
    {
        return repaired(&plain, &triple);
    }
    let mut readings = Vec::new();
    for i in 1..fields.len() {
        for j in i + 1..fields.len() {
            let parts = [&fields[..i], &fields[i..j], &fields[j..]];
            readings.push(parts.map(|part| part.join(",")));
        }
    }
    let fits = |[head, relation, tail]: &[String; 3]| {
        let known_relation = known.relations.contains(relation.as_str());
        match (known.has(head), known_relation, known.has(tail)) {
            (true, true, true) => 3,
            (true, _, true) => 2,
            (true, true, _) | (_, true, true) => 1,
            _ => 0,
        }
    };
    let best = readings.iter().map(fits).max().unwrap_or(0);
    let mut good = readings.iter().filter(|r| best > 0 && fits(r) == best);
    let (reading, several) = (good.next(), good.next().is_some());
    match reading.filter(|_| !several) {
        Some(triple) => repaired(&plain, triple),
        None => (plain, None),
    }
}

/// The message for a line that was probably this triple, and the line without commas in its names.
fn repaired(plain: &str, triple: &[String; 3]) -> (String, Option<String>) {
    let [head, relation, tail] = triple;
    let without = triple
        .each_ref()
        .map(|part| part.replace(", ", " ").replace(',', " ").trim().to_owned());
    let message = format!("{plain}: probably head `{head}`, relation `{relation}`, tail `{tail}`");
    (message, Some(without.join(",")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::data::Place;
    use super::super::testing::{graph, reported, with_documents};
    use super::*;

    fn row(source: &str, line: u64, item: Option<&str>, reason: &str, text: &str) -> Rejected {
        Rejected {
            place: Place {
                source: source.into(),
                line: Some(line),
            },
            item: item.map(str::to_owned),
            reason: reason.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn lines_with_commas_are_repaired_where_one_reading_is_likely() {
        let mut data = graph("acme,is in,oak town\nbob,works at,acme\nbob,likes,x\nb,likes,oak");
        data.rejects.push(row(
            MENTIONS,
            2,
            Some("T"),
            reasons::DOCUMENT_ENTITY,
            "acme, inc",
        ));
        let known = Known::new(&data);
        let repair = |line: &str| commas(line, &known).1;
        let some = |s: &str| Some(s.to_owned());
        assert_eq!(
            repair("acme, inc,is in,oak town"),
            some("acme inc,is in,oak town")
        );
        assert_eq!(
            repair("  acme, inc,is in,oak town\n"),
            some("acme inc,is in,oak town")
        );
        // The head is not known, but the relation is.
        assert_eq!(
            repair("roe, jane,works at,acme"),
            some("roe jane,works at,acme")
        );
        assert_eq!(repair("bob,lives in,the old, oak town"), None);
        assert_eq!(repair("bob,likes,likes,x"), some("bob,likes likes,x"));
        // Two readings have known ends.
        assert_eq!(repair("acme, inc,zzz,oak town"), None);
        assert_eq!(repair(&"a,".repeat(20)), None);
        // Quotation marks say where a name ends, known or not.
        assert_eq!(
            repair("\"roe, jane\",\"moved to\",\"elm, new\""),
            some("roe jane,moved to,elm new")
        );
        assert_eq!(
            commas("acme, inc,is in,oak town", &known).0,
            "4 fields in `acme, inc,is in,oak town`: probably head `acme, inc`, relation `is in`, tail `oak town`"
        );
    }

    #[test]
    fn rows_of_other_ingests_have_their_checks_whatever_their_files_are_called() {
        let mut data = graph("a,r,b");
        data.splits.push(super::super::data::Split {
            name: "test".to_owned(),
            questions: Vec::new(),
        });
        data.places.put("test", 0, 1, "asked.csv", 2);
        data.places.put("triples", 0, 1, "facts", 1);
        for (source, item, reason, check) in [
            (
                "facts",
                Some("A"),
                "no letter or digit is left of the subject",
                "rejected-fact",
            ),
            (
                "mentions",
                Some("A"),
                "no letter or digit is left of the mention",
                "rejected-fact",
            ),
            (
                "graph.txt",
                None,
                "not UTF-8 from byte 2 on",
                "rejected-triple",
            ),
            (
                "kg.txt",
                None,
                "whatever another program says",
                "rejected-triple",
            ),
            (
                "asked.csv",
                Some("q"),
                reasons::GOLD_TITLE,
                "unknown-gold-title",
            ),
            (
                "asked.csv",
                None,
                "the record is a number, not an object",
                "rejected-question",
            ),
            (
                "asked.csv",
                Some("q"),
                "`hops` is not a whole number",
                "rejected-value",
            ),
            (
                "notes/old.pdf",
                None,
                "PDF is not read: convert it",
                "rejected-document",
            ),
            (
                "openie.json",
                None,
                "the record is a number, not an object",
                "rejected-document",
            ),
            (
                "docs.json",
                Some("A"),
                reasons::TITLE_TWICE,
                "duplicate-title",
            ),
        ] {
            data.places.put("triples", 0, 1, "kg.txt", 1);
            let row = row(source, 1, item, reason, "x");
            assert_eq!(check_of(&data, &row).name, check, "{source}: {reason}");
        }
    }

    #[test]
    fn every_row_has_its_check() {
        let train = SPLITS[0].1;
        let mut data = with_documents(graph("oak town,r,b"), &[("Oak Town", "t", &[])]);
        let reason = "the document is a number, not a text: kept with an empty text";
        data.rejects = vec![
            row("kg.txt", 1, None, &reasons::fields(2), "a,b"),
            row("kg.txt", 2, None, "not UTF-8 from byte 2 on", "a\u{fffd}"),
            row("kg.txt", 3, None, &reasons::fields(4), "a,b,c,d"),
            row(MENTIONS, 1, Some("T"), reasons::DOCUMENT_ENTITY, "Oak Town"),
            row(MENTIONS, 2, Some("T"), reasons::NOT_IN_CORPUS, "T"),
            row(CORPUS, 3, Some("T"), reasons::TITLE_TWICE, "text"),
            row(CORPUS, 4, Some("T"), reason, "7"),
            row(train, 1, Some("q"), reasons::QUESTION_ENTITY, "oak twon"),
            row(
                train,
                1,
                Some("q"),
                reasons::SUPPORTING_ENTITY,
                "nothing like it",
            ),
            row(train, 1, Some("q"), reasons::GOLD_TITLE, "Oak Towns"),
            row(train, 2, Some("q"), reasons::ID_TWICE, "{}"),
            row(
                train,
                3,
                None,
                "item 2 of the list has no usable `id`: skipped",
                "{}",
            ),
            row(
                train,
                4,
                None,
                "item 3 of the list is a text, not an object",
                "x",
            ),
            row(train, 5, Some("q"), "missing `supporting_facts`", ""),
            row(NODES, 2, None, "another record has this uid", "a,b"),
            row(NODES, 3, None, &reasons::attributes("a list"), "a,b,[1]"),
            row(EDGES, 4, None, &reasons::unknown_end("source"), "x,r,b"),
            row(
                train,
                6,
                Some("q"),
                &reasons::unknown_node(reasons::START),
                "oak twon",
            ),
            row(
                train,
                6,
                Some("q"),
                &reasons::unknown_node(reasons::TARGET),
                "none of it",
            ),
        ];
        assert_eq!(
            reported(&rejected(&data, 2, &|| Ok(())).unwrap()),
            [
                "rejected-triple kg.txt:1 -: expected 3 fields separated by commas, found 2: a,b",
                "rejected-triple kg.txt:2 -: not UTF-8 from byte 2 on: a\u{fffd}",
                "comma-in-name kg.txt:3 -: 4 fields in `a,b,c,d`",
                "unknown-document-entity processed/stage1/document2entities.json:1 T: `Oak Town` is not in the graph [`oak town`]",
                "document-not-in-corpus processed/stage1/document2entities.json:2 T: the title is not in dataset_corpus.json: kept with an empty text",
                "duplicate-title raw/dataset_corpus.json:3 T: the title is given twice: the last counts: text",
                "rejected-value raw/dataset_corpus.json:4 T: the document is a number, not a text: kept with an empty text: 7",
                "unknown-question-entity processed/stage1/train.json:1 q: `oak twon` is not in the graph [`oak town`]",
                "unknown-supporting-entity processed/stage1/train.json:1 q: `nothing like it` is not in the graph",
                "unknown-gold-title processed/stage1/train.json:1 q: gold title `Oak Towns` is not in the corpus [`Oak Town`]",
                "duplicate-question-id processed/stage1/train.json:2 q: another question has this id: the first is kept: {}",
                "rejected-question processed/stage1/train.json:3 -: item 2 of the list has no usable `id`: skipped: {}",
                "rejected-question processed/stage1/train.json:4 -: item 3 of the list is a text, not an object: x",
                "rejected-value processed/stage1/train.json:5 q: missing `supporting_facts`",
                "rejected-triple processed/stage1/nodes.csv:2 -: another record has this uid: a,b",
                "rejected-value processed/stage1/nodes.csv:3 -: the attributes cannot be read: a list; the record is kept without: a,b,[1]",
                "rejected-triple processed/stage1/edges.csv:4 -: the source of the edge is not in the graph: x,r,b",
                "unknown-question-entity processed/stage1/train.json:6 q: `oak twon` is not in the graph [`oak town`]",
                "unknown-supporting-entity processed/stage1/train.json:6 q: `none of it` is not in the graph",
            ]
        );
    }
}
