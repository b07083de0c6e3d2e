//! The questions of all splits, in one list.

use std::ops::Range;

use gfm_pipe_api::{Artifact, Connected, Context, OpResult, Problem, is_connected};

use super::nearest::{Embedded, Vectors};

/// The ports of one split.
pub struct Split {
    /// Input and output of questions.
    pub questions: &'static str,
    /// Input: embeddings of the questions.
    pub embeddings: &'static str,
    /// Input: mentions in the questions.
    pub mentions: &'static str,
    /// Input: embeddings of the mentions.
    pub mention_embeddings: &'static str,
    /// Output: the nodes that the questions start from.
    pub starts: &'static str,
}

/// The ports of all splits.
pub const SPLITS: [Split; 3] = [
    Split {
        questions: "train",
        embeddings: "train_embeddings",
        mentions: "train_mentions",
        mention_embeddings: "train_mention_embeddings",
        starts: "train_starts",
    },
    Split {
        questions: "valid",
        embeddings: "valid_embeddings",
        mentions: "valid_mentions",
        mention_embeddings: "valid_mention_embeddings",
        starts: "valid_starts",
    },
    Split {
        questions: "test",
        embeddings: "test_embeddings",
        mentions: "test_mentions",
        mention_embeddings: "test_mention_embeddings",
        starts: "test_starts",
    },
];

/// The questions of all connected splits.
pub struct QuestionSet<'a> {
    /// Texts of all questions.
    pub texts: Vec<String>,
    /// The connected splits.
    pub splits: Vec<ConnectedSplit<'a>>,
}

/// A split that is connected.
pub struct ConnectedSplit<'a> {
    /// Its ports.
    pub ports: &'static Split,
    /// Its `questions` artifact.
    pub questions: &'a Artifact,
    /// The range of its questions among those of all splits.
    pub rows: Range<usize>,
}

impl<'a> QuestionSet<'a> {
    /// Reads the questions.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn read(ctx: &'a Context) -> OpResult<QuestionSet<'a>> {
        let mut all = QuestionSet {
            texts: Vec::new(),
            splits: Vec::new(),
        };
        for split in &SPLITS {
            if let Some(questions) = ctx.input_opt(split.questions) {
                let first = all.texts.len();
                all.texts.extend(questions.texts()?);
                all.splits.push(ConnectedSplit {
                    ports: split,
                    questions,
                    rows: first..all.texts.len(),
                });
            }
        }
        Ok(all)
    }

    /// Reads the embeddings of all questions. `None` where they are not connected.
    ///
    /// # Errors
    /// When they are embeddings of other texts, or of several encoders.
    pub fn vectors(&self, ctx: &Context) -> OpResult<Option<Vectors>> {
        let each = self.splits.iter();
        let tables = each.map(|split| {
            Some(Embedded {
                texts: split.questions,
                embeddings: ctx.input_opt(split.ports.embeddings)?,
            })
        });
        tables
            .collect::<Option<Vec<_>>>()
            .map_or(Ok(None), |all| Vectors::joined(&all).map(Some))
    }
}

/// A mistake in the connections of the splits, if any.
pub fn problem(inputs: &Connected) -> Option<Problem> {
    let wired = is_connected(inputs);
    let wanted: Vec<&Split> = SPLITS.iter().filter(|s| wired(s.questions)).collect();
    if wanted.is_empty() {
        return Some(Problem::at_root("no questions are connected").hint(
            "connect `train`, `valid` or `test` to questions of an `ingest-questions` stage",
        ));
    }
    for split in &SPLITS {
        for port in [split.embeddings, split.mentions, split.mention_embeddings] {
            if wired(port) && !wired(split.questions) {
                let text = format!("`{port}` is connected, but `{}` is not", split.questions);
                return Some(Problem::at_root(text).hint("connect both or neither"));
            }
        }
        let pair = [split.mentions, split.mention_embeddings];
        if let Some(missing) = pair.iter().find(|port| !wired(port))
            && pair.iter().any(|port| wired(port))
        {
            let [mentions, vectors] = pair;
            let text = format!("`{mentions}` and `{vectors}` go together");
            return Some(Problem::at_root(text).hint(format!("connect `{missing}` as well")));
        }
    }
    let without = wanted.iter().find(|s| !wired(s.embeddings));
    let with = wanted.iter().find(|s| wired(s.embeddings));
    let (without, with) = (without?, with?);
    let text = format!(
        "`{}` is connected, but `{}` is not",
        with.embeddings, without.embeddings
    );
    Some(Problem::at_root(text).hint("connect the embeddings of every split"))
}
