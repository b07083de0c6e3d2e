//! Names, dates and years in a text, each as one phrase.

use std::ops::Range;

use ahash::AHashSet;
use gfm_pipe_english::facts;

use super::about::year;
use super::names::{key, words};
use super::tree::Tree;

/// What a mention is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Person,
    Place,
    Organization,
    Work,
    Event,
    Year,
    Date,
    Other,
}

impl Kind {
    fn of(label: &str, text: &str) -> Option<Kind> {
        Some(match label {
            "PERSON" => Kind::Person,
            "GPE" | "LOC" | "FAC" => Kind::Place,
            "ORG" => Kind::Organization,
            "WORK_OF_ART" => Kind::Work,
            "EVENT" => Kind::Event,
            "PRODUCT" | "LANGUAGE" | "LAW" => Kind::Other,
            "DATE" if year(text).is_some() => Kind::Year,
            // "10 years" is no date.
            "DATE" if words(text).any(|w| year(&w).is_some()) => Kind::Date,
            _ => return None,
        })
    }

    /// The noun for something of which no more is known.
    pub fn noun(self) -> Option<&'static str> {
        Some(match self {
            Kind::Person => "person",
            Kind::Place => "place",
            Kind::Organization => "organization",
            Kind::Work => "work",
            Kind::Event => "event",
            Kind::Year => "year",
            Kind::Date => "date",
            Kind::Other => return None,
        })
    }

    pub fn is_time(self) -> bool {
        matches!(self, Kind::Year | Kind::Date)
    }
}

/// A mention in a text.
#[derive(Debug, Clone)]
pub struct Mention {
    /// The token that the rest of the words depend on.
    pub top: usize,
    pub surface: String,
    pub key: String,
    pub kind: Kind,
}

/// The place behind the name of a place: "Maine" in "Paris, Maine".
fn region(tree: &Tree<'_>, kind: Kind, name: &Range<usize>) -> Option<String> {
    let comma = name.end;
    let is_place = |at: usize| {
        let mut entities = tree.doc.entities.iter();
        entities.find(|e| e.tokens.start == at && tree.doc.kind(e) == "GPE")
    };
    if kind != Kind::Place || comma + 1 >= tree.doc.tokens.len() || tree.word(comma) != "," {
        return None;
    }
    let region = is_place(comma + 1)?;
    Some(key(&tree.text[facts::name(tree.text, tree.doc, region)]))
}

/// The mentions of a text, by place. `named` are the byte ranges of titles of other documents,
/// which are right where the recogniser is not.
pub fn mentions(tree: &Tree<'_>, named: &[Range<usize>]) -> Vec<Mention> {
    let mut taken: AHashSet<usize> = AHashSet::new();
    let mut found = Vec::new();
    let entities: Vec<(Range<usize>, &str)> = tree
        .doc
        .entities
        .iter()
        .map(|e| (facts::name(tree.text, tree.doc, e), tree.doc.kind(e)))
        .collect();
    let of_names = named.iter().map(|bytes| {
        let overlapping = entities
            .iter()
            .find(|(e, _)| e.start < bytes.end && bytes.start < e.end);
        (
            bytes.clone(),
            overlapping.map_or("PRODUCT", |(_, label)| *label),
        )
    });
    for (bytes, label) in of_names.chain(entities.iter().map(|(e, label)| (e.clone(), *label))) {
        let surface = &tree.text[bytes.clone()];
        let tokens = tree.tokens(&bytes);
        let Some(top) = tree.top(&tokens) else {
            continue;
        };
        let Some(kind) = Kind::of(label, surface) else {
            continue;
        };
        let mut key = key(surface);
        if let Some(region) = region(tree, kind, &tokens) {
            key = format!("{key}, {region}");
        }
        if key.is_empty() || surface.len() > 80 || surface.contains('\n') {
            continue;
        }
        // A name that begins in lower case was not one.
        if !kind.is_time() && !surface.starts_with(|c: char| c.is_uppercase() || c.is_numeric()) {
            continue;
        }
        if tokens.clone().any(|t| !taken.insert(t)) {
            continue;
        }
        let surface = surface.to_owned();
        found.push(Mention {
            top,
            surface,
            key,
            kind,
        });
    }
    found.sort_by_key(|m| m.top);
    found
}
