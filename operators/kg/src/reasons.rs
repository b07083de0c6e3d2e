//! Reasons of rejection that are read again: the ingests write them, and `audit` sorts by them.

/// The reason for a line of a graph that does not have three fields.
pub fn fields(found: usize) -> String {
    format!("{FIELDS}{found}")
}

/// How many fields a rejected line has, if that was the reason.
pub fn fields_found(reason: &str) -> Option<usize> {
    reason.strip_prefix(FIELDS)?.parse().ok()
}

const FIELDS: &str = "expected 3 fields separated by commas, found ";

/// The reason for a line of a graph with more bytes than are read.
pub fn too_long(bytes: u64, most: usize) -> String {
    format!("{TOO_LONG}{bytes} bytes, more than {most}; its beginning is kept")
}

const TOO_LONG: &str = "the line has ";

/// The reason for a line of a graph that is not UTF-8 from a byte on, counted from one.
pub fn not_utf8(byte: usize) -> String {
    format!("{NOT_UTF8}{byte} on")
}

const NOT_UTF8: &str = "not UTF-8 from byte ";

/// Whether a reason is about a line of a graph.
pub fn of_line(reason: &str) -> bool {
    [FIELDS, TOO_LONG, NOT_UTF8]
        .iter()
        .any(|beginning| reason.starts_with(beginning))
}

/// An entity that a document names.
pub const DOCUMENT_ENTITY: &str = "entity not in the graph";
/// An entity that a question asks from.
pub const QUESTION_ENTITY: &str = "question entity not in the graph";
/// An entity of a question's gold documents.
pub const SUPPORTING_ENTITY: &str = "supporting entity not in the graph";
/// A gold document that is not there.
pub const GOLD_TITLE: &str = "gold title not in the corpus";
/// A document without a text.
pub const NOT_IN_CORPUS: &str = "the title is not in dataset_corpus.json: kept with an empty text";
/// A document that overwrites an earlier one.
pub const TITLE_TWICE: &str = "the title is given twice: the last counts";
/// A question with the id of an earlier one.
pub const ID_TWICE: &str = "another question has this id: the first is kept";
/// The reason for an edge whose `source`, `relation` or `target` is not there.
pub fn unknown_end(column: &str) -> String {
    format!("the {column} of the edge is not in the graph")
}

/// A gold document of a question of GFM-RAG 2.0 that is not there.
pub const TARGET_DOCUMENT: &str = "`target_nodes` names a document that is not in the graph";
/// The fields with the nodes of a question of GFM-RAG 2.0.
pub const START: &str = "start_nodes";
/// See [`START`].
pub const TARGET: &str = "target_nodes";

/// The reason for a name in a question's [`START`], or in [`TARGET`] other than a document.
pub fn unknown_node(field: &str) -> String {
    format!("`{field}` names a node that is not in the graph")
}

/// The reason for attributes of a node, relation or edge.
pub fn attributes(why: &str) -> String {
    format!("{ATTRIBUTES}{why}; the record is kept without")
}

/// Whether a reason is about attributes.
pub fn of_attributes(reason: &str) -> bool {
    reason.starts_with(ATTRIBUTES)
}

const ATTRIBUTES: &str = "the attributes cannot be read: ";

/// The end of every reason that leaves a question out.
pub const SKIPPED: &str = ": skipped";
/// The end of the reason for an item of a list of questions that is not an object.
pub const NO_OBJECT: &str = ", not an object";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_fields_comes_back() {
        assert_eq!(fields_found(&fields(5)), Some(5));
        assert_eq!(fields_found(DOCUMENT_ENTITY), None);
        for reason in [fields(2), too_long(9, 3), not_utf8(1)] {
            assert!(of_line(&reason), "{reason}");
        }
        assert!(!of_line(GOLD_TITLE));
    }
}
