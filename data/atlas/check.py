#!/usr/bin/env python3
"""Checks a data set in the training guide's layout for soundness and difficulty.

usage: check.py [--easy] [FOLDER]        (default: the atlas beside this file)

Prints what it counted and how far two retrievers without training get; exits 1 where the set is
unsound or, without --easy, too easy. Standard library only, so the dense row of the README (a sentence encoder) is
not among them: TF-IDF stands in for it here.
"""

import argparse
import collections
import json
import math
import pathlib
import re
import sys

FIELDS = ("id", "question", "answer", "supporting_facts", "hops", "type", "question_entities", "supporting_entities")
MAX_HOPS = 4
# Above these a retriever without training would be nearly enough.
MAX_RECALL = {"tf-idf": 0.60, "ppr": 0.75}


class DataSet:
    """The files as they are."""

    def __init__(self, root):
        stage1 = root / "processed" / "stage1"

        def load(path):
            return json.loads(path.read_text(encoding="utf-8"))

        self.lines = (stage1 / "kg.txt").read_text(encoding="utf-8").splitlines()
        self.triples = [tuple(line.split(",")) for line in self.lines]
        self.corpus = load(root / "raw" / "dataset_corpus.json")
        self.entities_of = load(stage1 / "document2entities.json")
        self.raw = {name: load(root / "raw" / f"{name}.json") for name in ("train", "valid", "test")}
        self.splits = {name: load(stage1 / f"{name}.json") for name in ("train", "valid", "test")}
        # Ties go to the lower id: documents with entities first, then the rest of the corpus.
        self.titles = [*self.entities_of, *(t for t in self.corpus if t not in self.entities_of)]


def faults(data):
    """Everything that is wrong, as lines of text."""
    for number, (line, triple) in enumerate(zip(data.lines, data.triples), 1):
        if len(triple) != 3 or not all(re.fullmatch(r"[a-z0-9]([a-z0-9 ]*[a-z0-9])?", x) for x in triple):
            yield f"kg.txt:{number}: not three clean fields: {line!r}"
    for line, count in collections.Counter(data.lines).items():
        if count > 1:
            yield f"kg.txt: {count} times: {line!r}"
    neighbours = adjacency(data.triples)
    for title in data.corpus.keys() ^ data.entities_of.keys():
        yield f"{title!r} is not in both the corpus and document2entities.json"
    for title, entities in data.entities_of.items():
        for entity in entities:
            if entity not in neighbours:
                yield f"document2entities.json: {title!r}: entity {entity!r} is not in kg.txt"
    yield from _split_faults(data)
    for name, questions in data.splits.items():
        for q in questions:
            for fault in _question_faults(data, q, neighbours):
                yield f"{name}.json: {q.get('id')}: {fault}"


def _split_faults(data):
    where = collections.defaultdict(set)
    ids = collections.Counter()
    for name, questions in data.splits.items():
        for q in questions:
            ids[q["id"]] += 1
            where[frozenset(q["supporting_facts"])].add(name)
            if name == "train" and "paraphrase" in q.get("group", ()):
                yield f"train.json: {q['id']}: a held-out wording"
        stripped = [{k: v for k, v in q.items() if not k.endswith("_entities")} for q in questions]
        if stripped != data.raw[name]:
            yield f"raw/{name}.json differs from processed/stage1/{name}.json"
    for name, count in ids.items():
        if count > 1:
            yield f"id {name} appears {count} times"
    for gold, names in where.items():
        if len(names) > 1:
            yield f"the documents {sorted(gold)} are gold in {sorted(names)}"


def _question_faults(data, q, neighbours):
    for field in FIELDS:
        if not q.get(field):
            yield f"no {field}"
            return
    gold = q["supporting_facts"]
    if missing := [t for t in gold if t not in data.corpus]:
        yield f"gold documents not in the corpus: {missing}"
        return
    wanted = list(dict.fromkeys(e for t in gold for e in data.entities_of[t]))
    if wanted != q["supporting_entities"]:
        yield "supporting_entities are not those of the gold documents"
    near = within(q["question_entities"], neighbours, MAX_HOPS)
    if far := [e for e in wanted if e not in near]:
        yield f"farther than {MAX_HOPS} hops: {far}"
    for title in gold[1:]:
        own = data.entities_of[title][0]
        if own not in q["question_entities"] and f" {own} " in f" {' '.join(words(q['question']))} ":
            yield f"names the document {title!r}"


def words(text):
    return re.findall(r"[a-z0-9]+", text.lower())


