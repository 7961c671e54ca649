"""Trains all lenses side by side: each has its own samples, all go through one batched product.

A lens is 384 -> 128 ReLU -> 64 ReLU -> 1. Its samples in each step: tokens of the concept; tokens of its siblings and
of its parent that are not the concept; the company it keeps, so tokens of the same sentences that are not the concept;
tokens of the rest; and the tokens it got most wrong so far.
"""

import math
import time

import torch
import torch.nn.functional as F

H1, H2 = 128, 64
POSITIVES, FAMILY, COMPANY, REST, HARD = 40, 32, 24, 48, 32
STEPS, ROUNDS = 2000, 4             # the hardest negatives are looked for anew at the start of rounds 2, 3, ..
LEARNING_RATE, WEIGHT_DECAY, NOISE, DROP = 1.5e-3, 2e-2, 0.25, 0.15


class Bank:
    """N lenses as batched tensors: w1 [N,H1,D], b1, w2, b2, w3 [N,1,H2], b3 [N,1]."""

    def __init__(self, n, dim, generator):
        def uniform(*shape):
            bound = 1 / math.sqrt(shape[-1])
            return (torch.rand(shape, generator=generator) * 2 - 1) * bound
        self.w1, self.b1 = uniform(n, H1, dim), torch.zeros(n, H1)
        self.w2, self.b2 = uniform(n, H2, H1), torch.zeros(n, H2)
        self.w3, self.b3 = uniform(n, 1, H2), torch.zeros(n, 1)
        for p in self.parameters():
            p.requires_grad_(True)

    def parameters(self):
        return [self.w1, self.b1, self.w2, self.b2, self.w3, self.b3]

    def forward(self, x):
        """x [N, B, D]: each lens its own rows -> logits [N, B]."""
        h = torch.baddbmm(self.b1[:, None], x, self.w1.transpose(1, 2)).relu()
        h = torch.baddbmm(self.b2[:, None], h, self.w2.transpose(1, 2)).relu()
        return torch.baddbmm(self.b3[:, None], h, self.w3.transpose(1, 2))[..., 0]

    @torch.no_grad()
    def score(self, x, block=1024):
        """x [T, D] normalised: every lens on every row -> logits [T, N]."""
        n, out = len(self.w1), []
        for at in range(0, len(x), block):
            rows = x[at:at + block].float()
            h = (rows @ self.w1.reshape(n * H1, -1).T).view(len(rows), n, H1) + self.b1
            h = torch.baddbmm(self.b2[:, None], h.relu_().transpose(0, 1), self.w2.transpose(1, 2)).relu_()
            out.append(torch.baddbmm(self.b3[:, None], h, self.w3.transpose(1, 2))[..., 0].T.contiguous())
        return torch.cat(out)


class Sampler:
    """Draws each lens's rows. Rare spellings are drawn more often than their share, so that no word rules a lens."""

    def __init__(self, data, concepts, generator):
        self.generator, self.data = generator, data
        self.train = data.at("train").nonzero()[:, 0]
        y = data.y[self.train]
        self.y = y
        self.word = data.word[self.train].long()
        self.positive, self.family, self.company, self.weights = [], [], [], []
        sentence = data.sentence[self.train].long()
        for i, c in enumerate(concepts):
            self.positive.append((y[:, i] == 1).nonzero()[:, 0])
            self.weights.append(self._by_rarity(self.positive[-1]))
            near = torch.zeros(len(y), dtype=torch.bool)
            for p in c.parents:
                near |= y[:, p] == 1
            if not c.parents:
                near |= (y[:, [j for j, o in enumerate(concepts) if not o.parents and j != i]] == 1).any(1)
            self.family.append((near & (y[:, i] == 0)).nonzero()[:, 0])
            named = torch.zeros(int(sentence.max()) + 1, dtype=torch.bool)
            named[sentence[self.positive[-1]]] = True
            self.company.append((named[sentence] & (y[:, i] == 0)).nonzero()[:, 0])
        self.hard = [None] * len(concepts)
        self.rest_weight = data.weight[self.train] * self._damp(self.word)

    def _damp(self, word):
        return 1 / torch.bincount(word)[word].float() ** 0.5

    def _by_rarity(self, rows):
        return self._damp(self.word[rows])

    def _draw(self, rows, count, weights=None):
        if weights is None:
            return rows[torch.randint(len(rows), (count,), generator=self.generator)]
        return rows[torch.multinomial(weights, count, replacement=True, generator=self.generator)]

    def find_hard(self, bank, count=400):
        """The negatives among a random part of all tokens that each lens scores highest."""
        some = torch.randperm(len(self.train), generator=self.generator)[:120000]
        logits = bank.score(self.data.x[self.train[some]])
        logits[self.y[some] != 0] = -1e9
        top = logits.topk(count, dim=0).indices
        self.hard = [some[top[:, i]] for i in range(top.shape[1])]

    def chunk(self, steps):
        """Rows and labels of so many steps at once: ([steps, N, B] indices into the data, [steps, N, B] labels)."""
        rows = []
        everything = torch.multinomial(self.rest_weight, steps * (REST + HARD) * 16, True, generator=self.generator)
        for i in range(len(self.positive)):
            hard = everything if self.hard[i] is None else self.hard[i]
            parts = (self._draw(self.positive[i], steps * POSITIVES, self.weights[i]),
                     self._draw(self.family[i], steps * FAMILY), self._draw(self.company[i], steps * COMPANY),
                     self._draw(everything, steps * REST), self._draw(hard, steps * HARD))
            rows.append(torch.cat([p.view(steps, -1) for p in parts], 1))
        rows = torch.stack(rows, 1)
        labels = self.y[rows, torch.arange(len(self.positive))[None, :, None]]
        return self.train[rows], labels


def blur(x, generator):
    """Noise and dropped inputs, against learning single tokens by heart; the same for all lenses, to be cheap."""
    keep = (torch.rand(x.shape[1:], generator=generator) >= DROP).float()
    return (x + NOISE * torch.randn(x.shape[1:], generator=generator)) * keep


def train(data, concepts, seed, log=print):
    generator = torch.Generator().manual_seed(seed)
    sampler = Sampler(data, concepts, generator)
    bank = Bank(len(concepts), data.x.shape[1], generator)
    optimizer = torch.optim.AdamW(bank.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
    started, step = time.monotonic(), 0
    per_round = STEPS // ROUNDS
    for turn in range(ROUNDS):
        if turn:
            sampler.find_hard(bank)
        for _ in range(per_round // 50):
            for rows, labels in zip(*sampler.chunk(50)):
                x = data.x[rows].float()
                x = blur(x, generator)
                known = labels >= 0
                targets = labels.clamp(min=0).float()
                loss = F.binary_cross_entropy_with_logits(bank.forward(x), targets, reduction="none")
                loss = (loss * known).sum(1) / known.sum(1).clamp(min=1)
                optimizer.zero_grad()
                loss.sum().backward()
                optimizer.step()
                schedule.step()
                step += 1
            log(f"  step {step}/{STEPS}  loss {loss.mean().item():.4f}  {time.monotonic() - started:.0f} s")
    for p in bank.parameters():
        p.requires_grad_(False)
    return bank
