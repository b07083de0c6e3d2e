//! Reads artifacts into plain data, and checks that every id is valid.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::Array;
use gfm_pipe_api::node_types::DOCUMENT;
use gfm_pipe_api::{Artifact, Context, OpError, OpResult, columns};

use super::data::{Data, DocumentDetails, First, Place, Places, Question, Rejected, Split};
use super::graph::Graph;
use crate::names::entity_names;
use crate::read::{documents, links, relations, stray, triples};

impl Data {
    /// Reads the inputs that are connected.
    ///
    /// # Errors
    /// When a table cannot be read, or tables do not belong together.
    pub fn read(ctx: &Context) -> OpResult<Data> {
        let entities = entity_names(ctx.input("entities")?)?;
        let relations = relations(ctx.input("relations")?)?;
        let triples = triples(ctx.input("triples")?, entities.len(), relations.len())?;
        ctx.check_cancelled()?;
        let mut documents = ctx.input_opt("documents").map(documents).transpose()?;
        if let (Some(documents), Some(artifact)) = (&mut documents, ctx.input_opt("links")) {
            documents.entities = Some(links(artifact, documents.titles.len(), entities.len())?);
        }
        let titles = documents.as_ref().map(|d| d.titles.len());
        let (document_nodes, nodes_of_documents) = match ctx.input_opt("nodes") {
            Some(artifact) => nodes(artifact, entities.len() as usize, titles)?,
            None => Default::default(),
        };
        let linked = documents.as_mut().and_then(|d| d.entities.as_mut());
        for (linked, node) in linked.into_iter().flatten().zip(&nodes_of_documents) {
            // `build-kg` links a document with its own node, `ingest-graph` does not.
            linked.extend(node.filter(|node| !linked.contains(node)));
        }
        let details = details(ctx, titles.unwrap_or_default())?;
        let mut splits = Vec::new();
        for artifact in ctx.inputs("questions") {
            splits.push(split(artifact, entities.len(), titles)?);
        }
        let order = |name: &str| ["train", "valid", "test"].iter().position(|n| *n == name);
        splits.sort_by_key(|s| order(&s.name).unwrap_or(3));
        let mut rejects = Vec::new();
        for artifact in ctx.inputs("rejects") {
            read_rejects(artifact, &mut rejects)?;
        }
        let mut places = Places::default();
        let rows = |table: &str| match table {
            "triples" => Some(triples.len()),
            "entities" => Some(entities.len() as usize),
            "relations" => Some(relations.iter().filter(|r| r.direct).count()),
            "documents" => titles,
            split => splits
                .iter()
                .find(|s| s.name == split)
                .map(|s| s.questions.len()),
        };
        for artifact in ctx.inputs("places") {
            read_places(artifact, rows, &mut places)?;
        }
        Ok(Data {
            graph: Graph::new(&triples, entities.len() as usize),
            first: First::new(&triples, entities.len() as usize, relations.len()),
            entities,
            relations,
            triples,
            document_nodes,
            nodes_of_documents,
            documents,
            details,
            splits,
            rejects,
            places,
        })
    }
}

/// Which entities stand for documents, and the node of each document, where these are connected.
fn nodes(
    artifact: &Artifact,
    entities: usize,
    documents: Option<usize>,
) -> OpResult<(Vec<bool>, Vec<Option<u32>>)> {
    let mut out = vec![false; entities];
    let mut of_documents = vec![None; documents.unwrap_or_default()];
    let mut row = 0;
    for batch in artifact.batches("nodes")? {
        let batch = batch?;
        let ids = columns::u32s(&batch, "entity")?.values();
        let of = columns::u32s(&batch, "document")?;
        let kinds = columns::text(&batch, "type")?;
        for ((id, kind), document) in ids.iter().zip(kinds).zip(of) {
            let node = out.get_mut(*id as usize);
            *node.ok_or_else(|| stray(artifact, row, "entity"))? = kind == Some(DOCUMENT);
            if let Some(document) = document.filter(|_| documents.is_some()) {
                let node = of_documents.get_mut(document as usize);
                *node.ok_or_else(|| stray(artifact, row, "document"))? = Some(*id);
            }
            row += 1;
        }
    }
    Ok((out, of_documents))
}

/// Labels that only `extract` with `by: english` produces.
const ENGLISH: [&str; 4] = ["PERSON", "GPE", "NORP", "WORK_OF_ART"];

fn details(ctx: &Context, documents: usize) -> OpResult<DocumentDetails> {
    let mut details = DocumentDetails::default();
    if let Some(artifact) = ctx.input_opt("sources") {
        details.sources = Some(sources(artifact, documents)?);
    }
    if let Some(artifact) = ctx.input_opt("mentions") {
        details.mentions = Some(having(artifact, "mentions", documents)?);
        for batch in artifact.batches("mentions")? {
            let labels = batch?;
            let labels = columns::text(&labels, "label")?;
            details.english |= labels.iter().flatten().any(|l| ENGLISH.contains(&l));
        }
    }
    if let Some(artifact) = ctx.input_opt("facts") {
        details.facts = Some(having(artifact, "facts", documents)?);
    }
    Ok(details)
}

