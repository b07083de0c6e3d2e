//! `ingest-kg`: a `kg.txt` of `head,relation,tail` lines becomes entities, relations with inverses,
//! and triples of ids.
//!
//! Lines are read as the reference reads them: Python's text mode, `str.strip`, a split at every
//! comma. Ids follow first appearance, head before tail, so that graphs and weights mean the same
//! in both programs. Two things differ on purpose: rejected lines are kept with their number, and a
//! relation that is really named `inverse_x` keeps a row of its own beside the inverse of `x`. A
//! row is always its id.
//!
//! Memory is the vocabulary plus 12 bytes per triple, which are kept to count duplicates; the
//! triples themselves are written as they are read. `build-graph` makes the edges with inverses,
//! and their order.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::UInt32Array;
use gfm_pipe_api::{
    Context, Field, InPort, InputFile, OpError, OpResult, Operator, OutPort, Schema, Type,
    encoding, files, kinds,
};
use serde::{Deserialize, Serialize};

use crate::lines::{Line, Lines, MAX_LINE, strip};
use crate::names::Names;
use crate::reasons;
use crate::tables::{
    Places, ROWS, Reject, Rejects, Table, write_counts, write_names, write_relations,
};

/// The operator `ingest-kg`.
pub struct IngestKg;

/// Parameters of [`IngestKg`].
#[derive(Debug, Serialize, Deserialize)]
pub struct KgParams {
    /// Path of the `kg.txt`.
    pub path: PathBuf,
}

/// Bytes between two reports of progress and checks for cancellation.
const BEAT: u64 = 4 << 20;

impl Operator for IngestKg {
    type Params = KgParams;
    const NAME: &'static str = "ingest-kg";
    const VERSION: u32 = 3;
    const ABOUT: &'static str =
        "reads a kg.txt (one `head,relation,tail` per line) into entities, relations and triples";

    fn schema() -> Schema {
        Schema::new(vec![Field::required(
            "path",
            Type::Path,
            "the kg.txt: one `head,relation,tail` per line, UTF-8, no quoting",
        )])
    }

    fn inputs() -> Vec<InPort> {
        Vec::new()
    }

    fn outputs() -> Vec<OutPort> {
        vec![
            OutPort {
                name: "entities",
                kind: &kinds::ENTITIES,
                about: "entities by first appearance, head before tail",
            },
            OutPort {
                name: "relations",
                kind: &kinds::RELATIONS,
                about: "relations by first appearance, then their inverses",
            },
            OutPort {
                name: "triples",
                kind: &kinds::TRIPLES,
                about: "direct triples in file order, duplicates kept",
            },
            OutPort {
                name: "rejects",
                kind: &kinds::REJECTS,
                about: "lines that are not triples, with number, text and reason",
            },
            OutPort {
                name: "places",
                kind: &kinds::PLACES,
                about: "the line of each triple",
            },
            OutPort {
                name: "counts",
                kind: &kinds::COUNTS,
                about: "lines, triples, blank_lines, rejected, duplicates, self_loops, entities, relations",
            },
        ]
    }

    fn files(params: &KgParams, _: &Path) -> Vec<InputFile> {
        vec![InputFile::new(params.path.clone(), true)]
    }

    fn run(params: KgParams, ctx: &Context) -> OpResult<()> {
        let (file, size) = open(ctx, &params.path)?;
        let read = Ingest::new(ctx, &params.path)?.read(file, size)?;
        read.write(ctx)
    }
}

fn open(ctx: &Context, shown: &Path) -> OpResult<(File, u64)> {
    let path = ctx.path(shown);
    let file = files::open(&path).map_err(|e| {
        let error = if e.kind() == std::io::ErrorKind::NotFound {
            OpError::new("there is no such file").hint(
                "check `path`; it is relative to the working directory of the run, which `-C DIR` changes",
            )
        } else if e.kind() == std::io::ErrorKind::IsADirectory {
            OpError::new("this is a folder, not a kg.txt").hint(
                "name the file, in the usual layout `processed/stage1/kg.txt` of the data set",
            )
        } else {
            OpError::wrap("failed to open", e)
        };
        error.file(shown)
    })?;
    let about = file
        .metadata()
        .map_err(|e| OpError::wrap("failed to read", e).file(shown))?;
    Ok((file, about.len()))
}

