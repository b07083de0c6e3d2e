//! Turns clauses into statements.

use super::clause::{Clause, Form, Part, Subject};
use super::mention::{Kind, Mention};
use super::names::bare;
use super::persons::is_person;
use super::places::{Parsed, Places, Show, Spot, join};
use super::statement::{ASK, GIVEN, NOUN, Place, Statement, WHO, WHOM};
use super::tree::Tree;
use super::verbs;

/// Most words after the verb of a relative clause.
const LONGEST_REST: usize = 14;
/// Prepositions that are not asked behind.
const UNASKED: [&str; 12] = [
    "as", "besides", "than", "like", "unlike", "for", "since", "until", "per", "except", "onto",
    "out",
];

/// The statements of a clause.
pub fn statements(parsed: &Parsed<'_>, clause: &Clause) -> Vec<Statement> {
    let places = Places { parsed, clause };
    let mut out = Vec::new();
    let tree = parsed.tree;
    match &clause.subject {
        Subject::Title | Subject::Owned(_) => {
            for mention in parsed.mentions {
                let Some(spot) = places.spot(mention.top) else {
                    continue;
                };
                if bare(&mention.key) == parsed.title_key {
                    continue;
                }
                out.extend(places.ask_spot(&spot, mention));
                out.extend(places.ask_title(&spot, mention));
            }
        }
        Subject::Other(top, _) => {
            let Some(mention) = parsed.mentions.iter().find(|m| m.top == *top) else {
                return out;
            };
            if bare(&mention.key) == parsed.title_key || mention.kind.is_time() {
                return out;
            }
            let stands = |t: &&usize| parsed.about.stands.contains_key(*t);
            let mut words = clause.parts.iter().flat_map(|p| &p.words);
            let Some(spot) = words.find(stands).and_then(|t| places.spot(*t)) else {
                return out;
            };
            out.extend(places.ask_subject(&spot, mention, tree));
            out.extend(places.ask_title_below(&spot, mention));
        }
    }
    out
}

