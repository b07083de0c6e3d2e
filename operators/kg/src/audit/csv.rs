//! Checks of a graph that was written as CSV: a line that names the columns, and quotes around
//! fields. `kg.txt` has neither: both become part of names.

use super::checks;
use super::data::{Data, Finding};
use super::normal::normal;

/// Names of columns for heads, relations and tails, in normal form.
const COLUMNS: [&[&str]; 3] = [
    &[
        "head",
        "headentity",
        "heads",
        "subject",
        "subj",
        "source",
        "src",
        "from",
        "start",
        "entity1",
        "node1",
        "e1",
    ],
    &[
        "relation",
        "relations",
        "relationship",
        "rel",
        "predicate",
        "pred",
        "property",
        "edge",
        "edgetype",
        "label",
        "type",
    ],
    &[
        "tail",
        "tailentity",
        "tails",
        "object",
        "obj",
        "target",
        "dst",
        "to",
        "end",
        "entity2",
        "node2",
        "e2",
    ],
];
/// Single letters name columns only when all three occur together.
const LETTERS: [[&str; 3]; 2] = [["h", "r", "t"], ["s", "p", "o"]];

/// Reports the first line where it names columns.
pub fn header(data: &Data) -> Vec<Finding> {
    let Some([head, relation, tail]) = data.triples.first() else {
        return Vec::new();
    };
    let relation = data.relations[*relation as usize].name.as_str();
    let names = [data.entities.get(*head), relation, data.entities.get(*tail)];
    let words = names.map(normal);
    let words = words.each_ref().map(String::as_str);
    let columns = words
        .iter()
        .zip(COLUMNS)
        .all(|(word, known)| known.contains(word));
    if !columns && !LETTERS.contains(&words) {
        return Vec::new();
    }
    let message = format!(
        "`{}` names the columns, and was read as a triple",
        names.join(",")
    );
    vec![Finding::new(
        &checks::HEADER_LINE,
        data.triple(0),
        names[0],
        message,
    )]
}

/// Reports names of entities and relations in quotation marks.
pub fn quoted(data: &Data) -> Vec<Finding> {
    let entities = data.named();
    let entities = entities.map(|(id, name)| (name, "name", data.entity(id)));
    let relations = data
        .direct()
        .map(|(id, name)| (name, "relation", data.relation(id)));
    let found = entities.chain(relations).filter_map(|(name, what, place)| {
        let inner = unquoted(name)?;
        let message = format!("the {what} is in quotation marks, which are part of it");
        Some(Finding::new(&checks::QUOTED_NAME, place, name, message).suggest(Some(inner)))
    });
    found.collect()
}

/// The content of a field in quotation marks, as CSV defines it. `None` where it is not such a
/// field.
fn unquoted(field: &str) -> Option<String> {
    let inner = field.trim().strip_prefix('"')?.strip_suffix('"')?;
    let plain = inner.replace("\"\"", "");
    (!inner.is_empty() && !plain.contains('"')).then(|| inner.replace("\"\"", "\""))
}

/// The fields of a line of CSV in which some are in quotation marks and contain commas.
pub fn fields(line: &str) -> Option<Vec<String>> {
    let mut out: Vec<String> = Vec::new();
    let mut open: Option<String> = None;
    for piece in line.split(',') {
        let field = match open.take() {
            Some(begun) => format!("{begun},{piece}"),
            None => piece.to_owned(),
        };
        let quotes = field.matches('"').count();
        if field.trim_start().starts_with('"') && quotes % 2 == 1 {
            open = Some(field);
            continue;
        }
        out.push(unquoted(&field).unwrap_or(field));
    }
    open.is_none().then_some(out)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{graph, reported};
    use super::*;

    #[test]
    fn a_line_that_names_columns_is_reported() {
        for (line, item) in [
            ("head,relation,tail", "head"),
            ("\"Subject\",\"Predicate\",\"Object\"", "\"Subject\""),
            (" source , edge_type , target ", " source "),
            ("h,r,t", "h"),
            ("S,P,O", "S"),
        ] {
            let data = graph(&format!("{line}\nada,lives in,oak town"));
            let message = format!(
                "header-line kg.txt:1 {item}: `{line}` names the columns, and was read as a triple"
            );
            assert_eq!(reported(&header(&data)), [message]);
        }
        for text in [
            "ada,lives in,oak town\nhead,relation,tail",
            "head,part of,body",
            "source,type,database",
            "h,r,o",
            "from,to,relation",
        ] {
            assert!(header(&graph(text)).is_empty(), "{text}");
        }
    }

    #[test]
    fn names_in_quotation_marks_are_told_without_them() {
        let data = graph(
            "\"ada\",\"lives in\",oak \"the\" town\n\"\",likes,\"\n\"a\"b\",likes,\"a \"\"b\"\"\"",
        );
        assert_eq!(
            reported(&quoted(&data)),
            [
                "quoted-name kg.txt:1 \"ada\": the name is in quotation marks, which are part of it [ada]",
                "quoted-name kg.txt:3 \"a \"\"b\"\"\": the name is in quotation marks, which are part of it [a \"b\"]",
                "quoted-name kg.txt:1 \"lives in\": the relation is in quotation marks, which are part of it [lives in]",
            ]
        );
    }

    #[test]
    fn commas_in_quotation_marks_part_no_fields() {
        let split = |line: &str| fields(line).map(|f| f.join("|"));
        assert_eq!(
            split("\"mill, the old\",\"lies on\",river"),
            Some("mill, the old|lies on|river".to_owned())
        );
        assert_eq!(
            split("a, \"b \"\"x\"\", c\",d"),
            Some("a|b \"x\", c|d".to_owned())
        );
        assert_eq!(split("a 5\" pipe,b,c"), Some("a 5\" pipe|b|c".to_owned()));
        assert_eq!(split("\"a,b,c"), None);
    }
}
