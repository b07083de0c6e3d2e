//! Reads `english.json`: everything that the pipeline needs besides weights. Each part checks the
//! values it uses.

use std::sync::Arc;

use serde::Deserialize;

use crate::Map;
use crate::characters::CharSet;
use crate::error::EnglishError;

/// The layout of `english.json` that this build reads.
const FORMAT: u32 = 1;

/// The content of `english.json`.
#[derive(Debug, Deserialize)]
pub(crate) struct Tables {
    /// Embedding tables of the network that tagger and parser share.
    pub(crate) shared: Vec<Embedding>,
    /// Embedding tables of the entity recogniser's own network.
    pub(crate) own: Vec<Embedding>,
    pub(crate) tags: Vec<String>,
    /// Letter and label of each class.
    pub(crate) parser_moves: Vec<(char, String)>,
    pub(crate) entity_moves: Vec<(char, String)>,
    /// Strings whose id is a small number instead of a hash.
    pub(crate) symbols: Map<String, u64>,
    /// Norms by the id of the word.
    pub(crate) norms: Map<u64, String>,
    /// Norms by word, for words without a norm by id.
    pub(crate) base_norms: Map<String, String>,
    pub(crate) prefixes: Vec<Rule>,
    pub(crate) suffixes: Vec<Rule>,
    pub(crate) infixes: Vec<Rule>,
    /// Texts with fixed tokens, each with a norm if it has one of its own.
    pub(crate) specials: Map<String, Vec<(String, Option<String>)>>,
    classes: Map<String, Vec<(u32, u32)>>,
}

/// The size and seed of an embedding table.
#[derive(Debug, Deserialize)]
pub(crate) struct Embedding {
    pub(crate) attr: String,
    pub(crate) rows: usize,
    pub(crate) seed: u64,
}

/// A rule that finds a prefix, suffix or infix; exactly one of `text`, `dots` and `class` is set.
#[derive(Debug, Deserialize)]
pub(crate) struct Rule {
    pub(crate) text: Option<String>,
    /// Two dots or more.
    #[serde(default)]
    pub(crate) dots: bool,
    pub(crate) class: Option<String>,
    /// Classes of the characters that must come before.
    #[serde(default)]
    pub(crate) behind: Vec<String>,
    pub(crate) ahead: Option<String>,
    pub(crate) ahead_not: Option<String>,
}

impl Tables {
    pub(crate) fn read(json: &[u8]) -> Result<Self, EnglishError> {
        /// Read before the rest, because a later format may have other fields.
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let bad = |error: serde_json::Error| EnglishError::Tables(error.to_string());
        let Version { format } = serde_json::from_slice(json).map_err(bad)?;
        if format != FORMAT {
            return Err(EnglishError::Tables(format!(
                "format {format} is not known, this build reads {FORMAT}"
            )));
        }
        serde_json::from_slice(json).map_err(bad)
    }

    /// The class of characters with this name.
    pub(crate) fn class(&self, name: &str) -> Result<Arc<CharSet>, EnglishError> {
        let ranges = self
            .classes
            .get(name)
            .ok_or_else(|| EnglishError::Tables(format!("the class {name} is missing")))?;
        let set = CharSet::new(ranges)
            .map_err(|problem| EnglishError::Tables(format!("class {name}: {problem}")))?;
        Ok(Arc::new(set))
    }
}
