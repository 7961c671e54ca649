"""Makes labelled sentences out of WordNet: which words of which sentence mean which noun sense, as far as known.

Three things tell a word's sense:
  - an example sentence of a noun synset uses the synset's own word in that very sense;
  - the definition of a noun names the noun's hypernym ("a beagle is a small hound"), in that very sense;
  - any other word has the spread of senses that the tag counts give it: `dog` is nearly always the animal, `bank`
    may be anything. A concept then is certain (most of the spread below it), excluded (next to none), or unknown.
Function words, punctuation, verbs and adjectives are no noun at all: examples against every concept.
Sentences are split by the synset they come from, so that no held-out sentence has a twin in training.
"""

import hashlib
import re
from dataclasses import dataclass, field

FUNCTION_WORDS = frozenset("""
a about above according across after again against ago all almost along already also although always am among an and
another any anybody anyone anything are around as at away be because become been before behind being below beneath
beside besides between beyond both but by can cannot could d did do does doing don done down due during each either
else ever every everybody everyone everything except few for from further had has have having he hence her here hers
herself him himself his how however i if in indeed inside instead into is it its itself just least less let ll m may
maybe me might mine more most much must my myself near neither never no nobody none nor not nothing now of off often on
once one ones only onto or other others ought our ours ourselves out outside over own per perhaps quite rather re s
same shall she should since so some somebody someone something somewhat soon still such t than that the their theirs
them themselves then there therefore these they this those though through throughout thus till to together too toward
towards under unless until up upon us usually ve very was we well were what whatever when whenever where whereas
whether which while who whoever whole whom whose why will with within without would yet you your yours yourself
""".split())
WORD = re.compile(r"[A-Za-z]+|[0-9]+|[^\sA-Za-z0-9]")
SURE, EXCLUDED = 0.75, 0.08
LONGEST_COLLOCATION = 3


@dataclass
class Word:
    """One word of a sentence. `spread`: {noun synset offset: probability}; what is missing to 1 is "not this noun"."""
    start: int
    end: int
    spread: dict = field(default_factory=dict)
    unknown: bool = False


@dataclass
class Sentence:
    text: str
    words: list
    part: str        # train, tune (calibration) or test (held out)
    kind: str        # example or definition


class SenseReader:
    """Gives every word of a text its spread of noun senses."""

    def __init__(self, wordnet):
        self.wn = wordnet
        self._spreads = {}
        self._names = self._words_mostly_capital()

    def _words_mostly_capital(self):
        """Words that inside a sentence begin with a capital more often than not: `John` is no toilet."""
        balance = {}
        for s in (s for pos in "nvar" for s in self.wn.synsets[pos].values()):
            for text in s.examples:
                for m in list(WORD.finditer(text))[1:]:
                    w = m.group()
                    balance[w.lower()] = balance.get(w.lower(), 0) + (1 if w[0].isupper() else -1)
        return {w for w, b in balance.items() if b > 0}

    def read(self, text, exact=()):
        """`exact`: offsets of noun synsets; a word that can mean one of them is taken to mean it."""
        found = [(m.group().lower(), m.start(), m.end()) for m in WORD.finditer(text)]
        words, i = [], 0
        while i < len(found):
            length = self._collocation(text, found, i)
            parts = found[i:i + length]
            term = " ".join(p[0] for p in parts)
            for p in parts[:-1]:
                words.append(Word(p[1], p[2], unknown=True))
            words.append(self._word(term, parts[-1], exact, i, text[parts[0][1]].isupper()))
            i += length
        return words

    def _collocation(self, text, found, i):
        for n in range(min(LONGEST_COLLOCATION, len(found) - i), 1, -1):
            parts = found[i:i + n]
            spaced = all(text[a[2]:b[1]] == " " for a, b in zip(parts, parts[1:]))
            if spaced and parts[0][0] not in FUNCTION_WORDS and self.wn.lemmas(" ".join(p[0] for p in parts), "n"):
                return n
        return 1

    def _word(self, term, part, exact, i, capital):
        """`i`: which word of the sentence; `capital`: written with one, which says nothing of the first word."""
        word = Word(part[1], part[2])
        if not term[0].isalpha():
            word.unknown = term.isdigit()
        elif term not in FUNCTION_WORDS:
            spread, word.unknown = self.spread(term)
            if spread and (capital if i else term in self._names):
                spread = {o: p for o, p in spread.items() if any(w[0].isupper() for w in self.wn.synsets["n"][o].words)}
                word.unknown = sum(spread.values()) < SURE
            hit = [o for o in exact if o in spread]
            word.spread, word.unknown = ({hit[0]: 1.0}, False) if hit else (spread, word.unknown)
        return word

    def spread(self, term):
        """({offset: probability}, unknown?) of a lower-case word or collocation."""
        if term not in self._spreads:
            self._spreads[term] = self._make_spread(term)
        return self._spreads[term]

    def _make_spread(self, term):
        weights, other = {}, 0.0
        for lemma in self.wn.lemmas(term, "n"):
            counts = self.wn.counts[("n", lemma)] if ("n", lemma) in self.wn.counts else {}
            for i, offset in enumerate(self.wn.senses["n"][lemma], 1):
                weights[offset] = weights.get(offset, 0) + counts.get(i, 0) + 0.5 / i ** 2
        for pos in "var":
            for lemma in self.wn.lemmas(term, pos):
                counts = self.wn.counts[(pos, lemma)] if (pos, lemma) in self.wn.counts else {}
                other += sum(counts.values()) + 0.5
        total = sum(weights.values()) + other
        return ({}, True) if total == 0 else ({o: w / total for o, w in weights.items()}, False)


def part_of(synset):
    """train, tune or test, by a hash of the synset: the same on every machine and in every run."""
    h = hashlib.sha256(f"{synset.pos}{synset.offset}".encode()).digest()[0]
    return "test" if h < 26 else "tune" if h < 52 else "train"


def example_sentences(wn, reader):
    for pos in "nvar":
        for s in wn.synsets[pos].values():
            exact = (s.offset,) if pos == "n" else ()
            for text in s.examples:
                if 3 <= len(text.split()) <= 40:
                    yield Sentence(text, reader.read(text, exact), part_of(s), "example")


def definition_sentences(wn, reader, offsets):
    """`a beagle is a small short-legged hound`, for these noun synsets."""
    for offset in offsets:
        s = wn.synsets["n"][offset]
        name = s.words[0]
        article = "" if name[0].isupper() else "an " if name[0] in "aeiou" else "a "
        text = f"{article}{name} is {s.definition}"
        if len(text.split()) <= 40:
            exact = (offset, *s.hypernyms)
            yield Sentence(text, reader.read(text, exact), part_of(s), "definition")


def plain_definitions(wn, reader, offsets):
    """The definition alone, as WordNet has it, for these noun synsets."""
    for offset in offsets:
        s = wn.synsets["n"][offset]
        if 4 <= len(s.definition.split()) <= 40:
            yield Sentence(s.definition, reader.read(s.definition, tuple(s.hypernyms)), part_of(s), "definition")


def label(word, concept_offsets, ancestors):
    """-> (certain, unknown): indices into concept_offsets of the concepts this word surely means, and may mean."""
    if word.unknown:
        return None
    below = {}
    for offset, p in word.spread.items():
        for a in ancestors(offset):
            if a in concept_offsets:
                below[a] = below.get(a, 0) + p
    sure = [concept_offsets[o] for o, p in below.items() if p >= SURE]
    maybe = [concept_offsets[o] for o, p in below.items() if EXCLUDED < p < SURE]
    return sure, maybe
