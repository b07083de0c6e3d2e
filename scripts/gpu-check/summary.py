"""What `run` found, as text and as a page: `summary.py OUT DEVICE COMMIT`. Reads summary.tsv, times.jsonl, encoders.jsonl and kernels.txt of OUT."""

import datetime
import json
import os
import re
import sys

TARGETS = {"kg": 4.0, "qa": 3.0}
TASKS = {"kg": "pre-training", "qa": "fine-tuning"}
OF_COPY = 60
# Texts per second, in the same type.
OF_SENTENCE_TRANSFORMERS = 2.0


def lines(path):
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as f:
        return f.read().splitlines()


def table(head, rows):
    out = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    return out + [f"| {' | '.join(map(str, row))} |" for row in rows]


def ms(row, key="median_s"):
    if row and key in row:
        return f"{1e3 * row[key]:.2f}"
    error = (row or {}).get("error", "-")
    return "out of memory" if "out of memory" in error.lower() else error[:60]


def times(rows):
    """Rows of the table of steps, and for each target the ratios there are."""
    by = {}
    for r in rows:
        who, dtype = r["path"].split()
        by[r["size"], r["dim"], r["task"], dtype, who] = r
    out, ratios = [], {task: [] for task in TARGETS}
    for size, dim, task, dtype in dict.fromkeys(k[:4] for k in by):
        ours = by.get((size, dim, task, dtype, "gfm-pipe"))
        theirs = by.get((size, dim, task, dtype, "reference"))
        ratio = "-"
        if ours and theirs and "median_s" in ours and "median_s" in theirs:
            value = theirs["median_s"] / ours["median_s"]
            ratio = f"{value:.1f}"
            ratios[task].append((value, f"{size} d={dim} {dtype}"))
        states = f"{100 * ours['states']:.0f} %" if ours and "states" in ours else "-"
        out.append([
            size, dim, TASKS[task], dtype, states, ms(ours), ms(ours, "alone_s"), ms(ours, "prepare_s"), ms(theirs), ratio,
            (ours or {}).get("peak_device_mb", "-"), (theirs or {}).get("peak_device_mb", "-"),
        ])  # fmt: skip
    return out, ratios


def encoders(rows):
    """Rows of the table of encoders, and the ratios there are."""
    by = {}
    for r in rows:
        found = r["is"]
        key = r["model"], found.get("file", r["of"]), found["dtype"]
        by.setdefault(key, {})[found["who"]] = found
    out, ratios = [], []
    for (model, of, dtype), side in by.items():
        ours, theirs = side.get("gfm-pipe"), side.get("sentence-transformers")
        speed = [f"{s['texts_per_s']:.0f}" if s else "-" for s in (ours, theirs)]
        ratio = "-"
        if ours and theirs:
            value = ours["texts_per_s"] / theirs["texts_per_s"]
            ratio = f"{value:.1f}"
            ratios.append((value, f"{model}, {of}, {dtype}"))
        out.append([model, of, dtype, *speed, ratio])
    return out, ratios


def targets(ratios, of_encoders, kernels):
    """Each target: met or not, and by what."""
    out = []
    for task, least in TARGETS.items():
        found = ratios[task]
        worst = min(found, default=None)
        met = "SKIP" if not found else "PASS" if worst[0] >= least else "FAIL"
        said = f"least {worst[0]:.1f} times ({worst[1]}), {len(found)} cases" if found else "not measured"
        out.append((f"{TASKS[task]} step at least {least:.0f} times as fast as the reference's", met, said))
    worst = min(of_encoders, default=None)
    met = "SKIP" if not worst else "PASS" if worst[0] >= OF_SENTENCE_TRANSFORMERS else "FAIL"
    said = f"least {worst[0]:.1f} times ({worst[1]}), {len(of_encoders)} cases" if worst else "not measured"
    out.append((f"encoders at least {OF_SENTENCE_TRANSFORMERS:.0f} times as fast as sentence-transformers", met, said))
    share = None
    for line in kernels:
        m = re.match(r"messages\s+L\s+f32 .* (\d+)%$", line)
        share = int(m[1]) if m else share
    met = "SKIP" if share is None else "PASS" if share >= OF_COPY else "FAIL"
    said = "not measured" if share is None else f"{share} %"
    out.append((f"messages on L at {OF_COPY} % of a copy's GB/s", met, said))
    return out


def main(out, device, commit):
    checks = [line.split("\t") for line in lines(os.path.join(out, "summary.tsv"))]
    rows = [json.loads(line) for line in lines(os.path.join(out, "times.jsonl"))]
    kernels = lines(os.path.join(out, "kernels.txt"))
    steps, ratios = times(rows)
    texts, of_encoders = encoders([json.loads(line) for line in lines(os.path.join(out, "encoders.jsonl"))])
    goals = targets(ratios, of_encoders, kernels)
    width = max((len(c[0]) for c in checks), default=0)
    for name, verdict, seconds, what, said in checks:
        print(f"{verdict}  {name:{width}}  {seconds:>4} s  {what}{': ' + said if said else ''}")
    for what, met, said in goals:
        print(f"{met}  target: {what}: {said}")
    head = [
        "graph", "d", "task", "type", "states computed", "step ms", "alone", "CPU before", "reference ms", "times as fast", "peak MB",
        "reference's",
    ]  # fmt: skip
    page = [
        f"# {device.split(',')[0]}",
        "",
        f"{datetime.date.today()}, commit {commit[:12]}. {device} (name, driver, memory). Made by",
        "",
        "    scripts/gpu-check/prepare    # on a machine with the toolchain",
        "    scripts/gpu-check/run        # on this one",
        "",
        "## Checks",
        "",
        *table(["check", "", "s", "found"], [[c[3], c[1], c[2], c[4]] for c in checks]),
        "",
        "## Targets",
        "",
        *table(["target", "", "found"], goals),
        "",
        "## Training steps",
        "",
        "Batch 8, six layers, 256 negatives. `step` is the mean of steps as the training loop takes them, up to six threads preparing the next ones meanwhile;",
        "`alone` one that was prepared before; `CPU before` what the preparation takes one such thread (both medians). The reference is GFM-RAG 1.0.0 in PyTorch with its",
        "own CUDA kernel, on the same files, with a synchronisation around each step. Memory is what tensors take at most.",
        "",
        *table(head, steps),
        "",
        "## Encoders",
        "",
        "Random weights in the sizes of all-MiniLM-L6-v2 (`minilm`) and of BERT's base model, texts a second from tokenising to vectors. sentence-transformers embeds in",
        "batches of 512.",
        "",
        *table(["model", "texts", "type", "texts/s", "sentence-transformers texts/s", "times as fast"], texts),
        "",
        "## Kernels",
        "",
        "```text",
        *kernels,
        "```",
        "",
    ]
    name = re.search(r"[A-Z]+\d+\w*", device)
    name = name[0].lower() if name else "emulation"
    with open(os.path.join(out, f"{name}.md"), "w", encoding="utf-8") as f:
        f.write("\n".join(page))


main(*sys.argv[1:4])
