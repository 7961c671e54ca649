"""Turns labelled sentences into one table of tokens: normalised states, and what each token says about each concept."""

import random
from dataclasses import dataclass

import torch

import corpus
from states import normalize

KEEP_PLAIN = 0.5            # share of the function words and punctuation that is kept; the rest adds nothing new
DEFINITIONS_PER_CONCEPT = 200
PARTS = {"train": 0, "tune": 1, "test": 2}


@dataclass
class Tokens:
    x: torch.Tensor         # [T, 384] f16, normalised
    y: torch.Tensor         # [T, N] i8: 1 means the concept, 0 does not, -1 unknown
    part: torch.Tensor      # [T] u8, PARTS
    word: torch.Tensor      # [T] i32, the same number for the same spelling
    weight: torch.Tensor    # [T] f32, how many tokens of running text this one stands for
    sentence: torch.Tensor  # [T] i32, the same number for tokens of one sentence
    natural: torch.Tensor   # [T] bool: from an example sentence (running text), not from a definition

    def at(self, part):
        return self.part == PARTS[part]


def sentences(wn, concepts, seed):
    """All example sentences, and definitions of up to so many synsets of each concept (those of no narrower one)."""
    reader, rng = corpus.SenseReader(wn), random.Random(seed)
    found = list(corpus.example_sentences(wn, reader))
    own = {c.offset: [] for c in concepts}
    children = {c.offset: {concepts[k].offset for k in c.children} for c in concepts}
    for offset in wn.synsets["n"]:
        above = wn.ancestors(offset)
        for a in above & own.keys():
            if not children[a] & above:
                own[a].append(offset)
    chosen = {}
    for c in concepts:
        pool = sorted(own[c.offset], key=lambda o: (-tag_count(wn, o), o))
        known = [o for o in pool if tag_count(wn, o)][:DEFINITIONS_PER_CONCEPT]
        rest = pool[len(known):]
        some = known + rng.sample(rest, min(len(rest), DEFINITIONS_PER_CONCEPT - len(known)))
        chosen.update(dict.fromkeys(some))
    found += corpus.definition_sentences(wn, reader, chosen)
    found += corpus.plain_definitions(wn, reader, list(chosen)[::2])
    return found


def tag_count(wn, offset):
    """How often any word of this noun synset was tagged with it: a measure of how common the sense is."""
    total = 0
    for w in wn.synsets["n"][offset].words:
        counts = wn.counts.get(("n", w.lower()))
        if counts:
            total += counts.get(wn.senses["n"][w.lower()].index(offset) + 1, 0)
    return total


def tokens(wn, concepts, sentences, tap, seed):
    """Runs the transformer over the sentences and keeps every piece of every word whose meaning is known."""
    rng, spellings = random.Random(seed), {}
    index = {c.offset: i for i, c in enumerate(concepts)}
    x, y, part, word, weight, sentence, natural = [], [], [], [], [], [], []
    for i, states, offsets in tap.read_all([s.text for s in sentences]):
        s = sentences[i]
        keep, rows = [], []
        owner = words_of_pieces(s.words, offsets)
        for t, w in enumerate(owner):
            known = corpus.label(w, index, wn.ancestors) if w else None
            if known is None or not w.spread and rng.random() > KEEP_PLAIN:
                continue
            row = torch.zeros(len(concepts), dtype=torch.int8)
            row[known[0]], row[known[1]] = 1, -1
            keep.append(t)
            rows.append(row)
            word.append(spellings.setdefault(s.text[w.start:w.end].lower(), len(spellings)))
            weight.append(1.0 if w.spread else 1 / KEEP_PLAIN)
        if keep:
            x.append(normalize(states[keep]).half())
            y.append(torch.stack(rows))
            part += [PARTS[s.part]] * len(keep)
            sentence += [i] * len(keep)
            natural += [s.kind == "example"] * len(keep)
    return Tokens(torch.cat(x), torch.cat(y), torch.tensor(part, dtype=torch.uint8),
                  torch.tensor(word, dtype=torch.int32), torch.tensor(weight),
                  torch.tensor(sentence, dtype=torch.int32), torch.tensor(natural))


def words_of_pieces(words, offsets):
    """For each piece the word it is part of, or None."""
    owner, k = [], 0
    for start, end in offsets:
        while k < len(words) and words[k].end <= start:
            k += 1
        inside = k < len(words) and words[k].start <= start and end <= words[k].end
        owner.append(words[k] if inside else None)
    return owner
