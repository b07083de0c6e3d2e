"""Distils all-MiniLM-L6-v2 into the table of the static encoder.

    python distill.py --out ../../data/models/static-minilm [--vectors ../../operators/text/tests/static_vectors.json]

Steps, after Model2Vec and tokenlearn (Minish Lab), without any corpus:
 1. every vocabulary token through the transformer as [CLS] token [SEP], mean pooled;
 2. a ridge correction: random bags of 2 to 8 tokens go through the transformer too, and the table is
    moved so that the average of a bag's vectors comes near what the transformer makes of the bag. It
    teaches the table which tokens dominate and which fade beside others;
 3. PCA, fitted on step 1;
 4. SIF weights a / (a + p) with Zipf's p from the token's rank;
 5. int8 rows, one float scale each.

Invariant: same machine, same requirements -> the same bytes. All randomness comes from SEED.
Not here: reading the table (static_table.py), judging it (quality.py).
"""

import argparse
import json
import pathlib
import tempfile

import minilm  # first: it fixes the number of BLAS threads
import numpy as np
import static_table

SEED = 7
BAGS = {2: 14000, 3: 14000, 4: 12000, 5: 9000, 6: 6000, 8: 5000}  # tokens in a bag -> bags
RIDGE = 1.0
CG_STEPS = 12
SIF_A = 1e-4

# BERT's vocabulary: special and unused entries, then single characters, then words by falling
# frequency. Only the words' order means anything, so characters get a rank by kind: punctuation
# counts like "the", a letter is an initial or an ordinal, a digit carries more.
FIRST_CHARACTER, FIRST_WORD = 999, 1996
LETTER_RANK, DIGIT_RANK = 100, 300

SAMPLES = [
    "capital of",
    "inverse_capital of",
    "is married to",
    "born in",
    "a",
    "Located In",
    "Which magazine was started first, Arthur's Magazine or First for Women, and in which city was the "
    "publisher of the older one of the two founded before the year 1850?",
    "são paulo está em brasil",
    "東京は日本の首都です",
    "emoji 😀 likes 🍕",
    "",
    "🍕🍕",
    "[CLS] has code [UNK]",
    "member of sports team",
    "tabs\tand\nlines\u00a0and  spaces",
    " ".join(["word"] * 300),
    "x" * 101,
]


def pooled(teacher, ids, batch):
    return np.concatenate([teacher.hidden(ids[i : i + batch]).mean(1) for i in range(0, len(ids), batch)])


def wrap(tokens):
    cls, sep = np.full((len(tokens), 1), 101), np.full((len(tokens), 1), 102)
    return np.concatenate([cls, tokens, sep], 1)


def bags(size):
    """Half the places drawn log-uniformly by rank (as words are used), half uniformly (so that every
    token is seen)."""
    rng = np.random.default_rng(SEED)
    drawn = {}
    for length, count in BAGS.items():
        shape = (count, length)
        common = np.exp(rng.uniform(0, np.log(size - FIRST_WORD), shape)).astype(int) + FIRST_WORD - 1
        any_token = rng.integers(FIRST_CHARACTER, size, shape)
        drawn[length] = np.where(rng.random(shape) < 0.5, common, any_token).clip(FIRST_CHARACTER, size - 1)
    return drawn


class BagAverages:
    """The linear map table -> average over each bag, and its transpose."""

    def __init__(self, drawn, size):
        self.drawn, self.size = list(drawn.values()), size
        lengths = [tokens.shape[1] for tokens in self.drawn]
        counts = [len(tokens) for tokens in self.drawn]
        slots = np.concatenate([tokens.ravel() for tokens in self.drawn])
        bag = np.repeat(np.arange(sum(counts)), np.repeat(lengths, counts))
        share = np.repeat(1 / np.repeat(lengths, counts), np.repeat(lengths, counts)).astype(np.float32)
        order = np.argsort(slots, kind="stable")
        self.bag, self.share, ordered = bag[order], share[order, None], slots[order]
        self.starts = np.r_[0, np.flatnonzero(np.diff(ordered)) + 1]
        self.tokens = ordered[self.starts]

    def apply(self, table):
        return np.concatenate([table[tokens].mean(1) for tokens in self.drawn])

    def transpose(self, values):
        out = np.zeros((self.size, values.shape[1]), np.float32)
        for start in range(0, values.shape[1], 64):  # in column blocks: the gathered rows are large
            block = values[:, start : start + 64][self.bag] * self.share
            out[self.tokens, start : start + 64] = np.add.reduceat(block, self.starts, axis=0)
        return out


