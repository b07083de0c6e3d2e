//! Features of questions as an artifact.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, UInt32Array, UInt64Array};
use gfm_pipe_api::artifact::texts_digest;
use gfm_pipe_api::context::TableSink;
use gfm_pipe_api::memory::Demand;
use gfm_pipe_api::{Artifact, Context, OpError, OpResult, columns, kinds};

use super::of_question::QuestionFeatures;
use super::{COUNT, FEATURES};

/// Writes the features of questions, some at a time.
pub struct Writer<'c> {
    ctx: &'c Context,
    port: &'c str,
    rows: Box<dyn TableSink>,
    /// Means of the questions that were written.
    others: Vec<f32>,
}

/// What features belong to.
pub struct About<'a> {
    /// The texts of the questions.
    pub texts: &'a [String],
    /// Number of documents, later pieces included.
    pub documents: usize,
    /// Number of documents without later pieces.
    pub whole: usize,
    /// Digest of the texts of the documents.
    pub corpus: &'a str,
}

impl<'c> Writer<'c> {
    /// A writer to a port.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub fn new(ctx: &'c Context, port: &'c str) -> OpResult<Self> {
        let rows = &kinds::FEATURES.tables[0];
        let schema = Arc::new(rows.schema(COUNT));
        Ok(Writer {
            ctx,
            port,
            rows: ctx.outputs.create(port, rows.name, schema)?,
            others: Vec::new(),
        })
    }

    /// Writes the features of the next questions.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub fn write(&mut self, some: &[QuestionFeatures]) -> OpResult<()> {
        let first = (self.others.len() / COUNT) as u32;
        let (mut questions, mut of, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (question, features) in (first..).zip(some) {
            questions.extend(std::iter::repeat_n(question, features.documents.len()));
            of.extend_from_slice(&features.documents);
            values.extend_from_slice(&features.values);
            self.others.extend(features.others);
        }
        let made: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from(questions)),
            Arc::new(UInt32Array::from(of)),
            columns::build_vectors(COUNT, values)?,
        ];
        self.rows
            .write(&columns::batch(&kinds::FEATURES.tables[0], made)?)
    }

    /// Writes what belongs to all questions.
    ///
    /// # Errors
    /// When a table cannot be written.
    pub fn finish(self, about: &About<'_>) -> OpResult<()> {
        let Writer {
            ctx,
            port,
            rows,
            others: means,
        } = self;
        rows.finish()?;
        let [others, names, info] = [1, 2, 3].map(|t| &kinds::FEATURES.tables[t]);
        let made = vec![columns::build_vectors(COUNT, means)?];
        ctx.write(port, others.name, &columns::batch(others, made)?)?;
        let names_of = |text: fn(&super::FeatureKind) -> &'static str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(
                FEATURES.iter().map(|f| text(f)),
            ))
        };
        let made = vec![names_of(|f| f.name), names_of(|f| f.meaning)];
        ctx.write(port, names.name, &columns::batch(names, made)?)?;
        let count = |n: usize| -> ArrayRef { Arc::new(UInt64Array::from(vec![n as u64])) };
        let made = vec![
            count(about.texts.len()),
            count(about.documents),
            count(about.whole),
            Arc::new(StringArray::from(vec![texts_digest(about.texts)])),
            Arc::new(StringArray::from(vec![about.corpus])) as ArrayRef,
        ];
        ctx.write(port, info.name, &columns::batch(info, made)?)
    }
}

/// The features of some questions.
pub struct Features {
    /// By question.
    pub questions: Vec<QuestionFeatures>,
    /// Number of documents, later pieces included.
    pub documents: usize,
    /// Number of documents without later pieces.
    pub whole: usize,
    /// Digest of the texts of the documents.
    pub corpus: String,
}

/// Reads the features of every question, in the order of the questions, whose name `of` is for
/// messages.
///
/// # Errors
/// When they were made for other questions or by another version of the program.
pub fn read(artifact: &Artifact, texts: &[String], of: &str) -> OpResult<Features> {
    let info = artifact.read("info")?;
    if columns::text(&info, "texts_digest")?.value(0) != texts_digest(texts) {
        return Err(OpError::new(format!("these features were not made for `{of}`"))
            .artifact(&artifact.name)
            .hint("connect the questions of the `link-questions` stage that the features were made from"));
    }
    let names = artifact.read("names")?;
    let names = columns::text(&names, "feature")?;
    if !names.iter().eq(FEATURES.iter().map(|f| Some(f.name))) {
        return Err(
            OpError::new("these are other features than this version of the program has")
                .artifact(&artifact.name)
                .hint("run the stage that made them again with `--force`"),
        );
    }
    let count = |name| -> OpResult<usize> { Ok(columns::u64s(&info, name)?.value(0) as usize) };
    let (documents, whole) = (count("documents")?, count("whole")?);
    Demand::new()
        .and(
            "ranking features",
            &[artifact.rows("features")?, COUNT, size_of::<f32>()],
        )
        .check("`documents` of the `rank-features` stage")?;
    let mut out = vec![QuestionFeatures::none(); texts.len()];
    let (_, means) = columns::vectors(&artifact.read("others")?, "features")?;
    for (out, means) in out.iter_mut().zip(means.chunks_exact(COUNT)) {
        out.others.copy_from_slice(means);
    }
    let mut row = 0;
    for batch in artifact.batches("features")? {
        let batch = batch?;
        let (questions, of) = (
            columns::u32s(&batch, "question")?,
            columns::u32s(&batch, "document")?,
        );
        let (width, values) = columns::vectors(&batch, "features")?;
        for (i, values) in values.chunks_exact(width.max(1)).enumerate() {
            let document = of.value(i);
            match out.get_mut(questions.value(i) as usize) {
                Some(out) if (document as usize) < documents && width == COUNT => {
                    out.documents.push(document);
                    out.values.extend_from_slice(values);
                }
                _ => {
                    return Err(OpError::data("a row has an unknown question or document")
                        .artifact(format!("{}.features", artifact.name))
                        .row(row));
                }
            }
            row += 1;
        }
    }
    Ok(Features {
        questions: out,
        documents,
        whole,
        corpus: columns::text(&info, "corpus_digest")?.value(0).to_owned(),
    })
}
