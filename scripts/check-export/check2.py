"""Compares gfm-pipe's models with GFM-RAG 2.0.0's, both ways, as check.py does with 1.0.0's: GraphReasoners of every fusion, and the
GNNRetriever of gfm_rag_v1. Also turns the wheel's own configuration files into pipelines.

    scripts/check-export/run 2.0.0            # installs what it needs, builds, runs this

The wheel reads the data set, makes the graph and scores the questions by its own code. Only its text encoder is replaced: it returns
the vectors that gfm-pipe made, by text, so that a text which differs between the two programs is an error.
"""

import ast
import importlib
import json
import logging
import shutil
import sys
import types
from pathlib import Path

import torch
from common import ROOT, Store, import_configs, package

WORK = ROOT / "target/check-export/work2"
DATA = ROOT / "tests/parity2/reasoner_small/dataset"
FUSIONS = (None, "early-fusion", "late-fusion", "early-late-fusion")
ENTITY_MODEL = {
    "_target_": "gfmrag.models.ultra.models.QueryNBFNet",
    "input_dim": 16,
    "hidden_dims": [16] * 3,
    "message_func": "distmult",
    "aggregate_func": "sum",
    "short_cut": True,
    "layer_norm": True,
}


class Encoder:
    """In the place of the wheel's text encoders, which need a model: known vectors by text, or small ones that depend on nothing."""

    known = None  # vectors by (text, whether it is a question)
    asked = []  # every (text, whether it is a question)

    def __init__(self, **_settings):
        pass

    def encode(self, text, is_query=False, **_settings):
        Encoder.asked += [(t, is_query) for t in text]
        if self.known is None:
            return torch.ones(len(text), 4)
        return torch.tensor([self.known[t, is_query] for t in text])


def load_package():
    root = package("2.0.0", "text_emb_models")
    sys.modules["gfmrag.text_emb_models"].BaseTextEmbModel = Encoder
    wandb = types.ModuleType("wandb")  # the wheel's utilities import it, and only its training uses it
    wandb.run = None
    sys.modules["wandb"] = wandb
    # Its utilities and data sets import each other, which works in this order only.
    importlib.import_module("gfmrag.utils")
    return root


def dataset_config(**own):
    return {
        "text_emb_model_cfgs": {
            "_target_": "gfmrag.text_emb_models.BaseTextEmbModel",
            "text_emb_model_name": "sentence-transformers/all-mpnet-base-v2",
        },
        "use_node_feat": True,
        "use_relation_feat": True,
        "use_edge_feat": False,
        "inverse_relation_feat": "text",
        **own,
    }


def load_dataset(folder, config):
    """A data set as the wheel's retriever loads it: by the `dataset_config` of a saved model."""
    from hydra.utils import get_class
    from omegaconf import OmegaConf

    settings = {k: v for k, v in config.items() if k != "class_name"}
    settings["text_emb_model_cfgs"] = OmegaConf.create(settings["text_emb_model_cfgs"])
    cls = get_class(f"gfmrag.graph_index_datasets.{config['class_name']}")
    # It writes beside the files that it reads.
    root = WORK / "datasets"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(folder, root / "set")
    return cls(root=str(root), data_name="set", **settings)


def load_written_dataset(folder, store, stage, with_texts=True):
    """Loads a data set folder in the layout of 2.0, and compares what the wheel finds in it with the outputs of `stage`. Its texts
    are compared only `with_texts`: `write-dataset` does not keep all attributes."""
    Encoder.known, Encoder.asked = None, []
    data = load_dataset(folder, {"class_name": "GraphIndexDataset", **dataset_config()})
    show = lambda port: store.show(f"{stage}.{port}")  # noqa: E731
    found = {"nodes": data.graph.num_nodes, "edges": data.graph.target_edge_index.shape[1]}
    wanted = {"nodes": len(show("entities")), "edges": len(show("triples"))}
    for split in ("train", "test"):
        # The wheel leaves out questions that start nowhere or ask for nothing.
        starts = {r["question"] for r in show(f"{split}_starts")}
        rows = enumerate(show(split))
        usable = [q for i, q in rows if i in starts and (q["supporting_entities"] or q["supporting_documents"])]
        loaded = getattr(data, f"{split}_data")
        found[split], wanted[split] = len(loaded or ()), len(usable)
    print(f"{folder.relative_to(ROOT)}: {', '.join(f'{v} {k}' for k, v in found.items())}")
    for name, value in wanted.items():
        assert found[name] == value, f"{name}: the wheel finds {found[name]}, gfm-pipe has {value}"
    if with_texts:
        theirs = {t for t, is_query in Encoder.asked if not is_query}
        ours = {r["text"] for r in show("node_texts") + show("relation_texts")}
        assert theirs == ours, f"texts that only one of the programs has: {sorted(theirs ^ ours)[:4]}"
    return data