def ridge(averages, residual):
    """argmin |averages(D) - residual|^2 + RIDGE |D|^2 by conjugate gradients, each column on its own."""
    r = averages.transpose(residual)
    step, p, rs = np.zeros_like(r), r.copy(), (r * r).sum(0)
    tiny = np.float32(1e-30)  # the teacher has a constant dimension: its column is 0 / 0
    for _ in range(CG_STEPS):
        q = averages.transpose(averages.apply(p)) + np.float32(RIDGE) * p
        alpha = rs / np.maximum((p * q).sum(0), tiny)
        step += alpha * p
        r -= alpha * q
        rs, before = (r * r).sum(0), rs
        p = r + rs / np.maximum(before, tiny) * p
    return step


def sif(vocab, real):
    rank = np.maximum(np.arange(len(vocab), dtype=np.float64) - (FIRST_WORD - 1), 1)
    for row in range(FIRST_CHARACTER, FIRST_WORD):
        if vocab[row].isalpha():
            rank[row] = LETTER_RANK
        elif vocab[row].isdigit():
            rank[row] = DIGIT_RANK
    p = 1 / (rank + 2.7)  # Zipf-Mandelbrot
    p /= p[real].sum()
    return (SIF_A / (SIF_A + p)).astype(np.float32)


def distil(teacher, vocab, dim, correct=True):
    real = np.array([not (token.startswith("[") and token.endswith("]") and len(token) > 2) for token in vocab])
    alone = pooled(teacher, wrap(np.arange(len(vocab))[:, None]), 512)
    mean = alone[real].mean(0)
    table = alone - mean
    values, axes = np.linalg.eigh(np.cov(table[real].T.astype(np.float64)))
    axes = axes[:, ::-1][:, :dim]
    # The sign of an eigenvector is an accident of the library: fix it.
    axes = (axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(dim)])).astype(np.float32)
    if correct:
        drawn = bags(len(vocab))
        target = np.concatenate([pooled(teacher, wrap(tokens), 256) for tokens in drawn.values()])
        target -= target.mean(0)
        averages = BagAverages(drawn, len(vocab))
        plain = averages.apply(table)
        gain = (plain * target).sum() / (plain * plain).sum()
        table = table * gain
        table = table + ridge(averages, target - averages.apply(table))
    return np.where(real[:, None], (table @ axes) * sif(vocab, real)[:, None], 0).astype(np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="model folder to write")
    parser.add_argument("--vectors", help="JSON file for texts and their vectors, for the Rust test")
    parser.add_argument("--package", help="folder to keep the downloaded package in (default: a temporary one)")
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--plain", action="store_true", help="without step 2, for comparison")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        teacher = minilm.MiniLM(minilm.fetch(args.package or temporary))
    vocab = sorted(teacher.tokenizer.get_vocab().items(), key=lambda item: item[1])
    assert [row for _, row in vocab] == list(range(len(vocab)))
    vocab = [token for token, _ in vocab]
    vectors = distil(teacher, vocab, args.dim, correct=not args.plain)
    origin = {
        "model": "sentence-transformers/all-MiniLM-L6-v2",
        "package": f"{minilm.PACKAGE} {minilm.PACKAGE_VERSION}",
        "weights_sha256": minilm.WEIGHTS_SHA256,
        "licence": "Apache-2.0",
        "method": "Model2Vec" + ("" if args.plain else ", ridge correction on random token bags"),
        "sif_a": SIF_A,
        "seed": SEED,
    }
    static_table.write(args.out, vectors, vocab, origin)
    if args.vectors:
        encoded = static_table.StaticTable(args.out).encode(SAMPLES)
        cases = [
            {"text": text, "vector": [float(f"{value:.8g}") for value in vector]}
            for text, vector in zip(SAMPLES, encoded)
        ]
        lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
        pathlib.Path(args.vectors).write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
