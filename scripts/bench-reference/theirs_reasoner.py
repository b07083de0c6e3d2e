"""Training steps of GFM-RAG 2.0.0's GraphReasoner on a CPU, one line of JSON.

    theirs_reasoner.py SCRIPT weights --dim 64 --out FILE         # random weights, for both programs
    theirs_reasoner.py SCRIPT run --graphs DIR --size M --dim 64 --task qa --path rspmm --weights FILE

SCRIPT is bench_reference.py; its aggregation in plain PyTorch (`--path chunked`) and its watch over other processes are used here.
DIR/SIZE is a workload of with_documents.py. The model reads the texts of nodes early and late, has six layers and a batch of 8, and
its optimizer is AdamW.

--task qa   fine-tuning with the losses of the wheel's sft_training.yaml, all over documents: 0.3 BCE + 0.7 ListCE + 1 MSE
--task kg   pre-training. The wheel's own step takes the score of node 0 for that of the right answer, and ranks features in place of
            scores. So this is what it should do, put together from its parts: edges are taken out, the head starts the reasoner's
            forward pass, the relation's text is the question, and candidates are scored
"""

import argparse
import importlib.util
import json
import os
import resource
import statistics
import sys
import time


def load_bench(script):
    spec = importlib.util.spec_from_file_location("bench_reference", script)
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    return bench


def limit_memory(gib):
    """Leaves 3 GiB of what is free to the other users of the machine, unless a limit is given."""
    if gib is None:
        with open("/proc/meminfo") as f:
            free = next(int(x.split()[1]) for x in f if x.startswith("MemAvailable")) / 2**20
        gib = max(2.0, round(free - 3, 1))
    resource.setrlimit(resource.RLIMIT_DATA, (int(gib * 2**30),) * 2)
    return gib


def model_of(bench, dim, text):
    from gfmrag.models.gfm_reasoner import GraphReasoner
    from gfmrag.models.ultra.models import QueryNBFNet

    entity_model = QueryNBFNet(
        input_dim=dim,
        hidden_dims=[dim] * bench.LAYERS,
        message_func="distmult",
        aggregate_func="sum",
        short_cut=True,
        layer_norm=True,
        return_hidden=True,
    )
    return GraphReasoner(entity_model, feat_dim=text, use_ent_emb="early-late-fusion")


