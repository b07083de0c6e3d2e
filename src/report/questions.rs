//! A few questions looked at closely: what each system found, and why documents were missed.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::Array;
use gfm_pipe_api::{OpError, columns};
use serde::Serialize;

use super::knowledge::Knowledge;
use super::run::{Lacking, Run, other_version};

/// Questions shown.
const SHOWN: usize = 10;
/// Documents shown of each system; what is not among them counts as missed.
const DEPTH: usize = 5;
/// Systems that are steps on the model's way, rather than others to be compared with.
const OWN: [&str; 3] = ["model", "pretrained", "untrained"];

/// A question.
#[derive(Debug, Clone, Serialize)]
pub struct CloseUp {
    id: String,
    text: String,
    answer: Option<String>,
    groups: String,
    entities: Vec<String>,
    why_chosen: &'static str,
    gold: Vec<Gold>,
    unknown_gold: usize,
    systems: Vec<Answer>,
}

/// A gold document.
#[derive(Debug, Clone, Serialize)]
struct Gold {
    title: String,
    /// How it is reached, or why it is not.
    way: String,
    reachable: bool,
}

/// What a system gave.
#[derive(Debug, Clone, Serialize)]
struct Answer {
    system: String,
    verdict: String,
    documents: Vec<Document>,
}

#[derive(Debug, Clone, Serialize)]
struct Document {
    rank: u32,
    title: String,
    gold: bool,
}

struct Question {
    text: String,
    answer: Option<String>,
    groups: String,
    entities: Vec<u32>,
    documents: Vec<u32>,
}

/// Where a system puts the gold documents of a question.
#[derive(Debug, Clone, Default)]
struct Places {
    asked: bool,
    gold: u32,
    ranks: Vec<u32>,
}

impl Places {
    fn recall(&self) -> f64 {
        let found = self.ranks.iter().filter(|r| **r as usize <= DEPTH).count();
        found as f64 / f64::from(self.gold.max(1))
    }
}

/// Reads the questions of an `evaluate` stage, picks a few, and looks at them.
///
/// # Errors
/// When a table is gone, or of another version.
pub fn read(run: &Run<'_>, stage: &str) -> Result<Vec<CloseUp>, Lacking> {
    let from = |port: &str| {
        run.input(stage, port)
            .ok_or_else(|| format!("it is not known what {stage}.{port} is connected to"))
    };
    let (questions, corpus) = (from("questions")?, from("corpus")?);
    let ids_and_questions = read_questions(&run.table((&questions.0, &questions.1), "questions")?)
        .map_err(other_version)?;
    let corpus = run.table((&corpus.0, &corpus.1), "documents")?;
    let titles = columns::text(&corpus, "title").map_err(other_version)?;
    let (systems, places) =
        read_places(&run.table((stage, "ranks"), "ranks")?).map_err(other_version)?;
    let lists = read_lists(&run.table((stage, "rankings"), "rankings")?).map_err(other_version)?;
    let knowledge = Knowledge::read(run, stage);

    let chosen = choose(&ids_and_questions, &systems, &places);
    Ok(chosen
        .into_iter()
        .map(|(at, why_chosen)| {
            let (id, q) = &ids_and_questions[at];
            let title = |d: u32| {
                let known = (d as usize) < titles.len();
                if known { titles.value(d as usize) } else { "?" }.to_owned()
            };
            let golden: BTreeSet<String> = q.documents.iter().map(|d| title(*d)).collect();
            let asked = systems.iter().filter_map(|s| {
                let places = places.get(&(s.clone(), id.clone()))?;
                let list = lists.get(&(s.clone(), id.clone()));
                Some(answer(
                    s,
                    places,
                    list.map_or(&[][..], Vec::as_slice),
                    &golden,
                ))
            });
            let total = systems
                .iter()
                .find_map(|s| places.get(&(s.clone(), id.clone())));
            let total = total.map_or(q.documents.len(), |p| p.gold as usize);
            CloseUp {
                id: id.clone(),
                text: q.text.clone(),
                answer: q.answer.clone(),
                groups: q.groups.clone(),
                entities: match &knowledge {
                    Ok(k) => q.entities.iter().map(|e| k.name(*e).to_owned()).collect(),
                    Err(_) => q.entities.iter().map(|e| format!("entity {e}")).collect(),
                },
                why_chosen,
                gold: q
                    .documents
                    .iter()
                    .map(|d| {
                        let (way, reachable) = match &knowledge {
                            Ok(k) => way(k, &q.entities, *d),
                            Err(why) => (why.clone(), true),
                        };
                        Gold {
                            title: title(*d),
                            way,
                            reachable,
                        }
                    })
                    .collect(),
                unknown_gold: total.saturating_sub(q.documents.len()),
                systems: asked.collect(),
            }
        })
        .collect())
}

