"""Tables of results, which are Parquet files in the store."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gfm_pipe._program import output
from gfm_pipe._store import PathLike, store_args

if TYPE_CHECKING:
    import polars
    import pyarrow


@dataclass(frozen=True)
class Table:
    """A table of a finished stage."""

    #: `STAGE.PORT`, or `STAGE.PORT.TABLE` where a port has several tables.
    name: str
    #: Its Parquet files, in the order of the rows; only a large table has several. They are part of
    #: the store: never write to them.
    paths: tuple[Path, ...]
    #: Arguments of the program that name its store and run.
    _of: tuple[str, ...] = field(default=(), repr=False, compare=False)

    @property
    def path(self) -> Path:
        """Its Parquet file. Raises `ValueError` where there are several: take `paths`."""
        if len(self.paths) != 1:
            raise ValueError(f"{self.name} has {len(self.paths)} files: use `paths`")
        return self.paths[0]

    def polars(self) -> polars.DataFrame:
        """The table as a data frame of polars, which must be installed."""
        import polars

        return polars.read_parquet(list(self.paths))

    def arrow(self) -> pyarrow.Table:
        """The table as a table of pyarrow, which must be installed."""
        import pyarrow
        import pyarrow.parquet

        return pyarrow.concat_tables([pyarrow.parquet.read_table(path) for path in self.paths])

    def pandas(self, **options: Any) -> Any:
        """The table as a data frame of pandas, which must be installed, with pyarrow."""
        return self.arrow().to_pandas(**options)

    def rows(self) -> list[dict[str, Any]]:
        """All rows as dicts. Needs no other package, and is slow for large tables."""
        rows: list[dict[str, Any]] = json.loads(output(["show", self.name, "--json", *self._of]))
        return rows


def table(name: str, *, store: PathLike | None = None, run: str = "latest") -> Table:
    """A table of a run: `table("evaluate.metrics")`.

    `store` is the folder of the store (`.gfm-pipe`), and `run` the name of a run, a tag, or
    `latest`. Raises `UsageError` where there is no such table, with those that there are.
    """
    of = store_args(store)
    if run != "latest":
        of += ["--run", run]
    lines = output(["show", name, "--path", *of]).splitlines()
    return Table(name, tuple(Path(line).absolute() for line in lines), tuple(of))
