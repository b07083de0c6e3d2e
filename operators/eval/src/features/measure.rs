//! Measures the features of a question's documents.

use std::sync::Arc;

use gfm_pipe_api::bm25::Bm25;
use gfm_pipe_api::document_edges::EdgeKind;
use gfm_pipe_api::points::Points;
use gfm_pipe_api::{Cancel, OpResult};
use rayon::prelude::*;

use super::of_question::{QuestionFeatures, log_mass};
use super::texts::Texts;
use super::{COUNT, Edges, FEATURES, Measure};
use crate::baselines::asked::Walk;
use crate::baselines::dense::Dense;
use crate::baselines::ppr::{Ppr, specificity};
use crate::baselines::walks;
use crate::baselines::walks_at_once::WalkFrom;
use crate::passages::Passages;
use crate::pieces::Pieces;
use crate::starts::{SourcedStart, merged};
use crate::{BadShape, EntityDocuments};

/// Everything that features are measured on. What is `None` is not known: its features are 0.
pub struct Measures {
    /// Number of documents.
    pub documents: usize,
    /// Embeddings of documents.
    pub dense: Option<Arc<Dense>>,
    /// Their sentences.
    pub sentences: Option<Texts>,
    /// Their facts.
    pub facts: Option<Texts>,
    /// Their words.
    pub words: Arc<Bm25>,
    /// The graph.
    pub walks: Option<Walks>,
    /// Which documents are pieces of the same document, if any are.
    pub pieces: Option<Arc<Pieces>>,
}

/// A graph for walks over all or some of its edges.
pub struct Walks {
    all: Arc<Ppr>,
    titles: Ppr,
    mentions: Ppr,
    facts: Ppr,
    /// Which documents mention a node.
    matrix: Arc<EntityDocuments>,
    /// The nodes of documents, if documents are nodes.
    passages: Option<Passages>,
}

/// A question with where it starts.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its text.
    pub text: &'a str,
    /// The embedding of its text; empty if texts have none.
    pub embedding: &'a [f32],
    /// Its start nodes with the source of each.
    pub starts: &'a [SourcedStart<&'a str>],
}

impl Walks {
    /// A graph of weighted triples. `kind` tells what a relation stands for; facts have none.
    /// `walk` is the same graph as `ppr` walks on it.
    ///
    /// # Errors
    /// When a weight is negative or not finite.
    pub fn new(
        walk: &Walk,
        triples: &walks::Facts,
        kind: impl Fn(u32) -> Option<EdgeKind> + Sync,
    ) -> Result<Self, BadShape> {
        let only = |uses: fn(Option<EdgeKind>) -> bool| {
            let graph = triples.graph(walk.on.nodes(), |relation| uses(kind(relation)));
            graph.map(|graph| graph.restart(walk.on.returns()))
        };
        use EdgeKind::{MentionedIn, NamesTitle, Next, TitleOf};
        let (facts, (titles, mentions)) = rayon::join(
            || only(|kind| !matches!(kind, Some(NamesTitle | Next))),
            || {
                (
                    only(|kind| matches!(kind, Some(TitleOf | NamesTitle))),
                    only(|kind| matches!(kind, Some(TitleOf | MentionedIn))),
                )
            },
        );
        Ok(Walks {
            all: Arc::clone(&walk.on),
            titles: titles?,
            mentions: mentions?,
            facts: facts?,
            matrix: Arc::clone(&walk.matrix),
            passages: walk.passages.clone(),
        })
    }

    fn on(&self, edges: Edges) -> &Ppr {
        match edges {
            Edges::All => &self.all,
            Edges::Titles => &self.titles,
            Edges::Mentions => &self.mentions,
            Edges::Facts => &self.facts,
        }
    }

    /// What documents have of a value of nodes: that of their own node, or the sum over the
    /// entities that they mention.
    fn documents(&self, nodes: &[f64]) -> Vec<f64> {
        match &self.passages {
            Some(passages) => passages.ranking(nodes),
            None => crate::rankers::SIMPLE
                .whole()
                .documents(nodes, &self.matrix),
        }
    }

    /// The masses of documents for all features that are walks, with the place of each feature.
    fn masses(&self, starts: &[SourcedStart<&str>]) -> Result<Vec<(usize, Vec<f64>)>, BadShape> {
        let all = [Edges::All, Edges::Titles, Edges::Mentions, Edges::Facts];
        let found = all
            .into_par_iter()
            .map(|edges| self.masses_over(edges, starts));
        let found = found.collect::<Result<Vec<_>, BadShape>>()?;
        Ok(found.into_iter().flatten().collect())
    }

