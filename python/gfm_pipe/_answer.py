"""Answers, as the program gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

T = TypeVar("T")


def _read(kind: type[T], value: Mapping[str, Any], **lists: Any) -> T:
    """Makes a `kind` of a JSON object. Fields that a newer program adds are left out."""
    known = {f.name for f in fields(kind) if f.init}  # type: ignore[arg-type]
    given = {k: v for k, v in value.items() if k in known}
    return kind(**{**given, **lists})


@dataclass(frozen=True)
class Start:
    """A node where the search started."""

    node: int
    label: str
    #: What found it: title, entity, partial, word, fact, sentence or document.
    source: str
    #: The words of the question, the fact, the sentence or the title by which it was found.
    text: str
    weight: float


@dataclass(frozen=True)
class Step:
    """An edge of a path: a fact, with where it was read."""

    head: str
    relation: str
    tail: str
    head_node: int
    tail_node: int
    #: Whether the path goes from the tail to the head.
    inverse: bool
    #: One-based layer of the model, or step of the walk.
    layer: int
    #: Number, title and sentence of the document that states the fact, where known.
    document: int | None = None
    title: str | None = None
    sentence: str | None = None


@dataclass(frozen=True)
class Path:
    """A walk in the graph from a start to a document."""

    #: How much the walk contributes.
    weight: float
    #: Empty where the search started at the document itself, or at what it mentions.
    steps: list[Step] = field(default_factory=list)

    def __str__(self) -> str:
        """`Hosea Kutako –stands in→ Namibia`: an arrow points in the direction of the fact."""
        text = ""
        for step in self.steps:
            ends = (step.tail, step.head) if step.inverse else (step.head, step.tail)
            arrow = f" ←{step.relation}– " if step.inverse else f" –{step.relation}→ "
            text = (text or ends[0]) + arrow + ends[1]
        return text or "the search started at it, or at what it mentions"


@dataclass(frozen=True)
class Document:
    """A document of an answer."""

    id: int
    title: str
    text: str
    #: One-based rank among all documents that the question allows; `None` without a score.
    rank: int | None = None
    #: Larger is better, and only scores of one answer can be compared.
    score: float | None = None
    #: The sentence of the text that is most similar to the question.
    sentence: str | None = None
    #: The file that it was read from.
    source: str | None = None
    #: Why it was found: a path without steps first, then the heaviest.
    paths: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class Cited:
    """An answer in words, by a language model, with the documents that it relies on."""

    #: The answer; empty where the documents do not say it.
    text: str
    #: How the model came to it.
    reasoning: str
    #: Numbers of the documents that it cites, and their titles.
    documents: list[int]
    titles: list[str]
    #: The name of the language model.
    model: str


@dataclass(frozen=True)
class Answer:
    """The answer to a question."""

    question: str
    #: The system that ranked the documents: model, fused, ppr, rrf, dense or bm25.
    system: str
    #: What the user should know, such as why a simpler system answered.
    notes: list[str]
    #: How long it took, together with the questions that were answered with it.
    seconds: float
    #: Where the search started, the heaviest first.
    start: list[Start]
    #: The first documents.
    documents: list[Document]
    #: The documents that `why_not` named.
    why_not: list[Document] = field(default_factory=list)
    #: The answer in words, where it was asked for and the model gave one.
    answer: Cited | None = None
    #: The JSON object that this was made of.
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, value: dict[str, Any]) -> Answer:
        """Reads an answer as `gfm-pipe ask --json` and `gfm-pipe serve` write it."""
        return _read(
            cls,
            value,
            start=[_read(Start, start) for start in value["start"]],
            documents=[_document(found) for found in value["documents"]],
            why_not=[_document(found) for found in value.get("why_not", [])],
            answer=None if (cited := value.get("answer")) is None else _read(Cited, cited),
            raw=value,
        )


def _document(value: Mapping[str, Any]) -> Document:
    paths = [
        _read(Path, path, steps=[_read(Step, step) for step in path["steps"]])
        for path in value["paths"]
    ]
    return _read(Document, value, paths=paths)
