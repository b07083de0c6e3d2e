//! A close look at a few questions: what each system found, and why documents were missed.

use std::collections::{BTreeSet, HashMap};

use arrow::array::{Array, RecordBatch};
use gfm_pipe_api::{OpError, columns};
use serde::Serialize;

use super::knowledge::Knowledge;
use super::paths::{self, Path, Paths};
use super::run::{Lacking, Run, other_version};

/// Maximum number of questions shown.
const SHOWN: usize = 10;
/// Number of documents shown of each system; a gold document that is not among them counts as
/// missed.
const DEPTH: usize = 5;
/// A question with the answers of all systems.
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
    /// How the graph leads to it, or why it does not.
    way: String,
    reachable: bool,
}

/// The first documents that a system found.
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
    /// Why it was found, the heaviest first, where a stage explains that.
    paths: Vec<Path>,
}

struct Question {
    text: String,
    answer: Option<String>,
    groups: String,
    entities: Vec<u32>,
    documents: Vec<u32>,
}

/// The ranks at which a system has the gold documents of a question.
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

/// Reads the questions of an `evaluate` stage and picks a few to show in detail.
///
/// # Errors
/// When a table is gone, or was written by another version.
pub fn read(run: &Run<'_>, stage: &str) -> Result<Vec<CloseUp>, Lacking> {
    let from = |port: &str| {
        run.input(stage, port)
            .ok_or_else(|| format!("it is not known what {stage}.{port} is connected to"))
    };
    let (questions, corpus) = (from("questions")?, from("corpus")?);
    let asked = read_questions(&run.table((&questions.0, &questions.1), "questions")?)
        .map_err(other_version)?;
    let corpus = run.table((&corpus.0, &corpus.1), "documents")?;
    let titles = columns::text(&corpus, "title").map_err(other_version)?;
    let place: HashMap<&str, usize> = asked.iter().map(|q| q.0.as_str()).zip(0..).collect();
    let ranks = run.table((stage, "ranks"), "ranks")?;
    let (systems, places) = read_places(&ranks, &place).map_err(other_version)?;
    let chosen = choose(&systems, &places);
    let ids: BTreeSet<&str> = chosen.iter().map(|c| asked[c.0].0.as_str()).collect();
    let lists = run.table((stage, "rankings"), "rankings")?;
    let lists = read_lists(&lists, &ids).map_err(other_version)?;
    let paths = paths::read(run, stage, &ids);
    let knowledge = Knowledge::read(run, stage);

    Ok(chosen
        .into_iter()
        .map(|(at, why_chosen)| {
            let (id, q) = &asked[at];
            let title = |d: u32| {
                let known = (d as usize) < titles.len();
                if known { titles.value(d as usize) } else { "?" }.to_owned()
            };
            let golden: BTreeSet<String> = q.documents.iter().map(|d| title(*d)).collect();
            let given = systems.iter().zip(&places).map(|(s, places)| {
                let list = lists.get(&(s.clone(), id.clone()));
                let list = list.map_or(&[][..], Vec::as_slice);
                answer((s, id), &places[at], list, &golden, &paths)
            });
            let total = places.first().map_or(0, |p| p[at].gold as usize);
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
                systems: given.collect(),
            }
        })
        .collect())
}

/// How a gold document is reached from the question's entities, or why it is not; and whether it
/// is.
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
            "it mentions no entity of the graph: its score is always 0".to_owned(),
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
    (system, question): (&str, &str),
    places: &Places,
    list: &[(u32, String)],
    gold: &BTreeSet<String>,
    paths: &Paths,
) -> Answer {
    let explained = |rank| paths.get(&(system.to_owned(), question.to_owned(), rank));
    let verdict = if !places.asked {
        "could not be asked".to_owned()
    } else if places.gold == 0 {
        "the question has no gold documents".to_owned()
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
                paths: explained(*rank).cloned().unwrap_or_default(),
            })
            .collect(),
    }
}

