"""Writes documents of about 100 words and 100 questions about them: generate.py FOLDER DOCUMENTS SHARE

As in an encyclopedia, a few names are in very many documents and most are in few (Zipf's law), every document has a title, and texts
name other documents by their titles. All names are invented. SHARE of the sentences after the first name nothing. The same
DOCUMENTS and SHARE give the same files.

FOLDER gets documents/part-*.jsonl and documents/questions.json, and added.jsonl beside them with one more document.
"""

import itertools
import json
import random
import sys
from bisect import bisect
from pathlib import Path

WORDS = 100
QUESTIONS = 100
MOST_IN_A_FILE = 1000
KINDS = ["person", "place", "film", "company"]

STARTS = "b br c d dr f g gr h k kl l m n p pr r s st t tr v w".split()
VOWELS = "a e i o u ai ea or".split()
ENDS = "l n r s t m ck nd rn ss lt".split()
PLACES = "ford ham mouth bury dale by stead wick port moor".split()
ADJECTIVES = "silent broken golden hidden last red distant bitter crooked frozen hollow quiet second wild lost blue".split()
THINGS = "river garden winter bridge letter harbour mirror orchard lantern mountain island station window forest journey tower".split()
TRADES = "Mill Shipping Glass Railway Brewing Paper Mining Clock Printing Steel".split()
JOBS = "teacher painter director writer chemist singer merchant historian builder judge".split()
MONTHS = "January March April June July September October December".split()
GOODS = "bricks paper wool salt copper grain timber glass tools ink".split()

# {p}: a person, {l}: a place, {f}: a film, {c}: a company; {t}: the title.
TEXTS = {
    "person": (
        "{t} (born {day} {month} {year} in {l}) is a {job} from {l}.",
        ["{He} studied at the University of {l} and married {p} in {year}.", "{He} worked for {c} until {year}.",
         "{t} wrote the music for {f} with {p}.", "In {year}, {he} moved to {l} and founded {c}.", "{His} brother {p} became a {job} in {l}.",
         "{He} won a prize for {f}, which {p} directed.", "{p} described {him} as the best {job} of {l}.", "{He} sold {goods} to {c} for {n} years."],
    ),
    "place": (
        "{t} is a town on the river near {l}, founded in {year} by {p}.",
        ["It has {n} thousand inhabitants.", "The mayor of {t} is {p}, a {job} from {l}.", "{c} built its first mill in {t} in {year}.",
         "The town sells {goods} and {goods} to {l}.", "{p} was born in {t} and lived there until {year}.", "The film {f} was shot in {t}.",
         "A railway connects {t} with {l} and {l}.", "{p}, the owner of {c}, built the bridge of {t}."],
    ),
    "film": (
        "{t} is a {year} film directed by {p} and written by {p}.",
        ["The film stars {p} as a {job} who leaves {l}.", "It was produced by {c} and shot in {l}.", "{p} composed the music.",
         "It is based on a novel by {p}, which was published in {year}.", "The film was shown in {l} in {month} {year}.",
         "The film won {n} prizes, and {p} was praised by critics.", "A sequel, {f}, followed in {year}.",
         "The story is about a {job} from {l} who sells {goods}."],
    ),
    "company": (
        "{t} is a company in {l} that makes {goods}.",
        ["It was founded by {p} and {p} in {year}.", "The company employs {n} hundred people in {l}.", "In {year}, it bought {c} from {p}.",
         "{p} has led the company since {year}.", "It delivers {goods} to {l} and {l}.", "The company financed {f}, a film by {p}.",
         "{c} is its largest rival.", "Its first factory in {l} was built by {p}, a {job}."],
    ),
}

# Sentences that name nothing.
PLAIN = [
    "The work took longer than anybody had thought, and it was never quite finished.", "Little is known about the years that followed.",
    "Visitors often remark that it looks much older than it is.", "Opinions differ about the reasons, which were never made public.",
    "Most of the money came from small gifts.", "Later on, much of it was forgotten again.",
    "Nobody had expected that so many people would take part.", "It is still talked about today.",
]

ASKED = [
    "Where was the director of {f} born?",
    "Which company did the founder of {l} work for?",
    "Who is the mayor of the town where {p} was born?",
    "What does the company that produced {f} make?",
    "When was the town founded in which {c} has its factory?",
]


class Chance(random.Random):
    """Only `random()` gives the same numbers in all versions of Python."""

    def one(self, of):
        return of[int(self.random() * len(of))]

    def year(self):
        return 1800 + int(self.random() * 220)


