//! `link-questions`: finds where the search for a question starts: weighted nodes of a graph, from
//! seven sources.
//!
//! The sources are documents whose titles the question names and entities that it names (`named`),
//! entities that it names in part (`partial`), documents that share its rare words (`words`), and
//! entities of the most similar facts and sentences, and documents with similar texts (`similar`).
//! Among the facts a language model may choose (`filter`). A source assigns shares to nodes. The
//! shares are scaled so that their sum is the source's weight, regardless of the other sources.
//!
//! `linking` asks all sources, for the operator and for [`Linker`], which links questions that are
//! asked one after another. `question_set` has the questions of the operator, `graph` the graph as
//! the sources need it, `phrases` finds names in a text, and `nearest` finds the most similar
//! vectors. `streamed` and `loaded` are two ways to rows of tables: from files and in memory, where
//! `sentence_places` and `sentence_texts` have the sentences.

mod check;
mod fact_texts;
mod filter;
mod graph;
mod linker;
mod linking;
mod loaded;
mod named;
mod nearest;
pub mod operator;
mod params;
mod partial;
mod phrases;
mod question_set;
mod sentence_places;
mod sentence_texts;
mod similar;
mod streamed;
mod words;
mod write;

pub use check::{Check, checks};
pub use graph::{Shared, read_links};
pub use linker::{Encoder, LinkedStart, Linker, sentences_of};
pub use operator::LinkQuestions;
pub use params::{Filter, FilterPrompts, LinkParams, LinkQuestionsParams};
pub use sentence_places::SentencePlaces;
pub use similar::Texts;

/// A node that a source finds for a question.
#[derive(Debug, Clone, PartialEq)]
struct Start {
    node: u32,
    /// Share among the starts of one source and question, above 0.
    weight: f64,
    /// The reason: words of the question, a fact, a sentence or a title.
    text: String,
}

/// The starts that one source finds, by question.
type Found = Vec<Vec<Start>>;

/// The starts of each source, by name.
type Sources = Vec<(&'static str, Found)>;

/// Scales the starts of one source and question to this sum, the heaviest first. Shares of the same
/// node are added, and the text is that of the node's largest share.
fn scaled(mut starts: Vec<Start>, sum: f64) -> Vec<Start> {
    starts.retain(|s| s.weight > 0.0);
    // A stable sort: the first wins a tie, and sums have a fixed order.
    starts.sort_by(|a, b| a.node.cmp(&b.node).then(b.weight.total_cmp(&a.weight)));
    starts.dedup_by(|next, kept| {
        let same = next.node == kept.node;
        if same {
            kept.weight += next.weight;
        }
        same
    });
    let total: f64 = starts.iter().map(|s| s.weight).sum();
    for start in &mut starts {
        start.weight *= sum / total;
    }
    starts.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(a.node.cmp(&b.node)));
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_a_node_are_added_and_scaled() {
        let start = |node, weight, text: &str| Start {
            node,
            weight,
            text: text.to_owned(),
        };
        let starts = vec![
            start(7, 0.25, "a"),
            start(2, 1.0, "b"),
            start(7, 0.5, "c"),
            start(9, 0.0, "d"),
            start(7, 0.25, "e"),
        ];
        let got = scaled(starts, 0.5);
        assert_eq!(got, [start(2, 0.25, "b"), start(7, 0.25, "c")]);
        assert!(scaled(vec![start(1, 0.0, "x")], 1.0).is_empty());
    }
}
