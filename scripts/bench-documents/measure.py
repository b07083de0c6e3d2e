"""Runs pipeline.yaml of this folder, and writes what each stage took: measure.py OUT GFM_PIPE [OPTIONS…]"""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

EVERY = 0.02


def memory_mb(pid):
    """What a process has in memory now."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, IndexError):
        return 0.0


def watch(pid, running, peaks, over):
    while not over.wait(EVERY):
        now = memory_mb(pid)
        for stage in list(running):
            peaks[stage] = max(peaks.get(stage, 0.0), now)


def main():
    out, binary, options = sys.argv[1], sys.argv[2], sys.argv[3:]
    began = time.monotonic()
    process = subprocess.Popen([binary, "run", "pipeline.yaml", "--log-format", "json", *options], stdout=subprocess.PIPE, text=True)
    running, peaks, over, stages, extracted = set(), {}, threading.Event(), [], None
    watcher = threading.Thread(target=watch, args=(process.pid, running, peaks, over))
    watcher.start()
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "stage_started":
            running.add(event["stage"])
        elif event["event"] == "stage_finished":
            running.discard(event["name"])
            stages.append({key: event[key] for key in ["name", "op", "status", "seconds", "rows", "bytes", "error"]})
            if event["op"] == "extract" and "items" in event:
                extracted = [event["items"]["computed"], event["items"]["total"]]
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    over.set()
    watcher.join()
    failed = [f"{s['name']}: {s['error']}" for s in stages if s["status"] == "failed"]
    if status != 0:
        sys.exit("the run failed: " + ("; ".join(failed) or f"status {status}"))
    for stage in stages:
        stage["peak_mb"] = peaks.get(stage["name"], 0.0)
    store = sum(f.stat().st_size for f in Path(".gfm-pipe").rglob("*") if f.is_file())
    cpu = usage.ru_utime + usage.ru_stime
    run = {"seconds": seconds, "cpu": cpu, "peak_mb": usage.ru_maxrss * 1024 / 1e6, "store_mb": store / 1e6, "extracted": extracted, "stages": stages}
    Path(out).write_text(json.dumps(run, indent=1) + "\n")


main()
