"""One table of both runs of this folder, and whether they are within limits: table.py DOCUMENTS SECONDS MB AGAIN"""

import json
import sys
from pathlib import Path

documents = int(sys.argv[1])
seconds, memory, again = map(float, sys.argv[2:])
first, second = (json.loads(Path(name).read_text()) for name in ["first.json", "second.json"])
later = {stage["name"]: stage for stage in second["stages"]}

print(f"\n{documents:,} documents; memory of a stage is that of the process while it ran\n")
print("| stage | operator | rows | MB | s | peak MB | s, 1 more | peak MB, 1 more |")
print("| --- | --- " + "| ---: " * 6 + "|")
for stage in first["stages"]:
    other = later[stage["name"]]
    print(f"| {stage['name']} | {stage['op']} | {stage['rows']:,} | {stage['bytes'] / 1e6:.1f} | {stage['seconds']:.2f} | {stage['peak_mb']:.0f} "
          f"| {other['seconds']:.2f} | {other['peak_mb']:.0f} |")
rows = sum(stage["rows"] for stage in first["stages"])
print(f"| all | | {rows:,} | {first['store_mb']:.1f} | {first['seconds']:.2f} | {first['peak_mb']:.0f} "
      f"| {second['seconds']:.2f} | {second['peak_mb']:.0f} |")
print(f"\nseconds of processors: {first['cpu']:.1f}, then {second['cpu']:.1f}; store: {first['store_mb']:.1f} MB, then {second['store_mb']:.1f} MB")

faults = []
if second["extracted"] != [1, documents + 1]:
    faults.append(f"with one more document, extracted {second['extracted']} of the documents, and not [1, {documents + 1}]")
for what, value, most in [
    ("seconds", first["seconds"], seconds), ("MB", first["peak_mb"], memory),
    ("seconds with one more document", second["seconds"], again), ("MB with one more document", second["peak_mb"], memory),
]:
    if value > most:
        faults.append(f"{value:.1f} {what}, and the limit is {most:g}")
if faults:
    sys.exit("\n".join(faults))
print(f"extracted 1 of {documents + 1} documents the second time; all limits kept")
