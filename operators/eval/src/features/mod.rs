//! Ranking features: what can be said about a document and a question without training.
//!
//! Each feature is a number for every document: similarities of texts, words in common, and the
//! masses of walks that begin at different starts or use different edges. A fusion ([`fit`]) is a
//! weight for each of them. A model adds the same sum to its own scores.
//!
//! Values are standardised over the documents of a question (mean 0, variance 1), so that weights
//! mean the same for all questions. A feature whose inputs are not connected is 0 everywhere.
//!
//! To add a feature, add a [`FeatureKind`] in this file and list it in [`FEATURES`].

pub mod fit;
mod fuse;
pub mod fusion;
pub mod measure;
mod near_texts;
pub mod of_question;
mod operator;
pub mod read;
pub mod table;
pub mod texts;

use std::sync::LazyLock;

use gfm_pipe_api::Type;
use gfm_pipe_api::named::Named;

use self::fit::Weights;

pub use fuse::Fuse;
pub use operator::{KEPT, RankFeatures};

/// Probability of returning for a walk that reaches farther than that of `ppr`.
pub const FAR_RESTART: f64 = 0.15;

/// The most similar text of a document.
pub static DENSE: FeatureKind = FeatureKind {
    name: "dense",
    meaning: "cosine of the embeddings of question and document",
    from: Measure::Dense,
};

/// The most similar sentence.
pub static SENTENCE: FeatureKind = FeatureKind {
    name: "sentence",
    meaning: "cosine of the document's most similar sentence",
    from: Measure::Sentence,
};

/// The most similar fact.
pub static FACT: FeatureKind = FeatureKind {
    name: "fact",
    meaning: "cosine of the document's most similar fact",
    from: Measure::Fact,
};

/// Words in common.
pub static BM25: FeatureKind = FeatureKind {
    name: "bm25",
    meaning: "BM25 of the words that question and document have in common",
    from: Measure::Words,
};

/// What the question starts from.
pub static START: FeatureKind = FeatureKind {
    name: "start",
    meaning: "square root of the start weight of the document's node, or of its entities together",
    from: Measure::Start,
};

/// Personalised PageRank.
pub static PPR: FeatureKind = FeatureKind {
    name: "ppr",
    meaning: "logarithm of the mass of personalised PageRank from all starts",
    from: Measure::Walk(Edges::All, Sources::All, None),
};

/// Personalised PageRank that seldom returns.
pub static PPR_FAR: FeatureKind = FeatureKind {
    name: "ppr_far",
    meaning: "the same for a walk that returns with a probability of 0.15",
    from: Measure::Walk(Edges::All, Sources::All, Some(FAR_RESTART)),
};

macro_rules! from_source {
    ($id:ident, $name:literal, $source:literal) => {
        #[doc = concat!("Personalised PageRank from the starts of the source `", $source, "`.")]
        pub static $id: FeatureKind = FeatureKind {
            name: $name,
            meaning: concat!(
                "the same as ppr from the starts of the source `",
                $source,
                "`"
            ),
            from: Measure::Walk(Edges::All, Sources::One($source), None),
        };
    };
}
from_source!(PPR_TITLE, "ppr_title", "title");
from_source!(PPR_FACT, "ppr_fact", "fact");
from_source!(PPR_SENTENCE, "ppr_sentence", "sentence");
from_source!(PPR_DOCUMENT, "ppr_document", "document");
from_source!(PPR_WORD, "ppr_word", "word");

/// Personalised PageRank from entities that the question names.
pub static PPR_ENTITY: FeatureKind = FeatureKind {
    name: "ppr_entity",
    meaning: "the same as ppr from the entities that the question names (all other sources)",
    from: Measure::Walk(Edges::All, Sources::Others, None),
};

/// Personalised PageRank over edges between documents.
pub static PPR_TITLES: FeatureKind = FeatureKind {
    name: "ppr_titles",
    meaning: "the same as ppr over the edges between titles and the documents that they name",
    from: Measure::Walk(Edges::Titles, Sources::All, None),
};