/// Chooses the most instructive questions: those where the model finds less than another system,
/// where no system finds everything, and where only the model does; then those where it finds
/// least.
fn choose(systems: &[String], places: &[Vec<Places>]) -> Vec<(usize, &'static str)> {
    let Some(own) = systems.iter().position(|s| s == "model") else {
        return Vec::new();
    };
    // Question, the model's recall at `DEPTH`, the best recall of another system.
    type Row = (usize, f64, f64);
    let rows: Vec<Row> = (0..places.first().map_or(0, Vec::len))
        .map(|i| {
            let others = places.iter().enumerate().filter(|(s, _)| *s != own);
            let best = others.map(|(_, p)| p[i].recall()).fold(0.0, f64::max);
            (i, places[own][i].recall(), best)
        })
        .collect();
    let mut out: Vec<(usize, &'static str)> = Vec::new();
    let mut take = |wanted: fn(&Row) -> bool, by: fn(&Row) -> f64, n, why| {
        let can = |r: &&Row| places[own][r.0].gold > 0 && wanted(r);
        let mut rows: Vec<&Row> = rows.iter().filter(can).collect();
        rows.sort_by(|a, b| by(b).total_cmp(&by(a)).then(a.0.cmp(&b.0)));
        let mut left = n;
        for (i, _, _) in rows {
            if left > 0 && out.len() < SHOWN && !out.iter().any(|o| o.0 == *i) {
                out.push((*i, why));
                left -= 1;
            }
        }
    };
    let less = "another system finds more among its first 5";
    take(|r| r.2 > r.1, |r| r.2 - r.1, 4, less);
    let nobody = "no system finds all among its first 5";
    take(|r| r.1 < 1.0 && r.2 < 1.0, |r| -(r.1 + r.2), 3, nobody);
    let alone = "only the model finds all among its first 5";
    take(|r| r.1 >= 1.0 && r.2 < 1.0, |r| r.1 - r.2, 3, alone);
    take(|_| true, |r| -r.1, SHOWN, "for comparison");
    out
}

fn read_questions(t: &RecordBatch) -> Result<Vec<(String, Question)>, OpError> {
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

/// The systems in order, and for each system (with its first ranker) and question the ranks of the
/// gold documents.
fn read_places(
    t: &RecordBatch,
    place: &HashMap<&str, usize>,
) -> Result<(Vec<String>, Vec<Vec<Places>>), OpError> {
    let text = |name| columns::text(t, name);
    let (question, system) = (text("question")?, text("system")?);
    let (ranker, target) = (text("ranker")?, text("target")?);
    let (asked, gold) = (columns::bools(t, "asked")?, columns::u32s(t, "gold")?);
    let ranks = columns::list_u32(t, "ranks")?;
    let mut first: Vec<(String, String)> = Vec::new();
    let mut places: Vec<Vec<Places>> = Vec::new();
    for (i, ranks) in ranks.into_iter().enumerate() {
        if target.value(i) != "document" {
            continue;
        }
        let (s, r) = (system.value(i), ranker.value(i));
        let at = match first.iter().position(|(name, _)| name == s) {
            Some(at) if first[at].1 != r => continue,
            Some(at) => at,
            None => {
                first.push((s.to_owned(), r.to_owned()));
                places.push(vec![Places::default(); place.len()]);
                first.len() - 1
            }
        };
        if let Some(question) = place.get(question.value(i)) {
            places[at][*question] = Places {
                asked: asked.value(i),
                gold: gold.value(i),
                ranks,
            };
        }
    }
    Ok((first.into_iter().map(|f| f.0).collect(), places))
}

/// The first documents of some questions, by system and question.
type Lists = HashMap<(String, String), Vec<(u32, String)>>;

fn read_lists(t: &RecordBatch, chosen: &BTreeSet<&str>) -> Result<Lists, OpError> {
    let text = |name| columns::text(t, name);
    let (question, system) = (text("question")?, text("system")?);
    let (rank, document) = (columns::u32s(t, "rank")?, text("document")?);
    let mut out = Lists::new();
    for i in (0..t.num_rows()).filter(|i| chosen.contains(question.value(*i))) {
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
        let systems = ["model", "untrained", "bm25", "dense"].map(str::to_owned);
        let found = |ranks: &[u32]| Places {
            asked: true,
            gold: 2,
            ranks: ranks.to_vec(),
        };
        let mut places: Vec<Vec<Places>> = [&[1, 2][..], &[30, 31], &[3, 4], &[40, 50]]
            .iter()
            .map(|ranks| vec![found(ranks); 16])
            .collect();
        let (model, untrained, bm25) = (0, 1, 2);
        places[model][3] = found(&[1, 9]);
        places[model][7] = found(&[8, 9]);
        places[model][9] = found(&[8, 9]);
        places[bm25][9] = found(&[8, 9]);
        places[bm25][12] = found(&[1, 30]);
        // An untrained model that finds all gold documents counts as another system that does.
        places[bm25][13] = found(&[1, 30]);
        places[untrained][13] = found(&[1, 2]);
        // A question without gold documents.
        for of in &mut places {
            of[15].gold = 0;
            of[15].ranks.clear();
        }
        let got = choose(&systems, &places);
        assert_eq!(
            got[..4],
            [
                (7, "another system finds more among its first 5"),
                (3, "another system finds more among its first 5"),
                (9, "no system finds all among its first 5"),
                (12, "only the model finds all among its first 5"),
            ]
        );
        assert_eq!(got[4].1, "for comparison");
        assert_eq!(got.len(), SHOWN);
        let distinct: BTreeSet<usize> = got.iter().map(|g| g.0).collect();
        assert!(distinct.len() == SHOWN && !distinct.contains(&15));
    }

    #[test]
    fn without_questions_or_a_model_nothing_is_shown() {
        assert!(choose(&[], &[]).is_empty());
        assert!(choose(&["model".to_owned()], &[vec![]]).is_empty());
        assert!(choose(&["bm25".to_owned()], &[vec![Places::default()]]).is_empty());
    }
}
