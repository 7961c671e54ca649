"""The daemon's threshold cascade (its defaults, one row per submission) in a few lines, to look at lenses while they
are made. Not a reference: lensd's own tests have one."""

import torch

BASE_LAYERS, LOAD, UNLOAD, KEEP, MAX_DEPTH = (0, 1), 0.3, 0.1, 30, 5


def run(logits, concepts):
    """logits [T, N] of one sentence -> for each row {lens: raw} of what the cascade scored."""
    raw = torch.sigmoid(logits)
    base = {i for i, c in enumerate(concepts) if c.layer in BASE_LAYERS}
    retained, rows = [], []
    for t in range(len(raw)):
        scored = {i: raw[t, i].item() for i in base.union(retained)}
        front = set(scored)
        for _ in range(MAX_DEPTH):
            front = {i for i in front if scored[i] > LOAD and concepts[i].children}
            new = {k for i in front for k in concepts[i].children} - scored.keys()
            scored.update((k, raw[t, k].item()) for k in new)
            front = new
        others = [i for i in scored if i not in base and scored[i] >= UNLOAD]
        retained = sorted(others, key=lambda i: (-scored[i], i))[:KEEP]
        rows.append(scored)
    return rows


def show(text, tokens, rows, concepts, at_least=0.5, top=7, out=print):
    """One line a token: the concepts above `at_least`, the narrowest layer first."""
    out(f"\n{text}")
    for token, scored in zip(tokens, rows):
        fired = sorted((i for i in scored if scored[i] > at_least), key=lambda i: (-concepts[i].layer, -scored[i]))
        out(f"  {token:14s} " + "  ".join(f"{concepts[i].name} {scored[i]:.2f}" for i in fired[:top]))
