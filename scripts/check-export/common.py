"""What check.py and check2.py share: gfm-pipe, its tables, and the packages of the reference."""

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("GFM_PIPE") or ROOT / "target/release/gfm-pipe").resolve()
TOLERANCE = 1e-5


def package(version, *empty):
    """The folder of the reference's package, which must be of this version. The package itself and
    those named in `empty` are registered without running their __init__, which import clients of
    language models."""
    found = importlib.metadata.version("gfmrag")
    if found != version:
        sys.exit(f"gfmrag {found} is installed, and this needs {version}")
    root = Path(list(importlib.util.find_spec("gfmrag").submodule_search_locations)[0])
    for name in ("", *empty):
        module = types.ModuleType(f"gfmrag.{name}".rstrip("."))
        module.__path__ = [str(root.joinpath(*name.split(".")))]
        sys.modules[module.__name__] = module
    return root


def gfm_pipe(*args):
    done = subprocess.run([BINARY, *args], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"gfm-pipe {' '.join(map(str, args))}\n{done.stdout}{done.stderr}")
    return done.stdout


class Store:
    """The store of the pipelines that a check runs."""

    def __init__(self, work):
        self.path = work / "store"

    def run(self, pipeline, *args):
        gfm_pipe("run", pipeline, "--store", self.path, *args)

    def show(self, what):
        return json.loads(gfm_pipe("show", what, "--json", "--store", self.path))

    def compare(self, name, rankings, system, reference):
        """Compares the scores of a ranking with `reference`: score by question and document."""
        asked = {question for question, _ in reference}
        rows = [r for r in self.show(rankings) if r["system"] == system and r["question"] in asked]
        missing = asked - {r["question"] for r in rows}
        assert asked and not missing, f"{rankings} has no rows of {system} for {missing or 'any question'}"
        worst = max(abs(r["score"] - reference[r["question"], r["document"]]) for r in rows)
        scale = max(abs(r["score"]) for r in rows)
        print(
            f"{name}: {len(rows)} scores of {len(asked)} questions, largest {scale:.3f}, largest difference {worst:.1e}"
        )
        if not worst <= TOLERANCE * max(1.0, scale):
            sys.exit(f"{name}: more than {TOLERANCE} apart")


def import_configs(folder, accepted, refused, out):
    """Turns configuration files of the wheel into pipelines, which must be right."""
    for name in accepted:
        file = out / f"{name.replace('/', '_')}.yaml"
        gfm_pipe("import-config", folder / f"{name}.yaml", "-o", file, "--force")
        gfm_pipe("graph", file)
        print(f"{name}.yaml of the wheel: a pipeline without mistakes")
    for name in refused:
        args = [BINARY, "import-config", folder / f"{name}.yaml"]
        done = subprocess.run(args, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2, done
        print(f"{name}.yaml of the wheel: refused, {done.stderr.splitlines()[0]}")