    /// [`Walks::masses`] of the features that are walks over these edges.
    fn masses_over(
        &self,
        edges: Edges,
        starts: &[SourcedStart<&str>],
    ) -> Result<Vec<(usize, Vec<f64>)>, BadShape> {
        let (mut places, mut walks) = (Vec::new(), Vec::new());
        for (place, feature) in FEATURES.iter().enumerate() {
            if let Measure::Walk(over, sources, restart) = feature.from
                && over == edges
            {
                let starts = starts.iter().filter(|start| sources.has(start.source));
                walks.push(WalkFrom {
                    starts: merged(starts.map(|s| (s.node, s.weight)).collect()),
                    restart: restart.unwrap_or_else(|| self.all.returns()),
                });
                places.push(place);
            }
        }
        let masses = self.on(edges).masses_of_each(&walks)?;
        let found = places.into_iter().zip(masses);
        let found = found.filter_map(|(place, masses)| {
            let masses: Vec<f64> = masses?.into_iter().map(f64::from).collect();
            let mut masses = self.documents(&masses);
            masses.iter_mut().for_each(|mass| *mass = log_mass(*mass));
            Some((place, masses))
        });
        Ok(found.collect())
    }

    /// The square roots of the start weights of documents.
    fn starts(&self, starts: &[SourcedStart<&str>]) -> Vec<f64> {
        let mut nodes = vec![0.0; self.all.nodes()];
        for start in starts {
            nodes[start.node as usize] += start.weight;
        }
        let documents = self.documents(&nodes).into_iter();
        documents.map(|weight| weight.max(0.0).sqrt()).collect()
    }
}

/// The best cosines of documents with several questions.
#[derive(Debug, Default)]
pub struct Similar {
    sentences: Option<Vec<Vec<f32>>>,
    facts: Option<Vec<Vec<f32>>>,
}