def word(chance, syllables):
    return "".join(chance.one(STARTS) + chance.one(VOWELS) for _ in range(syllables)).capitalize() + chance.one(ENDS)


def names(chance, count):
    """Names of each kind, in turn, all different."""
    first, last = [word(chance, 1) for _ in range(300)], [word(chance, 2) for _ in range(4000)]
    made, seen = {kind: [] for kind in KINDS}, set()
    makers = {
        "person": lambda: f"{chance.one(first)} {chance.one(last)}",
        "place": lambda: word(chance, 2) + chance.one(PLACES),
        "film": lambda: chance.one(["The {} {} of {}", "A {} {} in {}"]).format(
            chance.one(ADJECTIVES).capitalize(), chance.one(THINGS).capitalize(), word(chance, 1)),
        "company": lambda: f"{word(chance, 2)} {chance.one(TRADES)} Company",
    }
    for kind in itertools.islice(itertools.cycle(KINDS), count):
        name = makers[kind]()
        while name in seen:
            name = makers[kind]()
        seen.add(name)
        made[kind].append(name)
    return made


class Zipf:
    """Draws names; the n-th of them in proportion to 1 / n."""

    def __init__(self, of):
        self.of = of
        self.sums = list(itertools.accumulate(1 / n for n in range(1, len(of) + 1)))

    def draw(self, chance):
        return self.of[bisect(self.sums, chance.random() * self.sums[-1])]


def fill(chance, sentence, title, drawn, he):
    values = {
        "{t}": lambda: title, "{p}": lambda: drawn["person"].draw(chance), "{l}": lambda: drawn["place"].draw(chance),
        "{f}": lambda: drawn["film"].draw(chance), "{c}": lambda: drawn["company"].draw(chance),
        "{job}": lambda: chance.one(JOBS), "{goods}": lambda: chance.one(GOODS), "{month}": lambda: chance.one(MONTHS),
        "{year}": lambda: str(chance.year()), "{day}": lambda: str(1 + int(chance.random() * 28)), "{n}": lambda: str(2 + int(chance.random() * 90)),
        "{He}": lambda: he[0].capitalize(), "{he}": lambda: he[0], "{him}": lambda: he[1], "{His}": lambda: he[2].capitalize(),
    }
    parts = sentence.replace("{", "\0{").replace("}", "}\0").split("\0")
    return "".join(values[part]() if part in values else part for part in parts)


def document(number, kind, title, drawn, plain):
    chance = Chance(number)
    he = chance.one([("he", "him", "his"), ("she", "her", "her")])
    first, others = TEXTS[kind]
    text, at = fill(chance, first, title, drawn, he), int(chance.random() * len(others))
    for i in itertools.count(at):
        if plain > 0 and chance.random() < plain:
            sentence = chance.one(PLAIN)
        else:
            sentence = fill(chance, others[i % len(others)], title, drawn, he)
        if len(text.split()) + len(sentence.split()) > WORDS + 4:
            return {"title": title, "text": text}
        text += " " + sentence


def main():
    folder, count, plain = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    out = folder / "documents"
    out.mkdir(parents=True)
    chance = Chance(20)
    titles = names(chance, count + 1)
    # Names are not drawn in the order of the documents they are titles of.
    drawn = {kind: Zipf(sorted(of, key=lambda _: chance.random())) for kind, of in titles.items()}
    order = ((kind, titles[kind][i // len(KINDS)]) for i, kind in enumerate(itertools.islice(itertools.cycle(KINDS), count + 1)))
    records = (json.dumps(document(i, kind, title, drawn, plain)) + "\n" for i, (kind, title) in enumerate(order))
    # Two files at least: of a folder with a single file `gfm-pipe init` names the file, and what is added beside it would not be read.
    size = max(1, min(MOST_IN_A_FILE, count // 2))
    for number, first in enumerate(range(0, count, size)):
        with open(out / f"part-{number:04}.jsonl", "w", encoding="utf-8") as file:
            file.writelines(itertools.islice(records, min(size, count - first)))
    (folder / "added.jsonl").write_text(next(records), encoding="utf-8")
    questions = [{"id": f"q{i}", "question": fill(chance, ASKED[i % len(ASKED)], "", drawn, ("", "", ""))} for i in range(QUESTIONS)]
    (out / "questions.json").write_text(json.dumps(questions, indent=1) + "\n", encoding="utf-8")


main()
