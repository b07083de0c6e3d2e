"""How long GFM-RAG 1.0.0 takes for one question on a CPU: `ask.py SCRIPT GRAPHS NAME DIM THREADS`.

SCRIPT is bench_reference.py, GRAPHS/NAME a workload (workload.py makes one of a data set). Times the
model's forward pass of a question alone, without gradients. The package also asks a language model
for the entities of the question, links them with ColBERT, embeds the question and ranks documents;
none of that is timed. Prints one line of JSON.
"""

import importlib.util
import json
import os
import statistics
import sys
import time

QUESTIONS, WARM_UP = 40, 3

script, graphs, name, dim, threads = sys.argv[1:6]
spec = importlib.util.spec_from_file_location("bench_reference", script)
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)
bench.load_package()

import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from torch_geometric.data import Data  # noqa: E402

torch.set_num_threads(int(threads))
torch.manual_seed(0)
from gfmrag.models import GNNRetriever  # noqa: E402
from gfmrag.ultra import rspmm  # noqa: E402, F401  (its kernel is compiled on first use)
from gfmrag.ultra.models import QueryNBFNet  # noqa: E402

w = load_file(os.path.join(graphs, name, "workload.safetensors"))
with open(os.path.join(graphs, name, "info.json")) as f:
    info = json.load(f)
graph = Data(
    edge_index=w["edge_index"],
    edge_type=w["edge_type"],
    num_nodes=info["nodes"],
    num_relations=2 * info["relations"],
    rel_emb=w["rel_emb"],
)
dim = int(dim)
config = dict(input_dim=dim, hidden_dims=[dim] * 6, message_func="distmult", aggregate_func="sum")
model = GNNRetriever(QueryNBFNet(**config, short_cut=True, layer_norm=True), rel_emb_dim=768).eval()
masks, embeddings = w["question_entities_masks"], w["question_embeddings"]


def ask(i):
    at = i % len(masks)
    batch = {
        "question_embeddings": embeddings[at : at + 1],
        "question_entities_masks": masks[at : at + 1],
    }
    begun = time.perf_counter()
    model(graph, batch, entities_weight=w["entities_weight"])
    return time.perf_counter() - begun


with torch.no_grad():
    for i in range(WARM_UP):
        ask(i)
    seconds = [ask(i) for i in range(QUESTIONS)]
print(
    json.dumps(
        {
            "name": name,
            "dim": dim,
            "threads": int(threads),
            "nodes": info["nodes"],
            "edges": int(w["edge_type"].numel()),
            "median_ms": round(1000 * statistics.median(seconds), 2),
            "min_ms": round(1000 * min(seconds), 2),
            "max_ms": round(1000 * max(seconds), 2),
        }
    )
)
