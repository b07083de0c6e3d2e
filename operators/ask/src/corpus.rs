//! The documents: titles, texts, files, and which are pieces of one.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use gfm_pipe_api::{Artifact, Context, OpError, OpResult, columns};
use gfm_pipe_eval::pieces::Pieces;

/// Documents in memory, by id.
pub struct Corpus {
    pub titles: Vec<String>,
    pub texts: Vec<String>,
    /// File of each document, if known.
    pub files: Option<Vec<String>>,
    /// First piece of the document that each is a piece of; its own id where it is whole.
    pub parents: Vec<u32>,
    /// The same for ranking; `None` if all are whole.
    pub pieces: Option<Arc<Pieces>>,
}

impl Corpus {
    /// Reads the ports `documents` and `sources`.
    pub fn read(ctx: &Context) -> OpResult<Self> {
        let table = ctx.input("documents")?.read("documents")?;
        let texts = |name| -> OpResult<Vec<String>> {
            let column = columns::text(&table, name)?.iter();
            Ok(column.map(|t| t.unwrap_or_default().to_owned()).collect())
        };
        let mut corpus = Corpus {
            titles: texts("title")?,
            texts: texts("text")?,
            files: None,
            parents: (0..table.num_rows() as u32).collect(),
            pieces: None,
        };
        if let Some(sources) = ctx.input_opt("sources") {
            corpus.read_sources(sources)?;
        }
        Ok(corpus)
    }

    fn read_sources(&mut self, sources: &Artifact) -> OpResult<()> {
        self.pieces = Pieces::read(sources, self.titles.len())?.map(Arc::new);
        let table = sources.read("sources")?;
        self.parents = columns::u32s(&table, "parent")?.values().to_vec();
        let files = columns::text(&table, "source")?.iter();
        self.files = Some(files.map(|f| f.unwrap_or_default().to_owned()).collect());
        Ok(())
    }

    /// Number of documents; each piece counts.
    pub fn len(&self) -> usize {
        self.titles.len()
    }

    /// The file of a document, if known.
    pub fn file(&self, document: u32) -> Option<&str> {
        let files = self.files.as_ref()?;
        files.get(document as usize).map(String::as_str)
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
        let pieces = self
            .pieces_of(document)
            .map(|piece| texts[piece as usize].as_str());
        pieces.collect::<Vec<_>>().join("\n\n")
    }

    /// The documents of each title; later pieces of a document are not among them.
    pub fn by_title(&self) -> HashMap<&str, Vec<u32>> {
        let mut out: HashMap<&str, Vec<u32>> = HashMap::new();
        for (document, title) in (0..).zip(&self.titles) {
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
        let example = files.first().map_or("", String::as_str);
        Err(
            OpError::new(format!("no document is in a file that matches {pattern:?}"))
                .hint(format!("files are named like {example:?}")),
        )
    }

    /// The documents that a text names: by title in any case, or by number.
    pub fn named(&self, name: &str) -> Option<u32> {
        let wanted = name.trim().to_lowercase();
        let is = |title: &String| title.trim().to_lowercase() == wanted;
        let by_title = self.titles.iter().position(is);
        let by_number = || name.trim().parse().ok().filter(|id| *id < self.len());
        let found = by_title.or_else(by_number)?;
        Some(self.parents[found])
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
