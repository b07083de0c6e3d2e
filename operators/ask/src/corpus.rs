//! The documents: titles, texts, files, and which are pieces of one.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use gfm_pipe_api::bm25::Bm25;
use gfm_pipe_api::text_list::TextList;
use gfm_pipe_api::{Artifact, Context, OpError, OpResult, columns};
use gfm_pipe_eval::pieces::Pieces;

/// Documents in memory, by id.
pub struct Corpus {
    pub titles: Arc<TextList>,
    pub texts: Arc<TextList>,
    /// File of each document, if known.
    pub files: Option<TextList>,
    /// First piece of the document that each is a piece of; its own id where it is whole.
    pub parents: Vec<u32>,
    /// The same for ranking; `None` if all are whole.
    pub pieces: Option<Arc<Pieces>>,
}

impl Corpus {
    /// Reads the ports `documents` and `sources`.
    pub fn read(ctx: &Context) -> OpResult<Self> {
        let documents = ctx.input("documents")?;
        let (mut titles, mut texts) = (TextList::new(), TextList::new());
        for batch in documents.batches_of("documents", &["id", "title", "text"])? {
            let batch = batch?;
            check_ids(documents, &batch, titles.len())?;
            let of_batch = columns::text(&batch, "title")?.iter();
            of_batch.for_each(|title| titles.push(title.unwrap_or_default()));
            let of_batch = columns::text(&batch, "text")?.iter();
            of_batch.for_each(|text| texts.push(text.unwrap_or_default()));
        }
        titles.shrink();
        texts.shrink();
        let mut corpus = Corpus {
            parents: (0..titles.len() as u32).collect(),
            titles: Arc::new(titles),
            texts: Arc::new(texts),
            files: None,
            pieces: None,
        };
        if let Some(sources) = ctx.input_opt("sources") {
            corpus.read_sources(sources)?;
        }
        Ok(corpus)
    }

    fn read_sources(&mut self, sources: &Artifact) -> OpResult<()> {
        self.pieces = Pieces::read(sources, self.titles.len())?.map(Arc::new);
        let mut files = TextList::new();
        self.parents.clear();
        for batch in sources.batches_of("sources", &["parent", "source"])? {
            let batch = batch?;
            let parents = columns::u32s(&batch, "parent")?;
            self.parents.extend_from_slice(parents.values());
            let of_batch = columns::text(&batch, "source")?.iter();
            of_batch.for_each(|file| files.push(file.unwrap_or_default()));
        }
        files.shrink();
        self.files = Some(files);
        Ok(())
    }

    /// The index of the documents by their words.
    pub fn words(&self) -> Bm25 {
        Bm25::new(self.titles.iter().zip(self.texts.iter()))
    }

    /// Number of documents; each piece counts.
    pub fn len(&self) -> usize {
        self.titles.len()
    }

    /// The file of a document, if known.
    pub fn file(&self, document: u32) -> Option<&str> {
        let files = self.files.as_ref()?;
        files.get(document as usize)
    }

    /// All pieces of the document that this is a piece of.
    pub fn pieces_of(&self, document: u32) -> Range<u32> {
        let first = self.parents[document as usize];
        // Pieces of a document are consecutive.
        let more = self.parents[first as usize..].iter();
        let count = more.take_while(|parent| **parent == first).count();
        first..first + count as u32
    }

    /// The text of a document, of all its pieces.
    pub fn whole(&self, document: u32) -> String {
        let texts = &self.texts;
        let pieces = self.pieces_of(document).map(|piece| &texts[piece as usize]);
        pieces.collect::<Vec<_>>().join("\n\n")
    }

    /// The documents of each title; later pieces of a document are not among them.
    pub fn by_title(&self) -> HashMap<&str, Vec<u32>> {
        let mut out: HashMap<&str, Vec<u32>> = HashMap::new();
        for (document, title) in (0..).zip(self.titles.iter()) {
            if self.parents[document as usize] == document {
                out.entry(title).or_default().push(document);
            }
        }
        out
    }

    /// Whether each document is in a file that matches a glob pattern.
    ///
    /// # Errors
    /// When the pattern is not one, or when files are not known.
    pub fn allowed(&self, pattern: &str) -> OpResult<Vec<bool>> {
        let parsed = glob::Pattern::new(pattern).map_err(|e| {
            OpError::new(format!("{pattern:?} is not a glob pattern: {e}"))
                .hint("for example `*.md`, `reports/*` or `**/2024/*.txt`")
        })?;
        let files = self.files.as_ref().ok_or_else(|| {
            OpError::new("documents cannot be chosen by source: their files are not known")
                .hint("connect `sources` of `ingest-documents` to the retriever stage")
        })?;
        let allowed: Vec<bool> = files.iter().map(|file| parsed.matches(file)).collect();
        if allowed.contains(&true) {
            return Ok(allowed);
        }
        let example = files.get(0).unwrap_or_default();
        Err(
            OpError::new(format!("no document is in a file that matches {pattern:?}"))
                .hint(format!("files are named like {example:?}")),
        )
    }

    /// The documents that a text names: by title in any case, or by number.
    pub fn named(&self, name: &str) -> Option<u32> {
        let wanted = name.trim().to_lowercase();
        let is = |title: &str| title.trim().to_lowercase() == wanted;
        let by_title = self.titles.iter().position(is);
        let by_number = || name.trim().parse().ok().filter(|id| *id < self.len());
        let found = by_title.or_else(by_number)?;
        Some(self.parents[found])
    }
}

/// Checks that the ids of a batch of `documents` are the numbers of its rows.
///
/// # Errors
/// When one is not.
pub fn check_ids(documents: &Artifact, batch: &RecordBatch, first: usize) -> OpResult<()> {
    let ids = columns::u32s(batch, "id")?.values().iter();
    match (first..).zip(ids).find(|(row, id)| **id as usize != *row) {
        None => Ok(()),
        Some((row, _)) => Err(OpError::data("a document's row is not its id")
            .artifact(&documents.name)
            .row(row as u64)
            .hint("number documents in the order of the rows, from 0")),
    }
}

/// The first `limit` names that contain a text, in any case, those that begin with it first.
pub fn matching<'a>(
    names: impl Iterator<Item = (u32, &'a str)>,
    containing: &str,
    limit: usize,
) -> Vec<(u32, &'a str)> {
    let wanted = containing.trim().to_lowercase();
    let found = names.filter_map(|(id, name)| {
        let at = name.to_lowercase().find(&wanted)?;
        Some((at > 0, name.len(), id, name))
    });
    let mut found: Vec<_> = found.collect();
    found.sort_unstable_by_key(|(inside, length, id, _)| (*inside, *length, *id));
    let first = found.into_iter().take(limit);
    first.map(|(_, _, id, name)| (id, name)).collect()
}
