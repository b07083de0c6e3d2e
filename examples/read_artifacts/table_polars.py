"""Prints the table at the end of a run again, with polars."""

import polars as pl

from artifacts import path

COLUMNS = ["recall@2", "recall@5", "all-gold@5", "mrr"]

metrics = pl.read_parquet(path("evaluate.metrics"))
name = pl.when(pl.col("ranker") == "-").then("system").otherwise(pl.format("{} ({})", "system", "ranker"))
table = (
    metrics.filter(target="document", group="all")
    .filter(pl.col("metric").is_in(COLUMNS))
    .with_columns(name.alias("name"))
    .pivot("metric", index="name", values="value")
    .select("name", *COLUMNS)
)
for row in table.iter_rows():
    print(row[0], *(f"{x:.3f}" for x in row[1:]))
