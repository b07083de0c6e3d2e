//! Retrievers that answer as a test wants.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use gfm_pipe_api::answer::{
    About, Answer, Answers, Ask, Cited, Document, Found, Named, Node, Path, Start, Step,
};
use gfm_pipe_api::{OpError, OpResult};

/// The language model.
pub(super) const MODEL: &str = "writer-1";
pub(super) const TITLES: [&str; 3] = ["Marie Curie", "Pierre Curie", "Polonium"];

/// Answers every question with the same documents.
#[derive(Default)]
pub(super) struct Fake {
    /// Shown as the system.
    pub name: String,
    /// Sizes of the batches so far.
    pub batches: Mutex<Vec<usize>>,
    /// Texts of the questions so far.
    pub asked: Mutex<Vec<String>>,
    scoring: Gate,
    writing: Gate,
}

/// Where batches may have to wait.
#[derive(Default)]
struct Gate {
    held: Mutex<bool>,
    released: Condvar,
}

impl Gate {
    fn hold(&self) {
        *self.held.lock().unwrap() = true;
    }

    fn release(&self) {
        *self.held.lock().unwrap() = false;
        self.released.notify_all();
    }

    fn pass(&self) {
        let held = self.held.lock().unwrap();
        let wait = Duration::from_secs(20);
        drop(
            self.released
                .wait_timeout_while(held, wait, |held| *held)
                .unwrap(),
        );
    }
}

impl Fake {
    pub fn named(name: &str) -> Self {
        Fake {
            name: name.to_owned(),
            ..Fake::default()
        }
    }

    /// From now on, batches wait.
    pub fn hold(&self) {
        self.scoring.hold();
    }

    /// Batches no longer wait.
    pub fn release(&self) {
        self.scoring.release();
    }

    /// From now on, the language model does not end.
    pub fn hold_writing(&self) {
        self.writing.hold();
    }

    /// It ends.
    pub fn release_writing(&self) {
        self.writing.release();
    }

    /// Waits until so many batches have begun.
    pub async fn begun(&self, batches: usize) {
        for _ in 0..2000 {
            if self.batches.lock().unwrap().len() >= batches {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("no batch {batches} began");
    }

    fn found(&self, id: usize) -> Found {
        let step = Step {
            head: TITLES[0].to_owned(),
            relation: "discovered".to_owned(),
            tail: TITLES[2].to_owned(),
            head_node: 0,
            tail_node: 2,
            inverse: false,
            layer: 1,
            document: Some(0),
            title: Some(TITLES[0].to_owned()),
            sentence: None,
        };
        Found {
            id: id as u32,
            rank: Some(id as u64 + 1),
            title: TITLES[id].to_owned(),
            score: Some(1.0 / (id as f64 + 1.0)),
            sentence: None,
            text: format!("All about {}.", TITLES[id]),
            source: Some("people.md".to_owned()),
            paths: vec![Path {
                weight: 0.5,
                steps: vec![step],
            }],
        }
    }
}

impl Answers for Fake {
    fn about(&self) -> About {
        About {
            system: self.name.clone(),
            documents: TITLES.len(),
            nodes: TITLES.len(),
            triples: 1,
            encoder: None,
            examples: vec!["Who discovered polonium?".to_owned()],
            model: Some(MODEL.to_owned()),
        }
    }

    fn ask(&self, questions: &[Ask]) -> Vec<OpResult<Answer>> {
        self.batches.lock().unwrap().push(questions.len());
        let texts = questions.iter().map(|ask| ask.question.clone());
        self.asked.lock().unwrap().extend(texts);
        self.scoring.pass();
        if questions.iter().any(|ask| ask.answer) {
            self.writing.pass();
        }
        assert!(
            questions.iter().all(|ask| ask.question != "panic"),
            "as the question wants"
        );
        let answer = |ask: &Ask| match ask.question.as_str() {
            "user" => Err(OpError::new("the pattern is wrong").hint("close the bracket")),
            "internal" => Err(OpError::internal("two and two are five")),
            "resource" => Err(OpError::resource("out of memory")),
            _ => Ok(Answer {
                question: ask.question.clone(),
                system: self.name.clone(),
                notes: vec!["this is a test".to_owned()],
                seconds: 0.25,
                answer: ask.answer.then(|| Cited {
                    text: "Marie <b>Curie</b>".to_owned(),
                    reasoning: "She discovered it.".to_owned(),
                    documents: vec![0],
                    titles: vec![TITLES[0].to_owned()],
                    model: MODEL.to_owned(),
                }),
                start: vec![Start {
                    node: 2,
                    label: TITLES[2].to_owned(),
                    source: "title".to_owned(),
                    text: "polonium".to_owned(),
                    weight: 1.0,
                }],
                documents: (0..TITLES.len().min(ask.k))
                    .map(|id| self.found(id))
                    .collect(),
                why_not: ask.why_not.iter().map(|_| self.found(2)).collect(),
            }),
        };
        questions.iter().map(answer).collect()
    }

    fn document(&self, id: u32) -> Option<Document> {
        let title = TITLES.get(id as usize)?;
        Some(Document {
            id,
            title: (*title).to_owned(),
            text: format!("All about {title}."),
            source: None,
            nodes: vec![Named {
                id,
                label: (*title).to_owned(),
            }],
        })
    }

    fn titles(&self, containing: &str, limit: usize) -> Vec<Named> {
        assert_ne!(containing, "panic", "as the request wants");
        let text = containing.to_lowercase();
        let all = TITLES.iter().enumerate();
        all.filter(|(_, title)| title.to_lowercase().contains(&text))
            .map(|(id, title)| Named {
                id: id as u32,
                label: (*title).to_owned(),
            })
            .take(limit)
            .collect()
    }

    fn node(&self, node: u32, limit: usize) -> Option<Node> {
        let label = TITLES.get(node as usize)?;
        let step = self.found(0).paths.remove(0).steps.remove(0);
        Some(Node {
            node,
            label: (*label).to_owned(),
            kind: "entity".to_owned(),
            degree: 1,
            facts: vec![step].into_iter().take(limit).collect(),
            documents: vec![Named {
                id: node,
                label: (*label).to_owned(),
            }],
        })
    }

    fn nodes(&self, containing: &str, limit: usize) -> Vec<Named> {
        self.titles(containing, limit)
    }
}
