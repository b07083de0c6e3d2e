"""Runs pipelines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gfm_pipe._errors import Error, UsageError, printable, raise_for
from gfm_pipe._program import environment, output, program
from gfm_pipe._store import DEFAULT_STORE, PathLike, store_args
from gfm_pipe._tables import Table, table

#: A pipeline: the path of a YAML file, or what such a file holds as a dict.
Pipeline = PathLike | Mapping[str, Any]
#: An event of a run, as `gfm-pipe run --log-format json` prints it.
Event = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """How a stage of a run ended."""

    name: str
    op: str
    #: `ran`, `cached`, `failed` or `skipped`.
    status: str
    seconds: float
    #: Why it ran, or why it did not.
    reasons: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """A finished run."""

    #: Its name, as `gfm-pipe runs` lists it.
    name: str
    #: Its stages, in the order written.
    stages: list[Stage]
    #: The folder of its store.
    store: str

    def table(self, name: str) -> Table:
        """A table of this run: `run.table("evaluate.metrics")`."""
        return table(name, store=self.store, run=self.name)

    def __repr__(self) -> str:
        counts = {"ran": 0, "cached": 0}
        for stage in self.stages:
            counts[stage.status] = counts.get(stage.status, 0) + 1
        said = ", ".join(f"{n} {status}" for status, n in counts.items())
        return f"<Run {self.name}: {said}>"


def run(
    pipeline: Pipeline,
    *,
    store: PathLike | None = None,
    params: Mapping[str, Any] | None = None,
    set: Mapping[str, Any] | None = None,
    until: str | Sequence[str] = (),
    force: str | Sequence[str] = (),
    device: str = "auto",
    allow_exec: bool = False,
    on_event: Callable[[Event], None] | None = None,
    args: Sequence[str] = (),
) -> Run:
    """Runs a pipeline; finished stages are taken from the store.

    `pipeline` is the path of a YAML file, or a dict with the same content: `{"stages": {…}}`.
    `params` sets entries of its `vars`, and `set` any parameter: `{"evaluate.with.top_k": 10}`.
    `until` and `force` name one stage or several, `device` is `auto`, `cpu` or `cuda:N`, and `args`
    are further arguments of `gfm-pipe run`, but not `-C`, `--store` or `--watch`. `on_event` is
    called with each event as a dict; without it, stages are printed to standard error as they end,
    with warnings.

    Raises `UsageError` where the pipeline is wrong, with the program's messages, `RunError` where a
    stage fails, and `Interrupted` after Ctrl-C, when running stages have stopped.
    """
    command = ["run", "--log-format", "json", "--device", device]
    for stage in _listed(until):
        command += ["--until", stage]
    for stage in _listed(force):
        command += ["--force", stage]
    args = _listed(args)
    for option in ["-C", "--store", "--watch"]:
        if any(arg == option or arg.startswith(f"{option}=") for arg in args):
            raise UsageError(f"`args` cannot have {option}: `store` names the store")
    if allow_exec:
        command.append("--allow-exec")
    name, text = _pipeline(pipeline)
    command += [*store_args(store), *_values("-p", params), *_values("--set", set), *args]
    ended = _follow([*command, "--", name], text, on_event or _print)
    stages = [
        Stage(s["name"], s["op"], s["status"], s["seconds"], list(s["reasons"]))
        for s in ended.stages
    ]
    return Run(ended.run, stages, os.path.abspath(store or DEFAULT_STORE))


def plan(
    pipeline: Pipeline,
    *,
    store: PathLike | None = None,
    params: Mapping[str, Any] | None = None,
    set: Mapping[str, Any] | None = None,
) -> str:
    """What `run` would do, and why, as text. Nothing runs.

    Raises `UsageError` where the pipeline is wrong.
    """
    name, text = _pipeline(pipeline)
    values = [*_values("-p", params), *_values("--set", set)]
    return output(["plan", *store_args(store), *values, "--", name], text)


def _pipeline(pipeline: Pipeline) -> tuple[str, bytes]:
    """The argument that names a pipeline, and what is given on standard input."""
    if isinstance(pipeline, (str, os.PathLike)):
        return os.fspath(pipeline), b""
    return "-", _yaml(pipeline, "the pipeline", indent=2).encode()


def _listed(given: str | Sequence[str]) -> list[str]:
    """A list of texts, of which one may be given alone."""
    return [given] if isinstance(given, str) else list(given)


def _values(option: str, values: Mapping[str, Any] | None) -> list[str]:
    if values is not None and not isinstance(values, Mapping):
        raise UsageError(f"expected a dict of names and values, found {values!r}")
    args = []
    for name, value in (values or {}).items():
        # A text in quotes stays a text: "1" does not become a number.
        args += [option, f"{name}={_yaml(value, name)}"]
    return args


def _yaml(value: Any, name: str, indent: int | None = None) -> str:
    """A value as JSON, which is YAML."""
    try:
        text = json.dumps(
            value, ensure_ascii=False, indent=indent, allow_nan=False, default=os.fspath
        )
        text.encode()
    except (TypeError, ValueError) as e:
        raise Error(f"{name} cannot be written as YAML: {e}") from e
    return text


@dataclass
class _Ended:
    run: str = ""
    stages: list[dict[str, Any]] = field(default_factory=list)
    #: What is wrong with stages that failed.
    errors: list[str] = field(default_factory=list)

    def take(self, event: Event) -> None:
        """Learns from an event."""
        if event["event"] == "run_started":
            self.run = event["run"]
        elif event["event"] == "run_finished":
            self.stages = event["stages"]
        elif event["event"] == "stage_finished" and event.get("error"):
            hint = event.get("hint")
            text = f"{event['name']}: {event['error']}"
            self.errors.append(printable(text + (f"\nhint: {hint}" if hint else "")))


def _follow(command: list[str], text: bytes, tell: Callable[[Event], None]) -> _Ended:
    ended = _Ended()
    # Messages may be longer than a pipe holds while nobody reads it.
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(
            [program(), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=messages,
            env=environment(),
            # Ctrl-C comes from here, whether the terminal sends it or somebody else.
            start_new_session=True,
        )
        interrupted = False
        with process:
            assert process.stdin is not None and process.stdout is not None
            try:
                process.stdin.write(text)
                process.stdin.close()
            except BrokenPipeError:
                pass  # It has ended, and says why.
            try:
                for line in process.stdout:
                    event = json.loads(line)
                    ended.take(event)
                    tell(event)
            except KeyboardInterrupt:
                # Running stages are waited for, unless Ctrl-C is pressed again. The program cannot
                # end while nobody reads what it prints.
                interrupted = True
                _interrupt(process)
                try:
                    for line in process.stdout:
                        ended.take(json.loads(line))
                except KeyboardInterrupt:
                    _interrupt(process)
                    process.stdout.close()
            except BaseException:
                process.terminate()
                process.stdout.close()
                raise
            code = process.wait()
        messages.seek(0)
        said = messages.read().decode("utf-8", "replace")
    if code != 0:
        raise_for(code, "\n".join(filter(None, [*ended.errors, said.strip()])))
    if interrupted:
        raise KeyboardInterrupt
    sys.stderr.write(said)
    return ended


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    """Does what Ctrl-C does."""
    if os.name == "nt":
        process.terminate()
    else:
        process.send_signal(signal.SIGINT)


def _print(event: Event) -> None:
    if event["event"] == "message" and event["level"] == "warn":
        print(printable(f"{event['stage']:<12} warning: {event['text']}"), file=sys.stderr)
    if event["event"] != "stage_finished":
        return
    line = f"{event['name']:<12} {event['status']:<8} {event['seconds']:>8.2f} s"
    reasons = ", ".join(event["reasons"])
    print(printable(f"{line}  {reasons}".rstrip()), file=sys.stderr)