impl Measures {
    /// The same with all vectors in memory, for questions that come one by one.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn loaded(mut self) -> OpResult<Self> {
        for texts in [&mut self.sentences, &mut self.facts].into_iter().flatten() {
            texts.load()?;
        }
        Ok(self)
    }

    /// Number of documents, of which pieces count once.
    pub fn whole(&self) -> usize {
        let pieces = self.pieces.as_ref();
        pieces.map_or(self.documents, |pieces| pieces.documents())
    }

    /// Entities of a question as starts, as `ppr` starts at them.
    pub fn starts_at(&self, entities: &[u32], weighted: bool) -> Vec<SourcedStart<Arc<str>>> {
        let Some(walks) = &self.walks else {
            return Vec::new();
        };
        let source: Arc<str> = "entity".into();
        // Whoever walks from a node that does not exist reports it.
        let exist = entities.iter().all(|e| (*e as usize) < walks.all.nodes());
        let weighted = weighted && exist;
        let starts = specificity(entities, &walks.matrix, weighted).into_iter();
        let start = |(node, weight)| SourcedStart {
            node,
            source: Arc::clone(&source),
            weight,
        };
        starts.map(start).collect()
    }

    /// Compares questions with sentences and facts, for [`Measures::of`]. `questions` are row-major
    /// embeddings of this length; it is 0 if there are none.
    ///
    /// # Errors
    /// When vectors have other lengths, or cannot be read, or the user stops.
    pub fn similar(&self, cancel: &Cancel, dim: usize, questions: &[f32]) -> OpResult<Similar> {
        if dim == 0 {
            return Ok(Similar::default());
        }
        let mut points = Points::new(dim);
        points.extend(questions);
        let best = |texts: Option<&Texts>| {
            let best = texts.map(|texts| texts.best(cancel, &points, self.documents));
            best.transpose()
        };
        Ok(Similar {
            sentences: best(self.sentences.as_ref())?,
            facts: best(self.facts.as_ref())?,
        })
    }

    /// The features of the documents of a question, which is number `row` in `similar`; `keep` is
    /// the number of documents whose features are kept one by one.
    ///
    /// # Errors
    /// When the embedding has another length than those of documents, or a start is not a node.
    pub fn of(
        &self,
        question: Asked<'_>,
        (similar, row): (&Similar, usize),
        keep: usize,
    ) -> OpResult<QuestionFeatures> {
        let best = |of: &Option<Vec<Vec<f32>>>| {
            let best = of.as_ref()?.get(row)?.iter();
            Some(best.map(|cosine| f64::from(*cosine)).collect())
        };
        let mut raw = [const { None }; COUNT];
        let embedding = Some(question.embedding).filter(|e| !e.is_empty());
        for (feature, raw) in FEATURES.iter().zip(&mut raw) {
            *raw = match (feature.from, embedding) {
                (Measure::Dense, Some(e)) => {
                    self.dense.as_ref().map(|d| d.scores(e)).transpose()?
                }
                (Measure::Sentence, _) => best(&similar.sentences),
                (Measure::Fact, _) => best(&similar.facts),
                (Measure::Words, _) => Some(self.words.scores(question.text)),
                _ => None,
            };
        }
        if let Some(walks) = &self.walks {
            let nodes = walks.all.nodes();
            if let Some(far) = question.starts.iter().find(|s| s.node as usize >= nodes) {
                let problem = format!("start node {} of {nodes} nodes", far.node);
                return Err(BadShape(problem).into());
            }
            for (place, masses) in walks.masses(question.starts)? {
                raw[place] = Some(masses);
            }
            if !question.starts.is_empty() {
                raw[super::place(&super::START)] = Some(walks.starts(question.starts));
            }
        }
        if let Some(pieces) = &self.pieces {
            for values in raw.iter_mut().flatten() {
                pieces.fold(values);
            }
        }
        Ok(QuestionFeatures::standardised(raw, keep))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::by_node::Triples;
    use crate::features::texts::Vectors;
    use crate::features::{PPR, PPR_ENTITY, PPR_FACT, PPR_TITLES, SENTENCE, START, place};
    use gfm_pipe_api::vector_table::VectorTable;

    /// Entities 0 and 1 in documents 0 and 1, whose nodes are 2 and 3. Document 0 names document 1.
    fn measures() -> Measures {
        let kinds = [
            Some(EdgeKind::MentionedIn),
            None,
            Some(EdgeKind::NamesTitle),
        ];
        let triples = vec![[0, 0, 2], [1, 0, 3], [0, 1, 1], [2, 2, 3]];
        let triples = Arc::new(Triples::new(4, triples).unwrap());
        let triples = walks::Facts::new(triples, None);
        let matrix = EntityDocuments::from_pairs(4, 2, [(0, 0), (1, 1)]).unwrap();
        let mut sentences = Points::new(2);
        sentences.extend(&[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        let walk = Walk {
            on: Arc::new(triples.graph(4, |_| true).unwrap().restart(0.3)),
            matrix: Arc::new(matrix),
            passages: Some(Passages::from_nodes(vec![Some(2), Some(3)])),
        };
        Measures {
            documents: 2,
            dense: None,
            sentences: Some(Texts {
                vectors: Vectors::Ready(Arc::new(VectorTable::Exact(sentences))),
                documents: vec![0, 0, 1],
            }),
            facts: None,
            words: Arc::new(Bm25::new([("a", "b"), ("c", "d")])),
            walks: Some(Walks::new(&walk, &triples, |of| kinds[of as usize]).unwrap()),
            pieces: None,
        }
    }

    fn start(node: u32, source: &str) -> SourcedStart<&str> {
        SourcedStart {
            node,
            source,
            weight: 1.0,
        }
    }

    fn of(measures: &Measures, asked: Asked<'_>) -> OpResult<QuestionFeatures> {
        let (cancel, dim) = (Cancel::default(), asked.embedding.len());
        let similar = measures.similar(&cancel, dim, asked.embedding).unwrap();
        measures.of(asked, (&similar, 0), 10)
    }

    #[test]
    fn walks_begin_at_their_own_sources() {
        let measures = measures();
        let starts = [start(0, "entity"), start(3, "fact")];
        let asked = Asked {
            text: "b",
            embedding: &[0.0, 2.0],
            starts: &starts,
        };
        let features = of(&measures, asked).unwrap();
        let of = |feature| features.feature(place(feature), 2);
        // From entity 0 document 0 is nearer, from document 1 that itself.
        assert_eq!(of(&PPR_ENTITY), [1.0, -1.0]);
        assert_eq!(of(&PPR_FACT), [-1.0, 1.0]);
        assert_eq!(of(&START), [-1.0, 1.0]);
        // The second sentence of document 0 is the question's own direction.
        assert_eq!(of(&SENTENCE), [1.0, -1.0]);
        // Titles lead from document 1 to document 0, and nowhere from entity 0.
        assert_eq!(of(&PPR_TITLES), [-1.0, 1.0]);
        let Some(walks) = &measures.walks else {
            panic!()
        };
        let masses = walks.all.masses(&[(0, 1.0), (3, 1.0)]).unwrap().unwrap();
        let heavier = usize::from(masses[3] > masses[2]);
        assert_eq!(of(&PPR)[heavier], 1.0);
    }

    #[test]
    fn what_is_not_known_is_zero() {
        let measures = measures();
        let asked = Asked {
            text: "nothing",
            embedding: &[],
            starts: &[],
        };
        let features = of(&measures, asked).unwrap();
        assert!(features.values.iter().all(|x| *x == 0.0));
        assert_eq!(measures.starts_at(&[4], true)[0].weight, 1.0);
        assert_eq!(measures.starts_at(&[0], true)[0].weight, 1.0);
        let starts = [start(4, "entity")];
        let asked = Asked {
            starts: &starts,
            ..asked
        };
        assert!(of(&measures, asked).is_err());
    }
}
