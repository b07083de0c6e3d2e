"""Asks questions of the index of this folder, one after another, and prints what loading and answering take: ask.py GFM_PIPE QUESTIONS MB"""

import http.client
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

binary, count, limit = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])


def peak_mb(pid):
    """The most memory that a process has had."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()).group(1)) * 1024 / 1e6


def ask(connection, question, paths):
    began = time.monotonic()
    connection.request("POST", "/ask", json.dumps({"question": question, "k": 5, "paths": paths}), {"content-type": "application/json"})
    response = connection.getresponse()
    content = response.read()
    if response.status != 200:
        sys.exit(f"{question}: {response.status} {content[:300]}")
    return time.monotonic() - began


def main():
    questions = [q["question"] for q in json.loads(Path("documents/questions.json").read_text())][:count]
    began = time.monotonic()
    server = subprocess.Popen([binary, "serve", "--addr", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        told = []
        for line in server.stdout:
            told.append(line)
            if address := re.search(r"answers at http://(\S+?):(\d+)", line):
                break
        else:
            sys.exit("the server did not start:\n" + "".join(told))
        loaded, at_rest = time.monotonic() - began, peak_mb(server.pid)
        connection = http.client.HTTPConnection(address[1], int(address[2]), timeout=600)
        ask(connection, questions[0], 0)
        print(f"\nasked {len(questions)} questions, one after another; loaded in {loaded:.1f} s, with {at_rest:.0f} MB")
        for paths in [0, 3]:
            times = sorted(ask(connection, question, paths) for question in questions)
            print(f"{paths} paths: median {median(times):.2f} s, longest {times[-1]:.2f} s")
        peak = peak_mb(server.pid)
        print(f"peak: {peak:.0f} MB")
        if peak > limit:
            sys.exit(f"`serve` took {peak:.0f} MB, and the limit is {limit:.0f}")
    finally:
        server.terminate()
        server.wait()


main()