class Reader:
    """In the place of a language model."""

    def generate_sentence(self, _message):
        return "Answer: none"


def check_answers(root, folder, store):
    """The wheel's script for answers reads the predictions and the nodes; only its language model is replaced."""
    import pandas
    from omegaconf import OmegaConf

    qa = importlib.import_module("gfmrag.workflow.qa")
    predictions = json.loads((folder / "predictions_toy.json").read_text())
    nodes = pandas.read_csv(folder / "processed/stage1/nodes.csv", keep_default_na=False).set_index("name")
    nodes["attributes"] = nodes["attributes"].apply(ast.literal_eval)
    cfg = {
        "llm": {"_target_": f"{__name__}.Reader"},
        "qa_prompt": OmegaConf.load(root / "workflow/config/qa_prompt/hotpotqa.yaml"),
        "test": {"target_types": ["document"], "top_k": 3, "n_threads": 1},
    }
    path = qa.ans_prediction(OmegaConf.create(cfg), str(folder), nodes, predictions)
    answered = [json.loads(line) for line in Path(path).read_text().splitlines()]
    ranked = {}
    for row in store.show("ranked.rankings"):
        if row["system"] == "model" and row["rank"] <= 3:
            ranked.setdefault(row["question"], []).append(row["document"])
    found = {a["id"]: [d["name"] for d in a["retrieved_result"]["document"]] for a in answered}
    assert found == ranked, f"{found}\n{ranked}"
    assert all(d["content"] for a in answered for d in a["retrieved_result"]["document"])
    print(f"predictions: the wheel's script for answers reads the documents of {len(found)} questions, with their texts")


def save(model_config, dataset, text_dim, folder):
    """Saves a model as the wheel's training does. `dataset` is the name of its class and its settings."""
    from gfmrag.utils.util import save_model_to_pretrained
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    torch.manual_seed(7)
    model = instantiate(model_config, feat_dim=text_dim)
    cls, settings = dataset
    datasets = {"_target_": f"gfmrag.graph_index_datasets.{cls}", "cfgs": settings}
    save_model_to_pretrained(model, OmegaConf.create({"model": model_config, "datasets": datasets}), str(folder))
    return model


def rank(model, data):
    """Scores of documents by the wheel's model, for every test question that the wheel keeps."""
    batch = torch.utils.data.default_collate([data.test_data[i] for i in range(len(data.test_data))])
    documents = data.graph.nodes_by_type["document"].tolist()
    ids = batch.pop("id")
    with torch.no_grad():
        scores = model.eval()(data.graph, batch)
    return {(q, data.id2node[d]): float(row[d]) for q, row in zip(ids, scores) for d in documents}


def know(store, *ports):
    """Takes the vectors of embed stages: (port of texts, column, stage of vectors, whether they are questions)."""
    Encoder.known = {}
    for texts, column, vectors, is_query in ports:
        rows = zip(store.show(texts), store.show(f"{vectors}.embeddings.vectors"), strict=True)
        Encoder.known |= {(t[column], is_query): v["vector"] for t, v in rows}


