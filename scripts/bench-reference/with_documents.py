"""A workload with its documents as nodes, as GFM-RAG 2.0's GraphReasoner has them: `with_documents.py WORKLOAD OUT`.

WORKLOAD/workload.safetensors is one of bench_reference.py or workload.py. Documents follow the other nodes, and a relation of its own
leads from each entity to the documents that mention it. Every node gets a text embedding as wide as those of relations: random unit
vectors, since no time depends on their values. Questions start from their nodes with weight 1. Where the workload does not say which
documents answer a question, two random ones do.
"""

import json
import os
import sys

import numpy as np
from safetensors.numpy import load_file, save_file


def main(source, out):
    w = load_file(os.path.join(source, "workload.safetensors"))
    rng = np.random.default_rng(2)
    relations, width = len(w["rel_emb"]) // 2, w["rel_emb"].shape[1]
    batch, entities = w["question_entities_masks"].shape

    def unit(rows):
        x = rng.standard_normal((rows, width)).astype(np.float32)
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    if "entity_documents" in w:
        mentions, gold = w["entity_documents"], w["supporting_documents_masks"]
        documents = gold.shape[1]
    else:
        # [documents, entities of each]
        documents, each = w["doc_entities"].shape
        mentions = np.stack([w["doc_entities"].ravel(), np.repeat(np.arange(documents), each)], 1)
        gold = np.zeros((batch, documents), np.float32)
        for row in gold:
            row[rng.choice(documents, 2, replace=False)] = 1
    nodes = np.arange(entities, entities + documents)
    inside = np.stack([mentions[:, 0], nodes[mentions[:, 1]]])
    target = np.concatenate([w["target_edge_index"], inside], 1)
    types = np.concatenate([w["target_edge_type"], np.full(len(mentions), relations)])
    wide = lambda mask, more: np.concatenate([mask, more], 1)  # noqa: E731
    os.makedirs(out, exist_ok=True)
    save_file(
        {
            "edge_index": np.concatenate([target, target[::-1]], 1),
            "edge_type": np.concatenate([types, types + relations + 1]),
            "target_edge_index": np.ascontiguousarray(target),
            "target_edge_type": types,
            "rel_emb": np.concatenate([w["rel_emb"][:relations], unit(1), w["rel_emb"][relations:], unit(1)]),
            "node_emb": unit(entities + documents),
            "document_nodes": nodes,
            "positives": w["positives"],
            "question_embeddings": w["question_embeddings"],
            "question_entities_masks": wide(w["question_entities_masks"], np.zeros_like(gold)),
            "supporting_entities_masks": wide(w["supporting_entities_masks"], gold),
            "entities_weight": np.ones(entities + documents, np.float32),
        },
        os.path.join(out, "workload.safetensors"),
    )
    info = {"nodes": entities + documents, "documents": documents, "triples": len(types), "relations": relations + 1, "seed": 2}
    with open(os.path.join(out, "info.json"), "w") as f:
        json.dump(info, f)


main(*sys.argv[1:3])
