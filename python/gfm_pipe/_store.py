"""Arguments that name a store."""

from __future__ import annotations

import os

#: The default folder of a store.
DEFAULT_STORE = ".gfm-pipe"
PathLike = str | os.PathLike[str]


def store_args(store: PathLike | None) -> list[str]:
    """The arguments that name this store; without one, the program's own default."""
    return [] if store is None else ["--store", os.fspath(store)]
