"""Errors, with the text that the program prints for them."""

from __future__ import annotations

from typing import NoReturn

#: Exit code of a program that was interrupted.
INTERRUPTED = 130


class Error(Exception):
    """Something went wrong. The text says what, and what to do next."""

    #: Exit code of the program, where it ended with one.
    code: int | None = None

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code


class UsageError(Error):
    """The pipeline or an argument is wrong; nothing ran."""


class RunError(Error):
    """A stage failed, or the machine refused (disk, permissions)."""


class Interrupted(Error):
    """The run was interrupted. Finished stages are kept: the same call goes on from there."""


class QuestionError(Error):
    """A question, or what it asks for, is wrong."""


def printable(text: str) -> str:
    """The text without characters that control a terminal or that nobody sees, which names of files
    and texts of documents may have. They are written out.
    """
    return "".join(
        c if c in "\n\t" or c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


def raise_for(code: int, text: str) -> NoReturn:
    """Raises the error of a program that ended with this exit code and printed this text."""
    if code == INTERRUPTED:
        # What it printed was said while it waited.
        text = "interrupted; the same call goes on from here: finished stages are kept"
    kinds = {1: RunError, 2: UsageError, INTERRUPTED: Interrupted}
    text = text.strip().removeprefix("error: ") or f"gfm-pipe ended with {code}"
    raise kinds.get(code, RunError)(text, code)
