//! The questions of all splits, one after the other.

use std::ops::Range;

use gfm_pipe_api::{Artifact, Connected, Context, OpResult, Problem};

use super::nearest::Vectors;

/// Ports of one split.
pub struct Split {
    /// Its questions, in and out.
    pub questions: &'static str,
    /// Their embeddings.
    pub embeddings: &'static str,
    /// What they mention.
    pub mentions: &'static str,
    /// Embeddings of that.
    pub mention_embeddings: &'static str,
    /// Where they start, out.
    pub starts: &'static str,
}

/// Ports of all splits.
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

/// See the module.
pub struct Asked<'a> {
    /// Texts of all questions.
    pub texts: Vec<String>,
    /// Those splits that are connected, with the places of their questions.
    pub splits: Vec<(&'static Split, &'a Artifact, Range<usize>)>,
}

impl<'a> Asked<'a> {
    /// Reads them.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn read(ctx: &'a Context) -> OpResult<Asked<'a>> {
        let mut all = Asked {
            texts: Vec::new(),
            splits: Vec::new(),
        };
        for split in &SPLITS {
            if let Some(questions) = ctx.input_opt(split.questions) {
                let first = all.texts.len();
                all.texts.extend(questions.texts()?);
                all.splits.push((split, questions, first..all.texts.len()));
            }
        }
        Ok(all)
    }

    /// Embeddings of all questions; `None` where they are not connected.
    ///
    /// # Errors
    /// When they were made from other texts, or by several encoders.
    pub fn vectors(&self, ctx: &Context) -> OpResult<Option<Vectors>> {
        let each = self.splits.iter();
        let tables = each.map(|(split, questions, _)| {
            let embeddings = ctx.input_opt(split.embeddings)?;
            Some((embeddings, *questions))
        });
        tables
            .collect::<Option<Vec<_>>>()
            .map_or(Ok(None), |all| Vectors::joined(&all).map(Some))
    }
}

/// What is wrong with the ports of the splits.
pub fn problem(inputs: &Connected) -> Option<Problem> {
    let wired = |port: &str| inputs.get(port).is_some_and(|from| !from.is_empty());
    let asked: Vec<&Split> = SPLITS.iter().filter(|s| wired(s.questions)).collect();
    if asked.is_empty() {
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
    let without = asked.iter().find(|s| !wired(s.embeddings));
    let with = asked.iter().find(|s| wired(s.embeddings));
    let (without, with) = (without?, with?);
    let text = format!(
        "`{}` is connected, but `{}` is not",
        with.embeddings, without.embeddings
    );
    Some(Problem::at_root(text).hint("connect the embeddings of every split"))
}
