//! Finds the facts of a verb: subject, verb and object; "X is Y"; passives; prepositions.

use super::tree::Tree;
use super::words::BE;
use super::{Argument, Facts};

/// Number of levels above a verb in which a subject is searched.
const DEEPEST: usize = 3;
/// Number of "of" that are followed from an object: "in the north of the island of Arvo".
const MOST_OF: usize = 3;

/// The subject of a verb.
struct Subject {
    noun: Argument,
    /// The words for what it owns: "capital" in "Its capital is Ellis".
    of: Vec<usize>,
}

/// The object of a verb with the words that lead to it.
struct Object {
    between: Vec<usize>,
    token: usize,
}

/// Adds the facts of a verb.
pub(super) fn find(found: &mut Facts<'_>, verb: usize) {
    let tree = found.tree;
    let subjects = subjects(tree, verb, 0);
    if subjects.is_empty() {
        return;
    }
    let objects = objects(tree, verb);
    let relation = relation(tree, verb, 0);
    let is_be = tree.is_one_of(verb, &BE);
    for subject in &subjects {
        for object in &objects {
            let Some(noun) = tree.noun(object.token) else {
                continue;
            };
            let mut tokens = subject.of.clone();
            // "Its capital is Ellis" means the same as "capital: Ellis".
            if !(is_be && !subject.of.is_empty() && object.between.is_empty()) {
                tokens.extend(&relation);
            }
            tokens.extend(&object.between);
            found.add(&subject.noun, "", &tokens, &noun);
        }
    }
}

/// The words of a verb that are part of a relation.
fn relation(tree: &Tree<'_>, verb: usize, depth: usize) -> Vec<usize> {
    let negated = tree.labelled(verb, &["neg"]).next().is_some();
    let mut words = vec![verb];
    words.extend(tree.labelled(verb, &["auxpass", "neg", "prt"]));
    let auxiliaries = tree.labelled(verb, &["aux"]);
    words.extend(auxiliaries.filter(|aux| negated || tree.tag(*aux) == "TO"));
    words.sort_unstable();
    if tree.label(verb) == "xcomp" && depth < DEEPEST && tree.is_verb(tree.head(verb)) {
        let mut before = relation(tree, tree.head(verb), depth + 1);
        before.extend(words);
        return before;
    }
    // "to" alone belongs to a verb before it.
    words.retain(|word| tree.tag(*word) != "TO" || tree.label(verb) == "xcomp");
    words
}

fn subjects(tree: &Tree<'_>, verb: usize, depth: usize) -> Vec<Subject> {
    let mut subjects = Vec::new();
    let mut has_own = false;
    for subject in tree.labelled(verb, &["nsubj", "nsubjpass"]) {
        has_own = true;
        for member in tree.members(subject) {
            if tree.is_relative(member) {
                if tree.label(verb) == "relcl" {
                    subjects.extend(behind(tree, tree.head(verb), depth).into_iter().map(plain));
                }
            } else {
                let names = tree.names(member);
                if names[..] == [member] {
                    subjects.extend(owned(tree, member));
                }
                subjects.extend(names.into_iter().filter_map(|n| tree.noun(n)).map(plain));
            }
        }
    }
    let head = tree.head(verb);
    if has_own || depth >= DEEPEST || head == verb {
        return subjects;
    }
    match tree.label(verb) {
        "conj" | "advcl" if tree.is_verb(head) => self::subjects(tree, head, depth + 1),
        "xcomp" if tree.is_verb(head) => {
            // "They asked Ada to stay": Ada stays.
            let asked = tree.labelled(head, &["dobj"]).next();
            match asked.filter(|_| tree.tag(verb) == "VB") {
                Some(asked) => tree.noun(asked).map(plain).into_iter().collect(),
                None => self::subjects(tree, head, depth + 1),
            }
        }
        "acl" | "relcl" => behind(tree, head, depth).into_iter().map(plain).collect(),
        _ => Vec::new(),
    }
}

fn plain(noun: Argument) -> Subject {
    Subject {
        noun,
        of: Vec::new(),
    }
}

/// The owners of a noun, each with the noun's words, as in "Its capital" and "the capital of Arvo".
fn owned(tree: &Tree<'_>, noun: usize) -> Vec<Subject> {
    if !tree.is_noun(noun) || tree.is_name(noun) {
        return Vec::new();
    }
    let mut owners: Vec<usize> = tree.labelled(noun, &["poss"]).collect();
    for of in tree
        .labelled(noun, &["prep"])
        .filter(|p| tree.is_one_of(*p, &["of"]))
    {
        owners.extend(tree.labelled(of, &["pobj"]));
    }
    let words: Vec<usize> = tree.span(noun).collect();
    let nouns = owners.into_iter().flat_map(|owner| tree.members(owner));
    nouns
        .filter_map(|owner| tree.noun(owner))
        .map(|owner| Subject {
            noun: owner,
            of: words.clone(),
        })
        .collect()
}

