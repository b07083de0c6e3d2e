//! A retriever that has everything in memory.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::Array;
use gfm_pipe_api::answer::{
    About, Answer, Answers, Ask, Document, Found, MAX_DOCUMENTS, MAX_PATHS, Named, Node, Start,
};
use gfm_pipe_api::text_list::TextList;
use gfm_pipe_api::{Context, OpError, OpResult, columns};
use gfm_pipe_eval::systems::{FUSED, MODEL, PPR, RRF};
use gfm_pipe_eval::{places, top};
use gfm_pipe_kernels::pages::give_back;
use gfm_pipe_model::model::{Question, Retriever};
use rayon::prelude::*;

use crate::corpus::{Corpus, matching};
use crate::facts::Facts;
use crate::on_graph::OnGraph;
use crate::params::RetrieverParams;
use crate::reasons::{Grounds, Reasons};
use crate::scoring::{Scored, Scoring};
use crate::sentence;
use crate::writer::{self, Writer};

/// Number of questions shown as examples.
const EXAMPLES: usize = 6;

/// A loaded retriever.
pub struct Ready {
    corpus: Corpus,
    facts: Option<Facts>,
    scoring: Scoring,
    examples: Vec<String>,
    /// The language model, if one is set.
    writer: Option<Writer>,
}

impl Ready {
    /// Loads what a stage is connected to.
    ///
    /// # Errors
    /// When the inputs do not belong together.
    pub fn open(mut params: RetrieverParams, ctx: &Context) -> OpResult<Self> {
        let writer = Writer::open(params.llm.take(), params.prompts.answer.as_deref(), ctx)?;
        let documents = ctx.input("documents")?.rows("documents")?;
        let (corpus, facts) = rayon::join(
            || {
                let corpus = Corpus::read(ctx)?;
                let words = Arc::new(corpus.words());
                OpResult::Ok((corpus, words))
            },
            || {
                let graph = ctx.input_opt("entities");
                graph.map(|_| Facts::read(ctx, documents)).transpose()
            },
        );
        let ((corpus, words), facts) = (corpus?, facts?);
        let ready = Ready {
            scoring: Scoring::read(params, ctx, (&corpus, words), facts.as_ref())?,
            examples: examples(ctx)?,
            corpus,
            facts,
            writer,
        };
        // What was only needed to load it is a good part of what it takes.
        give_back();
        Ok(ready)
    }

    /// The titles of all documents, by number.
    pub fn titles_of_all(&self) -> &TextList {
        &self.corpus.titles
    }

    /// Checks what a question asks for.
    fn check(&self, ask: &Ask) -> OpResult<()> {
        check(ask)?;
        if ask.answer && self.writer.is_none() {
            return Err(writer::no_model());
        }
        Ok(())
    }

    /// Has the language model answer where that is asked for.
    fn write(&self, questions: &[Ask], answers: &mut [OpResult<Answer>], begun: Instant) {
        let Some(writer) = &self.writer else {
            return;
        };
        let wanted = questions.iter().zip(answers).filter(|(ask, _)| ask.answer);
        let mut wanted: Vec<&mut Answer> = wanted.filter_map(|(_, a)| a.as_mut().ok()).collect();
        writer.add_to(&mut wanted);
        for answer in wanted {
            answer.seconds = begun.elapsed().as_secs_f64();
        }
    }

