//! Reads tables of a graph and its documents into plain data, and checks that every id is valid.

use gfm_pipe_api::{Artifact, OpError, OpResult, columns};

/// A row of the `relations` table.
#[derive(Debug)]
pub struct Relation {
    /// Name, as the graph spells it.
    pub name: String,
    /// Whether it is one of the graph's own relations, not the inverse of one.
    pub direct: bool,
}

/// The `documents` table by column, with the entities of each document.
#[derive(Debug, Default)]
pub struct Documents {
    /// Title of each document.
    pub titles: Vec<String>,
    /// Text of each document.
    pub texts: Vec<String>,
    /// Whether the corpus has the document.
    pub in_corpus: Vec<bool>,
    /// Distinct entities of each document, where links are connected.
    pub entities: Option<Vec<Vec<u32>>>,
}

/// Reads the relations, by id.
///
/// # Errors
/// When the table cannot be read, or an id is not a row of the table it points into.
pub fn relations(artifact: &Artifact) -> OpResult<Vec<Relation>> {
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

/// The error for an id that is not a row of the table it refers to.
pub fn stray(artifact: &Artifact, row: usize, what: &str) -> OpError {
    OpError::new(format!(
        "there is no such {what}: the inputs are not of one data set"
    ))
    .artifact(&artifact.name)
    .row(row as u64)
    .hint("connect ports of the same ingest-kg and ingest-qa, or of stages that read the same documents")
}

/// Reads triples in file order: head, relation, tail. There are at most `u32::MAX`.
///
/// # Errors
/// When the table cannot be read, or an id is not a row of the table it points into.
pub fn triples(artifact: &Artifact, entities: u32, relations: usize) -> OpResult<Vec<[u32; 3]>> {
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
        return Err(OpError::data("more than 4294967295 triples").artifact(&artifact.name));
    }
    Ok(out)
}

/// Reads documents by id, without their entities.
///
/// # Errors
/// When the table cannot be read, or an id is not a row of the table it points into.
pub fn documents(artifact: &Artifact) -> OpResult<Documents> {
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

/// Reads the entities of each document.
///
/// # Errors
/// When the table cannot be read, or an id is not a row of the table it points into.
pub fn links(artifact: &Artifact, documents: usize, entities: u32) -> OpResult<Vec<Vec<u32>>> {
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
