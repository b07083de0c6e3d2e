"""Finds the tables of the latest run with `gfm-pipe show STAGE.PORT --path`."""

import os
import subprocess


def path(table):
    """The Parquet file of a table, `STAGE.PORT` or `STAGE.PORT.TABLE`."""
    gfm_pipe = os.environ.get("GFM_PIPE", "gfm-pipe")
    store = os.environ.get("STORE", ".gfm-pipe")
    command = [gfm_pipe, "show", table, "--path", "--store", store]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
