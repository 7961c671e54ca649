"""lensctl cache-sim on small traces written here, with figures worked out by hand. Needs no daemon."""
import json
import pathlib
import struct
import subprocess
import tempfile
import unittest

from tests.e2e import harness

POLICIES = ["lru", "hatcat", "sieve", "s3fifo", "sequence"]
MAGIC = b"LENSTRF1"


def word(lens, logit=0.0):
    return lens | round((logit + 16) * 128) << 20


def trace(rows, lenses=10, base=(0, 1)):
    """A trace over `lenses` lenses without children; lenses 0 and 1 are base layers, the others layer 2."""
    layers = bytes([0, 1] + [2] * (lenses - 2))
    out = MAGIC + struct.pack("<4I", 1, lenses, 0, 0) + layers + bytes(-lenses % 4)
    out += struct.pack(f"<{lenses + 1}i", *[0] * (lenses + 1))
    bits = sum(1 << layer for layer in base)
    for sequence, wanted in rows:
        out += struct.pack("<IIQII", len(wanted), 0, sequence, bits, 0)
        out += struct.pack(f"<{len(wanted)}I", *[word(lens) for lens in wanted])
    return out


# Two places beside the base: 2 and 3 come, 4 replaces 2, 2 replaces 4 (or 3), 3 and 4 are both needed at last.
ROWS = [(1, [0, 1, 2, 3]), (1, [0, 1, 3, 4]), (1, [0, 1, 2]), (1, [0, 1, 4, 3])]


class CacheSim(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name) / "rows.trace"

    def run_on(self, data, *flags):
        self.path.write_bytes(data)
        return subprocess.run([harness.BUILD / "lensctl", "cache-sim", self.path, *flags], text=True,
                              capture_output=True, timeout=60)

    def json_of(self, data, *flags):
        done = self.run_on(data, "--json", *flags)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_figures_are_those_worked_out_by_hand(self):
        answer = self.json_of(trace(ROWS), "--slots", "2,9")
        self.assertEqual(answer["schema_version"], 1)
        self.assertEqual([answer[key] for key in ("lenses", "rows", "requests", "distinct", "most_a_row")],
                         [10, 4, 7, 3, 2])
        tight, roomy = answer["sizes"]
        self.assertEqual([tight["slots"], roomy["slots"]], [2, 9])
        self.assertEqual(tight["belady"]["misses"], 5)  # 2 3 | 4 | 2 | one of 4 and 3
        self.assertEqual([p["policy"] for p in tight["policies"]], POLICIES)
        for policy in tight["policies"]:
            self.assertGreaterEqual(policy["misses"], 5)
            self.assertEqual(policy["hits"] + policy["misses"], 7)
            self.assertAlmostEqual(policy["miss_ratio"], policy["misses"] / 7)
            self.assertAlmostEqual(policy["times_belady"], policy["misses"] / 5)
        for policy in roomy["policies"]:
            self.assertEqual(policy["misses"], 3)
            self.assertEqual(policy["times_belady"], 1)

    def test_the_table_has_a_row_for_each_policy_and_size(self):
        done = self.run_on(trace(ROWS))
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.splitlines()
        self.assertEqual(lines[1].split("\t"), ["slots", "policy", "misses", "ratio", "x Belady"])
        self.assertEqual([line.split("\t")[1] for line in lines[2:]], (["belady"] + POLICIES) * 3)

    def test_one_policy_alone_and_prefetch(self):
        rows = []
        for times in range(40):
            rows += [(1, [2]), (1, [3]), (1, [4 + times % 4]), (1, [8]), (1, [9])]
        answer = self.json_of(trace(rows), "--slots", "3", "--policy", "sieve", "--prefetch", "1")
        self.assertEqual([p["policy"] for p in answer["sizes"][0]["policies"]], ["sieve"])
        figures = answer["sizes"][0]["policies"][0]
        self.assertLessEqual(figures["prefetch_used"] + figures["prefetch_wasted"], figures["prefetched"])
        self.assertGreater(figures["prefetched"], 0)
        self.assertEqual(answer["prefetch"], 1)

    def test_a_cut_trace_is_read_to_its_last_whole_row_and_said(self):
        done = self.run_on(trace(ROWS)[:-2], "--json")
        self.assertEqual(done.returncode, 0)
        self.assertIn("3 whole rows", done.stderr)
        answer = json.loads(done.stdout)
        self.assertEqual((answer["rows"], answer["cut"]), (3, True))

    def test_what_is_no_trace_is_refused_with_a_sentence(self):
        good = trace(ROWS)
        for bad in (b"", b"nonsense", good[:30], MAGIC + struct.pack("<4I", 2, 10, 0, 0) + good[24:],
                    good[:24] + b"\0" * 12 + struct.pack("<11i", *range(11)) + good[80:],
                    good[:80] + struct.pack("<I", 2**31) + good[84:]):
            done = self.run_on(bad)
            self.assertEqual(done.returncode, 1, bad[:40])
            self.assertIn("trace", done.stderr)
            self.assertEqual(done.stdout, "")
        self.assertIn("no row", self.run_on(trace([])).stderr)

    def test_wrong_sizes_and_policies_are_usage_errors(self):
        for flags in (["--slots", "0"], ["--slots", "5%,"], ["--slots", "101%"], ["--slots", "-3"], ["--slots", "2.5"],
                      ["--slots", ",".join("1" * 17)], ["--policy", "best"], ["--prefetch", "0"]):
            self.assertEqual(self.run_on(trace(ROWS), *flags).returncode, 2, flags)


if __name__ == "__main__":
    unittest.main()
