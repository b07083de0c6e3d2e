"""The table of the stage `pool` in Markdown: `table.py BINARY STORE NAME`."""

import json
import subprocess
import sys

binary, store, name = sys.argv[1:]


def table(port, metrics):
    done = subprocess.run(
        [binary, "show", f"pool.{port}", "--store", store, "--json"], capture_output=True, text=True, check=True
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


def interval(row):
    return "" if row["low"] is None else f" ({row['low']:.3f} to {row['high']:.3f})"


print(f"{name}, {questions} questions of at least two hops\n")
print(f"| system | recall@5 (95 %) | all-gold@5 (95 %) | recall@5 of {baseline} less its (95 %) | p |")
print("| --- | --- | --- | --- | --- |")
for label in sorted(systems, key=lambda s: -systems[s][METRICS[0]]["value"]):
    cells = [f"{systems[label][m]['value']:.3f}{interval(systems[label][m])}" for m in METRICS]
    row = differences.get(label)
    cells += [f"{row['difference']:+.3f}{interval(row)}", f"{row['p']:.4f}"] if row else ["-", "-"]
    print(f"| {systems[label]['name']} | {' | '.join(cells)} |")
