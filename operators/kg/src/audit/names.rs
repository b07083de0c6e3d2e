//! Compares names with each other to find different spellings of one thing.

use super::checks::{self, Check};
use super::data::{Data, Finding, Place};
use super::normal::groups;

/// Reports entities, relations and titles that differ only by case, spaces and punctuation.
pub fn similar(data: &Data) -> Vec<Finding> {
    let mut out = Vec::new();
    let named: Vec<(u32, &str)> = data.named().collect();
    spelled(
        &checks::SIMILAR_ENTITIES,
        &groups(named.iter().map(|(_, name)| *name)),
        |i| named[i].1,
        |i| data.graph.degree(named[i].0),
        |i| data.entity(named[i].0),
        &mut out,
    );
    let mut uses = vec![0; data.relations.len()];
    for [_, relation, _] in &data.triples {
        uses[*relation as usize] += 1;
    }
    let direct: Vec<(usize, &str)> = data.direct().collect();
    spelled(
        &checks::SIMILAR_RELATIONS,
        &groups(direct.iter().map(|(_, name)| *name)),
        |i| direct[i].1,
        |i| uses[direct[i].0],
        |i| data.relation(direct[i].0),
        &mut out,
    );
    if let Some(documents) = &data.documents {
        // Pieces of a document share its title.
        let whole = (0..documents.titles.len()).filter(|row| data.parent(*row) == *row);
        let whole: Vec<usize> = whole.collect();
        spelled(
            &checks::SIMILAR_TITLES,
            &groups(whole.iter().map(|row| documents.titles[*row].as_str())),
            |i| documents.titles[whole[i]].as_str(),
            |_| 0,
            |i| data.document(whole[i]),
            &mut out,
        );
    }
    out
}

/// Reports every name of a group except the most used one, which is the suggestion.
fn spelled<'a>(
    check: &'static Check,
    groups: &[Vec<usize>],
    name: impl Fn(usize) -> &'a str,
    uses: impl Fn(usize) -> usize,
    place: impl Fn(usize) -> Option<Place>,
    out: &mut Vec<Finding>,
) {
    for group in groups {
        // Of equally used ones, the first.
        let Some(main) = group.iter().copied().rev().max_by_key(|i| uses(*i)) else {
            continue;
        };
        let at = place(main).map_or(String::new(), |p| format!(" ({p})"));
        for &other in group.iter().filter(|i| **i != main) {
            let message = format!(
                "differs from `{}`{at} by case, spaces or punctuation only",
                name(main)
            );
            out.push(
                Finding::new(check, place(other), name(other), message)
                    .suggest(Some(name(main).to_owned())),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{graph, reported, with_documents};
    use super::*;

    #[test]
    fn documents_as_nodes_and_pieces_are_spelled_as_their_titles() {
        let mut data = graph("oak town,title of,Oak Town\noak-town,is mentioned in,Oak Town");
        data = with_documents(
            data,
            &[
                ("Oak Town", "", &[]),
                ("Oak Town", "", &[]),
                ("oak town", "", &[]),
            ],
        );
        data.document_nodes = vec![false, true, false];
        data.places = super::super::data::Places::default();
        let sources = [("a.txt", 0), ("a.txt", 0), ("b.txt", 2)];
        data.details.sources = Some(sources.map(|(file, parent)| (file.into(), parent)).into());
        assert_eq!(
            reported(&similar(&data)),
            [
                "similar-entities - oak-town: differs from `oak town` by case, spaces or punctuation only [oak town]",
                "similar-titles b.txt oak town: differs from `Oak Town` (a.txt) by case, spaces or punctuation only [Oak Town]",
            ]
        );
    }

    #[test]
    fn the_most_used_spelling_is_suggested() {
        let data = graph(
            "Oak Town,Lies On,sel\noak town,lies on,orr\nx,lies on,oak-town\ny,lies on,oak town",
        );
        let data = with_documents(data, &[("A b", "", &[]), ("a B", "", &[]), ("c", "", &[])]);
        assert_eq!(
            reported(&similar(&data)),
            [
                "similar-entities kg.txt:1 Oak Town: differs from `oak town` (kg.txt:2) by case, spaces or punctuation only [oak town]",
                "similar-entities kg.txt:3 oak-town: differs from `oak town` (kg.txt:2) by case, spaces or punctuation only [oak town]",
                "similar-relations kg.txt:1 Lies On: differs from `lies on` (kg.txt:2) by case, spaces or punctuation only [lies on]",
                "similar-titles corpus.json:3 a B: differs from `A b` (corpus.json:2) by case, spaces or punctuation only [A b]",
            ]
        );
    }
}
