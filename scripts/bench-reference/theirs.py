"""bench_reference.py for any workload that has an info.json: `theirs.py SCRIPT run --graphs GRAPHS --size NAME …`."""

import importlib.util
import json
import os
import sys

script, *rest = sys.argv[1:]
spec = importlib.util.spec_from_file_location("bench_reference", script)
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)
graphs = rest[rest.index("--graphs") + 1]
for name in os.listdir(graphs):
    info = os.path.join(graphs, name, "info.json")
    if os.path.exists(info):
        with open(info) as f:
            i = json.load(f)
        bench.SIZES[name] = (i["nodes"], i["triples"], i["relations"], i["seed"])
sys.argv = [script, *rest]
bench.main()
