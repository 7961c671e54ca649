"""lensctl explain beyond a concept's place: how a score becomes calibrated, when the concept is scored and reported by
the daemon's settings, and what it did lately."""
import unittest

from tests.e2e.harness import ROOT, Daemon, small_pack, temp_dir
from tests.e2e.test_lensctl import DIM, KEYS, SMALL, some_rows, write_safetensors

DATA = ROOT / "tests" / "real" / "data"
PACK = DATA / "wordnet-minilm.lens"
DOGS = DATA / "sentences" / "01-dogs.safetensors"


class Scores(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(packs=[small_pack()])

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def explain(self, *args):
        return self.daemon.lensctl("explain", *args, "--json").check().json()

    def test_a_score_is_calibrated_as_detect_does(self):
        rows = self.daemon.lensctl("detect", SMALL / "tokens.npy", "--json", "--report", "all", "--top-k", 256,
                                   "--rank", "calibrated").check().json_lines()
        seen = {d["concept"]: d for row in rows for d in row["detections"]}
        self.assertGreater(len(seen), 10)
        for key in list(seen)[:20]:
            score = self.explain(key, "--logit", seen[key]["logit"])["score"]
            self.assertAlmostEqual(score["raw"], seen[key]["raw"], places=5)
            self.assertAlmostEqual(score["calibrated"], seen[key]["score"], places=5)
            self.assertTrue(score["steps"][0].startswith("raw = sigmoid("))

    def test_score_and_logit_are_the_same_question(self):
        by_score, by_logit = self.explain(KEYS[0], "--score", "0.5")["score"], self.explain(KEYS[0], "--logit", "0")["score"]
        self.assertEqual(by_score, by_logit)
        self.assertNotIn("score", self.explain(KEYS[0]))
        for args in (["--score", "0.5", "--logit", "1"], ["--score", "1"], ["--score", "0"], ["--score", "x"]):
            self.assertEqual(self.daemon.lensctl("explain", KEYS[0], *args).code, 2, args)

    def test_text_says_the_steps_in_place_of_examples(self):
        text = self.daemon.lensctl("explain", "Deception:1", "--score", "0.8").check().stdout
        self.assertIn("a score of 0.8000\n  raw = sigmoid(1.3863) = 0.8000\n", text)
        self.assertIn("above cascade.load_threshold, 0.3: it expands", text)
        self.assertNotIn("raw\tcalibrated", text)


class Settings(unittest.TestCase):
    def when(self, *args, concept="Deception:1"):
        with Daemon(packs=[small_pack()], args=args) as daemon:
            return " ".join(daemon.lensctl("explain", concept, "--json").check().json()["when"])

    def test_when_it_is_scored_and_reported_follows_the_settings(self):
        self.assertIn("Scored on every row: its layer is among cascade.base_layers (0,1).", self.when())
        said = self.when("--cascade-base-layers", "0", "--cascade-load-threshold", "0.45")
        self.assertIn("when its parent Mind:0 (or another parent of its) has a raw score above cascade.load_threshold, 0.45", said)
        self.assertIn("Never reported", self.when("--cascade-report", "leaves"))
        self.assertIn("among the row's 10 best", self.when("--cascade-report", "all"))
        self.assertIn("a child of its scores 0.5 or more", self.when("--cascade-suppress-parents", "on"))
        self.assertEqual(self.when("--cascade-exclude", "Deception:1/*"), "")


class Recent(unittest.TestCase):
    def test_what_it_did_lately_is_told(self):
        with Daemon(packs=[PACK]) as daemon:
            quiet = daemon.lensctl("explain", "Dog:5", "--json").check().json()["recent"]
            self.assertEqual((quiet["rows"], quiet["reported"]), (0, 0))
            told = daemon.lensctl("detect", DOGS, "--json").check().json_lines()
            scores = [d["score"] for row in told for d in row["detections"] if d["concept"] == "Dog:5"]
            recent = daemon.lensctl("explain", "Dog:5", "--json").check().json()["recent"]
            self.assertEqual((recent["rows"], recent["reported"]), (len(told), len(scores)))
            self.assertEqual((recent["last_score"], recent["best_score"]), (scores[-1], max(scores)))
            self.assertRegex(recent["last_time"], r"^\d{4}-.*Z$")
            text = daemon.lensctl("explain", "Dog:5").check().stdout
            self.assertRegex(text, rf"Reported in {len(scores)} of the last {len(told)} rows, of .*: last .* ago in session 1")
            self.assertIn("Not reported in the last 15 rows", daemon.lensctl("explain", "Money:2").check().stdout)

    def test_more_rows_than_a_page_are_all_counted(self):
        file = write_safetensors(temp_dir() / "rows", some_rows(1) * 300, [300, DIM])
        with Daemon(packs=[small_pack()], args=["--telemetry-events", "200"]) as daemon:
            told = daemon.lensctl("detect", file, "--rows", "64", "--json").check().json_lines()
            first = told[-1]["detections"][0]["concept"]
            recent = daemon.lensctl("explain", first, "--json").check().json()["recent"]
            self.assertEqual((recent["rows"], recent["reported"]), (200, 200))

    def test_a_daemon_that_remembers_nothing_says_so(self):
        with Daemon(packs=[small_pack()], args=["--telemetry-events", "0"]) as daemon:
            self.assertIsNone(daemon.lensctl("explain", "Deception:1", "--json").check().json()["recent"])
            self.assertIn("telemetry.events = 0", daemon.lensctl("explain", "Deception:1").check().stdout)


if __name__ == "__main__":
    unittest.main()
