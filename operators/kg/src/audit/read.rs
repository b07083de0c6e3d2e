//! Artifacts to plain data, checked so that no id leads nowhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::Array;
use gfm_pipe_api::{Artifact, Context, OpError, OpResult, columns};

use super::data::{Data, Documents, First, Place, Places, Question, Rejected, Relation, Split};
use super::graph::Graph;
use crate::names::entity_names;

impl Data {
    /// Reads what is connected.
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
            graph: Graph::of(&triples, entities.len() as usize),
            first: First::of(&triples, entities.len() as usize, relations.len()),
            entities,
            relations,
            triples,
            documents,
            splits,
            rejects,
            places,
        })
    }
}

fn relations(artifact: &Artifact) -> OpResult<Vec<Relation>> {
    let mut out = Vec::new();
    for batch in artifact.batches("relations")? {
        let batch = batch?;
        let names = columns::text(&batch, "name")?;
        let inverse = columns::u32s(&batch, "inverse_of")?;
        out.extend(names.iter().zip(inverse).map(|(name, inverse)| Relation {
            name: name.unwrap_or_default().to_owned(),
            direct: inverse.is_none(),
        }));
    }
    Ok(out)
}

/// An id that is no row of the table it points into.
fn stray(artifact: &Artifact, row: usize, what: &str) -> OpError {
    OpError::new(format!(
        "there is no such {what}: the inputs are not of one data set"
    ))
    .artifact(&artifact.name)
    .row(row as u64)
    .hint("connect ports of the same ingest-kg and ingest-qa")
}

fn triples(artifact: &Artifact, entities: u32, relations: usize) -> OpResult<Vec<[u32; 3]>> {
    let mut out = Vec::with_capacity(artifact.rows("triples")?);
    for batch in artifact.batches("triples")? {
        let batch = batch?;
        let column = |name| Ok::<_, OpError>(columns::u32s(&batch, name)?.values());
        let (heads, relation, tails) = (column("head")?, column("relation")?, column("tail")?);
        for ((head, relation), tail) in heads.iter().zip(relation).zip(tails) {
            let what = if *head >= entities || *tail >= entities {
                "entity"
            } else if *relation as usize >= relations {
                "relation"
            } else {
                out.push([*head, *relation, *tail]);
                continue;
            };
            return Err(stray(artifact, out.len(), what));
        }
    }
    if u32::try_from(out.len()).is_err() {
        return Err(OpError::new("more than 4294967295 triples").artifact(&artifact.name));
    }
    Ok(out)
}

fn documents(artifact: &Artifact) -> OpResult<Documents> {
    let mut out = Documents::default();
    let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
    for batch in artifact.batches("documents")? {
        let batch = batch?;
        out.titles
            .extend(columns::text(&batch, "title")?.iter().map(owned));
        out.texts
            .extend(columns::text(&batch, "text")?.iter().map(owned));
        let there = columns::bools(&batch, "in_corpus")?;
        out.in_corpus.extend(there.iter().map(|b| b == Some(true)));
    }
    Ok(out)
}

fn links(artifact: &Artifact, documents: usize, entities: u32) -> OpResult<Vec<Vec<u32>>> {
    let mut out = vec![Vec::new(); documents];
    let mut row = 0;
    for batch in artifact.batches("links")? {
        let batch = batch?;
        let from = columns::u32s(&batch, "document")?.values();
        for (document, entity) in from.iter().zip(columns::u32s(&batch, "entity")?.values()) {
            match out.get_mut(*document as usize) {
                Some(list) if *entity < entities => list.push(*entity),
                Some(_) => return Err(stray(artifact, row, "entity")),
                None => return Err(stray(artifact, row, "document")),
            }
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

/// Places of tables that are not connected are passed over.
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
