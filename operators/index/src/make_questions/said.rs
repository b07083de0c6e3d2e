//! What the text of one document says.

use std::ops::Range;

use gfm_pipe_english::{Doc, facts};

use super::about::{About, Type, year};
use super::clause::clauses;
use super::forms;
use super::mention::{Kind, mentions};
use super::names::{key, words};
use super::places::Parsed;
use super::plain::Plain;
use super::statement::{GIVEN, NOUN, Place, Statement};
use super::tree::Tree;

/// Most statements of one document, the first ones.
const MOST_STATEMENTS: usize = 24;
/// Longest text that is parsed, in bytes: a document says what it is about at its beginning.
const LONGEST_TEXT: usize = 20_000;

/// A document as it is given.
#[derive(Debug, Clone)]
pub struct Document {
    /// The title as the file gives it.
    pub title: String,
    /// The name in the title as the text says it.
    pub name: String,
    pub text: String,
    /// The first piece of the same document; its own id where it is whole.
    pub parent: u32,
    /// Byte ranges of its text that name another document by its title.
    pub named: Vec<Range<usize>>,
}

/// What the text of a document says.
#[derive(Debug, Default, Clone)]
pub struct Said {
    pub is: Option<Type>,
    pub nation: Option<String>,
    /// The year of its birth, or of its coming out.
    pub year: Option<i32>,
    pub born: bool,
    pub statements: Vec<Statement>,
    /// Years of what happened to it, by the verb: "founded".
    pub events: Vec<(String, i32)>,
    /// Keys and kinds of all its mentions, distinct.
    pub mentioned: Vec<(String, Kind)>,
}

impl Said {
    /// What a text says: in its clauses, and in brackets, which are left out where clauses are
    /// parsed. `doc` and `plain_doc` are the parses of the text and of what is left.
    pub fn new(
        number: u32,
        document: &Document,
        doc: &Doc,
        plain: &Plain,
        plain_doc: &Doc,
    ) -> Said {
        let mut said = of_clauses(number, document, plain, plain_doc);
        let text = head(&document.text);
        lifetime(number, document, &Tree::new(text, doc), &mut said);
        said.statements.truncate(MOST_STATEMENTS);
        said
    }
}

