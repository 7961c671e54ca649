"""lensctl bench, whose figures must fit together and with the daemon's own; and lensctl latency against the times that
came with each row."""
import math
import subprocess
import unittest

from tests.e2e.harness import BUILD, FIXTURES, Daemon, clean_env, eventually, lensctl, small_pack, temp_dir
from tests.e2e.test_lensctl import DIM, KEYS, STAGES, some_rows, write_safetensors

TOKENS = FIXTURES / "hatcat-small" / "tokens.npy"


class Bench(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(packs=[small_pack()])

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def bench(self, *args, seconds=0.3):
        found = self.daemon.lensctl("bench", *args, "--seconds", seconds, "--json").check().json()
        self.assertEqual(found["schema_version"], 1)
        return found

    def test_figures_fit_together(self):
        for name, rows, in_flight in (("token", 1, 1), ("base", 1, 1), ("batch", 64, 1), ("stream", 16, 16)):
            with self.subTest(bench=name):
                before = self.daemon.lensctl("status", "--json").check().json()["rows"]
                found = self.bench(name)
                after = self.daemon.lensctl("status", "--json").check().json()["rows"]
                self.assertEqual((found["bench"], found["rows_a_submission"], found["in_flight"]),
                                 (name, rows, in_flight))
                self.assertGreater(found["submissions"], 0)
                self.assertEqual(found["invalid_rows"], 0)
                self.assertEqual(found["rows"], rows * found["submissions"])
                self.assertGreaterEqual(after - before, found["rows"])
                self.assertAlmostEqual(found["rows_per_s"], found["rows"] / found["seconds"], places=1)
                self.assertGreaterEqual(found["seconds"], 0.3)
                for times in (found["round_trip_ns"], found["in_lensd_ns"]):
                    self.assertTrue(0 < times["p50"] <= times["p90"] <= times["p99"] <= times["p99.9"] <= times["max"])
                self.assertGreaterEqual(found["round_trip_ns"]["mean"], found["in_lensd_ns"]["mean"] if rows == 1 else 0)
                self.assertEqual(found["floor_ns"] is not None, rows == 1)

    def test_base_scores_the_base_layers_alone_and_token_more(self):
        base = sum(key.endswith((":0", ":1")) for key in KEYS)
        self.assertLessEqual(self.bench("base")["scored_per_row"], base)
        self.assertGreater(self.bench("token")["scored_per_row"], self.bench("base")["scored_per_row"])

    def test_rows_and_states_may_be_chosen(self):
        found = self.bench("batch", "--rows", "5", "--states", TOKENS)
        self.assertEqual((found["rows_a_submission"], found["random_rows"]), (5, False))
        self.assertTrue(self.bench("token")["random_rows"])

    def test_it_says_what_it_cannot_use(self):
        wide = write_safetensors(temp_dir() / "wide.safetensors", some_rows(2, 64), [2, 64])
        result = self.daemon.lensctl("bench", "token", "--states", wide)
        self.assertEqual((result.code, result.stdout), (1, ""))
        self.assertIn(f"64 values, but the pack takes {DIM}", result.stderr)
        result = lensctl("bench", "fast")
        self.assertEqual(result.code, 2)
        self.assertIn("token, base, batch, stream", result.stderr)
        self.assertEqual(self.daemon.lensctl("bench", "token", "--pack", "other").code, 1)
        self.assertEqual(lensctl("bench", "token", socket=temp_dir() / "nobody.sock").code, 3)

    def test_text_has_the_same_figures(self):
        text = self.daemon.lensctl("bench", "token", "--seconds", 0.2).check().stdout
        for part in ("us\tp50\tp90\tp99\tp99.9\tmax\tmean\n", "rows/s:", "lenses scored", "floor: reading"):
            self.assertIn(part, text)

    def test_others_see_it_in_the_list_of_sessions(self):
        sender = subprocess.Popen([BUILD / "lensctl", "--socket", self.daemon.socket, "bench", "token", "--seconds",
                                   "600"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=clean_env())
        try:
            rows = eventually(lambda: self.daemon.lensctl("sessions", "--json").check().json()["sessions"], timeout=60,
                              what="a session")
            self.assertEqual([row["label"] for row in rows], ["lensctl bench"])
        finally:
            sender.kill()
            sender.wait()
        eventually(lambda: not self.daemon.lensctl("sessions", "--json").check().json()["sessions"], timeout=60,
                   what="no session")


def quantile(values, part):
    """The value that `part` of the values are at most."""
    ordered = sorted(values)
    return ordered[max(math.ceil(part * len(ordered)), 1) - 1]


class Latency(unittest.TestCase):
    def check(self, found, rows):
        for stage in STAGES:
            values = [row["timing_ns"][stage] for row in rows]
            told = found["stages_ns"][stage]
            self.assertEqual(told["count"], len(values))
            for name, part in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)):
                right = quantile(values, part)
                with self.subTest(stage=stage, quantile=name):
                    self.assertLessEqual(abs(told[name] - right), 1 + right / 64, (told[name], right))
            with self.subTest(stage=stage):
                self.assertEqual(told["max"], max(values))
                self.assertAlmostEqual(told["mean"], sum(values) / len(values), delta=1)

    def test_percentiles_are_those_of_the_times_that_came_with_the_rows(self):
        path = write_safetensors(temp_dir() / "many.safetensors", some_rows(3000), [3000, DIM])
        with Daemon(packs=[small_pack()], args=["--pool-slots", "40"]) as daemon:
            rows = daemon.lensctl("detect", path, "--json").check().json_lines()
            self.assertEqual(len(rows), 3000)
            self.check(daemon.lensctl("latency", "--json").check().json(), rows)


if __name__ == "__main__":
    unittest.main()
