//! The checks: their names, how much a finding matters, what it means and what to do about it.
//! docs/audit.md lists them; a test compares it with this table.

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Data is lost, or results are misleading.
    Error,
    /// Data is probably not what was meant.
    Warning,
    /// Worth knowing, but probably intended.
    Note,
}

impl Severity {
    /// The word in tables and pages.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// What a check inspects, one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Lines of the graph that are not blank.
    Lines,
    /// Entities of the graph.
    Entities,
    /// Direct relations, without their inverses.
    Relations,
    /// Direct triples of the graph.
    Triples,
    /// Connected components of the graph.
    Components,
    /// Documents of the corpus.
    Documents,
    /// Entities named by documents.
    DocumentNames,
    /// Questions, including those left out.
    Questions,
    /// Entities named by questions.
    QuestionNames,
    /// Gold documents of questions.
    GoldTitles,
    /// Rows of rejects.
    Rejects,
    /// Names, titles, texts, questions and their ids.
    Texts,
}

impl Unit {
    /// The words in tables and pages.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Lines => "lines of the graph",
            Unit::Entities => "entities",
            Unit::Relations => "relations",
            Unit::Triples => "triples",
            Unit::Components => "components",
            Unit::Documents => "documents",
            Unit::DocumentNames => "entities named by documents",
            Unit::Questions => "questions",
            Unit::QuestionNames => "entities named by questions",
            Unit::GoldTitles => "gold titles",
            Unit::Rejects => "rejected items",
            Unit::Texts => "names and texts",
        }
    }
}

/// A check, as a row of docs/audit.md.
#[derive(Debug)]
pub struct Check {
    /// Name, in kebab case.
    pub name: &'static str,
    /// How much its findings matter.
    pub severity: Severity,
    /// What it inspects.
    pub unit: Unit,
    /// Inputs that it needs besides the graph.
    pub needs: &'static [&'static str],
    /// The exact condition for a finding.
    pub definition: &'static str,
    /// What a finding means for the user.
    pub meaning: &'static str,
    /// What to do about it.
    pub action: &'static str,
}

