//! Systems that rank documents without a model. BM25 is [`gfm_pipe_api::bm25`].

pub mod asked;
pub mod dense;
pub mod ppr;
pub mod rrf;
pub mod walks;
pub mod walks_at_once;
mod walks_nearby;