/// A line, parsed.
enum Parsed<'a> {
    Blank,
    Triple([&'a str; 3]),
    Wrong(String),
}

fn parse<'a>(line: &Line<'a>) -> Parsed<'a> {
    if line.too_long() {
        return Parsed::Wrong(reasons::too_long(line.len, MAX_LINE));
    }
    let text = match std::str::from_utf8(line.bytes) {
        Ok(text) => strip(text),
        Err(e) => {
            return Parsed::Wrong(reasons::not_utf8(e.valid_up_to() + 1));
        }
    };
    if text.is_empty() {
        return Parsed::Blank;
    }
    let mut fields = text.split(',');
    if let (Some(head), Some(relation), Some(tail), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    {
        return Parsed::Triple([head, relation, tail]);
    }
    let found = text.split(',').count();
    Parsed::Wrong(reasons::fields(found))
}

/// Collects triples for the table, and keeps all of them packed to count duplicates.
struct Triples {
    table: Table,
    head: Vec<u32>,
    relation: Vec<u32>,
    tail: Vec<u32>,
    packed: Vec<Vec<[u32; 3]>>,
    total: u64,
}

impl Triples {
    fn push(&mut self, triple: [u32; 3]) -> OpResult<()> {
        self.total += 1;
        self.head.push(triple[0]);
        self.relation.push(triple[1]);
        self.tail.push(triple[2]);
        if self.head.len() >= ROWS {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> OpResult<()> {
        let take = |v: &mut Vec<u32>| std::mem::replace(v, Vec::with_capacity(ROWS));
        let (head, relation, tail) = (
            take(&mut self.head),
            take(&mut self.relation),
            take(&mut self.tail),
        );
        if head.is_empty() {
            return Ok(());
        }
        self.packed.push(
            head.iter()
                .zip(&relation)
                .zip(&tail)
                .map(|((h, r), t)| [*h, *r, *t])
                .collect(),
        );
        self.table.append(vec![
            Arc::new(UInt32Array::from(head)),
            Arc::new(UInt32Array::from(relation)),
            Arc::new(UInt32Array::from(tail)),
        ])
    }

    /// Completes the table and counts triples that repeat an earlier one.
    fn finish(mut self) -> OpResult<u64> {
        self.flush()?;
        self.table.finish()?;
        // Pieces are freed while `all` grows, so that both are never in memory as a whole.
        let mut all = Vec::with_capacity(usize::try_from(self.total).unwrap_or(0));
        for piece in self.packed {
            all.extend(piece);
        }
        all.sort_unstable();
        Ok(all.windows(2).filter(|w| w[0] == w[1]).count() as u64)
    }
}

struct Ingest<'a> {
    ctx: &'a Context,
    shown: &'a Path,
    source: String,
    entities: Names,
    relations: Names,
    per_relation: Vec<u64>,
    triples: Triples,
    places: Places,
    rejects: Rejects,
    first_reject: Option<(u64, String)>,
    lines: u64,
    blank: u64,
    loops: u64,
}

/// The names and counts after the last line.
struct Vocabulary {
    entities: Names,
    relations: Names,
    per_relation: Vec<u64>,
    counts: Vec<(String, u64)>,
}

impl<'a> Ingest<'a> {
    fn new(ctx: &'a Context, shown: &'a Path) -> OpResult<Self> {
        let source = shown
            .file_name()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        Ok(Ingest {
            ctx,
            shown,
            source,
            entities: Names::new(u32::MAX),
            // Inverses take as many ids again.
            relations: Names::new(u32::MAX / 2),
            per_relation: Vec::new(),
            triples: Triples {
                table: Table::create(ctx, "triples", &kinds::TRIPLES, "triples")?,
                head: Vec::with_capacity(ROWS),
                relation: Vec::with_capacity(ROWS),
                tail: Vec::with_capacity(ROWS),
                packed: Vec::new(),
                total: 0,
            },
            places: Places::create(ctx)?,
            rejects: Rejects::create(ctx)?,
            first_reject: None,
            lines: 0,
            blank: 0,
            loops: 0,
        })
    }

