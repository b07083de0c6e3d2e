"""Asks a retriever that stays loaded."""

from __future__ import annotations

import collections
import http.client
import json
import os
import socket
import subprocess
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gfm_pipe._answer import Answer
from gfm_pipe._errors import Error, QuestionError, RunError, UsageError, printable, raise_for
from gfm_pipe._program import environment, program
from gfm_pipe._store import PathLike, store_args

#: What the program says once it can be asked.
READY = " answers at "
#: Questions that are sent together.
BATCH = 64
#: Seconds that a server may take to end by itself.
ENDING = 10.0


class Retriever:
    """A retriever of a store, loaded once and kept warm by a process of its own.

        with Retriever(".gfm-pipe") as retriever:
            print(retriever.ask("Which currency is used in Namibia?").documents[0].title)

    Without `with`, `close` ends the process; it also ends with this one. Several threads may ask at
    the same time: their questions are scored together, which changes no answer.
    """

    def __init__(
        self,
        store: PathLike | None = None,
        *,
        run: str | None = None,
        stage: str | None = None,
        pipeline: PathLike | None = None,
        threads: int | None = None,
        timeout: float = 600.0,
    ) -> None:
        """Loads the retriever of the latest run in a store (`.gfm-pipe`).

        `run` names an earlier run or a tag, `stage` one of several retrievers, and `pipeline` a
        file that describes the wanted one. `timeout` is how long loading may take, in seconds; an
        answer may take a minute.

        Raises `UsageError` where there is nothing to ask, with the command that makes it.
        """
        if store is not None and os.path.isfile(store):
            name = os.fspath(store)
            raise UsageError(f"{name} is a file, not a store: `pipeline` names a pipeline")
        if isinstance(pipeline, Mapping):
            raise UsageError("`pipeline` is the path of a file here: `run` names a finished run")
        args = store_args(store)
        for option, value in [("--run", run), ("--stage", stage), ("--pipeline", pipeline)]:
            if value is not None:
                args += [option, os.fspath(value)]
        if threads is not None:
            args += ["--threads", str(threads)]
        self._server = _Server(args, timeout)
        self._end = weakref.finalize(self, self._server.end)

    def ask(
        self,
        question: str,
        *,
        k: int = 5,
        paths: int = 3,
        source: str | None = None,
        why_not: str | Sequence[str] = (),
        answer: bool = False,
    ) -> Answer:
        """Answers a question in plain words.

        `k` is the number of documents and `paths` the most paths for each; `source` is a pattern
        that files of documents must match (`reports/*.md`), and `why_not` names further documents
        to report with their ranks, by title or number. With `answer`, the language model of the
        stage (`llm`) also answers in words.

        Raises `QuestionError` where one of these is wrong.
        """
        wanted = _wanted(question, k, paths, source, why_not, answer)
        return Answer.of(self._post("/ask", wanted))

    def ask_all(
        self,
        questions: Sequence[str],
        *,
        k: int = 5,
        paths: int = 3,
        source: str | None = None,
        answer: bool = False,
    ) -> list[Answer | QuestionError]:
        """Answers many questions, in order. One that cannot be answered has its error in the
        answer's place. The options are those of `ask`.
        """
        if isinstance(questions, str):
            raise UsageError("`ask_all` takes a list of questions; `ask` takes one")
        answers: list[Answer | QuestionError] = []
        for first in range(0, len(questions), BATCH):
            some = questions[first : first + BATCH]
            wanted = [_wanted(question, k, paths, source, (), answer) for question in some]
            for given in self._post("/ask/batch", {"questions": wanted})["answers"]:
                error = given.get("error")
                answers.append(Answer.of(given) if error is None else QuestionError(_said(error)))
        return answers

    def about(self) -> dict[str, Any]:
        """What the retriever is made of: `system`, `documents`, `nodes`, `triples`, `encoder`,
        `examples`, and `model` where a language model answers in words.
        """
        about: dict[str, Any] = self._send("GET", "/about")
        return about

    def close(self) -> None:
        """Ends the process. A closed retriever cannot be asked."""
        self._end()

    def __enter__(self) -> Retriever:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Retriever {'of ' + self._server.said if self._end.alive else 'closed'}>"

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        text = json.dumps(body, ensure_ascii=False)
        return self._send("POST", path, text.encode(errors="replace"))

    def _send(self, method: str, path: str, body: bytes | None = None) -> Any:
        if not self._end.alive:
            raise Error("the retriever is closed")
        headers = {"content-type": "application/json"} if body is not None else {}
        while True:
            kept, connection = self._server.connection()
            try:
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                answer = json.loads(response.read())
                break
            except (OSError, http.client.HTTPException, ValueError) as e:
                connection.close()
                # One that was not used for long may have been closed.
                if not kept or isinstance(e, TimeoutError):
                    raise RunError(self._server.trouble(e)) from e
        self._server.idle.append(connection)
        if response.status >= 400:
            error = answer["error"]
            if response.status < 500 and response.status != 429:
                raise QuestionError(_said(error))
            raise RunError(_said(error))
        return answer