def adjacency(triples):
    neighbours = collections.defaultdict(list)
    for head, _, tail in triples:
        neighbours[head].append(tail)
        neighbours[tail].append(head)
    return neighbours


def within(starts, neighbours, hops):
    seen, edge = set(starts), set(starts)
    for _ in range(hops):
        edge = {n for e in edge for n in neighbours[e]} - seen
        seen |= edge
    return seen


def ppr_scorer(data, restart=0.5, tolerance=1e-9):
    """Personalised PageRank over the undirected graph; a document scores the mass of its entities."""
    neighbours = adjacency(data.triples)
    names = list(neighbours)
    index = {name: i for i, name in enumerate(names)}
    links = [[index[n] for n in neighbours[name]] for name in names]
    members = [[index[e] for e in dict.fromkeys(data.entities_of.get(t, ()))] for t in data.titles]

    def score(question):
        seeds = [index[e] for e in question["question_entities"]]
        start = dict.fromkeys(seeds, restart / len(seeds))
        mass, change = [0.0] * len(names), 1.0
        for i in seeds:
            mass[i] = 1 / len(seeds)
        while change > tolerance:
            spread = [0.0] * len(names)
            for i, value in start.items():
                spread[i] = value
            for i, value in enumerate(mass):
                if value:
                    share = value * (1 - restart) / len(links[i])
                    for j in links[i]:
                        spread[j] += share
            change = sum(abs(a - b) for a, b in zip(mass, spread))
            mass = spread
        return [sum(mass[i] for i in m) for m in members]

    return score


def tfidf_scorer(data):
    """Cosine between question and document, title included."""
    counts = [collections.Counter(words(f"{t} {data.corpus[t]}")) for t in data.titles]
    seen = collections.Counter(w for c in counts for w in c)
    idf = {w: math.log(len(counts) / n) + 1 for w, n in seen.items()}

    def vector(count):
        weights = {w: n * idf[w] for w, n in count.items() if w in idf}
        norm = math.sqrt(sum(v * v for v in weights.values())) or 1.0
        return {w: v / norm for w, v in weights.items()}

    vectors = [vector(c) for c in counts]

    def score(question):
        asked = vector(collections.Counter(words(question["question"])))
        return [sum(v * d.get(w, 0.0) for w, v in asked.items()) for d in vectors]

    return score


def evaluate(data, questions, score, k=5):
    """{group: (recall@k, all-gold@k, questions)}."""
    found = collections.defaultdict(list)
    for q in questions:
        scores = score(q)
        top = {data.titles[i] for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k]}
        gold = set(q["supporting_facts"])
        hit = len(gold & top) / len(gold)
        groups = q["group"] if q.get("group") else ["all", f"hops={q['hops']}", q["type"]]
        for group in groups:
            found[group].append(hit)
    return {g: (sum(v) / len(v), sum(x == 1 for x in v) / len(v), len(v)) for g, v in sorted(found.items())}


def main():
    parser = argparse.ArgumentParser(description="Checks a data set for soundness and difficulty.")
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent)
    parser.add_argument("--easy", action="store_true", help="report the difficulty, do not judge it")
    options = parser.parse_args()
    data = DataSet(options.folder)
    sizes = [len(set(e)) for e in data.entities_of.values()]
    print(f"documents {len(data.corpus)} ({min(sizes)} to {max(sizes)} entities), triples {len(data.triples)}, "
          f"entities {len(adjacency(data.triples))}, relations {len({r for _, r, _ in data.triples})}")
    for name, questions in data.splits.items():
        hops = collections.Counter(q["hops"] for q in questions)
        held_out = sum(bool(q.get("group")) for q in questions)
        print(f"{name}: {len(questions)} questions, {dict(sorted(hops.items()))} by hops, {held_out} paraphrased")
    bad = list(faults(data))
    for fault in bad:
        print(f"FAULT {fault}")
    for name, scorer in (("tf-idf", tfidf_scorer), ("ppr", ppr_scorer)):
        rows = evaluate(data, data.splits["test"], scorer(data))
        for group, (recall, all_gold, n) in rows.items():
            print(f"{name:7} {group:36} recall@5 {recall:.3f}  all-gold@5 {all_gold:.3f}  n {n}")
        if not options.easy and rows["all"][0] > MAX_RECALL[name]:
            bad.append(name)
            print(f"FAULT {name} alone reaches recall@5 {rows['all'][0]:.3f}, above {MAX_RECALL[name]}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