class Training:
    """A model in training on a workload."""

    def __init__(self, bench, args):
        import torch
        from gfmrag import losses
        from safetensors.torch import load_file
        from torch_geometric.data import Data

        self.bench, self.torch, self.task = bench, torch, args.task
        self.work = w = load_file(os.path.join(args.graphs, args.size, "workload.safetensors"))
        self.graph = Data(
            edge_index=w["edge_index"],
            edge_type=w["edge_type"],
            num_nodes=len(w["node_emb"]),
            num_relations=len(w["rel_emb"]),
            x=w["node_emb"],
            rel_attr=w["rel_emb"],
        )
        self.model = model_of(bench, args.dim, w["node_emb"].shape[1])
        if args.weights:
            self.model.load_state_dict(load_file(args.weights))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=5e-4)
        self.terms = (
            (0.3, losses.BCELoss(adversarial_temperature=0.2)),
            (0.7, losses.ListCELoss()),
        )
        self.mse = losses.MSELoss()

    def question_loss(self):
        w, documents = self.work, self.work["document_nodes"]
        batch = {
            "question_embeddings": w["question_embeddings"],
            "start_nodes_mask": w["question_entities_masks"],
        }
        scores = self.model(self.graph, batch)[:, documents]
        target = w["supporting_entities_masks"][:, documents]
        loss = sum(weight * of(scores, target) for weight, of in self.terms)
        # The wheel compares the texts anew in every step, too.
        return loss + self.mse(scores, w["question_embeddings"] @ self.graph.x[documents].T)

    def link_loss(self, triples):
        torch, net = self.torch, self.model.entity_model
        h, t, r = triples.unbind(-1)
        graph = net.remove_easy_edges(self.graph, h, t, r)
        h, t, r = net.negative_sample_to_tail(h, t, r, self.graph.num_relations // 2)
        F = torch.nn.functional  # noqa: N806
        batch = {
            "question_embeddings": self.graph.rel_attr[r[:, 0]],
            "start_nodes_mask": F.one_hot(h[:, 0], self.graph.num_nodes).float(),
        }
        pred = self.model(graph, batch).gather(1, t)
        target = torch.zeros_like(pred)
        target[:, 0] = 1
        weight = torch.ones_like(pred)
        weight[:, 1:] = torch.softmax(pred[:, 1:].detach(), dim=-1)
        loss = F.binary_cross_entropy_with_logits(pred, target, reduction="none")
        return ((loss * weight).sum(-1) / weight.sum(-1)).mean()

    def step(self, i):
        """Seconds of sampling, forward, backward and optimizer, and the loss."""
        from gfmrag.models.ultra import tasks

        marks = [time.perf_counter()]
        triples = None
        if self.task == "kg":
            positives = self.work["positives"]
            positives = positives[i % len(positives)]
            triples = tasks.negative_sampling(self.graph, positives, self.bench.NEGATIVES, strict=True)
        marks.append(time.perf_counter())
        loss = self.question_loss() if triples is None else self.link_loss(triples)
        marks.append(time.perf_counter())
        loss.backward()
        marks.append(time.perf_counter())
        self.optimizer.step()
        self.optimizer.zero_grad()
        marks.append(time.perf_counter())
        return [b - a for a, b in zip(marks, marks[1:])], float(loss.detach())


def run(bench, args):
    result = {"size": args.size, "dim": args.dim, "task": args.task, "path": args.path, "threads": args.threads}
    result["mem_limit_gb"] = limit_memory(args.mem_gb)
    rows = []  # (share of the machine that others used, phases)
    try:
        import torch

        torch.set_num_threads(args.threads)
        torch.manual_seed(0)
        from gfmrag.models.ultra import rspmm  # noqa: F401  (its kernel is compiled on first use)

        if args.path == "chunked":
            sys.modules["gfmrag.models.ultra.rspmm"].generalized_rspmm = bench.plain_torch_rspmm(torch)
        training = Training(bench, args)
        result |= {"nodes": training.graph.num_nodes, "edges": training.graph.num_edges}
        quiet = bench.Quiet()
        deadline = time.perf_counter() + args.max_seconds
        for i in range(args.warmup):
            _, loss = training.step(i)
            result.setdefault("first_loss", loss)
        clean = lambda: [phases for others, phases in rows if others < quiet.limit]  # noqa: E731
        # At least one step, however slow.
        while not rows or (len(clean()) < args.repeats and time.perf_counter() < deadline):
            quiet.start()
            phases, loss = training.step(args.warmup + len(rows))
            result.setdefault("first_loss", loss)
            rows.append((quiet.foreign(), phases))
    except (RuntimeError, MemoryError) as e:
        result["error"] = str(e).splitlines()[0][:200] or type(e).__name__
    if rows:
        # As in bench_reference.py: the steps that others disturbed least, if they disturbed all.
        least = [phases for _, phases in sorted(rows, key=lambda row: row[0])[: args.repeats]]
        used = clean() or least
        result |= {
            "quiet": bool(clean()),
            "steps": len(used),
            "median_s": round(statistics.median(map(sum, used)), 4),
            "forward_s": round(statistics.median(p[1] for p in used), 4),
            "backward_s": round(statistics.median(p[2] for p in used), 4),
        }
    result["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(result), flush=True)


def weights(bench, args):
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(1)
    model = model_of(bench, args.dim, bench.REL_EMB_DIM)
    save_file(model.state_dict(), args.out)


def main():
    bench = load_bench(sys.argv[1])
    bench.load_package()
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    sub = ap.add_subparsers(dest="command", required=True)
    w = sub.add_parser("weights")
    w.add_argument("--out", required=True)
    r = sub.add_parser("run")
    r.add_argument("--graphs", required=True)
    r.add_argument("--size", required=True)
    r.add_argument("--task", choices=("kg", "qa"), default="qa")
    r.add_argument("--path", choices=("rspmm", "chunked"), default="rspmm")
    r.add_argument("--weights")
    r.add_argument("--repeats", type=int, default=3)
    r.add_argument("--warmup", type=int, default=1)
    r.add_argument("--threads", type=int, default=2)
    r.add_argument("--max-seconds", type=float, default=120, help="no new step after this")
    r.add_argument("--mem-gb", type=float, help="allocation limit")
    for p in (w, r):
        p.add_argument("--dim", type=int, default=64)
    args = ap.parse_args(sys.argv[2:])
    (weights if args.command == "weights" else run)(bench, args)


main()
