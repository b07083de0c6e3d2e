"""Keeps each triple once. Python's standard library is enough: tables come and go as JSON lines."""

import json
import sys

both_ways = sys.argv[1] == "both-ways"
seen = set()
kept = dropped = 0
with open("inputs/triples/triples.jsonl") as triples, open("outputs/triples/triples.jsonl", "w") as out:
    for line in triples:
        t = json.loads(line)
        ends = (t["head"], t["tail"])
        triple = (t["relation"], *(sorted(ends) if both_ways else ends))
        if triple in seen:
            dropped += 1
        else:
            seen.add(triple)
            out.write(line)
            kept += 1
with open("outputs/counts/counts.jsonl", "w") as out:
    for name, value in [("kept", kept), ("dropped", dropped)]:
        print(json.dumps({"name": name, "value": value}), file=out)
# What a program prints goes to the run's log.
print(f"{kept} triples kept, {dropped} dropped")
