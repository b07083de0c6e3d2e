"""The table of a stage `pool` in Markdown: `table.py BINARY STORE NAME [STAGE]`."""

import json
import subprocess
import sys

binary, store, name = sys.argv[1:4]
stage = sys.argv[4] if len(sys.argv) > 4 else "pool"


def table(port, metrics):
    done = subprocess.run(
        [binary, "show", f"{stage}.{port}", "--store", store, "--json"], capture_output=True, text=True, check=True
    )
    return [row for row in json.loads(done.stdout) if row["group"] == "all" and row["metric"] in metrics]


METRICS = ("recall@5", "all-gold@5")
systems = {}
for row in table("metrics", METRICS):
    if row["target"] == "document" and row["system"] != "ceiling":
        label = row["system"] + (f" ({row['ranker']})" if row["ranker"] != "-" else "")
        systems.setdefault(label, {"name": row["system"]})[row["metric"]] = row
compared = table("comparisons", METRICS[:1])
differences = {row["other"]: row for row in compared}
baseline = compared[0]["system"]
questions = systems[baseline][METRICS[0]]["n"]


def signed(value):
    return f"{value:+.3f}" if round(value, 3) else "0.000"


def mean(row):
    interval = "" if row["low"] is None else f" ({row['low']:.3f}-{row['high']:.3f})"
    return f"{row['value']:.3f}{interval}"


def difference(row):
    """Of a system less the baseline; the stage compares the baseline with the system."""
    interval = "" if row["low"] is None else f" ({signed(-row['high'])} to {signed(-row['low'])})"
    return f"{signed(-row['difference'])}{interval}"


print(f"{name}, {questions} questions of at least two hops:\n")
print(f"| system | recall@5 (95 %) | all-gold@5 (95 %) | recall@5 less that of {baseline} (95 %) | p | p, Holm |")
print("| --- | --- | --- | --- | --- | --- |")
for label in sorted(systems, key=lambda s: -systems[s][METRICS[0]]["value"]):
    cells = [mean(systems[label][m]) for m in METRICS]
    row = differences.get(label)
    cells += [difference(row), f"{row['p']:.4f}", f"{row['p_holm']:.4f}"] if row else ["-", "-", "-"]
    print(f"| {systems[label]['name']} | {' | '.join(cells)} |")
