"""The static encoder's files, written and read in Python.

Invariant: `StaticTable.encode` computes what the Rust encoder computes (tests there hold the two
together through vectors stored by `distill.py`).
Not here: how the table is made (distill.py), how good it is (quality.py).
"""

import json
import pathlib

import numpy as np
from safetensors.numpy import load_file, save
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

FORMAT = 1


def tokenizer(vocab):
    """BERT's tokenizer without special tokens, padding or truncation."""
    ids = {token: row for row, token in enumerate(vocab)}
    made = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    made.normalizer = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made


def write(folder, vectors, vocab, origin):
    """int8 with one scale a row: the token's weight lives in the scale, so rare and common tokens keep
    the same relative precision."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    scales = (np.abs(vectors).max(1) / 127).astype(np.float32)
    rows = np.rint(vectors / np.where(scales > 0, scales, 1)[:, None]).astype(np.int8)
    config = {
        "format": FORMAT,
        "name": "static-minilm",
        "dim": vectors.shape[1],
        "tokenizer": {
            "lowercase": True,
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
        },
        "origin": origin,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "vocab.txt").write_text("".join(token + "\n" for token in vocab), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(save({"rows": rows, "scales": scales}))


class StaticTable:
    def __init__(self, folder):
        folder = pathlib.Path(folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config["format"] != FORMAT:
            raise SystemExit(f"{folder / 'config.json'}: format {config['format']}, expected {FORMAT}")
        vocab = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
        tensors = load_file(folder / "model.safetensors")
        self.vectors = tensors["rows"].astype(np.float32) * tensors["scales"][:, None]
        self.vectors[vocab.index("[UNK]")] = 0
        self.tokenizer = tokenizer(vocab)

    def encode(self, texts):
        """Unit-norm rows [N, dim]; a text without a known token is the zero row."""
        out = np.zeros((len(texts), self.vectors.shape[1]), np.float32)
        for row, encoding in enumerate(self.tokenizer.encode_batch(list(texts), add_special_tokens=False)):
            if encoding.ids:
                out[row] = self.vectors[encoding.ids].sum(0)
        norm = np.linalg.norm(out, axis=1, keepdims=True)
        return np.divide(out, norm, out=np.zeros_like(out), where=norm > 0)
