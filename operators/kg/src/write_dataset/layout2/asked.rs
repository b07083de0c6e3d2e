//! The nodes that questions start from and ask for.

use gfm_pipe_api::{Artifact, Context, OpError, OpResult, columns};

use super::super::files::Report;
use super::super::questions::{Split, WrittenQuestion};
use super::graph::Graph;
use crate::read::stray;
use crate::tables::Reject;

/// The nodes of a question, each once.
#[derive(Debug, Default)]
pub struct Asked {
    /// Where it starts.
    pub starts: Vec<u32>,
    /// What it asks for.
    pub targets: Vec<u32>,
}

/// Reads the nodes of all questions, by split and question.
///
/// # Errors
/// When a table cannot be read, or belongs to other questions or another graph.
pub fn read(
    ctx: &Context,
    splits: &[Split],
    graph: &Graph,
    report: Report<'_>,
) -> OpResult<Vec<Vec<Asked>>> {
    let starts = of_port(ctx, "starts", splits, graph.given)?;
    let targets = of_port(ctx, "targets", splits, graph.given)?;
    let mut out = Vec::with_capacity(splits.len());
    for ((split, starts), targets) in splits.iter().zip(starts).zip(targets) {
        let weighted = starts.as_ref().map_or(0, |given| given.weighted);
        if weighted > 0 {
            let reason = format!(
                "`start_nodes` have no weights: {weighted} starts have another weight than 1, which is lost"
            );
            report(&of_split(split.name, &reason))?;
        }
        let questions = split.questions.iter();
        let asked = questions.map(|question| Asked {
            starts: match &starts {
                Some(given) => once(given.rows[question.at].clone()),
                None => once(question.row.entities.clone()),
            },
            targets: match &targets {
                Some(given) => {
                    let documents = gold(question, graph);
                    // A document that had no node is not among the targets given.
                    let new = documents.filter(|node| *node as usize >= graph.given);
                    once(given.rows[question.at].iter().copied().chain(new))
                }
                None => {
                    let entities = question.row.supporting_entities.iter().copied();
                    once(entities.chain(gold(question, graph)))
                }
            },
        });
        out.push(asked.collect());
    }
    unusable(splits, &out, report)?;
    Ok(out)
}

/// The nodes of a question's gold documents.
fn gold<'a>(question: &'a WrittenQuestion, graph: &'a Graph) -> impl Iterator<Item = u32> + 'a {
    let documents = question.row.documents.iter();
    documents.map(|d| graph.of_document[*d as usize])
}

/// Each node once, in order.
fn once(nodes: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut seen = ahash::AHashSet::new();
    let nodes = nodes.into_iter();
    nodes.filter(|node| seen.insert(*node)).collect()
}

/// Reports that the Python package refuses the questions, where no question has both a start and a
/// target. It does not read valid.json.
fn unusable(splits: &[Split], asked: &[Vec<Asked>], report: Report<'_>) -> OpResult<()> {
    let read = splits.iter().zip(asked).filter(|(s, _)| s.name != "valid");
    let mut read = read.filter(|(s, _)| !s.questions.is_empty()).peekable();
    let Some((first, _)) = read.peek() else {
        return Ok(());
    };
    let name = first.name;
    let usable = |asked: &Asked| !asked.starts.is_empty() && !asked.targets.is_empty();
    if read.flat_map(|(_, asked)| asked).any(usable) {
        return Ok(());
    }
    report(&of_split(
        name,
        "no question of train and test has both a start and a target: GFM-RAG 2.0 does not load such a data set. Here the questions are read, and score 0",
    ))
}

fn of_split<'a>(split: &'a str, reason: &'a str) -> Reject<'a> {
    Reject {
        source: split,
        line: None,
        item: None,
        reason,
        text: "",
    }
}

/// The nodes that a port gives the questions of a split.
struct Given {
    /// By row of the questions.
    rows: Vec<Vec<u32>>,
    /// Starts with another weight than 1.
    weighted: u64,
}

/// What a port gives each split; `None` where it has nothing for it. Artifacts belong to the split
/// that has their questions, and to the first such split where several have the same.
fn of_port(
    ctx: &Context,
    port: &str,
    splits: &[Split],
    nodes: usize,
) -> OpResult<Vec<Option<Given>>> {
    let mut out: Vec<Option<Given>> = splits.iter().map(|_| None).collect();
    for artifact in ctx.inputs(port) {
        let info = artifact.read("info")?;
        let number = |name| Ok::<_, OpError>(columns::u64s(&info, name)?.iter().flatten().next());
        let (questions, of) = (number("questions")?, number("nodes")?);
        let digest = columns::text(&info, "texts_digest")?;
        let digest = digest.iter().flatten().next();
        if of != Some(nodes as u64) {
            let of = of.unwrap_or_default();
            return Err(OpError::new(format!(
                "{port} are nodes of a graph with {of} nodes, but `entities` has {nodes}"
            ))
            .artifact(&artifact.name)
            .hint("connect ports of the same stage"));
        }
        let fits = |(split, given): (&Split, &Option<Given>)| {
            let same = questions == Some(split.rows as u64) && digest == Some(&split.digest);
            same && given.is_none()
        };
        let at = splits.iter().zip(&out).position(fits);
        let Some(at) = at else {
            return Err(
                OpError::new(format!("{port} are of none of the connected questions"))
                    .artifact(&artifact.name)
                    .hint(format!(
                        "connect the {port} of the splits at `questions`, each once"
                    )),
            );
        };
        out[at] = Some(given(artifact, port, splits[at].rows, nodes)?);
    }
    Ok(out)
}

fn given(artifact: &Artifact, table: &str, questions: usize, nodes: usize) -> OpResult<Given> {
    let mut given = Given {
        rows: vec![Vec::new(); questions],
        weighted: 0,
    };
    let mut at = 0;
    for batch in artifact.batches(table)? {
        let batch = batch?;
        let of = columns::u32s(&batch, "question")?.values();
        let all = columns::u32s(&batch, "node")?.values();
        for (question, node) in of.iter().zip(all) {
            match given.rows.get_mut(*question as usize) {
                Some(_) if *node as usize >= nodes => return Err(stray(artifact, at, "entity")),
                Some(row) => row.push(*node),
                None => return Err(stray(artifact, at, "question")),
            }
            at += 1;
        }
        if table == "starts" {
            let weights = columns::f64s(&batch, "weight")?.values();
            let other = weights.iter().filter(|weight| **weight != 1.0).count();
            given.weighted += other as u64;
        }
    }
    Ok(given)
}
