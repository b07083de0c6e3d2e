"""The results of run-reasoner as a table. Fails if the programs do not compute the same first loss of fine-tuning."""

import json
import sys

rows = [json.loads(line) for line in open(sys.argv[1])]
key = lambda r: (r["size"], r["dim"], r["task"])  # noqa: E731
time = lambda r: f"{r['median_s']:.3f}"  # noqa: E731


def why(r):
    """Why there is no time."""
    error = r.get("error", "-")
    return f"out of memory ({r['mem_limit_gb']:.0f} GiB)" if "alloc" in error or "memory" in error.lower() else error


HEAD = (
    "size | d | task | states computed | gfm-pipe s | with recompute s | best torch s | reference s | x best torch | x reference | "
    "peak MB: gfm-pipe / recompute / best torch / reference | first loss: gfm-pipe / best torch / reference"
)
print(f"\n| {HEAD} |\n|{' --- |' * (HEAD.count('|') + 1)}")
wrong = []
for k in dict.fromkeys(map(key, rows)):
    here = [r for r in rows if key(r) == k]
    mine = [r for r in here if r["path"].startswith("gfm-pipe") and "median_s" in r]
    # The slower of two runs.
    kept = max((r for r in mine if not r["recompute"]), key=lambda r: r["median_s"], default=None)
    again = next((r for r in mine if r["recompute"]), None)
    others = [next((r for r in here if r["path"] == path), {}) for path in ("chunked", "rspmm")]
    cells, ratios = [], []
    for r in others:
        # A step while others used the machine is marked.
        cells.append(time(r) + ("" if r["quiet"] else " (not quiet)") if "median_s" in r else why(r))
        ratios.append(f"{r['median_s'] / kept['median_s']:.1f}" if kept and "median_s" in r else "-")
    peaks = [f"{r['peak_rss_mb']:.0f}" if r and "median_s" in r else "-" for r in (kept, again, *others)]
    losses = [r["first_loss"] for r in (kept, *others) if r and "first_loss" in r]
    size, dim, task = k
    if task == "qa":
        if losses and max(losses) - min(losses) > 1e-4 * max(1, abs(losses[0])):
            wrong.append(f"{size}, d = {dim}: the first losses differ: {losses}")
        loss = " / ".join(f"{r['first_loss']:.5f}" if r and "first_loss" in r else "-" for r in (kept, *others))
    else:
        # Each program draws its own negatives.
        loss = "-"
    line = [
        size,
        dim,
        {"kg": "pre-training", "qa": "fine-tuning"}[task],
        f"{100 * kept['states']:.0f} %" if kept else "-",
        time(kept) if kept else "-",
        time(again) if again else "-",
        *cells,
        *ratios,
        " / ".join(peaks),
        loss,
    ]
    print(f"| {' | '.join(map(str, line))} |")
if wrong:
    sys.exit("\n".join(wrong))
