//! Compares relations with each other to find facts that are stated twice.

use gfm_pipe_api::twins::{SHARE, Twin, twins};

use super::checks;
use super::data::{Data, Finding};

/// Fewest shared pairs that are reported: in a graph with thousands of relations, one or two occur
/// by chance.
const FEWEST: u64 = 3;

/// Reports relations with the same pairs of entities as another one, or with their own pairs
/// reversed.
pub fn near_duplicates(data: &Data) -> Vec<Finding> {
    let all = twins(data.facts(), SHARE);
    let all: Vec<Twin> = all.into_iter().filter(|t| t.shared >= FEWEST).collect();
    let mut out = Vec::new();
    for of_one in all.chunk_by(|a, b| a.relation == b.relation) {
        if let Some(twin) = of_one.iter().find(|t| t.other == t.relation) {
            let message = format!("{} are given in both directions", share(twin));
            out.push(finding(data, &checks::SYMMETRIC_RELATION, twin, message));
        }
        // Of two relations that are each other's duplicate, the one that comes later is reported.
        let other = |t: &&Twin| t.other < t.relation || t.other > t.relation && !mutual(&all, t);
        // Of those that share most, the first.
        let most = of_one.iter().filter(other).rev().max_by_key(|t| t.shared);
        if let Some(twin) = most {
            let how = if twin.reversed {
                ", with head and tail exchanged"
            } else {
                ""
            };
            let name = &data.relations[twin.other as usize].name;
            let message = format!("{} also stand under `{name}`{how}", share(twin));
            out.push(finding(
                data,
                &checks::NEAR_DUPLICATE_RELATION,
                twin,
                message,
            ));
        }
    }
    out
}

fn mutual(all: &[Twin], twin: &Twin) -> bool {
    all.iter()
        .any(|t| (t.relation, t.other, t.reversed) == (twin.other, twin.relation, twin.reversed))
}

fn share(twin: &Twin) -> String {
    format!("{} of its {} pairs of entities", twin.shared, twin.pairs)
}

fn finding(data: &Data, check: &'static checks::Check, twin: &Twin, message: String) -> Finding {
    let id = twin.relation as usize;
    Finding::new(check, data.relation(id), &data.relations[id].name, message)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{graph, reported};
    use super::*;

    #[test]
    fn facts_that_are_stated_twice_are_told_once() {
        let data = graph(
            "a,born in,b\nc,born in,d\ne,born in,f\n\
             a,also born in,b\nc,also born in,d\ne,also born in,f\n\
             b,birthplace of,a\nd,birthplace of,c\nf,birthplace of,e\nh,birthplace of,g\n\
             a,knows,c\nc,knows,a\na,knows,e\ne,knows,a\n\
             a,likes,c\na,likes,e\ne,likes,c\n\
             b,once,d\nb,seldom,d",
        );
        assert_eq!(
            reported(&near_duplicates(&data)),
            [
                "near-duplicate-relation kg.txt:1 born in: 3 of its 3 pairs of entities also stand under `birthplace of`, with head and tail exchanged",
                "near-duplicate-relation kg.txt:4 also born in: 3 of its 3 pairs of entities also stand under `born in`",
                "symmetric-relation kg.txt:11 knows: 4 of its 4 pairs of entities are given in both directions",
            ]
        );
    }

    #[test]
    fn a_relation_named_twice_and_reversed_is_reported_where_it_comes_later() {
        let data = graph("a,r,b\nc,r,d\ne,r,f\nb,back,a\nd,back,c\nf,back,e");
        assert_eq!(
            reported(&near_duplicates(&data)),
            [
                "near-duplicate-relation kg.txt:4 back: 3 of its 3 pairs of entities also stand under `r`, with head and tail exchanged",
            ]
        );
    }
}
