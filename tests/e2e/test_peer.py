"""lensd's half of the comparison with HatCat (tests/bench/peer.py), on the small pack: the lenses it says a row scored
are those that an independent implementation scored. HatCat itself is not needed."""
import json
import unittest

from tests.bench.support import peer_lensd
from tests.e2e.harness import FIXTURES, small_pack

SMALL = FIXTURES / "hatcat-small"
WARM = 2


class Peer(unittest.TestCase):
    def test_scored_sets_are_those_of_the_answers(self):
        pack, rows = peer_lensd.Pack(small_pack()), SMALL / "tokens.npy"
        n = len(peer_lensd.read_rows(rows))
        leaves = [[pack.keys[-1], pack.keys[-2]]] * n
        runs = list(peer_lensd.run_lensd(small_pack(), rows, leaves, "f32:exact", 1, WARM, False))
        self.assertEqual([name for name, _, _ in runs], ["carried", "afresh"])
        (_, carried, no_sets), (_, afresh, sets) = runs
        self.assertIsNone(no_sets)
        self.assertEqual([len(carried["rows"]), len(afresh["rows"]), len(sets)], [n - WARM] * 3)
        base = {key for key in pack.keys if key.rsplit(":", 1)[1] in "01"}
        for row, scored in zip(afresh["rows"], sets):
            self.assertLessEqual(base, scored)
            self.assertLessEqual(set(row["hits"]), scored)
            self.assertEqual(row["n_scored"], len(scored))
        self.assertGreater(len({len(scored) for scored in sets}), 1)
        self.assertGreater(carried["peak_bytes"], 1 << 20)

    def test_threshold_rows_score_and_find_what_the_oracle_does(self):
        expected = json.loads((SMALL / "expected-threshold.json").read_text())
        pack, rows = peer_lensd.Pack(small_pack()), SMALL / "tokens.npy"
        leaves = [[pack.keys[-1]]] * len(expected["rows"])
        runs = list(peer_lensd.run_lensd(small_pack(), rows, leaves, "f32:exact", 1, 0, False))
        for found, right in zip(runs[0][1]["rows"], expected["rows"]):
            self.assertEqual(found["n_scored"], right["scored"])
            self.assertEqual({pack.keys[i] for i in found["expanded"]}, set(right["expanded"]))


if __name__ == "__main__":
    unittest.main()