    fn answer(&self, ask: &Ask, scored: OpResult<Scored>, begun: Instant) -> OpResult<Answer> {
        let scored = scored?;
        let mut scores = scored.documents.clone();
        if let Some(pattern) = &ask.source {
            let allowed = self.corpus.allowed(pattern)?;
            for (score, allowed) in scores.iter_mut().zip(allowed) {
                if !allowed {
                    *score = f64::NAN;
                }
            }
        }
        let why_not = ask.why_not.iter().map(|name| {
            self.corpus.named(name).ok_or_else(|| {
                OpError::new(format!("there is no document {name:?}"))
                    .hint("name it by its whole title, or by its number")
            })
        });
        let why_not = why_not.collect::<OpResult<Vec<u32>>>()?;
        let best = top(&scores, ask.k).into_iter();
        let best = best.filter(|d| {
            let score = scores[*d as usize];
            !self.scoring.says_nothing(scored.system, score)
        });
        let best: Vec<u32> = best.collect();
        let ranks = places(&scores, &why_not);
        let ranked = (1..).zip(&best).map(|(rank, d)| (*d, rank));
        let asked_for = why_not
            .iter()
            .zip(ranks)
            .map(|(d, place)| (*d, place as u64 + 1));
        let all: Vec<(u32, u64)> = ranked.chain(asked_for).collect();
        let retriever = self.scoring.model().map(OnGraph::retriever);
        let reasons = (ask.paths > 0).then(|| self.reasons(&scored, retriever.as_ref()));
        let reasons = reasons.transpose()?.flatten();
        let found = all.par_iter().map(|(document, rank)| {
            let score = scores[*document as usize];
            let found = self.found(ask, &scored, *document, (*rank, score))?;
            let paths = reasons
                .as_ref()
                .map(|reasons| reasons.of(*document, ask.paths));
            Ok(Found {
                paths: paths.transpose()?.unwrap_or_default(),
                ..found
            })
        });
        let mut documents: Vec<Found> = found.collect::<OpResult<_>>()?;
        let why_not = documents.split_off(best.len());
        Ok(Answer {
            question: ask.question.clone(),
            system: scored.system.name.to_owned(),
            start: self.starts(&scored),
            notes: scored.notes,
            seconds: begun.elapsed().as_secs_f64(),
            answer: None,
            documents,
            why_not,
        })
    }

    /// What explains the documents of a question; `None` where the system has no paths.
    fn reasons<'a>(
        &'a self,
        scored: &'a Scored,
        retriever: Option<&'a Retriever<'a>>,
    ) -> OpResult<Option<Reasons<'a>>> {
        let ground = self.facts.as_ref().zip(self.scoring.walk());
        let (Some((facts, walk)), false) = (ground, scored.seeds.is_empty()) else {
            return Ok(None);
        };
        let on = Grounds {
            corpus: &self.corpus,
            facts,
            walk,
            walked: self.scoring.walked(),
        };
        if let (true, Some(model), Some(retriever)) =
            (scored.system.is(&MODEL), self.scoring.model(), retriever)
        {
            let question = Question {
                embedding: &scored.embedding,
                seeds: &scored.seeds,
            };
            return Reasons::by_model(on, model, retriever, &question).map(Some);
        }
        let walks = [&PPR, &RRF, &FUSED].iter().any(|s| scored.system.is(s));
        Ok(walks.then(|| Reasons::by_walk(on, &scored.seeds)))
    }

    /// A document with its score.
    fn found(
        &self,
        ask: &Ask,
        scored: &Scored,
        document: u32,
        (rank, score): (u64, f64),
    ) -> OpResult<Found> {
        let best = sentence::best(&self.scoring, &self.corpus, &ask.question, scored, document)?;
        let piece = best.as_ref().map_or(document, |s| s.piece);
        let text = self.corpus.texts[piece as usize].to_owned();
        let sentence = best.and_then(|s| Some(text.get(s.range)?.to_owned()));
        Ok(Found {
            id: document,
            rank: (!score.is_nan()).then_some(rank),
            title: self.corpus.titles[document as usize].to_owned(),
            score: score.is_finite().then_some(score),
            sentence,
            text,
            source: self.corpus.file(document).map(str::to_owned),
            paths: Vec::new(),
        })
    }

    /// Where the search started, the heaviest first.
    fn starts(&self, scored: &Scored) -> Vec<Start> {
        let Some(facts) = &self.facts else {
            return Vec::new();
        };
        let used = |node: u32| scored.seeds.binary_search_by_key(&node, |s| s.0).is_ok();
        let starts = scored.starts.iter().filter(|s| used(s.node));
        let starts = starts.map(|s| Start {
            node: s.node,
            label: facts.label(s.node).to_owned(),
            source: s.source.to_owned(),
            text: s.text.clone(),
            weight: s.weight,
        });
        let mut starts: Vec<Start> = starts.collect();
        starts.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        starts
    }
}

