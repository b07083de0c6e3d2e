"""Compares gfm-pipe's models with GFM-RAG 1.0.0's, both ways: files the reference saved are imported and ranked here, files
exported here are loaded and ranked there. Also turns the reference's own configuration files into pipelines.

    scripts/check-export/run 1.0.0            # installs what it needs, builds, runs this
    scripts/check-export/run --fixture        # also writes tests/parity/wheel anew
"""

import argparse
import json
import shutil

import torch
from common import ROOT, Store, import_configs, package
from safetensors.torch import load_file

WORK = ROOT / "target/check-export/work"
store = Store(WORK)
show = store.show


def model_config(kind, dim, layers):
    entity = {"QueryGNN": "EntityNBFNet", "GNNRetriever": "QueryNBFNet"}[kind]
    return {
        "_target_": f"gfmrag.models.{kind}",
        "entity_model": {
            "_target_": f"gfmrag.ultra.models.{entity}",
            "input_dim": dim,
            "hidden_dims": [dim] * layers,
            "message_func": "distmult",
            "aggregate_func": "sum",
            "short_cut": True,
            "layer_norm": True,
        },
    }


def save(kind, dim, layers, text_dim, folder, weights=None):
    """Saves a model as the reference's training does."""
    from gfmrag.utils.util import save_model_to_pretrained
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    torch.manual_seed(7)
    config = model_config(kind, dim, layers)
    model = instantiate(config, rel_emb_dim=text_dim)
    if weights is not None:
        model.load_state_dict(weights)
    encoder = {
        "_target_": "gfmrag.text_emb_models.BaseTextEmbModel",
        "text_emb_model_name": "sentence-transformers/all-mpnet-base-v2",
        "normalize": False,
        "batch_size": 32,
        "query_instruct": None,
        "passage_instruct": None,
        "model_kwargs": None,
    }
    cfg = OmegaConf.create({"model": config, "datasets": {"cfgs": {"text_emb_model_cfgs": encoder}}})
    save_model_to_pretrained(model, cfg, str(folder))
    return model


def rank(model):
    """Document scores of every test question by the reference's model on the graph and the embeddings made here."""
    from torch_geometric.data import Data

    edges = sorted(show("graph.graph.edges"), key=lambda e: e["position"])
    nodes = len(show("kg.entities"))
    rel_emb = torch.tensor([r["vector"] for r in show("graph.graph.relation_embeddings")])
    graph = Data(
        edge_index=torch.tensor([[e["head"] for e in edges], [e["tail"] for e in edges]]),
        edge_type=torch.tensor([e["relation"] for e in edges]),
        num_nodes=nodes,
        num_relations=len(rel_emb),
    )
    graph.rel_emb = rel_emb
    documents = show("qa.documents")
    matrix = torch.zeros(nodes, len(documents))
    for row in show("docs.documents.entity_documents"):
        matrix[row["entity"], row["document"]] = 1
    frequency = matrix.sum(1)
    weight = torch.where(frequency > 0, 1 / frequency, torch.zeros(nodes))
    questions = show("qa.test.questions")
    mask = torch.zeros(len(questions), nodes)
    for i, q in enumerate(questions):
        mask[i, q["question_entities"]] = 1
    batch = {
        "question_embeddings": torch.tensor([r["vector"] for r in show("q_test.embeddings.vectors")]),
        "question_entities_masks": mask,
    }
    with torch.no_grad():
        scores = model.eval()(graph, batch, weight) @ matrix
    titles = [d["title"] for d in documents]
    return {
        (q["id"], title): float(s)
        for q, row in zip(questions, scores)
        if q["question_entities"]
        for title, s in zip(titles, row)
    }


def write_fixture():
    """The pair of files that `cargo test` reads: the reference's own, holding the weights of two parity cases."""
    out = ROOT / "tests/parity/wheel"
    shutil.rmtree(out, ignore_errors=True)
    parity = ROOT / "tests/parity"
    retriever = load_file(parity / "qa_small/weights.safetensors")
    save("GNNRetriever", 32, 3, 48, out / "retriever", retriever)
    query = load_file(parity / "kgc_small/weights.safetensors")
    model = save("QueryGNN", 32, 3, 48, out / "query", query)
    # A training checkpoint as the reference's loops write it, with the optimizer's moments.
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
    sum(p.sum() for p in model.parameters()).backward()
    optimizer.step()
    model.load_state_dict(query)
    state = {"epoch": 3, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(state, out / "query/model_best.pth")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fixture", action="store_true")
    args = parser.parse_args()
    root = package("1.0.0", "kg_construction")
    from gfmrag.utils.util import load_model_from_pretrained

    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    if args.fixture:
        write_fixture()

    text_dim = json.loads((ROOT / "data/models/static-minilm/config.json").read_text())["dim"]
    theirs = save("GNNRetriever", 16, 3, text_dim, WORK / "theirs")
    store.run("scripts/check-export/check.yaml")
    store.compare("saved by the reference, ranked here", "theirs_ranked.rankings", "model", rank(theirs))

    ours, _ = load_model_from_pretrained(str(WORK / "finetune"))
    store.compare("fine-tuned here, ranked by the reference", "ranked.rankings", "model", rank(ours))

    # A pre-trained model projects questions with its only projection of texts.
    query, config = load_model_from_pretrained(str(WORK / "pretrain"))
    from hydra.utils import instantiate

    retriever = instantiate({**model_config("GNNRetriever", 16, 3), "rel_emb_dim": text_dim})
    state = query.state_dict()
    state |= {f"question_mlp.{p}": state[f"rel_mlp.{p}"] for p in ("weight", "bias")}
    retriever.load_state_dict(state)
    store.compare("pre-trained here, ranked by the reference", "ranked.rankings", "pretrained", rank(retriever))
    for name in ("finetune", "pretrain"):
        pth = torch.load(WORK / name / "model.pth", weights_only=True)["model"]
        safe = load_file(WORK / name / "model.safetensors")
        assert pth.keys() == safe.keys() and all(torch.equal(pth[k], safe[k]) for k in pth)
    print("model.pth and model.safetensors hold the same tensors")
    import_configs(
        root / "workflow/config",
        ["stage2_kg_pretrain", "stage2_qa_finetune"],
        ["stage1_index_dataset", "stage3_qa_inference"],
        WORK,
    )


main()
