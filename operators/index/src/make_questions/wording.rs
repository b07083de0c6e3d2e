//! What another wording of a question must hold to, so that the question stays the same.

use std::fmt;

use serde_json::Value;

use super::candidate::{Candidate, Type, names, says_answer};
use super::corpus::Corpus;
use super::names::key;
use super::statement::Statement;

/// The key of the question in an answer.
pub const KEY: &str = "question";
/// Most characters of a question.
const LONGEST: usize = 300;

/// Why a wording cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The object has no text.
    None,
    /// There are no words.
    Empty,
    /// It is too long.
    TooLong,
    /// It gives the answer away.
    NamesAnswer,
    /// It names what has to be found out.
    NamesBridge(String),
    /// It does not name what it is about.
    LeavesOut(String),
}

impl Fault {
    /// Its name in `counts`.
    pub fn name(&self) -> &'static str {
        match self {
            Fault::None => "no_answer",
            Fault::Empty => "empty",
            Fault::TooLong => "too_long",
            Fault::NamesAnswer => "names_answer",
            Fault::NamesBridge(_) => "names_bridge",
            Fault::LeavesOut(_) => "leaves_out_name",
        }
    }
}

/// In words for the model.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::None => write!(f, "the object has no text \"{KEY}\""),
            Fault::Empty => f.write_str("the question has no words"),
            Fault::TooLong => write!(f, "the question has more than {LONGEST} characters"),
            Fault::NamesAnswer => f.write_str("the question gives the answer away"),
            Fault::NamesBridge(name) => write!(
                f,
                "the question names {name:?}, which has to be found out on the way"
            ),
            Fault::LeavesOut(name) => write!(f, "the question does not name {name:?}"),
        }
    }
}

/// What a wording of a question must hold to.
pub struct Terms<'a> {
    candidate: &'a Candidate,
    /// What it has to name, as texts write it.
    pub keep: Vec<String>,
    /// The same in the form in which names are compared.
    keys: Vec<String>,
}

impl<'a> Terms<'a> {
    /// The terms for a question that was made from these documents or pieces.
    pub fn new(corpus: &Corpus<'_>, candidate: &'a Candidate, pieces: &[u32]) -> Self {
        let given = |number: &u32| {
            let statement: &Statement = &corpus.statements[*number as usize];
            let place = &statement.given;
            let surface = corpus.surface(statement, place).to_owned();
            (surface, corpus.key(statement, place))
        };
        let all: Vec<(String, String)> = match candidate.of {
            // Further statements of a chain begin with what is hidden.
            Type::Single | Type::Bridge => candidate.statements.iter().take(1).map(given).collect(),
            Type::Intersection => candidate.statements.iter().map(given).collect(),
            Type::Comparison => {
                let titles = pieces.iter().map(|piece| corpus.title(*piece));
                titles.map(|title| (title.to_owned(), key(title))).collect()
            }
        };
        // The rules may have written it in another way.
        let said = all
            .into_iter()
            .filter(|(_, key)| names(&candidate.text, key));
        let (keep, keys) = said.unzip();
        Terms {
            candidate,
            keep,
            keys,
        }
    }

    /// The question in an answer, in one line and with a question mark.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn read(&self, answer: &Value) -> Result<String, Fault> {
        let text = answer.get(KEY).and_then(Value::as_str);
        let text = one_question(text.ok_or(Fault::None)?);
        if !text.contains(char::is_alphanumeric) {
            return Err(Fault::Empty);
        }
        if text.chars().count() > LONGEST {
            return Err(Fault::TooLong);
        }
        let candidate = self.candidate;
        if let Some(hidden) = candidate.hidden.iter().find(|key| names(&text, key)) {
            return Err(Fault::NamesBridge(hidden.clone()));
        }
        if !candidate.names_answer && says_answer(&text, &candidate.answer) {
            return Err(Fault::NamesAnswer);
        }
        let mut kept = self.keep.iter().zip(&self.keys);
        match kept.find(|(_, key)| !names(&text, key)) {
            Some((name, _)) => Err(Fault::LeavesOut(name.clone())),
            None => Ok(text),
        }
    }
}

/// A text as one line that ends in a question mark.
fn one_question(text: &str) -> String {
    let plain = text.replace(char::is_control, " ");
    let words: Vec<&str> = plain.split_whitespace().collect();
    let line = words.join(" ");
    if line.ends_with('?') {
        return line;
    }
    format!("{}?", line.trim_end_matches(['.', '!', ',', ';', ':', ' ']))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn candidate(answer: &str, names_answer: bool) -> Candidate {
        Candidate {
            of: Type::Bridge,
            text: "When was the film director who directed Dry Rivers born?".to_owned(),
            answer: answer.to_owned(),
            gold: vec![0, 1],
            hops: 2,
            hidden: vec!["orla fennick".to_owned()],
            statements: Vec::new(),
            names_answer,
        }
    }

    fn read(candidate: &Candidate, question: &str) -> Result<String, &'static str> {
        let terms = Terms {
            candidate,
            keep: vec!["The Dry Rivers".to_owned()],
            keys: vec![key("The Dry Rivers")],
        };
        let read = terms.read(&json!({"question": question}));
        read.map_err(|fault| fault.name())
    }

    #[test]
    fn a_wording_keeps_what_is_asked() {
        let of = candidate("5 May 1920", false);
        let good = "In which year was the director of Dry Rivers born?";
        assert_eq!(read(&of, good), Ok(good.to_owned()));
        let untidy = " In which year was\nthe director of\u{7} Dry  Rivers born. ";
        assert_eq!(read(&of, untidy), Ok(good.to_owned()));
        let long = format!("{good} {}", "Well? ".repeat(50));
        for (text, want) in [
            ("", "empty"),
            (" ?", "empty"),
            (long.as_str(), "too_long"),
            (
                "When was Orla Fennick, of Dry Rivers, born?",
                "names_bridge",
            ),
            (
                "When was Fennick (Orla), of Dry Rivers, born?",
                "names_bridge",
            ),
            (
                "Was the director of Dry Rivers born on 5 May 1920?",
                "names_answer",
            ),
            (
                "Was the director of Dry Rivers born in May 1920, on the 5th or 5?",
                "names_answer",
            ),
            ("When was the director born?", "leaves_out_name"),
        ] {
            assert_eq!(read(&of, text), Err(want), "{text}");
        }
        let terms = Terms {
            candidate: &of,
            keep: Vec::new(),
            keys: Vec::new(),
        };
        for value in [json!({}), json!({"question": 7}), json!({"question": null})] {
            assert_eq!(terms.read(&value), Err(Fault::None));
        }
    }

    #[test]
    fn a_comparison_may_name_its_answer() {
        let of = candidate("Dry Rivers", true);
        let text = "Which came out first, Dry Rivers or High Hills?";
        assert_eq!(read(&of, text), Ok(text.to_owned()));
        let of = candidate("Dry Rivers", false);
        assert_eq!(read(&of, text), Err("names_answer"));
    }
}
