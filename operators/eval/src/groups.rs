//! Groups of questions that metrics are averaged over.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Name of the group that is reported separately: wordings never seen in training.
pub const PARAPHRASE: &str = "paraphrase";

/// The groups that a question belongs to: `all`, `hops=2`, `gold=3` (number of gold documents),
/// then names from the data (`type=…`). Paraphrases count in `paraphrase` only: all other groups
/// are about wordings like those seen in training, so that they add up to `all`.
pub fn groups(hops: Option<u32>, gold: u32, names: &[String]) -> Vec<String> {
    if names.iter().any(|n| n == PARAPHRASE) {
        return vec![PARAPHRASE.to_owned()];
    }
    let mut groups = vec!["all".to_owned()];
    groups.extend(hops.map(|h| format!("hops={h}")));
    groups.push(format!("gold={gold}"));
    for name in names {
        // A name from the data must not collide with the groups that are counted here.
        let counted = ["hops=", "gold="].iter().any(|p| name.starts_with(p));
        let name = if counted && !groups.contains(name) {
            format!("group:{name}")
        } else {
            name.clone()
        };
        if !groups.contains(&name) {
            groups.push(name);
        }
    }
    groups
}

/// `all`, `paraphrase`, hops by number, gold documents by number, types, then the rest by name.
fn order(a: &str, b: &str) -> Ordering {
    let number = |g: &str, prefix| g.strip_prefix(prefix).and_then(|n| n.parse::<u32>().ok());
    let key = |g: &str| match g {
        "all" => (0, 0),
        PARAPHRASE => (1, 0),
        _ => match (number(g, "hops="), number(g, "gold=")) {
            (Some(n), _) => (2, n),
            (_, Some(n)) => (3, n),
            _ if g.starts_with("type=") => (4, 0),
            _ => (5, 0),
        },
    };
    key(a).cmp(&key(b)).then_with(|| a.cmp(b))
}

/// All groups in order, each with the positions of its questions, ascending. `of[question]` lists
/// the question's groups (see [`groups`]).
pub fn members(of: &[Vec<String>]) -> Vec<(String, Vec<usize>)> {
    let mut members: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (question, names) in of.iter().enumerate() {
        for name in names {
            members.entry(name).or_default().push(question);
        }
    }
    let mut members: Vec<(String, Vec<usize>)> = members
        .into_iter()
        .map(|(name, of)| (name.to_owned(), of))
        .collect();
    members.sort_by(|a, b| order(&a.0, &b.0));
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn paraphrases_stand_apart() {
        assert_eq!(
            groups(Some(2), 2, &names(&["type=a", PARAPHRASE])),
            [PARAPHRASE]
        );
        assert_eq!(
            groups(Some(2), 3, &names(&["type=a", "all", "hops=2"])),
            ["all", "hops=2", "gold=3", "type=a"]
        );
        assert_eq!(groups(None, 0, &[]), ["all", "gold=0"]);
        assert_eq!(
            groups(Some(2), 3, &names(&["gold=1", "hops=4"])),
            ["all", "hops=2", "gold=3", "group:gold=1", "group:hops=4"]
        );
    }

    #[test]
    fn groups_have_an_order_and_their_questions() {
        let of = vec![
            groups(Some(10), 2, &names(&["type=b", "extra"])),
            groups(Some(2), 10, &names(&["type=a"])),
            groups(Some(2), 2, &names(&[PARAPHRASE])),
            groups(None, 2, &[]),
        ];
        let shown: Vec<String> = members(&of)
            .into_iter()
            .map(|(name, of)| format!("{name} {of:?}"))
            .collect();
        assert_eq!(
            shown,
            [
                "all [0, 1, 3]",
                "paraphrase [2]",
                "hops=2 [1]",
                "hops=10 [0]",
                "gold=2 [0, 3]",
                "gold=10 [1]",
                "type=a [1]",
                "type=b [0]",
                "extra [0]",
            ]
        );
        assert!(members(&[]).is_empty());
    }
}
