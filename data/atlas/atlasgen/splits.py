"""Splits: which question is asked in train, valid or test, and in which words.

Invariants: questions that need the same documents are all in one split, so no set of gold documents
of a test question is seen in training, under whatever wording or start; held-out wordings never
appear in train. Not here: which chains exist (questions.py).
"""

import collections
import hashlib

from .questions import shuffled
from .wordings import KINDS

SHARES = (("test", 0.22), ("valid", 0.095))   # the rest is train
PARAPHRASED = {"test": 0.15, "valid": 0.13}   # share of a kind's questions asked in held-out words


def split(chains, documents):
    """{split: [question]} in the shape of the stage-1 files, ordered by id."""
    entities = {d.title: d.entities for d in documents}
    result = {"train": [], "valid": [], "test": []}
    for name, members in _assign(chains).items():
        by_kind = collections.defaultdict(list)
        for chain in members:
            by_kind[chain.kind].append(chain)
        for kind, of_kind in sorted(by_kind.items()):
            of_kind.sort(key=lambda c: shuffled("paraphrase", c.kind, c.start))
            held_out = round(PARAPHRASED.get(name, 0) * len(of_kind))
            for i, chain in enumerate(of_kind):
                result[name].append(_question(chain, i < held_out, entities))
        result[name].sort(key=lambda q: q["id"])
    return result


def _assign(chains):
    """Chains by split; those with the same gold documents stay together, kinds are spread evenly."""
    units = collections.defaultdict(list)
    for chain in chains:
        units[tuple(sorted(chain.gold))].append(chain)
    strata = collections.defaultdict(list)
    for gold, members in units.items():
        strata[tuple(sorted({c.kind for c in members}))].append(gold)
    assigned = collections.defaultdict(list)
    for _, golds in sorted(strata.items()):
        golds.sort(key=lambda gold: shuffled("split", *gold))
        begin = 0
        for name, share in SHARES:
            end = begin + round(share * len(golds))
            assigned[name] += [c for gold in golds[begin:end] for c in units[gold]]
            begin = end
        assigned["train"] += [c for gold in golds[begin:] for c in units[gold]]
    return assigned


def _question(chain, paraphrase, entities):
    kind = KINDS[chain.kind]
    wordings = kind.held_out if paraphrase else kind.known
    pick = int(shuffled("wording", chain.kind, chain.start)[:8], 16) % len(wordings)
    text = wordings[pick].format(chain.start)
    text = text[0].upper() + text[1:]
    question = {
        "id": "atlas_" + hashlib.sha256(text.encode()).hexdigest()[:12],
        "question": text,
        "answer": chain.answer,
        "supporting_facts": list(chain.gold),
        "hops": kind.hops,
        "type": chain.kind,
    }
    if paraphrase:
        question["group"] = ["paraphrase"]
    question["question_entities"] = list(chain.start_entities)
    question["supporting_entities"] = list(dict.fromkeys(e for title in chain.gold for e in entities[title]))
    return question
