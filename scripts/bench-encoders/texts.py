"""Writes names.txt, questions.txt and documents.txt, one text a line, of a data set: texts.py DATA OUT"""

import json
import sys
from pathlib import Path

data, out = map(Path, sys.argv[1:])
names = dict.fromkeys(part.strip() for line in open(data / "processed/stage1/kg.txt", encoding="utf-8") for part in line.split(","))
questions = [q["question"] for split in ["train", "test"] for q in json.load(open(data / f"processed/stage1/{split}.json"))]
documents = list(json.load(open(data / "raw/dataset_corpus.json")).values())
for kind, texts, most in [("names", list(names), 4000), ("questions", questions, 2000), ("documents", documents, 400)]:
    lines = [" ".join(str(t).split()) for t in texts][:most]
    (out / f"{kind}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
