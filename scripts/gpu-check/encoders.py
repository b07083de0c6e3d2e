"""Encoders of real sizes with random weights, and texts for them: encoders.py OUT [--small]. Needs NumPy and safetensors."""

import json
import random
import shutil
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

FIXTURE = Path(__file__).resolve().parents[2] / "data/fixtures/encoders/bert"
# Width, layers, heads and inner width of all-MiniLM-L6-v2 and of BERT's base model.
SIZES = {"minilm": (384, 6, 12, 1536), "base": (768, 12, 12, 3072)}
SMALL = {"minilm": (24, 1, 3, 40), "base": (48, 2, 4, 96)}
# Number of texts, and their fewest and most words.
TEXTS = {"names": (10_000, 1, 6), "documents": (2_000, 40, 160)}
SMALL_TEXTS = {"names": (200, 1, 6), "documents": (20, 40, 160)}
WORDS, POSITIONS = 30_522, 512


def encoder(folder, width, layers, heads, inner):
    shutil.copytree(FIXTURE, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= dict(hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=inner)
    config |= dict(vocab_size=WORDS, max_position_embeddings=POSITIONS)
    (folder / "config.json").write_text(json.dumps(config))
    pooling = folder / "1_Pooling/config.json"
    pooling.write_text(json.dumps(json.loads(pooling.read_text()) | dict(word_embedding_dimension=width)))
    (folder / "sentence_bert_config.json").write_text(json.dumps(dict(max_seq_length=256, do_lower_case=False)))
    rng = np.random.default_rng(0)
    weights = {}

    def put(name, *shape):
        weights[name] = rng.normal(0.0, 0.02, shape).astype(np.float32)

    def linear(name, rows, columns):
        put(f"{name}.weight", rows, columns)
        put(f"{name}.bias", rows)

    def norm(name):
        weights[f"{name}.weight"] = np.ones(width, np.float32)
        weights[f"{name}.bias"] = np.zeros(width, np.float32)

    for name, rows in [("word", WORDS), ("position", POSITIONS), ("token_type", 2)]:
        put(f"embeddings.{name}_embeddings.weight", rows, width)
    norm("embeddings.LayerNorm")
    for i in range(layers):
        layer = f"encoder.layer.{i}"
        for part in ["query", "key", "value"]:
            linear(f"{layer}.attention.self.{part}", width, width)
        linear(f"{layer}.attention.output.dense", width, width)
        norm(f"{layer}.attention.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", inner, width)
        linear(f"{layer}.output.dense", width, inner)
        norm(f"{layer}.output.LayerNorm")
    linear("pooler.dense", width, width)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def main(out, small=None):
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for name, size in (SMALL if small else SIZES).items():
        encoder(out / name, *size)
    vocabulary = json.loads((FIXTURE / "tokenizer.json").read_text())["model"]["vocab"]
    words = sorted(word for word in vocabulary if word.isascii() and word.isalpha() and len(word) > 1)
    rng = random.Random(0)
    for name, (count, least, most) in (SMALL_TEXTS if small else TEXTS).items():
        lines = (" ".join(rng.choices(words, k=rng.randint(least, most))) for _ in range(count))
        (out / f"{name}.txt").write_text("\n".join(lines) + "\n")


main(*sys.argv[1:])
