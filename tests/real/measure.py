"""What the lenses are worth: sets their bias and slope on the `tune` part, measures AUC and fire rates on `test`."""

import torch
import torch.nn.functional as F

import cascade

FIRES = 0.5
PRIOR = 0.01                # a concept's share of tokens that the calibration supposes, where it is rarer than this


def calibrate(bank, data):
    """Fits sigmoid(a * logit + b) of each lens to the tune tokens and folds a and b into its last layer."""
    mask = data.at("tune")
    logits, y, weight = bank.score(data.x[mask]), data.y[mask], data.weight[mask]
    for i in range(logits.shape[1]):
        a, b = fit_sigmoid(logits[:, i], y[:, i], weight)
        bank.w3[i] *= a
        bank.b3[i] = a * bank.b3[i] + b


def fit_sigmoid(logit, y, weight):
    known = y >= 0
    logit, y, weight = logit[known], y[known].float(), weight[known].clone()
    positive, negative = (weight * y).sum(), (weight * (1 - y)).sum()
    if y.sum() > 0:
        weight[y == 1] *= max(1.0, PRIOR / (1 - PRIOR) * negative / positive)
    weight /= weight.sum()
    ab = torch.tensor([1.0, 0.0], requires_grad=True)
    optimizer = torch.optim.LBFGS([ab], max_iter=60, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        fit = F.binary_cross_entropy_with_logits(ab[0] * logit + ab[1], y, weight, reduction="sum")
        value = fit + 1e-3 * ((ab[0] - 1) ** 2 + 0.1 * ab[1] ** 2)     # few positives: stay near the trained lens
        value.backward()
        return value
    optimizer.step(loss)
    a, b = ab.detach().tolist()
    return (a, b) if a > 0.1 else (1.0, b)


def auc(score, positive):
    """Area under the ROC curve; ties share their rank."""
    values, inverse, counts = score.double().unique(return_inverse=True, return_counts=True)
    end = counts.cumsum(0).double()
    rank = (end - (counts - 1) / 2)[inverse]
    n = positive.sum().item()
    return ((rank[positive].sum() - n * (n + 1) / 2) / (n * (len(score) - n))).item()


def auc_per_concept(logits, data, mask):
    """-> [AUC or None]: against every other held-out token whose meaning is known."""
    y, out = data.y[mask], []
    for i in range(logits.shape[1]):
        known = y[:, i] >= 0
        positive = y[known, i] == 1
        out.append(auc(logits[known, i], positive) if positive.sum() >= 3 else None)
    return out


def auc_against_siblings(logits, data, mask, concepts):
    """The same among the parent's tokens only: the question a child lens is asked in the cascade."""
    y, out = data.y[mask], []
    for i, c in enumerate(concepts):
        known = y[:, i] >= 0
        if c.parents:
            known &= (y[:, c.parents] == 1).any(1)
        positive = y[known, i] == 1
        enough = positive.sum() >= 3 and (~positive).sum() >= 3
        out.append(auc(logits[known, i], positive) if enough else None)
    return out


def stray_rate(logits, data, mask, concepts, most=4000):
    """Of the held-out words that mean none of the concepts: the share for which the cascade reports anything."""
    plain = (data.y[mask] == 0).all(1) & data.natural[mask]
    some = plain.nonzero()[:, 0]
    some = some[::max(1, len(some) // most)]
    lit = [any(p > FIRES for p in cascade.run(logits[i:i + 1], concepts)[0].values()) for i in some.tolist()]
    return sum(lit) / len(lit)


def calibration(bank, data, concepts, seed):
    """HatCat's calibration figures, as measured on the test part.

    self: tokens of the concept; cross: nouns that are something else; gen: any other word of running text; noise:
    random rows. A rate is the share of them with raw > 0.5.
    """
    mask = data.at("test")
    raw, y, w = torch.sigmoid(bank.score(data.x[mask])), data.y[mask], data.weight[mask]
    noun, natural = (y == 1).any(1), data.natural[mask]
    rows = torch.randn(4096, data.x.shape[1], generator=torch.Generator().manual_seed(seed))
    noise = (torch.sigmoid(bank.score(rows)) > FIRES).float().mean(0)
    out = {}
    for i, c in enumerate(concepts):
        own, cross = raw[y[:, i] == 1, i], raw[(y[:, i] == 0) & noun, i]
        other = (y[:, i] == 0) & natural
        fires = ((raw[other, i] > FIRES) * w[other]).sum() / w[other].sum()
        if len(own) >= 3:
            out[f"{c.name}_L{c.layer}"] = {
                "self_mean": own.mean().item(), "cross_mean": cross.mean().item(),
                "self_std": own.std().item(), "cross_std": cross.std().item(),
                "cross_fire_rate": (cross > FIRES).float().mean().item(), "gen_fire_rate": fires.item(),
                "noise_fire_rate": noise[i].item()}
    return out


def mean_by_layer(values, concepts):
    by = {}
    for c, v in zip(concepts, values):
        if v is not None:
            by.setdefault(c.layer, []).append(v)
    return {layer: (sum(v) / len(v), len(v)) for layer, v in sorted(by.items())}
