//! Measures the features of a question's documents.

use std::sync::Arc;

use gfm_pipe_api::bm25::Bm25;
use gfm_pipe_api::document_edges::EdgeKind;
use gfm_pipe_api::points::Points;
use gfm_pipe_api::{Cancel, OpResult};
use rayon::prelude::*;

use super::near_texts::Near;
use super::of_question::{Chosen, Partial, QuestionFeatures, log_mass};
use super::texts::{Similar, Texts};
use super::{COUNT, Edges, FACT, FEATURES, Measure, SENTENCE};
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

/// How similar the texts of documents are to several questions.
#[derive(Debug, Default)]
pub struct AllSimilar {
    sentences: Option<Similar>,
    facts: Option<Similar>,
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
    /// embeddings of this length; it is 0 if there are none. The features of `keep` documents are
    /// kept.
    ///
    /// # Errors
    /// When vectors have other lengths, or cannot be read, or the user stops.
    pub fn similar(
        &self,
        cancel: &Cancel,
        (dim, questions): (usize, &[f32]),
        keep: usize,
    ) -> OpResult<AllSimilar> {
        if dim == 0 {
            return Ok(AllSimilar::default());
        }
        let mut points = Points::new(dim);
        points.extend(questions);
        let numbers = (self.documents, self.whole(), keep);
        let pieces = self.pieces.as_deref();
        let best = |texts: Option<&Texts>| {
            let texts = texts.map(|texts| texts.similar(cancel, &points, pieces, numbers));
            texts.transpose()
        };
        Ok(AllSimilar {
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
        (similar, row): (&AllSimilar, usize),
        keep: usize,
    ) -> OpResult<QuestionFeatures> {
        let best = |of: &Option<Similar>| match of.as_ref()? {
            Similar::All(best) => {
                let best = best.get(row)?.iter();
                Some(best.map(|cosine| f64::from(*cosine)).collect())
            }
            Similar::Near(_) => None,
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
        let near = self.near(similar, row);
        let partial = near.iter();
        let partial: Vec<Partial<'_>> = partial.map(|(f, _, near)| near.partial(*f)).collect();
        let Some(chosen) = Chosen::of(raw, &partial, keep) else {
            return Ok(QuestionFeatures::none());
        };
        let pieces = self.pieces.as_deref();
        let values = near
            .iter()
            .map(|(_, texts, near)| texts.of_documents(near, pieces, &chosen.documents));
        let values = values.collect::<OpResult<Vec<_>>>()?;
        Ok(chosen.features(&values))
    }

    /// The features of a question of which only the values of some documents are computed, with
    /// their places.
    fn near<'a>(
        &'a self,
        similar: &'a AllSimilar,
        row: usize,
    ) -> Vec<(usize, &'a Texts, &'a Near)> {
        let both = [
            (&SENTENCE, &self.sentences, &similar.sentences),
            (&FACT, &self.facts, &similar.facts),
        ];
        let near = both.into_iter().filter_map(|(feature, texts, similar)| {
            let near = match similar.as_ref()? {
                Similar::Near(near) => near.get(row)?,
                Similar::All(_) => return None,
            };
            Some((super::place(feature), texts.as_ref()?, near))
        });
        near.collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::by_node::Triples;
    use crate::features::texts::Vectors;
    use crate::features::{PPR, PPR_ENTITY, PPR_FACT, PPR_TITLES, START, place};
    use gfm_pipe_api::vector_table::{Codes, VectorTable};
    use gfm_pipe_testing::Random;

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
                sample: None,
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
        let embedding = (asked.embedding.len(), asked.embedding);
        let similar = measures.similar(&Cancel::default(), embedding, 10).unwrap();
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

    /// Where sketches choose what is compared, and all documents are in the sample.
    #[test]
    fn sketched_texts_have_the_features_of_others() {
        const DIM: usize = 256;
        let texts = |seed, each: u32| {
            let documents: Vec<u32> = (0..900).map(|row| row / each).collect();
            let mut codes = Codes::new(DIM);
            codes.extend(&Random::new(seed).clustered(900, 900, DIM));
            Texts {
                vectors: Vectors::Ready(Arc::new(VectorTable::Coded(codes.sketched().unwrap()))),
                documents,
                sample: None,
            }
        };
        let measures = |sketches: bool| {
            let prepared = |texts: Texts| {
                if sketches {
                    texts.prepared(None).unwrap()
                } else {
                    texts
                }
            };
            Measures {
                documents: 300,
                dense: None,
                sentences: Some(prepared(texts(1, 3))),
                facts: Some(prepared(texts(2, 4))),
                words: Arc::new(Bm25::new((0..300).map(|_| ("a", "b")))),
                walks: None,
                pieces: None,
            }
        };
        let question = Random::new(1).clustered(1, 900, DIM);
        let asked = Asked {
            text: "a",
            embedding: &question,
            starts: &[],
        };
        for keep in [300, 10] {
            let [want, got] = [false, true].map(|sketches| {
                let measures = measures(sketches);
                let embedding = (DIM, asked.embedding);
                let similar = measures.similar(&Cancel::default(), embedding, keep);
                measures.of(asked, (&similar.unwrap(), 0), keep).unwrap()
            });
            let same = want.documents.iter().filter(|d| got.documents.contains(d));
            // With random vectors, estimates tell little.
            let least = if keep == 300 { 300 } else { keep / 2 };
            assert!(same.count() >= least, "{got:?}");
            for document in want.documents.iter().filter(|d| got.documents.contains(d)) {
                let pairs = want.of(*document).iter().zip(got.of(*document));
                pairs.for_each(|(a, b)| assert!((a - b).abs() < 1e-5, "{a} {b}"));
                assert!(want.of(*document)[1] != want.of(*document)[2]);
            }
        }
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
