//! The tables `responses` and `rejects` of what a language model answered.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use gfm_pipe_api::{Artifact, Context, OpResult, OutPort, columns, kinds};
use gfm_pipe_kg::tables::{Reject, Rejects};
use gfm_pipe_llm::{NoAnswer, Parsed};

use crate::generate::Response;

/// Why a question has no answer that was not asked.
const NOTHING: &str = "nothing was retrieved";

/// The questions of a table.
pub struct Asked {
    /// Their ids.
    pub ids: Vec<String>,
    /// What they ask.
    pub texts: Vec<String>,
}

impl Asked {
    /// Reads them.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn read(questions: &Artifact) -> OpResult<Self> {
        let table = questions.read("questions")?;
        let texts = |name| -> OpResult<Vec<String>> {
            let column = columns::text(&table, name)?.iter();
            Ok(column.map(|t| t.unwrap_or_default().to_owned()).collect())
        };
        Ok(Asked {
            ids: texts("id")?,
            texts: texts("question")?,
        })
    }
}

/// What became of a question.
#[derive(Debug, Default)]
pub struct Told {
    /// Titles of the documents that the model was shown.
    pub documents: Vec<String>,
    /// Its thoughts between retrievals.
    pub thoughts: Vec<String>,
    /// What it answered; `None` where there was nothing to show it.
    pub response: Option<Parsed<Response>>,
    /// What it wrote on the way that could not be used.
    pub unusable: Vec<NoAnswer>,
}

impl Told {
    fn response(&self) -> Option<&Response> {
        self.response.as_ref()?.as_ref().ok()
    }

    fn trouble(&self) -> Option<&str> {
        match &self.response {
            Some(Ok(_)) => None,
            Some(Err(none)) => Some(&none.reason),
            None => Some(NOTHING),
        }
    }

    /// What could not be used, with the reason.
    fn rejected(&self) -> Vec<(String, String)> {
        let none = self.response.as_ref().and_then(|r| r.as_ref().err());
        let unusable = self.unusable.iter().chain(none);
        let mut out: Vec<(String, String)> = unusable
            .map(|none| (none.reason.clone(), none.content.clone()))
            .collect();
        let Some(response) = self.response() else {
            return out;
        };
        if !response.dropped.is_empty() {
            let reason = "it cites documents that it was not shown";
            out.push((reason.to_owned(), response.dropped.join(", ")));
        }
        if response.cut {
            let reason = "the answer was cut: what was complete is kept";
            out.push((reason.to_owned(), response.answer.clone()));
        }
        out
    }
}

/// The output ports.
pub fn ports() -> Vec<OutPort> {
    vec![
        OutPort {
            name: "responses",
            kind: &kinds::RESPONSES,
            about: "the answers, with the documents that they cite",
        },
        OutPort {
            name: "rejects",
            kind: &kinds::REJECTS,
            about: "what the language model wrote that could not be used",
        },
    ]
}

/// Writes the ports, and tells the user what is missing.
///
/// # Errors
/// When the disk refuses.
pub fn write(ctx: &Context, asked: &Asked, told: &[Told]) -> OpResult<()> {
    let text = |of: &dyn Fn(&Told) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(told.iter().map(of)))
    };
    let of_response =
        |of: fn(&Response) -> &String| text(&|t| t.response().map(of).cloned().unwrap_or_default());
    let lists = |of: &dyn Fn(&Told) -> Vec<String>| -> ArrayRef {
        columns::build_list_text(&told.iter().map(of).collect::<Vec<_>>())
    };
    let cited = |t: &Told| -> Vec<String> {
        let places = t.response().map_or(&[][..], |r| &r.cited).iter();
        places
            .filter_map(|at| t.documents.get(*at).cloned())
            .collect()
    };
    let troubles = told.iter().map(Told::trouble);
    let spec = &kinds::RESPONSES.tables[0];
    let table = columns::batch(
        spec,
        vec![
            Arc::new(StringArray::from_iter_values(&asked.ids)),
            of_response(|r| &r.answer),
            of_response(|r| &r.reasoning),
            lists(&cited),
            lists(&|t| t.documents.clone()),
            lists(&|t| t.thoughts.clone()),
            Arc::new(troubles.collect::<StringArray>()),
        ],
    )?;
    ctx.write("responses", spec.name, &table)?;
    let mut rejects = Rejects::create(ctx)?;
    for ((row, id), told) in (1..).zip(&asked.ids).zip(told) {
        for (reason, text) in told.rejected() {
            rejects.push(&Reject {
                source: "questions",
                line: Some(row),
                item: Some(id),
                reason: &reason,
                text: &text,
            })?;
        }
    }
    rejects.finish()?;
    tell(ctx, told);
    Ok(())
}

fn tell(ctx: &Context, told: &[Told]) {
    let count = |is: &dyn Fn(&Told) -> bool| told.iter().filter(|t| is(t)).count();
    let none = count(&|t| matches!(t.response, Some(Err(_))));
    if none > 0 {
        ctx.warn(format!(
            "{none} of {} questions have no usable answer: `{}` says why",
            told.len(),
            ctx.typed("rejects")
        ));
    }
    let nothing = count(&|t| t.response.is_none());
    if nothing > 0 {
        ctx.warn(format!(
            "{nothing} questions were not asked: {NOTHING} for them"
        ));
    }
    let dropped = told.iter().filter_map(Told::response);
    let dropped: usize = dropped.map(|r| r.dropped.len()).sum();
    if dropped > 0 {
        ctx.warn(format!(
            "{dropped} citations are of documents that were not shown: they are left out"
        ));
    }
}
