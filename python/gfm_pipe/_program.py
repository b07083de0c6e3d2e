"""Finds the program and starts it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from gfm_pipe._errors import Error, raise_for

NAME = "gfm-pipe" + (sysconfig.get_config_var("EXE") or "")


def program() -> str:
    """The path of the program: the variable GFM_PIPE, else the one that was installed with this
    package, else the first one on PATH.

    Raises `Error` where there is none.
    """
    named = os.environ.get("GFM_PIPE")
    if named:
        found = shutil.which(named)
        if found is None:
            raise Error(f"the variable GFM_PIPE names no program: {named}")
        return found
    folders = [sysconfig.get_path("scripts")]
    folders.append(sysconfig.get_path("scripts", f"{os.name}_user"))
    # Where packages are installed with `--target`, the program lies beside them.
    folders.append(str(Path(__file__).parent.parent / "bin"))
    for folder in folders:
        file = Path(folder) / NAME
        if os.access(file, os.X_OK):
            return str(file)
    found = shutil.which(NAME)
    if found is None:
        raise Error(
            f"there is no program {NAME}: it comes with the wheel, "
            "and the variable GFM_PIPE can name another one"
        )
    return found


def version() -> str:
    """The version of the program, with its commit and features."""
    return output(["--version"])


def output(args: Sequence[str], given: bytes = b"") -> str:
    """Runs the program to its end, with this on standard input, and returns what it prints.

    Raises an `Error` with its messages where it fails.
    """
    done = subprocess.run(
        [program(), *args],
        input=given,
        env=environment(),
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        raise_for(done.returncode, done.stderr.decode("utf-8", "replace"))
    return done.stdout.decode("utf-8", "replace")


def environment() -> dict[str, str]:
    """The environment of the program: programs that a pipeline starts find this Python first."""
    folder = os.path.dirname(sys.executable)
    path = os.environ.get("PATH", "")
    return {**os.environ, "PATH": os.pathsep.join(filter(None, [folder, path]))}