/// The names that a noun describes: in "Jaws is a film" and in "Jaws, a film", the film is Jaws.
fn behind(tree: &Tree<'_>, noun: usize, depth: usize) -> Vec<Argument> {
    let head = tree.head(noun);
    if !tree.is_name(noun) && depth < DEEPEST {
        if tree.label(noun) == "attr" && tree.is_one_of(head, &BE) {
            let of = subjects(tree, head, depth + 1).into_iter();
            return of.filter(|s| s.of.is_empty()).map(|s| s.noun).collect();
        }
        if tree.label(noun) == "appos" {
            return behind(tree, head, depth + 1);
        }
    }
    tree.noun(noun).into_iter().collect()
}

fn direct_object(token: usize) -> Object {
    Object {
        between: Vec::new(),
        token,
    }
}

/// Whether a thing without a name has an "of" or an owner, so that it means little alone.
fn says_more(tree: &Tree<'_>, noun: usize) -> bool {
    let mut of = tree.labelled(noun, &["prep"]);
    !tree.is_name(noun)
        && tree.names(noun)[..] == [noun]
        && (of.any(|p| tree.is_one_of(p, &["of"]))
            || tree.labelled(noun, &["poss"]).next().is_some())
}

fn objects(tree: &Tree<'_>, verb: usize) -> Vec<Object> {
    let mut objects = Vec::new();
    let direct: Vec<usize> = tree.labelled(verb, &["dobj"]).collect();
    // "won awards at": a thing without a name is part of the relation.
    let things: Vec<usize> = direct
        .iter()
        .copied()
        .filter(|o| tree.is_noun(*o) && tree.names(*o)[..] == [*o] && !tree.is_name(*o))
        .filter(|o| tree.word(*o).starts_with(char::is_lowercase))
        .collect();
    for &child in tree.children(verb) {
        match tree.label(child) {
            "dobj" | "attr" | "oprd" | "dative" if !tree.is_relative(child) => {
                if tree.tag(child) == "IN" {
                    prepositional(tree, child, &[], 0, &mut objects);
                    continue;
                }
                for member in tree.members(child) {
                    if !says_more(tree, member) {
                        objects.extend(tree.names(member).into_iter().map(direct_object));
                    }
                    for prep in tree.labelled(member, &["prep"]) {
                        prepositional(tree, prep, &[member], 0, &mut objects);
                    }
                }
            }
            "acomp" => {
                for prep in tree.labelled(child, &["prep"]) {
                    prepositional(tree, prep, &[child], 0, &mut objects);
                }
            }
            "prep" | "agent" => prepositional(tree, child, &things, 0, &mut objects),
            "npadvmod" if tree.entity(child).is_some() => objects.push(direct_object(child)),
            _ => (),
        }
    }
    // "the book that Ada wrote": what Ada wrote is the book.
    let lacks_object = direct.iter().all(|o| tree.is_relative(*o));
    let mut own = tree.labelled(verb, &["nsubj"]);
    if tree.label(verb) == "relcl" && lacks_object && own.any(|s| !tree.is_relative(s)) {
        let passed = tree.labelled(verb, &["dobj"]).next().is_some();
        if passed || objects.is_empty() {
            objects.push(direct_object(tree.head(verb)));
        }
    }
    objects
}

/// The objects of a preposition. For a thing without a name, the objects of its own "of" follow.
pub(super) fn prepositional_tokens(
    tree: &Tree<'_>,
    prep: usize,
    before: &[usize],
) -> Vec<(Vec<usize>, usize)> {
    let mut objects = Vec::new();
    prepositional(tree, prep, before, 0, &mut objects);
    objects.into_iter().map(|o| (o.between, o.token)).collect()
}

fn prepositional(
    tree: &Tree<'_>,
    prep: usize,
    before: &[usize],
    depth: usize,
    objects: &mut Vec<Object>,
) {
    let mut between = before.to_vec();
    between.push(prep);
    for object in tree.labelled(prep, &["pobj"]) {
        for member in tree.members(object) {
            let of = tree
                .labelled(member, &["prep"])
                .find(|p| tree.is_one_of(*p, &["of"]));
            if let Some(of) = of.filter(|_| !tree.is_name(member) && depth < MOST_OF) {
                let mut further = between.clone();
                further.push(member);
                prepositional(tree, of, &further, depth + 1, objects);
                continue;
            }
            objects.extend(tree.names(member).into_iter().map(|token| Object {
                between: between.clone(),
                token,
            }));
        }
    }
    if depth < MOST_OF {
        for further in tree.labelled(prep, &["prep"]) {
            prepositional(tree, further, &between, depth + 1, objects);
        }
    }
}
