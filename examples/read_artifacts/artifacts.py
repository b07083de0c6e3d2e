"""Finds the tables of the latest run with `gfm-pipe show STAGE.PORT --path`."""

import os
import subprocess


def path(table):
    """The Parquet file of a table, `STAGE.PORT` or `STAGE.PORT.TABLE`.

    A table of more than 48 MiB may have several files: then it is a list of paths, which polars,
    DuckDB and pandas take as well.
    """
    gfm_pipe = os.environ.get("GFM_PIPE", "gfm-pipe")
    store = os.environ.get("STORE", ".gfm-pipe")
    command = [gfm_pipe, "show", table, "--path", "--store", store]
    paths = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return paths[0] if len(paths) == 1 else paths