/// Personalised PageRank over mentions.
pub static PPR_MENTIONS: FeatureKind = FeatureKind {
    name: "ppr_mentions",
    meaning: "the same as ppr over the edges between documents and the entities that they mention",
    from: Measure::Walk(Edges::Mentions, Sources::All, None),
};

/// Personalised PageRank over facts and mentions.
pub static PPR_FACTS: FeatureKind = FeatureKind {
    name: "ppr_facts",
    meaning: "the same as ppr without the edges between documents",
    from: Measure::Walk(Edges::Facts, Sources::All, None),
};

/// Every feature, in the order of tables and weights.
pub static FEATURES: [&FeatureKind; 16] = [
    &DENSE,
    &SENTENCE,
    &FACT,
    &BM25,
    &START,
    &PPR,
    &PPR_FAR,
    &PPR_TITLE,
    &PPR_ENTITY,
    &PPR_FACT,
    &PPR_SENTENCE,
    &PPR_DOCUMENT,
    &PPR_WORD,
    &PPR_TITLES,
    &PPR_MENTIONS,
    &PPR_FACTS,
];

/// Number of features.
pub const COUNT: usize = FEATURES.len();

/// A ranking feature.
pub struct FeatureKind {
    /// Name in pipelines and tables.
    pub name: &'static str,
    /// What it is, for docs/metrics.md.
    pub meaning: &'static str,
    /// How it is measured.
    from: Measure,
}

/// How a feature is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Measure {
    Dense,
    Sentence,
    Fact,
    Words,
    Start,
    /// The edges that the walk uses, the starts that it begins at, and its probability of returning
    /// if that is not the one of `ppr`.
    Walk(Edges, Sources, Option<f64>),
}

/// The edges that a walk may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edges {
    All,
    Titles,
    Mentions,
    Facts,
}

/// The starts that a walk begins at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sources {
    All,
    One(&'static str),
    /// Those that no [`Sources::One`] names.
    Others,
}

impl Named for FeatureKind {
    const WHAT: &'static str = "feature";

    fn all() -> &'static [&'static Self] {
        &FEATURES
    }

    fn name(&self) -> &'static str {
        self.name
    }
}

impl Sources {
    /// Whether a walk begins at the starts of this source.
    fn has(self, source: &str) -> bool {
        match self {
            Sources::All => true,
            Sources::One(name) => name == source,
            Sources::Others => FEATURES.iter().all(|feature| match feature.from {
                Measure::Walk(_, Sources::One(name), _) => name != source,
                _ => true,
            }),
        }
    }
}

/// The type of a parameter that names a feature.
pub fn feature_type() -> Type {
    static NAMES: LazyLock<Vec<&str>> = LazyLock::new(FeatureKind::names);
    Type::one_of(&NAMES)
}

/// Whether a feature needs a question that starts in a graph.
fn needs_start(feature: &FeatureKind) -> bool {
    matches!(feature.from, Measure::Start | Measure::Walk(..))
}

/// Whether a ranking by these weights needs questions that start in a graph.
pub fn rely_on_walks(weights: &Weights) -> bool {
    let mut all = FEATURES.iter().zip(weights);
    all.any(|(feature, weight)| *weight != 0.0 && needs_start(feature))
}

/// Where a feature stands in [`FEATURES`].
///
/// # Panics
/// When it is not listed there, which a test rules out.
pub fn place(feature: &FeatureKind) -> usize {
    let found = FEATURES.iter().position(|f| f.name == feature.name);
    found.unwrap_or_else(|| unreachable!("`{}` is not listed", feature.name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_feature_has_its_own_name() {
        for (i, feature) in FEATURES.iter().enumerate() {
            assert_eq!(place(feature), i, "{}", feature.name);
            assert!(std::ptr::eq(
                FeatureKind::named(feature.name).unwrap(),
                *feature
            ));
        }
    }

    #[test]
    fn every_source_has_one_feature() {
        for source in [
            "title", "entity", "partial", "fact", "sentence", "document", "word", "given",
        ] {
            let with = FEATURES.iter().filter(|feature| match feature.from {
                Measure::Walk(_, sources, _) => sources != Sources::All && sources.has(source),
                _ => false,
            });
            assert_eq!(with.count(), 1, "{source}");
        }
    }
}
