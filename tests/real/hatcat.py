"""Writes a lens pack the way HatCat lays it out: layer{N}/{Concept}.pt, hierarchy, calibration and pack.json."""

import json
import os
import shutil
from collections import OrderedDict

import torch

import states


def write(folder, bank, concepts, calibration, block, made_from):
    shutil.rmtree(folder, ignore_errors=True)
    for i, c in enumerate(concepts):
        os.makedirs(os.path.join(folder, f"layer{c.layer}"), exist_ok=True)
        torch.save(state_dict(bank, i), os.path.join(folder, f"layer{c.layer}", file_name(c)))
    write_json(folder, "hierarchy.json", hierarchy(concepts))
    write_json(folder, "calibration.json", {"calibration": calibration})
    write_json(folder, "pack.json", {
        "lens_pack_id": "wordnet-minilm", "version": "1.0.0",
        "model_info": {"model_id": states.MODEL_ID, "hidden_dim": states.HIDDEN_DIM},
        "concept_pack": {"pack_id": "wordnet-3.0-nouns"},
        "tap_layer": block, "tap_point": "after", "normalize": "layernorm:1e-5", "source": made_from})


def file_name(concept):
    """Both of HatCat's spellings are in use: with the suffix on odd layers, without on even ones."""
    return f"{concept.name}_classifier.pt" if concept.layer % 2 else f"{concept.name}.pt"


def state_dict(bank, i):
    """Lens i as a torch.nn.Sequential(Linear, ReLU, Dropout, Linear, ReLU, Dropout, Linear) would save it."""
    parts = {"net.0": (bank.w1, bank.b1), "net.3": (bank.w2, bank.b2), "net.6": (bank.w3, bank.b3)}
    return OrderedDict((f"{name}.{what}", tensor[i].detach().clone()) for name, pair in parts.items()
                       for what, tensor in zip(("weight", "bias"), pair))


def hierarchy(concepts):
    return {"child_to_parent": {c.key: concepts[c.parents[0]].key for c in concepts if c.parents},
            "parent_to_children": {c.key: [concepts[k].key for k in c.children] for c in concepts if c.children}}


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
        json.dump(value, f, indent=1)
        f.write("\n")