impl PartialEq for Check {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

const REJECTS: &[&str] = &["rejects"];
const DOCUMENTS: &[&str] = &["documents"];
const LINKS: &[&str] = &["documents", "links"];
const QUESTIONS: &[&str] = &["questions"];

macro_rules! checks {
    ($($id:ident: $name:literal, $severity:ident, $unit:ident, $needs:expr,
        $definition:literal, $meaning:literal, $action:literal;)*) => {
        $(
            #[doc = $meaning]
            pub const $id: Check = Check {
                name: $name,
                severity: Severity::$severity,
                unit: Unit::$unit,
                needs: $needs,
                definition: $definition,
                meaning: $meaning,
                action: $action,
            };
        )*
        /// Every check: errors first, then warnings, then notes.
        pub const CHECKS: &[&Check] = &[$(&$id),*];
        /// The values of `strict`: names of checks, and words for all checks of a severity.
        pub const STRICT: &[&str] = &[ERRORS, WARNINGS, $($name),*];
    };
}

/// Stands for every check that is an error.
pub const ERRORS: &str = "errors";
/// Stands for every check that is an error or a warning.
pub const WARNINGS: &str = "warnings";

checks! {
    REJECTED_TRIPLE: "rejected-triple", Error, Lines, REJECTS,
        "a line of the graph that was rejected, unless it has more than three fields; of nodes.csv, relations.csv and edges.csv a record that was rejected",
        "lines of the graph that could not be used: these facts are lost",
        "in kg.txt, write each fact as `head,relation,tail`, in UTF-8, on a line of its own; in CSV files, correct what the message names";
    COMMA_IN_NAME: "comma-in-name", Error, Lines, REJECTS,
        "a line of the graph with more than three fields. There is a suggestion where one reading is the only best one. The best readings have a known head, relation and tail; then a known head and tail; then a known relation and one known end. Names in documents and questions count as known",
        "lines of the graph with too many commas, probably inside a name: these facts are lost",
        "write the name without a comma, in the graph and wherever else it is named";
    EMPTY_NAME: "empty-name", Error, Triples, &[],
        "a triple whose head, relation or tail has no character but white space",
        "triples in which a name is missing: all of these share one nameless entity",
        "complete the line or remove it";
    REJECTED_QUESTION: "rejected-question", Error, Questions, REJECTS,
        "an item of a list of questions that is not an object or has no usable `id` or `question`",
        "questions that cannot be read: they are left out",
        "give each question an `id` and a `question` text";
    DUPLICATE_QUESTION_ID: "duplicate-question-id", Error, Questions, REJECTS,
        "a question whose id an earlier question of the split has",
        "questions with the id of an earlier one: they are left out",
        "give each question an id of its own";
    QUESTION_WITHOUT_ENTITY: "question-without-entity", Error, Questions, QUESTIONS,
        "a question without an entity of the graph in `question_entities` (or `start_nodes`, where documents do not count). Not checked where no question of any split has one, as from `ingest-questions`",
        "questions that cannot be asked, because they name no entity of the graph: they score 0 and teach nothing",
        "name an entity of the graph in `question_entities` (or `start_nodes`), as the graph spells it";
    QUESTION_WITHOUT_GOLD: "question-without-gold", Error, Questions, QUESTIONS,
        "a question none of whose `supporting_facts` (or `target_nodes`) is a document",
        "questions without a known gold document: nothing can be right for them",
        "name documents in `supporting_facts` (or `target_nodes`)";
    REJECTED_DOCUMENT: "rejected-document", Error, Rejects, REJECTS,
        "anything else that an ingest or `extract` rejected: a file of documents, a part of one, or an extracted record",
        "files and records that could not be read, or not as they are: what is in them is lost",
        "convert the file, or correct the record, as the message says; leave out what is not a document (`except`)";
    UNKNOWN_GOLD_TITLE: "unknown-gold-title", Error, GoldTitles, REJECTS,
        "a title in a question's `supporting_facts` that is not the title of a document",
        "gold titles that are no document: these can never be found, which lowers every recall",
        "spell the title as the corpus does, or add the document";
    DUPLICATE_TITLE: "duplicate-title", Error, Documents, REJECTS,
        "a title that occurs again further down in the same file",
        "documents whose title comes again: only the last one is kept",
        "give each document a title of its own";
    DOCUMENT_NOT_IN_CORPUS: "document-not-in-corpus", Error, Documents, REJECTS,
        "a title of document2entities.json that dataset_corpus.json does not have",
        "documents whose entities are known but whose text is missing",
        "add the text to dataset_corpus.json, or spell the title alike in both files";
    LEAKED_QUESTION: "leaked-question", Error, Questions, QUESTIONS,
        "a question of valid or test with the same normalised text as a question of an earlier split (train, valid, test)",
        "questions that are in two splits: metrics will be better than the retriever is",
        "keep the question in one split";
    UNKNOWN_QUESTION_ENTITY: "unknown-question-entity", Warning, QuestionNames, REJECTS,
        "a name in `question_entities` or `start_nodes` that is not in the graph",
        "entities named by questions that the graph does not have: the search cannot start there",
        "spell the name as the graph does, or add triples of it";
    UNKNOWN_SUPPORTING_ENTITY: "unknown-supporting-entity", Warning, QuestionNames, REJECTS,
        "a name in `supporting_entities` or `target_nodes` that is not in the graph",
        "entities of gold documents that the graph does not have: training does not learn to find them",
        "spell the name as the graph does, or add triples of it";
    UNKNOWN_DOCUMENT_ENTITY: "unknown-document-entity", Warning, DocumentNames, REJECTS,
        "a name in document2entities.json that is not an entity of the graph",
        "entities named by documents that the graph does not have: no path leads to the document through them",
        "spell the name as the graph does, or add triples of it";
    REJECTED_VALUE: "rejected-value", Warning, Rejects, REJECTS,
        "any other rejected item of documents and questions: a value of the wrong type, a missing or repeated key",
        "values of questions and documents that could not be used",
        "give the value the type that the message names";
    REJECTED_FACT: "rejected-fact", Warning, Rejects, REJECTS,
        "a fact or mention that `build-kg` rejected, because a name has no letter or digit left, or that `extract` could not take from the answer of a language model",
        "facts and mentions without a name, and answers that cannot be used: they are not in the graph",
        "nothing, where it is punctuation; names in other scripts need `normalize: unicode`; for many answers, try another prompt or model";
    SIMILAR_ENTITIES: "similar-entities", Warning, Entities, &[],
        "an entity with the same normalised name as one that is in more triples (or in as many, and came first); nodes of documents do not count",
        "entities whose names differ only by case, spaces or punctuation: what is known of one thing is split between several",
        "spell the name one way, in the graph, the documents and the questions";
    SIMILAR_RELATIONS: "similar-relations", Warning, Relations, &[],
        "a relation with the same normalised name as one that is in more triples (or in as many, and came first)",
        "relations whose names differ only by case, spaces or punctuation",
        "spell the relation one way";
    SIMILAR_TITLES: "similar-titles", Warning, Documents, DOCUMENTS,
        "a document with the same normalised title as an earlier one; pieces of a document do not count",
        "documents whose titles differ only by case, spaces or punctuation: they may be one",
        "spell the title one way, in the corpus, document2entities.json and `supporting_facts`";
    PADDED_NAME: "padded-name", Warning, Texts, &[],
        "a name of an entity or relation, or a title, that begins or ends with white space",
        "names with white space at their ends, which is part of the name",
        "remove the white space; in the graph there is none around commas";
    REPLACEMENT_CHARACTER: "replacement-character", Warning, Texts, &[],
        "a name, title, text or question with U+FFFD",
        "texts with replacement characters: something was read in the wrong encoding, and is lost",
        "take the text from its source again, in its own encoding";
    MOJIBAKE: "mojibake", Warning, Texts, &[],
        "a name, title, text or question in which characters of Windows-1252 stand for the bytes of a UTF-8 character: Â or Ã and a continuation byte, Ä or Å and one of U+00A1 to U+00BF, or â and two continuation bytes; dashes, dots and curved quotes count only after â",
        "texts that were read in the wrong encoding (`Ã©` for `é`)",
        "read the source as UTF-8; the suggestion is what was probably there";
    CONTROL_CHARACTER: "control-character", Warning, Texts, &[],
        "a name, title, text or question with a control character; tabs and line ends are allowed in texts and questions",
        "texts with control characters",
        "remove them";
    INVISIBLE_CHARACTER: "invisible-character", Warning, Texts, &[],
        "a name, title, text, question or question id with an invisible character: a zero-width space or joiner (joiners only next to ASCII or at an end), byte order mark, soft hyphen, control of the writing direction (marks, embeddings, overrides, isolates), invisible operator, filler, tag or U+2028, U+2029",
        "texts with invisible characters: names with and without them are different names, and characters that control direction show a text in another order than it has",
        "remove them";
    NOT_NFC: "not-nfc", Warning, Texts, &[],
        "a name, title, text or question that Unicode's normal form C changes",
        "texts in which accents are characters of their own: the same name from elsewhere will be another name",
        "normalise all texts to NFC";
    DOCUMENT_WITHOUT_ENTITY: "document-without-entity", Warning, Documents, LINKS,
        "a document that is not linked to an entity of the graph, or only to nodes of documents",
        "documents that mention no entity of the graph: no search over the graph finds them",
        "name the document's entities in document2entities.json, as the graph spells them, or give it edges in edges.csv";
    EMPTY_DOCUMENT: "empty-document", Warning, Documents, DOCUMENTS,
        "a document of dataset_corpus.json whose text has no character but white space",
        "documents without a text",
        "add the text, or remove the document";
    DUPLICATE_DOCUMENT: "duplicate-document", Warning, Documents, DOCUMENTS,
        "a document with the same text as an earlier one, where the text is not blank",
        "documents with the same text: they compete for one place in every ranking",
        "keep one of them";
    NEAR_DUPLICATE_DOCUMENT: "near-duplicate-document", Warning, Documents, DOCUMENTS,
        "a document that shares at least 80 % of the distinct runs of three words, counted over both, with an earlier document that is not reported itself. Documents with fewer than 10 such runs are not compared, nor are equal texts and pieces of one document",
        "documents that are almost the same: they compete for one place in every ranking",
        "keep the one that is current";
    BOILERPLATE: "boilerplate", Warning, Documents, DOCUMENTS,
        "a line (or a sentence, in a text without line breaks) of at least three words that is among the first three or the last three of at least 5 documents and at least 10 % of them. It is reported once, with the first document. Equal texts count once, and pieces count as the whole document",
        "text that many documents begin or end with, such as menus and notices: it makes them look alike, and says nothing about them",
        "remove it before the documents are read";
    LONG_DOCUMENT: "long-document", Warning, Documents, DOCUMENTS,
        "a document of more than `max_words` words; in scripts without blanks, each character is a word",
        "documents that are longer than encoders read: they cut texts off, so that what comes later is not found by its meaning",
        "cut documents into pieces, with `split` of `ingest-documents`";
    DOCUMENT_WITHOUT_MENTION: "document-without-mention", Warning, Documents, &["documents", "mentions"],
        "a document with a text that has no row in `mentions`, where other documents have rows",
        "documents in which no mention was found: nothing leads to them in the graph but their titles",
        "see whether the text is prose, and in the language of the extractor: `by: patterns` takes any";
    OTHER_LANGUAGE: "other-language", Warning, Documents, &["documents", "mentions"],
        "a document of at least 20 words, of which fewer than one in ten is a frequent English word, and whose first 4 KiB are reliably in another language (by letters and trigrams, according to the crate whatlang). Checked only where `mentions` has labels of `extract` with `by: english`",
        "documents in another language that were extracted as English: their mentions and facts are few, and wrong",
        "extract them with `by: patterns`, or leave them out (`except`)";
    UNREACHABLE_GOLD: "unreachable-gold", Warning, GoldTitles, &["documents", "links", "questions"],
        "a gold document of a question with known entities, where no path of at most `layers` triples, in either direction, leads from these entities to one that the document mentions",
        "gold documents that are too far away in the graph: a model of so many layers cannot find them",
        "add the triples that lead there, or give the model more layers";
    DUPLICATE_QUESTION: "duplicate-question", Warning, Questions, QUESTIONS,
        "a question with the same normalised text as an earlier question of its split",
        "questions that are asked twice in a split",
        "keep one of them";
    HEADER_LINE: "header-line", Warning, Lines, &[],
        "the first triple of the graph, where its head, relation and tail are words for these columns (`head,relation,tail`, `subject,predicate,object`, `source,edge,target`, `h,r,t` and the like)",
        "a line that names the columns: kg.txt has none, so it was read as a triple",
        "remove the line";
    QUOTED_NAME: "quoted-name", Warning, Texts, &[],
        "a name of an entity or relation that begins and ends with a quotation mark (\"), and in which all others are doubled",
        "names in quotation marks, as CSV writes fields: kg.txt has no quoting, so they are part of the name",
        "write names without them; commas inside a name have to go as well";
    NEAR_DUPLICATE_RELATION: "near-duplicate-relation", Warning, Relations, &[],
        "a relation that shares at least 80 %, and at least 3, of its distinct pairs of entities (head, tail) with another relation, in the same direction or with head and tail exchanged. Of two such relations, the one that comes first is not reported. Pairs of entities joined by more than 64 distinct triples are not compared, nor are edges of documents",
        "relations that repeat the facts of another one: each triple gives away another, so link prediction is too easy and the same facts count twice",
        "keep one of the two: every triple has its inverse already. (Pre-training hides such triples together, see `task.twin_share`)";
    DUPLICATE_TRIPLE: "duplicate-triple", Warning, Triples, &[],
        "a triple that is the same as an earlier one",
        "triples that are given again: each counts as an edge of its own",
        "keep one of them";
    SHARED_TARGET: "shared-target", Note, Questions, QUESTIONS,
        "a question of valid or test that is not leaked, but has the same known entities and the same known gold documents as a question of an earlier split, with at least one of each",
        "questions that another split asks in other words",
        "keep both in one split, unless wordings are what is tested";
    SELF_LOOP: "self-loop", Note, Triples, &[],
        "a triple whose head is its tail",
        "triples that lead nowhere",
        "see whether the tail is what was meant";
    RARE_RELATION: "rare-relation", Note, Relations, &[],
        "a relation with a single triple, where `facts` is not connected: texts use most relations once",
        "relations that are used once: nothing can be learned about them but their name",
        "use one name for what is one relation";
    INVERSE_RELATION: "inverse-relation", Note, Relations, &[],
        "a relation whose name is `inverse_` and the name of another relation",
        "relations named like the inverse of another, which every relation has already",
        "write these triples with the other relation, head and tail exchanged, or rename it";
    SYMMETRIC_RELATION: "symmetric-relation", Note, Relations, &[],
        "a relation with at least 80 %, and at least 3, of its distinct pairs of two entities in both directions; counted as for `near-duplicate-relation`",
        "relations whose triples are given in both directions",
        "nothing, where it holds both ways (`is married to`); else remove the reversed lines: every triple has its inverse already";
    ISOLATED_ENTITY: "isolated-entity", Note, Entities, &[],
        "an entity in no triple with another entity; nodes of documents do not count",
        "entities without a neighbour",
        "add triples of them, or remove them";
    SMALL_COMPONENT: "small-component", Note, Components, &[],
        "a connected component of several entities that is not the largest",
        "parts of the graph that nothing connects with its main part: no search crosses the gap",
        "see whether a name is spelled differently there";
    DOCUMENT_WITHOUT_FACT: "document-without-fact", Note, Documents, &["documents", "facts"],
        "a document with a text that has no row in `facts`, where other documents have rows",
        "documents in which no fact was found: the graph knows what they mention, but not what they say",
        "nothing, where the text is a list or a table";
    UNLINKED_ENTITY: "unlinked-entity", Note, Entities, LINKS,
        "an entity that no document mentions",
        "entities of no document: they connect, but lead to nothing",
        "nothing, where this is meant";
}

/// The checks that a word of `strict` stands for.
pub fn meant(word: &str) -> impl Iterator<Item = &'static Check> {
    let least = match word {
        ERRORS => Some(Severity::Error),
        WARNINGS => Some(Severity::Warning),
        _ => None,
    };
    let picked = move |c: &Check, word: &str| match least {
        Some(least) => c.severity <= least,
        None => c.name == word,
    };
    let word = word.to_owned();
    CHECKS.iter().copied().filter(move |c| picked(c, &word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kebab_case_once_and_errors_come_first() {
        let mut names: Vec<&str> = CHECKS.iter().map(|c| c.name).collect();
        let kebab = |n: &str| n.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        assert!(names.iter().all(|n| kebab(n)));
        assert!(CHECKS.is_sorted_by_key(|c| c.severity));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CHECKS.len());
    }

    #[test]
    fn words_stand_for_checks() {
        let count = |word: &str| meant(word).count();
        let of = |least| CHECKS.iter().filter(|c| c.severity <= least).count();
        assert_eq!(count("errors"), of(Severity::Error));
        assert_eq!(count("warnings"), of(Severity::Warning));
        assert_eq!(meant("self-loop").collect::<Vec<_>>(), [&SELF_LOOP]);
        assert_eq!(count("no-such-check"), 0);
    }
}
