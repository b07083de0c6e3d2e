//! The operators this binary has. A crate of operators is one line here.

use gfm_pipe_api::OpEntry;

/// Every built-in operator, in the order `gfm-pipe ops` lists them.
pub fn builtin() -> Vec<OpEntry> {
    let mut all = gfm_pipe_kg::operators();
    all.extend(gfm_pipe_index::operators());
    all.extend(gfm_pipe_text::operators());
    #[cfg(feature = "gfm")]
    all.extend(gfm_pipe_gfm::operators());
    all.extend(gfm_pipe_exec::operators());
    all
}
