"""The real-tree pack, end to end: HatCat directory -> import -> daemon -> detect, every planted leaf in the top ten.

At a reduced size (all 7,947 lenses, D=384) for everyday use; with LENSD_FULL=1 at D=2560 too, where the import must
stay within 200 MB. Packs and rows come from the benchmark's generator, whose answers are known by construction and
checked here in float64. $LENS_BENCH_TREE names a concept tree; without it one of the same shape is generated.
"""
import functools
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

from tests.e2e.harness import BUILD, ROOT, SANITIZED, Daemon, clean_env, run

SMALL = {"dim": 384, "h1": 16, "h2": 8}
FULL = {"dim": 2560, "h1": 128, "h2": 64}
LENSES = 7947
SMALL_LIMIT = 100 << 20
FULL_LIMIT = 200 << 20
ROWS = 60


@functools.lru_cache(maxsize=None)
def synth_program():
    """bench/synth, built when it isn't there (`make check` builds no benchmarks); never a sanitizer's, it only makes
    data."""
    build = "build" if SANITIZED else os.path.relpath(BUILD, ROOT)
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "SAN", "BUILD")}
    done = subprocess.run(["make", "-s", f"BUILD={build}", f"{build}/bench/synth"], cwd=ROOT, env=env, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise AssertionError(f"synth can't be built:\n{done.stdout}")
    return ROOT / build / "bench" / "synth"


def shape_flags(shape):
    return [f for name, value in shape.items() for f in (f"--{name}", str(value))]


def synth(shape, *flags):
    env = clean_env(**{k: v for k, v in os.environ.items() if k == "LENS_BENCH_TREE"})
    return run([synth_program(), *shape_flags(shape), *map(str, flags)], env=env, timeout=600).check()


def run_measured(command):
    """Runs a command; returns the most memory it had resident, in bytes."""
    with open(os.devnull, "wb") as nowhere:
        child = subprocess.Popen([str(c) for c in command], stdout=nowhere, stderr=subprocess.PIPE, env=clean_env())
        errors = child.stderr.read()
        child.stderr.close()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise AssertionError(f"{command} exited with {child.returncode}:\n{errors.decode(errors='replace')}")
    return usage.ru_maxrss * 1024


def detections(daemon, rows, *flags):
    """{row: set of concepts in its top ten}; every row must be COMPLETE and unflagged."""
    found = {}
    for answer in daemon.lensctl("--json", "detect", rows, *flags, timeout=600).check().json_lines():
        if "row" not in answer:
            continue
        assert answer["status"] == "COMPLETE" and answer["flags"] == [], answer
        assert len(answer["detections"]) <= 10, answer
        found[answer["row"]] = {d["concept"] for d in answer["detections"]}
    return found


class RealTree(unittest.TestCase):
    def check(self, shape, dtype, limit, compute="exact"):
        # In the build directory: it is gigabytes, and not every /tmp is a disk.
        with tempfile.TemporaryDirectory(dir=BUILD, prefix="real-tree-") as directory:
            self.check_in(pathlib.Path(directory), shape, dtype, limit, compute)

    def check_in(self, directory, shape, dtype, limit, compute):
        pack, rows, leaves = directory / "real.lens", directory / "rows.npy", directory / "leaves.json"
        synth(shape, "--dtype", "bf16", "--hatcat", directory / "hatcat", "--rows", rows, "--leaves", leaves,
              "--count", ROWS)
        peak = run_measured([BUILD / "lensctl", "pack", "import", "hatcat", directory / "hatcat", "-o", pack,
                             "--dtype", dtype])
        if not SANITIZED:
            self.assertLessEqual(peak, limit, "memory of the import")
        planted = json.loads(leaves.read_text())
        with Daemon(packs=[pack], args=["--pool-compute", compute]) as daemon:
            self.assertEqual(daemon.lensctl("--json", "status").check().json()["schema_version"], 1)
            for flags in (["--expand", "threshold"], ["--expand", "topk"], ["--rows", "8"]):
                with self.subTest(flags=flags):
                    found = detections(daemon, rows, *flags)
                    self.assertEqual(len(found), ROWS)
                    for row, concepts in enumerate(planted):
                        self.assertLessEqual(set(concepts), found[row], f"row {row}")

    def test_answers_are_planted_in_float64_too(self):
        done = synth(SMALL, "--verify", 20)
        self.assertIn("40 of 40 planted leaves", done.stdout)

    def test_every_planted_leaf_is_among_the_ten_best(self):
        self.check(SMALL, "bf16", SMALL_LIMIT)

    def test_every_planted_leaf_is_found_in_int8(self):
        self.check(SMALL, "int8", SMALL_LIMIT, compute="int8")

    @unittest.skipUnless(os.environ.get("LENSD_FULL"), "5 GB of lenses: set LENSD_FULL=1")
    def test_full_size(self):
        self.check(FULL, "bf16", FULL_LIMIT)


if __name__ == "__main__":
    unittest.main()
