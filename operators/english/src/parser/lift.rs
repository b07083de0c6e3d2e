//! Turns the parser's arcs into the final tree.
//!
//! The parser can only make arcs that do not cross. An arc that would cross is attached further up,
//! with a label of two parts: its own, and that of its real head, which is then searched below.

use super::ROOT;
use crate::names::{NameId, Names};

/// Separates the parts of a label.
const BETWEEN: &str = "||";
/// Edges settle within this many passes, or are taken as they are.
const MOST_PASSES: usize = 12;

/// The parts of labels.
pub(super) struct Labels {
    pub(super) root: NameId,
    /// The two parts of each label that has two.
    parts: Vec<Option<(NameId, NameId)>>,
}

impl Labels {
    pub(super) fn new<'a>(labels: impl Iterator<Item = &'a str>, names: &mut Names) -> Self {
        let mut parts = Vec::new();
        for label in labels {
            let Some((own, head)) = label.split_once(BETWEEN) else {
                continue;
            };
            let both = usize::from(names.add(label));
            parts.resize(parts.len().max(both + 1), None);
            parts[both] = Some((names.add(own), names.add(head)));
        }
        Labels {
            root: names.add(ROOT),
            parts,
        }
    }

    fn parts(&self, label: NameId) -> Option<(NameId, NameId)> {
        self.parts.get(usize::from(label)).copied().flatten()
    }
}

/// The heads, labels and sentence starts of a text.
pub(crate) struct Parse {
    /// A token that is its own head is the root of a sentence.
    pub(crate) heads: Vec<usize>,
    pub(crate) labels: Vec<NameId>,
    /// For each token, whether a sentence starts with it.
    pub(crate) starts: Vec<bool>,
}

/// Finds the real heads of labels with two parts, and the starts of sentences.
pub(super) fn finish(
    mut heads: Vec<usize>,
    mut labels: Vec<NameId>,
    parts: &Labels,
    is_white: impl Fn(usize) -> bool,
) -> Parse {
    let mut edges = Edges::of(&heads);
    if labels.iter().any(|label| parts.parts(*label).is_some()) {
        let mut children = Children::of(&heads, &edges);
        for token in 0..heads.len() {
            let Some((own, wanted)) = parts.parts(labels[token]) else {
                continue;
            };
            labels[token] = own;
            let fits = |child: usize| labels[child] == wanted;
            let goes_on = |child: usize| child != token && !is_white(child);
            if let Some(head) = children.find(heads[token], fits, goes_on) {
                children.attach(token, heads[token], head, &edges);
                heads[token] = head;
            }
        }
        edges = Edges::of(&heads);
    }
    let mut starts = vec![false; heads.len()];
    for (token, head) in heads.iter().enumerate() {
        if *head == token {
            starts[edges.low[token]] = true;
        }
    }
    Parse {
        heads,
        labels,
        starts,
    }
}

/// The first and the last token below each token, including itself.
struct Edges {
    low: Vec<usize>,
    high: Vec<usize>,
}

impl Edges {
    fn of(heads: &[usize]) -> Self {
        let mut edges = Edges {
            low: (0..heads.len()).collect(),
            high: (0..heads.len()).collect(),
        };
        for _ in 0..MOST_PASSES {
            (0..heads.len()).for_each(|token| edges.widen(token, heads[token]));
            (0..heads.len())
                .rev()
                .for_each(|token| edges.widen(token, heads[token]));
            if edges.are_settled(heads) {
                break;
            }
        }
        edges
    }

    fn widen(&mut self, token: usize, head: usize) {
        self.low[head] = self.low[head].min(self.low[token]);
        self.high[head] = self.high[head].max(self.high[token]);
    }

    /// Whether no arc leaves the sentence it is in.
    fn are_settled(&self, heads: &[usize]) -> bool {
        let mut starts = vec![false; heads.len()];
        for (token, head) in heads.iter().enumerate() {
            if *head == token {
                starts[self.low[token]] = true;
            }
        }
        let mut begin = 0;
        for end in 0..heads.len() {
            if (end > 0 && starts[end]) || end + 1 == heads.len() {
                if heads[begin..end]
                    .iter()
                    .any(|head| !(begin..=end).contains(head))
                {
                    return false;
                }
                begin = end;
            }
        }
        true
    }

    fn hold(&self, head: usize, child: usize) -> bool {
        (self.low[head]..=self.high[head]).contains(&child)
    }
}

/// The children of each token in order, without those outside its edges.
struct Children(Vec<Vec<usize>>);

impl Children {
    fn of(heads: &[usize], edges: &Edges) -> Self {
        let mut children = vec![Vec::new(); heads.len()];
        for (token, &head) in heads.iter().enumerate() {
            if head != token && edges.hold(head, token) {
                children[head].push(token);
            }
        }
        Children(children)
    }

    /// The first fitting token below `top`, level by level. A token that `goes_on` rejects is
    /// skipped with everything below it.
    fn find(
        &self,
        top: usize,
        fits: impl Fn(usize) -> bool,
        goes_on: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let mut level = vec![top];
        while !level.is_empty() {
            let mut below = Vec::new();
            for parent in level {
                for &child in self.0[parent].iter().filter(|child| goes_on(**child)) {
                    if fits(child) {
                        return Some(child);
                    }
                    below.push(child);
                }
            }
            level = below;
        }
        None
    }

    fn attach(&mut self, child: usize, old: usize, new: usize, edges: &Edges) {
        if let Ok(at) = self.0[old].binary_search(&child) {
            self.0[old].remove(at);
        }
        if edges.hold(new, child)
            && let Err(at) = self.0[new].binary_search(&child)
        {
            self.0[new].insert(at, child);
        }
    }
}
