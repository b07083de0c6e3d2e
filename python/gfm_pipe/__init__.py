"""Run pipelines of gfm-pipe, read their tables, and ask their retrievers.

    import gfm_pipe

    run = gfm_pipe.run("pipelines/full.yaml", params={"dim": 32})
    run.table("evaluate.metrics").polars()

    with gfm_pipe.Retriever() as retriever:
        answer = retriever.ask("Which currency is used in Namibia?")
        print(answer.documents[0].title)

The work is done by the program `gfm-pipe`, which comes with this package.
"""

from gfm_pipe._answer import Answer, Cited, Document, Path, Start, Step
from gfm_pipe._errors import Error, Interrupted, QuestionError, RunError, UsageError
from gfm_pipe._program import program, version
from gfm_pipe._retriever import Retriever
from gfm_pipe._run import Run, Stage, plan, run
from gfm_pipe._tables import Table, table

__all__ = [
    "Answer",
    "Cited",
    "Document",
    "Error",
    "Interrupted",
    "Path",
    "QuestionError",
    "Retriever",
    "Run",
    "RunError",
    "Stage",
    "Start",
    "Step",
    "Table",
    "UsageError",
    "plan",
    "program",
    "run",
    "table",
    "version",
]

# Messages name the classes as they are imported.
for _error in (Error, Interrupted, QuestionError, RunError, UsageError):
    _error.__module__ = __name__
