"""One JSON line: how fast sentence-transformers embeds the lines of a file. theirs.py MODEL TEXTS"""

import json
import statistics
import sys
import time

import torch
from sentence_transformers import SentenceTransformer

torch.set_num_threads(2)
start = time.perf_counter()
model = SentenceTransformer(sys.argv[1], device="cpu")
load = time.perf_counter() - start
texts = open(sys.argv[2], encoding="utf-8").read().splitlines()
seconds = []
for _ in range(4):
    start = time.perf_counter()
    vectors = model.encode(texts, batch_size=32, show_progress_bar=False)
    seconds.append(time.perf_counter() - start)
median = statistics.median(seconds[1:])
print(json.dumps({"who": "sentence-transformers", "texts": len(texts), "load_s": round(load, 3), "median_s": round(median, 4), "texts_per_s": round(len(texts) / median, 1), "first": float(vectors[0][0])}))