impl Answers for Ready {
    fn about(&self) -> About {
        About {
            system: self.scoring.preferred.name.to_owned(),
            documents: self.corpus.len(),
            nodes: self.facts.as_ref().map_or(0, Facts::nodes),
            triples: self.facts.as_ref().map_or(0, |f| f.triples().all.len()),
            encoder: self.scoring.encoder_name().map(str::to_owned),
            examples: self.examples.clone(),
            model: self.writer.as_ref().map(|writer| writer.model().to_owned()),
        }
    }

    fn ask(&self, questions: &[Ask]) -> Vec<OpResult<Answer>> {
        let begun = Instant::now();
        let texts: Vec<String> = questions.iter().map(|q| q.question.clone()).collect();
        // One question that cannot be scored must not take the others with it.
        let scored = match self.scoring.questions(&texts) {
            Ok(scored) => scored,
            Err(e) if questions.len() == 1 => return vec![Err(e)],
            Err(_) => {
                let each = questions.chunks(1).flat_map(|one| self.ask(one));
                return each.collect();
            }
        };
        let answers = questions.par_iter().zip(scored).map(|(ask, scored)| {
            self.check(ask)?;
            self.answer(ask, scored, begun)
        });
        let mut answers: Vec<OpResult<Answer>> = answers.collect();
        self.write(questions, &mut answers, begun);
        answers
    }

    fn document(&self, id: u32) -> Option<Document> {
        let title = self.corpus.titles.get(id as usize)?;
        let facts = self.facts.as_ref();
        let nodes = facts.into_iter().flat_map(|facts| {
            facts.mentioned(id).iter().map(|node| Named {
                id: *node,
                label: facts.label(*node).to_owned(),
            })
        });
        Some(Document {
            id,
            title: title.to_owned(),
            text: self.corpus.texts[id as usize].to_owned(),
            source: self.corpus.file(id).map(str::to_owned),
            nodes: nodes.collect(),
        })
    }

    fn titles(&self, containing: &str, limit: usize) -> Vec<Named> {
        let titles = (0..).zip(self.corpus.titles.iter());
        // Later pieces are not documents of their own.
        let whole = titles.filter(|(id, _)| self.corpus.parents[*id as usize] == *id);
        named(matching(whole, containing, limit))
    }

    fn node(&self, node: u32, limit: usize) -> Option<Node> {
        self.facts.as_ref()?.node(node, limit, &self.corpus)
    }

    fn nodes(&self, containing: &str, limit: usize) -> Vec<Named> {
        let Some(facts) = &self.facts else {
            return Vec::new();
        };
        named(matching(facts.labels(), containing, limit))
    }
}

fn named(found: Vec<(u32, &str)>) -> Vec<Named> {
    let found = found.into_iter().map(|(id, label)| Named {
        id,
        label: label.to_owned(),
    });
    found.collect()
}

/// Checks what a question asks for.
fn check(ask: &Ask) -> OpResult<()> {
    if ask.question.trim().is_empty() {
        return Err(OpError::new("the question is empty").hint("write it in plain words"));
    }
    if ask.k == 0 || ask.k > MAX_DOCUMENTS {
        return Err(OpError::new(format!(
            "{} documents were asked for: from 1 to {MAX_DOCUMENTS} are possible",
            ask.k
        )));
    }
    if ask.paths > MAX_PATHS {
        return Err(OpError::new(format!(
            "{} paths were asked for: at most {MAX_PATHS} are possible",
            ask.paths
        )));
    }
    Ok(())
}

/// A few questions from all over the data, as examples.
///
/// # Errors
/// When a table cannot be read.
pub fn examples(ctx: &Context) -> OpResult<Vec<String>> {
    let mut all = Vec::new();
    for questions in ctx.inputs("examples") {
        let table = questions.read("questions")?;
        let texts = columns::text(&table, "question")?;
        all.extend((0..texts.len()).map(|i| texts.value(i).to_owned()));
    }
    let step = all.len().div_ceil(EXAMPLES).max(1);
    Ok(all.into_iter().step_by(step).collect())
}
