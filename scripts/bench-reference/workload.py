"""A data set in the training guide's layout as a workload of bench_reference.py: `workload.py DATASET OUT`.

Writes OUT/workload.safetensors and OUT/info.json: the graph, eight training questions with their entities and documents, random
triples, and random embeddings, since no time depends on their values.
"""

import json
import os
import sys

import numpy as np
from safetensors.numpy import save_file

BATCH, STEPS, DIM = 8, 64, 768


def main(root, out):
    stage1 = os.path.join(root, "processed", "stage1")
    entities, relations, triples = {}, {}, []
    with open(os.path.join(stage1, "kg.txt"), encoding="utf-8") as f:
        for line in f:
            parts = line.rstrip("\n").split(",")
            if len(parts) != 3:
                continue
            h, r, t = parts
            # ids by first appearance, head before tail, as the package assigns them
            h = entities.setdefault(h, len(entities))
            t = entities.setdefault(t, len(entities))
            triples.append((h, t, relations.setdefault(r, len(relations))))
    triples = np.array(triples, np.int64)
    n, r = len(entities), len(relations)
    target = np.ascontiguousarray(triples[:, :2].T)
    rng = np.random.default_rng(1)

    def embeddings(rows):
        x = rng.standard_normal((rows, DIM)).astype(np.float32)
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    with open(os.path.join(stage1, "document2entities.json"), encoding="utf-8") as f:
        documents = json.load(f)
    known = lambda names: sorted({entities[x] for x in names if x in entities})  # noqa: E731
    mentions = [(e, d) for d, names in enumerate(documents.values()) for e in known(names)]
    mentions = np.array(mentions, np.int64).reshape(-1, 2)
    frequency = np.bincount(mentions[:, 0], minlength=n).astype(np.float32)
    with open(os.path.join(stage1, "train.json"), encoding="utf-8") as f:
        questions = json.load(f)
    asked = [q for q in questions if known(q["question_entities"])]
    asked = [asked[i * len(asked) // BATCH] for i in range(BATCH)]
    seeds, gold = np.zeros((BATCH, n), np.float32), np.zeros((BATCH, n), np.float32)
    titles = {title: d for d, title in enumerate(documents)}
    gold_documents = np.zeros((BATCH, len(documents)), np.float32)
    for b, q in enumerate(asked):
        seeds[b, known(q["question_entities"])] = 1
        gold[b, known(q["supporting_entities"])] = 1
        gold_documents[b, [titles[t] for t in q["supporting_facts"] if t in titles]] = 1
    os.makedirs(out, exist_ok=True)
    save_file(
        {
            "edge_index": np.concatenate([target, target[::-1]], 1),
            "edge_type": np.concatenate([triples[:, 2], triples[:, 2] + r]),
            "target_edge_index": target,
            "target_edge_type": np.ascontiguousarray(triples[:, 2]),
            "rel_emb": embeddings(2 * r),
            "positives": triples[rng.choice(len(triples), STEPS * BATCH, replace=False)].reshape(
                STEPS, BATCH, 3
            ),
            "question_embeddings": embeddings(BATCH),
            "question_entities_masks": seeds,
            "supporting_entities_masks": gold,
            "supporting_documents_masks": gold_documents,
            "entity_documents": mentions,
            "entities_weight": np.divide(
                1, frequency, out=np.zeros_like(frequency), where=frequency > 0
            ),
        },
        os.path.join(out, "workload.safetensors"),
    )
    with open(os.path.join(out, "info.json"), "w") as f:
        json.dump({"nodes": n, "triples": len(triples), "relations": r, "seed": 1}, f)


main(*sys.argv[1:3])
