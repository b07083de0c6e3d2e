#!/usr/bin/env python3
"""Training steps of GFM-RAG 1.0.0 on a device, one JSON object a case.

    theirs.py SITE --compile                                   # only builds the package's kernel
    theirs.py SITE --graphs DIR --case S,64 --case L,512 --task kg,qa --dtype f32,tf32 --steps 10

SITE holds the unpacked wheel. The steps are those of the step bench: batch 8, six layers, 256 strict negatives; pre-training with the
self-adversarial BCE, fine-tuning with 0.3 BCE + 0.7 ListCE; AdamW. DIR/SIZE/workload.safetensors is what the bench writes (`--write`).
"""

import argparse
import importlib.util
import json
import os
import re
import statistics
import sys
import time
import types

LAYERS, NEGATIVES, WARM_UP = 6, 256, 2


def load_package(site):
    """The package without its top-level __init__, which imports what no training step needs."""
    sys.path.insert(0, site)
    root = list(importlib.util.find_spec("gfmrag").submodule_search_locations)[0]
    module = types.ModuleType("gfmrag")
    module.__path__ = [root]
    sys.modules["gfmrag"] = module
    import torch_geometric

    # The package makes numbers of all parts of the version; "post1" is none.
    numbers = re.findall(r"\d+", torch_geometric.__version__)
    torch_geometric.__version__ = ".".join(numbers[:3])


def kernel(torch, device):
    """Builds the package's kernel (or finds it built), for this device alone."""
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        os.environ.setdefault("TORCH_CUDA_ARCH_LIST", f"{major}.{minor}")
    from gfmrag.ultra import rspmm  # noqa: F401


class Case:
    """A model in training."""

    def __init__(self, torch, device, work, task, dim):
        from gfmrag import losses
        from gfmrag.models import GNNRetriever, QueryGNN
        from gfmrag.ultra.models import EntityNBFNet, QueryNBFNet
        from torch_geometric.data import Data

        self.torch, self.task, self.work = torch, task, work
        text = work["rel_emb"].shape[1]
        self.graph = Data(
            edge_index=work["edge_index"],
            edge_type=work["edge_type"],
            num_nodes=work["entities_weight"].numel(),
            num_relations=work["rel_emb"].shape[0],
            rel_emb=work["rel_emb"],
        )
        config = dict(
            input_dim=dim,
            hidden_dims=[dim] * LAYERS,
            message_func="distmult",
            aggregate_func="sum",
            short_cut=True,
            layer_norm=True,
        )
        torch.manual_seed(0)
        if task == "kg":
            model = QueryGNN(EntityNBFNet(**config), rel_emb_dim=text)
        else:
            model = GNNRetriever(QueryNBFNet(**config), rel_emb_dim=text)
        self.model = model.to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=5e-4)
        names = ("question_embeddings", "question_entities_masks", "supporting_entities_masks")
        self.batch = {k: work[k] for k in names}
        self.losses = losses.BCELoss(adversarial_temperature=0.2), losses.ListCELoss()

    def step(self, i):
        torch, work = self.torch, self.work
        from gfmrag.ultra import tasks
        from torch.nn import functional as F  # noqa: N812

        if self.task == "kg":
            positives = work["positives"][i % len(work["positives"])]
            triples = tasks.negative_sampling(self.graph, positives, NEGATIVES, strict=True)
            pred = self.model(self.graph, triples)
            target = torch.zeros_like(pred)
            target[:, 0] = 1
            weight = torch.ones_like(pred)
            weight[:, 1:] = torch.softmax(pred[:, 1:].detach(), dim=-1)
            loss = F.binary_cross_entropy_with_logits(pred, target, reduction="none")
            loss = ((loss * weight).sum(-1) / weight.sum(-1)).mean()
        else:
            pred = self.model(self.graph, self.batch, entities_weight=work["entities_weight"])
            target = self.batch["supporting_entities_masks"]
            bce, listce = self.losses
            loss = 0.3 * bce(pred, target) + 0.7 * listce(pred, target)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()


def timed(torch, device, work, task, dim, steps):
    """Median seconds of a step, its range, and the most memory that tensors took."""
    cuda = device.type == "cuda"
    wait = torch.cuda.synchronize if cuda else lambda: None
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if cuda else 0
    case = Case(torch, device, work, task, dim)
    times, first = [], None
    for i in range(WARM_UP + steps):
        wait()
        start = time.perf_counter()
        loss = case.step(i)
        wait()
        if first is None:
            first = float(loss)
        if i >= WARM_UP:
            times.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() if cuda else 0
    return {
        "median_s": statistics.median(times),
        "min_s": min(times),
        "max_s": max(times),
        "first_loss": first,
        "peak_device_mb": round(peak / 1e6),
        "workload_mb": round(before / 1e6),
    }


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("site")
    ap.add_argument("--compile", action="store_true")
    ap.add_argument("--graphs")
    ap.add_argument("--case", action="append", default=[])
    ap.add_argument("--task", default="kg,qa")
    ap.add_argument("--dtype", default="f32")
    ap.add_argument("--steps", type=int, default=10)
    ap.add_argument("--device", default="cuda")
    args = ap.parse_args()
    load_package(args.site)
    import torch
    from safetensors.torch import load_file

    device = torch.device(args.device)
    kernel(torch, device)
    if args.compile:
        return
    for case in args.case:
        size, dim = case.rsplit(",", 1)
        work = load_file(os.path.join(args.graphs, size, "workload.safetensors"))
        work = {k: v.to(device) for k, v in work.items()}
        for task in args.task.split(","):
            for dtype in args.dtype.split(","):
                torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
                row = {"size": size, "dim": int(dim), "task": task, "path": f"reference {dtype}"}
                try:
                    row |= timed(torch, device, work, task, int(dim), args.steps)
                except (RuntimeError, MemoryError) as e:
                    row["error"] = str(e).splitlines()[0][:200]
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
