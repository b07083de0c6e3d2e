//! What questions ask for among the nodes of a graph: entities, and nodes of other types.

use gfm_pipe_api::OpResult;
use gfm_pipe_api::node_types::DOCUMENT;
use gfm_pipe_eval::metrics::{Answer, Gold};
use gfm_pipe_eval::tables::Target;
use gfm_pipe_model::questions::Questions;

use crate::types::{OfType, Types};

/// A kind of nodes that questions ask for.
pub(crate) struct NodeTarget {
    /// Its name in tables.
    pub target: Target,
    /// The nodes that are ranked; `None` for all.
    among: Option<OfType>,
    /// By question, the gold items: columns of `among`, or nodes.
    gold: Vec<Vec<u32>>,
}

impl NodeTarget {
    /// All nodes where types are not known. Otherwise each type, except documents, that some
    /// question asks for.
    ///
    /// # Errors
    /// When types and graph do not belong together.
    pub fn all(types: Option<&Types>, nodes: usize, questions: &Questions) -> OpResult<Vec<Self>> {
        let gold = &questions.supporting_entities;
        let Some(types) = types else {
            return Ok(vec![NodeTarget {
                target: Target::entities(),
                among: None,
                gold: gold.clone(),
            }]);
        };
        let mut out = Vec::new();
        for kind in types.names().filter(|kind| *kind != DOCUMENT) {
            let among = OfType::new(types.nodes(kind).unwrap_or_default(), nodes)?;
            let gold: Vec<Vec<u32>> = gold.iter().map(|gold| among.columns_of(gold)).collect();
            if gold.iter().any(|gold| !gold.is_empty()) {
                out.push(NodeTarget {
                    target: Target::called(kind),
                    among: Some(among),
                    gold,
                });
            }
        }
        Ok(out)
    }

    /// Whether question `i` asks for such nodes. Where types are not known, every question does.
    fn asks(&self, i: usize) -> bool {
        self.among.is_none() || !self.gold[i].is_empty()
    }

    fn gold(&self, i: usize) -> Gold<'_> {
        let items = &self.gold[i];
        Gold {
            items,
            total: items.len() as u32,
        }
    }

    /// The answer to question `i`, from the scores of all nodes or without any; `None` where it
    /// does not ask for such nodes.
    pub fn answer(&self, i: usize, scores: Option<&[f64]>) -> Option<Answer> {
        self.asks(i).then(|| match (&self.among, scores) {
            (Some(among), Some(scores)) => Answer::of(Some(&among.scores(scores)), self.gold(i)),
            (_, scores) => Answer::of(scores, self.gold(i)),
        })
    }

    /// A perfect answer to question `i`.
    pub fn perfect(&self, i: usize) -> Option<Answer> {
        self.asks(i).then(|| Answer::perfect(self.gold(i)))
    }
}