    fn read(mut self, file: impl Read, size: u64) -> OpResult<Vocabulary> {
        let mut lines = Lines::new(file);
        let head = lines
            .head(encoding::HEAD)
            .map_err(|e| OpError::wrap("failed to read", e).file(self.shown))?;
        if let Some(error) = encoding::check(head) {
            return Err(error.file(self.shown));
        }
        let mut beat = 0;
        loop {
            if lines.bytes_read() >= beat {
                self.ctx.check_cancelled()?;
                self.ctx.progress(lines.bytes_read(), size, "bytes", "");
                beat = lines.bytes_read() + BEAT;
            }
            let Some(line) = lines
                .next_line()
                .map_err(|e| OpError::wrap("failed to read", e).file(self.shown))?
            else {
                break;
            };
            self.line(&line)?;
        }
        self.ctx.progress(lines.bytes_read(), size, "bytes", "");
        self.close()
    }

    fn line(&mut self, line: &Line<'_>) -> OpResult<()> {
        self.lines = line.number;
        if line.number == 1 && line.bytes.starts_with(b"\xef\xbb\xbf") {
            self.ctx.warn(
                "the file starts with a byte order mark, which is part of the first name: save it as UTF-8 without one",
            );
        }
        match parse(line) {
            Parsed::Blank => self.blank += 1,
            Parsed::Triple(fields) => self.triple(fields, line.number)?,
            Parsed::Wrong(reason) => {
                self.rejects.push(&Reject {
                    source: &self.source,
                    line: Some(line.number),
                    item: None,
                    reason: &reason,
                    text: &String::from_utf8_lossy(line.bytes),
                })?;
                self.first_reject.get_or_insert((line.number, reason));
            }
        }
        Ok(())
    }

    fn triple(&mut self, [head, relation, tail]: [&str; 3], line: u64) -> OpResult<()> {
        let full = |what: &str, limit: u32| {
            OpError::data(format!(
                "more than {limit} distinct {what}: ids have 32 bits"
            ))
            .file(self.shown)
            .line(line)
            .hint("split the graph into several data sets")
        };
        let h = self.entities.intern(head);
        let t = self.entities.intern(tail);
        let (Some(h), Some(t)) = (h, t) else {
            return Err(full("entities", u32::MAX));
        };
        let Some(r) = self.relations.intern(relation) else {
            return Err(full("relations", u32::MAX / 2));
        };
        if r as usize == self.per_relation.len() {
            self.per_relation.push(0);
        }
        self.per_relation[r as usize] += 1;
        self.loops += u64::from(h == t);
        let row = self.triples.total;
        self.places.push("triples", row, &self.source, line)?;
        self.triples.push([h, r, t])
    }

    fn close(self) -> OpResult<Vocabulary> {
        let rejected = self.rejects.total();
        if self.triples.total == 0 {
            return Err(self.no_triple());
        }
        if rejected > 0 {
            self.ctx.warn(format!(
                "{rejected} of {} lines rejected: see `gfm-pipe show {}`",
                self.lines,
                self.ctx.typed("rejects")
            ));
        }
        self.rejects.finish()?;
        self.places.finish()?;
        let triples = self.triples.total;
        let duplicates = self.triples.finish()?;
        let counts = [
            ("lines", self.lines),
            ("triples", triples),
            ("blank_lines", self.blank),
            ("rejected", rejected),
            ("duplicates", duplicates),
            ("self_loops", self.loops),
            ("entities", u64::from(self.entities.len())),
            ("relations", u64::from(self.relations.len())),
        ];
        Ok(Vocabulary {
            entities: self.entities,
            relations: self.relations,
            per_relation: self.per_relation,
            counts: counts.map(|(n, v)| (n.to_owned(), v)).into(),
        })
    }

    fn no_triple(&self) -> OpError {
        let error = OpError::data(format!("no triple in {} lines", self.lines)).file(self.shown);
        match &self.first_reject {
            Some((line, reason)) => error.line(*line).hint(format!(
                "line {line}: {reason}; a line is `head,relation,tail`"
            )),
            None => error.hint("the file is empty; a line is `head,relation,tail`"),
        }
    }
}

impl Vocabulary {
    fn write(&self, ctx: &Context) -> OpResult<()> {
        let mut table = Table::create(ctx, "entities", &kinds::ENTITIES, "entities")?;
        write_names(&mut table, self.entities.iter(), |_| Vec::new())?;
        table.finish()?;

        write_relations(ctx, &self.relations, &self.per_relation)?;
        write_counts(ctx, &self.counts)
    }
}
