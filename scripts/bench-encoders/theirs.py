"""How fast sentence-transformers embeds the lines of files: a JSON line for each file and type.

    theirs.py MODEL TEXTS[,TEXTS] [DEVICE [DTYPE[,DTYPE] [BATCH]]]

DEVICE is `cpu` or `cuda`, DTYPE f32, f16 or bf16, BATCH the most texts in a batch (32).
"""

import json
import statistics
import sys
import time
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
DEFAULTS = ["cpu", "f32", "32"]

device, dtypes, batch = sys.argv[3:] + DEFAULTS[len(sys.argv) - 3 :]
if device == "cpu":
    torch.set_num_threads(2)
start = time.perf_counter()
model = SentenceTransformer(sys.argv[1], device=device)
load = time.perf_counter() - start
for dtype in dtypes.split(","):
    model.to(DTYPES[dtype])
    for path in sys.argv[2].split(","):
        texts = open(path, encoding="utf-8").read().splitlines()
        seconds = []
        for _ in range(4):
            start = time.perf_counter()
            vectors = model.encode(texts, batch_size=int(batch), show_progress_bar=False)
            seconds.append(time.perf_counter() - start)
        median = statistics.median(seconds[1:])
        found = {"who": "sentence-transformers", "file": Path(path).stem, "device": device, "dtype": dtype, "batch": int(batch), "texts": len(texts)}
        found |= {"load_s": round(load, 3), "median_s": round(median, 4), "texts_per_s": round(len(texts) / median, 1), "first": float(vectors[0][0])}
        print(json.dumps(found), flush=True)
