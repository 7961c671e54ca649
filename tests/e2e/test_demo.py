"""What `make demo` shows a reader: real sentences, the concepts that a real model's hidden states carry, and where the
time went. The committed lenses and sentences of tests/real must keep making sense."""
import subprocess
import unittest

from tests.e2e.harness import BUILD, ROOT, Daemon, clean_env

DATA = ROOT / "tests" / "real" / "data"
PACK = DATA / "wordnet-minilm.lens"
SENTENCES = sorted((DATA / "sentences").glob("*.safetensors"))
FIRES = 0.5


def sentence(theme):
    return next(path for path in SENTENCES if path.stem.endswith("-" + theme))


class RealData(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(packs=[PACK])

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()
        cls.daemon.wait_exit()

    def rows(self, theme):
        answer = self.daemon.lensctl("--json", "detect", sentence(theme), "--report", "all", "--top-k", "50").check()
        return [row for row in answer.json_lines() if "row" in row]

    def fired(self, theme):
        """{token: names of the concepts that fire on it}"""
        found = {}
        for row in self.rows(theme):
            names = {d["concept"].rsplit(":", 1)[0] for d in row["detections"] if d["score"] >= FIRES}
            found.setdefault(row["token"], set()).update(names)
        return found

    def test_the_pack_is_as_large_and_deep_as_promised(self):
        self.assertLessEqual(PACK.stat().st_size, 16 << 20)
        self.assertGreaterEqual(len(SENTENCES), 20)
        concepts = self.daemon.lensctl("--json", "concepts").check().json()["concepts"]
        self.assertGreaterEqual(len(concepts), 120)
        self.assertGreaterEqual(len({concept["layer"] for concept in concepts}), 3)

    def test_words_light_their_own_concepts(self):
        dogs, money, music = self.fired("dogs"), self.fired("money"), self.fired("music")
        self.assertLessEqual({"Dog", "Canine", "Mammal", "Animal", "Organism"}, dogs["dog"])
        self.assertIn("Money", money["money"])
        self.assertIn("StringedInstrument", music["violin"])
        for quiet in ("the", "at", "and", "."):
            self.assertEqual(dogs[quiet], set(), quiet)

    def test_dogs_and_money_share_no_concept(self):
        dogs = set().union(*self.fired("dogs").values())
        money = set().union(*self.fired("money").values())
        self.assertGreaterEqual(len(dogs), 5)
        self.assertGreaterEqual(len(money), 5)
        self.assertEqual(dogs & money, set())


class Demo(unittest.TestCase):
    def test_it_prints_concepts_a_token_and_a_latency_table(self):
        done = subprocess.run(["tests/real/demo.sh", BUILD, sentence("dogs"), sentence("money")], cwd=ROOT, text=True,
                              env=clean_env(), timeout=300, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"(?m)^ +2 +dog +Dog:5 ")
        self.assertRegex(done.stdout, r"(?m)^ +5 +money +Money:2 ")
        self.assertRegex(done.stdout, r"(?m)^total\t\d")
        self.assertIn("31 rows (0 invalid", done.stdout)


if __name__ == "__main__":
    unittest.main()
