//! A parsed text with the children of its tokens, and the texts of chosen tokens.

use std::ops::Range;

use gfm_pipe_english::Doc;

/// A parsed text.
pub struct Tree<'a> {
    pub text: &'a str,
    pub doc: &'a Doc,
    children: Vec<Vec<usize>>,
}

impl<'a> Tree<'a> {
    pub fn new(text: &'a str, doc: &'a Doc) -> Self {
        let mut children = vec![Vec::new(); doc.tokens.len()];
        for (token, of) in doc.tokens.iter().enumerate() {
            if of.head != token {
                children[of.head].push(token);
            }
        }
        Tree {
            text,
            doc,
            children,
        }
    }

    pub fn word(&self, token: usize) -> &'a str {
        &self.text[self.doc.tokens[token].bytes.clone()]
    }

    pub fn lower(&self, token: usize) -> String {
        self.word(token).to_lowercase()
    }

    pub fn is(&self, token: usize, words: &[&str]) -> bool {
        words.contains(&self.lower(token).as_str())
    }

    pub fn tag(&self, token: usize) -> &str {
        self.doc.tag(token)
    }

    pub fn label(&self, token: usize) -> &str {
        self.doc.label(token)
    }

    pub fn head(&self, token: usize) -> usize {
        self.doc.tokens[token].head
    }

    pub fn children(&self, token: usize) -> &[usize] {
        &self.children[token]
    }

    /// The children of a token with one of these labels.
    pub fn labelled<'b>(
        &'b self,
        token: usize,
        labels: &'b [&str],
    ) -> impl Iterator<Item = usize> + 'b {
        let all = self.children(token).iter().copied();
        all.filter(|child| labels.contains(&self.label(*child)))
    }

    pub fn has(&self, token: usize, label: &str) -> bool {
        self.labelled(token, &[label]).next().is_some()
    }

    pub fn is_noun(&self, token: usize) -> bool {
        self.tag(token).starts_with("NN")
    }

    pub fn is_be(&self, token: usize) -> bool {
        self.is(token, &["is", "are", "was", "were"])
    }

    /// The tokens that overlap a byte range.
    pub fn tokens(&self, bytes: &Range<usize>) -> Range<usize> {
        let all = &self.doc.tokens;
        let start = all.partition_point(|t| t.bytes.end <= bytes.start);
        let end = all.partition_point(|t| t.bytes.start < bytes.end);
        start..end.max(start)
    }

    /// The token of a range that the others depend on. `None` where there are several, because the
    /// words are then not one phrase.
    pub fn top(&self, tokens: &Range<usize>) -> Option<usize> {
        let outside = |t: &usize| self.head(*t) == *t || !tokens.contains(&self.head(*t));
        let mut tops = tokens.clone().filter(outside);
        tops.next().filter(|_| tops.next().is_none())
    }

    /// Whether a token depends on another one, directly or not, or is it.
    pub fn is_below(&self, mut token: usize, above: usize) -> bool {
        // A parse has no cycles, and no path is longer than its text.
        for _ in 0..=self.doc.tokens.len() {
            if token == above {
                return true;
            }
            if self.head(token) == token {
                return false;
            }
            token = self.head(token);
        }
        false
    }

    /// The words of a noun phrase, ascending: its modifiers, and prepositions up to a depth. What
    /// only adds (appositions, relative clauses, brackets) is left out, and so are the further
    /// members of long lists.
    pub fn phrase(&self, token: usize, depth: usize) -> Vec<usize> {
        let mut found = vec![token];
        self.add_phrase(token, depth, &mut found);
        found.sort_unstable();
        found.dedup();
        found
    }

    fn add_phrase(&self, token: usize, depth: usize, found: &mut Vec<usize>) {
        for &child in self.children(token) {
            let keep = match self.label(child) {
                "det" | "amod" | "compound" | "nummod" | "nmod" | "poss" | "case" | "quantmod"
                | "predet" | "advmod" | "npadvmod" | "pobj" | "pcomp" | "oprd" => true,
                "punct" => self.tag(child) == "HYPH",
                "prep" => depth > 0 && !self.is(child, &["including", "along", "due", "such"]),
                "conj" => self.is_short_list(token, child),
                "cc" => {
                    let mut conjuncts = self.labelled(token, &["conj"]);
                    conjuncts.any(|c| c > child && self.is_short_list(token, c))
                }
                _ => false,
            };
            if keep {
                found.push(child);
                let deeper = depth - usize::from(self.label(child) == "prep");
                self.add_phrase(child, deeper, found);
            }
        }
    }

    /// Whether a list has two members, the second of which is one that says no more.
    fn is_short_list(&self, first: usize, second: usize) -> bool {
        let extra = ["conj", "relcl", "acl", "appos"];
        self.labelled(first, &["conj"]).count() == 1
            && self.labelled(second, &extra).next().is_none()
            && second.abs_diff(first) <= 4
            && self.tag(first).chars().next() == self.tag(second).chars().next()
    }

    /// Whether a token is the first word of a sentence.
    fn begins(&self, token: usize) -> bool {
        let sentences = &self.doc.sentences;
        let of = sentences.partition_point(|s| s.start <= token);
        let start = of.checked_sub(1).map_or(0, |of| sentences[of].start);
        (start..token).all(|before| self.is_quote_or_space(before))
    }

    /// Whether a token is a quotation mark or white space.
    fn is_quote_or_space(&self, token: usize) -> bool {
        matches!(self.tag(token), "``" | "''" | "_SP")
            || matches!(self.word(token), "\"" | "``" | "''")
    }

    /// Words as a text.
    pub fn said(&self, tokens: &[usize]) -> String {
        let mut out = String::new();
        let mut last: Option<usize> = None;
        for &token in tokens {
            let tag = self.tag(token);
            // Quotes would stand alone where other words are left out.
            if self.is_quote_or_space(token) {
                continue;
            }
            let gap = last.is_none_or(|last| {
                let (a, b) = (&self.doc.tokens[last].bytes, &self.doc.tokens[token].bytes);
                last + 1 != token || self.text[a.end..b.start].contains(char::is_whitespace)
            });
            if gap && !out.is_empty() && !matches!(tag, "," | "POS") {
                out.push(' ');
            }
            // The first word of a sentence comes later in a question.
            if self.begins(token) && !tag.starts_with("NNP") && tag != "CD" {
                out.push_str(&self.lower(token));
            } else {
                out.push_str(self.word(token));
            }
            last = Some(token);
        }
        out
    }
}
