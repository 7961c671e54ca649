"""Makes the real lenses: reads WordNet and all-MiniLM-L6-v2, trains, measures, writes a HatCat pack and the sentences.

Start reading here; each step is a file of its own. Run it through make-lenses.sh, which sets up Python for it.
"""

import argparse
import json
import os
import platform
import time

import torch
from safetensors.torch import save_file

import cascade
import concepts as concept_list
import dataset
import hatcat
import measure
import states
import train
import wordnet

HERE = os.path.dirname(os.path.abspath(__file__))
BLOCK = 3                       # of 0..5; measured against the others, see README.md
SEEDS = {"sentences": 1, "tokens": 2, "training": 3, "noise": 4}


def main():
    args = arguments()
    torch.set_num_threads(2)
    started = time.monotonic()
    print(f"Python {platform.python_version()}, torch {torch.__version__}; seeds {SEEDS}; tap: after block {BLOCK}")

    wn = wordnet.WordNet(args.wordnet)
    concepts = concept_list.read_concepts(wn, os.path.join(HERE, "concepts.txt"))
    themes = held_out_sentences()
    tap = states.Tap(BLOCK)
    data = collect(wn, concepts, themes, tap)
    print(f"{len(concepts)} concepts, {len(data.x)} tokens, {time.monotonic() - started:.0f} s; training", flush=True)

    bank = train.train(data, concepts, SEEDS["training"], log=lambda s: print(s, flush=True))
    measure.calibrate(bank, data)
    table = report(bank, data, concepts)
    hatcat.write(args.out, bank, concepts, measure.calibration(bank, data, concepts, SEEDS["noise"]), BLOCK,
                 "WordNet 3.0 glosses; tests/real/make_lenses.py")
    write_sentences(args.sentences, themes, tap, bank, concepts)
    print(f"\n{table}\nwrote {args.out} and {args.sentences}, {time.monotonic() - started:.0f} s")


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--wordnet", default="/usr/share/wordnet", help="folder with data.noun and the rest")
    p.add_argument("--out", default="build/real/hatcat", help="the HatCat pack; replaced")
    p.add_argument("--sentences", default="tests/real/data/sentences", help="folder for the held-out sentences")
    return p.parse_args()


def held_out_sentences():
    """-> [(theme, text)] of sentences.txt."""
    with open(os.path.join(HERE, "sentences.txt"), encoding="utf-8") as f:
        lines = [line.strip() for line in f if line.strip() and not line.startswith("#")]
    return [tuple(line.split(": ", 1)) for line in lines]


def collect(wn, concepts, themes, tap):
    sentences = dataset.sentences(wn, concepts, SEEDS["sentences"])
    written = {text for _, text in themes}
    if any(s.text in written for s in sentences):
        raise SystemExit("a held-out sentence is in the training data: reword it in sentences.txt")
    print(f"{len(sentences)} sentences from WordNet", flush=True)
    return dataset.tokens(wn, concepts, sentences, tap, SEEDS["tokens"])


def report(bank, data, concepts):
    """-> the table of AUC on held-out WordNet sentences, per layer."""
    mask = data.at("test")
    logits = bank.score(data.x[mask])
    against_all = measure.mean_by_layer(measure.auc_per_concept(logits, data, mask), concepts)
    siblings = measure.mean_by_layer(measure.auc_against_siblings(logits, data, mask, concepts), concepts)
    rows = ["AUC on held-out sentences", "layer  lenses  measured  against all  within the parent"]
    for layer, (mean, count) in against_all.items():
        total = sum(c.layer == layer for c in concepts)
        within = f"{siblings[layer][0]:.4f}" if layer in siblings else "-"
        rows.append(f"{layer:5d}  {total:6d}  {count:8d}  {mean:11.4f}  {within:>17s}")
    stray = measure.stray_rate(logits, data, mask, concepts)
    return "\n".join(rows + [f"words that mean none of the concepts and light one (raw > 0.5): {stray:.1%}"])


def write_sentences(folder, themes, tap, bank, concepts):
    """One safetensors file a sentence, and its cascade on the screen."""
    os.makedirs(folder, exist_ok=True)
    for name in os.listdir(folder):
        if name.endswith(".safetensors"):
            os.remove(os.path.join(folder, name))
    for number, (theme, text) in enumerate(themes, 1):
        hidden, offsets = tap.read([text])[0]
        hidden = hidden.half()
        tokens = [text[a:b] for a, b in offsets]
        metadata = {"tokens": json.dumps(tokens), "text": text, "model_id": states.MODEL_ID,
                    "tap_layer": str(BLOCK), "tap_point": "after"}
        path = os.path.join(folder, f"{number:02d}-{theme}.safetensors")
        save_file({"hidden_states": hidden.contiguous()}, path, metadata)
        cascade.show(text, tokens, cascade.run(bank.score(states.normalize(hidden)), concepts), concepts)


if __name__ == "__main__":
    main()