/// How a gold document is reached from the question's entities, or why it is not.
fn way(k: &Knowledge, entities: &[u32], document: u32) -> (String, bool) {
    let mentioned = k
        .mentions
        .get(document as usize)
        .map_or(&[][..], Vec::as_slice);
    if entities.is_empty() {
        return ("the question has no entity in the graph".to_owned(), false);
    }
    if mentioned.is_empty() {
        return (
            "it mentions no entity of the graph: no graph system can find it".to_owned(),
            false,
        );
    }
    match (k.path(entities, mentioned), k.layers) {
        (None, _) => (
            "no path leads to it from the question's entities".to_owned(),
            false,
        ),
        (Some((0, path)), _) => (format!("it mentions {path} itself"), true),
        (Some((hops, path)), Some(layers)) if hops > layers => (
            format!("{hops} hops away, and the model looks {layers}: {path}"),
            false,
        ),
        (Some((1, path)), _) => (format!("1 hop away: {path}"), true),
        (Some((hops, path)), _) => (format!("{hops} hops away: {path}"), true),
    }
}

fn answer(
    system: &str,
    places: &Places,
    list: &[(u32, String)],
    gold: &BTreeSet<String>,
) -> Answer {
    let verdict = if !places.asked {
        "could not be asked".to_owned()
    } else if places.ranks.is_empty() {
        "no gold document is in the corpus".to_owned()
    } else {
        let shown = places.ranks.iter().take(12).map(u32::to_string);
        let shown: Vec<String> = shown.collect();
        format!(
            "gold at {} {}",
            if shown.len() == 1 { "rank" } else { "ranks" },
            shown.join(", ")
        )
    };
    Answer {
        system: system.to_owned(),
        verdict,
        documents: list
            .iter()
            .take(DEPTH)
            .map(|(rank, title)| Document {
                rank: *rank,
                gold: gold.contains(title),
                title: title.clone(),
            })
            .collect(),
    }
}

