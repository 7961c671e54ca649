"""Reads WordNet 3.0 as Debian's wordnet-base installs it: synsets, glosses, the noun hierarchy, tag counts.

Knows nothing of lenses or transformers. A noun synset is named like `dog.n.1`: the first sense of the noun `dog`.
"""

import os
import re
from collections import defaultdict

POS_FILES = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
POS_OF_SENSE_KEY = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}
NOUN_ENDINGS = (("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("xes", "x"), ("zes", "z"), ("ses", "s"), ("men", "man"),
                ("s", ""))
VERB_ENDINGS = (("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", ""), ("s", ""))


class Synset:
    """One row of data.{pos}: its words, its pointers upwards, and its gloss cut into definition and examples."""

    __slots__ = ("pos", "offset", "words", "hypernyms", "definition", "examples")

    def __init__(self, pos, line):
        head, gloss = line.split(" | ", 1)
        f = head.split(" ")
        self.pos, self.offset = pos, int(f[0])
        count = int(f[3], 16)
        words = f[4:4 + 2 * count:2]
        self.words = [re.sub(r"\((a|p|ip)\)$", "", w).replace("_", " ") for w in words]
        at = 4 + 2 * count
        pointers = [f[at + 1 + 4 * i:at + 5 + 4 * i] for i in range(int(f[at]))]
        self.hypernyms = [int(p[1]) for p in pointers if p[0] in ("@", "@i") and p[2] == pos]
        self.examples = [e.strip() for e in re.findall(r'"([^"]+)"', gloss)]
        definition = re.sub(r"\([^)]*\)", " ", gloss.split('"')[0])
        self.definition = re.sub(r"\s+", " ", definition).strip(" ;:,")


class WordNet:
    """All four parts of speech; `synsets[pos][offset]`, `senses[pos][lemma]` = offsets in order of sense number."""

    def __init__(self, folder="/usr/share/wordnet"):
        if not os.path.isfile(os.path.join(folder, "data.noun")):
            raise SystemExit(f"no WordNet in {folder}: expected data.noun there; install Debian's wordnet-base")
        self.synsets = {pos: self._read_data(folder, pos) for pos in POS_FILES}
        self.senses = {pos: self._read_index(folder, pos) for pos in POS_FILES}
        self.counts = self._read_counts(folder)
        self.exceptions = {pos: self._read_exceptions(folder, pos) for pos in ("n", "v")}
        self._ancestors = {}

    @staticmethod
    def _lines(folder, name):
        with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as f:
            return [line.rstrip("\n") for line in f if not line.startswith("  ")]

    def _read_data(self, folder, pos):
        rows = (Synset(pos, line) for line in self._lines(folder, "data." + POS_FILES[pos]))
        return {s.offset: s for s in rows}

    def _read_index(self, folder, pos):
        senses = {}
        for line in self._lines(folder, "index." + POS_FILES[pos]):
            f = line.split()
            senses[f[0].replace("_", " ")] = [int(x) for x in f[-int(f[2]):]]
        return senses

    def _read_counts(self, folder):
        """(pos, lemma) -> {sense number: how often it was tagged in SemCor}."""
        counts = defaultdict(dict)
        for line in self._lines(folder, "cntlist.rev"):
            key, sense, count = line.split()
            lemma, rest = key.split("%", 1)
            counts[POS_OF_SENSE_KEY[rest[0]], lemma.replace("_", " ")][int(sense)] = int(count)
        return counts

    def _read_exceptions(self, folder, pos):
        rows = (line.split() for line in self._lines(folder, POS_FILES[pos] + ".exc"))
        return {r[0].replace("_", " "): [w.replace("_", " ") for w in r[1:]] for r in rows}

    def synset(self, name):
        """`dog.n.1` -> the Synset."""
        lemma, pos, number = name.rsplit(".", 2)
        try:
            return self.synsets[pos][self.senses[pos][lemma.replace("_", " ")][int(number) - 1]]
        except (KeyError, IndexError):
            raise SystemExit(f"WordNet has no sense called {name}") from None

    def ancestors(self, offset):
        """A noun synset's hypernyms, all the way up, itself included (a frozen set of offsets)."""
        if offset not in self._ancestors:
            up = {offset}
            for parent in self.synsets["n"][offset].hypernyms:
                up |= self.ancestors(parent)
            self._ancestors[offset] = frozenset(up)
        return self._ancestors[offset]

    def lemmas(self, word, pos):
        """The dictionary forms a lower-case word may have as this part of speech, itself first."""
        known, found = self.senses[pos], []
        candidates = [word] + self.exceptions.get(pos, {}).get(word, [])
        endings = {"n": NOUN_ENDINGS, "v": VERB_ENDINGS}.get(pos, ())
        if word not in self.exceptions.get(pos, {}) and not (pos == "n" and word.endswith("ss")):
            candidates += [word[:-len(e)] + r for e, r in endings if word.endswith(e) and len(word) > len(e) + 1]
        for c in candidates:
            if c in known and c not in found:
                found.append(c)
        return found
