//! Names of entities, interned.

use gfm_pipe_api::{Artifact, OpError, OpResult, columns};

pub use gfm_pipe_api::names::Names;

/// The names of an `entities` artifact; ids are its rows.
///
/// # Errors
/// When a row is not its id, or a name occurs twice.
pub fn entity_names(artifact: &Artifact) -> OpResult<Names> {
    let mut names = Names::new(u32::MAX);
    for batch in artifact.batches("entities")? {
        let batch = batch?;
        let ids = columns::u32s(&batch, "id")?;
        for (id, name) in ids.values().iter().zip(columns::text(&batch, "name")?) {
            if names.intern(name.unwrap_or_default()) != Some(*id) {
                return Err(OpError::data(
                    "an entity's row is not its id, or its name comes twice",
                )
                .artifact(&artifact.name)
                .row(u64::from(*id)));
            }
        }
    }
    Ok(names)
}