def _wanted(
    question: str,
    k: int,
    paths: int,
    source: str | None,
    why_not: str | Sequence[str],
    answer: bool,
) -> dict[str, Any]:
    if not isinstance(question, str):
        raise QuestionError(f"a question is a text, and this is {question!r}")
    for name, number in [("k", k), ("paths", paths)]:
        if not isinstance(number, int):
            raise QuestionError(f"`{name}` is a whole number, and this is {number!r}")
    wanted: dict[str, Any] = {"question": question, "k": k, "paths": paths}
    if source is not None:
        wanted["source"] = source
    if why_not:
        wanted["why_not"] = [why_not] if isinstance(why_not, str) else list(why_not)
    if answer:
        wanted["answer"] = True
    return wanted


def _said(error: dict[str, str]) -> str:
    hint = error.get("hint")
    return printable(error["message"] + (f"\nhint: {hint}" if hint else ""))


def _folder() -> tempfile.TemporaryDirectory[str]:
    """A folder of this process's own whose path leaves room for that of a socket, which may have
    about 100 bytes.
    """
    temp = tempfile.gettempdir()
    short = "/tmp" if len(os.fsencode(temp)) > 60 and os.path.isdir("/tmp") else temp
    return tempfile.TemporaryDirectory(prefix="gfm-pipe-", dir=short)


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _Server:
    """The process, which ends when this one does: it reads its standard input to the end."""

    def __init__(self, args: list[str], timeout: float) -> None:
        #: Connections that nobody uses at the moment.
        self.idle: collections.deque[http.client.HTTPConnection] = collections.deque()
        self.said = ""
        self._timeout = timeout
        self._owner = self._asker = os.getpid()
        command = [program(), "serve", "--until-eof"]
        # Only this user can look into it.
        self._folder = _folder()
        folder = Path(self._folder.name)
        self._socket = str(folder / "s") if hasattr(socket, "AF_UNIX") else None
        place = ["--socket", self._socket] if self._socket else ["--addr", "127.0.0.1:0"]
        self._host = ""
        self._messages = folder / "messages"
        with open(self._messages, "wb") as messages:
            self._process = subprocess.Popen(
                [*command, *place, *args],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=messages,
                env=environment(),
                # Ctrl-C is for whoever asks.
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.end()
            raise

    def _wait(self) -> None:
        until = time.monotonic() + self._timeout
        while time.monotonic() < until:
            code = self._process.poll()
            for line in self.messages().splitlines(keepends=True):
                if READY in line and line.endswith("\n"):
                    self.said, place = line.rstrip("\n").split(READY, 1)
                    self._host = place.removeprefix("http://")
                    return
            if code is not None:
                raise_for(code, self.messages())
            time.sleep(0.01)
        raise RunError(f"the retriever was not loaded within {self._timeout:.0f} s")

    def messages(self) -> str:
        """What the process has written to standard error."""
        return self._messages.read_text("utf-8", "replace")

    def connection(self) -> tuple[bool, http.client.HTTPConnection]:
        """A connection, and whether it was used before."""
        if os.getpid() != self._asker:
            # This process is a fork of the one that made these connections, and must not use them.
            # What is closed here stays open there.
            self._asker = os.getpid()
            while self.idle:
                self.idle.pop().close()
        try:
            return True, self.idle.pop()
        except IndexError:
            pass
        if self._socket:
            return False, _Connection(self._socket, self._timeout)
        return False, http.client.HTTPConnection(self._host, timeout=self._timeout)

    def trouble(self, e: Exception) -> str:
        """What to say of a request that failed."""
        code = self._process.poll()
        if code is None:
            return f"the retriever does not answer: {e}"
        return f"the process of the retriever has ended with {code}\n{self.messages()}".strip()

    def end(self) -> None:
        """Ends the process, unless this is a fork of the one that started it."""
        if os.getpid() != self._owner:
            return
        while self.idle:
            self.idle.pop().close()
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(ENDING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()
