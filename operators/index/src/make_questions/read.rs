//! Reads the inputs.

use std::ops::Range;

use gfm_pipe_api::artifact::check_made_from_texts_of;
use gfm_pipe_api::points::Points;
use gfm_pipe_api::{Artifact, Context, OpError, OpResult, columns};

use super::likeness::Likeness;
use super::names::{key, name};
use super::said::Document;

/// Reads the documents, with where they name others.
///
/// # Errors
/// When a table cannot be read, or belongs to other documents.
pub fn documents(ctx: &Context) -> OpResult<Vec<Document>> {
    let artifact = ctx.input("documents")?;
    let mut found = Vec::new();
    for batch in artifact.batches("documents")? {
        let batch = batch?;
        ctx.check_cancelled()?;
        let titles = columns::text(&batch, "title")?.iter();
        for (title, text) in titles.zip(columns::text(&batch, "text")?) {
            let (title, text) = (title.unwrap_or_default(), text.unwrap_or_default());
            let number = u32::try_from(found.len())
                .map_err(|_| OpError::data("there are more documents than ids"))?;
            found.push(Document {
                title: title.to_owned(),
                name: name(title, text).to_owned(),
                text: text.to_owned(),
                parent: number,
                named: Vec::new(),
            });
        }
    }
    if let Some(sources) = ctx.input_opt("sources") {
        add_sources(sources, &mut found)?;
    }
    if let Some(named) = ctx.input_opt("named") {
        add_named(named, &mut found)?;
    }
    Ok(found)
}

/// The error for an id of a document that does not exist.
fn far(artifact: &Artifact, row: usize) -> OpError {
    OpError::new("it names a document that does not exist")
        .artifact(&artifact.name)
        .row(row as u64)
        .hint("connect tables that were made from the same `documents`")
}

fn add_sources(artifact: &Artifact, documents: &mut [Document]) -> OpResult<()> {
    let mut row = 0;
    for batch in artifact.batches("sources")? {
        let batch = batch?;
        let ids = columns::u32s(&batch, "document")?;
        let parents = columns::u32s(&batch, "parent")?;
        let titles = columns::text(&batch, "title")?;
        for ((id, parent), title) in ids.values().iter().zip(parents.values()).zip(titles) {
            if *parent as usize >= documents.len() {
                return Err(far(artifact, row));
            }
            let document = documents.get_mut(*id as usize);
            let document = document.ok_or_else(|| far(artifact, row))?;
            document.parent = *parent;
            // Equal titles of several files were made different, which no text says.
            if let Some(title) = title.filter(|title| !title.trim().is_empty()) {
                title.clone_into(&mut document.title);
                document.name = name(title, &document.text).to_owned();
            }
            row += 1;
        }
    }
    Ok(())
}

fn add_named(artifact: &Artifact, documents: &mut [Document]) -> OpResult<()> {
    let mut row = 0;
    for batch in artifact.batches("named")? {
        let batch = batch?;
        let ids = columns::u32s(&batch, "document")?;
        let targets = columns::u32s(&batch, "target")?;
        let (starts, ends) = (
            columns::u64s(&batch, "start")?,
            columns::u64s(&batch, "end")?,
        );
        for i in 0..batch.num_rows() {
            let target = documents.get(targets.value(i) as usize);
            let named = key(&target.ok_or_else(|| far(artifact, row))?.name);
            let document = documents.get_mut(ids.value(i) as usize);
            let document = document.ok_or_else(|| far(artifact, row))?;
            let place: Range<usize> = starts.value(i) as usize..ends.value(i) as usize;
            let said = document.text.get(place.clone());
            let said = said.ok_or_else(|| {
                OpError::new("it names a place outside of the document's text")
                    .artifact(&artifact.name)
                    .row(row as u64)
                    .hint("connect `named` of an `extract` stage over these `documents`")
            })?;
            // Aliases are often words of the language.
            if key(said) == named {
                document.named.push(place);
            }
            row += 1;
        }
    }
    Ok(())
}

/// Reads the embeddings of the documents, where they are connected.
///
/// # Errors
/// When they are of other documents, or there is not enough memory.
pub fn vectors(ctx: &Context) -> OpResult<Option<Points>> {
    let Some(artifact) = ctx.input_opt("corpus_embeddings") else {
        return Ok(None);
    };
    let documents = ctx.input("documents")?;
    check_made_from_texts_of(artifact, documents)?;
    let rows = documents.rows("documents")?;
    let points = Points::read(artifact)?;
    if !points.is_empty() && points.len() != rows {
        let problem = format!("there are not {rows} vectors");
        return Err(OpError::new(problem).artifact(&artifact.name));
    }
    Ok(Some(points).filter(|points| !points.is_empty()))
}

/// Reads the questions of which no near copies are made.
///
/// # Errors
/// When a table cannot be read.
pub fn excluded(ctx: &Context) -> OpResult<Likeness> {
    let mut known = Likeness::default();
    for artifact in ctx.inputs("exclude") {
        for batch in artifact.batches("questions")? {
            let batch = batch?;
            ctx.check_cancelled()?;
            let gold = columns::list_u32(&batch, "supporting_documents")?;
            let texts = columns::text(&batch, "question")?;
            for (text, gold) in texts.iter().zip(gold) {
                known.add(text.unwrap_or_default(), &gold);
            }
        }
    }
    Ok(known)
}
