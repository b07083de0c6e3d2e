//! The model: its configuration, its parameters, its network, and the two tasks that it is trained
//! for.

mod background;
mod backward;
mod config;
mod explain;
mod feature_head;
pub mod files;
mod forward;
mod head;
mod layer;
mod network;
mod node_states;
mod params;
pub mod partition;
mod passes;
mod query_gnn;
mod reach;
mod retriever;
mod start;
mod store;
mod texts;

pub use background::Background;
pub use config::{Fusion, ModelConfig};
pub use explain::Explained;
pub(crate) use feature_head::FeatureSums;
pub use feature_head::{FeatureWeights, all_features, missing as missing_features};
pub use network::Network;
pub use params::TakeOverReport;
pub(crate) use params::shapes;
pub use params::{Class, FeatureHead, Grads, LayerParams, ModelTensors, NodeMaps, Norm, Params};
pub(crate) use params::{EARLY, FEATURE_GATE, FEATURE_WEIGHT, NODES, head_name};
pub use params::{rng, size, uniform};
pub use passes::Tape;
pub use query_gnn::QueryGnn;
pub use reach::{Compute, QueryNodes, Reach};
pub use retriever::{Prepared, Question, Retriever};
pub use store::{Origin, StoredConfig, StoredModel, read_config, read_model, write_model};
pub use texts::Texts;

pub use crate::graph::TailQuery;

#[cfg(test)]
pub(crate) fn test_rng(seed: u64) -> rand_chacha::ChaCha8Rng {
    rng(seed, "test")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
pub(crate) mod autograd;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod parity;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
pub(crate) mod parity2;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
pub(crate) mod parity2_v1;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod parity_variants;
