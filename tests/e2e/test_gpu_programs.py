"""The programs for machines with a card (tests/gpu), on the emulated card and without any.

What they say about a real card is not tested here: only that their checks run, that they pass on backends that are
right, that one that is wrong is found, and that a machine without a card is told "waived" and never "passed".
"""
import json
import subprocess
import unittest

from tests.e2e.harness import BUILD, SANITIZED, clean_env, temp_dir

CONFORMANCE = BUILD / "gpu" / "conformance"
BENCH = BUILD / "emulated" / "bench_gpu"
EMULATED = BUILD / "emulated" / "lens_cuda.so"
REAL = BUILD / "lens_cuda.so"
# The suite itself runs on the emulated card in tests/unit/backend_conformance_test.c.
CHECKS = "shapes,bad_weights,detections,job_invariance,given_up,registered_rows,nothing_leaks"
SLOW_CHECKS = "many_slots,large_slab,large_tree,misses,loads_while_scoring"


def run(*command, **env):
    done = subprocess.run([str(part) for part in command], env=clean_env(**env), capture_output=True, text=True,
                          timeout=600)
    return done.returncode, done.stdout + done.stderr


@unittest.skipUnless(CONFORMANCE.exists(), f"there is no {CONFORMANCE}")
class Conformance(unittest.TestCase):
    def expect_passed(self, code, text):
        self.assertEqual(code, 0, text)
        self.assertRegex(text.splitlines()[-1], r"^[1-9]\d* passed, 0 failed, 0 waived$")

    def test_the_checks_hold_for_the_processor(self):
        checks = "shapes,detections,misses" if SANITIZED else CHECKS + "," + SLOW_CHECKS
        self.expect_passed(*run(CONFORMANCE, "--cpu", "--reduced", "--only", checks))

    @unittest.skipUnless(EMULATED.exists(), "this build has no emulated card")
    def test_the_checks_hold_for_the_emulated_card(self):
        checks = "shapes,registered_rows" if SANITIZED else CHECKS
        out = temp_dir() / "checks.json"
        self.expect_passed(*run(CONFORMANCE, "--library", EMULATED, "--reduced", "--only", checks, "--json", out))
        first, *results = json.loads(out.read_text())
        self.assertEqual(first["target"], "cuda")
        self.assertEqual([r["check"] for r in results if r["result"] == "passed"], [r["check"] for r in results])
        self.assertEqual(len(results), len(checks.split(",")))

    @unittest.skipUnless(EMULATED.exists(), "this build has no emulated card")
    def test_a_card_that_fails_is_no_pass(self):
        code, text = run(CONFORMANCE, "--library", EMULATED, "--reduced", "--only", "detections",
                         LENSD_EMULATOR_FAULTS="cudaGraphLaunch 1 700")
        self.assertEqual(code, 1, text)
        self.assertEqual(text.splitlines()[-1], "0 passed, 1 failed, 0 waived")

    @unittest.skipUnless(EMULATED.exists(), "this build has no emulated card")
    def test_without_a_card_everything_is_waived(self):
        code, text = run(CONFORMANCE, "--library", EMULATED, LENSD_EMULATOR_DEVICES="0")
        self.assertEqual(code, 0, text)
        self.assertIn("waived: no CUDA device", text)
        self.assertRegex(text.splitlines()[-1], r"^0 passed, 0 failed, [1-9]\d* waived$")

    def test_a_library_that_is_missing_is_a_failure(self):
        code, text = run(CONFORMANCE, "--library", "/nowhere/lens_cuda.so")
        self.assertEqual(code, 1, text)
        self.assertRegex(text.splitlines()[-1], r"^0 passed, [1-9]\d* failed, 0 waived$")


@unittest.skipUnless(BENCH.exists() and EMULATED.exists(), "this build has no emulated card")
class Benchmarks(unittest.TestCase):
    def test_all_tables_run_and_planted_answers_are_found(self):
        out = temp_dir() / "gpu.json"
        small = ["--lenses", "60", "--max-rows", "2", "--rounds", "2", "--loaders", "1"] if SANITIZED else []
        code, text = run(BENCH, "--library", EMULATED, "--quick", "--runs", "bf16:exact", "--out", out, *small)
        self.assertEqual(code, 0, text)
        self.assertIn("emulated: the figures mean nothing", text)
        figures = json.loads(out.read_text())
        self.assertEqual({f["table"] for f in figures},
                         {"machine", "read", "copy", "base", "token", "sweep", "sessions", "load", "overlap",
                          "cold_stream"})
        for figure in figures:
            if figure["table"] == "token":
                self.assertGreater(figure["planted_recall"], 0.9)
            if figure["table"] == "cold_stream" and figure["percent_cold"] > 0:
                self.assertGreater(figure["loads_per_row"], 0)

    def test_without_a_card_the_benchmarks_are_waived(self):
        code, text = run(BENCH, "--library", EMULATED, "--quick", LENSD_EMULATOR_DEVICES="0")
        self.assertEqual(code, 0, text)
        self.assertIn("waived: no CUDA device", text)


if __name__ == "__main__":
    unittest.main()