def check_reasoner(fusion, text_dim):
    from gfmrag.utils.util import load_model_from_pretrained

    mode = fusion or "none"
    late = mode.endswith("late-fusion")
    config = {
        "_target_": "gfmrag.models.gfm_reasoner.GraphReasoner",
        "use_ent_emb": fusion,
        "entity_model": {**ENTITY_MODEL, "return_hidden": late},
    }
    dataset = ("GraphIndexDataset", dataset_config())
    theirs = save(config, dataset, text_dim, WORK / mode / "theirs")
    # What the wheel's pre-training saves: another class with the same weights.
    save({**config, "_target_": "gfmrag.models.gfm_reasoner.QueryGNN"}, dataset, text_dim, WORK / mode / "theirs_kgc")
    store = Store(WORK)
    fusion_arg = "null" if fusion is None else fusion
    store.run("scripts/check-export/check2.yaml", "-p", f"mode={mode}", "-p", f"fusion={fusion_arg}")
    know(
        store,
        ("set.node_texts", "text", "n_text", False),
        ("set.relation_texts", "text", "rels", False),
        ("set.train", "question", "q_train", True),
        ("set.test", "question", "q_test", True),
    )
    data = load_dataset(DATA, json.loads((WORK / mode / "theirs/config.json").read_text())["dataset_config"])
    scores = rank(theirs, data)
    store.compare(f"{mode}, saved by the wheel, ranked here", "theirs_ranked.rankings", "model", scores)
    store.compare(f"{mode}, its QueryGNN, ranked here", "theirs_ranked.rankings", "pretrained", scores)
    for folder, system, made in (("finetune", "model", "fine-tuned"), ("pretrain", "pretrained", "pre-trained")):
        ours, config = load_model_from_pretrained(str(WORK / mode / folder))
        data = load_dataset(DATA, config["dataset_config"])
        store.compare(f"{mode}, {made} here, ranked by the wheel", "ranked.rankings", system, rank(ours, data))


def check_v1(text_dim):
    from hydra.utils import instantiate

    config = {
        "_target_": "gfmrag.models.gfm_rag_v1.GNNRetriever",
        "init_nodes_weight": True,
        "init_nodes_type": "document",
        "ranker": {"_target_": "gfmrag.models.gfm_rag_v1.rankers.SimpleRanker"},
        "entity_model": ENTITY_MODEL,
    }
    settings = dataset_config(target_type="entity", use_node_feat=False)
    theirs = save(config, ("GraphIndexDatasetV1", settings), text_dim, WORK / "v1/theirs")
    store = Store(WORK)
    store.run("scripts/check-export/check2_v1.yaml")
    know(
        store,
        ("set.relations", "name", "rels", False),
        ("set.train", "question", "q_train", True),
        ("set.test", "question", "q_test", True),
    )
    # Relations between other types have vectors in the wheel, which nothing reads.
    Encoder.known = Zeros(Encoder.known, text_dim)
    saved = json.loads((WORK / "v1/theirs/config.json").read_text())
    data = load_dataset(DATA, saved["dataset_config"])
    # 2.0 counts an entity twice for a document where the file has the edge twice; here, as in 1.0, it
    # counts once.
    mentions = data.graph.target_to_other_types["document"].coalesce()
    once = torch.ones_like(mentions.values())
    mentions = torch.sparse_coo_tensor(mentions.indices(), once, mentions.shape)
    data.graph.target_to_other_types["document"] = mentions
    store.compare("gfm_rag_v1, saved by the wheel, ranked here", "theirs_ranked.rankings", "model", rank(theirs, data))
    # `export` writes a GNNRetriever for 1.0: 2.0 has another class for the same weights.
    ours = instantiate(config, feat_dim=text_dim)
    ours.load_state_dict(torch.load(WORK / "v1/finetune/model.pth", weights_only=True)["model"])
    name = "gfm_rag_v1, fine-tuned here, its model.pth ranked by the wheel"
    store.compare(name, "ranked.rankings", "model", rank(ours, data))


class Zeros(dict):
    """Vectors by text, and zeros for other texts that are no questions."""

    def __init__(self, known, dim):
        super().__init__(known)
        self.dim = dim

    def __missing__(self, key):
        if key[1]:
            raise KeyError(key)
        return [0.0] * self.dim


def main():
    root = load_package()
    logging.getLogger("gfmrag").setLevel(logging.ERROR)
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    text_dim = json.loads((ROOT / "data/models/static-minilm/config.json").read_text())["dim"]
    for fusion in FUSIONS:
        check_reasoner(fusion, text_dim)
    store, written = Store(WORK), WORK / FUSIONS[-1] / "dataset"
    load_written_dataset(DATA, store, "set")
    load_written_dataset(written, store, "set", with_texts=False)
    check_answers(root, written, store)
    check_v1(text_dim)
    import_configs(
        root / "workflow/config",
        [
            "gfm_rag/kgc_training",
            "gfm_rag/sft_training",
            "gfm_reasoner/kgc_trianing",
            "gfm_reasoner/sft_training",
            "gfm_reasoner/sft_training_w_answer",
        ],
        ["gfm_rag/index_dataset", "gfm_rag/qa_inference", "gfm_reasoner/index_dataset", "gfm_reasoner/qa_inference"],
        WORK,
    )


main()