impl Places<'_> {
    /// Asks for a mention, where the title is known.
    fn ask_spot(&self, spot: &Spot, mention: &Mention) -> Option<Statement> {
        let tree = self.parsed.tree;
        let clause = self.clause;
        let mut out = self.statement(Place::Title, Place::of(mention));
        out.noun = self.noun(spot, mention);
        let others = |m: &&Mention| m.key != mention.key && spot.list.contains(&m.top);
        let others = self.parsed.mentions.iter().filter(others);
        out.others = others.map(|m| m.key.clone()).collect();
        let prep = spot.prep.map(|p| tree.lower(p));
        out.doubtful = is_doubtful(mention.kind, prep.as_deref());
        if prep.as_deref().is_some_and(|p| UNASKED.contains(&p)) {
            return None;
        }
        let subject = self.subject();
        let without = self.rest(spot, Show::Without);
        let in_place = join(&[
            &subject,
            &self.plain_verb(),
            &self.rest(spot, Show::InPlace),
        ]);
        let top = clause.parts[spot.part].top;
        // "Its capital is Ellis": the capital of X.
        if let Subject::Owned(words) = &clause.subject {
            if clause.copula && prep.is_none() && tree.label(top) == "attr" {
                out.phrase = Some(format!("{} of {GIVEN}", tree.said(words)));
                let (be, _) = self.verb();
                let be = be.unwrap_or_default();
                let of = tree.lower(self.subject_top().unwrap_or_default());
                out.noun = Some(of.clone());
                let who = if is_person(&of) { "who" } else { "what" };
                out.questions.push(format!("{who} {be} {subject}"));
                return Some(out);
            }
        } else if clause.copula && prep.is_none() {
            // "X is Y" says that both are one.
            return None;
        }
        let attributes = |p: &Part| matches!(tree.label(p.top), "attr" | "acomp");
        if clause.copula && !clause.parts.iter().any(attributes) && mention.kind != Kind::Place {
            return None;
        }
        if prep.is_none() && tree.label(top) == "npadvmod" && !mention.kind.is_time() {
            return None;
        }
        // "directed by Y": who directed it.
        let inverted = (clause.passive && tree.label(top) == "agent" && spot.prep == Some(top))
            .then(|| verbs::past_of(&tree.lower(clause.verb)).map(str::to_owned))
            .flatten();
        if let Some(past) = inverted {
            let active = join(&[&past, &subject, &without]);
            out.relative = Some(format!("{WHO} {active}"));
            out.questions.push(format!("{ASK} {active}"));
            out.questions.push(in_place);
            return Some(out);
        }
        let (front, relative) = fronted(prep.as_deref(), mention.kind);
        let said = join(&[&subject, &self.plain_verb(), &without]);
        out.relative =
            (without.split(' ').count() <= LONGEST_REST).then(|| format!("{relative} {said}"));
        if clause.copula && tree.label(top) == "attr" {
            self.nested_in_attribute(spot, &mut out, prep.as_deref());
        }
        let attributed = clause.parts.iter().any(attributes);
        let turns = !clause.copula || (mention.kind == Kind::Place && !attributed);
        if let Some((help, verb)) = self.turned_verb().filter(|_| turns) {
            let asked = join(&[&help, &subject, &verb, &without]);
            out.questions
                .extend(front.into_iter().map(|front| format!("{front} {asked}")));
        }
        out.questions.push(in_place);
        Some(out)
    }

    /// "X is the capital of Y": Y is that whose capital is X.
    fn nested_in_attribute(&self, spot: &Spot, out: &mut Statement, prep: Option<&str>) {
        let tree = self.parsed.tree;
        let part = &self.clause.parts[spot.part];
        let rest =
            part.words.iter().copied().filter(|t| {
                !spot.words.contains(t) && spot.prep != Some(*t) && tree.tag(*t) != "DT"
            });
        let rest: Vec<usize> = rest.collect();
        let direct = spot.prep.is_some_and(|p| tree.head(p) == part.top);
        let definite = tree
            .labelled(part.top, &["det"])
            .any(|d| tree.is(d, &["the"]));
        if direct && (prep == Some("by") || (prep == Some("of") && definite)) {
            out.relative = Some(format!("whose {} is {GIVEN}", tree.said(&rest)));
        }
    }

    /// Whether a part says what the title is: "a film by Y", not "north of Y".
    fn is_a_thing(&self, top: usize) -> bool {
        let tree = self.parsed.tree;
        let articles = tree
            .labelled(top, &["det", "poss", "nummod"])
            .next()
            .is_some();
        tree.label(top) == "attr" && tree.is_noun(top) && (articles || tree.tag(top) == "NNS")
    }

    /// Asks for the title, where a mention is known.
    fn ask_title(&self, spot: &Spot, mention: &Mention) -> Option<Statement> {
        let tree = self.parsed.tree;
        let clause = self.clause;
        // A year alone is said of very many things.
        if !matches!(clause.subject, Subject::Title) || mention.kind.is_time() {
            return None;
        }
        let mut out = self.statement(Place::of(mention), Place::Title);
        let with = self.rest(spot, Show::Given);
        let top = clause.parts[spot.part].top;
        if clause.copula {
            if spot.prep.is_none() || !self.is_a_thing(top) {
                return None;
            }
            let noun = strip_article(&with);
            if noun.starts_with("one of") || noun.starts_with("part of") {
                return None;
            }
            out.phrase = Some(noun.to_owned());
            let ask = if self.parsed.about.is_person() {
                "who"
            } else {
                "what"
            };
            let (be, _) = self.verb();
            out.questions
                .push(format!("{ask} {} the {noun}", be.unwrap_or_default()));
            return Some(out);
        }
        let verb = tree.lower(clause.verb);
        if let (Some(noun), true) = (clause.noun, clause.form != Form::Finite) {
            // "the 1990 film directed by Y"
            let mut words = tree.phrase(noun, 1);
            words.retain(|t| tree.tag(*t) != "DT" && *t < clause.verb);
            if tree.tag(noun).starts_with("NNP") || words.len() > 8 {
                return None;
            }
            let noun = tree.said(&words);
            out.phrase = Some(join(&[&noun, &verb, &with]));
            out.questions
                .push(join(&["which", &noun, &self.plain_verb(), &with]));
            return Some(out);
        }
        let said = join(&[&self.plain_verb(), &with]);
        out.relative = Some(format!("{WHO} {said}"));
        out.questions.push(format!("{ASK} {said}"));
        Some(out)
    }

    /// Asks for the subject, where the title is known and comes later.
    fn ask_subject(&self, spot: &Spot, mention: &Mention, tree: &Tree<'_>) -> Option<Statement> {
        if self.clause.copula && spot.prep.is_none() {
            return None;
        }
        let mut out = self.statement(Place::Title, Place::of(mention));
        let said = join(&[&self.plain_verb(), &self.rest(spot, Show::Given)]);
        if tree.has(mention.top, "conj") {
            return None;
        }
        out.relative = Some(format!("{WHO} {said}"));
        out.questions.push(format!("{ASK} {said}"));
        Some(out)
    }

    /// Asks for the title, where it comes later and the subject is known.
    fn ask_title_below(&self, spot: &Spot, mention: &Mention) -> Option<Statement> {
        let tree = self.parsed.tree;
        let top = self.clause.parts[spot.part].top;
        if self.clause.copula || tree.label(top) == "npadvmod" {
            return None;
        }
        let mut out = self.statement(Place::of(mention), Place::Title);
        let prep = spot.prep.map(|p| tree.lower(p));
        let without = self.rest(spot, Show::Without);
        let said = format!("{GIVEN} {}", join(&[&self.plain_verb(), &without]));
        let inverted = self.clause.passive && tree.label(top) == "agent";
        let verb = tree.lower(self.clause.verb);
        if let Some(past) = inverted.then(|| verbs::past_of(&verb)).flatten() {
            let active = join(&[past, &GIVEN.to_string(), &without]);
            out.relative = Some(format!("{WHO} {active}"));
            out.questions.push(format!("{ASK} {active}"));
            return Some(out);
        }
        let (_, relative) = fronted(prep.as_deref(), Kind::Other);
        out.relative = Some(format!("{relative} {said}"));
        let in_place = self.rest(spot, Show::InPlace);
        out.questions
            .push(join(&[&GIVEN.to_string(), &self.plain_verb(), &in_place]));
        Some(out)
    }
}

