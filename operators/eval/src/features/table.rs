//! Features of questions as an artifact.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, UInt32Array, UInt64Array};
use gfm_pipe_api::artifact::texts_digest;
use gfm_pipe_api::{Artifact, Context, OpError, OpResult, columns, kinds};

use super::of_question::QuestionFeatures;
use super::{COUNT, FEATURES};

/// Number of questions whose rows are written at once.
const AT_ONCE: usize = 64;

/// Writes the features of questions.
///
/// # Errors
/// When a table cannot be written.
pub fn write(
    ctx: &Context,
    port: &str,
    texts: &[String],
    documents: usize,
    features: &[QuestionFeatures],
) -> OpResult<()> {
    let [rows, others, names, info] = [0, 1, 2, 3].map(|t| &kinds::FEATURES.tables[t]);
    let mut sink = ctx
        .outputs
        .create(port, rows.name, Arc::new(rows.schema(COUNT)))?;
    let mut first = 0;
    for some in features.chunks(AT_ONCE) {
        let (mut questions, mut of, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (question, features) in (first..).zip(some) {
            questions.extend(std::iter::repeat_n(question, features.documents.len()));
            of.extend_from_slice(&features.documents);
            values.extend_from_slice(&features.values);
        }
        first += some.len() as u32;
        let made: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from(questions)),
            Arc::new(UInt32Array::from(of)),
            columns::build_vectors(COUNT, values)?,
        ];
        sink.write(&columns::batch(rows, made)?)?;
    }
    sink.finish()?;
    let means = features.iter().flat_map(|f| f.others).collect();
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
        count(features.len()),
        count(documents),
        Arc::new(StringArray::from(vec![texts_digest(texts)])) as ArrayRef,
    ];
    ctx.write(port, info.name, &columns::batch(info, made)?)
}

/// Reads the features of every question, in the order of the questions, and the number of
/// documents. `of` names the questions, for messages.
///
/// # Errors
/// When they were made for other questions or by another version of the program.
pub fn read(
    artifact: &Artifact,
    texts: &[String],
    of: &str,
) -> OpResult<(Vec<QuestionFeatures>, usize)> {
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
    let documents = columns::u64s(&info, "documents")?.value(0) as usize;
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
    Ok((out, documents))
}