/// The beginning of a text.
pub fn head(text: &str) -> &str {
    let mut end = text.len().min(LONGEST_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn of_clauses(number: u32, document: &Document, plain: &Plain, doc: &Doc) -> Said {
    let tree = &Tree::new(&plain.text, doc);
    let about = About::new(tree, &document.name);
    let named: Vec<Range<usize>> = document
        .named
        .iter()
        .filter_map(|r| plain.place(r))
        .collect();
    let mentions = mentions(tree, &named);
    let parsed = Parsed {
        document: number,
        title_key: key(&document.name),
        tree,
        about: &about,
        mentions: &mentions,
    };
    let mut said = Said {
        is: about.is.clone(),
        nation: about.nation.clone(),
        year: about.year,
        ..Said::default()
    };
    said.statements.extend(about_person(number, &about));
    for clause in clauses(tree, &about) {
        said.statements.extend(forms::statements(&parsed, &clause));
    }
    said.events = said.statements.iter().filter_map(event).collect();
    said.mentioned = mentions.into_iter().map(|m| (m.key, m.kind)).collect();
    said.mentioned.sort_unstable();
    said.mentioned.dedup();
    said
}

/// What the definition of a person says: its nation and its profession.
fn about_person(number: u32, about: &About) -> Vec<Statement> {
    let Some(is) = about.is.as_ref().filter(|is| is.person) else {
        return Vec::new();
    };
    let of = |surface: &str, question: &str| Statement {
        document: number,
        given: Place::Title,
        asked: Place::Mention {
            key: key(surface),
            surface: surface.to_owned(),
            kind: Kind::Other,
        },
        noun: None,
        phrase: None,
        relative: None,
        questions: vec![format!("what is the {question} of {GIVEN}")],
        doubtful: false,
        others: Vec::new(),
    };
    let nation = about.nation.iter().map(|nation| of(nation, "nationality"));
    let profession = (is.noun != "person").then(|| of(&is.noun, "profession"));
    nation.chain(profession).collect()
}

/// What a statement says to have happened in a year: "founded".
fn event(statement: &Statement) -> Option<(String, i32)> {
    const VERBS: [&str; 13] = [
        "founded",
        "established",
        "opened",
        "formed",
        "built",
        "created",
        "published",
        "launched",
        "introduced",
        "completed",
        "discovered",
        "inaugurated",
        "constructed",
    ];
    let Place::Mention { surface, .. } = &statement.asked else {
        return None;
    };
    let year = words(surface).find_map(|w| year(&w))?;
    let start = format!("when was {GIVEN} ");
    let said = statement
        .questions
        .iter()
        .find_map(|q| q.strip_prefix(&start))?;
    let verb = said.split(' ').next().filter(|v| VERBS.contains(v))?;
    Some((verb.to_owned(), year))
}

/// What stands in brackets behind a name: "(born 5 May 1920 in Lübeck)".
fn lifetime(number: u32, document: &Document, tree: &Tree<'_>, said: &mut Said) {
    // "Death of Ada Brandt" is not what dies.
    let events = [
        "Death of ",
        "Murder of ",
        "Killing of ",
        "Assassination of ",
    ];
    if events.iter().any(|event| document.name.starts_with(event)) {
        return;
    }
    let mut found = Vec::new();
    for fact in facts::facts(tree.text, tree.doc, Some(&document.name)) {
        let object = tree.text[fact.object.bytes.clone()].to_owned();
        let found_year = words(&object).find_map(|w| year(&w));
        let (kind, verb) = match fact.relation.text.as_str() {
            "date of birth" => (Kind::Date, "born"),
            "place of birth" => (Kind::Place, "born"),
            "date of death" => (Kind::Date, "die"),
            _ => continue,
        };
        if !fact.subject.is_title
            || fact.sentence > 0
            || (kind == Kind::Date && found_year.is_none())
        {
            continue;
        }
        if verb == "born" && kind == Kind::Date {
            (said.year, said.born) = (found_year, true);
        }
        let when = if kind == Kind::Date { "when" } else { "where" };
        let mut questions = vec![if verb == "die" {
            format!("{when} did {GIVEN} die")
        } else {
            format!("{when} was {GIVEN} born")
        }];
        if kind == Kind::Place {
            questions.push(format!("{GIVEN} was born in which {NOUN}"));
        }
        found.push(Statement {
            document: number,
            given: Place::Title,
            asked: Place::Mention {
                key: key(&object),
                surface: object,
                kind,
            },
            noun: None,
            phrase: None,
            relative: (kind == Kind::Place).then(|| format!("where {GIVEN} was born")),
            questions,
            doubtful: false,
            others: Vec::new(),
        });
    }
    said.statements.splice(0..0, found);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use gfm_pipe_english::English;

    use super::super::names::name;
    use super::super::statement::filled;
    use super::*;

    /// The questions and descriptions of a document, with what is known filled in.
    fn forms(title: &str, text: &str) -> Vec<String> {
        let document = Document {
            title: title.to_owned(),
            name: name(title, text).to_owned(),
            text: text.to_owned(),
            parent: 0,
            named: Vec::new(),
        };
        let english = English::new().unwrap();
        let plain = Plain::new(text);
        let (doc, plain_doc) = (english.parse(text), english.parse(&plain.text));
        let said = Said::new(0, &document, &doc, &plain, &plain_doc);
        let forms = said.statements.iter().flat_map(|statement| {
            let given = match &statement.given {
                Place::Title => document.name.clone(),
                Place::Mention { surface, .. } => surface.clone(),
            };
            let described = statement.description(&given, "N", true);
            let asked = statement.questions.iter();
            let asked = asked.map(move |q| filled(q, &given, "N", true));
            described.into_iter().chain(asked).collect::<Vec<String>>()
        });
        forms.collect()
    }

    #[track_caller]
    fn says(title: &str, text: &str, wanted: &[&str]) {
        let found = forms(title, text);
        for form in wanted {
            assert!(found.contains(&(*form).to_owned()), "{form}: {found:#?}");
        }
    }

    #[test]
    fn passives_are_asked_actively() {
        says(
            "Kelda (film)",
            "Kelda is a 1961 film directed by Astrid Holm.",
            &[
                "the N who directed Kelda",
                "which N directed Kelda",
                "the 1961 film directed by Astrid Holm",
                "which 1961 film was directed by Astrid Holm",
            ],
        );
    }

    #[test]
    fn pronouns_and_owners_stand_for_the_title() {
        says(
            "Ada Brandt",
            "Ada Brandt (born 5 May 1920) was a Danish chemist. She studied in Paris. \
             Her husband was Karl Lund.",
            &[
                "when was Ada Brandt born",
                "what is the nationality of Ada Brandt",
                "where did Ada Brandt study",
                "the N where Ada Brandt studied",
                "the husband of Ada Brandt",
                "who was the husband of Ada Brandt",
            ],
        );
    }

    #[test]
    fn places_behind_commas_are_places_too() {
        let found = forms("Lund, Ohio", "Lund is a town in Clark County, Ohio.");
        let has = |form: &str| assert!(found.contains(&form.to_owned()), "{form}: {found:#?}");
        has("the town in Clark County");
        has("the town in Ohio");
    }

    #[test]
    fn what_is_not_said_to_be_so_is_not_asked() {
        for text in [
            "Ada Brandt may have lived in Paris.",
            "Ada Brandt did not live in Paris.",
            "If Ada Brandt lived in Paris, nobody knew.",
            "",
        ] {
            let found = forms("Ada Brandt", text);
            assert!(
                !found.iter().any(|form| form.contains("Paris")),
                "{found:#?}"
            );
        }
    }
}
