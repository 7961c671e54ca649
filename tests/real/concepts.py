"""The pack's concepts: reads concepts.txt and hangs the synsets under each other by WordNet's own hypernyms."""

from dataclasses import dataclass, field


@dataclass
class Concept:
    name: str
    synset: str
    offset: int
    layer: int = 0
    parents: list = field(default_factory=list)     # indices; the first is the primary parent
    children: list = field(default_factory=list)

    @property
    def key(self):
        return f"{self.name}:{self.layer}"


def camel_case(lemma):
    return "".join(w[0].upper() + w[1:] for w in lemma.replace("-", " ").split())


def read_concepts(wn, path):
    """-> [Concept], parents before children, with parents, children and layers filled in."""
    concepts = []
    with open(path, encoding="utf-8") as f:
        for line in f:
            words = line.split("#")[0].split()
            if words:
                s = wn.synset(words[0])
                concepts.append(Concept(words[1] if len(words) > 1 else camel_case(s.words[0]), words[0], s.offset))
    refuse_doubles(concepts)
    return arrange(wn, concepts)


def refuse_doubles(concepts):
    for what in ("name", "offset"):
        seen = set()
        for c in concepts:
            if getattr(c, what) in seen:
                raise SystemExit(f"concepts.txt: {c.synset}: {what} {getattr(c, what)} is there twice")
            seen.add(getattr(c, what))


def arrange(wn, concepts):
    """Sets parents to the nearest selected hypernyms: those that are no hypernym of another one."""
    concepts.sort(key=lambda c: (len(wn.ancestors(c.offset)), c.name))
    for i, c in enumerate(concepts):
        above = [j for j, a in enumerate(concepts) if j != i and a.offset in wn.ancestors(c.offset)]
        nearest = [j for j in above if not any(concepts[j].offset in wn.ancestors(concepts[k].offset)
                                               for k in above if k != j)]
        c.parents = sorted(nearest, key=lambda j: -len(wn.ancestors(concepts[j].offset)))
        c.layer = concepts[c.parents[0]].layer + 1 if c.parents else 0
        for j in nearest:
            concepts[j].children.append(i)
    return concepts
