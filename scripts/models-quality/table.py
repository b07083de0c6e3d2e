"""The table of all folds: `table.py BINARY STORE NAME`. Means over questions with 95 % bootstrap intervals, and for each
system the p-value of a paired sign-flip test against the best one."""

import json
import random
import subprocess
import sys

binary, store, name = sys.argv[1:]
FOLDS = range(5)
RESAMPLES = 10_000


def ranks(stage):
    done = subprocess.run(
        [binary, "show", f"{stage}.ranks", "--store", store, "--json"], capture_output=True, text=True, check=True
    )
    rows = [row for row in json.loads(done.stdout) if row["target"] == "document"]
    return [row for row in rows if row["gold"] > 0]


def measures(row):
    found = sum(r <= 5 for r in row["ranks"])
    return {"recall@5": found / row["gold"], "all-gold@5": float(found == row["gold"])}


systems = {}
for fold in FOLDS:
    for stage, names in (
        ("evaluate", {"model": "GFM-RAG 1.0's model"}),
        ("evaluate_reasoner", {"model": "GraphReasoner", "pretrained": "GraphReasoner, not fine-tuned"}),
    ):
        for row in ranks(f"{stage}[{fold}]"):
            system = names.get(row["system"], row["system"])
            answers = systems.setdefault(system, {})
            assert row["question"] not in answers, "each question is tested in one fold"
            answers[row["question"]] = measures(row)
questions = sorted(next(iter(systems.values())))
assert all(sorted(answers) == questions for answers in systems.values()), "all systems answer the same questions"


def interval(values, draw):
    means = sorted(sum(draw.choices(values, k=len(values))) / len(values) for _ in range(RESAMPLES))
    return means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES) - 1]


def p_value(differences, draw):
    """Two-sided: how often random signs give a sum at least as far from 0."""
    differences = [d for d in differences if d]
    observed = abs(sum(differences)) - 1e-12
    hits = sum(abs(sum(d if draw.random() < 0.5 else -d for d in differences)) >= observed for _ in range(RESAMPLES))
    return (hits + 1) / (RESAMPLES + 1)


def of(system, metric):
    return [systems[system][q][metric] for q in questions]


def mean(values):
    return sum(values) / len(values)


best = max(systems, key=lambda s: mean(of(s, "recall@5")))
print(f"{name}, {len(questions)} questions of at least two hops\n")
print(f"| system | recall@5 (95 %) | all-gold@5 (95 %) | p, recall@5, against {best} |")
print("| --- | --- | --- | --- |")
for system in sorted(systems, key=lambda s: -mean(of(s, "recall@5"))):
    cells = []
    for metric in ("recall@5", "all-gold@5"):
        values = of(system, metric)
        low, high = interval(values, random.Random(1024))
        cells.append(f"{mean(values):.3f} ({low:.3f}-{high:.3f})")
    differences = [a - b for a, b in zip(of(best, "recall@5"), of(system, "recall@5"))]
    p = "-" if system == best else f"{p_value(differences, random.Random(1024)):.4f}"
    print(f"| {system} | {' | '.join(cells)} | {p} |")
