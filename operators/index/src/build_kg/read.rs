//! Reads the tables that a graph is made from, and checks that every document id is valid.

use arrow::array::RecordBatch;
use gfm_pipe_api::{Artifact, Context, OpError, OpResult, columns};

/// A row of `facts`.
pub struct Fact<'a> {
    /// Row number.
    pub row: u64,
    /// Document id.
    pub document: u32,
    /// Subject, relation and object as written.
    pub parts: [&'a str; 3],
}

/// A row of `mentions`.
pub struct Mention<'a> {
    /// Row number.
    pub row: u64,
    /// Document id.
    pub document: u32,
    /// The words.
    pub text: &'a str,
}

/// A row of `named`.
pub struct Named<'a> {
    /// Row number.
    pub row: u64,
    /// The document with the text.
    pub document: u32,
    /// The document that is named.
    pub target: u32,
    /// The words.
    pub text: &'a str,
}

/// Calls `each` with the batches of a table, and the row at which each begins. Only these columns
/// are read.
fn batches(
    ctx: &Context,
    artifact: &Artifact,
    (table, columns): (&str, &[&str]),
    each: &mut dyn FnMut(u64, &RecordBatch) -> OpResult<()>,
) -> OpResult<()> {
    let total = artifact.rows(table)? as u64;
    let mut first = 0;
    for batch in artifact.batches_of(table, columns)? {
        let batch = batch?;
        ctx.check_cancelled()?;
        ctx.progress(first, total, "rows", table);
        each(first, &batch)?;
        first += batch.num_rows() as u64;
    }
    ctx.progress(first, total, "rows", table);
    Ok(())
}

/// The error for a row about a document that does not exist.
fn stray(artifact: &Artifact, row: u64, documents: u32) -> OpError {
    OpError::new(format!(
        "a row is about a document that does not exist: there are {documents}"
    ))
    .artifact(&artifact.name)
    .row(row)
    .hint("connect the `documents` that `extract` was given, and what it made of them")
}

/// Reads titles, by document id.
///
/// # Errors
/// When a row is not its id, or the table cannot be read.
pub fn titles(ctx: &Context, artifact: &Artifact) -> OpResult<Vec<String>> {
    let mut out: Vec<String> = Vec::new();
    let columns: &[&str] = &["id", "title"];
    batches(
        ctx,
        artifact,
        ("documents", columns),
        &mut |first, batch| {
            let ids = columns::u32s(batch, "id")?;
            let titles = columns::text(batch, "title")?;
            for ((row, id), title) in (first..).zip(ids.values()).zip(titles) {
                if u64::from(*id) != row {
                    return Err(OpError::data("a document's row is not its id")
                        .artifact(&artifact.name)
                        .row(row)
                        .hint("number documents in the order of the rows, from 0"));
                }
                out.push(title.unwrap_or_default().to_owned());
            }
            Ok(())
        },
    )?;
    Ok(out)
}

/// Reads facts in their order.
///
/// # Errors
/// When the document of a fact does not exist, the table cannot be read, or `each` fails.
pub fn facts(
    ctx: &Context,
    artifact: &Artifact,
    documents: u32,
    each: &mut dyn FnMut(Fact<'_>) -> OpResult<()>,
) -> OpResult<()> {
    let columns: &[&str] = &["document", "subject", "relation", "object"];
    batches(ctx, artifact, ("facts", columns), &mut |first, batch| {
        let of = columns::u32s(batch, "document")?;
        let subject = columns::text(batch, "subject")?;
        let relation = columns::text(batch, "relation")?;
        let object = columns::text(batch, "object")?;
        for (i, document) in of.values().iter().enumerate() {
            let row = first + i as u64;
            if *document >= documents {
                return Err(stray(artifact, row, documents));
            }
            each(Fact {
                row,
                document: *document,
                parts: [subject.value(i), relation.value(i), object.value(i)],
            })?;
        }
        Ok(())
    })
}

/// Reads mentions in their order.
///
/// # Errors
/// When the document of a mention does not exist, the table cannot be read, or `each` fails.
pub fn mentions(
    ctx: &Context,
    artifact: &Artifact,
    documents: u32,
    each: &mut dyn FnMut(Mention<'_>) -> OpResult<()>,
) -> OpResult<()> {
    let columns: &[&str] = &["document", "text"];
    batches(ctx, artifact, ("mentions", columns), &mut |first, batch| {
        let of = columns::u32s(batch, "document")?;
        let text = columns::text(batch, "text")?;
        for (i, document) in of.values().iter().enumerate() {
            let row = first + i as u64;
            if *document >= documents {
                return Err(stray(artifact, row, documents));
            }
            each(Mention {
                row,
                document: *document,
                text: text.value(i),
            })?;
        }
        Ok(())
    })
}

/// Reads where documents name each other.
///
/// # Errors
/// When a document does not exist, the table cannot be read, or `each` fails.
pub fn named(
    ctx: &Context,
    artifact: &Artifact,
    documents: u32,
    each: &mut dyn FnMut(Named<'_>) -> OpResult<()>,
) -> OpResult<()> {
    let columns: &[&str] = &["document", "target", "text"];
    batches(ctx, artifact, ("named", columns), &mut |first, batch| {
        let of = columns::u32s(batch, "document")?;
        let target = columns::u32s(batch, "target")?;
        let text = columns::text(batch, "text")?;
        for (i, (document, target)) in of.values().iter().zip(target.values()).enumerate() {
            let row = first + i as u64;
            if *document.max(target) >= documents {
                return Err(stray(artifact, row, documents));
            }
            each(Named {
                row,
                document: *document,
                target: *target,
                text: text.value(i),
            })?;
        }
        Ok(())
    })
}

/// The first piece of the same document, by document id.
///
/// # Errors
/// When a document has no row, or the table cannot be read.
pub fn parents(ctx: &Context, artifact: &Artifact, documents: u32) -> OpResult<Vec<u32>> {
    let mut out: Vec<u32> = Vec::new();
    let columns: &[&str] = &["document", "parent"];
    batches(ctx, artifact, ("sources", columns), &mut |first, batch| {
        let of = columns::u32s(batch, "document")?;
        let parent = columns::u32s(batch, "parent")?;
        for ((row, document), parent) in (first..).zip(of.values()).zip(parent.values()) {
            if u64::from(*document) != row || *document.max(parent) >= documents {
                return Err(stray(artifact, row, documents));
            }
            out.push(*parent);
        }
        Ok(())
    })?;
    if out.len() != documents as usize {
        return Err(OpError::new(format!(
            "there are sources of {} documents, and {documents} documents",
            out.len()
        ))
        .artifact(&artifact.name)
        .hint("connect `documents` and `sources` of the same stage"));
    }
    Ok(out)
}