/// Those that tell most: where the model loses to others, where all fail, where only the model succeeds; then its worst.
fn choose(
    questions: &[(String, Question)],
    systems: &[String],
    places: &BTreeMap<(String, String), Places>,
) -> Vec<(usize, &'static str)> {
    let recall = |system: &str, id: &str| {
        let places = places.get(&(system.to_owned(), id.to_owned()));
        places.map_or(0.0, Places::recall)
    };
    let rows: Vec<(usize, f64, f64)> = questions
        .iter()
        .enumerate()
        .map(|(i, (id, _))| {
            let others = systems.iter().filter(|s| !OWN.contains(&s.as_str()));
            let best = others.map(|s| recall(s, id)).fold(0.0, f64::max);
            (i, recall("model", id), best)
        })
        .collect();
    let mut out: Vec<(usize, &'static str)> = Vec::new();
    let mut take = |mut rows: Vec<(usize, f64, f64)>, by: fn(&(usize, f64, f64)) -> f64, n, why| {
        rows.sort_by(|a, b| by(b).total_cmp(&by(a)).then(a.0.cmp(&b.0)));
        let mut left = n;
        for (i, _, _) in rows {
            if left > 0 && out.len() < SHOWN && !out.iter().any(|o| o.0 == i) {
                out.push((i, why));
                left -= 1;
            }
        }
    };
    let of = |wanted: fn(&(usize, f64, f64)) -> bool| {
        rows.iter().copied().filter(wanted).collect::<Vec<_>>()
    };
    take(
        of(|r| r.2 > r.1),
        |r| r.2 - r.1,
        4,
        "another system finds more than the model",
    );
    take(
        of(|r| r.1 < 1.0 && r.2 < 1.0),
        |r| -(r.1 + r.2),
        3,
        "no system finds all",
    );
    take(
        of(|r| r.1 >= 1.0 && r.2 < 1.0),
        |r| r.1 - r.2,
        3,
        "only the model finds all",
    );
    take(of(|_| true), |r| -r.1, SHOWN, "for comparison");
    out
}

fn read_questions(t: &arrow::array::RecordBatch) -> Result<Vec<(String, Question)>, OpError> {
    let (id, text) = (columns::text(t, "id")?, columns::text(t, "question")?);
    let answer = columns::text(t, "answer")?;
    let entities = columns::list_u32(t, "question_entities")?;
    let documents = columns::list_u32(t, "supporting_documents")?;
    let (hops, groups) = (columns::u32s(t, "hops")?, columns::list_text(t, "groups")?);
    Ok((0..t.num_rows())
        .zip(entities.into_iter().zip(documents).zip(groups))
        .map(|(i, ((entities, documents), groups))| {
            let hops = hops.is_valid(i).then(|| format!("{} hops", hops.value(i)));
            let groups: Vec<String> = hops.into_iter().chain(groups).collect();
            let question = Question {
                text: text.value(i).to_owned(),
                answer: answer.is_valid(i).then(|| answer.value(i).to_owned()),
                groups: groups.join(", "),
                entities,
                documents,
            };
            (id.value(i).to_owned(), question)
        })
        .collect())
}

type BySystem<T> = BTreeMap<(String, String), T>;

/// Places of gold documents by system (with its first ranker) and question, and the systems in order.
fn read_places(t: &arrow::array::RecordBatch) -> Result<(Vec<String>, BySystem<Places>), OpError> {
    let text = |name| columns::text(t, name);
    let (question, system) = (text("question")?, text("system")?);
    let (ranker, target) = (text("ranker")?, text("target")?);
    let (asked, gold) = (columns::bools(t, "asked")?, columns::u32s(t, "gold")?);
    let ranks = columns::list_u32(t, "ranks")?;
    let mut first: Vec<(String, String)> = Vec::new();
    let mut places = BTreeMap::new();
    for (i, ranks) in ranks.into_iter().enumerate() {
        if target.value(i) != "document" {
            continue;
        }
        let (s, r) = (system.value(i), ranker.value(i));
        match first.iter().find(|(name, _)| name == s) {
            Some((_, known)) if known != r => continue,
            Some(_) => {}
            None => first.push((s.to_owned(), r.to_owned())),
        }
        let of = Places {
            asked: asked.value(i),
            gold: gold.value(i),
            ranks,
        };
        places.insert((s.to_owned(), question.value(i).to_owned()), of);
    }
    Ok((first.into_iter().map(|f| f.0).collect(), places))
}

/// First documents by system and question.
fn read_lists(t: &arrow::array::RecordBatch) -> Result<BySystem<Vec<(u32, String)>>, OpError> {
    let text = |name| columns::text(t, name);
    let (question, system) = (text("question")?, text("system")?);
    let (rank, document) = (columns::u32s(t, "rank")?, text("document")?);
    let mut out: BySystem<Vec<(u32, String)>> = BTreeMap::new();
    for i in 0..t.num_rows() {
        let key = (system.value(i).to_owned(), question.value(i).to_owned());
        let list = out.entry(key).or_default();
        list.push((rank.value(i), document.value(i).to_owned()));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_telling_questions_come_first() {
        let questions: Vec<(String, Question)> = (0..14)
            .map(|i| {
                let q = Question {
                    text: String::new(),
                    answer: None,
                    groups: String::new(),
                    entities: vec![],
                    documents: vec![],
                };
                (format!("q{i:02}"), q)
            })
            .collect();
        let systems = ["model", "untrained", "bm25", "dense"].map(str::to_owned);
        let mut places = BTreeMap::new();
        let mut set = |system: &str, i: usize, ranks: &[u32]| {
            let of = Places {
                asked: true,
                gold: 2,
                ranks: ranks.to_vec(),
            };
            places.insert((system.to_owned(), format!("q{i:02}")), of);
        };
        for i in 0..14 {
            // Whatever the untrained model does is no success of another system.
            set("untrained", i, &[1, 2]);
            set("model", i, &[1, 2]);
            set("bm25", i, &[3, 4]);
            set("dense", i, &[40, 50]);
        }
        set("model", 3, &[1, 9]);
        set("model", 7, &[8, 9]);
        set("model", 9, &[8, 9]);
        set("bm25", 9, &[8, 9]);
        set("bm25", 12, &[1, 30]);
        let got = choose(&questions, &systems, &places);
        let named: Vec<(usize, &str)> = got.iter().take(4).copied().collect();
        assert_eq!(
            named,
            [
                (7, "another system finds more than the model"),
                (3, "another system finds more than the model"),
                (9, "no system finds all"),
                (12, "only the model finds all"),
            ]
        );
        assert_eq!(got.len(), SHOWN);
        let distinct: BTreeSet<usize> = got.iter().map(|g| g.0).collect();
        assert_eq!(distinct.len(), SHOWN);
    }

    #[test]
    fn few_questions_are_shown_once_each() {
        assert!(choose(&[], &[], &BTreeMap::new()).is_empty());
    }
}