/// Words for the front of a question, and of a relative clause, that ask for what follows a
/// preposition, or for an object.
fn fronted(prep: Option<&str>, kind: Kind) -> (Vec<String>, String) {
    let within = matches!(prep, Some("in" | "at" | "on" | "near"));
    match (prep, kind) {
        (_, Kind::Year) if within => (
            vec!["in which year".to_owned(), "when".to_owned()],
            "in which".to_owned(),
        ),
        (_, Kind::Date | Kind::Year) => (vec!["when".to_owned()], format!("on {WHOM}")),
        (_, Kind::Place) if within => (
            vec![
                "where".to_owned(),
                format!("{} which {NOUN}", prep.unwrap_or("in")),
            ],
            "where".to_owned(),
        ),
        (Some(prep), _) => (Vec::new(), format!("{prep} {WHOM}")),
        (None, _) => (vec![ASK.to_string()], WHO.to_string()),
    }
}

/// Whether the recogniser is probably wrong: one is not born in a person.
fn is_doubtful(kind: Kind, prep: Option<&str>) -> bool {
    let within = [
        "in", "near", "into", "over", "under", "through", "across", "around",
    ];
    match (kind, prep) {
        (Kind::Person, Some(prep)) => {
            within.contains(&prep) || ["at", "on", "from"].contains(&prep)
        }
        (Kind::Organization, Some(prep)) => within.contains(&prep) || prep == "from",
        (Kind::Work, Some(prep)) => ["at", "near", "from", "to", "over", "into"].contains(&prep),
        _ => false,
    }
}

fn strip_article(text: &str) -> &str {
    let text = text.trim();
    ["the ", "a ", "an "]
        .iter()
        .find_map(|article| text.strip_prefix(article))
        .unwrap_or(text)
}