fn sources(artifact: &Artifact, documents: usize) -> OpResult<Vec<(Arc<str>, u32)>> {
    let mut out: Vec<(Arc<str>, u32)> = Vec::with_capacity(documents);
    for batch in artifact.batches("sources")? {
        let batch = batch?;
        let ids = columns::u32s(&batch, "document")?.values();
        let files = columns::text(&batch, "source")?;
        let parents = columns::u32s(&batch, "parent")?.values();
        for ((id, file), parent) in ids.iter().zip(files).zip(parents) {
            if *id as usize != out.len() || *parent as usize >= documents {
                return Err(stray(artifact, out.len(), "document"));
            }
            let file = file.unwrap_or_default();
            let same = out.last().filter(|(last, _)| **last == *file);
            let file = same.map_or_else(|| file.into(), |(last, _)| Arc::clone(last));
            out.push((file, *parent));
        }
    }
    if out.len() == documents {
        Ok(out)
    } else {
        Err(stray(artifact, out.len(), "document"))
    }
}

/// Which documents have a row in a table.
fn having(artifact: &Artifact, table: &str, documents: usize) -> OpResult<Vec<bool>> {
    let mut out = vec![false; documents];
    let mut row = 0;
    for batch in artifact.batches(table)? {
        let batch = batch?;
        for id in columns::u32s(&batch, "document")?.values() {
            let document = out.get_mut(*id as usize);
            *document.ok_or_else(|| stray(artifact, row, "document"))? = true;
            row += 1;
        }
    }
    Ok(out)
}

fn split(artifact: &Artifact, entities: u32, documents: Option<usize>) -> OpResult<Split> {
    let mut questions = Vec::with_capacity(artifact.rows("questions")?);
    for batch in artifact.batches("questions")? {
        let batch = batch?;
        let (ids, texts) = (
            columns::text(&batch, "id")?,
            columns::text(&batch, "question")?,
        );
        let lists = |name| Ok::<_, OpError>(columns::list_u32(&batch, name)?.into_iter());
        let gold_titles = columns::u32s(&batch, "gold_titles")?;
        let from = lists("question_entities")?.zip(lists("supporting_entities")?);
        let both = from.zip(lists("supporting_documents")?);
        for (i, ((from, supporting), gold)) in both.enumerate() {
            let row = questions.len();
            if from.iter().chain(&supporting).any(|e| *e >= entities) {
                return Err(stray(artifact, row, "entity"));
            }
            if documents.is_some_and(|n| gold.iter().any(|d| *d as usize >= n)) {
                return Err(stray(artifact, row, "document"));
            }
            questions.push(Question {
                id: ids.value(i).to_owned(),
                text: texts.value(i).to_owned(),
                entities: from,
                supporting: supporting.len(),
                documents: gold,
                gold_titles: gold_titles.value(i),
            });
        }
    }
    let info = artifact.read("info")?;
    let name = columns::text(&info, "split")?;
    Ok(Split {
        name: name.iter().flatten().next().unwrap_or_default().to_owned(),
        questions,
    })
}

fn read_rejects(artifact: &Artifact, out: &mut Vec<Rejected>) -> OpResult<()> {
    let mut sources: BTreeMap<String, Arc<str>> = BTreeMap::new();
    for batch in artifact.batches("rejects")? {
        let batch = batch?;
        let text = |name| columns::text(&batch, name);
        let (from, item) = (text("source")?, text("item")?);
        let (reason, what) = (text("reason")?, text("text")?);
        let line = columns::u64s(&batch, "line")?;
        for i in 0..batch.num_rows() {
            let source = sources
                .entry(from.value(i).to_owned())
                .or_insert_with(|| from.value(i).into());
            out.push(Rejected {
                place: Place {
                    source: Arc::clone(source),
                    line: line.is_valid(i).then(|| line.value(i)),
                },
                item: item.is_valid(i).then(|| item.value(i).to_owned()),
                reason: reason.value(i).to_owned(),
                text: what.value(i).to_owned(),
            });
        }
    }
    Ok(())
}

/// Reads places; those of tables that are not connected are skipped.
fn read_places(
    artifact: &Artifact,
    rows: impl Fn(&str) -> Option<usize>,
    out: &mut Places,
) -> OpResult<()> {
    let mut at = 0;
    for batch in artifact.batches("places")? {
        let batch = batch?;
        let (table, source) = (
            columns::text(&batch, "table")?,
            columns::text(&batch, "source")?,
        );
        let row = columns::u64s(&batch, "row")?.values();
        let line = columns::u64s(&batch, "line")?.values();
        for i in 0..batch.num_rows() {
            if let Some(rows) = rows(table.value(i)) {
                let row = usize::try_from(row[i]).unwrap_or(usize::MAX);
                if row >= rows {
                    return Err(stray(artifact, at, "row"));
                }
                out.put(table.value(i), row, rows, source.value(i), line[i]);
            }
            at += 1;
        }
    }
    Ok(())
}
