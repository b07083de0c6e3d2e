//! Questions.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use gfm_pipe_api::answer::Answer;
use serde::Serialize;
use serde_json::Value;

use crate::body;
use crate::error::ApiError;
use crate::question::{Several, Wanted};
use crate::queue::stopping;
use crate::shared::Shared;

/// `POST /ask`.
pub(crate) async fn ask(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, ApiError> {
    let limits = &shared.config.limits;
    let ask = body::json::<Wanted>(limits, request).await?.check(limits)?;
    body::response(&shared.answer(ask).await?)
}

/// `POST /ask/batch`. A question that has no answer gets its error in the answer's place.
pub(crate) async fn batch(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum One {
        Answer(Box<Answer>),
        Error(Value),
    }
    #[derive(Serialize)]
    struct All {
        answers: Vec<One>,
    }

    let limits = &shared.config.limits;
    let Several { questions } = body::json(limits, request).await?;
    // More than may wait would never get in.
    let most = limits.batch.min(limits.waiting);
    if questions.len() > most {
        let hint = format!("ask at most {most} at a time");
        return Err(ApiError::bad(format!("{} questions", questions.len())).hint(hint));
    }
    let checked: Vec<_> = questions
        .into_iter()
        .map(|item| item.0.check(limits))
        .collect();
    let good = checked.iter().flatten().cloned().collect();
    let mut waiting = shared.queue.push(good)?.into_iter();
    let mut answers = Vec::with_capacity(checked.len());
    for one in checked {
        let scored = match one {
            Err(e) => Err(e),
            Ok(_) => match waiting.next() {
                Some(answer) => answer.await.unwrap_or_else(|_| Err(stopping())),
                None => Err(stopping()),
            },
        };
        answers.push(match scored {
            Ok(answer) => One::Answer(Box::new(answer)),
            Err(e) => One::Error(e.body()),
        });
    }
    body::response(&All { answers })
}
