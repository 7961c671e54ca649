"""lensctl detect against right answers that were computed independently in float64 (DESIGN 4): every option set of
tests/fixtures/hatcat-small, and of ../shared/data/hatcat-mini where that is there.

Scored counts, statuses, flags, expanded sets and detections must be the same, numbers within 1e-5; places may swap
only where the expected scores are within 1e-4 of each other.
"""
import json
import pathlib
import struct
import unittest

from tests.e2e.harness import FIXTURES, ROOT, Daemon, import_pack, small_pack, temp_dir

SMALL = FIXTURES / "hatcat-small"
MINI = ROOT.parent / "shared" / "data" / "hatcat-mini"
NUMBERS = 1e-5
SWAP = 1e-4
FEW_SLOTS = 40  # of 70 lenses: a cascade has to evict


def detect_flags(options):
    """The flags of lensctl detect for the options of an answer file."""
    flags = ["--expand", options["mode"], "--base", ",".join(map(str, options["base"]))]
    flags += ["--rows", options["rows_per_submission"]]
    for name in ("load_threshold", "unload_threshold", "top_k", "keep_top_k", "max_depth", "max_scored", "report",
                 "rank", "uncalibrated", "suppress_at"):
        if name in options:
            flags += ["--" + name.replace("_", "-"), options[name]]
    if options.get("suppress_parents"):
        flags.append("--suppress-parents")
    if options.get("pinned"):
        flags += ["--pin", ",".join(options["pinned"])]
    for name in ("include", "exclude", "filter"):
        if options.get(name):
            flags += ["--" + name, ",".join(options[name])]
    return flags


def bf16_safetensors(npy):
    """A .npy of bf16 bits (u2) as .safetensors, since numpy has no bf16."""
    data = npy.read_bytes()
    start = 10 + struct.unpack_from("<H", data, 8)[0]
    head = data[10:start].decode()
    shape = [int(n) for n in head[head.index("(") + 1 : head.index(")")].split(",")]
    body = data[start:]
    header = {"hidden_states": {"dtype": "BF16", "shape": shape, "data_offsets": [0, len(body)]}}
    text = json.dumps(header).encode()
    out = temp_dir() / (npy.stem + ".safetensors")
    out.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return out


def hidden_states(directory, name):
    path = directory / name
    return bf16_safetensors(path) if "bf16" in name else path


class Answers(unittest.TestCase):
    """Compares; the test cases below are made of the answer files that are there."""

    def check_row(self, got, want):
        self.assertEqual(got["status"], want.get("status", "COMPLETE"))
        self.assertEqual(got["flags"], want.get("flags", []))
        self.assertEqual(got["scored"], want["scored"])
        self.assertEqual(sorted(got["expanded"]), sorted(want["expanded"]))
        self.assertNotIn("expanded_total", got)
        self.assertEqual(got["counts"]["expanded"], len(want["expanded"]))
        self.check_detections(got["detections"], want["detections"])

    def check_detections(self, got, want):
        self.assertEqual(len(got), len(want))
        expected = {d["concept"]: d for d in want}
        for place, (mine, right) in enumerate(zip(got, want)):
            if mine["concept"] != right["concept"]:
                other = expected.get(mine["concept"], mine)
                self.assertLessEqual(abs(other["score"] - right["score"]), SWAP, f"place {place}: {mine} for {right}")
            same = expected.get(mine["concept"])
            for field in ("id", "score", "raw", "logit") if same else ():
                # Logits are unbounded; what counts is the score they make.
                tolerance = NUMBERS * max(1.0, abs(same[field]))
                self.assertLessEqual(abs(mine[field] - same[field]), tolerance, f"{mine['concept']} {field}")

    def check_paths(self, rows, keys, parents):
        for found in (d for row in rows for d in row["detections"]):
            path, lens = [], found["id"]
            while lens >= 0:
                path.insert(0, keys[lens])
                lens = parents[lens]
            self.assertEqual(found["path"], path)

    def check_file(self, daemon, directory, answers):
        want = json.loads((directory / answers).read_text(encoding="utf-8"))
        states = hidden_states(directory, want.get("tokens", "tokens.npy"))
        result = daemon.lensctl("detect", states, *detect_flags(want["options"]), "--json").check()
        rows = result.json_lines()
        self.assertEqual([row["row"] for row in rows], list(range(len(want["rows"]))))
        for got, right in zip(rows, want["rows"]):
            with self.subTest(row=got["row"]):
                self.check_row(got, right)
        self.check_paths(rows, want["keys"], want["parents"])


class SmallPack(Answers):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(packs=[small_pack()])

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()


class SmallPackInFewSlots(Answers):
    """The central invariant (DESIGN 1): residency decides only how long it takes."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(packs=[small_pack()], args=["--pool-slots", FEW_SLOTS])

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()


@unittest.skipUnless(MINI.is_dir(), "hatcat-mini is not beside this checkout (../shared/data)")
class MiniPack(Answers):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(packs=[import_pack(MINI)])

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def test_lenses_stand_in_pack_order(self):
        want = json.loads((MINI / "expected-threshold.json").read_text(encoding="utf-8"))
        found = self.daemon.lensctl("concepts", "--json").check().json()["concepts"]
        self.assertEqual([c["concept"] for c in found], want["keys"])
        self.assertEqual([-1 if c["parent_id"] is None else c["parent_id"] for c in found], want["parents"])


def add_tests(case, directory, names):
    """One test for each answer file, so that each is counted and named."""
    for answers in names:
        def test(self, answers=answers):
            self.check_file(self.daemon, directory, answers)
        setattr(case, "test_" + pathlib.Path(answers).stem.replace("expected-", "").replace("-", "_"), test)


SMALL_ANSWERS = sorted(p.name for p in SMALL.glob("expected-*.json") if p.name != "expected-pack.json")
add_tests(SmallPack, SMALL, SMALL_ANSWERS)
add_tests(SmallPackInFewSlots, SMALL, SMALL_ANSWERS)
add_tests(MiniPack, MINI, [f"expected-{name}.json" for name in ("threshold", "topk", "calibrated-8rows")])


if __name__ == "__main__":
    unittest.main()
