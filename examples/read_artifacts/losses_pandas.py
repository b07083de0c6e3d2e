"""Mean loss by epoch of every training stage, with pandas."""

import sys

import pandas as pd

from artifacts import path

for stage in sys.argv[1:] or ["pretrain", "finetune"]:
    history = pd.read_parquet(path(f"{stage}.history"))
    losses = history[history["metric"] == "mean_loss"].set_index("epoch")["value"]
    assert losses.notna().all()
    print(stage, *(f"{loss:.4f}" for loss in losses))
