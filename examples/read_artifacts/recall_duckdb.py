"""Computes recall from the ranks of the gold documents with DuckDB, and compares it with `evaluate`."""

import duckdb

from artifacts import path

def table(name):
    return "'" + path(name).replace("'", "''") + "'"


rows = duckdb.sql(f"""
    with questions as (
        select id from {table("evaluate.ranks")} as r
        join {table("qa.test")} as q on q.id = r.question
        where not list_contains(q.groups, 'paraphrase')
        group by id
    ), made as (
        select system, ranker, avg(case when gold = 0 then 0 else len(list_filter(ranks, lambda x: x <= 5)) / gold end) as recall
        from {table("evaluate.ranks")} where target = 'document' and question in (from questions)
        group by all
    )
    select system, ranker, recall, value
    from made join {table("evaluate.metrics")} using (system, ranker)
    where target = 'document' and "group" = 'all' and metric = 'recall@5'
    order by recall desc, system, ranker
""").fetchall()
assert rows, "nothing was compared"
for system, ranker, made, reported in rows:
    assert abs(made - reported) < 1e-12, (system, ranker, made, reported)
    print(f"{system} {ranker} {made:.3f}")
