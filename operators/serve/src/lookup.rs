//! Looking up documents and nodes: it may take milliseconds, so it happens on threads of its own.

use std::sync::Arc;

use gfm_pipe_api::answer::Answers;
use tokio::task::spawn_blocking;

use crate::error::ApiError;
use crate::queue::stopping;
use crate::shared::Shared;

/// Calls a function with the retriever of this moment.
pub(crate) async fn look<T: Send + 'static>(
    shared: &Arc<Shared>,
    find: impl FnOnce(&dyn Answers) -> T + Send + 'static,
) -> Result<T, ApiError> {
    let room = shared
        .lookups
        .clone()
        .acquire_owned()
        .await
        .map_err(|_| stopping())?;
    let answers = shared.config.current.get();
    let found = spawn_blocking(move || {
        // Until the thread is done, also where the client does not wait for it.
        let _room = room;
        find(&*answers)
    })
    .await;
    found.map_err(|_| ApiError::internal("the retriever failed to look it up"))
}
